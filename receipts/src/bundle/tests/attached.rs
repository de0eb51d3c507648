//! Attached files, lineage and custody: from the data directory into a bundle, and into copies of it.

use super::*;
use crate::keys::Keys;
use crate::verify::{Severity, VerifyOptions, verify};

/// A file of this many bytes that does not compress to nothing.
fn file(directory: &Path, name: &str, bytes: u64) -> PathBuf {
    use std::io::{Read as _, Write as _};
    let path = directory.join(name);
    let mut hasher = blake3::Hasher::new();
    hasher.update(name.as_bytes());
    let mut out = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    std::io::copy(&mut hasher.finalize_xof().take(bytes), &mut out).unwrap();
    out.flush().unwrap();
    path
}

fn signer(data: &Path) -> CustodySigner {
    CustodySigner::Log(Box::new(Keys::open(data).unwrap()))
}

fn note(action: Action) -> CustodyNote {
    CustodyNote { action, actor: "somebody".into(), note: Some("a reason".into()) }
}

fn findings(path: &Path) -> Vec<(String, bool)> {
    let verdict = verify(&[path], &VerifyOptions::default()).unwrap();
    let shown = |code: &str, path: &str| format!("{code} {path}");
    let found = verdict.findings.iter();
    found.map(|found| (shown(found.code.code(), &found.path), found.severity == Severity::Error)).collect()
}

/// A data directory with a small and a large file attached, sealed; and their digests.
fn sealed_with_files() -> (tempfile::TempDir, PathBuf, String, String) {
    let directory = small_log();
    let small = attach(directory.path(), &file(directory.path(), "small", 70_000), "text/plain", "small").unwrap();
    let large = file(directory.path(), "large", ARTIFACT_MAX_BYTES + 1);
    let large = attach(directory.path(), &large, "video/mp4", "large").unwrap();
    assert_eq!((small.is_external(), large.is_external()), (false, true));
    assert_eq!(attached(directory.path()).unwrap().len(), 2);
    let (mut sealer, count) = Sealer::open_offline(directory.path()).unwrap();
    let sealed = sealer.seal(count, &[policy_document()]).unwrap().unwrap();
    assert_eq!(attached(directory.path()).unwrap(), []);
    (directory, sealed.path, small.digest(), large.digest())
}

#[test]
fn a_file_goes_into_the_bundle_and_a_large_one_beside_it() {
    let (directory, path, small, large) = sealed_with_files();
    let inside = members(&path);
    assert_eq!(inside[&format!("{ARTIFACTS}{small}")].len(), 70_000);
    let externals = String::from_utf8(inside[EXTERNALS].clone()).unwrap();
    assert!(externals.contains(&large) && externals.contains("\"media\":\"video/mp4\""), "{externals}");
    assert!(externals_directory(&path).join(&large).is_file());
    assert_eq!(findings(&path), []);
    // Nothing is left to wait, not even what was said about it.
    assert_eq!(std::fs::read_dir(directory.path().join("artifacts")).unwrap().count(), 0);

    let external = externals_directory(&path).join(&large);
    let named = format!("{}/externals.json#/0", path.file_name().unwrap().to_string_lossy());
    let good = std::fs::read(&external).unwrap();
    std::fs::write(&external, &good[1..]).unwrap();
    assert_eq!(findings(&path), [(format!("E803 {named}"), true)]);
    let mut other = good.clone();
    other[7] ^= 1;
    std::fs::write(&external, &other).unwrap();
    assert_eq!(findings(&path), [(format!("E802 {named}"), true)]);
    std::fs::remove_file(&external).unwrap();
    std::os::unix::fs::symlink(directory.path().join("large"), &external).unwrap();
    assert_eq!(findings(&path), [(format!("E801 {named}"), true)], "a link is no file");
    std::fs::remove_dir_all(externals_directory(&path)).unwrap();
    assert_eq!(findings(&path), [(format!("E801 {named}"), false)], "not looked for");
}

#[test]
fn a_file_that_compresses_to_nothing_is_no_bomb() {
    let directory = small_log();
    let zeroes = directory.path().join("zeroes");
    std::fs::File::create(&zeroes).unwrap().set_len(ARTIFACT_MAX_BYTES).unwrap();
    attach(directory.path(), &zeroes, "x", "x").unwrap();
    let (mut sealer, count) = Sealer::open_offline(directory.path()).unwrap();
    let sealed = sealer.seal(count, &[policy_document()]).unwrap().unwrap();
    assert!(std::fs::metadata(&sealed.path).unwrap().len() < 100_000);
    assert_eq!(findings(&sealed.path), []);
}

#[test]
fn attached_files_do_not_change_what_is_reproducible() {
    let one = small_log();
    attach(one.path(), &file(one.path(), "a", 1000), "x", "x").unwrap();
    attach(one.path(), &file(one.path(), "b", 1000), "x", "x").unwrap();
    attach(one.path(), &file(one.path(), "a", 1000), "x", "x").unwrap();
    let two = copy(one.path());
    let seal = |directory: &Path| {
        let (sealer, count) = Sealer::open_offline(directory).unwrap();
        let mut sealer = sealer.with_lineage(lineage).with_worm(vec!["s3://vault".into()]);
        let sealed = sealer.seal(count, &[policy_document()]).unwrap().unwrap();
        std::fs::read(sealed.path).unwrap()
    };
    assert_eq!(seal(one.path()), seal(two.path()));
}

#[test]
fn a_crash_before_the_files_left_is_made_good() {
    let (directory, path, small, large) = sealed_with_files();
    // As it was when the bundle had its name and nothing else was done.
    let waiting = directory.path().join("artifacts");
    for (digest, name) in [(&small, "small"), (&large, "large")] {
        let attached = attach(directory.path(), &directory.path().join(name), "x", name).unwrap();
        assert_eq!(attached.digest(), *digest);
    }
    std::fs::remove_dir_all(externals_directory(&path)).unwrap();
    std::fs::write(waiting.join("0.tmp"), b"half").unwrap();
    let (_sealer, _) = Sealer::open_offline(directory.path()).unwrap();
    assert!(externals_directory(&path).join(&large).is_file());
    let left: Vec<_> = std::fs::read_dir(&waiting).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["0.tmp"], "somebody may be at it; it goes when it is a day old");
    assert_eq!(findings(&path), []);
}

#[test]
fn what_cannot_be_attached_is_refused() {
    let directory = small_log();
    assert_eq!(attach(directory.path(), directory.path(), "x", "x").unwrap_err().code(), "S008");
    assert_eq!(attach(directory.path(), &directory.path().join("none"), "x", "x").unwrap_err().code(), "S005");
    let small = file(directory.path(), "small", 10);
    assert_eq!(attach(directory.path(), &small, "x", &"n".repeat(2000)).unwrap_err().code(), "S008");
    attach(directory.path(), &small, "x", "n").unwrap();
    let side = crate::sample::files_below(&directory.path().join("artifacts"), ".json").remove(0);
    std::fs::write(&side, b"{}").unwrap();
    assert_eq!(attached(directory.path()).unwrap_err().code(), "S008");
}

#[test]
fn custody_is_told_entry_by_entry() {
    let (directory, path, ..) = sealed_with_files();
    let out = fast_directory();
    let copy = export(&path, out.path(), Some((&note(Action::Exported), &signer(directory.path())))).unwrap();
    assert_eq!((copy.externals, findings(&copy.path)), (1, vec![]));
    assert_ne!(std::fs::read(&copy.path).unwrap(), std::fs::read(&path).unwrap());
    assert_eq!(custody_of(&path).unwrap(), []);

    let key = out.path().join("audit.pem");
    let pem = std::fs::read(directory.path().join("keys/root.pem")).unwrap();
    crate::durable::write(&key, &pem, 0o600).unwrap();
    let auditor = read_signer(&key, "audit.example").unwrap();
    add_custody(&copy.path, &note(Action::Verified), &auditor).unwrap();
    add_custody(&copy.path, &note(Action::Transferred), &auditor).unwrap();
    let entries = custody_of(&copy.path).unwrap();
    let actions: Vec<_> = entries.iter().map(|entry| entry.action.name()).collect();
    assert_eq!(actions, ["exported", "verified", "transferred"]);
    assert!(entries[1].signer.starts_with("audit.example+") && entries[0].signer.starts_with("test.example/log+"));
    assert_eq!(findings(&copy.path), []);
    assert_eq!(add_custody(&copy.path, &note(Action::Redacted), &auditor).unwrap_err().code(), "S009");
    let mut long = note(Action::Opened);
    long.actor = "a".repeat(5000);
    assert_eq!(add_custody(&copy.path, &long, &auditor).unwrap_err().code(), "S009");

    // Two entries swapped, one changed, one from another bundle.
    let inside = members(&copy.path);
    let lines: Vec<&[u8]> = inside[CUSTODY].split_inclusive(|byte| *byte == b'\n').collect();
    let broken = |custody: &[&[u8]]| {
        let directory = out.path().join("d");
        for (name, bytes) in &inside {
            let target = directory.join(name);
            std::fs::create_dir_all(target.parent().unwrap()).unwrap();
            std::fs::write(target, if name == CUSTODY { custody.concat() } else { bytes.clone() }).unwrap();
        }
        let found = findings(&directory);
        found.into_iter().filter(|(found, _)| !found.starts_with("E801")).collect::<Vec<_>>()
    };
    let at = |entry: usize| vec![(format!("E951 d/custody.jsonl#{entry}"), true)];
    assert_eq!(broken(&lines), []);
    assert_eq!(broken(&[lines[0], lines[2], lines[1]]), at(1));
    assert_eq!(broken(&lines[1..]), at(0));
    assert_eq!(broken(&[lines[0], &lines[1][..40]]), at(1));
    let swapped = String::from_utf8(lines[0].to_vec()).unwrap().replacen("\"sig\":\"", "\"sig\":\"A", 1);
    assert_eq!(broken(&[swapped.as_bytes(), lines[1]]), at(0));
}

#[test]
fn what_is_taken_out_is_told_and_is_no_error() {
    let (directory, path, small, large) = sealed_with_files();
    let out = fast_directory();
    let signer = signer(directory.path());
    let first = out.path().join("first.pef");
    let copy = redact(&path, &first, &small, &note(Action::Exported), &signer).unwrap();
    assert_eq!((copy.path.as_path(), copy.externals), (first.as_path(), 1));
    assert_eq!(findings(&first), [(format!("E804 first.pef/artifacts/sha256/{small}"), false)]);
    let second = out.path().join("second.pef");
    redact(&first, &second, &large, &note(Action::Redacted), &signer).unwrap();
    assert_eq!(
        findings(&second),
        [
            ("E804 second.pef/externals.json#/0".to_owned(), false),
            (format!("E804 second.pef/artifacts/sha256/{small}"), false),
        ]
        .into_iter()
        .rev()
        .collect::<Vec<_>>()
    );
    assert_eq!(redact(&first, out.path(), &small, &note(Action::Redacted), &signer).unwrap_err().code(), "S010");
    // Without the entry it is a member that is missing.
    let mut inside = members(&first);
    inside.remove(CUSTODY);
    let bare = out.path().join("bare");
    for (name, bytes) in &inside {
        std::fs::create_dir_all(bare.join(name).parent().unwrap()).unwrap();
        std::fs::write(bare.join(name), bytes).unwrap();
    }
    assert!(findings(&bare).contains(&(format!("E101 bare/artifacts/sha256/{small}"), true)));
}

struct Kinds(u64);

impl LineageLines for Kinds {
    fn receipt(&mut self, body: &crate::canonical::Value, leaf: &crate::tree::Hash, lines: &mut Vec<u8>) {
        self.0 += 1;
        let kind = body.get("kind").and_then(crate::canonical::Value::as_str).unwrap_or_default();
        lines.extend(format!("{} {kind} {}\n", self.0, crate::hex::encode(leaf)).into_bytes());
    }
}

fn lineage() -> Box<dyn LineageLines> {
    Box::new(Kinds(0))
}

#[test]
fn lineage_sees_each_receipt_of_a_bundle_once() {
    let directory = small_log();
    let (sealer, count) = Sealer::open_offline(directory.path()).unwrap();
    let mut sealer = sealer.with_lineage(lineage);
    let first = sealer.seal(4, &[]).unwrap().unwrap();
    let second = sealer.seal(count, &[]).unwrap().unwrap();
    let lines = |path: &Path| String::from_utf8(members(path)[LINEAGE].clone()).unwrap();
    let starts =
        |path: &Path| lines(path).lines().map(|line| line.chars().take(5).collect::<String>()).collect::<Vec<_>>();
    assert_eq!(starts(&first.path), ["1 gen", "2 boo", "3 att", "4 out"]);
    assert_eq!(starts(&second.path), ["1 att", "2 out", "3 shu"]);
    let receipts = members(&second.path)[RECEIPTS].clone();
    let leaf = crate::tree::leaf_hash(receipts.split(|byte| *byte == b'\n').next().unwrap());
    assert!(lines(&second.path).lines().next().unwrap().ends_with(&crate::hex::encode(&leaf)));
    assert_eq!(findings(&first.path), []);
}
