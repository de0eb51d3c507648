//! Strings: quotes of other kinds, raw control characters, escape sequences that JSON does not know.
//!
//! A string in double quotes passes as it comes, until an escape sequence in it is mended by doubling its backslash: the rest is then
//! held, because a later one may show that the backslashes are not all of one kind. A string in other quotes is held to its end,
//! because only what follows shows where that is.

use super::between::Before;
use super::mender::{Mender, State, Unmended};
use super::{RepairClass, RepairPolicy};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quote {
    /// `"`
    Double,
    /// `'`
    Single,
    /// `` ` ``
    Backtick,
    /// `“` and `”`
    Curly,
    /// `‘` and `’`
    CurlySingle,
}

impl Quote {
    pub(super) fn opened_by(c: char) -> Option<Self> {
        [Self::Double, Self::Single, Self::Backtick, Self::Curly, Self::CurlySingle]
            .into_iter()
            .find(|quote| quote.opener() == c)
    }

    pub(super) fn opener(self) -> char {
        match self {
            Self::Double => '"',
            Self::Single => '\'',
            Self::Backtick => '`',
            Self::Curly => '“',
            Self::CurlySingle => '‘',
        }
    }

    fn closer(self) -> char {
        match self {
            Self::Curly => '”',
            Self::CurlySingle => '’',
            _ => self.opener(),
        }
    }
}

/// Letters whose backslash is doubled when JSON does not know the escape: what a pattern or a path has. Not among them are
/// those that are control characters or numbers elsewhere (`\a`, `\e`, `\v`, `\x41`, `\N{…}`, `\U0001…`).
const DOUBLED: &str = "cdghijklmopqswyzABCDEFGHIJKLMOPQRSTVWXYZ";

#[derive(Debug)]
pub(super) struct Text {
    quote: Quote,
    start: u64,
    /// A backslash whose character has not come.
    backslash: Option<u64>,
    /// The first backslash that was doubled.
    doubled: Option<u64>,
    /// Whether another one was an escape that JSON knows, other than `\"`.
    escapes: bool,
    inner: Inner,
    dollar: bool,
}

/// Quotes of other kinds inside a string. One that nothing opened, with `,`, `:` or a bracket behind it, may be its end.
#[derive(Debug, Default)]
struct Inner {
    open: Option<Quote>,
    may_be_end: bool,
}

impl Inner {
    fn step(&mut self, c: char) -> Result<(), Unmended> {
        if matches!(c, ',' | ':' | ']' | '}') && self.may_be_end {
            return Err(Unmended);
        }
        if c.is_whitespace() {
            return Ok(());
        }
        self.may_be_end = false;
        if self.open.is_some_and(|quote| quote.closer() == c) {
            self.open = None;
        } else if let Some(quote) = Quote::opened_by(c) {
            self.open = self.open.or(Some(quote));
            self.may_be_end = true;
        } else if matches!(c, '”' | '’') {
            self.may_be_end = true;
        }
        Ok(())
    }
}

impl Text {
    fn begin(quote: Quote, at: u64) -> Self {
        Self {
            quote,
            start: at,
            backslash: None,
            doubled: None,
            escapes: false,
            inner: Inner::default(),
            dollar: false,
        }
    }

    /// Whether characters that stand for themselves need no look.
    pub(super) fn is_plain(&self) -> bool {
        self.quote == Quote::Double && self.backslash.is_none() && self.doubled.is_none()
    }

    /// From where on nothing is decided.
    pub(super) fn hold(&self, policy: RepairPolicy) -> Option<u64> {
        if self.quote != Quote::Double {
            return Some(self.start);
        }
        self.doubled.or(self.backslash.filter(|_| policy.allows(RepairClass::Escapes)))
    }
}

impl Mender {
    pub(super) fn begin_text(&mut self, quote: Quote, at: u64, before: Before) -> Result<(), Unmended> {
        if quote != Quote::Double {
            self.allows(RepairClass::Quotes)?;
        }
        let (with, class) = before.opens();
        if quote != Quote::Double || class.is_some() {
            let class = class.unwrap_or(RepairClass::Quotes);
            self.held.edit(at..at + quote.opener().len_utf8() as u64, with, class);
        }
        self.state = State::Text(Text::begin(quote, at));
        Ok(())
    }

    pub(super) fn in_text(&mut self, c: char, at: u64) -> Result<(), Unmended> {
        let State::Text(text) = &mut self.state else { return Err(Unmended) };
        let end = at + c.len_utf8() as u64;
        if let Some(backslash) = text.backslash.take() {
            return self.escaped(c, backslash);
        }
        let quote = text.quote;
        match c {
            _ if c == quote.closer() => {
                if quote != Quote::Double {
                    self.held.edit(at..end, "\"", RepairClass::Quotes);
                }
                self.state = State::Between;
                return Ok(());
            }
            '\\' => text.backslash = Some(at),
            '\0'..' ' => {
                let escape = match c {
                    '\n' => "\\n",
                    '\r' => "\\r",
                    '\t' => "\\t",
                    '\u{8}' => "\\b",
                    '\u{c}' => "\\f",
                    // Nobody means these: what they would be in place of is not known.
                    _ => return Err(Unmended),
                };
                self.allows(RepairClass::ControlCharacters)?;
                self.held.edit(at..end, escape, RepairClass::ControlCharacters);
            }
            // A second opening: an end is missing, or quotes are nested.
            _ if c == quote.opener() => return Err(Unmended),
            // An expression, whose value is not here.
            '{' if quote == Quote::Backtick && text.dollar => return Err(Unmended),
            '"' => self.held.edit(at..end, "\\\"", RepairClass::Quotes),
            _ => {}
        }
        if let (State::Text(text), true) = (&mut self.state, quote != Quote::Double) {
            text.inner.step(c)?;
            text.dollar = c == '$';
        }
        Ok(())
    }

    /// The character behind a backslash.
    fn escaped(&mut self, c: char, backslash: u64) -> Result<(), Unmended> {
        let may_escape = self.allows(RepairClass::Escapes);
        let State::Text(text) = &mut self.state else { return Err(Unmended) };
        let own = text.quote != Quote::Double && c == text.quote.closer();
        match c {
            '"' => return Ok(()),
            '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't' | 'u' => {}
            // What is quoted this way in other languages.
            '\'' | '“' | '”' | '„' | '‘' | '’' | '`' if own || c != '`' => {
                let class = if own { RepairClass::Quotes } else { RepairClass::Escapes };
                if !own {
                    may_escape?;
                }
                self.held.edit(backslash..backslash + 1, "", class);
            }
            _ if DOUBLED.contains(c) => {
                may_escape?;
                text.doubled = text.doubled.or(Some(backslash));
                self.held.edit(backslash..backslash + 1, "\\\\", RepairClass::Escapes);
                return if text.escapes { Err(Unmended) } else { Ok(()) };
            }
            _ => return Err(Unmended),
        }
        // Who escapes here has escaped everywhere; who does not has a backslash and a letter here, too.
        text.escapes = true;
        if text.doubled.is_some() { Err(Unmended) } else { Ok(()) }
    }
}
