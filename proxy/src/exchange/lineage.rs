//! Which outcome made which tool call, so that the request which brings the result names it as its parent; and which made
//! what a provider keeps, so that an id can be bound to it.
//!
//! Ids are kept as keyed digests, for as long as there is room: an agent answers a call within minutes. Only this process's
//! own outcomes are known.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// Calls that are remembered, oldest out first: some 4 MiB.
const CALLS_MAX: usize = 65_536;

/// Results in one request that are looked up, the newest: a conversation carries all its earlier ones again.
const RESULTS_MAX: usize = 64;

type CallDigest = [u8; 16];

/// Ids of recent answers: tool calls, or what is kept of them.
#[derive(Debug)]
pub struct Remembered {
    /// Random at each start: what is kept says nothing to anybody else.
    key: [u8; 32],
    calls: Mutex<Calls>,
}

#[derive(Debug, Default)]
struct Calls {
    by_id: HashMap<CallDigest, u64>,
    oldest: VecDeque<CallDigest>,
}

impl Default for Remembered {
    fn default() -> Self {
        let mut key = [0; 32];
        for part in key.chunks_mut(16) {
            part.copy_from_slice(uuid::Uuid::now_v7().as_bytes());
        }
        Self { key: *blake3::hash(&key).as_bytes(), calls: Mutex::default() }
    }
}

impl Remembered {
    /// An id is the caller's or the provider's own; only within one caller it means the same call.
    fn digest(&self, caller: &str, id: &str) -> CallDigest {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&(caller.len() as u64).to_le_bytes()).update(caller.as_bytes()).update(id.as_bytes());
        let mut digest = [0; 16];
        hasher.finalize_xof().fill(&mut digest);
        digest
    }

    /// An outcome on record made these calls.
    pub(super) fn made(&self, caller: &str, ids: &[String], outcome_seq: u64) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        for id in ids {
            let digest = self.digest(caller, id);
            if calls.by_id.insert(digest, outcome_seq).is_none() {
                calls.oldest.push_back(digest);
            }
        }
        while calls.oldest.len() > CALLS_MAX {
            if let Some(oldest) = calls.oldest.pop_front() {
                calls.by_id.remove(&oldest);
            }
        }
    }

    /// The outcome that made what this id stands for, for this caller.
    pub(super) fn maker(&self, caller: &str, id: &str) -> Option<u64> {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.by_id.get(&self.digest(caller, id)).copied()
    }

    /// The outcomes whose calls these results answer, ascending. Results come in the order of the conversation.
    pub(super) fn answered(&self, caller: &str, ids: &[String]) -> Vec<u64> {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = ids.iter().rev().take(RESULTS_MAX);
        let mut outcomes: Vec<u64> =
            newest.filter_map(|id| calls.by_id.get(&self.digest(caller, id)).copied()).collect();
        outcomes.sort_unstable();
        outcomes.dedup();
        outcomes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(range: std::ops::Range<usize>) -> Vec<String> {
        range.map(|number| format!("call_{number}")).collect()
    }

    #[test]
    fn a_result_leads_to_the_outcome_that_made_the_call() {
        let calls = Remembered::default();
        calls.made("a", &ids(0..2), 7);
        calls.made("a", &ids(2..3), 9);
        assert_eq!(calls.answered("a", &ids(0..4)), [7, 9]);
        assert_eq!(calls.answered("b", &ids(0..4)), [0; 0], "another caller's id is another call");
    }

    #[test]
    fn the_oldest_calls_are_forgotten_first() {
        let calls = Remembered::default();
        calls.made("a", &ids(0..1), 1);
        calls.made("a", &ids(1..CALLS_MAX + 1), 2);
        assert_eq!(calls.answered("a", &ids(0..1)), [0; 0]);
        assert_eq!(calls.answered("a", &ids(CALLS_MAX..CALLS_MAX + 1)), [2]);
    }
}
