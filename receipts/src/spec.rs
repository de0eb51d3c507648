//! Holds `SPEC.md` to the code: its worked example, its codes, its members.

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
