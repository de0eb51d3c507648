// One verification: all inputs in their order, one verdict.

import { compareText } from "./bytes.js";
import { type BundleChain, checkBundle, scanBundle } from "./bundle.js";
import { checkJournal, type JournalInput } from "./journal.js";
import { checkEventProof, checkTlogProof } from "./proof.js";
import type { Verdict } from "./report.js";
import { type Options, Session } from "./session.js";
import type { BundleInput, ProofInput } from "./source.js";

export interface Inputs {
  readonly journals: readonly JournalInput[];
  readonly bundles: readonly BundleInput[];
  readonly tlogProofs: readonly ProofInput[];
  readonly eventProofs: readonly ProofInput[];
}

export async function verifyInputs(inputs: Inputs, options: Options): Promise<Verdict> {
  const session = new Session(options);
  for (const journal of inputs.journals) await checkJournal(session, journal);

  const scanned = [];
  for (const [index, input] of inputs.bundles.entries()) scanned.push({ index, bundle: await scanBundle(input) });
  scanned.sort((a, b) => {
    const x = a.bundle.claims;
    const y = b.bundle.claims;
    if (x === undefined || y === undefined) {
      return x === y ? a.index - b.index : x === undefined ? -1 : 1;
    }
    const byFrom = x.from < y.from ? -1 : x.from > y.from ? 1 : 0;
    return compareText(x.log, y.log) || byFrom || a.index - b.index;
  });
  const chain: BundleChain = { stream: undefined, log: undefined, reached: 0n };
  for (const { bundle } of scanned) await checkBundle(session, bundle, chain);
  chain.stream?.end();

  for (const proof of inputs.tlogProofs) await checkTlogProof(session, proof);
  for (const proof of inputs.eventProofs) await checkEventProof(session, proof);
  return session.finish();
}
