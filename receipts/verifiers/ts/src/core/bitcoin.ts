// A digest in a Bitcoin transaction, the way from the transaction to a block, and the work of the blocks from there on.

import { concat, equal, hex, readU32le, utf8 } from "./bytes.js";
import { sha256 } from "./crypto.js";

const HEADERS_MAX = 2_016;
const BRANCH_MAX = 32;

function double(bytes: Uint8Array): Uint8Array {
  return sha256(sha256(bytes));
}

/** Whether the hash of a header of 80 bytes is at most the target that the header itself names. */
export function meetsTarget(header: Uint8Array): boolean {
  if (header.length !== 80) return false;
  const bits = readU32le(header, 72);
  const exponent = Math.floor(bits / 2 ** 24);
  const mantissa = bits % 2 ** 24;
  if (exponent < 3 || exponent > 32 || mantissa < 1 || mantissa >= 2 ** 23) return false;
  const hash = BigInt(`0x${hex(double(header).reverse())}`);
  return hash <= BigInt(mantissa) << BigInt(8 * (exponent - 3));
}

class Malformed extends Error {}

class Reader {
  private at = 0;

  constructor(private readonly bytes: Uint8Array) {}

  take(length: number): Uint8Array {
    if (length > this.bytes.length - this.at) throw new Malformed();
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }

  /** CompactSize in its shortest form. */
  size(): number {
    const first = this.take(1)[0] ?? 0;
    if (first < 0xfd) return first;
    const width = first === 0xfd ? 2 : first === 0xfe ? 4 : 8;
    let value = 0;
    let scale = 1;
    for (const byte of this.take(width)) {
      value += byte * scale;
      scale *= 256;
    }
    // A value too large for a number to hold exactly is far beyond what there are bytes for.
    if (value < (width === 2 ? 0xfd : width === 4 ? 2 ** 16 : 2 ** 32)) throw new Malformed();
    return value;
  }

  get atEnd(): boolean {
    return this.at === this.bytes.length;
  }
}

/** The output scripts of a transaction without witness data. */
function outputs(tx: Uint8Array): Uint8Array[] | undefined {
  try {
    const reader = new Reader(tx);
    reader.take(4);
    const inputs = reader.size();
    if (inputs < 1) return undefined;
    for (let i = 0; i < inputs; i++) {
      reader.take(36);
      reader.take(reader.size());
      reader.take(4);
    }
    const count = reader.size();
    if (count < 1) return undefined;
    const scripts: Uint8Array[] = [];
    for (let i = 0; i < count; i++) {
      reader.take(8);
      scripts.push(reader.take(reader.size()));
    }
    reader.take(4);
    return reader.atEnd ? scripts : undefined;
  } catch (error) {
    if (error instanceof Malformed) return undefined;
    throw error;
  }
}

export function checkBranch(
  tx: Uint8Array,
  index: bigint,
  branch: readonly Uint8Array[],
  headers: readonly Uint8Array[],
  anchored: Uint8Array,
): ("E703" | "E708")[] {
  const scripts = tx.length === 64 ? undefined : outputs(tx);
  if (scripts === undefined) return ["E708"];
  const found: ("E703" | "E708")[] = [];
  const wanted = concat(Uint8Array.of(0x6a, 0x24), utf8("PEF0"), anchored);
  if (!scripts.some((script) => equal(script, wanted))) found.push("E703");
  if (!proven(double(tx), index, branch, headers)) found.push("E708");
  return found;
}

function proven(leaf: Uint8Array, index: bigint, branch: readonly Uint8Array[], headers: readonly Uint8Array[]): boolean {
  if (branch.length > BRANCH_MAX || index >= 1n << BigInt(branch.length)) return false;
  if (headers.length < 1 || headers.length > HEADERS_MAX) return false;
  let node = leaf;
  let rest = index;
  for (const hash of branch) {
    node = double(rest & 1n ? concat(hash, node) : concat(node, hash));
    rest >>= 1n;
  }
  let before: Uint8Array | undefined;
  for (const header of headers) {
    if (!meetsTarget(header)) return false;
    if (before === undefined ? !equal(header.slice(36, 68), node) : !equal(header.slice(4, 36), double(before))) return false;
    before = header;
  }
  return true;
}
