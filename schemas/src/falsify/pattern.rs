//! A pattern that is matched while the text comes, in linear time: as soon as nothing that follows could make it match, that
//! is known.
//!
//! The translation from ECMA-262 is the authority's own, so that both mean the same.

use std::sync::Mutex;

use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::util::{start, syntax};
use regex_automata::{Anchored, nfa::thompson};

/// States of one pattern that are kept per document. A pattern that needs more is worked out anew as it goes, or left to the
/// authority.
const CACHE_BYTES: usize = 128 << 10;

/// Caches of one pattern that are kept for the next documents: as many as are under way at once on a small machine.
const CACHES_MAX: usize = 8;

/// A compiled pattern.
#[derive(Debug)]
pub(crate) struct Pattern {
    dfa: DFA,
    /// States that were worked out for earlier documents. They say nothing of a document but which parts of the pattern it met.
    caches: Mutex<Vec<Cache>>,
}

/// A text in the middle of being matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Under(LazyStateID),
    /// It matches, whatever follows.
    Matched,
    /// It cannot match any more.
    Impossible,
    /// Left to the authority.
    Unknown,
}

impl Pattern {
    /// None if the pattern cannot be matched this way.
    pub(crate) fn new(pattern: &str, bytes_max: usize) -> Option<Self> {
        let pattern = jsonschema_regex::to_rust_regex(pattern).ok()?;
        let config = DFA::config().cache_capacity(CACHE_BYTES).unicode_word_boundary(true);
        let dfa = DFA::builder()
            .configure(config)
            .syntax(syntax::Config::new())
            .thompson(thompson::Config::new().nfa_size_limit(Some(bytes_max)))
            .build(&pattern)
            .ok()?;
        Some(Self { dfa, caches: Mutex::default() })
    }

    pub(crate) fn cache(&self) -> Cache {
        // Nobody waits for another document's turn.
        let kept = self.caches.try_lock().ok().and_then(|mut caches| caches.pop());
        kept.unwrap_or_else(|| self.dfa.create_cache())
    }

    pub(crate) fn give_back(&self, cache: Cache) {
        if let Ok(mut caches) = self.caches.try_lock()
            && caches.len() < CACHES_MAX
        {
            caches.push(cache);
        }
    }

    pub(crate) fn begin(&self, cache: &mut Cache) -> Progress {
        let state = self.dfa.start_state(cache, &start::Config::new().anchored(Anchored::No));
        state.map_or(Progress::Unknown, |state| told(state).unwrap_or(Progress::Under(state)))
    }

    /// Reads on; also how many bytes it took to know what is known now.
    pub(crate) fn feed(&self, cache: &mut Cache, progress: Progress, bytes: &[u8]) -> (Progress, usize) {
        let Progress::Under(mut state) = progress else { return (progress, 0) };
        for (&byte, read) in bytes.iter().zip(1..) {
            state = match self.dfa.next_state(cache, state, byte) {
                Ok(next) => next,
                Err(_) => return (Progress::Unknown, read),
            };
            if state.is_tagged()
                && let Some(end) = told(state)
            {
                return (end, read);
            }
        }
        (Progress::Under(state), bytes.len())
    }

    /// The text ends here.
    pub(crate) fn end(&self, cache: &mut Cache, progress: Progress) -> Progress {
        let Progress::Under(state) = progress else { return progress };
        match self.dfa.next_eoi_state(cache, state) {
            Ok(state) if state.is_match() => Progress::Matched,
            Ok(_) => Progress::Impossible,
            Err(_) => Progress::Unknown,
        }
    }

    /// Whether the whole of `text` has a match; none if that is left to the authority.
    pub(crate) fn matches(&self, cache: &mut Cache, text: &[u8]) -> Option<bool> {
        let begun = self.begin(cache);
        let (fed, _) = self.feed(cache, begun, text);
        match self.end(cache, fed) {
            Progress::Matched => Some(true),
            Progress::Impossible => Some(false),
            Progress::Under(_) | Progress::Unknown => None,
        }
    }
}

/// What a state tells by itself.
fn told(state: LazyStateID) -> Option<Progress> {
    if state.is_match() {
        Some(Progress::Matched)
    } else if state.is_dead() {
        Some(Progress::Impossible)
    } else if state.is_quit() {
        Some(Progress::Unknown)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(pattern: &str) -> (Pattern, Cache) {
        let pattern = Pattern::new(pattern, 1 << 20).unwrap();
        let cache = pattern.cache();
        (pattern, cache)
    }

    #[test]
    fn the_first_byte_that_rules_out_a_match_is_told() {
        let (pattern, mut cache) = pattern("^[A-Z]{2}[0-9]+$");
        let begun = pattern.begin(&mut cache);
        let (fed, _) = pattern.feed(&mut cache, begun, b"DE1");
        assert!(matches!(fed, Progress::Under(_)));
        assert_eq!(pattern.feed(&mut cache, fed, b"2x4"), (Progress::Impossible, 2));
        assert_eq!(pattern.end(&mut cache, fed), Progress::Matched);
        assert_eq!(pattern.end(&mut cache, begun), Progress::Impossible);
    }

    #[test]
    fn a_match_inside_is_a_match() {
        let (pattern, mut cache) = pattern("b+");
        assert_eq!(pattern.matches(&mut cache, b"aabca"), Some(true));
        assert_eq!(pattern.matches(&mut cache, b"aaca"), Some(false));
        assert_eq!(pattern.matches(&mut cache, b""), Some(false));
    }

    #[test]
    fn what_the_automaton_cannot_tell_is_left_open() {
        let (pattern, mut cache) = pattern("\\ba\\b");
        assert_eq!(pattern.matches(&mut cache, "é a".as_bytes()), None);
        assert!(Pattern::new("(?=a)", 1 << 20).is_none());
    }
}
