use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::clock::{SystemClock, now_us};
use crate::journal::simulated::{Dice, Fault, Simulated};
use crate::journal::{JOURNAL_DIRECTORY, JournalScan, PRUNED, Pruned, segments};
use crate::receipt::{AnchorKind, AnchorRecord, AnchorState};
use crate::sample::{exchange, fast_directory, files_below, options};
use crate::tree::{Frontier, leaf_hash};
use crate::{Log, LogOptions, Sealer, hex};

const AT_ONCE: Retention = Retention { keep: Duration::ZERO, requires: Cover::Checkpoint };

fn small(directory: &Path) -> LogOptions {
    LogOptions { segment_bytes: 16 * 1024, reserve_bytes: 400 * 1024, ..options(directory) }
}

/// A log of several segments, all but its newest receipts sealed and their leaf hashes kept.
fn sealed_log(directory: &Path) -> Log {
    let (log, _) = Log::open(small(directory)).unwrap();
    (0..20).for_each(|_| exchange(&log));
    seal(directory, &log);
    log
}

fn seal(directory: &Path, log: &Log) {
    let sealed = Sealer::open(directory).unwrap().seal(log.status().durable_count, &[]).unwrap().unwrap();
    log.append_blocking(sealed.record()).unwrap();
}

fn journal(directory: &Path) -> PathBuf {
    directory.join(JOURNAL_DIRECTORY)
}

fn pruned(directory: &Path) -> Option<Pruned> {
    Pruned::load(&crate::journal::Disk, &journal(directory)).unwrap().map(Option::unwrap)
}

/// The tree over the first receipts, and the chain value of the last of them, read from the journal.
fn expected(directory: &Path, size: u64) -> Pruned {
    let mut scan = JournalScan::new(&journal(directory), 0).unwrap();
    let (mut frontier, mut last) = (Frontier::default(), [0; 32]);
    while frontier.size() < size {
        let (frame, chain) = scan.next().unwrap().unwrap();
        let body = crate::canonical::parse(&frame.body, crate::canonical::Limits::RECEIPT).unwrap();
        let key = body.get("key_id").unwrap().as_str().unwrap();
        let signature = frame.signature.as_slice().try_into().unwrap();
        let envelope = crate::dsse::envelope(crate::receipt::RECEIPT_PAYLOAD_TYPE, &frame.body, key, signature);
        frontier.push(leaf_hash(&envelope));
        last = chain;
    }
    Pruned { chain: last, frontier }
}

fn reasons(plan: &Plan) -> Vec<Option<Keep>> {
    plan.segments.iter().map(|segment| segment.keep.clone()).collect()
}

#[test]
fn old_segments_leave_and_the_log_goes_on() {
    let directory = fast_directory();
    let log = sealed_log(directory.path());
    let before = segments(&journal(directory.path())).unwrap();
    let plan = plan(directory.path(), &AT_ONCE).unwrap();
    let count = plan.removable().len();
    assert!(count > 2 && plan.segments.len() == before.len(), "{plan:?}");
    assert_eq!(plan.segments.last().unwrap().keep, Some(Keep::Open));
    let cut = before[count];
    let state = expected(directory.path(), cut);
    let removed = log.prune(&AT_ONCE).unwrap().unwrap();
    let bytes: u64 = plan.removable().iter().map(|segment| segment.bytes).sum();
    assert_eq!(removed, Removed { from: 0, to: cut, segments: count as u64, bytes });
    // The receipt about it may have begun another.
    assert!(segments(&journal(directory.path())).unwrap().starts_with(&before[count..]));
    assert_eq!(pruned(directory.path()), Some(state));
    assert_eq!(log.status().pruned_bytes, bytes);
    assert_eq!(log.prune(&AT_ONCE).unwrap(), None, "nothing is left to remove");
    // It is sealed, closed and taken up again, and pruned again.
    (0..20).for_each(|_| exchange(&log));
    seal(directory.path(), &log);
    log.shutdown().unwrap();
    let (log, report) = Log::open(small(directory.path())).unwrap();
    assert!(report.clean);
    let again = log.prune(&AT_ONCE).unwrap().unwrap();
    assert_eq!((again.from, again.from < again.to), (cut, true));
    log.shutdown().unwrap();
    let (log, _) = Log::open(small(directory.path())).unwrap();
    exchange(&log);
    log.shutdown().unwrap();
    let verdict = crate::verify(&[directory.path()], &crate::VerifyOptions::default()).unwrap();
    assert!(verdict.ok, "{:?}", verdict.findings);
    let first = JournalScan::new(&journal(directory.path()), 0);
    assert!(first.is_err(), "what was removed is not read");
    assert!(JournalScan::new(&journal(directory.path()), again.to).unwrap().next().unwrap().is_some());
}

#[test]
fn what_keeps_a_segment_is_named() {
    let directory = fast_directory();
    let log = sealed_log(directory.path());
    let plan_of = |retention: Retention| plan(directory.path(), &retention).unwrap();
    let count = plan_of(AT_ONCE).removable().len();
    // Age.
    let hour = Retention { keep: Duration::from_secs(3600), ..AT_ONCE };
    assert!(reasons(&plan_of(hour)).iter().rev().skip(1).all(|keep| *keep == Some(Keep::Young)));
    let later = plan_on(
        Surroundings { storage: &crate::journal::Disk, data_dir: directory.path() },
        &hour,
        now_us() + 3_601_000_000,
    );
    assert_eq!(later.unwrap().removable().len(), count);
    // Anchors: none, a pending one, one of another root, a good one.
    let anchored = Retention { requires: Cover::Anchor, ..AT_ONCE };
    assert_eq!(reasons(&plan_of(anchored))[0], Some(Keep::Uncovered));
    let size = crate::bundle::newest_checkpoint(directory.path()).unwrap().unwrap().checkpoint.size;
    let root = hex::encode(&crate::bundle::read_root(directory.path(), size).unwrap());
    let anchor = |state, root: &str| AnchorRecord {
        at: None,
        header: None,
        kind: AnchorKind::Directory,
        proof: "0".repeat(64),
        reference: None,
        root: root.to_owned(),
        sha256: "1".repeat(64),
        size,
        state,
    };
    log.append_blocking(anchor(AnchorState::Pending, &root)).unwrap();
    log.append_blocking(anchor(AnchorState::Confirmed, &"2".repeat(64))).unwrap();
    assert_eq!(reasons(&plan_of(anchored))[0], Some(Keep::Uncovered));
    log.append_blocking(anchor(AnchorState::Confirmed, &root)).unwrap();
    assert_eq!(plan_of(anchored).removable().len(), count);
    // Leaf hashes.
    let tiles = directory.path().join("tlog/checkpoint");
    std::fs::rename(&tiles, directory.path().join("moved")).unwrap();
    assert_eq!(reasons(&plan_of(AT_ONCE))[0], Some(Keep::NoLeaves));
    std::fs::rename(directory.path().join("moved"), &tiles).unwrap();
    let tile = files_below(&directory.path().join("tlog/tile/0"), "").remove(0);
    let hashes = std::fs::read(&tile).unwrap();
    let mut damaged = hashes.clone();
    damaged[40] ^= 1;
    std::fs::write(&tile, damaged).unwrap();
    assert_eq!(log.prune(&AT_ONCE).unwrap_err().code(), "R010");
    std::fs::write(&tile, hashes).unwrap();
    // A hold on a receipt of the second segment.
    let second = segments(&journal(directory.path())).unwrap()[1];
    place_hold(directory.path(), "case-7", second, Some(second + 1), "letter of the court").unwrap();
    let held = plan_of(AT_ONCE);
    let expected = [None, Some(Keep::Held("case-7".into())), Some(Keep::Follows)];
    assert_eq!(reasons(&held)[..3], expected);
    assert_eq!((held.removable().len(), held.held()), (1, 1));
    assert_eq!(log.prune(&AT_ONCE).unwrap().unwrap().to, second);
    assert_eq!((log.prune(&AT_ONCE).unwrap(), log.status().held_segments), (None, 1));
    lift_hold(directory.path(), "case-7").unwrap();
    assert!(log.prune(&AT_ONCE).unwrap().is_some());
}

#[test]
fn holds_are_placed_once_listed_and_lifted_and_a_damaged_one_holds_everything() {
    let directory = fast_directory();
    let place = |id: &str, from, to| place_hold(directory.path(), id, from, to, "because");
    assert_eq!(place("a", 5, None).unwrap().to, None);
    assert_eq!(place("b.2", 5, Some(9)).unwrap().id, "b.2");
    assert_eq!(place("a", 1, None).unwrap_err().code(), "R004");
    assert_eq!(place("c", 9, Some(9)).unwrap_err().code(), "R006");
    for id in ["", ".", "..", "../a", "a/b", "ä", &"x".repeat(65)] {
        assert_eq!(place(id, 1, None).unwrap_err().code(), "R003", "{id}");
        assert_eq!(lift_hold(directory.path(), id).unwrap_err().code(), "R003", "{id}");
    }
    let listed: Vec<_> = holds(directory.path()).unwrap().into_iter().map(|hold| (hold.id, hold.to)).collect();
    assert_eq!(listed, [("a".to_owned(), None), ("b.2".to_owned(), Some(9))]);
    let hold = &holds(directory.path()).unwrap()[1];
    let included: Vec<bool> = [(0, 5), (0, 6), (8, 20), (9, 20)].map(|(from, to)| hold.includes(from, to)).to_vec();
    assert_eq!(included, [false, true, true, false]);
    let path = directory.path().join("holds/a.json");
    let text = std::fs::read_to_string(&path).unwrap();
    for damaged in [text.replace("pef.v0", "pef.v1"), text.replace("\"id\":\"a\"", "\"id\":\"z\""), format!(" {text}")]
    {
        std::fs::write(&path, damaged).unwrap();
        assert_eq!(plan(directory.path(), &AT_ONCE).unwrap_err().code(), "R001", "no journal here");
        assert_eq!(holds(directory.path()).unwrap_err().code(), "R002");
    }
    std::fs::write(&path, text).unwrap();
    lift_hold(directory.path(), "a").unwrap();
    assert_eq!(lift_hold(directory.path(), "a").unwrap_err().code(), "R005");
}

#[test]
fn receipts_that_are_not_what_was_signed_stay() {
    let directory = fast_directory();
    let log = sealed_log(directory.path());
    // Another checkpoint than the one over these receipts.
    let size = crate::bundle::newest_checkpoint(directory.path()).unwrap().unwrap().checkpoint.size;
    let path = directory.path().join("checkpoints").join(size.to_string());
    let note = std::fs::read_to_string(&path).unwrap();
    let root = note.lines().nth(2).unwrap();
    let other = crate::sample::other_digit(root.as_bytes(), 3);
    std::fs::write(&path, note.replacen(root, std::str::from_utf8(&other).unwrap(), 1)).unwrap();
    let frontier = directory.path().join("checkpoints").join(format!("{size}.frontier"));
    assert!(frontier.exists());
    let before = segments(&journal(directory.path())).unwrap();
    let error = log.prune(&AT_ONCE).unwrap_err();
    assert!(["R008", "S003"].contains(&error.code()), "{error}");
    assert_eq!(segments(&journal(directory.path())).unwrap(), before);
    assert_eq!(pruned(directory.path()), None);
}

/// The log of [`sealed_log`] on a disk that can lose power.
fn simulated(template: &Path) -> (tempfile::TempDir, Simulated) {
    let directory = fast_directory();
    for name in ["keys", "checkpoints", "tlog"] {
        for from in files_below(&template.join(name), "") {
            let to = directory.path().join(from.strip_prefix(template).unwrap());
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(from, to).unwrap();
        }
    }
    let storage = Simulated::default();
    for entry in std::fs::read_dir(template.join("journal")).unwrap() {
        let from = entry.unwrap().path();
        let to = journal(directory.path()).join(from.file_name().unwrap());
        storage.set(&to, Some(std::fs::read(from).unwrap()));
    }
    (directory, storage)
}

fn open(directory: &Path, storage: &Simulated) -> Result<Log, crate::LogError> {
    let opened = Log::open_on(small(directory), Arc::new(storage.clone()), Arc::new(SystemClock::start()));
    opened.map(|(log, _)| log)
}

#[test]
fn a_removal_cut_short_at_any_operation_is_finished_by_the_next_start() {
    let template = fast_directory();
    sealed_log(template.path()).shutdown().unwrap();
    let all = segments(&journal(template.path())).unwrap();
    let cut = all[plan(template.path(), &AT_ONCE).unwrap().removable().len()];
    let state = expected(template.path(), cut);
    let mut outcomes = BTreeMap::new();
    for at in 0..60 {
        for fault in [Fault::PowerCut, Fault::Error] {
            let what = format!("{fault:?} at operation {at}");
            let (directory, storage) = simulated(template.path());
            let log = open(directory.path(), &storage).unwrap();
            storage.fail_at(at, fault);
            let first = log.prune(&AT_ONCE);
            drop(log);
            let after = storage.after_power_cut(&mut Dice(at as u64 * 31 + 7));
            let log = open(directory.path(), &after).unwrap_or_else(|error| panic!("{what}: {error}"));
            let held = after.files();
            let firsts: Vec<u64> = held.keys().filter_map(|name| crate::journal::segment_first_seq(name)).collect();
            let begun = held.get(PRUNED).map(|bytes| Pruned::from_bytes(bytes).unwrap());
            // Both or neither: the receipts are there, or they are gone, with their state and a receipt about it.
            match begun {
                None => assert_eq!(firsts.first(), Some(&0), "{what}"),
                Some(begun) => {
                    assert_eq!(begun, state, "{what}");
                    assert_eq!(firsts.first(), Some(&cut), "{what}");
                    let told =
                        held.values().any(|content| content.windows(14).any(|window| window == b"\"kind\":\"prune\""));
                    assert!(told, "{what}: no receipt");
                }
            }
            *outcomes.entry((first.is_ok(), held.contains_key(PRUNED))).or_insert(0) += 1;
            exchange(&log);
            log.shutdown().unwrap_or_else(|error| panic!("{what}: {error}"));
        }
    }
    // Every case was met: undone, finished later, and not disturbed at all.
    assert!(outcomes.len() >= 3 && outcomes.contains_key(&(false, true)), "{outcomes:?}");
}

#[test]
fn a_journal_that_lost_segments_without_a_receipt_is_refused() {
    let template = fast_directory();
    sealed_log(template.path()).shutdown().unwrap();
    let all = segments(&journal(template.path())).unwrap();
    let state = expected(template.path(), all[1]);
    let code = |forge: &dyn Fn(&Path, &Simulated)| {
        let (directory, storage) = simulated(template.path());
        forge(&journal(directory.path()), &storage);
        open(directory.path(), &storage).unwrap_err().code()
    };
    let name = |at: usize| crate::journal::segment_name(all[at]);
    let gone = |journal: &Path, storage: &Simulated| storage.set(&journal.join(name(0)), None);
    let forged = |journal: &Path, storage: &Simulated, pruned: &Pruned| {
        storage.set(&journal.join(PRUNED), Some(pruned.to_bytes()));
    };
    assert_eq!(code(&gone), "W002");
    let unrecorded = |journal: &Path, storage: &Simulated| {
        gone(journal, storage);
        forged(journal, storage, &state);
    };
    assert_eq!(code(&unrecorded), "W002");
    let chain = Pruned { chain: [1; 32], ..state.clone() };
    assert_eq!(code(&|journal, storage| forged(journal, storage, &chain)), "W002");
    let unreadable = |journal: &Path, storage: &Simulated| storage.set(&journal.join(PRUNED), Some(b"{}".to_vec()));
    assert_eq!(code(&unreadable), "W002");
    let everything = |journal: &Path, storage: &Simulated| {
        (0..all.len()).for_each(|at| storage.set(&journal.join(name(at)), None));
        forged(journal, storage, &state);
    };
    assert_eq!(code(&everything), "W003");
}
