//! The way into the log: a bounded queue, and the promise that every waiter is told exactly once.
//!
//! The queue also keeps the account of the space that the writer has reserved on disk: nothing is handed to the sequencer
//! that the reserve could not hold, so that a receipt which has its number also has its place.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::error::{AppendError, Poison};
use super::frame::FRAME_HEADER_BYTES;
use super::token::Token;
use crate::receipt::{Draft, LOG_MEMBERS_MAX_BYTES};

/// What runs when a receipt is durable, or never will be.
pub(crate) type Done = Box<dyn FnOnce(Result<Token, AppendError>) + Send>;

/// Most bytes of drafts in the queue: some 40,000 ordinary receipts. Reached only when the disk stands still.
const QUEUE_MAX_BYTES: usize = 64 * 1024 * 1024;

/// Most receipts that are placed and signed together. At 40 µs each this is what a sync takes.
const GROUP_MAX_RECEIPTS: usize = 128;

/// Most bytes that are placed and signed together.
const GROUP_MAX_BYTES: usize = 256 * 1024;

/// Part of the reserve that only the log's own receipts may use: what it says about a full disk, and its end. They have some
/// 800 bytes each; five of the longest receipts fit.
pub(crate) const OWN_SPACE_BYTES: u64 = 256 * 1024;

/// Somebody who waits for a receipt. Dropped without a result (a thread of the log died), it says so itself.
pub(crate) struct Waiter(Option<Done>);

impl Waiter {
    pub(crate) fn new(done: Done) -> Self {
        Self(Some(done))
    }

    pub(crate) fn tell(mut self, result: Result<Token, AppendError>) {
        self.run(result);
    }

    fn run(&mut self, result: Result<Token, AppendError>) {
        if let Some(done) = self.0.take() {
            // A panic in the caller's code must not end the log for everybody else.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| done(result)));
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.run(Err(AppendError::Closed));
    }
}

impl std::fmt::Debug for Waiter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Waiter")
    }
}

/// What a receipt is made from.
#[derive(Debug)]
pub(crate) enum Work {
    /// Somebody else's receipt.
    Draft(Draft),
    /// The log's own, which it writes even when the disk is full.
    Own(Draft),
    /// Nothing happened; the sequencer knows how much has until now.
    Heartbeat,
}

impl Work {
    /// Bytes of the draft, for the bounds of the queue.
    fn size(&self) -> usize {
        match self {
            Self::Draft(draft) | Self::Own(draft) => draft.size(),
            Self::Heartbeat => 0,
        }
    }

    /// Most bytes that the receipt takes in the journal.
    fn space(&self) -> u64 {
        receipt_space(self.size())
    }

    fn is_own(&self) -> bool {
        matches!(self, Self::Own(_))
    }
}

/// Most bytes that a receipt with a draft of this size takes in the journal: what the log adds, header, signature, padding.
fn receipt_space(draft: usize) -> u64 {
    (draft + LOG_MEMBERS_MAX_BYTES + FRAME_HEADER_BYTES + 64 + 8) as u64
}

/// A receipt to be made, with its waiter.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) work: Work,
    pub(crate) waiter: Waiter,
}

/// How the log is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closing {
    /// What is queued is written, then a `shutdown` receipt.
    Graceful,
    /// What is queued is written; the next start finds the log unclean.
    Abandoned,
}

/// What the sequencer finds in the queue.
#[derive(Debug)]
pub(crate) enum Taken {
    /// Jobs, and the space that is set aside for them.
    Jobs(Vec<Job>, u64),
    /// The disk is full.
    Full,
    /// There is space again; so many exchanges went unreceipted meanwhile.
    Freed {
        unreceipted: u64,
    },
    /// Nothing came in the time given.
    Nothing,
    Closed(Closing),
}

/// Space on disk that is promised and not yet written, and what is left of it. Both count bytes since the start.
#[derive(Debug, Default)]
struct Space {
    /// What the writer has reserved; `None` where the file system cannot reserve, and everything is tried.
    granted: Option<u64>,
    /// What placed receipts have taken, or will take at most.
    spent: u64,
    full: bool,
    /// The sequencer is yet to be told that the disk became full, and that it has space again.
    tell_full: bool,
    tell_freed: bool,
    /// Exchanges that went unreceipted while it was full.
    unreceipted: u64,
}

impl Space {
    fn holds(&self, bytes: u64) -> bool {
        self.granted.is_none_or(|granted| self.spent.saturating_add(bytes) <= granted)
    }
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    bytes: usize,
    closing: Option<Closing>,
    poison: Option<Poison>,
    space: Space,
}

impl State {
    fn refusal(&self, job: &Job, receipts_max: usize) -> Option<AppendError> {
        if let Some(poison) = &self.poison {
            Some(poison.to_append_error())
        } else if self.closing.is_some() {
            Some(AppendError::Closed)
        } else if self.space.full && !job.work.is_own() {
            Some(AppendError::NoSpace)
        } else if self.jobs.len() >= receipts_max || self.bytes + job.work.size() > QUEUE_MAX_BYTES {
            Some(AppendError::Overloaded)
        } else {
            None
        }
    }

    /// Takes the first job, with the space that it takes at most; without, there is none for it until somebody frees some.
    fn next(&mut self) -> Option<(Job, Option<u64>)> {
        let job = self.jobs.front()?;
        let (space, own) = (job.work.space(), job.work.is_own());
        let fits = self.space.holds(if own { space } else { space + OWN_SPACE_BYTES });
        if !fits && !self.space.full {
            // The writer is about to reserve more.
            return None;
        }
        let job = self.jobs.pop_front()?;
        self.bytes = self.bytes.saturating_sub(job.work.size());
        if fits {
            self.space.spent = self.space.spent.saturating_add(space);
        }
        Some((job, fits.then_some(space)))
    }
}

/// The queue, and what the log's threads tell the world.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    receipts_max: usize,
}

impl Queue {
    pub(crate) fn new(receipts_max: usize) -> Self {
        Self { state: Mutex::default(), wake: Condvar::new(), receipts_max: receipts_max.max(1) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under this lock, so a poisoned mutex still guards a whole state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a job in, or tells its waiter at once why not.
    pub(crate) fn push(&self, job: Job) {
        let mut state = self.lock();
        if let Some(error) = state.refusal(&job, self.receipts_max) {
            drop(state);
            job.waiter.tell(Err(error));
            return;
        }
        state.bytes += job.work.size();
        state.jobs.push_back(job);
        drop(state);
        self.wake.notify_one();
    }

    /// Waits for jobs that there is space for, at most as long as given; `Closed` once the log is closing and none are left,
    /// or when it is poisoned.
    pub(crate) fn take(&self, patience: Option<Duration>) -> Taken {
        let until = patience.map(|patience| Instant::now() + patience);
        let mut state = self.lock();
        loop {
            if state.poison.is_some() {
                return Taken::Closed(Closing::Abandoned);
            }
            if std::mem::take(&mut state.space.tell_full) {
                return Taken::Full;
            }
            if std::mem::take(&mut state.space.tell_freed) {
                return Taken::Freed { unreceipted: std::mem::take(&mut state.space.unreceipted) };
            }
            let (mut jobs, mut bytes, mut space) = (Vec::new(), 0, 0);
            while jobs.len() < GROUP_MAX_RECEIPTS && bytes < GROUP_MAX_BYTES {
                match state.next() {
                    Some((job, Some(takes))) => {
                        bytes += job.work.size();
                        space += takes;
                        jobs.push(job);
                    }
                    Some((refused, None)) => {
                        drop(state);
                        refused.waiter.tell(Err(AppendError::NoSpace));
                        state = self.lock();
                    }
                    None => break,
                }
            }
            if !jobs.is_empty() {
                return Taken::Jobs(jobs, space);
            }
            if let Some(closing) = state.closing.filter(|_| state.jobs.is_empty()) {
                return Taken::Closed(closing);
            }
            state = match until {
                None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Taken::Nothing;
                    }
                    self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// What was set aside for jobs, and what their receipts take indeed.
    pub(crate) fn settle(&self, set_aside: u64, taken: u64) {
        let mut state = self.lock();
        state.space.spent = state.space.spent.saturating_sub(set_aside).saturating_add(taken);
    }

    /// Sets space aside for a receipt that the log writes by itself; false where even the last reserve is used up.
    pub(crate) fn set_aside_own(&self, draft: &Draft) -> Option<u64> {
        let mut state = self.lock();
        let space = receipt_space(draft.size());
        let fits = state.space.holds(space);
        if fits {
            state.space.spent = state.space.spent.saturating_add(space);
        }
        fits.then_some(space)
    }

    /// Says how much may be written from the start of the log on; `None` where the file system cannot tell.
    pub(crate) fn grant(&self, bytes: Option<u64>) {
        self.lock().space.granted = bytes;
        self.wake.notify_all();
    }

    /// Says that the disk is full, or has space again. What waits is refused when it is full.
    pub(crate) fn set_full(&self, full: bool) {
        let mut state = self.lock();
        state.space.full = full;
        let mut refused = Vec::new();
        if !full {
            state.space.tell_freed = true;
        } else {
            // What was not told yet about a moment of space in between is not worth two receipts.
            state.space.tell_full = !std::mem::take(&mut state.space.tell_freed);
            let (own, others) = std::mem::take(&mut state.jobs).into_iter().partition(|job| job.work.is_own());
            state.jobs = own;
            state.bytes = state.jobs.iter().map(|job| job.work.size()).sum();
            refused = Vec::from(others);
        }
        drop(state);
        self.wake.notify_all();
        for job in refused {
            job.waiter.tell(Err(AppendError::NoSpace));
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.lock().space.full
    }

    /// Exchanges that went unreceipted and are not on record yet; counts from 0 again.
    pub(crate) fn take_unreceipted(&self) -> u64 {
        std::mem::take(&mut self.lock().space.unreceipted)
    }

    /// Counts an exchange that was let through without a receipt because the disk is full.
    pub(crate) fn count_unreceipted(&self) {
        let mut state = self.lock();
        state.space.unreceipted = state.space.unreceipted.saturating_add(1);
    }

    pub(crate) fn close(&self, closing: Closing) {
        let mut state = self.lock();
        state.closing.get_or_insert(closing);
        drop(state);
        self.wake.notify_all();
    }

    /// Ends the log for good: the first cause stays, everything queued fails with it.
    pub(crate) fn poison(&self, poison: Poison) -> Poison {
        let mut state = self.lock();
        let first = state.poison.get_or_insert(poison).clone();
        let jobs = std::mem::take(&mut state.jobs);
        state.bytes = 0;
        drop(state);
        self.wake.notify_all();
        for job in jobs {
            job.waiter.tell(Err(first.to_append_error()));
        }
        first
    }

    pub(crate) fn poisoned(&self) -> Option<Poison> {
        self.lock().poison.clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().jobs.len()
    }
}
