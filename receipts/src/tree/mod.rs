//! RFC 6962 Merkle trees over SHA-256: one root for any prefix of the log, with short proofs.
//!
//! A tree of any size is kept as its frontier (at most 64 hashes). Proofs are made from whatever knows the hashes of its parts
//! ([`Subtrees`]): a frontier plus the leaves after it ([`Span`]), or the tiles of the whole tree ([`crate::tlog`]).

mod frontier;
mod proof;
mod span;

pub use frontier::{Frontier, FrontierError};
pub(crate) use proof::split;
pub use proof::{
    ProofError, Subtrees, consistency, inclusion, verify_consistency, verify_inclusion, verify_subtree_consistency,
    verify_subtree_inclusion,
};
pub use span::Span;

use sha2::{Digest as _, Sha256};

/// A SHA-256 digest.
pub type Hash = [u8; 32];

/// Hash of a leaf: SHA-256(0x00 ‖ leaf), RFC 6962 §2.1.
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(leaf).finalize().into()
}

/// Hash of an inner node: SHA-256(0x01 ‖ left ‖ right).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// Root of the tree without leaves: SHA-256 of nothing.
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

#[cfg(test)]
mod tests;
