// OpenTimestamps detached proofs, with the operations that SPEC §9 allows.

import { concat, equal, hex } from "./bytes.js";
import { sha256 } from "./crypto.js";

export interface OtsProof {
  readonly digest: Uint8Array;
  /** Messages that a Bitcoin attestation stands on: Merkle roots, as a block header spells them. */
  readonly bitcoin: readonly Uint8Array[];
}

const MAGIC = concat(
  Uint8Array.of(0),
  new TextEncoder().encode("OpenTimestamps"),
  Uint8Array.of(0, 0),
  new TextEncoder().encode("Proof"),
  Uint8Array.of(0, 0xbf, 0x89, 0xe2, 0xe8, 0x84, 0xe8, 0x92, 0x94),
);
const BITCOIN = "0588960d73d71901";
const PAYLOAD_MAX = 8_192;
const ARGUMENT_MAX = 4_096;
const OPERATIONS_MAX = 256;
const ATTESTATIONS_MAX = 1_024;

class Malformed extends Error {}

class Reader {
  private at = 0;
  private attestations = 0;
  readonly bitcoin: Uint8Array[] = [];

  constructor(private readonly bytes: Uint8Array) {}

  byte(): number {
    const byte = this.bytes[this.at++];
    if (byte === undefined) throw new Malformed();
    return byte;
  }

  take(length: number): Uint8Array {
    if (length > this.bytes.length - this.at) throw new Malformed();
    this.at += length;
    return this.bytes.slice(this.at - length, this.at);
  }

  get atEnd(): boolean {
    return this.at === this.bytes.length;
  }

  number(): number {
    let value = 0;
    for (let i = 0; i < 5; i++) {
      const byte = this.byte();
      value += (byte & 0x7f) * 2 ** (7 * i);
      if (byte >= 0x80) continue;
      if ((byte === 0 && i > 0) || value >= 2 ** 32) throw new Malformed();
      return value;
    }
    throw new Malformed();
  }

  private counted(min: number, max: number): Uint8Array {
    const length = this.number();
    if (length < min || length > max) throw new Malformed();
    return this.take(length);
  }

  timestamp(message: Uint8Array, depth: number): void {
    for (;;) {
      const tag = this.byte();
      if (tag !== 0xff) {
        this.item(tag, message, depth);
        return;
      }
      this.item(this.byte(), message, depth);
    }
  }

  private item(tag: number, message: Uint8Array, depth: number): void {
    if (tag === 0x00) {
      this.attestation(message);
      return;
    }
    if (depth >= OPERATIONS_MAX) throw new Malformed();
    this.timestamp(this.operation(tag, message), depth + 1);
  }

  private operation(tag: number, message: Uint8Array): Uint8Array {
    if (tag === 0x08) return sha256(message);
    if (tag !== 0xf0 && tag !== 0xf1) throw new Malformed();
    const argument = this.counted(1, ARGUMENT_MAX);
    const result = tag === 0xf0 ? concat(message, argument) : concat(argument, message);
    if (result.length > ARGUMENT_MAX) throw new Malformed();
    return result;
  }

  private attestation(message: Uint8Array): void {
    if (++this.attestations > ATTESTATIONS_MAX) throw new Malformed();
    const type = hex(this.take(8));
    const payload = this.counted(0, PAYLOAD_MAX);
    if (type !== BITCOIN) return;
    const inner = new Reader(payload);
    inner.number();
    if (!inner.atEnd || message.length !== 32) throw new Malformed();
    this.bitcoin.push(message);
  }
}

export function readOts(file: Uint8Array): OtsProof | undefined {
  try {
    const reader = new Reader(file);
    if (!equal(reader.take(MAGIC.length), MAGIC) || reader.byte() !== 1 || reader.byte() !== 0x08) return undefined;
    const digest = reader.take(32);
    reader.timestamp(digest, 0);
    return reader.atEnd ? { digest, bitcoin: reader.bitcoin } : undefined;
  } catch (error) {
    if (error instanceof Malformed) return undefined;
    throw error;
  }
}
