//! One event as it comes: its texts are found, scanned and held, and what it says of the answer is noted.

use bytes::Bytes;

use super::held::{Held, shows};
use super::{Batch, StreamGuard, Target, is_in};
use crate::guard::count::{Ours, ours};
use crate::guard::document::scan_whole;
use crate::guard::judge::{Block, Cause, Gap, Judge};
use crate::json::{Doc, Limits};
use crate::surface::{Form, Join, Mark, Segment, Signal};
use crate::wire::Frame;

impl<J: Judge> StreamGuard<J> {
    pub(super) fn event(&mut self, frame: Frame) -> Result<(), Block> {
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
}
