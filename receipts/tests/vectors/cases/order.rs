//! Receipts that are missing, stand twice, stand elsewhere, or do not continue each other; trees that disagree.

use serde_json::{Value, json};

use super::valid::restarted;
use super::{Case, of_log, sealed, small};
use crate::forge::log::{self, Log, ORIGIN};
use crate::forge::{derive, hex};

/// A log with two exchanges, whose receipts were put in another order, or of which some were left out, before it was sealed.
fn shuffled(change: impl FnOnce(&mut Vec<log::Receipt>)) -> Log {
    let mut log = Log::started();
    log.exchange();
    log.exchange();
    log.push("bypass", log::bypass());
    change(&mut log.receipts);
    log
}

/// The bundle of a log whose receipts were moved, with the numbers of the log before.
fn resealed(name: &str, about: &str, log: &Log, codes: &str) -> Case {
    let last = log.receipts.last().unwrap().chain;
    let mut bundle = sealed(log);
    bundle.change("manifest.json", |manifest| manifest["chain"] = hex(&last).into()).sign();
    Case::new(&format!("forged/{name}"), about).bundle("0-7.pef", &bundle).finds(codes)
}

/// A log with a receipt that was changed before it was signed.
fn with(kind: &str, members: Value, change: impl FnOnce(&mut Value)) -> Log {
    let mut log = Log::started();
    log.exchange();
    log.push_with(kind, members, change);
    log.exchange();
    log
}

/// A second process whose first receipt is this.
fn second(kind: &str, members: Value, change: impl FnOnce(&mut Value)) -> Log {
    let mut log = small();
    log.begin();
    log.push_with(kind, members, change);
    log.exchange();
    log
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![
        resealed(
            "e501-deleted",
            "An outcome was left out before sealing.",
            &shuffled(|receipts| drop(receipts.remove(3))),
            "E501 E507?",
        ),
        resealed(
            "e501-two-deleted",
            "Two receipts were left out.",
            &shuffled(|receipts| drop(receipts.drain(2..4))),
            "E501",
        ),
        resealed(
            "e502-twice",
            "A receipt stands twice.",
            &shuffled(|receipts| receipts.insert(4, receipts[3].clone())),
            "E502",
        ),
        resealed(
            "e505-swapped",
            "Two receipts changed places.",
            &shuffled(|receipts| receipts.swap(3, 4)),
            "E501 E505 E507?",
        ),
        resealed(
            "e505-repeated-later",
            "A receipt stands again later.",
            &shuffled(|receipts| receipts.insert(6, receipts[2].clone())),
            "E505",
        ),
        of_log(
            "forged/e503-prev",
            "A receipt names another chain value.",
            &with("bypass", log::bypass(), |body| body["prev"] = "0".repeat(64).into()),
        )
        .finds("E503"),
        of_log("forged/e501-number", "A number was left out when it was written.", &skipping()).finds("E501"),
        of_log(
            "forged/e504-genesis-value",
            "The chain does not begin with the genesis event.",
            &genesis(|body| body["prev"] = "0".repeat(64).into()),
        )
        .finds("E504"),
        of_log(
            "forged/e504-root",
            "The genesis names another root key.",
            &genesis(|body| {
                body["event"]["root"] = "0".repeat(64).into();
                let event = crate::forge::json::canonical(&body["event"]);
                body["prev"] = hex(&derive("pef.v0 genesis", &event)).into();
            }),
        )
        .finds("E504"),
        of_log(
            "forged/e504-log",
            "The genesis names another log.",
            &genesis(|body| {
                body["event"]["log"] = "other.example/log".into();
                let event = crate::forge::json::canonical(&body["event"]);
                body["prev"] = hex(&derive("pef.v0 genesis", &event)).into();
            }),
        )
        .finds("E504"),
        of_log("forged/e504-none", "Receipt 0 is a bypass.", &{
            let mut log = Log::empty(ORIGIN, "");
            log.begin();
            log.push_with("bypass", log::bypass(), |_| ());
            log.push("boot", json!({"event": {"clean": true}}));
            log
        })
        .finds("E504"),
        of_log("forged/e504-second", "A second genesis.", &{
            let event = Log::started().genesis();
            with("genesis", json!({"event": event}), |_| ())
        })
        .finds("E504"),
        of_log(
            "forged/e505-attempt-later",
            "An outcome names an attempt that comes after it.",
            &with("outcome", outcome("40"), |_| ()),
        )
        .finds("E505"),
        of_log("forged/e505-attempt-itself", "An outcome names itself.", &with("outcome", outcome("4"), |_| ()))
            .finds("E505"),
        of_log("forged/e507-twice", "An attempt has two outcomes.", &{
            let mut log = Log::started();
            let attempt = log.attempt();
            log.outcome(attempt);
            log.outcome(attempt);
            log
        })
        .finds("E507"),
        of_log(
            "forged/e507-no-attempt",
            "An outcome names a receipt that is no attempt.",
            &with("outcome", outcome("1"), |_| ()),
        )
        .finds("E507"),
        of_log("forged/e507-other-id", "An outcome bears another id than its attempt.", &{
            let mut log = Log::started();
            let attempt = log.attempt();
            let members = log.outcome_of(attempt);
            log.push_with("outcome", members, |body| body["id"] = "01900000-0000-7000-8000-000000000000".into());
            log
        })
        .finds("E507 E507?"),
        of_log(
            "forged/e508-monotonic",
            "The monotonic clock goes back within a process.",
            &with("bypass", log::bypass(), |body| body["mono_ns"] = "5".into()),
        )
        .finds("E508"),
        of_log("forged/e509-epoch", "A process whose number is not the next.", &{
            let mut log = small();
            log.epoch = 2;
            log.start();
            log
        })
        .finds("E509"),
        of_log("forged/e509-first-epoch", "The first process is number 2.", &{
            let mut log = Log::empty(ORIGIN, "");
            log.epoch = 1;
            log.start();
            log
        })
        .finds("E509"),
        of_log(
            "forged/e509-no-boot",
            "Another process begins without a boot receipt.",
            &second("bypass", log::bypass(), |_| ()),
        )
        .finds("E509"),
        of_log(
            "forged/e509-last-seq",
            "A boot receipt names another last receipt.",
            &second("boot", boot("3"), |_| ()),
        )
        .finds("E509"),
        of_log(
            "forged/e509-no-last-seq",
            "A boot receipt names no last receipt.",
            &second("boot", json!({"event": {"clean": true}}), |_| ()),
        )
        .finds("E509"),
        of_log("forged/e509-boot-again", "A boot receipt within a process.", &with("boot", boot("3"), |_| ()))
            .finds("E509"),
        of_log(
            "forged/e509-boot-id",
            "Another boot id within a process.",
            &with("bypass", log::bypass(), |body| {
                body["boot"]["id"] = "01900000-0000-7000-8000-000000000000".into();
            }),
        )
        .finds("E509"),
        of_log(
            "forged/e503-run",
            "A run's receipt names another one before it.",
            &run(|body| body["run"]["prev"] = "0".repeat(64).into()),
        )
        .finds("E503"),
        of_log(
            "forged/e503-run-skipped",
            "A number of a run was left out.",
            &run(|body| body["run"]["seq"] = "2".into()),
        )
        .finds("E503"),
        of_log("forged/e503-run-start", "A run does not begin with its start value.", &{
            let mut log = Log::started();
            let mut attempt = log::attempt();
            attempt["run"] = json!({"id": "r"});
            log.push_with("attempt", attempt, |body| body["run"]["prev"] = "0".repeat(64).into());
            log
        })
        .finds("E503 E507?"),
    ];
    cases.extend(trees());
    cases
}

fn outcome(attempt: &str) -> Value {
    let mut members = log::outcome();
    members["attempt_seq"] = attempt.into();
    members
}

fn boot(last: &str) -> Value {
    json!({"event": {"clean": true, "last_seq": last}})
}

fn skipping() -> Log {
    let mut log = Log::started();
    log.exchange();
    log.push_with("bypass", log::bypass(), |body| body["seq"] = "6".into());
    log.exchange();
    log
}

fn genesis(change: impl FnOnce(&mut Value)) -> Log {
    let mut log = Log::empty(ORIGIN, "");
    log.begin();
    let event = log.genesis();
    log.push_with("genesis", json!({"event": event}), change);
    log.push("boot", json!({"event": {"clean": true}}));
    log.exchange();
    log
}

/// A run whose second receipt was changed.
fn run(change: impl FnOnce(&mut Value)) -> Log {
    let mut log = Log::started();
    let mut attempt = log::attempt();
    attempt["run"] = json!({"id": "r"});
    let seq = log.push("attempt", attempt.clone());
    log.outcome(seq);
    let seq = log.push_with("attempt", attempt, change);
    log.outcome(seq);
    log
}

/// A log that had the same keys and the same beginning, and went on otherwise.
fn forked() -> Log {
    let mut log = Log::started();
    log.exchange();
    log.now_us += 7;
    log.exchange();
    log.exchange();
    log
}

fn plain() -> Log {
    let mut log = Log::started();
    for _ in 0..3 {
        log.exchange();
    }
    log
}

fn trees() -> Vec<Case> {
    let (log, fork, other) = (plain(), forked(), Log::other("other.example/log"));
    vec![
        Case::new("forged/e605-rollback", "A snapshot was restored: the log is smaller than it was.")
            .directory("data", {
                let mut early = Log::started();
                early.exchange();
                early.data("data", &[4])
            })
            .remembers(log.checkpoint(6))
            .finds("E605"),
        Case::new("forged/e605-bundle", "Only an earlier bundle is shown.")
            .bundle("0-4.pef", &log.bundle(0, 4))
            .remembers(log.checkpoint(8))
            .finds("E605"),
        Case::new("forged/e606-fork", "The log went on otherwise than the checkpoint that was kept.")
            .bundle("0-8.pef", &fork.bundle(0, 8))
            .remembers(log.checkpoint(6))
            .finds("E606"),
        Case::new(
            "forged/e606-same-size",
            "The checkpoint that was kept is of the bundle's size, and of another tree.",
        )
        .bundle("0-6.pef", &fork.bundle(0, 6))
        .remembers(log.checkpoint(6))
        .finds("E606"),
        Case::new("forged/e606-two-bundles", "Two bundles of two trees of one log.")
            .bundle("a.pef", &log.bundle(0, 6))
            .bundle("b.pef", &fork.bundle(0, 6))
            .finds("E606"),
        Case::new("forged/e606-later", "A bundle that continues another tree than the one before it ended with.")
            .bundle("0-6.pef", &log.bundle(0, 6))
            .bundle("6-8.pef", &fork.bundle(6, 8))
            .finds("E606"),
        Case::new("forged/e606-journal", "A journal, and a bundle of another tree.")
            .directory("data", log.data("data", &[6]))
            .bundle("0-6.pef", &fork.bundle(0, 6))
            .finds("E606"),
        Case::new("forged/e604-remembered", "The checkpoint that was kept is of another log.")
            .bundle("0-8.pef", &log.bundle(0, 8))
            .remembers(other.checkpoint(2))
            .finds("E604"),
        Case::new("forged/e402-remembered", "The checkpoint that was kept is signed by a stranger.")
            .bundle("0-8.pef", &log.bundle(0, 8))
            .remembers(crate::forge::note::checkpoint(
                &crate::forge::key::Key::new(ORIGIN, "thief"),
                ORIGIN,
                8,
                &log.root_at(8),
            ))
            .finds("E402"),
        Case::new("forged/e405-remembered", "The checkpoint that was kept is no note.")
            .bundle("0-8.pef", &log.bundle(0, 8))
            .remembers(b"8\n".to_vec())
            .finds("E405"),
        splice(),
        Case::new("forged/e301-other-log", "A bundle of another log, for a reader who trusts this one's root.")
            .bundle("0-2.pef", &sealed(&other))
            .finds("E301"),
        Case::new("truncated/receipts", "The last receipts were left out before sealing; the checkpoint has them.")
            .bundle("0-8.pef", &{
                let mut bundle = log.bundle(0, 8);
                let lines = String::from_utf8(bundle.get("receipts.jsonl").to_vec()).unwrap();
                let lines: String = lines.lines().take(6).map(|line| line.to_owned() + "\n").collect();
                bundle.set("receipts.jsonl", lines).reseal();
                bundle.change("manifest.json", |manifest| {
                    manifest["chain"] = hex(&log.chain_at(6)).into();
                    manifest["kinds"] = json!({"attempt": 2, "boot": 1, "genesis": 1, "outcome": 2});
                    manifest["verdicts"] = json!({"executed": 2});
                });
                bundle.sign();
                bundle
            })
            .finds("E506"),
        Case::new("truncated/restarted-bundle", "Of two bundles the first alone, and a checkpoint of the second.")
            .bundle("0-4.pef", &restarted().bundle(0, 4))
            .remembers(restarted().checkpoint(8))
            .finds("E605"),
    ]
}

/// Receipts of another log were put into this one's bundle.
fn splice() -> Case {
    let (mut log, mut other) = (plain(), Log::other("other.example/log"));
    other.exchange();
    other.exchange();
    log.receipts[4] = other.receipts[4].clone();
    log.receipts[5] = other.receipts[5].clone();
    let mut case = of_log("forged/e604-splice", "An exchange of another log in the place of one of this.", &log);
    case = case.finds("E301 E503 E509 E604");
    case
}
