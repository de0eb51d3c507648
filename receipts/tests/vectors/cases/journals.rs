//! The journal's own files: torn, damaged, shortened, put together anew, pruned.

use serde_json::json;

use super::valid::{restarted, rotate_receipt_key};
use super::{Case, small};
use crate::forge::json::canonical;
use crate::forge::log::{self, Log};
use crate::forge::segment::{self, Segment};
use crate::forge::{Files, hex};

/// The data directory of a log whose segments were changed.
fn changed(log: &Log, checkpoints: &[usize], change: impl FnOnce(&mut Vec<Segment>)) -> Files {
    let mut segments = log.segments();
    change(&mut segments);
    let mut files = log.data("data", checkpoints);
    files.retain(|path, _| !path.starts_with("data/journal/"));
    files.extend(segment::files(&segments, "data/journal"));
    files
}

fn case(name: &str, about: &str, log: &Log, change: impl FnOnce(&mut Vec<Segment>)) -> Case {
    Case::new(name, about).directory("data", changed(log, &[], change))
}

/// A log whose only process was killed: no seal.
fn killed() -> Log {
    let mut log = Log::started();
    log.exchange();
    log.exchange();
    log
}

/// The segment's bytes with one of them changed.
fn flipped(files: &mut Files, segment: &str, at: usize) {
    files.get_mut(&format!("data/journal/{segment}")).unwrap()[at] ^= 0x10;
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![
        case(
            "truncated/torn-tail",
            "The last frame broke off: a write that nobody was told of.",
            &killed(),
            |segments| {
                let last = segments[0].frames.pop().unwrap().encode();
                segments[0].rest = last[..last.len() / 2].to_vec();
            },
        )
        .finds("W001? E507?"),
        case("truncated/torn-header", "Only the first bytes of a frame's header are there.", &killed(), |segments| {
            segments[0].rest = b"PEFR\x01".to_vec();
        })
        .finds("W001?"),
        case("truncated/torn-zeros", "Blocks were given to the file and never written.", &killed(), |segments| {
            segments[0].rest = vec![0; 4096];
        })
        .finds("W001?"),
        case("truncated/torn-garbage", "Something that was never a frame stands at the end.", &killed(), |segments| {
            segments[0].rest = b"PEFR is not enough".repeat(40);
        })
        .finds("W001?"),
        case(
            "truncated/between-frames",
            "Cut between two frames: it shows only in the open attempt.",
            &killed(),
            |segments| {
                segments[0].frames.pop();
            },
        )
        .finds("E507?"),
        case("truncated/seal-torn", "The seal broke off.", &small(), |segments| {
            let seal = segments[0].frames.pop().unwrap().encode();
            segments[0].rest = seal[..seal.len() - 9].to_vec();
        })
        .finds("W001?"),
        case(
            "truncated/earlier-segment",
            "Not the last segment broke off, and another follows.",
            &restarted(),
            |segments| {
                let last = segments[0].frames.pop().unwrap().encode();
                segments[0].rest = last[..20].to_vec();
            },
        )
        .finds("W002"),
        Case::new("truncated/below-checkpoint", "The journal ends before a checkpoint that was published.")
            .directory("data", changed(&killed(), &[4, 6], |segments| segments[0].frames.truncate(4)))
            .finds("E506"),
        Case::new("truncated/journal-gone", "No segment is left, the checkpoints are.")
            .directory("data", {
                let mut files = changed(&killed(), &[4], |segments| segments.clear());
                files.insert("data/journal/LOCK".into(), Vec::new());
                files
            })
            .finds("E506"),
        case(
            "truncated/lost-durable",
            "The second process's segment is gone, its key's certificate is not.",
            &restarted(),
            |segments| {
                segments.pop();
                segments[0].frames.truncate(3);
            },
        )
        .finds("W003 E507?"),
        case("truncated/segment-header", "The last segment is shorter than its header.", &restarted(), |segments| {
            segments.truncate(1);
        })
        .file("data/journal/seg-00000000000000000005.pefwal", small().segments()[0].encode()[..1000].to_vec())
        .finds("W002"),
        case("forged/w002-segment-missing", "A segment in the middle is gone.", &three(), |segments| {
            drop(segments.remove(1))
        })
        .finds("W002 E501"),
        case("forged/w002-number", "A segment bears another number.", &restarted(), |segments| segments[1].number = 2)
            .finds("W002"),
        case("forged/w002-prev-chain", "A segment's header names another chain value.", &restarted(), |segments| {
            segments[1].prev_chain = [7; 32];
        })
        .finds("W002"),
        case("forged/w002-frame-seq", "A frame bears another number than its receipt.", &killed(), |segments| {
            segments[0].frames[3].seq = 9;
        })
        .finds("W002"),
        case("forged/w002-frame-chain", "A frame bears another chain value than its receipt.", &killed(), |segments| {
            segments[0].frames[3].chain[0] ^= 1;
        })
        .finds("W002"),
        case("forged/w002-seal-chain", "The seal is over another chain value.", &small(), |segments| {
            segments[0].frames.last_mut().unwrap().chain[0] ^= 1;
        })
        .finds("W002"),
        case("forged/w002-seal-seq", "A receipt was taken out before the seal.", &small(), |segments| {
            segments[0].frames.remove(4);
        })
        .finds("W002"),
        case("forged/w002-after-seal", "A frame follows the seal.", &small(), |segments| {
            let seal = segments[0].frames.last().unwrap().clone();
            segments[0].frames.push(seal);
        })
        .finds("W002"),
        case("forged/w002-later-frame", "Damage in the middle: a whole frame follows.", &killed(), |segments| {
            let mut bytes = segments[0].frames.split_off(3);
            let mut rest: Vec<u8> = bytes.remove(0).encode();
            rest[100] ^= 1;
            rest.extend(bytes.iter().flat_map(segment::Frame::encode));
            segments[0].rest = rest;
        })
        .finds("W002 E507?"),
        case("forged/e604-segment", "A segment of another log.", &restarted(), |segments| {
            segments[1].origin = "other.example/log".into();
        })
        .finds("E604"),
        case(
            "forged/e401-edited-frame",
            "A body was edited, and its frame written anew around it.",
            &killed(),
            |segments| {
                let frame = &mut segments[0].frames[3];
                frame.body = crate::forge::replace(&frame.body, "\"executed\"", "\"blocked\"");
            },
        )
        .finds("W002 E401 E503"),
        case("forged/e501-frame-deleted", "A frame was taken out.", &killed(), |segments| {
            drop(segments[0].frames.remove(3))
        })
        .finds("E501 E507?"),
        case("forged/e502-frame-twice", "A frame stands twice.", &killed(), |segments| {
            let frame = segments[0].frames[3].clone();
            segments[0].frames.insert(4, frame);
        })
        .finds("E502"),
        case("forged/e505-frames-swapped", "Two frames changed places.", &killed(), |segments| {
            segments[0].frames.swap(2, 3)
        })
        .finds("E501 E505 E507"),
        Case::new("forged/e101-no-keys", "A journal without its keys.")
            .files({
                let mut files = small().journal("data");
                files.retain(|path, _| path.starts_with("data/journal/"));
                files
            })
            .input("data/journal")
            .finds("E101"),
        Case::new("forged/e601-checkpoint-name", "A checkpoint under the name of another size.")
            .directory("data", {
                let mut files = killed().data("data", &[4]);
                let note = files.remove("data/checkpoints/4").unwrap();
                files.insert("data/checkpoints/5".into(), note);
                files
            })
            .finds("E601"),
        Case::new("forged/e601-checkpoint-root", "A checkpoint over other receipts than the journal has.")
            .directory("data", {
                let mut files = killed().data("data", &[]);
                let mut other = Log::started();
                other.exchange();
                other.now_us += 1;
                other.exchange();
                files.extend(other.data("data", &[6]).into_iter().filter(|(path, _)| path.contains("checkpoints")));
                files
            })
            .finds("E601"),
    ];
    for (name, about, at, code) in [
        ("header", "A byte of a segment's header is another.", 20, "W002"),
        ("middle", "A byte of a frame in the middle is another.", 4096 + 200, "W002"),
    ] {
        let mut files = killed().data("data", &[]);
        flipped(&mut files, "seg-00000000000000000000.pefwal", at);
        cases.push(Case::new(&format!("forged/w002-flip-{name}"), about).directory("data", files).finds(code));
    }
    cases.extend(pruned());
    cases.push(interrupted_rotation());
    cases
}

/// Three processes.
fn three() -> Log {
    let mut log = restarted();
    log.start();
    log.shutdown();
    log
}

/// The first process's segment was removed; `pruned.json` says what came before.
pub(super) fn pruned_files(log: &Log, at: usize) -> Files {
    let mut files = changed(log, &[], |segments| drop(segments.remove(0)));
    let pruned = json!({"chain": hex(&log.chain_at(at)), "frontier": log.frontier(at), "v": "pef.v0"});
    files.insert("data/journal/pruned.json".into(), canonical(&pruned));
    files
}

/// A log that was pruned at five receipts; the record of it claims this root.
fn pruned_log(root: impl FnOnce(&Log) -> String, to: &str) -> Log {
    let mut log = restarted();
    log.start();
    let root = root(&log);
    log.push("prune", json!({"event": {"bytes": 9000, "from": "0", "root": root, "segments": 1, "to": to}}));
    log.exchange();
    log.shutdown();
    log
}

fn pruned() -> Vec<Case> {
    let log = pruned_log(|log| hex(&log.root_at(5)), "5");
    let mut unfinished = pruned_files(&log, 5);
    unfinished.extend(log.data("data", &[]).into_iter().filter(|(path, _)| path.contains("seg-")));
    let mut checkpoint = pruned_files(&log, 5);
    checkpoint.extend(log.data("data", &[8]).into_iter().filter(|(path, _)| path.contains("checkpoints")));
    let mut broken = pruned_files(&log, 5);
    broken.insert("data/journal/pruned.json".into(), b"{\"chain\":".to_vec());
    let mut unknown = pruned_files(&log, 5);
    let value: serde_json::Value = serde_json::from_slice(&unknown["data/journal/pruned.json"]).unwrap();
    let mut value = value;
    value["x"] = json!(1);
    unknown.insert("data/journal/pruned.json".into(), canonical(&value));
    let mut wrong = pruned_files(&log, 5);
    let mut other = json!({"chain": hex(&log.chain_at(5)), "frontier": log.frontier(5), "v": "pef.v0"});
    other["frontier"]["hashes"][0] = "0".repeat(64).into();
    wrong.insert("data/journal/pruned.json".into(), canonical(&other));
    wrong.extend(log.data("data", &[8]).into_iter().filter(|(path, _)| path.contains("checkpoints")));
    let never = restarted();
    vec![
        Case::new("valid/pruned", "The first segment was removed, and the journal says so.")
            .directory("data", checkpoint),
        Case::new("valid/pruned-unfinished", "A removal that a crash cut off: the segment is still there.")
            .directory("data", unfinished),
        Case::new("forged/e501-pruned-unrecorded", "A segment is gone and pruned.json says so, but no receipt does.")
            .directory("data", pruned_files(&never, 5))
            .finds("E501"),
        Case::new("forged/e501-first-segment", "The first segment is gone, and nothing says so.")
            .directory("data", changed(&never, &[], |segments| drop(segments.remove(0))))
            .finds("W002 E501"),
        Case::new("forged/e601-pruned-frontier", "pruned.json has another frontier than the receipts had.")
            .directory("data", wrong)
            .finds("E601"),
        Case::new("forged/e201-pruned", "pruned.json is not JSON.").directory("data", broken).finds("E201 W002 E501"),
        Case::new("forged/e207-pruned", "pruned.json has a member that is unknown.")
            .directory("data", unknown)
            .finds("E207 W002 E501"),
        super::of_log(
            "forged/e206-prune-future",
            "A receipt that says that receipts were removed which are not written yet.",
            &pruned_log(|log| hex(&log.root_at(5)), "50"),
        )
        .finds("E206"),
    ]
}

/// A process ended between the rotation of its receipt key and the certificate of the next.
fn interrupted_rotation() -> Case {
    let mut log = Log::started();
    log.exchange();
    rotate_receipt_key(&mut log);
    log.keys.pop();
    log.start();
    log.push("bypass", log::bypass());
    Case::new(
        "valid/rotation-interrupted",
        "A rotation whose new key was never certified, because the process was killed.",
    )
    .directory("data", log.data("data", &[]))
}
