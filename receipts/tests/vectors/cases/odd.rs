//! Evidence with a little of everything, for [`crate::odd`] to change at random.

use serde_json::{Value, json};

use super::proofs;
use super::valid::{rotate_receipt_key, rotation};
use crate::forge::json::{canonical, merge};
use crate::forge::key::Key;
use crate::forge::log::{self, Log};
use crate::forge::{Files, hex};

/// Two processes, with an exchange of every member in a run, rotations of both keys, and receipts of the log's own life.
pub(crate) fn rich() -> Log {
    let mut log = Log::started();
    let attempt = log.push("attempt", log::whole_attempt());
    let mut outcome = log.outcome_of(attempt);
    merge(&mut outcome, &log::whole_outcome());
    outcome["run"] = json!({"id": "run-1", "parent": "run-0", "parents": ["0", "2"]});
    log.push("outcome", outcome);
    rotate_receipt_key(&mut log);
    log.push("bypass", log::bypass());
    let root = hex(&log.root_at(2));
    log.push("prune", json!({"event": {"bytes": 4096, "from": "0", "root": root, "segments": 1, "to": "2"}}));
    log.push("gap", json!({"event": {"exchanges": 3, "reason": "disk_full"}}));
    log.shutdown();
    log.start();
    let (old, from) = (log.log_key(), log.next_seq());
    let new = Key::new(log::ORIGIN, "log 2");
    log.logs.push((new.clone(), from));
    let rotation = rotation(&log, &old, &new, "log", from);
    log.push("key.rotate", rotation);
    let mut attempt = log::attempt();
    attempt["run"] = json!({"id": "run-1"});
    let attempt = log.push("attempt", attempt);
    log.outcome(attempt);
    let expected = log::timestamp(log.now_us + 1_500);
    log.push("clock.step", json!({"event": {"from": expected, "step_us": 0}}));
    log
}

/// The files of a proof of this receipt, by its place.
pub(crate) fn proof_files(log: &Log, at: usize) -> Files {
    let mut files = Files::new();
    files.insert("p.tlog-proof".into(), proofs::proof_of(log, at, &log.checkpoint(log.receipts.len())));
    files.insert("p.receipt.json".into(), log.receipts[at].line());
    files.insert("keys.json".into(), canonical(&log.trust()));
    files
}

/// An event proof of its stream's second event.
pub(crate) fn event_proof(log: &Log) -> Value {
    proofs::event_proof(log)
}
