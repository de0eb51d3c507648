//! Inclusion and consistency proofs, RFC 6962 §2.1.1 and §2.1.2: made from a [`Span`], checked from hashes alone.

use super::{Frontier, Hash, node_hash};

/// A run of leaves after a known frontier: the part of a tree that its proofs can be made from.
#[derive(Debug, Clone, Default)]
pub struct Span {
    base: Frontier,
    leaves: Vec<Hash>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("the index or size is outside the tree")]
    Range,
    #[error("the proof needs leaves that are not at hand")]
    Unknown,
    #[error("the proof has the wrong number of hashes")]
    Length,
    #[error("the proof leads to another root")]
    Root,
}

/// Largest power of two smaller than `n`, for n > 1: where RFC 6962 splits a tree.
fn split(n: u64) -> u64 {
    1 << (n.saturating_sub(1).checked_ilog2().unwrap_or(0))
}

impl Span {
    /// Starts after the leaves that the frontier covers.
    pub fn after(base: Frontier) -> Self {
        Self { base, leaves: Vec::new() }
    }

    pub fn push(&mut self, leaf: Hash) {
        self.leaves.push(leaf);
    }

    /// Leaves of the whole tree.
    pub fn size(&self) -> u64 {
        self.base.size() + self.leaves.len() as u64
    }

    /// Hash over leaves `[start, end)`; the depth of the recursion is the height of the tree.
    fn hash(&self, start: u64, end: u64) -> Result<Hash, ProofError> {
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
        Ok(node_hash(&self.hash(start, middle)?, &self.hash(middle, end)?))
    }

    /// Audit path of a leaf in the tree of `size` leaves, nearest sibling first.
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Hash>, ProofError> {
        if index >= size || size > self.size() {
            return Err(ProofError::Range);
        }
        let (mut start, mut end) = (0, size);
        let mut path = Vec::new();
        while end - start > 1 {
            let middle = start + split(end - start);
            if index < middle {
                path.push(self.hash(middle, end)?);
                end = middle;
            } else {
                path.push(self.hash(start, middle)?);
                start = middle;
            }
        }
        path.reverse();
        Ok(path)
    }

    /// Proof that the tree of `old` leaves is a prefix of that of `new`.
    pub fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, ProofError> {
        if old > new || new > self.size() {
            return Err(ProofError::Range);
        }
        if old == 0 || old == new {
            return Ok(Vec::new());
        }
        let (mut start, mut end) = (0, new);
        let mut path = Vec::new();
        // Down to the subtree that ends where the old tree ends.
        while end != old {
            let middle = start + split(end - start);
            if old <= middle {
                path.push(self.hash(middle, end)?);
                end = middle;
            } else {
                path.push(self.hash(start, middle)?);
                start = middle;
            }
        }
        // When that subtree is the old tree itself, the verifier has its hash already.
        if start != 0 {
            path.push(self.hash(start, end)?);
        }
        path.reverse();
        Ok(path)
    }
}

/// Checks an audit path, RFC 9162 §2.1.3.2.
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::Range);
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in path {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::Length);
    }
    if hash == *root { Ok(()) } else { Err(ProofError::Root) }
}

/// Checks a consistency proof, RFC 9162 §2.1.4.2. The empty tree is refused: it is a
/// prefix of everything, so a proof from it would say nothing.
pub fn verify_consistency(
    old: u64,
    new: u64,
    path: &[Hash],
    old_root: &Hash,
    new_root: &Hash,
) -> Result<(), ProofError> {
    if old == 0 || old > new {
        return Err(ProofError::Range);
    }
    if old == new {
        if !path.is_empty() {
            return Err(ProofError::Length);
        }
        return if old_root == new_root { Ok(()) } else { Err(ProofError::Root) };
    }
    let (mut node, mut last) = (old - 1, new - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let mut hashes = path.iter();
    // A power of two: the old tree is a subtree of the new one, and the proof leaves its hash out.
    let first = if old.is_power_of_two() { old_root } else { hashes.next().ok_or(ProofError::Length)? };
    let (mut old_hash, mut new_hash) = (*first, *first);
    for sibling in hashes {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::Length);
    }
    if old_hash == *old_root && new_hash == *new_root { Ok(()) } else { Err(ProofError::Root) }
}
