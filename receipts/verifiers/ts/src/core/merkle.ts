// The tree of RFC 6962 §2.1 in SHA-256: leaves, the frontier of a growing tree, and proofs.

import { concat, equal } from "./bytes.js";
import { sha256 } from "./crypto.js";

const LEAF = Uint8Array.of(0);
const NODE = Uint8Array.of(1);

export function leafHash(entry: Uint8Array): Uint8Array {
  return sha256(concat(LEAF, entry));
}

export function nodeHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  return sha256(concat(NODE, left, right));
}

function ones(size: bigint): number {
  let count = 0;
  for (let rest = size; rest > 0n; rest >>= 1n) if (rest & 1n) count++;
  return count;
}

/** The roots of the perfect subtrees of a tree, largest first, growing leaf by leaf. At most 64 hashes. */
export class Frontier {
  private constructor(
    private readonly hashes: Uint8Array[],
    private count: bigint,
  ) {}

  static empty(): Frontier {
    return new Frontier([], 0n);
  }

  /** Undefined where the number of hashes is not that of a tree of this size. */
  static of(size: bigint, hashes: Uint8Array[]): Frontier | undefined {
    return hashes.length === ones(size) ? new Frontier([...hashes], size) : undefined;
  }

  get size(): bigint {
    return this.count;
  }

  copy(): Frontier {
    return new Frontier([...this.hashes], this.count);
  }

  append(leaf: Uint8Array): void {
    let node = leaf;
    for (let rest = this.count; rest & 1n; rest >>= 1n) {
      const left = this.hashes.pop();
      if (left === undefined) break;
      node = nodeHash(left, node);
    }
    this.hashes.push(node);
    this.count++;
  }

  root(): Uint8Array {
    let root: Uint8Array | undefined;
    for (let i = this.hashes.length - 1; i >= 0; i--) {
      const hash = this.hashes[i];
      if (hash === undefined) continue;
      root = root === undefined ? hash : nodeHash(hash, root);
    }
    return root ?? sha256(new Uint8Array(0));
  }
}

/** RFC 9162 §2.1.3.2. */
export function verifyInclusion(
  index: bigint,
  size: bigint,
  leaf: Uint8Array,
  path: readonly Uint8Array[],
  root: Uint8Array,
): boolean {
  if (index >= size) return false;
  let fn = index;
  let sn = size - 1n;
  let node = leaf;
  for (const hash of path) {
    if (sn === 0n) return false;
    if (fn & 1n || fn === sn) {
      node = nodeHash(hash, node);
      while (!(fn & 1n) && fn !== 0n) {
        fn >>= 1n;
        sn >>= 1n;
      }
    } else {
      node = nodeHash(node, hash);
    }
    fn >>= 1n;
    sn >>= 1n;
  }
  return sn === 0n && equal(node, root);
}

/** RFC 9162 §2.1.4.2. There is no proof from the empty tree. */
export function verifyConsistency(
  first: bigint,
  second: bigint,
  firstRoot: Uint8Array,
  secondRoot: Uint8Array,
  proof: readonly Uint8Array[],
): boolean {
  if (first === 0n || first > second) return false;
  if (first === second) return proof.length === 0 && equal(firstRoot, secondRoot);
  const rest = [...proof];
  const start = (first & (first - 1n)) === 0n ? firstRoot : rest.shift();
  if (start === undefined) return false;
  let fr = start;
  let sr = start;
  let fn = first - 1n;
  let sn = second - 1n;
  while (fn & 1n) {
    fn >>= 1n;
    sn >>= 1n;
  }
  for (const hash of rest) {
    if (sn === 0n) return false;
    if (fn & 1n || fn === sn) {
      fr = nodeHash(hash, fr);
      sr = nodeHash(hash, sr);
      while (!(fn & 1n) && fn !== 0n) {
        fn >>= 1n;
        sn >>= 1n;
      }
    } else {
      sr = nodeHash(sr, hash);
    }
    fn >>= 1n;
    sn >>= 1n;
  }
  return sn === 0n && equal(fr, firstRoot) && equal(sr, secondRoot);
}
