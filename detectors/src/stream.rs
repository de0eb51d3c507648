//! One text, in fragments of any size: what was found, and how much of the text is settled.
//!
//! A text is read in up to three ways at once ([`Lane`]s): as it stands, without its hidden characters, and (JSON)
//! with its escape sequences decoded. As long as these are the same text, which is nearly always, one lane stands
//! for all; the others branch off at the first difference and are dropped again as soon as nothing is under way.

use std::fmt;
use std::sync::Arc;

use regex_automata::hybrid::dfa::Cache;

use crate::engine::{Core, Engine};
use crate::error::DetectorError;
use crate::escape::{self, ESCAPE_BYTES_MAX, Escape};
use crate::finding::{Finding, View};
use crate::hidden::is_hidden;
use crate::lane::{CacheFull, Lane, MATCH_BYTES_MAX, Match, Scanned};
use crate::starts::{HIDDEN, JSON, START};

/// After how many more complete matches the ones that are ready are handed out within one fragment.
const RELEASE_EVERY: usize = 256;

/// Reads one text channel. Made by [`Engine::stream`].
pub struct Stream {
    engine: Arc<Engine>,
    /// None only after the stream gave it back.
    cache: Option<Cache>,
    reading: Reading,
}

struct Reading {
    /// The text as it stands.
    plain: Lane,
    /// The other ways to read it; a missing lane reads the same as `plain`.
    others: Vec<Other>,
    /// Which kinds of bytes need a look, as bits of [`crate::starts`].
    kinds: u8,
    /// In JSON: whether the next byte lies in a string. Otherwise true.
    in_string: bool,
    /// How many strings have begun.
    strings: u32,
    json: bool,
    /// The beginning of an escape sequence whose rest has not come yet.
    carry: String,
    fed: u64,
    settled: u64,
    /// Where the cache was last started over.
    recovered_at: Option<u64>,
    release_at: usize,
    finished: bool,
    failed: Option<DetectorError>,
    batch: Vec<Match>,
}

/// A way to read the text.
struct Other {
    decodes: bool,
    drops_hidden: bool,
    lane: Option<Lane>,
}

/// A piece of source that can read differently in different lanes.
#[derive(Clone, Copy)]
enum Unit<'a> {
    Byte(u8),
    Hidden(&'a [u8]),
    Escape { raw: &'a [u8], decoded: char },
}

impl Stream {
    pub(crate) fn new(engine: Arc<Engine>, view: View) -> Self {
        let json = view == View::Json;
        let other = |decodes| Other { decodes, drops_hidden: true, lane: None };
        let others = match view {
            View::Plain => vec![other(false)],
            View::Json => vec![other(true), Other { decodes: true, drops_hidden: false, lane: None }],
        };
        let reading = Reading {
            plain: Lane::default(),
            others,
            kinds: START | HIDDEN | if json { JSON } else { 0 },
            in_string: !json,
            strings: u32::from(!json),
            json,
            carry: String::new(),
            fed: 0,
            settled: 0,
            recovered_at: None,
            release_at: RELEASE_EVERY,
            finished: false,
            failed: None,
            batch: Vec::new(),
        };
        let cache = Some(engine.lend_cache());
        Self { engine, cache, reading }
    }

    /// Reads the next fragment and adds to `out` what is now certain. After [`Stream::finish`], or once the stream
    /// has failed, text is counted but not read.
    pub fn feed(&mut self, text: &str, out: &mut Vec<Finding>) {
        let reading = &mut self.reading;
        let core = self.engine.core();
        if let (Some(cache), None, false) = (&mut self.cache, reading.failed, reading.finished) {
            let result = if reading.carry.is_empty() {
                reading.read(core, cache, text, reading.fed, out)
            } else {
                let base = reading.fed - reading.carry.len() as u64;
                let joined = std::mem::take(&mut reading.carry) + text;
                reading.read(core, cache, &joined, base, out)
            };
            reading.fed += text.len() as u64;
            match result {
                Ok(()) => reading.settle(core, cache, out),
                Err(error) => reading.failed = Some(error),
            }
        } else {
            reading.fed += text.len() as u64;
        }
    }

    /// Reads the end of the text and adds every remaining finding to `out`. A second call does nothing.
    pub fn finish(&mut self, out: &mut Vec<Finding>) {
        let reading = &mut self.reading;
        let core = self.engine.core();
        if let (Some(cache), None, false) = (&mut self.cache, reading.failed, reading.finished) {
            match reading.end(core, cache, out) {
                Ok(()) => reading.settled = reading.fed,
                Err(error) => reading.failed = Some(error),
            }
        }
        reading.finished = true;
        self.give_back();
    }

    /// Every finding that has not been reported yet starts at or after this byte of the source; what is before it
    /// is safe to show, given what has been reported. Never decreases; after [`Stream::finish`] it is all of the
    /// text. It stands still once the stream has failed.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.reading.settled
    }

    /// How many bytes have been fed.
    #[must_use]
    pub fn fed(&self) -> u64 {
        self.reading.fed
    }

    /// Why the stream stopped reading, if it did. What is not settled then has not been checked.
    #[must_use]
    pub fn failed(&self) -> Option<DetectorError> {
        self.reading.failed
    }

    fn give_back(&mut self) {
        if let Some(cache) = self.cache.take() {
            self.engine.take_back(cache);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Reading { fed, settled, failed, .. } = &self.reading;
        f.debug_struct("Stream")
            .field("fed", fed)
            .field("settled", settled)
            .field("failed", failed)
            .finish_non_exhaustive()
    }
}

impl Reading {
    /// Reads `text`, whose first byte is byte `base` of the source.
    fn read(
        &mut self,
        core: &Core,
        cache: &mut Cache,
        text: &str,
        base: u64,
        out: &mut Vec<Finding>,
    ) -> Result<(), DetectorError> {
        let bytes = text.as_bytes();
        let mut at = 0;
        loop {
            let one_lane = self.others.iter().all(|other| other.lane.is_none());
            if one_lane && self.plain.is_idle() {
                at = self.skip(core, bytes, at, base);
            }
            let rest = bytes.get(at..).unwrap_or_default();
            let Some(&byte) = rest.first() else { return Ok(()) };
            let kinds = core.starts.kinds(byte) & self.kinds;
            let start = base + at as u64;
            let mut unit = Unit::Byte(byte);
            let mut len = 1;
            if kinds & HIDDEN != 0 {
                let c = text.get(at..).and_then(|text| text.chars().next());
                if let Some(c) = c.filter(|&c| is_hidden(c)) {
                    len = c.len_utf8();
                    unit = Unit::Hidden(rest.get(..len).unwrap_or(rest));
                }
            } else if kinds & JSON != 0 && byte == b'\\' && self.in_string {
                match escape::read(rest.get(..ESCAPE_BYTES_MAX).unwrap_or(rest)) {
                    Escape::Char { decoded, len: bytes } => {
                        len = bytes;
                        unit = Unit::Escape { raw: rest.get(..len).unwrap_or(rest), decoded };
                    }
                    Escape::Invalid => {}
                    Escape::Incomplete => {
                        self.carry = text.get(at..).unwrap_or_default().to_owned();
                        return Ok(());
                    }
                }
            }
            if one_lane && kinds & !START == 0 {
                let string = if self.in_string { self.strings } else { 0 };
                self.step(core, cache, None, Scanned { start, string, len: 1, byte })?;
            } else {
                self.unit(core, cache, unit, start, len as u8, kinds & JSON != 0 && byte == b'"')?;
            }
            at += len;
            if self.waiting() >= self.release_at {
                self.release(core, out);
                self.release_at = self.waiting() + RELEASE_EVERY;
            }
        }
    }

    /// Passes over bytes that neither begin a match nor read differently anywhere, while nothing is under way.
    fn skip(&mut self, core: &Core, bytes: &[u8], from: usize, base: u64) -> usize {
        let mut at = from;
        while let Some(&byte) = bytes.get(at) {
            let kinds = core.starts.kinds(byte) & self.kinds;
            // A next byte that may be dropped or decoded says nothing about the one that is read next.
            let begins = kinds & START != 0
                && bytes.get(at + 1).is_none_or(|&next| {
                    core.starts.pair(byte, next) || core.starts.kinds(next) & self.kinds & !START != 0
                });
            if begins || kinds & !START != 0 {
                break;
            }
            at += 1;
        }
        if let Some(&last) = at.checked_sub(1).and_then(|last| bytes.get(last)).filter(|_| at > from) {
            self.plain.pass(last, base + at as u64 - 1);
        }
        at
    }

    /// Gives one unit of the source to every lane that is on its own.
    fn unit(
        &mut self,
        core: &Core,
        cache: &mut Cache,
        unit: Unit<'_>,
        start: u64,
        len: u8,
        quote: bool,
    ) -> Result<(), DetectorError> {
        let string = if self.in_string && !quote { self.strings } else { 0 };
        let scanned = |byte, start, len| Scanned { start, string, len, byte };
        let one;
        let mut utf8 = [0; 4];
        // Which bytes the plain lane reads, whether a reader sees them, and whether each stands for all of them.
        let (raw, visible, whole) = match unit {
            Unit::Byte(byte) => {
                one = [byte];
                (one.as_slice(), true, false)
            }
            Unit::Hidden(raw) => (raw, false, false),
            Unit::Escape { raw, decoded } => (raw, !is_hidden(decoded), true),
        };
        let decoded: &[u8] = match unit {
            Unit::Escape { decoded, .. } => decoded.encode_utf8(&mut utf8).as_bytes(),
            _ => raw,
        };
        let place = |i: usize, byte| if whole { scanned(byte, start, len) } else { scanned(byte, start + i as u64, 1) };

        for i in 0..self.others.len() {
            let Some(other) = self.others.get_mut(i) else { continue };
            let reads = if other.drops_hidden && !visible {
                &[][..]
            } else if other.decodes {
                decoded
            } else {
                raw
            };
            if other.lane.is_none() {
                if reads == raw {
                    continue;
                }
                other.lane = Some(self.plain.clone());
            }
            for (j, &byte) in reads.iter().enumerate() {
                self.step(core, cache, Some(i), place(j, byte))?;
            }
        }
        for (j, &byte) in raw.iter().enumerate() {
            self.step(core, cache, None, place(j, byte))?;
        }

        for other in &mut self.others {
            if other.lane.as_ref().is_some_and(|lane| lane.is_at_rest_with(&self.plain)) {
                other.lane = None;
            }
        }
        if quote && self.json {
            self.in_string = !self.in_string;
            self.strings = self.strings.wrapping_add(u32::from(self.in_string)).max(1);
        }
        Ok(())
    }

    /// Lets one lane read one byte; `other` says which, none is the plain one.
    fn step(
        &mut self,
        core: &Core,
        cache: &mut Cache,
        other: Option<usize>,
        scanned: Scanned,
    ) -> Result<(), DetectorError> {
        if let Some(lane) = self.lane(other) {
            if lane.step(core, cache, scanned).is_err() {
                self.recover(core, cache, scanned.start)?;
            } else {
                return lane.check(core, cache);
            }
        }
        self.lane(other)
            .map_or(Ok(()), |lane| lane.step(core, cache, scanned))
            .map_err(|CacheFull| DetectorError::StateCache)
    }

    fn lane(&mut self, other: Option<usize>) -> Option<&mut Lane> {
        match other {
            None => Some(&mut self.plain),
            Some(i) => self.others.get_mut(i)?.lane.as_mut(),
        }
    }

    fn lanes(&mut self) -> impl Iterator<Item = &mut Lane> {
        std::iter::once(&mut self.plain).chain(self.others.iter_mut().filter_map(|other| other.lane.as_mut()))
    }

    /// Starts the cache over and makes the states in use anew. Twice within the reach of one match would be no
    /// progress, so that is a failure.
    fn recover(&mut self, core: &Core, cache: &mut Cache, at: u64) -> Result<(), DetectorError> {
        if self.recovered_at.is_some_and(|last| at < last + MATCH_BYTES_MAX as u64) {
            return Err(DetectorError::StateCache);
        }
        self.recovered_at = Some(at);
        core.dfa.reset_cache(cache);
        self.lanes().try_for_each(|lane| lane.replay(core, cache)).map_err(|CacheFull| DetectorError::StateCache)
    }

    /// Reads the end of the text.
    fn end(&mut self, core: &Core, cache: &mut Cache, out: &mut Vec<Finding>) -> Result<(), DetectorError> {
        // An escape sequence that never ended stands for itself.
        let carry = std::mem::take(&mut self.carry);
        let base = self.fed - carry.len() as u64;
        for (i, &byte) in carry.as_bytes().iter().enumerate() {
            self.unit(core, cache, Unit::Byte(byte), base + i as u64, 1, false)?;
        }
        if self.lanes().try_for_each(|lane| lane.end(core, cache)).is_err() {
            self.recover(core, cache, self.fed)?;
            self.lanes().try_for_each(|lane| lane.end(core, cache)).map_err(|CacheFull| DetectorError::StateCache)?;
        }
        self.release(core, out);
        Ok(())
    }

    /// Hands out what is certain after a fragment and moves the settled mark.
    fn settle(&mut self, core: &Core, cache: &mut Cache, out: &mut Vec<Finding>) {
        self.lanes().for_each(|lane| lane.retire_finished(core, cache));
        let floor = self.release(core, out);
        self.settled = floor.min(self.fed - self.carry.len() as u64).max(self.settled);
    }

    fn waiting(&self) -> usize {
        self.plain.pending_len()
            + self.others.iter().filter_map(|other| other.lane.as_ref()).map(Lane::pending_len).sum::<usize>()
    }

    /// Hands out every match that no candidate under way can change, each once. Returns the start of the oldest
    /// candidate, or the largest number.
    fn release(&mut self, core: &Core, out: &mut Vec<Finding>) -> u64 {
        let floor = self.lanes().filter_map(|lane| lane.oldest()).min().unwrap_or(u64::MAX);
        let mut batch = std::mem::take(&mut self.batch);
        self.lanes().for_each(|lane| lane.release(floor, &mut batch));
        batch.sort_unstable();
        batch.dedup();
        out.extend(
            batch.drain(..).filter_map(|found| core.finding(found.rule, found.start, found.end, found.contained)),
        );
        self.batch = batch;
        floor
    }
}
