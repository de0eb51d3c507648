//! Inspecting an answer while it streams.
//!
//! Its promise: an event is released when, and only when, every byte of its text lies before the place where a match
//! could still begin, in each channel it touches, and before the place up to which the locks on its text vouch for it;
//! events keep their order and their bytes. What is redacted or mended is rewritten in the events that carry it; at a block
//! nothing behind the last released event leaves.
//!
//! Time is told by whoever feeds the bytes, as the time since the answer began.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clyra_detectors::{Engine, View};

use super::calls::{Calls, TooMany};
use super::channel::{Piece, Text, hide_names, view};
use super::choices::{self, Ended, Fate};
use super::count::{Ours, ours};
use super::document::{broken, cannot_redact, decoded, is_clients_call, scan_viewed, scan_whole};
use super::judge::{Block, Cause, Found, Gap, Judge, Report};
use super::locks::{Desk, Locks};
use super::said::{Origin, Said, edits_again};
use super::schema::Binding;
use super::splice::{Span, add_span, all_edits_for, apply, patch, replace};
use super::witness::Released;
use crate::json::{Doc, Limits, TextDecoder, Value};
use crate::surface::{Channel, Form, Join, Mark, Replaced, ResponseFacts, Segment, Shown, Signal, Surface};
use crate::wire::{Frame, FrameError, Framer};

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

/// An event that waits.
#[derive(Debug)]
struct Held {
    frame: Frame,
    segments: Vec<HeldSegment>,
    /// Values to become `null` if anything in this event is redacted.
    repeats: Vec<Replaced>,
    mark: Mark,
    /// Holds until the answer is complete.
    terminal: bool,
    /// A client shows something of it.
    shows: bool,
    /// What of it was not asked for by the client.
    ours: Ours,
    /// Choices that are said to have ended here.
    ends: Vec<u64>,
}

#[derive(Debug)]
struct HeldSegment {
    segment: Segment,
    text: Option<(usize, Piece)>,
    /// Where this text was said first, if it may be said several times.
    origin: Option<Origin>,
    spans: Vec<Span>,
    /// Locks that hold a text that stands alone, and its length.
    lock: Option<(usize, u64)>,
    /// Held until the rules have judged the call.
    judged: bool,
    /// Held until a lock vouches for something of the call.
    vouched: bool,
    /// Its choice has ended: it does not leave.
    gone: bool,
}

impl Held {
    /// Something in it is of this choice.
    fn tells(&self, choice: u64) -> bool {
        self.mark.opens.contains(&choice) || self.mark.closes.contains(&choice)
    }

    fn tells_any(&self, ended: &Ended) -> bool {
        ended.any() && self.mark.opens.iter().chain(&self.mark.closes).any(|choice| ended.has(*choice))
    }
}

/// An event as it may leave.
#[derive(Debug, Default)]
struct Dressed {
    /// Where that is not how it came.
    data: Option<Bytes>,
    /// Nothing of it is left to be sent.
    empty: bool,
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

    fn event(&mut self, frame: Frame) -> Result<(), Block> {
        let mut held = Held {
            frame,
            segments: Vec::new(),
            repeats: Vec::new(),
            mark: Mark::default(),
            terminal: false,
            shows: false,
            ours: Ours::Nothing,
            ends: Vec::new(),
        };
        let mut batch = Batch::default();
        self.fields(&held.frame, &mut batch);
        if let Some(data) = held.frame.data.clone() {
            if data.trim_ascii() == b"[DONE]" {
                self.done = true;
            } else {
                self.data(&data, &mut held, &mut batch)?;
            }
        }
        held.terminal |= self.done;
        self.held_bytes += held.frame.raw.len();
        self.report.held_bytes_max = self.report.held_bytes_max.max(self.held_bytes as u64);
        if held.shows && self.first_shown.is_none() {
            self.first_shown = Some(self.queue.len());
        }
        let Mark { opens, closes, .. } = held.mark.clone();
        self.queue.push_back(held);
        self.rule(batch)?;
        if self.locks.apart() {
            self.ended.note(&opens);
            self.ended.note(&closes);
            for choice in closes {
                self.finish_choice(choice)?;
            }
            self.end_choices()?;
        }
        if !self.answered && self.facts.model.is_some() {
            self.answered = true;
            if let Some(block) = self.judge.answer(&self.facts, false) {
                return Err(block);
            }
        }
        Ok(())
    }

    /// Comments, ids and event names: no SDK shows them, but they pass, so they are looked at.
    fn fields(&mut self, frame: &Frame, batch: &mut Batch) {
        if frame.fields.is_empty() {
            return;
        }
        let segment = Segment::loose(Form::Text);
        let (mut found, failed) = scan_whole(&self.engine, &segment, &frame.fields, &mut self.report);
        // There is no JSON to rewrite: what must go takes the answer with it.
        found.iter_mut().for_each(|f| f.contained = false);
        batch.failed |= failed;
        batch.add(found, Target::Fields);
    }

    fn data(&mut self, data: &Bytes, held: &mut Held, batch: &mut Batch) -> Result<(), Block> {
        let doc = match Doc::parse(data, Limits::default()) {
            Ok(doc) => doc,
            Err(_) => return self.unreadable(data, batch),
        };
        let root = doc.root(data);
        (self.surface.note_response)(root, &mut self.facts);
        held.mark = (self.surface.mark)(root);
        if self.hides_count {
            held.ours = ours(root, data);
        }
        for segment in crate::surface::segments((self.surface.event)(root), root) {
            if self.ended.has_text(self.surface.choices.as_ref(), &segment) {
                continue;
            }
            let raw = data.get(segment.range.clone()).unwrap_or_default();
            held.repeats.extend(segment.repeats.clone());
            if segment.form == Form::Media {
                self.report.gaps.insert(Gap::Media);
                continue;
            }
            if segment.join == Join::Stream && segment.range.is_empty() && self.is_over(&segment) {
                continue;
            }
            let position = held.segments.len();
            let one = match segment.join {
                Join::Whole => self.whole(segment, raw, root, position, batch)?,
                Join::Stream => self.streamed(segment, raw, root, batch)?,
                Join::Again => self.again(segment, raw, root, position, batch)?,
            };
            held.shows |= shows(&one.segment);
            held.segments.push(one);
        }
        let offered = (self.surface.definitions)(root);
        if !offered.is_empty() {
            batch.add(self.judge.definitions(&offered), Target::Fields);
        }
        match (self.surface.signal)(root) {
            Signal::None => {}
            Signal::BlockEnd { index } => {
                for text in 0..self.texts.len() {
                    if self.places.get(text).is_some_and(|place| is_in(place, &index)) {
                        self.end_into(text, batch)?;
                    }
                }
                for place in self.calls.pending().iter().filter(|place| is_in(place, &index)) {
                    self.judge_call(place)?;
                }
            }
            Signal::Whole { last } => {
                held.terminal = last;
                for place in self.pending_calls() {
                    self.judge_call(&place)?;
                }
            }
            Signal::Done => self.done = true,
        }
        Ok(())
    }

    /// Whether a text ended with its choice. Some providers say once more that nothing comes of it.
    fn is_over(&self, segment: &Segment) -> bool {
        let text = self.by_key.get(&segment.key).and_then(|index| self.texts.get(*index));
        self.locks.apart() && text.is_some_and(Text::ended)
    }

    /// An event that is not strict JSON: nobody knows what a client makes of it. Where the policy lets it pass, its bytes
    /// are looked at as they are.
    fn unreadable(&mut self, data: &Bytes, batch: &mut Batch) -> Result<(), Block> {
        self.report.gaps.insert(Gap::Unreadable);
        if let Some(block) = self.judge.gap(Gap::Unreadable, Cause::BadAnswer) {
            return Err(block);
        }
        let text = String::from_utf8_lossy(data).into_owned();
        let segment = Segment::loose(Form::JsonValue);
        let (mut found, failed) = scan_whole(&self.engine, &segment, &text, &mut self.report);
        found.iter_mut().for_each(|f| f.contained = false);
        batch.failed |= failed;
        batch.add(found, Target::Fields);
        Ok(())
    }

    fn whole(
        &mut self,
        segment: Segment,
        raw: &[u8],
        root: Value<'_>,
        position: usize,
        batch: &mut Batch,
    ) -> Result<HeldSegment, Block> {
        let text = decoded(&segment, raw);
        let noted = self.calls.note_part(&segment, &text);
        self.follow(noted)?;
        self.locks.note(segment.channel, &text);
        let as_json = self.locks.reads_json(segment.channel);
        let view = if as_json { View::Json } else { view(segment.form) };
        let (mut found, failed) = scan_viewed(&self.engine, view, &segment, &text, &mut self.report);
        self.calls.name(&segment.path_index, &mut found);
        batch.failed |= failed;
        batch.names.extend(Some(segment.pointer.clone()).filter(|_| segment.name && !found.is_empty()));
        let (lock, vouched) = self.lock_whole(&segment, &text, root, &found, batch)?;
        batch.add(found, Target::Whole { position });
        let judged = segment.channel.is_tool_call() && self.judge.wants_tool_calls();
        Ok(HeldSegment { segment, text: None, origin: None, spans: Vec::new(), lock, judged, vouched, gone: false })
    }

    /// A text that may have been said before: then what was decided of it holds here as well.
    fn again(
        &mut self,
        segment: Segment,
        raw: &[u8],
        root: Value<'_>,
        position: usize,
        batch: &mut Batch,
    ) -> Result<HeldSegment, Block> {
        if let Some(index) = self.by_key.get(&segment.key).copied() {
            self.end_into(index, batch)?;
        }
        let text = decoded(&segment, raw);
        let Some(origin) = self.said.find(&segment, &text) else {
            let origin = self.said.whole(&segment, &text);
            let held = self.whole(segment, raw, root, position, batch)?;
            if let Some(Origin::Whole(index)) = origin {
                self.said.bind(index, held.lock.map(|(lock, _)| lock));
            }
            return Ok(HeldSegment { origin, ..held });
        };
        let lock = self.lock_at(origin).map(|lock| (lock, text.len() as u64));
        let judged = segment.channel.is_tool_call() && self.judge.wants_tool_calls();
        let vouched =
            segment.channel == Channel::ToolName && self.locks.bind_tools() && !self.free.contains(&segment.path_index);
        let origin = Some(origin);
        Ok(HeldSegment { segment, text: None, origin, spans: Vec::new(), lock, judged, vouched, gone: false })
    }

    /// The locks of a text that was said before.
    fn lock_at(&self, origin: Origin) -> Option<usize> {
        match origin {
            Origin::Streamed(index) => self.lock_of.get(index).copied().flatten(),
            Origin::Whole(index) => self.said.lock(index),
        }
    }

    /// Locks for a text that stands alone, and whether a lock must vouch for its call first.
    fn lock_whole(
        &mut self,
        segment: &Segment,
        text: &str,
        root: Value<'_>,
        found: &[Found],
        batch: &mut Batch,
    ) -> Result<(Option<(usize, u64)>, bool), Block> {
        let place = &segment.path_index;
        if segment.channel == Channel::ToolName && self.locks.bind_tools() {
            if !is_clients_call(root, &segment.pointer) {
                self.free.insert(place.clone());
                return Ok((None, false));
            }
            if self.free.remove(place) {
                // A call that turns into another under way.
                self.desk_into(batch, |locks, desk| locks.refuse_call(desk))?;
            }
            let tool = self.calls.called(place);
            self.desk_into(batch, |locks, desk| locks.named(place, tool.as_deref(), desk))?;
            return Ok((None, true));
        }
        let free = self.is_free(segment, root);
        // What a block begins with is an empty object where pieces follow, and means no arguments where none do.
        let placeholder = segment.channel.is_tool_call() && segment.form == Form::JsonValue && text == "{}";
        if !self.locks.binds(segment) || free || placeholder {
            return Ok((None, false));
        }
        let lock = self.desk_into(batch, |locks, desk| {
            let lock = locks.open(segment, None, desk)?;
            locks.found(lock, found);
            locks.feed(lock, text, None, desk)?;
            Ok(lock)
        })?;
        Ok((Some((lock, text.len() as u64)), false))
    }

    /// Whether this is part of a call that no schema binds; remembers that it is.
    fn is_free(&mut self, segment: &Segment, root: Value<'_>) -> bool {
        if !segment.channel.is_tool_call() || !self.locks.bind_tools() {
            return false;
        }
        if !is_clients_call(root, &segment.pointer) {
            self.free.insert(segment.path_index.clone());
        }
        self.free.contains(&segment.path_index)
    }

    /// Where calls are judged, one that is not followed is not inspected.
    fn follow(&mut self, noted: Result<(), TooMany>) -> Result<(), Block> {
        if noted.is_err() && self.locks.bind_tools() {
            self.desk(|locks, desk| locks.refuse_call(desk))?;
        }
        if noted.is_ok() || !self.judge.wants_tool_calls() {
            return Ok(());
        }
        self.report.gaps.insert(Gap::Oversize);
        self.judge.gap(Gap::Oversize, Cause::BadAnswer).map_or(Ok(()), Err)
    }

    fn streamed(
        &mut self,
        segment: Segment,
        raw: &[u8],
        root: Value<'_>,
        batch: &mut Batch,
    ) -> Result<HeldSegment, Block> {
        let tool = segment.channel.is_tool_call() && self.judge.wants_tool_calls();
        let bound = self.locks.binds(&segment) && !self.is_free(&segment, root);
        if tool || bound && segment.channel.is_tool_call() {
            let noted = self.calls.note(&segment.path_index);
            self.follow(noted)?;
        }
        let index = self.text_for(&segment, tool, bound, batch)?;
        if bound && segment.channel.is_tool_call() && self.lock_of.get(index).copied().flatten().is_none() {
            self.desk_into(batch, |locks, desk| locks.refuse_call(desk))?;
        }
        let mut found = Vec::new();
        let Some(text) = self.texts.get_mut(index) else { return Err(too_much()) };
        let (piece, decoded) = text.feed(raw, &segment, &mut found, &mut self.report);
        batch.failed |= text.failed();
        self.calls.name(&segment.path_index, &mut found);
        // The locks judge the text as it came; redactions are applied to what was accepted.
        self.locks.note(segment.channel, &decoded);
        if let Some(lock) = self.lock_of.get(index).copied().flatten() {
            let called = self.calls.called(&segment.path_index).filter(|_| segment.channel.is_tool_call());
            self.desk_into(batch, |locks, desk| {
                locks.found(lock, &found);
                locks.feed(lock, &decoded, called.as_deref(), desk)
            })?;
        }
        batch.add(found, Target::Text(index));
        Ok(HeldSegment {
            segment,
            text: Some((index, piece)),
            origin: None,
            spans: Vec::new(),
            lock: None,
            judged: tool,
            vouched: false,
            gone: false,
        })
    }

    /// The text that this segment continues.
    fn text_for(&mut self, segment: &Segment, keep: bool, bound: bool, batch: &mut Batch) -> Result<usize, Block> {
        if let Some(index) = self.by_key.get(&segment.key).copied() {
            if self.texts.get(index).is_some_and(|t| !t.ended()) {
                return Ok(index);
            }
            let mut gone = false;
            if let Some(lock) = self.lock_of.get(index).copied().flatten() {
                self.desk_into(batch, |locks, desk| locks.reopened(lock, desk))?;
                gone = self.locks.is_gone(lock);
            }
            // A block that goes on after its end: clients put it together, so it was never settled.
            if !gone {
                self.report.gaps.insert(Gap::Unreadable);
                if let Some(block) = self.judge.gap(Gap::Unreadable, Cause::BadAnswer) {
                    return Err(block);
                }
            }
        }
        if self.texts.len() >= CHANNELS_MAX {
            batch.failed = true;
            return Err(too_much());
        }
        let index = self.texts.len();
        let goes_on = self.by_key.contains_key(&segment.key);
        let view = if self.locks.reads_json(segment.channel) { View::Json } else { view(segment.form) };
        let loose = self.locks.only_record(segment.channel);
        let lock = match bound && !goes_on {
            true => Some(self.desk_into(batch, |locks, desk| locks.open(segment, None, desk))?),
            false => None,
        };
        let text = Text::new(&self.engine, segment, view, keep).loosely(loose);
        self.texts.push(if self.surface.repeats { text.hashed() } else { text });
        self.places.push(segment.path_index.clone());
        self.lock_of.push(lock);
        self.choice_of.push(choices::choice_of(self.surface.choices.as_ref(), segment));
        self.by_key.insert(segment.key.clone(), index);
        Ok(index)
    }

    fn end_text(&mut self, index: usize) -> Result<(), Block> {
        let mut batch = Batch::default();
        self.end_into(index, &mut batch)?;
        self.rule(batch)
    }

    fn end_into(&mut self, index: usize, batch: &mut Batch) -> Result<(), Block> {
        let Some(text) = self.texts.get_mut(index).filter(|t| !t.ended()) else { return Ok(()) };
        let mut found = Vec::new();
        let rest = text.end(&mut found, &mut self.report);
        batch.failed |= text.failed();
        let place = self.places.get(index).map_or("", String::as_str);
        if let Some(hash) = text.hash() {
            self.said.streamed(index, text.channel(), place, hash);
        }
        self.calls.name(place, &mut found);
        if let Some(lock) = self.lock_of.get(index).copied().flatten() {
            self.desk_into(batch, |locks, desk| {
                locks.found(lock, &found);
                locks.feed(lock, &rest, None, desk)?;
                locks.end(lock, desk)
            })?;
        }
        batch.add(found, Target::Text(index));
        Ok(())
    }

    /// Holds what redactions leave of a text to its schemas.
    fn recheck(&mut self, facts: &ResponseFacts) -> Result<(), Block> {
        for index in 0..self.texts.len() {
            let (Some(text), Some(lock)) = (self.texts.get(index), self.lock_of.get(index).copied().flatten()) else {
                continue;
            };
            let spans = text.spans().to_vec();
            self.desk(|locks, desk| locks.recheck(lock, &spans, facts, desk))?;
        }
        let whole = self.queue.iter().flat_map(|held| &held.segments);
        let mut whole: Vec<_> = whole.filter_map(|one| Some((one.lock?.0, one.spans.clone()))).collect();
        whole.extend(self.said.redacted().map(|(lock, spans)| (lock, spans.to_vec())));
        for (lock, spans) in whole {
            self.desk(|locks, desk| locks.recheck(lock, &spans, facts, desk))?;
        }
        Ok(())
    }

    /// Places of calls that are still to be judged.
    fn pending_calls(&self) -> Vec<String> {
        let mut places = self.calls.pending();
        places.retain(|place| !self.ended.has_place(place));
        places
    }

    /// The calls that clients make at these places, with their tools.
    fn called(&self, at: impl Fn(&str) -> bool) -> BTreeMap<String, Option<String>> {
        let mut calls = self.calls.called_all(&self.free);
        calls.retain(|place, _| at(place) && !self.ended.has_place(place));
        calls
    }

    /// A choice is complete, where choices end alone.
    fn finish_choice(&mut self, choice: u64) -> Result<(), Block> {
        if self.ended.has(choice) {
            return Ok(());
        }
        for index in 0..self.texts.len() {
            if self.choice_of.get(index).copied().flatten() == Some(choice) {
                self.end_text(index)?;
            }
        }
        let number = choice.to_string();
        let calls = self.called(|place| is_in(place, &number));
        let facts = self.facts.clone();
        self.desk(|locks, desk| locks.finish_choice(choice, &facts, &calls, desk))?;
        self.recheck(&facts)
    }

    /// Takes what is still here of choices that broke their schemas out of the events that wait. The newest of these says that
    /// the choice has ended; where none is left to say it, the answer ends.
    fn end_choices(&mut self) -> Result<(), Block> {
        for (choice, block) in self.locks.take_ended() {
            let Some(held) = self.queue.iter_mut().rfind(|held| held.tells(choice)) else { return Err(block) };
            held.ends.push(choice);
            self.ended.end(choice, block);
            for held in &mut self.queue {
                for one in &mut held.segments {
                    one.gone |= choices::choice_of(self.surface.choices.as_ref(), &one.segment) == Some(choice);
                }
                held.shows = held.segments.iter().any(|one| !one.gone && shows(&one.segment));
            }
            if !self.opened {
                self.first_shown = self.queue.iter().position(|held| held.shows);
            }
        }
        Ok(())
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

    /// Lets go of the events at the front that nothing holds any more.
    fn release(&mut self, complete: bool, out: &mut Vec<Released>) -> Result<(), Block> {
        if !complete && !self.opens() {
            return Ok(());
        }
        while let Some(held) = self.queue.front() {
            if self.waits(held) && !complete {
                break;
            }
            let Some(mut held) = self.queue.pop_front() else { break };
            self.held_bytes = self.held_bytes.saturating_sub(held.frame.raw.len());
            let Dressed { data, empty } = self.dress(&mut held)?;
            if empty || held.ours == Ours::Everything {
                continue;
            }
            self.shown.note(&held.mark, data.as_ref().or(held.frame.data.as_ref()));
            let bytes = match data {
                Some(data) => held.frame.with_data(&data).ok_or_else(broken)?,
                None => held.frame.raw.clone(),
            };
            out.push(Released::new(bytes));
        }
        Ok(())
    }

    /// An answer that is held to a schema begins with an event that shows something: until then a violation is an error of
    /// HTTP, and not one in the middle of a stream.
    fn opens(&mut self) -> bool {
        if self.opened || !self.locks.any() || !self.judge.enforces() {
            return true;
        }
        if self.locks.may_ask() {
            return false;
        }
        // That one first: in most cases it is what is waited for.
        let waits = |at: usize| self.queue.get(at).is_none_or(|held| self.waits(held));
        self.opened = self.first_shown.is_some_and(|at| !waits(at) && !(0..at).any(waits));
        self.opened
    }

    fn waits(&self, held: &Held) -> bool {
        held.terminal || self.judge.enforces() && held.segments.iter().any(|one| self.holds(one))
    }

    fn holds(&self, one: &HeldSegment) -> bool {
        let place = &one.segment.path_index;
        if one.gone {
            return false;
        }
        if one.judged && self.calls.is_pending(place) || one.vouched && !self.locks.calls(place) {
            return true;
        }
        if one.lock.is_some_and(|(lock, length)| length > self.locks.settled(lock)) {
            return true;
        }
        let Some((index, piece)) = &one.text else { return false };
        self.texts.get(*index).is_none_or(|text| piece.reach > text.settled())
            || self.lock_of.get(*index).copied().flatten().is_some_and(|lock| piece.reach > self.locks.settled(lock))
    }

    /// The data of an event as it may leave, where that is not how it came.
    fn dress(&mut self, held: &mut Held) -> Result<Dressed, Block> {
        let Some(data) = held.frame.data.clone() else { return Ok(Dressed::default()) };
        let edited = self.edit(&data, held)?;
        let Some(of) = self.surface.choices.as_ref().filter(|_| held.tells_any(&self.ended)) else {
            return Ok(Dressed { data: edited, empty: false });
        };
        let fate = |choice| match held.ends.contains(&choice) {
            true => Fate::Ends((of.in_stream)(choice, self.shown.begun(choice), self.ended.reason(choice))),
            false if self.ended.has(choice) => Fate::Goes,
            false => Fate::Stays,
        };
        let rest = choices::rest(of, edited.as_ref().unwrap_or(&data), fate).ok_or_else(broken)?;
        held.mark.opens.retain(|choice| !self.ended.has(*choice));
        held.mark.closes.retain(|choice| !self.ended.has(*choice));
        held.mark.closes.append(&mut held.ends);
        Ok(Dressed { data: Some(rest.data), empty: rest.empty })
    }

    fn edit(&mut self, data: &Bytes, held: &mut Held) -> Result<Option<Bytes>, Block> {
        let mut patches = Vec::new();
        for one in held.segments.iter_mut().filter(|one| !one.gone) {
            let mut none = [];
            let (before, edits) = match (&one.text, one.origin) {
                (Some((index, piece)), _) => {
                    let mend = match self.lock_of.get(*index).copied().flatten() {
                        Some(lock) => self.locks.edits(lock),
                        None => &mut none,
                    };
                    let Some(text) = self.texts.get_mut(*index) else { continue };
                    (piece.before.clone(), text.edits(piece, mend))
                }
                (None, Some(origin)) => {
                    let redact = match origin {
                        Origin::Streamed(index) => self.texts.get(index).map_or(&[][..], Text::spans),
                        Origin::Whole(index) => self.said.spans(index),
                    };
                    let mend = match one.lock {
                        Some((lock, _)) => self.locks.edits(lock),
                        None => &mut none,
                    };
                    (TextDecoder::default(), edits_again(redact, mend))
                }
                (None, None) => {
                    let mend = match one.lock {
                        Some((lock, _)) => self.locks.edits(lock),
                        None => &mut none,
                    };
                    (TextDecoder::default(), all_edits_for(&mut one.spans, mend, 0, u64::MAX))
                }
            };
            let edits = edits.ok_or_else(broken)?;
            if !edits.is_empty() {
                patches.push(patch(data, &one.segment, before, &edits));
            }
        }
        if !patches.is_empty() {
            patches.extend(held.repeats.drain(..).map(replace));
        }
        if let Ours::Member(range) = &held.ours {
            patches.push(replace(Replaced { range: range.clone(), with: "" }));
        }
        if patches.is_empty() {
            return Ok(None);
        }
        Ok(Some(apply(data, patches, Limits::default()).ok_or_else(broken)?.into()))
    }
}

/// A place is that of a block, or lies in it.
fn is_in(place: &str, block: &str) -> bool {
    place.strip_prefix(block).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether clients show this text.
fn shows(segment: &Segment) -> bool {
    use Channel::{Content, FunctionCall, Reasoning, Refusal, ToolArguments, ToolName};
    let shown = matches!(segment.channel, Content | FunctionCall | Reasoning | Refusal | ToolArguments | ToolName);
    shown && !segment.range.is_empty()
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
