//! What an answer has said already, so that a text which is said again is known for what it is.
//!
//! A repetition is the same text, to the byte, in the same channel (of the same call, where it belongs to one). What was
//! decided of it holds, and where something was taken out of it the repetition leaves without that, too. Anything else is a
//! text of its own.

use std::collections::BTreeMap;

use super::judge::Found;
use super::splice::{Span, add_span, all_edits_for};
use crate::json::Edit;
use crate::surface::{Channel, Segment};

/// Most texts that are remembered; those beyond are inspected each time they come.
const SAID_MAX: usize = 4_096;

/// Where a text was said first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// In pieces: the text with this number.
    Streamed(usize),
    /// Whole: the entry with this number.
    Whole(usize),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    channel: Channel,
    /// Two calls with the same arguments are two calls.
    call: Option<String>,
    hash: [u8; 32],
}

impl Key {
    fn new(channel: Channel, place: &str, hash: [u8; 32]) -> Key {
        Key { channel, call: channel.is_tool_call().then(|| place.to_owned()), hash }
    }
}

/// A text that came whole, and what is taken out of it.
#[derive(Debug, Default)]
struct Whole {
    spans: Vec<Span>,
    /// The locks on it, where a schema binds it.
    lock: Option<usize>,
}

/// The texts of one answer.
#[derive(Debug, Default)]
pub(super) struct Said {
    origins: BTreeMap<Key, Origin>,
    wholes: Vec<Whole>,
}

impl Said {
    pub(super) fn find(&self, segment: &Segment, text: &str) -> Option<Origin> {
        let key = Key::new(segment.channel, &segment.path_index, *blake3::hash(text.as_bytes()).as_bytes());
        self.origins.get(&key).copied()
    }

    /// A text that came in pieces is complete.
    pub(super) fn streamed(&mut self, index: usize, channel: Channel, place: &str, hash: [u8; 32]) {
        self.remember(Key::new(channel, place, hash), Origin::Streamed(index));
    }

    /// A text of its own came whole.
    pub(super) fn whole(&mut self, segment: &Segment, text: &str) -> Option<Origin> {
        if self.wholes.len() >= SAID_MAX {
            return None;
        }
        let origin = Origin::Whole(self.wholes.len());
        self.wholes.push(Whole::default());
        let hash = *blake3::hash(text.as_bytes()).as_bytes();
        self.remember(Key::new(segment.channel, &segment.path_index, hash), origin);
        Some(origin)
    }

    fn remember(&mut self, key: Key, origin: Origin) {
        if self.origins.len() < SAID_MAX {
            self.origins.entry(key).or_insert(origin);
        }
    }

    /// Something is to be taken out of a text that came whole.
    pub(super) fn redact(&mut self, index: usize, found: &Found) {
        if let Some(whole) = self.wholes.get_mut(index) {
            add_span(&mut whole.spans, found);
        }
    }

    /// Locks bind a text that came whole.
    pub(super) fn bind(&mut self, index: usize, lock: Option<usize>) {
        if let Some(whole) = self.wholes.get_mut(index) {
            whole.lock = lock;
        }
    }

    pub(super) fn lock(&self, index: usize) -> Option<usize> {
        self.wholes.get(index)?.lock
    }

    /// What is taken out of a text that came whole.
    pub(super) fn spans(&self, index: usize) -> &[Span] {
        self.wholes.get(index).map_or(&[], |whole| &whole.spans)
    }

    /// Texts that came whole and have locks, where something is taken out of them.
    pub(super) fn redacted(&self) -> impl Iterator<Item = (usize, &[Span])> {
        let changed = self.wholes.iter().filter(|whole| !whole.spans.is_empty());
        changed.filter_map(|whole| Some((whole.lock?, whole.spans.as_slice())))
    }
}

/// The edits of a whole text, whatever has been written of them before: what is taken out, and what is mended. `None` where
/// one covers bytes of the other.
pub(super) fn edits_again(redact: &[Span], mend: &[Span]) -> Option<Vec<Edit>> {
    let fresh =
        |spans: &[Span]| -> Vec<Span> { spans.iter().map(|span| Span { written: false, ..span.clone() }).collect() };
    all_edits_for(&mut fresh(redact), &mut fresh(mend), 0, u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::surface::Form;

    fn segment(channel: Channel, place: &str) -> Segment {
        Segment { channel, path_index: place.to_owned(), ..Segment::loose(Form::Text) }
    }

    #[test]
    fn the_same_text_is_known_in_its_channel_only() {
        let mut said = Said::default();
        let content = segment(Channel::Content, "0/0");
        said.streamed(3, Channel::Content, "0/0", *blake3::hash(b"x").as_bytes());
        assert_eq!(said.find(&content, "x"), Some(Origin::Streamed(3)));
        assert_eq!(said.find(&segment(Channel::Content, "0/1"), "x"), Some(Origin::Streamed(3)));
        assert_eq!(said.find(&content, "y"), None);
        assert_eq!(said.find(&segment(Channel::Reasoning, "0/0"), "x"), None);
    }

    #[test]
    fn the_same_arguments_of_another_call_are_another_text() {
        let mut said = Said::default();
        said.streamed(0, Channel::ToolArguments, "0", *blake3::hash(b"{}").as_bytes());
        assert_eq!(said.find(&segment(Channel::ToolArguments, "0"), "{}"), Some(Origin::Streamed(0)));
        assert_eq!(said.find(&segment(Channel::ToolArguments, "1"), "{}"), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut said = Said::default();
        let content = segment(Channel::Content, "");
        for number in 0..SAID_MAX {
            assert!(said.whole(&content, &number.to_string()).is_some());
        }
        assert_eq!(said.whole(&content, "more"), None);
        assert_eq!(said.find(&content, "more"), None);
        said.streamed(0, Channel::Content, "", *blake3::hash(b"more").as_bytes());
        assert_eq!(said.find(&content, "more"), None);
    }
}
