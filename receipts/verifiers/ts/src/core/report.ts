// Findings and the verdict: what was found, in the one order in which every verifier gives it.

import { compareText } from "./bytes.js";
import { object, type Value, writeJson } from "./json.js";

export const NAMES = {
  W001: "TORN_TAIL",
  W002: "CORRUPT_MIDDLE",
  W003: "LOST_DURABLE",
  E101: "MISSING_FILE",
  E102: "UNEXPECTED_FILE",
  E103: "FILE_DIGEST",
  E104: "MANIFEST_NOT_CANONICAL",
  E105: "VERSION",
  E106: "LIMIT",
  E107: "BAD_PATH",
  E108: "CONTAINER",
  E201: "JSON",
  E202: "DUP_KEY",
  E203: "NOT_CANONICAL",
  E204: "NUMBER",
  E205: "UTF8",
  E206: "SCHEMA",
  E207: "UNKNOWN_FIELD",
  E301: "KEY_UNKNOWN",
  E302: "KEY_ID_MISMATCH",
  E303: "ALG",
  E304: "KEY_NOT_VALID_AT_SEQ",
  E305: "REVOKED",
  E306: "ROTATION_UNAUTHORISED",
  E307: "WEAK_KEY",
  E401: "RECEIPT_SIG",
  E402: "CHECKPOINT_SIG",
  E403: "MANIFEST_SIG",
  E404: "QUORUM",
  E405: "MALFORMED_NOTE",
  E501: "SEQ_GAP",
  E502: "SEQ_DUP",
  E503: "PREV_MISMATCH",
  E504: "GENESIS",
  E505: "ORDER",
  E506: "TAIL_SHORT",
  E507: "UNPAIRED_ATTEMPT",
  E508: "TIME_BACK",
  E509: "BOOT_DISCONTINUITY",
  E510: "LOSS_DECLARED",
  E511: "COUNTS",
  E601: "ROOT",
  E602: "INCLUSION",
  E603: "CONSISTENCY",
  E604: "ORIGIN",
  E605: "ROLLBACK",
  E606: "FORK",
  E701: "ANCHOR_REQUIRED_MISSING",
  E702: "TSA_INVALID",
  E703: "IMPRINT",
  E704: "ANCHOR_TIME",
  E705: "OTS_PENDING",
  E706: "OTS_INVALID",
  E708: "SPV_INVALID",
  E801: "ARTIFACT_MISSING",
  E802: "ARTIFACT_DIGEST",
  E803: "ARTIFACT_SIZE",
  E804: "TOMBSTONED",
  E951: "CUSTODY_BREAK",
} as const;

export type Code = keyof typeof NAMES;
export type Severity = "error" | "warning";

export interface Finding {
  readonly code: Code;
  readonly path: string;
  readonly seq: bigint | undefined;
  readonly severity: Severity;
}

const FINDINGS_MAX = 10_000;
/** Sorting is put off until there are twice as many as are kept, so that it costs little on average. */
const FINDINGS_HELD = 2 * FINDINGS_MAX;

function phase(code: Code): number {
  return code.startsWith("W") ? 0 : Number(code.charAt(1));
}

export function compareFindings(a: Finding, b: Finding): number {
  if (phase(a.code) !== phase(b.code)) return phase(a.code) - phase(b.code);
  if (a.seq !== b.seq) {
    if (a.seq === undefined) return -1;
    if (b.seq === undefined) return 1;
    return a.seq < b.seq ? -1 : 1;
  }
  return compareText(a.code, b.code) || compareText(a.path, b.path) || compareText(a.severity, b.severity);
}

/** Keeps the first findings by their order, each once, in bounded memory. */
export class Report {
  private held = new Map<string, { finding: Finding; met: number }>();
  private dropped = 0;
  private errors = false;

  add(code: Code, path: string, seq?: bigint, severity: Severity = "error"): void {
    if (severity === "error") this.errors = true;
    const key = `${code}\0${path}\0${seq ?? ""}\0${severity}`;
    const known = this.held.get(key);
    if (known !== undefined) {
      known.met++;
      return;
    }
    this.held.set(key, { finding: { code, path, seq, severity }, met: 1 });
    if (this.held.size >= FINDINGS_HELD) this.trim();
  }

  private trim(): void {
    const sorted = [...this.held].sort(([, a], [, b]) => compareFindings(a.finding, b.finding));
    for (const [, { met }] of sorted.slice(FINDINGS_MAX)) this.dropped += met;
    this.held = new Map(sorted.slice(0, FINDINGS_MAX));
  }

  get ok(): boolean {
    return !this.errors;
  }

  finish(): { findings: Finding[]; dropped: number } {
    this.trim();
    return { findings: [...this.held.values()].map(({ finding }) => finding), dropped: this.dropped };
  }
}

/** What was looked at. */
export class Stats {
  bundles = 0;
  checkpoints = 0;
  segments = 0;
  receipts = 0;
  firstSeq: bigint | undefined;
  lastSeq: bigint | undefined;
  readonly kinds = new Map<string, number>();
  readonly verdicts = new Map<string, number>();
  readonly logs = new Set<string>();

  receipt(seq: bigint, kind: string, verdict: string | undefined): void {
    this.receipts++;
    if (this.firstSeq === undefined || seq < this.firstSeq) this.firstSeq = seq;
    if (this.lastSeq === undefined || seq > this.lastSeq) this.lastSeq = seq;
    this.kinds.set(kind, (this.kinds.get(kind) ?? 0) + 1);
    if (verdict !== undefined) this.verdicts.set(verdict, (this.verdicts.get(verdict) ?? 0) + 1);
  }
}

export interface Verdict {
  readonly ok: boolean;
  readonly assurance: "origin" | "integrity";
  readonly findings: readonly Finding[];
  readonly dropped: number;
  readonly stats: Stats;
  /** The canonical document. */
  readonly json: string;
}

export function makeVerdict(report: Report, stats: Stats, origin: boolean): Verdict {
  const { findings, dropped } = report.finish();
  const assurance = origin ? "origin" : "integrity";
  const json = writeJson(
    object({
      assurance,
      findings: findings.map((finding): Value =>
        object({
          code: finding.code,
          name: NAMES[finding.code],
          path: finding.path,
          seq: finding.seq === undefined ? null : finding.seq.toString(),
          severity: finding.severity,
        }),
      ),
      findings_dropped: dropped,
      ok: report.ok,
      stats: object({
        bundles: stats.bundles,
        checkpoints: stats.checkpoints,
        first_seq: stats.firstSeq === undefined ? null : stats.firstSeq.toString(),
        kinds: new Map(stats.kinds),
        last_seq: stats.lastSeq === undefined ? null : stats.lastSeq.toString(),
        logs: [...stats.logs].sort(compareText),
        receipts: stats.receipts,
        segments: stats.segments,
        verdicts: new Map(stats.verdicts),
      }),
      v: "pef.v0",
    }),
  );
  return { ok: report.ok, assurance, findings, dropped, stats, json };
}
