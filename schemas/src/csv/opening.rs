//! What the beginning of a field says of the rest of it, for fields that may hold any text: whether it could be a formula, and so
//! may have to be written otherwise.

use super::formula::{is_skipped, starts_formula};

/// What is known of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    /// Nothing has been read of it.
    Unread,
    /// Only what a program may look through.
    Skipping,
    /// It is no formula: its bytes may flow.
    Flows,
    /// It waits until it has ended.
    Held,
}

impl Opening {
    /// What is known once `text` has been read as well.
    pub(super) fn read(self, text: &str) -> Self {
        if matches!(self, Self::Flows | Self::Held) {
            return self;
        }
        // As in `is_formula`, with the quote of a quoted field before it.
        let begins = text.trim_start_matches('"');
        if self == Self::Unread && begins.starts_with(['\t', '\r', '\n']) {
            return Self::Held;
        }
        match text.chars().find(|character| !is_skipped(*character)) {
            Some(character) if starts_formula(character) => Self::Held,
            Some(_) => Self::Flows,
            None if begins.is_empty() => self,
            None => Self::Skipping,
        }
    }
}
