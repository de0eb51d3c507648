// Forms of documents: which members an object has, and what each of them is. A form is data; checking it gives every
// place that differs, as a JSON pointer.

import { decimal, fromBase64, isDigest, utf8 } from "./bytes.js";
import { isObject, type JsonObject, type Value } from "./json.js";

export interface Mismatch {
  readonly code: "E206" | "E207";
  readonly pointer: string;
}

export type Form = (value: Value, pointer: string, out: Mismatch[]) => void;

function single(test: (value: Value) => boolean): Form {
  return (value, pointer, out) => {
    if (!test(value)) out.push({ code: "E206", pointer });
  };
}

const TIMESTAMP = /^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$/;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

export const isTimestamp = (value: Value | undefined): value is string =>
  typeof value === "string" && TIMESTAMP.test(value);
export const isDecimal = (value: Value | undefined): value is string =>
  typeof value === "string" && decimal(value) !== undefined;
export const isDigestText = (value: Value | undefined): value is string => typeof value === "string" && isDigest(value);

export const text = single((value) => typeof value === "string");
export const bool = single((value) => typeof value === "boolean");
export const count = single((value) => typeof value === "number" && value >= 0);
export const integer = single((value) => typeof value === "number");
export const digest = single(isDigestText);
export const decimalText = single(isDecimal);
export const timestamp = single(isTimestamp);
export const uuid = single((value) => typeof value === "string" && UUID.test(value));
/** Judged elsewhere. */
export const any: Form = () => {};
export const anyObject = single((value) => isObject(value));

export function textOf(bytesMax: number): Form {
  return single((value) => typeof value === "string" && utf8(value).length <= bytesMax);
}

export function oneOf(...texts: string[]): Form {
  return single((value) => typeof value === "string" && texts.includes(value));
}

export function hexOf(pattern: RegExp): Form {
  return single((value) => typeof value === "string" && pattern.test(value));
}

/** Base64 of this many bytes, or of any number. */
export function base64Of(length?: number): Form {
  return single((value) => {
    if (typeof value !== "string") return false;
    const bytes = fromBase64(value);
    return bytes !== undefined && (length === undefined || bytes.length === length);
  });
}

export function listOf(form: Form): Form {
  return (value, pointer, out) => {
    if (!Array.isArray(value)) {
      out.push({ code: "E206", pointer });
      return;
    }
    value.forEach((entry, i) => form(entry, `${pointer}/${i}`, out));
  };
}

/** A list, and a condition on it as a whole that is only asked when each entry is of its form. */
export function listWhere(form: Form, test: (list: Value[]) => boolean): Form {
  const plain = listOf(form);
  return (value, pointer, out) => {
    const before = out.length;
    plain(value, pointer, out);
    if (out.length === before && Array.isArray(value) && !test(value)) out.push({ code: "E206", pointer });
  };
}

/** Counts by name. */
export const counts: Form = (value, pointer, out) => {
  if (!isObject(value)) {
    out.push({ code: "E206", pointer });
    return;
  }
  for (const [name, entry] of value) count(entry, `${pointer}/${escapeName(name)}`, out);
};

export function escapeName(name: string): string {
  return name.replaceAll("~", "~0").replaceAll("/", "~1");
}

export interface Members {
  readonly required?: Record<string, Form>;
  readonly optional?: Record<string, Form>;
}

/** Checks exactly these members. A missing one is named where it would stand. */
export function checkMembers(object: JsonObject, members: Members, pointer: string, out: Mismatch[]): void {
  const required = members.required ?? {};
  const optional = members.optional ?? {};
  for (const [name, form] of Object.entries(required)) {
    const value = object.get(name);
    if (value === undefined) out.push({ code: "E206", pointer: `${pointer}/${name}` });
    else form(value, `${pointer}/${name}`, out);
  }
  for (const [name, form] of Object.entries(optional)) {
    const value = object.get(name);
    if (value !== undefined) form(value, `${pointer}/${name}`, out);
  }
  for (const name of object.keys()) {
    if (!Object.hasOwn(required, name) && !Object.hasOwn(optional, name)) {
      out.push({ code: "E207", pointer: `${pointer}/${escapeName(name)}` });
    }
  }
}

export function objectOf(members: Members): Form {
  return (value, pointer, out) => {
    if (isObject(value)) checkMembers(value, members, pointer, out);
    else out.push({ code: "E206", pointer });
  };
}

export function check(value: Value, form: Form): Mismatch[] {
  const out: Mismatch[] = [];
  form(value, "", out);
  return out;
}
