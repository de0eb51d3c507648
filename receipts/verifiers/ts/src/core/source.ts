// Where bytes come from: files of a disk or of a browser, read piece by piece.

export interface ByteSource {
  readonly size: number;
  /** These bytes, or as many of them as there are. */
  read(offset: number, length: number): Promise<Uint8Array>;
}

export const PIECE = 1024 * 1024;

export async function* pieces(source: ByteSource): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < source.size; ) {
    const piece = await source.read(at, Math.min(PIECE, source.size - at));
    if (piece.length === 0) return;
    at += piece.length;
    yield piece;
  }
}

/** A whole file, or undefined where it is longer than `max`. */
export async function readAll(source: ByteSource, max: number): Promise<Uint8Array | undefined> {
  if (source.size > max) return undefined;
  const all = new Uint8Array(source.size);
  let at = 0;
  for await (const piece of pieces(source)) {
    all.set(piece, at);
    at += piece.length;
  }
  return all.subarray(0, at);
}

/** The first bytes, at most so many. */
export async function readStart(source: ByteSource, max: number): Promise<Uint8Array> {
  return source.size <= max ? ((await readAll(source, max)) ?? new Uint8Array(0)) : source.read(0, max);
}

export function bytesSource(bytes: Uint8Array): ByteSource {
  return { size: bytes.length, read: async (offset, length) => bytes.subarray(offset, offset + length) };
}

export interface DirectoryMember {
  readonly name: string;
  /** Absent where it is no plain file. */
  readonly source?: ByteSource;
}

export interface BundleInput {
  /** `<input>`: what findings are placed under. */
  readonly label: string;
  /** A file, or the members of a directory in ascending order of their names. */
  readonly content: ByteSource | readonly DirectoryMember[];
  /** The external files beside it, by digest; absent where there is no place for them. */
  readonly externals?: (digest: string) => Promise<ByteSource | undefined>;
}

export interface ProofInput {
  readonly label: string;
  readonly proof: ByteSource;
  /** The companions of a tlog-proof. */
  readonly companion: (suffix: "receipt.json" | "keys.json") => Promise<ByteSource | undefined>;
}
