// The golden vectors: one table of cases and exact verdicts for every verifier (tests/vectors/pef/README.md).
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";

const table = resolve("../../../tests/vectors/pef");
const cli = resolve("dist/cli.js");

interface Case {
  name: string;
  inputs: string[];
  root?: string;
  checkpoint?: string;
  witness_policy?: string;
  event?: string;
  exit: number;
  codes: [string, string][];
  verdict?: string;
  pending?: boolean;
}

const cases: Case[] = JSON.parse(readFileSync(join(table, "index.json"), "utf8")).cases;

function request(one: Case): string {
  const at = (path: string) => join(table, path);
  return JSON.stringify({
    inputs: one.inputs.map(at),
    ...(one.root === undefined ? {} : { root: one.root }),
    ...(one.checkpoint === undefined ? {} : { checkpoint: at(one.checkpoint) }),
    ...(one.witness_policy === undefined ? {} : { witness_policy: at(one.witness_policy) }),
    ...(one.event === undefined ? {} : { event: at(one.event) }),
  });
}

test("every verdict of the table, byte for byte", () => {
  assert.ok(cases.length > 0);
  const input = `${cases.map(request).join("\n")}\n`;
  const lines = execFileSync("node", [cli, "--batch"], { input, maxBuffer: 1 << 28, encoding: "utf8" }).split("\n");
  const wrong: string[] = [];
  let pending = 0;
  cases.forEach((one, i) => {
    const line = lines[i] ?? "";
    const failed = line.startsWith('{"error":');
    if (one.exit === 2) {
      if (!failed) wrong.push(`${one.name}: there is nothing to verify, and still: ${line.slice(0, 300)}`);
    } else if (one.verdict === undefined) {
      pending++;
    } else {
      const wanted = readFileSync(join(table, one.verdict), "utf8");
      if (line !== wanted) wrong.push(`${one.name}:\n  got  ${line.slice(0, 1500)}\n  want ${wanted.slice(0, 1500)}`);
      if (line.includes('"ok":true') !== (one.exit === 0)) wrong.push(`${one.name}: another status than ${one.exit}`);
    }
  });
  if (pending > 0) console.log(`${pending} of ${cases.length} cases have no verdict in the table yet`);
  assert.equal(wrong.length, 0, `${wrong.length} of ${cases.length}:\n${wrong.join("\n")}`);
});

test("the command line's status and output are those of the table", () => {
  const some = (wanted: (one: Case) => boolean) => cases.filter(wanted).slice(0, 3);
  const picked = [
    ...some((one) => one.exit === 0 && one.verdict !== undefined),
    ...some((one) => one.exit === 1 && one.verdict !== undefined),
    ...some((one) => one.exit === 2),
    ...some((one) => one.checkpoint !== undefined && one.verdict !== undefined),
    ...some((one) => one.witness_policy !== undefined && one.verdict !== undefined),
    ...some((one) => one.event !== undefined && one.verdict !== undefined),
  ];
  for (const one of picked) {
    const option = (name: string, path: string | undefined) => (path === undefined ? [] : [name, join(table, path)]);
    const args = [
      cli,
      "--json",
      ...(one.root === undefined ? [] : ["--root", one.root]),
      ...option("--checkpoint", one.checkpoint),
      ...option("--witness-policy", one.witness_policy),
      ...option("--event", one.event),
      ...one.inputs.map((path) => join(table, path)),
    ];
    const { status, stdout } = spawnSync("node", args, { encoding: "utf8" });
    assert.equal(status, one.exit, one.name);
    if (one.verdict !== undefined) assert.equal(stdout, `${readFileSync(join(table, one.verdict), "utf8")}\n`, one.name);
  }
});

test("wrong usage is status 2, and a batch says it line by line", () => {
  const run = (...args: string[]) => spawnSync("node", [cli, ...args], { encoding: "utf8" }).status;
  assert.equal(run(), 2);
  assert.equal(run("--nonsense"), 2);
  assert.equal(run("--root"), 2);
  assert.equal(run("--root", "nonsense", table), 2);
  assert.equal(run("--help"), 0);
  const input = '{"inputs":[]}\nnonsense\n{"inputs":["a"],"more":1}\n';
  const lines = execFileSync("node", [cli, "--batch"], { input, encoding: "utf8" }).trim().split("\n");
  assert.equal(lines.length, 3);
  for (const line of lines) assert.ok(line.startsWith('{"error":'), line);
});

assert.ok(existsSync(cli), "build first: node build.mjs --tests");
