// Damage of every kind: a verdict always, an error in it always, never an exception.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { ContainerError, TarReader, tarHeader } from "../src/core/tar.js";
import { concat, utf8 } from "../src/core/bytes.js";
import { useEngine } from "../src/core/crypto.js";
import { type JournalInput, SEGMENT } from "../src/core/journal.js";
import { bytesSource } from "../src/core/source.js";
import { type Inputs, verifyInputs } from "../src/core/verify.js";
import { ZstdDecoder } from "../src/core/zstd.js";
import { nodeEngine } from "../src/node/engine.js";

useEngine(nodeEngine);
const table = resolve("../../../tests/vectors/pef");
const read = (path: string) => new Uint8Array(readFileSync(path));
const NONE: Inputs = { journals: [], bundles: [], tlogProofs: [], eventProofs: [] };

const bundlePath = (() => {
  const folder = join(table, "valid/bundle");
  const name = readdirSync(folder).find((entry) => entry.endsWith(".pef")) ?? assert.fail("no bundle");
  return join(folder, name);
})();
const bundle = read(bundlePath);

async function verdictOf(file: Uint8Array) {
  return verifyInputs({ ...NONE, bundles: [{ label: "b.pef", content: bytesSource(file) }] }, {});
}

/** Every place of a long file would take minutes; these are spread over all of it. */
function* places(length: number, count: number): Generator<number> {
  const step = Math.max(1, Math.floor(length / count));
  for (let at = 0; at < length; at += step) yield at;
}

test("a bundle is good, and cut anywhere is one container finding", async () => {
  assert.ok((await verdictOf(bundle)).ok);
  for (const at of places(bundle.length, 250)) {
    const { findings } = await verdictOf(bundle.subarray(0, at));
    assert.deepEqual(findings.map(({ code, path }) => [code, path]), [["E108", "b.pef"]], `cut at ${at}`);
  }
});

test("a bundle with a changed bit is one container finding, or means the same", async () => {
  const whole = (await verdictOf(bundle)).json;
  for (const at of places(bundle.length, 500)) {
    const file = bundle.slice();
    file[at] = (file[at] ?? 0) ^ (1 << at % 8);
    const verdict = await verdictOf(file);
    const codes = verdict.findings.map(({ code }) => code);
    assert.ok(verdict.json === whole || ["E106", "E107", "E108"].includes(codes.join()), `at ${at}: ${codes.join()}`);
  }
});

/** The members of a bundle, to be damaged and checked as a directory. */
function membersOf(file: Uint8Array): { name: string; bytes: Uint8Array }[] {
  const members: { name: string; bytes: Uint8Array }[] = [];
  const tar = new TarReader({
    begin: (name) => members.push({ name, bytes: new Uint8Array(0) }),
    data(bytes) {
      const last = members[members.length - 1];
      if (last !== undefined) last.bytes = concat(last.bytes, bytes);
    },
    end() {},
  });
  new ZstdDecoder((data) => tar.push(data)).push(file);
  tar.end();
  return members;
}

test("a member with a changed byte is always an error", async () => {
  const members = membersOf(bundle);
  for (const [index, member] of members.entries()) {
    for (const at of places(member.bytes.length, 30)) {
      const content = members.map(({ name, bytes }, i) => {
        const copy = bytes.slice();
        if (i === index) copy[at] = (copy[at] ?? 0) ^ (1 << (at * 7) % 8);
        return { name, source: bytesSource(copy) };
      });
      const verdict = await verifyInputs({ ...NONE, bundles: [{ label: "b", content }] }, {});
      assert.ok(!verdict.ok, `${member.name} changed at ${at}`);
    }
  }
});

test("members that are cut short, left out, doubled or strange are errors", async () => {
  const members = membersOf(bundle);
  const check = async (list: { name: string; bytes: Uint8Array }[]) =>
    verifyInputs(
      { ...NONE, bundles: [{ label: "b", content: list.map(({ name, bytes }) => ({ name, source: bytesSource(bytes) })) }] },
      {},
    );
  assert.ok((await check(members)).ok);
  for (const [i, member] of members.entries()) {
    assert.ok(!(await check(members.filter((other) => other !== member))).ok, `without ${member.name}`);
    assert.ok(!(await check(members.flatMap((other) => (other === member ? [other, other] : [other])))).ok);
    for (const bytes of [new Uint8Array(0), utf8("null"), utf8("[]"), utf8("{}"), utf8('{"v":"pef.v0"}'), member.bytes.subarray(0, member.bytes.length >> 1)]) {
      const changed = members.map((other, j) => (i === j ? { name: other.name, bytes } : other));
      assert.ok(!(await check(changed)).ok, `${member.name} as ${bytes.length} bytes`);
    }
  }
});

const journalFolder = join(table, "valid/data-directory");
const journalRoot = (() => {
  const found = readdirSync(journalFolder).find((entry) => !entry.endsWith(".json")) ?? assert.fail("no data directory");
  return join(journalFolder, found);
})();

function journalInput(change: (name: string, bytes: Uint8Array) => Uint8Array): JournalInput {
  const files = (folder: string) => readdirSync(join(journalRoot, folder)).sort();
  const source = (path: string) => bytesSource(read(join(journalRoot, path)));
  return {
    segments: files("journal")
      .filter((name) => SEGMENT.test(name))
      .map((name) => ({ name, source: bytesSource(change(name, read(join(journalRoot, "journal", name)))) })),
    pruned: undefined,
    keys: {
      root: source("keys/root.vkey"),
      logs: files("keys/logs").map((name) => source(`keys/logs/${name}`)),
      receipts: files("keys/receipts").map((name) => source(`keys/receipts/${name}`)),
      revoked: [],
    },
    checkpoints: [],
    anchors: undefined,
  };
}

async function journalCodes(change: (name: string, bytes: Uint8Array) => Uint8Array): Promise<string[]> {
  const verdict = await verifyInputs({ ...NONE, journals: [journalInput(change)] }, {});
  return [...new Set(verdict.findings.map(({ code }) => code))];
}

test("a journal with a changed bit is never silent", async () => {
  assert.deepEqual(await journalCodes((_, bytes) => bytes), []);
  const names = journalInput((_, bytes) => bytes).segments.map(({ name }) => name);
  for (const name of names) {
    const length = read(join(journalRoot, "journal", name)).length;
    for (const at of places(length, 150)) {
      const codes = await journalCodes((other, bytes) => {
        const copy = bytes.slice();
        if (other === name) copy[at] = (copy[at] ?? 0) ^ (1 << at % 8);
        return copy;
      });
      assert.ok(codes.some((code) => code === "W001" || code === "W002"), `${name} at ${at}: ${codes.join()}`);
    }
  }
});

test("a journal that is cut ends torn, between frames, or is damaged", async () => {
  const names = journalInput((_, bytes) => bytes).segments.map(({ name }) => name);
  const last = names[names.length - 1] ?? "";
  const length = read(join(journalRoot, "journal", last)).length;
  for (const at of places(length, 200)) {
    const codes = await journalCodes((name, bytes) => (name === last ? bytes.subarray(0, at) : bytes));
    const explained = codes.length === 0 || codes.some((code) => ["W001", "W002", "E507"].includes(code));
    assert.ok(explained, `cut at ${at}: ${codes.join()}`);
    if (at < 4096) assert.ok(codes.includes("W002"), `a header cut at ${at}`);
  }
});

test("the tar has one form", () => {
  const pack = (...blocks: Uint8Array[]) => concat(...blocks, new Uint8Array(1024));
  const read = (file: Uint8Array) => {
    const names: string[] = [];
    const tar = new TarReader({ begin: (name) => names.push(name), data() {}, end() {} });
    tar.push(file);
    tar.end();
    return names;
  };
  const code = (file: Uint8Array) => {
    try {
      read(file);
      return "good";
    } catch (error) {
      return error instanceof ContainerError ? error.code : String(error);
    }
  };
  const content = concat(utf8("hello"), new Uint8Array(507));
  assert.deepEqual(read(pack(tarHeader("a", 5), content, tarHeader("b/c", 0))), ["a", "b/c"]);
  assert.equal(code(pack(tarHeader("b", 0), tarHeader("a", 0))), "E107");
  assert.equal(code(pack(tarHeader("a", 0), tarHeader("a", 0))), "E107");
  for (const name of ["/a", "a//b", "../a", "a/./b", "a b", "a/", ""]) assert.equal(code(pack(tarHeader(name, 0))), "E107", name);
  assert.equal(code(pack(tarHeader("a", 9_000_000))), "E106");
  assert.equal(code(tarHeader("a", 0)), "E108");
  assert.equal(code(concat(pack(tarHeader("a", 0)), new Uint8Array(512))), "E108");
  const header = tarHeader("a", 0);
  for (let at = 100; at < 512; at++) {
    const other = header.slice();
    other[at] = (other[at] ?? 0) ^ 1;
    assert.notEqual(code(pack(other)), "good", `byte ${at}`);
  }
});
