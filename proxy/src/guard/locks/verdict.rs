//! The verdicts of locks: when a text, a choice or the answer has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use clyra_schemas::{End, Mode, Outcome, RepairPolicy, Step};

use super::{Desk, Locks};
use crate::guard::judge::Block;
use crate::guard::locked::{State, Whose, conflicting};
use crate::guard::repairs;
use crate::guard::schema::{Binding, SchemaReport, Scope, breach, breach_of};
use crate::guard::splice::{Span, redacted};
use crate::surface::{Channel, ResponseFacts, Segment};

impl Locks {
    /// Nothing more will come of a text. Where text leaves as it is checked, one whose document is complete is judged now;
    /// another waits to hear why it ended. Whole answers that are held leave whole.
    pub(in crate::guard) fn end(&mut self, at: usize, desk: &mut Desk<'_>) -> Result<(), Block> {
        let Some(text) = self.texts.get(at).filter(|text| text.whose == Whose::Content) else { return Ok(()) };
        let complete = text.locks.iter().filter(|one| one.counts()).all(|one| {
            let mode = self.bindings.get(one.binding).map(|bound| bound.terms.mode);
            one.state == State::Complete && mode != Some(Mode::Buffer)
        });
        if complete && text.fed > 0 { self.finish_text(at, End::Stop, desk) } else { Ok(()) }
    }

    /// A text goes on after its end, of which its locks would know nothing.
    pub(in crate::guard) fn reopened(&mut self, at: usize, desk: &mut Desk<'_>) -> Result<(), Block> {
        let Some(text) = self.texts.get(at) else { return Ok(()) };
        let fed = text.fed;
        let counting: Vec<usize> =
            text.locks.iter().enumerate().filter(|(_, one)| one.counts()).map(|(number, _)| number).collect();
        for number in counting {
            self.break_lock(at, number, |id, digest| breach_of(id, digest, "trailing_bytes", "", fed), desk)?;
        }
        Ok(())
    }

    /// The answer is complete: every lock gives its verdict. `calls` are all tool calls, with the names that are known.
    pub(in crate::guard) fn finish(
        &mut self,
        facts: &ResponseFacts,
        calls: &BTreeMap<String, Option<String>>,
        desk: &mut Desk<'_>,
    ) -> Result<(), Block> {
        self.finish_texts(None, facts, calls, desk)?;
        self.done = true;
        self.report(&mut desk.report.schema);
        Ok(())
    }

    /// One choice is complete, where choices end alone: its locks give their verdict before a client hears that it is.
    pub(in crate::guard) fn finish_choice(
        &mut self,
        choice: u64,
        facts: &ResponseFacts,
        calls: &BTreeMap<String, Option<String>>,
        desk: &mut Desk<'_>,
    ) -> Result<(), Block> {
        self.finish_texts(Some(choice), facts, calls, desk)
    }

    fn finish_texts(
        &mut self,
        only: Option<u64>,
        facts: &ResponseFacts,
        calls: &BTreeMap<String, Option<String>>,
        desk: &mut Desk<'_>,
    ) -> Result<(), Block> {
        // Where calls are held together whatever choice they are of, they wait for the answer's end.
        let tools = |bound: &Binding| matches!(bound.scope, Scope::Tools(_)) && bound.terms.choices <= 1;
        let calls_too = only.is_none() || !self.bindings.iter().any(tools);
        if calls_too && self.bind_tools() {
            let known: BTreeSet<&str> =
                self.texts.iter().filter(|t| t.whose != Whose::Content).map(|t| t.place.as_str()).collect();
            let bare: Vec<&String> = calls.keys().filter(|place| !known.contains(place.as_str())).collect();
            for place in bare {
                // A call without arguments is one with none: its tool may want some.
                let segment = Segment {
                    channel: Channel::ToolArguments,
                    path_index: place.clone(),
                    index: place.split('/').next().unwrap_or_default().to_owned(),
                    ..Segment::loose(crate::surface::Form::Text)
                };
                self.open(&segment, None, desk)?;
            }
        }
        for at in 0..self.texts.len() {
            let Some(text) = self.texts.get(at).filter(|text| !text.ended) else { continue };
            let is_call = text.whose != Whose::Content;
            if only.is_some_and(|only| text.choice() != Some(only) || is_call && !calls_too) {
                continue;
            }
            if is_call {
                match calls.get(&text.place).and_then(Option::as_deref) {
                    Some(tool) => self.call(at, tool, desk)?,
                    None => self.refuse_tool(at, desk)?,
                }
            }
            let end = self.texts.get(at).map_or(End::UpstreamError, |text| end(facts.reason_of(&text.index)));
            self.finish_text(at, end, desk)?;
        }
        Ok(())
    }

    fn finish_text(&mut self, at: usize, end: End, desk: &mut Desk<'_>) -> Result<(), Block> {
        let clock = Instant::now();
        let excused = self.excused;
        let Some(text) = self.texts.get_mut(at) else { return Ok(()) };
        text.ended = true;
        let empty = text.fed == 0 && text.whose == Whose::Content;
        let spared =
            empty && (excused || matches!(end, End::Length | End::ContentFilter | End::Refusal | End::ToolCalls));
        let mut broken = Vec::new();
        for (number, one) in text.locks.iter_mut().enumerate().filter(|(_, one)| one.counts()) {
            match if spared { Outcome::Pass } else { one.lock.finish(end) } {
                Outcome::Pass => one.state = State::Passed,
                Outcome::Block(violation) => broken.push((number, violation)),
                // A verdict that this version does not know is none.
                _ => return Err(conflicting()),
            }
            one.edits.extend(one.lock.take_edits());
        }
        for (number, violation) in broken {
            self.break_lock(at, number, |id, digest| breach(id, digest, &violation), desk)?;
        }
        let Some(text) = self.texts.get_mut(at).filter(|text| !text.gone) else { return Ok(()) };
        let refused = !self.enforces && text.locks.iter().any(|one| !one.counts());
        let shadows = text.locks.iter_mut().filter(|_| refused);
        self.cure.take(shadows.map(|one| one.shadow.take().and_then(|shadow| shadow.finish(end))));
        text.agree()?;
        if text.locks.iter().any(|one| !one.edits.is_empty()) {
            return Err(conflicting());
        }
        text.mend(desk);
        text.end_mended(desk);
        text.depart(u64::MAX, desk);
        desk.report.schema.enforce_us += clock.elapsed().as_micros() as u64;
        Ok(())
    }

    /// Judges a text as it is about to leave, where redactions have changed it since its locks spoke.
    pub(in crate::guard) fn recheck(
        &mut self,
        at: usize,
        redactions: &[Span],
        facts: &ResponseFacts,
        desk: &mut Desk<'_>,
    ) -> Result<(), Block> {
        let Some(text) = self.texts.get(at).filter(|_| !redactions.is_empty()) else { return Ok(()) };
        let mut spans: Vec<Span> = redactions.iter().chain(&text.edits).cloned().collect();
        spans.sort_by_key(|span| (span.start, span.end));
        let left = redacted(&text.text, &spans);
        let end = end(facts.reason_of(&text.index));
        for number in 0..text.locks.len() {
            let Some(one) = self.texts.get(at).and_then(|text| text.locks.get(number)) else { continue };
            if one.state != State::Passed {
                continue;
            }
            let mut lock = one.schema.contract.lock(Mode::Buffer, RepairPolicy::NONE);
            let violation = match lock.feed(&left) {
                Step::Violation(violation) => Some(violation),
                _ => match lock.finish(end) {
                    Outcome::Pass => None,
                    Outcome::Block(violation) => Some(violation),
                    _ => return Err(conflicting()),
                },
            };
            if let Some(violation) = violation {
                self.break_lock(at, number, |id, digest| breach(id, digest, &violation), desk)?;
            }
        }
        Ok(())
    }

    fn report(&self, report: &mut SchemaReport) {
        let edited = self.texts.iter().filter(|text| !text.edits.is_empty());
        let edits = edited.clone().flat_map(|text| {
            text.edits
                .iter()
                .zip(&text.classes)
                .map(move |(edit, class)| repairs::Line::of(text.channel, &text.place, edit, class))
        });
        let by = edited.flat_map(|text| &text.locks).find(|one| one.counts());
        let by = by.and_then(|one| Some((self.bindings.get(one.binding)?.id.clone(), one.schema.digest.clone())));
        report.repairs = repairs::summary(edits.collect(), by);
        report.would_repair = if self.enforces { BTreeMap::new() } else { self.cure.kinds() };
        report.finished = true;
    }
}

/// Why an answer ended, in SchemaLock's words. Only what says that the model was done counts as that: an answer that was cut
/// off must not be closed.
fn end(reason: Option<&str>) -> End {
    match reason {
        Some("stop" | "end_turn" | "eos" | "completed" | "STOP") => End::Stop,
        Some("tool_calls" | "tool_use" | "function_call") => End::ToolCalls,
        Some("length" | "max_tokens" | "model_length") => End::Length,
        Some("content_filter") => End::ContentFilter,
        Some("refusal") => End::Refusal,
        Some(_) => End::Cancelled,
        None => End::UpstreamError,
    }
}
