//! The log of receipts, awaited: the journal answers on a thread of its own, the pipeline is asynchronous.

use std::sync::Arc;
use std::time::Instant;

use clyra_receipts::{AppendError, Entry, Log, Token};
use tokio::sync::oneshot;

use crate::telemetry::Metrics;

/// Appends receipts and waits until they are durable.
#[derive(Debug, Clone)]
pub struct Ledger {
    log: Log,
    metrics: Arc<Metrics>,
}

/// A receipt on its way to the disk.
#[derive(Debug)]
pub struct Pending {
    answer: oneshot::Receiver<Result<Token, AppendError>>,
    since: Instant,
    metrics: Arc<Metrics>,
}

/// Why a receipt is not durable.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error("the journal has stopped")]
    Stopped,
}

impl Ledger {
    pub fn new(log: Log, metrics: Arc<Metrics>) -> Ledger {
        Ledger { log, metrics }
    }

    /// Puts a receipt on its way. It reaches the journal even if the answer is never awaited.
    pub fn append(&self, entry: impl Into<Entry>) -> Pending {
        let (done, answer) = oneshot::channel();
        self.log.append(
            entry.into(),
            Box::new(move |result| {
                let _ = done.send(result);
            }),
        );
        Pending { answer, since: Instant::now(), metrics: Arc::clone(&self.metrics) }
    }

    pub fn log(&self) -> &Log {
        &self.log
    }
}

impl Pending {
    /// Waits until the receipt is on disk.
    pub async fn durable(self) -> Result<Token, LedgerError> {
        let result = self.answer.await.map_err(|_| LedgerError::Stopped)?;
        self.metrics.receipt_wait.observe(self.since.elapsed().as_secs_f64());
        Ok(result?)
    }
}
