//! Malformed evidence that verifiers once judged differently, because the text could be read in more than one way. Each is a
//! sentence of `SPEC.md` now.

use serde_json::{Value, json};

use super::journals::pruned_files;
use super::proofs::{event_proof, proof_of};
use super::valid::{rotate_receipt_key, rotation};
use super::{Case, of_log, of_small, sealed, small};
use crate::forge::json::canonical;
use crate::forge::key::Key;
use crate::forge::log::{self, Log, ORIGIN};
use crate::forge::segment::{self, Segment};
use crate::forge::{Files, base64, derive, hex, replace, sha256, tree};

pub(crate) fn cases() -> Vec<Case> {
    [bodies(), order(), kinds(), frames(), trust_files(), key_directories(), proofs(), remembered()]
        .into_iter()
        .flatten()
        .collect()
}

/// A log with such a receipt between two exchanges.
fn with(kind: &str, members: Value, change: impl FnOnce(&mut Value)) -> Log {
    let mut log = Log::started();
    log.exchange();
    log.push_with(kind, members, change);
    log.exchange();
    log
}

fn case(name: &str, about: &str, log: &Log, codes: &str) -> Case {
    of_log(&format!("forged/{name}"), about, log).finds(codes)
}

fn without(body: &mut Value, name: &str) {
    body.as_object_mut().unwrap().remove(name);
}

/// A body made so many bytes long below `ext`.
fn filled(body: &mut Value, bytes: usize) {
    body["ext"] = json!({"a": ""});
    let missing = bytes - canonical(body).len();
    body["ext"]["a"] = "x".repeat(missing).into();
}

fn bodies() -> Vec<Case> {
    let largest = with("bypass", log::bypass(), |body| filled(body, 48_128));
    let mut larger = with("bypass", log::bypass(), |body| filled(body, 48_129));
    larger.receipts[4].unreadable = true;
    let spaced = |enveloped: bool| {
        let mut log = Log::started();
        log.exchange();
        log.push("bypass", log::bypass());
        log.push_text("bypass", log::bypass(), |body| {
            if enveloped { body } else { replace(&body, "\"bytes\":10,", "\"bytes\": 10,") }
        });
        log.exchange();
        if enveloped {
            log.change_line(5, |line| replace(&line, ",\"payloadType\"", ", \"payloadType\""));
        }
        log.receipts.remove(4);
        log
    };
    let open = |name: &str, about: &str, number: &str| {
        let mut log = Log::started();
        log.exchange();
        log.push_text("bypass", log::bypass(), |body| replace(&body, "\"bytes\":10,", &format!("\"bytes\":{number}")));
        log.receipts[4].unreadable = true;
        log.exchange();
        case(name, about, &log, "E204")
    };
    let late = |name: &str, about: &str, log: &Log, codes: &str| {
        let mut bundle = sealed(log);
        let last = log.receipts.last().unwrap().chain;
        bundle.change("manifest.json", |manifest| manifest["chain"] = hex(&last).into()).sign();
        Case::new(&format!("forged/{name}"), about).bundle("0-7.pef", &bundle).finds(codes)
    };
    vec![
        of_log("valid/body-largest", "A body of 48,128 bytes, the most that one may have.", &largest),
        case(
            "e106-body-larger",
            "A body of 48,129 bytes: no document of its class is longer, and it may not.",
            &larger,
            "E106",
        ),
        late("e203-body-late", "A body with a space, after a gap: it has its own number.", &spaced(false), "E203 E501"),
        late(
            "e203-line-late",
            "An envelope with a space, after a gap: it has the receipt's number.",
            &spaced(true),
            "E203 E501",
        ),
        open("e204-body-fraction-open", "A count with the beginning of a fraction, and no digit after it.", "10.,"),
        open("e204-body-exponent-open", "A count with the beginning of an exponent, and no digit after it.", "10e,"),
        case(
            "e207-ext",
            "ext in a kind that has none: unknown, whatever it is.",
            &with("heartbeat", json!({"event": {"receipts": 5}}), |body| body["ext"] = 1.into()),
            "E207",
        ),
        case(
            "e206-run-parents-first",
            "Parents of a run: whether they ascend is not asked while one of them is no decimal.",
            &run(|run| run["parents"] = json!(["9", "2", "1x"])),
            "E206",
        ),
    ]
}

/// Two attempts of a run with their outcomes, the second attempt changed in its run.
fn run(change: impl FnOnce(&mut Value)) -> Log {
    let mut log = Log::started();
    let mut attempt = log::attempt();
    attempt["run"] = json!({"id": "r"});
    let seq = log.push("attempt", attempt.clone());
    log.outcome(seq);
    let seq = log.push_with("attempt", attempt, |body| change(&mut body["run"]));
    log.outcome(seq);
    log
}

fn genesis(change: impl FnOnce(&mut Value)) -> Log {
    let mut log = Log::empty(ORIGIN, "");
    log.begin();
    let event = log.genesis();
    log.push_with("genesis", json!({"event": event}), |body| {
        change(body);
        body["prev"] = hex(&derive("pef.v0 genesis", &canonical(&body["event"]))).into();
    });
    log.push("boot", json!({"event": {"clean": true}}));
    log.exchange();
    log
}

/// The key changes without a word at a receipt that lacks a member; an exchange under the new key follows.
fn silent(missing: &str) -> Log {
    let mut log = Log::started();
    log.exchange();
    log.certify_from(log.next_seq());
    log.push_with("bypass", log::bypass(), |body| without(body, missing));
    log.exchange();
    log
}

fn order() -> Vec<Case> {
    let mut told = Log::started();
    told.exchange();
    rotate_receipt_key(&mut told);
    told.push_with("bypass", log::bypass(), |body| without(body, "boot"));
    told.exchange();
    let mut back = Log::started();
    back.exchange();
    back.push("bypass", log::bypass());
    back.now_us -= 60_000_000;
    back.push("bypass", log::bypass());
    back.receipts.remove(4);
    let mut ended = Log::started();
    ended.push_with("bypass", log::bypass(), |body| body["seq"] = u64::MAX.to_string().into());
    ended.push("bypass", log::bypass());
    ended.change_line(3, |line| line[..line.len() - 1].to_vec());
    ended.receipts[3].unreadable = true;
    ended.push("bypass", log::bypass());
    let mut runs = Log::started();
    for number in [0, u64::MAX, u64::MAX] {
        let mut attempt = log::attempt();
        attempt["run"] = json!({"id": "r"});
        let seq = runs.push_with("attempt", attempt, |body| body["run"]["seq"] = number.to_string().into());
        runs.outcome(seq);
    }
    let mut pair = Log::started();
    let attempt = pair.push("attempt", log::attempt());
    let outcome = pair.outcome_of(attempt);
    let mut nameless = Log::started();
    nameless.push_with("attempt", log::attempt(), |body| body["id"] = 7.into());
    nameless.push_with("outcome", outcome, |body| body["id"] = "".into());
    let event = Log::started().genesis();
    vec![
        case(
            "e306-boot-missing",
            "The key changes at a receipt without boot, which is passed over; the next one with it is asked.",
            &silent("boot"),
            "E206 E306",
        ),
        case("e306-mono-missing", "The same where the monotonic time is missing.", &silent("mono_ns"), "E206 E306"),
        case(
            "e206-boot-missing-rotated",
            "A receipt without boot between a rotation and the first receipt that is asked: passed over.",
            &told,
            "E206",
        ),
        case(
            "e504-log-number",
            "A genesis whose log is a number, twice the same.",
            &genesis(|body| (body["log"], body["event"]["log"]) = (1.into(), 1.into())),
            "E206 E504 E604",
        ),
        case(
            "e504-log-missing",
            "A genesis that names no log, neither in its event nor beside it.",
            &genesis(|body| {
                without(body, "log");
                without(&mut body["event"], "log");
            }),
            "E206 E504 E604",
        ),
        case(
            "e604-genesis",
            "A genesis of another log, twice the same: it is that log's, and not this one's.",
            &genesis(|body| {
                (body["log"], body["event"]["log"]) = ("other.example/log".into(), "other.example/log".into());
            }),
            "E604",
        ),
        case(
            "e504-second-prev",
            "A second genesis, which names another chain value besides.",
            &with("genesis", json!({"event": event}), |body| body["prev"] = "0".repeat(64).into()),
            "E503 E504",
        ),
        case(
            "e503-run-member",
            "A run with an unknown member: its place is held against the run all the same.",
            &run(|run| (run["x"], run["prev"]) = (1.into(), "0".repeat(64).into())),
            "E207 E503",
        ),
        case(
            "e503-run-parents",
            "A run with parents out of order: its place is held against the run all the same.",
            &run(|run| (run["parents"], run["prev"]) = (json!(["2", "0"]), "0".repeat(64).into())),
            "E206 E503",
        ),
        case("e503-run-end", "No number follows the largest one in a run.", &runs, "E503"),
        case(
            "e206-pair-without-id",
            "Attempt and outcome without an id that is a text belong together.",
            &nameless,
            "E206",
        ),
        {
            let mut bundle = sealed(&back);
            let last = back.receipts.last().unwrap().chain;
            bundle.change("manifest.json", |manifest| manifest["chain"] = hex(&last).into()).sign();
            Case::new("forged/e508-after-gap", "The wall clock went back over a gap.")
                .bundle("0-5.pef", &bundle)
                .finds("E501 E508?")
        },
        case(
            "e501-largest-number",
            "The largest number, a line that cannot be read, and the largest number: it is expected again and again.",
            &ended,
            "E201 E501",
        ),
    ]
}

fn kinds() -> Vec<Case> {
    let root = |log: &Log| hex(&log.root_at(4));
    let prune = |change: fn(&mut Value)| {
        let mut log = Log::started();
        log.exchange();
        let event = json!({"bytes": 4096, "from": "0", "root": root(&log), "segments": 1, "to": "4"});
        log.push_with("prune", json!({"event": event}), |body| change(&mut body["event"]));
        log.exchange();
        log
    };
    let seal = json!({"event": {"from": "0", "root": "x", "sha256": "1".repeat(64), "to": "4"}});
    let anchor = json!({"event": {
        "kind": "directory", "proof": "0".repeat(64), "root": "x", "sha256": "1".repeat(64), "size": "4", "state": "confirmed",
    }});
    let mut purpose = Log::started();
    purpose.exchange();
    let (old, new, from) = (purpose.key(), purpose.log_key(), purpose.next_seq() + 1);
    let members = rotation(&purpose, &old, &new, "receipt", from);
    purpose.push("key.rotate", members);
    purpose.exchange();
    let mut short = Log::started();
    short.exchange();
    let (old, from) = (short.key(), short.next_seq() + 1);
    let new = short.certify_from(from);
    let certified = short.keys.pop().unwrap();
    let members = rotation(&short, &old, &new, "receipt", from);
    short.push_with("key.rotate", members, |body| body["event"]["new_sig"] = base64(&[1; 63]).into());
    short.keys.push(certified);
    short.exchange();
    let mut revoked = small();
    let key_id = revoked.key().id();
    revoked.revoke(&key_id, "4");
    revoked.start();
    let mut event = super::valid::revocation_event(&revoked, &key_id, "4");
    event["event"]["reason"] = "é".repeat(129).into();
    revoked.push("key.revoke", event);
    // A removal whose record is not of its form.
    let mut unrecorded = super::valid::restarted();
    unrecorded.start();
    let root_at_five = hex(&unrecorded.root_at(5));
    let event = json!({"bytes": "9000", "from": "0", "root": root_at_five, "segments": 1, "to": "5"});
    unrecorded.push("prune", json!({"event": event}));
    unrecorded.shutdown();
    vec![
        case(
            "e601-prune-nothing",
            "A removal of no receipts, to another root than the tree began with.",
            &prune(|event| event["to"] = "0".into()),
            "E206 E601",
        ),
        case(
            "e206-prune-nothing",
            "A removal of no receipts, to the root of the empty tree.",
            &prune(|event| (event["to"], event["root"]) = ("0".into(), hex(&sha256(b"")).into())),
            "E206",
        ),
        Case::new("forged/e501-prune-form", "What records a removal is not of its form: nothing tells of it.")
            .directory("data", pruned_files(&unrecorded, 5))
            .finds("E206 E501"),
        case(
            "e206-prune-root",
            "A removal to a root that is no digest.",
            &prune(|event| event["root"] = "x".into()),
            "E206",
        ),
        case("e206-seal-root", "A seal of a root that is no digest.", &with("seal", seal, |_| ()), "E206"),
        case("e206-anchor-root", "An anchor of a root that is no digest.", &with("anchor", anchor, |_| ()), "E206"),
        case(
            "e206-genesis-root",
            "A genesis whose root key has an id that is no digest.",
            &genesis(|body| body["event"]["root"] = "x".into()),
            "E206 E504",
        ),
        case(
            "e301-rotation-purpose",
            "A rotation of the receipt key to a key that is known, as a log key.",
            &purpose,
            "E301",
        ),
        case("e206-rotation-signature-length", "A rotation with a signature of 63 bytes.", &short, "E206"),
        case(
            "e306-revocation-reason",
            "A revocation is told of with a longer reason than one can have.",
            &revoked,
            "E306",
        ),
    ]
}

/// A killed process's journal of six receipts, changed.
fn journal(name: &str, about: &str, codes: &str, change: impl FnOnce(&mut Vec<Segment>)) -> Case {
    let mut log = Log::started();
    log.exchange();
    log.exchange();
    segments_of(name, about, codes, &log, change)
}

fn segments_of(name: &str, about: &str, codes: &str, log: &Log, change: impl FnOnce(&mut Vec<Segment>)) -> Case {
    let mut segments = log.segments();
    change(&mut segments);
    let mut files = log.data("data", &[]);
    files.extend(segment::files(&segments, "data/journal"));
    Case::new(&format!("forged/{name}"), about).directory("data", files).finds(codes)
}

fn frames() -> Vec<Case> {
    let seal = |name: &str, about: &str, change: fn(&mut Value)| {
        segments_of(name, about, "W002", &small(), move |segments| {
            let frame = segments[0].frames.last_mut().unwrap();
            let mut body: Value = serde_json::from_slice(&frame.body).unwrap();
            change(&mut body);
            frame.body = canonical(&body);
        })
    };
    let mut odd = Log::started();
    odd.exchange();
    odd.push_with("bypass", log::bypass(), |body| body["key_id"] = "x\"é".into());
    odd.receipts[4].key_id = "x\"é".into();
    odd.exchange();
    vec![
        journal(
            "e502-frame-chain",
            "A receipt stands twice in a journal, the second time in a frame with another chain value: nothing more is asked of it.",
            "E502",
            |segments| {
                let mut again = segments[0].frames[3].clone();
                again.chain = tree::leaf(b"");
                segments[0].frames.insert(4, again);
            },
        ),
        journal(
            "e201-frame-number",
            "A frame of another number, with a body that cannot be read: the two are not held against each other.",
            "E201 E507?",
            |segments| {
                let frame = &mut segments[0].frames[3];
                (frame.body, frame.seq) = (b"{".to_vec(), 9);
            },
        ),
        Case::new("forged/e206-frame-key", "A key_id that is no digest stands in the leaf as it is.")
            .directory("data", odd.data("data", &[7]))
            .finds("E206 E301 E306"),
        {
            let mut twice = Log::started();
            twice.exchange();
            twice.exchange();
            twice.receipts.insert(4, twice.receipts[3].clone());
            Case::new(
                "forged/e506-twice",
                "A receipt stands twice in a journal, and a checkpoint counts both: there are as many leaves, and fewer receipts.",
            )
            .directory("data", twice.data("data", &[7]))
            .finds("E502 E506")
        },
        seal("w002-seal-receipts", "A seal that counts other receipts.", |body| body["receipts"] = "9".into()),
        seal("w002-seal-bytes", "A seal over another number of bytes.", |body| body["bytes"] = "4096".into()),
        seal("w002-seal-member", "A seal with another member.", |body| body["x"] = 1.into()),
    ]
}

/// The trust file with another certificate of the receipt key, whose body is this.
fn certificate(name: &str, about: &str, codes: &str, change: impl FnOnce(&mut Value)) -> Case {
    let log = small();
    let mut body = log.log_key().certificate(&log.key(), "receipt", ORIGIN, 0);
    change(&mut body);
    trust(name, about, codes, |trust| trust["certs"][1] = log.log_key().certify_body(&body))
}

fn trust(name: &str, about: &str, codes: &str, change: impl FnOnce(&mut Value)) -> Case {
    of_small(&format!("forged/{name}"), about, |bundle| {
        bundle.change("keys.json", change).reseal();
    })
    .finds(codes)
}

/// Id of a key of these bytes.
fn id_of(name: &str, public: &[u8]) -> String {
    hex(&sha256(&[name.as_bytes(), &[0x0a, 1], public].concat()))
}

fn trust_files() -> Vec<Case> {
    let log = small();
    let key = log.key().public();
    let mut neutral = vec![0; 32];
    neutral[0] = 1;
    vec![
        certificate(
            "e206-certificate-and-id",
            "A certificate that is not of its form, and of another id: form comes first.",
            "E206",
            |body| (body["valid_from_seq"], body["key_id"]) = ("x".into(), "0".repeat(64).into()),
        ),
        certificate(
            "e206-certificate-key",
            "A certificate of a key of 31 bytes by another issuer than its envelope says: form comes first.",
            "E206",
            |body| (body["pub"], body["issuer"]) = (base64(&[1; 31]).into(), "x".into()),
        ),
        certificate(
            "e307-certificate-issuer",
            "A certificate of a weak key by another issuer than its envelope says: the key comes first.",
            "E307",
            |body| {
                let id = id_of(body["name"].as_str().unwrap(), &neutral);
                (body["pub"], body["key_id"], body["issuer"]) = (base64(&neutral).into(), id.into(), "x".into());
            },
        ),
        certificate("e306-certificate-name", "A key under a name that no key can have.", "E306", |body| {
            (body["name"], body["key_id"]) = ("a b".into(), id_of("a b", &key).into());
        }),
        trust(
            "e302-after-stranger",
            "A certificate of another log before one of another id: who is not authorised comes last.",
            "E302",
            |trust| {
                trust["certs"][0] = log.root.certify(&log.log_key(), "log", "other.example/log", 0);
                let mut body = log.log_key().certificate(&log.key(), "receipt", ORIGIN, 0);
                body["key_id"] = "0".repeat(64).into();
                trust["certs"][1] = log.log_key().certify_body(&body);
            },
        ),
        trust("e306-root-name", "The root key has a name that no key can have.", "E306", |trust| {
            (trust["root"]["name"], trust["root"]["key_id"]) = ("a b".into(), id_of("a b", &log.root.public()).into());
        }),
        trust(
            "e206-root-alg",
            "The root key is of another algorithm and has 31 bytes: form comes first.",
            "E206",
            |trust| {
                (trust["root"]["alg"], trust["root"]["pub"]) = ("none".into(), base64(&[1; 31]).into());
            },
        ),
        trust("e206-revoked-empty", "A list of no revocations.", "E206", |trust| trust["revoked"] = json!([])),
        trust("e206-log-name", "A log under a name that none can have.", "E206", |trust| trust["log"] = "a b".into()),
        of_small("forged/e601-frontier-long", "A frontier of 65 hashes: a number that no size has.", |bundle| {
            bundle.change("frontier.json", |frontier| {
                frontier["hashes"] = (0..65).map(|_| "0".repeat(64)).collect();
            });
            bundle.reseal();
        })
        .finds("E601"),
        of_small("forged/e206-manifest-schemas", "A manifest with schemas that are no digests.", |bundle| {
            bundle.change("manifest.json", |manifest| manifest["about"]["schemas"] = json!(["9", "2"])).sign();
        })
        .finds("E206"),
    ]
}

fn key_directories() -> Vec<Case> {
    let mut log = small();
    let key_id = log.key().id();
    log.revoke(&key_id, "4");
    let changed = |name: &str, about: &str, codes: &str, change: &dyn Fn(&mut Files)| {
        let mut files = log.data("data", &[]);
        change(&mut files);
        Case::new(name, about).directory("data", files).finds(codes)
    };
    let certificate = "data/keys/receipts/00000000000000000000.json";
    let vkey = |name: &str, public: &[u8]| {
        let typed = [&[1], public].concat();
        let hash = &id_of(name, public)[..8];
        format!("{name}+{hash}+{}\n", base64(&typed)).into_bytes()
    };
    let mut neutral = vec![0; 32];
    neutral[0] = 1;
    vec![
        changed("forged/e206-keys-long", "keys/: a certificate of 17,000 bytes.", "E206", &|files| {
            files.insert(certificate.into(), format!("{{\"payload\":\"{}\"}}", "A".repeat(17_000)).into_bytes());
        }),
        changed("forged/e206-keys-canonical", "keys/: a certificate with a newline.", "E206", &|files| {
            files.get_mut(certificate).unwrap().push(b'\n');
        }),
        changed("forged/e206-keys-revoked-name", "keys/: a revocation under another key's id.", "E206", &|files| {
            let bytes = files.remove(&format!("data/keys/revoked/{key_id}.json")).unwrap();
            files.insert(format!("data/keys/revoked/{}.json", "0".repeat(64)), bytes);
        }),
        changed("forged/e206-keys-root-weak", "keys/: a root key of small order.", "E206", &|files| {
            files.insert("data/keys/root.vkey".into(), vkey(&format!("{ORIGIN}/root"), &neutral));
        }),
        changed("forged/e206-keys-root-name", "keys/: a root key that is no log's.", "E206", &|files| {
            files.insert("data/keys/root.vkey".into(), vkey(ORIGIN, &log.root.public()));
        }),
        changed("forged/e301-keys-receipts", "keys/: no certificates of receipt keys.", "E301", &|files| {
            drop(files.remove(certificate));
        }),
        changed("valid/keys-other-files", "keys/: files of other names are nobody's certificates.", "", &|files| {
            files.insert("data/keys/receipts/notes.json".into(), b"{".to_vec());
            files.insert("data/keys/revoked/notes.json".into(), b"{".to_vec());
            files.insert("data/keys/logs/0.json".into(), b"{".to_vec());
        }),
    ]
}

fn proofs() -> Vec<Case> {
    let log = super::proofs::log();
    let files = |change: &dyn Fn(&mut Files)| {
        let mut files = super::proofs::files(&log);
        change(&mut files);
        files
    };
    let proof = |name: &str, about: &str, codes: &str, change: &dyn Fn(&mut Files)| {
        Case::new(&format!("forged/{name}"), about).files(files(change)).input("3.tlog-proof").finds(codes)
    };
    let event = |name: &str, about: &str, codes: &str, change: &dyn Fn(&mut Value)| {
        let mut value = event_proof(&log);
        change(&mut value);
        Case::new(&format!("forged/{name}"), about).given("3-1.event-proof", canonical(&value)).finds(codes)
    };
    // The receipt with another body, signed by its key.
    let resigned = |change: &dyn Fn(&mut Value)| {
        let mut body = log.receipts[3].value();
        change(&mut body);
        let key = &log.keys[0].0;
        key.envelope(log::RECEIPT_TYPE, &canonical(&body))
    };
    let mut given = event(
        "e206-event-receipt-given",
        "The event is another, and the receipt has no place: it is held against nothing.",
        "E206",
        &|value| value["receipt"] = resigned(&|body| body["kind"] = "x".into()),
    );
    given.event = Some("event".into());
    let given = given.file("event", b"another".to_vec());
    vec![
        proof(
            "e602-index-without-note",
            "A proof of another place, whose checkpoint cannot be read.",
            "E405 E602",
            &|files| {
                let bytes = proof_of(&log, 3, b"no note\n");
                files.insert("3.tlog-proof".into(), replace(&bytes, "index 3\n", "index 2\n"));
            },
        ),
        proof("e405-proof-long", "A path of 65 hashes: longer than that of any tree.", "E405", &|files| {
            let line = base64(&[9; 32]) + "\n";
            let bytes = replace(&files["3.tlog-proof"], "index 3\n", &("index 3\n".to_owned() + &line.repeat(63)));
            files.insert("3.tlog-proof".into(), bytes);
        }),
        proof(
            "e106-proof-receipt",
            "A receipt of 65,536 bytes: its finding has the number of the proof.",
            "E106",
            &|files| {
                files.insert("3.receipt.json".into(), vec![b' '; 65_536]);
            },
        ),
        proof("e106-proof-body", "A receipt whose body has 48,129 bytes.", "E106", &|files| {
            files.insert("3.receipt.json".into(), canonical(&resigned(&|body| filled(body, 48_129))));
        }),
        event("e106-event-receipt", "An event proof with an envelope of more than 65,535 bytes.", "E106", &|value| {
            value["receipt"]["payload"] = base64(&vec![b' '; 49_000]).into();
        }),
        event("e106-event-proof", "An event proof with a tlog-proof of more than 73,728 bytes.", "E106", &|value| {
            let text = value["proof"].as_str().unwrap().to_owned();
            value["proof"] = (text + &" ".repeat(73_728)).into();
        }),
        event(
            "e206-event-receipt",
            "An event proof whose receipt is not of its form: the place within it is told.",
            "E206 E602",
            &|value| value["receipt"] = resigned(&|body| body["upstream"]["status"] = "x".into()),
        ),
        given,
        event("e206-event-events", "A stream of less than no events.", "E206 E602", &|value| {
            value["receipt"] = resigned(&|body| body["stream"]["events"] = (-1).into());
            value["events"] = u64::MAX.to_string().into();
        }),
    ]
}

/// A checkpoint that the reader kept, beside evidence that does not decide whether the log has shrunk.
fn remembered() -> Vec<Case> {
    let log = super::proofs::log();
    let mut longer = log.clone();
    longer.start();
    let early = super::valid::with_new_log_key();
    let note = |key: &Key, size: usize| crate::forge::note::checkpoint(key, ORIGIN, size as u64, &early.root_at(size));
    let mut broken = sealed(&small());
    broken.change("keys.json", |trust| drop(trust["root"].as_object_mut().unwrap().remove("alg"))).reseal();
    vec![
        Case::new(
            "valid/proof-remembered",
            "A proof of an earlier tree than the checkpoint that was kept: no rollback.",
        )
        .files(super::proofs::files(&log))
        .input("3.tlog-proof")
        .remembers(longer.checkpoint(longer.receipts.len())),
        Case::new(
            "forged/e402-remembered-range",
            "The checkpoint that was kept is by a log key that had no say at its size.",
        )
        .bundle("0-7.pef", &early.bundle(0, 7))
        .remembers(note(&early.logs[0].0, 6))
        .finds("E402"),
        {
            let mut later = early.bundle(4, 7);
            later.change("manifest.json", |manifest| manifest["to"] = 7.into()).sign();
            Case::new(
                "forged/e206-remembered-manifest",
                "A checkpoint was kept of fewer receipts than the tree begins with, and the manifest cannot be read: no tree had its size.",
            )
            .bundle("4-7.pef", &later)
            .remembers(early.checkpoint(2))
            .finds("E206 E501 E603?")
        },
        Case::new(
            "forged/e206-remembered-keys",
            "A checkpoint was kept, and the trust file cannot be read: nothing is said of it.",
        )
        .bundle("0-5.pef", &broken)
        .remembers(small().checkpoint(4))
        .finds("E206"),
    ]
}
