//! RFC 6962 §2.1, by its definitions.

use super::sha256;

pub(crate) type Hash = [u8; 32];

pub(crate) fn leaf(entry: &[u8]) -> Hash {
    sha256(&[&[0], entry].concat())
}

pub(crate) fn node(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1][..], left, right].concat())
}

/// Largest power of two below the number of leaves.
fn split(leaves: &[Hash]) -> usize {
    leaves.len().next_power_of_two() / 2
}

pub(crate) fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => sha256(b""),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves));
            node(&root(left), &root(right))
        }
    }
}

pub(crate) fn inclusion(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() < 2 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(split(leaves));
    let (mut path, sibling) = if index < left.len() {
        (inclusion(index, left), root(right))
    } else {
        (inclusion(index - left.len(), right), root(left))
    };
    path.push(sibling);
    path
}

pub(crate) fn consistency(old: usize, leaves: &[Hash]) -> Vec<Hash> {
    fn proof(old: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
        if old == leaves.len() {
            return if whole { Vec::new() } else { vec![root(leaves)] };
        }
        let (left, right) = leaves.split_at(split(leaves));
        let (mut path, sibling) = if old <= left.len() {
            (proof(old, left, whole), root(right))
        } else {
            (proof(old - left.len(), right, false), root(left))
        };
        path.push(sibling);
        path
    }
    proof(old, leaves, true)
}

/// Roots of the perfect subtrees, largest first.
pub(crate) fn frontier(leaves: &[Hash]) -> Vec<Hash> {
    let (mut roots, mut rest) = (Vec::new(), leaves);
    while !rest.is_empty() {
        let (perfect, after) = rest.split_at(1 << rest.len().ilog2());
        roots.push(root(perfect));
        rest = after;
    }
    roots
}
