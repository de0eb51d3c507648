// Digests and signatures. Everything is there in plain JavaScript; an engine of the platform may take the place of
// SHA-256 and of Ed25519, where it is faster and (held by tests) gives the same answers.

import { ed25519 } from "@noble/curves/ed25519.js";
import { blake3 as nobleBlake3 } from "@noble/hashes/blake3.js";
import { sha256 as nobleSha256, sha512 } from "@noble/hashes/sha2.js";
import { concat, equal, hex, u32be, u64be, utf8 } from "./bytes.js";

export interface Hasher {
  update(data: Uint8Array): void;
  digest(): Uint8Array;
}

export interface Engine {
  sha256(data: Uint8Array): Uint8Array;
  sha256Stream(): Hasher;
  verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean;
}

type Point = InstanceType<typeof ed25519.Point>;

const ORDER = ed25519.Point.Fn.ORDER;
const FIELD = ed25519.Point.Fp.ORDER;
const POINTS_MAX = 64; // decoded public keys kept; a log has few keys in use at a time

function littleEndian(bytes: Uint8Array): bigint {
  return BigInt(`0x${hex(bytes.slice().reverse())}`);
}

/** Any encoding that RFC 8032 decoders accept in practice, also one with y ≥ p: the rule about keys stands elsewhere. */
function decodePoint(bytes: Uint8Array): Point | undefined {
  try {
    return ed25519.Point.fromBytes(bytes, true);
  } catch {
    return undefined;
  }
}

const points = new Map<string, Point>();

function keyPoint(publicKey: Uint8Array): Point | undefined {
  const name = hex(publicKey);
  const known = points.get(name);
  if (known !== undefined) return known;
  const point = decodePoint(publicKey);
  if (point === undefined) return undefined;
  if (points.size >= POINTS_MAX) points.clear();
  points.set(name, point);
  return point;
}

/**
 * RFC 8032 §5.1.7 without the cofactor, S < L: R' = S·B − k·A must have exactly the bytes of R. This is not noble's own
 * `verify`, which multiplies by the cofactor.
 */
export function verifyEd25519(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  if (publicKey.length !== 32 || signature.length !== 64) return false;
  const s = littleEndian(signature.subarray(32));
  if (s >= ORDER) return false;
  const a = keyPoint(publicKey);
  if (a === undefined) return false;
  const r = signature.subarray(0, 32);
  const k = littleEndian(sha512(concat(r, publicKey, message))) % ORDER;
  const sB = s === 0n ? ed25519.Point.ZERO : ed25519.Point.BASE.multiplyUnsafe(s);
  const kA = k === 0n ? ed25519.Point.ZERO : a.multiplyUnsafe(k);
  return equal(sB.subtract(kA).toBytes(), r);
}

const plain: Engine = {
  sha256: (data) => nobleSha256(data),
  sha256Stream() {
    const hash = nobleSha256.create();
    return {
      update(data) {
        hash.update(data);
      },
      digest: () => hash.digest(),
    };
  },
  verify: verifyEd25519,
};

let engine: Engine = plain;

/** Puts the platform's own SHA-256 and Ed25519 in the place of the plain ones. */
export function useEngine(other: Engine): void {
  engine = other;
}

export function sha256(data: Uint8Array): Uint8Array {
  return engine.sha256(data);
}

export function sha256Stream(): Hasher {
  return engine.sha256Stream();
}

export function verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  return signature.length === 64 && publicKey.length === 32 && engine.verify(publicKey, message, signature);
}

export function blake3(data: Uint8Array): Uint8Array {
  return nobleBlake3(data);
}

export function blake3Stream(): Hasher {
  const hash = nobleBlake3.create({});
  return {
    update(data) {
      hash.update(data);
    },
    digest: () => hash.digest(),
  };
}

const contexts = new Map<string, Uint8Array>();

/** BLAKE3 in derive-key mode. */
export function derive(context: string, input: Uint8Array): Uint8Array {
  let bytes = contexts.get(context);
  if (bytes === undefined) {
    bytes = utf8(context);
    contexts.set(context, bytes);
  }
  return nobleBlake3(input, { context: bytes });
}

/** The chain value of a receipt. */
export function chainValue(seq: bigint, body: Uint8Array): string {
  return hex(derive("pef.v0 receipt chain", concat(u64be(seq), u32be(body.length), body)));
}

/** What a DSSE signature signs. */
export function pae(type: string, body: Uint8Array): Uint8Array {
  const name = utf8(type);
  return concat(utf8(`DSSEv1 ${name.length} `), name, utf8(` ${body.length} `), body);
}

/** `SHA-256(name ‖ 0x0A ‖ algorithm ‖ public key)`; its first four bytes are the key hash of a signed note. */
export function keyHash(name: string, algorithm: number, publicKey: Uint8Array): Uint8Array {
  return sha256(concat(utf8(name), Uint8Array.of(0x0a, algorithm), publicKey));
}

/** Whether a public key is no canonical encoding of a point, or of small order. */
export function isWeakKey(publicKey: Uint8Array): boolean {
  const y = publicKey.slice();
  y[31] = (y[31] ?? 0) & 0x7f;
  if (littleEndian(y) >= FIELD) return true;
  const point = decodePoint(publicKey);
  return point === undefined || point.isSmallOrder();
}

/** CRC-32C (Castagnoli), reflected. */
const CRC_TABLE = (() => {
  const table = new Uint32Array(256);
  for (let i = 0; i < 256; i++) {
    let value = i;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
    table[i] = value >>> 0;
  }
  return table;
})();

export function crc32c(...parts: Uint8Array[]): number {
  let crc = 0xffffffff;
  for (const part of parts) {
    for (const byte of part) crc = (crc >>> 8) ^ (CRC_TABLE[(crc ^ byte) & 255] ?? 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}
