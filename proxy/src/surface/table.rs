//! The table of a surface: paths of JSON members, what text they hold, and how pieces of it belong together.

use std::collections::BTreeMap;

use super::Channel;

/// How the pieces of a text belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    /// Each occurrence is a text of its own.
    Whole,
    /// The occurrences continue each other, within a document and over the events of a stream.
    Stream,
}

/// Which channel a member belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Fixed(Channel),
    /// By the `role` of the message it stands in, and by the `type` of its block.
    Role,
}

/// What the member holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// Text for people.
    Text,
    /// A string with JSON inside (tool arguments); as a value, JSON itself.
    Json,
    /// Encoded media that no text detector can read: declared as a gap, never silently skipped.
    Media(When),
    /// Repeats other text token by token: inspected, and replaced as a whole (the value two levels up the path's `+`)
    /// where anything beside it is redacted.
    Repeats,
}

/// When a media member really is encoded media rather than text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Always,
    /// It begins with `data:`.
    DataUrl,
    /// Its sibling `type` is `base64`.
    Base64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) place: Place,
    pub(super) holds: Holds,
    pub(super) join: Join,
    /// Keeps apart texts of one channel that do not continue each other (`reasoning` beside `reasoning_content`).
    pub(super) lane: &'static str,
}

/// One line of a table: `path`, with `*` for any element of an array and `+` for elements that continue each other.
pub(super) type Line = (&'static str, Rule);

pub(super) const fn text(channel: Channel) -> Rule {
    Rule { place: Place::Fixed(channel), holds: Holds::Text, join: Join::Whole, lane: "" }
}

pub(super) const fn by_role() -> Rule {
    Rule { place: Place::Role, holds: Holds::Text, join: Join::Whole, lane: "" }
}

pub(super) const fn json(channel: Channel) -> Rule {
    Rule { place: Place::Fixed(channel), holds: Holds::Json, join: Join::Whole, lane: "" }
}

pub(super) const fn media(when: When) -> Rule {
    Rule { place: Place::Role, holds: Holds::Media(when), join: Join::Whole, lane: "" }
}

impl Rule {
    pub(super) const fn streamed(self, lane: &'static str) -> Rule {
        Rule { join: Join::Stream, lane, ..self }
    }

    pub(super) const fn repeats(self) -> Rule {
        Rule { holds: Holds::Repeats, ..self }
    }
}

/// A surface's table for one direction, as a tree over member names.
#[derive(Debug, Default)]
pub struct Table {
    pub(super) members: BTreeMap<&'static str, Table>,
    pub(super) elements: Option<Box<Table>>,
    /// Elements continue each other: their position is no part of a text's identity.
    pub(super) joined: bool,
    pub(super) rule: Option<Rule>,
    /// Members below here that the table does not name stream by their path (inside a delta, what is new is text).
    pub(super) stream_unknown: bool,
}

impl Table {
    pub(super) fn build(lines: &[Line], stream_unknown_below: &[&'static str]) -> Table {
        let mut table = Table::default();
        for (path, rule) in lines {
            table.entry(path).rule = Some(*rule);
        }
        for path in stream_unknown_below {
            table.entry(path).stream_unknown = true;
        }
        table
    }

    fn entry(&mut self, path: &'static str) -> &mut Table {
        path.split('.').fold(self, |at, step| match step {
            "*" | "+" => {
                at.joined = step == "+";
                at.elements.get_or_insert_default()
            }
            name => at.members.entry(name).or_default(),
        })
    }
}
