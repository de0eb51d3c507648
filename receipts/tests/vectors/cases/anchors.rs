//! Anchors of every kind, good and bad, in bundles and in data directories.

use serde_json::{Value, json};

use super::keys::{cosigned, witness};
use super::{Case, ORIGIN};
use crate::forge::anchor::{self, OpReturn, TimeStamp, attestation};
use crate::forge::json::canonical;
use crate::forge::log::Log;
use crate::forge::{hex, note, sha256};

/// What an anchor receipt says, and the files that it names.
struct Anchor {
    kind: &'static str,
    ending: &'static str,
    proof: Vec<u8>,
    note: Vec<u8>,
    event: Value,
}

impl Anchor {
    fn new(log: &Log, kind: &'static str, proof: impl FnOnce(&[u8]) -> Vec<u8>) -> Self {
        let note = log.checkpoint(4);
        let ending = match kind {
            "rfc3161" => "tsr",
            "opentimestamps" => "ots",
            "witness" => "note",
            _ => "json",
        };
        let proof = proof(&note);
        let event = json!({
            "kind": kind, "proof": hex(&sha256(&proof)), "root": hex(&log.root_at(4)), "sha256": hex(&sha256(&note)),
            "size": "4", "state": "confirmed",
        });
        Self { kind, ending, proof, note, event }
    }

    fn set(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.event[member] = value.into();
        self
    }

    /// Members of a bundle: proof and note.
    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let note = format!("anchors/{}.note", self.event["sha256"].as_str().unwrap());
        let proof = format!("anchors/{}.{}", self.event["proof"].as_str().unwrap(), self.ending);
        vec![(note, self.note.clone()), (proof, self.proof.clone())]
    }
}

/// A log with four receipts, whose tree can be anchored.
fn log() -> Log {
    let mut log = Log::started();
    log.exchange();
    log
}

fn with(anchor: &Anchor) -> Log {
    let mut log = log();
    log.push("anchor", json!({"event": anchor.event}));
    log.exchange();
    log
}

fn case(name: &str, about: &str, codes: &str, anchor: &Anchor) -> Case {
    changed(name, about, codes, anchor, |_| ())
}

fn changed(
    name: &str,
    about: &str,
    codes: &str,
    anchor: &Anchor,
    change: impl FnOnce(&mut Vec<(String, Vec<u8>)>),
) -> Case {
    let log = with(anchor);
    let mut bundle = log.bundle(0, log.receipts.len());
    let mut files = anchor.files();
    change(&mut files);
    for (path, bytes) in files {
        bundle.set(&path, bytes);
    }
    bundle.reseal();
    Case::new(name, &format!("{}: {about}", anchor.kind)).bundle("0-7.pef", &bundle).finds(codes)
}

/// The same in a data directory.
fn in_data(
    name: &str,
    about: &str,
    codes: &str,
    anchor: &Anchor,
    change: impl FnOnce(&mut Vec<(String, Vec<u8>)>),
) -> Case {
    let mut files = anchor.files();
    change(&mut files);
    let mut data = with(anchor).data("data", &[4]);
    data.extend(files.into_iter().map(|(path, bytes)| (format!("data/{path}"), bytes)));
    Case::new(name, &format!("{}: {about}", anchor.kind)).directory("data", data).finds(codes)
}

fn stored(_: &[u8]) -> Vec<u8> {
    canonical(
        &json!({"etag": "\"0af1\"", "retain_until": "2033-01-01T00:00:00Z", "uri": "s3://evidence/4", "version": "v1"}),
    )
}

pub(crate) fn cases() -> Vec<Case> {
    let log = log();
    let mut cases = vec![
        case("valid/anchor-object", "in an object store.", "", &Anchor::new(&log, "object", stored)),
        case(
            "valid/anchor-directory",
            "in a directory.",
            "",
            &Anchor::new(&log, "directory", |_| canonical(&json!({"uri": "file:///mnt/worm/4"})))
                .set("ref", "file:///mnt/worm/4"),
        ),
        in_data("valid/anchor-data", "in a data directory.", "", &Anchor::new(&log, "object", stored), |_| ()),
        Case::new("valid/anchor-journal", "For a journal directory by itself no proofs are looked for.")
            .files(with(&Anchor::new(&log, "object", stored)).journal("data"))
            .input("data/journal"),
        case("forged/e201-anchor", "the proof is no JSON.", "E201", &Anchor::new(&log, "object", |_| b"{".to_vec())),
        case(
            "forged/e203-anchor",
            "the proof is not canonical.",
            "E203",
            &Anchor::new(&log, "object", |_| b"{ \"uri\":\"x\"}".to_vec()),
        ),
        case(
            "forged/e206-anchor",
            "the proof has no place.",
            "E206",
            &Anchor::new(&log, "object", |_| b"{\"etag\":\"x\"}".to_vec()),
        ),
        case(
            "forged/e207-anchor",
            "the proof has an unknown member.",
            "E207",
            &Anchor::new(&log, "object", |_| b"{\"uri\":\"x\",\"x\":\"\"}".to_vec()),
        ),
        case(
            "forged/e206-anchor-kind",
            "a kind that does not exist.",
            "E206",
            &Anchor::new(&log, "object", stored).set("kind", "letter"),
        ),
        case(
            "forged/e601-anchor-size",
            "the receipt gives another size than the note.",
            "E601",
            &Anchor::new(&log, "object", stored).set("size", "3"),
        ),
        case(
            "forged/e601-anchor-root",
            "the receipt gives another root than the note.",
            "E601",
            &Anchor::new(&log, "object", stored).set("root", "0".repeat(64)),
        ),
        changed("forged/e701-note", "the note is missing.", "E701", &Anchor::new(&log, "object", stored), |files| {
            drop(files.remove(0))
        }),
        changed("forged/e701-proof", "the proof is missing.", "E701", &Anchor::new(&log, "object", stored), |files| {
            drop(files.remove(1))
        }),
        changed(
            "forged/e701-other",
            "the proof is another than its name says.",
            "E701",
            &Anchor::new(&log, "object", stored),
            |files| files[1].1 = b"{}".to_vec(),
        ),
        in_data(
            "forged/e701-data",
            "in a data directory both files are missing.",
            "E701",
            &Anchor::new(&log, "object", stored),
            Vec::clear,
        ),
        in_data(
            "forged/e701-data-other",
            "in a data directory the proof is another than its name says.",
            "E701",
            &Anchor::new(&log, "object", stored),
            |files| {
                files[1].1 = b"{}".to_vec();
            },
        ),
        case("forged/e405-anchor", "the note is none.", "E405", &noted(&log, b"4\n".to_vec())),
        case(
            "forged/e402-anchor",
            "the note is signed by a stranger.",
            "E402",
            &noted(&log, {
                let thief = crate::forge::key::Key::new(ORIGIN, "thief");
                note::checkpoint(&thief, ORIGIN, 4, &log.root_at(4))
            }),
        ),
        case(
            "forged/e601-anchor-fork",
            "a note of another tree was anchored.",
            "E601",
            &noted(&log, note::checkpoint(&log.log_key(), ORIGIN, 4, &[9; 32])).set("root", hex(&[9; 32])),
        ),
        in_data(
            "forged/e506-anchor",
            "a note of a larger tree was anchored than the journal has.",
            "E506",
            &{
                let note = note::checkpoint(&log.log_key(), ORIGIN, 40, &[9; 32]);
                noted(&log, note).set("root", hex(&[9; 32])).set("size", "40")
            },
            |_| (),
        ),
        case(
            "forged/e106-anchor",
            "a proof of more than a MiB.",
            "E106",
            &Anchor::new(&log, "object", |_| vec![b' '; (1 << 20) + 1]),
        ),
    ];
    cases.extend(stamps(&log));
    cases.extend(ots(&log));
    cases.extend(spends(&log));
    cases.extend(witnesses(&log));
    cases
}

/// An anchor of this note.
fn noted(log: &Log, note: Vec<u8>) -> Anchor {
    let mut anchor = Anchor::new(log, "object", stored).set("sha256", hex(&sha256(&note)));
    anchor.note = note;
    anchor
}

fn stamps(log: &Log) -> Vec<Case> {
    let stamp = |change: &dyn Fn(&mut TimeStamp)| {
        Anchor::new(log, "rfc3161", |note| {
            let mut stamp = TimeStamp::of(note);
            change(&mut stamp);
            stamp.encode()
        })
        .set("at", "2026-11-21T03:02:00.000000Z")
    };
    let bytes = |change: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        Anchor::new(log, "rfc3161", |note| change(TimeStamp::of(note).encode()))
            .set("at", "2026-11-21T03:02:00.000000Z")
    };
    let mut without = stamp(&|_| ());
    without.event.as_object_mut().unwrap().remove("at");
    vec![
        case("valid/anchor-rfc3161", "a time stamp.", "", &stamp(&|_| ())),
        case(
            "valid/anchor-rfc3161-fraction",
            "a time stamp to the microsecond.",
            "",
            &stamp(&|stamp| stamp.time = "20261121030200.123456Z".into()),
        ),
        case("valid/anchor-rfc3161-mods", "granted with changes.", "", &stamp(&|stamp| stamp.status = 1)),
        case("forged/e702-status", "the authority refused.", "E702", &stamp(&|stamp| stamp.status = 2)),
        case("forged/e702-version", "a TSTInfo of version 2.", "E702", &stamp(&|stamp| stamp.version = 2)),
        case("forged/e702-after", "a byte after the response.", "E702", &stamp(&|stamp| stamp.after = vec![0])),
        case("forged/e702-empty", "an empty file.", "E702", &bytes(&|_| Vec::new())),
        case(
            "forged/e702-cut",
            "the last byte is missing.",
            "E702",
            &bytes(&|stamp| stamp[..stamp.len() - 1].to_vec()),
        ),
        case(
            "forged/e702-length",
            "a length in more bytes than it needs.",
            "E702",
            &bytes(&|stamp| {
                let content = &stamp[4..];
                [&[0x30, 0x83, 0, stamp[2], stamp[3]], content].concat()
            }),
        ),
        case(
            "forged/e702-indefinite",
            "a length that is not said.",
            "E702",
            &bytes(&|stamp| [&[0x30, 0x80], &stamp[4..], &[0, 0]].concat()),
        ),
        case(
            "forged/e702-time-form",
            "a time with an offset.",
            "E702",
            &stamp(&|stamp| stamp.time = "20261121030200+0000".into()),
        ),
        case(
            "forged/e702-time-fraction",
            "a time with ten digits behind the point.",
            "E702",
            &stamp(&|stamp| stamp.time = "20261121030200.1234567890Z".into()),
        ),
        case("forged/e703-imprint", "a time stamp of something else.", "E703", &stamp(&|stamp| stamp.hash = [9; 32])),
        case("forged/e703-algorithm", "a time stamp of SHA-512/256.", "E703", &stamp(&|stamp| stamp.algorithm[8] = 6)),
        case(
            "forged/e704-time",
            "the receipt says another time.",
            "E704",
            &stamp(&|stamp| stamp.time = "20261121030201Z".into()),
        ),
        case("forged/e704-no-time", "the receipt says no time.", "E704", &without),
    ]
}

fn ots(log: &Log) -> Vec<Case> {
    let height = attestation(anchor::BITCOIN, &[0xc0, 0x84, 0x3d]);
    let proof = |last: Vec<u8>| Anchor::new(log, "opentimestamps", move |note| anchor::ots(&sha256(note), &last).0);
    let raw = |make: &dyn Fn(&[u8; 32]) -> Vec<u8>| Anchor::new(log, "opentimestamps", |note| make(&sha256(note)));
    let root = anchor::ots(&sha256(&log.checkpoint(4)), &[]).1;
    let header = |root: &[u8; 32], good: bool| hex(&anchor::header(&[0; 32], root, good));
    let pending = attestation(anchor::PENDING, &[&[20][..], b"https://calendar.tst"].concat());
    let unknown = attestation([9; 8], b"whatever");
    let head = |digest: &[u8; 32], rest: &[u8]| [anchor::ots_head(digest), rest.to_vec()].concat();
    vec![
        case(
            "valid/anchor-ots",
            "with the header of its block.",
            "",
            &proof(height.clone()).set("header", header(&root, true)),
        ),
        case(
            "valid/anchor-ots-pending",
            "no block has it yet.",
            "E705?",
            &proof(pending.clone()).set("state", "pending"),
        ),
        case("valid/anchor-ots-no-header", "in a block whose header is not given.", "E705?", &proof(height.clone())),
        case(
            "valid/anchor-ots-unknown",
            "an attestation of a kind that is not known, and no other.",
            "E705?",
            &proof(unknown),
        ),
        case(
            "forged/e706-header-root",
            "the header is of another block.",
            "E706",
            &proof(height.clone()).set("header", header(&[9; 32], true)),
        ),
        case(
            "forged/e706-header-work",
            "the header misses its target.",
            "E706",
            &proof(height.clone()).set("header", header(&root, false)),
        ),
        case(
            "forged/e706-header-pending",
            "a header, and no attestation of a block.",
            "E706",
            &proof(pending.clone()).set("header", header(&root, true)),
        ),
        case(
            "forged/e703-ots",
            "a proof of another digest.",
            "E703 E705?",
            &raw(&|_| anchor::ots(&[9; 32], &height).0),
        ),
        case(
            "forged/e706-magic",
            "the head is another.",
            "E706",
            &raw(&|digest| {
                let mut bytes = anchor::ots(digest, &height).0;
                bytes[3] ^= 1;
                bytes
            }),
        ),
        case(
            "forged/e706-version",
            "version 2.",
            "E706",
            &raw(&|digest| {
                let mut bytes = anchor::ots(digest, &height).0;
                bytes[31] = 2;
                bytes
            }),
        ),
        case(
            "forged/e706-cut",
            "the last byte is missing.",
            "E706",
            &raw(&|digest| {
                let bytes = anchor::ots(digest, &height).0;
                bytes[..bytes.len() - 1].to_vec()
            }),
        ),
        case(
            "forged/e706-after",
            "a byte after the proof.",
            "E706",
            &raw(&|digest| [anchor::ots(digest, &height).0, vec![0]].concat()),
        ),
        case("forged/e706-empty", "no attestation at all.", "E706", &raw(&|digest| anchor::ots_head(digest))),
        case(
            "forged/e706-sha1",
            "an operation that is not known here.",
            "E706",
            &raw(&|digest| head(digest, &[&[2][..], &pending].concat())),
        ),
        case(
            "forged/e706-no-argument",
            "an argument of no bytes.",
            "E706",
            &raw(&|digest| head(digest, &[&[0xf0, 0][..], &pending].concat())),
        ),
        case(
            "forged/e706-number",
            "a length with a byte too many.",
            "E706",
            &raw(&|digest| head(digest, &[&[0xf0, 0x81, 0x00, 7][..], &pending].concat())),
        ),
        case(
            "forged/e706-deep",
            "257 operations on one another.",
            "E706",
            &raw(&|digest| head(digest, &[&[8; 257][..], &pending].concat())),
        ),
        case(
            "forged/e706-message",
            "a Bitcoin attestation on a message of 33 bytes.",
            "E706",
            &raw(&|digest| head(digest, &[&[0xf0, 1, 7][..], &attestation(anchor::BITCOIN, &[1])].concat())),
        ),
        case(
            "forged/e706-height",
            "a height that is no number.",
            "E706",
            &raw(&|digest| head(digest, &attestation(anchor::BITCOIN, &[1, 1]))),
        ),
        case(
            "valid/anchor-ots-deep",
            "256 operations on one another.",
            "E705?",
            &raw(&|digest| head(digest, &[&[8; 256][..], &pending].concat())),
        ),
    ]
}

fn spends(log: &Log) -> Vec<Case> {
    let spend = |change: &dyn Fn(&mut OpReturn)| {
        Anchor::new(log, "op_return", |note| {
            let mut spend = OpReturn::of(&sha256(note));
            change(&mut spend);
            spend.encode()
        })
    };
    let value = |change: &dyn Fn(&mut Value)| {
        Anchor::new(log, "op_return", |note| {
            let mut value = OpReturn::of(&sha256(note)).value();
            change(&mut value);
            canonical(&value)
        })
    };
    vec![
        case("valid/anchor-op-return", "a transaction, its branch, and two headers.", "", &spend(&|_| ())),
        case(
            "valid/anchor-op-return-alone",
            "a block of one transaction.",
            "",
            &spend(&|spend| {
                spend.branch.clear();
                spend.index = 0;
            }),
        ),
        case(
            "forged/e703-spend",
            "the transaction is of another digest.",
            "E703",
            &spend(&|spend| spend.script[10] ^= 1),
        ),
        case(
            "forged/e703-spend-more",
            "a second push behind the digest.",
            "E703",
            &spend(&|spend| spend.script.extend([1, 7])),
        ),
        case("forged/e708-work", "a header misses its target.", "E708", &spend(&|spend| spend.work[1] = false)),
        case("forged/e708-linked", "a header names another before it.", "E708", &spend(&|spend| spend.linked = false)),
        case(
            "forged/e708-branch",
            "the branch leads elsewhere.",
            "E708",
            &value(&|value| value["branch"][0] = "0".repeat(64).into()),
        ),
        case(
            "forged/e708-index",
            "the transaction stands elsewhere.",
            "E708",
            &value(&|value| value["index"] = "1".into()),
        ),
        case(
            "forged/e708-index-large",
            "an index beyond the block.",
            "E708",
            &value(&|value| value["index"] = "6".into()),
        ),
        case("forged/e708-no-headers", "no header.", "E708", &value(&|value| value["headers"] = json!([]))),
        case(
            "forged/e708-transaction",
            "the transaction has a byte too many.",
            "E708",
            &value(&|value| {
                value["tx"] = (value["tx"].as_str().unwrap().to_owned() + "00").into();
            }),
        ),
        case(
            "forged/e708-no-outputs",
            "a transaction without outputs.",
            "E708",
            &value(&|value| {
                value["tx"] = format!("0200000001{}00ffffffff0000000000", "55".repeat(36)).into();
            }),
        ),
        case(
            "forged/e206-spend-hex",
            "a transaction of an odd number of digits.",
            "E206",
            &value(&|value| value["tx"] = "020".into()),
        ),
        case(
            "forged/e206-spend-header",
            "a header of 79 bytes.",
            "E206",
            &value(&|value| value["headers"] = json!(["00".repeat(79)])),
        ),
        case("forged/e207-spend", "an unknown member.", "E207", &value(&|value| value["block"] = "1".into())),
    ]
}

fn witnesses(log: &Log) -> Vec<Case> {
    vec![
        case(
            "valid/anchor-witness",
            "the note with two cosignatures.",
            "",
            &Anchor::new(log, "witness", |note| cosigned(note, &["a", "b"])),
        ),
        case(
            "forged/e703-witness",
            "cosignatures of another note.",
            "E703",
            &Anchor::new(log, "witness", |_| {
                assert!(!witness("a").name.is_empty());
                cosigned(&log.checkpoint(2), &["a"])
            }),
        ),
        case("forged/e405-witness", "no note.", "E405", &Anchor::new(log, "witness", |_| b"cosigned\n".to_vec())),
    ]
}
