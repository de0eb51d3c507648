//! Inclusion and consistency proofs, RFC 6962 §2.1.1 and §2.1.2: made from whatever knows the hashes of subtrees, checked
//! from hashes alone.

use super::{Hash, empty_root, node_hash};

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

/// A source of the hashes of subtrees, from which proofs are made.
pub trait Subtrees {
    /// Why a hash cannot be had.
    type Error: From<ProofError>;

    /// Number of leaves.
    fn size(&self) -> u64;

    /// Hash over leaves `[start, end)`: a subtree that RFC 6962 splits some tree of at most [`Self::size`] leaves into.
    fn subtree(&self, start: u64, end: u64) -> Result<Hash, Self::Error>;
}

/// Largest power of two smaller than `n`, for n > 1: where RFC 6962 splits a tree.
pub(crate) fn split(n: u64) -> u64 {
    1 << (n.saturating_sub(1).checked_ilog2().unwrap_or(0))
}

/// Audit path of a leaf in the tree of `size` leaves, nearest sibling first.
pub fn inclusion<S: Subtrees>(tree: &S, index: u64, size: u64) -> Result<Vec<Hash>, S::Error> {
    if index >= size || size > tree.size() {
        return Err(ProofError::Range.into());
    }
    let (mut start, mut end) = (0, size);
    let mut path = Vec::new();
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            path.push(tree.subtree(middle, end)?);
            end = middle;
        } else {
            path.push(tree.subtree(start, middle)?);
            start = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// Proof that the tree of `old` leaves is a prefix of that of `new`. Of the empty tree and of the same tree it is empty.
pub fn consistency<S: Subtrees>(tree: &S, old: u64, new: u64) -> Result<Vec<Hash>, S::Error> {
    if old > new || new > tree.size() {
        return Err(ProofError::Range.into());
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
            path.push(tree.subtree(middle, end)?);
            end = middle;
        } else {
            path.push(tree.subtree(start, middle)?);
            start = middle;
        }
    }
    // When that subtree is the old tree itself, the verifier has its hash already.
    if start != 0 {
        path.push(tree.subtree(start, end)?);
    }
    path.reverse();
    Ok(path)
}

/// Checks an audit path in the tree of `size` leaves, RFC 9162 §2.1.3.2.
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> Result<(), ProofError> {
    verify_subtree_inclusion(leaf, index, (0, size), path, root)
}

/// Checks an audit path in the subtree over leaves `[start, end)`, as Merkle Tree Certificates define subtrees: beginning at
/// a multiple of the smallest power of two that is not below their size.
pub fn verify_subtree_inclusion(
    leaf: &Hash,
    index: u64,
    (start, end): (u64, u64),
    path: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    let size = subtree_size(start, end)?;
    let index = index.checked_sub(start).ok_or(ProofError::Range)?;
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
    if old == 0 {
        return Err(ProofError::Range);
    }
    verify_subtree_consistency((0, old), new, path, old_root, new_root)
}

/// Checks that the subtree over leaves `[start, end)` is one of the tree of `size` leaves. A prefix is the subtree that
/// begins at 0, and its proof that of RFC 6962. The empty subtree is one of every tree.
pub fn verify_subtree_consistency(
    (start, end): (u64, u64),
    size: u64,
    path: &[Hash],
    subtree_root: &Hash,
    root: &Hash,
) -> Result<(), ProofError> {
    if end > size {
        return Err(ProofError::Range);
    }
    if start == end {
        let good = path.is_empty() && *subtree_root == empty_root();
        return if good { Ok(()) } else { Err(ProofError::Root) };
    }
    subtree_size(start, end)?;
    let roots = climb((start, end), size, Some(subtree_root), path)?;
    if roots == (*subtree_root, *root) { Ok(()) } else { Err(ProofError::Root) }
}

/// Leaves of a subtree, if it is one.
fn subtree_size(start: u64, end: u64) -> Result<u64, ProofError> {
    let size = end.checked_sub(start).filter(|size| *size > 0).ok_or(ProofError::Range)?;
    let width = size.checked_next_power_of_two();
    // A power of two beyond 64 bits divides 0 only.
    let aligned = width.map_or(start == 0, |width| start.is_multiple_of(width));
    if aligned { Ok(size) } else { Err(ProofError::Range) }
}

/// The roots of the subtree and of the tree of `size` leaves that a proof leads to. The proof's last hash is that of the
/// outermost step. Each step halves the tree, so there are at most 64.
fn climb((start, end): (u64, u64), size: u64, known: Option<&Hash>, path: &[Hash]) -> Result<(Hash, Hash), ProofError> {
    if start == 0 && end == size {
        return match (known, path) {
            (Some(hash), []) | (None, [hash]) => Ok((*hash, *hash)),
            _ => Err(ProofError::Length),
        };
    }
    let (sibling, inner) = path.split_last().ok_or(ProofError::Length)?;
    let middle = split(size);
    if end <= middle {
        let (subtree, root) = climb((start, end), middle, known, inner)?;
        Ok((subtree, node_hash(&root, sibling)))
    } else if middle <= start {
        let (subtree, root) = climb((start - middle, end - middle), size - middle, known, inner)?;
        Ok((subtree, node_hash(sibling, &root)))
    } else {
        // The subtree begins where the tree does and goes beyond its left half: what of it lies there is the sibling.
        let (subtree, root) = climb((0, end - middle), size - middle, None, inner)?;
        Ok((node_hash(sibling, &subtree), node_hash(sibling, &root)))
    }
}
