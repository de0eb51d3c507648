//! The lock record: what the newest checkpoint was, kept where a copy of the data directory does not bring it back.
//!
//! Before a checkpoint is published the record is replaced by compare-and-swap, and the log must continue what the record
//! says. So a restored snapshot, a copied directory and a second writer are found before they can sign another history.

mod check;
mod file;

use std::fmt;
use std::path::Path;

use crate::canonical::{Limits, Value, is_canonical, parse, to_vec};
use crate::hex;
use crate::journal::ChainValue;
use crate::receipt::{FORMAT, parse_decimal, shape};
use crate::tree::Hash;

pub(crate) use check::{Known, check};
pub use file::FileLock;

/// Longest record: an origin of 240 bytes and some 300 more.
pub const LOCK_RECORD_MAX_BYTES: usize = 4096;

/// A place that holds one record and replaces it atomically. Calls block, and must end within a time of their own.
pub trait LockStore: Send + Sync + fmt::Debug {
    /// The record as it stands; `None` while there is none.
    fn read(&self) -> Result<Option<Vec<u8>>, LockError>;

    /// Replaces the record, if it still is what was expected. False if it is not, and then it stays as it is.
    fn swap(&self, expected: Option<&[u8]>, new: &[u8]) -> Result<bool, LockError>;

    /// Where it is, for people. Without credentials.
    fn place(&self) -> String;
}

/// Why the log may not go on. Each has a stable code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    #[error(
        "W005: the log has {found} receipts, but the lock record in {place} knows of {size}: the data directory is an older copy. Go on with the newest one; what was recorded since must not be written a second time"
    )]
    Rollback { place: String, found: u64, size: u64 },
    #[error(
        "W006: the lock record in {place} is of another history of this log (at size {size}): another sidecar writes a copy of it. Stop one of them, and keep both data directories as evidence"
    )]
    Fork { place: String, size: u64 },
    #[error("L001: the lock record in {place} cannot be reached: {what}")]
    Unavailable { place: String, what: String },
    #[error(
        "L002: what stands in {place} is no lock record of log {log}; name another place, or remove it there if it is not needed"
    )]
    Foreign { place: String, log: String },
    #[error("L003: the log cannot be held against the lock record in {place}: {what}")]
    Unreadable { place: String, what: String },
}

impl LockError {
    /// Stable code: `W005` ROLLBACK, `W006` FORK, `L00x` otherwise.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Rollback { .. } => "W005",
            Self::Fork { .. } => "W006",
            Self::Unavailable { .. } => "L001",
            Self::Foreign { .. } => "L002",
            Self::Unreadable { .. } => "L003",
        }
    }

    /// True when going on would write a second history; otherwise it may be tried again.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Rollback { .. } | Self::Fork { .. } | Self::Foreign { .. })
    }
}

/// The newest checkpoint, as the record has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LockRecord {
    /// Process that wrote the last receipt under it.
    pub(crate) boot: String,
    /// Chain value of that receipt.
    pub(crate) chain: ChainValue,
    pub(crate) log: String,
    pub(crate) root: Hash,
    pub(crate) size: u64,
}

impl LockRecord {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        to_vec(&Value::from([
            ("boot", Value::from(self.boot.as_str())),
            ("chain", Value::from(hex::encode(&self.chain))),
            ("log", Value::from(self.log.as_str())),
            ("root", Value::from(hex::encode(&self.root))),
            ("size", Value::from(self.size.to_string())),
            ("v", Value::from(FORMAT)),
        ]))
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let value = parse(bytes, Limits::RECEIPT).ok().filter(|value| is_canonical(bytes, value))?;
        if !shape::check(&value, &shape::LOCK_RECORD).is_empty() {
            return None;
        }
        let text = |name: &str| value.get(name)?.as_str();
        Some(Self {
            boot: text("boot")?.to_owned(),
            chain: hex::decode_32(text("chain")?)?,
            log: text("log")?.to_owned(),
            root: hex::decode_32(text("root")?)?,
            size: parse_decimal(text("size")?)?,
        })
    }
}

/// The record that stands in a store, if there is one, and the bytes that it was read from.
pub(crate) fn read_record(store: &dyn LockStore, log: &str) -> Result<Option<(LockRecord, Vec<u8>)>, LockError> {
    let Some(bytes) = store.read()? else { return Ok(None) };
    match LockRecord::parse(&bytes).filter(|record| record.log == log) {
        Some(record) => Ok(Some((record, bytes))),
        None => Err(LockError::Foreign { place: store.place(), log: log.to_owned() }),
    }
}

/// Holds a log that is about to be opened against the record.
pub(crate) fn hold(store: &dyn LockStore, data_dir: &Path, log: &str, known: &Known) -> Result<(), LockError> {
    match read_record(store, log)? {
        Some((record, _)) => check(data_dir, known, &record, &store.place()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
