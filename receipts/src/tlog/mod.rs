//! `tlog/` in the data directory: the tree as C2SP tlog-tiles, and proofs out of it as C2SP tlog-proof.
//!
//! Tiles are content that follows from the receipts: they are written before the checkpoint that needs them, and whatever is
//! missing or damaged is written anew from the receipts. `tlog/checkpoint` comes last, so that what it is over is there. No
//! hash of a tile is believed before it was traced to the root of a signed checkpoint.

mod coordinate;
mod export;
mod proof;
mod prove;
mod store;
mod tiles;

use std::io;
use std::path::{Path, PathBuf};

use crate::reader::ReadError;
use crate::tree::ProofError;

pub use export::{ExportError, Exported, export};
pub(crate) use proof::PROOF_MAX_BYTES;
pub use proof::TlogProof;
pub use prove::{ProveError, Proven, prove, prove_event};
pub(crate) use store::TlogStore;
pub use tiles::Tiles;

/// Directory of the tiles in the data directory.
pub(crate) const TLOG_DIRECTORY: &str = "tlog";
/// The newest checkpoint that the tiles cover.
pub(crate) const TLOG_CHECKPOINT: &str = "checkpoint";

/// What is wrong with tiles. Each has a stable code.
#[derive(Debug, thiserror::Error)]
pub enum TlogError {
    #[error("T001: {}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("T002: {} is not what the checkpoint says; remove the directory `tlog`, and the next start writes it anew", .0.display())]
    Damaged(PathBuf),
    #[error("T003: {0}")]
    Proof(#[from] ProofError),
    #[error("T004: the receipts that the tiles are made from cannot be read: {0}")]
    Receipts(#[from] ReadError),
    #[error(
        "T005: the receipts up to {size} give another root than the checkpoint; run `clyra verify` on the data directory"
    )]
    Root { size: u64 },
}

impl TlogError {
    /// Stable code, `T001` …
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "T001",
            Self::Damaged(_) => "T002",
            Self::Proof(_) => "T003",
            Self::Receipts(_) => "T004",
            Self::Root { .. } => "T005",
        }
    }

    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

#[cfg(test)]
mod tests;
