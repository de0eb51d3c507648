//! DSSE envelopes: Ed25519 over the pre-authentication encoding of exact bytes.
//!
//! <https://github.com/secure-systems-lab/dsse> protocol 1.0.2. One signature per envelope; the envelope's own canonical
//! JSON is the leaf of the tree.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signer as _, SigningKey};

use crate::canonical::{Value, to_vec};

/// The bytes that are signed: `DSSEv1 SP len(type) SP type SP len(payload) SP payload`, lengths in decimal.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// Signs exact bytes under a payload type.
pub(crate) fn sign(key: &SigningKey, payload_type: &str, payload: &[u8]) -> [u8; 64] {
    key.sign(&pae(payload_type, payload)).to_bytes()
}

/// Canonical bytes of the envelope, written directly: base64 and our type names need no escapes.
pub(crate) fn envelope(payload_type: &str, payload: &[u8], key_id: &str, signature: &[u8; 64]) -> Vec<u8> {
    let text = format!(
        r#"{{"payload":"{}","payloadType":"{payload_type}","signatures":[{{"keyid":"{key_id}","sig":"{}"}}]}}"#,
        BASE64.encode(payload),
        BASE64.encode(signature),
    );
    text.into_bytes()
}

/// True for padded standard base64 without stray bits.
pub(crate) fn is_base64(text: &str) -> bool {
    BASE64.decode(text).is_ok()
}

/// So many bytes in padded standard base64.
pub(crate) fn decode_base64<const N: usize>(text: &str) -> Option<[u8; N]> {
    BASE64.decode(text).ok()?.try_into().ok()
}

/// The 64 bytes of a signature in padded standard base64.
pub(crate) fn decode_signature(text: &str) -> Option<[u8; 64]> {
    decode_base64(text)
}

/// An envelope taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) payload_type: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) key_id: String,
    pub(crate) signature: [u8; 64],
}

impl Envelope {
    /// Reads a parsed envelope. `None` unless it has exactly the members above, one signature of 64 bytes, and padded
    /// standard base64 without stray bits.
    pub(crate) fn from_value(value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name)?.as_str();
        let [signature] = value.get("signatures")?.as_array()? else {
            return None;
        };
        let key_id = signature.get("keyid")?.as_str()?.to_owned();
        let sig = signature.get("sig")?.as_str()?;
        if value.as_object()?.len() != 3 || signature.as_object()?.len() != 2 {
            return None;
        }
        Some(Self {
            payload_type: text("payloadType")?.to_owned(),
            payload: BASE64.decode(text("payload")?).ok()?,
            key_id,
            signature: decode_signature(sig)?,
        })
    }

    pub(crate) fn to_value(&self) -> Value {
        Value::from([
            ("payload", Value::String(BASE64.encode(&self.payload))),
            ("payloadType", Value::from(self.payload_type.as_str())),
            (
                "signatures",
                Value::Array(vec![Value::from([
                    ("keyid", Value::from(self.key_id.as_str())),
                    ("sig", Value::String(BASE64.encode(self.signature))),
                ])]),
            ),
        ])
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        to_vec(&self.to_value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::{Limits, is_canonical, parse};

    #[test]
    fn the_encoding_is_that_of_the_published_vector() {
        assert_eq!(
            pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn the_envelope_is_canonical_and_is_read_back() {
        let bytes = envelope("application/x", b"{\"a\":1}", "0f", &[7; 64]);
        let value = parse(&bytes, Limits::RECEIPT).unwrap();
        assert!(is_canonical(&bytes, &value));
        let envelope = Envelope::from_value(&value).unwrap();
        assert_eq!(envelope.payload, b"{\"a\":1}");
        assert_eq!(envelope.signature, [7; 64]);
        assert_eq!(envelope.to_bytes(), bytes);
    }

    #[test]
    fn an_envelope_with_anything_else_is_refused() {
        let sig = BASE64.encode([7; 64]);
        for text in [
            r#"{"payload":"e30=","payloadType":"x","signatures":[]}"#.to_owned(),
            format!(r#"{{"payload":"e30","payloadType":"x","signatures":[{{"keyid":"k","sig":"{sig}"}}]}}"#),
            format!(r#"{{"payload":"e31=","payloadType":"x","signatures":[{{"keyid":"k","sig":"{sig}"}}]}}"#),
            r#"{"payload":"e30=","payloadType":"x","signatures":[{"keyid":"k","sig":"e30="}]}"#.to_owned(),
            format!(r#"{{"payload":"e30=","payloadType":"x","signatures":[{{"keyid":"k","sig":"{sig}","x":1}}]}}"#),
            format!(r#"{{"payload":"e30=","payloadType":"x","x":1,"signatures":[{{"keyid":"k","sig":"{sig}"}}]}}"#),
        ] {
            let value = parse(text.as_bytes(), Limits::RECEIPT).unwrap();
            assert_eq!(Envelope::from_value(&value), None, "{text}");
        }
    }
}
