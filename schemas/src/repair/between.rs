//! Between tokens: white space, commas and brackets, and which token begins.

use super::RepairClass;
use super::comment::Comment;
use super::mender::{Bracket, Comma, Expect, Mender, Place, State, Unmended};
use super::name::{Name, is_name_start};
use super::text::Quote;
use crate::number::Number;

impl Mender {
    pub(super) fn between(&mut self, c: char, at: u64) -> Result<(), Unmended> {
        match c {
            ' ' | '\t' => return Ok(()),
            '\n' | '\r' => {
                self.broke = true;
                return Ok(());
            }
            '\u{feff}' if at == 0 => {
                self.allows(RepairClass::ByteOrderMark)?;
                self.held.edit(at..at + c.len_utf8() as u64, "", RepairClass::ByteOrderMark);
                return Ok(());
            }
            _ if is_special_whitespace(c) => {
                self.allows(RepairClass::Whitespace)?;
                // A space, so that what stood apart stays apart.
                self.held.edit(at..at + c.len_utf8() as u64, " ", RepairClass::Whitespace);
                return Ok(());
            }
            '/' | '#' if self.policy.allows(RepairClass::Comments) => {
                self.state = State::Comment(Comment::begin(c, at));
                return Ok(());
            }
            _ => {}
        }
        let broke = std::mem::take(&mut self.broke);
        let comment_has_comma = std::mem::take(&mut self.comment_has_comma);
        self.settle_comma(c)?;
        match self.expect {
            Expect::Value if self.open.is_empty() => self.before_document(c, at),
            Expect::ValueOrEnd | Expect::NameOrEnd if self.closes(c) => self.close(),
            Expect::ValueOrEnd | Expect::NameOrEnd if c == ',' => {
                self.allows(RepairClass::LeadingCommas)?;
                self.comma = Some(Comma { at, place: Place::First });
                Ok(())
            }
            Expect::Value | Expect::ValueOrEnd => self.value(c, at),
            Expect::Name | Expect::NameOrEnd => self.name(c, at, Before::Nothing),
            Expect::Colon if c == ':' => {
                self.expect = Expect::Value;
                Ok(())
            }
            Expect::Colon => Err(Unmended),
            Expect::CommaOrEnd if self.closes(c) => self.close(),
            Expect::CommaOrEnd if c == ',' => {
                let in_array = self.open.last() == Some(&Bracket::Array);
                self.expect = if in_array { Expect::Value } else { Expect::Name };
                if self.policy.allows(RepairClass::TrailingCommas) {
                    self.comma = Some(Comma { at, place: Place::Next });
                }
                Ok(())
            }
            // Only members of objects: a name with its colon shows that a new one begins.
            Expect::CommaOrEnd if self.open.last() == Some(&Bracket::Object) => {
                self.allows(RepairClass::MissingCommas)?;
                // On the same line, a bare word behind a string may be the rest of it after an unescaped quote.
                if comment_has_comma || (Quote::opened_by(c).is_none() && !broke) {
                    return Err(Unmended);
                }
                self.name(c, at, Before::MissingComma)
            }
            Expect::CommaOrEnd => Err(Unmended),
            Expect::Nothing => self.behind_document(c, at, broke),
        }
    }

    /// Decides about the comma before this character, which is no white space.
    fn settle_comma(&mut self, c: char) -> Result<(), Unmended> {
        let Some(Comma { at, place }) = self.comma else { return Ok(()) };
        match place {
            Place::Next if self.closes(c) => {
                self.held.edit(at..at + 1, "", RepairClass::TrailingCommas);
                self.expect = Expect::CommaOrEnd;
            }
            Place::Next => {}
            // With nothing between, or another comma, an element may be missing instead.
            Place::First if matches!(c, ',' | ':' | ']' | '}') => return Err(Unmended),
            Place::First => self.held.edit(at..at + 1, "", RepairClass::LeadingCommas),
            Place::Behind => return Err(Unmended),
        }
        self.comma = None;
        Ok(())
    }

    pub(super) fn value(&mut self, c: char, at: u64) -> Result<(), Unmended> {
        match c {
            '{' => return self.open(Bracket::Object, Expect::NameOrEnd),
            '[' => return self.open(Bracket::Array, Expect::ValueOrEnd),
            't' => self.state = State::Word("rue"),
            'f' => self.state = State::Word("alse"),
            'n' => self.state = State::Word("ull"),
            'T' | 'F' | 'N' => self.begin_literal(c, at)?,
            _ => match (Quote::opened_by(c), Number::begin(if c.is_ascii() { c as u8 } else { 0 })) {
                (Some(quote), _) => self.begin_text(quote, at, Before::Nothing)?,
                (None, Some(number)) => self.state = State::Number(number),
                (None, None) => return Err(Unmended),
            },
        }
        self.after_value();
        Ok(())
    }

    fn name(&mut self, c: char, at: u64, before: Before) -> Result<(), Unmended> {
        if let Some(quote) = Quote::opened_by(c) {
            self.begin_text(quote, at, before)?;
        } else if is_name_start(c) {
            self.allows(RepairClass::UnquotedNames)?;
            self.state = State::Name(Name::begin(at, before));
        } else {
            return Err(Unmended);
        }
        self.expect = Expect::Colon;
        Ok(())
    }

    fn open(&mut self, bracket: Bracket, expect: Expect) -> Result<(), Unmended> {
        if self.open.len() >= self.depth_max {
            return Err(Unmended);
        }
        if self.open.is_empty() {
            self.wrapper.root = Some(bracket);
        }
        self.open.push(bracket);
        self.expect = expect;
        Ok(())
    }

    fn closes(&self, c: char) -> bool {
        self.open.last().is_some_and(|bracket| bracket.closer() == c)
    }

    fn close(&mut self) -> Result<(), Unmended> {
        self.open.pop();
        self.after_value();
        Ok(())
    }

    pub(super) fn after_value(&mut self) {
        self.expect = if self.open.is_empty() { Expect::Nothing } else { Expect::CommaOrEnd };
    }
}

/// What has to be written before a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    Nothing,
    MissingComma,
}

impl Before {
    /// How a name begins, and the class if that is more than a quote.
    pub(super) fn opens(self) -> (&'static str, Option<RepairClass>) {
        match self {
            Self::Nothing => ("\"", None),
            Self::MissingComma => (",\"", Some(RepairClass::MissingCommas)),
        }
    }
}

/// White space that JSON does not know, and characters without width that come with it.
fn is_special_whitespace(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{feff}' | '\u{200b}' | '\u{180e}')
}
