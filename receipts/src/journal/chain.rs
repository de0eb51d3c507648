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
