import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { concat, equal } from "../src/core/bytes.js";
import { Xxh64 } from "../src/core/xxh64.js";
import { ZstdDecoder, ZstdError } from "../src/core/zstd.js";

function decode(file: Uint8Array, chunk: number): Uint8Array {
  const parts: Uint8Array[] = [];
  const decoder = new ZstdDecoder((data) => parts.push(data.slice()));
  for (let at = 0; at < file.length; at += chunk) decoder.push(file.subarray(at, at + chunk));
  decoder.end();
  return concat(...parts);
}

const samples: [string, Uint8Array][] = [
  ["empty", new Uint8Array(0)],
  ["one byte", Uint8Array.of(7)],
  ["zeros", new Uint8Array(2_500_000)],
  ["noise", new Uint8Array(randomBytes(300_000))],
  ["text", new TextEncoder().encode(Array.from({ length: 30_000 }, (_, i) => `line ${i * 7919} of ${i % 13}\n`).join(""))],
  ["hex", new TextEncoder().encode(randomBytes(150_000).toString("hex"))],
];
const noZstd = spawnSync("zstd", ["--version"]).status === 0 ? false : "the zstd command is missing";

test("decodes what the reference encoder writes, at every level and chunking", { skip: noZstd }, () => {
  for (const [name, data] of samples) {
    for (const level of ["-1", "-3", "-19"]) {
      const file = new Uint8Array(execFileSync("zstd", [level, "-q", "--zstd=wlog=21", "-c"], { input: data, maxBuffer: 1 << 26 }));
      for (const chunk of [file.length + 1, 977]) {
        assert.ok(equal(decode(file, chunk), data), `${name} ${level} ${chunk}`);
      }
    }
  }
});

test("refuses frames that a bundle may not be", { skip: noZstd }, () => {
  const data = samples[4]?.[1] ?? new Uint8Array(0);
  const pack = (...options: string[]) => new Uint8Array(execFileSync("zstd", ["-q", "-c", ...options], { input: data, maxBuffer: 1 << 26 }));
  const good = pack("--zstd=wlog=21");
  const refused = (file: Uint8Array) => assert.throws(() => decode(file, 4096), ZstdError);
  refused(pack("--no-check", "--zstd=wlog=21"));
  refused(pack("-19", "--long=24"));
  refused(concat(good, good));
  refused(concat(good, Uint8Array.of(0)));
  refused(good.subarray(0, good.length - 1));
  refused(new Uint8Array(0));
});

test("never gives other bytes for a damaged frame", { skip: noZstd }, () => {
  const data = new TextEncoder().encode(Array.from({ length: 400 }, (_, i) => `line ${i * 7919} of ${i % 13}\n`).join(""));
  const good = new Uint8Array(execFileSync("zstd", ["-19", "-q", "-c"], { input: data }));
  for (let at = 0; at < good.length; at++) {
    for (const bit of [1, 16, 128]) {
      const file = good.slice();
      file[at] = (file[at] ?? 0) ^ bit;
      try {
        assert.ok(equal(decode(file, 4096), data), `other bytes after a change at ${at}`);
      } catch (error) {
        assert.ok(error instanceof ZstdError, `at ${at}: ${String(error)}`);
      }
    }
  }
});

test("XXH64 of published inputs", () => {
  const digest = (text: string) => {
    const hash = new Xxh64();
    for (const byte of new TextEncoder().encode(text)) hash.update(Uint8Array.of(byte));
    return hash.digest();
  };
  assert.equal(digest(""), 0xef46db3751d8e999n);
  assert.equal(digest("a"), 0xd24ec4f1a98c6e5bn);
  assert.equal(digest("abc"), 0x44bc2cf5ad770999n);
});
