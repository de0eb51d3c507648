//! The way into the log: a bounded queue, and the promise that every waiter is told exactly once.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::error::{AppendError, Poison};
use super::token::Token;
use crate::receipt::Draft;

/// What runs when a receipt is durable, or never will be.
pub(crate) type Done = Box<dyn FnOnce(Result<Token, AppendError>) + Send>;

/// Most bytes of drafts in the queue: some 40,000 ordinary receipts. Reached only when the disk stands still.
const QUEUE_MAX_BYTES: usize = 64 * 1024 * 1024;

/// Most receipts that are placed and signed together. At 40 µs each this is what a sync takes.
const GROUP_MAX_RECEIPTS: usize = 128;

/// Most bytes that are placed and signed together.
const GROUP_MAX_BYTES: usize = 256 * 1024;

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

/// A draft with its waiter.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) draft: Draft,
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
    Jobs(Vec<Job>),
    Closed(Closing),
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    bytes: usize,
    closing: Option<Closing>,
    poison: Option<Poison>,
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
        let refused = if let Some(poison) = &state.poison {
            Some(poison.to_append_error())
        } else if state.closing.is_some() {
            Some(AppendError::Closed)
        } else if state.jobs.len() >= self.receipts_max || state.bytes + job.draft.size() > QUEUE_MAX_BYTES {
            Some(AppendError::Overloaded)
        } else {
            None
        };
        if let Some(error) = refused {
            drop(state);
            job.waiter.tell(Err(error));
            return;
        }
        state.bytes += job.draft.size();
        state.jobs.push_back(job);
        drop(state);
        self.wake.notify_one();
    }

    /// Waits for jobs; `Closed` once the log is closing and none are left, or when it is poisoned.
    pub(crate) fn take(&self) -> Taken {
        let mut state = self.lock();
        loop {
            if state.poison.is_some() {
                return Taken::Closed(Closing::Abandoned);
            }
            if !state.jobs.is_empty() {
                let mut jobs = Vec::new();
                let mut bytes = 0;
                while jobs.len() < GROUP_MAX_RECEIPTS && bytes < GROUP_MAX_BYTES {
                    let Some(job) = state.jobs.pop_front() else { break };
                    bytes += job.draft.size();
                    jobs.push(job);
                }
                state.bytes = state.bytes.saturating_sub(bytes);
                return Taken::Jobs(jobs);
            }
            if let Some(closing) = state.closing {
                return Taken::Closed(closing);
            }
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
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
