use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::checkpoint::SignedNote;
use crate::keys::{Keys, PlainFiles};
use crate::sample::{ORIGIN, exchange, fast_directory, options};
use crate::tlog::TlogError;
use crate::tree::{Span, empty_root, leaf_hash};
use crate::{Log, Publication, Sealer};

/// A log of leaves 0, 1, 2, … with real keys.
struct Grown {
    _directory: tempfile::TempDir,
    keys: Keys,
    span: Span,
}

impl Grown {
    fn new() -> Self {
        let directory = fast_directory();
        let keys = Keys::init(directory.path(), ORIGIN).unwrap();
        let mut span = Span::default();
        (0..20u64).for_each(|index| span.push(leaf_hash(&index.to_be_bytes())));
        Self { _directory: directory, keys, span }
    }

    fn root(&self, size: u64) -> Hash {
        use crate::tree::Subtrees as _;
        if size == 0 { empty_root() } else { self.span.subtree(0, size).unwrap() }
    }

    fn note(&self, size: u64, root: Hash) -> Vec<u8> {
        Checkpoint { origin: ORIGIN.into(), size, root }.sign(&self.keys).unwrap()
    }

    /// The request that a well-behaved log makes.
    fn request(&self, old: u64, size: u64) -> AddCheckpoint {
        let consistency = self.span.consistency(old, size).unwrap_or_default();
        AddCheckpoint { old, consistency, note: self.note(size, self.root(size)) }
    }
}

fn witness(directory: &Path, log: &Grown) -> Witness {
    Witness::open(directory, "witness.example/w1", vec![log.keys.log().clone()], &PlainFiles).unwrap()
}

fn status(witness: &Witness, request: &AddCheckpoint) -> u16 {
    witness.add_checkpoint(&request.to_body(), 1_700_000_000).status
}

#[test]
fn a_witness_follows_a_log_and_answers_as_the_protocol_says() {
    let (directory, log) = (fast_directory(), Grown::new());
    let witness = witness(directory.path(), &log);
    let good = log.request(0, 1);
    let answer = witness.add_checkpoint(&good.to_body(), 1_700_000_000);
    assert_eq!(answer.status, 200);
    let cosignature = good.read_answer(answer.body.as_bytes(), witness.key()).unwrap();
    assert_eq!((cosignature.time, cosignature.name.as_str()), (1_700_000_000, "witness.example/w1"));

    // A signature of the log's key that is wrong; one of no key that is known.
    let mut forged = log.request(1, 3);
    let at = forged.note.len() - 10;
    forged.note[at] = if forged.note[at] == b'A' { b'B' } else { b'A' };
    assert_eq!(status(&witness, &forged), 403);
    let other = Grown::new();
    assert_eq!(status(&witness, &AddCheckpoint { note: other.note(3, log.root(3)), ..log.request(1, 3) }), 403);
    let renamed = String::from_utf8(log.request(1, 3).note).unwrap().replace(ORIGIN, "other.example/log");
    assert_eq!(status(&witness, &AddCheckpoint { note: renamed.into_bytes(), ..log.request(1, 3) }), 404);

    // A proof that is missing, wrong, or too long; a larger old size; a tree of another root.
    assert_eq!(status(&witness, &AddCheckpoint { consistency: Vec::new(), ..log.request(1, 3) }), 422);
    let mut wrong = log.request(1, 3);
    wrong.consistency[1][0] ^= 1;
    assert_eq!(status(&witness, &wrong), 422);
    let mut longer = log.request(1, 3);
    longer.consistency.push([0; 32]);
    assert_eq!(status(&witness, &longer), 422);
    assert_eq!(status(&witness, &AddCheckpoint { old: 4, ..log.request(1, 3) }), 400);
    assert_eq!(status(&witness, &AddCheckpoint { note: log.note(3, [7; 32]), ..log.request(1, 3) }), 422);

    assert_eq!(status(&witness, &log.request(1, 3)), 200);
    let conflict = witness.add_checkpoint(&log.request(1, 5).to_body(), 1);
    assert_eq!((conflict.status, conflict.body.as_str(), conflict.content_type), (409, "3\n", "text/x.tlog.size"));
    assert_eq!(status(&witness, &log.request(3, 3)), 200, "the same tree again");
    assert_eq!(status(&witness, &AddCheckpoint { note: log.note(3, [7; 32]), ..log.request(3, 3) }), 422);
    assert_eq!(status(&witness, &log.request(3, 5)), 200);
    let again = witness.add_checkpoint(&log.request(0, 5).to_body(), 1);
    assert_eq!((again.status, again.body.as_str()), (409, "5\n"));

    for body in ["", "old 1\n", "old 01\n\nx", "new 1\n\nx", "old 5\nAA==\n\nx", "old 5\n\nno note\n"] {
        assert_eq!(witness.add_checkpoint(body.as_bytes(), 1).status, 400, "{body:?}");
    }
    let many = AddCheckpoint { consistency: vec![[0; 32]; 64], ..log.request(5, 6) };
    assert_eq!(status(&witness, &many), 400);
}

#[test]
fn an_empty_tree_has_one_root_and_no_proof() {
    let (directory, log) = (fast_directory(), Grown::new());
    let witness = witness(directory.path(), &log);
    assert_eq!(status(&witness, &AddCheckpoint { note: log.note(0, [7; 32]), ..log.request(0, 0) }), 422);
    assert_eq!(status(&witness, &log.request(0, 0)), 200);
    assert_eq!(status(&witness, &AddCheckpoint { consistency: vec![[0; 32]], ..log.request(0, 4) }), 422);
    assert_eq!(status(&witness, &log.request(0, 4)), 200);
}

#[test]
fn what_was_cosigned_is_known_after_a_restart() {
    let (directory, log) = (fast_directory(), Grown::new());
    let first = witness(directory.path(), &log);
    let vkey = first.key().to_vkey();
    assert_eq!(status(&first, &log.request(0, 7)), 200);
    let error = Witness::open(directory.path(), "witness.example/w1", Vec::new(), &PlainFiles).unwrap_err();
    assert!(matches!(error, WitnessError::Locked(_)), "{error}");
    drop(first);
    let second = witness(directory.path(), &log);
    assert_eq!(second.key().to_vkey(), vkey);
    assert_eq!(WitnessKey::from_vkey(&vkey).unwrap(), *second.key());
    assert_eq!(status(&second, &log.request(0, 9)), 409);
    assert_eq!(status(&second, &log.request(7, 9)), 200);
    // The monitoring side shows the log's signature and the witness's.
    use sha2::{Digest as _, Sha256};
    let origin = crate::hex::encode(&Sha256::digest(ORIGIN));
    let note = SignedNote::parse(&second.checkpoint(&origin).unwrap()).unwrap();
    assert!(note.verify([log.keys.log()]).is_ok() && second.key().verify(&note).unwrap().is_some());
    assert_eq!(second.checkpoint("00"), None);
    drop(second);

    // Without its key, or with a state that cannot be read, it does not go on.
    let kept = directory.path().join("logs").join(&origin);
    std::fs::write(&kept, b"nothing").unwrap();
    let open = || Witness::open(directory.path(), "witness.example/w1", vec![log.keys.log().clone()], &PlainFiles);
    assert!(matches!(open().unwrap_err(), WitnessError::Damaged { .. }));
    std::fs::remove_file(directory.path().join("witness.pem")).unwrap();
    assert!(matches!(open().unwrap_err(), WitnessError::Key(_)));
}

#[test]
fn of_two_at_the_same_time_one_is_first() {
    let (directory, log) = (fast_directory(), Grown::new());
    let witness = witness(directory.path(), &log);
    assert_eq!(status(&witness, &log.request(0, 1)), 200);
    let requests: Vec<_> = (2..10).map(|size| log.request(1, size)).collect();
    let mut answers: Vec<u16> = std::thread::scope(|scope| {
        let running: Vec<_> = requests.iter().map(|request| scope.spawn(|| status(&witness, request))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    answers.sort_unstable();
    assert_eq!(answers, [200, 409, 409, 409, 409, 409, 409, 409]);
}

#[test]
fn a_cosignature_is_held_to_its_key_its_time_and_its_text() {
    let (directory, log) = (fast_directory(), Grown::new());
    let witness = witness(directory.path(), &log);
    let request = log.request(0, 4);
    let line = witness.add_checkpoint(&request.to_body(), 77).body;
    let note = |text: &str, line: &str| SignedNote::parse(format!("{text}\n{line}").as_bytes()).unwrap();
    let text = SignedNote::parse(&request.note).unwrap().text().to_owned();
    let cosignature = witness.key().verify(&note(&text, &line)).unwrap().unwrap();
    assert_eq!((cosignature.time, cosignature.to_line()), (77, line.clone()));
    assert!(witness.key().verify(&note("o\n4\nAA\n", &line)).is_err());
    assert_eq!(witness.key().verify(&SignedNote::parse(&request.note).unwrap()), Ok(None));
    let later = Cosignature { time: 78, ..cosignature.clone() };
    assert!(witness.key().verify(&note(&text, &later.to_line())).is_err());
    // Text of another type, hash or name is no witness's key.
    let vkey = witness.key().to_vkey();
    assert!(WitnessKey::from_vkey(&log.keys.log().to_vkey()).is_err());
    assert!(WitnessKey::from_vkey(&vkey.replace("w1+", "w2+")).is_err());
    assert!(crate::PublicKey::from_vkey(&vkey).is_err());
}

/// Three keys of witnesses.
fn vkeys() -> Vec<String> {
    let key = |name: &str, seed: u8| {
        let private = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
        WitnessKey::new(name, private.verifying_key().as_bytes()).unwrap().to_vkey()
    };
    vec![key("w.example/x", 1), key("w.example/y", 2), key("w.example/z", 3)]
}

fn cosigned(by: &[u8]) -> SignedNote {
    use ed25519_dalek::Signer as _;
    let text = "o\n4\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
    let mut note = format!("{text}\n");
    for seed in by {
        let private = ed25519_dalek::SigningKey::from_bytes(&[*seed; 32]);
        let name = ["w.example/x", "w.example/y", "w.example/z"][usize::from(*seed) - 1];
        let key = WitnessKey::new(name, private.verifying_key().as_bytes()).unwrap();
        let signature = private.sign(&cosignature::message(5, text)).to_bytes();
        note.push_str(&key.cosignature(5, signature).to_line());
    }
    note.push_str("— unknown AAAAAAAA\n");
    SignedNote::parse(note.as_bytes()).unwrap()
}

#[test]
fn a_quorum_is_what_the_policy_says() {
    let keys = vkeys();
    let [x, y, z] = keys.as_slice() else { panic!() };
    let witnesses = format!("# three\n\nwitness X {x}\nwitness Y {y} https://y.example/\n  witness\tZ {z}\n");
    let met = |rule: &str, by: &[u8]| {
        WitnessPolicy::parse(format!("{witnesses}{rule}").as_bytes()).unwrap().is_met(&cosigned(by))
    };
    assert!(met("quorum none\n", &[]) && met("quorum X", &[1]) && !met("quorum X", &[2, 3]));
    for (rule, enough, short) in [
        ("group g any X Y Z\nquorum g\n", &[3][..], &[][..]),
        ("group g all X Y Z\nquorum g\n", &[1, 2, 3], &[1, 3]),
        ("group g 2 X Y Z\nquorum g\n", &[1, 3], &[2]),
        ("group a any X Y\ngroup b all a Z\nquorum b\n", &[2, 3], &[1, 2]),
    ] {
        assert!(met(rule, enough) && !met(rule, short), "{rule}");
    }
    let wrong = {
        let good = cosigned(&[1]).with_signatures_of(&["w.example/x"]);
        SignedNote::parse(good.replacen("o\n4", "o\n5", 1).as_bytes()).unwrap()
    };
    let policy = WitnessPolicy::parse(format!("{witnesses}quorum X\n").as_bytes()).unwrap();
    assert!(!policy.is_met(&wrong));
    assert_eq!(policy.witnesses().count(), 3);
}

#[test]
fn a_policy_out_of_form_is_refused_with_its_line() {
    let keys = vkeys();
    let [x, y, _] = keys.as_slice() else { panic!() };
    let log = Grown::new().keys.log().to_vkey();
    assert!(WitnessPolicy::parse(format!("log {log} https://l.example\nquorum none").as_bytes()).is_ok());
    for (text, line) in [
        (format!("witness X {x}\nwitness X {y}\nquorum X\n"), 2),
        (format!("witness X {x}\nwitness Y {x}\nquorum X\n"), 2),
        (format!("witness none {x}\nquorum none\n"), 1),
        (format!("witness X {log}\nquorum X\n"), 1),
        (format!("log {x}\nquorum none\n"), 1),
        (format!("log {log}\nlog {log}\nquorum none\n"), 2),
        ("quorum X\n".to_owned(), 1),
        ("quorum none\nquorum none\n".to_owned(), 2),
        (format!("witness X {x}\ngroup g 2 X\nquorum g\n"), 2),
        (format!("witness X {x}\ngroup g 0 X\nquorum g\n"), 2),
        (format!("witness X {x}\ngroup g 01 X\nquorum g\n"), 2),
        (format!("witness X {x}\ngroup g any\nquorum g\n"), 2),
        (format!("witness X {x}\ngroup g any X X\nquorum g\n"), 2),
        (format!("witness X {x}\ngroup g any X\ngroup h any X\nquorum h\n"), 3),
        ("group g any none\nquorum g\n".to_owned(), 1),
        ("quorum none\r\n".to_owned(), 1),
        ("mirror x\nquorum none\n".to_owned(), 1),
    ] {
        let error = WitnessPolicy::parse(text.as_bytes()).unwrap_err();
        assert!(matches!(&error, PolicyError::Line { line: found, .. } if *found == line), "{text:?}: {error}");
    }
    assert_eq!(WitnessPolicy::parse(b"# nothing\n").unwrap_err(), PolicyError::NoQuorum);
}

/// Asks a witness in the same process, as a client over a network would.
struct Direct(std::sync::Arc<Witness>, u64);

impl Cosigner for Direct {
    fn cosign(
        &mut self,
        checkpoint: &Checkpoint,
        note: &[u8],
        consistency: &dyn Fn(u64) -> Result<Vec<Hash>, TlogError>,
    ) -> Vec<Cosignature> {
        let request = AddCheckpoint { old: self.1, consistency: consistency(self.1).unwrap(), note: note.to_vec() };
        let answer = self.0.add_checkpoint(&request.to_body(), 9);
        if answer.status == 200 {
            self.1 = checkpoint.size;
        }
        let good = request.read_answer(answer.body.as_bytes(), self.0.key());
        // Whatever else an asker brings is not taken.
        let forged = good.clone().map(|good| Cosignature { name: "stranger".into(), ..good });
        forged.into_iter().chain(good.clone()).chain(good).collect()
    }
}

#[test]
fn a_sealed_checkpoint_carries_its_cosignatures_everywhere() {
    let (directory, state) = (fast_directory(), fast_directory());
    let (log, _) = Log::open(options(directory.path())).unwrap();
    let keys = Keys::open(directory.path()).unwrap();
    let witness = Witness::open(state.path(), "w.example/1", vec![keys.log().clone()], &PlainFiles).unwrap();
    let key = witness.key().clone();
    let witness = std::sync::Arc::new(witness);
    let mut sealer = Sealer::open(directory.path()).unwrap().publish_to(Publication {
        cosigner: Some(Box::new(Direct(std::sync::Arc::clone(&witness), 0))),
        witnesses: vec![key.clone()],
        ..Publication::default()
    });
    let mut notes = Vec::new();
    for _ in 0..3 {
        exchange(&log);
        let sealed = sealer.seal(log.status().durable_count, &[]).unwrap().unwrap();
        let note = std::fs::read(directory.path().join(format!("checkpoints/{}", sealed.size))).unwrap();
        assert_eq!(note, std::fs::read(directory.path().join("tlog/checkpoint")).unwrap());
        let parsed = SignedNote::parse(&note).unwrap();
        assert!(key.verify(&parsed).unwrap().is_some());
        assert_eq!(String::from_utf8(note.clone()).unwrap().matches("— ").count(), 2);
        notes.push(note);
    }
    let verdict = crate::verify(&[directory.path()], &crate::VerifyOptions::default()).unwrap();
    assert!(verdict.ok, "{:?}", verdict.findings);
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "(old|witness|group|quorum|[0-9a-z +=\\n\t]){0,40}") {
        for input in [bytes.as_slice(), text.as_bytes()] {
            let _ = AddCheckpoint::parse(input);
            let _ = WitnessPolicy::parse(input);
            let _ = WitnessKey::from_vkey(&String::from_utf8_lossy(input));
        }
    }

    #[test]
    fn a_request_is_read_as_it_was_written(old in any::<u64>(), n in 0usize..64, note in "[a-z]{1,20}\n\n— n AAAAAAAA\n") {
        let request = AddCheckpoint { old, consistency: vec![[3; 32]; n], note: note.into_bytes() };
        prop_assert_eq!(AddCheckpoint::parse(&request.to_body()), Ok(request));
    }
}
