//! Choices of a stream that end alone, and its calls without theirs.

use std::collections::BTreeMap;

use super::held::shows;
use super::{StreamGuard, is_in};
use crate::guard::choices;
use crate::guard::judge::{Block, Judge};

impl<J: Judge> StreamGuard<J> {
    /// Places of calls that are still to be judged.
    pub(super) fn pending_calls(&self) -> Vec<String> {
        let mut places = self.calls.pending();
        places.retain(|place| !self.ended.has_place(place));
        places
    }

    /// The calls that clients make at these places, with their tools.
    pub(super) fn called(&self, at: impl Fn(&str) -> bool) -> BTreeMap<String, Option<String>> {
        let mut calls = self.calls.called_all(&self.free);
        calls.retain(|place, _| at(place) && !self.ended.has_place(place));
        calls
    }

    /// An event says that a choice is over, where choices end alone.
    pub(super) fn finish_choice(&mut self, choice: u64) -> Result<(), Block> {
        let number = choice.to_string();
        // Some providers give an empty reason until there is one.
        if self.facts.reason_of(&number).is_none_or(str::is_empty) || !self.ended.finish(choice) {
            return Ok(());
        }
        for index in 0..self.texts.len() {
            if self.choice_of.get(index).copied().flatten() == Some(choice) {
                self.end_text(index)?;
            }
        }
        let calls = self.called(|place| is_in(place, &number));
        let facts = self.facts.clone();
        self.desk(|locks, desk| locks.finish_choice(choice, &facts, &calls, desk))?;
        self.recheck(&facts)
    }

    /// Takes what is still here of choices that broke their schemas out of the events that wait. The newest of these says that
    /// the choice has ended; where none is left to say it, the answer ends.
    pub(super) fn end_choices(&mut self) -> Result<(), Block> {
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
}
