// XXH64 with seed 0, of which zstd's content checksum is the low half. In halves of 32 bits, because big integers are
// too slow for every byte of a bundle.

/** The high half of a product of two unsigned 32-bit numbers. */
function mulHigh(a: number, b: number): number {
  const a0 = a & 0xffff;
  const a1 = a >>> 16;
  const b0 = b & 0xffff;
  const b1 = b >>> 16;
  const middle = a1 * b0 + ((Math.imul(a0, b0) >>> 16) >>> 0);
  const carry = (middle % 0x10000) + a0 * b1;
  return (a1 * b1 + Math.floor(middle / 0x10000) + Math.floor(carry / 0x10000)) >>> 0;
}

const P1H = 0x9e3779b1;
const P1L = 0x85ebca87;
const P2H = 0xc2b2ae3d;
const P2L = 0x27d4eb4f;
const P3 = 0x165667b19e3779f9n;
const PRIME1 = 0x9e3779b185ebca87n;
const PRIME2 = 0xc2b2ae3d27d4eb4fn;
const PRIME4 = 0x85ebca77c2b2ae63n;
const PRIME5 = 0x27d4eb2f165667c5n;
const MASK = (1n << 64n) - 1n;
const STRIPE = 32;

function rotl(value: bigint, bits: bigint): bigint {
  return ((value << bits) | (value >> (64n - bits))) & MASK;
}

function round(accumulator: bigint, lane: bigint): bigint {
  return (rotl((accumulator + lane * PRIME2) & MASK, 31n) * PRIME1) & MASK;
}

export class Xxh64 {
  private readonly low = new Uint32Array(4);
  private readonly high = new Uint32Array(4);
  private readonly rest = new Uint8Array(STRIPE);
  private held = 0;
  private total = 0;

  constructor() {
    const start = [PRIME1 + PRIME2, PRIME2, 0n, -PRIME1];
    start.forEach((value, i) => {
      const masked = BigInt.asUintN(64, value);
      this.low[i] = Number(masked & 0xffffffffn);
      this.high[i] = Number(masked >> 32n);
    });
  }

  update(data: Uint8Array): void {
    this.total += data.length;
    let at = 0;
    if (this.held > 0) {
      at = Math.min(STRIPE - this.held, data.length);
      this.rest.set(data.subarray(0, at), this.held);
      this.held += at;
      if (this.held < STRIPE) return;
      this.stripe(this.rest, 0);
      this.held = 0;
    }
    for (; at + STRIPE <= data.length; at += STRIPE) this.stripe(data, at);
    this.rest.set(data.subarray(at));
    this.held = data.length - at;
  }

  private stripe(data: Uint8Array, from: number): void {
    for (let lane = 0; lane < 4; lane++) {
      const at = from + 8 * lane;
      const l = ((data[at] ?? 0) | ((data[at + 1] ?? 0) << 8) | ((data[at + 2] ?? 0) << 16) | ((data[at + 3] ?? 0) << 24)) >>> 0;
      const h = ((data[at + 4] ?? 0) | ((data[at + 5] ?? 0) << 8) | ((data[at + 6] ?? 0) << 16) | ((data[at + 7] ?? 0) << 24)) >>> 0;
      // lane · P2, added to the accumulator
      const productLow = Math.imul(l, P2L) >>> 0;
      const productHigh = (mulHigh(l, P2L) + Math.imul(h, P2L) + Math.imul(l, P2H)) >>> 0;
      const sum = (this.low[lane] ?? 0) + productLow;
      const low = sum >>> 0;
      const high = ((this.high[lane] ?? 0) + productHigh + (sum > 0xffffffff ? 1 : 0)) >>> 0;
      // rotated by 31 to the left, times P1
      const rl = ((low << 31) | (high >>> 1)) >>> 0;
      const rh = ((high << 31) | (low >>> 1)) >>> 0;
      this.low[lane] = Math.imul(rl, P1L) >>> 0;
      this.high[lane] = (mulHigh(rl, P1L) + Math.imul(rh, P1L) + Math.imul(rl, P1H)) >>> 0;
    }
  }

  digest(): bigint {
    let hash: bigint;
    if (this.total >= STRIPE) {
      const lanes = [0, 1, 2, 3].map((i) => (BigInt(this.high[i] ?? 0) << 32n) | BigInt(this.low[i] ?? 0));
      const turns = [1n, 7n, 12n, 18n];
      hash = lanes.reduce((sum, lane, i) => (sum + rotl(lane, turns[i] ?? 0n)) & MASK, 0n);
      for (const lane of lanes) hash = ((hash ^ round(0n, lane)) * PRIME1 + PRIME4) & MASK;
    } else {
      hash = PRIME5;
    }
    hash = (hash + BigInt(this.total)) & MASK;
    const view = new DataView(this.rest.buffer, 0, this.held);
    let at = 0;
    for (; at + 8 <= this.held; at += 8) {
      hash = (rotl(hash ^ round(0n, view.getBigUint64(at, true)), 27n) * PRIME1 + PRIME4) & MASK;
    }
    if (at + 4 <= this.held) {
      hash = (rotl(hash ^ ((BigInt(view.getUint32(at, true)) * PRIME1) & MASK), 23n) * PRIME2 + P3) & MASK;
      at += 4;
    }
    for (; at < this.held; at++) {
      hash = (rotl(hash ^ ((BigInt(view.getUint8(at)) * PRIME5) & MASK), 11n) * PRIME1) & MASK;
    }
    hash = ((hash ^ (hash >> 33n)) * PRIME2) & MASK;
    hash = ((hash ^ (hash >> 29n)) * P3) & MASK;
    return hash ^ (hash >> 32n);
  }
}
