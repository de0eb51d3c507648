//! The token: what the caller (and through it the client) gets for a receipt, so that every client is a witness.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;

use super::chain::ChainValue;
use crate::hex;

/// Proof that a receipt was recorded: its place, its chain value and the signature over it.
///
/// Shown as `seq=…;chain=…;key=…;sig=…` (decimal, hexadecimal, hexadecimal, base64url without padding): 250 characters that
/// fit in an HTTP header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub seq: u64,
    pub chain: ChainValue,
    /// Hexadecimal id of the receipt key.
    pub key_id: String,
    /// Ed25519 over the DSSE encoding of the receipt's body.
    pub signature: [u8; 64],
}

impl fmt::Display for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "seq={};chain={};key={};sig={}",
            self.seq,
            hex::encode(&self.chain),
            self.key_id,
            BASE64URL.encode(self.signature)
        )
    }
}
