//! The task that seals: every so often it grows the tree over the durable part of the log, publishes a checkpoint and
//! writes a bundle, and records that in the log itself. Where nothing happened meanwhile, a heartbeat says so, and the
//! checkpoint over it proves it. Never in the way of traffic.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clyra_receipts::KeyAccess;
use clyra_receipts::bundle::{SealError, Sealed, Sealer};
use clyra_receipts::lineage::openlineage;
use tokio::sync::Mutex;

use super::remembered_policies;
use crate::exchange::ledger::{Ledger, LedgerError};

/// Why a bundle was not sealed. The log goes on; the next attempt seals what this one did not.
#[derive(Debug, thiserror::Error)]
pub enum SealTaskError {
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("the policies in force cannot be read: {0}")]
    Policies(#[from] std::io::Error),
    #[error(transparent)]
    Receipt(#[from] LedgerError),
    #[error("the task ended early")]
    Ended,
}

/// Seals the log of one data directory. Clones share the one sealer.
#[derive(Debug, Clone)]
pub struct Sealing {
    data_dir: PathBuf,
    ledger: Ledger,
    every: Duration,
    key_access: Arc<dyn KeyAccess>,
    sealer: Arc<Mutex<Option<Sealer>>>,
    /// Receipts up to and including the one about the last bundle: as long as there are no more, nothing happened.
    quiet: Arc<AtomicU64>,
}

impl Sealing {
    pub fn new(data_dir: &Path, ledger: Ledger, every: Duration, key_access: Arc<dyn KeyAccess>) -> Sealing {
        Sealing { data_dir: data_dir.into(), ledger, every, key_access, sealer: Arc::default(), quiet: Arc::default() }
    }

    /// Seals for ever, at its interval; also when idle, so that nothing having happened is provable too.
    pub async fn run(self) {
        let mut ticks = tokio::time::interval(self.every.max(Duration::from_secs(1)));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The first tick is immediate, and there is nothing to seal yet.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let status = self.ledger.log().status();
            if status.full {
                tracing::error!("no bundle was sealed: the disk is full, and no receipts are taken");
                continue;
            }
            if status.durable_count == self.quiet.load(Ordering::Relaxed)
                && let Err(error) = self.ledger.heartbeat().durable().await
            {
                tracing::error!("no heartbeat was recorded: {error}");
            }
            if let Err(error) = self.once().await {
                tracing::error!("no bundle was sealed: {error}");
            }
        }
    }

    /// Seals what is durable now. Runs to completion even when the caller goes away.
    pub async fn once(&self) -> Result<Option<Sealed>, SealTaskError> {
        let this = self.clone();
        tokio::spawn(async move { this.seal().await }).await.map_err(|_| SealTaskError::Ended)?
    }

    async fn seal(&self) -> Result<Option<Sealed>, SealTaskError> {
        let count = self.ledger.log().status().durable_count;
        let mut place = Arc::clone(&self.sealer).lock_owned().await;
        let data_dir = self.data_dir.clone();
        let key_access = Arc::clone(&self.key_access);
        let work = tokio::task::spawn_blocking(move || -> Result<Option<Sealed>, SealTaskError> {
            let sealer = match &mut *place {
                Some(sealer) => sealer,
                none => {
                    none.insert(Sealer::open(&data_dir)?.with_key_access(key_access).with_lineage(openlineage::hook))
                }
            };
            let sealed = sealer.seal(count, &remembered_policies(&data_dir)?);
            if sealed.is_err() {
                // Whatever state the failure left is read anew from disk the next time.
                *place = None;
            }
            Ok(sealed?)
        });
        let sealed = work.await.map_err(|_| SealTaskError::Ended)??;
        if let Some(sealed) = &sealed {
            let token = self.ledger.append(sealed.record()).durable().await?;
            self.quiet.store(token.seq + 1, Ordering::Relaxed);
        }
        Ok(sealed)
    }
}
