// The custody log: what became of a bundle, each entry signed and chained to the one before.

import { fromHex, hex } from "./bytes.js";
import type { Manifest } from "./bundle.js";
import { derive, keyHash, sha256 } from "./crypto.js";
import { CUSTODY_TYPE, envelopeOf, envelopeSignedBy } from "./dsse.js";
import { check, decimalText, digest, objectOf, oneOf, text, timestamp } from "./form.js";
import { isCanonical, isObject, JsonError, readJson, SMALL, type Value } from "./json.js";
import { parseVerifierKey } from "./note.js";
import type { Session } from "./session.js";

const LINE_MAX = 65_535;
const CONTEXT = "pef.v0 custody";

const form = objectOf({
  required: {
    action: oneOf("created", "exported", "transferred", "opened", "verified", "redacted"),
    actor: text,
    at: timestamp,
    log: text,
    manifest: digest,
    n: decimalText,
    prev: digest,
    signer: text,
    v: oneOf("pef.v0"),
  },
  optional: { note: text, sha256: digest },
});

function read(bytes: Uint8Array): Value | undefined {
  try {
    const value = readJson(bytes, SMALL);
    return isCanonical(bytes, value) ? value : undefined;
  } catch (error) {
    if (error instanceof JsonError) return undefined;
    throw error;
  }
}

/** An entry's redacted digest ("" where it redacts nothing), or undefined where the entry is not good. */
function entry(line: Uint8Array, manifest: Manifest, manifestDigest: string, n: number, prev: string): string | undefined {
  if (line.length > LINE_MAX) return undefined;
  const envelope = envelopeOf(read(line));
  if (envelope === undefined || envelope.payloadType !== CUSTODY_TYPE) return undefined;
  const body = read(envelope.payload);
  if (body === undefined || !isObject(body) || check(body, form).length > 0) return undefined;
  const redacts = body.get("action") === "redacted";
  if (redacts !== body.has("sha256")) return undefined;
  if (body.get("log") !== manifest.log || body.get("manifest") !== manifestDigest) return undefined;
  if (body.get("n") !== String(n) || body.get("prev") !== prev) return undefined;
  const signer = parseVerifierKey(String(body.get("signer")));
  if (signer === undefined || hex(keyHash(signer.name, 1, signer.pub)) !== envelope.keyid) return undefined;
  if (!envelopeSignedBy(envelope, signer.pub)) return undefined;
  return redacts ? String(body.get("sha256")) : "";
}

/** Says where the log breaks; of an unbroken one, gives what was taken out. */
export function checkCustody(session: Session, bytes: Uint8Array, manifest: Manifest, path: string): ReadonlySet<string> {
  const manifestDigest = hex(sha256(manifest.bytes));
  const taken = new Set<string>();
  let prev = hex(derive(CONTEXT, fromHex(manifestDigest) ?? new Uint8Array(0)));
  let n = 0;
  for (let at = 0; at < bytes.length; n++) {
    const newline = bytes.indexOf(0x0a, at);
    const line = bytes.slice(at, newline < 0 ? bytes.length : newline);
    const redacted = newline < 0 ? undefined : entry(line, manifest, manifestDigest, n, prev);
    if (redacted === undefined) {
      session.report.add("E951", `${path}#${n}`);
      return new Set();
    }
    if (redacted !== "") taken.add(redacted);
    prev = hex(derive(CONTEXT, line));
    at = newline + 1;
  }
  return taken;
}
