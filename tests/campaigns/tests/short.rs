//! A short piece of each campaign that needs no rights: `make faults` and `make powercut` are the long ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;

use clyra_campaigns::faults::{self, Reach};
use clyra_campaigns::{order, strace};

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
