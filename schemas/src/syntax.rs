//! Strict JSON (RFC 8259), judged byte by byte as it arrives: the first byte that cannot be part of any document is
//! where it stops. Stricter than the RFC where readers differ: member names are unique, strings have no lone surrogates,
//! there is no byte order mark.

use std::collections::HashSet;

use crate::limits::{DOCUMENT_DEPTH_MAX, Limits};
use crate::number::Number;
use crate::violation::ViolationKind;

/// What is wrong, and at which byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) at: u64,
    pub(crate) kind: ViolationKind,
}

/// Reads one document.
#[derive(Debug)]
pub(crate) struct Syntax {
    expect: Expect,
    token: Token,
    open: Vec<Open>,
    /// Length of the run of white space that was read last.
    whitespace: usize,
    at: u64,
    values: u64,
    deepest: usize,
    depth_max: usize,
    whitespace_max: usize,
    number_max: usize,
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
#[derive(Clone, Debug)]
enum Token {
    None,
    Text {
        is_name: bool,
        escape: Escape,
    },
    Number {
        state: Number,
        bytes: usize,
    },
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

#[derive(Debug)]
enum Open {
    Array,
    Object { names: HashSet<Box<[u8]>>, name: Vec<u8>, began: u64 },
}

impl Syntax {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            expect: Expect::Value,
            token: Token::None,
            open: Vec::new(),
            whitespace: 0,
            at: 0,
            values: 0,
            deepest: 0,
            depth_max: limits.depth.min(DOCUMENT_DEPTH_MAX),
            whitespace_max: limits.whitespace_bytes,
            number_max: limits.number_bytes,
        }
    }

    /// Reads the next bytes of a text that is UTF-8.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let mut rest = bytes;
        while let Some((&byte, tail)) = rest.split_first() {
            if let Token::Text { is_name: false, escape: Escape::None } = self.token {
                // The bulk of every document: characters of strings that stand for themselves.
                let plain = rest.iter().position(|&b| matches!(b, b'"' | b'\\' | 0..0x20)).unwrap_or(rest.len());
                if plain > 0 {
                    self.at += plain as u64;
                    rest = rest.get(plain..).unwrap_or_default();
                    continue;
                }
            }
            self.byte(byte)?;
            self.at += 1;
            rest = tail;
        }
        Ok(())
    }

    /// Whether the document is complete. A number at the root is complete only when the text ends.
    pub(crate) fn is_complete(&self) -> bool {
        self.expect == Expect::Nothing && matches!(self.token, Token::None)
    }

    /// Reads the end of the text.
    pub(crate) fn finish(&mut self) -> Result<(), Fault> {
        self.end_number()?;
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

    fn fail<T>(&self, kind: ViolationKind) -> Result<T, Fault> {
        Err(Fault { at: self.at, kind })
    }

    fn byte(&mut self, byte: u8) -> Result<(), Fault> {
        match self.token {
            Token::None => self.between(byte),
            Token::Text { is_name, escape } => self.text(byte, is_name, escape),
            Token::Number { state, bytes } => match state.next(byte) {
                Some(_) if bytes >= self.number_max => self.fail(ViolationKind::Number),
                Some(state) => {
                    self.token = Token::Number { state, bytes: bytes + 1 };
                    Ok(())
                }
                None => {
                    self.end_number()?;
                    self.between(byte)
                }
            },
            Token::Word(rest) => match rest.split_first() {
                Some((&next, rest)) if next == byte => {
                    self.token = if rest.is_empty() { Token::None } else { Token::Word(rest) };
                    Ok(())
                }
                _ => self.fail(ViolationKind::Syntax),
            },
        }
    }

    fn between(&mut self, byte: u8) -> Result<(), Fault> {
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            self.whitespace += 1;
            return if self.whitespace > self.whitespace_max {
                self.fail(ViolationKind::TooMuchWhitespace)
            } else {
                Ok(())
            };
        }
        self.whitespace = 0;
        match (self.expect, byte) {
            (Expect::ValueOrEnd, b']') | (Expect::NameOrEnd, b'}') => self.close(),
            (Expect::CommaOrEnd, b']') if matches!(self.open.last(), Some(Open::Array)) => self.close(),
            (Expect::CommaOrEnd, b'}') if matches!(self.open.last(), Some(Open::Object { .. })) => self.close(),
            (Expect::CommaOrEnd, b',') => {
                let in_array = matches!(self.open.last(), Some(Open::Array));
                self.expect = if in_array { Expect::Value } else { Expect::Name };
                Ok(())
            }
            (Expect::Colon, b':') => {
                self.expect = Expect::Value;
                Ok(())
            }
            (Expect::Name | Expect::NameOrEnd, b'"') => {
                if let Some(Open::Object { name, began, .. }) = self.open.last_mut() {
                    name.clear();
                    *began = self.at;
                }
                self.token = Token::Text { is_name: true, escape: Escape::None };
                Ok(())
            }
            (Expect::Value | Expect::ValueOrEnd, _) => self.value(byte),
            (Expect::Nothing, _) => self.fail(ViolationKind::TrailingBytes),
            _ => self.fail(ViolationKind::Syntax),
        }
    }

    fn value(&mut self, byte: u8) -> Result<(), Fault> {
        self.values += 1;
        match byte {
            b'{' => {
                return self
                    .open(Open::Object { names: HashSet::new(), name: Vec::new(), began: self.at }, Expect::NameOrEnd);
            }
            b'[' => return self.open(Open::Array, Expect::ValueOrEnd),
            b'"' => self.token = Token::Text { is_name: false, escape: Escape::None },
            b't' => self.token = Token::Word(b"rue"),
            b'f' => self.token = Token::Word(b"alse"),
            b'n' => self.token = Token::Word(b"ull"),
            // The first byte of U+FEFF in UTF-8; no document begins with any other character that it begins.
            0xEF if self.at == 0 => return self.fail(ViolationKind::ByteOrderMark),
            _ => match Number::begin(byte) {
                Some(state) => self.token = Token::Number { state, bytes: 1 },
                None => return self.fail(ViolationKind::Syntax),
            },
        }
        self.after_value();
        Ok(())
    }

    fn open(&mut self, open: Open, expect: Expect) -> Result<(), Fault> {
        if self.open.len() >= self.depth_max {
            return self.fail(ViolationKind::TooDeep);
        }
        self.open.push(open);
        self.deepest = self.deepest.max(self.open.len());
        self.expect = expect;
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fault> {
        self.open.pop();
        self.after_value();
        Ok(())
    }

    fn after_value(&mut self) {
        self.expect = if self.open.is_empty() { Expect::Nothing } else { Expect::CommaOrEnd };
    }

    fn end_number(&mut self) -> Result<(), Fault> {
        if let Token::Number { state, .. } = self.token {
            if !state.is_whole() {
                return self.fail(ViolationKind::Syntax);
            }
            self.token = Token::None;
        }
        Ok(())
    }

    fn text(&mut self, byte: u8, is_name: bool, escape: Escape) -> Result<(), Fault> {
        let mut next = Escape::None;
        match escape {
            Escape::None => match byte {
                b'"' => {
                    self.token = Token::None;
                    return if is_name { self.end_name() } else { Ok(()) };
                }
                b'\\' => next = Escape::Backslash { after: None },
                0..0x20 => return self.fail(ViolationKind::Syntax),
                _ => self.name_bytes(is_name, &[byte]),
            },
            Escape::High(high) if byte == b'\\' => next = Escape::Backslash { after: Some(high) },
            Escape::High(_) => return self.fail(ViolationKind::Syntax),
            Escape::Backslash { after } => match (byte, after) {
                (b'u', _) => next = Escape::Unicode { after, digits: 0, value: 0 },
                (_, Some(_)) => return self.fail(ViolationKind::Syntax),
                (b'"' | b'\\' | b'/', None) => self.name_bytes(is_name, &[byte]),
                (b'b', None) => self.name_bytes(is_name, &[8]),
                (b'f', None) => self.name_bytes(is_name, &[12]),
                (b'n', None) => self.name_bytes(is_name, b"\n"),
                (b'r', None) => self.name_bytes(is_name, b"\r"),
                (b't', None) => self.name_bytes(is_name, b"\t"),
                _ => return self.fail(ViolationKind::Syntax),
            },
            Escape::Unicode { after, digits, value } => {
                let Some(digit) = char::from(byte).to_digit(16) else { return self.fail(ViolationKind::Syntax) };
                let value = value << 4 | digit as u16;
                next = if digits < 3 {
                    Escape::Unicode { after, digits: digits + 1, value }
                } else {
                    self.unit(is_name, after, value)?
                };
            }
        }
        self.token = Token::Text { is_name, escape: next };
        Ok(())
    }

    /// One whole `\uXXXX`.
    fn unit(&mut self, is_name: bool, after: Option<u16>, value: u16) -> Result<Escape, Fault> {
        if after.is_none() && (0xD800..0xDC00).contains(&value) {
            return Ok(Escape::High(value));
        }
        let units = [after.unwrap_or(value), value];
        let units = units.get(usize::from(after.is_none())..).unwrap_or_default();
        match char::decode_utf16(units.iter().copied()).next() {
            Some(Ok(c)) if after.is_none() || c.len_utf16() == 2 => {
                self.name_bytes(is_name, c.encode_utf8(&mut [0; 4]).as_bytes());
                Ok(Escape::None)
            }
            _ => self.fail(ViolationKind::Syntax),
        }
    }

    fn name_bytes(&mut self, is_name: bool, bytes: &[u8]) {
        if let (true, Some(Open::Object { name, .. })) = (is_name, self.open.last_mut()) {
            name.extend_from_slice(bytes);
        }
    }

    fn end_name(&mut self) -> Result<(), Fault> {
        self.expect = Expect::Colon;
        if let Some(Open::Object { names, name, began }) = self.open.last_mut()
            && !names.insert(name.as_slice().into())
        {
            return Err(Fault { at: *began, kind: ViolationKind::DuplicateName });
        }
        Ok(())
    }
}
