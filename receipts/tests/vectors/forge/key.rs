//! Keys from published seeds, and what one key says of another.

use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};

use super::json::canonical;
use super::{base64, hex, pae, sha256};

pub(crate) const KEY_TYPE: &str = "application/vnd.pef.key.v0+json";
pub(crate) const REVOCATION_TYPE: &str = "application/vnd.pef.revocation.v0+json";
const ROTATION_TYPE: &str = "application/vnd.pef.rotation.v0+json";

/// When every certificate was issued.
pub(crate) const ISSUED: &str = "2026-11-21T02:59:59.000000Z";

#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) name: String,
    signing: SigningKey,
}

impl Key {
    /// The seed is SHA-256 of `pef.v0 vectors`, a space and the label.
    pub(crate) fn new(name: &str, label: &str) -> Self {
        let seed = sha256(format!("pef.v0 vectors {label}").as_bytes());
        Self { name: name.to_owned(), signing: SigningKey::from_bytes(&seed) }
    }

    pub(crate) fn public(&self) -> [u8; 32] {
        self.signing.verifying_key().to_bytes()
    }

    /// The digest of name, type and key; the first four bytes are the key hash of signed notes.
    pub(crate) fn digest(&self, kind: u8) -> [u8; 32] {
        sha256(&[self.name.as_bytes(), &[0x0a, kind], &self.public()].concat())
    }

    pub(crate) fn id(&self) -> String {
        hex(&self.digest(1))
    }

    pub(crate) fn vkey_of_kind(&self, kind: u8) -> String {
        let typed = [&[kind][..], &self.public()].concat();
        format!("{}+{}+{}", self.name, hex(&self.digest(kind)[..4]), base64(&typed))
    }

    pub(crate) fn vkey(&self) -> String {
        self.vkey_of_kind(1)
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signing.sign(message).to_bytes()
    }

    /// A DSSE envelope over these bytes.
    pub(crate) fn envelope(&self, payload_type: &str, payload: &[u8]) -> Value {
        envelope(payload_type, payload, &self.id(), &self.sign(&pae(payload_type, payload)))
    }

    pub(crate) fn certify(&self, key: &Key, purpose: &str, log: &str, from: u64) -> Value {
        self.certify_body(&self.certificate(key, purpose, log, from))
    }

    pub(crate) fn certify_body(&self, body: &Value) -> Value {
        self.envelope(KEY_TYPE, &canonical(body))
    }

    pub(crate) fn certificate(&self, key: &Key, purpose: &str, log: &str, from: u64) -> Value {
        json!({
            "alg": "ed25519", "issued": ISSUED, "issuer": self.id(), "key_id": key.id(), "log": log, "name": key.name,
            "pub": base64(&key.public()), "purpose": purpose, "v": "pef.v0", "valid_from_seq": from.to_string(),
        })
    }

    pub(crate) fn revocation(&self, key_id: &str, log: &str, last_good_seq: &str) -> Value {
        json!({
            "alg": "ed25519", "issued": ISSUED, "issuer": self.id(), "key_id": key_id, "last_good_seq": last_good_seq,
            "log": log, "reason": "stolen", "v": "pef.v0",
        })
    }

    pub(crate) fn revoke(&self, key_id: &str, log: &str, last_good_seq: &str) -> Value {
        self.envelope(REVOCATION_TYPE, &canonical(&self.revocation(key_id, log, last_good_seq)))
    }

    pub(crate) fn sign_rotation(&self, log: &str, old: &str, new: &str, purpose: &str, from: u64) -> [u8; 64] {
        let body = json!({
            "log": log, "new": new, "old": old, "purpose": purpose, "v": "pef.v0", "valid_from_seq": from.to_string(),
        });
        self.sign(&pae(ROTATION_TYPE, &canonical(&body)))
    }

    pub(crate) fn describe(&self) -> Value {
        json!({"alg": "ed25519", "key_id": self.id(), "name": self.name, "pub": base64(&self.public())})
    }
}

pub(crate) fn envelope(payload_type: &str, payload: &[u8], key_id: &str, signature: &[u8]) -> Value {
    json!({
        "payload": base64(payload), "payloadType": payload_type,
        "signatures": [{"keyid": key_id, "sig": base64(signature)}],
    })
}
