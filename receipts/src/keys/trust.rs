//! The trust file `keys.json`: which key may sign what, from which sequence number on, and on whose word.

use std::collections::{BTreeSet, HashMap};

use super::certificate::{Certificate, read_key};
use super::{ALG, PublicKey, Purpose, Revocation};
use crate::canonical::{JsonFault, Limits, Value, is_canonical, parse, to_vec};
use crate::receipt::{FORMAT, shape};

/// Most certificates in one trust file: some 900 bytes each, within the 8 MiB that a document may have. A sealer ends a
/// bundle after 4,096 starts, so no bundle comes near it.
const CERTIFICATES_MAX: usize = 8_192;

/// Most revocations in one trust file.
const REVOCATIONS_MAX: usize = 1_024;

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
    #[error("too many certificates or revocations")]
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
    /// Ordered by key id.
    revoked: Vec<Revocation>,
    /// Positions in `receipts` by key id.
    by_id: HashMap<String, usize>,
    /// A certificate names a key as none of a log's keys can be named.
    strangers: bool,
    /// False when its certificates do not hold: then log and root are known, and no signature is worth looking at.
    pub(crate) holds: bool,
}

/// Certificates as they are read.
#[derive(Debug, Default)]
pub(crate) struct Certificates {
    pub(super) logs: Vec<Certificate>,
    pub(super) receipts: Vec<Certificate>,
    strangers: bool,
}

impl Certificates {
    /// Takes a certificate that is good by itself. That its key cannot be one of a log is told when all were read.
    pub(super) fn add(&mut self, read: Result<Certificate, TrustFault>) -> Result<(), TrustFault> {
        match read {
            Err(TrustFault::Unauthorised) => self.strangers = true,
            Err(fault) => return Err(fault),
            Ok(certificate) if certificate.purpose == Purpose::Log => self.logs.push(certificate),
            Ok(certificate) => self.receipts.push(certificate),
        }
        Ok(())
    }
}

/// What a key id means at a sequence number.
#[derive(Debug)]
pub(crate) enum Lookup<'a> {
    Valid(&'a PublicKey),
    /// Known, but not valid for this sequence number.
    OutOfRange(&'a PublicKey),
    /// Known, and revoked before this sequence number.
    Revoked(&'a PublicKey),
    Unknown,
}

impl TrustFile {
    pub(crate) fn new(log: &str, root: PublicKey, certificates: Certificates, mut revoked: Vec<Revocation>) -> Self {
        let Certificates { mut logs, mut receipts, strangers } = certificates;
        revoked.sort_by(|a, b| a.key_id.cmp(&b.key_id));
        logs.sort_by_key(|certificate| certificate.valid_from_seq);
        receipts.sort_by_key(|certificate| certificate.valid_from_seq);
        let by_id = receipts.iter().enumerate().map(|(at, certificate)| (certificate.key.id(), at)).collect();
        Self { log: log.to_owned(), root, logs, receipts, revoked, by_id, strangers, holds: true }
    }

    /// Canonical bytes with the certificates that matter for receipts `[from, to)`.
    pub(crate) fn export(&self, from: u64, to: u64) -> Vec<u8> {
        self.export_with(from, to, &BTreeSet::new())
    }

    /// The same where receipts of the range name these log keys: a rotation may be told of long after its certificate. Those
    /// between them and the range come along, because each key's term ends where the next one's begins.
    pub(crate) fn export_with(&self, from: u64, to: u64, named: &BTreeSet<String>) -> Vec<u8> {
        let named = self.logs.iter().position(|log| named.contains(&log.key.id())).unwrap_or(usize::MAX);
        let mut certificates: Vec<Value> = Vec::new();
        // The last that began before is in force; log keys begin one later, because the checkpoint of size `from` is here too.
        // A rotation at the end of the range names a key that begins with `to`.
        for (list, before, named) in [(&self.logs, from, named), (&self.receipts, from.saturating_add(1), usize::MAX)] {
            let first =
                list.partition_point(|certificate| certificate.valid_from_seq < before.max(1)).saturating_sub(1);
            let wanted = list.iter().skip(first.min(named)).filter(|certificate| certificate.valid_from_seq <= to);
            certificates.extend(wanted.map(|certificate| certificate.envelope.to_value()));
        }
        let mut file = Value::from([
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
        ]);
        if let Value::Object(members) = &mut file
            && !self.revoked.is_empty()
        {
            let revoked = self.revoked.iter().map(|revocation| revocation.envelope.to_value());
            members.insert("revoked".to_owned(), Value::Array(revoked.collect()));
        }
        to_vec(&file)
    }

    /// Reads and checks a trust file. Whether its root is the one that the reader trusts is the reader's question.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, TrustFault> {
        let file = parse(bytes, Limits::MANIFEST).map_err(|error| TrustFault::Json(error.fault))?;
        if !is_canonical(bytes, &file) {
            return Err(TrustFault::NotCanonical);
        }
        if !shape::check(&file, &shape::TRUST).is_empty() {
            return Err(TrustFault::Shape);
        }
        let text = |value: &Value, name: &str| {
            value.get(name).and_then(Value::as_str).map(str::to_owned).ok_or(TrustFault::Shape)
        };
        let log = text(&file, "log")?;
        let root = file.get("root").ok_or(TrustFault::Shape)?;
        let certs = file.get("certs").and_then(Value::as_array).ok_or(TrustFault::Shape)?;
        let revoked: &[Value] = match file.get("revoked") {
            None => &[],
            Some(list) => list.as_array().filter(|list| !list.is_empty()).ok_or(TrustFault::Shape)?,
        };
        if certs.len() > CERTIFICATES_MAX || revoked.len() > REVOCATIONS_MAX {
            return Err(TrustFault::Limit);
        }
        if text(root, "alg")? != ALG {
            return Err(TrustFault::Alg);
        }
        let (name, public, id) = (text(root, "name")?, text(root, "pub")?, text(root, "key_id")?);
        let root = match read_key(&name, &public, &id) {
            // Whoever is not authorised is told last.
            Err(TrustFault::Unauthorised) => None,
            read => Some(read?),
        };
        let mut list = Certificates::default();
        for envelope in certs {
            list.add(Certificate::read(envelope))?;
        }
        let revoked = revoked.iter().map(Revocation::read).collect::<Result<Vec<_>, _>>()?;
        if revoked.windows(2).any(|pair| matches!(pair, [a, b] if a.key_id > b.key_id)) {
            return Err(TrustFault::Shape);
        }
        let root = root.filter(|root| root.name() == Purpose::Root.key_name(&log)).ok_or(TrustFault::Unauthorised)?;
        let trust = Self::new(&log, root, list, revoked);
        if !trust.is_authorised() {
            return Err(TrustFault::Unauthorised);
        }
        Ok(trust)
    }

    /// True when the root key signed every log key and revocation, a log key every receipt key that begins while it was in
    /// force, and no key is certified twice.
    pub(crate) fn is_authorised(&self) -> bool {
        let issued = |certificate: &Certificate| {
            self.logs.iter().enumerate().any(|(at, log)| {
                let ends = self.log_key_ends(at);
                certificate.valid_from_seq >= log.valid_from_seq
                    && ends.is_none_or(|ends| certificate.valid_from_seq <= ends)
                    && certificate.is_signed_by(&log.key)
            })
        };
        let own = |list: &[Certificate], purpose: Purpose| {
            list.iter().all(|certificate| {
                certificate.purpose == purpose
                    && certificate.log == self.log
                    && certificate.key.name() == purpose.key_name(&self.log)
            })
        };
        let mut ids = std::collections::HashSet::new();
        !self.strangers
            && own(&self.logs, Purpose::Log)
            && own(&self.receipts, Purpose::Receipt)
            && self.logs.iter().all(|certificate| certificate.is_signed_by(&self.root))
            && self.revoked.iter().all(|revocation| revocation.log == self.log && revocation.is_signed_by(&self.root))
            && self.receipts.iter().all(issued)
            && self.certificates().all(|certificate| ids.insert(certificate.key.id()))
    }

    /// Largest tree that a log key may sign: the number from which the next one is valid.
    fn log_key_ends(&self, at: usize) -> Option<u64> {
        let from = self.logs.get(at)?.valid_from_seq;
        self.logs.iter().skip(at + 1).map(|next| next.valid_from_seq).find(|next| *next > from)
    }

    pub(crate) fn revocation(&self, key_id: &str) -> Option<&Revocation> {
        // The first of several: the order of the file decides.
        let at = self.revoked.partition_point(|revocation| revocation.key_id.as_str() < key_id);
        self.revoked.get(at).filter(|revocation| revocation.key_id == key_id)
    }

    /// True for a certificate that a revoked key gave out after its last good number.
    fn is_worthless(&self, certificate: &Certificate) -> bool {
        let issuer = self.revocation(&certificate.issuer);
        issuer.is_some_and(|issuer| match issuer.last_good_seq {
            None => true,
            Some(last) => certificate.valid_from_seq > last.saturating_add(1),
        })
    }

    /// True when a certificate in the file was given out by a key that was revoked before.
    pub(crate) fn has_worthless(&self) -> bool {
        self.receipts.iter().any(|certificate| self.is_worthless(certificate))
    }

    /// The same for the newest receipt key only: what a start can afford after thousands of starts.
    pub(crate) fn newest_is_authorised(&self) -> bool {
        let receipts = self.receipts.last().cloned().into_iter().collect();
        let newest = Certificates { logs: self.logs.clone(), receipts, strangers: self.strangers };
        Self::new(&self.log, self.root.clone(), newest, self.revoked.clone()).is_authorised()
    }

    /// A receipt key by id, at a sequence number.
    pub(crate) fn receipt_key(&self, key_id: &str, seq: u64) -> Lookup<'_> {
        let Some((at, certificate)) = self.by_id.get(key_id).and_then(|at| Some((*at, self.receipts.get(*at)?))) else {
            return Lookup::Unknown;
        };
        let revoked = self.revocation(key_id).is_some_and(|revocation| revocation.covers(seq));
        if revoked || self.is_worthless(certificate) {
            return Lookup::Revoked(&certificate.key);
        }
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
        let found = self.logs.iter().enumerate().find(|(_, certificate)| certificate.key.id() == key_id);
        let Some((at, certificate)) = found else { return Lookup::Unknown };
        // A tree of `size` leaves is signed after its last leaf, number `size` − 1.
        if self.revocation(key_id).is_some_and(|revocation| revocation.covers(size.saturating_sub(1))) {
            return Lookup::Revoked(&certificate.key);
        }
        let ends = self.log_key_ends(at);
        if certificate.valid_from_seq < size.max(1) && ends.is_none_or(|ends| size <= ends) {
            Lookup::Valid(&certificate.key)
        } else {
            Lookup::OutOfRange(&certificate.key)
        }
    }

    /// A certified key by id, and from which number on it is valid.
    pub(crate) fn certified(&self, purpose: Purpose, key_id: &str) -> Option<(&PublicKey, u64)> {
        self.certificates()
            .find(|certificate| certificate.purpose == purpose && certificate.key.id() == key_id)
            .map(|certificate| (&certificate.key, certificate.valid_from_seq))
    }

    pub(crate) fn log_keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.logs.iter().map(|certificate| &certificate.key)
    }

    pub(crate) fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        self.logs.iter().chain(&self.receipts)
    }
}
