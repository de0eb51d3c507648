// Node's own SHA-256 and Ed25519 (OpenSSL), many times faster than plain JavaScript. The tests hold both to the same
// answers.

import { createHash, createPublicKey, type KeyObject, verify } from "node:crypto";
import { hex } from "../core/bytes.js";
import type { Engine } from "../core/crypto.js";

const SPKI_PREFIX = Buffer.from("302a300506032b6570032100", "hex");
const KEYS_MAX = 64;
const keys = new Map<string, KeyObject>();

function keyOf(publicKey: Uint8Array): KeyObject {
  const name = hex(publicKey);
  const known = keys.get(name);
  if (known !== undefined) return known;
  const key = createPublicKey({ key: Buffer.concat([SPKI_PREFIX, publicKey]), format: "der", type: "spki" });
  if (keys.size >= KEYS_MAX) keys.clear();
  keys.set(name, key);
  return key;
}

export const nodeEngine: Engine = {
  sha256: (data) => new Uint8Array(createHash("sha256").update(data).digest()),
  sha256Stream() {
    const hash = createHash("sha256");
    return {
      update(data) {
        hash.update(data);
      },
      digest: () => new Uint8Array(hash.digest()),
    };
  },
  verify(publicKey, message, signature) {
    try {
      return verify(null, message, keyOf(publicKey), signature);
    } catch {
      return false; // OpenSSL takes no such key
    }
  },
};
