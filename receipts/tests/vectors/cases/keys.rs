//! Who may sign what: trust files, certificates, rotation, revocation, witnesses.

use serde_json::{Value, json};

use super::valid::{restarted, revocation_event, rotate_receipt_key, rotated_receipt_key, rotation, with_new_log_key};
use super::{Case, of_log, of_small, sealed, small};
use crate::forge::bundle::Bundle;
use crate::forge::json::canonical;
use crate::forge::key::Key;
use crate::forge::log::{self, Log, ORIGIN};
use crate::forge::{base64, note};

/// The trust file of [`small`]'s bundle with a change to it.
fn trust(name: &str, about: &str, codes: &str, change: impl FnOnce(&mut Value)) -> Case {
    of_small(&format!("forged/{name}"), about, |bundle| {
        bundle.change("keys.json", change).reseal();
    })
    .finds(codes)
}

/// The trust file with another certificate of the receipt key, or of the log key, whose body is this.
fn certificate(name: &str, about: &str, codes: &str, at: usize, change: impl FnOnce(&mut Value)) -> Case {
    let log = small();
    let (issuer, key, purpose) =
        if at == 0 { (log.root.clone(), log.log_key(), "log") } else { (log.log_key(), log.key(), "receipt") };
    let mut body = issuer.certificate(&key, purpose, ORIGIN, 0);
    change(&mut body);
    trust(name, about, codes, |trust| trust["certs"][at] = issuer.certify_body(&body))
}

fn revocation(name: &str, about: &str, codes: &str, change: impl FnOnce(&mut Value)) -> Case {
    let log = small();
    let mut body = log.root.revocation(&log.key().id(), ORIGIN, "4");
    change(&mut body);
    let envelope = log.root.envelope(crate::forge::key::REVOCATION_TYPE, &canonical(&body));
    trust(name, about, codes, |trust| trust["revoked"] = json!([envelope]))
}

pub(crate) fn cases() -> Vec<Case> {
    let (log, thief) = (small(), Key::new(&format!("{ORIGIN}/receipt"), "thief"));
    let mut cases = vec![
        of_small("forged/e301-root", "The root key is not the one that the reader trusts.", |_| ())
            .trusting(Some(Key::new(&format!("{ORIGIN}/root"), "thief").vkey()))
            .finds("E301"),
        trust("e301-no-certificate", "The receipt key's certificate is missing.", "E301", |trust| {
            drop(trust["certs"].as_array_mut().unwrap().pop())
        }),
        of_small(
            "forged/e301-statement",
            "The manifest is signed with a key that is not in the trust file.",
            |bundle| {
                bundle.key = Key::new(ORIGIN, "thief");
                bundle.sign();
            },
        )
        .finds("E301"),
        of_small("forged/e403-signature", "The manifest's signature is of something else.", |bundle| {
            bundle.change("manifest.dsse.json", |envelope| envelope["signatures"][0]["sig"] = base64(&[1; 64]).into());
        })
        .finds("E403"),
        of_small("forged/e403-subjects", "The statement leaves out a member.", |bundle| {
            bundle.state(|statement| drop(statement["subject"].as_array_mut().unwrap().pop()));
        })
        .finds("E403"),
        of_small("forged/e403-predicate", "The statement is of another type.", |bundle| {
            bundle.state(|statement| statement["predicateType"] = "urn:pef:bundle:v1".into());
        })
        .finds("E403"),
        of_small("forged/e403-manifest", "The manifest was changed after it was signed.", |bundle| {
            bundle.change("manifest.json", |manifest| manifest["about"]["worm"] = json!(["s3://elsewhere"]));
        })
        .finds("E403"),
        of_small("forged/e403-type", "The statement is signed as a document of another type.", |bundle| {
            bundle.replace("manifest.dsse.json", "vnd.in-toto+json", "vnd.in-toto.json");
        })
        .finds("E403"),
        trust("e302-root", "The root key's id is not its own.", "E302", |trust| {
            trust["root"]["key_id"] = "0".repeat(64).into()
        }),
        trust("e303-root", "The root key is of another algorithm.", "E303", |trust| {
            trust["root"]["alg"] = "rsa".into()
        }),
        trust("e307-root", "The root key is of small order.", "E307", |trust| {
            let mut point = [0; 32];
            point[0] = 1;
            trust["root"]["pub"] = base64(&point).into();
        }),
        certificate("e302-certificate", "A certificate whose key_id is not that of its key.", "E302", 1, |body| {
            body["key_id"] = "0".repeat(64).into()
        }),
        certificate("e302-issuer", "A certificate that names another issuer than its envelope.", "E302", 1, |body| {
            body["issuer"] = "0".repeat(64).into()
        }),
        certificate("e302-certificate-text", "A certificate whose key_id is no digest.", "E302", 1, |body| {
            body["key_id"] = "x".into();
        }),
        certificate("e302-issuer-text", "A certificate whose issuer is no digest.", "E302", 1, |body| {
            body["issuer"] = "x".into();
        }),
        trust("e302-root-text", "The root key's id is no digest.", "E302", |trust| {
            trust["root"]["key_id"] = "x".into()
        }),
        trust("e206-root-id", "The root key has no id.", "E206", |trust| {
            drop(trust["root"].as_object_mut().unwrap().remove("key_id"));
        }),
        certificate("e303-certificate", "A certificate of another algorithm.", "E303", 1, |body| {
            body["alg"] = "ed448".into()
        }),
        certificate("e206-certificate-missing", "A certificate without the time of issue.", "E206", 1, |body| {
            drop(body.as_object_mut().unwrap().remove("issued"))
        }),
        certificate("e206-certificate-purpose", "A certificate of a purpose that does not exist.", "E206", 1, |body| {
            body["purpose"] = "root".into()
        }),
        certificate(
            "e206-certificate-seq",
            "A certificate whose first number has a leading zero.",
            "E206",
            1,
            |body| body["valid_from_seq"] = "00".into(),
        ),
        certificate("e206-certificate-member", "A certificate with an unknown member.", "E206", 1, |body| {
            body["x"] = 1.into()
        }),
        certificate("e306-log", "A certificate of another log.", "E306", 1, |body| {
            body["log"] = "other.example/log".into()
        }),
        certificate("e306-name", "A certificate of a key of another name.", "E306", 1, |body| {
            let other = Key::new("other", "receipt 0");
            body["name"] = "other".into();
            body["key_id"] = other.id().into();
        }),
        certificate("e307-identity", "A key that is the neutral element.", "E307", 1, |body| weak(body, &[1])),
        certificate("e307-order-two", "A key of order two.", "E307", 1, |body| {
            let mut point = [0xff; 32];
            (point[0], point[31]) = (0xec, 0x7f);
            weak(body, &point);
        }),
        certificate("e307-order-eight", "A key of order eight.", "E307", 1, |body| {
            weak(
                body,
                &[
                    0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
                    0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
                ],
            )
        }),
        certificate("e307-second-spelling", "A key that is a second spelling of a point.", "E307", 1, |body| {
            let mut point = [0xff; 32];
            (point[0], point[31]) = (0xf0, 0x7f);
            weak(body, &point);
        }),
        certificate("e307-no-point", "A key that is no point of the curve.", "E307", 1, |body| weak(body, &[2])),
        trust("e306-self-signed", "A receipt key that certified itself.", "E306", |trust| {
            trust["certs"][1] = log.key().certify(&log.key(), "receipt", ORIGIN, 0);
        }),
        trust("e306-root-issues-receipt-key", "A receipt key that the root key certified.", "E306", |trust| {
            trust["certs"][1] = log.root.certify(&log.key(), "receipt", ORIGIN, 0);
        }),
        trust("e306-log-issues-log-key", "A log key that a log key certified.", "E306", |trust| {
            let other = Key::new(ORIGIN, "log 2");
            let certs = trust["certs"].as_array_mut().unwrap();
            certs.insert(1, log.log_key().certify(&other, "log", ORIGIN, 3));
        }),
        trust("e306-signature", "A certificate with a bad signature.", "E306", |trust| {
            trust["certs"][1]["signatures"][0]["sig"] = base64(&[1; 64]).into();
        }),
        trust("e306-twice", "A key is certified twice.", "E306", |trust| {
            let again = log.log_key().certify(&log.key(), "receipt", ORIGIN, 3);
            trust["certs"].as_array_mut().unwrap().push(again);
        }),
        revocation("e206-revocation", "A revocation without a reason.", "E206", |body| {
            drop(body.as_object_mut().unwrap().remove("reason"))
        }),
        revocation("e206-revocation-reason", "A revocation with a reason of 257 bytes.", "E206", |body| {
            body["reason"] = "a".repeat(257).into()
        }),
        revocation(
            "e206-revocation-last",
            "A revocation whose last good number is none of the forms.",
            "E206",
            |body| body["last_good_seq"] = "-1".into(),
        ),
        revocation("e303-revocation", "A revocation of another algorithm.", "E303", |body| body["alg"] = "rsa".into()),
        revocation("e306-revocation-log", "A revocation of another log.", "E306", |body| {
            body["log"] = "other.example/log".into()
        }),
        trust("e206-revocations-order", "Revocations out of order.", "E206", |trust| {
            let mut ids = [thief.id(), log.log_key().id()];
            ids.sort_by(|a, b| b.cmp(a));
            trust["revoked"] = ids.map(|id| log.root.revoke(&id, ORIGIN, "9")).into_iter().collect();
        }),
        trust(
            "e305-revoked-twice",
            "A key is revoked twice; the first counts, and is the stricter.",
            "E305",
            |trust| {
                trust["revoked"] =
                    ["2", "9"].map(|last| log.root.revoke(&log.key().id(), ORIGIN, last)).into_iter().collect();
            },
        ),
        trust("e306-revocation-signer", "A revocation that the log key signed.", "E306", |trust| {
            trust["revoked"] = json!([log.log_key().revoke(&log.key().id(), ORIGIN, "4")]);
        }),
        trust("e306-revocation-signature", "A revocation with a bad signature.", "E306", |trust| {
            let mut envelope = log.root.revoke(&log.key().id(), ORIGIN, "4");
            envelope["signatures"][0]["sig"] = base64(&[1; 64]).into();
            trust["revoked"] = json!([envelope]);
        }),
        revocation("e305-receipt", "Receipts after the last good number of their key.", "E305", |body| {
            body["last_good_seq"] = "2".into()
        }),
        revocation("e305-none", "A key that was never good.", "E305", |body| body["last_good_seq"] = "none".into()),
        trust("e305-log-key", "Checkpoint, manifest and certificate of a revoked log key.", "E305", |trust| {
            trust["revoked"] = json!([log.root.revoke(&log.log_key().id(), ORIGIN, "none")]);
        }),
        trust(
            "e305-log-key-later",
            "Checkpoint and manifest after the last good number of a log key.",
            "E305",
            |trust| {
                trust["revoked"] = json!([log.root.revoke(&log.log_key().id(), ORIGIN, "3")]);
            },
        ),
        of_log("forged/e304-early", "A receipt before the first number of its key.", &early()).finds("E304"),
        of_log("forged/e304-late", "Receipts of a key after the next one was certified.", &late()).finds("E304"),
    ];
    let mut unnamed = trust("revoked-stranger", "A revocation of a key that no certificate here names.", "", |trust| {
        trust["revoked"] = json!([log.root.revoke(&thief.id(), ORIGIN, "none")]);
    });
    unnamed.name = "valid/revoked-stranger".into();
    cases.push(unnamed);
    let mut twice = trust("revoked-twice", "A key is revoked twice; the first counts, and is met.", "", |trust| {
        trust["revoked"] = ["9", "2"].map(|last| log.root.revoke(&log.key().id(), ORIGIN, last)).into_iter().collect();
    });
    twice.name = "valid/revoked-twice".into();
    cases.push(twice);
    let mut unordered =
        trust("certificates-order", "Certificates in another order, which nobody is to rely on.", "", |trust| {
            let later = log.log_key().certify(&thief, "receipt", ORIGIN, 9);
            trust["certs"].as_array_mut().unwrap().insert(0, later);
        });
    unordered.name = "valid/certificates-order".into();
    cases.push(unordered);
    cases.extend(rotations());
    cases.extend(log_keys());
    cases.extend(witnesses());
    cases.extend(data_directories());
    cases
}

/// A certificate of these bytes, with the id that goes with them.
fn weak(body: &mut Value, point: &[u8]) {
    let mut bytes = point.to_vec();
    bytes.resize(32, 0);
    let name = body["name"].as_str().unwrap();
    let digest = crate::forge::sha256(&[name.as_bytes(), &[0x0a, 1], &bytes].concat());
    body["pub"] = base64(&bytes).into();
    body["key_id"] = crate::forge::hex(&digest).into();
}

/// The second process's key is certified from a number that comes only later.
fn early() -> Log {
    let mut log = small();
    log.start();
    log.exchange();
    log.keys.last_mut().unwrap().1 = 7;
    log
}

/// The second process signs with the first one's key.
fn late() -> Log {
    let mut log = small();
    let old = log.keys[0].clone();
    log.begin();
    let new = log.keys.pop().unwrap();
    assert_ne!(old.0.id(), new.0.id());
    log.push("boot", json!({"event": {"clean": true, "last_seq": "4"}}));
    log.exchange();
    log.keys.push(new);
    log
}

/// A log with a rotation that was changed before it was signed.
fn rotation_log(change: impl FnOnce(&mut Value)) -> Log {
    let mut log = Log::started();
    log.exchange();
    let (old, from) = (log.key(), log.next_seq() + 1);
    let new = log.certify_from(from);
    let certified = log.keys.pop().unwrap();
    let members = rotation(&log, &old, &new, "receipt", from);
    log.push_with("key.rotate", members, |body| change(&mut body["event"]));
    log.keys.push(certified);
    log.exchange();
    log
}

fn rotations() -> Vec<Case> {
    let rotated = |name: &str, about: &str, codes: &str, change: fn(&mut Value)| {
        of_log(&format!("forged/{name}"), about, &rotation_log(change)).finds(codes)
    };
    let mut silent = Log::started();
    silent.exchange();
    silent.certify_from(silent.next_seq());
    silent.exchange();
    let mut between = Log::started();
    between.exchange();
    rotate_receipt_key(&mut between);
    between.keys.last_mut().unwrap().1 += 1;
    let new = between.keys.pop().unwrap();
    between.push("bypass", log::bypass());
    between.keys.push(new);
    between.exchange();
    let thief = Key::new(&format!("{ORIGIN}/receipt"), "thief");
    let mut unknown_old = Log::started();
    unknown_old.exchange();
    let (old, from) = (unknown_old.log_key(), unknown_old.next_seq());
    let new = Key::new(ORIGIN, "log 2");
    unknown_old.logs.push((new.clone(), from));
    let members = rotation(&unknown_old, &thief, &new, "log", from);
    unknown_old.push("key.rotate", members);
    unknown_old.exchange();
    assert_ne!(old.id(), new.id());
    vec![
        rotated("e306-rotation-old-signature", "A rotation that the old key did not sign.", "E306", |event| {
            event["old_sig"] = base64(&[1; 64]).into()
        }),
        rotated("e306-rotation-new-signature", "A rotation that the new key did not sign.", "E306", |event| {
            event["new_sig"] = base64(&[1; 64]).into()
        }),
        rotated("e206-rotation-signature", "A rotation with a signature that is no base64.", "E206", |event| {
            event["new_sig"] = "?".into()
        }),
        rotated("e306-rotation-seq", "A rotation from a number that is not the next.", "E306", |event| {
            event["valid_from_seq"] = "6".into()
        }),
        rotated("e206-rotation-purpose", "A rotation of the root key.", "E206 E306", |event| {
            event["purpose"] = "root".into()
        }),
        of_log("forged/e306-silent", "The receipt key changes without a rotation.", &silent).finds("E306"),
        of_log("forged/e306-late-change", "The receipt key changes one receipt after its rotation.", &between)
            .finds("E306"),
        of_log("forged/e301-rotation-old", "A rotation of a log key that nobody knows.", &unknown_old).finds("E301"),
        Case::new("valid/rotated-journal", "A rotation in a journal, its segment's frames of two keys.")
            .directory("data", rotated_receipt_key().data("data", &[])),
    ]
}

fn log_keys() -> Vec<Case> {
    let log = with_new_log_key();
    let signed = |key: &Key, to: usize, from: usize| {
        let mut bundle = log.bundle(from, to);
        bundle.key = key.clone();
        bundle.set("checkpoint", note::checkpoint(key, ORIGIN, to as u64, &log.root_at(to)));
        bundle.reseal();
        bundle
    };
    let (old, new) = (&log.logs[0].0, &log.logs[1].0);
    let issued = |name: &str, about: &str, issuer: &Key, from: u64| {
        let mut bundle = log.bundle(0, 4);
        let certificate = issuer.certify(&Key::new(&format!("{ORIGIN}/receipt"), "receipt 7"), "receipt", ORIGIN, from);
        bundle.change("keys.json", |trust| trust["certs"].as_array_mut().unwrap().push(certificate)).reseal();
        Case::new(name, about).bundle("0-4.pef", &bundle)
    };
    let mut unrecorded = revoked_log(|log, key_id| revocation_event(log, key_id, "4"));
    unrecorded.revoked.clear();
    vec![
        Case::new("forged/e304-log-key-early", "Checkpoint and manifest of a log key before its first tree.")
            .bundle("0-4.pef", &signed(new, 4, 0))
            .finds("E304"),
        Case::new("forged/e304-log-key-late", "Checkpoint and manifest of a log key after its last tree.")
            .bundle("0-7.pef", &signed(old, 7, 0))
            .finds("E304"),
        issued("forged/e306-issued-late", "A receipt key that a log key certified after its time.", old, 6)
            .finds("E306"),
        issued("forged/e306-issued-early", "A receipt key that a log key certified before its time.", new, 2)
            .finds("E306"),
        issued(
            "valid/issued-at-the-border",
            "A receipt key that the old log key certified for where the new one begins.",
            old,
            4,
        ),
        of_log(
            "forged/e306-revocation-unknown",
            "A receipt tells of a revocation that the trust file does not have.",
            &unrecorded,
        )
        .finds("E306"),
        of_log(
            "forged/e306-revocation-other",
            "A receipt tells of a revocation with another last good number.",
            &revoked_log(|log, key_id| {
                let mut members = revocation_event(log, key_id, "4");
                members["event"]["last_good_seq"] = "3".into();
                members
            }),
        )
        .finds("E306"),
        of_log(
            "forged/e306-revocation-digest",
            "A receipt tells of a revocation with another digest.",
            &revoked_log(|log, key_id| {
                let mut members = revocation_event(log, key_id, "4");
                members["event"]["sha256"] = "0".repeat(64).into();
                members
            }),
        )
        .finds("E306"),
    ]
}

/// A log whose first receipt key is revoked, as this receipt says.
fn revoked_log(event: impl FnOnce(&Log, &str) -> Value) -> Log {
    let mut log = small();
    let key_id = log.key().id();
    log.revoke(&key_id, "4");
    log.start();
    let members = event(&log, &key_id);
    log.push("key.revoke", members);
    log
}

pub(super) fn witness(label: &str) -> Key {
    Key::new(&format!("{label}.witness.example"), label)
}

/// A policy of three witnesses of which two are asked for.
pub(super) fn policy() -> String {
    let line =
        |label: &str| format!("witness {label} {} https://{label}.witness.example\n", witness(label).vkey_of_kind(4));
    let witnesses: String = ["a", "b", "c"].map(line).concat();
    format!("# two of three\n{witnesses}\ngroup some 2 a b c\nquorum some\n")
}

/// The note with cosignatures.
pub(super) fn cosigned(note: &[u8], witnesses: &[&str]) -> Vec<u8> {
    let text = std::str::from_utf8(note).unwrap();
    let body = text.split_once("\n\n").unwrap().0.to_owned() + "\n";
    let lines: String =
        witnesses.iter().map(|label| note::cosignature(&witness(label), 1_795_230_060, &body)).collect();
    format!("{text}{lines}").into_bytes()
}

fn witnesses() -> Vec<Case> {
    let bundle = |witnesses: &[&str]| {
        let mut bundle: Bundle = sealed(&small());
        let note = cosigned(bundle.get("checkpoint"), witnesses);
        bundle.set("checkpoint", note).reseal();
        bundle
    };
    let case = |name: &str, about: &str, bundle: &Bundle| {
        Case::new(name, about).bundle("0-5.pef", bundle).witnessed(&policy())
    };
    let mut wrong = bundle(&["a", "b"]);
    let note = String::from_utf8(wrong.get("checkpoint").to_vec()).unwrap();
    let body = note.split_once("\n\n").unwrap().0.to_owned() + "\n";
    let line = note::cosignature(&witness("c"), 1_795_230_060, &body);
    let at = line.len() - 20;
    let other = if line.as_bytes()[at] == b'A' { "B" } else { "A" };
    wrong.set("checkpoint", note + &line[..at] + other + &line[at + 1..]).reseal();
    let mut plain = sealed(&small());
    let text = String::from_utf8(plain.get("checkpoint").to_vec()).unwrap();
    let body = text.split_once("\n\n").unwrap().0.to_owned() + "\n";
    let signatures: String = ["a", "b"].map(|label| note::signature(&witness(label), &body)).concat();
    plain.set("checkpoint", text + &signatures).reseal();
    let nested =
        policy().replace("group some 2 a b c\nquorum some", "group two all a b\ngroup some any two c\nquorum some");
    vec![
        case("valid/quorum", "Two of three witnesses cosigned.", &bundle(&["c", "a"])),
        case("valid/quorum-nested", "A group within a group; one member of the outer is enough.", &bundle(&["c"]))
            .witnessed(&nested),
        case("valid/quorum-none", "A policy that asks for no witness.", &bundle(&[])).witnessed("quorum none\n"),
        Case::new("valid/cosigned-no-policy", "Cosignatures that nobody asked for.").bundle("0-5.pef", &bundle(&["a"])),
        case("forged/e404-one", "One of three witnesses cosigned, two are asked for.", &bundle(&["a"])).finds("E404"),
        case("forged/e404-twice", "One witness cosigned twice.", &bundle(&["a", "a"])).finds("E404"),
        case("forged/e404-none", "No witness cosigned.", &bundle(&[])).finds("E404"),
        case("forged/e404-nested", "Half of the inner group, and not the other member of the outer.", &bundle(&["a"]))
            .witnessed(&nested)
            .finds("E404"),
        case("forged/e404-plain", "Witnesses signed as a log signs, not as a witness.", &plain).finds("E404"),
        case("forged/e402-cosignature", "The quorum is met, and a third cosignature is wrong.", &wrong).finds("E402"),
    ]
}

fn data_directories() -> Vec<Case> {
    let log = restarted();
    let changed = |name: &str, about: &str, codes: &str, change: &dyn Fn(&mut crate::forge::Files)| {
        let mut files = log.data("data", &[]);
        change(&mut files);
        Case::new(&format!("forged/{name}"), about).directory("data", files).finds(codes)
    };
    let thief = Key::new(&format!("{ORIGIN}/receipt"), "thief");
    vec![
        changed("e306-data-certificate", "keys/: a certificate that the log key did not sign.", "E306", &|files| {
            let envelope = thief.certify(&log.keys[1].0, "receipt", ORIGIN, 5);
            files.insert("data/keys/receipts/00000000000000000005.json".into(), canonical(&envelope));
        }),
        changed("e301-data-root", "keys/: another root key.", "E301 E504 E306", &|files| {
            let root = Key::new(&format!("{ORIGIN}/root"), "thief");
            files.insert("data/keys/root.vkey".into(), (root.vkey() + "\n").into_bytes());
        }),
    ]
}
