//! A public key with its name: what a signature is checked against.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
use sha2::{Digest as _, Sha256};

use crate::hex;

/// Type byte of plain Ed25519 in C2SP signed-note.
const NOTE_TYPE_ED25519: u8 = 1;

/// A named Ed25519 public key. Holding one means that it is a canonical encoding and not of small order.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    key: VerifyingKey,
    digest: [u8; 32],
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.to_vkey())
    }
}

/// Why bytes are not a key to trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    #[error("a key name must be 1 to 255 visible ASCII characters without '+'")]
    Name,
    #[error("not an Ed25519 public key in canonical encoding, or one of small order")]
    Weak,
    #[error("not a signed-note verifier key (name+hash+base64)")]
    Malformed,
    #[error("the key hash does not belong to this name and key")]
    Hash,
}

/// The field's prime 2^255 − 19, little-endian.
const PRIME: [u8; 32] = {
    let mut bytes = [0xff; 32];
    bytes[0] = 0xed;
    bytes[31] = 0x7f;
    bytes
};

/// True when the y coordinate is below the prime: other encodings are second spellings of the same point.
fn is_canonical_y(bytes: &[u8; 32]) -> bool {
    let mut y = *bytes;
    let [.., last] = &mut y;
    *last &= 0x7f;
    y.iter().rev().lt(PRIME.iter().rev())
}

/// Names go into checkpoints and notes, where space and '+' are separators.
pub(crate) fn is_key_name(name: &str) -> bool {
    (1..=255).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'+')
}

/// SHA-256(name ‖ 0x0A ‖ 0x01 ‖ key): the id of a key, also of one that is no good.
pub(super) fn key_digest(name: &str, bytes: &[u8; 32]) -> [u8; 32] {
    Sha256::new().chain_update(name).chain_update([b'\n', NOTE_TYPE_ED25519]).chain_update(bytes).finalize().into()
}

impl PublicKey {
    pub fn new(name: &str, bytes: &[u8; 32]) -> Result<Self, KeyFault> {
        if !is_key_name(name) {
            return Err(KeyFault::Name);
        }
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyFault::Weak)?;
        if !is_canonical_y(bytes) || key.is_weak() {
            return Err(KeyFault::Weak);
        }
        Ok(Self { name: name.to_owned(), key, digest: key_digest(name, bytes) })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// Hexadecimal SHA-256(name ‖ 0x0A ‖ 0x01 ‖ key).
    pub fn id(&self) -> String {
        hex::encode(&self.digest)
    }

    /// The first four bytes of the id: the key hash of C2SP signed-note.
    pub fn note_hash(&self) -> [u8; 4] {
        let [a, b, c, d, ..] = self.digest;
        [a, b, c, d]
    }

    /// RFC 8032 verification, cofactorless, with canonical S: what the ordinary libraries of Go and JavaScript do.
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.key.verify(message, &Signature::from_bytes(signature)).is_ok()
    }

    /// Base64 of the 32 bytes.
    pub(crate) fn to_base64(&self) -> String {
        BASE64.encode(self.as_bytes())
    }

    /// C2SP signed-note verifier key: `name+hash+base64(0x01 ‖ key)`. This is the form in which a root key is handed over.
    pub fn to_vkey(&self) -> String {
        let mut typed = vec![NOTE_TYPE_ED25519];
        typed.extend_from_slice(self.as_bytes());
        let id = self.id();
        format!("{}+{}+{}", self.name, id.get(..8).unwrap_or_default(), BASE64.encode(typed))
    }

    pub fn from_vkey(text: &str) -> Result<Self, KeyFault> {
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(hash), Some(data)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyFault::Malformed);
        };
        let typed = BASE64.decode(data).map_err(|_| KeyFault::Malformed)?;
        let Some((&NOTE_TYPE_ED25519, bytes)) = typed.split_first() else {
            return Err(KeyFault::Malformed);
        };
        let key = Self::new(name, bytes.try_into().map_err(|_| KeyFault::Malformed)?)?;
        if key.id().get(..8) != Some(hash) {
            return Err(KeyFault::Hash);
        }
        Ok(key)
    }
}
