//! The key that signs receipts: in memory only, wiped when the next takes its place.
//!
//! A certificate shows that every receipt before its `valid_from_seq` was durable. It is therefore staged first, so that a
//! full disk is noticed while nothing depends on it, and published when those receipts are on disk.

use ed25519_dalek::{Signer as _, SigningKey};

use super::certificate::Certificate;
use super::rotation::Rotation;
use super::store::{KeyError, Keys, RECEIPT_CERTIFICATES, certificate_name, read_trust};
use super::{PublicKey, Purpose, private};
use crate::durable;
use crate::receipt::KeyRotate;

/// A receipt key in force. The private half is wiped when it is dropped.
pub(crate) struct ReceiptKey {
    pub(crate) public: PublicKey,
    pub(crate) private: SigningKey,
}

impl std::fmt::Debug for ReceiptKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("ReceiptKey").field(&self.public).finish()
    }
}

/// A receipt key whose certificate is on disk, but not yet under its name.
#[derive(Debug)]
pub(crate) struct StagedKey {
    key: ReceiptKey,
    first_seq: u64,
}

impl StagedKey {
    /// What both keys say about the change from `old` to this one.
    pub(crate) fn rotation(&self, log: &str, old: &ReceiptKey) -> KeyRotate {
        let rotation = Rotation {
            log,
            old: &old.public,
            new: &self.key.public,
            purpose: Purpose::Receipt,
            valid_from_seq: self.first_seq,
        };
        let bytes = rotation.signed_bytes();
        rotation.record(&old.private.sign(&bytes).to_bytes(), &self.key.private.sign(&bytes).to_bytes())
    }
}

impl Keys {
    /// Makes the receipt key for receipts from `first_seq` on, certified and its certificate durable. A certificate that a
    /// process left behind without having written a receipt is replaced.
    pub(crate) fn issue_receipt_key(&mut self, first_seq: u64) -> Result<ReceiptKey, KeyError> {
        let staged = self.stage_receipt_key(first_seq)?;
        self.publish_receipt_key(staged)
    }

    /// Makes a receipt key and its certificate; the certificate does not count yet.
    pub(crate) fn stage_receipt_key(&self, first_seq: u64) -> Result<StagedKey, KeyError> {
        let private = private::generate()?;
        let name = Purpose::Receipt.key_name(&self.trust.log);
        let public = PublicKey::new(&name, private.verifying_key().as_bytes())
            .map_err(|_| KeyError::Origin { origin: self.trust.log.clone() })?;
        let certificate =
            Certificate::issue(self.signing()?, public.clone(), Purpose::Receipt, &self.trust.log, first_seq)?;
        let path = self.directory.join(certificate_name(RECEIPT_CERTIFICATES, first_seq));
        durable::stage(&path, &certificate.envelope.to_bytes(), 0o644).map_err(KeyError::io(&path))?;
        Ok(StagedKey { key: ReceiptKey { public, private }, first_seq })
    }

    /// Puts a staged key in force: its certificate is durable under its name.
    pub(crate) fn publish_receipt_key(&mut self, staged: StagedKey) -> Result<ReceiptKey, KeyError> {
        let path = self.directory.join(certificate_name(RECEIPT_CERTIFICATES, staged.first_seq));
        durable::publish(&path).map_err(KeyError::io(&path))?;
        self.trust = read_trust(&self.directory)?;
        Ok(staged.key)
    }
}
