// The page in a real browser, driven over Chromium's debugging pipe: files are dropped on it as a person drops them.
// Without Chromium these tests are skipped, and fail where CI=true.
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { Readable, Writable } from "node:stream";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";

const table = resolve("../../../tests/vectors/pef");
const page = resolve("dist/pef-verify.html");
const browser = ["chromium", "chromium-browser", "google-chrome"].find((name) => spawnSync(name, ["--version"]).status === 0);
const skip = { skip: browser === undefined ? "there is no chromium" : false, timeout: 120_000 };
if (browser === undefined) {
  console.log("skipped: the page in a browser: there is no chromium");
  test("a browser is there", () => assert.notEqual(process.env.CI, "true", "CI does not skip"));
}

type Json = Record<string, unknown>;

/** The DevTools protocol over two pipes: messages end in a zero byte. */
class Browser {
  private readonly waiting = new Map<number, (message: Json) => void>();
  private next = 1;
  private rest = "";
  session: string | undefined;
  readonly events: Json[] = [];

  constructor(readonly process: ChildProcess) {
    const output = process.stdio[4] as Readable;
    output.setEncoding("utf8");
    output.on("data", (text: string) => {
      const parts = (this.rest + text).split("\0");
      this.rest = parts.pop() ?? "";
      for (const part of parts) {
        const message = JSON.parse(part) as Json;
        if (typeof message.id === "number") this.waiting.get(message.id)?.(message);
        else this.events.push(message);
      }
    });
  }

  async send(method: string, params: Json = {}): Promise<Json> {
    const id = this.next++;
    const message = { id, method, params, ...(this.session === undefined ? {} : { sessionId: this.session }) };
    const answer = new Promise<Json>((done) => this.waiting.set(id, done));
    (this.process.stdio[3] as Writable).write(`${JSON.stringify(message)}\0`);
    const { error, result } = await answer;
    assert.equal(error, undefined, `${method}: ${JSON.stringify(error)}`);
    return result as Json;
  }

  // Whatever the expression gives.
  async evaluate(expression: string): Promise<any> {
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", {
      expression,
      awaitPromise: true,
      returnByValue: true,
    });
    assert.ok(exceptionDetails === undefined, JSON.stringify(exceptionDetails));
    return (result as Json).value;
  }
}

let chromium: Browser;
let profile: string;

before(async () => {
  if (browser === undefined) return;
  profile = mkdtempSync(join(tmpdir(), "pef-page-"));
  const flags = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1100,1500",
    `--user-data-dir=${profile}`,
    "--remote-debugging-pipe",
    "about:blank",
  ];
  chromium = new Browser(spawn(browser, flags, { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] }));
  const { targetId } = await chromium.send("Target.createTarget", { url: "about:blank" });
  const { sessionId } = await chromium.send("Target.attachToTarget", { targetId, flatten: true });
  chromium.session = String(sessionId);
  for (const domain of ["Page", "Runtime", "Network", "Log"]) await chromium.send(`${domain}.enable`);
});

after(async () => {
  if (browser === undefined) return;
  const gone = new Promise((done) => chromium.process.once("exit", done));
  chromium.session = undefined;
  void chromium.send("Browser.close");
  const insist = setTimeout(() => chromium.process.kill("SIGKILL"), 10_000);
  await gone;
  clearTimeout(insist);
  try {
    rmSync(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
  } catch (error) {
    // A process of the browser's own may write for a moment longer; its files are in the temporary directory.
    console.log(`left behind: ${profile} (${String(error)})`);
  }
});

/** A fresh page, from a file. */
async function open(): Promise<void> {
  await chromium.send("Page.navigate", { url: pathToFileURL(page).href });
  await chromium.evaluate(`new Promise((done) => {
    const look = () => document.readyState === "complete" && document.getElementById("verify") ? done() : setTimeout(look, 20);
    look();
  })`);
  // What the page would save is what is looked at.
  await chromium.evaluate(`window.saved = []; URL.createObjectURL = (blob) => { window.saved.push(blob); return "#"; }`);
}

async function dropOn(id: string, files: string[]): Promise<void> {
  const { x, y } = await chromium.evaluate(`(() => {
    const place = document.getElementById("${id}");
    place.scrollIntoView({ block: "center" });
    const box = place.getBoundingClientRect();
    return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
  })()`);
  const data = { items: [], files, dragOperationsMask: 1 };
  for (const type of ["dragEnter", "dragOver", "drop"]) await chromium.send("Input.dispatchDragEvent", { type, x, y, data });
}

/** Presses the button, and gives the verdict that the page would save, and what it shows. */
async function verify(): Promise<{ json: string; title: string; codes: string[]; assurance: string }> {
  return chromium.evaluate(`(async () => {
    const button = document.getElementById("verify");
    const shown = document.getElementById("result");
    const said = document.getElementById("status");
    for (let i = 0; button.disabled && i < 200; i++) await new Promise((done) => setTimeout(done, 20));
    button.click();
    for (let i = 0; shown.hidden && !said.classList.contains("bad") && i < 3000; i++) await new Promise((done) => setTimeout(done, 20));
    if (shown.hidden) throw new Error(said.textContent);
    document.getElementById("save").click();
    return {
      json: await window.saved.pop().text(),
      title: document.getElementById("verdict-title").textContent,
      assurance: document.getElementById("assurance").textContent,
      codes: [...document.querySelectorAll("#findings tr")].map((row) => row.cells[1].textContent.slice(0, 4)),
    };
  })()`);
}

async function picture(name: string): Promise<void> {
  const folder = process.env.PEF_PAGE_PICTURES;
  if (folder === undefined) return;
  const { data } = await chromium.send("Page.captureScreenshot", { captureBeyondViewport: true });
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${name}.png`), Buffer.from(String(data), "base64"));
}

interface Case {
  name: string;
  inputs: string[];
  root?: string;
  codes: [string, string][];
  verdict?: string;
}

const cases: Case[] = JSON.parse(readFileSync(join(table, "index.json"), "utf8")).cases;
const caseOf = (name: string) => cases.find((one) => one.name === name) ?? assert.fail(`no case ${name}`);
const filesOf = (one: Case) => one.inputs.map((path) => join(table, path));

test("a good bundle that is dropped is good, with and without the root key", skip, async () => {
  const one = caseOf("valid/bundle");
  await open();
  await dropOn("drop", filesOf(one));
  const first = await verify();
  assert.match(first.title, /^Good/);
  assert.match(first.assurance, /without a root key/);
  await chromium.evaluate(`document.getElementById("root").value = ${JSON.stringify(one.root)}`);
  const second = await verify();
  assert.match(second.title, /^Good/);
  assert.match(second.assurance, /root key that you gave/);
  if (one.verdict !== undefined) assert.equal(second.json, readFileSync(join(table, one.verdict), "utf8"));
  await picture("good");
});

test("forged bundles give their codes", skip, async () => {
  for (const name of ["forged/e401-signature", "forged/e503-prev", "forged/e103-sha256", "forged/e108-not-zstd"]) {
    const one = caseOf(name);
    await open();
    await chromium.evaluate(`document.getElementById("root").value = ${JSON.stringify(one.root ?? "")}`);
    await dropOn("drop", filesOf(one));
    const shown = await verify();
    assert.match(shown.title, /^Bad/, name);
    for (const [code] of one.codes) assert.ok(shown.codes.includes(code), `${name}: ${shown.codes.join()}`);
    if (one.verdict !== undefined) assert.equal(shown.json, readFileSync(join(table, one.verdict), "utf8"));
    await picture(name.replace("/", "-"));
  }
});

test("a proof with its companions is good, and alone it misses them", skip, async () => {
  const one = caseOf("valid/proof");
  const proof = filesOf(one)[0] ?? assert.fail("no proof");
  const folder = resolve(proof, "..");
  const companions = readdirSync(folder)
    .filter((name) => name === "keys.json" || name.endsWith(".receipt.json"))
    .map((name) => join(folder, name));
  await open();
  await dropOn("drop", [proof, ...companions]);
  assert.match((await verify()).title, /^Good/);
  await open();
  await dropOn("drop", [proof]);
  assert.ok((await verify()).codes.includes("E101"));
});

test("a root key that is none is said, and a file dropped on a field fills it", skip, async () => {
  const one = caseOf("valid/bundle");
  const file = join(profile, "root.vkey");
  writeFileSync(file, `${one.root}\n`);
  await open();
  await dropOn("drop", filesOf(one));
  await chromium.evaluate(`document.getElementById("root").value = "nonsense"`);
  await assert.rejects(verify(), /no verifier key/);
  await dropOn("root", [file]);
  assert.equal(
    await chromium.evaluate(`new Promise((done) => {
      const look = () => document.getElementById("root").value.includes("nonsense") ? setTimeout(look, 20) : done(document.getElementById("root").value.trim());
      look();
    })`),
    one.root,
  );
  assert.match((await verify()).title, /^Good/);
});

test("the page asks no network for anything, and its policy forbids it", skip, async () => {
  const asked = chromium.events
    .filter(({ method }) => method === "Network.requestWillBeSent")
    .map(({ params }) => String(((params as Json).request as Json).url))
    .filter((url) => !url.startsWith("file:") && !url.startsWith("blob:") && !url.startsWith("data:"));
  assert.deepEqual(asked, []);
  const complaints = chromium.events
    .filter(({ method }) => method === "Log.entryAdded" || method === "Runtime.exceptionThrown")
    .map(({ params }) => JSON.stringify(params));
  assert.deepEqual(complaints, []);
  await open();
  const refused = await chromium.evaluate(`fetch("http://127.0.0.1:9/").then(() => "sent", (error) => error.name)`);
  assert.equal(refused, "TypeError");
  assert.ok(
    await chromium.evaluate(`new Promise((done) => {
      document.addEventListener("securitypolicyviolation", (event) => done(event.violatedDirective === "connect-src"));
      fetch("http://127.0.0.1:9/").catch(() => {});
    })`),
  );
});
