//! The whole log as a static C2SP tlog-tiles directory, with its entries: for whoever serves or mirrors it.

use std::path::Path;

use super::coordinate::{TILE_WIDTH, path};
use super::store::TlogStore;
use super::{TlogError, tiles::Tiles};
use crate::bundle::{SealError, newest_checkpoint};
use crate::durable;
use crate::reader::Receipts;
use crate::tree::{Frontier, Hash};

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// Size of the tree: that of the newest checkpoint.
    pub size: u64,
    pub root: Hash,
}

/// Why nothing whole was written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Tlog(#[from] TlogError),
    #[error(transparent)]
    Checkpoint(#[from] SealError),
    #[error(
        "T006: there is no checkpoint yet; a running sidecar makes one at its interval, `clyra bundle seal` at once"
    )]
    NoCheckpoint,
}

/// Writes checkpoint, hash tiles and entry bundles of the newest checkpoint's tree below `out`. The checkpoint comes last.
/// Needs every receipt from the first on.
pub fn export(data_dir: &Path, out: &Path) -> Result<Exported, ExportError> {
    let newest = newest_checkpoint(data_dir)?.ok_or(ExportError::NoCheckpoint)?;
    let (size, root) = (newest.checkpoint.size, newest.checkpoint.root);
    durable::create_directory(out, 0o755).map_err(TlogError::io(out))?;
    let mut receipts = Receipts::open(data_dir, 0).map_err(TlogError::from)?;
    let store = TlogStore::at(data_dir, out);
    let mut frontier = Frontier::default();
    while frontier.size() < size {
        let before = frontier.clone();
        let (mut entries, mut leaves) = (Vec::new(), Vec::new());
        while frontier.size() < size && (leaves.len() as u64) < TILE_WIDTH {
            let receipt = receipts.read_next().map_err(TlogError::from)?.ok_or(TlogError::Root { size })?;
            let envelope = receipt.envelope();
            // An envelope is at most 65,535 bytes: that is why.
            let length = u16::try_from(envelope.len()).unwrap_or(u16::MAX);
            entries.extend_from_slice(&length.to_be_bytes());
            entries.extend_from_slice(&envelope);
            leaves.push(receipt.leaf());
            frontier.push(receipt.leaf());
        }
        let file = out.join(path("entries", before.size() / TILE_WIDTH, leaves.len() as u64));
        if let Some(directory) = file.parent() {
            durable::create_directory(directory, 0o755).map_err(TlogError::io(directory))?;
        }
        durable::write(&file, &entries, 0o644).map_err(TlogError::io(&file))?;
        store.extend(&before, &leaves)?;
    }
    if frontier.root() != root {
        return Err(TlogError::Root { size }.into());
    }
    Tiles::open(out, size, &root)?;
    store.publish(&newest.bytes)?;
    Ok(Exported { size, root })
}
