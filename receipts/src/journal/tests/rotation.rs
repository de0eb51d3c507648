//! Receipt keys that replace each other in a running process.

use super::clock::TestClock;
use super::*;
use crate::canonical::Value;
use crate::keys::Lookup;

fn every(receipts: u64, directory: &Path) -> LogOptions {
    LogOptions { receipt_key_rotate_receipts: receipts, ..small(directory) }
}

fn text<'a>(body: &'a Value, name: &str) -> &'a str {
    body.get(name).unwrap().as_str().unwrap()
}

/// Every receipt is signed by the key that it names, which was certified for it; a key changes only at a start and after a
/// rotation that both keys signed.
fn check_keys(directory: &Path, storage: &Simulated) -> usize {
    let keys = Keys::open(directory).unwrap();
    let mut before: Option<(Value, u16)> = None;
    let mut rotations = 0;
    for (name, content) in storage.files() {
        if segment::segment_first_seq(&name).is_none() {
            continue;
        }
        let (mut reader, _) = SegmentReader::open(Box::new(Cursor::new(content))).unwrap();
        while let Next::Frame(frame) = reader.next().unwrap() {
            if frame.header.kind != FrameType::Receipt {
                continue;
            }
            let body = parse(&frame.body, Limits::RECEIPT).unwrap();
            let Lookup::Valid(key) = keys.trust().receipt_key(text(&body, "key_id"), frame.header.seq) else {
                panic!("receipt {}: its key is not valid", frame.header.seq)
            };
            let pae = crate::dsse::pae(crate::receipt::RECEIPT_PAYLOAD_TYPE, &frame.body);
            assert!(key.verify(&pae, &frame.signature.clone().try_into().unwrap()));
            if let Some((last, index)) = &before {
                let rotated = text(last, "kind") == "key.rotate";
                if text(&body, "kind") == "boot" || text(last, "kind") == "genesis" {
                    assert_eq!(frame.header.key_index, 0);
                } else if rotated {
                    assert_eq!(text(&body, "key_id"), text(last.get("event").unwrap(), "new"));
                    assert_eq!(frame.header.key_index, index + 1);
                } else {
                    assert_eq!(text(&body, "key_id"), text(last, "key_id"));
                }
                if rotated && text(&body, "kind") != "boot" {
                    let record: crate::receipt::KeyRotate =
                        serde_json::from_slice(&crate::canonical::to_vec(last.get("event").unwrap())).unwrap();
                    let Lookup::Valid(old) = keys.trust().receipt_key(&record.old, frame.header.seq - 1) else {
                        panic!("the old key was not valid")
                    };
                    let rotation = crate::keys::Rotation {
                        log: ORIGIN,
                        old,
                        new: key,
                        purpose: crate::keys::Purpose::Receipt,
                        valid_from_seq: frame.header.seq,
                    };
                    assert!(rotation.is_signed(&record) && record.valid_from_seq == frame.header.seq);
                    rotations += 1;
                }
            }
            before = Some((body, frame.header.key_index));
        }
    }
    rotations
}

#[test]
fn keys_follow_each_other_by_number_of_receipts() {
    let directory = fast_directory();
    let storage = Simulated::default();
    let (log, _) = open_with(every(3, directory.path()), &storage).unwrap();
    for _ in 0..4 {
        let attempt = attempt();
        let token = log.append_blocking(attempt.clone()).unwrap();
        let outcome = log.append_blocking(outcome(&attempt, token.seq)).unwrap();
        assert_eq!(
            text(&bodies(&storage)[outcome.seq as usize].0, "key_id"),
            outcome.key_id,
            "the token names its key"
        );
    }
    assert!(log.status().rotations >= 2);
    log.shutdown().unwrap();
    assert!(check_keys(directory.path(), &storage) >= 2);
    // The next process takes it up.
    let (log, report) = open_with(every(3, directory.path()), &storage).unwrap();
    assert!(report.clean);
    exchange(&log);
    log.shutdown().unwrap();
    check_keys(directory.path(), &storage);
}

#[test]
fn keys_follow_each_other_by_age_and_only_when_they_were_used() {
    let directory = fast_directory();
    let storage = Simulated::default();
    let clock = TestClock::start();
    let options = LogOptions { receipt_key_rotate: std::time::Duration::from_secs(600), ..small(directory.path()) };
    let (log, _) = Log::open_on(options, Arc::new(storage.clone()), clock.clone()).unwrap();
    clock.pass_us(599_000_000);
    log.append_blocking(attempt()).unwrap();
    log.append_blocking(attempt()).unwrap();
    assert_eq!(log.status().rotations, 0);
    clock.pass_us(2_000_000);
    // What finds the key too old is signed by it and followed by the rotation.
    log.append_blocking(attempt()).unwrap();
    log.append_blocking(attempt()).unwrap();
    assert_eq!(log.status().rotations, 1);
    clock.pass_us(86_400_000_000);
    log.append_blocking(attempt()).unwrap();
    log.append_blocking(attempt()).unwrap();
    log.shutdown().unwrap();
    assert_eq!(check_keys(directory.path(), &storage), 2);
}

#[test]
fn under_load_no_receipt_gets_the_wrong_key() {
    let directory = fast_directory();
    let storage = Simulated::default();
    let options = LogOptions { segment_bytes: 256 * 1024, ..every(40, directory.path()) };
    let (log, _) = open_with(options, &storage).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..40).for_each(|_| exchange(&log)));
        }
    });
    // Counted when nothing can rotate any more: a rotation may be under way now.
    let after = log.clone();
    log.shutdown().unwrap();
    let rotations = after.status().rotations;
    assert!(rotations >= 3, "{rotations}");
    assert_eq!(check_keys(directory.path(), &storage) as u64, rotations);
}

/// A process killed between the rotation and the certificate, and between the certificate and the first receipt of the key.
#[test]
fn a_rotation_that_a_crash_cut_short_leaves_a_good_log() {
    let template = template();
    let directory = copy_of(template.path());
    let storage = Simulated::default();
    let (log, _) = open_with(every(4, directory.path()), &storage).unwrap();
    exchange(&log);
    exchange(&log);
    log.shutdown().unwrap();
    let rotated = kinds(&storage).iter().position(|kind| kind == "key.rotate").unwrap();
    let certificate = format!("keys/receipts/{:020}.json", rotated + 1);
    let (first, content) = storage.files().into_iter().find(|(name, _)| name.ends_with(".pefwal")).unwrap();
    let end = frame_offsets(&content)[rotated + 1];
    for certified in [false, true] {
        let copy = copy_keys(&directory);
        // Nothing after the rotation was written.
        for entry in std::fs::read_dir(copy.path().join("keys/receipts")).unwrap() {
            let path = entry.unwrap().path();
            if path > copy.path().join(&certificate) || (!certified && path == copy.path().join(&certificate)) {
                std::fs::remove_file(path).unwrap();
            }
        }
        assert_eq!(copy.path().join(&certificate).exists(), certified);
        let after = Simulated::default();
        after.set(&copy.path().join(JOURNAL_DIRECTORY).join(&first), Some(content[..end].to_vec()));
        let (log, report) = open_with(every(100, copy.path()), &after).unwrap();
        assert_eq!(report.last_seq, Some(rotated as u64));
        exchange(&log);
        log.shutdown().unwrap();
        check_keys(copy.path(), &after);
    }
}

#[test]
fn a_certificate_that_cannot_be_written_leaves_the_old_key_in_force() {
    let directory = fast_directory();
    let storage = Simulated::default();
    let (log, report) = open_with(every(3, directory.path()), &storage).unwrap();
    let receipts = directory.path().join("keys/receipts");
    std::fs::rename(&receipts, directory.path().join("keys/moved")).unwrap();
    let keys: Vec<String> = (0..6).map(|_| log.append_blocking(attempt()).unwrap().key_id).collect();
    assert_eq!(keys, vec![report.key_id; 6]);
    assert_eq!((log.status().rotations, log.status().rotations_failed), (0, 1), "not tried again at once");
    std::fs::rename(directory.path().join("keys/moved"), &receipts).unwrap();
    log.shutdown().unwrap();
}

/// A failure or power cut at each operation of a log that rotates often.
#[test]
fn at_every_operation_of_a_rotating_log_nothing_acknowledged_is_lost() {
    let template = template();
    let count = {
        let directory = copy_of(template.path());
        let storage = Simulated::default();
        let (log, _) = open_with(every(5, directory.path()), &storage).unwrap();
        work(&log);
        log.shutdown().unwrap();
        storage.operations()
    };
    for fault in [Fault::Error, Fault::PowerCut] {
        for at in 0..count {
            let what = format!("{fault:?} at operation {at}");
            let directory = copy_of(template.path());
            let storage = Simulated::default();
            storage.fail_at(at, fault);
            let acknowledged =
                open_with(every(5, directory.path()), &storage).map_or_else(|_| BTreeMap::new(), |(log, _)| work(&log));
            let after = storage.after_power_cut(&mut Dice(at as u64 + 11));
            check_after(directory.path(), &after, &acknowledged, &what);
            check_keys(directory.path(), &after);
        }
    }
}
