// The page: takes files, verifies them here, shows the verdict. Nothing that was read is ever made into markup.

import { compareText, utf8 } from "../src/core/bytes.js";
import { MEANINGS } from "../src/core/explain.js";
import { parseVerifierKey, WitnessPolicy } from "../src/core/note.js";
import { NAMES, type Verdict } from "../src/core/report.js";
import type { Options } from "../src/core/session.js";
import type { ByteSource, ProofInput } from "../src/core/source.js";
import { type Inputs, verifyInputs } from "../src/core/verify.js";

/** Small enough that the page stays alive between two reads. */
const READ_MAX = 128 * 1024;
const TEXT_BYTES_MAX = 1024 * 1024;
const EVENT_BYTES_MAX = 64 * 1024 * 1024;
const ROWS_MAX = 500;

function element<T extends HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no #${id}`);
  return found as T;
}

const form = element<HTMLFormElement>("form");
const drop = element<HTMLLabelElement>("drop");
const picker = element<HTMLInputElement>("files");
const chosenList = element<HTMLUListElement>("chosen");
const verifyButton = element<HTMLButtonElement>("verify");
const clearButton = element<HTMLButtonElement>("clear");
const progress = element<HTMLProgressElement>("progress");
const status = element<HTMLDivElement>("status");
const result = element<HTMLElement>("result");
const rootField = element<HTMLTextAreaElement>("root");
const checkpointField = element<HTMLTextAreaElement>("checkpoint");
const policyField = element<HTMLTextAreaElement>("policy");
const eventField = element<HTMLInputElement>("event");

let chosen: File[] = [];
let verdict: Verdict | undefined;
let running = false;

function say(text: string, bad = false): void {
  status.textContent = text;
  status.className = bad ? "bad" : "";
}

/** Reads a file piece by piece, and tells how far it got. */
function sourceOf(file: File, read: (bytes: number) => void): ByteSource {
  return {
    size: file.size,
    async read(offset, length) {
      const wanted = Math.min(length, READ_MAX);
      const bytes = new Uint8Array(await file.slice(offset, offset + wanted).arrayBuffer());
      read(bytes.length);
      return bytes;
    },
  };
}

function inputsOf(files: readonly File[], read: (bytes: number) => void): Inputs {
  const source = (file: File) => sourceOf(file, read);
  const named = new Map(files.map((file) => [file.name, file]));
  const proof = (file: File, ending: string): ProofInput => {
    const label = file.name.slice(0, -ending.length);
    return {
      label,
      proof: source(file),
      companion: async (suffix) => {
        const found = named.get(suffix === "keys.json" ? suffix : `${label}.${suffix}`);
        return found === undefined ? undefined : source(found);
      },
    };
  };
  const ends = (ending: string) => files.filter((file) => file.name.endsWith(ending));
  const proofs = ends(".tlog-proof");
  const eventProofs = ends(".event-proof");
  const isCompanion = (file: File) =>
    proofs.length > 0 && (file.name === "keys.json" || file.name.endsWith(".receipt.json"));
  return {
    journals: [],
    bundles: files
      .filter((file) => !proofs.includes(file) && !eventProofs.includes(file) && !isCompanion(file))
      .map((file) => ({ label: file.name, content: source(file) })),
    tlogProofs: proofs.map((file) => proof(file, ".tlog-proof")),
    eventProofs: eventProofs.map((file) => proof(file, ".event-proof")),
  };
}

/** The field's text as the file that it came from: with a newline at its end. */
function textBytes(field: HTMLTextAreaElement): Uint8Array | undefined {
  const text = field.value;
  if (text.trim() === "") return undefined;
  return utf8(text.endsWith("\n") ? text : `${text}\n`);
}

/** What the reader trusts, or in words why that cannot be used. */
async function optionsOf(): Promise<Options | string> {
  const rootText = rootField.value.trim();
  const root = rootText === "" ? undefined : parseVerifierKey(rootText);
  if (rootText !== "" && root === undefined) return "The root key is no verifier key (name+hash+base64).";
  const policyBytes = textBytes(policyField);
  const witnessPolicy = policyBytes === undefined ? undefined : WitnessPolicy.parse(policyBytes);
  if (typeof witnessPolicy === "string") return `The witness policy cannot be used: ${witnessPolicy}.`;
  const checkpoint = textBytes(checkpointField);
  const file = eventField.files?.[0];
  if (file !== undefined && file.size > EVENT_BYTES_MAX) return "The event is too long.";
  return {
    ...(root === undefined ? {} : { root }),
    ...(checkpoint === undefined ? {} : { checkpoint }),
    ...(witnessPolicy === undefined ? {} : { witnessPolicy }),
    ...(file === undefined ? {} : { event: new Uint8Array(await file.arrayBuffer()) }),
  };
}

function enable(): void {
  verifyButton.disabled = running || chosen.length === 0;
  clearButton.disabled = running;
}

function choose(files: readonly File[]): void {
  const names = new Set(files.map((file) => file.name));
  chosen = [...chosen.filter((file) => !names.has(file.name)), ...files];
  chosenList.replaceChildren(
    ...chosen.map((file) => {
      const item = document.createElement("li");
      item.textContent = `${file.name} · ${file.size.toLocaleString("en")} bytes`;
      return item;
    }),
  );
  enable();
}

function row(name: string, value: string): HTMLDivElement {
  const group = document.createElement("div");
  const term = document.createElement("dt");
  const description = document.createElement("dd");
  term.textContent = name;
  description.textContent = value;
  group.append(term, description);
  return group;
}

function headline(found: Verdict): string {
  if (!found.ok) return "Bad: there are errors";
  return found.findings.length === 0 ? "Good: nothing is wrong" : "Good: no errors, but look at the warnings";
}

function show(found: Verdict): void {
  verdict = found;
  const { stats, findings } = found;
  result.className = `card ${found.ok ? "good" : "bad"}`;
  element("verdict-title").textContent = headline(found);
  element("assurance").textContent =
    found.assurance === "origin"
      ? "Checked against the root key that you gave."
      : "Checked without a root key: this tells whether the evidence is whole and agrees with itself, not whose it is.";
  const range = stats.firstSeq === undefined ? "none" : `${stats.firstSeq} to ${stats.lastSeq ?? ""}`;
  element("stats").replaceChildren(
    row("Log", [...stats.logs].sort(compareText).join(", ") || "unknown"),
    row("Receipts", `${stats.receipts.toLocaleString("en")} (${range})`),
    row("Bundles", String(stats.bundles)),
    row("Checkpoints", String(stats.checkpoints)),
    ...[...stats.verdicts].sort().map(([name, count]) => row(`Verdict: ${name}`, count.toLocaleString("en"))),
  );
  element("findings-none").hidden = findings.length > 0;
  element("findings-scroll").hidden = findings.length === 0;
  element("findings").replaceChildren(
    ...findings.slice(0, ROWS_MAX).map(({ code, path, seq, severity }) => {
      const line = document.createElement("tr");
      const tag = document.createElement("span");
      tag.className = `tag ${severity}`;
      tag.textContent = severity;
      const name = document.createElement("code");
      name.textContent = `${code} ${NAMES[code]}`;
      const cells = [tag, name, MEANINGS[code], seq === undefined ? "" : String(seq), path].map((content) => {
        const cell = document.createElement("td");
        cell.append(content);
        return cell;
      });
      cells[4]?.classList.add("place");
      line.append(...cells);
      return line;
    }),
  );
  const more = Math.max(0, findings.length - ROWS_MAX) + found.dropped;
  element("more").hidden = more === 0;
  element("more").textContent = `${more.toLocaleString("en")} more; the saved verdict has the first 10,000.`;
  result.hidden = false;
  say(found.ok ? "Verified: good." : "Verified: bad.");
  result.focus();
}

async function run(): Promise<void> {
  if (running) return;
  verdict = undefined;
  result.hidden = true;
  say("Verifying…");
  const options = await optionsOf();
  if (typeof options === "string") {
    say(options, true);
    return;
  }
  // A bundle is read twice: its container first, then what it holds.
  const total = chosen.reduce((sum, file) => sum + file.size * 2, 1);
  let done = 0;
  running = true;
  progress.value = 0;
  progress.hidden = false;
  enable();
  try {
    const inputs = inputsOf(chosen, (bytes) => {
      done += bytes;
      progress.value = Math.min(1, done / total);
    });
    show(await verifyInputs(inputs, options));
  } catch (error) {
    say(`This could not be verified: ${error instanceof Error ? error.message : String(error)}`, true);
  } finally {
    running = false;
    progress.hidden = true;
    enable();
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  void run();
});

picker.addEventListener("change", () => {
  choose([...(picker.files ?? [])]);
  picker.value = "";
});

clearButton.addEventListener("click", () => {
  chosen = [];
  choose([]);
  form.reset();
  result.hidden = true;
  verdict = undefined;
  say("");
});

element("save").addEventListener("click", () => {
  if (verdict === undefined) return;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([verdict.json], { type: "application/json" }));
  link.download = "verdict.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
});

async function fill(field: HTMLTextAreaElement, file: File): Promise<void> {
  if (file.size > TEXT_BYTES_MAX) say(`${file.name} is too long for this field.`, true);
  else field.value = await file.text();
}

// Wherever a file falls, the browser must not open it in place of this page.
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  drop.classList.add("over");
});
document.addEventListener("dragleave", () => drop.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  const files = [...(event.dataTransfer?.files ?? [])];
  const field = [rootField, checkpointField, policyField].find((candidate) => candidate === event.target);
  const first = files[0];
  if (field !== undefined) {
    if (first !== undefined) void fill(field, first);
  } else if (files.length > 0) {
    choose(files);
  }
});
