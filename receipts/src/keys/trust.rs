//! The trust file `keys.json`: which key may sign what, from which sequence number on, and on whose word.

use std::collections::HashMap;

use super::certificate::{Certificate, read_key};
use super::{ALG, PublicKey, Purpose};
use crate::canonical::{JsonFault, Limits, Value, is_canonical, parse, to_vec};
use crate::receipt::FORMAT;

/// Most certificates in one trust file: some 900 bytes each, within the 8 MiB that a document may have. A sealer ends a
/// bundle after 4,096 starts, so no bundle comes near it.
const CERTIFICATES_MAX: usize = 8_192;

/// What is wrong with a trust file; each has its verification code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TrustFault {
    #[error("not readable as strict JSON")]
    Json(JsonFault),
    #[error("not canonical JSON")]
    NotCanonical,
    #[error("a member is missing, unknown or of the wrong form")]
    Shape,
    #[error("a key whose id is not the digest of its name and bytes")]
    KeyId,
    #[error("an algorithm other than ed25519")]
    Alg,
    #[error("a public key that is weak or not in canonical encoding")]
    Weak,
    #[error("a certificate that is not signed by the key that may issue it")]
    Unauthorised,
    #[error("too many certificates")]
    Limit,
}

/// A trust file whose every certificate was checked up to its root key.
#[derive(Debug, Clone)]
pub(crate) struct TrustFile {
    pub(crate) log: String,
    pub(crate) root: PublicKey,
    /// Ordered by first sequence number.
    logs: Vec<Certificate>,
    receipts: Vec<Certificate>,
    /// Positions in `receipts` by key id.
    by_id: HashMap<String, usize>,
}

/// What a key id means at a sequence number.
#[derive(Debug)]
pub(crate) enum Lookup<'a> {
    Valid(&'a PublicKey),
    /// Known, but not valid for this sequence number.
    OutOfRange(&'a PublicKey),
    Unknown,
}

impl TrustFile {
    pub(crate) fn new(log: &str, root: PublicKey, mut logs: Vec<Certificate>, mut receipts: Vec<Certificate>) -> Self {
        logs.sort_by_key(|certificate| certificate.valid_from_seq);
        receipts.sort_by_key(|certificate| certificate.valid_from_seq);
        let by_id = receipts.iter().enumerate().map(|(at, certificate)| (certificate.key.id(), at)).collect();
        Self { log: log.to_owned(), root, logs, receipts, by_id }
    }

    /// Canonical bytes with the certificates that matter for receipts `[from, to)`.
    pub(crate) fn export(&self, from: u64, to: u64) -> Vec<u8> {
        let mut certificates: Vec<Value> = Vec::new();
        for list in [&self.logs, &self.receipts] {
            // The last that began at or before `from` is in force there.
            let first = list.partition_point(|certificate| certificate.valid_from_seq <= from).saturating_sub(1);
            let wanted = list.iter().skip(first).filter(|certificate| certificate.valid_from_seq < to.max(1));
            certificates.extend(wanted.map(|certificate| certificate.envelope.to_value()));
        }
        to_vec(&Value::from([
            ("certs", Value::Array(certificates)),
            ("log", Value::from(self.log.as_str())),
            (
                "root",
                Value::from([
                    ("alg", Value::from(ALG)),
                    ("key_id", Value::from(self.root.id())),
                    ("name", Value::from(self.root.name())),
                    ("pub", Value::from(self.root.to_base64())),
                ]),
            ),
            ("v", Value::from(FORMAT)),
        ]))
    }

    /// Reads and checks a trust file. Whether its root is the one that the reader trusts is the reader's question.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, TrustFault> {
        let file = parse(bytes, Limits::MANIFEST).map_err(|error| TrustFault::Json(error.fault))?;
        if !is_canonical(bytes, &file) {
            return Err(TrustFault::NotCanonical);
        }
        let member = |name: &str| file.get(name).ok_or(TrustFault::Shape);
        let log = member("log")?.as_str().ok_or(TrustFault::Shape)?;
        let root = member("root")?;
        let certs = member("certs")?.as_array().ok_or(TrustFault::Shape)?;
        let members = |value: &Value| value.as_object().map(std::collections::BTreeMap::len);
        if members(&file) != Some(4) || members(root) != Some(4) || member("v")?.as_str() != Some(FORMAT) {
            return Err(TrustFault::Shape);
        }
        if certs.len() > CERTIFICATES_MAX {
            return Err(TrustFault::Limit);
        }
        let text = |name: &str| root.get(name).and_then(Value::as_str).ok_or(TrustFault::Shape);
        if text("alg")? != ALG {
            return Err(TrustFault::Alg);
        }
        let root = read_key(text("name")?, text("pub")?)?;
        if file.get("root").and_then(|root| root.get("key_id")).and_then(Value::as_str) != Some(&root.id()) {
            return Err(TrustFault::KeyId);
        }
        let (mut logs, mut receipts) = (Vec::new(), Vec::new());
        for envelope in certs {
            let certificate = Certificate::read(envelope)?;
            if certificate.log != log || certificate.key.name() != certificate.purpose.key_name(log) {
                return Err(TrustFault::Unauthorised);
            }
            match certificate.purpose {
                Purpose::Log => logs.push(certificate),
                Purpose::Receipt => receipts.push(certificate),
                Purpose::Root => return Err(TrustFault::Shape),
            }
        }
        let trust = Self::new(log, root, logs, receipts);
        if trust.root.name() != Purpose::Root.key_name(log) || !trust.is_authorised() {
            return Err(TrustFault::Unauthorised);
        }
        Ok(trust)
    }

    /// True when the root key signed every log key, and a log key every receipt key.
    pub(crate) fn is_authorised(&self) -> bool {
        self.logs.iter().all(|certificate| certificate.is_signed_by(&self.root))
            && self.receipts.iter().all(|certificate| self.logs.iter().any(|log| certificate.is_signed_by(&log.key)))
    }

    /// The same for the newest receipt key only: what a start can afford after thousands of starts.
    pub(crate) fn newest_is_authorised(&self) -> bool {
        let newest = self.receipts.last().cloned().into_iter().collect();
        Self::new(&self.log, self.root.clone(), self.logs.clone(), newest).is_authorised()
    }

    /// A receipt key by id, at a sequence number.
    pub(crate) fn receipt_key(&self, key_id: &str, seq: u64) -> Lookup<'_> {
        let Some((at, certificate)) = self.by_id.get(key_id).and_then(|at| Some((*at, self.receipts.get(*at)?))) else {
            return Lookup::Unknown;
        };
        let later = self.receipts.iter().skip(at + 1).map(|next| next.valid_from_seq);
        let ends = later.into_iter().find(|from| *from > certificate.valid_from_seq);
        if seq >= certificate.valid_from_seq && ends.is_none_or(|ends| seq < ends) {
            Lookup::Valid(&certificate.key)
        } else {
            Lookup::OutOfRange(&certificate.key)
        }
    }

    /// A log key by id, for a tree of `size` leaves.
    pub(crate) fn log_key(&self, key_id: &str, size: u64) -> Lookup<'_> {
        match self.logs.iter().find(|certificate| certificate.key.id() == key_id) {
            None => Lookup::Unknown,
            Some(certificate) if certificate.valid_from_seq < size.max(1) => Lookup::Valid(&certificate.key),
            Some(certificate) => Lookup::OutOfRange(&certificate.key),
        }
    }

    pub(crate) fn log_keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.logs.iter().map(|certificate| &certificate.key)
    }

    pub(crate) fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        self.logs.iter().chain(&self.receipts)
    }
}
