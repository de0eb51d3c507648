//! Changes of keys while no process serves the log: another log key, and revocations. Both need the root key.

use sha2::{Digest as _, Sha256};

use super::Purpose;
use super::certificate::Certificate;
use super::private::{self, Pair};
use super::revocation::Revocation;
use super::rotation::Rotation;
use super::signer::{KeyAccess, KeyPlace};
use super::store::{KeyError, Keys, LOG, LOG_CERTIFICATES, LOG_NEXT, REVOCATIONS, ROOT, certificate_name, read_trust};
use crate::receipt::{KeyRevoke, KeyRotate};
use crate::{durable, hex};

impl Keys {
    /// Puts a new log key in the place of the old one, certified by the root key. `receipts` is how many receipts are
    /// durable: trees up to that size stay with the old key. What is returned must be appended to the log.
    ///
    /// The certificate decides: a crash before it is durable changes nothing, one after it is completed by [`Keys::open`].
    pub fn rotate_log(
        &mut self,
        receipts: u64,
        place: &KeyPlace,
        access: &dyn KeyAccess,
    ) -> Result<KeyRotate, KeyError> {
        let path = self.directory.join(certificate_name(LOG_CERTIFICATES, receipts));
        if path.exists() {
            return Err(KeyError::Exists(path));
        }
        let root = self.root_pair(access)?;
        let name = Purpose::Log.key_name(&self.trust.log);
        let old = match self.signing.take() {
            Some(pair) => pair,
            None => private::open(&self.directory, LOG, &name, Some(&self.log), access)?,
        };
        let new = private::create(&self.directory, LOG_NEXT, &name, place, access)?;
        let rotation = Rotation {
            log: &self.trust.log,
            old: &old.public,
            new: &new.public,
            purpose: Purpose::Log,
            valid_from_seq: receipts,
        };
        let bytes = rotation.signed_bytes();
        let record = rotation.record(&old.sign(&bytes)?, &new.sign(&bytes)?);
        let certificate = Certificate::issue(&root, new.public.clone(), Purpose::Log, &self.trust.log, receipts)?;
        durable::write(&path, &certificate.envelope.to_bytes(), 0o644).map_err(KeyError::io(&path))?;
        private::replace(&self.directory, LOG, LOG_NEXT)?;
        self.trust = read_trust(&self.directory)?;
        self.log = new.public.clone();
        self.signing = Some(new);
        Ok(record)
    }

    /// Revokes a log or receipt key of this log: what it signed after `last_good_seq` (`None`: at all) is worth nothing. What
    /// is returned must be appended to the log.
    pub fn revoke(
        &mut self,
        key_id: &str,
        last_good_seq: Option<u64>,
        reason: &str,
        access: &dyn KeyAccess,
    ) -> Result<KeyRevoke, KeyError> {
        if !self.trust.certificates().any(|certificate| certificate.key.id() == key_id) {
            return Err(KeyError::Unknown { key_id: key_id.to_owned() });
        }
        let directory = self.directory.join(REVOCATIONS);
        let path = directory.join(format!("{key_id}.json"));
        if path.exists() {
            return Err(KeyError::Exists(path));
        }
        let root = self.root_pair(access)?;
        durable::create_directory(&directory, 0o700).map_err(KeyError::io(&directory))?;
        let revocation = Revocation::issue(&root, key_id, last_good_seq, &self.trust.log, reason)?;
        durable::write(&path, &revocation.envelope.to_bytes(), 0o644).map_err(KeyError::io(&path))?;
        self.trust = read_trust(&self.directory)?;
        Ok(record(&revocation))
    }

    /// What the log is to say of a key's revocation, if it was revoked.
    pub fn revocation(&self, key_id: &str) -> Option<KeyRevoke> {
        self.trust.revocation(key_id).map(record)
    }

    /// The root key pair, when its private half is at hand.
    fn root_pair(&self, access: &dyn KeyAccess) -> Result<Pair, KeyError> {
        if private::files(&self.directory, ROOT).is_empty() {
            return Err(KeyError::RootAway(self.directory.join("root.pem")));
        }
        private::open(&self.directory, ROOT, self.trust.root.name(), Some(&self.trust.root), access)
    }
}

fn record(revocation: &Revocation) -> KeyRevoke {
    KeyRevoke {
        key_id: revocation.key_id.clone(),
        last_good_seq: revocation.last_good_text(),
        reason: revocation.reason.clone(),
        sha256: hex::encode(&Sha256::digest(revocation.envelope.to_bytes())),
    }
}
