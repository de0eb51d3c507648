//! Inspecting an answer while it streams.
//!
//! Its promise: an event is released when, and only when, every byte of its text lies before the place where a match
//! could still begin, in each channel it touches; events keep their order and their bytes. What is redacted is rewritten
//! in the events that carry it; at a block nothing behind the last released event leaves.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use clyra_detectors::Engine;

use super::calls::{Calls, TooMany};
use super::channel::{Piece, Text, hide_names};
use super::document::{broken, cannot_redact, decoded, scan_whole};
use super::judge::{Block, Cause, Found, Gap, Judge, Report, SchemaBreach};
use super::said::{Origin, Said};
use super::schema::{Binding, Locks, SchemaReport};
use super::splice::{Span, add_span, apply, edits_for, patch, replace};
use super::witness::Released;
use crate::json::{Doc, Limits, TextDecoder};
use crate::surface::{Form, Join, Mark, Replaced, ResponseFacts, Segment, Shown, Signal, Surface};
use crate::wire::sse::{Frame, Framer};

/// Most bytes of an answer that may be held back at one time. Buffer mode holds a whole answer; today's longest are
/// around one MiB of events.
pub const HELD_BYTES_MAX: usize = 16 << 20;

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
    calls: Calls,
    said: Said,
    locks: Locks,
    /// What has been released, as far as an ending has to fit it.
    pub shown: Shown,
    queue: VecDeque<Held>,
    held_bytes: usize,
    /// The terminal event has come: everything from it on waits for the end.
    done: bool,
    answered: bool,
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
}

#[derive(Debug)]
struct HeldSegment {
    segment: Segment,
    text: Option<(usize, Piece)>,
    /// Where this text was said first, if it may be said several times.
    origin: Option<Origin>,
    spans: Vec<Span>,
    /// Held until the answer is complete (schema) or the call is judged (tool rules).
    locked: Option<LockedBy>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LockedBy {
    Schema,
    ToolCall,
}

/// The end of an inspected stream.
#[derive(Debug)]
pub struct StreamEnd {
    /// What is still to be sent, the terminal event last; nothing of it has left yet.
    pub tail: Vec<Released>,
    pub schema: SchemaReport,
}

impl<J: Judge> StreamGuard<J> {
    pub fn new(surface: &'static Surface, engine: Arc<Engine>, judge: J, bindings: Vec<Binding>) -> Self {
        Self {
            surface,
            engine,
            judge,
            report: Report::default(),
            facts: ResponseFacts::default(),
            framer: Framer::default(),
            texts: Vec::new(),
            by_key: BTreeMap::new(),
            places: Vec::new(),
            calls: Calls::default(),
            said: Said::default(),
            shown: Shown::default(),
            locks: Locks::new(bindings),
            queue: VecDeque::new(),
            held_bytes: 0,
            done: false,
            answered: false,
        }
    }

    /// True once the event that ends the answer for a client has come.
    pub fn done(&self) -> bool {
        self.done
    }

    /// Takes bytes as they come; appends the events that may leave, one [`Released`] each. What was appended before a
    /// block may leave all the same: it does not depend on how the bytes were cut.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<Released>) -> Result<(), Block> {
        let mut frames = Vec::new();
        let framed = self.framer.feed(bytes, &mut frames);
        for frame in frames {
            self.event(frame)?;
            self.release(false, out)?;
        }
        if framed.is_err() || self.held_bytes + self.framer.pending_bytes() > HELD_BYTES_MAX {
            self.report.gaps.insert(Gap::Oversize);
            // Without its bytes the stream cannot go on, whatever the policy says about failures.
            return Err(self.judge.gap(Gap::Oversize, Cause::BadAnswer).unwrap_or_else(too_much));
        }
        Ok(())
    }

    /// The upstream has ended in good order.
    pub fn finish(&mut self) -> Result<StreamEnd, Block> {
        if let Some(frame) = self.framer.finish() {
            self.event(frame)?;
        }
        for index in 0..self.texts.len() {
            self.end_text(index)?;
        }
        for place in self.calls.pending() {
            self.judge_call(&place)?;
        }
        let mut schema = self.locks.finish(&self.facts);
        if schema.breach.is_none() {
            schema.breach = self.recheck()?;
        }
        if let Some(breach) = &schema.breach
            && let Some(block) = self.judge.schema(breach)
        {
            return Err(block);
        }
        if let Some(block) = self.judge.answer(&self.facts, true) {
            return Err(block);
        }
        let mut tail = Vec::new();
        self.release(true, &mut tail)?;
        Ok(StreamEnd { tail, schema })
    }

    fn event(&mut self, frame: Frame) -> Result<(), Block> {
        let mut held =
            Held { frame, segments: Vec::new(), repeats: Vec::new(), mark: Mark::default(), terminal: false };
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
        self.queue.push_back(held);
        self.rule(batch)?;
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
        for segment in crate::surface::segments((self.surface.event)(root), root) {
            let raw = data.get(segment.range.clone()).unwrap_or_default();
            held.repeats.extend(segment.repeats.clone());
            if segment.form == Form::Media {
                self.report.gaps.insert(Gap::Media);
                continue;
            }
            let position = held.segments.len();
            let one = match segment.join {
                Join::Whole => self.whole(segment, raw, position, batch)?,
                Join::Stream => self.streamed(segment, raw, batch)?,
                Join::Again => self.again(segment, raw, position, batch)?,
            };
            held.segments.push(one);
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
                for place in self.calls.pending() {
                    self.judge_call(&place)?;
                }
            }
            Signal::Done => self.done = true,
        }
        Ok(())
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
        position: usize,
        batch: &mut Batch,
    ) -> Result<HeldSegment, Block> {
        let text = decoded(&segment, raw);
        let noted = self.calls.note_part(&segment, &text);
        self.follow(noted)?;
        self.locks.note(segment.channel, &text);
        let (mut found, failed) = scan_whole(&self.engine, &segment, &text, &mut self.report);
        self.calls.name(&segment.path_index, &mut found);
        batch.failed |= failed;
        batch.names.extend(Some(segment.pointer.clone()).filter(|_| segment.name && !found.is_empty()));
        batch.add(found, Target::Whole { position });
        let tool = segment.channel.is_tool_call() && self.judge.wants_tool_calls();
        let locked = tool.then_some(LockedBy::ToolCall);
        Ok(HeldSegment { segment, text: None, origin: None, spans: Vec::new(), locked })
    }

    /// A text that may have been said before: then what was decided of it holds here as well.
    fn again(
        &mut self,
        segment: Segment,
        raw: &[u8],
        position: usize,
        batch: &mut Batch,
    ) -> Result<HeldSegment, Block> {
        if let Some(index) = self.by_key.get(&segment.key).copied() {
            self.end_into(index, batch)?;
        }
        let text = decoded(&segment, raw);
        let bound = self.locks.binds(segment.channel);
        let known = self.said.find(&segment, &text);
        let mut held = if known.is_some() {
            let tool = segment.channel.is_tool_call() && self.judge.wants_tool_calls();
            let locked = tool.then_some(LockedBy::ToolCall);
            HeldSegment { segment, text: None, origin: known, spans: Vec::new(), locked }
        } else {
            let origin = self.said.whole(&segment, &text, bound);
            if bound
                && let Some(breach) = self.locks.feed(&format!("{}#{origin:?}", segment.key), &text)
                && let Some(block) = self.judge.schema(&breach)
            {
                return Err(block);
            }
            HeldSegment { origin, ..self.whole(segment, raw, position, batch)? }
        };
        if bound {
            held.locked = Some(LockedBy::Schema);
        }
        Ok(held)
    }

    /// Where calls are judged, one that is not followed is not inspected.
    fn follow(&mut self, noted: Result<(), TooMany>) -> Result<(), Block> {
        if noted.is_ok() || !self.judge.wants_tool_calls() {
            return Ok(());
        }
        self.report.gaps.insert(Gap::Oversize);
        self.judge.gap(Gap::Oversize, Cause::BadAnswer).map_or(Ok(()), Err)
    }

    fn streamed(&mut self, segment: Segment, raw: &[u8], batch: &mut Batch) -> Result<HeldSegment, Block> {
        let tool = segment.channel.is_tool_call() && self.judge.wants_tool_calls();
        let bound = self.locks.binds(segment.channel);
        if tool {
            let noted = self.calls.note(&segment.path_index);
            self.follow(noted)?;
        }
        let index = self.text_for(&segment, tool || bound, batch)?;
        let mut found = Vec::new();
        let Some(text) = self.texts.get_mut(index) else { return Err(too_much()) };
        let piece = text.feed(raw, &segment, &mut found, &mut self.report);
        batch.failed |= text.failed();
        self.calls.name(&segment.path_index, &mut found);
        batch.add(found, Target::Text(index));
        if self.locks.any() {
            // The schema judges the text as it came; redactions are applied to what was accepted.
            let mut decoder = piece.before.clone();
            let mut piece_text = String::new();
            decoder.feed(raw, &mut piece_text);
            self.locks.note(segment.channel, &piece_text);
            if bound
                && let Some(breach) = self.locks.feed(&segment.key, &piece_text)
                && let Some(block) = self.judge.schema(&breach)
            {
                return Err(block);
            }
        }
        let locked = match (bound, tool) {
            (true, _) => Some(LockedBy::Schema),
            (_, true) => Some(LockedBy::ToolCall),
            _ => None,
        };
        Ok(HeldSegment { segment, text: Some((index, piece)), origin: None, spans: Vec::new(), locked })
    }

    /// The text that this segment continues.
    fn text_for(&mut self, segment: &Segment, keep: bool, batch: &mut Batch) -> Result<usize, Block> {
        if let Some(index) = self.by_key.get(&segment.key).copied() {
            if self.texts.get(index).is_some_and(|t| !t.ended()) {
                return Ok(index);
            }
            // A block that goes on after its end: clients put it together, so it was never settled.
            self.report.gaps.insert(Gap::Unreadable);
            if let Some(block) = self.judge.gap(Gap::Unreadable, Cause::BadAnswer) {
                return Err(block);
            }
        }
        if self.texts.len() >= CHANNELS_MAX {
            batch.failed = true;
            return Err(too_much());
        }
        let index = self.texts.len();
        let text = Text::new(&self.engine, segment, keep);
        self.texts.push(if self.surface.repeats { text.hashed() } else { text });
        self.places.push(segment.path_index.clone());
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
        text.end(&mut found, &mut self.report);
        batch.failed |= text.failed();
        let place = self.places.get(index).map_or("", String::as_str);
        if let Some(hash) = text.hash() {
            self.said.streamed(index, text.channel(), place, hash);
        }
        self.calls.name(place, &mut found);
        batch.add(found, Target::Text(index));
        Ok(())
    }

    /// The first schema that a redaction breaks.
    fn recheck(&self) -> Result<Option<SchemaBreach>, Block> {
        for text in self.texts.iter().filter(|text| self.locks.binds(text.channel())) {
            match text.redacted() {
                None => {}
                Some(Err(())) => return Err(broken()),
                Some(Ok(text)) => match self.locks.recheck(&text, &self.facts) {
                    None => {}
                    breach => return Ok(breach),
                },
            }
        }
        Ok(self.said.redacted().find_map(|text| self.locks.recheck(&text, &self.facts)))
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
        while let Some(held) = self.queue.front() {
            let holds = held.terminal || self.judge.enforces() && held.segments.iter().any(|s| self.holds(s));
            if holds && !complete {
                break;
            }
            let Some(mut held) = self.queue.pop_front() else { break };
            self.held_bytes = self.held_bytes.saturating_sub(held.frame.raw.len());
            let data = self.dress(&mut held)?;
            self.shown.note(&held.mark, data.as_ref().or(held.frame.data.as_ref()));
            out.push(Released::new(data.map_or(held.frame.raw.clone(), |data| held.frame.with_data(&data))));
        }
        Ok(())
    }

    fn holds(&self, one: &HeldSegment) -> bool {
        match one.locked {
            Some(LockedBy::Schema) => return true,
            Some(LockedBy::ToolCall) if self.calls.is_pending(&one.segment.path_index) => return true,
            _ => {}
        }
        let Some((index, piece)) = &one.text else { return false };
        self.texts.get(*index).is_none_or(|text| piece.reach > text.settled())
    }

    /// The data of an event as it may leave, where that is not how it came.
    fn dress(&mut self, held: &mut Held) -> Result<Option<Bytes>, Block> {
        let Some(data) = held.frame.data.clone() else { return Ok(None) };
        let mut patches = Vec::new();
        for one in &mut held.segments {
            let (before, edits) = match (&one.text, one.origin) {
                (Some((index, piece)), _) => match self.texts.get_mut(*index) {
                    Some(text) => (piece.before.clone(), text.edits(piece)),
                    None => continue,
                },
                (None, Some(Origin::Streamed(index))) => {
                    let text = self.texts.get(index);
                    (TextDecoder::default(), text.map(Text::edits_again).unwrap_or_default())
                }
                (None, Some(Origin::Whole(index))) => (TextDecoder::default(), self.said.edits(index)),
                (None, None) => (TextDecoder::default(), edits_for(&mut one.spans, 0, u64::MAX)),
            };
            if !edits.is_empty() {
                patches.push(patch(&data, &one.segment, before, &edits));
            }
        }
        if patches.is_empty() {
            return Ok(None);
        }
        patches.extend(held.repeats.drain(..).map(replace));
        Ok(Some(apply(&data, patches, Limits::default()).ok_or_else(broken)?.into()))
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
