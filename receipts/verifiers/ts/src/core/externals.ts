// Attached files that are too large for a bundle and lie beside it.

import { compareText, hex } from "./bytes.js";
import { blake3Stream, sha256Stream } from "./crypto.js";
import { check, count, digest, listOf, objectOf, text } from "./form.js";
import { isObject, LARGE } from "./json.js";
import type { Session } from "./session.js";
import { type ByteSource, pieces } from "./source.js";
import { readReported } from "./stream.js";

export interface External {
  readonly sha256: string;
  readonly blake3: string;
  readonly size: number;
}

const form = listOf(objectOf({ required: { blake3: digest, media: text, sha256: digest, size: count, uri: text } }));

export function readExternals(session: Session, bytes: Uint8Array, path: string): External[] | undefined {
  const value = readReported(session, bytes, LARGE, path);
  if (value === undefined) return undefined;
  const faults = check(value, form);
  for (const { code, pointer } of faults) session.report.add(code, `${path}#${pointer}`);
  if (faults.length > 0 || !Array.isArray(value)) return undefined;
  const list: External[] = [];
  for (const entry of value) {
    if (!isObject(entry)) continue;
    list.push({
      sha256: String(entry.get("sha256")),
      blake3: String(entry.get("blake3")),
      size: Number(entry.get("size")),
    });
  }
  const ascending = list.every((external, i) => i === 0 || compareText(list[i - 1]?.sha256 ?? "", external.sha256) < 0);
  if (!ascending) session.report.add("E206", path);
  return list;
}

export async function checkExternals(
  session: Session,
  externals: readonly External[],
  find: ((digest: string) => Promise<ByteSource | undefined>) | undefined,
  tombstones: ReadonlySet<string>,
  path: string,
): Promise<void> {
  for (const [index, external] of externals.entries()) {
    const where = `${path}#/${index}`;
    const source = await find?.(external.sha256);
    if (source === undefined) {
      if (tombstones.has(external.sha256)) session.report.add("E804", where, undefined, "warning");
      else session.report.add("E801", where, undefined, find === undefined ? "warning" : "error");
      continue;
    }
    if (source.size !== external.size) {
      session.report.add("E803", where);
      continue;
    }
    const sha = sha256Stream();
    const blake = blake3Stream();
    for await (const piece of pieces(source)) {
      sha.update(piece);
      blake.update(piece);
    }
    if (hex(sha.digest()) !== external.sha256 || hex(blake.digest()) !== external.blake3) {
      session.report.add("E802", where);
    }
  }
}
