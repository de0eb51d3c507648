//! A run of leaves after a known frontier: the part of a tree that proofs can be made from without what was before.

use super::proof::{Subtrees, split};
use super::{Frontier, Hash, ProofError, consistency, inclusion, node_hash};

/// A run of leaves after a known frontier.
#[derive(Debug, Clone, Default)]
pub struct Span {
    base: Frontier,
    leaves: Vec<Hash>,
}

impl Span {
    /// Starts after the leaves that the frontier covers.
    pub fn after(base: Frontier) -> Self {
        Self { base, leaves: Vec::new() }
    }

    pub fn push(&mut self, leaf: Hash) {
        self.leaves.push(leaf);
    }

    /// The leaves after the frontier.
    pub fn leaves(&self) -> &[Hash] {
        &self.leaves
    }

    /// Audit path of a leaf in the tree of `size` leaves, nearest sibling first.
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Hash>, ProofError> {
        inclusion(self, index, size)
    }

    /// Proof that the tree of `old` leaves is a prefix of that of `new`.
    pub fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, ProofError> {
        consistency(self, old, new)
    }
}

impl Subtrees for Span {
    type Error = ProofError;

    fn size(&self) -> u64 {
        self.base.size() + self.leaves.len() as u64
    }

    // The depth of the recursion is the height of the tree.
    fn subtree(&self, start: u64, end: u64) -> Result<Hash, ProofError> {
        if let Some(hash) = self.base.subtree(start, end) {
            return Ok(hash);
        }
        if end == start + 1 {
            let index = start.checked_sub(self.base.size()).ok_or(ProofError::Unknown)?;
            let index = usize::try_from(index).map_err(|_| ProofError::Range)?;
            return self.leaves.get(index).copied().ok_or(ProofError::Range);
        }
        if end <= self.base.size() || end <= start {
            return Err(ProofError::Unknown);
        }
        let middle = start + split(end - start);
        Ok(node_hash(&self.subtree(start, middle)?, &self.subtree(middle, end)?))
    }
}
