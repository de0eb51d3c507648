//! Rotations: both keys' word that one takes the place of the other.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{PublicKey, Purpose};
use crate::canonical::{Value, to_vec};
use crate::dsse;
use crate::receipt::{FORMAT, KeyRotate};

/// Payload type under which both keys sign.
pub(crate) const ROTATION_PAYLOAD_TYPE: &str = "application/vnd.pef.rotation.v0+json";

/// What is said of a rotation.
#[derive(Debug, Clone)]
pub(crate) struct Rotation<'a> {
    pub(crate) log: &'a str,
    pub(crate) old: &'a PublicKey,
    pub(crate) new: &'a PublicKey,
    pub(crate) purpose: Purpose,
    pub(crate) valid_from_seq: u64,
}

impl Rotation<'_> {
    /// The bytes that both keys sign.
    pub(crate) fn signed_bytes(&self) -> Vec<u8> {
        Self::bytes(self.log, &self.old.id(), &self.new.id(), self.purpose, self.valid_from_seq)
    }

    /// The same from key ids: a reader may not have both keys.
    pub(crate) fn bytes(log: &str, old: &str, new: &str, purpose: Purpose, valid_from_seq: u64) -> Vec<u8> {
        let body = to_vec(&Value::from([
            ("log", Value::from(log)),
            ("new", Value::from(new)),
            ("old", Value::from(old)),
            ("purpose", Value::from(purpose.name())),
            ("v", Value::from(FORMAT)),
            ("valid_from_seq", Value::from(valid_from_seq.to_string())),
        ]));
        dsse::pae(ROTATION_PAYLOAD_TYPE, &body)
    }

    /// The receipt's `event`, from the signatures of both keys over [`Rotation::signed_bytes`].
    pub(crate) fn record(&self, old_sig: &[u8; 64], new_sig: &[u8; 64]) -> KeyRotate {
        KeyRotate {
            new: self.new.id(),
            new_sig: BASE64.encode(new_sig),
            old: self.old.id(),
            old_sig: BASE64.encode(old_sig),
            purpose: self.purpose.name().to_owned(),
            valid_from_seq: self.valid_from_seq,
        }
    }

    /// True when both keys signed.
    #[cfg(test)]
    pub(crate) fn is_signed(&self, record: &KeyRotate) -> bool {
        let bytes = self.signed_bytes();
        let signed = |key: &PublicKey, text: &str| {
            dsse::decode_signature(text).is_some_and(|signature| key.verify(&bytes, &signature))
        };
        signed(self.old, &record.old_sig) && signed(self.new, &record.new_sig)
    }
}
