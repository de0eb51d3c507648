//! How long a session may go on: pure, so that hours of it are tested in no time.

use std::time::Duration;

use tokio::time::Instant;

/// The longest silence of both sides, pings included. Clients that mean to stay send one each minute at the least.
const SILENCE_MAX: Duration = Duration::from_secs(600);

/// The longest session. OpenAI ends its own after one hour.
const SESSION_MAX: Duration = Duration::from_secs(2 * 3600);

/// How long an answer that is under way may still take once the sidecar is told to stop.
const DRAIN_MAX: Duration = Duration::from_secs(20);

/// The limits of one session.
#[derive(Debug)]
pub(super) struct Patience {
    ends: Instant,
    silent: Instant,
    drains: bool,
}

impl Patience {
    pub(super) fn new(now: Instant) -> Self {
        Self { ends: now + SESSION_MAX, silent: now + SILENCE_MAX, drains: false }
    }

    /// Something came from either side.
    pub(super) fn heard(&mut self, now: Instant) {
        self.silent = now + SILENCE_MAX;
    }

    /// The sidecar is stopping: what is under way has a little longer.
    pub(super) fn drain(&mut self, now: Instant) {
        self.drains = true;
        self.ends = self.ends.min(now + DRAIN_MAX);
    }

    pub(super) fn drains(&self) -> bool {
        self.drains
    }

    /// When the session ends, if nothing comes before.
    pub(super) fn until(&self) -> Instant {
        self.ends.min(self.silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_by_silence_or_by_its_age() {
        let begun = Instant::now();
        let mut patience = Patience::new(begun);
        assert_eq!(patience.until(), begun + SILENCE_MAX);
        let mut now = begun;
        while patience.until() > now + SILENCE_MAX / 2 {
            now += SILENCE_MAX / 2;
            patience.heard(now);
        }
        assert_eq!(patience.until(), begun + SESSION_MAX);
    }

    #[test]
    fn a_drain_shortens_and_is_not_prolonged() {
        let begun = Instant::now();
        let mut patience = Patience::new(begun);
        patience.drain(begun);
        patience.heard(begun + DRAIN_MAX / 2);
        assert!(patience.drains());
        assert_eq!(patience.until(), begun + DRAIN_MAX);
        // Near its end a session has no longer than it had.
        let mut old = Patience::new(begun);
        old.heard(begun + SESSION_MAX - DRAIN_MAX / 2);
        old.drain(begun + SESSION_MAX - DRAIN_MAX / 2);
        assert_eq!(old.until(), begun + SESSION_MAX);
    }
}
