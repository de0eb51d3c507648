//! Evidence of logs that kept every rule.

use serde_json::json;

use super::{Case, of_log, of_small, sealed, small};
use crate::forge::key::Key;
use crate::forge::log::{self, Log};
use crate::forge::{base64, hex, sha256};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![
        of_small("valid/bundle", "One exchange: genesis, boot, attempt, outcome, shutdown.", |_| ()),
        of_small("valid/bundle-no-root", "Without a root key integrity is established and origin is not.", |_| ())
            .trusting(None),
        Case::new("valid/bundle-directory", "The members of a bundle as files of a directory.")
            .directory("0-5", sealed(&small()).directory("0-5")),
        Case::new("valid/journal", "A data directory after a stop in good order.")
            .directory("data", small().data("data", &[])),
        Case::new("valid/journal-directory", "A journal directory; its keys lie beside it.")
            .files(small().journal("data"))
            .input("data/journal"),
        of_log("valid/all-members", "Receipts with every member that there is, and texts of every kind.", &whole()),
        of_log("valid/usage-estimated", "Nobody counted the tokens, and the receipt says so.", &estimated()),
        of_log("valid/all-kinds", "A receipt of every kind that needs no other file.", &kinds()),
        of_log("valid/idle", "Nothing but heartbeats.", &idle()),
        of_log("valid/runs", "Two agent runs side by side; one begins again.", &runs()),
        of_log("valid/loss-declared", "The log was full, let three exchanges through and says so.", &gap())
            .finds("E510?"),
        of_log("valid/clock-step", "The wall clock is set back by an hour, and the log says so.", &clock_step()),
        of_log("valid/receipt-key-rotated", "A new receipt key in the middle of a process.", &rotated_receipt_key()),
        of_log("valid/in-flight", "An attempt whose outcome is not there yet.", &in_flight()).finds("E507?"),
        of_log("valid/wall-clock-back", "The wall clock went back a little, without a step.", &wall_clock_back())
            .finds("E508?"),
    ];
    let log = restarted();
    cases.push(
        Case::new("valid/restart", "Two processes, both stopped in good order; a segment each.")
            .directory("data", log.data("data", &[])),
    );
    cases.push(of_log("valid/restart-bundle", "The same log as a bundle.", &log));
    let chained = |case: Case| case.bundle("0-4.pef", &log.bundle(0, 4)).bundle("4-8.pef", &log.bundle(4, 8));
    cases.push(chained(Case::new("valid/bundles", "Two bundles of which one continues the other.")));
    cases.push(
        Case::new("valid/bundles-reversed", "The same two, given the other way round.")
            .bundle("4-8.pef", &log.bundle(4, 8))
            .bundle("0-4.pef", &log.bundle(0, 4)),
    );
    cases.push(
        Case::new("valid/bundle-later", "A bundle from the middle of a log by itself.")
            .bundle("3-8.pef", &log.bundle(3, 8)),
    );
    cases.push(
        Case::new("valid/bundle-twice", "The same bundle twice.")
            .bundle("0-4.pef", &log.bundle(0, 4))
            .bundle("copy.pef", &log.bundle(0, 4)),
    );
    cases.push(
        Case::new("valid/bundle-missing-between", "A bundle in between was not handed over: no forgery, but said.")
            .bundle("0-2.pef", &log.bundle(0, 2))
            .bundle("4-8.pef", &log.bundle(4, 8))
            .finds("E501?"),
    );
    cases.push(
        chained(Case::new("valid/remembered", "A checkpoint was kept that the evidence continues."))
            .remembers(log.checkpoint(3)),
    );
    cases.push(
        Case::new("valid/remembered-before", "The evidence begins after the checkpoint that was kept.")
            .bundle("4-8.pef", &log.bundle(4, 8))
            .remembers(log.checkpoint(2))
            .finds("E603?"),
    );
    let mut files = log.data("data", &[4, 8]);
    files.insert("data/bundles/0-4.pef".into(), log.bundle(0, 4).pef());
    cases.push(Case::new("valid/data-directory", "Journal, checkpoints and a bundle.").directory("data", files));
    let mut files = log.data("data", &[4]);
    files.extend(log.bundle(0, 4).directory("0-4"));
    cases.push(
        Case::new("valid/mixed", "A data directory and a bundle of the same log.")
            .directory("data", files)
            .input("0-4")
            .remembers(log.checkpoint(6)),
    );
    cases.push(
        Case::new("valid/two-logs", "Bundles of two logs; no root key is named.")
            .bundle("0-5.pef", &sealed(&small()))
            .bundle("other.pef", &sealed(&Log::other("other.example/log")))
            .trusting(None),
    );
    cases.extend([rotated_log_key(), revoked(), recovered(), artifacts(), custody(), later_member()]);
    cases.extend(empty());
    cases
}

fn whole() -> Log {
    let mut log = Log::started();
    let attempt = log.push("attempt", log::whole_attempt());
    let mut outcome = log.outcome_of(attempt);
    crate::forge::json::merge(&mut outcome, &log::whole_outcome());
    outcome["run"] = json!({"id": "run-1", "parent": "run-0", "parents": ["0", "2"]});
    log.push("outcome", outcome);
    log.push("bypass", log::bypass());
    log.shutdown();
    log
}

fn estimated() -> Log {
    let mut log = Log::started();
    let attempt = log.push("attempt", log::whole_attempt());
    let mut outcome = log.outcome_of(attempt);
    crate::forge::json::merge(&mut outcome, &log::whole_outcome());
    outcome["response"]["usage"]["estimated"] = json!(true);
    log.push("outcome", outcome);
    log.shutdown();
    log
}

pub(crate) fn kinds() -> Log {
    let mut log = Log::started();
    log.exchange();
    log.push("bypass", log::bypass());
    let (from, to) = (log::policy_hash(), "0".repeat(64));
    log.push("policy.change", json!({"event": {"from": from, "source": "reload", "to": to}}));
    log.push("degraded", json!({"event": {"reason": "overload", "state": "entered"}}));
    log.push("degraded", json!({"event": {"reason": "overload", "state": "left"}}));
    let root = hex(&log.root_at(4));
    log.push("seal", json!({"event": {"from": "0", "root": root, "sha256": "1".repeat(64), "to": "4"}}));
    let receipts = log.of_process + 1;
    log.push("heartbeat", json!({"event": {"receipts": receipts}}));
    let root = hex(&log.root_at(2));
    log.push("prune", json!({"event": {"bytes": 4096, "from": "0", "root": root, "segments": 1, "to": "2"}}));
    log.shutdown();
    log
}

fn idle() -> Log {
    let mut log = Log::started();
    for _ in 0..4 {
        log.now_us += 60_000_000;
        log.mono_ns += 60_000_000_000;
        let receipts = log.of_process + 1;
        log.push("heartbeat", json!({"event": {"receipts": receipts}}));
    }
    log.shutdown();
    log
}

fn runs() -> Log {
    let mut log = Log::started();
    for id in ["a", "b", "a", "b", "b"] {
        let mut attempt = log::attempt();
        attempt["run"] = json!({"id": id});
        let seq = log.push("attempt", attempt);
        log.outcome(seq);
    }
    let mut attempt = log::attempt();
    attempt["run"] = json!({"id": "a"});
    let start = hex(&crate::forge::derive("pef.v0 run", b"a"));
    let seq = log.push_with("attempt", attempt, |body| body["run"] = json!({"id": "a", "prev": start, "seq": "0"}));
    log.outcome(seq);
    log
}

fn gap() -> Log {
    let mut log = Log::started();
    log.push("degraded", json!({"event": {"reason": "disk_full", "state": "entered"}}));
    log.push("degraded", json!({"event": {"reason": "disk_full", "state": "left"}}));
    log.push("gap", json!({"event": {"exchanges": 3, "reason": "disk_full"}}));
    log.exchange();
    log
}

fn clock_step() -> Log {
    let mut log = Log::started();
    log.exchange();
    let expected = log::timestamp(log.now_us + 1_500);
    let before = log.now_us;
    log.now_us -= 3_600_000_000;
    assert!(log.now_us > before - 7_200_000_000);
    log.push("clock.step", json!({"event": {"from": expected, "step_us": -3_600_000_000_i64}}));
    log.exchange();
    log
}

/// A rotation of the receipt key after an exchange.
pub(crate) fn rotated_receipt_key() -> Log {
    let mut log = Log::started();
    log.exchange();
    rotate_receipt_key(&mut log);
    log.exchange();
    log.shutdown();
    log
}

pub(crate) fn rotate_receipt_key(log: &mut Log) {
    let (old, from) = (log.key(), log.next_seq() + 1);
    let new = log.certify_from(from);
    // The rotation is the last receipt of the old key.
    let certified = log.keys.pop().unwrap();
    log.push("key.rotate", rotation(log, &old, &new, "receipt", from));
    log.keys.push(certified);
}

pub(crate) fn rotation(log: &Log, old: &Key, new: &Key, purpose: &str, from: u64) -> serde_json::Value {
    let sign = |key: &Key| base64(&key.sign_rotation(&log.origin, &old.id(), &new.id(), purpose, from));
    json!({"event": {
        "new": new.id(), "new_sig": sign(new), "old": old.id(), "old_sig": sign(old), "purpose": purpose,
        "valid_from_seq": from.to_string(),
    }})
}

/// A log whose log key is rotated when it has four receipts.
pub(crate) fn with_new_log_key() -> Log {
    let mut log = Log::started();
    log.exchange();
    let (old, from) = (log.log_key(), log.next_seq());
    let new = Key::new(log::ORIGIN, "log 2");
    log.logs.push((new.clone(), from));
    let rotation = rotation(&log, &old, &new, "log", from);
    log.push("key.rotate", rotation);
    log.exchange();
    log
}

fn rotated_log_key() -> Case {
    let log = with_new_log_key();
    Case::new(
        "valid/log-key-rotated",
        "A new log key: the old one signs trees of up to four leaves, the new one larger ones.",
    )
    .bundle("0-4.pef", &log.bundle(0, 4))
    .bundle("4-7.pef", &log.bundle(4, 7))
}

/// The key of the first process is revoked, good for what it had signed.
fn revoked() -> Case {
    let mut log = small();
    let key_id = log.key().id();
    log.revoke(&key_id, "4");
    log.start();
    let event = revocation_event(&log, &key_id, "4");
    log.push("key.revoke", event);
    log.exchange();
    Case::new(
        "valid/receipt-key-revoked",
        "A receipt key is revoked; nothing was signed with it after its last good number.",
    )
    .directory("data", log.data("data", &[8]))
    .bundle("0-9.pef", &log.bundle(0, 9))
}

pub(crate) fn revocation_event(log: &Log, key_id: &str, last_good_seq: &str) -> serde_json::Value {
    let envelope = crate::forge::json::canonical(&log.root.revoke(key_id, &log.origin, last_good_seq));
    json!({"event": {
        "key_id": key_id, "last_good_seq": last_good_seq, "reason": "stolen", "sha256": hex(&sha256(&envelope)),
    }})
}

fn in_flight() -> Log {
    let mut log = Log::started();
    log.attempt();
    log.exchange();
    log
}

fn wall_clock_back() -> Log {
    let mut log = Log::started();
    log.exchange();
    log.now_us -= 5_000;
    log.exchange();
    log
}

/// Two processes: receipts 0 to 4, and 5 to 7.
pub(crate) fn restarted() -> Log {
    let mut log = small();
    log.start();
    log.push("bypass", log::bypass());
    log.shutdown();
    log
}

/// A process was killed while it wrote: its end was set aside.
fn recovered() -> Case {
    let mut log = Log::started();
    log.exchange();
    log.attempt();
    let segment = &log.segments()[0];
    let torn = b"PEFR\x01\x01\0\0\0\0\x03".to_vec();
    let offset = segment.encode().len();
    log.begin();
    log.push("boot", json!({"event": {"clean": false, "last_seq": "4", "torn": {
        "blake3": hex(blake3::hash(&torn).as_bytes()), "bytes": torn.len(), "offset": offset, "segment": segment.name(),
    }}}));
    log.exchange();
    log.shutdown();
    let files = log.data("data", &[4]);
    Case::new(
        "valid/recovered",
        "A process was killed; its torn end lies beside the segment, an attempt has no outcome.",
    )
    .directory("data", files)
    .file(&format!("data/journal/{}.torn-0", segment.name()), torn)
    .finds("E507?")
}

pub(crate) const CONTENT: &[u8] = b"an attached file\n";

fn artifacts() -> Case {
    let log = small();
    let mut bundle = sealed(&log);
    let (path, externals, external) = attached();
    bundle.set(&path, CONTENT).set("externals.json", externals).reseal();
    Case::new("valid/artifacts", "A file in the bundle, and one too large for it beside it.")
        .bundle("0-5.pef", &bundle)
        .file(&format!("0-5.pef.externals/{}", hex(&sha256(&external))), external)
}

/// The path of a small artifact, a list with one external file, and that file.
pub(crate) fn attached() -> (String, Vec<u8>, Vec<u8>) {
    let external = b"stands for a file of more than 25 MiB\n".to_vec();
    let listed = json!([{
        "blake3": hex(blake3::hash(&external).as_bytes()), "media": "text/plain", "sha256": hex(&sha256(&external)),
        "size": external.len(), "uri": "s3://evidence/large.txt",
    }]);
    (format!("artifacts/sha256/{}", hex(&sha256(CONTENT))), crate::forge::json::canonical(&listed), external)
}

fn custody() -> Case {
    let (log, auditor) = (small(), Key::new("auditor.example/custody", "auditor"));
    let key = log.log_key();
    let mut bundle = sealed(&log);
    bundle.custody(&[
        (&key, json!({"actor": "clyra"})),
        (&key, json!({"action": "transferred", "actor": "clyra", "note": "to the auditor"})),
        (&auditor, json!({"action": "verified"})),
    ]);
    Case::new("valid/custody", "A custody log of three entries by two signers.").bundle("0-5.pef", &bundle)
}

fn later_member() -> Case {
    of_small("valid/later-member", "A member that no version here knows, but that the manifest lists.", |bundle| {
        bundle.set("attestations/slsa.json", b"{}\n".to_vec()).reseal();
    })
}

fn empty() -> Vec<Case> {
    let mut nothing = Case::new("valid/nothing", "A directory that is no evidence: nothing to verify.")
        .file("empty/README", "nothing here\n")
        .input("empty");
    nothing.exit = 2;
    let mut missing = Case::new("valid/not-there", "An input that is not there.").file("README", "").input("no.pef");
    missing.exit = 2;
    vec![nothing, missing]
}
