//! Counts the exchanges that a stop has to wait for.

use tokio::sync::watch;

/// A count that can be waited on. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct InFlight(watch::Sender<usize>);

impl InFlight {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    /// Counts one more until the returned value is dropped.
    pub(super) fn enter(&self) -> Entered {
        self.0.send_modify(|count| *count = count.saturating_add(1));
        Entered(self.0.clone())
    }

    pub(super) fn count(&self) -> usize {
        *self.0.borrow()
    }

    /// Resolves when nothing is in flight.
    pub(super) async fn none(&self) {
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// One exchange in flight.
#[derive(Debug)]
pub(super) struct Entered(watch::Sender<usize>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}
