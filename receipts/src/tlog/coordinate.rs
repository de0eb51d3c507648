//! Where a tile stands in the tree and in the directory, as C2SP tlog-tiles lays it down.

use std::path::PathBuf;

use crate::tree::{Hash, node_hash};

/// Hashes in a full tile.
pub(super) const TILE_WIDTH: u64 = 256;
/// Levels of the tree in one tile.
pub(super) const TILE_HEIGHT: u32 = 8;
/// Levels of tiles that a tree of less than 2^64 leaves has.
pub(super) const LEVELS: u32 = 8;

/// A tile, full or partial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Coordinate {
    pub(super) level: u32,
    pub(super) index: u64,
    /// Hashes in it, 1 to 256.
    pub(super) width: u64,
}

impl Coordinate {
    pub(super) fn full(level: u32, index: u64) -> Self {
        Self { level, index, width: TILE_WIDTH }
    }

    /// The partial tile at the right edge of a tree, if it has one at this level.
    pub(super) fn edge(level: u32, size: u64) -> Option<Self> {
        let nodes = nodes(level, size);
        let width = nodes % TILE_WIDTH;
        (width > 0).then_some(Self { level, index: nodes / TILE_WIDTH, width })
    }

    pub(super) fn is_full(&self) -> bool {
        self.width == TILE_WIDTH
    }

    /// `tile/<L>/<N>[.p/<W>]`.
    pub(super) fn path(&self) -> PathBuf {
        path(&self.level.to_string(), self.index, self.width)
    }

    /// The directory of the partial tiles of this place.
    pub(super) fn partials(&self) -> PathBuf {
        let mut name = Self::full(self.level, self.index).path().into_os_string();
        name.push(".p");
        name.into()
    }
}

/// Path of a tile or entry bundle: the index in groups of three digits, all but the last marked by `x`.
pub(super) fn path(level: &str, index: u64, width: u64) -> PathBuf {
    let mut groups = vec![format!("{:03}", index % 1000)];
    let mut rest = index / 1000;
    while rest > 0 {
        groups.push(format!("x{:03}", rest % 1000));
        rest /= 1000;
    }
    groups.reverse();
    let mut path = format!("tile/{level}/{}", groups.join("/"));
    if width < TILE_WIDTH {
        path.push_str(&format!(".p/{width}"));
    }
    path.into()
}

/// Hashes at a level of tiles in a tree of `size` leaves.
pub(super) fn nodes(level: u32, size: u64) -> u64 {
    size.checked_shr(level * TILE_HEIGHT).unwrap_or(0)
}

/// Root over a power of two of hashes.
pub(super) fn perfect_root(hashes: &[Hash]) -> Option<Hash> {
    let mut row = hashes.to_vec();
    if !row.len().is_power_of_two() {
        return None;
    }
    while row.len() > 1 {
        row = row.as_chunks::<2>().0.iter().map(|[left, right]| node_hash(left, right)).collect();
    }
    row.first().copied()
}
