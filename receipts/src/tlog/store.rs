//! Writes the tiles as the log is sealed, and makes good what is missing of them.

use std::path::{Path, PathBuf};

use super::coordinate::{Coordinate, TILE_WIDTH, nodes, perfect_root};
use super::tiles::Tiles;
use super::{TLOG_CHECKPOINT, TLOG_DIRECTORY, TlogError};
use crate::checkpoint::{Checkpoint, NOTE_MAX_BYTES, SignedNote};
use crate::durable;
use crate::reader::Receipts;
use crate::tree::{Frontier, Hash};

/// Leaves that are written at once while tiles are made anew: 3 MiB of hashes.
const BATCH_LEAVES: usize = 100_000;

/// Tiles are public: a static server may hand them out. What protects them is the data directory above.
const MODE: u32 = 0o644;

/// The tiles of one log.
#[derive(Debug)]
pub(crate) struct TlogStore {
    data_dir: PathBuf,
    directory: PathBuf,
}

impl TlogStore {
    pub(crate) fn new(data_dir: &Path) -> Self {
        Self::at(data_dir, &data_dir.join(TLOG_DIRECTORY))
    }

    /// Tiles in a directory of their own.
    pub(super) fn at(data_dir: &Path, directory: &Path) -> Self {
        Self { data_dir: data_dir.to_owned(), directory: directory.to_owned() }
    }

    /// The tiles of the tree of this size and root, as they are.
    pub(crate) fn open(&self, size: u64, root: &Hash) -> Result<Tiles, TlogError> {
        Tiles::open(&self.directory, size, root)
    }

    /// Adds leaves to the tree of which this is the right edge. What is missing before is made good first.
    pub(crate) fn extend(&self, from: &Frontier, leaves: &[Hash]) -> Result<(), TlogError> {
        let tiles = match self.open(from.size(), &from.root()) {
            Ok(tiles) => tiles,
            Err(TlogError::Damaged(_) | TlogError::Io { .. }) => {
                self.rebuild(from)?;
                self.open(from.size(), &from.root())?
            }
            Err(other) => return Err(other),
        };
        self.append(&tiles, leaves)
    }

    /// Makes the newest checkpoint visible; its tiles are there.
    pub(crate) fn publish(&self, note: &[u8]) -> Result<(), TlogError> {
        let path = self.directory.join(TLOG_CHECKPOINT);
        durable::create_directory(&self.directory, 0o700).map_err(TlogError::io(&self.directory))?;
        durable::write(&path, note, MODE).map_err(TlogError::io(&path))
    }

    /// After a crash, or where there were no tiles yet: brings tiles and checkpoint to the newest checkpoint of the log.
    pub(crate) fn settle(&self, newest: &Frontier, note: &[u8]) -> Result<(), TlogError> {
        if self.open(newest.size(), &newest.root()).is_err() {
            self.rebuild(newest)?;
        }
        let path = self.directory.join(TLOG_CHECKPOINT);
        match durable::read_bounded(&path, NOTE_MAX_BYTES as u64) {
            Ok(bytes) if bytes == note => Ok(()),
            _ => self.publish(note),
        }
    }

    /// Writes the tiles up to `to` anew from the receipts, from the place on up to which they are good.
    fn rebuild(&self, to: &Frontier) -> Result<(), TlogError> {
        let good = self.published().filter(|checkpoint| checkpoint.size < to.size());
        let good = good.and_then(|checkpoint| self.open(checkpoint.size, &checkpoint.root).ok());
        let mut tiles = match good {
            Some(tiles) => tiles,
            None => self.open(0, &Frontier::default().root())?,
        };
        let mut frontier = tiles.frontier().clone();
        let mut receipts = Receipts::open(&self.data_dir, frontier.size())?;
        while frontier.size() < to.size() {
            let mut leaves = Vec::new();
            while frontier.size() < to.size() && leaves.len() < BATCH_LEAVES {
                let Some(receipt) = receipts.read_next()? else {
                    return Err(TlogError::Root { size: to.size() });
                };
                leaves.push(receipt.leaf());
                frontier.push(receipt.leaf());
            }
            self.append(&tiles, &leaves)?;
            tiles = self.open(frontier.size(), &frontier.root())?;
        }
        if frontier.root() == to.root() { Ok(()) } else { Err(TlogError::Root { size: to.size() }) }
    }

    /// What `tlog/checkpoint` says; who signed it does not matter here, because what is built on it is compared with a
    /// checkpoint of which that is known.
    fn published(&self) -> Option<Checkpoint> {
        let bytes = durable::read_bounded(&self.directory.join(TLOG_CHECKPOINT), NOTE_MAX_BYTES as u64).ok()?;
        Checkpoint::from_text(SignedNote::parse(&bytes).ok()?.text()).ok()
    }

    /// Writes the tiles that new leaves fill or begin, at each level.
    fn append(&self, tiles: &Tiles, leaves: &[Hash]) -> Result<(), TlogError> {
        use crate::tree::Subtrees as _;
        let mut new = leaves.to_vec();
        let mut level = 0;
        while !new.is_empty() {
            let first = nodes(level, tiles.size()) / TILE_WIDTH;
            let mut hashes = tiles.edge(level).to_vec();
            hashes.append(&mut new);
            let parts = hashes.chunks(usize::try_from(TILE_WIDTH).unwrap_or(usize::MAX));
            for (index, part) in (first..).zip(parts) {
                let tile = Coordinate { level, index, width: part.len() as u64 };
                self.write(tile, part)?;
                if tile.is_full() {
                    new.extend(perfect_root(part));
                }
            }
            level += 1;
        }
        Ok(())
    }

    fn write(&self, tile: Coordinate, hashes: &[Hash]) -> Result<(), TlogError> {
        let path = self.directory.join(tile.path());
        if let Some(directory) = path.parent() {
            durable::create_directory(directory, 0o700).map_err(TlogError::io(directory))?;
        }
        durable::write(&path, hashes.as_flattened(), MODE).map_err(TlogError::io(&path))?;
        if tile.is_full() {
            // The partial tiles of smaller trees are in it.
            let partials = self.directory.join(tile.partials());
            match std::fs::remove_dir_all(&partials) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(TlogError::Io { path: partials, source: error });
                }
                _ => {}
            }
        }
        Ok(())
    }
}
