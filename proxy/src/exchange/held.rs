//! Memory for bodies, over all exchanges: what is held back of requests and answers has one budget, and who would exceed it
//! is told to come again.
//!
//! Counted are the bytes of bodies as they are held: a request until its provider has answered, an answer that does not
//! stream until it has left, of a stream what waits to be released, and the windows of content codings. What inspection
//! makes of a body (its parse tree, its rewritten form) is not: it lives for milliseconds, of 64 bodies at most.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The budget is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the memory for bodies is all in use")]
pub struct Full;

/// The budget. Clones share it.
#[derive(Debug, Clone)]
pub struct Budget {
    bytes_max: usize,
    used: Arc<AtomicUsize>,
}

impl Budget {
    pub fn new(bytes_max: usize) -> Budget {
        Budget { bytes_max, used: Arc::default() }
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// A part of it, empty at first.
    pub fn share(&self) -> Share {
        Share { budget: self.clone(), bytes: 0 }
    }
}

/// What one body uses; given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    bytes: usize,
}

impl Share {
    /// Takes so many bytes more, or none.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Full> {
        let max = self.budget.bytes_max;
        let more = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= max);
        self.budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).map_err(|_| Full)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Makes it so many bytes in all; what it was stays if they cannot be had.
    pub fn set(&mut self, bytes: usize) -> Result<(), Full> {
        match self.bytes.checked_sub(bytes) {
            Some(less) => {
                self.give_back(less);
                Ok(())
            }
            None => self.grow(bytes - self.bytes),
        }
    }

    fn give_back(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.budget.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_take_from_one_budget_and_give_back() {
        let budget = Budget::new(100);
        let (mut one, mut two) = (budget.share(), budget.share());
        assert_eq!((one.grow(60), two.grow(50)), (Ok(()), Err(Full)));
        assert_eq!((two.grow(40), budget.used()), (Ok(()), 100));
        assert_eq!((one.set(10), budget.used()), (Ok(()), 50));
        assert_eq!((one.set(61), budget.used()), (Err(Full), 50));
        assert_eq!((one.grow(usize::MAX), budget.used()), (Err(Full), 50));
        drop(one);
        assert_eq!(budget.used(), 40);
        drop(two);
        assert_eq!(budget.used(), 0);
    }
}
