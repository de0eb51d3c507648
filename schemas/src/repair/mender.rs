//! The transducer: text as it came in, mended text out, the same however it was cut.
//!
//! It reads along with the grammar of JSON, token by token, and mends what the policy allows and what has one reading only.
//! **At anything else it stops mending for good**: the rest passes unchanged, and the strict reader behind it refuses it
//! where it is damaged. Damage is never mended on a guess, so a document is repaired right or refused.
//!
//! Bytes are given out as soon as nothing that is allowed can still change them. An undamaged document is held back by, at
//! most: a preamble that may turn out to be prose or a fence; a comma and the white space behind it; a backslash; and, if
//! missing brackets may be closed, the last character while the document could end behind it (a closer is written as part of an
//! edit, and an edit needs a byte that has not left). Strings are not delayed. What is damaged is held until its token ends, within
//! [`HELD_BYTES_MAX`].

use crate::limits::{DOCUMENT_DEPTH_MAX, Limits};
use crate::lock::End;
use crate::number::Number;

use super::comment::Comment;
use super::held::{Held, Mended};
use super::name::Name;
use super::text::Text;
use super::wrapper::{Fence, Prose, Wrapper};
use super::{RepairClass, RepairPolicy};

/// Most bytes that wait for one decision: a string in wrong quotes, as long as a long answer. What is longer passes as it is.
pub(super) const HELD_BYTES_MAX: u64 = 64 << 10;

/// Most edits of one text, which also bounds the memory for the way back to it: a raw line end in every 64 bytes of the longest
/// document. What follows passes as it is.
const EDITS_MAX: usize = 16 << 10;

/// Most bytes that edits take out of one text. They count towards no limit of the document, and somebody holds them.
const REMOVED_BYTES_MAX: u64 = 64 << 10;

/// Mends one text.
#[derive(Debug)]
pub(crate) struct Mender {
    pub(super) policy: RepairPolicy,
    pub(super) held: Held,
    pub(super) state: State,
    pub(super) expect: Expect,
    pub(super) open: Vec<Bracket>,
    /// A comma that may have to go.
    pub(super) comma: Option<Comma>,
    /// Whether a line ended since the last token.
    pub(super) broke: bool,
    pub(super) wrapper: Wrapper,
    /// Whether a comment since the last token had a comma in it, so that writing one that is missing would be a guess.
    pub(super) comment_has_comma: bool,
    /// Whether a comment had brackets or quotes in it, so that closing what is missing would be a guess.
    pub(super) comment_has_structure: bool,
    pub(super) depth_max: usize,
    /// Everything passes unchanged from here on.
    passing: bool,
}

/// What is being read.
#[derive(Debug)]
pub(super) enum State {
    Between,
    Text(Text),
    Number(Number),
    /// The rest of `true`, `false` or `null`.
    Word(&'static str),
    /// The rest of `True`, `False` or `None`, and what they are in JSON.
    Literal {
        start: u64,
        rest: &'static str,
        json: &'static str,
    },
    Name(Name),
    Comment(Comment),
    Fence(Fence),
    Prose(Prose),
}

/// What may come next between tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    Value,
    ValueOrEnd,
    Name,
    NameOrEnd,
    Colon,
    CommaOrEnd,
    /// The document is complete.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bracket {
    Array,
    Object,
}

impl Bracket {
    pub(super) fn closer(self) -> char {
        match self {
            Self::Array => ']',
            Self::Object => '}',
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Comma {
    pub(super) at: u64,
    pub(super) place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Behind an opening bracket.
    First,
    /// Behind a value.
    Next,
    /// Behind the document.
    Behind,
}

/// What cannot be mended without guessing, or may not be.
#[derive(Debug)]
pub(super) struct Unmended;

impl Mender {
    pub(crate) fn new(policy: RepairPolicy, limits: &Limits) -> Self {
        Self {
            policy,
            held: Held::default(),
            state: State::Between,
            expect: Expect::Value,
            open: Vec::new(),
            comma: None,
            broke: false,
            wrapper: Wrapper::default(),
            comment_has_comma: false,
            comment_has_structure: false,
            depth_max: limits.depth.min(DOCUMENT_DEPTH_MAX),
            passing: policy.is_none(),
        }
    }

    /// Takes the next fragment. It never fails: what it may not mend passes unchanged.
    pub(crate) fn feed(&mut self, text: &str, out: &mut Mended) {
        let mut at = self.held.end();
        self.held.take(text);
        let mut rest = text.chars();
        while !self.passing {
            let plain = self.plain(rest.as_str());
            if plain > 0 {
                at += plain as u64;
                rest = rest.as_str().get(plain..).unwrap_or_default().chars();
            }
            let Some(c) = rest.next() else { break };
            if self.step(c, at).is_err() || self.is_too_much(at) {
                self.stop();
            }
            at += c.len_utf8() as u64;
        }
        self.give(out);
    }

    /// Ends the text and gives out what is held. Brackets are closed only if the answer ended by itself.
    pub(crate) fn finish(&mut self, end: End, out: &mut Mended) {
        if !self.passing && self.end(end).is_err() {
            self.stop();
        }
        self.passing = true;
        self.give(out);
    }

    /// Where a byte of the mended text stood in the text as it came: exact for a byte that came unchanged, the beginning of
    /// the edit for one that did not. Right for every byte that was given out, and for the place behind the last of them.
    pub(crate) fn source_offset(&self, mended: u64) -> u64 {
        self.held.source_offset(mended)
    }

    /// Where the text as it came stands behind the mended text up to here: what is left out at this place is still to come.
    pub(crate) fn source_end(&self, mended: u64) -> u64 {
        self.held.source_end(mended)
    }

    /// Bytes taken and not given out.
    #[cfg(test)]
    pub(crate) fn held_bytes(&self) -> usize {
        self.held.bytes()
    }

    /// Whether mending stopped, because of damage or because of the end.
    #[cfg(test)]
    pub(super) fn has_stopped(&self) -> bool {
        self.passing
    }

    pub(super) fn allows(&self, class: RepairClass) -> Result<(), Unmended> {
        if self.policy.allows(class) { Ok(()) } else { Err(Unmended) }
    }

    pub(super) fn step(&mut self, c: char, at: u64) -> Result<(), Unmended> {
        match self.state {
            State::Between => self.between(c, at),
            State::Text(_) => self.in_text(c, at),
            State::Number(number) => match number.next(if c.is_ascii() { c as u8 } else { 0 }) {
                Some(next) => {
                    self.state = State::Number(next);
                    Ok(())
                }
                None if number.is_whole() => {
                    self.state = State::Between;
                    self.between(c, at)
                }
                None => Err(Unmended),
            },
            State::Word(rest) => {
                let rest = rest.strip_prefix(c).ok_or(Unmended)?;
                self.state = if rest.is_empty() { State::Between } else { State::Word(rest) };
                Ok(())
            }
            State::Literal { .. } => self.in_literal(c, at),
            State::Name(_) => self.in_name(c, at),
            State::Comment(_) => self.in_comment(c, at),
            State::Fence(_) => self.in_fence(c, at),
            State::Prose(_) => self.in_prose(c, at),
        }
    }

    /// Bytes at the beginning of `rest` that are nothing but content of a string which is not held.
    fn plain(&self, rest: &str) -> usize {
        match &self.state {
            State::Text(text) if text.is_plain() => {
                rest.bytes().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)).unwrap_or(rest.len())
            }
            _ => 0,
        }
    }

    /// From where on nothing is decided.
    fn hold(&self) -> Option<u64> {
        let token = match &self.state {
            State::Between | State::Number(_) | State::Word(_) => None,
            State::Text(text) => text.hold(self.policy),
            State::Literal { start, .. } => Some(*start),
            State::Name(name) => Some(name.start),
            State::Comment(comment) => Some(comment.start),
            State::Fence(fence) => Some(fence.start),
            State::Prose(prose) => Some(prose.start),
        };
        self.comma.map(|comma| comma.at).into_iter().chain(token).min()
    }

    fn is_too_much(&self, at: u64) -> bool {
        self.held.edits() >= EDITS_MAX
            || self.held.removed() >= REMOVED_BYTES_MAX
            || self.hold().is_some_and(|hold| at.saturating_sub(hold) >= HELD_BYTES_MAX)
    }

    /// Takes back what is not decided, and mends no more.
    fn stop(&mut self) {
        if let Some(hold) = self.hold() {
            self.held.forget(hold);
        }
        self.passing = true;
    }

    fn give(&mut self, out: &mut Mended) {
        let upto = match self.hold() {
            _ if self.passing => self.held.end(),
            Some(hold) => hold,
            None if self.could_close() => self.held.last(),
            None => self.held.end(),
        };
        self.held.give(upto, out);
    }

    /// Whether brackets could be closed if the text ended here.
    fn could_close(&self) -> bool {
        let here = match self.state {
            State::Between => {
                matches!(self.expect, Expect::ValueOrEnd | Expect::NameOrEnd | Expect::CommaOrEnd)
            }
            State::Number(number) => number.is_whole(),
            _ => false,
        };
        here && !self.open.is_empty()
            && self.policy.allows(RepairClass::CloseBrackets)
            // Prose around a document that is cut off may be prose that was never to have one.
            && !self.wrapper.prose_before
            && !self.comment_has_structure
    }

    fn end(&mut self, end: End) -> Result<(), Unmended> {
        match self.state {
            State::Between | State::Number(_) | State::Word(_) => {}
            State::Literal { .. } => self.end_literal()?,
            State::Comment(_) => self.end_comment()?,
            State::Prose(_) => self.end_prose()?,
            State::Text(_) | State::Name(_) | State::Fence(_) => return Err(Unmended),
        }
        if let Some(Comma { at, place }) = self.comma {
            match place {
                Place::Behind => {}
                // Behind a comma a value is due; without the comma the document could end.
                Place::Next => self.expect = Expect::CommaOrEnd,
                Place::First => return Err(Unmended),
            }
            if place == Place::Next && !(end.is_complete() && self.could_close()) {
                return Err(Unmended);
            }
            self.held.edit(at..at + 1, "", RepairClass::TrailingCommas);
            self.comma = None;
        }
        if end.is_complete() && self.could_close() {
            let closers: String = self.open.iter().rev().map(|bracket| bracket.closer()).collect();
            self.held.append(&closers, RepairClass::CloseBrackets);
        }
        Ok(())
    }
}
