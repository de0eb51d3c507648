//! The task that seals: every so often it grows the tree over the durable part of the log, publishes a checkpoint and
//! writes a bundle, and records that in the log itself. Where nothing happened meanwhile, a heartbeat says so, and the
//! checkpoint over it proves it. Never in the way of traffic.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clyra_receipts::KeyAccess;
use clyra_receipts::bundle::{Publication, SealError, Sealed, Sealer};
use clyra_receipts::lineage::openlineage;
use clyra_receipts::lock::LockStore;
use tokio::sync::{Mutex, watch};

use super::{WitnessEntry, Witnesses, remembered_policies};
use crate::exchange::ledger::{Ledger, LedgerError};
use crate::siem::LineWriter;
use crate::telemetry::Metrics;
use crate::upstream::TrustError;

/// Why a bundle was not sealed. The log goes on; the next attempt seals what this one did not.
#[derive(Debug, thiserror::Error)]
pub enum SealTaskError {
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("the policies in force cannot be read: {0}")]
    Policies(#[from] std::io::Error),
    #[error(transparent)]
    Receipt(#[from] LedgerError),
    #[error("the witnesses cannot be asked: {0}")]
    Witnesses(TrustError),
    #[error("the task ended early")]
    Ended,
}

impl SealTaskError {
    /// Stable code where there is one.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Seal(error) => error.code(),
            _ => "",
        }
    }
}

/// Where checkpoints go besides the data directory.
#[derive(Debug)]
pub struct PublicationPlan {
    pub lock: Option<Arc<dyn LockStore>>,
    pub witnesses: Vec<WitnessEntry>,
    pub witness_timeout: Duration,
    pub metrics: Arc<Metrics>,
    pub events: LineWriter,
}

impl PublicationPlan {
    fn publication(&self) -> Result<Publication, TrustError> {
        let mut publication = Publication { lock: self.lock.clone(), ..Publication::default() };
        if !self.witnesses.is_empty() {
            let (metrics, events) = (Arc::clone(&self.metrics), self.events.clone());
            let cosigner = Witnesses::new(&self.witnesses, self.witness_timeout, metrics, events)?;
            publication.cosigner = Some(Box::new(cosigner));
            publication.witnesses = self.witnesses.iter().map(|witness| witness.key.clone()).collect();
        }
        Ok(publication)
    }
}

/// Seals the log of one data directory. Clones share the one sealer.
#[derive(Debug, Clone)]
pub struct Sealing {
    data_dir: PathBuf,
    ledger: Ledger,
    every: Duration,
    key_access: Arc<dyn KeyAccess>,
    sealer: Arc<Mutex<Option<Sealer>>>,
    plan: Arc<PublicationPlan>,
    /// Receipts up to and including the one about the last bundle: as long as there are no more, nothing happened.
    quiet: Arc<AtomicU64>,
    /// Size of the newest checkpoint of this process; 0 before there is one.
    newest: Arc<watch::Sender<u64>>,
}

impl Sealing {
    pub fn new(
        data_dir: &Path,
        ledger: Ledger,
        every: Duration,
        key_access: Arc<dyn KeyAccess>,
        plan: PublicationPlan,
    ) -> Sealing {
        Sealing {
            data_dir: data_dir.into(),
            ledger,
            every,
            key_access,
            sealer: Arc::default(),
            plan: Arc::new(plan),
            quiet: Arc::default(),
            newest: Arc::default(),
        }
    }

    /// Changes with each checkpoint, once it is on record.
    pub fn sealed(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// Seals for ever, at its interval; also when idle, so that nothing having happened is provable too. Ends only when the
    /// log must not go on: then with the reason.
    pub async fn run(self) -> SealTaskError {
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
                self.plan.metrics.seal_failures.inc();
                self.plan.events.send(crate::siem::notice_line("seal_failed", error.code()));
                tracing::error!("no bundle was sealed: {error}");
                if matches!(&error, SealTaskError::Seal(error) if error.is_fatal()) {
                    return error;
                }
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
        let plan = Arc::clone(&self.plan);
        let work = tokio::task::spawn_blocking(move || -> Result<Option<Sealed>, SealTaskError> {
            let sealer = match &mut *place {
                Some(sealer) => sealer,
                none => {
                    let publication = plan.publication().map_err(SealTaskError::Witnesses)?;
                    let sealer = Sealer::open(&data_dir)?.with_key_access(key_access).with_lineage(openlineage::hook);
                    none.insert(sealer.publish_to(publication))
                }
            };
            let sealed = sealer.seal(count, &remembered_policies(&data_dir)?);
            if let Some(fault) = sealer.tlog_fault() {
                tracing::error!("the tiles in tlog/ are behind: {fault}");
            }
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
            self.newest.send_replace(sealed.size);
        }
        Ok(sealed)
    }
}
