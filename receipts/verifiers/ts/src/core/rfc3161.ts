// RFC 3161 time-stamp responses in the strict form of SPEC §9. The authority's signature is not checked here: that is
// what `openssl ts -verify` is for.

import { equal, fromUtf8 } from "./bytes.js";

export interface TimeStamp {
  /** Whether the imprint's algorithm is SHA-256. */
  readonly sha256: boolean;
  readonly imprint: Uint8Array;
  /** `YYYYMMDDhhmmss…Z`. */
  readonly time: string;
}

const INTEGER = 0x02;
const OCTET_STRING = 0x04;
const OID = 0x06;
const SEQUENCE = 0x30;
const SET = 0x31;
const GENERALIZED_TIME = 0x18;
const CONTEXT_0 = 0xa0;

const SIGNED_DATA = Uint8Array.of(0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02);
const TST_INFO = Uint8Array.of(0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x01, 0x04);
const SHA256 = Uint8Array.of(0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01);
const TIME = /^[0-9]{14}(?:\.[0-9]{1,9})?Z$/;

interface Element {
  readonly tag: number;
  readonly content: Uint8Array;
}

class Malformed extends Error {}

/** The elements that fill these bytes to the last one. */
function elements(bytes: Uint8Array): Element[] {
  const list: Element[] = [];
  let at = 0;
  while (at < bytes.length) {
    const tag = bytes[at++] ?? 0;
    if ((tag & 0x1f) === 0x1f) throw new Malformed();
    let length = bytes[at++];
    if (length === undefined) throw new Malformed();
    if (length >= 0x80) {
      const digits = length - 0x80;
      if (digits < 1 || digits > 4 || at + digits > bytes.length || bytes[at] === 0) throw new Malformed();
      length = 0;
      for (let i = 0; i < digits; i++) length = length * 256 + (bytes[at++] ?? 0);
      if (length < 128) throw new Malformed();
    }
    if (length > bytes.length - at) throw new Malformed();
    list.push({ tag, content: bytes.subarray(at, at + length) });
    at += length;
  }
  return list;
}

function is(element: Element | undefined, tag: number): Uint8Array {
  if (element === undefined || element.tag !== tag) throw new Malformed();
  return element.content;
}

/** Exactly as many elements. */
function exactly(bytes: Uint8Array, count: number): Element[] {
  const list = elements(bytes);
  if (list.length !== count) throw new Malformed();
  return list;
}

function only(bytes: Uint8Array, tag: number): Uint8Array {
  return is(exactly(bytes, 1)[0], tag);
}

function need(condition: boolean): void {
  if (!condition) throw new Malformed();
}

function read(file: Uint8Array): TimeStamp {
  const [status, token] = exactly(only(file, SEQUENCE), 2);
  const code = is(elements(is(status, SEQUENCE))[0], INTEGER);
  need(code.length === 1 && (code[0] === 0 || code[0] === 1));

  const [contentType, content] = exactly(is(token, SEQUENCE), 2);
  need(equal(is(contentType, OID), SIGNED_DATA));
  const signedData = elements(only(is(content, CONTEXT_0), SEQUENCE));
  need(signedData.length >= 4);
  is(signedData[0], INTEGER);
  is(signedData[1], SET);
  need(is(signedData[signedData.length - 1], SET).length > 0);
  elements(is(signedData[signedData.length - 1], SET));

  const [innerType, inner] = exactly(is(signedData[2], SEQUENCE), 2);
  need(equal(is(innerType, OID), TST_INFO));
  const info = elements(only(only(is(inner, CONTEXT_0), OCTET_STRING), SEQUENCE));
  need(info.length >= 5);
  const version = is(info[0], INTEGER);
  need(version.length === 1 && version[0] === 1);
  is(info[1], OID);
  const [algorithm, imprint] = exactly(is(info[2], SEQUENCE), 2);
  const algorithmId = is(elements(is(algorithm, SEQUENCE))[0], OID);
  const hashed = is(imprint, OCTET_STRING);
  is(info[3], INTEGER);
  const time = fromUtf8(is(info[4], GENERALIZED_TIME)) ?? "";
  need(TIME.test(time));
  return { sha256: equal(algorithmId, SHA256), imprint: hashed, time };
}

export function readTimeStampResponse(file: Uint8Array): TimeStamp | undefined {
  try {
    return read(file);
  } catch (error) {
    if (error instanceof Malformed) return undefined;
    throw error;
  }
}
