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
    /// The answer, where it was looked for before it was waited for.
    known: Option<Result<Token, LedgerError>>,
    /// When somebody began to wait.
    since: Option<Instant>,
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
        self.pending(|done| self.log.append(entry.into(), done))
    }

    /// Puts a receipt on its way that says that the log is served and idle.
    pub fn heartbeat(&self) -> Pending {
        self.pending(|done| self.log.heartbeat(done))
    }

    fn pending(&self, append: impl FnOnce(Box<dyn FnOnce(Result<Token, AppendError>) + Send>)) -> Pending {
        let (done, answer) = oneshot::channel();
        let (since, metrics) = (Instant::now(), Arc::clone(&self.metrics));
        append(Box::new(move |result| {
            metrics.receipt_wait.observe(since.elapsed().as_secs_f64());
            let _ = done.send(result);
        }));
        Pending { answer, known: None, since: None, metrics: Arc::clone(&self.metrics) }
    }

    pub fn log(&self) -> &Log {
        &self.log
    }
}

impl Pending {
    /// True when it is known already that the receipt will not be written: the log is full, failed, closed or overloaded.
    pub fn is_refused(&mut self) -> bool {
        if self.known.is_none() {
            self.known = self.answer.try_recv().ok().map(|result| result.map_err(LedgerError::from));
        }
        matches!(self.known, Some(Err(_)))
    }

    /// Waits until it is known whether the receipt is on disk. Cancel-safe: whoever has something else to do meanwhile comes
    /// back.
    pub async fn known(&mut self) {
        self.since.get_or_insert_with(Instant::now);
        if self.known.is_none() {
            let result = (&mut self.answer).await;
            self.known = Some(result.map_err(|_| LedgerError::Stopped).and_then(|result| Ok(result?)));
        }
    }

    /// Waits until the receipt is on disk.
    pub async fn durable(mut self) -> Result<Token, LedgerError> {
        self.known().await;
        let waited = self.since.map(|since| since.elapsed()).unwrap_or_default();
        self.metrics.receipt_blocked.observe(waited.as_secs_f64());
        self.known.unwrap_or(Err(LedgerError::Stopped))
    }
}
