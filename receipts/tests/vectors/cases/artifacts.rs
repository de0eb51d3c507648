//! Attached files, in the bundle and beside it; policies; and what custody says of them.

use serde_json::{Value, json};

use super::valid::{CONTENT, attached};
use super::{Case, of_small, sealed, small};
use crate::forge::bundle::Bundle;
use crate::forge::key::Key;
use crate::forge::{hex, replace, sha256};

/// A bundle with an artifact and an external file, and the path at which that is looked for.
fn with_files() -> (Bundle, String, Vec<u8>) {
    let mut bundle = sealed(&small());
    let (path, externals, external) = attached();
    bundle.set(&path, CONTENT).set("externals.json", externals).reseal();
    (bundle, format!("0-5.pef.externals/{}", hex(&sha256(&external))), external)
}

fn redacted(key: &Key, digest: &str) -> (Key, Value) {
    (key.clone(), json!({"action": "redacted", "note": "ordered by a court", "sha256": digest}))
}

pub(crate) fn cases() -> Vec<Case> {
    let key = small().log_key();
    let (bundle, place, external) = with_files();
    let artifact = attached().0;
    let digest = artifact.rsplit('/').next().unwrap().to_owned();
    let external_digest = hex(&sha256(&external));
    let mut without = bundle.clone();
    without.members.remove(&artifact);
    let mut tombstone = without.clone();
    let entries = [(key.clone(), json!({})), redacted(&key, &digest)];
    tombstone.custody(&entries.iter().map(|(key, value)| (key, value.clone())).collect::<Vec<_>>());
    let mut external_gone = bundle.clone();
    let entry = redacted(&key, &external_digest);
    external_gone.custody(&[(&entry.0, entry.1.clone())]);
    let mut other_gone = without.clone();
    let entry = redacted(&key, &"0".repeat(64));
    other_gone.custody(&[(&entry.0, entry.1.clone())]);
    let mut broken_gone = tombstone.clone();
    let lines = String::from_utf8(broken_gone.get("custody.jsonl").to_vec()).unwrap();
    let second = lines.lines().nth(1).unwrap().to_owned();
    broken_gone.set("custody.jsonl", second + "\n");
    let mut changed = bundle.clone();
    changed.set(&artifact, b"another file\n".to_vec()).reseal();
    let there = |case: Case| case.file(&place, external.clone());
    let mut cases = vec![
        Case::new("valid/externals-elsewhere", "The large file is not at hand, and was not looked for.")
            .bundle("0-5.pef", &bundle)
            .finds("E801?"),
        Case::new("forged/e801-missing", "The large file is not where it is looked for.")
            .bundle("0-5.pef", &bundle)
            .file("0-5.pef.externals/README", b"empty\n".to_vec())
            .finds("E801"),
        Case::new("forged/e802-external", "The large file is another.")
            .bundle("0-5.pef", &bundle)
            .file(&place, external.iter().rev().copied().collect::<Vec<_>>())
            .finds("E802"),
        Case::new("forged/e803-external", "The large file is larger than stated.")
            .bundle("0-5.pef", &bundle)
            .file(&place, [&external[..], b"."].concat())
            .finds("E803"),
        there(
            Case::new("forged/e802-artifact", "An artifact is another file than its name says.")
                .bundle("0-5.pef", &changed),
        )
        .finds("E802"),
        there(
            Case::new("forged/e101-artifact", "An artifact is missing, and nothing says why.")
                .bundle("0-5.pef", &without),
        )
        .finds("E101"),
        there(
            Case::new("valid/tombstoned", "An artifact is missing, and custody says why.")
                .bundle("0-5.pef", &tombstone),
        )
        .finds("E804?"),
        Case::new("valid/tombstoned-external", "The large file is missing, and custody says why.")
            .bundle("0-5.pef", &external_gone)
            .file("0-5.pef.externals/README", b"empty\n".to_vec())
            .finds("E804?"),
        there(
            Case::new("forged/e101-tombstone-other", "Custody says why another artifact is missing.")
                .bundle("0-5.pef", &other_gone),
        )
        .finds("E101"),
        there(
            Case::new("forged/e951-tombstone", "Custody says why an artifact is missing, and is broken itself.")
                .bundle("0-5.pef", &broken_gone),
        )
        .finds("E101 E951"),
        of_small("forged/e802-policy", "A policy is not the one that its hash names.", |bundle| {
            let path = bundle.members.keys().find(|path| path.starts_with("policies/")).unwrap().clone();
            bundle.set(&path, br#"{"version":2}"#.to_vec()).reseal();
        })
        .finds("E802"),
        externals("forged/e206-externals-order", "Large files out of order.", "E206 E801?", |list| {
            list.as_array_mut().unwrap().swap(0, 1)
        }),
        externals("forged/e206-externals-twice", "A large file is listed twice.", "E206 E801?", |list| {
            list[1] = list[0].clone()
        }),
        externals("valid/externals-two", "Two large files, not looked for.", "E801?", |_| ()),
    ];
    cases.extend(custody(&key));
    cases
}

fn externals(name: &str, about: &str, codes: &str, change: impl FnOnce(&mut Value)) -> Case {
    let entry = |digit: &str| {
        json!({
            "blake3": "0".repeat(64), "media": "text/plain", "sha256": digit.repeat(64), "size": 1, "uri": "s3://a",
        })
    };
    let mut list = json!([entry("1"), entry("2")]);
    change(&mut list);
    of_small(name, about, |bundle| {
        bundle.set("externals.json", crate::forge::json::canonical(&list)).reseal();
    })
    .finds(codes)
}

fn custody(key: &Key) -> Vec<Case> {
    let thief = Key::new("thief.example", "thief");
    let entry = |name: &str, about: &str, members: Value| {
        of_small(&format!("forged/{name}"), about, |bundle| {
            bundle.custody(&[(key, json!({})), (key, members)]);
        })
        .finds("E951")
    };
    let lines = |name: &str, about: &str, change: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        of_small(&format!("forged/{name}"), about, |bundle| {
            bundle.custody(&[
                (key, json!({})),
                (key, json!({"action": "opened"})),
                (key, json!({"action": "verified"})),
            ]);
            let bytes = change(bundle.get("custody.jsonl").to_vec());
            bundle.set("custody.jsonl", bytes);
        })
        .finds("E951")
    };
    let all = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap().lines().map(str::to_owned).collect::<Vec<_>>();
    vec![
        entry("e951-action", "An action that does not exist.", json!({"action": "burnt"})),
        entry("e951-actor", "No actor.", json!({"actor": null})),
        entry("e951-member", "An unknown member.", json!({"x": "y"})),
        entry("e951-log", "An entry of another log.", json!({"log": "other.example/log"})),
        entry("e951-manifest", "An entry of another bundle.", json!({"manifest": "0".repeat(64)})),
        entry("e951-number", "An entry of another number.", json!({"n": "2"})),
        entry("e951-prev", "An entry that does not follow the one before.", json!({"prev": "0".repeat(64)})),
        entry("e951-signer", "An entry that another key signed than it says.", json!({"signer": thief.vkey()})),
        entry("e951-signer-form", "A signer that is no verifier key.", json!({"signer": "me"})),
        entry("e951-time", "A time that is none.", json!({"at": "today"})),
        entry("e951-sha256", "A digest in an entry that took nothing out.", json!({"sha256": "0".repeat(64)})),
        entry(
            "e951-redacted",
            "An entry that took something out, and does not say what.",
            json!({"action": "redacted"}),
        ),
        lines("e951-deleted", "An entry in the middle is gone.", &|bytes| {
            let lines = all(&bytes);
            format!("{}\n{}\n", lines[0], lines[2]).into_bytes()
        }),
        lines("e951-first", "The first entry is gone.", &|bytes| {
            format!("{}\n", all(&bytes)[1..].join("\n")).into_bytes()
        }),
        lines("e951-swapped", "Two entries changed places.", &|bytes| {
            let lines = all(&bytes);
            format!("{}\n{}\n{}\n", lines[0], lines[2], lines[1]).into_bytes()
        }),
        lines("e951-end", "The last line does not end.", &|bytes| bytes[..bytes.len() - 1].to_vec()),
        lines("e951-json", "A line that is no JSON.", &|bytes| [&bytes[..], b"{\n"].concat()),
        lines("e951-empty-line", "An empty line.", &|bytes| [&bytes[..], b"\n"].concat()),
        lines("e951-space", "A space in an envelope.", &|bytes| replace(&bytes, "{\"payload\"", "{ \"payload\"")),
        lines("e951-signature", "A signature with another bit.", &|bytes| {
            let text = String::from_utf8(bytes).unwrap();
            let at = text.find("\"sig\":\"").unwrap() + 9;
            let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
            format!("{}{other}{}", &text[..at], &text[at + 1..]).into_bytes()
        }),
    ]
}
