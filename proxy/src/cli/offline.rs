//! A log that no sidecar serves: counted, sealed and written to from the command line.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clyra_receipts::bundle::{PolicyDocument, SealError, Sealed, Sealer};
use clyra_receipts::lineage::openlineage;
use clyra_receipts::receipt::BuildInfo;
use clyra_receipts::{Entry, KeyAccess, Log, LogError, LogOptions};

use super::exit::Exit;
use crate::evidence::remembered_policies;

/// The log of a data directory, held against sidecars and other commands.
pub(super) struct Offline {
    data_dir: PathBuf,
    sealer: Sealer,
    /// Read when the first bundle is sealed: a count needs none.
    policies: Option<Vec<PolicyDocument>>,
    /// Receipts on disk.
    pub(super) receipts: u64,
}

impl Offline {
    /// Fails while a sidecar runs on it, and then says what to do instead. `access` is how the log key is opened.
    pub(super) fn open(data_dir: &Path, access: Arc<dyn KeyAccess>, instead: &str) -> Result<Self, Exit> {
        let (sealer, receipts) = Sealer::open_offline(data_dir).map_err(|error| match error {
            SealError::Locked(_) => Exit::usage(format!("{error}; {instead}")),
            error => Exit::usage(error),
        })?;
        let sealer = sealer.with_key_access(access).with_lineage(openlineage::hook);
        Ok(Self { data_dir: data_dir.to_owned(), sealer, policies: None, receipts })
    }

    /// Seals the next bundle of what is there; `None` when all is in bundles.
    pub(super) fn seal(&mut self) -> Result<Option<Sealed>, SealError> {
        let policies = match self.policies.take() {
            Some(policies) => policies,
            None => remembered_policies(&self.data_dir)
                .map_err(|source| SealError::Io { path: self.data_dir.join("policies"), source })?,
        };
        self.sealer.seal(self.receipts, self.policies.insert(policies))
    }
}

/// How a log is opened for receipts that the command line puts on record.
pub(super) fn options(data_dir: &Path, origin: &str, access: Arc<dyn KeyAccess>) -> LogOptions {
    let build = BuildInfo { digest: None, version: env!("CARGO_PKG_VERSION").into() };
    let mut options = LogOptions::new(data_dir, origin, build);
    options.key_access = access;
    options
}

/// Opens the log for these receipts alone; gives the number of the first.
pub(super) fn append(options: LogOptions, entries: impl Iterator<Item = Entry>) -> Result<u64, AppendFailed> {
    let (log, _) = Log::open(options)?;
    let mut first = None;
    for entry in entries {
        let token = log.append_blocking(entry)?;
        first.get_or_insert(token.seq);
    }
    log.shutdown()?;
    Ok(first.unwrap_or_default())
}

/// Why receipts were not put on record.
#[derive(Debug, thiserror::Error)]
pub(super) enum AppendFailed {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Append(#[from] clyra_receipts::AppendError),
}
