// The receipts of a log in their order: one state for all that each receipt is held against.

import { base64, compareText, decimal, equal, fromBase64, hex, U64_MAX, utf8 } from "./bytes.js";
import { type AnchorEvent, type AnchorFiles, checkAnchor } from "./anchor.js";
import { chainValue, derive, pae, verify } from "./crypto.js";
import { type Envelope, envelopeOf, RECEIPT_TYPE, ROTATION_TYPE } from "./dsse.js";
import { isDecimal, isDigestText, type Mismatch } from "./form.js";
import {
  type Bounds,
  canonicalBytes,
  isCanonical,
  isObject,
  JsonError,
  type JsonObject,
  object,
  readJson,
  SMALL,
  type Value,
} from "./json.js";
import type { TrustFile } from "./keys.js";
import { Frontier, leafHash } from "./merkle.js";
import { checkReceipt, isKind, isVerdict, RECEIPT_BYTES_MAX, runOf } from "./receipt.js";
import type { Session } from "./session.js";

/** What a body may be: less than a document of its class, because an envelope has to hold it. */
const BODY: Bounds = { ...SMALL, bytes: RECEIPT_BYTES_MAX };
const ENVELOPE_BYTES_MAX = 65_535;
const RUNS_MAX = 16_384;
const ATTEMPTS_MAX = 1_048_576;

/** Reads a document and reports what keeps it from being read, and whether it is canonical. */
function readJudged(
  session: Session,
  bytes: Uint8Array,
  bounds: Bounds,
  path: string,
  seq?: bigint,
): { value: Value; canonical: boolean } | undefined {
  try {
    const value = readJson(bytes, bounds);
    return { value, canonical: isCanonical(bytes, value) };
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    session.report.add(error.code, path, seq);
    return undefined;
  }
}

/** The same, with a finding where it is not canonical. */
export function readReported(
  session: Session,
  bytes: Uint8Array,
  bounds: Bounds,
  path: string,
  seq?: bigint,
): Value | undefined {
  const read = readJudged(session, bytes, bounds, path, seq);
  if (read?.canonical === false) session.report.add("E203", path, seq);
  return read?.value;
}

export interface SingleReceipt {
  readonly body: JsonObject;
  readonly seq: bigint;
  /** The canonical envelope. */
  readonly leaf: Uint8Array;
}

export interface Identity {
  readonly log: string;
  readonly rootKeyId: string;
}

/** Where a stream stands: what it reads from now on. */
export interface Source {
  readonly path: string;
  readonly trust: TrustFile | undefined;
  /** Which log and root key it is, as far as that is known. */
  readonly identity: Identity | undefined;
  /** Undefined where no anchors are looked for. */
  readonly anchors: AnchorFiles | undefined;
  /** Told of each receipt that counts. */
  readonly count?: (kind: string, verdict: string | undefined) => void;
}

interface Claim {
  readonly root: Uint8Array;
  readonly path: string;
}

interface Body {
  readonly value: JsonObject;
  readonly bytes: Uint8Array;
  readonly kind: string;
  readonly seq: bigint;
  readonly prev: string;
  readonly faults: readonly Mismatch[];
}

/** The number expected after a receipt's. The largest has no other after it. */
function after(seq: bigint): bigint {
  return seq === U64_MAX ? seq : seq + 1n;
}

function textMember(value: JsonObject, name: string): string | undefined {
  const member = value.get(name);
  return typeof member === "string" ? member : undefined;
}

function objectMember(value: JsonObject, name: string): JsonObject | undefined {
  const member = value.get(name);
  return isObject(member) ? member : undefined;
}

export class ReceiptStream {
  private expected: bigint | undefined;
  private begin: bigint | undefined;
  private chain: string | undefined;
  private readonly startTree: Frontier | undefined;
  private tree: Frontier | undefined;
  private readonly claims = new Map<bigint, Claim[]>();
  /** All of them, for whoever asks in the end whether the log has so many receipts. */
  private readonly claimed: { readonly size: bigint; readonly path: string }[] = [];

  private boot: { epoch: number; id: string } | undefined;
  private mono: bigint | undefined;
  private ts: string | undefined;
  private keyId: string | undefined;
  private rotatedTo: string | undefined;
  private readonly attempts = new Map<bigint, { id: string; path: string }>();
  private pairing = true;
  private readonly runs = new Map<string, { seq: bigint; chain: string }>();

  constructor(
    private readonly session: Session,
    readonly log: string | undefined,
    private source: Source,
    start: { seq: bigint | undefined; chain: string | undefined; tree: Frontier | undefined },
  ) {
    this.expected = start.seq;
    this.begin = start.seq;
    this.chain = start.chain;
    this.tree = start.tree?.copy();
    this.startTree = start.tree?.copy();
    this.know();
  }

  /** The number that the next receipt must have. */
  get next(): bigint | undefined {
    return this.expected;
  }

  /** The chain value of the last receipt in its place; undefined where it is not known. */
  get chainNow(): string | undefined {
    return this.chain;
  }

  /** How many receipts stood in their place. */
  placed = 0;

  get leaves(): bigint | undefined {
    return this.tree?.size;
  }

  rootNow(): Uint8Array | undefined {
    return this.tree?.root();
  }

  /** The same stream goes on in another file, which says what the chain value before it is. */
  continueWith(source: Source, chain?: string): void {
    this.source = source;
    this.chain ??= chain;
  }

  /** Holds the tree at this size, now or later, to this root. */
  claim(size: bigint, root: Uint8Array, path: string): void {
    this.claimed.push({ size, path });
    if (this.tree === undefined) return;
    if (size === this.tree.size) {
      if (!equal(this.tree.root(), root)) this.session.report.add("E601", path);
      return;
    }
    if (size < this.tree.size) return;
    const list = this.claims.get(size);
    if (list === undefined) this.claims.set(size, [{ root, path }]);
    else list.push({ root, path });
  }

  /** Claims of larger trees than there are receipts. */
  shortClaims(): string[] {
    const { expected } = this;
    return this.claimed.filter(({ size }) => expected !== undefined && size > expected).map(({ path }) => path);
  }

  private know(): void {
    const tree = this.tree;
    if (tree === undefined) return;
    this.session.knowTree(this.source.trust?.log, tree.size, () => tree.root());
    const due = this.claims.get(tree.size);
    if (due === undefined) return;
    this.claims.delete(tree.size);
    const root = tree.root();
    for (const claim of due) if (!equal(root, claim.root)) this.session.report.add("E601", claim.path);
  }

  private leaf(bytes: Uint8Array): void {
    if (this.tree === undefined) return;
    this.tree.append(leafHash(bytes));
    this.know();
  }

  private forgetStart(): void {
    this.chain = undefined;
    this.boot = undefined;
    this.mono = undefined;
    this.keyId = undefined;
    this.rotatedTo = undefined;
  }

  /** Something that cannot be read took a place. */
  private unreadable(): void {
    if (this.expected !== undefined) this.expected = after(this.expected);
    this.forgetStart();
  }

  /** What an envelope holds, or undefined where it cannot be read. */
  private open(bytes: Uint8Array): { envelope: Envelope; value: JsonObject; body?: Body } | undefined {
    const { report } = this.session;
    const { path } = this.source;
    const read = readJudged(this.session, bytes, SMALL, path, this.expected);
    if (read === undefined) return undefined;
    const envelope = envelopeOf(read.value);
    const judge = envelope?.payloadType === RECEIPT_TYPE ? envelope : undefined;
    const inside = judge === undefined ? undefined : this.read(judge.payload, judge.sig, judge.keyid);
    // Its number is that of the receipt, where there is one.
    if (!read.canonical) report.add("E203", path, inside?.at ?? this.expected);
    if (judge === undefined) report.add("E206", path, this.expected);
    return judge === undefined || inside === undefined ? undefined : { envelope: judge, ...inside };
  }

  /** A line of `receipts.jsonl`, without its newline. */
  line(bytes: Uint8Array): void {
    this.take(this.open(bytes)?.body);
    this.leaf(bytes);
  }

  /** A receipt of the journal, from which the envelope is made. Gives what stands in its place. */
  frame(bytes: Uint8Array, sig: Uint8Array): Body | undefined {
    const read = this.read(bytes, sig, undefined);
    const stands = this.take(read?.body);
    this.leaf(journalEnvelope(bytes, sig, textMember(read?.value ?? new Map(), "key_id") ?? ""));
    return stands ? read?.body : undefined;
  }

  /** A receipt of which nothing is known but itself. */
  single(bytes: Uint8Array): SingleReceipt | undefined {
    if (bytes.length > ENVELOPE_BYTES_MAX) {
      this.session.report.add("E106", this.source.path, this.expected);
      return undefined;
    }
    const read = this.open(bytes);
    if (read?.body === undefined) return undefined;
    this.count(read.body);
    const { payload, sig, keyid } = read.envelope;
    return { body: read.value, seq: read.body.seq, leaf: journalEnvelope(payload, sig, keyid) };
  }

  private count(body: Body): void {
    const named = body.value.get("verdict");
    const verdict = isVerdict(named) ? named : undefined;
    this.session.stats.receipt(body.seq, body.kind, verdict);
    this.source.count?.(body.kind, verdict);
  }

  /** Whether it stands in its place, or after a gap. */
  private take(body: Body | undefined): boolean {
    if (body === undefined) {
      this.unreadable();
      return false;
    }
    this.count(body);
    return this.place(body);
  }

  /** All that is checked on a receipt by itself. The body is there where it has what places it in the order. */
  private read(
    bytes: Uint8Array,
    sig: Uint8Array,
    envelopeKey: string | undefined,
  ): { value: JsonObject; at: bigint | undefined; body?: Body } | undefined {
    const { path } = this.source;
    const read = readJudged(this.session, bytes, BODY, path, this.expected);
    if (read === undefined) return undefined;
    const { value } = read;
    const seqText = isObject(value) ? value.get("seq") : undefined;
    const seq = isDecimal(seqText) ? BigInt(seqText) : undefined;
    const at = seq ?? this.expected;
    if (!read.canonical) this.session.report.add("E203", path, at);
    const faults = checkReceipt(value);
    for (const { code, pointer } of faults) this.session.report.add(code, `${path}#${pointer}`, at);
    if (!isObject(value)) return undefined;
    this.signature(value, bytes, sig, envelopeKey, at);
    const kind = value.get("kind");
    const prev = value.get("prev");
    if (!isKind(kind) || seq === undefined || !isDigestText(prev)) return { value, at };
    const { identity } = this.source;
    if (identity !== undefined && value.get("log") !== identity.log) this.session.report.add("E604", path, at);
    return { value, at, body: { value, bytes, kind, seq, prev, faults } };
  }

  private signature(
    value: JsonObject,
    bytes: Uint8Array,
    sig: Uint8Array,
    envelopeKey: string | undefined,
    seq: bigint | undefined,
  ): void {
    const { report } = this.session;
    const { path, trust } = this.source;
    const keyId = value.get("key_id");
    if (typeof keyId !== "string") return;
    if (envelopeKey !== undefined && envelopeKey !== keyId) report.add("E302", path, seq);
    const alg = value.get("alg");
    if (typeof alg === "string" && alg !== "ed25519") {
      report.add("E303", path, seq);
      return;
    }
    if (trust === undefined) return;
    const key = trust.receiptKey(keyId);
    if (key === undefined) {
      report.add("E301", path, seq);
      return;
    }
    const fault = seq === undefined ? undefined : trust.receiptKeyFault(key, seq);
    if (fault !== undefined) report.add(fault, path, seq);
    if (!verify(key.pub, pae(RECEIPT_TYPE, bytes), sig)) report.add("E401", path, seq);
  }

  private place(body: Body): boolean {
    const { report } = this.session;
    const { path } = this.source;
    const expected = this.expected ?? body.seq;
    this.begin ??= body.seq;
    if (body.seq > expected) {
      report.add("E501", path, expected);
      this.forgetStart();
    } else if (body.seq < expected) {
      report.add(body.seq + 1n === expected ? "E502" : "E505", path, body.seq);
      return false;
    }
    this.expected = after(body.seq);
    this.placed++;
    const chain = chainValue(body.seq, body.bytes);
    this.checkChain(body);
    this.chain = chain;
    if (this.checkStart(body)) this.checkKeyChange(body);
    this.checkTime(body);
    this.checkKind(body);
    this.checkPair(body);
    this.checkRun(body, chain);
    return true;
  }

  private checkChain(body: Body): void {
    const { report } = this.session;
    const { path, identity } = this.source;
    if (body.seq === 0n) {
      const event = objectMember(body.value, "event");
      const good =
        body.kind === "genesis" &&
        event !== undefined &&
        typeof event.get("log") === "string" &&
        event.get("log") === body.value.get("log") &&
        (identity === undefined || event.get("root") === identity.rootKeyId) &&
        body.prev === hex(derive("pef.v0 genesis", canonicalBytes(event)));
      if (!good) report.add("E504", path, body.seq);
      return;
    }
    if (body.kind === "genesis") report.add("E504", path, body.seq);
    if (this.chain !== undefined && this.chain !== body.prev) report.add("E503", path, body.seq);
  }

  /** Whether the receipt tells which process wrote it; one that does not is passed over. */
  private checkStart(body: Body): boolean {
    const { report } = this.session;
    const { path } = this.source;
    const boot = objectMember(body.value, "boot");
    const epoch = boot?.get("epoch");
    const id = boot?.get("id");
    const monoText = body.value.get("mono_ns");
    const mono = isDecimal(monoText) ? decimal(monoText) : undefined;
    if (typeof epoch !== "number" || typeof id !== "string" || mono === undefined) return false;
    const before = this.boot;
    if (body.seq === 0n && epoch !== 1) report.add("E509", path, body.seq);
    if (before !== undefined && before.epoch === epoch && before.id === id) {
      if (body.kind === "boot" && body.seq !== 1n) report.add("E509", path, body.seq);
      if (this.mono !== undefined && mono < this.mono) report.add("E508", path, body.seq);
      this.mono = mono;
      return true;
    }
    if (before !== undefined) {
      const event = objectMember(body.value, "event");
      const last = event?.get("last_seq");
      const good = body.kind === "boot" && epoch === before.epoch + 1 && last === (body.seq - 1n).toString();
      if (!good) report.add("E509", path, body.seq);
    }
    this.boot = { epoch, id };
    this.mono = mono;
    this.keyId = undefined;
    this.rotatedTo = undefined;
    return true;
  }

  private checkTime(body: Body): void {
    // Texts are compared as they are: one that is of no good form has its own finding.
    const ts = textMember(body.value, "ts");
    if (ts === undefined) return;
    const exempt = body.kind === "clock.step" || body.kind === "boot";
    if (!exempt && this.ts !== undefined && compareText(ts, this.ts) < 0) {
      this.session.report.add("E508", this.source.path, body.seq, "warning");
    }
    this.ts = ts;
  }

  private checkKeyChange(body: Body): void {
    const keyId = textMember(body.value, "key_id") ?? "";
    const announced = this.rotatedTo;
    this.rotatedTo = undefined;
    if (body.kind === "key.rotate") {
      const event = objectMember(body.value, "event");
      if (event?.get("purpose") === "receipt") this.rotatedTo = textMember(event, "new");
    }
    if (this.keyId !== undefined && this.keyId !== keyId && announced !== keyId) {
      this.session.report.add("E306", this.source.path, body.seq);
    }
    this.keyId = keyId;
  }

  private checkKind(body: Body): void {
    const { report } = this.session;
    const { path, trust, anchors } = this.source;
    if (body.kind === "gap") report.add("E510", path, body.seq, "warning");
    const event = objectMember(body.value, "event");
    if (event === undefined || body.faults.length > 0) return;
    if (body.kind === "key.rotate" && trust !== undefined) this.checkRotation(body, event, trust);
    else if (body.kind === "key.revoke" && trust !== undefined) {
      const known = trust.revocation(textMember(event, "key_id") ?? "");
      const same =
        known !== undefined &&
        known.lastGoodText === event.get("last_good_seq") &&
        known.reason === event.get("reason") &&
        known.sha256 === event.get("sha256");
      if (!same) report.add("E306", path, body.seq);
    } else if (body.kind === "prune") this.checkPrune(body, event);
    else if (body.kind === "anchor" && anchors !== undefined) {
      checkAnchor(this.session, anchors, anchorEvent(event), path, body.seq);
    }
  }

  private checkRotation(body: Body, event: JsonObject, trust: TrustFile): void {
    const { report } = this.session;
    const { path } = this.source;
    const purpose = event.get("purpose") === "log" ? "log" : "receipt";
    const oldId = textMember(event, "old") ?? "";
    const newId = textMember(event, "new") ?? "";
    const from = textMember(event, "valid_from_seq") ?? "";
    const find = (id: string) => (purpose === "log" ? trust.logKey(id) : trust.receiptKey(id));
    const oldKey = find(oldId);
    const newKey = find(newId);
    // One that is not known for anything is what a process left behind that ended before the certificate was durable.
    const leftBehind = purpose === "receipt" && trust.logKey(newId) === undefined;
    if (oldKey === undefined || (newKey === undefined && !leftBehind)) report.add("E301", path, body.seq);
    const signed = pae(
      ROTATION_TYPE,
      canonicalBytes(object({ log: trust.log, new: newId, old: oldId, purpose, v: "pef.v0", valid_from_seq: from })),
    );
    const signedBy = (pub: Uint8Array, name: string) =>
      verify(pub, signed, fromBase64(textMember(event, name) ?? "") ?? new Uint8Array(0));
    let good = true;
    if (oldKey !== undefined) good &&= signedBy(oldKey.pub, "old_sig");
    if (newKey !== undefined) good &&= signedBy(newKey.pub, "new_sig") && newKey.from.toString() === from;
    if (purpose === "receipt") {
      good &&= from === (body.seq + 1n).toString() && oldId === body.value.get("key_id");
    }
    if (!good) report.add("E306", path, body.seq);
  }

  /** Sizes of `prune` receipts that were met. */
  readonly prunes = new Set<bigint>();

  private checkPrune(body: Body, event: JsonObject): void {
    const { report } = this.session;
    const { path } = this.source;
    const from = decimal(textMember(event, "from") ?? "") ?? 0n;
    const to = decimal(textMember(event, "to") ?? "") ?? 0n;
    if (to <= from || to > body.seq) report.add("E206", `${path}#/event/to`, body.seq);
    this.prunes.add(to);
    const start = this.startTree;
    if (start !== undefined && start.size === to && hex(start.root()) !== event.get("root")) {
      report.add("E601", path, body.seq);
    }
  }

  private checkPair(body: Body): void {
    const { report } = this.session;
    const { path } = this.source;
    const id = textMember(body.value, "id") ?? "";
    if (body.kind === "attempt") {
      if (!this.pairing) return;
      if (this.attempts.size >= ATTEMPTS_MAX) {
        report.add("E106", path, body.seq, "warning");
        this.pairing = false;
        return;
      }
      this.attempts.set(body.seq, { id, path });
    } else if (body.kind === "outcome") {
      const named = body.value.get("attempt_seq");
      if (!isDecimal(named)) return;
      const seq = BigInt(named);
      if (seq >= body.seq) {
        report.add("E505", path, body.seq);
        return;
      }
      if (this.begin !== undefined && seq < this.begin) return;
      const attempt = this.attempts.get(seq);
      if (attempt === undefined || attempt.id !== id) {
        if (this.pairing || attempt !== undefined) report.add("E507", path, body.seq);
        return;
      }
      this.attempts.delete(seq);
    }
  }

  private checkRun(body: Body, chain: string): void {
    const run = runOf(body.value.get("run"));
    if (run === undefined) return;
    const before = this.runs.get(run.id);
    let good = true;
    if (run.seq === 0n) good = run.prev === hex(derive("pef.v0 run", utf8(run.id)));
    else if (before !== undefined) good = run.seq === before.seq + 1n && run.prev === before.chain;
    if (!good) this.session.report.add("E503", `${this.source.path}#/run`, body.seq);
    if (before === undefined && this.runs.size >= RUNS_MAX) this.runs.clear();
    this.runs.set(run.id, { seq: run.seq, chain });
  }

  /** The evidence of this stream ends here. */
  end(): void {
    for (const [seq, { path }] of this.attempts) this.session.report.add("E507", path, seq, "warning");
    this.attempts.clear();
    if (this.expected !== undefined) this.session.knowReach(this.source.trust?.log, this.expected);
  }
}

/** A receipt by itself: what can be said of it without those around it. */
export function singleReceipt(
  session: Session,
  trust: TrustFile | undefined,
  envelope: Uint8Array,
  path: string,
  number: bigint,
): SingleReceipt | undefined {
  const stream = new ReceiptStream(session, trust?.log, { path, trust, identity: trust, anchors: undefined }, { seq: number, chain: undefined, tree: undefined });
  return stream.single(envelope);
}

function anchorEvent(event: JsonObject): AnchorEvent {
  return {
    kind: textMember(event, "kind") ?? "",
    proof: textMember(event, "proof") ?? "",
    note: textMember(event, "sha256") ?? "",
    root: textMember(event, "root") ?? "",
    size: decimal(textMember(event, "size") ?? "") ?? 0n,
    at: textMember(event, "at"),
    header: textMember(event, "header"),
  };
}

/** The envelope that a receipt of the journal has as a leaf. */
export function journalEnvelope(body: Uint8Array, sig: Uint8Array, keyid: string): Uint8Array {
  return canonicalBytes(
    object({
      payload: base64(body),
      payloadType: RECEIPT_TYPE,
      signatures: [object({ keyid, sig: base64(sig) })],
    }),
  );
}
