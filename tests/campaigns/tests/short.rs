//! A short piece of each campaign that needs no rights: `make faults` and `make powercut` are the long ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;
use std::process::Command;

use clyra_campaigns::faults::{self, Reach};
use clyra_campaigns::told::Told;
use clyra_campaigns::{order, strace, writer};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_campaign"))
}

#[test]
fn everything_is_synced_before_something_is_built_upon_it() {
    if !strace::is_there() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let audit = order::run(program(), place.path(), None).unwrap();
    assert_eq!(audit.faults, [""; 0]);
    assert!(audit.acknowledged > 150 && audit.sealed >= 4 && audit.renames > 20, "{audit:?}");
    // The audit would notice.
    for calls in ["fdatasync", "fsync"] {
        let place = tempfile::tempdir().unwrap();
        let audit = order::run(program(), place.path(), Some(calls)).unwrap();
        assert!(audit.faults.len() > 20, "without {calls}: {:?}", audit.faults);
    }
}

#[test]
fn a_call_that_fails_loses_nothing_hangs_nothing_and_is_told() {
    if !strace::is_there() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    // A prime, so that the points go through all calls and faults.
    let summary = faults::run(program(), place.path(), &Reach { every: 41, jobs: 2 }).unwrap();
    assert_eq!(summary.failures, [""; 0]);
    assert!(summary.points > 50 && summary.struck * 2 > summary.points, "{summary:?}");
}

/// Runs a writer to its end; its status and what it said.
fn write(data_dir: &Path) -> (bool, Told) {
    let output = Command::new(program()).arg("write").arg(data_dir).output().unwrap();
    let mut told = Told::default();
    told.hear_all(&output.stdout);
    (output.status.success(), told)
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

#[test]
fn a_restored_snapshot_and_another_history_are_refused_by_the_lock_record() {
    let place = tempfile::tempdir().unwrap();
    let (data_dir, snapshot) = (place.path().join("data"), place.path().join("snapshot"));
    assert!(write(&data_dir).0);
    copy(&data_dir, &snapshot);
    assert!(write(&data_dir).0);
    let kept = std::fs::read(writer::lock_record(&data_dir)).unwrap();

    // The machine comes back as it was before; the record, which stands elsewhere, does not.
    std::fs::remove_dir_all(&data_dir).unwrap();
    copy(&snapshot, &data_dir);
    let (good, told) = write(&data_dir);
    assert!(!good && told.acknowledged.is_empty());
    assert!(told.errors[0].starts_with("W005 "), "{:?}", told.errors);

    // Without the record nothing notices, and a second history is written; with it, that is a fork.
    std::fs::remove_file(writer::lock_record(&data_dir)).unwrap();
    assert!(write(&data_dir).0 && write(&data_dir).0);
    std::fs::write(writer::lock_record(&data_dir), kept).unwrap();
    let (good, told) = write(&data_dir);
    assert!(!good && told.acknowledged.is_empty());
    assert!(told.errors[0].starts_with("W006 "), "{:?}", told.errors);
}

#[test]
fn a_copied_directory_is_refused_once_either_has_gone_on() {
    let place = tempfile::tempdir().unwrap();
    let (one, two) = (place.path().join("one"), place.path().join("two"));
    assert!(write(&one).0);
    copy(&one, &two);
    assert!(write(&one).0);
    // Both were told of the same record.
    std::fs::copy(writer::lock_record(&one), writer::lock_record(&two)).unwrap();
    let (good, told) = write(&two);
    assert!(!good && told.acknowledged.is_empty());
    assert!(told.errors[0].starts_with("W005 "), "{:?}", told.errors);
    assert!(write(&one).0, "the one that went on still does");
}
