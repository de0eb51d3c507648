//! Proofs of one receipt, and of one event of a stream.

use serde_json::{Value, json};

use super::keys::{cosigned, policy};
use super::{Case, ORIGIN};
use crate::forge::json::{canonical, merge};
use crate::forge::key::Key;
use crate::forge::log::{self, EVENTS, Log};
use crate::forge::{Files, base64, hex, note, replace, tree};

/// A log whose receipt 3 is the outcome of a stream of three events.
pub(super) fn log() -> Log {
    let mut log = Log::started();
    let attempt = log.push("attempt", log::whole_attempt());
    let mut outcome = log.outcome_of(attempt);
    merge(&mut outcome, &log::whole_outcome());
    log.push("outcome", outcome);
    log.exchange();
    log.shutdown();
    log
}

pub(super) fn proof_of(log: &Log, seq: usize, checkpoint: &[u8]) -> Vec<u8> {
    let size = log.receipts.len();
    note::tlog_proof(seq as u64, &tree::inclusion(seq, &log.leaves()[..size]), checkpoint)
}

/// The three files of a proof of receipt 3.
pub(super) fn files(log: &Log) -> Files {
    let mut files = Files::new();
    files.insert("3.tlog-proof".into(), proof_of(log, 3, &log.checkpoint(log.receipts.len())));
    files.insert("3.receipt.json".into(), log.receipts[3].line());
    files.insert("keys.json".into(), canonical(&log.trust()));
    files
}

fn case(name: &str, about: &str, codes: &str, change: impl FnOnce(&mut Files)) -> Case {
    let mut files = files(&log());
    change(&mut files);
    Case::new(name, about).files(files).input("3.tlog-proof").finds(codes)
}

/// An event proof of the second event.
pub(super) fn event_proof(log: &Log) -> Value {
    let leaves = log::events();
    json!({
        "event": "1", "events": "3", "keys": log.trust(), "leaf": hex(&leaves[1]),
        "path": tree::inclusion(1, &leaves).iter().map(|hash| hex(hash)).collect::<Vec<_>>(),
        "proof": String::from_utf8(proof_of(log, 3, &log.checkpoint(log.receipts.len()))).unwrap(),
        "receipt": serde_json::from_slice::<Value>(&log.receipts[3].line()).unwrap(), "v": "pef.v0",
    })
}

fn event(name: &str, about: &str, codes: &str, change: impl FnOnce(&mut Value)) -> Case {
    let mut proof = event_proof(&log());
    change(&mut proof);
    Case::new(name, about).given("3-1.event-proof", canonical(&proof)).finds(codes)
}

fn about_event(mut case: Case, event: &[u8]) -> Case {
    case.event = Some("event".into());
    case.file("event", event.to_vec())
}

pub(crate) fn cases() -> Vec<Case> {
    let log = log();
    let thief = Key::new(ORIGIN, "thief");
    let size = log.receipts.len();
    let text = |from: &'static str, to: &'static str| {
        move |files: &mut Files| {
            let bytes = replace(&files["3.tlog-proof"], from, to);
            files.insert("3.tlog-proof".into(), bytes);
        }
    };
    let line = |bytes: &[u8]| base64(bytes) + "\n";
    let mut witnessed = files(&log);
    witnessed.insert("3.tlog-proof".into(), proof_of(&log, 3, &cosigned(&log.checkpoint(size), &["a", "c"])));
    let mut cases = vec![
        case("valid/proof", "A receipt is in the tree.", "", |_| ()),
        case(
            "valid/proof-extra",
            "A proof with a line of extra data.",
            "",
            text("proof@v1\n", "proof@v1\nextra aGVsbG8=\n"),
        ),
        Case::new("valid/proof-quorum", "A proof whose checkpoint two of three witnesses cosigned.")
            .files(witnessed)
            .input("3.tlog-proof")
            .witnessed(&policy()),
        case("forged/e404-proof", "A proof without the cosignatures that are asked for.", "E404", |_| ())
            .witnessed(&policy()),
        case("forged/e602-index", "A proof of another place.", "E602", text("index 3\n", "index 2\n")),
        case("forged/e602-receipt", "A proof beside another receipt.", "E602", |files| {
            files.insert("3.receipt.json".into(), log.receipts[4].line());
        }),
        case("forged/e602-hash", "A proof with another hash.", "E602", |files| {
            let path = tree::inclusion(3, &log.leaves());
            let bytes = replace(&files["3.tlog-proof"], &line(&path[0]), &line(&[9; 32]));
            files.insert("3.tlog-proof".into(), bytes);
        }),
        case("forged/e602-short", "A hash is missing.", "E602", |files| {
            let path = tree::inclusion(3, &log.leaves());
            let bytes = replace(&files["3.tlog-proof"], &line(&path[0]), "");
            files.insert("3.tlog-proof".into(), bytes);
        }),
        case("forged/e602-long", "A hash too many.", "E602", |files| {
            let bytes = replace(&files["3.tlog-proof"], "index 3\n", &("index 3\n".to_owned() + &line(&[9; 32])));
            files.insert("3.tlog-proof".into(), bytes);
        }),
        case("forged/e405-proof-head", "A proof of version 2.", "E405", text("proof@v1", "proof@v2")),
        case("forged/e405-proof-index", "An index with a leading zero.", "E405", text("index 3", "index 03")),
        case("forged/e405-proof-hash", "A hash that is no base64.", "E405", text("index 3\n", "index 3\n?\n")),
        case("forged/e405-proof-note", "The checkpoint is missing.", "E405", |files| {
            let text = String::from_utf8(files["3.tlog-proof"].clone()).unwrap();
            let head = text.split_once("\n\n").unwrap().0.to_owned() + "\n";
            files.insert("3.tlog-proof".into(), head.into_bytes());
        }),
        case("forged/e402-proof", "A checkpoint that a stranger signed.", "E402", |files| {
            let note = note::checkpoint(&thief, ORIGIN, size as u64, &log.root_at(size));
            files.insert("3.tlog-proof".into(), proof_of(&log, 3, &note));
        }),
        case("forged/e604-proof", "A checkpoint of another log.", "E604", |files| {
            let note = note::checkpoint(&log.log_key(), "other.example/log", size as u64, &log.root_at(size));
            files.insert("3.tlog-proof".into(), proof_of(&log, 3, &note));
        }),
        case("forged/e101-proof-receipt", "The receipt is missing.", "E101", |files| {
            drop(files.remove("3.receipt.json"))
        }),
        case("forged/e101-proof-keys", "The trust file is missing.", "E101", |files| drop(files.remove("keys.json"))),
        case("forged/e201-proof-receipt", "The receipt is no JSON.", "E201", |files| {
            files.insert("3.receipt.json".into(), b"{".to_vec());
        }),
        case("forged/e201-proof-receipt-newline", "A newline after the receipt.", "E203", |files| {
            files.get_mut("3.receipt.json").unwrap().push(b'\n');
        }),
        case("forged/e401-proof", "The receipt's signature is another.", "E401 E602", |files| {
            let mut value: Value = serde_json::from_slice(&files["3.receipt.json"]).unwrap();
            value["signatures"][0]["sig"] = base64(&[1; 64]).into();
            files.insert("3.receipt.json".into(), canonical(&value));
        }),
        case("forged/e301-proof-root", "The proof leads to another root key.", "E301", |_| ())
            .trusting(Some(Key::new(&format!("{ORIGIN}/root"), "thief").vkey())),
        event("valid/event", "An event of a stream was released.", "", |_| ()),
        about_event(
            event("valid/event-given", "An event of a stream was released, and it is this one.", "", |_| ()),
            EVENTS[1],
        ),
        about_event(
            event("forged/e602-event-other", "An event was released, and it is not this one.", "E602", |_| ()),
            EVENTS[0],
        ),
        event("forged/e602-event-leaf", "The leaf is another.", "E602", |proof| proof["leaf"] = "0".repeat(64).into()),
        event("forged/e602-event-place", "The event stands elsewhere.", "E602", |proof| proof["event"] = "0".into()),
        event("forged/e602-event-count", "The stream had another number of events.", "E602", |proof| {
            proof["events"] = "4".into()
        }),
        event("forged/e602-event-path", "A hash of the path is another.", "E602", |proof| {
            proof["path"][0] = "0".repeat(64).into()
        }),
        event("forged/e602-event-stream", "The receipt has no stream.", "E602", |proof| {
            let log = self::log();
            proof["receipt"] = serde_json::from_slice(&log.receipts[5].line()).unwrap();
            proof["proof"] = String::from_utf8(proof_of(&log, 5, &log.checkpoint(size))).unwrap().into();
        }),
        event("forged/e206-event", "A path that is no list.", "E206", |proof| proof["path"] = "".into()),
        event("forged/e207-event", "An unknown member.", "E207", |proof| proof["x"] = 1.into()),
        event("forged/e405-event", "The proof of the receipt is none.", "E405", |proof| {
            proof["proof"] = "index 3\n".into()
        }),
        event("forged/e306-event", "The trust file is not authorised.", "E306", |proof| {
            proof["keys"]["certs"][1] = proof["keys"]["certs"][0].clone();
        }),
    ];
    let bytes = canonical(&event_proof(&log));
    cases.push(
        Case::new("forged/e201-event", "An event proof without its end.")
            .given("3-1.event-proof", bytes[..bytes.len() - 1].to_vec())
            .finds("E201"),
    );
    cases.push(
        Case::new("forged/e203-event", "An event proof with a newline.")
            .given("3-1.event-proof", [&bytes[..], b"\n"].concat())
            .finds("E203"),
    );
    cases
}
