// The tar of a bundle, in the one form of SPEC §8, read front to back.

import { allZero, compareText, equal, utf8 } from "./bytes.js";
import type { Code } from "./report.js";

const BLOCK = 512;
const MEMBERS_MAX = 4_096;
const MIB = 1024 * 1024;
const MEMBER_BYTES_MAX = 8 * MIB;
const TOGETHER_BYTES_MAX = 64 * MIB;
const LARGE_BYTES_MAX = 4 * 1024 * MIB;
const NAME_BYTES_MAX = 100;
export const ARTIFACTS = "artifacts/sha256/";

/** A bundle breaks a rule of its container, which is all that is said of it. */
export class ContainerError extends Error {
  constructor(readonly code: Code) {
    super(code);
  }
}

const PART = /^[A-Za-z0-9._-]+$/;

export function isMemberName(name: string): boolean {
  if (name.length > NAME_BYTES_MAX) return false;
  return name.split("/").every((part) => PART.test(part) && part !== "." && part !== "..");
}

/** The rules on names and sizes, which hold for files and for directories alike. */
export class MemberLimits {
  private before: string | undefined;
  private count = 0;
  private together = 0;
  artifacts = 0;

  name(name: string): void {
    if (!isMemberName(name)) throw new ContainerError("E107");
    if (this.before !== undefined && compareText(this.before, name) >= 0) throw new ContainerError("E107");
    this.before = name;
  }

  size(name: string, size: number): void {
    if (++this.count > MEMBERS_MAX) throw new ContainerError("E106");
    if (name === "receipts.jsonl" || name === "lineage/openlineage.jsonl") {
      if (size > LARGE_BYTES_MAX) throw new ContainerError("E106");
    } else if (name.startsWith(ARTIFACTS)) {
      this.artifacts += size;
      if (this.artifacts > LARGE_BYTES_MAX) throw new ContainerError("E106");
    } else {
      this.together += size;
      if (size > MEMBER_BYTES_MAX || this.together > TOGETHER_BYTES_MAX) throw new ContainerError("E106");
    }
  }
}

export interface MemberSink {
  begin(name: string, size: number): void;
  data(bytes: Uint8Array): void;
  end(): void;
}

function put(header: Uint8Array, at: number, text: string): void {
  header.set(utf8(text), at);
}

/** The header that a member of this name and size must have. */
export function tarHeader(name: string, size: number): Uint8Array {
  const header = new Uint8Array(BLOCK);
  put(header, 0, name);
  put(header, 100, "0000644");
  put(header, 108, "0000000");
  put(header, 116, "0000000");
  put(header, 124, size.toString(8).padStart(11, "0"));
  put(header, 136, "00000000000");
  put(header, 148, "        ");
  put(header, 156, "0");
  put(header, 257, "ustar\x0000");
  put(header, 329, "0000000");
  put(header, 337, "0000000");
  let sum = 0;
  for (const byte of header) sum += byte;
  put(header, 148, `${sum.toString(8).padStart(6, "0")}\0 `);
  return header;
}

const enum Stage {
  Header,
  Content,
  Padding,
  LastBlock,
  End,
}

export class TarReader {
  private stage: Stage = Stage.Header;
  private readonly limits = new MemberLimits();
  private readonly block = new Uint8Array(BLOCK);
  private held = 0;
  private left = 0;
  private padding = 0;

  constructor(private readonly sink: MemberSink) {}

  push(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length) {
      if (this.stage === Stage.Content) {
        const part = bytes.subarray(at, at + this.left);
        this.sink.data(part);
        at += part.length;
        this.left -= part.length;
        if (this.left === 0) this.endMember();
      } else if (this.stage === Stage.Padding) {
        const part = bytes.subarray(at, at + this.padding);
        if (!allZero(part)) throw new ContainerError("E108");
        at += part.length;
        this.padding -= part.length;
        if (this.padding === 0) this.stage = Stage.Header;
      } else if (this.stage === Stage.End) {
        throw new ContainerError("E108");
      } else {
        const part = bytes.subarray(at, at + BLOCK - this.held);
        this.block.set(part, this.held);
        this.held += part.length;
        at += part.length;
        if (this.held === BLOCK) {
          this.held = 0;
          this.header();
        }
      }
    }
  }

  /** The sizes of all artifacts so far. */
  get artifacts(): number {
    return this.limits.artifacts;
  }

  end(): void {
    if (this.stage !== Stage.End) throw new ContainerError("E108");
  }

  private endMember(): void {
    this.sink.end();
    this.stage = this.padding === 0 ? Stage.Header : Stage.Padding;
  }

  private header(): void {
    if (this.stage === Stage.LastBlock || allZero(this.block)) {
      if (!allZero(this.block)) throw new ContainerError("E108");
      this.stage = this.stage === Stage.LastBlock ? Stage.End : Stage.LastBlock;
      return;
    }
    const nul = this.block.indexOf(0);
    const nameBytes = this.block.subarray(0, nul < 0 ? NAME_BYTES_MAX : Math.min(nul, NAME_BYTES_MAX));
    const name = Array.from(nameBytes, (byte) => String.fromCharCode(byte)).join("");
    this.limits.name(name);
    const digits = Array.from(this.block.subarray(124, 135), (byte) => String.fromCharCode(byte)).join("");
    if (!/^[0-7]{11}$/.test(digits)) throw new ContainerError("E108");
    const size = Number.parseInt(digits, 8);
    if (!equal(this.block, tarHeader(name, size))) throw new ContainerError("E108");
    this.limits.size(name, size);
    this.sink.begin(name, size);
    this.left = size;
    this.padding = (BLOCK - (size % BLOCK)) % BLOCK;
    this.stage = Stage.Content;
    if (size === 0) this.endMember();
  }
}
