use std::path::Path;

use super::*;
use crate::sample::{exchange, fast_directory, options};
use crate::{Log, Sealer};

/// A log of two processes, the first sealed; returns how many receipts it has.
fn log(directory: &Path) -> u64 {
    for round in 0..2 {
        let (log, _) = Log::open(options(directory)).unwrap();
        exchange(&log);
        exchange(&log);
        log.shutdown().unwrap();
        if round == 0 {
            let (mut sealer, count) = Sealer::open_offline(directory).unwrap();
            sealer.seal(count, &[]).unwrap().unwrap();
        }
    }
    let mut receipts = Receipts::open_first(directory).unwrap();
    receipts.count_rest().unwrap()
}

fn seqs(mut receipts: Receipts) -> Vec<u64> {
    std::iter::from_fn(|| receipts.read_next().unwrap()).map(|receipt| receipt.seq()).collect()
}

#[test]
fn receipts_come_in_order_from_wherever_they_are() {
    let directory = fast_directory();
    let count = log(directory.path());
    assert_eq!(seqs(Receipts::open_first(directory.path()).unwrap()), Vec::from_iter(0..count));
    assert_eq!(seqs(Receipts::open(directory.path(), 3).unwrap()), Vec::from_iter(3..count));
    let whole = Receipts::read(directory.path(), 3).unwrap();

    // Without its first segment, the journal is continued backwards by the bundle.
    let journal = directory.path().join("journal");
    let firsts = segments(&journal).unwrap();
    std::fs::remove_file(journal.join(crate::journal::segment_name(firsts[0]))).unwrap();
    assert_eq!(seqs(Receipts::open_first(directory.path()).unwrap()), Vec::from_iter(0..count));
    let bundled = Receipts::read(directory.path(), 3).unwrap();
    assert_eq!(bundled.envelope(), whole.envelope());
    assert_eq!(bundled.token(), whole.token());
    for n in [0, 1, 3, count - 1, count, count + 5] {
        let from_end = seqs(Receipts::open_last(directory.path(), n).unwrap());
        assert!(from_end.len() as u64 >= n.min(count), "{n}: {from_end:?}");
        assert_eq!(from_end.last().copied(), Some(count - 1).filter(|_| !from_end.is_empty()));
    }

    std::fs::remove_dir_all(&journal).unwrap();
    let sealed = seqs(Receipts::open_first(directory.path()).unwrap());
    assert_eq!(sealed, Vec::from_iter(0..firsts[1]));
    let error = Receipts::read(directory.path(), count).unwrap_err();
    assert_eq!(error.code(), "Q002", "{error}");
}

#[test]
fn what_is_written_later_is_seen_later() {
    let directory = fast_directory();
    let (log, _) = Log::open(LogOptions { segment_bytes: 16 * 1024, ..options(directory.path()) }).unwrap();
    let mut receipts = Receipts::open_first(directory.path()).unwrap();
    let mut seen = receipts.count_rest().unwrap();
    // Over the end of several segments.
    for _ in 0..20 {
        exchange(&log);
        receipts.refresh().unwrap();
        let new = receipts.count_rest().unwrap();
        seen += new;
        assert_eq!(new, 2);
    }
    assert_eq!(seen, log.status().durable_count);
    assert!(segments(&directory.path().join("journal")).unwrap().len() > 2);
}

#[test]
fn where_nothing_is_that_is_said() {
    let directory = fast_directory();
    assert_eq!(Receipts::open_first(directory.path()).unwrap_err().code(), "Q001");
    let count = log(directory.path());
    let error = Receipts::read(directory.path(), count + 7).unwrap_err();
    assert!(error.to_string().contains(&format!("0 to {}", count - 1)), "{error}");
}

use crate::LogOptions;
