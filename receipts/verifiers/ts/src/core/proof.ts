// Proofs about one receipt: that it is in the tree of a checkpoint, and that an event of its stream was released.

import { equal, fromHex, utf8 } from "./bytes.js";
import { any, check, decimalText, digest, listOf, objectOf, oneOf, text } from "./form.js";
import { canonicalBytes, isObject, type JsonObject, LARGE, type Value } from "./json.js";
import { KeyError, TrustFile } from "./keys.js";
import { leafHash, verifyInclusion } from "./merkle.js";
import { parseTlogProof } from "./note.js";
import type { Session } from "./session.js";
import { type ProofInput, readAll, readStart } from "./source.js";
import { readReported, singleReceipt } from "./stream.js";

const PROOF_BYTES_MAX = 65_536 + 8_192;
/** One more than an envelope may have: the check of the receipt says that it is too long, with its number. */
const ENVELOPE_READ_MAX = 65_536;

/** The receipt's own check, its checkpoint and its place in the tree. Gives the receipt's body. */
function checkInclusion(
  session: Session,
  trust: TrustFile | undefined,
  proofBytes: Uint8Array | undefined,
  proofPath: string,
  envelope: Uint8Array | undefined,
  envelopePath: string,
): JsonObject | undefined {
  const fits = proofBytes !== undefined && proofBytes.length <= PROOF_BYTES_MAX;
  const proof = fits ? parseTlogProof(proofBytes) : undefined;
  const receipt =
    envelope === undefined ? undefined : singleReceipt(session, trust, envelope, envelopePath, proof?.index ?? 0n);
  if (!fits) {
    session.report.add("E106", proofPath);
    return receipt?.body;
  }
  if (proof === undefined) {
    session.report.add("E405", proofPath);
    return receipt?.body;
  }
  const note = session.checkpoint(proof.note, proofPath, trust);
  if (note !== undefined) session.quorum(note, proofPath);
  if (receipt === undefined) return undefined;
  const { seq } = receipt;
  const included =
    note === undefined || verifyInclusion(proof.index, note.size, leafHash(receipt.leaf), proof.path, note.root);
  if (!included || seq !== proof.index) session.report.add("E602", proofPath, seq);
  return receipt.body;
}

export async function checkTlogProof(session: Session, input: ProofInput): Promise<void> {
  const { report } = session;
  const path = `${input.label}.tlog-proof`;
  const receiptPath = `${input.label}.receipt.json`;
  const proof = await readAll(input.proof, PROOF_BYTES_MAX);
  const keysSource = await input.companion("keys.json");
  let trust: TrustFile | undefined;
  if (keysSource === undefined) report.add("E101", "keys.json");
  else {
    const keys = await readAll(keysSource, LARGE.bytes);
    if (keys === undefined) report.add("E106", "keys.json");
    else trust = session.trust(() => TrustFile.fromBytes(keys), "keys.json");
  }
  const receiptSource = await input.companion("receipt.json");
  let envelope: Uint8Array | undefined;
  if (receiptSource === undefined) report.add("E101", receiptPath);
  else {
    envelope = await readStart(receiptSource, ENVELOPE_READ_MAX);
  }
  checkInclusion(session, trust, proof, path, envelope, receiptPath);
}

const form = objectOf({
  required: {
    event: decimalText,
    events: decimalText,
    keys: any,
    leaf: digest,
    path: listOf(digest),
    proof: text,
    receipt: any,
    v: oneOf("pef.v0"),
  },
});

export async function checkEventProof(session: Session, input: ProofInput): Promise<void> {
  const { report } = session;
  const path = `${input.label}.event-proof`;
  const bytes = await readAll(input.proof, LARGE.bytes);
  if (bytes === undefined) {
    report.add("E106", path);
    return;
  }
  const value: Value | undefined = readReported(session, bytes, LARGE, path);
  if (value === undefined) return;
  const faults = check(value, form);
  for (const { code, pointer } of faults) report.add(code, `${path}#${pointer}`);
  if (faults.length > 0 || !isObject(value)) return;
  const trust = session.trust(() => {
    const keys = value.get("keys");
    if (keys === undefined) throw new KeyError("E206");
    return TrustFile.fromValue(keys);
  }, path);
  const envelope = canonicalBytes(value.get("receipt") ?? null);
  const body = checkInclusion(session, trust, utf8(String(value.get("proof"))), path, envelope, path);
  const seqText = body?.get("seq");
  const seq = typeof seqText === "string" && /^[0-9]{1,20}$/.test(seqText) ? BigInt(seqText) : undefined;
  const stream = body?.get("stream");
  const index = BigInt(String(value.get("event")));
  const events = BigInt(String(value.get("events")));
  const leaf = fromHex(String(value.get("leaf"))) ?? new Uint8Array(32);
  const list = value.get("path");
  const hashes = (Array.isArray(list) ? list : []).map((entry) => fromHex(String(entry)) ?? new Uint8Array(32));
  if (body !== undefined) {
    const root = isObject(stream) ? fromHex(String(stream.get("root"))) : undefined;
    const good =
      isObject(stream) &&
      root !== undefined &&
      stream.get("events") === Number(events) &&
      verifyInclusion(index, events, leaf, hashes, root);
    if (!good) report.add("E602", path, seq);
  }
  const event = session.options.event;
  if (body !== undefined && event !== undefined && !equal(leafHash(event), leaf)) report.add("E602", path, seq);
}
