use std::path::Path;
use std::sync::{Arc, Mutex};

use super::*;
use crate::sample::{ORIGIN, exchange, fast_directory, options};
use crate::{Log, LogError, LogOptions, Publication, SealError, Sealer};

/// A store in memory, which may be out of reach.
#[derive(Debug, Default)]
struct InMemory {
    record: Mutex<Option<Vec<u8>>>,
    away: Mutex<bool>,
}

impl InMemory {
    fn reach(&self) -> Result<(), LockError> {
        let away = *self.away.lock().unwrap();
        if away { Err(LockError::Unavailable { place: self.place(), what: "away".into() }) } else { Ok(()) }
    }
}

impl LockStore for InMemory {
    fn read(&self) -> Result<Option<Vec<u8>>, LockError> {
        self.reach()?;
        Ok(self.record.lock().unwrap().clone())
    }

    fn swap(&self, expected: Option<&[u8]>, new: &[u8]) -> Result<bool, LockError> {
        self.reach()?;
        let mut record = self.record.lock().unwrap();
        let same = record.as_deref() == expected;
        if same {
            *record = Some(new.to_vec());
        }
        Ok(same)
    }

    fn place(&self) -> String {
        "memory".into()
    }
}

fn open(directory: &Path, store: &Arc<InMemory>) -> Result<Log, LogError> {
    let lock: Arc<dyn LockStore> = Arc::<InMemory>::clone(store);
    Log::open(LogOptions { lock: Some(lock), ..options(directory) }).map(|(log, _)| log)
}

fn sealer(directory: &Path, store: &Arc<InMemory>) -> Sealer {
    let lock: Arc<dyn LockStore> = Arc::<InMemory>::clone(store);
    Sealer::open(directory).unwrap().publish_to(Publication { lock: Some(lock), ..Publication::default() })
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

fn code(result: Result<Log, LogError>) -> &'static str {
    result.map(drop).unwrap_err().code()
}

/// A log of one exchange that was served, sealed and closed.
fn round(directory: &Path, store: &Arc<InMemory>) -> u64 {
    let log = open(directory, store).unwrap();
    exchange(&log);
    let sealed = sealer(directory, store).seal(log.status().durable_count, &[]).unwrap().unwrap();
    log.shutdown().unwrap();
    sealed.size
}

#[test]
fn the_record_is_the_newest_checkpoint() {
    let (directory, store) = (fast_directory(), Arc::<InMemory>::default());
    round(directory.path(), &store);
    let size = round(directory.path(), &store);
    let bytes = store.read().unwrap().unwrap();
    let record = LockRecord::parse(&bytes).unwrap();
    assert_eq!((record.size, record.log.as_str()), (size, ORIGIN));
    assert_eq!(record.to_bytes(), bytes);
    let spaced = String::from_utf8(bytes).unwrap().replace(",\"v\"", ", \"v\"");
    assert_eq!(LockRecord::parse(spaced.as_bytes()), None);
}

#[test]
fn a_restored_snapshot_is_refused() {
    let (directory, store, snapshot) = (fast_directory(), Arc::<InMemory>::default(), fast_directory());
    round(directory.path(), &store);
    copy(directory.path(), snapshot.path());
    round(directory.path(), &store);
    let listed = |directory: &Path| std::fs::read_dir(directory.join("journal")).unwrap().count();
    let before = listed(snapshot.path());
    assert_eq!(code(open(snapshot.path(), &store)), "W005");
    assert_eq!(listed(snapshot.path()), before, "a refusal changes nothing");
    // Neither may an empty directory go on under the log's name.
    assert_eq!(code(open(fast_directory().path(), &store)), "W005");
    assert!(open(directory.path(), &store).is_ok());
}

#[test]
fn a_copy_that_went_on_by_itself_is_a_fork() {
    let (directory, store, other) = (fast_directory(), Arc::<InMemory>::default(), fast_directory());
    round(directory.path(), &store);
    copy(directory.path(), other.path());
    // The copy goes on without looking at the record, and further than the original.
    let alone = Arc::<InMemory>::default();
    round(other.path(), &alone);
    round(other.path(), &alone);
    let size = round(directory.path(), &store);
    let error = open(other.path(), &store).map(drop).unwrap_err();
    assert_eq!(error.code(), "W006", "{error}");
    assert!(error.to_string().contains(&format!("at size {size}")), "{error}");
}

#[test]
fn a_second_writer_cannot_publish() {
    let (directory, store, other) = (fast_directory(), Arc::<InMemory>::default(), fast_directory());
    round(directory.path(), &store);
    copy(directory.path(), other.path());
    let (first, second) = (open(directory.path(), &store).unwrap(), open(other.path(), &store).unwrap());
    exchange(&first);
    sealer(directory.path(), &store).seal(first.status().durable_count, &[]).unwrap().unwrap();
    let published = |directory: &Path| std::fs::read_dir(directory.join("checkpoints")).unwrap().count();
    let before = published(other.path());
    // Behind, and then as far as the first.
    let mut sealing = sealer(other.path(), &store);
    let error = sealing.seal(second.status().durable_count, &[]).unwrap_err();
    assert!(matches!(&error, SealError::Lock(LockError::Rollback { .. })) && error.is_fatal(), "{error}");
    exchange(&second);
    exchange(&second);
    let error = sealing.seal(second.status().durable_count, &[]).unwrap_err();
    assert!(matches!(&error, SealError::Lock(LockError::Fork { .. })) && error.is_fatal(), "{error}");
    assert_eq!(published(other.path()), before, "nothing was published");
    exchange(&first);
    sealer(directory.path(), &store).seal(first.status().durable_count, &[]).unwrap().unwrap();
}

#[test]
fn between_the_swap_and_the_checkpoint_nothing_is_lost() {
    let (directory, store) = (fast_directory(), Arc::<InMemory>::default());
    round(directory.path(), &store);
    let log = open(directory.path(), &store).unwrap();
    exchange(&log);
    let before = fast_directory();
    copy(directory.path(), before.path());
    let first = sealer(directory.path(), &store).seal(log.status().durable_count, &[]).unwrap().unwrap();
    log.shutdown().unwrap();
    // As if the process had ended after the swap: the checkpoint is not there, the receipts are.
    let log = open(before.path(), &store).unwrap();
    exchange(&log);
    let second = sealer(before.path(), &store).seal(log.status().durable_count, &[]).unwrap().unwrap();
    assert!(second.from < first.to && second.to > first.to);
    let record = LockRecord::parse(&store.read().unwrap().unwrap()).unwrap();
    assert_eq!(record.size, second.size);
}

#[test]
fn a_record_that_is_older_than_the_log_is_no_obstacle() {
    let (directory, store) = (fast_directory(), Arc::<InMemory>::default());
    round(directory.path(), &store);
    let old = store.read().unwrap().unwrap();
    let size = round(directory.path(), &store);
    *store.record.lock().unwrap() = Some(old.clone());
    // From the old checkpoint's own file, from the tiles, from the journal.
    let old_size = LockRecord::parse(&old).unwrap().size;
    for gone in ["", "checkpoints", "tlog"] {
        if gone == "checkpoints" {
            std::fs::remove_file(directory.path().join(format!("checkpoints/{old_size}"))).unwrap();
        } else if gone == "tlog" {
            std::fs::remove_dir_all(directory.path().join("tlog")).unwrap();
        }
        *store.record.lock().unwrap() = Some(old.clone());
        open(directory.path(), &store).unwrap().shutdown().unwrap();
        let mut other = LockRecord::parse(&old).unwrap();
        other.root = [1; 32];
        *store.record.lock().unwrap() = Some(other.to_bytes());
        assert_eq!(code(open(directory.path(), &store)), "W006", "without {gone}");
    }
    assert!(size > old_size);
}

#[test]
fn a_store_that_is_away_or_holds_something_else_is_said() {
    let (directory, store) = (fast_directory(), Arc::<InMemory>::default());
    round(directory.path(), &store);
    let log = open(directory.path(), &store).unwrap();
    *store.away.lock().unwrap() = true;
    let error = sealer(directory.path(), &store).seal(log.status().durable_count, &[]).unwrap_err();
    assert_eq!((error.code(), error.is_fatal()), ("L001", false));
    *store.away.lock().unwrap() = false;
    sealer(directory.path(), &store).seal(log.status().durable_count, &[]).unwrap().unwrap();
    log.shutdown().unwrap();
    *store.away.lock().unwrap() = true;
    assert_eq!(code(open(directory.path(), &store)), "L001");
    *store.away.lock().unwrap() = false;
    *store.record.lock().unwrap() = Some(b"{}".to_vec());
    assert_eq!(code(open(directory.path(), &store)), "L002");
}

#[test]
fn a_damaged_journal_is_called_that() {
    let (directory, store) = (fast_directory(), Arc::<InMemory>::default());
    round(directory.path(), &store);
    let record = store.read().unwrap().unwrap();
    round(directory.path(), &store);
    std::fs::remove_dir_all(directory.path().join("checkpoints")).unwrap();
    let first = directory.path().join("journal").join(crate::journal::segment_name(0));
    let mut bytes = std::fs::read(&first).unwrap();
    bytes[5000] ^= 1;
    std::fs::write(&first, bytes).unwrap();
    *store.record.lock().unwrap() = Some(record);
    assert_eq!(code(open(directory.path(), &store)), "W002");
}

#[test]
fn a_file_is_swapped_only_from_what_was_expected() {
    let directory = fast_directory();
    let store = FileLock::new(directory.path().join("record"));
    assert_eq!(store.read(), Ok(None));
    assert_eq!(store.swap(Some(b"a"), b"b"), Ok(false));
    assert_eq!(store.swap(None, b"a"), Ok(true));
    assert_eq!(store.swap(None, b"b"), Ok(false));
    assert_eq!(store.swap(Some(b"a"), b"b"), Ok(true));
    assert_eq!(store.read(), Ok(Some(b"b".to_vec())));
    // A volume that is not there is not an empty one.
    let away = FileLock::new(directory.path().join("volume/record"));
    assert_eq!(away.read().unwrap_err().code(), "L001");
    // Of many at once, one.
    let won: usize = std::thread::scope(|scope| {
        let store = &store;
        let swaps: Vec<_> = (0..8u8).map(|n| scope.spawn(move || store.swap(Some(b"b"), &[n]).unwrap())).collect();
        swaps.into_iter().map(|swap| usize::from(swap.join().unwrap())).sum()
    });
    assert_eq!(won, 1);
}
