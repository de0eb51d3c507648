// What holds over all inputs of one verification: the report, the reader's own trust, and the checkpoints that were met.

import { equal, hex } from "./bytes.js";
import { KeyError, TrustFile } from "./keys.js";
import { type Checkpoint, parseCheckpoint, type VerifierKey, type WitnessPolicy } from "./note.js";
import { makeVerdict, Report, Stats, type Verdict } from "./report.js";

export interface Options {
  /** The root key that the reader trusts. */
  readonly root?: VerifierKey;
  /** A checkpoint note that the reader remembers. */
  readonly checkpoint?: Uint8Array;
  readonly witnessPolicy?: WitnessPolicy;
  /** The bytes of the event whose release is in question. */
  readonly event?: Uint8Array;
}

const REMEMBERED = "remembered checkpoint";

export class Session {
  readonly report = new Report();
  readonly stats = new Stats();
  private readonly roots = new Map<string, string>();
  /** Kept where a remembered checkpoint is to be held against them. */
  private readonly trusts: TrustFile[] = [];
  private readonly remembered: Checkpoint | undefined;
  /** How many receipts the remembered checkpoint's log has, and what they say of its root. */
  private reach: bigint | undefined;
  private rememberedRoot: "unknown" | "same" | "other" = "unknown";

  constructor(readonly options: Options) {
    this.remembered = options.checkpoint === undefined ? undefined : parseCheckpoint(options.checkpoint);
    if (this.remembered !== undefined) this.meet(this.remembered, REMEMBERED);
  }

  /** Takes a trust file into account, and says where it is not to be relied on. */
  trust(read: () => TrustFile, path: string): TrustFile | undefined {
    let trust: TrustFile;
    try {
      trust = read();
    } catch (error) {
      if (!(error instanceof KeyError)) throw error;
      this.report.add(error.code, path);
      return undefined;
    }
    for (const code of trust.faults) this.report.add(code, path);
    this.identify(trust.log, trust.rootName, trust.rootPub, path);
    if (this.remembered !== undefined) this.trusts.push(trust);
    return trust;
  }

  /** Evidence says that it is of this log and this root key. */
  identify(log: string, rootName: string, rootPub: Uint8Array, path: string): void {
    const root = this.options.root;
    if (root !== undefined && (root.name !== rootName || !equal(root.pub, rootPub))) this.report.add("E301", path);
    this.stats.logs.add(log);
  }

  /** Reads a checkpoint note, holds it to the trust file and to those of its size that were met before. */
  checkpoint(bytes: Uint8Array, path: string, trust: TrustFile | undefined, seq?: bigint): Checkpoint | undefined {
    const note = parseCheckpoint(bytes);
    if (note === undefined) {
      this.report.add("E405", path, seq);
      return undefined;
    }
    this.stats.checkpoints++;
    if (trust !== undefined) for (const code of trust.checkpointFaults(note)) this.report.add(code, path, seq);
    this.meet(note, path, seq);
    return note;
  }

  private meet(note: Checkpoint, path: string, seq?: bigint): void {
    const name = `${note.origin}\0${note.size}`;
    const root = hex(note.root);
    const known = this.roots.get(name);
    if (known === undefined) this.roots.set(name, root);
    else if (known !== root) this.report.add("E606", path, seq);
  }

  /** Holds a note to the witness policy, where there is one. */
  quorum(note: Checkpoint, path: string): void {
    const judged = this.options.witnessPolicy?.judge(note);
    if (judged === undefined) return;
    if (judged.wrong) this.report.add("E402", path);
    if (!judged.met) this.report.add("E404", path);
  }

  /** A stream of this log knows the tree at this size. */
  knowTree(log: string | undefined, size: bigint, root: () => Uint8Array): void {
    if (this.remembered === undefined || log !== this.remembered.origin || size !== this.remembered.size) return;
    const same = equal(root(), this.remembered.root);
    if (this.rememberedRoot !== "other") this.rememberedRoot = same ? "same" : "other";
  }

  /** A stream of this log ends here. */
  knowReach(log: string | undefined, end: bigint): void {
    if (this.remembered === undefined || log !== this.remembered.origin) return;
    if (this.reach === undefined || end > this.reach) this.reach = end;
  }

  /** The remembered checkpoint, against the trust files that could be read and the receipts beside them. */
  private checkRemembered(): void {
    const bytes = this.options.checkpoint;
    if (bytes === undefined) return;
    const note = this.remembered;
    if (note === undefined) {
      this.report.add("E405", REMEMBERED);
      return;
    }
    this.stats.checkpoints++;
    const trusts = this.trusts.filter((trust) => trust.log === note.origin);
    if (trusts.length === 0) {
      if (this.trusts.length > 0) this.report.add("E604", REMEMBERED);
    } else if (!trusts.some((trust) => trust.checkpointFaults(note).length === 0)) {
      // It is enough that the keys of one of the inputs vouch for it.
      this.report.add("E402", REMEMBERED);
    }
    if (this.rememberedRoot === "other") this.report.add("E606", REMEMBERED);
    if (this.reach === undefined) return;
    if (note.size > this.reach) this.report.add("E605", REMEMBERED, this.reach);
    else if (this.rememberedRoot === "unknown") this.report.add("E603", REMEMBERED, undefined, "warning");
  }

  finish(): Verdict {
    this.checkRemembered();
    return makeVerdict(this.report, this.stats, this.options.root !== undefined);
  }
}
