//! Odd evidence: logs and documents of which a few members were changed at random, and which were then signed, chained and sealed
//! all the same, as whoever holds the keys could. Nobody says beforehand what its verdict is; no verifier may panic, and those at
//! hand must give the same bytes. `make mutations` makes thousands of them; otherwise some dozens are made.

use std::collections::BTreeMap;
use std::path::Path;

use clyra_receipts::PublicKey;
use clyra_receipts::verify::{VerifyOptions, verify};
use serde_json::{Value, json};

use crate::cases::odd::{event_proof, proof_files, rich};
use crate::cases::sealed;
use crate::forge::json::canonical;
use crate::forge::log::{self, Log, Receipt};
use crate::forge::{Files, hex, note, segment, tree};
use crate::verifiers::Verifier;

/// So many of each sort; every `CLYRA_MUTATIONS`th of them is judged.
const CASES: u64 = 3_000;

/// A generator of numbers: the same seed, the same case (SplitMix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

fn pointers(value: &Value, at: String, out: &mut Vec<String>) {
    let step = |name: &str| format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
    match value {
        Value::Object(members) => members.iter().for_each(|(name, member)| pointers(member, step(name), out)),
        Value::Array(items) => items.iter().enumerate().for_each(|(n, item)| pointers(item, step(&n.to_string()), out)),
        _ => {}
    }
    out.push(at);
}

/// Something else in the place of this.
fn another(dice: &mut Dice, value: &Value, whole: &Value) -> Value {
    let texts =
        ["", "x", "0", "1", "2", "5", "007", "18446744073709551615", "18446744073709551616", "none", "receipt", "log"];
    match dice.below(12) {
        0 => Value::Null,
        1 => dice.one_in(2).into(),
        2 => (*dice.of(&[0_i64, 1, -1, 3, 7, 9_007_199_254_740_991])).into(),
        3 | 4 => (*dice.of(&texts)).into(),
        5 => "0".repeat(*dice.of(&[63, 64, 65, 128, 129, 256, 257, 1024])).into(),
        6 => dice.of(&[json!([]), json!({}), json!([1]), json!(["9", "2", "1x"]), json!({"id": "r"})]).clone(),
        7 => "é".repeat(*dice.of(&[1, 64, 65, 128, 129])).into(),
        // Another value of the same document.
        8 | 9 => {
            let mut all = Vec::new();
            pointers(whole, String::new(), &mut all);
            whole.pointer(&all[dice.below(all.len())]).unwrap().clone()
        }
        _ => match value {
            Value::Number(number) => (number.as_i64().unwrap_or(0) + dice.of(&[-1, 1])).into(),
            Value::Bool(flag) => (!flag).into(),
            Value::String(text) => match text.parse::<u64>() {
                Ok(number) if dice.one_in(2) => number.wrapping_add(*dice.of(&[1, 2, u64::MAX])).to_string().into(),
                _ if dice.one_in(2) => text.to_uppercase().into(),
                _ => text.chars().rev().collect::<String>().into(),
            },
            Value::Array(items) => items.iter().rev().chain(items.first()).cloned().collect(),
            other => other.clone(),
        },
    }
}

/// Changes a member, takes one away, or adds one; says which.
fn change(dice: &mut Dice, value: &mut Value) -> String {
    let mut all = Vec::new();
    pointers(value, String::new(), &mut all);
    let at = dice.of(&all).clone();
    let whole = value.clone();
    let (parent, name) = at.rsplit_once('/').unwrap_or(("", ""));
    match dice.below(5) {
        0 if !at.is_empty() => {
            match value.pointer_mut(parent).unwrap() {
                Value::Object(members) => drop(members.remove(&name.replace("~1", "/").replace("~0", "~"))),
                Value::Array(items) => drop(items.remove(name.parse().unwrap())),
                _ => {}
            }
            format!("-{at}")
        }
        1 => {
            let names = ["a", "ext", "event", "run", "verdict", "boot", "revoked", "x/y~z"];
            let added = another(dice, &Value::Null, &whole);
            match value.pointer_mut(&at).unwrap() {
                Value::Object(members) => drop(members.insert((*dice.of(&names)).to_owned(), added)),
                Value::Array(items) => items.push(added),
                other => *other = added,
            }
            format!("+{at}")
        }
        _ => {
            let place = value.pointer_mut(&at).unwrap();
            *place = another(dice, place, &whole);
            format!("={at} {}", place.to_string().chars().take(70).collect::<String>())
        }
    }
}

/// Changes a byte of a text: flips a bit of it, takes it away, or puts something before it that means something to a reader of
/// JSON.
fn spoil(dice: &mut Dice, text: &mut Vec<u8>) -> String {
    let at = dice.below(text.len());
    match dice.below(3) {
        0 => text[at] ^= 1 << dice.below(8),
        1 => drop(text.remove(at)),
        _ => text.insert(at, *dice.of(b"\"\\,:{}[]0-.eE+u/ \n\x00\x1f\x7f\xc3\xed\xa0\xf4\xff")),
    }
    format!("spoilt at {at} ")
}

/// The log with other bodies, signed by the keys that signed before. With `relink` each receipt names the chain value of the one
/// that stands before it now.
fn rewritten(log: &Log, bodies: &BTreeMap<usize, Vec<u8>>, relink: bool) -> Log {
    let mut out = log.clone();
    out.receipts.clear();
    let mut renamed: BTreeMap<String, String> = BTreeMap::new();
    for (at, receipt) in log.receipts.iter().enumerate() {
        let mut body = bodies.get(&at).cloned().unwrap_or_else(|| receipt.body.clone());
        if relink && let Ok(mut value) = serde_json::from_slice::<Value>(&body) {
            let before = value.clone();
            for place in ["/prev", "/run/prev"] {
                let known = value.pointer(place).and_then(Value::as_str).and_then(|old| renamed.get(old));
                if let Some(new) = known.cloned() {
                    *value.pointer_mut(place).unwrap() = new.into();
                }
            }
            if value != before {
                body = canonical(&value);
            }
        }
        let value: Value = serde_json::from_slice(&body).unwrap_or_default();
        let seq = value["seq"].as_str().and_then(|seq| seq.parse().ok()).unwrap_or(receipt.seq);
        let key = log.keys.iter().find(|(key, _)| key.id() == receipt.key_id).unwrap().0.clone();
        out.push_bytes(body, seq, &key);
        let added: &mut Receipt = out.receipts.last_mut().unwrap();
        // What an envelope and a frame say beside the body stays: it is the body that is odd.
        added.key_id = match value["key_id"].as_str() {
            Some(id) => id.to_owned(),
            None => receipt.key_id.clone(),
        };
        renamed.insert(hex(&receipt.chain), hex(&added.chain));
    }
    out
}

/// A log with one to three odd receipts, and what is odd about them.
fn odd_log(dice: &mut Dice) -> (Log, String) {
    let log = rich();
    let (mut bodies, mut what) = (BTreeMap::new(), String::new());
    for _ in 0..=dice.below(3) {
        let at = dice.below(log.receipts.len());
        let mut value = log.receipts[at].value();
        for _ in 0..=dice.below(2) {
            what += &format!("[{at}]{} ", change(dice, &mut value));
        }
        let mut body = canonical(&value);
        if dice.one_in(12) {
            // Not canonical: a space, which changes nothing else.
            body.push(b' ');
            what += "space ";
        }
        if dice.one_in(20) && value.is_object() {
            value["ext"] = json!({"a": "x".repeat(47_000 + dice.below(1_500))});
            body = canonical(&value);
            what += &format!("long {} ", body.len());
        }
        if dice.one_in(8) {
            what += &spoil(dice, &mut body);
        }
        bodies.insert(at, body);
    }
    let relink = !dice.one_in(3);
    let mut log = rewritten(&log, &bodies, relink);
    if dice.one_in(8) {
        let at = dice.below(log.receipts.len());
        let mut line: Value = serde_json::from_slice(&log.receipts[at].envelope()).unwrap();
        what += &format!("line[{at}]{} ", change(dice, &mut line));
        log.receipts[at].other_line = Some(canonical(&line));
    }
    if dice.one_in(6) {
        let at = dice.below(log.receipts.len());
        match dice.below(3) {
            0 => drop(log.receipts.remove(at)),
            1 => log.receipts.insert(at, log.receipts[at].clone()),
            _ => log.receipts.swap(at, 0),
        }
        what += &format!("moved {at}");
    }
    (log, what)
}

/// Files, the input among them, and what is odd.
type Odd = (Files, String, String);

fn odd_bundle(dice: &mut Dice) -> Odd {
    let (log, what) = odd_log(dice);
    (sealed(&log).directory("b"), "b".into(), what)
}

fn odd_journal(dice: &mut Dice) -> Odd {
    let (log, mut what) = odd_log(dice);
    let sizes = [4, log.receipts.len() - 1];
    let mut files = log.data("data", &sizes);
    if dice.one_in(3) {
        let mut segments = log.segments();
        let at = dice.below(segments.len());
        let segment = &mut segments[at];
        let place = dice.below(segment.frames.len());
        let frame = &mut segment.frames[place];
        match dice.below(5) {
            0 => frame.seq = frame.seq.wrapping_add(*dice.of(&[1, u64::MAX, 3])),
            1 => frame.chain = tree::leaf(&frame.chain),
            2 => frame.kind = *dice.of(&[1, 2, 4]),
            3 => segment.number += 1,
            _ => segment.prev_chain = tree::leaf(&segment.prev_chain),
        }
        what += &format!("frame {at}/{place}");
        files.extend(segment::files(&segments, "data/journal"));
    }
    (files, "data".into(), what)
}

/// A good log, one of whose documents is odd; what is signed over it is signed anew or not.
fn odd_document(dice: &mut Dice) -> Odd {
    let log = rich();
    let mut bundle = log.bundle(if dice.one_in(2) { 0 } else { 4 }, log.receipts.len());
    let names = ["keys.json", "manifest.json", "frontier.json", "manifest.dsse.json", "keys.json", "manifest.json"];
    let name = *dice.of(&names);
    let mut what = name.to_owned();
    let mut value = bundle.json(name);
    let inner = name == "keys.json" && dice.one_in(2);
    for _ in 0..=dice.below(2) {
        what += &format!(" {}", change(dice, &mut value));
    }
    if inner {
        // Within a certificate, which its issuer signed.
        value = bundle.json(name);
        let at = dice.below(value["certs"].as_array().unwrap().len());
        let body = crate::forge::unbase64(value["certs"][at]["payload"].as_str().unwrap());
        let mut body: Value = serde_json::from_slice(&body).unwrap();
        what += &format!(" certificate {at} {}", change(dice, &mut body));
        let root = at < log.logs.len();
        let signer = if root { log.root.clone() } else { log.log_key() };
        value["certs"][at] = signer.envelope(crate::forge::key::KEY_TYPE, &canonical(&body));
    }
    bundle.set(name, canonical(&value));
    match name {
        "manifest.dsse.json" => {}
        "manifest.json" if !dice.one_in(3) => drop(bundle.sign()),
        "manifest.json" => {}
        _ => drop(bundle.reseal()),
    }
    (bundle.directory("b"), "b".into(), what)
}

fn odd_proof(dice: &mut Dice) -> Odd {
    if dice.one_in(2) {
        let mut value = event_proof(&rich());
        let mut what = change(dice, &mut value);
        if dice.one_in(2) {
            let mut body: Value = {
                value = event_proof(&rich());
                let payload = crate::forge::unbase64(value["receipt"]["payload"].as_str().unwrap());
                serde_json::from_slice(&payload).unwrap()
            };
            what = format!("body {}", change(dice, &mut body));
            value["receipt"]["payload"] = crate::forge::base64(&canonical(&body)).into();
        }
        return (Files::from([("e.event-proof".into(), canonical(&value))]), "e.event-proof".into(), what);
    }
    let (log, mut what) = odd_log(dice);
    let at = dice.below(log.receipts.len());
    let mut files = proof_files(&log, at);
    if dice.one_in(3) {
        let text = String::from_utf8(files["p.tlog-proof"].clone()).unwrap();
        let lines: Vec<&str> = text.split('\n').collect();
        let line = dice.below(lines.len());
        let kept: Vec<&str> = lines.iter().enumerate().filter(|(n, _)| *n != line).map(|(_, line)| *line).collect();
        files.insert("p.tlog-proof".into(), kept.join("\n").into_bytes());
        what += &format!("proof without line {line}");
    }
    (files, "p.tlog-proof".into(), what)
}

/// A checkpoint that the reader kept: of this log, of one that went on otherwise, of another, or by a stranger.
fn remembered(dice: &mut Dice) -> Vec<u8> {
    let log = rich();
    let size = 1 + dice.below(log.receipts.len());
    let signer = log.log_key_at(size).clone();
    match dice.below(6) {
        0 => note::checkpoint(&signer, log::ORIGIN, size as u64 + 9, &tree::leaf(b"")),
        1 => note::checkpoint(&signer, log::ORIGIN, size as u64, &tree::leaf(b"")),
        2 => note::checkpoint(&signer, "other.example/log", size as u64, &log.root_at(size)),
        3 => note::checkpoint(&log.logs[dice.below(2)].0, log::ORIGIN, size as u64, &log.root_at(size)),
        _ => log.checkpoint(size),
    }
}

fn step() -> u64 {
    std::env::var("CLYRA_MUTATIONS").map_or(97, |every| every.parse().expect("CLYRA_MUTATIONS: every so many cases"))
}

/// Has so many cases judged by all.
fn judge(name: &str, make: fn(&mut Dice) -> Odd) {
    let memory = Path::new("/dev/shm");
    let root = rich().root.vkey();
    let mut others = Verifier::all();
    let (mut differ, mut judged, mut good) = (Vec::new(), 0, 0);
    for seed in (0..CASES).step_by(usize::try_from(step()).unwrap()) {
        let mut dice = Dice(seed ^ u64::from(crc32c::crc32c(name.as_bytes())) << 32);
        let (files, input, what) = make(&mut dice);
        let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        for (path, bytes) in &files {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let input = directory.path().join(input);
        let mut request = json!({"inputs": [input], "root": root});
        let remembered = dice.one_in(4).then(|| remembered(&mut dice));
        if let Some(note) = &remembered {
            let path = directory.path().join("remembered");
            std::fs::write(&path, note).unwrap();
            request["checkpoint"] = path.to_str().unwrap().into();
        }
        for other in &mut others {
            other.ask(&request);
        }
        let trusted_root = Some(PublicKey::from_vkey(&root).unwrap());
        let options = VerifyOptions { trusted_root, remembered_checkpoint: remembered, ..VerifyOptions::default() };
        let verdict = verify(&[&input], &options).ok();
        let text = verdict.as_ref().map(|verdict| String::from_utf8(verdict.to_json()).unwrap());
        good += usize::from(verdict.is_some_and(|verdict| verdict.ok));
        judged += 1;
        for other in &mut others {
            let answer = other.answer();
            if answer != text {
                differ.push(format!("{name} {seed} {what}:\n  rust {text:?}\n  {:4} {answer:?}", other.name));
            }
        }
    }
    let others: Vec<&str> = others.iter().map(|other| other.name.as_str()).collect();
    println!("odd {name}: {judged} judged by rust {}, {good} of them good, {} differ", others.join(" "), differ.len());
    assert!(differ.is_empty(), "{} differ:\n{}", differ.len(), differ.join("\n"));
}

#[test]
fn odd_receipts_in_a_bundle_are_judged_the_same() {
    judge("bundle", odd_bundle);
}

#[test]
fn odd_receipts_in_a_journal_are_judged_the_same() {
    judge("journal", odd_journal);
}

#[test]
fn odd_documents_are_judged_the_same() {
    judge("document", odd_document);
}

#[test]
fn odd_proofs_are_judged_the_same() {
    judge("proof", odd_proof);
}
