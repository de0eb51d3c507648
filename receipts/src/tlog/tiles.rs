//! Tiles read back: every hash is traced to the root before it is used.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::TlogError;
use super::coordinate::{Coordinate, LEVELS, TILE_HEIGHT, TILE_WIDTH, nodes, perfect_root};
use crate::durable;
use crate::tree::{Frontier, Hash, ProofError, Subtrees, consistency, inclusion, node_hash, split, verify_inclusion};

/// Full tiles that are kept while proofs are made: a path through the tree meets at most 8, and 8 KiB each are 2 MiB.
const KEPT_MAX: usize = 256;

/// The tree of `size` leaves, out of tiles whose root was compared.
#[derive(Debug)]
pub struct Tiles {
    directory: PathBuf,
    size: u64,
    root: Hash,
    frontier: Frontier,
    /// The partial tiles at the right edge, by level; empty where there is none.
    edges: Vec<Vec<Hash>>,
    /// Full tiles that were traced to the root.
    kept: RefCell<HashMap<Coordinate, Vec<Hash>>>,
}

impl Tiles {
    /// Opens the tiles of a tree of which size and root are known from a signed checkpoint.
    pub fn open(directory: &Path, size: u64, root: &Hash) -> Result<Self, TlogError> {
        let mut edges = Vec::new();
        for level in 0..LEVELS {
            edges.push(match Coordinate::edge(level, size) {
                Some(edge) => read_tile(directory, edge)?,
                None => Vec::new(),
            });
        }
        let damaged = || TlogError::Damaged(directory.to_owned());
        let frontier = Frontier::from_parts(size, frontier_hashes(&edges)).map_err(|_| damaged())?;
        if frontier.root() != *root {
            return Err(damaged());
        }
        let kept = RefCell::default();
        Ok(Self { directory: directory.to_owned(), size, root: *root, frontier, edges, kept })
    }

    /// The right edge of the tree.
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    pub(super) fn edge(&self, level: u32) -> &[Hash] {
        usize::try_from(level).ok().and_then(|level| self.edges.get(level)).map_or(&[], Vec::as_slice)
    }

    /// Hash of a leaf.
    pub fn leaf(&self, index: u64) -> Result<Hash, TlogError> {
        if index >= self.size {
            return Err(ProofError::Range.into());
        }
        self.node(0, index)
    }

    /// Root of the tree's first `size` leaves.
    pub fn root_at(&self, size: u64) -> Result<Hash, TlogError> {
        match size {
            0 => Ok(Frontier::default().root()),
            _ if size > self.size => Err(ProofError::Range.into()),
            _ => self.subtree(0, size),
        }
    }

    /// Audit path of a leaf in the whole tree, checked.
    pub fn inclusion(&self, index: u64) -> Result<Vec<Hash>, TlogError> {
        let path = inclusion(self, index, self.size)?;
        verify_inclusion(&self.leaf(index)?, index, self.size, &path, &self.root)?;
        Ok(path)
    }

    /// Proof that the tree of `old` leaves is a prefix of that of `new`.
    pub fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, TlogError> {
        consistency(self, old, new)
    }

    /// The hash at a place of a level of tiles.
    fn node(&self, level: u32, at: u64) -> Result<Hash, TlogError> {
        let hashes = self.tile(level, at / TILE_WIDTH)?;
        let place = usize::try_from(at % TILE_WIDTH).ok();
        place.and_then(|place| hashes.get(place)).copied().ok_or(TlogError::Proof(ProofError::Range))
    }

    /// The hashes of a tile, traced to the root: the hash of a full tile stands in the tile above it, and what is at the right
    /// edge was compared when it was opened.
    fn tile(&self, level: u32, index: u64) -> Result<Vec<Hash>, TlogError> {
        let full = nodes(level, self.size) / TILE_WIDTH;
        if index == full {
            return Ok(self.edge(level).to_vec());
        }
        if index > full {
            return Err(ProofError::Range.into());
        }
        let coordinate = Coordinate::full(level, index);
        if let Some(hashes) = self.kept.borrow().get(&coordinate) {
            return Ok(hashes.clone());
        }
        let hashes = read_tile(&self.directory, coordinate)?;
        // At most eight levels, so the recursion ends; no borrow is held over it.
        if perfect_root(&hashes) != Some(self.node(level + 1, index)?) {
            return Err(TlogError::Damaged(self.directory.join(coordinate.path())));
        }
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(coordinate, hashes.clone());
        Ok(hashes)
    }
}

impl Subtrees for Tiles {
    type Error = TlogError;

    fn size(&self) -> u64 {
        self.size
    }

    fn subtree(&self, start: u64, end: u64) -> Result<Hash, TlogError> {
        let range = || TlogError::Proof(ProofError::Range);
        let width = end.checked_sub(start).filter(|width| *width > 0).ok_or_else(range)?;
        if !width.is_power_of_two() {
            let middle = start + split(width);
            return Ok(node_hash(&self.subtree(start, middle)?, &self.subtree(middle, end)?));
        }
        let height = width.ilog2();
        let level = height / TILE_HEIGHT;
        let nodes = 1u64 << (height % TILE_HEIGHT);
        let first = start >> (level * TILE_HEIGHT);
        let hashes = self.tile(level, first / TILE_WIDTH)?;
        let place = usize::try_from(first % TILE_WIDTH).map_err(|_| range())?;
        let count = usize::try_from(nodes).map_err(|_| range())?;
        hashes.get(place..place + count).and_then(perfect_root).ok_or_else(range)
    }
}

/// The hashes of the largest perfect subtrees, out of the tiles at the right edge: the width of an edge has a one-bit for each
/// of them.
fn frontier_hashes(edges: &[Vec<Hash>]) -> Vec<Hash> {
    let mut hashes = Vec::new();
    for edge in edges.iter().rev() {
        let mut rest = edge.as_slice();
        while let Some(bit) = rest.len().checked_ilog2() {
            let Some((subtree, after)) = rest.split_at_checked(1 << bit) else { break };
            hashes.extend(perfect_root(subtree));
            rest = after;
        }
    }
    hashes
}

/// Reads a tile. A partial one may have been replaced by the full one since.
fn read_tile(directory: &Path, coordinate: Coordinate) -> Result<Vec<Hash>, TlogError> {
    let full_bytes = TILE_WIDTH * 32;
    let path = directory.join(coordinate.path());
    let bytes = match durable::read_bounded(&path, full_bytes) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !coordinate.is_full() => {
            let full = directory.join(Coordinate::full(coordinate.level, coordinate.index).path());
            durable::read_bounded(&full, full_bytes).map_err(|_| TlogError::Io { path, source: error })?
        }
        read => read.map_err(TlogError::io(&path))?,
    };
    let width = usize::try_from(coordinate.width).unwrap_or(usize::MAX);
    let hashes = bytes.as_chunks::<32>().0.get(..width).map(<[Hash]>::to_vec);
    hashes.ok_or_else(|| TlogError::Damaged(directory.join(coordinate.path())))
}
