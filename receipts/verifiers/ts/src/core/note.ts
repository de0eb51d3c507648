// C2SP signed notes: verifier keys, checkpoints, cosignatures, and the policies that say which witnesses must cosign.

import { base64, concat, decimal, fromBase64, fromUtf8, hex, readU64be, utf8 } from "./bytes.js";
import { isWeakKey, keyHash, verify } from "./crypto.js";

const NOTE_BYTES_MAX = 65_536;
const SIGNATURES_MAX = 100;
const ED25519 = 1;
const COSIGNATURE = 4;

export interface VerifierKey {
  readonly name: string;
  /** Hex of the four bytes by which a note names the key. */
  readonly hash: string;
  readonly pub: Uint8Array;
}

const SPACE = /[\p{White_Space}+]/u;

export function isKeyName(name: string): boolean {
  return name.length > 0 && !SPACE.test(name);
}

/** `name+hash+base64(algorithm ‖ public key)`, held to its hash and to the rule on weak keys. */
function parseKey(text: string, algorithm: number): VerifierKey | undefined {
  const match = /^([^+]+)\+([0-9a-f]{8})\+(.+)$/s.exec(text);
  const name = match?.[1];
  const hash = match?.[2];
  const bytes = fromBase64(match?.[3] ?? "");
  if (name === undefined || hash === undefined || !isKeyName(name)) return undefined;
  if (bytes === undefined || bytes.length !== 33 || bytes[0] !== algorithm) return undefined;
  const pub = bytes.slice(1);
  if (hex(keyHash(name, algorithm, pub).subarray(0, 4)) !== hash || isWeakKey(pub)) return undefined;
  return { name, hash, pub };
}

export function parseVerifierKey(text: string): VerifierKey | undefined {
  return parseKey(text, ED25519);
}

export function verifierKeyText(name: string, pub: Uint8Array): string {
  return `${name}+${hex(keyHash(name, ED25519, pub).subarray(0, 4))}+${base64(concat(Uint8Array.of(ED25519), pub))}`;
}

export interface NoteSignature {
  readonly name: string;
  readonly hash: string;
  readonly signature: Uint8Array;
}

export interface Note {
  /** The signed text, with its last newline. */
  readonly text: Uint8Array;
  readonly signatures: readonly NoteSignature[];
}

const CONTROL = /[\u0000-\u0009\u000b-\u001f]/;

export function parseNote(bytes: Uint8Array): Note | undefined {
  if (bytes.length > NOTE_BYTES_MAX) return undefined;
  const all = fromUtf8(bytes);
  if (all === undefined || CONTROL.test(all) || !all.endsWith("\n")) return undefined;
  const cut = all.lastIndexOf("\n\n");
  if (cut < 0) return undefined;
  const lines = all.slice(cut + 2).split("\n");
  lines.pop();
  if (lines.length === 0 || lines.length > SIGNATURES_MAX) return undefined;
  const signatures: NoteSignature[] = [];
  for (const line of lines) {
    if (!line.startsWith("— ")) return undefined;
    const rest = line.slice(2);
    const gap = rest.indexOf(" ");
    const name = rest.slice(0, Math.max(gap, 0));
    const blob = fromBase64(rest.slice(gap + 1));
    if (!isKeyName(name) || blob === undefined || blob.length < 5) return undefined;
    signatures.push({ name, hash: hex(blob.subarray(0, 4)), signature: blob.slice(4) });
  }
  return { text: utf8(all.slice(0, cut + 1)), signatures };
}

export interface Checkpoint extends Note {
  readonly origin: string;
  readonly size: bigint;
  readonly root: Uint8Array;
}

/** A checkpoint. Extension lines are allowed, and mean nothing here. */
export function parseCheckpoint(bytes: Uint8Array): Checkpoint | undefined {
  const note = parseNote(bytes);
  if (note === undefined) return undefined;
  const lines = (fromUtf8(note.text) ?? "").split("\n");
  const [origin, sizeText, rootText] = lines;
  if (lines.length < 4 || lines.slice(0, -1).includes("") || origin === undefined) return undefined;
  const size = decimal(sizeText ?? "");
  const root = fromBase64(rootText ?? "");
  if (size === undefined || root === undefined || root.length !== 32) return undefined;
  return { ...note, origin, size, root };
}

export function noteSignedBy(text: Uint8Array, signature: Uint8Array, key: VerifierKey): boolean {
  return signature.length === 64 && verify(key.pub, text, signature);
}

function cosignedBy(text: Uint8Array, signature: Uint8Array, key: VerifierKey): boolean {
  if (signature.length !== 72) return false;
  const head = utf8(`cosignature/v1\ntime ${readU64be(signature, 0)}\n`);
  return verify(key.pub, concat(head, text), signature.slice(8));
}

interface Group {
  readonly threshold: number;
  readonly members: readonly string[];
}

/** A C2SP tlog-policy, as far as witnesses go. */
export class WitnessPolicy {
  private constructor(
    private readonly witnesses: ReadonlyMap<string, VerifierKey>,
    private readonly groups: ReadonlyMap<string, Group>,
    private readonly quorum: string,
  ) {}

  /** The policy, or in words what is wrong with it. */
  static parse(bytes: Uint8Array): WitnessPolicy | string {
    if (bytes.length > POLICY_BYTES_MAX) return `longer than ${POLICY_BYTES_MAX} bytes`;
    for (const byte of bytes) if ((byte < 0x20 && byte !== 9 && byte !== 10) || byte === 0x7f) return "holds a control character";
    // Names are octets: one character for each byte keeps them apart exactly as their bytes are. A key's name is UTF-8
    // inside its verifier key, and is read as such below.
    const latin = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
    const witnesses = new Map<string, VerifierKey>();
    const groups = new Map<string, Group>();
    const keys = new Set<string>();
    let quorum: string | undefined;
    const defined = (name: string) => witnesses.has(name) || groups.has(name);
    for (const [index, line] of latin.split("\n").entries()) {
      const where = `line ${index + 1}`;
      const words = line.split(/[ \t]+/).filter((word) => word !== "");
      const [keyword, name] = words;
      if (keyword === undefined || keyword.startsWith("#") || keyword === "log") continue;
      if (name === undefined) return `${where}: a name is missing`;
      if (keyword === "witness") {
        const key = words.length === 3 || words.length === 4 ? witnessKey(words[2] ?? "") : undefined;
        if (key === undefined) return `${where}: not a witness with a verifier key of type 0x04`;
        if (defined(name) || name === "none") return `${where}: the name is taken`;
        if (keys.has(hex(key.pub))) return `${where}: the key was given before`;
        keys.add(hex(key.pub));
        witnesses.set(name, key);
      } else if (keyword === "group") {
        const members = words.slice(3);
        const threshold = words[2] === "all" ? members.length : words[2] === "any" ? 1 : Number(decimal(words[2] ?? "") ?? 0n);
        if (defined(name) || name === "none") return `${where}: the name is taken`;
        if (new Set(members).size !== members.length || !members.every(defined)) return `${where}: members must be defined before, and each be named once`;
        if (threshold < 1 || threshold > members.length) return `${where}: not a threshold of its members`;
        for (const [other, group] of groups) {
          if (group.members.some((member) => members.includes(member))) return `${where}: a member is in ${other} already`;
        }
        groups.set(name, { threshold, members });
      } else if (keyword === "quorum") {
        if (quorum !== undefined || words.length !== 2) return `${where}: there must be one quorum, of one name`;
        if (name !== "none" && !defined(name)) return `${where}: the quorum is not defined before`;
        quorum = name;
      } else {
        return `${where}: unknown keyword`;
      }
    }
    return quorum === undefined ? "there is no quorum line" : new WitnessPolicy(witnesses, groups, quorum);
  }

  /** Which cosignatures of the note are good, whether one is wrong, and whether the good ones are enough. */
  judge(note: Note): { wrong: boolean; met: boolean } {
    const good = new Set<string>();
    let wrong = false;
    for (const [name, key] of this.witnesses) {
      for (const line of note.signatures) {
        if (line.name !== key.name || line.hash !== key.hash) continue;
        if (cosignedBy(note.text, line.signature, key)) good.add(name);
        else wrong = true;
      }
    }
    for (const [name, group] of this.groups) {
      if (group.members.filter((member) => good.has(member)).length >= group.threshold) good.add(name);
    }
    return { wrong, met: this.quorum === "none" || good.has(this.quorum) };
  }
}

const POLICY_BYTES_MAX = 65_536;

function witnessKey(latin: string): VerifierKey | undefined {
  const text = fromUtf8(Uint8Array.from(latin, (character) => character.charCodeAt(0)));
  return text === undefined ? undefined : parseKey(text, COSIGNATURE);
}

/** The lines of a list of hashes, one base64 hash a line, or undefined. */
export function parseHashLines(text: string, max: number): Uint8Array[] | undefined {
  if (text === "") return [];
  if (!text.endsWith("\n")) return undefined;
  const lines = text.slice(0, -1).split("\n");
  if (lines.length > max) return undefined;
  const hashes: Uint8Array[] = [];
  for (const line of lines) {
    const hash = fromBase64(line);
    if (hash === undefined || hash.length !== 32) return undefined;
    hashes.push(hash);
  }
  return hashes;
}

export interface TlogProof {
  readonly index: bigint;
  readonly path: readonly Uint8Array[];
  readonly note: Uint8Array;
}

const PATH_MAX = 64;

/** C2SP tlog-proof, version 1. */
export function parseTlogProof(bytes: Uint8Array): TlogProof | undefined {
  const all = fromUtf8(bytes);
  const header = "c2sp.org/tlog-proof@v1\n";
  if (all === undefined || !all.startsWith(header)) return undefined;
  let rest = all.slice(header.length);
  const extra = /^extra ([^\n]*)\n/.exec(rest);
  if (extra !== null) {
    if (fromBase64(extra[1] ?? "") === undefined) return undefined;
    rest = rest.slice(extra[0].length);
  }
  const line = /^index ([0-9]+)\n/.exec(rest);
  const index = decimal(line?.[1] ?? "");
  if (line === null || index === undefined) return undefined;
  rest = rest.slice(line[0].length);
  const cut = rest.startsWith("\n") ? 0 : rest.indexOf("\n\n") + 1;
  if (cut === 0 && !rest.startsWith("\n")) return undefined;
  const path = parseHashLines(rest.slice(0, cut), PATH_MAX);
  return path === undefined ? undefined : { index, path, note: utf8(rest.slice(cut + 1)) };
}

