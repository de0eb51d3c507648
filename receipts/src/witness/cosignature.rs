//! C2SP tlog-cosignature with Ed25519: a signature over the checkpoint and the time at which it was seen.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};

use crate::checkpoint::{NoteError, SignedNote};
use crate::keys::{KeyFault, PublicKey};

/// Type byte of a timestamped Ed25519 cosignature in a verifier key.
const TYPE_COSIGNATURE: u8 = 4;

/// Times are at most 2^63 − 1 seconds, and 0 is none.
const TIME_MAX: u64 = (1 << 63) - 1;

/// A witness by name and key.
#[derive(Clone, PartialEq, Eq)]
pub struct WitnessKey {
    key: PublicKey,
    hash: [u8; 4],
}

impl std::fmt::Debug for WitnessKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.to_vkey())
    }
}

/// A cosignature, as it stands in a line of a note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosignature {
    /// Name of the witness.
    pub name: String,
    pub(super) hash: [u8; 4],
    /// Seconds since 1970.
    pub time: u64,
    pub(super) signature: [u8; 64],
}

impl WitnessKey {
    pub fn new(name: &str, bytes: &[u8; 32]) -> Result<Self, KeyFault> {
        let key = PublicKey::new(name, bytes)?;
        let digest = Sha256::new().chain_update(name).chain_update([b'\n', TYPE_COSIGNATURE]).chain_update(bytes);
        let [a, b, c, d, ..]: [u8; 32] = digest.finalize().into();
        Ok(Self { key, hash: [a, b, c, d] })
    }

    pub fn name(&self) -> &str {
        self.key.name()
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// `name+hash+base64(0x04 ‖ key)`.
    pub fn to_vkey(&self) -> String {
        let mut typed = vec![TYPE_COSIGNATURE];
        typed.extend_from_slice(self.as_bytes());
        format!("{}+{:08x}+{}", self.name(), u32::from_be_bytes(self.hash), BASE64.encode(typed))
    }

    pub fn from_vkey(text: &str) -> Result<Self, KeyFault> {
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(hash), Some(data)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyFault::Malformed);
        };
        let typed = BASE64.decode(data).map_err(|_| KeyFault::Malformed)?;
        let Some((&TYPE_COSIGNATURE, bytes)) = typed.split_first() else {
            return Err(KeyFault::Malformed);
        };
        let key = Self::new(name, bytes.try_into().map_err(|_| KeyFault::Malformed)?)?;
        if format!("{:08x}", u32::from_be_bytes(key.hash)) != hash {
            return Err(KeyFault::Hash);
        }
        Ok(key)
    }

    /// This witness's cosignature under a note; `None` when it has none. One in its name and hash that is wrong is an error.
    pub fn verify(&self, note: &SignedNote) -> Result<Option<Cosignature>, NoteError> {
        let Some(signature) = note.signature(self.name(), self.hash) else { return Ok(None) };
        let bad = NoteError::BadSignature;
        let (time, signature) = signature.split_first_chunk::<8>().ok_or(bad)?;
        let time = u64::from_be_bytes(*time);
        let cosignature = Cosignature {
            name: self.name().to_owned(),
            hash: self.hash,
            time,
            signature: signature.try_into().map_err(|_| bad)?,
        };
        if self.made(&cosignature, note.text()) { Ok(Some(cosignature)) } else { Err(bad) }
    }

    /// Whether this witness made this cosignature under this text.
    pub(crate) fn made(&self, cosignature: &Cosignature, text: &str) -> bool {
        cosignature.name == self.name()
            && cosignature.hash == self.hash
            && (1..=TIME_MAX).contains(&cosignature.time)
            && self.key.verify(&message(cosignature.time, text), &cosignature.signature)
    }

    /// Puts a cosignature together.
    pub(crate) fn cosignature(&self, time: u64, signature: [u8; 64]) -> Cosignature {
        Cosignature { name: self.name().to_owned(), hash: self.hash, time, signature }
    }
}

impl Cosignature {
    /// The line of a note, with its newline.
    pub fn to_line(&self) -> String {
        let mut data = self.hash.to_vec();
        data.extend_from_slice(&self.time.to_be_bytes());
        data.extend_from_slice(&self.signature);
        format!("— {} {}\n", self.name, BASE64.encode(data))
    }
}

/// What is signed.
pub(crate) fn message(time: u64, text: &str) -> Vec<u8> {
    format!("cosignature/v1\ntime {time}\n{text}").into_bytes()
}
