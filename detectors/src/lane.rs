//! One reading of the text, byte by byte: every match that is under way, and every match that is complete.
//!
//! A candidate is a start from which a match may still come, with the state that the anchored automaton is in. All
//! candidates advance together, so each byte is read once and nothing is scanned again, however the text was cut.
//! Two candidates in the same state have the same future and become one, which keeps their number near the number
//! of different states, not of different starts.

use std::cmp::Reverse;

use regex_automata::PatternID;
use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};

use crate::engine::Core;
use crate::error::DetectorError;
use crate::starts::{self, START};

/// Longest match, in bytes of the text as it is read (escapes decoded, hidden characters dropped). It bounds what
/// is ever held back: a key in PEM form fits, a document does not. A longer match is reported in pieces of this
/// length; a candidate that has not matched within it is given up, and its text is settled.
pub const MATCH_BYTES_MAX: usize = 4_096;

/// The same limit in bytes of the source, where hidden characters and escapes make one character out of many bytes.
/// Sixteen times as much leaves no room for hiding a key between them that a reader could still use.
pub const SPAN_BYTES_MAX: u64 = 16 * MATCH_BYTES_MAX as u64;

/// Most candidates at once in one reading. Ordinary rules keep under ten; each costs a step per byte, so this is
/// also the bound on the work that one byte can cause.
pub const CANDIDATES_MAX: usize = 1_024;

/// Most complete matches that wait until an older candidate is decided.
const PENDING_MAX: usize = 16_384;

/// Up to this many candidates are compared with each other at every byte; more are sorted, every 16 bytes.
const COMPARED_MAX: usize = 8;

/// The automaton's memory is full; the states in use must be made anew.
#[derive(Debug)]
pub(crate) struct CacheFull;

/// One byte as it is read, and the bytes of the source that it comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scanned {
    /// First byte in the source.
    pub(crate) start: u64,
    /// Which JSON string it lies in, counted from 1; 0 between strings.
    pub(crate) string: u32,
    /// Number of bytes in the source: more than one for an escape sequence.
    pub(crate) len: u8,
    pub(crate) byte: u8,
}

/// A complete match of one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Match {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) rule: PatternID,
    pub(crate) contained: bool,
}

/// A match that waits until no older candidate of its lane is under way.
#[derive(Clone, Copy, Debug)]
struct Pending {
    /// The whole match, which decides on overlaps.
    start: u64,
    end: u64,
    /// What is reported: the part of it that is the secret.
    report: Match,
}

#[derive(Clone, Debug)]
struct Candidate {
    /// Index of its first byte in the window.
    start: usize,
    /// Index of the first byte of the youngest candidate that became one with this one.
    youngest: Option<usize>,
    state: LazyStateID,
    /// The longest match so far of each rule: one past its last byte, as an index into the window.
    matches: Vec<(PatternID, usize)>,
    /// Its first bytes have been reported and are gone from the window.
    resumed: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Lane {
    candidates: Vec<Candidate>,
    /// What has been read since the oldest candidate began; empty without candidates.
    window: Vec<Scanned>,
    /// The byte before the window, for assertions that look behind.
    before: Option<u8>,
    /// The last byte that was read.
    prev: Option<u8>,
    /// Which block of 16 bytes of the source it came from.
    prev_block: u64,
    pending: Vec<Pending>,
    /// Ends of the last reported matches of each rule that may still cover a later start.
    taken: Vec<(PatternID, u64)>,
    /// The states after the byte in hand, one per candidate; kept for its memory.
    next: Vec<LazyStateID>,
}

impl Lane {
    /// Reads one byte. On an error nothing has changed.
    pub(crate) fn step(&mut self, core: &Core, cache: &mut Cache, scanned: Scanned) -> Result<(), CacheFull> {
        let dfa = &core.dfa;
        self.next.clear();
        for candidate in &self.candidates {
            self.next.push(dfa.next_state(cache, candidate.state, scanned.byte).map_err(|_| CacheFull)?);
        }
        let mut fresh = None;
        if core.starts.kinds(scanned.byte) & START != 0 {
            let state = starts::begin(dfa, cache, self.prev).ok_or(CacheFull)?;
            let state = dfa.next_state(cache, state, scanned.byte).map_err(|_| CacheFull)?;
            fresh = (!state.is_dead()).then_some(state);
        }

        if !self.candidates.is_empty() {
            self.advance(core, cache);
            self.cut(core, scanned.start);
        }
        if self.candidates.is_empty() {
            self.window.clear();
            self.before = self.prev;
        }
        if let Some(state) = fresh {
            let start = self.window.len();
            self.candidates.push(Candidate { start, youngest: None, state, matches: Vec::new(), resumed: false });
        }
        if !self.candidates.is_empty() {
            self.window.push(scanned);
            self.forget();
        }
        self.prev = Some(scanned.byte);
        if self.candidates.len() > 1 {
            self.merge(core, scanned.start >> 4 != self.prev_block);
        }
        self.prev_block = scanned.start >> 4;
        Ok(())
    }

    /// Notes a byte with which no match begins, while no candidate is under way.
    pub(crate) fn pass(&mut self, byte: u8, start: u64) {
        self.prev = Some(byte);
        self.prev_block = start >> 4;
    }

    /// Reads the end of the text: what has matched by now has matched. On an error nothing has changed.
    pub(crate) fn end(&mut self, core: &Core, cache: &mut Cache) -> Result<(), CacheFull> {
        self.next.clear();
        for candidate in &self.candidates {
            self.next.push(core.dfa.next_eoi_state(cache, candidate.state).map_err(|_| CacheFull)?);
        }
        self.advance(core, cache);
        for candidate in std::mem::take(&mut self.candidates) {
            self.retire(core, &candidate);
        }
        self.window.clear();
        Ok(())
    }

    /// Moves each candidate to the state in `next`. A match is known one byte after its end, so the byte in hand
    /// is not in the window yet.
    fn advance(&mut self, core: &Core, cache: &Cache) {
        let here = self.window.len();
        let mut any_dead = false;
        for (candidate, &state) in self.candidates.iter_mut().zip(&self.next) {
            candidate.state = state;
            any_dead |= state.is_dead();
            if state.is_match() {
                for i in 0..core.dfa.match_len(cache, state) {
                    let rule = core.dfa.match_pattern(cache, state, i);
                    match candidate.matches.iter_mut().find(|(known, _)| *known == rule) {
                        Some((_, end)) => *end = here,
                        None => candidate.matches.push((rule, here)),
                    }
                }
            }
        }
        if any_dead {
            self.retire_where(core, |candidate| candidate.state.is_dead());
        }
    }

    fn retire_where(&mut self, core: &Core, mut over: impl FnMut(&Candidate) -> bool) {
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.retain(|candidate| {
            let over = over(candidate);
            if over {
                self.retire(core, candidate);
            }
            !over
        });
        self.candidates = candidates;
    }

    /// Turns what a candidate has matched into pending matches.
    fn retire(&mut self, core: &Core, candidate: &Candidate) {
        for &(rule, end) in &candidate.matches {
            let Some(matched) = self.window.get(candidate.start..end) else { continue };
            let refine = if candidate.resumed { None } else { core.refine(rule) };
            let found = match refine {
                Some(refine) => {
                    let bytes: Vec<u8> = matched.iter().map(|scanned| scanned.byte).collect();
                    refine(&bytes).and_then(|part| matched.get(part))
                }
                None => Some(matched),
            };
            if let (Some(whole), Some(report)) = (span(matched, rule), found.and_then(|found| span(found, rule))) {
                self.pending.push(Pending { start: whole.start, end: whole.end, report });
            }
        }
    }

    /// Applies [`MATCH_BYTES_MAX`] and [`SPAN_BYTES_MAX`] before the byte at `position` is added.
    fn cut(&mut self, core: &Core, position: u64) {
        let here = self.window.len();
        if !self.candidates.iter().any(|candidate| is_over(&self.window, candidate, position)) {
            return;
        }
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.retain_mut(|candidate| {
            if !is_over(&self.window, candidate, position) {
                return true;
            }
            if candidate.matches.is_empty() {
                let Some(youngest) = candidate.youngest.take() else { return false };
                candidate.start = youngest;
                return true;
            }
            // It has matched and goes on: everything so far is one piece, the next one begins here.
            for (_, end) in &mut candidate.matches {
                *end = here;
            }
            candidate.resumed = true;
            self.retire(core, candidate);
            candidate.matches.clear();
            candidate.youngest = None;
            candidate.start = here;
            true
        });
        self.candidates = candidates;
    }

    /// Lets go of the part of the window that no candidate needs, often enough to keep it within two matches.
    fn forget(&mut self) {
        if self.window.len() <= 2 * MATCH_BYTES_MAX {
            return;
        }
        let oldest = self.candidates.iter().map(|candidate| candidate.start).min().unwrap_or(0);
        if let Some(last) = oldest.checked_sub(1).and_then(|last| self.window.get(last)) {
            self.before = Some(last.byte);
        }
        self.window.drain(..oldest.min(self.window.len()));
        for candidate in &mut self.candidates {
            candidate.start -= oldest;
            candidate.youngest = candidate.youngest.map(|youngest| youngest - oldest);
            for (_, end) in &mut candidate.matches {
                *end -= oldest;
            }
        }
    }

    /// Makes one of all candidates that are in the same state: the oldest, since what it will match covers what
    /// the others would. What the others have matched so far is kept. Many candidates are looked at only when
    /// `due`, which depends on the place in the source alone and so not on how the text was cut.
    fn merge(&mut self, core: &Core, due: bool) {
        if self.candidates.len() > COMPARED_MAX {
            if !due {
                return;
            }
        } else if self
            .candidates
            .iter()
            .enumerate()
            .all(|(i, candidate)| self.candidates.iter().skip(i + 1).all(|other| other.state != candidate.state))
        {
            return;
        }
        let mut kept: Vec<Candidate> = Vec::with_capacity(self.candidates.len());
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.sort_by_key(|candidate| (candidate.state, !candidate.resumed, candidate.start));
        for candidate in candidates {
            match kept.last_mut() {
                Some(oldest) if oldest.state == candidate.state => {
                    let youngest = oldest.youngest.max(Some(candidate.start)).max(candidate.youngest);
                    oldest.youngest = youngest.filter(|&youngest| youngest > oldest.start);
                    self.retire(core, &candidate);
                }
                _ => kept.push(candidate),
            }
        }
        kept.sort_by_key(|candidate| candidate.start);
        self.candidates = kept;
    }

    /// Retires candidates that have matched and cannot match any further, whatever comes next.
    pub(crate) fn retire_finished(&mut self, core: &Core, cache: &mut Cache) {
        if self.candidates.iter().any(|candidate| candidate.state.is_match()) {
            self.retire_where(core, |candidate| {
                candidate.state.is_match() && is_final(&core.dfa, cache, candidate.state)
            });
            if self.candidates.is_empty() {
                self.window.clear();
            }
        }
    }

    /// Whether the limits of this lane hold. Equal candidates become one every 16 bytes, which is the leeway here.
    pub(crate) fn check(&mut self, core: &Core, cache: &mut Cache) -> Result<(), DetectorError> {
        if self.candidates.len() > CANDIDATES_MAX {
            self.retire_finished(core, cache);
            if self.candidates.len() > CANDIDATES_MAX + 16 {
                return Err(DetectorError::Candidates);
            }
        }
        if self.pending.len() > PENDING_MAX { Err(DetectorError::Pending) } else { Ok(()) }
    }

    /// Makes the states of all candidates anew after the cache was cleared.
    pub(crate) fn replay(&mut self, core: &Core, cache: &mut Cache) -> Result<(), CacheFull> {
        for candidate in &mut self.candidates {
            if candidate.resumed {
                return Err(CacheFull);
            }
            let before = match candidate.start.checked_sub(1) {
                Some(last) => self.window.get(last).map(|scanned| scanned.byte),
                None => self.before,
            };
            let mut state = starts::begin(&core.dfa, cache, before).ok_or(CacheFull)?;
            for scanned in self.window.get(candidate.start..).unwrap_or_default() {
                state = core.dfa.next_state(cache, state, scanned.byte).map_err(|_| CacheFull)?;
            }
            candidate.state = state;
        }
        Ok(())
    }

    /// Where in the source the oldest candidate began.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.candidates.iter().filter_map(|candidate| self.window.get(candidate.start)).map(|first| first.start).min()
    }

    /// Whether no candidate is under way.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.candidates.is_empty()
    }

    pub(crate) fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// Whether this lane and `other` will read the same text in the same way, with nothing left over.
    pub(crate) fn is_at_rest_with(&self, other: &Self) -> bool {
        self.prev == other.prev && self.is_at_rest() && other.is_at_rest()
    }

    fn is_at_rest(&self) -> bool {
        self.candidates.is_empty() && self.pending.is_empty()
    }

    /// Moves every match that starts before `floor` to `out`. No candidate that is under way began before it, so what
    /// each rule matches is known there. Of matches of one rule that overlap, a later one counts with the part that the
    /// earlier ones have not: every byte that belongs to any match is reported, and no byte twice. Anything less would
    /// be a hole, because candidates that became one with an older one live on only in its matches.
    pub(crate) fn release(&mut self, floor: u64, out: &mut Vec<Match>) {
        if !self.pending.is_empty() {
            self.pending.sort_by_key(|pending| (pending.start, Reverse(pending.end)));
            let ready = self.pending.partition_point(|pending| pending.start < floor);
            let mut later = Vec::new();
            for pending in self.pending.drain(..ready) {
                let Pending { end, mut report, .. } = pending;
                match self.taken.iter_mut().find(|(taken, _)| *taken == report.rule) {
                    Some((_, taken)) if *taken >= end => continue,
                    Some((_, taken)) if *taken >= floor => {
                        // Its part begins behind the floor, where another lane may still say the same.
                        later.push(pending);
                        continue;
                    }
                    Some((_, taken)) => {
                        report.start = report.start.max(*taken);
                        *taken = end;
                    }
                    None => self.taken.push((report.rule, end)),
                }
                if report.start < report.end {
                    out.push(report);
                }
            }
            self.pending.append(&mut later);
        }
        if !self.taken.is_empty() && self.candidates.is_empty() && self.pending.is_empty() {
            self.taken.clear();
        }
    }
}

/// Whether `candidate` has reached the longest match, with the byte at `position` about to be added.
fn is_over(window: &[Scanned], candidate: &Candidate, position: u64) -> bool {
    window.len() - candidate.start >= MATCH_BYTES_MAX
        || window.get(candidate.start).is_some_and(|first| position - first.start >= SPAN_BYTES_MAX)
}

/// The bytes of the source under `scanned`.
fn span(scanned: &[Scanned], rule: PatternID) -> Option<Match> {
    let (first, last) = (scanned.first()?, scanned.last()?);
    let contained = first.string != 0 && first.string == last.string;
    Some(Match { start: first.start, end: last.start + u64::from(last.len), rule, contained })
}

/// Whether no byte leads on from `state`.
fn is_final(dfa: &DFA, cache: &mut Cache, state: LazyStateID) -> bool {
    let classes = dfa.byte_classes();
    let bytes_are_dead = classes
        .representatives(0..=u8::MAX)
        .filter_map(regex_automata::util::alphabet::Unit::as_u8)
        .all(|byte| dfa.next_state(cache, state, byte).is_ok_and(|next| next.is_dead()));
    bytes_are_dead && dfa.next_eoi_state(cache, state).is_ok_and(|next| next.is_dead())
}
