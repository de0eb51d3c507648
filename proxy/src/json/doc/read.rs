//! The strict reader: from bytes to the table of their values, without recursion.

use std::collections::HashSet;

use super::{Doc, Kind, Limits, Node, name_text};
use crate::json::error::{JsonError, JsonErrorKind};

/// How many names an object may have before looking for duplicates goes from comparing to hashing.
const LINEAR_NAMES_MAX: usize = 8;

struct Open {
    node: usize,
    object: bool,
    names: Names,
}

/// The names seen so far in one object.
enum Names {
    Few(Vec<(u32, u32)>),
    Many(HashSet<String>),
}

pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    open: Vec<Open>,
    limits: Limits,
}

impl<'a> Reader<'a> {
    /// Reads UTF-8.
    pub(super) fn new(bytes: &'a [u8], limits: Limits) -> Reader<'a> {
        Reader { bytes, at: 0, nodes: Vec::new(), open: Vec::new(), limits }
    }

    fn fail<T>(&self, kind: JsonErrorKind) -> Result<T, JsonError> {
        Err(JsonError { at: self.at, kind })
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn unexpected<T>(&self) -> Result<T, JsonError> {
        self.fail(if self.at >= self.bytes.len() {
            JsonErrorKind::UnexpectedEnd
        } else {
            JsonErrorKind::UnexpectedCharacter
        })
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    pub(super) fn read(mut self) -> Result<Doc, JsonError> {
        self.skip_space();
        self.value((0, 0))?;
        while !self.open.is_empty() {
            self.step()?;
        }
        self.skip_space();
        if self.at < self.bytes.len() {
            return self.fail(JsonErrorKind::TrailingBytes);
        }
        Ok(Doc { nodes: self.nodes })
    }

    /// Goes on inside the innermost open array or object: one member or element, or its end.
    fn step(&mut self) -> Result<(), JsonError> {
        self.skip_space();
        let Some(top) = self.open.last() else { return Ok(()) };
        let (object, first) = (top.object, self.nodes.len() == top.node + 1);
        let closer = if object { b'}' } else { b']' };
        if self.peek() == Some(closer) {
            self.at += 1;
            self.close();
            return Ok(());
        }
        if !first {
            if self.peek() != Some(b',') {
                return self.unexpected();
            }
            self.at += 1;
            self.skip_space();
        }
        if !object {
            return self.value((0, 0));
        }
        if self.peek() != Some(b'"') {
            return self.unexpected();
        }
        let name_at = self.at;
        let name = self.string()?;
        if !self.note_name(name)? {
            return Err(JsonError { at: name_at, kind: JsonErrorKind::DuplicateName });
        }
        self.skip_space();
        if self.peek() != Some(b':') {
            return self.unexpected();
        }
        self.at += 1;
        self.skip_space();
        self.value(name)
    }

    /// Remembers a name of the innermost object; `false` if it was there already.
    fn note_name(&mut self, name: (u32, u32)) -> Result<bool, JsonError> {
        let bytes = self.bytes;
        let Some(top) = self.open.last_mut() else { return Ok(true) };
        let text = name_text(bytes, name);
        match &mut top.names {
            Names::Few(seen) => {
                if seen.iter().any(|other| name_text(bytes, *other) == text) {
                    return Ok(false);
                }
                seen.push(name);
                if seen.len() > LINEAR_NAMES_MAX {
                    top.names = Names::Many(seen.iter().map(|n| name_text(bytes, *n).into_owned()).collect());
                }
                Ok(true)
            }
            Names::Many(seen) => Ok(seen.insert(text.into_owned())),
        }
    }

    fn push(&mut self, kind: Kind, start: usize, name: (u32, u32)) -> Result<usize, JsonError> {
        if self.nodes.len() >= self.limits.values_max {
            return self.fail(JsonErrorKind::TooManyValues);
        }
        let index = self.nodes.len();
        // Lengths were checked to fit when reading began.
        let (start, end) = (start as u32, self.at as u32);
        self.nodes.push(Node { kind, start, end, name_start: name.0, name_end: name.1, next: index as u32 + 1 });
        Ok(index)
    }

    fn value(&mut self, name: (u32, u32)) -> Result<(), JsonError> {
        let start = self.at;
        match self.peek() {
            Some(b'{') => self.open(Kind::Object, name),
            Some(b'[') => self.open(Kind::Array, name),
            Some(b'"') => {
                self.string()?;
                self.push(Kind::String, start, name).map(drop)
            }
            Some(b'-' | b'0'..=b'9') => {
                self.number()?;
                self.push(Kind::Number, start, name).map(drop)
            }
            Some(b't') => self.literal(b"true", Kind::Bool, name),
            Some(b'f') => self.literal(b"false", Kind::Bool, name),
            Some(b'n') => self.literal(b"null", Kind::Null, name),
            Some(b'N' | b'I' | b'u') => self.fail(JsonErrorKind::Literal),
            _ => self.unexpected(),
        }
    }

    fn open(&mut self, kind: Kind, name: (u32, u32)) -> Result<(), JsonError> {
        if self.open.len() >= self.limits.depth_max {
            return self.fail(JsonErrorKind::Depth);
        }
        let start = self.at;
        self.at += 1;
        let node = self.push(kind, start, name)?;
        self.open.push(Open { node, object: kind == Kind::Object, names: Names::Few(Vec::new()) });
        Ok(())
    }

    fn close(&mut self) {
        let next = self.nodes.len() as u32;
        if let Some(top) = self.open.pop()
            && let Some(node) = self.nodes.get_mut(top.node)
        {
            node.end = self.at as u32;
            node.next = next;
        }
    }

    fn literal(&mut self, word: &'static [u8], kind: Kind, name: (u32, u32)) -> Result<(), JsonError> {
        let start = self.at;
        if !self.bytes.get(start..).is_some_and(|rest| rest.starts_with(word)) {
            return self.fail(JsonErrorKind::Literal);
        }
        self.at += word.len();
        self.push(kind, start, name).map(drop)
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return self.fail(JsonErrorKind::Number);
        }
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        Ok(())
    }

    /// RFC 8259 §6.
    fn number(&mut self) -> Result<(), JsonError> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        if let Some(b'0'..=b'9' | b'.' | b'+' | b'-' | b'a'..=b'z' | b'A'..=b'Z') = self.peek() {
            return self.fail(JsonErrorKind::Number);
        }
        Ok(())
    }

    /// RFC 8259 §7, from the opening quote; gives the range between the quotes.
    fn string(&mut self) -> Result<(u32, u32), JsonError> {
        self.at += 1;
        let start = self.at as u32;
        loop {
            match self.peek() {
                None => return self.fail(JsonErrorKind::UnexpectedEnd),
                Some(b'"') => {
                    let end = self.at as u32;
                    self.at += 1;
                    return Ok((start, end));
                }
                Some(b'\\') => {
                    self.at += 1;
                    match self.peek() {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
                        Some(b'u') => {
                            self.at += 1;
                            for _ in 0..4 {
                                if !self.peek().is_some_and(|b| b.is_ascii_hexdigit()) {
                                    return self.fail(JsonErrorKind::Escape);
                                }
                                self.at += 1;
                            }
                        }
                        _ => return self.fail(JsonErrorKind::Escape),
                    }
                }
                Some(0..=0x1f) => return self.fail(JsonErrorKind::ControlCharacter),
                Some(_) => self.at += 1,
            }
        }
    }
}
