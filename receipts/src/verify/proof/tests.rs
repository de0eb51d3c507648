use std::path::{Path, PathBuf};

use super::*;
use crate::commit::EventTree;
use crate::keys::{Keys, PlainFiles};
use crate::receipt::StreamRecord;
use crate::sample::{attempt, exchange, fast_directory, options, outcome};
use crate::streams::StreamStore;
use crate::tlog::{Proven, prove, prove_event};
use crate::verify::{VerifyOptions, verify};
use crate::witness::{Witness, WitnessPolicy};
use crate::{Log, Sealer};

const EVENTS: [&[u8]; 5] = [b"data: one\n\n", b"data: two\n\n", b"data: three\n\n", b": ping\n\n", b"data: [DONE]\n\n"];

/// A sealed log with an outcome over [`EVENTS`], and that outcome's number.
fn evidence() -> (tempfile::TempDir, u64) {
    let directory = fast_directory();
    let (log, _) = Log::open(options(directory.path())).unwrap();
    exchange(&log);
    let mut tree = EventTree::keeping();
    EVENTS.iter().for_each(|event| tree.push(event));
    let asked = attempt();
    let token = log.append_blocking(asked.clone()).unwrap();
    let mut answered = outcome(&asked, token.seq);
    answered.stream = Some(StreamRecord { events: tree.events(), held_max_bytes: 0, root: tree.root_hex() });
    let seq = log.append_blocking(answered).unwrap().seq;
    let mut store = StreamStore::open(directory.path(), StreamStore::BYTES_MAX).unwrap();
    store.append(seq, &tree.into_leaves().unwrap()).unwrap();
    exchange(&log);
    Sealer::open(directory.path()).unwrap().seal(log.status().durable_count, &[]).unwrap().unwrap();
    log.shutdown().unwrap();
    (directory, seq)
}

/// Lays a proof out as its files.
fn lay_out(directory: &Path, proven: &Proven) -> PathBuf {
    let proof = directory.join("p.tlog-proof");
    std::fs::write(&proof, &proven.proof).unwrap();
    std::fs::write(directory.join("p.receipt.json"), &proven.receipt).unwrap();
    std::fs::write(directory.join("keys.json"), &proven.keys).unwrap();
    proof
}

fn found(path: &Path, options: &VerifyOptions) -> Vec<String> {
    let verdict = verify(&[path], options).unwrap();
    verdict.findings.iter().map(|finding| format!("{} {}", finding.code.code(), finding.path)).collect()
}

#[test]
fn a_proof_of_a_receipt_stands_by_itself() {
    let (data, seq) = evidence();
    let proven = prove(data.path(), seq).unwrap();
    let out = fast_directory();
    let path = lay_out(out.path(), &proven);
    let root = Keys::open(data.path()).unwrap().root().clone();
    let trusted = VerifyOptions { trusted_root: Some(root), ..VerifyOptions::default() };
    let verdict = verify(&[&path], &trusted).unwrap();
    assert!(verdict.ok, "{:?}", verdict.findings);
    assert_eq!((verdict.stats.receipts, verdict.stats.checkpoints, verdict.stats.first_seq), (1, 1, Some(seq)));

    let stranger = VerifyOptions {
        trusted_root: Some(Keys::open(evidence().0.path()).unwrap().root().clone()),
        ..VerifyOptions::default()
    };
    assert_eq!(found(&path, &stranger), ["E301 keys.json"]);

    let with = |proven: &Proven| {
        let out = fast_directory();
        found(&lay_out(out.path(), proven), &trusted)
    };
    let another = prove(data.path(), seq - 1).unwrap();
    assert_eq!(with(&Proven { receipt: another.receipt.clone(), ..proven.clone() }), ["E602 p.tlog-proof"]);
    let index = proven.proof.replace(&format!("index {seq}\n"), &format!("index {}\n", seq - 1));
    assert_eq!(with(&Proven { proof: index, ..proven.clone() }), ["E602 p.tlog-proof"]);
    let text = proven.proof.replacen("@v1", "@v2", 1);
    assert_eq!(with(&Proven { proof: text, ..proven.clone() }), ["E405 p.tlog-proof"]);
    let size = proven.proof.lines().position(|line| line.is_empty()).unwrap() + 2;
    let resized: Vec<String> = proven
        .proof
        .lines()
        .enumerate()
        .map(|(at, line)| if at == size { "9".into() } else { line.to_owned() })
        .collect();
    let resized = with(&Proven { proof: resized.join("\n") + "\n", ..proven.clone() });
    assert_eq!(resized, ["E402 p.tlog-proof", "E602 p.tlog-proof"]);
    let mut receipt = proven.receipt.clone();
    let at = receipt.len() - 20;
    receipt[at] = if receipt[at] == b'A' { b'B' } else { b'A' };
    assert_eq!(with(&Proven { receipt, ..proven.clone() }), ["E401 p.receipt.json", "E602 p.tlog-proof"]);
    assert_eq!(with(&Proven { receipt: b"{".to_vec(), ..proven.clone() }), ["E201 p.receipt.json"]);
    assert_eq!(with(&Proven { keys: b"{}".to_vec(), ..proven.clone() }), ["E206 keys.json"]);

    std::fs::remove_file(out.path().join("p.receipt.json")).unwrap();
    std::fs::remove_file(out.path().join("keys.json")).unwrap();
    assert_eq!(found(&path, &trusted), ["E101 keys.json", "E101 p.receipt.json"]);
    // A checkpoint that was met elsewhere with another root is a fork, wherever it was met.
    let (other, _) = evidence();
    std::fs::write(&path, prove(other.path(), seq).unwrap().proof).unwrap();
    let verdict = verify(&[data.path(), path.as_path()], &VerifyOptions::default()).unwrap();
    assert!(verdict.findings.iter().any(|finding| finding.code == Code::E606), "{:?}", verdict.findings);
}

#[test]
fn a_proof_of_an_event_is_about_that_event_only() {
    let (data, seq) = evidence();
    let out = fast_directory();
    let path = out.path().join("x.event-proof");
    let check = |bytes: &[u8], event: Option<&[u8]>| {
        std::fs::write(&path, bytes).unwrap();
        found(&path, &VerifyOptions { event: event.map(<[u8]>::to_vec), ..VerifyOptions::default() })
    };
    for (number, event) in EVENTS.iter().enumerate() {
        let proof = prove_event(data.path(), seq, number as u64).unwrap();
        assert_eq!(check(&proof, Some(event)), [""; 0], "{number}");
        assert_eq!(check(&proof, Some(b"data: other\n\n")), ["E602 x.event-proof"]);
        assert_eq!(check(&proof, None), [""; 0]);
    }
    let good = String::from_utf8(prove_event(data.path(), seq, 2).unwrap()).unwrap();
    for (from, to) in [("\"event\":\"2\"", "\"event\":\"1\""), ("\"events\":\"5\"", "\"events\":\"6\"")] {
        assert_eq!(check(good.replace(from, to).as_bytes(), None), ["E602 x.event-proof"], "{to}");
    }
    let unknown = good.replacen('{', "{\"a\":1,", 1);
    assert_eq!(check(unknown.as_bytes(), None), ["E207 x.event-proof#/a"]);
    assert_eq!(check(good.replace("\"event\":\"2\"", "\"event\":2").as_bytes(), None), ["E206 x.event-proof#/event"]);
    assert_eq!(check(format!("{good}\n").as_bytes(), None), ["E203 x.event-proof"]);
    assert_eq!(check(b"", None), ["E201 x.event-proof"]);
    // The proof of one receipt around another receipt's stream.
    let streamless = {
        let proven = prove(data.path(), 0).unwrap();
        let value = parse(good.as_bytes(), Limits::MANIFEST).unwrap();
        let Value::Object(mut members) = value else { panic!() };
        members.insert("receipt".into(), parse(&proven.receipt, Limits::RECEIPT).unwrap());
        members.insert("proof".into(), Value::from(proven.proof));
        to_vec(&Value::Object(members))
    };
    assert_eq!(check(&streamless, None), ["E602 x.event-proof"]);
}

#[test]
fn a_quorum_is_asked_of_bundles_and_proofs() {
    let (data, seq) = evidence();
    let keys = Keys::open(data.path()).unwrap();
    let state = fast_directory();
    let witness = Witness::open(state.path(), "w.example/1", vec![keys.log().clone()], &PlainFiles).unwrap();
    let vkey = witness.key().to_vkey();
    let asked = VerifyOptions {
        witness_policy: Some(WitnessPolicy::parse(format!("witness w {vkey}\nquorum w\n").as_bytes()).unwrap()),
        ..VerifyOptions::default()
    };
    let out = fast_directory();
    let proven = prove(data.path(), seq).unwrap();
    let path = lay_out(out.path(), &proven);
    assert_eq!(found(&path, &asked), ["E404 p.tlog-proof"]);
    let bundle = crate::bundle::list(data.path()).unwrap().remove(0).path;
    let name = bundle.file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(found(&bundle, &asked), [format!("E404 {name}/checkpoint")]);

    let note = proven.proof.split_once("\n\n").unwrap().1;
    let request = crate::witness::AddCheckpoint { old: 0, consistency: Vec::new(), note: note.as_bytes().to_vec() };
    let line = witness.add_checkpoint(&request.to_body(), 5).body;
    std::fs::write(&path, format!("{}{line}", proven.proof)).unwrap();
    assert_eq!(found(&path, &asked), [""; 0]);
    let wrong = line.replacen("— w.example/1 ", "", 1);
    let mut data = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, wrong.trim_end()).unwrap();
    data[40] ^= 1;
    let wrong = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &data);
    std::fs::write(&path, format!("{}— w.example/1 {wrong}\n", proven.proof)).unwrap();
    assert_eq!(found(&path, &asked), ["E402 p.tlog-proof", "E404 p.tlog-proof"]);
    assert_eq!(found(&path, &VerifyOptions::default()), [""; 0], "nobody asked for this witness");
}
