mod attached;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::*;
use crate::canonical::{Limits, parse};
use crate::checkpoint::{Checkpoint, SignedNote};
use crate::keys::{KeyPlace, Keys, PlainFiles};
use crate::sample::{exchange, fast_directory, options, other_digit, policy_document};
use crate::{Entry, Log, Sealer};

fn members(path: &Path) -> BTreeMap<String, Vec<u8>> {
    use std::io::Read as _;
    let mut container = open_bundle(path).unwrap();
    let mut members = BTreeMap::new();
    while let Some(member) = container.next().unwrap() {
        let mut bytes = Vec::new();
        container.read_to_end(&mut bytes).unwrap();
        members.insert(member.path, bytes);
    }
    members
}

/// A log with two exchanges, closed.
fn small_log() -> tempfile::TempDir {
    let directory = fast_directory();
    let (log, _) = Log::open(options(directory.path())).unwrap();
    exchange(&log);
    exchange(&log);
    log.shutdown().unwrap();
    directory
}

fn copy(from: &Path) -> tempfile::TempDir {
    fn copy_into(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy_into(&entry.path(), &target);
            } else {
                std::fs::copy(entry.path(), target).unwrap();
            }
        }
    }
    let directory = fast_directory();
    copy_into(from, directory.path());
    directory
}

#[test]
fn the_same_receipts_give_the_same_bytes() {
    let one = small_log();
    let two = copy(one.path());
    let seal = |directory: &Path| {
        let (mut sealer, count) = Sealer::open_offline(directory).unwrap();
        assert_eq!(count, 7);
        let mut first = sealer.seal(4, &[policy_document()]).unwrap().unwrap();
        let mut second = sealer.seal(count, &[policy_document()]).unwrap().unwrap();
        assert_eq!(sealer.seal(count, &[]).unwrap(), None);
        let bytes = [std::fs::read(&first.path).unwrap(), std::fs::read(&second.path).unwrap()];
        (first.path, second.path) = (PathBuf::new(), PathBuf::new());
        (bytes, first, second)
    };
    let (bytes, first, second) = seal(one.path());
    assert_eq!((bytes.clone(), first.clone(), second.clone()), seal(two.path()));
    assert_eq!((first.from, first.to, second.from, second.to), (0, 4, 4, 7));
    use sha2::{Digest as _, Sha256};
    assert_eq!(first.sha256, crate::hex::encode(&Sha256::digest(&bytes[0])));
}

#[test]
fn a_bundle_holds_what_the_spec_lists_and_nothing_else() {
    let directory = small_log();
    let (mut sealer, count) = Sealer::open_offline(directory.path()).unwrap();
    let other = PolicyDocument { hash: blake3::hash(b"{}").to_hex().to_string(), canonical: b"{}".to_vec() };
    let first = sealer.seal(4, &[policy_document(), other]).unwrap().unwrap();
    let second = sealer.seal(count, &[]).unwrap().unwrap();
    let policy = format!("policies/{}.json", policy_document().hash);
    let always = [CHECKPOINT, FRONTIER, KEYS, MANIFEST, MANIFEST_DSSE, RECEIPTS];
    let names = |path: &Path| members(path).into_keys().collect::<Vec<_>>();
    let mut expected: Vec<&str> = always.into_iter().chain([policy.as_str()]).collect();
    expected.sort_unstable();
    assert_eq!(names(&first.path), expected, "only the policy that a receipt names");
    let mut expected: Vec<&str> = always.into_iter().chain([CHECKPOINT_PREV, CONSISTENCY]).collect();
    expected.sort_unstable();
    assert_eq!(names(&second.path), expected);

    let inside = members(&second.path);
    assert_eq!(inside[CHECKPOINT_PREV], members(&first.path)[CHECKPOINT]);
    assert_eq!(inside[CHECKPOINT], std::fs::read(directory.path().join("checkpoints/7")).unwrap());
    let note = SignedNote::parse(&inside[CHECKPOINT]).unwrap();
    let checkpoint = Checkpoint::from_text(note.text()).unwrap();
    assert_eq!((checkpoint.size, checkpoint.root), (7, second.root));
    let value = parse(&inside[MANIFEST], Limits::MANIFEST).unwrap();
    let manifest = Manifest::from_value(&value).unwrap();
    assert_eq!(manifest.to_bytes(), inside[MANIFEST]);
    assert_eq!(manifest.kinds, BTreeMap::from([("attempt".into(), 1), ("outcome".into(), 1), ("shutdown".into(), 1)]));
    assert_eq!(manifest.verdicts, BTreeMap::from([("redacted".into(), 1)]));
}

/// A crash, or another sealer, may come between the certificate of a log key and the receipt of its rotation.
#[test]
fn a_rotation_that_is_told_of_late_still_has_both_keys_beside_it() {
    let directory = small_log();
    let path = directory.path();
    let (mut sealer, count) = Sealer::open_offline(path).unwrap();
    sealer.seal(count, &[policy_document()]).unwrap().unwrap();
    drop(sealer);
    let record = Keys::open(path).unwrap().rotate_log(count, &KeyPlace::File, &PlainFiles).unwrap();
    let go_on = |entry: Option<Entry>| {
        let (log, _) = Log::open(options(path)).unwrap();
        match entry {
            Some(entry) => drop(log.append_blocking(entry).unwrap()),
            None => exchange(&log),
        }
        log.shutdown().unwrap();
        let (mut sealer, count) = Sealer::open_offline(path).unwrap();
        sealer.seal(count, &[policy_document()]).unwrap().unwrap().path
    };
    let between = go_on(None);
    let late = go_on(Some(record.into()));
    for bundle in [between, late] {
        let verdict = crate::verify(&[&bundle], &crate::VerifyOptions::default()).unwrap();
        assert!(verdict.ok, "{:?}", verdict.findings);
    }
}

#[test]
fn other_tools_unpack_it() {
    let directory = small_log();
    let (mut sealer, count) = Sealer::open_offline(directory.path()).unwrap();
    let sealed = sealer.seal(count, &[policy_document()]).unwrap().unwrap();
    let out = fast_directory();
    let command =
        std::process::Command::new("tar").arg("--zstd").arg("-xf").arg(&sealed.path).arg("-C").arg(out.path()).output();
    match command {
        Ok(done) if done.status.success() => {}
        _ => {
            println!("other_tools_unpack_it: skipped, no tar with zstd");
            return;
        }
    }
    assert_eq!(members(out.path()), members(&sealed.path));
}

#[test]
fn a_running_log_is_sealed_beside_its_writer() {
    let directory = fast_directory();
    let (log, _) = Log::open(options(directory.path())).unwrap();
    let mut sealer = Sealer::open(directory.path()).unwrap().with_receipts_max(5);
    let mut ranges = Vec::new();
    for _ in 0..4 {
        exchange(&log);
        exchange(&log);
        while let Some(sealed) = sealer.seal(log.status().durable_count, &[]).unwrap() {
            ranges.push((sealed.from, sealed.to));
        }
        log.append_blocking(crate::receipt::Gap { exchanges: 1, reason: "test".into() }).unwrap();
    }
    assert!(ranges.windows(2).all(|pair| pair[0].1 == pair[1].0), "{ranges:?}");
    assert!(ranges.iter().all(|(from, to)| to - from <= 5) && ranges.len() > 4, "{ranges:?}");
    assert_eq!(sealer.size(), log.status().durable_count - 1);
    let listed: Vec<(u64, u64)> = list(directory.path()).unwrap().iter().map(|info| (info.from, info.to)).collect();
    assert_eq!(listed, ranges);
    assert_eq!(Sealer::open(directory.path()).unwrap_err().code(), "S001");
    assert_eq!(Sealer::open_offline(directory.path()).unwrap_err().code(), "S001");
}

#[test]
fn a_crash_between_checkpoint_and_bundle_is_completed_and_before_it_undone() {
    let directory = small_log();
    let (mut sealer, count) = Sealer::open_offline(directory.path()).unwrap();
    let first = sealer.seal(4, &[]).unwrap().unwrap();
    drop(sealer);
    let bundles = directory.path().join(BUNDLES_DIRECTORY);
    // The checkpoint was published, the bundle not yet renamed; and another was never finished.
    let unfinished = bundles.join("0-4.pef.tmp");
    std::fs::rename(&first.path, &unfinished).unwrap();
    std::fs::write(bundles.join("4-6.pef.tmp"), b"half").unwrap();
    std::fs::write(bundles.join("receipts.jsonl.tmp"), b"half").unwrap();
    std::fs::write(directory.path().join("checkpoints/6.tmp"), b"half").unwrap();
    let (mut sealer, _) = Sealer::open_offline(directory.path()).unwrap();
    assert!(first.path.exists() && !unfinished.exists());
    assert_eq!(sealer.size(), 4);
    assert_eq!(sealer.seal(count, &[]).unwrap().map(|sealed| sealed.from), Some(4));
    let mut left: Vec<String> = Vec::new();
    for name in [BUNDLES_DIRECTORY, CHECKPOINTS_DIRECTORY] {
        let entries = std::fs::read_dir(directory.path().join(name)).unwrap();
        left.extend(entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()));
    }
    assert!(left.iter().all(|name| !name.ends_with(".tmp")), "{left:?}");
}

#[test]
fn nothing_is_signed_on_top_of_what_does_not_fit() {
    let directory = small_log();
    let (mut sealer, _) = Sealer::open_offline(directory.path()).unwrap();
    sealer.seal(4, &[]).unwrap().unwrap();
    drop(sealer);
    let open = |directory: &Path| Sealer::open_offline(directory).map(|(mut sealer, count)| sealer.seal(count, &[]));

    let wrong_root = copy(directory.path());
    let path = wrong_root.path().join("checkpoints/4.frontier");
    let text = std::fs::read_to_string(&path).unwrap();
    let digit = text.find("\"hashes\":[\"").unwrap() + 11;
    std::fs::write(&path, other_digit(text.as_bytes(), digit)).unwrap();
    assert_eq!(open(wrong_root.path()).unwrap_err().code(), "S003");

    let wrong_chain = copy(directory.path());
    let path = wrong_chain.path().join("checkpoints/4.frontier");
    std::fs::write(&path, text.replacen("\"chain\":\"", "\"chain\":\"0", 1)).unwrap();
    assert_eq!(open(wrong_chain.path()).unwrap_err().code(), "S003", "not a digest any more");
    let chain_digit = text.find("\"chain\":\"").unwrap() + 9;
    std::fs::write(&path, other_digit(text.as_bytes(), chain_digit)).unwrap();
    assert_eq!(open(wrong_chain.path()).unwrap().unwrap_err().code(), "S002", "the journal does not continue it");
    assert_eq!(Log::open(options(wrong_chain.path())).unwrap_err().code(), "W006", "and no log starts on it");

    let wrong_key = copy(directory.path());
    let path = wrong_key.path().join("checkpoints/4");
    let note = std::fs::read(&path).unwrap();
    let note = other_digit(&note, note.len() - 20);
    std::fs::write(&path, note).unwrap();
    assert_eq!(open(wrong_key.path()).unwrap_err().code(), "S003");

    let damaged = copy(directory.path());
    let segment = std::fs::read_dir(damaged.path().join("journal")).unwrap().map(|entry| entry.unwrap().path());
    let segment = segment.into_iter().find(|path| path.extension().is_some_and(|ending| ending == "pefwal")).unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[4096 + 100] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    assert_eq!(Sealer::open_offline(damaged.path()).unwrap_err().code(), "S002");

    let lying = PolicyDocument { hash: "0".repeat(64), canonical: b"{}".to_vec() };
    let (mut sealer, count) = Sealer::open_offline(directory.path()).unwrap();
    assert_eq!(sealer.seal(count, &[lying]).unwrap_err().code(), "S004");
}

#[test]
fn bundles_are_listed_inspected_and_exported() {
    let directory = small_log();
    let (mut sealer, count) = Sealer::open_offline(directory.path()).unwrap();
    sealer.seal(4, &[]).unwrap().unwrap();
    let sealed = sealer.seal(count, &[]).unwrap().unwrap();
    assert_eq!(sealed.path.file_name().unwrap(), "4-7.pef");
    let infos = list(directory.path()).unwrap();
    assert_eq!(infos.iter().map(|info| (info.from, info.to)).collect::<Vec<_>>(), [(0, 4), (4, 7)]);
    assert_eq!(infos[1], inspect(&sealed.path).unwrap());
    assert_eq!(infos[1].root, crate::hex::encode(&sealed.root));
    let out = fast_directory();
    let Copied { path: target, sha256, .. } = export(&sealed.path, out.path(), None).unwrap();
    assert_eq!((target.as_path(), sha256.as_str()), (out.path().join("4-7.pef").as_path(), sealed.sha256.as_str()));
    assert_eq!(std::fs::read(&target).unwrap(), std::fs::read(&sealed.path).unwrap());
    assert_eq!(export(&sealed.path, out.path(), None).unwrap_err().code(), "S007");
    let garbage = out.path().join("garbage.pef");
    std::fs::write(&garbage, b"not a bundle").unwrap();
    assert_eq!(inspect(&garbage).unwrap_err().code(), "S006");
    assert_eq!(export(&garbage, &out.path().join("x"), None).unwrap_err().code(), "S006");
    assert_eq!(list(out.path()).unwrap(), []);
}
