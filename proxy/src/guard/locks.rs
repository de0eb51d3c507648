//! The locks of one answer: each text that a schema binds has its own, and leaves no further than all of them let it.
//!
//! A lock that speaks against its text is heard by the judge. Where the policy only records, the lock is done with: the text
//! goes on as it comes, without what was still to be mended in it.

mod calls;
mod verdict;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clyra_detectors::Engine;
use clyra_schemas::{Mode, RepairPolicy, Step};

use super::again::Invalid;
use super::judge::{Block, Cause, Found, Judge, Report};
use super::locked::{LockedText, One, State, Whose};
use super::schema::{Binding, Schema, Scope, breach, breach_of};
use super::shadow::{Cure, Shadow};
use super::splice::Span;
use crate::surface::{Channel, Segment};

/// Text of one answer that is kept for its locks: what is mended or redacted is judged as a whole. Sixteen documents of the
/// largest size.
const KEPT_BYTES_MAX: usize = 16 << 20;

/// Texts of one answer that are bound. More is not a conversation.
const TEXTS_MAX: usize = 4_096;

/// Findings of one text that are remembered, so that its mended form is not charged with them again.
const FOUND_MAX: usize = 512;

/// What every call needs beside the text.
pub(super) struct Desk<'d> {
    pub(super) engine: &'d Arc<Engine>,
    pub(super) judge: &'d mut dyn Judge,
    pub(super) report: &'d mut Report,
    /// Time since the answer began.
    pub(super) now: Duration,
    /// Findings in mended texts, to be ruled on.
    pub(super) found: Vec<Found>,
    pub(super) failed: bool,
}

/// The locks of one answer.
#[derive(Debug, Default)]
pub(super) struct Locks {
    bindings: Vec<Binding>,
    enforces: bool,
    texts: Vec<LockedText>,
    kept: usize,
    /// The model refused or called a tool instead: then an empty text breaks nothing.
    excused: bool,
    done: bool,
    /// The answer has choices that may be ended alone.
    apart: bool,
    cure: Cure,
    ended: BTreeMap<u64, Block>,
}

impl Locks {
    pub(super) fn new(bindings: Vec<Binding>, enforces: bool) -> Locks {
        Locks { bindings, enforces, ..Locks::default() }
    }

    /// The same for an answer with choices, where `apart` says that one of them may be ended alone.
    pub(super) fn with_choices(mut self, apart: bool) -> Locks {
        self.apart = apart && self.enforces && self.bindings.iter().any(|bound| bound.terms.choices > 1);
        self
    }

    /// True if a choice that breaks its schema may be ended alone.
    pub(super) fn apart(&self) -> bool {
        self.apart
    }

    /// The choices that were ended since this was asked last, and why.
    pub(super) fn take_ended(&mut self) -> BTreeMap<u64, Block> {
        std::mem::take(&mut self.ended)
    }

    pub(super) fn any(&self) -> bool {
        !self.bindings.is_empty()
    }

    pub(super) fn bind_tools(&self) -> bool {
        self.bindings.iter().any(|b| matches!(b.scope, Scope::Tools(_)))
    }

    /// True if this text has locks.
    pub(super) fn binds(&self, segment: &Segment) -> bool {
        match segment.channel {
            // What a provider's tool was told stands among the content, and is no answer.
            Channel::Content if segment.pointer.ends_with("/revised_prompt") => false,
            Channel::Content => self.bindings.iter().any(|b| matches!(b.scope, Scope::Content(_))),
            Channel::ToolArguments | Channel::FunctionCall => self.bind_tools(),
            _ => false,
        }
    }

    /// True if whoever reads texts of this channel reads JSON.
    pub(super) fn reads_json(&self, channel: Channel) -> bool {
        channel == Channel::Content
            && self.bindings.iter().any(|b| matches!(&b.scope, Scope::Content(schema) if schema.contract.is_json()))
    }

    /// True if nothing that breaks a schema in this channel is kept from leaving: then redactions need not keep it whole.
    pub(super) fn only_record(&self, channel: Channel) -> bool {
        let mut content = self.bindings.iter().filter(|b| matches!(b.scope, Scope::Content(_))).peekable();
        channel == Channel::Content && content.peek().is_some() && content.all(|b| !b.terms.blocks)
    }

    /// Text that shows that the model did not answer in the schema's channel.
    pub(super) fn note(&mut self, channel: Channel, text: &str) {
        self.excused |= !text.is_empty() && (channel == Channel::Refusal || channel.is_tool_call());
    }

    /// Locks for the text that `segment` begins. `tool` is the tool that is called, where that is known.
    pub(super) fn open(&mut self, segment: &Segment, tool: Option<&str>, desk: &mut Desk<'_>) -> Result<usize, Block> {
        if self.texts.len() >= TEXTS_MAX && self.enforces {
            return Err(too_much());
        }
        let content = segment.channel == Channel::Content;
        let gone = self.apart && segment.index.parse().is_ok_and(|index| desk.report.schema.ended.contains(&index));
        self.texts.push(LockedText {
            channel: segment.channel,
            pointer: segment.pointer.clone(),
            place: segment.path_index.clone(),
            index: segment.index.clone(),
            whose: if content { Whose::Content } else { Whose::SomeTool },
            locks: Vec::new(),
            fed: 0,
            text: String::new(),
            edits: Vec::new(),
            classes: Vec::new(),
            found: Vec::new(),
            mended: None,
            arrivals: VecDeque::new(),
            ended: gone,
            gone,
        });
        let at = self.texts.len() - 1;
        if gone {
            return Ok(at);
        }
        if content {
            for (binding, schema) in self.schemas_of_content() {
                self.add(at, binding, schema, desk.report);
            }
        } else if let Some(tool) = tool {
            self.call(at, tool, desk)?;
        }
        Ok(at)
    }

    fn schemas_of_content(&self) -> Vec<(usize, Schema)> {
        let content = |(at, binding): (usize, &Binding)| match &binding.scope {
            Scope::Content(schema) => Some((at, schema.clone())),
            Scope::Tools(_) => None,
        };
        self.bindings.iter().enumerate().filter_map(content).collect()
    }

    fn add(&mut self, at: usize, binding: usize, schema: Schema, report: &mut Report) {
        let (Some(text), Some(bound)) = (self.texts.get_mut(at), self.bindings.get(binding)) else { return };
        let repair = if text.channel == Channel::Content {
            bound.terms.repair
        } else {
            // Arguments that were cut off are never made to look whole.
            bound.terms.repair.without(clyra_schemas::RepairClass::CloseBrackets)
        };
        report.schema.checked.insert((bound.id.clone(), schema.digest.clone()));
        let (lock, shadow) = if self.enforces {
            (schema.contract.lock(bound.terms.mode, repair), None)
        } else {
            let mends = !repair.is_none() || repair.coerces_any();
            let shadow = mends.then(|| Shadow::new(schema.contract.lock(Mode::Buffer, repair)));
            (schema.contract.lock(Mode::Observe, RepairPolicy::NONE), shadow)
        };
        text.locks.push(One { binding, schema, lock, edits: VecDeque::new(), state: State::Open, shadow });
    }

    /// What a breach in this choice ends: the choice, where others are left, else the answer.
    fn end_or_block(
        &mut self,
        choice: Option<u64>,
        choices: u32,
        block: Block,
        desk: &mut Desk<'_>,
    ) -> Result<(), Block> {
        let ended = &mut desk.report.schema.ended;
        let Some(choice) = choice.filter(|_| self.apart && ended.len() as u64 + 1 < u64::from(choices)) else {
            return Err(block);
        };
        ended.insert(choice);
        self.ended.insert(choice, block);
        for text in self.texts.iter_mut().filter(|text| text.choice() == Some(choice)) {
            (text.gone, text.ended) = (true, true);
            for one in &mut text.locks {
                one.state = State::Waived;
                one.edits.clear();
            }
            text.arrivals.clear();
            self.kept -= text.give_up().min(self.kept);
        }
        Ok(())
    }

    /// Takes the next fragment of a text. `tool` is the tool that is called, as far as it is known.
    pub(super) fn feed(
        &mut self,
        at: usize,
        fragment: &str,
        tool: Option<&str>,
        desk: &mut Desk<'_>,
    ) -> Result<(), Block> {
        let Some(text) = self.texts.get(at) else { return Ok(()) };
        if fragment.is_empty() {
            return Ok(());
        }
        if let (Some(tool), true) = (tool, text.whose != Whose::Content) {
            self.call(at, tool, desk)?;
        }
        self.take(at, fragment, desk)
    }

    fn take(&mut self, at: usize, fragment: &str, desk: &mut Desk<'_>) -> Result<(), Block> {
        let clock = Instant::now();
        let Some(text) = self.texts.get_mut(at).filter(|text| !text.gone) else { return Ok(()) };
        text.fed += fragment.len() as u64;
        // Where nothing is touched, nothing is needed twice.
        let wanted = text.whose == Whose::SomeTool || self.enforces && text.locks.iter().any(One::counts);
        if wanted && self.kept + fragment.len() <= KEPT_BYTES_MAX {
            self.kept += fragment.len();
            text.text.push_str(fragment);
        } else if wanted && self.enforces {
            return Err(too_much());
        }
        text.arrive(desk.now);
        let mut broken = Vec::new();
        for (number, one) in text.locks.iter_mut().enumerate() {
            if let Some(shadow) = &mut one.shadow {
                shadow.feed(fragment);
            }
            if one.state == State::Waived {
                continue;
            }
            match one.lock.feed(fragment) {
                Step::Violation(violation) => broken.push((number, violation)),
                Step::Complete => one.state = State::Complete,
                _ => one.state = State::Open,
            }
            one.edits.extend(one.lock.take_edits());
        }
        for (number, violation) in broken {
            self.break_lock(at, number, |id, digest| breach(id, digest, &violation), desk)?;
        }
        self.follow(at, desk)?;
        desk.report.schema.enforce_us += clock.elapsed().as_micros() as u64;
        Ok(())
    }

    /// A lock speaks against its text: the judge says what that means.
    fn break_lock(
        &mut self,
        at: usize,
        number: usize,
        breach: impl FnOnce(&str, &str) -> super::SchemaBreach,
        desk: &mut Desk<'_>,
    ) -> Result<(), Block> {
        let Some(text) = self.texts.get_mut(at).filter(|text| !text.gone) else { return Ok(()) };
        let Some(one) = text.locks.get_mut(number) else { return Ok(()) };
        let Some(bound) = self.bindings.get(one.binding) else { return Ok(()) };
        if let Some(block) = desk.judge.schema(&breach(&bound.id, &one.schema.digest)) {
            if self.apart && bound.terms.choices > 1 {
                let (choice, choices) = (text.choice(), bound.terms.choices);
                return self.end_or_block(choice, choices, block, desk);
            }
            let invalid = bound.terms.ask_again.filter(|_| text.whose == Whose::Content && !self.excused);
            // The model is shown one text and asked for another: where there are more, nobody knows what it would answer.
            if let (Some(patience), [only]) = (invalid, self.texts.as_slice()) {
                desk.report.schema.invalid = Some((Invalid::new(only.text.clone()), patience));
            }
            return Err(block);
        }
        one.state = State::Waived;
        one.edits.clear();
        if !text.locks.iter().any(One::counts) {
            self.kept -= text.give_up().min(self.kept);
        }
        Ok(())
    }

    /// What follows from the locks' latest words: edits that all agree on, the mended text, and the bounds of what is held.
    fn follow(&mut self, at: usize, desk: &mut Desk<'_>) -> Result<(), Block> {
        let Some(text) = self.texts.get_mut(at).filter(|text| !text.gone) else { return Ok(()) };
        text.agree()?;
        text.mend(desk);
        let settled = text.settled();
        text.depart(settled, desk);
        let fed = text.fed;
        let held = fed.saturating_sub(settled);
        desk.report.schema.held_bytes_max = desk.report.schema.held_bytes_max.max(held);
        let over = text.locks.iter().position(|one| {
            let limit = self.bindings.get(one.binding).map_or(0, |bound| bound.terms.hold.bytes);
            matches!(one.state, State::Open | State::Complete) && fed.saturating_sub(one.settled()) > limit
        });
        match over {
            Some(number) => {
                self.break_lock(at, number, |id, digest| breach_of(id, digest, "hold_bytes", "", settled), desk)
            }
            None => Ok(()),
        }
    }

    /// When the next byte will have been held too long.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.texts.iter().filter_map(|text| Some(text.arrivals.front()?.1 + self.patience(text)?.1)).min()
    }

    /// The lock of a text that holds it with the shortest limit of time, and that limit.
    fn patience(&self, text: &LockedText) -> Option<(usize, Duration)> {
        let fed = text.fed;
        let limit = |(number, one): (usize, &One)| {
            let holds = matches!(one.state, State::Open | State::Complete) && one.settled() < fed;
            Some((number, self.bindings.get(one.binding)?.terms.hold.time)).filter(|_| holds)
        };
        text.locks.iter().enumerate().filter_map(limit).min_by_key(|(_, time)| *time)
    }

    /// Time has passed: what was held too long breaks its lock.
    pub(super) fn tick(&mut self, desk: &mut Desk<'_>) -> Result<(), Block> {
        for at in 0..self.texts.len() {
            while let Some(text) = self.texts.get(at)
                && let Some((from, since)) = text.arrivals.front().copied()
                && let Some((number, limit)) = self.patience(text)
                && since + limit <= desk.now
            {
                desk.report.schema.held_max = desk.report.schema.held_max.max(desk.now - since);
                self.break_lock(at, number, |id, digest| breach_of(id, digest, "hold_time", "", from), desk)?;
            }
        }
        Ok(())
    }

    /// True once the choice of a text has been ended alone.
    pub(super) fn is_gone(&self, at: usize) -> bool {
        self.texts.get(at).is_some_and(|text| text.gone)
    }

    /// Bytes of a text that may be shown, as far as its locks are concerned.
    pub(super) fn settled(&self, at: usize) -> u64 {
        self.texts.get(at).map_or(0, LockedText::settled)
    }

    /// True once something of the call at `place` may be shown, and so its name.
    pub(super) fn calls(&self, place: &str) -> bool {
        let mut at_place = self.texts.iter().filter(|text| text.place == place && text.whose != Whose::Content);
        self.done || at_place.next().is_some_and(|first| first.settled() > 0 && at_place.all(|text| text.settled() > 0))
    }

    /// The edits of a text.
    pub(super) fn edits(&mut self, at: usize) -> &mut [Span] {
        self.texts.get_mut(at).map_or(&mut [], |text| &mut text.edits)
    }

    /// True if nothing may leave before the whole has passed, because the model might be asked once more.
    pub(super) fn may_ask(&self) -> bool {
        self.bindings.iter().any(|bound| bound.terms.ask_again.is_some() && bound.terms.mode == Mode::Buffer)
    }

    /// True once something is to be mended.
    pub(super) fn mends(&self) -> bool {
        self.texts.iter().any(|text| !text.edits.is_empty())
    }

    /// Remembers what was found in a text as it came.
    pub(super) fn found(&mut self, at: usize, found: &[Found]) {
        if let Some(text) = self.texts.get_mut(at) {
            let room = FOUND_MAX.saturating_sub(text.found.len());
            text.found.extend(found.iter().take(room).map(|f| (Arc::clone(&f.detector), f.start, f.end)));
        }
    }
}

fn too_much() -> Block {
    Block {
        cause: Cause::BadAnswer,
        rule: None,
        reason: "the answer has more text than can be held to its schemas".into(),
        detectors: Vec::new(),
    }
}
