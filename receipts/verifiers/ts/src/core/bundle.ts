// A bundle: its container first, then its members, then its receipts, then the members against the manifest.

import { checkCustody } from "./custody.js";
import { compareText, equal, fromHex, fromUtf8, hex } from "./bytes.js";
import { ANCHOR_BYTES_MAX, type AnchorFiles, meetAnchorNotes } from "./anchor.js";
import { blake3Stream, type Hasher, sha256, sha256Stream } from "./crypto.js";
import { envelopeOf, envelopeSignedBy, STATEMENT_TYPE } from "./dsse.js";
import { checkExternals, readExternals, type External } from "./externals.js";
import { count, counts, decimalText, digest, type Form, listOf, listWhere, objectOf, text, timestamp, check } from "./form.js";
import { canonicalBytes, isCanonical, isObject, JsonError, type JsonObject, LARGE, object, readJson, SMALL, type Value } from "./json.js";
import { TrustFile } from "./keys.js";
import { Frontier, verifyConsistency } from "./merkle.js";
import { type Checkpoint, parseHashLines } from "./note.js";
import type { Session } from "./session.js";
import { type BundleInput, pieces } from "./source.js";
import { readReported, ReceiptStream, type Source } from "./stream.js";
import { ARTIFACTS, ContainerError, MemberLimits, type MemberSink, TarReader } from "./tar.js";
import { ZstdDecoder, ZstdError } from "./zstd.js";

const MIB = 1024 * 1024;
const RATIO_MAX = 400;
const LINE_MAX = 65_535;
const ARTIFACT_BYTES_MAX = 25 * MIB;
const PROOF_HASHES_MAX = 128;

const quantiles = objectOf({ required: { max: count, p50: count, p90: count, p99: count } });
const PEOPLE_LIST_MAX = 256;
const ascending = (list: Value[]) =>
  list.length <= PEOPLE_LIST_MAX && list.every((entry, i) => i === 0 || compareText(String(list[i - 1]), String(entry)) < 0);
const texts = listWhere(text, ascending);
const digests = listWhere(digest, ascending);

const about = objectOf({
  required: {
    automation: objectOf({ required: { job_ids: texts, pipeline_ids: texts, service_ids: texts } }),
    builds: texts,
    performance: objectOf({ required: { exchanges: count, first_byte_us: quantiles, total_us: quantiles } }),
    schemas: digests,
    sdks: texts,
    worm: texts,
  },
});

const manifestForm: Form = objectOf({
  required: {
    about,
    chain: digest,
    created: timestamp,
    files: listOf(objectOf({ required: { blake3: digest, path: text, sha256: digest, size: count } })),
    from: decimalText,
    kinds: counts,
    log: text,
    prev: digest,
    root: digest,
    to: decimalText,
    v: text,
    verdicts: counts,
  },
});

const frontierForm: Form = objectOf({ required: { hashes: listOf(digest), size: decimalText } });

interface Listed {
  readonly path: string;
  readonly sha256: string;
  readonly blake3: string;
  readonly size: number;
}

export interface Manifest {
  readonly value: JsonObject;
  readonly bytes: Uint8Array;
  readonly log: string;
  readonly from: bigint;
  readonly to: bigint;
  readonly chain: string;
  readonly prev: string;
  readonly root: string;
  readonly files: readonly Listed[];
}

interface Member {
  size: number;
  sha256: string;
  blake3: string;
  content: Uint8Array | undefined;
}

/** What a bundle claims before anything of it is checked: where it stands among others. */
export interface Claims {
  readonly log: string;
  readonly from: bigint;
  readonly to: bigint;
}

export interface ScannedBundle {
  readonly input: BundleInput;
  readonly fault: ContainerError | undefined;
  readonly claims: Claims | undefined;
}

function textOf(value: JsonObject, name: string): string {
  const member = value.get(name);
  return typeof member === "string" ? member : "";
}

/** Reads the container front to back. Throws ContainerError at the first thing that is not as it must be. */
async function readContainer(input: BundleInput, sink: MemberSink): Promise<void> {
  const { content } = input;
  if ("read" in content) {
    const tar = new TarReader(sink);
    const limit = content.size * RATIO_MAX + MIB;
    let produced = 0;
    let fault: ContainerError | undefined;
    const decoder = new ZstdDecoder((data) => {
      produced += data.length;
      if (fault === undefined) {
        try {
          tar.push(data);
        } catch (error) {
          if (!(error instanceof ContainerError)) throw error;
          fault = error;
        }
      }
      // What is attached may be of any kind, and is bounded by itself.
      if (produced > limit + tar.artifacts) throw fault ?? new ContainerError("E106");
    });
    try {
      // A frame is read to its end also after a fault in the tar: that it is no good frame matters more.
      for await (const piece of pieces(content)) decoder.push(piece);
      decoder.end();
    } catch (error) {
      if (error instanceof ZstdError) throw new ContainerError("E108");
      throw error;
    }
    if (fault !== undefined) throw fault;
    tar.end();
    return;
  }
  const limits = new MemberLimits();
  for (const { name, source } of content) {
    limits.name(name);
    if (source === undefined) throw new ContainerError("E107");
    limits.size(name, source.size);
    sink.begin(name, source.size);
    for await (const piece of pieces(source)) sink.data(piece);
    sink.end();
  }
}

/** Keeps the content of some members, up to what the container's limits allow. */
class Collector {
  private parts: Uint8Array[] = [];

  add(bytes: Uint8Array): void {
    this.parts.push(bytes.slice());
  }

  take(): Uint8Array {
    const length = this.parts.reduce((sum, part) => sum + part.length, 0);
    const all = new Uint8Array(length);
    let at = 0;
    for (const part of this.parts) {
      all.set(part, at);
      at += part.length;
    }
    this.parts = [];
    return all;
  }
}

/** First pass: the container, and what the manifest claims. */
export async function scanBundle(input: BundleInput): Promise<ScannedBundle> {
  let manifest: Uint8Array | undefined;
  let current = "";
  const collector = new Collector();
  try {
    await readContainer(input, {
      begin(name) {
        current = name;
      },
      data(bytes) {
        if (current === "manifest.json") collector.add(bytes);
      },
      end() {
        if (current === "manifest.json") manifest = collector.take();
      },
    });
  } catch (error) {
    if (!(error instanceof ContainerError)) throw error;
    return { input, fault: error, claims: undefined };
  }
  return { input, fault: undefined, claims: manifest === undefined ? undefined : claimsOf(manifest) };
}

function claimsOf(bytes: Uint8Array): Claims | undefined {
  try {
    const value = readJson(bytes, LARGE);
    if (!isObject(value) || value.get("v") !== "pef.v0" || check(value, manifestForm).length > 0) return undefined;
    return { log: textOf(value, "log"), from: BigInt(textOf(value, "from")), to: BigInt(textOf(value, "to")) };
  } catch (error) {
    if (error instanceof JsonError) return undefined;
    throw error;
  }
}

/** The stream that bundles continue, and how far those before reached. */
export interface BundleChain {
  stream: ReceiptStream | undefined;
  log: string | undefined;
  reached: bigint;
}

const REQUIRED = ["checkpoint", "frontier.json", "keys.json", "manifest.json", "manifest.dsse.json", "receipts.jsonl"];
const KEPT = new Set([
  "checkpoint",
  "checkpoint.prev",
  "consistency",
  "custody.jsonl",
  "externals.json",
  "frontier.json",
  "keys.json",
  "manifest.dsse.json",
  "manifest.json",
]);
const POLICY = /^policies\/([0-9a-f]{64})\.json$/;
const ANCHOR = /^anchors\/[^/]+$/;

/** Second pass: everything else. */
export async function checkBundle(session: Session, scanned: ScannedBundle, chain: BundleChain): Promise<void> {
  session.stats.bundles++;
  if (scanned.fault !== undefined) {
    session.report.add(scanned.fault.code, scanned.input.label);
    return;
  }
  const bundle = new BundleCheck(session, scanned.input, chain);
  await readContainer(scanned.input, bundle);
  await bundle.finish();
}

class BundleCheck implements MemberSink {
  private readonly members = new Map<string, Member>();
  private readonly collector = new Collector();
  private name = "";
  private size = 0;
  private keep = false;
  private sha: Hasher | undefined;
  private blake: Hasher | undefined;

  private begun = false;
  private trust: TrustFile | undefined;
  private manifest: Manifest | undefined;
  private tree: Frontier | undefined;
  private checkpoint: Checkpoint | undefined;
  private externals: External[] | undefined;
  private tombstones: ReadonlySet<string> = new Set();
  private stream: ReceiptStream | undefined;
  private placedBefore = 0;
  private readonly kinds = new Map<string, number>();
  private readonly verdicts = new Map<string, number>();

  private line: Uint8Array = new Uint8Array(4096);
  private lineLength = 0;
  private readingLines = false;

  constructor(
    private readonly session: Session,
    private readonly input: BundleInput,
    private readonly chain: BundleChain,
  ) {}

  private path(member: string): string {
    return `${this.input.label}/${member}`;
  }

  begin(name: string, size: number): void {
    this.name = name;
    this.size = size;
    this.sha = sha256Stream();
    this.blake = blake3Stream();
    this.keep = KEPT.has(name) || (ANCHOR.test(name) && size <= ANCHOR_BYTES_MAX);
    if (name === "receipts.jsonl") {
      this.beginReceipts();
      this.readingLines = true;
    }
  }

  data(bytes: Uint8Array): void {
    this.sha?.update(bytes);
    this.blake?.update(bytes);
    if (this.keep) this.collector.add(bytes);
    if (this.name === "receipts.jsonl" && this.readingLines) this.lines(bytes);
  }

  end(): void {
    this.members.set(this.name, {
      size: this.size,
      sha256: hex(this.sha?.digest() ?? new Uint8Array(0)),
      blake3: hex(this.blake?.digest() ?? new Uint8Array(0)),
      content: this.keep ? this.collector.take() : undefined,
    });
    if (this.name === "receipts.jsonl" && this.readingLines) {
      if (this.lineLength > 0) this.session.report.add("E201", this.path("receipts.jsonl"), this.stream?.next);
      this.readingLines = false;
    }
  }

  private lines(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length) {
      const newline = bytes.indexOf(0x0a, at);
      const part = bytes.subarray(at, newline < 0 ? bytes.length : newline);
      if (this.lineLength + part.length > LINE_MAX) {
        this.session.report.add("E106", this.path("receipts.jsonl"), this.stream?.next);
        this.readingLines = false;
        return;
      }
      if (newline < 0) {
        this.hold(part);
        return;
      }
      if (this.lineLength === 0) this.stream?.line(part.slice());
      else {
        this.hold(part);
        this.stream?.line(this.line.slice(0, this.lineLength));
        this.lineLength = 0;
      }
      at = newline + 1;
    }
  }

  private hold(part: Uint8Array): void {
    if (this.lineLength + part.length > this.line.length) {
      const larger = new Uint8Array(LINE_MAX);
      larger.set(this.line.subarray(0, this.lineLength));
      this.line = larger;
    }
    this.line.set(part, this.lineLength);
    this.lineLength += part.length;
  }

  private content(name: string): Uint8Array | undefined {
    return this.members.get(name)?.content;
  }

  private beginReceipts(): void {
    if (this.begun) return;
    this.begun = true;
    const keys = this.content("keys.json");
    if (keys !== undefined) this.trust = this.session.trust(() => TrustFile.fromBytes(keys), this.path("keys.json"));
    this.manifest = this.readManifest();
    this.checkStatement();
    this.tree = this.readFrontier();
    this.checkpoint = this.readCheckpoint();
    const before = this.readPrevious();
    this.checkConsistency(before);
    for (const [name, member] of this.members) {
      const hash = POLICY.exec(name)?.[1];
      if (hash !== undefined && hash !== member.blake3) this.session.report.add("E802", this.path(name));
    }
    const externals = this.content("externals.json");
    if (externals !== undefined) this.externals = readExternals(this.session, externals, this.path("externals.json"));
    const custody = this.content("custody.jsonl");
    if (custody !== undefined && this.manifest !== undefined) {
      this.tombstones = checkCustody(this.session, custody, this.manifest, this.path("custody.jsonl"));
    }
    const anchors: AnchorFiles = {
      path: this.path("anchors"),
      names: () => [...this.members.keys()].filter((name) => ANCHOR.test(name)).map((name) => name.slice("anchors/".length)),
      get: (name) => {
        const member = this.members.get(`anchors/${name}`);
        return member === undefined ? undefined : (member.content ?? "long");
      },
    };
    this.beginStream(anchors);
    if (this.stream !== undefined) meetAnchorNotes(this.session, anchors, this.trust, this.stream);
  }

  private readManifest(): Manifest | undefined {
    const bytes = this.content("manifest.json");
    if (bytes === undefined) return undefined;
    const { report } = this.session;
    const path = this.path("manifest.json");
    let value: Value;
    try {
      value = readJson(bytes, LARGE);
    } catch (error) {
      if (!(error instanceof JsonError)) throw error;
      report.add(error.code, path);
      return undefined;
    }
    if (!isCanonical(bytes, value)) report.add("E104", path);
    if (isObject(value)) {
      const version = value.get("v");
      if (typeof version === "string" && version !== "pef.v0") {
        report.add("E105", path);
        return undefined;
      }
    }
    const faults = check(value, manifestForm);
    for (const { code, pointer } of faults) report.add(code, `${path}#${pointer}`);
    if (faults.length > 0 || !isObject(value)) return undefined;
    const files: Listed[] = [];
    const list = value.get("files");
    for (const entry of Array.isArray(list) ? list : []) {
      if (!isObject(entry)) continue;
      const size = entry.get("size");
      files.push({
        path: textOf(entry, "path"),
        sha256: textOf(entry, "sha256"),
        blake3: textOf(entry, "blake3"),
        size: typeof size === "number" ? size : -1,
      });
    }
    const manifest: Manifest = {
      value,
      bytes,
      log: textOf(value, "log"),
      from: BigInt(textOf(value, "from")),
      to: BigInt(textOf(value, "to")),
      chain: textOf(value, "chain"),
      prev: textOf(value, "prev"),
      root: textOf(value, "root"),
      files,
    };
    if (this.trust !== undefined && manifest.log !== this.trust.log) report.add("E604", path);
    const sorted = files.every((file, i) => i === 0 || compareText(files[i - 1]?.path ?? "", file.path) < 0);
    if (manifest.from >= manifest.to || !sorted) report.add("E206", path);
    return manifest;
  }

  private checkStatement(): void {
    const bytes = this.content("manifest.dsse.json");
    if (bytes === undefined) return;
    const { report } = this.session;
    const path = this.path("manifest.dsse.json");
    const value = readReported(this.session, bytes, LARGE, path);
    if (value === undefined) return;
    const envelope = envelopeOf(value);
    if (envelope === undefined) {
      report.add("E206", path);
      return;
    }
    const manifest = this.manifest;
    if (manifest === undefined) return;
    if (envelope.payloadType !== STATEMENT_TYPE || !equal(envelope.payload, statementOf(manifest))) {
      report.add("E403", path);
    }
    if (this.trust === undefined) return;
    const key = this.trust.logKey(envelope.keyid);
    if (key === undefined) {
      report.add("E301", path);
      return;
    }
    const fault = this.trust.logKeyFault(key, manifest.to);
    if (fault !== undefined) report.add(fault, path);
    if (!envelopeSignedBy(envelope, key.pub)) report.add("E403", path);
  }

  private readFrontier(): Frontier | undefined {
    const bytes = this.content("frontier.json");
    if (bytes === undefined) return undefined;
    const { report } = this.session;
    const path = this.path("frontier.json");
    const value = readReported(this.session, bytes, SMALL, path);
    if (value === undefined) return undefined;
    const faults = check(value, frontierForm);
    for (const { code, pointer } of faults) report.add(code, `${path}#${pointer}`);
    if (faults.length > 0 || !isObject(value)) return undefined;
    const size = BigInt(textOf(value, "size"));
    const list = value.get("hashes");
    const hashes = (Array.isArray(list) ? list : []).map((entry) => fromHex(String(entry)) ?? new Uint8Array(32));
    const tree = Frontier.of(size, hashes);
    if (tree === undefined || (this.manifest !== undefined && size !== this.manifest.from)) {
      report.add("E601", path);
      return undefined;
    }
    return tree;
  }

  private readCheckpoint(): Checkpoint | undefined {
    const bytes = this.content("checkpoint");
    if (bytes === undefined) return undefined;
    const path = this.path("checkpoint");
    const note = this.session.checkpoint(bytes, path, this.trust);
    if (note === undefined) return undefined;
    this.session.quorum(note, path);
    const manifest = this.manifest;
    if (manifest !== undefined && (note.size !== manifest.to || hex(note.root) !== manifest.root)) {
      this.session.report.add("E601", path);
    }
    return note;
  }

  private readPrevious(): Checkpoint | undefined {
    const bytes = this.content("checkpoint.prev");
    if (bytes === undefined) return undefined;
    const path = this.path("checkpoint.prev");
    const note = this.session.checkpoint(bytes, path, this.trust);
    if (note === undefined) return undefined;
    const from = this.manifest?.from ?? this.tree?.size;
    const otherSize = from !== undefined && note.size !== from;
    const otherRoot = this.tree !== undefined && note.size === this.tree.size && !equal(note.root, this.tree.root());
    if (otherSize || otherRoot) this.session.report.add("E601", path);
    return note;
  }

  private checkConsistency(before: Checkpoint | undefined): void {
    const bytes = this.content("consistency");
    if (bytes === undefined) return;
    const text = fromUtf8(bytes);
    const proof = text === undefined ? undefined : parseHashLines(text, PROOF_HASHES_MAX);
    const after = this.checkpoint;
    const wrong =
      proof === undefined ||
      (before !== undefined &&
        after !== undefined &&
        !verifyConsistency(before.size, after.size, before.root, after.root, proof));
    if (wrong) this.session.report.add("E603", this.path("consistency"));
  }

  private beginStream(anchors: AnchorFiles): void {
    const { manifest, trust, tree, chain } = this;
    const log = manifest?.log ?? trust?.log;
    const source: Source = {
      path: this.path("receipts.jsonl"),
      trust,
      identity: trust,
      anchors,
      count: (kind, verdict) => {
        this.kinds.set(kind, (this.kinds.get(kind) ?? 0) + 1);
        if (verdict !== undefined) this.verdicts.set(verdict, (this.verdicts.get(verdict) ?? 0) + 1);
      },
    };
    const open = chain.stream;
    const root = open?.rootNow();
    const continues =
      open !== undefined &&
      manifest !== undefined &&
      tree !== undefined &&
      root !== undefined &&
      open.log === log &&
      open.next === manifest.from &&
      open.leaves === tree.size &&
      equal(root, tree.root());
    if (manifest !== undefined) {
      if (chain.log === manifest.log && manifest.from > chain.reached) {
        this.session.report.add("E501", this.input.label, chain.reached, "warning");
      }
      chain.reached = chain.log === manifest.log && chain.reached > manifest.to ? chain.reached : manifest.to;
      chain.log = manifest.log;
    }
    if (continues) {
      if (open.chainNow !== undefined && open.chainNow !== manifest.prev) {
        this.session.report.add("E503", `${this.path("manifest.json")}#/prev`);
      }
      open.continueWith(source, manifest.prev);
      this.stream = open;
    } else {
      open?.end();
      this.stream = new ReceiptStream(this.session, log, source, {
        seq: manifest?.from ?? 0n,
        chain: manifest?.prev,
        tree,
      });
      chain.stream = this.stream;
    }
    this.placedBefore = this.stream.placed;
    // The root of the checkpoint is compared when the receipts have been read; claims of anchor notes as they come up.
  }

  async finish(): Promise<void> {
    this.beginReceipts();
    this.checkFiles();
    if (this.externals !== undefined) {
      await checkExternals(
        this.session,
        this.externals,
        this.input.externals,
        this.tombstones,
        this.path("externals.json"),
      );
    }
    this.checkEnd();
  }

  private checkFiles(): void {
    const { report } = this.session;
    const { manifest } = this;
    const missing = new Set(REQUIRED.filter((name) => !this.members.has(name)));
    if (manifest !== undefined && manifest.from > 0n) {
      for (const name of ["checkpoint.prev", "consistency"]) if (!this.members.has(name)) missing.add(name);
    }
    if (manifest !== undefined) {
      const listed = new Set<string>();
      for (const file of manifest.files) {
        listed.add(file.path);
        const member = this.members.get(file.path);
        if (member === undefined) missing.add(file.path);
        else if (member.size !== file.size || member.sha256 !== file.sha256 || member.blake3 !== file.blake3) {
          report.add("E103", this.path(file.path));
        }
      }
      const outside = ["manifest.json", "manifest.dsse.json", "custody.jsonl"];
      for (const name of this.members.keys()) {
        if (!listed.has(name) && !outside.includes(name)) report.add("E102", this.path(name));
      }
    }
    for (const name of missing) {
      const artifact = name.startsWith(ARTIFACTS) ? name.slice(ARTIFACTS.length) : undefined;
      if (artifact !== undefined && this.tombstones.has(artifact)) report.add("E804", this.path(name), undefined, "warning");
      else report.add("E101", this.path(name));
    }
    for (const [name, member] of this.members) {
      if (!name.startsWith(ARTIFACTS)) continue;
      if (name.slice(ARTIFACTS.length) !== member.sha256) report.add("E802", this.path(name));
      if (member.size > ARTIFACT_BYTES_MAX) report.add("E803", this.path(name));
    }
  }

  private checkEnd(): void {
    const { report } = this.session;
    const { manifest, stream, checkpoint } = this;
    const read = this.members.has("receipts.jsonl");
    if (manifest !== undefined && read) {
      const same = equalCounts(manifest.value.get("kinds"), this.kinds) && equalCounts(manifest.value.get("verdicts"), this.verdicts);
      if (!same) report.add("E511", this.path("manifest.json"));
      const chain = stream?.chainNow;
      if (stream !== undefined && stream.placed > this.placedBefore && chain !== undefined && chain !== manifest.chain) {
        report.add("E503", `${this.path("manifest.json")}#/chain`);
      }
    }
    const leaves = stream?.leaves;
    if (checkpoint === undefined || stream === undefined || leaves === undefined || !read) return;
    const path = this.path("checkpoint");
    if (leaves < checkpoint.size) report.add("E506", path, stream.next);
    else if (leaves > checkpoint.size || !equal(stream.rootNow() ?? new Uint8Array(0), checkpoint.root)) {
      report.add("E601", path);
    }
  }
}

function equalCounts(value: Value | undefined, counted: ReadonlyMap<string, number>): boolean {
  if (!isObject(value) || value.size !== counted.size) return false;
  for (const [name, number] of counted) if (value.get(name) !== number) return false;
  return true;
}

/** The in-toto statement of a manifest, which leaves no choice. */
function statementOf(manifest: Manifest): Uint8Array {
  const subject = (name: string, digest: string) => object({ digest: object({ sha256: digest }), name });
  return canonicalBytes(
    object({
      _type: "https://in-toto.io/Statement/v1",
      predicate: object({ from: manifest.from.toString(), log: manifest.log, to: manifest.to.toString(), v: "pef.v0" }),
      predicateType: "urn:pef:bundle:v0",
      subject: [
        subject("manifest.json", hex(sha256(manifest.bytes))),
        ...manifest.files.map((file) => subject(file.path, file.sha256)),
      ],
    }),
  );
}
