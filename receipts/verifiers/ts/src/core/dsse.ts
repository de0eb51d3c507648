// DSSE envelopes in the one form that SPEC §5 allows: three members, one signature, strict base64.

import { fromBase64 } from "./bytes.js";
import { pae, verify } from "./crypto.js";
import { isObject, type JsonObject, type Value } from "./json.js";

export const RECEIPT_TYPE = "application/vnd.pef.receipt.v0+json";
export const KEY_TYPE = "application/vnd.pef.key.v0+json";
export const REVOCATION_TYPE = "application/vnd.pef.revocation.v0+json";
export const ROTATION_TYPE = "application/vnd.pef.rotation.v0+json";
export const CUSTODY_TYPE = "application/vnd.pef.custody.v0+json";
export const STATEMENT_TYPE = "application/vnd.in-toto+json";

export interface Envelope {
  readonly payload: Uint8Array;
  readonly payloadType: string;
  readonly keyid: string;
  readonly sig: Uint8Array;
}

function only(object: JsonObject, ...names: string[]): boolean {
  return object.size === names.length && names.every((name) => object.has(name));
}

export function envelopeOf(value: Value | undefined): Envelope | undefined {
  if (!isObject(value) || !only(value, "payload", "payloadType", "signatures")) return undefined;
  const payload = value.get("payload");
  const payloadType = value.get("payloadType");
  const signatures = value.get("signatures");
  if (typeof payload !== "string" || typeof payloadType !== "string") return undefined;
  if (!Array.isArray(signatures) || signatures.length !== 1) return undefined;
  const signature = signatures[0];
  if (!isObject(signature) || !only(signature, "keyid", "sig")) return undefined;
  const keyid = signature.get("keyid");
  const sig = signature.get("sig");
  if (typeof keyid !== "string" || typeof sig !== "string") return undefined;
  const payloadBytes = fromBase64(payload);
  const sigBytes = fromBase64(sig);
  if (payloadBytes === undefined || sigBytes === undefined || sigBytes.length !== 64) return undefined;
  return { payload: payloadBytes, payloadType, keyid, sig: sigBytes };
}

export function envelopeSignedBy(envelope: Envelope, publicKey: Uint8Array): boolean {
  return verify(publicKey, pae(envelope.payloadType, envelope.payload), envelope.sig);
}
