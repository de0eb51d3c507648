//! Commitments to content that is not in the record, and the notarization of a stream.
//!
//! A commitment is HMAC-SHA-256 over the content with a fresh random 32-byte salt as the key. A bare hash of a short prompt
//! can be guessed; with the salt kept beside the content (never in the receipt) it cannot, and destroying both is erasure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::hex;
use crate::streams::EVENTS_KEPT_MAX;
use crate::tree::{Frontier, Hash, leaf_hash};

/// Name of the one commitment algorithm.
pub const COMMITMENT_ALG: &str = "hmac-sha256";

/// A commitment as it stands in a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commitment {
    /// Always [`COMMITMENT_ALG`].
    pub alg: String,
    /// Base64 salt. Only where the policy wants receipts that can be checked without the artifact's own record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    /// Hexadecimal HMAC-SHA-256.
    pub value: String,
}

/// The operating system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gave no random bytes: {0}")]
pub struct NoRandomness(getrandom::Error);

/// The secret half of a commitment. Wiped from memory when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Salt(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for Salt {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Salt(…)")
    }
}

impl Salt {
    pub fn random() -> Result<Self, NoRandomness> {
        let mut salt = Zeroizing::new([0; 32]);
        getrandom::fill(salt.as_mut()).map_err(NoRandomness)?;
        Ok(Self(salt))
    }

    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Base64, as it is written beside an artifact.
    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64.encode(*self.0))
    }
}

impl Commitment {
    /// Commits to these bytes with a fresh salt.
    pub fn of(bytes: &[u8]) -> Result<(Commitment, Salt), NoRandomness> {
        let mut committer = Committer::new()?;
        committer.update(bytes);
        Ok(committer.finish())
    }

    /// True when these bytes with this salt are what was committed to. Constant time in the value.
    pub fn opens_with(&self, bytes: &[u8], salt: &Salt) -> bool {
        if self.alg != COMMITMENT_ALG {
            return false;
        }
        let Some(value) = hex::decode_32(&self.value) else {
            return false;
        };
        let mut mac = keyed(salt);
        mac.update(bytes);
        mac.verify_slice(&value).is_ok()
    }
}

fn keyed(salt: &Salt) -> Hmac<Sha256> {
    // A 32-byte key is shorter than the block, so it is used as it is; this form of `new` cannot fail.
    let mut block = Zeroizing::new([0; 64]);
    for (to, from) in block.iter_mut().zip(salt.as_bytes()) {
        *to = *from;
    }
    Hmac::<Sha256>::new((&*block).into())
}

/// A commitment in the making, for content that comes in pieces. Any way of cutting it gives the same commitment.
pub struct Committer {
    mac: Hmac<Sha256>,
    salt: Salt,
}

impl std::fmt::Debug for Committer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Committer(…)")
    }
}

impl Committer {
    pub fn new() -> Result<Self, NoRandomness> {
        Ok(Self::with_salt(Salt::random()?))
    }

    pub fn with_salt(salt: Salt) -> Self {
        Self { mac: keyed(&salt), salt }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.mac.update(bytes);
    }

    pub fn finish(self) -> (Commitment, Salt) {
        let value: [u8; 32] = self.mac.finalize().into_bytes().into();
        (Commitment { alg: COMMITMENT_ALG.to_owned(), salt: None, value: hex::encode(&value) }, self.salt)
    }
}

/// Notarization of a stream: an RFC 6962 tree over the released events in order, one leaf per event, in constant memory
/// (at most 64 hashes) unless the leaves are kept. Whoever kept the events can prove that these, in this order, were released.
#[derive(Debug, Clone, Default)]
pub struct EventTree {
    tree: Frontier,
    /// Leaves so far, where they are kept and not too many.
    leaves: Option<Vec<Hash>>,
}

impl EventTree {
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps the leaves too, up to [`EVENTS_KEPT_MAX`], so that single events can be proven.
    pub fn keeping() -> Self {
        Self { leaves: Some(Vec::new()), ..Self::default() }
    }

    /// Adds a released event: its exact bytes as sent.
    pub fn push(&mut self, event: &[u8]) {
        let leaf = leaf_hash(event);
        self.tree.push(leaf);
        match &mut self.leaves {
            Some(leaves) if leaves.len() < EVENTS_KEPT_MAX => leaves.push(leaf),
            full => *full = None,
        }
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.tree.size()
    }

    pub fn root(&self) -> Hash {
        self.tree.root()
    }

    /// The leaves, if they were kept and were not too many.
    pub fn into_leaves(self) -> Option<Vec<Hash>> {
        self.leaves
    }

    /// The root as a receipt's `stream.root` has it.
    pub fn root_hex(&self) -> String {
        hex::encode(&self.root())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_value_is_plain_hmac_sha_256() {
        // RFC 4231 test case 2 cannot be used (its key is short); this value is from `openssl dgst -sha256 -mac hmac`
        // with the key 00 01 … 1f over "hello".
        let salt = Salt::from_bytes(std::array::from_fn(|index| u8::try_from(index).unwrap()));
        let mut committer = Committer::with_salt(salt);
        committer.update(b"hello");
        let (commitment, _) = committer.finish();
        assert_eq!(commitment.value, "53c40272a70c15ca4ee0af4df1f155fd6c41e00ce2307d8987ecd4bb36a7e990");
    }

    #[test]
    fn a_commitment_opens_with_its_salt_and_content_only() {
        let (commitment, salt) = Commitment::of(b"prompt").unwrap();
        let (other, other_salt) = Commitment::of(b"prompt").unwrap();
        assert_ne!(commitment.value, other.value, "the same prompt twice must not be linkable");
        assert!(commitment.opens_with(b"prompt", &salt));
        assert!(!commitment.opens_with(b"Prompt", &salt));
        assert!(!commitment.opens_with(b"prompt", &other_salt));
        assert!(!Commitment { alg: "sha256".into(), ..commitment.clone() }.opens_with(b"prompt", &salt));
        assert!(!Commitment { value: "00".into(), ..commitment }.opens_with(b"prompt", &salt));
    }

    #[test]
    fn a_salt_does_not_show_itself() {
        assert_eq!(format!("{:?}", Salt::from_bytes([7; 32])), "Salt(…)");
    }

    proptest! {
        #[test]
        fn any_cutting_commits_to_the_same(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0usize..300) {
            let salt = Salt::from_bytes([9; 32]);
            let mut whole = Committer::with_salt(salt.clone());
            whole.update(&bytes);
            let mut pieces = Committer::with_salt(salt);
            let (left, right) = bytes.split_at(cut.min(bytes.len()));
            pieces.update(left);
            pieces.update(right);
            prop_assert_eq!(whole.finish().0, pieces.finish().0);
        }
    }
}
