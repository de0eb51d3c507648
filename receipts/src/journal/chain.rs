//! The hash chain: each value covers every receipt before it.

use crate::canonical::Value;
use crate::canonical::to_vec;

/// A BLAKE3-256 digest.
pub type ChainValue = [u8; 32];

const RECEIPT_CONTEXT: &str = "pef.v0 receipt chain";
const GENESIS_CONTEXT: &str = "pef.v0 genesis";
const RUN_CONTEXT: &str = "pef.v0 run";

/// Computes chain values. Keeps the hashed context, which is half the work of a short receipt.
#[derive(Debug, Clone)]
pub(crate) struct Chain(blake3::Hasher);

impl Default for Chain {
    fn default() -> Self {
        Self(blake3::Hasher::new_derive_key(RECEIPT_CONTEXT))
    }
}

impl Chain {
    /// BLAKE3-derive-key over seq as 8 bytes, length as 4 bytes (both big-endian), body.
    pub(crate) fn value(&self, seq: u64, body: &[u8]) -> ChainValue {
        let mut hasher = self.0.clone();
        hasher.update(&seq.to_be_bytes());
        // A body is at most 47 KiB; a longer one never gets here, and would only get another value.
        hasher.update(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
        hasher.update(body);
        *hasher.finalize().as_bytes()
    }
}

/// `prev` of the first receipt: covers the `event` of the genesis receipt.
pub(crate) fn genesis_value(event: &Value) -> ChainValue {
    blake3::derive_key(GENESIS_CONTEXT, &to_vec(event))
}

/// `run.prev` of the first receipt of a run.
pub(crate) fn run_start_value(run_id: &str) -> ChainValue {
    blake3::derive_key(RUN_CONTEXT, run_id.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{vector_json, vectors};

    #[test]
    fn the_value_is_derive_key_over_number_length_and_body() {
        let input = [&7u64.to_be_bytes()[..], &3u32.to_be_bytes(), b"abc"].concat();
        assert_eq!(Chain::default().value(7, b"abc"), blake3::derive_key("pef.v0 receipt chain", &input));
        assert_ne!(Chain::default().value(8, b"abc"), Chain::default().value(7, b"abc"));
    }

    #[test]
    fn blake3_published_vectors() {
        let Some(vectors) = vectors("blake3") else { return };
        let suite = vector_json(&vectors.join("blake3/test_vectors/test_vectors.json"));
        let context = suite["context_string"].as_str().unwrap();
        let cases = suite["cases"].as_array().unwrap();
        for case in cases {
            let length = usize::try_from(case["input_len"].as_u64().unwrap()).unwrap();
            let input: Vec<u8> = (0..251u8).cycle().take(length).collect();
            let expected = |name: &str| case[name].as_str().unwrap().chars().take(64).collect::<String>();
            assert_eq!(crate::hex::encode(&blake3::derive_key(context, &input)), expected("derive_key"));
            assert_eq!(blake3::hash(&input).to_hex().as_str(), expected("hash"));
        }
        assert_eq!(cases.len(), 35);
    }
}
