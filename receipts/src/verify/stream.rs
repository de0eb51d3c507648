//! The check of receipts in order: form, key, signature, number, chain, starts, time, pairs, runs, and the tree over them.
//!
//! Memory is bounded whatever the length of the log: open attempts, runs and roots of interest each have a limit.

use std::collections::{BTreeMap, HashMap};

use super::Code;
use super::anchor::Anchors;
use super::report::Report;
use crate::canonical::{Limits, Value, is_canonical, parse};
use crate::dsse::{envelope, pae};
use crate::hex;
use crate::journal::{Chain, ChainValue, RUNS_MAX, genesis_value, run_start_value};
use crate::keys::{ALG, Lookup, TrustFile};
use crate::receipt::{Kind, RECEIPT_PAYLOAD_TYPE, parse_decimal, shape};
use crate::tree::{Frontier, Hash, leaf_hash};

/// Most attempts whose outcome is still looked for. Far above what can be in flight; beyond it pairs are not checked.
const OPEN_ATTEMPTS_MAX: usize = 1 << 20;

/// A receipt as it comes out of a bundle or a segment.
#[derive(Debug)]
pub(super) struct Item<'a> {
    pub(super) body: &'a [u8],
    /// As the envelope has it; `None` from a segment, which has none.
    pub(super) key_id: Option<&'a str>,
    pub(super) signature: &'a [u8],
    /// Where the files of anchors are.
    pub(super) anchors: Anchors<'a>,
    /// Hash of the envelope; `None` where there is none yet, then it is that of the envelope a bundle would hold.
    pub(super) leaf: Option<Hash>,
}

impl Item<'_> {
    fn leaf(&self, key_id: &str) -> Hash {
        self.leaf.unwrap_or_else(|| {
            // What is not a key id or a signature is reported by the checks of form; here it must only not get into text.
            let key_id = if hex::decode_32(key_id).is_some() { key_id } else { "" };
            let signature = self.signature.try_into().unwrap_or(&[0; 64]);
            leaf_hash(&envelope(RECEIPT_PAYLOAD_TYPE, self.body, key_id, signature))
        })
    }
}

/// What a root at some size must be, and where that was claimed.
#[derive(Debug, Clone)]
pub(super) struct RootClaim {
    pub(super) root: Hash,
    pub(super) path: String,
    /// Code if it is another one.
    pub(super) code: Code,
}

#[derive(Debug, Clone)]
struct BootState {
    id: String,
    epoch: i64,
    mono_ns: u64,
}

/// The state between one receipt and the next.
#[derive(Debug)]
pub(super) struct Stream {
    /// First sequence number; what came before is unknown.
    start: u64,
    /// Sequence number that must come next.
    expected: u64,
    /// Chain value that the next must name; `None` where it is not known.
    chain: Option<ChainValue>,
    hasher: Chain,
    /// `None` when the frontier to start from was not readable.
    frontier: Option<Frontier>,
    boot: Option<BootState>,
    ts: String,
    open: BTreeMap<u64, OpenAttempt>,
    open_overflow: bool,
    runs: HashMap<String, (u64, ChainValue)>,
    claims: BTreeMap<u64, Vec<RootClaim>>,
}

#[derive(Debug)]
struct OpenAttempt {
    id: String,
    path: String,
}

/// What a readable body says.
struct Read<'a> {
    value: &'a Value,
    kind: Kind,
    seq: u64,
    prev: ChainValue,
    /// Nothing is wrong with its form.
    whole: bool,
}

impl Stream {
    pub(super) fn new(start: u64, chain: Option<ChainValue>, frontier: Option<Frontier>) -> Self {
        Self {
            start,
            expected: start,
            chain,
            hasher: Chain::default(),
            frontier,
            boot: None,
            ts: String::new(),
            open: BTreeMap::new(),
            open_overflow: false,
            runs: HashMap::new(),
            claims: BTreeMap::new(),
        }
    }

    /// Sequence number that the stream began with.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// Sequence number that must come next.
    pub(super) fn expected(&self) -> u64 {
        self.expected
    }

    pub(super) fn chain(&self) -> Option<ChainValue> {
        self.chain
    }

    pub(super) fn frontier(&self) -> Option<&Frontier> {
        self.frontier.as_ref()
    }

    /// Has the root checked when the tree reaches this size. Sizes that were passed are checked only if they are the current.
    pub(super) fn claim(&mut self, size: u64, claim: RootClaim, report: &mut Report) {
        self.claims.entry(size).or_default().push(claim);
        self.check_claims(report);
    }

    /// Claims that the tree never reached.
    pub(super) fn unreached(&mut self) -> BTreeMap<u64, Vec<RootClaim>> {
        std::mem::take(&mut self.claims)
    }

    fn check_claims(&mut self, report: &mut Report) {
        let Some(frontier) = &self.frontier else { return };
        for claim in self.claims.remove(&frontier.size()).into_iter().flatten() {
            if frontier.root() != claim.root {
                let detail = format!("the receipts up to size {} have another root", frontier.size());
                report.error(claim.code, &claim.path, None, detail);
            }
        }
    }

    /// A receipt whose envelope could not be read: it takes its place, and what follows is not held against it.
    pub(super) fn unreadable(&mut self, leaf: Hash, report: &mut Report) {
        self.expected += 1;
        self.chain = None;
        self.leaf(leaf, report);
    }

    fn leaf(&mut self, leaf: Hash, report: &mut Report) {
        if let Some(frontier) = &mut self.frontier {
            frontier.push(leaf);
        }
        self.check_claims(report);
    }

    /// Checks the next receipt.
    pub(super) fn receipt(&mut self, item: &Item<'_>, path: &str, trust: Option<&TrustFile>, report: &mut Report) {
        let at = self.expected;
        let value = match parse(item.body, Limits::RECEIPT) {
            Ok(value) => value,
            Err(error) => {
                report.json(error.fault, path, Some(at));
                return self.unreadable(item.leaf(""), report);
            }
        };
        let leaf = item.leaf(value.get("key_id").and_then(Value::as_str).unwrap_or_default());
        let claimed = value.get("seq").and_then(Value::as_str).and_then(parse_decimal);
        let seq = claimed.unwrap_or(at);
        if !is_canonical(item.body, &value) {
            report.error(Code::E203, path, Some(seq), "the body is not canonical JSON");
        }
        let faults = shape::check_receipt(&value);
        for fault in &faults {
            let (code, what) = if fault.unknown {
                (Code::E207, "an unknown member")
            } else {
                (Code::E206, "missing or not of the form that it must have")
            };
            report.error(code, &format!("{path}#{}", fault.pointer), Some(seq), what);
        }
        self.check_signature(item, &value, seq, path, trust, report);
        let kind = value.get("kind").and_then(Value::as_str).and_then(Kind::from_name);
        let prev = value.get("prev").and_then(Value::as_str).and_then(hex::decode_32);
        let (Some(kind), Some(_), Some(prev)) = (kind, claimed, prev) else {
            self.unreadable(leaf, report);
            return;
        };
        report.count(kind.name(), value.get("verdict").and_then(Value::as_str), seq);
        let read = Read { value: &value, kind, seq, prev, whole: faults.is_empty() };
        self.check_place(item, &read, path, trust, report);
        self.leaf(leaf, report);
    }

    fn check_signature(
        &self,
        item: &Item<'_>,
        value: &Value,
        seq: u64,
        path: &str,
        trust: Option<&TrustFile>,
        report: &mut Report,
    ) {
        let Some(key_id) = value.get("key_id").and_then(Value::as_str) else { return };
        if item.key_id.is_some_and(|outer| outer != key_id) {
            report.error(Code::E302, path, Some(seq), "envelope and body name different keys");
        }
        if value.get("alg").and_then(Value::as_str).is_some_and(|alg| alg != ALG) {
            report.error(Code::E303, path, Some(seq), "an algorithm other than ed25519");
            return;
        }
        let Some(trust) = trust else { return };
        let key = match trust.receipt_key(key_id, seq) {
            Lookup::Valid(key) => key,
            Lookup::OutOfRange(key) => {
                report.error(Code::E304, path, Some(seq), "its key is not valid at this number");
                key
            }
            Lookup::Revoked(key) => {
                report.error(Code::E305, path, Some(seq), "its key was revoked before this number");
                key
            }
            Lookup::Unknown => {
                report.error(Code::E301, path, Some(seq), "its key is not in the trust file");
                return;
            }
        };
        let good = item
            .signature
            .try_into()
            .is_ok_and(|signature| key.verify(&pae(RECEIPT_PAYLOAD_TYPE, item.body), signature));
        if !good {
            report.error(Code::E401, path, Some(seq), "its signature is not of its key over its bytes");
        }
    }

    fn check_place(
        &mut self,
        item: &Item<'_>,
        read: &Read<'_>,
        path: &str,
        trust: Option<&TrustFile>,
        report: &mut Report,
    ) {
        let seq = read.seq;
        let text = |name: &str| read.value.get(name).and_then(Value::as_str).unwrap_or_default();
        if let Some(trust) = trust
            && trust.log != text("log")
        {
            report.error(Code::E604, path, Some(seq), "it is of another log than the trust file");
        }
        if seq < self.expected {
            let (code, detail) = if seq + 1 == self.expected {
                (Code::E502, "the receipt stands twice")
            } else {
                (Code::E505, "the receipt stands after a later one")
            };
            report.error(code, path, Some(seq), detail);
            return;
        }
        if seq > self.expected {
            let detail = if seq - self.expected == 1 {
                format!("receipt {} is missing", self.expected)
            } else {
                format!("receipts {} to {} are missing", self.expected, seq - 1)
            };
            report.error(Code::E501, path, Some(self.expected), detail);
            self.chain = None;
            self.boot = None;
        }
        self.check_chain(read, path, trust, report);
        let chain = self.hasher.value(seq, item.body);
        self.check_boot(read, path, report);
        self.check_time(read, path, report);
        if read.kind == Kind::Anchor && read.whole {
            item.anchors.check(read.value, seq, path, report);
        }
        self.check_pair(read, path, report);
        self.check_run(read, chain, path, report);
        self.chain = Some(chain);
        self.expected = seq.saturating_add(1);
    }

    fn check_chain(&self, read: &Read<'_>, path: &str, trust: Option<&TrustFile>, report: &mut Report) {
        let seq = Some(read.seq);
        if (read.seq == 0) != (read.kind == Kind::Genesis) {
            report.error(Code::E504, path, seq, "receipt 0 is the genesis receipt, and no other is");
            return;
        }
        if read.kind != Kind::Genesis {
            if self.chain.is_some_and(|chain| chain != read.prev) {
                report.error(Code::E503, path, seq, "it does not name the chain value of the receipt before it");
            }
            return;
        }
        let event = read.value.get("event").unwrap_or(&Value::Null);
        let text = |name: &str| event.get(name).and_then(Value::as_str);
        let root = trust.map(|trust| trust.root.id());
        let good = genesis_value(event) == read.prev
            && text("log") == read.value.get("log").and_then(Value::as_str)
            && root.is_none_or(|root| text("root") == Some(&root));
        if !good {
            report.error(Code::E504, path, seq, "the chain does not begin with this log's name and root key");
        }
    }

    fn check_boot(&mut self, read: &Read<'_>, path: &str, report: &mut Report) {
        let boot = read.value.get("boot");
        let id = boot.and_then(|boot| boot.get("id")).and_then(Value::as_str);
        let epoch = boot.and_then(|boot| boot.get("epoch")).and_then(Value::as_integer);
        let mono = read.value.get("mono_ns").and_then(Value::as_str).and_then(parse_decimal);
        let (Some(id), Some(epoch), Some(mono_ns)) = (id, epoch, mono) else { return };
        let last_seq = read.value.get("event").and_then(|event| event.get("last_seq")).and_then(Value::as_str);
        let follows = last_seq.and_then(parse_decimal) == read.seq.checked_sub(1);
        let seq = Some(read.seq);
        match &self.boot {
            // The genesis receipt and the boot receipt after it are of the first process.
            None if read.seq == 0 && epoch != 1 => {
                report.error(Code::E509, path, seq, "the first process is not number 1");
            }
            Some(boot) if boot.id == id && boot.epoch == epoch => {
                if read.kind == Kind::Boot && read.seq != 1 {
                    report.error(Code::E509, path, seq, "a process starts twice");
                }
                if mono_ns < boot.mono_ns {
                    report.error(Code::E508, path, seq, "the monotonic clock went back within one process");
                }
            }
            Some(boot) if read.kind != Kind::Boot || epoch != boot.epoch.saturating_add(1) || !follows => {
                let detail = "another process begins without the boot receipt that continues the one before";
                report.error(Code::E509, path, seq, detail);
            }
            _ => {}
        }
        self.boot = Some(BootState { id: id.to_owned(), epoch, mono_ns });
    }

    fn check_time(&mut self, read: &Read<'_>, path: &str, report: &mut Report) {
        let Some(ts) = read.value.get("ts").and_then(Value::as_str) else { return };
        // Fixed-width text: its order is that of the times.
        if *ts < *self.ts {
            report.warning(Code::E508, path, Some(read.seq), "the wall clock went back");
        }
        self.ts = ts.to_owned();
    }

    fn check_pair(&mut self, read: &Read<'_>, path: &str, report: &mut Report) {
        let id = read.value.get("id").and_then(Value::as_str).unwrap_or_default();
        match read.kind {
            Kind::Attempt => {
                if self.open.len() < OPEN_ATTEMPTS_MAX {
                    self.open.insert(read.seq, OpenAttempt { id: id.to_owned(), path: path.to_owned() });
                } else if !self.open_overflow {
                    self.open_overflow = true;
                    report.warning(Code::E106, path, Some(read.seq), "too many open attempts; pairs are not checked");
                }
            }
            Kind::Outcome => {
                let attempt = read.value.get("attempt_seq").and_then(Value::as_str).and_then(parse_decimal);
                let Some(attempt) = attempt else { return };
                if attempt >= read.seq {
                    report.error(Code::E505, path, Some(read.seq), "an outcome names an attempt that comes after it");
                } else if attempt >= self.start && !self.open_overflow {
                    let matches = self.open.get(&attempt).is_some_and(|open| open.id == id);
                    if matches {
                        self.open.remove(&attempt);
                    } else {
                        let detail = "an outcome of an attempt that is not there or has an outcome already";
                        report.error(Code::E507, path, Some(read.seq), detail);
                    }
                }
            }
            _ => {}
        }
    }

    fn check_run(&mut self, read: &Read<'_>, chain: ChainValue, path: &str, report: &mut Report) {
        let Some(run) = read.value.get("run") else { return };
        let text = |name: &str| run.get(name).and_then(Value::as_str);
        let position = text("seq").and_then(parse_decimal);
        let (Some(id), Some(position), Some(prev)) = (text("id"), position, text("prev").and_then(hex::decode_32))
        else {
            return;
        };
        let good = match self.runs.get(id) {
            // A log forgets runs over a restart and under pressure; then they begin again.
            _ if position == 0 => prev == run_start_value(id),
            Some((next, last)) => position == *next && prev == *last,
            None => true,
        };
        if !good {
            report.error(Code::E503, &format!("{path}#/run"), Some(read.seq), "it does not continue its agent run");
        }
        if self.runs.len() >= RUNS_MAX && !self.runs.contains_key(id) {
            self.runs.clear();
        }
        self.runs.insert(id.to_owned(), (position.saturating_add(1), chain));
    }

    /// Attempts that no outcome was found for. Not an error: an exchange may be in flight, or a crash cut it off; both are
    /// what the attempt receipt is there to show.
    pub(super) fn finish(&mut self, report: &mut Report) {
        for (seq, open) in std::mem::take(&mut self.open) {
            let detail = "an attempt without an outcome: in flight, or cut off by a crash";
            report.warning(Code::E507, &open.path, Some(seq), detail);
        }
    }
}
