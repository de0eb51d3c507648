//! Which outcome made which tool call, so that the request which brings the result names it as its parent; and which made
//! what a provider keeps, so that an id can be bound to it.
//!
//! Ids are kept as digests, for as long as there is room. Those of tool calls are keyed, and only this process knows them: an
//! agent answers a call within minutes. Those of what a provider keeps stand in the outcome's receipt as well, so that a
//! process knows what those before it made.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use blake3::Hasher;

/// Calls that are remembered, oldest out first: some 4 MiB.
pub const CALLS_MAX: usize = 65_536;

/// Results in one request that are looked up, the newest: a conversation carries all its earlier ones again.
const RESULTS_MAX: usize = 64;

/// Member of `ext` in receipts of outcomes: the digests of the ids of what the answer made.
pub const MADE: &str = "made";

/// What these digests are derived for.
const ON_RECORD: &str = "clyra.v0 made";

/// The first half of a digest: enough to tell ids apart.
type CallDigest = [u8; 16];

/// Ids of recent answers: tool calls, or what is kept of them.
#[derive(Debug)]
pub struct Remembered {
    /// Holds the key, or what the digests are derived for.
    hasher: Hasher,
    calls: Mutex<Calls>,
}

#[derive(Debug, Default)]
struct Calls {
    by_id: HashMap<CallDigest, u64>,
    oldest: VecDeque<CallDigest>,
    /// What earlier processes made is being read from the log.
    recalling: bool,
}

/// What one outcome on record made.
#[derive(Debug, Clone, Copy)]
pub struct Made {
    digest: CallDigest,
    outcome_seq: u64,
}

impl Made {
    /// From an element of what stands in a receipt as [`MADE`].
    pub fn recorded(element: &str, outcome_seq: u64) -> Option<Made> {
        let digest = blake3::Hash::from_hex(element).ok()?;
        Some(Made { digest: *digest.as_bytes().first_chunk()?, outcome_seq })
    }
}

/// What stands in the receipt of an outcome for an id of what it made. Whoever has the id can find the receipt; the receipt
/// does not give the id away.
pub(super) fn on_record(caller: &str, id: &str) -> String {
    digest(Hasher::new_derive_key(ON_RECORD), caller, id).to_hex().to_string()
}

/// An id is the caller's or the provider's own; only within one caller it means the same.
fn digest(mut hasher: Hasher, caller: &str, id: &str) -> blake3::Hash {
    hasher.update(&(caller.len() as u64).to_be_bytes()).update(caller.as_bytes()).update(id.as_bytes());
    hasher.finalize()
}

impl Remembered {
    /// Under a key that is random at each start: what is remembered says nothing to anybody else.
    pub fn keyed() -> Remembered {
        let mut key = [0; 32];
        for part in key.chunks_mut(16) {
            part.copy_from_slice(uuid::Uuid::now_v7().as_bytes());
        }
        Self { hasher: Hasher::new_keyed(blake3::hash(&key).as_bytes()), calls: Mutex::default() }
    }

    /// By the digests that receipts have.
    pub fn by_record() -> Remembered {
        Self { hasher: Hasher::new_derive_key(ON_RECORD), calls: Mutex::default() }
    }

    fn digest(&self, caller: &str, id: &str) -> CallDigest {
        let digest = digest(self.hasher.clone(), caller, id);
        digest.as_bytes().first_chunk().copied().unwrap_or_default()
    }

    /// From here on until [`Self::recalled`] an id that is unknown may be one of an earlier process.
    pub fn recall(&self) {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).recalling = true;
    }

    /// What earlier processes made, oldest first. What this one made meanwhile is newer.
    pub fn recalled(&self, made: impl DoubleEndedIterator<Item = Made>) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.recalling = false;
        for Made { digest, outcome_seq } in made.rev() {
            if calls.oldest.len() >= CALLS_MAX {
                break;
            }
            if let Entry::Vacant(place) = calls.by_id.entry(digest) {
                place.insert(outcome_seq);
                calls.oldest.push_front(digest);
            }
        }
    }

    /// Whether what earlier processes made is still being read.
    pub(super) fn is_recalling(&self) -> bool {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).recalling
    }

    /// An outcome on record made these calls.
    pub(super) fn made(&self, caller: &str, ids: impl IntoIterator<Item = impl AsRef<str>>, outcome_seq: u64) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        for id in ids {
            let digest = self.digest(caller, id.as_ref());
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
        let calls = Remembered::keyed();
        calls.made("a", ids(0..2), 7);
        calls.made("a", ids(2..3), 9);
        assert_eq!(calls.answered("a", &ids(0..4)), [7, 9]);
        assert_eq!(calls.answered("b", &ids(0..4)), [0; 0], "another caller's id is another call");
    }

    #[test]
    fn the_oldest_calls_are_forgotten_first() {
        let calls = Remembered::keyed();
        calls.made("a", ids(0..1), 1);
        calls.made("a", ids(1..CALLS_MAX + 1), 2);
        assert_eq!(calls.answered("a", &ids(0..1)), [0; 0]);
        assert_eq!(calls.answered("a", &ids(CALLS_MAX..CALLS_MAX + 1)), [2]);
    }

    #[test]
    fn what_receipts_say_is_known_beside_what_was_made_meanwhile() {
        let kept = Remembered::by_record();
        kept.recall();
        kept.made("a", ids(1..2), 90);
        assert!(kept.is_recalling() && kept.maker("a", "call_0").is_none());
        let recorded = |number: usize, seq| Made::recorded(&on_record("a", &format!("call_{number}")), seq).unwrap();
        kept.recalled([recorded(0, 5), recorded(1, 6), recorded(2, 7)].into_iter());
        let makers = [0, 1, 2, 3].map(|number| kept.maker("a", &format!("call_{number}")));
        assert_eq!(makers, [Some(5), Some(90), Some(7), None]);
        assert!(!kept.is_recalling());
        assert_eq!(kept.maker("b", "call_0"), None, "another caller's");
        assert!(Made::recorded("not a digest", 1).is_none());
    }

    #[test]
    fn of_what_receipts_say_the_newest_finds_room() {
        let kept = Remembered::by_record();
        kept.made("a", ids(0..CALLS_MAX - 1), 90);
        let recorded = |id: &str, seq| Made::recorded(&on_record("a", id), seq).unwrap();
        kept.recalled([recorded("older", 5), recorded("newer", 6)].into_iter());
        assert_eq!((kept.maker("a", "older"), kept.maker("a", "newer")), (None, Some(6)));
        kept.made("a", &["new".to_owned()], 91);
        assert_eq!((kept.maker("a", "newer"), kept.maker("a", "call_0")), (None, Some(90)), "the oldest goes first");
    }
}
