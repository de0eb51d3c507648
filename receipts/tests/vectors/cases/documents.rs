//! Documents of a bundle that are not JSON, not canonical, not of their form; and notes that are no notes. Whoever made them held
//! the log's keys: nothing else is wrong.

use serde_json::{Value, json};

use super::valid::{attached, restarted};
use super::{Case, of_small, sealed, small};
use crate::forge::bundle::Bundle;
use crate::forge::json::canonical;
use crate::forge::{base64, note, replace};

type Change = Box<dyn Fn(&[u8]) -> Vec<u8>>;

/// The document with one text in the place of another.
fn text(from: &'static str, to: &'static str) -> Change {
    Box::new(move |bytes| replace(bytes, from, to))
}

fn bytes(from: &'static str, to: &'static [u8]) -> Change {
    Box::new(move |bytes| {
        let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        [&bytes[..at], to, &bytes[at + from.len()..]].concat()
    })
}

fn value(change: impl Fn(&mut Value) + 'static) -> Change {
    Box::new(move |bytes| {
        let mut value = serde_json::from_slice(bytes).unwrap();
        change(&mut value);
        canonical(&value)
    })
}

/// A bundle that has every document.
fn whole() -> (Bundle, Vec<u8>) {
    let mut bundle = sealed(&small());
    let (_, externals, external) = attached();
    bundle.set("externals.json", externals).reseal();
    (bundle, external)
}

fn case(name: &str, about: &str, member: &str, change: &Change, codes: &str) -> Case {
    let (mut bundle, external) = whole();
    bundle.set(member, change(bundle.get(member)));
    match member {
        "manifest.json" => bundle.sign(),
        "manifest.dsse.json" => &mut bundle,
        _ => bundle.reseal(),
    };
    let digest = crate::forge::hex(&crate::forge::sha256(&external));
    Case::new(&format!("forged/{name}"), about)
        .bundle("0-5.pef", &bundle)
        .file(&format!("0-5.pef.externals/{digest}"), external)
        .finds(codes)
}

/// 33 arrays within each other.
fn deep() -> String {
    format!("{}{}", "[".repeat(33), "]".repeat(33))
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: &str, about: &str, member: &str, change: Change, codes: &str| {
        cases.push(case(name, about, member, &change, codes));
    };
    // Each way of being no good JSON, in each document. A text that each has is changed.
    for (member, short, anchor, spaced) in [
        ("manifest.json", "manifest", "\"v\":\"pef.v0\"", "E104"),
        ("manifest.dsse.json", "statement", "\"signatures\":[", "E203"),
        ("keys.json", "keys", "\"log\":\"vectors.example/log\"", "E203"),
        ("frontier.json", "frontier", "\"size\":\"0\"", "E203"),
        ("externals.json", "externals", "\"media\":\"text/plain\"", "E203"),
    ] {
        let with =
            |before: String| -> Change { Box::new(move |bytes| replace(bytes, anchor, &format!("{before}{anchor}"))) };
        let about = |what: &str| format!("{member}: {what}");
        add(
            &format!("e201-{short}-cut"),
            &about("the end is missing."),
            member,
            Box::new(|bytes| bytes[..bytes.len() - 1].to_vec()),
            "E201",
        );
        add(
            &format!("e201-{short}-more"),
            &about("something follows the value."),
            member,
            Box::new(|bytes| [bytes, b"1"].concat()),
            "E201",
        );
        add(
            &format!("e202-{short}"),
            &about("a member name is repeated."),
            member,
            with(format!("{anchor}{},", if anchor.ends_with('[') { "]" } else { "" })),
            "E202",
        );
        add(&format!("{}-{short}-space", spaced.to_lowercase()), &about("a space."), member, with(" ".into()), spaced);
        add(
            &format!("{}-{short}-newline", spaced.to_lowercase()),
            &about("a newline at the end."),
            member,
            Box::new(|bytes| [bytes, b"\n"].concat()),
            spaced,
        );
        add(
            &format!("e204-{short}-fraction"),
            &about("a number with a fraction."),
            member,
            with("\"n\":1.0,".into()),
            "E204",
        );
        add(
            &format!("e204-{short}-large"),
            &about("a number of more than 2^53 - 1."),
            member,
            with("\"n\":9007199254740992,".into()),
            "E204",
        );
        add(
            &format!("e205-{short}-surrogate"),
            &about("an unpaired surrogate."),
            member,
            with("\"n\":\"\\ud800\",".into()),
            "E205",
        );
        add(
            &format!("e205-{short}-name"),
            &about("a member name that is not ASCII."),
            member,
            with("\"é\":1,".into()),
            "E205",
        );
        add(
            &format!("e106-{short}-deep"),
            &about("33 arrays within each other."),
            member,
            with(format!("\"n\":{},", deep())),
            "E106",
        );
    }
    add(
        "e205-manifest-utf8",
        "manifest.json: bytes that are no UTF-8.",
        "manifest.json",
        bytes("0.1.0", b"0.1.\xff"),
        "E205",
    );
    add(
        "e205-keys-utf8",
        "keys.json: UTF-8 of a surrogate.",
        "keys.json",
        bytes("vectors.example", b"vectors.e\xed\xa0\x80ample"),
        "E205",
    );
    add(
        "e104-manifest-order",
        "manifest.json: its members stand in another order.",
        "manifest.json",
        text("\"v\":\"pef.v0\",\"verdicts\":{\"executed\":1}", "\"verdicts\":{\"executed\":1},\"v\":\"pef.v0\""),
        "E104",
    );
    add(
        "e104-manifest-escape",
        "manifest.json: a letter is written as an escape.",
        "manifest.json",
        text("\"log\":\"v", "\"log\":\"\\u0076"),
        "E104",
    );
    add(
        "e105-version",
        "manifest.json: of version 1.",
        "manifest.json",
        value(|manifest| manifest["v"] = "pef.v1".into()),
        "E105",
    );
    add(
        "e206-manifest-missing",
        "manifest.json: a member is missing.",
        "manifest.json",
        value(|manifest| drop(manifest.as_object_mut().unwrap().remove("chain"))),
        "E206",
    );
    add(
        "e206-manifest-form",
        "manifest.json: a size as text.",
        "manifest.json",
        value(|manifest| manifest["files"][0]["size"] = "12".into()),
        "E206",
    );
    add(
        "e206-manifest-digest",
        "manifest.json: a digest in capitals.",
        "manifest.json",
        value(|manifest| manifest["chain"] = "A".repeat(64).into()),
        "E206",
    );
    add(
        "e206-manifest-decimal",
        "manifest.json: a decimal with a leading zero.",
        "manifest.json",
        value(|manifest| manifest["to"] = "05".into()),
        "E206",
    );
    add(
        "e206-manifest-timestamp",
        "manifest.json: a time in milliseconds.",
        "manifest.json",
        value(|manifest| manifest["created"] = "2026-11-21T03:00:00.000Z".into()),
        "E206",
    );
    add(
        "e206-manifest-about",
        "manifest.json: a list under about is not ascending.",
        "manifest.json",
        value(|manifest| manifest["about"]["builds"] = json!(["b", "a"])),
        "E206",
    );
    add(
        "e206-manifest-about-entry",
        "manifest.json: a list under about has an entry that is no text, and is not ascending.",
        "manifest.json",
        value(|manifest| manifest["about"]["builds"] = json!(["b", 1, "a"])),
        "E206",
    );
    add(
        "e206-manifest-about-twice",
        "manifest.json: a list under about names a text twice.",
        "manifest.json",
        value(|manifest| manifest["about"]["worm"] = json!(["a", "a"])),
        "E206",
    );
    add(
        "e206-manifest-about-long",
        "manifest.json: a list under about of 257 texts.",
        "manifest.json",
        value(|manifest| manifest["about"]["sdks"] = (0..257).map(|number| format!("{number:03}")).collect()),
        "E206",
    );
    add(
        "e206-manifest-about-quantiles",
        "manifest.json: a quantile is missing.",
        "manifest.json",
        value(|manifest| drop(manifest["about"]["performance"]["total_us"].as_object_mut().unwrap().remove("p90"))),
        "E206",
    );
    add(
        "e206-manifest-files-order",
        "manifest.json: files out of order.",
        "manifest.json",
        value(|manifest| manifest["files"].as_array_mut().unwrap().swap(0, 1)),
        "E206",
    );
    add(
        "e206-manifest-empty-range",
        "manifest.json: a range that is empty.",
        "manifest.json",
        value(|manifest| manifest["to"] = "0".into()),
        "E206 E601",
    );
    add(
        "e207-manifest",
        "manifest.json: an unknown member.",
        "manifest.json",
        value(|manifest| manifest["x"] = Value::Null),
        "E207",
    );
    add(
        "e207-manifest-file",
        "manifest.json: an unknown member of a file.",
        "manifest.json",
        value(|manifest| manifest["files"][0]["mode"] = 420.into()),
        "E207",
    );
    add(
        "e207-manifest-about",
        "manifest.json: an unknown member under about.",
        "manifest.json",
        value(|manifest| manifest["about"]["x"] = json!([])),
        "E207",
    );
    add(
        "e604-manifest",
        "manifest.json: of another log than the trust file.",
        "manifest.json",
        value(|manifest| manifest["log"] = "other.example/log".into()),
        "E604",
    );
    add(
        "e511-kinds",
        "manifest.json: counts of kinds that are not so.",
        "manifest.json",
        value(|manifest| manifest["kinds"]["attempt"] = 2.into()),
        "E511",
    );
    add(
        "e511-verdicts",
        "manifest.json: a verdict that no receipt has.",
        "manifest.json",
        value(|manifest| manifest["verdicts"]["blocked"] = 1.into()),
        "E511",
    );
    add(
        "e511-zero",
        "manifest.json: a count of zero is written.",
        "manifest.json",
        value(|manifest| manifest["kinds"]["gap"] = 0.into()),
        "E511",
    );
    add(
        "e503-manifest-chain",
        "manifest.json: another chain value at the end.",
        "manifest.json",
        value(|manifest| manifest["chain"] = "0".repeat(64).into()),
        "E503",
    );
    add(
        "e601-manifest-root",
        "manifest.json: another root.",
        "manifest.json",
        value(|manifest| manifest["root"] = "0".repeat(64).into()),
        "E601",
    );
    add(
        "e206-statement-two",
        "manifest.dsse.json: two signatures.",
        "manifest.dsse.json",
        value(|envelope| {
            let signature = envelope["signatures"][0].clone();
            envelope["signatures"] = json!([signature, signature]);
        }),
        "E206",
    );
    add(
        "e206-statement-member",
        "manifest.dsse.json: an unknown member.",
        "manifest.dsse.json",
        value(|envelope| envelope["x"] = 1.into()),
        "E206",
    );
    add(
        "e206-statement-base64",
        "manifest.dsse.json: base64 without its padding.",
        "manifest.dsse.json",
        value(|envelope| {
            let sig = envelope["signatures"][0]["sig"].as_str().unwrap().trim_end_matches('=').to_owned();
            envelope["signatures"][0]["sig"] = sig.into();
        }),
        "E206",
    );
    add(
        "e206-keys-missing",
        "keys.json: a member is missing.",
        "keys.json",
        value(|keys| drop(keys.as_object_mut().unwrap().remove("root"))),
        "E206",
    );
    add(
        "e206-keys-version",
        "keys.json: of version 1.",
        "keys.json",
        value(|keys| keys["v"] = "pef.v1".into()),
        "E206",
    );
    add(
        "e206-keys-root-form",
        "keys.json: a root key of 31 bytes.",
        "keys.json",
        value(|keys| keys["root"]["pub"] = base64(&[9; 31]).into()),
        "E206",
    );
    add(
        "e206-keys-revoked-empty",
        "keys.json: an empty list of revocations.",
        "keys.json",
        value(|keys| keys["revoked"] = json!([])),
        "",
    );
    add(
        "e206-frontier-missing",
        "frontier.json: a member is missing.",
        "frontier.json",
        text("\"hashes\":[],", ""),
        "E206",
    );
    add("e206-frontier-form", "frontier.json: a size as a number.", "frontier.json", text("\"0\"", "0"), "E206");
    add("e207-frontier", "frontier.json: an unknown member.", "frontier.json", text("{", "{\"a\":1,"), "E207");
    add("e601-frontier-size", "frontier.json: of another size.", "frontier.json", text("\"0\"", "\"1\""), "E601");
    add(
        "e206-externals-form",
        "externals.json: a size as text.",
        "externals.json",
        value(|list| list[0]["size"] = "5".into()),
        "E206",
    );
    add("e206-externals-object", "externals.json: no list.", "externals.json", Box::new(|_| b"{}".to_vec()), "E206");
    add(
        "e207-externals",
        "externals.json: an unknown member.",
        "externals.json",
        value(|list| list[0]["x"] = 1.into()),
        "E207",
    );
    cases.retain(|case| case.name != "forged/e206-keys-revoked-empty");
    cases.extend(notes());
    cases.extend(later());
    cases
}

/// The note of a bundle with a change to it.
fn noted(name: &str, about: &str, codes: &str, change: impl Fn(&str) -> String) -> Case {
    of_small(&format!("forged/{name}"), about, |bundle| {
        let note = change(std::str::from_utf8(bundle.get("checkpoint")).unwrap());
        bundle.set("checkpoint", note.into_bytes()).reseal();
    })
    .finds(codes)
}

fn notes() -> Vec<Case> {
    let key = small().log_key();
    let signed = {
        let key = key.clone();
        move |text: &str| format!("{text}\n{}", note::signature(&key, text))
    };
    let body = |note: &str| note.split_once("\n\n").unwrap().0.to_owned() + "\n";
    let stranger = crate::forge::key::Key::new("stranger.example", "stranger");
    let extra = note::line("stranger.example", &[1; 68]);
    let many = |count: usize| extra.repeat(count);
    let mut cases = vec![
        noted("e405-empty", "checkpoint: empty.", "E405", |_| String::new()),
        noted("e405-no-signature", "checkpoint: no signature line.", "E405", body),
        noted("e405-no-newline", "checkpoint: the last newline is missing.", "E405", |note| note.trim_end().to_owned()),
        noted("e405-hyphen", "checkpoint: a hyphen for the dash.", "E405", |note| note.replace('\u{2014}', "-")),
        noted("e405-control", "checkpoint: a control character.", "E405", |note| signed(&(body(note) + "x\ty\n"))),
        noted("e405-size", "checkpoint: a size with a leading zero.", "E405", |note| {
            signed(&body(note).replacen("\n5\n", "\n05\n", 1))
        }),
        noted("e405-root", "checkpoint: a root of 31 bytes.", "E405", |_| {
            signed(&format!("{}\n5\n{}\n", super::ORIGIN, base64(&[1; 31])))
        }),
        noted("e405-base64", "checkpoint: a root with unused bits that are not zero.", "E405", |note| {
            let text = body(note);
            let at = text.len() - 3;
            let last = text.as_bytes()[at] as char;
            let other = char::from_u32(last as u32 + 1).unwrap();
            signed(&format!("{}{other}=\n", &text[..at]))
        }),
        noted("e405-signatures", "checkpoint: 101 signature lines.", "E405", |note| format!("{note}{}", many(100))),
        noted("e405-long", "checkpoint: longer than 65,536 bytes.", "E405", |note| {
            signed(&format!("{}{}\n", body(note), "x".repeat(66_000)))
        }),
        noted("e402-signature", "checkpoint: the signature is of another text.", "E402", |note| {
            let text = body(note);
            format!("{text}\n{}", note::signature(&key, "something else\n"))
        }),
        noted("e402-stranger", "checkpoint: signed by a stranger only.", "E402", |note| {
            let text = body(note);
            format!("{text}\n{}", note::signature(&stranger, &text))
        }),
        noted("e402-short", "checkpoint: a signature of the log key of 63 bytes.", "E402", |note| {
            let text = body(note);
            let line = note::line(&key.name, &[&key.digest(1)[..4], &key.sign(text.as_bytes())[..63]].concat());
            format!("{text}\n{line}")
        }),
        noted("e402-twice", "checkpoint: two lines of the log key, the first is wrong.", "E402", |note| {
            let text = body(note);
            format!("{text}\n{}{}", note::signature(&key, "x\n"), note::signature(&key, &text))
        }),
        noted("e604-checkpoint", "checkpoint: of another log.", "E604", |note| {
            signed(&body(note).replace("vectors", "others"))
        }),
        noted("e601-note-root", "checkpoint: over another root.", "E601", |_| {
            signed(&note::text(super::ORIGIN, 5, &[9; 32]))
        }),
        noted("e601-checkpoint-smaller", "checkpoint: of fewer receipts than the bundle has.", "E601", |_| {
            signed(&note::text(super::ORIGIN, 4, &small().root_at(4)))
        }),
        noted(
            "e506-checkpoint-larger",
            "checkpoint and manifest: of more receipts than the bundle has.",
            "E506 E601",
            |_| signed(&note::text(super::ORIGIN, 6, &[9; 32])),
        ),
    ];
    let mut good = |name: &str, about: &str, change: &dyn Fn(&str) -> String| {
        let mut case = noted(name, about, "", change);
        case.name = format!("valid/{name}");
        cases.push(case);
    };
    good("note-extension", "checkpoint: an extension line, which means nothing here.", &|note| {
        signed(&(body(note) + "extension\n"))
    });
    good("note-delete", "checkpoint: an extension line with U+007F, which signed notes do not forbid.", &|note| {
        signed(&(body(note) + "a\u{7f}b\n"))
    });
    good("note-strangers", "checkpoint: signatures of strangers beside that of the log.", &|note| {
        format!("{note}{}", many(99))
    });
    cases
}

/// A later bundle: its frontier, checkpoint before, consistency proof.
fn later() -> Vec<Case> {
    let log = restarted();
    let changed = |name: &str, about: &str, codes: &str, change: &dyn Fn(&mut Bundle)| {
        let mut bundle = log.bundle(4, 8);
        change(&mut bundle);
        Case::new(&format!("forged/{name}"), about).bundle("4-8.pef", &bundle).finds(codes)
    };
    let line = |bytes: &[u8]| base64(bytes) + "\n";
    vec![
        changed("e601-frontier-hash", "frontier.json: another hash.", "E601", &|bundle| {
            bundle.change("frontier.json", |frontier| frontier["hashes"][0] = "0".repeat(64).into()).reseal();
        }),
        changed("e601-frontier-count", "frontier.json: a hash too many.", "E601", &|bundle| {
            bundle
                .change("frontier.json", |frontier| {
                    frontier["hashes"].as_array_mut().unwrap().push("0".repeat(64).into())
                })
                .reseal();
        }),
        changed("e601-prev-root", "checkpoint.prev: over another root.", "E601 E603", &|bundle| {
            let note = note::checkpoint(&bundle.key.clone(), super::ORIGIN, 4, &[9; 32]);
            bundle.set("checkpoint.prev", note).reseal();
        }),
        changed("e405-prev", "checkpoint.prev: no note.", "E405", &|bundle| {
            bundle.set("checkpoint.prev", b"4".to_vec()).reseal();
        }),
        changed("e603-consistency-hash", "consistency: another hash.", "E603", &|bundle| {
            let text = String::from_utf8(bundle.get("consistency").to_vec()).unwrap();
            let rest = text.split_once('\n').unwrap().1.to_owned();
            bundle.set("consistency", line(&[9; 32]) + &rest).reseal();
        }),
        changed("e603-consistency-short", "consistency: a hash is missing.", "E603", &|bundle| {
            bundle.set("consistency", b"".to_vec()).reseal();
        }),
        changed("e603-consistency-long", "consistency: a hash too many.", "E603", &|bundle| {
            let text = String::from_utf8(bundle.get("consistency").to_vec()).unwrap();
            bundle.set("consistency", text + &line(&[9; 32])).reseal();
        }),
        changed("e603-consistency-form", "consistency: no base64.", "E603", &|bundle| {
            bundle.set("consistency", b"?\n".to_vec()).reseal();
        }),
        changed("e603-consistency-end", "consistency: the last newline is missing.", "E603", &|bundle| {
            let text = bundle.get("consistency").to_vec();
            bundle.set("consistency", text[..text.len() - 1].to_vec()).reseal();
        }),
        changed(
            "e503-manifest-prev",
            "manifest.json: another chain value before the first receipt.",
            "E503",
            &|bundle| {
                bundle.change("manifest.json", |manifest| manifest["prev"] = "0".repeat(64).into()).sign();
            },
        ),
        Case::new("forged/e503-manifest-prev-continued", "The same, and the bundle before is there too.")
            .bundle("0-4.pef", &log.bundle(0, 4))
            .bundle("4-8.pef", &{
                let mut bundle = log.bundle(4, 8);
                bundle.change("manifest.json", |manifest| manifest["prev"] = "0".repeat(64).into()).sign();
                bundle
            })
            .finds("E503"),
    ]
}
