//! The right edge of a tree: enough to grow it and to know its root.

use super::{Hash, empty_root, node_hash};

/// The perfect subtrees that a tree of `size` leaves is made of, largest first: one for each one-bit of `size`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    hashes: Vec<Hash>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a tree of {size} leaves has {expected} frontier hashes, not {found}")]
pub struct FrontierError {
    size: u64,
    expected: u32,
    found: usize,
}

impl Frontier {
    /// Takes up a frontier that was kept.
    pub fn from_parts(size: u64, hashes: Vec<Hash>) -> Result<Self, FrontierError> {
        let expected = size.count_ones();
        if usize::try_from(expected) != Ok(hashes.len()) {
            return Err(FrontierError { size, expected, found: hashes.len() });
        }
        Ok(Self { size, hashes })
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Subtree hashes, largest subtree first.
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// Adds a leaf by its hash.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        // Each trailing one-bit of the size is a subtree that the new leaf completes to one twice as large.
        for _ in 0..self.size.trailing_ones() {
            let Some(left) = self.hashes.pop() else { break };
            hash = node_hash(&left, &hash);
        }
        self.hashes.push(hash);
        self.size += 1;
    }

    /// Root of the tree, RFC 6962 §2.1.
    pub fn root(&self) -> Hash {
        let mut smaller_first = self.hashes.iter().rev();
        let Some(first) = smaller_first.next() else {
            return empty_root();
        };
        smaller_first.fold(*first, |right, left| node_hash(left, &right))
    }

    /// The hash of the subtree over leaves `[start, end)`, if it is one of the frontier's.
    pub(super) fn subtree(&self, start: u64, end: u64) -> Option<Hash> {
        let mut at = 0;
        let mut rest = self.size;
        for hash in &self.hashes {
            let width = 1u64 << rest.checked_ilog2()?;
            if at == start && at + width == end {
                return Some(*hash);
            }
            at += width;
            rest -= width;
        }
        None
    }
}
