//! What can go wrong with the log, with stable codes and what to do about each.

use std::io;
use std::path::{Path, PathBuf};

use super::storage::is_full;
use crate::bundle::SealError;
use crate::keys::KeyError;
use crate::lock::LockError;
use crate::retention::RetentionError;

/// Why a log cannot be opened, or ended badly.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(
        "W002: journal segment {} is damaged at byte {offset} and what follows it is not the torn end of the log ({what}); \
         nothing was changed. Restore the journal from a copy, or keep it as evidence and start with a new data directory",
        .segment.display()
    )]
    CorruptMiddle { segment: PathBuf, offset: u64, what: &'static str },
    #[error(
        "W003: the journal in {} ends before receipt {found}, but {evidence} shows that receipts up to {known} were on disk; \
         nothing was changed. Restore the journal from a copy, or keep it as evidence and start with a new data directory",
        .directory.display()
    )]
    LostDurable { directory: PathBuf, found: u64, known: u64, evidence: &'static str },
    #[error(
        "W004: the journal could not be written ({what}); no receipt was acknowledged after that, and nothing is tried \
         again because a failed sync may have dropped what it should have written. Check the disk, then restart"
    )]
    SyncFailed { what: String },
    #[error(
        "W006: the journal in {} has another receipt {seq} than the one that checkpoint {size} was signed over: one of the \
         two was replaced or restored from a copy. Nothing was changed",
        .directory.display()
    )]
    Fork { directory: PathBuf, seq: u64, size: u64 },
    #[error("W007: {} is in use by another process; one data directory serves one sidecar", .0.display())]
    Locked(PathBuf),
    #[error(
        "W008: no space left for the journal ({what}); free some, then restart. No receipt was acknowledged after that"
    )]
    NoSpace { what: String },
    #[error(
        "W009: the journal in {} belongs to another log than {origin:?}; use the name that it was made with, or another \
         data directory",
        .directory.display()
    )]
    Origin { directory: PathBuf, origin: String },
    #[error("W012: {}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("W013: a journal thread could not be started: {0}")]
    Thread(io::Error),
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The newest checkpoint cannot be read, so the journal cannot be held against it.
    #[error(transparent)]
    Checkpoint(#[from] SealError),
    /// The log does not continue what the lock record says, or that cannot be told.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A removal of old segments, begun by the process before, cannot be finished.
    #[error(transparent)]
    Retention(#[from] RetentionError),
}

impl LogError {
    /// Stable code: `W0xx`; `K0xx` where a key, `S0xx` where a checkpoint, `R0xx` where retention is the cause.
    pub fn code(&self) -> &'static str {
        match self {
            Self::CorruptMiddle { .. } => "W002",
            Self::LostDurable { .. } => "W003",
            Self::SyncFailed { .. } => "W004",
            Self::Fork { .. } => "W006",
            Self::Locked(_) => "W007",
            Self::NoSpace { .. } => "W008",
            Self::Origin { .. } => "W009",
            Self::Io { .. } => "W012",
            Self::Thread(_) => "W013",
            Self::Keys(error) => error.code(),
            Self::Checkpoint(error) => error.code(),
            Self::Lock(error) => error.code(),
            Self::Retention(error) => error.code(),
        }
    }

    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

/// Why a receipt was not recorded. Whoever gets this must not release what the receipt was for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The queue is full; the exchange may be tried again later.
    #[error("W010: the receipt queue is full")]
    Overloaded,
    /// The log is shut down or shutting down.
    #[error("W011: the receipt log is closed")]
    Closed,
    /// The disk is full; the log goes on by itself when there is space again.
    #[error("W014: there is no space left for receipts; the log goes on by itself when some is free")]
    NoSpace,
    /// A write failed before; nothing is accepted until a restart.
    #[error("{code}: the receipt log failed and accepts nothing until a restart: {what}")]
    Poisoned { code: &'static str, what: String },
}

impl AppendError {
    pub fn code(&self) -> &'static str {
        match self {
            Self::Overloaded => "W010",
            Self::Closed => "W011",
            Self::NoSpace => "W014",
            Self::Poisoned { code, .. } => code,
        }
    }
}

/// The first failure of the log: everything after it fails with the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Poison {
    pub(crate) code: &'static str,
    pub(crate) what: String,
}

impl Poison {
    pub(crate) fn from_io(doing: &str, error: &io::Error) -> Self {
        Self { code: if is_full(error) { "W008" } else { "W004" }, what: format!("{doing}: {error}") }
    }

    pub(crate) fn from_key(doing: &str, error: &KeyError) -> Self {
        let full = matches!(error, KeyError::Io { source, .. } if is_full(source));
        Self { code: if full { "W008" } else { "W004" }, what: format!("{doing}: {error}") }
    }

    pub(crate) fn to_append_error(&self) -> AppendError {
        AppendError::Poisoned { code: self.code, what: self.what.clone() }
    }

    pub(crate) fn to_log_error(&self) -> LogError {
        let what = self.what.clone();
        if self.code == "W008" { LogError::NoSpace { what } } else { LogError::SyncFailed { what } }
    }
}
