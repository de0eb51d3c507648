// A journal: its segments frame by frame, read as the same stream of receipts that bundles hold.

import { allZero, concat, decimal, equal, fromHex, hex, readU32be, readU64be, utf8 } from "./bytes.js";
import { type AnchorFiles, meetAnchorNotes } from "./anchor.js";
import { blake3, chainValue, crc32c, isWeakKey, keyHash, sha256 } from "./crypto.js";
import { check, decimalText, digest, listOf, objectOf, oneOf } from "./form.js";
import { canonicalBytes, isCanonical, isObject, JsonError, object, readJson, SMALL, type Value } from "./json.js";
import { isKeyDocument, isOrigin, KeyError, revokedKey, TrustFile } from "./keys.js";
import { Frontier } from "./merkle.js";
import { parseVerifierKey } from "./note.js";
import { RECEIPT_BYTES_MAX } from "./receipt.js";
import type { Session } from "./session.js";
import { type ByteSource, PIECE, readAll } from "./source.js";
import { type Identity, readReported, ReceiptStream, type Source } from "./stream.js";

const HEADER = 4_096;
const FRAME = 72;
const FRAME_MAX = FRAME + RECEIPT_BYTES_MAX + 64 + 8;
const CERTIFICATE_BYTES_MAX = 65_536;
const NOTE_BYTES_MAX = 65_536;
/**
 * How many bytes are summed in looking for a whole frame behind a broken one. Only a file made for it has so many
 * things that look like frames; it counts as damaged in the middle.
 */
const SEARCH_BYTES_MAX = 256 * 1024 * 1024;

export const SEGMENT = /^seg-([0-9]{20})\.pefwal$/;

export interface NamedFile {
  readonly name: string;
  readonly source: ByteSource;
}

export interface KeyFiles {
  readonly root: ByteSource | undefined;
  readonly logs: readonly ByteSource[];
  readonly receipts: readonly ByteSource[];
  readonly revoked: readonly NamedFile[];
}

export interface JournalInput {
  /** Ascending by name. */
  readonly segments: readonly NamedFile[];
  readonly pruned: ByteSource | undefined;
  readonly keys: KeyFiles;
  /** Notes of a data directory; their names are sizes, ascending as numbers. */
  readonly checkpoints: readonly NamedFile[];
  /** Undefined where no anchors are looked for. */
  readonly anchors: AnchorFiles | undefined;
}

/** A certificate or revocation of a file of its own. */
async function readEnvelope(source: ByteSource): Promise<Value> {
  const bytes = await readAll(source, CERTIFICATE_BYTES_MAX);
  if (bytes === undefined) throw new KeyError("E206");
  try {
    const value = readJson(bytes, SMALL);
    if (isCanonical(bytes, value) && isKeyDocument(value)) return value;
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
  }
  throw new KeyError("E206");
}

interface Keys {
  readonly trust: TrustFile | undefined;
  /** That of `root.vkey`, also where a certificate is not good. */
  readonly identity: Identity | undefined;
}

async function readKeys(session: Session, files: KeyFiles): Promise<Keys> {
  const path = "keys";
  let identity: Identity | undefined;
  if (files.root === undefined || files.logs.length === 0) {
    session.report.add("E101", path);
    return { trust: undefined, identity };
  }
  try {
    const text = new TextDecoder().decode((await readAll(files.root, CERTIFICATE_BYTES_MAX)) ?? new Uint8Array(0));
    const root = parseVerifierKey(text.trim());
    if (root === undefined) throw new KeyError("E206");
    const log = root.name.slice(0, -"/root".length);
    if (!root.name.endsWith("/root") || !isOrigin(log) || isWeakKey(root.pub)) throw new KeyError("E206");
    const certs: Value[] = [];
    for (const file of [...files.logs, ...files.receipts]) certs.push(await readEnvelope(file));
    const revoked: Value[] = [];
    for (const { name, source } of files.revoked) {
      const value = await readEnvelope(source);
      // A revocation lies under the id of its key.
      if (`${revokedKey(value)}.json` !== name) throw new KeyError("E206");
      revoked.push(value);
    }
    const rootKeyId = hex(keyHash(root.name, 1, root.pub));
    identity = { log, rootKeyId };
    session.identify(log, root.name, root.pub, path);
    const trust = session.trust(() => TrustFile.assemble(log, root.name, root.pub, rootKeyId, certs, revoked), path);
    return { trust, identity };
  } catch (error) {
    if (!(error instanceof KeyError)) throw error;
    session.report.add(error.code, path);
    return { trust: undefined, identity };
  }
}

const prunedForm = objectOf({
  required: {
    chain: digest,
    frontier: objectOf({ required: { hashes: listOf(digest), size: decimalText } }),
    v: oneOf("pef.v0"),
  },
});

async function readPruned(session: Session, source: ByteSource): Promise<{ chain: string; tree: Frontier } | undefined> {
  const path = "journal/pruned.json";
  const bytes = await readAll(source, SMALL.bytes);
  if (bytes === undefined) {
    session.report.add("E106", path);
    return undefined;
  }
  const value = readReported(session, bytes, SMALL, path);
  if (value === undefined) return undefined;
  const faults = check(value, prunedForm);
  for (const { code, pointer } of faults) session.report.add(code, `${path}#${pointer}`);
  if (faults.length > 0 || !isObject(value)) return undefined;
  const frontier = value.get("frontier");
  if (!isObject(frontier)) return undefined;
  const list = frontier.get("hashes");
  const hashes = (Array.isArray(list) ? list : []).map((entry) => fromHex(String(entry)) ?? new Uint8Array(32));
  const tree = Frontier.of(BigInt(String(frontier.get("size"))), hashes);
  if (tree === undefined) {
    session.report.add("E601", path);
    return undefined;
  }
  return { chain: String(value.get("chain")), tree };
}

interface Frame {
  readonly seal: boolean;
  readonly seq: bigint;
  readonly chain: string;
  readonly body: Uint8Array;
  readonly sig: Uint8Array;
  readonly length: number;
}

/** What a frame that begins here would take, or undefined where its first bytes are not those of a frame. */
function frameLength(bytes: Uint8Array, at: number): number | undefined {
  if (bytes.length - at < FRAME) return undefined;
  if (bytes[at] !== 0x50 || bytes[at + 1] !== 0x45 || bytes[at + 2] !== 0x46 || bytes[at + 3] !== 0x52) return undefined;
  const type = bytes[at + 5];
  const flags = (bytes[at + 6] ?? 0) | (bytes[at + 7] ?? 0);
  if (bytes[at + 4] !== 1 || (type !== 1 && type !== 4) || flags !== 0) return undefined;
  const body = readU32be(bytes, at + 8);
  const sig = ((bytes[at + 12] ?? 0) << 8) | (bytes[at + 13] ?? 0);
  if (body > RECEIPT_BYTES_MAX || sig !== (type === 1 ? 64 : 0) || readU32be(bytes, at + 68) !== 0) return undefined;
  const length = FRAME + body + sig;
  return length + ((8 - (length % 8)) % 8);
}

const ZERO4 = new Uint8Array(4);

/** The whole frame that begins here, or undefined. */
function readFrame(bytes: Uint8Array, at: number): Frame | undefined {
  const length = frameLength(bytes, at);
  if (length === undefined || length > bytes.length - at) return undefined;
  const bodyLength = readU32be(bytes, at + 8);
  const seal = bytes[at + 5] === 4;
  const end = at + FRAME + bodyLength + (seal ? 0 : 64);
  if (!allZero(bytes.subarray(end, at + length))) return undefined;
  const sum = crc32c(bytes.subarray(at, at + 64), ZERO4, bytes.subarray(at + 68, end));
  if (sum !== readU32be(bytes, at + 64)) return undefined;
  return {
    seal,
    seq: readU64be(bytes, at + 16),
    chain: hex(bytes.subarray(at + 32, at + 64)),
    body: bytes.slice(at + FRAME, at + FRAME + bodyLength),
    sig: bytes.slice(at + FRAME + bodyLength, end),
    length,
  };
}

/** A file read forwards, with at least a frame's bytes in view as long as there are any. */
class Window {
  private bytes: Uint8Array = new Uint8Array(0);
  private at = 0;
  private read = 0;

  constructor(private readonly source: ByteSource) {}

  /** The bytes from here on: `length` of them, or as many as there are. */
  async view(length: number): Promise<Uint8Array> {
    while (this.bytes.length - this.at < length && this.read < this.source.size) {
      const piece = await this.source.read(this.read, Math.min(PIECE, this.source.size - this.read));
      if (piece.length === 0) break;
      this.read += piece.length;
      this.bytes = concat(this.bytes.subarray(this.at), piece);
      this.at = 0;
    }
    return this.bytes.subarray(this.at);
  }

  skip(length: number): void {
    this.at += length;
  }
}

interface Header {
  readonly origin: string;
  readonly number: bigint;
  readonly first: bigint;
  readonly chain: string;
}

function readHeader(bytes: Uint8Array): Header | undefined {
  if (bytes.length < HEADER) return undefined;
  const header = bytes.subarray(0, HEADER);
  const good =
    equal(header.subarray(0, 8), Uint8Array.of(0x50, 0x45, 0x46, 0x57, 0x41, 0x4c, 0, 0)) &&
    readU32be(header, 8) === 1 &&
    readU32be(header, 12) === HEADER &&
    allZero(header.subarray(120, 4064)) &&
    equal(blake3(header.subarray(0, 4064)), header.subarray(4064));
  if (!good) return undefined;
  return {
    origin: hex(header.subarray(16, 48)),
    number: readU64be(header, 48),
    first: readU64be(header, 56),
    chain: hex(header.subarray(64, 96)),
  };
}

/** What a seal says: file bytes before it, last chain value, receipts in the segment. */
function sealBody(bytes: number, chain: string, receipts: number): Uint8Array {
  return canonicalBytes(object({ bytes: String(bytes), chain, receipts: String(receipts) }));
}

class JournalCheck {
  private before: { number: bigint } | "damaged" | "none" = "none";

  constructor(
    private readonly session: Session,
    private readonly identity: Identity | undefined,
    private readonly stream: ReceiptStream,
    private readonly pruned: boolean,
  ) {}

  async segment(file: NamedFile, source: Source, last: boolean): Promise<void> {
    const { report, stats } = this.session;
    const { path } = source;
    stats.segments++;
    this.stream.continueWith(source);
    const window = new Window(file.source);
    const header = readHeader(await window.view(HEADER));
    if (header === undefined) {
      report.add("W002", path);
      this.before = "damaged";
      return;
    }
    window.skip(HEADER);
    if (this.identity !== undefined && header.origin !== hex(sha256(utf8(this.identity.log)))) report.add("E604", path);
    const first = BigInt(SEGMENT.exec(file.name)?.[1] ?? "0");
    const chain = this.stream.chainNow;
    const continues =
      header.first === first &&
      (this.before === "damaged" ||
        (this.before === "none" ? this.pruned || header.number === 0n : header.number === this.before.number + 1n)) &&
      (header.first !== this.stream.next || chain === undefined || header.chain === chain);
    if (!continues) report.add("W002", path, first);
    this.before = { number: header.number };
    await this.frames(window, path, last);
  }

  private async frames(window: Window, path: string, last: boolean): Promise<void> {
    const { report } = this.session;
    let sealed = false;
    let offset = HEADER;
    let receipts = 0;
    for (;;) {
      const bytes = await window.view(FRAME_MAX);
      if (bytes.length === 0) return;
      const expected = this.stream.next ?? 0n;
      const frame = sealed ? undefined : readFrame(bytes, 0);
      if (frame === undefined) {
        const torn = last && !sealed && !(await this.frameFollows(window, expected));
        report.add(torn ? "W001" : "W002", path, expected, torn ? "warning" : "error");
        return;
      }
      if (frame.seal) {
        const chain = this.stream.chainNow;
        const follows = frame.seq === expected && (chain === undefined || frame.chain === chain);
        if (!follows || !equal(frame.body, sealBody(offset, frame.chain, receipts))) report.add("W002", path, expected);
        sealed = true;
      } else {
        receipts++;
        const body = this.stream.frame(frame.body, frame.sig);
        if (body !== undefined && (frame.seq !== body.seq || frame.chain !== chainValue(body.seq, frame.body))) {
          report.add("W002", path, frame.seq);
        }
      }
      window.skip(frame.length);
      offset += frame.length;
    }
  }

  /** Whether a whole frame with a number not below the expected one stands somewhere behind. */
  private async frameFollows(window: Window, expected: bigint): Promise<boolean> {
    let summed = 0;
    for (;;) {
      window.skip(8);
      const bytes = await window.view(FRAME_MAX);
      if (bytes.length < FRAME) return false;
      const length = frameLength(bytes, 0);
      if (length === undefined || readU64be(bytes, 16) < expected) continue;
      summed += length;
      if (summed > SEARCH_BYTES_MAX || readFrame(bytes, 0) !== undefined) return true;
    }
  }
}

export async function checkJournal(session: Session, input: JournalInput): Promise<void> {
  const { report } = session;
  const { trust, identity } = await readKeys(session, input.keys);
  const pruned = input.pruned === undefined ? undefined : await readPruned(session, input.pruned);
  const sourceOf = (path: string): Source => ({ path, trust, identity, anchors: input.anchors });
  const stream = new ReceiptStream(session, identity?.log, sourceOf("journal"), {
    seq: pruned?.tree.size ?? 0n,
    chain: pruned?.chain,
    tree: pruned?.tree ?? Frontier.empty(),
  });
  for (const { name, source } of input.checkpoints) {
    const path = `checkpoints/${name}`;
    const bytes = await readAll(source, NOTE_BYTES_MAX);
    if (bytes === undefined) {
      report.add("E405", path);
      continue;
    }
    const note = session.checkpoint(bytes, path, trust);
    if (note === undefined) continue;
    if (note.size !== decimal(name)) report.add("E601", path);
    stream.claim(note.size, note.root, path);
  }
  if (input.anchors !== undefined) meetAnchorNotes(session, input.anchors, trust, stream);

  const firstOf = (file: NamedFile | undefined) =>
    file === undefined ? undefined : BigInt(SEGMENT.exec(file.name)?.[1] ?? "0");
  const size = pruned?.tree.size;
  const segments = input.segments.filter((_, i) => {
    const next = firstOf(input.segments[i + 1]);
    return size === undefined || next === undefined || next > size;
  });
  const journal = new JournalCheck(session, identity, stream, pruned !== undefined);
  for (const [i, file] of segments.entries()) {
    await journal.segment(file, sourceOf(`journal/${file.name}`), i === segments.length - 1);
  }
  const end = stream.next ?? 0n;
  for (const path of stream.shortClaims()) report.add("E506", path, end);
  if (trust?.receiptKeys.some((key) => key.from > end)) report.add("W003", "journal", end);
  if (size !== undefined && !stream.prunes.has(size)) report.add("E501", "journal/pruned.json", 0n);
  stream.end();
}
