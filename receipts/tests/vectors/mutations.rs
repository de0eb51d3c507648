//! Every byte of a journal and of a bundle, cut off and flipped: exactly the codes that an oracle of few lines expects, and the same
//! verdict from every verifier that is at hand.
//!
//! `make mutations` goes through all of them; otherwise every 97th is taken.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clyra_receipts::PublicKey;
use clyra_receipts::verify::{Severity, VerifyOptions, verify};
use serde_json::json;

use crate::cases::{sealed, small};
use crate::forge::Files;
use crate::forge::log::Log;
use crate::verifiers::Verifier;

const SEGMENT: &str = "journal/seg-00000000000000000000.pefwal";

/// Codes of a verdict; warnings with a question mark.
type Codes = BTreeSet<String>;

fn codes(list: &[&str]) -> Codes {
    list.iter().map(|code| (*code).to_owned()).collect()
}

fn step() -> usize {
    std::env::var("CLYRA_MUTATIONS").map_or(97, |every| every.parse().expect("CLYRA_MUTATIONS: every so many bytes"))
}

/// Evidence on disk, one file of which is changed over and over.
struct Bench {
    directory: tempfile::TempDir,
    root: String,
    input: PathBuf,
    others: Vec<Verifier>,
    count: usize,
    /// Where another verifier gave another verdict.
    differ: Vec<String>,
    /// How often each set of codes was found.
    found: BTreeMap<String, usize>,
}

impl Bench {
    fn new(files: &Files, input: &str) -> Self {
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        for (path, bytes) in files {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let input = directory.path().join(input);
        let root = small().root.vkey();
        Self { directory, root, input, others: Verifier::all(), count: 0, differ: Vec::new(), found: BTreeMap::new() }
    }

    /// Writes the file and has it judged by all; they must agree to the byte.
    fn judge(&mut self, file: &str, bytes: &[u8], what: &str) -> Codes {
        std::fs::write(self.directory.path().join(file), bytes).unwrap();
        let request = json!({"inputs": [self.input], "root": self.root});
        for other in &mut self.others {
            other.ask(&request);
        }
        let root = Some(PublicKey::from_vkey(&self.root).unwrap());
        let options = VerifyOptions { trusted_root: root, ..VerifyOptions::default() };
        let verdict = verify(&[&self.input], &options).ok();
        let text = verdict.as_ref().map(|verdict| String::from_utf8(verdict.to_json()).unwrap());
        for other in &mut self.others {
            let answer = other.answer();
            if answer != text {
                self.differ.push(format!("{what}:\n  rust {text:?}\n  {:4} {answer:?}", other.name));
            }
        }
        let findings = verdict.map(|verdict| verdict.findings).unwrap_or_default();
        let codes: Codes = findings
            .iter()
            .map(|found| {
                let mark = if found.severity == Severity::Warning { "?" } else { "" };
                format!("{}{mark}", found.code.code())
            })
            .collect();
        self.count += 1;
        let key = codes.iter().cloned().collect::<Vec<_>>().join(" ");
        *self.found.entry(key).or_default() += 1;
        codes
    }

    fn report(&self, what: &str) {
        let others: Vec<&str> = self.others.iter().map(|other| other.name.as_str()).collect();
        println!("{what}: {} mutations, by rust {}", self.count, others.join(" "));
        for (codes, count) in &self.found {
            println!("  {count:6} {}", if codes.is_empty() { "(no finding)" } else { codes });
        }
        assert!(self.differ.is_empty(), "{} differ:\n{}", self.differ.len(), self.differ.join("\n"));
    }
}

/// A killed process's log of six receipts, with a checkpoint over four; its journal, and where each frame ends.
fn journal() -> (Files, Vec<u8>, Vec<usize>) {
    let mut log = Log::started();
    log.exchange();
    log.exchange();
    let files = log.data("data", &[4]);
    let bytes = files[&format!("data/{SEGMENT}")].clone();
    let mut ends = vec![4096];
    for frame in &log.segments()[0].frames {
        ends.push(ends.last().unwrap() + frame.encode().len());
    }
    assert_eq!(*ends.last().unwrap(), bytes.len());
    (files, bytes, ends)
}

/// What is missing when the journal is read up to this many receipts: 2 and 4 are attempts, 3 and 5 their outcomes.
fn short(receipts: usize, codes: &mut Codes) {
    if receipts < 4 {
        codes.insert("E506".into());
    }
    if receipts == 3 || receipts == 5 {
        codes.insert("E507?".into());
    }
}

#[test]
fn every_cut_of_a_journal_is_a_torn_tail_or_a_loss() {
    let (files, bytes, ends) = journal();
    let mut bench = Bench::new(&files, "data");
    for length in (0..bytes.len()).step_by(step()) {
        let mut expected = Codes::new();
        if length < 4096 {
            expected.insert("W002".into());
            short(0, &mut expected);
        } else {
            let whole = ends.iter().filter(|end| **end <= length).count() - 1;
            if !ends.contains(&length) {
                expected.insert("W001?".into());
            }
            short(whole, &mut expected);
        }
        let what = format!("journal cut at {length}");
        assert_eq!(bench.judge(&format!("data/{SEGMENT}"), &bytes[..length], &what), expected, "{what}");
    }
    bench.report("journal, every truncation");
}

#[test]
fn every_flip_of_a_journal_is_damage_or_a_torn_tail() {
    let (files, bytes, ends) = journal();
    let mut bench = Bench::new(&files, "data");
    for at in (0..bytes.len()).step_by(step()) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        let mut expected = Codes::new();
        let last = ends.len() - 2;
        let before = ends.iter().filter(|end| **end <= at).count();
        // Nothing of a segment is read when its header is damaged.
        let receipts = before.saturating_sub(1);
        expected.insert(if before > 0 && receipts == last { "W001?" } else { "W002" }.into());
        short(receipts, &mut expected);
        let what = format!("journal flipped at {at}");
        assert_eq!(bench.judge(&format!("data/{SEGMENT}"), &flipped, &what), expected, "{what}");
    }
    bench.report("journal, every flip");
}

#[test]
fn every_cut_of_a_bundle_is_no_bundle() {
    let bytes = sealed(&small()).pef();
    let mut bench = Bench::new(&Files::from([("x.pef".into(), bytes.clone())]), "x.pef");
    for length in (0..bytes.len()).step_by(step()) {
        let what = format!("bundle cut at {length}");
        assert_eq!(bench.judge("x.pef", &bytes[..length], &what), codes(&["E108"]), "{what}");
    }
    bench.report("bundle, every truncation");
}

#[test]
fn every_flip_of_a_bundle_is_no_bundle_or_the_same() {
    let bundle = sealed(&small());
    let (bytes, tar) = (bundle.pef(), bundle.tar());
    let mut bench = Bench::new(&Files::from([("x.pef".into(), bytes.clone())]), "x.pef");
    let mut same = 0;
    for at in (0..bytes.len()).step_by(step()) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        let what = format!("bundle flipped at {at}");
        let found = bench.judge("x.pef", &flipped, &what);
        if found.is_empty() {
            // The unused bit of a frame's header means nothing, and a match may be copied from another place that reads the same:
            // a tar has many zeros. Then the content, which the frame's checksum is over, must be the same.
            assert_eq!(zstd::decode_all(&flipped[..]).unwrap(), tar, "{what}");
            same += 1;
        } else {
            assert_eq!(found, codes(&["E108"]), "{what}");
        }
    }
    println!("bundle, every flip: {same} mean nothing");
    // Of each flip it was shown; that they are few only shows that the others were looked at.
    assert!(same <= 1 + bench.count / 100, "{same} of {} flips mean nothing", bench.count);
    bench.report("bundle, every flip");
}

/// The members as files: no container's checksum stands before the checks of the documents.
#[test]
fn every_flip_of_a_member_is_found() {
    let bundle = sealed(&small());
    let mut bench = Bench::new(&bundle.directory("b"), "b");
    let mut at = 0;
    for (member, bytes) in &bundle.members {
        for place in 0..bytes.len() {
            at += 1;
            if at % step() != 0 {
                continue;
            }
            let mut flipped = bytes.clone();
            flipped[place] ^= 1 << (place % 8);
            let what = format!("{member} flipped at {place}");
            let found = bench.judge(&format!("b/{member}"), &flipped, &what);
            // Every member but these two is listed with its digests. What is signed over the list is held against it.
            let expected: &[&str] = match member.as_str() {
                "manifest.json" => {
                    &["E104", "E105", "E201", "E202", "E204", "E205", "E206", "E207", "E403", "E503", "E511", "E601"]
                }
                "manifest.dsse.json" => &["E201", "E202", "E203", "E204", "E205", "E206", "E301", "E403"],
                _ => &["E103"],
            };
            assert!(expected.iter().any(|code| found.contains(*code)), "{what}: {found:?}");
        }
        std::fs::write(bench.directory.path().join("b").join(member), bytes).unwrap();
    }
    bench.report("members of a bundle, every flip");
}
