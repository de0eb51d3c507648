//! Asking a running edge to stop: first politely, then at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Serve,
    Drain,
    Now,
}

/// A handle to stop an edge. Clones control the same edge; what was asked for cannot be taken back.
#[derive(Debug, Clone)]
pub struct Stop {
    level: watch::Sender<Level>,
}

impl Default for Stop {
    fn default() -> Self {
        Self { level: watch::Sender::new(Level::Serve) }
    }
}

impl Stop {
    pub fn new() -> Self {
        Self::default()
    }

    /// Go on serving until nothing is in flight, or the drain limit is reached; then stop.
    pub fn drain(&self) {
        self.raise(Level::Drain);
    }

    /// Stop without waiting for exchanges in flight.
    pub fn now(&self) {
        self.raise(Level::Now);
    }

    /// Whether a stop was asked for.
    pub fn is_asked(&self) -> bool {
        *self.level.borrow() > Level::Serve
    }

    /// Resolves when a stop was asked for, of either kind.
    pub async fn asked(&self) {
        self.reached(Level::Drain).await;
    }

    /// Resolves when an immediate stop was asked for.
    pub async fn asked_now(&self) {
        self.reached(Level::Now).await;
    }

    /// Drains on SIGTERM or SIGINT, stops at once on a second one; what is returned does it and resolves after the second.
    /// The handlers are in place when this returns: whoever is told afterwards that the sidecar is ready may stop it in good
    /// order. An error means that they could not be installed.
    pub fn on_signals(self) -> std::io::Result<impl Future<Output = ()> + Send + use<>> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        Ok(async move {
            for level in [Level::Drain, Level::Now] {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                self.raise(level);
            }
        })
    }

    fn raise(&self, level: Level) {
        self.level.send_if_modified(|current| {
            let higher = level > *current;
            *current = level.max(*current);
            higher
        });
    }

    async fn reached(&self, level: Level) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.level.subscribe().wait_for(|current| *current >= level).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stop_is_never_taken_back() {
        let stop = Stop::new();
        assert!(!stop.is_asked());
        stop.now();
        stop.drain();
        stop.asked().await;
        stop.asked_now().await;
    }
}
