// What a path on a disk is, and its files. Links are not followed inside of evidence.

import { closeSync, type Dirent, lstatSync, openSync, readdirSync, readFileSync, readSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { ANCHOR_BYTES_MAX, type AnchorFiles } from "../core/anchor.js";
import { compareText, decimal, isDigest } from "../core/bytes.js";
import { type JournalInput, type KeyFiles, type NamedFile, SEGMENT } from "../core/journal.js";
import type { BundleInput, ByteSource, DirectoryMember, ProofInput } from "../core/source.js";
import type { Inputs } from "../core/verify.js";

/** There is nothing here that can be verified. */
export class UsageError extends Error {}

/** Beyond this a directory is no bundle whatever its names are, and they need not all be held. */
const DIRECTORY_FILES_MAX = 65_536;

class FileSource implements ByteSource {
  readonly size: number;
  private descriptor: number | undefined;

  constructor(private readonly path: string) {
    this.size = statSync(path).size;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    this.descriptor ??= openSync(this.path, "r");
    const bytes = new Uint8Array(length);
    let at = 0;
    while (at < length) {
      const read = readSync(this.descriptor, bytes, at, length - at, offset + at);
      if (read === 0) break;
      at += read;
    }
    // Closed as soon as the end was reached, so that a directory of many files needs one descriptor at a time.
    if (offset + at >= this.size) {
      closeSync(this.descriptor);
      this.descriptor = undefined;
    }
    return bytes.subarray(0, at);
  }
}

function entries(path: string): Dirent[] {
  try {
    return readdirSync(path, { withFileTypes: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

/** Plain files of a directory, ascending by name. */
function files(path: string, wanted: (name: string) => boolean): NamedFile[] {
  return entries(path)
    .filter((entry) => entry.isFile() && wanted(entry.name))
    .map((entry) => entry.name)
    .sort(compareText)
    .map((name) => ({ name, source: new FileSource(join(path, name)) }));
}

function plainFile(path: string): ByteSource | undefined {
  try {
    return lstatSync(path).isFile() ? new FileSource(path) : undefined;
  } catch {
    return undefined;
  }
}

function isDirectory(path: string): boolean {
  try {
    return lstatSync(path).isDirectory();
  } catch {
    return false;
  }
}

function externals(path: string): Pick<BundleInput, "externals"> {
  const directory = `${path}.externals`;
  return isDirectory(directory) ? { externals: async (digest) => plainFile(join(directory, digest)) } : {};
}

/** The files of a directory as members of a bundle, ascending by name. */
function members(root: string): DirectoryMember[] {
  const list: { name: string; plain: boolean }[] = [];
  const walk = (prefix: string) => {
    for (const entry of entries(join(root, prefix))) {
      if (list.length > DIRECTORY_FILES_MAX) return;
      const name = prefix === "" ? entry.name : `${prefix}/${entry.name}`;
      if (entry.isDirectory()) walk(name);
      else list.push({ name, plain: entry.isFile() });
    }
  };
  walk("");
  list.sort((a, b) => compareText(a.name, b.name));
  return list.map(({ name, plain }) => (plain ? { name, source: new FileSource(join(root, name)) } : { name }));
}


function bundleFile(path: string, label: string): BundleInput {
  return { label, content: new FileSource(path), ...externals(path) };
}

const NUMBERED = /^[0-9]{20}\.json$/;

function keyFiles(path: string): KeyFiles {
  const sources = (directory: string, wanted: (name: string) => boolean) =>
    files(join(path, directory), wanted).map(({ source }) => source);
  return {
    root: plainFile(join(path, "root.vkey")),
    logs: sources("logs", (name) => NUMBERED.test(name)),
    receipts: sources("receipts", (name) => NUMBERED.test(name)),
    revoked: files(join(path, "revoked"), (name) => name.endsWith(".json") && isDigest(name.slice(0, -5))),
  };
}

function anchorFiles(path: string): AnchorFiles {
  const names = files(path, () => true).map(({ name }) => name);
  return {
    path: "anchors",
    names: () => names,
    get(name) {
      const file = join(path, name);
      try {
        const stat = lstatSync(file);
        if (!stat.isFile()) return undefined;
        return stat.size > ANCHOR_BYTES_MAX ? "long" : new Uint8Array(readFileSync(file));
      } catch {
        return undefined;
      }
    },
  };
}

function journal(path: string): Pick<JournalInput, "segments" | "pruned"> {
  return { segments: files(path, (name) => SEGMENT.test(name)), pruned: plainFile(join(path, "pruned.json")) };
}

interface Found {
  journals: JournalInput[];
  bundles: BundleInput[];
  tlogProofs: ProofInput[];
  eventProofs: ProofInput[];
}

function proof(path: string, ending: string): ProofInput {
  const label = basename(path).slice(0, -ending.length);
  return {
    label,
    proof: new FileSource(path),
    companion: async (suffix) =>
      plainFile(join(dirname(path), suffix === "keys.json" ? suffix : `${label}.${suffix}`)),
  };
}

function addDirectory(path: string, found: Found): void {
  const label = basename(resolve(path));
  if (plainFile(join(path, "manifest.json")) !== undefined) {
    found.bundles.push({ label, content: members(path), ...externals(path) });
    return;
  }
  if (isDirectory(join(path, "journal"))) {
    const sizes = files(join(path, "checkpoints"), (name) => decimal(name) !== undefined);
    sizes.sort((a, b) => Number((decimal(a.name) ?? 0n) - (decimal(b.name) ?? 0n)));
    found.journals.push({
      ...journal(join(path, "journal")),
      keys: keyFiles(join(path, "keys")),
      checkpoints: sizes,
      anchors: anchorFiles(join(path, "anchors")),
    });
    for (const { name } of files(join(path, "bundles"), (name) => name.endsWith(".pef"))) {
      found.bundles.push(bundleFile(join(path, "bundles", name), `bundles/${name}`));
    }
    return;
  }
  const alone = journal(path);
  if (alone.segments.length === 0) {
    throw new UsageError(`${path} is neither a bundle, nor a data directory, nor a journal`);
  }
  found.journals.push({ ...alone, keys: keyFiles(join(path, "..", "keys")), checkpoints: [], anchors: undefined });
}

export function readInputs(paths: readonly string[]): Inputs {
  const found: Found = { journals: [], bundles: [], tlogProofs: [], eventProofs: [] };
  for (const path of paths) {
    let stat: ReturnType<typeof statSync>;
    try {
      stat = statSync(path);
    } catch (error) {
      throw new UsageError(`${path}: ${(error as NodeJS.ErrnoException).code ?? "cannot be read"}`);
    }
    if (stat.isDirectory()) addDirectory(path, found);
    else if (!stat.isFile()) throw new UsageError(`${path} is no plain file`);
    else if (path.endsWith(".tlog-proof")) found.tlogProofs.push(proof(path, ".tlog-proof"));
    else if (path.endsWith(".event-proof")) found.eventProofs.push(proof(path, ".event-proof"));
    else found.bundles.push(bundleFile(path, basename(path)));
  }
  return found;
}
