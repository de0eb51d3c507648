// Canonical JSON, read from bytes: RFC 8785 with the four restrictions of SPEC §2, and with bounds. Reading tells what
// is there; whether the bytes are the canonical spelling of it is a second question.

import { equal, utf8 } from "./bytes.js";

export type Value = null | boolean | number | string | Value[] | JsonObject;
/** A map, so that no member name can mean anything to JavaScript. */
export type JsonObject = Map<string, Value>;
export type JsonCode = "E106" | "E201" | "E202" | "E204" | "E205";

export interface Bounds {
  readonly bytes: number;
  readonly values: number;
}

/** A receipt body, an envelope line, a certificate, `frontier.json`. */
export const SMALL: Bounds = { bytes: 65_536, values: 32_768 };
/** `manifest.json`, `manifest.dsse.json`, `keys.json`. */
export const LARGE: Bounds = { bytes: 8 * 1024 * 1024, values: 262_144 };
const DEPTH_MAX = 32;

export class JsonError extends Error {
  constructor(
    readonly code: JsonCode,
    readonly offset: number,
  ) {
    super(`${code} at byte ${offset}`);
  }
}

export function isObject(value: Value | undefined): value is JsonObject {
  return value instanceof Map;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

class Reader {
  private at = 0;
  private values = 0;

  constructor(
    private readonly bytes: Uint8Array,
    private readonly bounds: Bounds,
  ) {}

  document(): Value {
    const value = this.value(1);
    this.space();
    if (this.at !== this.bytes.length) this.fail("E201");
    return value;
  }

  private fail(code: JsonCode): never {
    throw new JsonError(code, this.at);
  }

  private space(): void {
    for (;;) {
      const byte = this.bytes[this.at];
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return;
      this.at++;
    }
  }

  private value(depth: number): Value {
    this.space();
    const byte = this.bytes[this.at];
    if (byte === undefined) this.fail("E201");
    if (++this.values > this.bounds.values) this.fail("E106");
    switch (byte) {
      case 0x7b:
        return this.object(depth);
      case 0x5b:
        return this.array(depth);
      case QUOTE:
        return this.string();
      case 0x74:
        return this.word("true", true);
      case 0x66:
        return this.word("false", false);
      case 0x6e:
        return this.word("null", null);
      default:
        return this.number();
    }
  }

  private word<T>(text: string, value: T): T {
    for (let i = 0; i < text.length; i++) {
      if (this.bytes[this.at + i] !== text.charCodeAt(i)) this.fail("E201");
    }
    this.at += text.length;
    return value;
  }

  private array(depth: number): Value[] {
    if (depth > DEPTH_MAX) this.fail("E106");
    this.at++;
    const list: Value[] = [];
    this.space();
    if (this.bytes[this.at] === 0x5d) {
      this.at++;
      return list;
    }
    for (;;) {
      list.push(this.value(depth + 1));
      this.space();
      const byte = this.bytes[this.at];
      if (byte !== 0x2c && byte !== 0x5d) this.fail("E201");
      this.at++;
      if (byte === 0x5d) return list;
    }
  }

  private object(depth: number): JsonObject {
    if (depth > DEPTH_MAX) this.fail("E106");
    this.at++;
    const object: JsonObject = new Map();
    this.space();
    if (this.bytes[this.at] === 0x7d) {
      this.at++;
      return object;
    }
    for (;;) {
      this.space();
      if (this.bytes[this.at] !== QUOTE) this.fail("E201");
      const name = this.string();
      for (let i = 0; i < name.length; i++) if (name.charCodeAt(i) > 0x7f) this.fail("E205");
      if (object.has(name)) this.fail("E202");
      this.space();
      if (this.bytes[this.at] !== 0x3a) this.fail("E201");
      this.at++;
      object.set(name, this.value(depth + 1));
      this.space();
      const byte = this.bytes[this.at];
      if (byte !== 0x2c && byte !== 0x7d) this.fail("E201");
      this.at++;
      if (byte === 0x7d) return object;
    }
  }

  private digits(): number {
    const from = this.at;
    for (;;) {
      const byte = this.bytes[this.at];
      if (byte === undefined || byte < 0x30 || byte > 0x39) return this.at - from;
      this.at++;
    }
  }

  private number(): number {
    const from = this.at;
    const negative = this.bytes[this.at] === 0x2d;
    if (negative) this.at++;
    const first = this.bytes[this.at];
    const whole = this.digits();
    if (whole === 0 || (whole > 1 && first === 0x30)) this.fail("E201");
    // A fraction or an exponent, whatever follows.
    const next = this.bytes[this.at];
    if (next === 0x2e || next === 0x65 || next === 0x45 || whole > 16) this.fail("E204");
    const value = Number(String.fromCharCode(...this.bytes.subarray(from, this.at)));
    if (!Number.isSafeInteger(value) || (negative && value === 0)) this.fail("E204");
    return value;
  }

  private string(): string {
    this.at++;
    let text = "";
    let from = this.at;
    for (;;) {
      const byte = this.bytes[this.at];
      if (byte === undefined || byte < 0x20) this.fail("E201");
      if (byte === QUOTE) {
        text += this.plain(from);
        this.at++;
        return text;
      }
      if (byte === BACKSLASH) {
        text += this.plain(from);
        this.at++;
        text += this.escape();
        from = this.at;
      } else {
        this.at++;
      }
    }
  }

  private plain(from: number): string {
    try {
      return decoder.decode(this.bytes.subarray(from, this.at));
    } catch {
      return this.fail("E205");
    }
  }

  private escape(): string {
    const byte = this.bytes[this.at++];
    switch (byte) {
      case QUOTE:
        return '"';
      case BACKSLASH:
        return "\\";
      case 0x2f:
        return "/";
      case 0x62:
        return "\b";
      case 0x66:
        return "\f";
      case 0x6e:
        return "\n";
      case 0x72:
        return "\r";
      case 0x74:
        return "\t";
      case 0x75:
        break;
      default:
        return this.fail("E201");
    }
    const unit = this.unit();
    if (unit < 0xd800 || unit > 0xdfff) return String.fromCharCode(unit);
    if (unit > 0xdbff || this.bytes[this.at] !== BACKSLASH || this.bytes[this.at + 1] !== 0x75) this.fail("E205");
    this.at += 2;
    const second = this.unit();
    if (second < 0xdc00 || second > 0xdfff) this.fail("E205");
    return String.fromCharCode(unit, second);
  }

  private unit(): number {
    let unit = 0;
    for (let i = 0; i < 4; i++) {
      const digit = HEX_DIGITS.indexOf(String.fromCharCode(this.bytes[this.at] ?? 0).toLowerCase());
      if (digit < 0) this.fail("E201");
      unit = unit * 16 + digit;
      this.at++;
    }
    return unit;
  }
}

const HEX_DIGITS = "0123456789abcdef";

/** Reads a document. Throws nothing but JsonError. */
export function readJson(bytes: Uint8Array, bounds: Bounds): Value {
  if (bytes.length > bounds.bytes) throw new JsonError("E106", bounds.bytes);
  // The whole document is held to UTF-8 first: what the bytes mean is undefined otherwise.
  try {
    decoder.decode(bytes);
  } catch {
    throw new JsonError("E205", 0);
  }
  return new Reader(bytes, bounds).document();
}

function writeString(text: string): string {
  let out = '"';
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === QUOTE) out += '\\"';
    else if (code === BACKSLASH) out += "\\\\";
    else if (code >= 0x20) out += text.charAt(i);
    else if (code === 8) out += "\\b";
    else if (code === 9) out += "\\t";
    else if (code === 10) out += "\\n";
    else if (code === 12) out += "\\f";
    else if (code === 13) out += "\\r";
    else out += `\\u${code.toString(16).padStart(4, "0")}`;
  }
  return `${out}"`;
}

/** The one spelling of a value. Member names are ASCII, so that every order of texts is the same. */
export function writeJson(value: Value): string {
  if (value === null) return "null";
  if (typeof value === "string") return writeString(value);
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  if (Array.isArray(value)) return `[${value.map(writeJson).join(",")}]`;
  const names = [...value.keys()].sort();
  return `{${names.map((name) => `${writeString(name)}:${writeJson(value.get(name) ?? null)}`).join(",")}}`;
}

export function canonicalBytes(value: Value): Uint8Array {
  return utf8(writeJson(value));
}

export function isCanonical(bytes: Uint8Array, value: Value): boolean {
  return equal(bytes, canonicalBytes(value));
}

/** A map of plain members, for documents that the verifier itself spells. */
export function object(members: Record<string, Value | undefined>): JsonObject {
  const map: JsonObject = new Map();
  for (const [name, value] of Object.entries(members)) if (value !== undefined) map.set(name, value);
  return map;
}
