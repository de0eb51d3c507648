//! Retention: old segments leave the journal when they are covered by an anchor, older than asked, and held by nobody.
//!
//! What is removed is named by a receipt, and the tree over it stays: its leaf hashes in `tlog/`, its frontier and last chain
//! value in the journal. A removal that was cut short is finished by the next start.

mod hold;
mod plan;
mod prune;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use hold::{Hold, holds, lift_hold, place_hold};
pub use plan::{Keep, Plan, PlannedSegment, plan};
pub(crate) use plan::{Surroundings, plan_on};
pub use prune::Removed;
pub(crate) use prune::{Retained, Ways, finish, prune};

/// What must be true of receipts before they may be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Receipts are kept at least so long.
    pub keep: Duration,
    pub requires: Cover,
}

/// What must cover receipts that are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cover {
    /// A confirmed anchor, and with it somebody else's word.
    Anchor,
    /// A published checkpoint.
    Checkpoint,
}

/// Why nothing was removed, or a hold was not placed. Each has a stable code.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    #[error("R001: {}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("R002: legal hold {} cannot be read, so nothing is removed: {what}; mend or lift it", .path.display())]
    Hold { path: PathBuf, what: &'static str },
    #[error("R003: {id:?} cannot name a hold: 1 to 64 letters, digits, `-`, `_` and `.`, not beginning with `.`")]
    Name { id: String },
    #[error("R004: there is a hold {id:?} already; lift it first")]
    Exists { id: String },
    #[error("R005: there is no hold {id:?}")]
    Unknown { id: String },
    #[error("R006: a hold from receipt {from} to before receipt {to} would hold nothing")]
    Empty { from: u64, to: u64 },
    #[error("R007: {} cannot be read to its end ({what}), so nothing is removed; run `clyra verify` on the data directory", .path.display())]
    Journal { path: PathBuf, what: &'static str },
    #[error(
        "R008: the receipts that were to be removed do not give the root of checkpoint {size}, so they stay; run `clyra verify` \
         on the data directory"
    )]
    Root { size: u64 },
    #[error("R010: the leaf hash of receipt {seq} is not in tlog/, so nothing is removed: {what}")]
    Leaf { seq: u64, what: String },
    #[error("R009: the removal was not put on record, so nothing is removed: {0}")]
    Append(#[from] crate::AppendError),
    #[error(transparent)]
    Checkpoint(#[from] crate::SealError),
}

impl RetentionError {
    /// Stable code: `R0xx`, or that of the cause.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "R001",
            Self::Hold { .. } => "R002",
            Self::Name { .. } => "R003",
            Self::Exists { .. } => "R004",
            Self::Unknown { .. } => "R005",
            Self::Empty { .. } => "R006",
            Self::Journal { .. } => "R007",
            Self::Root { .. } => "R008",
            Self::Append(_) => "R009",
            Self::Leaf { .. } => "R010",
            Self::Checkpoint(error) => error.code(),
        }
    }

    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

#[cfg(test)]
mod tests;
