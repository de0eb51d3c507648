//! Clocks that step, and idle time.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::clock::{Clock, rfc3339};

/// Clocks that stand until they are turned.
#[derive(Debug)]
pub(super) struct TestClock {
    wall_us: AtomicU64,
    mono_ns: AtomicU64,
}

/// 2026-11-21.
const START_US: u64 = 1_795_219_200_000_000;
const SECOND_US: u64 = 1_000_000;

impl TestClock {
    pub(super) fn start() -> Arc<Self> {
        Arc::new(Self { wall_us: AtomicU64::new(START_US), mono_ns: AtomicU64::new(0) })
    }

    /// Time passes.
    pub(super) fn pass_us(&self, us: u64) {
        self.wall_us.fetch_add(us, Ordering::Relaxed);
        self.mono_ns.fetch_add(us * 1000, Ordering::Relaxed);
    }

    /// Somebody turns the wall clock.
    fn step_us(&self, us: i64) {
        let wall = self.wall_us.load(Ordering::Relaxed);
        self.wall_us.store(wall.saturating_add_signed(us), Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn wall_us(&self) -> u64 {
        self.wall_us.load(Ordering::Relaxed)
    }

    fn mono_ns(&self) -> u64 {
        self.mono_ns.load(Ordering::Relaxed)
    }
}

#[test]
fn a_clock_that_steps_is_on_record_before_the_next_receipt() {
    let directory = fast_directory();
    let storage = Simulated::default();
    let clock = TestClock::start();
    let (log, _) = Log::open_on(small(directory.path()), Arc::new(storage.clone()), clock.clone()).unwrap();
    // Most of an hour passes: no step. Two seconds off: within what time services do.
    clock.pass_us(3000 * SECOND_US);
    log.append_blocking(attempt()).unwrap();
    clock.step_us(2 * SECOND_US.cast_signed());
    log.append_blocking(attempt()).unwrap();
    // Back an hour while a second passes; what is expected counts from the last receipt.
    clock.pass_us(SECOND_US);
    clock.step_us(-3600 * SECOND_US.cast_signed());
    log.append_blocking(attempt()).unwrap();
    log.append_blocking(attempt()).unwrap();
    // Forward a day, while the log is idle but for its end.
    clock.step_us(86_400 * SECOND_US.cast_signed());
    log.shutdown().unwrap();
    let steps = ["genesis", "boot", "attempt", "attempt", "clock.step", "attempt", "attempt", "clock.step", "shutdown"];
    assert_eq!(kinds(&storage), steps);
    let event = |at: usize, name: &str| bodies(&storage)[at].0.get("event").unwrap().get(name).unwrap().clone();
    let text = |at: usize| bodies(&storage)[at].0.get("ts").unwrap().as_str().unwrap().to_owned();
    let back = START_US + 3003 * SECOND_US;
    assert_eq!(event(4, "from").as_str(), Some(rfc3339(back).as_str()));
    assert_eq!(event(4, "step_us").as_integer(), Some(-3_600_000_000));
    assert_eq!(text(4), rfc3339(back - 3600 * SECOND_US), "its own time is that after the step");
    assert_eq!(text(4), text(5));
    assert_eq!(event(7, "step_us").as_integer(), Some(86_400_000_000));
    for (body, _) in bodies(&storage) {
        assert_eq!(shape::check_receipt(&body), []);
    }
}

#[test]
fn a_heartbeat_counts_the_receipts_of_the_process() {
    let directory = fast_directory();
    let storage = Simulated::default();
    let (log, _) = open_on(directory.path(), &storage).unwrap();
    exchange(&log);
    let (tell, told) = mpsc::channel();
    log.heartbeat(Box::new(move |result| tell.send(result).unwrap()));
    assert_eq!(told.recv().unwrap().unwrap().seq, 4);
    log.shutdown().unwrap();
    assert_eq!(kinds(&storage)[4..], ["heartbeat", "shutdown"]);
    let receipts = bodies(&storage)[4].0.get("event").unwrap().get("receipts").unwrap().as_integer();
    assert_eq!(receipts, Some(5));
}
