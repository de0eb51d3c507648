//! The texts of a stream: each piece is decoded, scanned, and given to the locks on its text.

use clyra_detectors::View;

use super::held::HeldSegment;
use super::{Batch, CHANNELS_MAX, StreamGuard, Target, too_much};
use crate::guard::calls::TooMany;
use crate::guard::channel::{Text, view};
use crate::guard::choices;
use crate::guard::document::{decoded, is_clients_call, scan_viewed};
use crate::guard::judge::{Block, Cause, Found, Gap, Judge};
use crate::guard::said::Origin;
use crate::json::Value;
use crate::surface::{Channel, Form, ResponseFacts, Segment};

impl<J: Judge> StreamGuard<J> {
    pub(super) fn whole(
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
    pub(super) fn again(
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
    pub(super) fn lock_at(&self, origin: Origin) -> Option<usize> {
        match origin {
            Origin::Streamed(index) => self.lock_of.get(index).copied().flatten(),
            Origin::Whole(index) => self.said.lock(index),
        }
    }

    /// Locks for a text that stands alone, and whether a lock must vouch for its call first.
    pub(super) fn lock_whole(
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
    pub(super) fn is_free(&mut self, segment: &Segment, root: Value<'_>) -> bool {
        if !segment.channel.is_tool_call() || !self.locks.bind_tools() {
            return false;
        }
        if !is_clients_call(root, &segment.pointer) {
            self.free.insert(segment.path_index.clone());
        }
        self.free.contains(&segment.path_index)
    }

    /// Whether a text ended with its choice. Some providers say once more that nothing comes of it.
    pub(super) fn is_over(&self, segment: &Segment) -> bool {
        let text = self.by_key.get(&segment.key).and_then(|index| self.texts.get(*index));
        self.locks.apart() && text.is_some_and(Text::ended)
    }

    /// Where calls are judged, one that is not followed is not inspected.
    pub(super) fn follow(&mut self, noted: Result<(), TooMany>) -> Result<(), Block> {
        if noted.is_err() && self.locks.bind_tools() {
            self.desk(|locks, desk| locks.refuse_call(desk))?;
        }
        if noted.is_ok() || !self.judge.wants_tool_calls() {
            return Ok(());
        }
        self.report.gaps.insert(Gap::Oversize);
        self.judge.gap(Gap::Oversize, Cause::BadAnswer).map_or(Ok(()), Err)
    }

    pub(super) fn streamed(
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
    pub(super) fn text_for(
        &mut self,
        segment: &Segment,
        keep: bool,
        bound: bool,
        batch: &mut Batch,
    ) -> Result<usize, Block> {
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

    pub(super) fn end_text(&mut self, index: usize) -> Result<(), Block> {
        let mut batch = Batch::default();
        self.end_into(index, &mut batch)?;
        self.rule(batch)
    }

    pub(super) fn end_into(&mut self, index: usize, batch: &mut Batch) -> Result<(), Block> {
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
    pub(super) fn recheck(&mut self, facts: &ResponseFacts) -> Result<(), Block> {
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
}
