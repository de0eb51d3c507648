//! Changes of keys while no process serves the log: another log key, and revocations. Both need the root key.

use std::path::Path;

use ed25519_dalek::Signer as _;
use sha2::{Digest as _, Sha256};

use super::certificate::Certificate;
use super::revocation::Revocation;
use super::rotation::Rotation;
use super::store::{
    KeyError, Keys, LOG_CERTIFICATES, LOG_NEXT, LOG_PRIVATE, Pair, REVOCATIONS, ROOT_PRIVATE, certificate_name,
    read_pem, read_trust,
};
use super::{PublicKey, Purpose};
use crate::receipt::{KeyRevoke, KeyRotate};
use crate::{durable, hex};

impl Keys {
    /// Puts a new log key in the place of the old one, certified by the root key. `receipts` is how many receipts are
    /// durable: trees up to that size stay with the old key. What is returned must be appended to the log.
    ///
    /// The certificate decides: a crash before it is durable changes nothing, one after it is completed by [`Keys::open`].
    pub fn rotate_log(&mut self, receipts: u64) -> Result<KeyRotate, KeyError> {
        let root = self.root_pair()?;
        let name = certificate_name(LOG_CERTIFICATES, receipts);
        let path = self.directory.join(&name);
        if path.exists() {
            return Err(KeyError::Exists(path));
        }
        let new = Pair::generate(&Purpose::Log.key_name(&self.trust.log))?;
        let certificate = Certificate::issue(
            &root.public,
            &root.private,
            new.public.clone(),
            Purpose::Log,
            &self.trust.log,
            receipts,
        );
        let next = self.directory.join(LOG_NEXT);
        durable::write(&next, new.to_pem(&next)?.as_bytes(), 0o600).map_err(KeyError::io(&next))?;
        durable::write(&path, &certificate.envelope.to_bytes(), 0o644).map_err(KeyError::io(&path))?;
        take_next(&self.directory)?;
        let rotation = Rotation {
            log: &self.trust.log,
            old: &self.log.public,
            new: &new.public,
            purpose: Purpose::Log,
            valid_from_seq: receipts,
        };
        let bytes = rotation.signed_bytes();
        let record = rotation.record(&self.log.private.sign(&bytes).to_bytes(), &new.private.sign(&bytes).to_bytes());
        self.trust = read_trust(&self.directory)?;
        self.log = new;
        Ok(record)
    }

    /// Revokes a log or receipt key of this log: what it signed after `last_good_seq` (`None`: at all) is worth nothing. What
    /// is returned must be appended to the log.
    pub fn revoke(&mut self, key_id: &str, last_good_seq: Option<u64>, reason: &str) -> Result<KeyRevoke, KeyError> {
        let root = self.root_pair()?;
        if !self.trust.certificates().any(|certificate| certificate.key.id() == key_id) {
            return Err(KeyError::Unknown { key_id: key_id.to_owned() });
        }
        let directory = self.directory.join(REVOCATIONS);
        let path = directory.join(format!("{key_id}.json"));
        if path.exists() {
            return Err(KeyError::Exists(path));
        }
        durable::create_directory(&directory, 0o700).map_err(KeyError::io(&directory))?;
        let revocation = Revocation::issue(&root.public, &root.private, key_id, last_good_seq, &self.trust.log, reason);
        let bytes = revocation.envelope.to_bytes();
        durable::write(&path, &bytes, 0o644).map_err(KeyError::io(&path))?;
        self.trust = read_trust(&self.directory)?;
        Ok(KeyRevoke {
            key_id: key_id.to_owned(),
            last_good_seq: revocation.last_good_text(),
            reason: revocation.reason.clone(),
            sha256: hex::encode(&Sha256::digest(&bytes)),
        })
    }

    /// The root key pair, when its private half is here.
    fn root_pair(&self) -> Result<Pair, KeyError> {
        let path = self.directory.join(ROOT_PRIVATE);
        if !path.exists() {
            return Err(KeyError::RootAway(path));
        }
        let private = read_pem(&path)?;
        let public = PublicKey::new(self.trust.root.name(), private.verifying_key().as_bytes())
            .map_err(|fault| KeyError::malformed(&path, fault))?;
        if public != self.trust.root {
            return Err(KeyError::malformed(&path, "it is not the root key of this log"));
        }
        Ok(Pair { public, private })
    }
}

/// Puts the next log key in its place.
pub(super) fn take_next(directory: &Path) -> Result<(), KeyError> {
    let next = directory.join(LOG_NEXT);
    std::fs::rename(&next, directory.join(LOG_PRIVATE)).map_err(KeyError::io(&next))?;
    durable::sync_directory(directory).map_err(KeyError::io(directory))
}
