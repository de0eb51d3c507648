//! Anchors of a real log, and of one whose files were touched.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::anchor::bitcoin::{hash, merkle_root};
use crate::anchor::opentimestamps::{Proof, Timestamp};
use crate::anchor::{AnchorFiles, AnchorKind, AnchorRecord, AnchorState, CopyProof, OpReturnProof, op_return_script};
use crate::bundle::{CHECKPOINTS_DIRECTORY, Sealer};
use crate::sample::{exchange, fast_directory, mine, options, token};
use crate::verify::{Severity, VerifyOptions, verify};
use crate::{Log, hex};

const AT: &str = "2026-11-21T03:41:04.123456Z";

/// A log with one checkpoint, whose note was anchored in one way.
struct Anchored {
    directory: TempDir,
    note: Vec<u8>,
    /// The receipt, as it was appended.
    record: AnchorRecord,
    seq: u64,
}

/// What a test makes of the note.
struct Made {
    kind: AnchorKind,
    proof: Vec<u8>,
    header: Option<String>,
}

impl Made {
    fn of(kind: AnchorKind, proof: Vec<u8>) -> Self {
        Self { kind, proof, header: None }
    }
}

impl Anchored {
    /// A log whose anchor is made from the note and its digest. `change` has the last word on the receipt.
    fn new(make: impl FnOnce(&[u8], [u8; 32]) -> Made, change: impl FnOnce(&mut AnchorRecord)) -> Self {
        let directory = fast_directory();
        let path = directory.path();
        let (log, _) = Log::open(options(path)).unwrap();
        exchange(&log);
        let sealed = Sealer::open(path).unwrap().seal(log.status().durable_count, &[]).unwrap().unwrap();
        let note = std::fs::read(path.join(CHECKPOINTS_DIRECTORY).join(sealed.to.to_string())).unwrap();
        let made = make(&note, Sha256::digest(&note).into());
        let files = AnchorFiles::open(path).unwrap();
        let mut record = AnchorRecord {
            at: Some(AT.to_owned()),
            header: made.header,
            kind: made.kind,
            proof: files.keep_proof(made.kind, &made.proof).unwrap(),
            reference: None,
            root: hex::encode(&sealed.root),
            sha256: files.keep_note(&note).unwrap(),
            size: sealed.to,
            state: AnchorState::Confirmed,
        };
        change(&mut record);
        let seq = log.append_blocking(record.clone()).unwrap().seq;
        log.shutdown().unwrap();
        Self { directory, note, record, seq }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn proof(&self) -> PathBuf {
        self.path().join("anchors").join(self.proof_name())
    }

    fn proof_name(&self) -> String {
        format!("{}.{}", self.record.proof, self.record.kind.ending())
    }

    /// Findings as code and path, `N` for the note's, `P` for the proof's and `R` for the receipt's file; a warning has a `?`.
    fn findings(&self) -> Vec<String> {
        let verdict = verify(&[self.path()], &VerifyOptions::default()).unwrap();
        let note = format!("anchors/{}.note", self.record.sha256);
        let proof = format!("anchors/{}", self.proof_name());
        let segment = "journal/seg-00000000000000000000.pefwal";
        let of = verdict.findings.iter().map(|finding| {
            let path = finding.path.replace(&note, "N").replace(&proof, "P").replace(segment, "R");
            let warning = if finding.severity == Severity::Warning { "?" } else { "" };
            // All but those on the note by itself are on the receipt.
            let seq = if finding.seq == Some(self.seq) { "" } else { " alone" };
            format!("{}{warning} {path}{seq}", finding.code.code())
        });
        of.collect()
    }
}

fn same(_: &mut AnchorRecord) {}

fn rfc3161(_: &[u8], digest: [u8; 32]) -> Made {
    Made::of(AnchorKind::Rfc3161, token(&digest, "20261121034104Z", 5))
}

/// A proof that leads to a header on its digest: nothing is hashed on the way.
fn opentimestamps(_: &[u8], digest: [u8; 32]) -> Made {
    let attestation = [&[0x00][..], &[0x05, 0x88, 0x96, 0x0D, 0x73, 0xD7, 0x19, 0x01], &[1, 9]].concat();
    let proof = Proof::new(digest, Timestamp::from_bytes(&attestation, &digest).unwrap());
    let header = hex::encode(&mine([1; 32], digest).0);
    Made { kind: AnchorKind::OpenTimestamps, proof: proof.to_bytes(), header: Some(header) }
}

fn op_return_proof(digest: [u8; 32]) -> OpReturnProof {
    let script = op_return_script(&digest);
    let tx = [&[2, 0, 0, 0, 1][..], &[0; 41], &[1], &[0; 8], &[38], &script, &[0; 4]].concat();
    let branch = vec![[3; 32]];
    let first = mine([0; 32], merkle_root(hash(&tx), 1, &branch).unwrap());
    OpReturnProof { branch, headers: vec![first, mine(first.hash(), [4; 32])], index: 1, tx }
}

fn directory(_: &[u8], _: [u8; 32]) -> Made {
    let proof = CopyProof { uri: "file:///mnt/worm/1".into(), ..CopyProof::default() };
    Made::of(AnchorKind::Directory, proof.to_bytes())
}

#[test]
fn every_kind_of_anchor_is_good_as_it_was_made() {
    let op_return = |_: &[u8], digest| Made::of(AnchorKind::OpReturn, op_return_proof(digest).to_bytes());
    let witness = |note: &[u8], _| {
        let cosigned = [note, "— witness.example AAAAAAAA\n".as_bytes()].concat();
        Made::of(AnchorKind::Witness, cosigned)
    };
    assert_eq!(Anchored::new(rfc3161, same).findings(), [""; 0]);
    assert_eq!(Anchored::new(opentimestamps, same).findings(), [""; 0]);
    assert_eq!(Anchored::new(directory, same).findings(), [""; 0]);
    assert_eq!(Anchored::new(op_return, same).findings(), [""; 0]);
    assert_eq!(Anchored::new(witness, same).findings(), [""; 0]);
}

#[test]
fn files_that_are_missing_or_others_are_found() {
    let anchored = Anchored::new(rfc3161, same);
    std::fs::rename(anchored.proof(), anchored.path().join("kept")).unwrap();
    assert_eq!(anchored.findings(), ["E701 R#/event/proof"]);
    std::fs::write(anchored.proof(), b"other").unwrap();
    assert_eq!(anchored.findings(), ["E701 R#/event/proof"]);
    std::fs::write(anchored.proof(), vec![0; (1 << 20) + 1]).unwrap();
    assert_eq!(anchored.findings(), ["E106 P"]);
    std::fs::rename(anchored.path().join("kept"), anchored.proof()).unwrap();
    let note = anchored.path().join(format!("anchors/{}.note", anchored.record.sha256));
    std::fs::remove_file(&note).unwrap();
    assert_eq!(anchored.findings(), ["E701 R#/event/sha256"]);
    std::fs::write(&note, b"no note\n").unwrap();
    assert_eq!(anchored.findings(), ["E405 N alone", "E701 R#/event/sha256"]);
    std::fs::remove_dir_all(anchored.path().join("anchors")).unwrap();
    assert_eq!(anchored.findings(), ["E701 R#/event/proof", "E701 R#/event/sha256"]);
    assert!(!anchored.note.is_empty());
}

#[test]
fn a_journal_by_itself_has_no_anchors_to_look_for() {
    let anchored = Anchored::new(rfc3161, same);
    let verdict = verify(&[anchored.path().join("journal")], &VerifyOptions::default()).unwrap();
    assert!(verdict.findings.is_empty(), "{:#?}", verdict.findings);
}

#[test]
fn a_note_is_the_one_that_the_receipt_says() {
    let other = Anchored::new(rfc3161, |record| record.size -= 1);
    assert_eq!(other.findings(), ["E601 N"]);
    let other = Anchored::new(rfc3161, |record| record.root = "0".repeat(64));
    assert_eq!(other.findings(), ["E601 N"]);
}

#[test]
fn a_note_of_another_log_or_tree_is_found() {
    let other = Anchored::new(rfc3161, same);
    let anchored = Anchored::new(rfc3161, same);
    let digest = hex::encode(&Sha256::digest(&other.note));
    std::fs::write(anchored.path().join(format!("anchors/{digest}.note")), &other.note).unwrap();
    let path = format!("anchors/{digest}.note");
    let expected = ["E402", "E601", "E606"].map(|code| format!("{code} {path} alone"));
    assert_eq!(anchored.findings(), expected);
}

#[test]
fn a_time_stamp_is_of_this_note_and_time() {
    let with = |bytes: fn([u8; 32]) -> Vec<u8>| {
        Anchored::new(|_, digest| Made::of(AnchorKind::Rfc3161, bytes(digest)), same).findings()
    };
    assert_eq!(with(|_| token(&[1; 32], "20261121034104Z", 5)), ["E703 P"]);
    assert_eq!(with(|digest| token(&digest, "20261121034105Z", 5)), ["E704 P"]);
    assert_eq!(with(|_| token(&[1; 32], "20261121034105Z", 5)), ["E703 P", "E704 P"]);
    assert_eq!(with(|_| b"no token".to_vec()), ["E702 P"]);
    let untold = Anchored::new(rfc3161, |record| record.at = None);
    assert_eq!(untold.findings(), ["E704 P"]);
}

#[test]
fn an_opentimestamps_proof_is_pending_until_it_leads_to_a_header() {
    let pending = Anchored::new(opentimestamps, |record| record.header = None);
    assert_eq!(pending.findings(), ["E705? P"]);
    let elsewhere = |record: &mut AnchorRecord| record.header = Some(hex::encode(&mine([1; 32], [2; 32]).0));
    assert_eq!(Anchored::new(opentimestamps, elsewhere).findings(), ["E706 P"]);
    let of_another = |note: &[u8], _| opentimestamps(note, [9; 32]);
    assert_eq!(Anchored::new(of_another, same).findings(), ["E703 P"]);
    let broken = |_: &[u8], _| Made::of(AnchorKind::OpenTimestamps, b"no proof".to_vec());
    assert_eq!(Anchored::new(broken, same).findings(), ["E706 P"]);
}

#[test]
fn an_op_return_proof_is_held_to_its_form_and_its_chain() {
    let with = |change: fn(&mut OpReturnProof)| {
        let make = |_: &[u8], digest| {
            let mut proof = op_return_proof(digest);
            change(&mut proof);
            Made::of(AnchorKind::OpReturn, proof.to_bytes())
        };
        Anchored::new(make, same).findings()
    };
    assert_eq!(with(|proof| proof.index = 0), ["E708 P"]);
    assert_eq!(with(|proof| proof.headers.reverse()), ["E708 P"]);
    assert_eq!(with(|proof| proof.tx.push(0)), ["E708 P"]);
    assert_eq!(with(|proof| *proof = op_return_proof([9; 32])), ["E703 P"]);
    let text = |text: &'static str| {
        let make = move |_: &[u8], _| Made::of(AnchorKind::OpReturn, text.as_bytes().to_vec());
        Anchored::new(make, same).findings()
    };
    assert_eq!(text("{"), ["E201 P"]);
    assert_eq!(
        text(r#"{"branch":["0"],"headers":[],"index":1,"tx":"0","x":1}"#),
        ["E206 P#/branch/0", "E206 P#/index", "E206 P#/tx", "E207 P#/x"]
    );
    assert_eq!(text(r#"{"branch":[],"headers":[],"index":"0", "tx":""}"#), ["E203 P", "E708 P"]);
}

#[test]
fn a_copy_says_where_it_is_and_a_witness_signs_the_same_text() {
    let text = |_: &[u8], _| Made::of(AnchorKind::Object, br#"{"etag":1}"#.to_vec());
    assert_eq!(Anchored::new(text, same).findings(), ["E206 P#/etag", "E206 P#/uri"]);
    let other = Anchored::new(rfc3161, same).note;
    let witness = Anchored::new(move |_, _| Made::of(AnchorKind::Witness, other), same);
    assert_eq!(witness.findings(), ["E402 P alone", "E601 P alone", "E606 P alone", "E703 P"]);
    let no_note = Anchored::new(|_, _| Made::of(AnchorKind::Witness, b"no note\n".to_vec()), same);
    assert_eq!(no_note.findings(), ["E405 P alone"]);
}
