//! The receipt log: append-only, hash-chained, signed, durable by group commit.
//!
//! An acknowledged receipt is on disk: it survives `kill -9` and a power cut on a disk that honours syncs. A receipt that
//! could not be made durable is never acknowledged, and after the first failure nothing is. Receipts are numbered without
//! gaps, and a number is never given twice.

mod chain;
mod error;
mod frame;
mod log;
mod pruned;
mod queue;
mod read;
mod recover;
mod runs;
mod scan;
mod segment;
mod sequence;
mod sign;
mod storage;
mod tail;
mod token;
mod walk;
mod writer;

pub use chain::ChainValue;
pub use error::{AppendError, LogError};
pub use log::{BootReport, Durability, Log, LogOptions, LogStatus, TornTail};
pub use token::Token;

pub(crate) use chain::{Chain, genesis_value, run_start_value};
pub(crate) use frame::FrameType;
pub(crate) use pruned::{Pruned, event_of};
pub(crate) use read::{Next, SegmentReader};
pub(crate) use runs::RUNS_MAX;
pub(crate) use scan::{JournalScan, ScanError, segments};
pub(crate) use segment::{origin_digest, seal_body, segment_first_seq, segment_name};

pub(crate) use storage::{Disk, Lock, Storage};

/// Directory of the journal in the data directory.
pub(crate) const JOURNAL_DIRECTORY: &str = "journal";

#[cfg(test)]
pub(crate) use pruned::PRUNED;

#[cfg(test)]
pub(crate) mod simulated;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
