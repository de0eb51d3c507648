// The form of a receipt's body: the members of every receipt, and those of each kind (SPEC §4).

import {
  anyObject,
  base64Of,
  bool,
  checkMembers,
  count,
  decimalText,
  digest,
  type Form,
  hexOf,
  integer,
  isDecimal,
  isDigestText,
  listOf,
  listWhere,
  type Members,
  type Mismatch,
  objectOf,
  oneOf,
  text,
  textOf,
  timestamp,
  uuid,
} from "./form.js";
import { isObject, type Value } from "./json.js";

const PARENTS_MAX = 32;
const RUN_ID_BYTES_MAX = 128;

const VERDICTS = [
  "executed",
  "redacted",
  "repaired",
  "blocked",
  "denied",
  "held",
  "timeout",
  "errored",
  "aborted_by_client",
  "crashed",
  "deferred",
] as const;

const commitment = objectOf({
  required: { alg: oneOf("hmac-sha256"), value: digest },
  optional: { salt: base64Of() },
});

const caller = objectOf({
  optional: {
    app: text,
    automation: objectOf({ optional: { job_id: text, pipeline_id: text, service_id: text } }),
    identity: objectOf({ required: { kind: text }, optional: { commit: commitment, id: text } }),
    sdk: text,
    tenant: text,
  },
});

const request = objectOf({
  required: { bytes: count, stream: bool, surface: text },
  optional: {
    commit: commitment,
    messages: listOf(objectOf({ required: { count, kind: text, role: text } })),
    method: text,
    model: text,
    route: text,
    tools: listOf(objectOf({ required: { name: text }, optional: { digest } })),
  },
});

const upstream = objectOf({
  required: { attempts: count, name: text },
  optional: { first_byte_us: count, model: text, request_id: text, status: count, total_us: count },
});

const body = objectOf({ required: { bytes: count }, optional: { commit: commitment } });

const response = objectOf({
  optional: {
    cost_microusd: count,
    finish_reason: text,
    received: body,
    released: body,
    usage: objectOf({
      required: { cached: count, input: count, output: count, reasoning: count },
      optional: { estimated: bool },
    }),
  },
});

const stream = objectOf({ required: { events: count, held_max_bytes: count, root: digest } });

const checks = listOf(
  objectOf({
    required: {
      bytes: count,
      channel: text,
      id: text,
      outcome: oneOf("pass", "finding", "error", "timeout", "skipped"),
      us: count,
      version: text,
    },
    optional: { reason: text },
  }),
);

const findings = listOf(
  objectOf({
    required: {
      channel: text,
      class: text,
      detector: text,
      place: objectOf({ required: { length: count, offset: count, pointer: text } }),
      score_ppm: count,
    },
    optional: { atlas: text, owasp: text, threat_class: text },
  }),
);

const schema = objectOf({
  required: { digest: text, lock: text, verdict: text },
  optional: {
    repair: objectOf({ required: { digest: text, kind: text } }),
    violation: objectOf({ required: { keyword: text, offset: count, pointer: text } }),
  },
});

const policy = objectOf({
  required: { decision: text, hash: text, rules: listOf(objectOf({ required: { action: text, id: text } })) },
  optional: { exceptions: listOf(text), shadow: listOf(objectOf({ required: { decision: text, id: text } })) },
});

const coverage = objectOf({
  required: { level: oneOf("full", "partial", "none") },
  optional: { reasons: listOf(text) },
});

const run = objectOf({
  required: { id: textOf(RUN_ID_BYTES_MAX), prev: digest, seq: decimalText },
  optional: {
    parent: textOf(RUN_ID_BYTES_MAX),
    parents: listWhere(decimalText, (list) => {
      if (list.length > PARENTS_MAX) return false;
      for (let i = 1; i < list.length; i++) {
        if (BigInt(String(list[i - 1])) >= BigInt(String(list[i]))) return false;
      }
      return true;
    }),
  },
});

const verdict = oneOf(...VERDICTS);
export const lastGood: Form = (value, pointer, out) => {
  if (value !== "none") decimalText(value, pointer, out);
};

const COMMON: Record<string, Form> = {
  alg: text,
  boot: objectOf({ required: { epoch: count, id: uuid } }),
  build: objectOf({ required: { version: text }, optional: { digest: text } }),
  dur: oneOf("durable", "strict"),
  id: uuid,
  key_id: digest,
  kind: text,
  log: text,
  mono_ns: decimalText,
  prev: digest,
  seq: decimalText,
  ts: timestamp,
  v: oneOf("pef.v0"),
};

function event(members: Members): Members {
  return { required: { event: objectOf(members) } };
}

/** The members of each kind beside those of every receipt. */
const KINDS: Record<string, Members> = {
  attempt: {
    required: { caller, checks, coverage, findings, policy, request },
    optional: { ext: anyObject, run },
  },
  outcome: {
    required: { attempt_seq: decimalText, caller, checks, coverage, findings, policy, verdict },
    optional: { ext: anyObject, request, response, run, schema, stream, upstream },
  },
  bypass: {
    required: { caller, coverage, policy, request },
    optional: { ext: anyObject, response, run, upstream, verdict },
  },
  genesis: event({ required: { created: timestamp, log: text, root: digest }, optional: { policy: text } }),
  boot: event({
    required: { clean: bool },
    optional: {
      last_seq: decimalText,
      torn: objectOf({ required: { blake3: digest, bytes: count, offset: count, segment: text } }),
    },
  }),
  shutdown: event({ required: { receipts: count } }),
  "policy.change": event({ required: { source: text, to: text }, optional: { from: text } }),
  degraded: event({ required: { reason: text, state: oneOf("entered", "left") } }),
  gap: event({ required: { exchanges: count, reason: text } }),
  seal: event({ required: { from: decimalText, root: digest, sha256: digest, to: decimalText } }),
  heartbeat: event({ required: { receipts: count } }),
  "clock.step": event({ required: { from: timestamp, step_us: integer } }),
  "key.rotate": event({
    required: {
      new: digest,
      new_sig: base64Of(64),
      old: digest,
      old_sig: base64Of(64),
      purpose: oneOf("log", "receipt"),
      valid_from_seq: decimalText,
    },
  }),
  "key.revoke": event({
    required: { key_id: digest, last_good_seq: lastGood, reason: text, sha256: digest },
  }),
  anchor: event({
    required: {
      kind: oneOf("directory", "object", "rfc3161", "opentimestamps", "op_return", "witness"),
      proof: digest,
      root: digest,
      sha256: digest,
      size: decimalText,
      state: oneOf("confirmed", "pending"),
    },
    optional: { at: timestamp, header: hexOf(/^[0-9a-f]{160}$/), ref: text },
  }),
  prune: event({
    required: { bytes: count, from: decimalText, root: digest, segments: count, to: decimalText },
  }),
};

export const RECEIPT_BYTES_MAX = 48_128;

/** Every place where a body differs from the form of its kind. Of a body without a known kind only the kind is said. */
export function checkReceipt(value: Value): Mismatch[] {
  const kind = isObject(value) ? value.get("kind") : undefined;
  if (!isObject(value) || typeof kind !== "string" || !Object.hasOwn(KINDS, kind)) {
    return [{ code: "E206", pointer: "/kind" }];
  }
  const own = KINDS[kind] ?? {};
  const out: Mismatch[] = [];
  checkMembers(
    value,
    { required: { ...COMMON, ...own.required }, ...(own.optional === undefined ? {} : { optional: own.optional }) },
    "",
    out,
  );
  return out;
}

export function isKind(value: Value | undefined): value is string {
  return typeof value === "string" && Object.hasOwn(KINDS, value);
}

export function isVerdict(value: Value | undefined): value is string {
  return typeof value === "string" && (VERDICTS as readonly string[]).includes(value);
}

/** What places a receipt in its run, where that is of its form, whatever else there is in `run`. */
export function runOf(value: Value | undefined): { id: string; seq: bigint; prev: string } | undefined {
  if (value === undefined || !isObject(value)) return undefined;
  const id = value.get("id");
  const seq = value.get("seq");
  const prev = value.get("prev");
  if (typeof id !== "string" || !isDecimal(seq) || !isDigestText(prev)) return undefined;
  return { id, seq: BigInt(seq), prev };
}
