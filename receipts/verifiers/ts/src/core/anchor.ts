// Anchors: the files that an anchor receipt names, and what each kind of proof must be (SPEC §9, Anchor).

import { equal, fromHex, hex } from "./bytes.js";
import { meetsTarget, checkBranch } from "./bitcoin.js";
import { sha256 } from "./crypto.js";
import { check, type Form, decimalText, digest, hexOf, listOf, objectOf, text } from "./form.js";
import { isObject, LARGE } from "./json.js";
import type { TrustFile } from "./keys.js";
import { parseCheckpoint } from "./note.js";
import { readOts } from "./ots.js";
import { readTimeStampResponse } from "./rfc3161.js";
import { readReported, type ReceiptStream } from "./stream.js";
import type { Session } from "./session.js";

export const ANCHOR_BYTES_MAX = 1024 * 1024;

export interface AnchorFiles {
  /** Where findings place these files: `<input>/anchors` or `anchors`. */
  readonly path: string;
  /** Names of all files, in no order. */
  names(): readonly string[];
  /** A file's bytes; undefined where there is none. */
  get(name: string): Uint8Array | "long" | undefined;
}

export interface AnchorEvent {
  readonly kind: string;
  readonly proof: string;
  readonly note: string;
  readonly root: string;
  readonly size: bigint;
  readonly at: string | undefined;
  readonly header: string | undefined;
}

const ENDINGS: Record<string, string> = {
  directory: "json",
  object: "json",
  rfc3161: "tsr",
  opentimestamps: "ots",
  op_return: "json",
  witness: "note",
};

const NOTE_NAME = /^[0-9a-f]{64}\.note$/;

const stored = objectOf({ required: { uri: text }, optional: { etag: text, retain_until: text, version: text } });
const spv = objectOf({
  required: {
    branch: listOf(digest),
    headers: listOf(hexOf(/^[0-9a-f]{160}$/)),
    index: decimalText,
    tx: hexOf(/^(?:[0-9a-f]{2})*$/),
  },
});

/** Reads every anchor note: each is a checkpoint that was met, and claims its root. */
export function meetAnchorNotes(
  session: Session,
  files: AnchorFiles,
  trust: TrustFile | undefined,
  stream: ReceiptStream,
): void {
  const names = files.names().filter((name) => NOTE_NAME.test(name));
  for (const name of names.sort()) {
    const bytes = files.get(name);
    const path = `${files.path}/${name}`;
    if (bytes === undefined) continue;
    if (bytes === "long") {
      session.report.add("E405", path);
      continue;
    }
    const note = session.checkpoint(bytes, path, trust);
    if (note !== undefined) stream.claim(note.size, note.root, path);
  }
}

/** A file whose SHA-256 is its name. */
function look(session: Session, files: AnchorFiles, name: string, missing: string, seq: bigint): Uint8Array | undefined {
  const bytes = files.get(name);
  if (bytes === "long") {
    session.report.add("E106", `${files.path}/${name}`, seq);
    return undefined;
  }
  if (bytes === undefined || hex(sha256(bytes)) !== name.slice(0, 64)) {
    session.report.add("E701", missing, seq);
    return undefined;
  }
  return bytes;
}

export function checkAnchor(session: Session, files: AnchorFiles, event: AnchorEvent, path: string, seq: bigint): void {
  const noteName = `${event.note}.note`;
  const noteBytes = look(session, files, noteName, `${path}#/event/sha256`, seq);
  const note = noteBytes === undefined ? undefined : parseCheckpoint(noteBytes);
  if (note !== undefined && (note.size !== event.size || hex(note.root) !== event.root)) {
    session.report.add("E601", `${files.path}/${noteName}`, seq);
  }
  const proofName = `${event.proof}.${ENDINGS[event.kind] ?? "json"}`;
  const proof = look(session, files, proofName, `${path}#/event/proof`, seq);
  if (proof === undefined) return;
  const proofPath = `${files.path}/${proofName}`;
  const anchored = fromHex(event.note) ?? new Uint8Array(32);
  switch (event.kind) {
    case "directory":
    case "object":
      readForm(session, proof, stored, proofPath, seq);
      return;
    case "rfc3161": {
      const read = readTimeStampResponse(proof);
      if (read === undefined) {
        session.report.add("E702", proofPath, seq);
        return;
      }
      if (!read.sha256 || !equal(read.imprint, anchored)) session.report.add("E703", proofPath, seq);
      const at = event.at?.replace(/[-:T]/g, "").slice(0, 14);
      if (at !== read.time.slice(0, 14)) session.report.add("E704", proofPath, seq);
      return;
    }
    case "opentimestamps": {
      const read = readOts(proof);
      if (read === undefined) {
        session.report.add("E706", proofPath, seq);
        return;
      }
      if (!equal(read.digest, anchored)) session.report.add("E703", proofPath, seq);
      const header = event.header === undefined ? undefined : fromHex(event.header);
      if (header === undefined) {
        session.report.add("E705", proofPath, seq, "warning");
        return;
      }
      const merkleRoot = header.slice(36, 68);
      const attested = read.bitcoin.some((message) => equal(message, merkleRoot));
      if (!meetsTarget(header) || !attested) session.report.add("E706", proofPath, seq);
      return;
    }
    case "op_return": {
      const value = readForm(session, proof, spv, proofPath, seq);
      if (value === undefined) return;
      const texts = (name: string) => {
        const list = value.get(name);
        return Array.isArray(list) ? list.map((entry) => fromHex(String(entry)) ?? new Uint8Array(0)) : [];
      };
      const found = checkBranch(
        fromHex(String(value.get("tx"))) ?? new Uint8Array(0),
        BigInt(String(value.get("index"))),
        texts("branch"),
        texts("headers"),
        anchored,
      );
      for (const code of found) session.report.add(code, proofPath, seq);
      return;
    }
    case "witness": {
      const witnessed = parseCheckpoint(proof);
      if (witnessed !== undefined && note !== undefined && !equal(witnessed.text, note.text)) {
        session.report.add("E703", proofPath, seq);
      }
      return;
    }
    default:
      return;
  }
}

function readForm(session: Session, bytes: Uint8Array, form: Form, path: string, seq: bigint) {
  const value = readReported(session, bytes, LARGE, path, seq);
  if (value === undefined) return undefined;
  const faults = check(value, form);
  for (const { code, pointer } of faults) session.report.add(code, `${path}#${pointer}`, seq);
  return faults.length === 0 && isObject(value) ? value : undefined;
}
