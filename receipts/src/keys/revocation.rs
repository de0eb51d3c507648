//! Revocations: the root key's word that what a key signed from some place on is worth nothing.

use super::private::Pair;
use super::{ALG, KeyError, PublicKey, TrustFault};
use crate::canonical::{Limits, Value, is_canonical, parse, to_vec};
use crate::clock;
use crate::dsse::{self, Envelope};
use crate::receipt::{FORMAT, parse_decimal, shape};

/// Payload type of a revocation's envelope.
pub(crate) const REVOCATION_PAYLOAD_TYPE: &str = "application/vnd.pef.revocation.v0+json";

/// Longest reason. It is for people, and goes into a receipt and into every trust file.
pub(crate) const REASON_MAX_BYTES: usize = 256;

/// What `last_good_seq` says when nothing that the key signed is good.
const NONE: &str = "none";

/// A revoked key.
#[derive(Debug, Clone)]
pub(crate) struct Revocation {
    pub(crate) key_id: String,
    /// The last sequence number that the key signed for in good order; `None`: not one.
    pub(crate) last_good_seq: Option<u64>,
    pub(crate) issuer: String,
    pub(crate) log: String,
    pub(crate) reason: String,
    pub(crate) envelope: Envelope,
}

impl Revocation {
    /// Signs a revocation with the root key. A reason that is too long is cut at a character boundary.
    pub(super) fn issue(
        root: &Pair,
        key_id: &str,
        last_good_seq: Option<u64>,
        log: &str,
        reason: &str,
    ) -> Result<Self, KeyError> {
        let end =
            reason.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= REASON_MAX_BYTES).last();
        let reason = reason.get(..end.unwrap_or(0)).unwrap_or_default();
        let body = to_vec(&Value::from([
            ("alg", Value::from(ALG)),
            ("issued", Value::from(clock::now())),
            ("issuer", Value::from(root.public.id())),
            ("key_id", Value::from(key_id)),
            ("last_good_seq", Value::from(spelled(last_good_seq))),
            ("log", Value::from(log)),
            ("reason", Value::from(reason)),
            ("v", Value::from(FORMAT)),
        ]));
        let signature = root.sign(&dsse::pae(REVOCATION_PAYLOAD_TYPE, &body))?;
        let envelope = Envelope {
            payload_type: REVOCATION_PAYLOAD_TYPE.to_owned(),
            payload: body,
            key_id: root.public.id(),
            signature,
        };
        Ok(Self {
            key_id: key_id.to_owned(),
            last_good_seq,
            issuer: root.public.id(),
            log: log.to_owned(),
            reason: reason.to_owned(),
            envelope,
        })
    }

    /// Reads an envelope. The signature is checked by [`Revocation::is_signed_by`].
    pub(crate) fn read(envelope: &Value) -> Result<Self, TrustFault> {
        let envelope = Envelope::from_value(envelope).ok_or(TrustFault::Shape)?;
        if envelope.payload_type != REVOCATION_PAYLOAD_TYPE {
            return Err(TrustFault::Shape);
        }
        let body = parse(&envelope.payload, Limits::RECEIPT).map_err(|error| TrustFault::Json(error.fault))?;
        if !is_canonical(&envelope.payload, &body) {
            return Err(TrustFault::NotCanonical);
        }
        if !shape::check(&body, &shape::REVOCATION).is_empty() {
            return Err(TrustFault::Shape);
        }
        let text = |name: &str| body.get(name).and_then(Value::as_str).ok_or(TrustFault::Shape);
        if text("alg")? != ALG {
            return Err(TrustFault::Alg);
        }
        if text("issuer")? != envelope.key_id {
            return Err(TrustFault::KeyId);
        }
        Ok(Self {
            key_id: text("key_id")?.to_owned(),
            last_good_seq: parse_decimal(text("last_good_seq")?),
            issuer: text("issuer")?.to_owned(),
            log: text("log")?.to_owned(),
            reason: text("reason")?.to_owned(),
            envelope,
        })
    }

    pub(crate) fn is_signed_by(&self, root: &PublicKey) -> bool {
        self.issuer == root.id()
            && root.verify(&dsse::pae(REVOCATION_PAYLOAD_TYPE, &self.envelope.payload), &self.envelope.signature)
    }

    /// How `last_good_seq` is written.
    pub(crate) fn last_good_text(&self) -> String {
        spelled(self.last_good_seq)
    }

    /// True for a number that the key must not have signed for.
    pub(crate) fn covers(&self, seq: u64) -> bool {
        self.last_good_seq.is_none_or(|last| seq > last)
    }
}

fn spelled(last_good_seq: Option<u64>) -> String {
    last_good_seq.map_or_else(|| NONE.to_owned(), |seq| seq.to_string())
}
