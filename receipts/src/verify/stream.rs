//! The check of receipts in order: number, chain, starts, time, keys, and the tree over them. What a receipt is by itself was
//! looked at before ([`super::alone`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Code;
use super::alone::{Alone, Placed};
use super::kinds::{self, Beginning};
use super::pairs::Pairs;
use super::report::Report;
use crate::canonical::Value;
use crate::journal::{ChainValue, genesis_value};
use crate::keys::{Lookup, Purpose, TrustFile};
use crate::receipt::{Kind, parse_decimal};
use crate::tree::{Frontier, Hash};

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
    /// Key of the last receipt.
    key_id: String,
    /// The key that the last receipt put in its place.
    rotated_to: Option<String>,
}

/// The state between one receipt and the next.
#[derive(Debug)]
pub(super) struct Stream {
    /// First sequence number; what came before is unknown.
    start: u64,
    /// Root of the tree before it, where that is known.
    beginning: Beginning,
    /// Sequence number that must come next.
    expected: u64,
    /// Chain value that the next must name; `None` where it is not known.
    chain: Option<ChainValue>,
    /// `None` when the frontier to start from was not readable.
    frontier: Option<Frontier>,
    boot: Option<BootState>,
    ts: String,
    pairs: Pairs,
    claims: BTreeMap<u64, Vec<RootClaim>>,
    /// Sizes of the trees of checkpoints, each with its path, for whoever asks in the end whether the log reached them.
    sizes: Vec<(u64, String)>,
    /// A `prune` receipt named the place where the stream begins.
    pruned: bool,
}

impl Stream {
    pub(super) fn new(start: u64, chain: Option<ChainValue>, frontier: Option<Frontier>) -> Self {
        Self {
            start,
            beginning: frontier.as_ref().map(|frontier| (frontier.size(), frontier.root())),
            expected: start,
            chain,
            frontier,
            boot: None,
            ts: String::new(),
            pairs: Pairs::default(),
            claims: BTreeMap::new(),
            sizes: Vec::new(),
            pruned: false,
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

    /// True when the tree had this size, at its beginning, now or in between.
    pub(super) fn had(&self, size: u64) -> bool {
        let reached = self.frontier.as_ref().is_some_and(|frontier| size <= frontier.size());
        reached && self.beginning.is_some_and(|(begin, _)| begin <= size)
    }

    /// True when a receipt says that what lies before the start was removed in good order.
    pub(super) fn is_pruned(&self) -> bool {
        self.pruned
    }

    /// Has the root checked when the tree reaches this size. Sizes that were passed are checked only if they are the current.
    pub(super) fn claim(&mut self, size: u64, claim: RootClaim, report: &mut Report) {
        if claim.code == Code::E601 {
            self.sizes.push((size, claim.path.clone()));
        }
        self.claims.entry(size).or_default().push(claim);
        self.check_claims(report);
    }

    /// Claims of roots at sizes that the log did not reach.
    pub(super) fn unreached(&self) -> impl Iterator<Item = (u64, &str)> {
        let found = self.expected;
        self.sizes.iter().filter(move |(size, _)| *size > found).map(|(size, path)| (*size, path.as_str()))
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

    fn leaf(&mut self, leaf: Hash, report: &mut Report) {
        if let Some(frontier) = &mut self.frontier {
            frontier.push(leaf);
        }
        self.check_claims(report);
    }

    /// Puts the next receipt in its place. Gives it back when it stands there, for what else there is to ask of its kind.
    pub(super) fn receipt(
        &mut self,
        alone: Alone,
        path: &Arc<str>,
        trust: Option<&TrustFile>,
        report: &mut Report,
    ) -> Option<Placed> {
        let mut alone = alone;
        let seq = tell(&mut alone, self.expected, path, trust, report);
        let Some(placed) = alone.placed else {
            // It takes its place, and what follows is not held against it.
            self.expected = self.expected.saturating_add(1);
            self.chain = None;
            self.boot = None;
            self.leaf(alone.leaf, report);
            return None;
        };
        let verdict = placed.body.get("verdict").and_then(Value::as_str);
        report.count(placed.kind.name(), verdict, seq);
        let stands = self.place(&placed, path, trust, report);
        self.leaf(alone.leaf, report);
        stands.then_some(placed)
    }

    /// True when the receipt stands in its place, or after a gap.
    fn place(&mut self, receipt: &Placed, path: &Arc<str>, trust: Option<&TrustFile>, report: &mut Report) -> bool {
        let seq = receipt.seq;
        if trust.is_some_and(|trust| trust.log != receipt.text("log")) {
            report.error(Code::E604, path, Some(seq), "it is of another log than the trust file");
        }
        if seq < self.expected {
            let (code, detail) = if seq + 1 == self.expected {
                (Code::E502, "the receipt stands twice")
            } else {
                (Code::E505, "the receipt stands after a later one")
            };
            report.error(code, path, Some(seq), detail);
            return false;
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
        self.check_chain(receipt, path, trust, report);
        self.check_time(receipt, path, report);
        self.check_boot(receipt, path, report);
        kinds::check(receipt, self.beginning, trust, path, report);
        let prunes = receipt.kind == Kind::Prune && receipt.formed;
        self.pruned |= prunes && receipt.event("to").and_then(parse_decimal) == Some(self.start);
        self.pairs.pair(receipt, self.start, path, report);
        self.pairs.run(receipt, path, report);
        self.chain = Some(receipt.chain);
        self.expected = seq.saturating_add(1);
        true
    }

    fn check_chain(&self, receipt: &Placed, path: &str, trust: Option<&TrustFile>, report: &mut Report) {
        let seq = Some(receipt.seq);
        if receipt.seq > 0 && self.chain.is_some_and(|chain| chain != receipt.prev) {
            report.error(Code::E503, path, seq, "it does not name the chain value of the receipt before it");
        }
        if (receipt.seq == 0) != (receipt.kind == Kind::Genesis) {
            report.error(Code::E504, path, seq, "receipt 0 is the genesis receipt, and no other is");
        }
        if receipt.seq > 0 || receipt.kind != Kind::Genesis {
            return;
        }
        let event = receipt.body.get("event").unwrap_or(&Value::Null);
        let root = trust.map(|trust| trust.root.id());
        let good = genesis_value(event) == receipt.prev
            && receipt.event("log").is_some_and(|log| receipt.body.get("log").and_then(Value::as_str) == Some(log))
            && root.is_none_or(|root| receipt.event("root") == Some(&root));
        if !good {
            report.error(Code::E504, path, seq, "the chain does not begin with this log's name and root key");
        }
    }

    fn check_boot(&mut self, receipt: &Placed, path: &str, report: &mut Report) {
        let boot = receipt.body.get("boot");
        let id = boot.and_then(|boot| boot.get("id")).and_then(Value::as_str);
        let epoch = boot.and_then(|boot| boot.get("epoch")).and_then(Value::as_integer);
        let (Some(id), Some(epoch), Some(mono_ns)) = (id, epoch, parse_decimal(receipt.text("mono_ns"))) else {
            return;
        };
        let follows = receipt.event("last_seq").and_then(parse_decimal) == receipt.seq.checked_sub(1);
        let seq = Some(receipt.seq);
        match &self.boot {
            // The genesis receipt and the boot receipt after it are of the first process.
            None if receipt.seq == 0 && epoch != 1 => {
                report.error(Code::E509, path, seq, "the first process is not number 1");
            }
            Some(boot) if boot.id == id && boot.epoch == epoch => {
                if receipt.kind == Kind::Boot && receipt.seq != 1 {
                    report.error(Code::E509, path, seq, "a process starts twice");
                }
                if mono_ns < boot.mono_ns {
                    report.error(Code::E508, path, seq, "the monotonic clock went back within one process");
                }
                let key_id = receipt.text("key_id");
                if boot.key_id != key_id && boot.rotated_to.as_deref() != Some(key_id) {
                    report.error(Code::E306, path, seq, "another key than before, without a rotation to it");
                }
            }
            Some(boot) if receipt.kind != Kind::Boot || epoch != boot.epoch.saturating_add(1) || !follows => {
                let detail = "another process begins without the boot receipt that continues the one before";
                report.error(Code::E509, path, seq, detail);
            }
            _ => {}
        }
        let rotates = receipt.kind == Kind::KeyRotate && receipt.event("purpose") == Some(Purpose::Receipt.name());
        self.boot = Some(BootState {
            id: id.to_owned(),
            epoch,
            mono_ns,
            key_id: receipt.text("key_id").to_owned(),
            rotated_to: receipt.event("new").filter(|_| rotates).map(str::to_owned),
        });
    }

    fn check_time(&mut self, receipt: &Placed, path: &str, report: &mut Report) {
        let Some(ts) = receipt.body.get("ts").and_then(Value::as_str) else { return };
        // A step that the log tells of, and the clock of another start, may go anywhere.
        let told = matches!(receipt.kind, Kind::ClockStep | Kind::Boot);
        // Fixed-width text: its order is that of the times.
        if !told && *ts < *self.ts {
            report.warning(Code::E508, path, Some(receipt.seq), "the wall clock went back");
        }
        self.ts = ts.to_owned();
    }

    pub(super) fn finish(&mut self, report: &mut Report) {
        self.pairs.finish(report);
    }
}

/// Reports what is wrong with a receipt by itself, at its number, or at `at` where that cannot be read.
pub(super) fn tell(alone: &mut Alone, at: u64, path: &str, trust: Option<&TrustFile>, report: &mut Report) -> u64 {
    let seq = alone.seq.unwrap_or(at);
    for fault in alone.faults.drain(..) {
        match fault.pointer {
            None => report.error(fault.code, path, Some(seq), fault.detail),
            Some(pointer) => report.error(fault.code, &format!("{path}#{pointer}"), Some(seq), fault.detail),
        }
    }
    if let (Some(trust), Some(key_id), Some(good)) = (trust, &alone.key_id, alone.signed) {
        check_key(trust, key_id, good, seq, path, report);
    }
    seq
}

fn check_key(trust: &TrustFile, key_id: &str, good: bool, seq: u64, path: &str, report: &mut Report) {
    match trust.receipt_key(key_id, seq) {
        Lookup::Valid(_) => {}
        Lookup::OutOfRange(_) => report.error(Code::E304, path, Some(seq), "its key is not valid at this number"),
        Lookup::Revoked(_) => report.error(Code::E305, path, Some(seq), "its key was revoked before this number"),
        Lookup::Unknown => {
            return report.error(Code::E301, path, Some(seq), "its key is not in the trust file");
        }
    }
    if !good {
        report.error(Code::E401, path, Some(seq), "its signature is not of its key over its bytes");
    }
}
