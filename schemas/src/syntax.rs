//! Strict JSON (RFC 8259), judged byte by byte as it arrives: the first byte that cannot be part of any document is
//! where it stops. Stricter than the RFC where readers differ: member names are unique, strings have no lone surrogates,
//! there is no byte order mark.

use crate::limits::{DOCUMENT_DEPTH_MAX, Limits};
use crate::names::Names;
use crate::number::Number;
use crate::observe::{Kind, Observe, Refused, RefusedAt};
use crate::violation::ViolationKind;

/// What is wrong, and at which byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) at: usize,
    /// [`ViolationKind::Schema`] if the observer refused; it knows more.
    pub(crate) kind: ViolationKind,
}

/// Reads one document.
#[derive(Debug)]
pub(crate) struct Syntax {
    expect: Expect,
    token: Token,
    /// Where the token begins; in an escape sequence of a string, where that begins.
    token_at: usize,
    escape_at: usize,
    /// For each open array false, for each open object true.
    open: Vec<bool>,
    names: Names,
    /// Length of the run of white space that was read last.
    whitespace: usize,
    at: usize,
    root_closer: Option<usize>,
    values: u64,
    deepest: usize,
    depth_max: usize,
    whitespace_max: usize,
    number_max: usize,
}

/// What the reader is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Under {
    /// Between two tokens.
    Nothing,
    /// A member's name that began there.
    Name(usize),
    /// A string value that began there; an escape sequence in it is under way from the second offset on.
    Text(usize, Option<usize>),
    /// A number or a word that began there.
    Scalar(usize),
}

/// What may come next between tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Value,
    /// A value, or the end of an empty array.
    ValueOrEnd,
    /// A member name, or the end of an empty object.
    NameOrEnd,
    Name,
    Colon,
    CommaOrEnd,
    /// The document is complete.
    Nothing,
}

/// The token that is being read.
#[derive(Clone, Copy, Debug)]
enum Token {
    None,
    Text {
        is_name: bool,
        /// Its text goes to the observer, or to the names.
        wanted: bool,
        escape: Escape,
    },
    Number(Number),
    /// The rest of `true`, `false` or `null`.
    Word(&'static [u8]),
}

/// Where in an escape sequence a string is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    None,
    Backslash {
        after: Option<u16>,
    },
    /// After `\u` and `digits` digits; `after` is the high surrogate before it.
    Unicode {
        after: Option<u16>,
        digits: u8,
        value: u16,
    },
    /// After a high surrogate, which needs a low one.
    High(u16),
}

impl Syntax {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            expect: Expect::Value,
            token: Token::None,
            token_at: 0,
            escape_at: 0,
            open: Vec::new(),
            names: Names::default(),
            whitespace: 0,
            at: 0,
            root_closer: None,
            values: 0,
            deepest: 0,
            depth_max: limits.depth.min(DOCUMENT_DEPTH_MAX),
            whitespace_max: limits.whitespace_bytes,
            number_max: limits.number_bytes,
        }
    }

    /// Reads on to the end of `document`, which begins with what was read before.
    pub(crate) fn feed(&mut self, document: &str, observer: &mut impl Observe) -> Result<(), Fault> {
        let bytes = document.as_bytes();
        while let Some(&byte) = bytes.get(self.at) {
            if let Token::Text { is_name, wanted, escape: Escape::None } = self.token {
                // The bulk of every document: characters of strings that stand for themselves.
                let rest = bytes.get(self.at..).unwrap_or_default();
                let plain = rest.iter().position(|&b| matches!(b, b'"' | b'\\' | 0..0x20)).unwrap_or(rest.len());
                if plain > 0 {
                    if wanted {
                        let piece = rest.get(..plain).unwrap_or_default();
                        if let Err(RefusedAt(offset)) = self.piece(is_name, piece, observer) {
                            self.at += offset;
                            return Err(self.refused());
                        }
                    }
                    self.at += plain;
                    continue;
                }
            }
            self.byte(byte, document, observer)?;
            self.at += 1;
        }
        Ok(())
    }

    /// Whether the document is complete. A number at the root is complete only when the text ends.
    pub(crate) fn is_complete(&self) -> bool {
        self.expect == Expect::Nothing && matches!(self.token, Token::None)
    }

    /// Reads the end of the text.
    pub(crate) fn finish(&mut self, document: &str, observer: &mut impl Observe) -> Result<(), Fault> {
        self.end_number(document, observer)?;
        if self.is_complete() {
            return Ok(());
        }
        let nothing = self.open.is_empty() && self.expect == Expect::Value && matches!(self.token, Token::None);
        self.fail(if nothing { ViolationKind::Empty } else { ViolationKind::Incomplete })
    }

    /// Number of values so far, of any type.
    pub(crate) fn values(&self) -> u64 {
        self.values
    }

    /// Deepest nesting so far.
    pub(crate) fn deepest(&self) -> usize {
        self.deepest
    }

    /// Bytes read so far.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Once the root has ended: without the byte there and those behind it, it is not complete. The closing bracket or quote; of
    /// a number or a word, the first, since the beginning of a number is a number.
    pub(crate) fn root_closer(&self) -> Option<usize> {
        self.root_closer
    }

    /// What the last byte was in the middle of.
    pub(crate) fn under(&self) -> Under {
        match self.token {
            Token::None => Under::Nothing,
            Token::Text { is_name: true, .. } => Under::Name(self.token_at),
            Token::Text { escape: Escape::None, .. } => Under::Text(self.token_at, None),
            Token::Text { .. } => Under::Text(self.token_at, Some(self.escape_at)),
            Token::Number(_) | Token::Word(_) => Under::Scalar(self.token_at),
        }
    }

    fn fail<T>(&self, kind: ViolationKind) -> Result<T, Fault> {
        Err(Fault { at: self.at, kind })
    }

    fn refused(&self) -> Fault {
        Fault { at: self.at, kind: ViolationKind::Schema }
    }

    fn byte(&mut self, byte: u8, document: &str, observer: &mut impl Observe) -> Result<(), Fault> {
        match self.token {
            Token::None => self.between(byte, document, observer),
            Token::Text { is_name, wanted, escape } => self.text(byte, (is_name, wanted), escape, document, observer),
            Token::Number(state) => match state.next(byte) {
                Some(_) if self.at - self.token_at >= self.number_max => self.fail(ViolationKind::Number),
                Some(state) => {
                    self.token = Token::Number(state);
                    Ok(())
                }
                None => {
                    self.end_number(document, observer)?;
                    self.between(byte, document, observer)
                }
            },
            Token::Word(rest) => match rest.split_first() {
                Some((&next, [])) if next == byte => {
                    observer.end(document, self.at + 1).map_err(|Refused| self.refused())?;
                    self.token = Token::None;
                    self.ended(self.token_at);
                    Ok(())
                }
                Some((&next, rest)) if next == byte => {
                    self.token = Token::Word(rest);
                    Ok(())
                }
                _ => self.fail(ViolationKind::Syntax),
            },
        }
    }

    fn between(&mut self, byte: u8, document: &str, observer: &mut impl Observe) -> Result<(), Fault> {
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            self.whitespace += 1;
            return if self.whitespace > self.whitespace_max {
                self.fail(ViolationKind::TooMuchWhitespace)
            } else {
                Ok(())
            };
        }
        self.whitespace = 0;
        let in_object = self.open.last().copied();
        match (self.expect, byte) {
            (Expect::ValueOrEnd, b']') | (Expect::NameOrEnd, b'}') => self.close(document, observer),
            (Expect::CommaOrEnd, b']') if in_object == Some(false) => self.close(document, observer),
            (Expect::CommaOrEnd, b'}') if in_object == Some(true) => self.close(document, observer),
            (Expect::CommaOrEnd, b',') => {
                self.expect = if in_object == Some(true) { Expect::Name } else { Expect::Value };
                Ok(())
            }
            (Expect::Colon, b':') => {
                self.expect = Expect::Value;
                Ok(())
            }
            (Expect::Name | Expect::NameOrEnd, b'"') => {
                self.token_at = self.at;
                self.token = Token::Text { is_name: true, wanted: true, escape: Escape::None };
                Ok(())
            }
            (Expect::Value | Expect::ValueOrEnd, _) => self.value(byte, observer),
            (Expect::Nothing, _) => self.fail(ViolationKind::TrailingBytes),
            _ => self.fail(ViolationKind::Syntax),
        }
    }

    fn value(&mut self, byte: u8, observer: &mut impl Observe) -> Result<(), Fault> {
        let kind = match byte {
            b'{' => Kind::Object,
            b'[' => Kind::Array,
            b'"' => Kind::Text,
            b't' | b'f' => Kind::Boolean,
            b'n' => Kind::Null,
            b'-' | b'0'..=b'9' => Kind::Number,
            // The first byte of U+FEFF in UTF-8; no document begins with any other character that it begins.
            0xEF if self.at == 0 => return self.fail(ViolationKind::ByteOrderMark),
            _ => return self.fail(ViolationKind::Syntax),
        };
        if matches!(kind, Kind::Object | Kind::Array) && self.open.len() >= self.depth_max {
            return self.fail(ViolationKind::TooDeep);
        }
        self.values += 1;
        self.token_at = self.at;
        observer.begin(kind, self.at).map_err(|Refused| self.refused())?;
        match (kind, byte) {
            (Kind::Object | Kind::Array, _) => {
                let is_object = kind == Kind::Object;
                self.open.push(is_object);
                self.deepest = self.deepest.max(self.open.len());
                if is_object {
                    self.names.open();
                }
                self.expect = if is_object { Expect::NameOrEnd } else { Expect::ValueOrEnd };
                return Ok(());
            }
            (Kind::Text, _) => {
                let wanted = observer.wants_text();
                self.token = Token::Text { is_name: false, wanted, escape: Escape::None };
            }
            (_, b't') => self.token = Token::Word(b"rue"),
            (_, b'f') => self.token = Token::Word(b"alse"),
            (_, b'n') => self.token = Token::Word(b"ull"),
            _ => match Number::begin(byte) {
                Some(state) => self.token = Token::Number(state),
                None => return self.fail(ViolationKind::Syntax),
            },
        }
        self.after_value();
        Ok(())
    }

    fn close(&mut self, document: &str, observer: &mut impl Observe) -> Result<(), Fault> {
        if self.open.pop() == Some(true) {
            self.names.close();
        }
        self.after_value();
        self.ended(self.at);
        observer.end(document, self.at + 1).map_err(|Refused| self.refused())
    }

    /// A value has ended.
    fn ended(&mut self, closer: usize) {
        if self.open.is_empty() {
            self.root_closer = Some(closer);
        }
    }

    fn after_value(&mut self) {
        self.expect = if self.open.is_empty() { Expect::Nothing } else { Expect::CommaOrEnd };
    }

    fn end_number(&mut self, document: &str, observer: &mut impl Observe) -> Result<(), Fault> {
        let Token::Number(state) = self.token else { return Ok(()) };
        if !state.is_whole() {
            return self.fail(ViolationKind::Syntax);
        }
        observer.end(document, self.at).map_err(|Refused| self.refused())?;
        self.token = Token::None;
        self.ended(self.token_at);
        Ok(())
    }

    fn text(
        &mut self,
        byte: u8,
        (is_name, wanted): (bool, bool),
        escape: Escape,
        document: &str,
        observer: &mut impl Observe,
    ) -> Result<(), Fault> {
        let mut next = Escape::None;
        let mut means: Option<&[u8]> = None;
        match escape {
            Escape::None => match byte {
                b'"' => {
                    // A token that is refused at its end is still under way: none of it may leave.
                    if is_name {
                        self.end_name(observer)?;
                    } else {
                        observer.end(document, self.at + 1).map_err(|Refused| self.refused())?;
                        self.ended(self.at);
                    }
                    self.token = Token::None;
                    return Ok(());
                }
                b'\\' => {
                    self.escape_at = self.at;
                    next = Escape::Backslash { after: None };
                }
                _ => return self.fail(ViolationKind::Syntax),
            },
            Escape::High(high) if byte == b'\\' => next = Escape::Backslash { after: Some(high) },
            Escape::High(_) => return self.fail(ViolationKind::Syntax),
            Escape::Backslash { after } => match (byte, after) {
                (b'u', _) => next = Escape::Unicode { after, digits: 0, value: 0 },
                (_, Some(_)) => return self.fail(ViolationKind::Syntax),
                (b'"', None) => means = Some(b"\""),
                (b'\\', None) => means = Some(b"\\"),
                (b'/', None) => means = Some(b"/"),
                (b'b', None) => means = Some(&[8]),
                (b'f', None) => means = Some(&[12]),
                (b'n', None) => means = Some(b"\n"),
                (b'r', None) => means = Some(b"\r"),
                (b't', None) => means = Some(b"\t"),
                _ => return self.fail(ViolationKind::Syntax),
            },
            Escape::Unicode { after, digits, value } => {
                let Some(digit) = char::from(byte).to_digit(16) else { return self.fail(ViolationKind::Syntax) };
                let value = value << 4 | digit as u16;
                next = if digits < 3 {
                    Escape::Unicode { after, digits: digits + 1, value }
                } else {
                    match unit(after, value) {
                        Some(Unit::High(high)) => Escape::High(high),
                        Some(Unit::Char(c)) => {
                            let mut bytes = [0; 4];
                            let piece = c.encode_utf8(&mut bytes).as_bytes();
                            if wanted {
                                self.piece(is_name, piece, observer).map_err(|_| self.refused())?;
                            }
                            Escape::None
                        }
                        None => return self.fail(ViolationKind::Syntax),
                    }
                };
            }
        }
        if let Some(piece) = means.filter(|_| wanted) {
            self.piece(is_name, piece, observer).map_err(|_| self.refused())?;
        }
        self.token = Token::Text { is_name, wanted, escape: next };
        Ok(())
    }

    fn piece(&mut self, is_name: bool, piece: &[u8], observer: &mut impl Observe) -> Result<(), RefusedAt> {
        if is_name {
            self.names.push(piece);
            return Ok(());
        }
        observer.text(piece)
    }

    fn end_name(&mut self, observer: &mut impl Observe) -> Result<(), Fault> {
        if !self.names.end() {
            return Err(Fault { at: self.token_at, kind: ViolationKind::DuplicateName });
        }
        let end = self.at + 1;
        observer.name(self.names.last(), self.token_at, end).map_err(|Refused| self.refused())?;
        self.expect = Expect::Colon;
        Ok(())
    }
}

/// What a whole `\uXXXX` means, after a high surrogate or by itself.
enum Unit {
    High(u16),
    Char(char),
}

/// None for a surrogate that stands alone.
fn unit(after: Option<u16>, value: u16) -> Option<Unit> {
    if after.is_none() && (0xD800..0xDC00).contains(&value) {
        return Some(Unit::High(value));
    }
    let units = [after.unwrap_or(value), value];
    let units = units.get(usize::from(after.is_none())..).unwrap_or_default();
    match char::decode_utf16(units.iter().copied()).next() {
        Some(Ok(c)) if after.is_none() || c.len_utf16() == 2 => Some(Unit::Char(c)),
        _ => None,
    }
}
