// A zstd decoder (RFC 8878) for exactly what a bundle may be: one frame with a content checksum, without a dictionary,
// with a window of at most 2 MiB, and nothing after it. Block by block, in memory bounded by the window; every count
// that the frame claims is checked before it is acted on, so that no input costs more than its output.

import { concat } from "./bytes.js";
import { Xxh64 } from "./xxh64.js";

const WINDOW_MAX = 2 * 1024 * 1024;
const BLOCK_MAX = 128 * 1024;

export class ZstdError extends Error {}

function bad(): never {
  throw new ZstdError();
}

/** Bits in the order in which FSE tables are described. */
class ForwardBits {
  private position: number;

  constructor(
    private readonly bytes: Uint8Array,
    at: number,
  ) {
    this.position = at * 8;
  }

  read(count: number): number {
    const end = this.position + count;
    if (end > this.bytes.length * 8) bad();
    let value = 0;
    for (let i = 0; i < count; i++) {
      const bit = this.position + i;
      value |= (((this.bytes[bit >> 3] ?? 0) >> (bit & 7)) & 1) << i;
    }
    this.position = end;
    return value;
  }

  back(count: number): void {
    this.position -= count;
  }

  /** The byte after the last one that was begun. */
  get byte(): number {
    return (this.position + 7) >> 3;
  }
}

/** Bits from the last byte to the first, below the highest set bit of the last. */
class BackwardBits {
  position: number;

  constructor(private readonly bytes: Uint8Array) {
    const last = bytes[bytes.length - 1];
    if (last === undefined || last === 0) bad();
    this.position = (bytes.length - 1) * 8 + (31 - Math.clz32(last));
  }

  /** At most 24 bits; those before the beginning are zero, and the position says how many of them were read. */
  read(count: number): number {
    if (count === 0) return 0;
    this.position -= count;
    return this.at(this.position, count);
  }

  peek(count: number): number {
    return this.at(this.position - count, count);
  }

  private at(position: number, count: number): number {
    if (position < 0) {
      const there = count + position;
      return there <= 0 ? 0 : this.at(0, there) << -position;
    }
    const byte = position >> 3;
    const bytes = this.bytes;
    const low = (bytes[byte] ?? 0) | ((bytes[byte + 1] ?? 0) << 8) | ((bytes[byte + 2] ?? 0) << 16) | ((bytes[byte + 3] ?? 0) << 24);
    return (low >>> (position & 7)) & ((1 << count) - 1);
  }

  /** More than 24 bits at once are read in two parts, high part first. */
  readLong(count: number): number {
    if (count <= 24) return this.read(count);
    const high = this.read(count - 16);
    return high * 65_536 + this.read(16);
  }
}

interface FseTable {
  readonly log: number;
  readonly symbols: Uint8Array;
  readonly bits: Uint8Array;
  readonly next: Uint16Array;
}

function buildFse(counts: readonly number[], log: number): FseTable {
  const size = 1 << log;
  const symbols = new Uint8Array(size);
  const bits = new Uint8Array(size);
  const next = new Uint16Array(size);
  const state = counts.map((count) => (count < 0 ? 1 : count));
  let high = size;
  counts.forEach((count, symbol) => {
    if (count < 0) symbols[--high] = symbol;
  });
  const step = (size >> 1) + (size >> 3) + 3;
  let position = 0;
  counts.forEach((count, symbol) => {
    for (let i = 0; i < count; i++) {
      symbols[position] = symbol;
      do {
        position = (position + step) & (size - 1);
      } while (position >= high);
    }
  });
  if (position !== 0) bad();
  for (let i = 0; i < size; i++) {
    const symbol = symbols[i] ?? 0;
    const number = state[symbol] ?? 0;
    state[symbol] = number + 1;
    const width = log - (31 - Math.clz32(number));
    bits[i] = width;
    next[i] = (number << width) - size;
  }
  return { log, symbols, bits, next };
}

/** The description of an FSE table, and the byte after it. */
function readFse(bytes: Uint8Array, at: number, logMax: number, symbolMax: number): { table: FseTable; end: number } {
  const reader = new ForwardBits(bytes, at);
  const log = reader.read(4) + 5;
  if (log > logMax) bad();
  const counts: number[] = [];
  let left = 1 << log;
  while (left > 0) {
    if (counts.length > symbolMax) bad();
    const width = 32 - Math.clz32(left + 1);
    let value = reader.read(width);
    const lower = (1 << (width - 1)) - 1;
    const threshold = (1 << width) - 1 - (left + 1);
    if ((value & lower) < threshold) {
      reader.back(1);
      value &= lower;
    } else if (value > lower) {
      value -= threshold;
    }
    const count = value - 1;
    left -= Math.abs(count);
    counts.push(count);
    if (count !== 0) continue;
    for (;;) {
      const zeros = reader.read(2);
      for (let i = 0; i < zeros; i++) counts.push(0);
      if (counts.length > symbolMax + 1) bad();
      if (zeros !== 3) break;
    }
  }
  if (left !== 0 || counts.length > symbolMax + 1) bad();
  return { table: buildFse(counts, log), end: reader.byte };
}

function single(symbol: number): FseTable {
  return { log: 0, symbols: Uint8Array.of(symbol), bits: new Uint8Array(1), next: new Uint16Array(1) };
}

const LITERAL_LENGTHS = buildFse(
  [4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1],
  6,
);
const MATCH_LENGTHS = buildFse(
  [
    1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1,
  ],
  6,
);
const OFFSETS = buildFse(
  [1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1],
  5,
);

const LITERAL_BITS = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
const MATCH_BITS = [
  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 4, 4,
  5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
];

function baselines(bits: readonly number[], start: number): number[] {
  const list: number[] = [];
  let base = start;
  for (const width of bits) {
    list.push(base);
    base += 1 << width;
  }
  return list;
}

const LITERAL_BASE = baselines(LITERAL_BITS, 0);
const MATCH_BASE = baselines(MATCH_BITS, 3);

interface Huffman {
  readonly log: number;
  readonly symbols: Uint8Array;
  readonly bits: Uint8Array;
}

const HUFFMAN_LOG_MAX = 11;

/** The description of a Huffman tree, and the byte after it. */
function readHuffman(bytes: Uint8Array, at: number): { huffman: Huffman; end: number } {
  const head = bytes[at];
  if (head === undefined) bad();
  const weights: number[] = [];
  let end: number;
  if (head >= 128) {
    const count = head - 127;
    end = at + 1 + ((count + 1) >> 1);
    if (end > bytes.length) bad();
    for (let i = 0; i < count; i++) {
      const byte = bytes[at + 1 + (i >> 1)] ?? 0;
      weights.push(i & 1 ? byte & 15 : byte >> 4);
    }
  } else {
    end = at + 1 + head;
    if (end > bytes.length) bad();
    const part = bytes.subarray(at + 1, end);
    const { table, end: from } = readFse(part, 0, 6, 255);
    const stream = new BackwardBits(part.subarray(Math.min(from, part.length)));
    const states = [stream.read(table.log), stream.read(table.log)];
    if (stream.position < 0) bad();
    for (let turn = 0; ; turn ^= 1) {
      const state = states[turn] ?? 0;
      weights.push(table.symbols[state] ?? 0);
      if (weights.length > 255) bad();
      states[turn] = (table.next[state] ?? 0) + stream.read(table.bits[state] ?? 0);
      if (stream.position < 0) {
        weights.push(table.symbols[states[turn ^ 1] ?? 0] ?? 0);
        break;
      }
    }
  }
  let sum = 0;
  for (const weight of weights) {
    if (weight > HUFFMAN_LOG_MAX) bad();
    if (weight > 0) sum += 1 << (weight - 1);
  }
  if (sum === 0 || weights.length > 255) bad();
  const log = 32 - Math.clz32(sum);
  if (log > HUFFMAN_LOG_MAX) bad();
  const left = (1 << log) - sum;
  if ((left & (left - 1)) !== 0) bad();
  weights.push(32 - Math.clz32(left));
  const symbols = new Uint8Array(1 << log);
  const bits = new Uint8Array(1 << log);
  let position = 0;
  for (let weight = 1; weight <= log; weight++) {
    const length = 1 << (weight - 1);
    weights.forEach((own, symbol) => {
      if (own !== weight) return;
      symbols.fill(symbol, position, position + length);
      bits.fill(log + 1 - weight, position, position + length);
      position += length;
    });
  }
  if (position !== 1 << log) bad();
  return { huffman: { log, symbols, bits }, end };
}

function decodeHuffman(bytes: Uint8Array, huffman: Huffman, out: Uint8Array): void {
  const stream = new BackwardBits(bytes);
  const { log, symbols, bits } = huffman;
  for (let i = 0; i < out.length; i++) {
    const index = stream.peek(log);
    out[i] = symbols[index] ?? 0;
    stream.position -= bits[index] ?? 0;
    if (stream.position < 0) bad();
  }
  if (stream.position !== 0) bad();
}

const enum Stage {
  Header,
  Block,
  Checksum,
  End,
}

export class ZstdDecoder {
  private stage: Stage = Stage.Header;
  private pending: Uint8Array = new Uint8Array(0);
  private window = 0;
  private blockMax = 0;
  private contentSize: bigint | undefined;
  private produced = 0;
  private readonly checksum = new Xxh64();
  /** The window, and what was decoded since the window was last moved to the front. */
  private buffer: Uint8Array = new Uint8Array(0);
  private at = 0;
  private huffman: Huffman | undefined;
  private tables: [FseTable?, FseTable?, FseTable?] = [];
  private repeats: [number, number, number] = [1, 4, 8];

  /** What is emitted is only good until the callback returns. */
  constructor(private readonly emit: (data: Uint8Array) => void) {}

  push(chunk: Uint8Array): void {
    this.pending = this.pending.length === 0 ? chunk : concat(this.pending, chunk);
    let at = 0;
    for (;;) {
      const used = this.step(this.pending.subarray(at));
      if (used === 0) break;
      at += used;
    }
    this.pending = this.pending.slice(at);
  }

  /** The file ends here. */
  end(): void {
    if (this.stage !== Stage.End || this.pending.length > 0) bad();
  }

  /** How many bytes were used; 0 where more are needed. */
  private step(bytes: Uint8Array): number {
    switch (this.stage) {
      case Stage.Header:
        return this.header(bytes);
      case Stage.Block:
        return this.block(bytes);
      case Stage.Checksum: {
        if (bytes.length < 4) return 0;
        const wanted = new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
        if (Number(this.checksum.digest() & 0xffffffffn) !== wanted) bad();
        if (this.contentSize !== undefined && this.contentSize !== BigInt(this.produced)) bad();
        this.stage = Stage.End;
        return 4;
      }
      case Stage.End:
        if (bytes.length > 0) bad();
        return 0;
    }
  }

  private header(bytes: Uint8Array): number {
    const magic = [0x28, 0xb5, 0x2f, 0xfd];
    for (let i = 0; i < 4 && i < bytes.length; i++) if (bytes[i] !== magic[i]) bad();
    const flags = bytes[4];
    if (flags === undefined) return 0;
    const singleSegment = (flags & 0x20) !== 0;
    const sizeFlag = flags >> 6;
    const sizeBytes = sizeFlag === 0 ? (singleSegment ? 1 : 0) : 1 << sizeFlag;
    const dictionaryBytes = [0, 1, 2, 4][flags & 3] ?? 0;
    if ((flags & 0x08) !== 0 || (flags & 0x04) === 0) bad();
    const windowBytes = singleSegment ? 0 : 1;
    const length = 5 + windowBytes + dictionaryBytes + sizeBytes;
    if (bytes.length < length) return 0;
    for (let i = 0; i < dictionaryBytes; i++) if (bytes[5 + windowBytes + i] !== 0) bad();
    if (sizeBytes > 0) {
      let size = 0n;
      for (let i = sizeBytes - 1; i >= 0; i--) size = (size << 8n) | BigInt(bytes[length - sizeBytes + i] ?? 0);
      this.contentSize = sizeBytes === 2 ? size + 256n : size;
    }
    if (singleSegment) {
      if ((this.contentSize ?? 0n) > BigInt(WINDOW_MAX)) bad();
      this.window = Number(this.contentSize ?? 0n);
    } else {
      const byte = bytes[5] ?? 0;
      const base = 2 ** (10 + (byte >> 3));
      this.window = base + (base / 8) * (byte & 7);
      if (this.window > WINDOW_MAX) bad();
    }
    this.blockMax = Math.min(this.window, BLOCK_MAX);
    this.buffer = new Uint8Array(this.window + 8 * BLOCK_MAX);
    this.stage = Stage.Block;
    return length;
  }

  private block(bytes: Uint8Array): number {
    if (bytes.length < 3) return 0;
    const head = (bytes[0] ?? 0) | ((bytes[1] ?? 0) << 8) | ((bytes[2] ?? 0) << 16);
    const type = (head >> 1) & 3;
    const size = head >> 3;
    if (type === 3 || size > this.blockMax) bad();
    const stored = type === 1 ? 1 : size;
    if (bytes.length < 3 + stored) return 0;
    const content = bytes.subarray(3, 3 + stored);
    if (this.at + this.blockMax > this.buffer.length) {
      this.buffer.copyWithin(0, this.at - this.window, this.at);
      this.at = this.window;
    }
    const from = this.at;
    if (type === 0) {
      this.buffer.set(content, this.at);
      this.at += size;
    } else if (type === 1) {
      this.buffer.fill(content[0] ?? 0, this.at, this.at + size);
      this.at += size;
    } else {
      this.compressed(content);
    }
    const out = this.buffer.subarray(from, this.at);
    this.produced += out.length;
    this.checksum.update(out);
    if (head & 1) this.stage = Stage.Checksum;
    if (out.length > 0) this.emit(out);
    return 3 + stored;
  }

  private compressed(bytes: Uint8Array): void {
    const { literals, end } = this.literals(bytes);
    this.sequences(bytes.subarray(end), literals);
  }

  private literals(bytes: Uint8Array): { literals: Uint8Array; end: number } {
    const first = bytes[0];
    if (first === undefined) bad();
    const type = first & 3;
    const format = (first >> 2) & 3;
    const field = (length: number): number => {
      if (bytes.length < length) bad();
      let value = 0;
      for (let i = length - 1; i >= 0; i--) value = value * 256 + (bytes[i] ?? 0);
      return value;
    };
    if (type < 2) {
      const length = format === 1 ? 2 : format === 3 ? 3 : 1;
      const size = length === 1 ? first >> 3 : Math.floor(field(length) / 16);
      if (size > this.blockMax) bad();
      const stored = type === 0 ? size : 1;
      if (length + stored > bytes.length) bad();
      const literals = type === 0 ? bytes.subarray(length, length + size) : new Uint8Array(size).fill(bytes[length] ?? 0);
      return { literals, end: length + stored };
    }
    const length = format === 3 ? 5 : format === 2 ? 4 : 3;
    const width = format === 3 ? 18 : format === 2 ? 14 : 10;
    const value = Math.floor(field(length) / 16);
    const size = value % 2 ** width;
    const stored = Math.floor(value / 2 ** width);
    const end = length + stored;
    if (size > this.blockMax || end > bytes.length) bad();
    let from = length;
    if (type === 2) {
      const read = readHuffman(bytes.subarray(0, end), length);
      this.huffman = read.huffman;
      from = read.end;
    }
    const huffman = this.huffman;
    if (huffman === undefined) bad();
    const streams = bytes.subarray(from, end);
    const literals = new Uint8Array(size);
    if (format === 0) {
      decodeHuffman(streams, huffman, literals);
      return { literals, end };
    }
    if (streams.length < 10 || size < 6) bad();
    const part = (size + 3) >> 2;
    let at = 6;
    for (let i = 0; i < 4; i++) {
      const length = i < 3 ? (streams[2 * i] ?? 0) | ((streams[2 * i + 1] ?? 0) << 8) : streams.length - at;
      if (length < 0 || at + length > streams.length || i * part > size) bad();
      decodeHuffman(streams.subarray(at, at + length), huffman, literals.subarray(i * part, i < 3 ? (i + 1) * part : size));
      at += length;
    }
    return { literals, end };
  }

  private table(bytes: Uint8Array, at: number, mode: number, kind: 0 | 1 | 2): number {
    const standard = ([LITERAL_LENGTHS, OFFSETS, MATCH_LENGTHS] as const)[kind];
    const symbolMax = ([35, 31, 52] as const)[kind];
    if (mode === 0) {
      this.tables[kind] = standard;
      return at;
    }
    if (mode === 1) {
      const symbol = bytes[at];
      if (symbol === undefined || symbol > symbolMax) bad();
      this.tables[kind] = single(symbol);
      return at + 1;
    }
    if (mode === 2) {
      const { table, end } = readFse(bytes, at, kind === 1 ? 8 : 9, symbolMax);
      this.tables[kind] = table;
      return end;
    }
    if (this.tables[kind] === undefined) bad();
    return at;
  }

  private sequences(bytes: Uint8Array, literals: Uint8Array): void {
    const first = bytes[0];
    if (first === undefined) bad();
    let count = first;
    let at = 1;
    if (first === 255) {
      count = (bytes[1] ?? 0) + ((bytes[2] ?? 0) << 8) + 0x7f00;
      at = 3;
    } else if (first >= 128) {
      count = ((first - 128) << 8) + (bytes[1] ?? 0);
      at = 2;
    }
    const limit = this.at + this.blockMax;
    let used = 0;
    if (count === 0) {
      if (bytes.length !== at) bad();
    } else {
      const modes = bytes[at++];
      if (modes === undefined || (modes & 3) !== 0) bad();
      at = this.table(bytes, at, modes >> 6, 0);
      at = this.table(bytes, at, (modes >> 4) & 3, 1);
      at = this.table(bytes, at, (modes >> 2) & 3, 2);
      if (at >= bytes.length) bad();
      used = this.copy(new BackwardBits(bytes.subarray(at)), count, literals, limit);
    }
    const rest = literals.length - used;
    if (this.at + rest > limit) bad();
    this.buffer.set(literals.subarray(used), this.at);
    this.at += rest;
  }

  /** Carries out the sequences; gives how many literals they used. */
  private copy(stream: BackwardBits, count: number, literals: Uint8Array, limit: number): number {
    const [ll, of, ml] = this.tables;
    if (ll === undefined || of === undefined || ml === undefined) bad();
    const buffer = this.buffer;
    let used = 0;
    let lState = stream.read(ll.log);
    let oState = stream.read(of.log);
    let mState = stream.read(ml.log);
    for (let i = 0; i < count; i++) {
      const offsetCode = of.symbols[oState] ?? 0;
      const matchCode = ml.symbols[mState] ?? 0;
      const literalCode = ll.symbols[lState] ?? 0;
      const offsetValue = 2 ** offsetCode + stream.readLong(offsetCode);
      const matchLength = (MATCH_BASE[matchCode] ?? 0) + stream.read(MATCH_BITS[matchCode] ?? 0);
      const literalLength = (LITERAL_BASE[literalCode] ?? 0) + stream.read(LITERAL_BITS[literalCode] ?? 0);
      if (i + 1 < count) {
        lState = (ll.next[lState] ?? 0) + stream.read(ll.bits[lState] ?? 0);
        mState = (ml.next[mState] ?? 0) + stream.read(ml.bits[mState] ?? 0);
        oState = (of.next[oState] ?? 0) + stream.read(of.bits[oState] ?? 0);
      }
      if (stream.position < 0) bad();
      const offset = this.offset(offsetValue, literalLength);
      if (used + literalLength > literals.length || this.at + literalLength + matchLength > limit) bad();
      buffer.set(literals.subarray(used, used + literalLength), this.at);
      used += literalLength;
      this.at += literalLength;
      // `at` counts from the front of a buffer that never forgets more than what lies outside of the window.
      if (offset > this.at || offset > this.window) bad();
      if (offset >= matchLength) {
        buffer.copyWithin(this.at, this.at - offset, this.at - offset + matchLength);
      } else {
        for (let j = 0; j < matchLength; j++) buffer[this.at + j] = buffer[this.at + j - offset] ?? 0;
      }
      this.at += matchLength;
    }
    if (stream.position !== 0) bad();
    return used;
  }

  private offset(value: number, literalLength: number): number {
    const [a, b, c] = this.repeats;
    if (value > 3) {
      this.repeats = [value - 3, a, b];
      return value - 3;
    }
    const index = literalLength === 0 ? value + 1 : value;
    if (index === 1) return a;
    const offset = index === 2 ? b : index === 3 ? c : a - 1;
    if (offset < 1) bad();
    this.repeats = index === 2 ? [b, a, c] : [offset, a, b];
    return offset;
  }
}

