// The trust file: which keys a log has, who vouches for them, for which numbers they are good, and which were revoked.
// It is valid only as a whole.

import { compareText, fromBase64, hex } from "./bytes.js";
import { isWeakKey, keyHash, sha256 } from "./crypto.js";
import { type Envelope, envelopeOf, envelopeSignedBy, KEY_TYPE, REVOCATION_TYPE } from "./dsse.js";
import { base64Of, check, decimalText, type Form, objectOf, oneOf, text, textOf, timestamp } from "./form.js";
import { canonicalBytes, isCanonical, isObject, JsonError, LARGE, readJson, SMALL, type Value } from "./json.js";
import { type Checkpoint, noteSignedBy, type VerifierKey } from "./note.js";
import { lastGood } from "./receipt.js";
import type { Code } from "./report.js";

export const CERTIFICATES_MAX = 8_192;
export const REVOCATIONS_MAX = 1_024;

export class KeyError extends Error {
  constructor(readonly code: Code) {
    super(code);
  }
}

export interface CertifiedKey {
  readonly keyId: string;
  readonly name: string;
  readonly pub: Uint8Array;
  readonly from: bigint;
  /** The next larger `from` of a key of this purpose: where this one ends. */
  readonly until: bigint | undefined;
  /** False where its certificate is worth nothing, because its issuer was revoked before. */
  readonly good: boolean;
}

export interface Revocation {
  readonly keyId: string;
  /** Undefined for none: then nothing is good. */
  readonly lastGood: bigint | undefined;
  readonly lastGoodText: string;
  readonly reason: string;
  readonly sha256: string;
}

const ORIGIN = /^[!-*,-~]{1,240}$/;

const certificate = objectOf({
  required: {
    alg: text,
    issued: timestamp,
    issuer: text,
    key_id: text,
    log: text,
    name: text,
    pub: base64Of(32),
    purpose: oneOf("log", "receipt"),
    v: oneOf("pef.v0"),
    valid_from_seq: decimalText,
  },
});

const revocation = objectOf({
  required: {
    alg: text,
    issued: timestamp,
    issuer: text,
    key_id: text,
    last_good_seq: lastGood,
    log: text,
    reason: textOf(256),
    v: oneOf("pef.v0"),
  },
});

const rootForm = objectOf({ required: { alg: text, key_id: text, name: text, pub: base64Of(32) } });

/** Reads a document and its canonical spelling; any fault is a KeyError with its code. */
function readDocument(bytes: Uint8Array, bounds: typeof SMALL): Value {
  let value: Value;
  try {
    value = readJson(bytes, bounds);
  } catch (error) {
    if (error instanceof JsonError) throw new KeyError(error.code);
    throw error;
  }
  if (!isCanonical(bytes, value)) throw new KeyError("E203");
  return value;
}

interface Signed {
  readonly envelope: Envelope;
  readonly member: (name: string) => string;
  /** Of a certificate: the key. */
  readonly pub: Uint8Array | undefined;
}

/** All that can be said of a certificate or revocation by itself, whoever signed it. Throws KeyError. */
function signedBody(value: Value, type: string, form: Form): Signed {
  const envelope = envelopeOf(value);
  if (envelope === undefined || envelope.payloadType !== type) throw new KeyError("E206");
  const body = readDocument(envelope.payload, SMALL);
  if (check(body, form).length > 0 || !isObject(body)) throw new KeyError("E206");
  if (body.get("alg") !== "ed25519") throw new KeyError("E303");
  const member = (name: string) => String(body.get(name));
  const pub = body.has("pub") ? fromBase64(member("pub")) : undefined;
  if (pub !== undefined && isWeakKey(pub)) throw new KeyError("E307");
  if (pub !== undefined && keyId(member("name"), pub) !== member("key_id")) throw new KeyError("E302");
  if (member("issuer") !== envelope.keyid) throw new KeyError("E302");
  return { envelope, member, pub };
}

/** Whether a value is a certificate or revocation that is good by itself. */
export function isKeyDocument(value: Value): boolean {
  try {
    if (envelopeOf(value)?.payloadType === REVOCATION_TYPE) signedBody(value, REVOCATION_TYPE, revocation);
    else signedBody(value, KEY_TYPE, certificate);
    return true;
  } catch (error) {
    if (error instanceof KeyError) return false;
    throw error;
  }
}

/** The key that a revocation is over, or undefined where it is none. */
export function revokedKey(value: Value): string | undefined {
  try {
    return signedBody(value, REVOCATION_TYPE, revocation).member("key_id");
  } catch (error) {
    if (error instanceof KeyError) return undefined;
    throw error;
  }
}

function keyId(name: string, pub: Uint8Array): string {
  return hex(keyHash(name, 1, pub));
}

export class TrustFile {
  readonly logKeys: CertifiedKey[] = [];
  readonly receiptKeys: CertifiedKey[] = [];
  private readonly byId = new Map<string, { purpose: "log" | "receipt"; key: CertifiedKey }>();
  private readonly revoked = new Map<string, Revocation>();
  /** What is to be said of a file that can be relied on all the same. */
  readonly faults = new Set<Code>();

  private constructor(
    readonly log: string,
    readonly rootKeyId: string,
    readonly rootName: string,
    readonly rootPub: Uint8Array,
  ) {}

  /** `keys.json`. Throws KeyError. */
  static fromBytes(bytes: Uint8Array): TrustFile {
    return TrustFile.fromValue(readDocument(bytes, LARGE));
  }

  static fromValue(value: Value): TrustFile {
    if (!isObject(value)) throw new KeyError("E206");
    const names = [...value.keys()].filter((name) => name !== "revoked").sort();
    if (names.join() !== "certs,log,root,v" || value.get("v") !== "pef.v0") throw new KeyError("E206");
    const log = value.get("log");
    const root = value.get("root");
    const certs = value.get("certs");
    const revoked = value.has("revoked") ? value.get("revoked") : [];
    if (typeof log !== "string" || !ORIGIN.test(log)) throw new KeyError("E206");
    if (!isObject(root) || check(root, rootForm).length > 0) throw new KeyError("E206");
    if (!Array.isArray(certs) || !Array.isArray(revoked)) throw new KeyError("E206");
    if (value.has("revoked") && revoked.length === 0) throw new KeyError("E206");
    if (certs.length > CERTIFICATES_MAX || revoked.length > REVOCATIONS_MAX) throw new KeyError("E106");
    if (root.get("alg") !== "ed25519") throw new KeyError("E303");
    const pub = fromBase64(String(root.get("pub"))) ?? new Uint8Array(32);
    return TrustFile.assemble(log, String(root.get("name")), pub, String(root.get("key_id")), certs, revoked);
  }

  /** From the parts that lie in a data directory. */
  static assemble(
    log: string,
    rootName: string,
    rootPub: Uint8Array,
    rootKeyId: string,
    certs: readonly Value[],
    revoked: readonly Value[],
  ): TrustFile {
    if (certs.length > CERTIFICATES_MAX || revoked.length > REVOCATIONS_MAX) throw new KeyError("E106");
    if (isWeakKey(rootPub)) throw new KeyError("E307");
    if (keyId(rootName, rootPub) !== rootKeyId) throw new KeyError("E302");
    const certificates = certs.map((value) => signedBody(value, KEY_TYPE, certificate));
    const revocations = revoked.map((value) => signedBody(value, REVOCATION_TYPE, revocation));
    let before = "";
    for (const { member } of revocations) {
      if (compareText(before, member("key_id")) > 0) throw new KeyError("E206");
      before = member("key_id");
    }
    if (rootName !== `${log}/root`) throw new KeyError("E306");
    const file = new TrustFile(log, rootKeyId, rootName, rootPub);
    revocations.forEach((one, i) => file.revoke(one, revoked[i] ?? null));
    file.certify(certificates);
    return file;
  }

  private revoke({ envelope, member }: Signed, value: Value): void {
    if (member("log") !== this.log || member("issuer") !== this.rootKeyId) throw new KeyError("E306");
    if (!envelopeSignedBy(envelope, this.rootPub)) throw new KeyError("E306");
    const id = member("key_id");
    if (this.revoked.has(id)) return;
    const good = member("last_good_seq");
    this.revoked.set(id, {
      keyId: id,
      lastGood: good === "none" ? undefined : BigInt(good),
      lastGoodText: good,
      reason: member("reason"),
      sha256: hex(sha256(canonicalBytes(value))),
    });
  }

  private certify(bodies: readonly Signed[]): void {
    const starts = { log: new Array<bigint>(), receipt: new Array<bigint>() };
    for (const { member } of bodies) {
      const purpose = member("purpose") === "log" ? "log" : "receipt";
      starts[purpose].push(BigInt(member("valid_from_seq")));
    }
    for (const list of Object.values(starts)) list.sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
    const next = (list: readonly bigint[], from: bigint): bigint | undefined => {
      let low = 0;
      let high = list.length;
      while (low < high) {
        const middle = (low + high) >> 1;
        if ((list[middle] ?? 0n) > from) high = middle;
        else low = middle + 1;
      }
      return list[low];
    };
    // Log keys first, so that an order of the file other than the usual one means the same.
    for (const purpose of ["log", "receipt"] as const) {
      for (const { envelope, member, pub } of bodies) {
        if (member("purpose") !== purpose || pub === undefined) continue;
        const id = member("key_id");
        const name = purpose === "log" ? this.log : `${this.log}/receipt`;
        if (member("log") !== this.log || member("name") !== name) throw new KeyError("E306");
        if (this.byId.has(id)) throw new KeyError("E306");
        const from = BigInt(member("valid_from_seq"));
        const good = this.checkIssuer(purpose, envelope, from);
        if (!good) this.faults.add("E305");
        const key = { keyId: id, name, pub, from, until: next(starts[purpose], from), good };
        this.byId.set(id, { purpose, key });
        (purpose === "log" ? this.logKeys : this.receiptKeys).push(key);
      }
    }
  }

  /** False where the issuer was revoked before. */
  private checkIssuer(purpose: "log" | "receipt", envelope: Envelope, from: bigint): boolean {
    if (purpose === "log") {
      if (envelope.keyid !== this.rootKeyId || !envelopeSignedBy(envelope, this.rootPub)) throw new KeyError("E306");
      return true;
    }
    const issuer = this.logKey(envelope.keyid);
    if (issuer === undefined || !envelopeSignedBy(envelope, issuer.pub)) throw new KeyError("E306");
    if (from < issuer.from || (issuer.until !== undefined && from > issuer.until)) throw new KeyError("E306");
    return !this.outlives(issuer.keyId, from);
  }

  /** Whether a key was revoked before a certificate or tree of this size. */
  private outlives(id: string, size: bigint): boolean {
    const revocation = this.revoked.get(id);
    if (revocation === undefined) return false;
    return revocation.lastGood === undefined || size > revocation.lastGood + 1n;
  }

  logKey(id: string): CertifiedKey | undefined {
    const entry = this.byId.get(id);
    return entry?.purpose === "log" ? entry.key : undefined;
  }

  receiptKey(id: string): CertifiedKey | undefined {
    const entry = this.byId.get(id);
    return entry?.purpose === "receipt" ? entry.key : undefined;
  }

  revocation(id: string): Revocation | undefined {
    return this.revoked.get(id);
  }

  /** Whether a receipt key may sign for this number: undefined, or the code that says why not. */
  receiptKeyFault(key: CertifiedKey, seq: bigint): "E304" | "E305" | undefined {
    const revocation = this.revoked.get(key.keyId);
    const after = revocation !== undefined && (revocation.lastGood === undefined || seq > revocation.lastGood);
    if (after || !key.good) return "E305";
    return seq >= key.from && (key.until === undefined || seq < key.until) ? undefined : "E304";
  }

  /** Whether a log key may sign for a tree of this size. */
  logKeyFault(key: CertifiedKey, size: bigint): "E304" | "E305" | undefined {
    if (this.outlives(key.keyId, size)) return "E305";
    const begun = key.from === 0n || size > key.from;
    return begun && (key.until === undefined || size <= key.until) ? undefined : "E304";
  }

  /** What is wrong with a checkpoint of this log, in the order of SPEC §9. */
  checkpointFaults(note: Checkpoint): Code[] {
    const faults: Code[] = [];
    const good: CertifiedKey[] = [];
    let wrong = false;
    for (const key of this.logKeys) {
      const named: VerifierKey = { name: key.name, hash: key.keyId.slice(0, 8), pub: key.pub };
      for (const line of note.signatures) {
        if (line.name !== named.name || line.hash !== named.hash) continue;
        if (noteSignedBy(note.text, line.signature, named)) good.push(key);
        else wrong = true;
      }
    }
    if (wrong || good.length === 0) faults.push("E402");
    if (good.length > 0) {
      const reasons = good.map((key) => this.logKeyFault(key, note.size));
      if (!reasons.includes(undefined)) faults.push(reasons.includes("E305") ? "E305" : "E304");
    }
    if (note.origin !== this.log) faults.push("E604");
    return faults;
  }
}

export function isOrigin(log: Value | undefined): log is string {
  return typeof log === "string" && ORIGIN.test(log);
}

