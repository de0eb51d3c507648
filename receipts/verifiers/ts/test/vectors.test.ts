// Published vectors of others, which are too large for this repository: CLYRA_SHARED_DATA, or shared/data beside the
// clone. Without them these tests are skipped, and fail where CI=true.
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { blake3 as noble } from "@noble/hashes/blake3.js";
import { fromBase64, fromHex, hex, utf8 } from "../src/core/bytes.js";
import { blake3, blake3Stream, derive, isWeakKey, pae, verifyEd25519 } from "../src/core/crypto.js";
import { JsonError, LARGE, readJson, writeJson } from "../src/core/json.js";
import { Frontier, leafHash, verifyConsistency, verifyInclusion } from "../src/core/merkle.js";
import { noteSignedBy, parseNote, parseVerifierKey } from "../src/core/note.js";
import { readOts } from "../src/core/ots.js";
import { readTimeStampResponse } from "../src/core/rfc3161.js";
import { nodeEngine } from "../src/node/engine.js";

const data = process.env.CLYRA_SHARED_DATA ?? resolve("../../../../shared/data");
const vectors = join(data, "vectors");
const missing = existsSync(vectors) ? false : `there is no ${vectors}`;
if (missing !== false) {
  console.log(`skipped: ${missing} (CLYRA_SHARED_DATA names another place)`);
  test("the published vectors are there", () => assert.notEqual(process.env.CI, "true", "CI does not skip"));
}
const skip = { skip: missing };

// Documents of others, in forms of their own.
const load = (path: string): any => JSON.parse(readFileSync(join(vectors, path), "utf8"));
const bytes = (text: string): Uint8Array => fromHex(text) ?? assert.fail(`not hex: ${text.slice(0, 40)}`);
const b64 = (text: string | null): Uint8Array => fromBase64(text ?? "") ?? assert.fail(`not base64: ${text}`);

test("CCTV: 914 edges of Ed25519, 208 of them accepted, as OpenSSL does", skip, () => {
  const cases = load("cctv-ed25519/ed25519/ed25519vectors.json");
  assert.equal(cases.length, 914);
  let accepted = 0;
  for (const { key, sig, msg } of cases) {
    const [k, m, s] = [bytes(key), utf8(msg), bytes(sig)];
    const ours = verifyEd25519(k, m, s);
    assert.equal(ours, nodeEngine.verify(k, m, s), `${key} ${sig}`);
    if (ours) accepted++;
  }
  assert.equal(accepted, 208);
});

test("Wycheproof: 151 of Ed25519", skip, () => {
  let count = 0;
  for (const group of load("wycheproof/testvectors_v1/ed25519_test.json").testGroups) {
    for (const one of group.tests) {
      const [k, m, s] = [bytes(group.publicKey.pk), bytes(one.msg), bytes(one.sig)];
      assert.equal(verifyEd25519(k, m, s), one.result === "valid", `case ${one.tcId}`);
      assert.equal(nodeEngine.verify(k, m, s), one.result === "valid", `case ${one.tcId}`);
      assert.ok(!isWeakKey(k), `case ${one.tcId}`);
      count++;
    }
  }
  assert.equal(count, 151);
});

test("BLAKE3: 35 inputs, hashed, keyed and derived", skip, () => {
  const { cases, key, context_string: context } = load("blake3/test_vectors/test_vectors.json");
  assert.equal(cases.length, 35);
  for (const { input_len: length, hash, keyed_hash: keyed, derive_key: derived } of cases) {
    const input = Uint8Array.from({ length }, (_, i) => i % 251);
    assert.equal(hex(blake3(input)), hash.slice(0, 64));
    const stream = blake3Stream();
    for (let at = 0; at < length; at += 100) stream.update(input.subarray(at, at + 100));
    assert.equal(hex(stream.digest()), hash.slice(0, 64));
    assert.equal(hex(noble(input, { key: utf8(key) })), keyed.slice(0, 64));
    assert.equal(hex(derive(context, input)), derived.slice(0, 64));
  }
});

test("RFC 8785: what the four restrictions allow is spelled as published, the rest is refused", skip, () => {
  const folder = "rfc8785-cyberphone/testdata";
  const spelled: string[] = [];
  for (const name of readdirSync(join(vectors, folder, "input"))) {
    const input = new Uint8Array(readFileSync(join(vectors, folder, "input", name)));
    const output = readFileSync(join(vectors, folder, "output", name), "utf8");
    try {
      assert.equal(writeJson(readJson(input, LARGE)), output, name);
      spelled.push(name);
    } catch (error) {
      assert.ok(error instanceof JsonError && (error.code === "E204" || error.code === "E205"), `${name}: ${String(error)}`);
    }
  }
  assert.ok(spelled.length >= 2, `spelled: ${spelled.join()}`);
});

test("Merkle proofs of transparency-dev: inclusion and consistency", skip, () => {
  let count = 0;
  const walk = (folder: string, run: (one: Record<string, unknown>) => boolean): void => {
    for (const entry of readdirSync(join(vectors, folder), { withFileTypes: true })) {
      const path = `${folder}/${entry.name}`;
      if (entry.isDirectory()) walk(path, run);
      else if (entry.name.endsWith(".json")) {
        const one = load(path);
        assert.equal(run(one), !one.wantErr, `${path}: ${one.desc}`);
        count++;
      }
    }
  };
  const hash = (value: unknown) => b64(value as string | null);
  const hashes = (value: unknown) => ((value as string[] | null) ?? []).map(b64);
  const number = (value: unknown) => BigInt(value as number);
  const root = "transparency-dev-merkle/testdata";
  // A leaf hash of another length is none; a proof has whole hashes only.
  const whole = (list: readonly Uint8Array[]) => list.every((entry) => entry.length === 32);
  walk(`${root}/inclusion`, (one) => {
    const path = hashes(one.proof);
    const leaf = hash(one.leafHash);
    const size = number(one.treeSize ?? one.size);
    return whole([leaf, ...path]) && verifyInclusion(number(one.leafIdx ?? one.index), size, leaf, path, hash(one.root));
  });
  walk(`${root}/consistency`, (one) => {
    const path = hashes(one.proof);
    return (
      whole(path) && verifyConsistency(number(one.size1), number(one.size2), hash(one.root1), hash(one.root2), path)
    );
  });
  assert.equal(count, 196);
});

test("RFC 6962: roots, consistency, and a proof from a real log", skip, () => {
  const roots = load("rfc6962/roots.json");
  const tree = Frontier.empty();
  const leaves: string[] = roots.leaf_inputs_hex;
  const wanted: string[] = roots.roots_by_size;
  assert.equal(hex(tree.root()), wanted[0]);
  leaves.forEach((leaf, i) => {
    tree.append(leafHash(bytes(leaf)));
    assert.equal(hex(tree.root()), wanted[i + 1]);
  });
  const real = load("rfc6962/rfc6962_ct.json");
  assert.equal(real.consistency.length, 4);
  for (const one of real.consistency) {
    const proof = one.proof.map(bytes);
    const check = (root: string) =>
      verifyConsistency(BigInt(one.size1), BigInt(one.size2), bytes(one.root1), bytes(root), proof);
    assert.ok(check(one.root2));
    assert.ok(!check("00".repeat(32)));
  }
  assert.equal(real.inclusion_real_ct.length, 1);
  for (const one of real.inclusion_real_ct) {
    const leaf = leafHash(bytes(one.leaf_hex));
    assert.equal(hex(leaf), one.leaf_hash);
    const path = one.audit_path.map(bytes);
    assert.ok(verifyInclusion(BigInt(one.leaf_index), BigInt(one.tree_size), leaf, path, bytes(one.root)));
    assert.ok(!verifyInclusion(BigInt(one.leaf_index) + 1n, BigInt(one.tree_size), leaf, path, bytes(one.root)));
  }
});

test("signed notes: 3 good, 4 that must fail", skip, () => {
  const notes = load("signed-note/extracted.json");
  assert.equal(notes.length, 7);
  for (const { name, vkeys, note: text, ok } of notes) {
    const note = parseNote(utf8(text));
    // As a reader must: none of the known keys may have signed wrongly, and one must have signed.
    const results: boolean[] = [];
    for (const vkey of vkeys) {
      const key = parseVerifierKey(vkey);
      for (const line of note?.signatures ?? []) {
        if (key === undefined || line.name !== key.name || line.hash !== key.hash) continue;
        results.push(noteSignedBy(note?.text ?? new Uint8Array(0), line.signature, key));
      }
    }
    // The same key twice is ambiguous: nobody here can be given such a list (a policy refuses it).
    const ambiguous = new Set(vkeys).size !== vkeys.length;
    assert.equal(!ambiguous && results.length > 0 && results.every(Boolean), ok, name);
  }
});

test("DSSE: pre-authentication encoding", skip, () => {
  const vector = load("dsse/vector.json");
  const encoded = pae(vector.payloadType, utf8(vector.payload_utf8));
  assert.equal(new TextDecoder().decode(encoded), vector.pae);
});

test("OpenTimestamps and time-stamp files of others never throw", skip, () => {
  let read = 0;
  for (const name of readdirSync(join(vectors, "opentimestamps/examples"))) {
    if (!name.endsWith(".ots")) continue;
    const file = new Uint8Array(readFileSync(join(vectors, "opentimestamps/examples", name)));
    if (readOts(file) !== undefined) read++;
    for (let at = 0; at < file.length; at += 7) readOts(file.subarray(0, at));
  }
  assert.ok(read >= 5, `${read} were read`);
  const folder = join(vectors, "rfc3161");
  for (const name of readdirSync(folder, { recursive: true }) as string[]) {
    if (!name.endsWith(".tsr")) continue;
    const file = new Uint8Array(readFileSync(join(folder, name)));
    readTimeStampResponse(file);
    for (let at = 0; at < file.length; at++) readTimeStampResponse(file.subarray(0, at));
  }
});

