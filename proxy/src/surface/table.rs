//! The table of a surface: paths of JSON members, what text they hold, and how pieces of it belong together.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::Channel;

/// How the pieces of a text belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    /// Each occurrence is a text of its own.
    Whole,
    /// The occurrences continue each other, within a document and over the events of a stream.
    Stream,
    /// A text of its own that may say again what came before: in pieces under the same key, or whole. Said again, what it
    /// repeats is complete.
    Again,
}

/// Which channel a member belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Fixed(Channel),
    /// By the `role` of the message it stands in, and by the `type` of its block.
    Role,
    /// Part of an answer: reasoning if its `type` says so or it is marked as a `thought`, content otherwise.
    Part,
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
    /// Repeats other text token by token: inspected, and replaced as a whole where anything beside it is redacted.
    Repeats(Tokens),
}

/// What is replaced where tokens repeat a redacted text, and by what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tokens {
    /// The member that holds the array, by `null`.
    Holder,
    /// The array itself, by an empty one: clients iterate over it.
    Array,
    /// The object that the token stands in, by `null`.
    Object,
}

/// When a media member really is encoded media rather than text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Always,
    /// It begins with `data:`.
    DataUrl,
    /// Its sibling `type` is this.
    Type(&'static str),
}

/// When a member is the id of something that the provider keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    Never,
    Always,
    /// It stands in an item that is nothing but a reference to another.
    Reference,
}

/// What tells texts of one lane apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Apart {
    /// All indices on the way.
    Indices,
    /// Of the indices on the way only these, the first and the one behind the last: a provider counts choices but not their
    /// parts.
    SomeIndices(usize, usize),
    /// The number that stands there in the document, and nothing else.
    Number(&'static [&'static str]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) place: Place,
    pub(super) holds: Holds,
    pub(super) join: Join,
    /// Keeps apart texts of one channel that do not continue each other (`reasoning` beside `reasoning_content`).
    pub(super) lane: &'static str,
    /// The `type` of the event is part of the lane.
    pub(super) typed: bool,
    /// An array of numbers in its place is text that has been turned into tokens: nobody here can read it, so it is declared.
    pub(super) ids: bool,
    /// The id of something that the provider keeps: what it stands for is not in the request.
    pub(super) stored: Stored,
    pub(super) apart: Apart,
}

/// One line of a table: `path`, with `*` for any element of an array and `+` for elements that continue each other.
pub(super) type Line = (&'static str, Rule);

const fn rule(place: Place, holds: Holds) -> Rule {
    let apart = Apart::Indices;
    Rule { place, holds, join: Join::Whole, lane: "", typed: false, ids: false, stored: Stored::Never, apart }
}

pub(super) const fn text(channel: Channel) -> Rule {
    rule(Place::Fixed(channel), Holds::Text)
}

/// The id of something that the provider keeps.
pub(super) const fn stored() -> Rule {
    text(Channel::Metadata).stored()
}

pub(super) const fn by_role() -> Rule {
    rule(Place::Role, Holds::Text)
}

pub(super) const fn part() -> Rule {
    rule(Place::Part, Holds::Text)
}

pub(super) const fn json(channel: Channel) -> Rule {
    rule(Place::Fixed(channel), Holds::Json)
}

pub(super) const fn media(when: When) -> Rule {
    rule(Place::Role, Holds::Media(when))
}

impl Rule {
    pub(super) const fn streamed(self, lane: &'static str) -> Rule {
        Rule { join: Join::Stream, lane, ..self }
    }

    /// Belongs to a channel of its own rather than to the one of its message.
    pub(super) const fn of(self, channel: Channel) -> Rule {
        Rule { place: Place::Fixed(channel), ..self }
    }

    /// Says again what came in the same lane, or is said again itself.
    pub(super) const fn again(self, lane: &'static str) -> Rule {
        Rule { join: Join::Again, lane, ..self }
    }

    pub(super) const fn joined(self, join: Join, lane: &'static str) -> Rule {
        Rule { join, lane, ..self }
    }

    pub(super) const fn typed(self) -> Rule {
        Rule { typed: true, ..self }
    }

    /// Stands for something that the provider keeps.
    pub(super) const fn stored(self) -> Rule {
        Rule { stored: Stored::Always, ..self }
    }

    /// Stands for something that the provider keeps, where there is nothing beside it.
    pub(super) const fn reference(self) -> Rule {
        Rule { stored: Stored::Reference, ..self }
    }

    /// May come as the ids of tokens.
    pub(super) const fn or_ids(self) -> Rule {
        Rule { ids: true, ..self }
    }

    pub(super) const fn only_indices(self, from: usize, to: usize) -> Rule {
        Rule { apart: Apart::SomeIndices(from, to), ..self }
    }

    pub(super) const fn numbered_by(self, path: &'static [&'static str]) -> Rule {
        Rule { apart: Apart::Number(path), ..self }
    }

    pub(super) const fn repeats(self, tokens: Tokens) -> Rule {
        Rule { holds: Holds::Repeats(tokens), ..self }
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
    /// At the root: members whose numbers tell texts apart, the outermost first.
    pub(super) indexed_by: &'static [&'static str],
    /// Members below here that the table does not name stream by their path (inside a delta, what is new is text).
    pub(super) stream_unknown: bool,
}

/// The table that names nothing: all of a document is metadata.
static NONE: LazyLock<Table> = LazyLock::new(|| Table::build(&[], &[]));

impl Table {
    /// The table of one row of the file in this field.
    pub fn row(&self, field: &str) -> &Table {
        self.members.get(field).and_then(|file| file.elements.as_deref()).unwrap_or(Self::none())
    }

    pub fn none() -> &'static Table {
        &NONE
    }

    pub(super) fn build(lines: &[Line], stream_unknown_below: &[&'static str]) -> Table {
        let mut table = Table { indexed_by: &["index"], ..Table::default() };
        for (path, rule) in lines {
            table.entry(path).rule = Some(*rule);
        }
        for path in stream_unknown_below {
            table.entry(path).stream_unknown = true;
        }
        table
    }

    pub(super) fn indexed_by(self, indexed_by: &'static [&'static str]) -> Table {
        Table { indexed_by, ..self }
    }

    /// Puts a table at `path`; a rule that stands there stays.
    pub(super) fn with(mut self, path: &'static str, table: Table) -> Table {
        let entry = self.entry(path);
        *entry = Table { rule: table.rule.or(entry.rule), ..table };
        self
    }

    /// The table of a member, taken out; that of nothing where there is none.
    pub(super) fn below(mut self, member: &str) -> Table {
        self.members.remove(member).unwrap_or_default()
    }

    /// Members that the table does not name stream by their path.
    pub(super) fn streaming_unknown(self) -> Table {
        Table { stream_unknown: true, ..self }
    }

    /// What the root is if it is an array of what it is as an object.
    pub(super) fn or_array(self, elements: Table) -> Table {
        Table { elements: Some(Box::new(elements)), ..self }
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
