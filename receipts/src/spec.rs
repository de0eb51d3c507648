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

/// The published schema of receipts has the members of the tables here, no more and no fewer.
#[test]
fn the_schema_of_receipts_has_the_same_members() {
    const SCHEMA: &str = include_str!("../../schemas/pef/receipt.schema.json");
    fn collect(at: &serde_json::Value, whole: &serde_json::Value, names: &mut BTreeSet<String>) {
        if let Some(part) = at["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/$defs/")) {
            collect(&whole["$defs"][part], whole, names);
        }
        for (name, member) in at["properties"].as_object().into_iter().flatten() {
            names.insert(name.clone());
            collect(member, whole, names);
        }
        collect_list(&at["allOf"], whole, names);
        if at["items"].is_object() {
            collect(&at["items"], whole, names);
        }
    }
    fn collect_list(list: &serde_json::Value, whole: &serde_json::Value, names: &mut BTreeSet<String>) {
        for part in list.as_array().into_iter().flatten() {
            collect(part, whole, names);
        }
    }
    let whole: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    assert_eq!(whole["oneOf"].as_array().unwrap().len(), Kind::ALL.len());
    for kind in Kind::ALL {
        let mut published = BTreeSet::new();
        collect(&whole["$defs"][kind.name()], &whole, &mut published);
        let ours: BTreeSet<String> = shape::names(kind).into_iter().map(str::to_owned).collect();
        assert_eq!(published, ours, "{}", kind.name());
    }
}
