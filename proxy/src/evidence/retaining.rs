//! The task that lets old receipts go: every hour, and while the disk is full every minute, it removes the segments that the
//! retention no longer keeps. Never in the way of traffic.

use std::time::Duration;

use clyra_receipts::retention::Retention;

use crate::exchange::ledger::Ledger;

/// How often it is asked whether the disk is full.
const TICK: Duration = Duration::from_secs(60);

/// Ticks from one look at all segments to the next: they age by the day.
const TICKS: u64 = 60;

/// Keeps a log within its retention.
#[derive(Debug)]
pub struct Retaining {
    ledger: Ledger,
    retention: Retention,
}

impl Retaining {
    pub fn new(ledger: Ledger, retention: Retention) -> Retaining {
        Retaining { ledger, retention }
    }

    /// Works for ever, from the start on.
    pub async fn run(self) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for tick in 0u64.. {
            ticks.tick().await;
            if tick.is_multiple_of(TICKS) || self.ledger.log().status().full {
                self.once().await;
            }
        }
    }

    async fn once(&self) {
        let (log, retention) = (self.ledger.log().clone(), self.retention);
        match tokio::task::spawn_blocking(move || log.prune(&retention)).await {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(removed))) => tracing::info!(
                "receipts {} to {} left the journal: {} segments, {} bytes",
                removed.from,
                removed.to.saturating_sub(1),
                removed.segments,
                removed.bytes
            ),
            Ok(Err(error)) => tracing::error!("no old receipts were removed: {error}"),
            Err(_) => tracing::error!("no old receipts were removed: the task ended early"),
        }
    }
}
