//! Inspecting an answer while it streams.
//!
//! Its promise: an event is released when, and only when, every byte of its text lies before the place where a match
//! could still begin, in each channel it touches, and before the place up to which the locks on its text vouch for it;
//! events keep their order and their bytes. What is redacted or mended is rewritten in the events that carry it; at a block
//! nothing behind the last released event leaves.
//!
//! Time is told by whoever feeds the bytes, as the time since the answer began.

mod apart;
mod event;
mod held;
mod release;
mod texts;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use clyra_detectors::Engine;

use self::held::Held;
use super::calls::Calls;
use super::channel::{Text, hide_names};
use super::choices::Ended;
use super::document::cannot_redact;
use super::judge::{Block, Cause, Found, Gap, Judge, Report};
use super::locks::{Desk, Locks};
use super::said::{Origin, Said};
use super::schema::Binding;
use super::splice::add_span;
use super::witness::Released;
use crate::surface::{ResponseFacts, Shown, Surface};
use crate::wire::{FrameError, Framer};

/// Most bytes of an answer that may be held back at one time, whatever holds them. Buffer mode holds a whole answer; today's
/// longest are around one MiB of events. A lock's own limit (`hold.bytes`) counts text, which is less.
pub const HELD_BYTES_MAX: usize = 16 << 20;

/// Most events that may be held back at one time, which bounds what is kept beside their bytes. Twice the longest answers of
/// today's models at an event for each token.
const HELD_EVENTS_MAX: usize = 1 << 18;

/// Most channels of one answer (choices, tool calls, blocks). More is not a conversation.
const CHANNELS_MAX: usize = 4_096;

/// The guard of one streamed answer. Pure: bytes in, releases out.
#[derive(Debug)]
pub struct StreamGuard<J> {
    surface: &'static Surface,
    engine: Arc<Engine>,
    pub judge: J,
    pub report: Report,
    pub facts: ResponseFacts,
    framer: Framer,
    texts: Vec<Text>,
    by_key: BTreeMap<String, usize>,
    /// Path index of each text, for tool calls.
    places: Vec<String>,
    /// The locks of each text, where it has some.
    lock_of: Vec<Option<usize>>,
    /// The choice of each text, where the answer has some.
    choice_of: Vec<Option<u64>>,
    calls: Calls,
    said: Said,
    locks: Locks,
    ended: Ended,
    /// What has been released, as far as an ending has to fit it.
    pub shown: Shown,
    /// Calls that the provider makes itself, or whose arguments are free text: no schema binds them.
    free: BTreeSet<String>,
    now: Duration,
    queue: VecDeque<Held>,
    held_bytes: usize,
    /// The terminal event has come: everything from it on waits for the end.
    done: bool,
    answered: bool,
    /// Something that a client shows has left.
    opened: bool,
    /// Where in the queue the first event stands that shows something, until then.
    first_shown: Option<usize>,
    /// The client did not ask for the count of tokens that comes.
    hides_count: bool,
}

/// The end of an inspected stream.
#[derive(Debug)]
pub struct StreamEnd {
    /// What is still to be sent, the terminal event last; nothing of it has left yet.
    pub tail: Vec<Released>,
}

impl<J: Judge> StreamGuard<J> {
    pub fn new(surface: &'static Surface, engine: Arc<Engine>, judge: J, bindings: Vec<Binding>) -> Self {
        let locks = Locks::new(bindings, judge.enforces()).with_choices(surface.choices.is_some());
        Self {
            surface,
            engine,
            judge,
            report: Report::default(),
            facts: ResponseFacts::default(),
            framer: surface.framing.framer(),
            texts: Vec::new(),
            by_key: BTreeMap::new(),
            places: Vec::new(),
            lock_of: Vec::new(),
            choice_of: Vec::new(),
            calls: Calls::default(),
            said: Said::default(),
            shown: Shown::default(),
            locks,
            ended: Ended::default(),
            free: BTreeSet::new(),
            now: Duration::ZERO,
            queue: VecDeque::new(),
            held_bytes: 0,
            done: false,
            answered: false,
            opened: false,
            first_shown: None,
            hides_count: false,
        }
    }

    /// The client is not shown the count of tokens that Clyra has asked for.
    pub fn hide_count(&mut self) {
        self.hides_count = true;
    }

    /// An error looks the same before the first event and behind it: nothing waits for something to be shown.
    pub fn open_at_once(&mut self) {
        self.opened = true;
    }

    /// True once the event that ends the answer for a client has come.
    pub fn done(&self) -> bool {
        self.done
    }

    /// Bytes of the answer that wait here.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes + self.framer.pending_bytes()
    }

    /// True once something of the answer is to be mended.
    pub fn mends(&self) -> bool {
        self.locks.mends()
    }

    /// When what is held will have been held too long; ask [`Self::tick`] then.
    pub fn deadline(&self) -> Option<Duration> {
        if self.judge.enforces() { self.locks.deadline() } else { None }
    }

    /// Takes bytes as they come; appends the events that may leave, one [`Released`] each. What was appended before a
    /// block may leave all the same: it does not depend on how the bytes were cut.
    pub fn feed(&mut self, bytes: &[u8], now: Duration, out: &mut Vec<Released>) -> Result<(), Block> {
        self.tick(now, out)?;
        let mut frames = Vec::new();
        let framed = self.framer.feed(bytes, &mut frames);
        for frame in frames {
            self.event(frame)?;
            self.release(false, out)?;
        }
        if framed == Err(FrameError::Damaged) {
            return Err(self.damaged());
        }
        let held = self.held_bytes + self.framer.pending_bytes();
        if framed.is_err() || held > HELD_BYTES_MAX || self.queue.len() > HELD_EVENTS_MAX {
            self.report.gaps.insert(Gap::Oversize);
            // Without its bytes the stream cannot go on, whatever the policy says about failures.
            return Err(self.judge.gap(Gap::Oversize, Cause::BadAnswer).unwrap_or_else(too_much));
        }
        Ok(())
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Duration, out: &mut Vec<Released>) -> Result<(), Block> {
        self.now = now;
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        self.desk(|locks, desk| locks.tick(desk))?;
        self.end_choices()?;
        self.release(false, out)
    }

    /// The upstream has ended in good order.
    pub fn finish(&mut self, now: Duration) -> Result<StreamEnd, Block> {
        self.now = now;
        let rest = self.framer.finish().map_err(|_| self.damaged())?;
        if let Some(frame) = rest {
            self.event(frame)?;
        }
        for index in 0..self.texts.len() {
            if !self.choice_of.get(index).copied().flatten().is_some_and(|choice| self.ended.has(choice)) {
                self.end_text(index)?;
            }
        }
        for place in self.pending_calls() {
            self.judge_call(&place)?;
        }
        if self.locks.any() {
            let calls = self.called(|_| true);
            let facts = self.facts.clone();
            self.desk(|locks, desk| locks.finish(&facts, &calls, desk))?;
            self.recheck(&facts)?;
            self.end_choices()?;
        }
        if let Some(block) = self.ended.all() {
            return Err(block);
        }
        if let Some(block) = self.judge.answer(&self.facts, true) {
            return Err(block);
        }
        let mut tail = Vec::new();
        self.release(true, &mut tail)?;
        Ok(StreamEnd { tail })
    }

    /// Nobody knows where the next event begins: whatever the policy says of what cannot be read, the stream cannot go on.
    fn damaged(&mut self) -> Block {
        self.report.gaps.insert(Gap::Unreadable);
        self.judge.gap(Gap::Unreadable, Cause::BadAnswer).unwrap_or_else(|| Block {
            cause: Cause::BadAnswer,
            rule: None,
            reason: "the stream is damaged: a length or a checksum of it is wrong".into(),
            detectors: Vec::new(),
        })
    }

    /// Lets the locks work, and rules on what they found in mended texts.
    fn desk<T>(&mut self, work: impl FnOnce(&mut Locks, &mut Desk<'_>) -> Result<T, Block>) -> Result<T, Block> {
        let mut batch = Batch::default();
        let done = self.desk_into(&mut batch, work)?;
        self.rule(batch)?;
        Ok(done)
    }

    fn desk_into<T>(
        &mut self,
        batch: &mut Batch,
        work: impl FnOnce(&mut Locks, &mut Desk<'_>) -> Result<T, Block>,
    ) -> Result<T, Block> {
        let mut desk = Desk {
            engine: &self.engine,
            judge: &mut self.judge,
            report: &mut self.report,
            now: self.now,
            found: Vec::new(),
            failed: false,
        };
        let done = work(&mut self.locks, &mut desk)?;
        let Desk { found, failed, .. } = desk;
        batch.failed |= failed;
        batch.add(found, Target::Fields);
        Ok(done)
    }

    /// The call at `place`, if there is one, is complete.
    fn judge_call(&mut self, place: &str) -> Result<(), Block> {
        if !self.judge.wants_tool_calls() || !self.calls.is_pending(place) {
            return Ok(());
        }
        let texts = self.texts.iter_mut().zip(&self.places);
        let arguments = texts.filter(|(text, at)| *at == place && text.channel().is_tool_call());
        let (mut streamed, mut too_long) = (Vec::new(), false);
        for (text, _) in arguments {
            too_long |= text.kept_too_long();
            streamed.extend(text.take_kept());
        }
        if too_long {
            self.report.gaps.insert(Gap::Oversize);
            if let Some(block) = self.judge.gap(Gap::Oversize, Cause::BadAnswer) {
                return Err(block);
            }
        }
        let readings = self.calls.readings(place, streamed);
        readings.iter().find_map(|call| self.judge.tool_call(call, &self.facts)).map_or(Ok(()), Err)
    }

    /// Asks the judge about one batch and marks what is to be taken out of events that are still here.
    fn rule(&mut self, mut batch: Batch) -> Result<(), Block> {
        hide_names(&mut batch.found, &batch.names);
        if batch.failed {
            self.report.gaps.insert(Gap::DetectorError);
            if let Some(block) = self.judge.gap(Gap::DetectorError, Cause::Unavailable) {
                return Err(block);
            }
        }
        if batch.found.is_empty() {
            return Ok(());
        }
        let ruling = self.judge.findings(&batch.found, &self.facts);
        if let Some(block) = ruling.block {
            return Err(block);
        }
        for index in ruling.redact {
            let (Some(found), Some(target)) = (batch.found.get(index), batch.targets.get(index)) else { continue };
            if !found.contained {
                return Err(cannot_redact(found));
            }
            self.report.redactions += 1;
            match *target {
                Target::Text(text) => {
                    if let Some(text) = self.texts.get_mut(text) {
                        text.redact(found);
                    }
                }
                Target::Whole { position } => {
                    if let Some(one) = self.queue.back_mut().and_then(|h| h.segments.get_mut(position)) {
                        match one.origin {
                            Some(Origin::Whole(index)) => self.said.redact(index, found),
                            _ => add_span(&mut one.spans, found),
                        }
                    }
                }
                Target::Fields => return Err(cannot_redact(found)),
            }
        }
        Ok(())
    }
}

/// A place is that of a block, or lies in it.
fn is_in(place: &str, block: &str) -> bool {
    place.strip_prefix(block).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn too_much() -> Block {
    Block {
        cause: Cause::BadAnswer,
        rule: None,
        reason: "the answer is larger than can be held for inspection".into(),
        detectors: Vec::new(),
    }
}

/// Findings of one event, with the places that redactions go to.
#[derive(Debug, Default)]
struct Batch {
    found: Vec<Found>,
    targets: Vec<Target>,
    /// Pointers of members in whose names something was found.
    names: Vec<String>,
    failed: bool,
}

#[derive(Debug, Clone, Copy)]
enum Target {
    Text(usize),
    Whole { position: usize },
    Fields,
}

impl Batch {
    fn add(&mut self, found: Vec<Found>, target: Target) {
        self.targets.extend(std::iter::repeat_n(target, found.len()));
        self.found.extend(found);
    }
}
