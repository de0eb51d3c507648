use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;
use std::sync::{Arc, mpsc};

use super::frame::FRAME_HEADER_BYTES;
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use super::simulated::{Dice, Fault, Simulated};
use super::*;
use crate::canonical::{Limits, is_canonical, parse};
use crate::clock::SystemClock;
use crate::keys::Keys;
use crate::receipt::shape;
use crate::sample::{ORIGIN, attempt, exchange, fast_directory, options, outcome};

mod clock;
mod rotation;
mod space;

/// Small segments, so that a few receipts cross several.
const SMALL: u64 = 16 * 1024;

fn small(directory: &Path) -> LogOptions {
    LogOptions { segment_bytes: SMALL, ..options(directory) }
}

fn open_on(directory: &Path, storage: &Simulated) -> Result<(Log, BootReport), LogError> {
    open_with(small(directory), storage)
}

fn open_with(options: LogOptions, storage: &Simulated) -> Result<(Log, BootReport), LogError> {
    Log::open_on(options, Arc::new(storage.clone()), Arc::new(SystemClock::start()))
}

/// The bodies of a log's receipts, in order, with the index of the key in each frame.
fn bodies(storage: &Simulated) -> Vec<(crate::canonical::Value, u16)> {
    let mut bodies = Vec::new();
    for (name, content) in storage.files() {
        if segment::segment_first_seq(&name).is_some() {
            let (mut reader, _) = SegmentReader::open(Box::new(Cursor::new(content))).unwrap();
            while let Next::Frame(frame) = reader.next().unwrap() {
                if frame.header.kind == FrameType::Receipt {
                    bodies.push((parse(&frame.body, Limits::RECEIPT).unwrap(), frame.header.key_index));
                }
            }
        }
    }
    bodies
}

/// The kinds of a log's receipts, in order.
fn kinds(storage: &Simulated) -> Vec<String> {
    let kind = |body: &crate::canonical::Value| body.get("kind").unwrap().as_str().unwrap().to_owned();
    bodies(storage).iter().map(|(body, _)| kind(body)).collect()
}

/// Chain values by sequence number, as the segments have them.
fn receipts(storage: &Simulated) -> BTreeMap<u64, ChainValue> {
    let mut found = BTreeMap::new();
    for (name, content) in storage.files() {
        if segment::segment_first_seq(&name).is_some() {
            let (mut reader, _) = SegmentReader::open(Box::new(Cursor::new(content))).unwrap();
            while let Next::Frame(frame) = reader.next().unwrap() {
                if frame.header.kind == FrameType::Receipt {
                    found.insert(frame.header.seq, frame.header.chain);
                }
            }
        }
    }
    found
}

#[test]
fn a_log_is_made_written_closed_and_taken_up_again() {
    let directory = tempfile::tempdir().unwrap();
    let (log, report) = Log::open(options(directory.path())).unwrap();
    assert!(report.first_start && report.clean && report.epoch == 1 && report.last_seq.is_none());
    let token = log.append_blocking(attempt()).unwrap();
    assert_eq!(token.seq, 2);
    assert_eq!(log.status().durable_seq, Some(2));
    assert_eq!(log.status().durable_count, 3);
    log.clone().shutdown().unwrap();
    assert_eq!(log.append_blocking(attempt()), Err(AppendError::Closed));
    drop(log);
    let (log, report) = Log::open(options(directory.path())).unwrap();
    assert!(!report.first_start && report.clean);
    assert_eq!((report.epoch, report.last_seq), (2, Some(3)));
    assert_eq!(Log::open(options(directory.path())).unwrap_err().code(), "W007");
    drop(log);
    let (_log, report) = Log::open(options(directory.path())).unwrap();
    assert!(!report.clean);
    assert_eq!((report.epoch, report.last_seq), (3, Some(4)));
}

#[test]
fn the_token_is_one_line_of_visible_characters() {
    let directory = fast_directory();
    let (log, report) = Log::open(options(directory.path())).unwrap();
    let token = log.append_blocking(attempt()).unwrap();
    let text = token.to_string();
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic()) && text.len() < 260, "{text}");
    assert!(text.starts_with("seq=2;chain=") && text.contains(&format!(";key={};sig=", report.key_id)));
}

#[test]
fn every_receipt_of_a_log_is_canonical_of_the_form_and_signed() {
    let directory = fast_directory();
    let storage = Simulated::default();
    let (log, _) = open_on(directory.path(), &storage).unwrap();
    for _ in 0..3 {
        exchange(&log);
    }
    log.append_blocking(crate::sample::bypass()).unwrap();
    log.shutdown().unwrap();
    let keys = Keys::open(directory.path()).unwrap();
    let mut kinds = Vec::new();
    for (name, content) in storage.files() {
        if !name.ends_with(".pefwal") {
            continue;
        }
        let (mut reader, _) = SegmentReader::open(Box::new(Cursor::new(content))).unwrap();
        while let Next::Frame(frame) = reader.next().unwrap() {
            if frame.header.kind != FrameType::Receipt {
                continue;
            }
            let value = parse(&frame.body, Limits::RECEIPT).unwrap();
            assert!(is_canonical(&frame.body, &value));
            assert_eq!(shape::check_receipt(&value), []);
            assert_eq!(Chain::default().value(frame.header.seq, &frame.body), frame.header.chain);
            let key_id = value.get("key_id").unwrap().as_str().unwrap();
            let crate::keys::Lookup::Valid(key) = keys.trust().receipt_key(key_id, frame.header.seq) else {
                panic!("key not valid")
            };
            let pae = crate::dsse::pae(crate::receipt::RECEIPT_PAYLOAD_TYPE, &frame.body);
            assert!(key.verify(&pae, &frame.signature.try_into().unwrap()));
            kinds.push(value.get("kind").unwrap().as_str().unwrap().to_owned());
        }
    }
    let exchange = ["attempt", "outcome"];
    assert_eq!(kinds, [&["genesis", "boot"][..], &exchange, &exchange, &exchange, &["bypass", "shutdown"]].concat());
}

#[test]
fn a_long_origin_build_and_run_still_fit_with_the_longest_draft() {
    let directory = fast_directory();
    let storage = Simulated::default();
    let mut options = options(directory.path());
    options.origin = "\"".repeat(240);
    options.build.version = "\u{1}".repeat(10_000);
    options.build.digest = Some("\u{1}".repeat(10_000));
    let (log, _) = open_with(options, &storage).unwrap();
    let mut attempt = attempt();
    attempt.run = Some(crate::receipt::RunRef::new(&"\u{1}".repeat(128)));
    attempt.ext.insert("x", crate::canonical::Value::from("y".repeat(40_000))).unwrap();
    log.append_blocking(attempt).unwrap();
    log.shutdown().unwrap();
    assert_eq!(receipts(&storage).len(), 4, "every frame was readable");
}

#[test]
fn runs_are_chained_by_themselves() {
    let directory = fast_directory();
    let storage = Simulated::default();
    let (log, _) = open_on(directory.path(), &storage).unwrap();
    let mut last = BTreeMap::new();
    for (index, run) in ["a", "b", "a", "a", "b"].into_iter().enumerate() {
        let mut attempt = attempt();
        attempt.run = Some(crate::receipt::RunRef::new(run));
        let token = log.append_blocking(attempt).unwrap();
        let body = storage
            .files()
            .into_values()
            .find_map(|content| {
                let (mut reader, _) = SegmentReader::open(Box::new(Cursor::new(content))).unwrap();
                while let Next::Frame(frame) = reader.next().unwrap() {
                    if frame.header.seq == token.seq && frame.header.kind == FrameType::Receipt {
                        return Some(frame.body);
                    }
                }
                None
            })
            .unwrap();
        let value = parse(&body, Limits::RECEIPT).unwrap();
        let written = value.get("run").unwrap();
        let (position, prev) = last.get(run).copied().unwrap_or((0, run_start_value(run)));
        assert_eq!(written.get("seq").unwrap().as_str(), Some(position.to_string().as_str()), "receipt {index}");
        assert_eq!(written.get("prev").unwrap().as_str(), Some(crate::hex::encode(&prev).as_str()));
        last.insert(run, (position + 1, token.chain));
    }
}

#[test]
fn many_threads_share_syncs_and_every_token_is_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Simulated::default();
    let (log, _) = open_on(directory.path(), &storage).unwrap();
    let before = storage.syncs();
    // While the first sync is held, everybody else queues up.
    storage.hold_syncs(true);
    let (threads, each) = (32, 25);
    let tokens: Vec<Token> = std::thread::scope(|scope| {
        let work = |_| {
            let log = log.clone();
            scope.spawn(move || (0..each).map(|_| log.append_blocking(attempt()).unwrap()).collect::<Vec<_>>())
        };
        let workers: Vec<_> = (0..threads).map(work).collect();
        storage.hold_syncs(false);
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let mut seqs: Vec<u64> = tokens.iter().map(|token| token.seq).collect();
    seqs.sort_unstable();
    let total = threads * each;
    assert_eq!(seqs, (2..2 + total as u64).collect::<Vec<_>>());
    let written = receipts(&storage);
    for token in &tokens {
        assert_eq!(written.get(&token.seq), Some(&token.chain));
    }
    // A rotation costs three syncs of its own; without sharing there would be one for each receipt on top.
    let segments = storage.files().keys().filter(|name| name.ends_with(".pefwal")).count();
    assert!(storage.syncs() - before < total as usize + 2 * segments, "{} syncs", storage.syncs() - before);
    log.shutdown().unwrap();
}

#[test]
fn a_full_queue_refuses_at_once_and_serves_again_later() {
    let directory = fast_directory();
    let storage = Simulated::default();
    let options = LogOptions { queue_len: 4, ..small(directory.path()) };
    let (log, _) = open_with(options, &storage).unwrap();
    storage.hold_syncs(true);
    let (tell, told) = mpsc::channel();
    let mut refused = 0;
    // Beyond the queue there is room for the groups between the threads; it is bounded all the same.
    for _ in 0..200_000 {
        let tell = tell.clone();
        log.append(attempt(), Box::new(move |result| tell.send(result).unwrap()));
        if let Ok(result) = told.try_recv() {
            assert_eq!(result, Err(AppendError::Overloaded));
            refused += 1;
            break;
        }
    }
    assert_eq!(refused, 1, "the queue never filled");
    storage.hold_syncs(false);
    assert!(told.recv().unwrap().is_ok());
    log.shutdown().unwrap();
}

#[test]
fn a_waiter_that_panics_harms_nobody() {
    let directory = fast_directory();
    let (log, _) = open_on(directory.path(), &Simulated::default()).unwrap();
    log.append(attempt(), Box::new(|_| panic!("in the caller's code")));
    assert!(log.append_blocking(attempt()).is_ok());
    log.shutdown().unwrap();
}

#[test]
fn the_log_may_be_dropped_by_a_waiter_of_its_own() {
    let directory = fast_directory();
    let storage = Simulated::default();
    let (log, _) = open_on(directory.path(), &storage).unwrap();
    let (tell, told) = mpsc::channel();
    let last = log.clone();
    log.append(
        attempt(),
        Box::new(move |result| {
            drop(last);
            tell.send(result.is_ok()).unwrap();
        }),
    );
    drop(log);
    assert!(told.recv().unwrap());
}

#[test]
fn the_last_handle_may_go_while_the_writer_is_behind() {
    let directory = fast_directory();
    let storage = Simulated::default();
    let (log, _) = open_on(directory.path(), &storage).unwrap();
    storage.hold_syncs(true);
    let (tell, told) = mpsc::channel();
    let count = 4000;
    let mut last = Some(log.clone());
    for _ in 0..count {
        let (tell, last) = (tell.clone(), last.take());
        log.append(
            attempt(),
            Box::new(move |result| {
                drop(last);
                tell.send(result.is_ok()).unwrap();
            }),
        );
    }
    drop(log);
    storage.hold_syncs(false);
    let patience = std::time::Duration::from_secs(60);
    assert!((0..count).all(|_| told.recv_timeout(patience) == Ok(true)), "what was queued is still written");
}

/// The work of the fault tests: a few exchanges over several segments. Returns what was acknowledged.
fn work(log: &Log) -> BTreeMap<u64, ChainValue> {
    let mut acknowledged = BTreeMap::new();
    for _ in 0..8 {
        let attempt = attempt();
        let Ok(token) = log.append_blocking(attempt.clone()) else { break };
        acknowledged.insert(token.seq, token.chain);
        let Ok(outcome) = log.append_blocking(outcome(&attempt, token.seq)) else { break };
        acknowledged.insert(outcome.seq, outcome.chain);
    }
    acknowledged
}

fn template() -> tempfile::TempDir {
    let directory = fast_directory();
    Keys::init(directory.path(), ORIGIN).unwrap();
    directory
}

/// A directory with the same keys and none of the certificates of others' starts.
fn copy_of(template: &Path) -> tempfile::TempDir {
    let directory = fast_directory();
    let keys = directory.path().join("keys");
    for list in ["receipts", "logs"] {
        std::fs::create_dir_all(keys.join(list)).unwrap();
    }
    for name in ["root.pem", "root.vkey", "log.pem", "logs/00000000000000000000.json"] {
        std::fs::copy(template.join("keys").join(name), keys.join(name)).unwrap();
    }
    directory
}

/// Operations of an undisturbed run.
fn operations(template: &Path) -> usize {
    let directory = copy_of(template);
    let storage = Simulated::default();
    let (log, _) = open_on(directory.path(), &storage).unwrap();
    work(&log);
    log.shutdown().unwrap();
    storage.operations()
}

/// Opens what is left and holds it against what was acknowledged.
fn check_after(directory: &Path, storage: &Simulated, acknowledged: &BTreeMap<u64, ChainValue>, what: &str) {
    let (log, report) = open_on(directory, storage).unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = receipts(storage);
    for (seq, chain) in acknowledged {
        assert_eq!(found.get(seq), Some(chain), "{what}: acknowledged receipt {seq} is lost");
    }
    let boot = report.last_seq.map_or(1, |last| last + 1);
    assert!(found.keys().copied().eq(0..=boot), "{what}: numbers have gaps");
    exchange(&log);
    log.shutdown().unwrap_or_else(|error| panic!("{what}: {error}"));
}

#[test]
fn at_every_operation_a_failure_wakes_everybody_and_loses_nothing_acknowledged() {
    let template = template();
    let count = operations(template.path());
    assert!(count > 40, "{count}");
    for fault in [Fault::Error, Fault::NoSpace, Fault::ShortWrite] {
        for at in 0..count {
            let what = format!("{fault:?} at operation {at}");
            let directory = copy_of(template.path());
            let storage = Simulated::default();
            storage.fail_at(at, fault);
            let mut acknowledged = BTreeMap::new();
            match open_on(directory.path(), &storage) {
                Ok((log, _)) => {
                    acknowledged = work(&log);
                    if let Some(poison) = log.status().poisoned {
                        let code = if fault == Fault::NoSpace { "W008" } else { "W004" };
                        assert!(poison.starts_with(code), "{what}: {poison}");
                        let durable = log.status().durable_count;
                        assert_eq!(log.append_blocking(attempt()).unwrap_err().code(), code, "{what}");
                        assert_eq!(log.status().durable_count, durable, "{what}");
                        assert_eq!(log.shutdown().unwrap_err().code(), code, "{what}");
                    } else if fault == Fault::NoSpace && log.status().full {
                        // It showed while space was reserved, so nothing is lost and the log goes on by itself.
                        acknowledged.extend(space::once_there_is_space(&log));
                        log.shutdown().unwrap_or_else(|error| panic!("{what}: {error}"));
                    } else {
                        // The fault struck at the very end.
                        assert!(log.shutdown().is_err() || fault == Fault::NoSpace, "{what}");
                    }
                }
                Err(error) => assert!(["W004", "W008", "W012"].contains(&error.code()), "{what}: {error}"),
            }
            check_after(directory.path(), &storage.after_kill(), &acknowledged, &what);
            let cut = storage.after_power_cut(&mut Dice(at as u64 + 1));
            let certificates = directory.path().join("keys/receipts");
            // The start above left a certificate that this other history knows nothing of.
            for entry in std::fs::read_dir(&certificates).unwrap() {
                let path = entry.unwrap().path();
                if !path.ends_with("00000000000000000000.json") {
                    std::fs::remove_file(path).unwrap();
                }
            }
            check_after(directory.path(), &cut, &acknowledged, &format!("{what}, then a power cut"));
        }
    }
}

#[test]
fn at_every_operation_a_power_cut_loses_nothing_acknowledged() {
    let template = template();
    for at in 0..operations(template.path()) {
        for seed in 1..4 {
            let what = format!("power cut at operation {at}, seed {seed}");
            let directory = copy_of(template.path());
            let storage = Simulated::default();
            storage.fail_at(at, Fault::PowerCut);
            let acknowledged =
                open_on(directory.path(), &storage).map_or_else(|_| BTreeMap::new(), |(log, _)| work(&log));
            let mut dice = Dice(seed * 1_000_003 + at as u64);
            let after = storage.after_power_cut(&mut dice);
            // The power fails again while the log recovers.
            after.fail_at(dice.roll(8), Fault::PowerCut);
            let _ = open_on(directory.path(), &after);
            check_after(directory.path(), &after.after_power_cut(&mut dice), &acknowledged, &what);
        }
    }
}

/// The positive control: with a disk that lies about syncs the same check must fail.
#[test]
fn the_power_cut_check_catches_a_disk_that_lies() {
    let template = template();
    let mut caught = 0;
    for seed in 1..20 {
        let directory = copy_of(template.path());
        let storage = Simulated::default();
        storage.lie_about_syncs();
        let (log, _) = open_on(directory.path(), &storage).unwrap();
        let acknowledged = work(&log);
        let after = storage.after_power_cut(&mut Dice(seed));
        drop(log);
        let found = receipts(&after);
        caught += u32::from(acknowledged.iter().any(|(seq, chain)| found.get(seq) != Some(chain)));
    }
    assert!(caught >= 15, "caught only {caught} of 19");
}

/// A log of two processes: the first over several segments, the second killed after two exchanges.
fn killed() -> (tempfile::TempDir, Simulated) {
    let directory = template();
    let storage = Simulated::default();
    let (log, _) = open_on(directory.path(), &storage).unwrap();
    work(&log);
    log.shutdown().unwrap();
    let (log, _) = open_on(directory.path(), &storage).unwrap();
    exchange(&log);
    exchange(&log);
    drop(log);
    (directory, storage.after_kill())
}

fn last_segment(storage: &Simulated) -> (String, Vec<u8>) {
    storage.files().into_iter().rfind(|(name, _)| name.ends_with(".pefwal")).unwrap()
}

/// Offsets of the frames of a segment.
fn frame_offsets(content: &[u8]) -> Vec<usize> {
    let (mut reader, _) = SegmentReader::open(Box::new(Cursor::new(content.to_vec()))).unwrap();
    let mut offsets = Vec::new();
    loop {
        let offset = reader.offset() as usize;
        match reader.next().unwrap() {
            Next::Frame(_) => offsets.push(offset),
            _ => return offsets,
        }
    }
}

#[test]
fn a_tail_cut_at_any_length_is_taken_up_to_the_last_whole_receipt() {
    let (directory, storage) = killed();
    let (name, content) = last_segment(&storage);
    let path = directory.path().join(JOURNAL_DIRECTORY).join(&name);
    let offsets = frame_offsets(&content);
    assert_eq!(offsets.len(), 5);
    let state = |length: usize| -> Result<BootReport, LogError> {
        let copy = copy_of(directory.path());
        for entry in std::fs::read_dir(directory.path().join("keys/receipts")).unwrap() {
            let from = entry.unwrap().path();
            std::fs::copy(&from, copy.path().join("keys/receipts").join(from.file_name().unwrap())).unwrap();
        }
        let cut = Simulated::default();
        for (name, content) in storage.files() {
            cut.set(&copy.path().join(JOURNAL_DIRECTORY).join(name), Some(content));
        }
        let here = copy.path().join(JOURNAL_DIRECTORY).join(path.file_name().unwrap());
        cut.set(&here, Some(content[..length].to_vec()));
        let (log, report) = open_on(copy.path(), &cut)?;
        log.shutdown()?;
        let aside: Vec<Vec<u8>> =
            cut.files().into_iter().filter(|(name, _)| name.contains(".torn-")).map(|(_, bytes)| bytes).collect();
        let good = offsets
            .iter()
            .copied()
            .chain([content.len()])
            .rfind(|offset| *offset <= length)
            .unwrap_or(SEGMENT_HEADER_BYTES);
        match &report.torn {
            None => assert!(aside.is_empty() && length == good, "length {length}"),
            Some(torn) => {
                assert_eq!(torn.offset as usize, good, "length {length}");
                assert_eq!(aside, [content[good..length].to_vec()], "length {length}");
            }
        }
        Ok(report)
    };
    let first_seq = segment::segment_first_seq(&name).unwrap();
    for length in (SEGMENT_HEADER_BYTES..=content.len()).step_by(37).chain(offsets.clone()).chain([content.len()]) {
        let report = state(length).unwrap();
        let whole = offsets.iter().filter(|offset| **offset < length).count();
        let torn = !offsets.contains(&length) && length != content.len() && length != SEGMENT_HEADER_BYTES;
        let receipts = whole - usize::from(torn);
        assert_eq!(report.last_seq, Some(first_seq + receipts as u64 - 1), "length {length}");
        assert_eq!(report.torn.is_some(), torn, "length {length}");
        assert!(!report.clean || receipts == 0 && !torn, "length {length}");
    }
    for length in [0, 1, SEGMENT_HEADER_BYTES - 1] {
        assert_eq!(state(length).unwrap_err().code(), "W002", "length {length}");
    }
}

#[test]
fn a_flipped_bit_anywhere_is_a_torn_tail_at_the_end_and_damage_before_it() {
    let (directory, storage) = killed();
    let (name, content) = last_segment(&storage);
    let evidence = recover::Evidence::default();
    let journal = directory.path().join(JOURNAL_DIRECTORY);
    let path = journal.join(&name);
    let last_frame = *frame_offsets(&content).last().unwrap();
    for index in 0..content.len() {
        let mut flipped = content.clone();
        flipped[index] ^= 1 << (index % 8);
        let after = storage.after_kill();
        after.set(&path, Some(flipped));
        let before = after.files();
        match recover::recover(&after, &journal, ORIGIN, &evidence) {
            Ok(recovered) => {
                assert!(index >= last_frame, "byte {index} was taken for a torn tail");
                assert!(recovered.torn.is_some());
            }
            Err(error) => {
                assert!(index < last_frame, "byte {index}: {error}");
                assert_eq!(error.code(), "W002", "byte {index}");
                assert_eq!(after.files(), before, "byte {index}: something was changed");
            }
        }
    }
    // In any segment but the last, everything is damage.
    let (first, content) = storage.files().into_iter().find(|(name, _)| name.ends_with(".pefwal")).unwrap();
    for index in (0..content.len()).step_by(7) {
        let mut flipped = content.clone();
        flipped[index] ^= 1;
        let after = storage.after_kill();
        after.set(&journal.join(&first), Some(flipped));
        let error = recover::recover(&after, &journal, ORIGIN, &evidence).unwrap_err();
        assert_eq!(error.code(), "W002", "byte {index}");
    }
}

#[test]
fn a_receipt_that_was_replaced_with_a_good_checksum_is_damage() {
    let (directory, storage) = killed();
    let journal = directory.path().join(JOURNAL_DIRECTORY);
    let (name, content) = last_segment(&storage);
    let (header, mut frames) = testing::pieces(&content);
    frames.last_mut().unwrap().edit("\"verdict\":\"", "\"verdict\":\"x", false);
    let after = storage.after_kill();
    after.set(&journal.join(name), Some(testing::put(&header, &frames)));
    let error = recover::recover(&after, &journal, ORIGIN, &recover::Evidence::default()).unwrap_err();
    assert_eq!(error.code(), "W002");
    assert!(error.to_string().contains("chain value"), "{error}");
}

#[test]
fn what_was_known_durable_must_be_there() {
    let (directory, storage) = killed();
    let journal = directory.path().join(JOURNAL_DIRECTORY);
    let segments: Vec<String> = storage.files().into_keys().filter(|name| name.ends_with(".pefwal")).collect();
    assert!(segments.len() > 3);
    // The last segment is gone, and with it what the second start certified its key for.
    let without_last = storage.after_kill();
    without_last.set(&journal.join(segments.last().unwrap()), None);
    assert!(open_on(directory.path(), &without_last).is_ok(), "the second start's receipts were never known durable");
    let (directory, _) = (copy_keys(&directory), ());
    let journal_here = directory.path().join(JOURNAL_DIRECTORY);
    let moved = |skip: &[usize]| {
        let moved = Simulated::default();
        for (index, name) in segments.iter().enumerate() {
            if !skip.contains(&index) {
                moved.set(&journal_here.join(name), Some(storage.files()[name].clone()));
            }
        }
        moved
    };
    let last = segments.len() - 1;
    let code = |storage: &Simulated| open_on(directory.path(), storage).unwrap_err().code();
    assert_eq!(code(&moved(&[last - 1, last])), "W003");
    assert_eq!(code(&moved(&(0..=last).collect::<Vec<_>>())), "W003", "the whole journal is gone");
    assert_eq!(code(&moved(&[1])), "W002", "a segment in the middle is gone");
    assert_eq!(code(&moved(&[0])), "W002", "the first segment is gone");
}

/// The same keys with all their certificates.
fn copy_keys(from: &tempfile::TempDir) -> tempfile::TempDir {
    let copy = copy_of(from.path());
    for entry in std::fs::read_dir(from.path().join("keys/receipts")).unwrap() {
        let file = entry.unwrap().path();
        std::fs::copy(&file, copy.path().join("keys/receipts").join(file.file_name().unwrap())).unwrap();
    }
    copy
}

#[test]
fn a_checkpoint_over_another_history_is_a_fork_and_a_larger_one_a_loss() {
    let (directory, storage) = killed();
    let journal = directory.path().join(JOURNAL_DIRECTORY);
    let chains = receipts(&storage);
    let recover_with = |size: u64, chain| {
        let evidence =
            recover::Evidence { durable: vec![(size, "the newest checkpoint")], checkpoint: Some((size, chain)) };
        recover::recover(&storage.after_kill(), &journal, ORIGIN, &evidence)
    };
    let count = chains.len() as u64;
    assert!(recover_with(5, chains[&4]).is_ok());
    assert!(recover_with(count, chains[&(count - 1)]).is_ok());
    assert_eq!(recover_with(5, [0; 32]).unwrap_err().code(), "W006");
    assert_eq!(recover_with(count + 1, [0; 32]).unwrap_err().code(), "W003");
}

#[test]
fn a_log_is_not_opened_under_another_name_or_without_its_keys() {
    let directory = fast_directory();
    Log::open(options(directory.path())).unwrap().0.shutdown().unwrap();
    let other = LogOptions { origin: "other.example/log".into(), ..options(directory.path()) };
    assert_eq!(Log::open(other).unwrap_err().code(), "W009");
    std::fs::rename(directory.path().join("keys"), directory.path().join("moved")).unwrap();
    assert_eq!(Log::open(options(directory.path())).unwrap_err().code(), "K001");
    assert!(!directory.path().join("keys").exists(), "no new keys for an old log");
}

#[test]
fn a_directory_that_cannot_be_written_is_said_so() {
    let directory = fast_directory();
    let file = directory.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let error = Log::open(options(&file)).unwrap_err();
    assert_eq!(error.code(), "W012");
    assert!(error.to_string().contains("file"), "{error}");
}

#[test]
fn frames_name_what_was_durable_and_segments_continue_each_other() {
    let (_directory, storage) = killed();
    let mut last: Option<(u64, ChainValue, u64)> = None;
    for (name, content) in storage.files() {
        if !name.ends_with(".pefwal") {
            continue;
        }
        assert!(content.len() as u64 <= SMALL + 200, "{name} grew to {}", content.len());
        let header = SegmentHeader::read(&content).unwrap();
        if let Some((next, chain, number)) = last {
            assert_eq!((header.first_seq, header.prev_chain, header.number), (next, chain, number));
        }
        let (mut reader, _) = SegmentReader::open(Box::new(Cursor::new(content))).unwrap();
        let mut state = (header.first_seq, header.prev_chain, header.number + 1);
        while let Next::Frame(frame) = reader.next().unwrap() {
            assert_eq!(frame.header.seq, state.0);
            assert_eq!(frame.header.durable_hwm, state.0.checked_sub(1).unwrap_or(u64::MAX), "one at a time");
            if frame.header.kind == FrameType::Receipt {
                state = (state.0 + 1, frame.header.chain, state.2);
            }
        }
        last = Some(state);
    }
    assert!(FRAME_HEADER_BYTES.is_multiple_of(8));
}
