//! Attempts and their outcomes, and the exchanges of an agent run: what belongs together over any distance.
//!
//! Memory is bounded whatever the length of the log.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Code;
use super::alone::Placed;
use super::report::Report;
use crate::canonical::Value;
use crate::hex;
use crate::journal::{ChainValue, RUNS_MAX, run_start_value};
use crate::receipt::{Kind, parse_decimal};

/// Most attempts whose outcome is still looked for. Far above what can be in flight; beyond it pairs are not checked.
const OPEN_ATTEMPTS_MAX: usize = 1 << 20;

/// What must be remembered of receipts for those that come later.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    open: BTreeMap<u64, OpenAttempt>,
    overflow: bool,
    /// Where each run stands: the number of its last receipt in it, and the chain value.
    runs: HashMap<String, (u64, ChainValue)>,
}

#[derive(Debug)]
struct OpenAttempt {
    /// Digest of the id: a quarter of what the text takes.
    id: [u8; 16],
    path: Arc<str>,
}

fn digest(id: &str) -> [u8; 16] {
    let hash = blake3::hash(id.as_bytes());
    hash.as_bytes().first_chunk().copied().unwrap_or_default()
}

impl Pairs {
    /// Checks an attempt or an outcome; `start` is where the stream begins.
    pub(super) fn pair(&mut self, receipt: &Placed, start: u64, path: &Arc<str>, report: &mut Report) {
        let seq = receipt.seq;
        let id = digest(receipt.text("id"));
        match receipt.kind {
            Kind::Attempt if self.overflow => {}
            Kind::Attempt if self.open.len() < OPEN_ATTEMPTS_MAX => {
                self.open.insert(seq, OpenAttempt { id, path: Arc::clone(path) });
            }
            Kind::Attempt => {
                self.overflow = true;
                report.warning(Code::E106, path, Some(seq), "too many open attempts; not all pairs are checked");
            }
            Kind::Outcome => {
                let Some(attempt) = parse_decimal(receipt.text("attempt_seq")) else { return };
                if attempt >= seq {
                    report.error(Code::E505, path, Some(seq), "an outcome names an attempt that comes after it");
                } else if attempt < start {
                } else if self.open.get(&attempt).is_some_and(|open| open.id == id) {
                    self.open.remove(&attempt);
                } else if !self.overflow || self.open.contains_key(&attempt) {
                    let detail = "an outcome of an attempt that is not there or has an outcome already";
                    report.error(Code::E507, path, Some(seq), detail);
                }
            }
            _ => {}
        }
    }

    /// Checks that a receipt continues its agent run.
    pub(super) fn run(&mut self, receipt: &Placed, path: &str, report: &mut Report) {
        let Some(run) = receipt.body.get("run") else { return };
        let text = |name: &str| run.get(name).and_then(Value::as_str);
        let position = text("seq").and_then(parse_decimal);
        let (Some(id), Some(position), Some(prev)) = (text("id"), position, text("prev").and_then(hex::decode_32))
        else {
            return;
        };
        let good = match self.runs.get(id) {
            // A log forgets runs over a restart and under pressure; then they begin again.
            _ if position == 0 => prev == run_start_value(id),
            Some((before, last)) => before.checked_add(1) == Some(position) && prev == *last,
            None => true,
        };
        if !good {
            let detail = "it does not continue its agent run";
            report.error(Code::E503, &format!("{path}#/run"), Some(receipt.seq), detail);
        }
        let here = (position, receipt.chain);
        if let Some(place) = self.runs.get_mut(id) {
            *place = here;
            return;
        }
        if self.runs.len() >= RUNS_MAX {
            self.runs.clear();
        }
        self.runs.insert(id.to_owned(), here);
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
