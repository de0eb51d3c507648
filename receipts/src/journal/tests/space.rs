//! Full disks: simulated, and a real small file system.

use std::time::{Duration, Instant};

use super::*;
use crate::sample::files_below;

/// Small enough that a few receipts use it up.
const RESERVE: u64 = 400 * 1024;

fn reserving(directory: &Path) -> LogOptions {
    LogOptions { reserve_bytes: RESERVE, ..small(directory) }
}

/// Appends until it works; what was acknowledged. Anything but a full disk is no reason to wait.
pub(super) fn once_there_is_space(log: &Log) -> BTreeMap<u64, ChainValue> {
    let patience = Instant::now() + Duration::from_secs(60);
    loop {
        match log.append_blocking(attempt()) {
            Ok(token) => return BTreeMap::from([(token.seq, token.chain)]),
            Err(error) => assert_eq!(error, AppendError::NoSpace),
        }
        assert!(Instant::now() < patience, "the log never found its way back");
        std::thread::yield_now();
    }
}

/// Appends until the disk is full; how many were taken.
fn fill(log: &Log) -> usize {
    for count in 0..100_000 {
        match log.append_blocking(attempt()) {
            Ok(_) => {}
            Err(error) => {
                assert_eq!((error.clone(), error.code()), (AppendError::NoSpace, "W014"));
                return count;
            }
        }
    }
    panic!("the disk never was full");
}

#[test]
fn a_segment_may_grow_far_beyond_what_was_reserved_for_it_at_first() {
    let directory = fast_directory();
    let storage = Simulated::default();
    let options = LogOptions { segment_bytes: 64 << 20, ..reserving(directory.path()) };
    let (log, _) = open_with(options, &storage).unwrap();
    storage.set_free(Some(64 << 20));
    let mut attempt = attempt();
    attempt.ext.insert("x", crate::canonical::Value::from("y".repeat(30_000))).unwrap();
    for _ in 0..2 * RESERVE / 30_000 {
        log.append_blocking(attempt.clone()).unwrap();
    }
    log.shutdown().unwrap();
}

#[test]
fn a_full_disk_is_on_record_refuses_and_passes_without_poison() {
    let directory = fast_directory();
    let storage = Simulated::default();
    let (log, _) = open_with(reserving(directory.path()), &storage).unwrap();
    storage.set_free(Some(100 * 1024));
    fill(&log);
    let status = log.status();
    assert!(status.full && status.poisoned.is_none());
    assert_eq!(log.append_blocking(attempt()), Err(AppendError::NoSpace));
    log.count_unreceipted();
    log.count_unreceipted();
    storage.set_free(Some(10 << 20));
    once_there_is_space(&log);
    assert!(!log.status().full);
    log.shutdown().unwrap();
    let told: Vec<_> = bodies(&storage)
        .iter()
        .filter_map(|(body, _)| {
            let event = body.get("event")?;
            let state = event.get("state").and_then(|state| state.as_str().map(str::to_owned));
            let count = event.get("exchanges").and_then(|count| Some(count.as_integer()?.to_string()));
            Some((event.get("reason")?.as_str()?.to_owned(), state.or(count)?))
        })
        .collect();
    let full = |what: &str| ("disk_full".to_owned(), what.to_owned());
    assert_eq!(told, [full("entered"), full("left"), full("2")]);
    let seqs: Vec<u64> = receipts(&storage).into_keys().collect();
    assert!(seqs.iter().copied().eq(0..seqs.len() as u64));
    assert!(open_with(reserving(directory.path()), &storage.after_kill()).unwrap().1.clean);
}

#[test]
fn everything_that_has_its_number_finds_its_place_however_many_wait() {
    for free in [0, 5_000, 30_000, 200_000] {
        let directory = fast_directory();
        let storage = Simulated::default();
        let (log, _) = open_with(reserving(directory.path()), &storage).unwrap();
        storage.set_free(Some(free));
        // The disk stands still while many come, so that as much as possible is between placing and writing.
        storage.hold_syncs(true);
        let (tell, told) = mpsc::channel();
        for _ in 0..3000 {
            let tell = tell.clone();
            log.append(attempt(), Box::new(move |result| tell.send(result).unwrap()));
        }
        drop(tell);
        storage.hold_syncs(false);
        let mut acknowledged = BTreeMap::new();
        for result in told {
            match result {
                Ok(token) => drop(acknowledged.insert(token.seq, token.chain)),
                Err(error) => assert_eq!(error, AppendError::NoSpace),
            }
        }
        assert!(log.status().full && log.status().poisoned.is_none(), "{free}: {:?}", log.status());
        assert!(!acknowledged.is_empty() && acknowledged.len() < 3000);
        // The end of a log has its place on a full disk too.
        log.shutdown().unwrap();
        assert_eq!(kinds(&storage).last().unwrap(), "shutdown");
        let found = receipts(&storage);
        assert!(acknowledged.iter().all(|(seq, chain)| found.get(seq) == Some(chain)));
        storage.set_free(None);
        let (_, report) = open_with(reserving(directory.path()), &storage.after_kill()).unwrap();
        assert!(report.clean && report.torn.is_none());
    }
}

#[test]
fn killed_while_the_disk_is_full_nothing_is_lost() {
    let directory = fast_directory();
    let storage = Simulated::default();
    let (log, _) = open_with(reserving(directory.path()), &storage).unwrap();
    storage.set_free(Some(50_000));
    fill(&log);
    let before = receipts(&storage);
    for after in [storage.after_kill(), storage.after_power_cut(&mut Dice(7))] {
        let copy = copy_keys(&directory);
        for (name, content) in after.files() {
            after.set(&directory.path().join(JOURNAL_DIRECTORY).join(&name), None);
            after.set(&copy.path().join(JOURNAL_DIRECTORY).join(name), Some(content));
        }
        let (log, report) = open_with(reserving(copy.path()), &after).unwrap();
        assert!(!report.clean);
        let found = receipts(&after);
        // `degraded` itself may have been under way when the power failed.
        assert!(
            before.iter().filter(|(seq, _)| **seq + 1 < before.len() as u64).all(|(seq, _)| found.contains_key(seq))
        );
        exchange(&log);
        log.shutdown().unwrap();
    }
}

#[test]
fn without_space_for_the_reserve_a_log_does_not_start() {
    let directory = fast_directory();
    let storage = Simulated::default();
    storage.set_free(Some(10_000));
    let error = open_with(reserving(directory.path()), &storage).unwrap_err();
    assert_eq!(error.code(), "W008", "{error}");
    assert!(storage.files().is_empty(), "{:?}", storage.files().keys());
    storage.set_free(None);
    let (log, report) = open_with(reserving(directory.path()), &storage.after_kill()).unwrap();
    assert!(report.first_start);
    log.shutdown().unwrap();
}

#[test]
fn where_space_cannot_be_reserved_a_full_disk_poisons() {
    let directory = fast_directory();
    let storage = Simulated::default().without_reservations();
    let (log, _) = open_with(reserving(directory.path()), &storage).unwrap();
    exchange(&log);
    storage.set_free(Some(5_000));
    let error = (0..100).find_map(|_| log.append_blocking(attempt()).err()).unwrap();
    assert_eq!(error.code(), "W008");
    assert!(log.status().poisoned.is_some() && !log.status().full);
    assert_eq!(log.shutdown().unwrap_err().code(), "W008");
}

/// Several segments' worth of receipts leave no reserved space behind.
#[test]
fn finished_segments_give_their_reserve_back() {
    let directory = fast_directory();
    let (log, _) = Log::open(reserving(directory.path())).unwrap();
    (0..40).for_each(|_| exchange(&log));
    log.shutdown().unwrap();
    use std::os::unix::fs::MetadataExt as _;
    let segments = files_below(&directory.path().join(JOURNAL_DIRECTORY), ".pefwal");
    assert!(segments.len() > 3);
    for segment in segments {
        let metadata = std::fs::metadata(&segment).unwrap();
        let taken = metadata.blocks() * 512;
        assert!(taken <= metadata.len().next_multiple_of(64 * 1024), "{}: {taken} bytes taken", segment.display());
    }
}

/// A small file system of its own, taken away when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// In memory; `None`, with a note, where nobody may mount.
    fn in_memory(megabytes: usize) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let size = format!("size={megabytes}m");
        let mounted = said_yes("mount", &["-t", "tmpfs", "-o", &size, "clyra-test"], directory.path());
        Self::mounted(mounted, directory, "a tmpfs")
    }

    /// ext4 in a file, on a loop device.
    fn ext4(image: &Path, megabytes: usize) -> Option<Self> {
        std::fs::File::create(image).unwrap().set_len((megabytes as u64) << 20).unwrap();
        let directory = tempfile::tempdir().unwrap();
        // Without a journal of its own and blocks for root alone, so that "full" means full.
        let made = said_yes("mkfs.ext4", &["-q", "-F", "-O", "^has_journal", "-m", "0"], image);
        let image = image.to_str().unwrap();
        let mounted = made && said_yes("mount", &["-o", "loop", image], directory.path());
        Self::mounted(mounted, directory, "ext4 on a loop device")
    }

    fn mounted(mounted: bool, directory: tempfile::TempDir, what: &str) -> Option<Self> {
        if !mounted {
            println!("SKIPPED: a real full disk was not tested, because {what} could not be mounted; it needs root");
        }
        mounted.then_some(Self(directory))
    }
}

fn said_yes(program: &str, arguments: &[&str], path: &Path) -> bool {
    let quiet = std::process::Stdio::null;
    let status = std::process::Command::new(program).args(arguments).arg(path).stdout(quiet()).stderr(quiet()).status();
    status.is_ok_and(|status| status.success())
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        said_yes("umount", &[], self.0.path());
    }
}

/// A disk with 2 MiB of something else on it fills up, and is freed of that.
fn fills_up_and_is_freed(disk: &SmallDisk) {
    let path = disk.0.path().join("data");
    let ballast = disk.0.path().join("ballast");
    std::fs::write(&ballast, vec![7; 2 << 20]).unwrap();
    let (log, _) = Log::open(reserving(&path)).unwrap();
    let taken = fill(&log);
    assert!(taken > 10, "{taken}");
    assert!(log.status().full && log.status().poisoned.is_none());
    // A new file on it has no chance.
    let other = std::fs::write(disk.0.path().join("other"), vec![7; 2 << 20]);
    assert_eq!(other.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    std::fs::remove_file(disk.0.path().join("other")).unwrap();
    std::fs::remove_file(&ballast).unwrap();
    once_there_is_space(&log);
    exchange(&log);
    log.shutdown().unwrap();
    let verdict = crate::verify(&[&path], &crate::VerifyOptions::default()).unwrap();
    assert!(verdict.ok, "{verdict:?}");
    assert_eq!(verdict.stats.kinds.get("degraded"), Some(&2));
    assert!(Log::open(reserving(&path)).unwrap().1.clean);
}

#[test]
fn a_real_file_system_in_memory_that_fills_up() {
    if let Some(disk) = SmallDisk::in_memory(4) {
        fills_up_and_is_freed(&disk);
    }
}

#[test]
fn a_real_file_system_on_a_device_that_fills_up() {
    let image = tempfile::NamedTempFile::new().unwrap();
    if let Some(disk) = SmallDisk::ext4(image.path(), 8) {
        fills_up_and_is_freed(&disk);
    }
}
