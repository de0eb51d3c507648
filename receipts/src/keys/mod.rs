//! Keys by purpose: the root key certifies the log key, the log key certifies the receipt keys.
//!
//! The root key may be taken away after `init`. The receipt key never touches the disk: it is made at each start and again
//! after a time, lives in memory and is wiped when it is replaced, so that whoever breaks in later cannot sign for earlier.

mod certificate;
mod change;
mod private;
mod public;
mod receipt_key;
mod revocation;
mod rotation;
mod signer;
mod store;
mod trust;

pub use certificate::Purpose;
pub use private::PrivateKey;
pub(crate) use private::{Pair, create as create_private, open as open_private};
pub use public::{KeyFault, PublicKey};
pub(crate) use receipt_key::ReceiptKey;
pub(crate) use revocation::{REASON_MAX_BYTES, Revocation};
pub(crate) use rotation::Rotation;
pub use signer::{AccessError, KeyAccess, KeyPlace, PlainFiles, Signer};
pub(crate) use store::{KEYS_DIRECTORY, is_origin, read_trust};
pub use store::{KeyError, KeyInfo, Keys};
pub(crate) use trust::{Lookup, TrustFault, TrustFile};

/// The one signature algorithm.
pub const ALG: &str = "ed25519";

#[cfg(test)]
mod tests;
