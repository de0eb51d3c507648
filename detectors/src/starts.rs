//! With which bytes a match can begin: a table that lets clean text pass at the speed of memory.
//!
//! The table may say yes too often (it ignores what stands before the byte), never no wrongly.

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::util::start;
use regex_automata::{Anchored, hybrid::LazyStateID};

use crate::hidden;

/// A match can begin with the byte.
pub(crate) const START: u8 = 1;
/// A hidden character can begin with the byte.
pub(crate) const HIDDEN: u8 = 2;
/// The byte begins or ends a JSON string, or an escape sequence in one.
pub(crate) const JSON: u8 = 4;

/// One byte of each kind that a look-behind assertion can tell apart, and the start of the text.
const BEFORE: [Option<u8>; 5] = [None, Some(b'a'), Some(b' '), Some(b'\n'), Some(b'\r')];

#[derive(Debug)]
pub(crate) struct Starts {
    kinds: [u8; 256],
    /// Bit `256 * first + second`: a match can begin with these two bytes, or consists of the first.
    pairs: Vec<u64>,
}

impl Starts {
    pub(crate) fn new(dfa: &DFA) -> Self {
        let mut starts = Self { kinds: [0; 256], pairs: vec![0; 1_024] };
        for byte in 0..=u8::MAX {
            let hidden = if hidden::leads_hidden(byte) { HIDDEN } else { 0 };
            let json = if matches!(byte, b'"' | b'\\') { JSON } else { 0 };
            starts.mark(byte, hidden | json);
        }
        let mut cache = dfa.create_cache();
        for before in BEFORE {
            for first in 0..=u8::MAX {
                starts.probe(dfa, &mut cache, before, first);
            }
        }
        starts
    }

    /// The kinds of `byte`, as bits.
    #[inline]
    pub(crate) fn kinds(&self, byte: u8) -> u8 {
        self.kinds.get(usize::from(byte)).copied().unwrap_or(START)
    }

    /// Whether a match can begin with `first` and then `second`.
    #[inline]
    pub(crate) fn pair(&self, first: u8, second: u8) -> bool {
        let bit = usize::from(first) << 8 | usize::from(second);
        self.pairs.get(bit >> 6).is_none_or(|word| word >> (bit & 63) & 1 == 1)
    }

    fn mark(&mut self, byte: u8, kinds: u8) {
        if let Some(kind) = self.kinds.get_mut(usize::from(byte)) {
            *kind |= kinds;
        }
    }

    fn mark_pair(&mut self, first: u8, second: u8) {
        let bit = usize::from(first) << 8 | usize::from(second);
        if let Some(word) = self.pairs.get_mut(bit >> 6) {
            *word |= 1 << (bit & 63);
        }
    }

    fn probe(&mut self, dfa: &DFA, cache: &mut Cache, before: Option<u8>, first: u8) {
        let one = begin(dfa, cache, before).and_then(|state| dfa.next_state(cache, state, first).ok());
        if one.is_some_and(|state| state.is_dead()) {
            return;
        }
        self.mark(first, START);
        for second in 0..=u8::MAX {
            let two = one.and_then(|state| dfa.next_state(cache, state, second).ok());
            // A full cache says nothing, so the pair stays possible.
            if !two.is_some_and(|state| state.is_dead()) {
                self.mark_pair(first, second);
            }
        }
    }
}

/// The state in which a match begins after the byte `before` (none: at the start of the text); none if the cache is full.
pub(crate) fn begin(dfa: &DFA, cache: &mut Cache, before: Option<u8>) -> Option<LazyStateID> {
    let config = start::Config::new().anchored(Anchored::Yes).look_behind(before);
    dfa.start_state(cache, &config).ok()
}
