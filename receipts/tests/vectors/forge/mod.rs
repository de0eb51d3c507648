//! A writer of every format of `SPEC.md`, of its own: it shares no code with the crate that it tests, its keys and times are
//! fixed, and it writes what is wrong as readily as what is right.

pub(crate) mod anchor;
pub(crate) mod bundle;
pub(crate) mod json;
pub(crate) mod key;
pub(crate) mod log;
pub(crate) mod note;
pub(crate) mod segment;
pub(crate) mod tree;

use base64::Engine as _;
use sha2::{Digest as _, Sha256};

/// Files by their paths.
pub(crate) type Files = std::collections::BTreeMap<String, Vec<u8>>;

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

pub(crate) fn unbase64(text: &str) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

pub(crate) fn derive(context: &str, input: &[u8]) -> [u8; 32] {
    blake3::derive_key(context, input)
}

/// What DSSE signs.
pub(crate) fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// The bytes with one text in the place of another, which must be there.
pub(crate) fn replace(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|window| window == from.as_bytes());
    let at = at.unwrap_or_else(|| panic!("no {from} in {}", String::from_utf8_lossy(bytes)));
    [&bytes[..at], to.as_bytes(), &bytes[at + from.len()..]].concat()
}
