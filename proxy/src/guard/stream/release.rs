//! What may leave a stream: which events still wait, and how those look that do not.

use bytes::Bytes;

use super::StreamGuard;
use super::held::{Dressed, Held, HeldSegment};
use crate::guard::channel::Text;
use crate::guard::choices::{self, Fate};
use crate::guard::count::Ours;
use crate::guard::document::broken;
use crate::guard::judge::{Block, Judge};
use crate::guard::said::{Origin, edits_again};
use crate::guard::splice::{all_edits_for, apply, patch, replace};
use crate::guard::witness::Released;
use crate::json::{Limits, TextDecoder};
use crate::surface::Replaced;

impl<J: Judge> StreamGuard<J> {
    /// Lets go of the events at the front that nothing holds any more.
    pub(super) fn release(&mut self, complete: bool, out: &mut Vec<Released>) -> Result<(), Block> {
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
    pub(super) fn opens(&mut self) -> bool {
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

    pub(super) fn waits(&self, held: &Held) -> bool {
        held.terminal || self.judge.enforces() && held.segments.iter().any(|one| self.holds(one))
    }

    pub(super) fn holds(&self, one: &HeldSegment) -> bool {
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
    pub(super) fn dress(&mut self, held: &mut Held) -> Result<Dressed, Block> {
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

    pub(super) fn edit(&mut self, data: &Bytes, held: &mut Held) -> Result<Option<Bytes>, Block> {
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
