// pef-verify: the command line. Exit status 0 good, 1 bad, 2 nothing that can be verified.

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fromUtf8 } from "../core/bytes.js";
import { useEngine } from "../core/crypto.js";
import { MEANINGS } from "../core/explain.js";
import { isObject, LARGE, object, readJson, writeJson } from "../core/json.js";
import { parseVerifierKey, WitnessPolicy } from "../core/note.js";
import { NAMES, type Verdict } from "../core/report.js";
import type { Options } from "../core/session.js";
import { verifyInputs } from "../core/verify.js";
import { nodeEngine } from "./engine.js";
import { readInputs, UsageError } from "./inputs.js";

const HELP = `Verifies PEF v0 evidence offline: bundles, data directories, journals, tlog-proofs and event proofs.

usage: pef-verify [OPTIONS] PATH…
       pef-verify --batch < REQUESTS

  --root VKEY|FILE       the log's root key that you were given apart from the evidence
  --checkpoint FILE      a checkpoint of the log that you kept
  --witness-policy FILE  which witnesses must have cosigned (C2SP tlog-policy)
  --event FILE           the event whose release an event proof is to show
  --json                 print the canonical verdict
  --batch                JSON Lines on stdin: {"inputs": [PATH], "root"?, "checkpoint"?, "witness_policy"?, "event"?};
                         for each a line with the canonical verdict, or {"error": TEXT}

Status 0: no error was found. 1: there are errors. 2: nothing could be verified.
Example: pef-verify --root root.vkey evidence/0-1842.pef
`;

interface Request {
  inputs: string[];
  root?: string;
  checkpoint?: string;
  witness_policy?: string;
  event?: string;
}

const OPTION_BYTES_MAX = 64 * 1024 * 1024;

function file(path: string, what: string): Uint8Array {
  try {
    const bytes = readFileSync(path);
    if (bytes.length > OPTION_BYTES_MAX) throw new UsageError(`${what}: ${path} is longer than ${OPTION_BYTES_MAX} bytes`);
    return new Uint8Array(bytes);
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(`${what}: ${path}: ${(error as NodeJS.ErrnoException).code ?? "cannot be read"}`);
  }
}

function rootKey(text: string) {
  const given = parseVerifierKey(text.trim());
  if (given !== undefined) return given;
  const read = text.includes("+") ? undefined : fromUtf8(file(text, "--root"));
  const key = read === undefined ? undefined : parseVerifierKey(read.trim());
  if (key === undefined) throw new UsageError("--root: neither a signed-note verifier key (name+hash+base64) nor a file with one");
  return key;
}

function options(request: Request): Options {
  let witnessPolicy: WitnessPolicy | undefined;
  if (request.witness_policy !== undefined) {
    const parsed = WitnessPolicy.parse(file(request.witness_policy, "--witness-policy"));
    if (typeof parsed === "string") throw new UsageError(`--witness-policy: ${parsed}`);
    witnessPolicy = parsed;
  }
  return {
    ...(request.root === undefined ? {} : { root: rootKey(request.root) }),
    ...(request.checkpoint === undefined ? {} : { checkpoint: file(request.checkpoint, "--checkpoint") }),
    ...(witnessPolicy === undefined ? {} : { witnessPolicy }),
    ...(request.event === undefined ? {} : { event: file(request.event, "--event") }),
  };
}

async function run(request: Request): Promise<Verdict> {
  if (request.inputs.length === 0) throw new UsageError("there is nothing to verify: give a path");
  const chosen = options(request);
  return verifyInputs(readInputs(request.inputs), chosen);
}

/** Whatever keeps a verification from being carried out, as words. */
function words(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

const OPTIONS = { "--root": "root", "--checkpoint": "checkpoint", "--witness-policy": "witness_policy", "--event": "event" } as const;

function parse(args: readonly string[]): Request & { json: boolean } {
  const request: Request & { json: boolean } = { inputs: [], json: false };
  let plain = false;
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] ?? "";
    const [name = "", ...rest] = arg.split("=");
    if (!plain && arg === "--") plain = true;
    else if (!plain && arg === "--json") request.json = true;
    else if (!plain && Object.hasOwn(OPTIONS, name)) {
      const value = rest.length > 0 ? rest.join("=") : args[++i];
      if (value === undefined) throw new UsageError(`${name} needs a value`);
      request[OPTIONS[name as keyof typeof OPTIONS]] = value;
    } else if (!plain && arg.startsWith("-")) throw new UsageError(`unknown option ${arg}; --help lists them`);
    else request.inputs.push(arg);
  }
  return request;
}

function tell(verdict: Verdict): void {
  const { stats } = verdict;
  for (const { code, path, seq, severity } of verdict.findings) {
    const at = seq === undefined ? "" : ` at receipt ${seq}`;
    console.log(`${severity}: ${code} ${NAMES[code]}${at} in ${path}\n  ${MEANINGS[code]}`);
  }
  if (verdict.dropped > 0) console.log(`and ${verdict.dropped} findings more`);
  console.log(
    `${verdict.ok ? "good" : "BAD"}: ${stats.receipts} receipts, ${stats.bundles} bundles, ${stats.segments} segments, ${stats.checkpoints} checkpoints`,
  );
}

function caveats(verdict: Verdict): void {
  if (verdict.assurance === "integrity") {
    console.error("Whose evidence it is was not checked: pass the log's root key with --root.");
  }
  console.error(
    "No evidence can show a tail that was dropped after the last checkpoint that anybody kept, or a request that was never logged.",
  );
}

const BATCH_MEMBERS = ["checkpoint", "event", "inputs", "root", "witness_policy"];

function batchRequest(line: string): Request {
  const value = readJson(new TextEncoder().encode(line), LARGE);
  if (!isObject(value)) throw new UsageError("a request is an object");
  for (const name of value.keys()) if (!BATCH_MEMBERS.includes(name)) throw new UsageError(`unknown member ${name}`);
  const inputs = value.get("inputs");
  if (!Array.isArray(inputs) || !inputs.every((entry) => typeof entry === "string")) {
    throw new UsageError("inputs is a list of paths");
  }
  const request: Request = { inputs };
  for (const name of ["root", "checkpoint", "witness_policy", "event"] as const) {
    const member = value.get(name);
    if (typeof member === "string") request[name] = member;
    else if (member !== undefined) throw new UsageError(`${name} is a text`);
  }
  return request;
}

async function batch(): Promise<void> {
  for await (const line of createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY })) {
    if (line.trim() === "") continue;
    let answer: string;
    try {
      answer = (await run(batchRequest(line))).json;
    } catch (error) {
      answer = writeJson(object({ error: words(error) }));
    }
    process.stdout.write(`${answer}\n`);
  }
}

async function main(args: readonly string[]): Promise<number> {
  if (args.includes("--help") || args.includes("-h")) {
    process.stdout.write(HELP);
    return 0;
  }
  if (args.includes("--batch")) {
    await batch();
    return 0;
  }
  try {
    const request = parse(args);
    const verdict = await run(request);
    if (request.json) process.stdout.write(`${verdict.json}\n`);
    else tell(verdict);
    caveats(verdict);
    return verdict.ok ? 0 : 1;
  } catch (error) {
    console.error(`pef-verify: ${words(error)}`);
    return 2;
  }
}

useEngine(nodeEngine);
process.exitCode = await main(process.argv.slice(2));
