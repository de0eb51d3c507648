//! Holds `SPEC.md` to the code: its worked example, its codes, its members.

use std::collections::BTreeSet;

use ed25519_dalek::SigningKey;

use crate::canonical::{Limits, parse};
use crate::journal::{Chain, genesis_value, run_start_value};
use crate::keys::PublicKey;
use crate::receipt::{Kind, RECEIPT_PAYLOAD_TYPE, shape};
use crate::tree::leaf_hash;
use crate::verify::Code;
use crate::{dsse, hex};

const SPEC: &str = include_str!("../SPEC.md");

#[test]
fn the_worked_example_is_right() {
    let key = SigningKey::from_bytes(&std::array::from_fn(|index| u8::try_from(index).unwrap()));
    let public = PublicKey::new("example.com/log/receipt", key.verifying_key().as_bytes()).unwrap();
    let body = br#"{"seq":"7"}"#;
    let signature = dsse::sign(&key, RECEIPT_PAYLOAD_TYPE, body);
    let envelope = dsse::envelope(RECEIPT_PAYLOAD_TYPE, body, &public.id(), &signature);
    let event = parse(br#"{"a":1}"#, Limits::RECEIPT).unwrap();
    for (what, value) in [
        ("key_id", public.id()),
        ("chain", hex::encode(&Chain::default().value(7, body))),
        ("signature", hex::encode(&signature)),
        ("leaf hash", hex::encode(&leaf_hash(&envelope))),
        ("genesis value of `{\"a\":1}`", hex::encode(&genesis_value(&event))),
        ("start value of run `r`", hex::encode(&run_start_value("r"))),
    ] {
        let row = format!("| {what} | `{value}` |");
        assert!(SPEC.contains(&row), "SPEC.md does not have: {row}");
    }
}

#[test]
fn every_code_and_name_is_listed() {
    for code in Code::ALL {
        assert!(SPEC.contains(&format!("| {} | {} |", code.code(), code.name())), "{}", code.code());
    }
}

#[test]
fn every_kind_and_member_is_listed() {
    for kind in Kind::ALL {
        assert!(SPEC.contains(&format!("| `{}` |", kind.name())), "{}", kind.name());
        for name in shape::names(kind) {
            assert!(SPEC.contains(&format!("`{name}`")) || SPEC.contains(&format!("\"{name}\"")), "{name}");
        }
    }
}

/// The published schemas have the members of the tables here, no more and no fewer.
#[test]
fn the_schemas_have_the_same_members() {
    fn collect(at: &serde_json::Value, whole: &serde_json::Value, names: &mut BTreeSet<String>) {
        if let Some(part) = at["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/$defs/")) {
            collect(&whole["$defs"][part], whole, names);
        }
        for (name, member) in at["properties"].as_object().into_iter().flatten() {
            names.insert(name.clone());
            collect(member, whole, names);
        }
        for part in at["allOf"].as_array().into_iter().flatten() {
            collect(part, whole, names);
        }
        if at["items"].is_object() {
            collect(&at["items"], whole, names);
        }
    }
    let published = |at: &serde_json::Value, whole: &serde_json::Value| {
        let mut names = BTreeSet::new();
        collect(at, whole, &mut names);
        names
    };
    let ours = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect::<BTreeSet<String>>();
    let receipt: serde_json::Value =
        serde_json::from_str(include_str!("../../schemas/pef/receipt.schema.json")).unwrap();
    assert_eq!(receipt["oneOf"].as_array().unwrap().len(), Kind::ALL.len());
    for kind in Kind::ALL {
        let name = kind.name();
        assert_eq!(published(&receipt["$defs"][name], &receipt), ours(shape::names(kind)), "{name}");
    }
    let manifest: serde_json::Value =
        serde_json::from_str(include_str!("../../schemas/pef/manifest.schema.json")).unwrap();
    assert_eq!(published(&manifest, &manifest), ours(shape::names_in(&shape::MANIFEST)), "manifest");
}
