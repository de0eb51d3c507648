//! Certificates: a signed statement that a key serves a purpose in one log from a sequence number on.

use super::private::Pair;
use super::public::key_digest;
use super::{ALG, KeyError, PublicKey, TrustFault};
use crate::canonical::{Limits, Value, is_canonical, parse, to_vec};
use crate::dsse::{self, Envelope};
use crate::receipt::{FORMAT, parse_decimal, shape};
use crate::{clock, hex};

/// Payload type of a certificate's envelope.
pub(crate) const CERTIFICATE_PAYLOAD_TYPE: &str = "application/vnd.pef.key.v0+json";

/// What a key may sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Certificates of log keys.
    Root,
    /// Checkpoints, manifests and certificates of receipt keys.
    Log,
    /// Receipts.
    Receipt,
}

impl Purpose {
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Log => "log",
            Self::Receipt => "receipt",
        }
    }

    /// The name of a log's key of this purpose. The log key bears the plain origin because C2SP checkpoints ask for it.
    pub(crate) fn key_name(self, origin: &str) -> String {
        match self {
            Self::Log => origin.to_owned(),
            Self::Root | Self::Receipt => format!("{origin}/{}", self.name()),
        }
    }
}

/// A certified key.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    pub(crate) key: PublicKey,
    pub(crate) purpose: Purpose,
    /// `key_id` of the certifying key.
    pub(crate) issuer: String,
    pub(crate) log: String,
    /// First sequence number that the key may sign for; it ends where the next of the same purpose begins.
    pub(crate) valid_from_seq: u64,
    pub(crate) envelope: Envelope,
}

impl Certificate {
    pub(super) fn issue(
        issuer: &Pair,
        key: PublicKey,
        purpose: Purpose,
        log: &str,
        valid_from_seq: u64,
    ) -> Result<Self, KeyError> {
        let body = to_vec(&Value::from([
            ("alg", Value::from(ALG)),
            ("issued", Value::from(clock::now())),
            ("issuer", Value::from(issuer.public.id())),
            ("key_id", Value::from(key.id())),
            ("log", Value::from(log)),
            ("name", Value::from(key.name())),
            ("pub", Value::from(key.to_base64())),
            ("purpose", Value::from(purpose.name())),
            ("v", Value::from(FORMAT)),
            ("valid_from_seq", Value::from(valid_from_seq.to_string())),
        ]));
        let signature = issuer.sign(&dsse::pae(CERTIFICATE_PAYLOAD_TYPE, &body))?;
        let envelope = Envelope {
            payload_type: CERTIFICATE_PAYLOAD_TYPE.to_owned(),
            payload: body,
            key_id: issuer.public.id(),
            signature,
        };
        Ok(Self { key, purpose, issuer: issuer.public.id(), log: log.to_owned(), valid_from_seq, envelope })
    }

    /// Reads an envelope. The signature is checked by [`Certificate::is_signed_by`]: which key that must be is the trust
    /// file's business.
    pub(crate) fn read(envelope: &Value) -> Result<Self, TrustFault> {
        let envelope = Envelope::from_value(envelope).ok_or(TrustFault::Shape)?;
        if envelope.payload_type != CERTIFICATE_PAYLOAD_TYPE {
            return Err(TrustFault::Shape);
        }
        let body = parse(&envelope.payload, Limits::RECEIPT).map_err(|error| TrustFault::Json(error.fault))?;
        if !is_canonical(&envelope.payload, &body) {
            return Err(TrustFault::NotCanonical);
        }
        if !shape::check(&body, &shape::CERTIFICATE).is_empty() {
            return Err(TrustFault::Shape);
        }
        let text = |name: &str| body.get(name).and_then(Value::as_str).ok_or(TrustFault::Shape);
        if text("alg")? != ALG {
            return Err(TrustFault::Alg);
        }
        let purpose = if text("purpose")? == Purpose::Log.name() { Purpose::Log } else { Purpose::Receipt };
        let key = read_key(text("name")?, text("pub")?, text("key_id")?);
        if matches!(key, Ok(_) | Err(TrustFault::Unauthorised)) && text("issuer")? != envelope.key_id {
            return Err(TrustFault::KeyId);
        }
        let key = key?;
        Ok(Self {
            key,
            purpose,
            issuer: text("issuer")?.to_owned(),
            log: text("log")?.to_owned(),
            valid_from_seq: parse_decimal(text("valid_from_seq")?).ok_or(TrustFault::Shape)?,
            envelope,
        })
    }

    pub(crate) fn is_signed_by(&self, issuer: &PublicKey) -> bool {
        self.issuer == issuer.id()
            && issuer.verify(&dsse::pae(CERTIFICATE_PAYLOAD_TYPE, &self.envelope.payload), &self.envelope.signature)
    }
}

/// A public key from its name, base64 and id. A name that none of a log's keys can have is no fault of form: whoever bears it is
/// not authorised.
pub(super) fn read_key(name: &str, base64: &str, id: &str) -> Result<PublicKey, TrustFault> {
    let bytes = dsse::decode_base64(base64).ok_or(TrustFault::Shape)?;
    // Under a good name first: that it is weak comes before anything about its name.
    PublicKey::new("n", &bytes).map_err(|_| TrustFault::Weak)?;
    if hex::encode(&key_digest(name, &bytes)) != id {
        return Err(TrustFault::KeyId);
    }
    PublicKey::new(name, &bytes).map_err(|_| TrustFault::Unauthorised)
}
