//! One text and the locks on it: what all of them let leave, the edits that they agree on, and how long it waits.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use clyra_detectors::{Finding, View};
use clyra_schemas::Edit;

use super::judge::{Block, Cause};
use super::locks::Desk;
use super::mended::Mended;
use super::schema::{Schema, TextLock};
use super::shadow::Shadow;
use super::splice::Span;
use crate::surface::Channel;

/// One text and its locks.
#[derive(Debug)]
pub(super) struct LockedText {
    pub(super) channel: Channel,
    pub(super) pointer: String,
    pub(super) place: String,
    /// The choice that it belongs to.
    pub(super) index: String,
    pub(super) whose: Whose,
    pub(super) locks: Vec<One>,
    /// Bytes that came.
    pub(super) fed: u64,
    /// The text so far, where its locks may still want it.
    pub(super) text: String,
    pub(super) edits: Vec<Span>,
    pub(super) classes: Vec<&'static str>,
    pub(super) found: Vec<(Arc<str>, u64, u64)>,
    pub(super) mended: Option<Mended>,
    /// Where the text ended at each time that something came of it, as far as that has not left.
    pub(super) arrivals: VecDeque<(u64, Duration)>,
    pub(super) ended: bool,
    /// It belongs to a choice that was ended alone: nothing more of it leaves.
    pub(super) gone: bool,
}

/// Whose schemas bind a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Whose {
    Content,
    /// Nobody has said yet which tool is called.
    SomeTool,
    Tool(String),
}

#[derive(Debug)]
pub(super) struct One {
    pub(super) binding: usize,
    pub(super) schema: Schema,
    pub(super) lock: Box<dyn TextLock>,
    /// Edits that not all locks of the text have decided on.
    pub(super) edits: VecDeque<Edit>,
    pub(super) state: State,
    /// Where nothing is touched: what repair would have come to.
    pub(super) shadow: Option<Shadow>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Open,
    /// The document's root has closed.
    Complete,
    Passed,
    /// It spoke against its text, and the policy only records that.
    Waived,
}

impl One {
    pub(super) fn settled(&self) -> u64 {
        let settled = match self.state {
            State::Passed | State::Waived => u64::MAX,
            State::Open | State::Complete => self.lock.settled(),
        };
        // Bytes that one lock wants changed wait until the others want it too.
        self.edits.front().map_or(settled, |edit| settled.min(edit.range.start))
    }

    pub(super) fn counts(&self) -> bool {
        self.state != State::Waived
    }
}

impl LockedText {
    /// The number of its choice, where the answer has choices.
    pub(super) fn choice(&self) -> Option<u64> {
        self.index.parse().ok()
    }

    pub(super) fn settled(&self) -> u64 {
        if self.gone {
            return u64::MAX;
        }
        if self.whose == Whose::SomeTool {
            return 0;
        }
        let locks = self.locks.iter().map(One::settled).min().unwrap_or(u64::MAX);
        locks.min(self.mended.as_ref().map_or(u64::MAX, Mended::settled))
    }

    /// Takes over the edits that every lock wants.
    pub(super) fn agree(&mut self) -> Result<(), Block> {
        loop {
            let mut counting = self.locks.iter().filter(|one| one.counts());
            let Some(edit) = counting.next().and_then(|one| one.edits.front()).cloned() else { return Ok(()) };
            if counting.any(|one| one.edits.front() != Some(&edit)) {
                return Ok(());
            }
            for one in &mut self.locks {
                one.edits.pop_front();
            }
            let Edit { range, with, class } = edit;
            let behind = self.edits.last().map_or(0, |last| last.end);
            // Bytes that stand nowhere cannot be replaced in the events that carry the text.
            if range.start >= range.end || range.start < behind || range.end > self.fed {
                return Err(conflicting());
            }
            self.edits.push(Span { start: range.start, end: range.end, with, written: false });
            self.classes.push(class);
        }
    }

    /// Scans what is new of the mended text.
    pub(super) fn mend(&mut self, desk: &mut Desk<'_>) {
        if self.edits.is_empty() {
            return;
        }
        let settled = self.locks.iter().map(One::settled).min().unwrap_or(u64::MAX);
        let mended = self.mended.get_or_insert_with(|| {
            let json = self.locks.iter().any(|one| one.schema.contract.is_json());
            Mended::new(desk.engine, if json { View::Json } else { View::Plain })
        });
        let mut found = Vec::new();
        mended.advance(&self.text, &self.edits, settled, &mut found);
        desk.failed |= mended.failed();
        self.charge(found, desk);
    }

    pub(super) fn end_mended(&mut self, desk: &mut Desk<'_>) {
        let mut found = Vec::new();
        if let Some(mended) = &mut self.mended {
            mended.end(&mut found);
            desk.failed |= mended.failed();
        }
        self.charge(found, desk);
    }

    /// Hands over what only the mended text shows.
    pub(super) fn charge(&self, found: Vec<Finding>, desk: &mut Desk<'_>) {
        let known = |new: &Finding| {
            self.found
                .iter()
                .any(|(detector, start, end)| *detector == new.detector && *start <= new.start && new.end <= *end)
        };
        for finding in found.into_iter().filter(|new| !known(new)) {
            let mut found = super::channel::place(finding, self.channel, &self.pointer);
            // It stands in no text that could be rewritten.
            found.contained = false;
            if let Whose::Tool(name) = &self.whose {
                found.tool = Some(name.clone());
            }
            desk.found.push(found);
        }
    }

    /// Nothing more is wanted of it: what has left was mended, what has not leaves as it came or not at all. Gives how many
    /// bytes are kept no longer.
    pub(super) fn give_up(&mut self) -> usize {
        let written = self.edits.iter().take_while(|edit| edit.written).count();
        self.edits.truncate(written);
        self.classes.truncate(written);
        self.mended = None;
        std::mem::take(&mut self.text).len()
    }

    pub(super) fn arrive(&mut self, now: Duration) {
        let end = self.fed;
        match self.arrivals.back_mut() {
            Some((reach, at)) if *at == now => *reach = end,
            _ => self.arrivals.push_back((end, now)),
        }
    }

    /// Bytes before `settled` are held no longer.
    pub(super) fn depart(&mut self, settled: u64, desk: &mut Desk<'_>) {
        while self.arrivals.front().is_some_and(|(reach, _)| *reach <= settled) {
            let since = self.arrivals.pop_front().map_or(desk.now, |(_, since)| since);
            desk.report.schema.held_max = desk.report.schema.held_max.max(desk.now.saturating_sub(since));
        }
    }
}

/// What one lock wants changed, another does not, or nobody can change: then nothing of it may leave.
pub(super) fn conflicting() -> Block {
    Block {
        cause: Cause::Schema,
        rule: None,
        reason: "the answer's schemas do not agree on how to mend it".into(),
        detectors: Vec::new(),
    }
}
