//! A strict JSON reader that yields a flat table of values with their byte ranges.
//!
//! It guarantees: what it accepts is exactly one RFC 8259 document in UTF-8 without a byte order mark, without duplicate
//! names in any object, and within the limits. It never recurses and never panics.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use super::error::{JsonError, JsonErrorKind};
use super::text::TextDecoder;

/// Bounds of one document.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Nesting of arrays and objects. No provider's API comes near; deeper ones are attacks on recursive readers.
    pub depth_max: usize,
    /// Values in the document, so that `[0,0,0,…` cannot cost many times its size in memory.
    pub values_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth_max: 128, values_max: 1_000_000 }
    }
}

/// What stands at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

#[derive(Debug, Clone)]
struct Node {
    kind: Kind,
    /// Byte range of the value, quotes and brackets included.
    start: u32,
    end: u32,
    /// Byte range of the member name inside its quotes; empty and at 0 where the value is no member.
    name_start: u32,
    name_end: u32,
    /// Index of the first node behind this value's subtree.
    next: u32,
}

/// A document that has been read. It does not own the bytes: accessors take them through [`Value`].
#[derive(Debug, Clone)]
pub struct Doc {
    nodes: Vec<Node>,
}

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

impl Doc {
    /// Reads `bytes` as one strict JSON document.
    pub fn parse(bytes: &[u8], limits: Limits) -> Result<Doc, JsonError> {
        if bytes.starts_with(b"\xef\xbb\xbf") {
            return Err(JsonError { at: 0, kind: JsonErrorKind::ByteOrderMark });
        }
        if u32::try_from(bytes.len()).is_err() {
            return Err(JsonError { at: 0, kind: JsonErrorKind::TooLarge });
        }
        if let Err(error) = std::str::from_utf8(bytes) {
            return Err(JsonError { at: error.valid_up_to(), kind: JsonErrorKind::Utf8 });
        }
        Reader { bytes, at: 0, nodes: Vec::new(), open: Vec::new(), limits }.read()
    }

    /// The outermost value. `bytes` must be what the document was read from.
    pub fn root<'a>(&'a self, bytes: &'a [u8]) -> Value<'a> {
        Value { doc: self, bytes, index: 0 }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    open: Vec<Open>,
    limits: Limits,
}

impl Reader<'_> {
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

    fn read(mut self) -> Result<Doc, JsonError> {
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

fn name_text(bytes: &[u8], (start, end): (u32, u32)) -> Cow<'_, str> {
    string_text(bytes, start as usize..end as usize)
}

/// The text of a string whose bytes between the quotes are `range`.
fn string_text(bytes: &[u8], range: Range<usize>) -> Cow<'_, str> {
    let raw = bytes.get(range).unwrap_or_default();
    if raw.contains(&b'\\') {
        let mut decoder = TextDecoder::default();
        let mut text = String::with_capacity(raw.len());
        decoder.feed(raw, &mut text);
        decoder.finish(&mut text);
        return Cow::Owned(text);
    }
    String::from_utf8_lossy(raw)
}

/// One value of a document, with the bytes it stands on.
#[derive(Debug, Clone, Copy)]
pub struct Value<'a> {
    doc: &'a Doc,
    bytes: &'a [u8],
    index: usize,
}

impl<'a> Value<'a> {
    fn node(&self) -> Option<&'a Node> {
        self.doc.nodes.get(self.index)
    }

    pub fn kind(&self) -> Kind {
        self.node().map_or(Kind::Null, |n| n.kind)
    }

    /// Byte range of the whole value.
    pub fn range(&self) -> Range<usize> {
        self.node().map_or(0..0, |n| n.start as usize..n.end as usize)
    }

    /// Byte range between the quotes of a string.
    pub fn inner(&self) -> Range<usize> {
        let Range { start, end } = self.range();
        if self.kind() == Kind::String { start + 1..end.saturating_sub(1) } else { start..end }
    }

    pub fn raw(&self) -> &'a [u8] {
        self.bytes.get(self.range()).unwrap_or_default()
    }

    /// The member's name, empty for elements and the root.
    pub fn name(&self) -> Cow<'a, str> {
        self.node().map_or(Cow::Borrowed(""), |n| name_text(self.bytes, (n.name_start, n.name_end)))
    }

    /// Byte range of the member's name between its quotes; `None` for elements and the root.
    pub fn name_range(&self) -> Option<Range<usize>> {
        // A name stands behind a bracket and a quote, so never at 0.
        self.node().filter(|n| n.name_start > 0).map(|n| n.name_start as usize..n.name_end as usize)
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<Cow<'a, str>> {
        (self.kind() == Kind::String).then(|| string_text(self.bytes, self.inner()))
    }

    pub fn as_u64(&self) -> Option<u64> {
        if self.kind() != Kind::Number {
            return None;
        }
        std::str::from_utf8(self.raw()).ok()?.parse().ok()
    }

    pub fn as_bool(&self) -> Option<bool> {
        (self.kind() == Kind::Bool).then(|| self.raw() == b"true")
    }

    pub fn is_null(&self) -> bool {
        self.kind() == Kind::Null
    }

    /// Elements of an array or members of an object, in document order; nothing for scalars.
    pub fn children(&self) -> Children<'a> {
        let end = match self.node() {
            Some(n) if matches!(n.kind, Kind::Array | Kind::Object) => n.next as usize,
            _ => self.index,
        };
        Children { doc: self.doc, bytes: self.bytes, at: self.index + 1, end }
    }

    /// The member `name` of an object.
    pub fn get(&self, name: &str) -> Option<Value<'a>> {
        if self.kind() != Kind::Object {
            return None;
        }
        self.children().find(|v| v.name() == name)
    }

    /// The member at the end of a chain of names.
    pub fn at(&self, names: &[&str]) -> Option<Value<'a>> {
        names.iter().try_fold(*self, |value, name| value.get(name))
    }
}

/// Iterator over the values directly inside another.
#[derive(Debug, Clone)]
pub struct Children<'a> {
    doc: &'a Doc,
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Iterator for Children<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        if self.at >= self.end {
            return None;
        }
        let value = Value { doc: self.doc, bytes: self.bytes, index: self.at };
        self.at = value.node()?.next as usize;
        Some(value)
    }
}

#[cfg(test)]
#[allow(clippy::string_slice)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Doc, JsonErrorKind> {
        Doc::parse(text.as_bytes(), Limits::default()).map_err(|e| e.kind)
    }

    #[test]
    fn values_know_their_bytes() {
        let text = r#" {"a":[1,"x\n",{"b":true}],"c":null} "#;
        let doc = parse(text).unwrap();
        let root = doc.root(text.as_bytes());
        let a = root.get("a").unwrap();
        assert_eq!(a.raw(), br#"[1,"x\n",{"b":true}]"#);
        let items: Vec<_> = a.children().collect();
        assert_eq!(items.len(), 3);
        assert_eq!(items[0].as_u64(), Some(1));
        assert_eq!(items[1].as_str().unwrap(), "x\n");
        assert_eq!(&text[items[1].inner()], "x\\n");
        assert_eq!(items[2].get("b").unwrap().as_bool(), Some(true));
        assert!(root.at(&["c"]).unwrap().is_null());
        assert!(root.get("d").is_none());
    }

    #[test]
    fn what_differs_between_parsers_is_refused() {
        use JsonErrorKind::*;
        for (text, kind) in [
            ("\u{feff}{}", ByteOrderMark),
            (r#"{"a":1,"a":2}"#, DuplicateName),
            (r#"{"a":1,"\u0061":2}"#, DuplicateName),
            ("NaN", Literal),
            ("[Infinity]", Literal),
            ("{} {}", TrailingBytes),
            ("{}\0", TrailingBytes),
            ("01", Number),
            ("1.", Number),
            ("-", Number),
            ("[1,]", UnexpectedCharacter),
            ("{\"a\"}", UnexpectedCharacter),
            ("{'a':1}", UnexpectedCharacter),
            ("", UnexpectedEnd),
            ("[", UnexpectedEnd),
            ("\"\\x\"", Escape),
            ("\"\\u12g4\"", Escape),
            ("\"\n\"", ControlCharacter),
            ("tru", Literal),
        ] {
            assert_eq!(parse(text).unwrap_err(), kind, "{text:?}");
        }
        assert_eq!(Doc::parse(b"\"\xff\"", Limits::default()).unwrap_err(), JsonError { at: 1, kind: Utf8 });
    }

    #[test]
    fn limits_hold() {
        let deep = "[".repeat(129) + &"]".repeat(129);
        assert_eq!(parse(&deep).unwrap_err(), JsonErrorKind::Depth);
        assert!(parse(&("[".repeat(128) + &"]".repeat(128))).is_ok());
        let limits = Limits { values_max: 3, ..Limits::default() };
        assert_eq!(Doc::parse(b"[1,2,3]", limits).unwrap_err().kind, JsonErrorKind::TooManyValues);
    }

    #[test]
    fn many_names_are_compared_too() {
        let mut names: Vec<String> = (0..20).map(|i| format!("\"k{i}\":0")).collect();
        assert!(parse(&format!("{{{}}}", names.join(","))).is_ok());
        names.push("\"k3\":1".into());
        assert_eq!(parse(&format!("{{{}}}", names.join(","))).unwrap_err(), JsonErrorKind::DuplicateName);
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json_on_what_is_json(text in "[\\[\\]{}:,\"\\\\a0-9.eE+\\- tnul]{0,24}") {
            let ours = parse(&text);
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            match ours {
                Ok(_) => prop_assert!(theirs.is_ok(), "{text:?}"),
                // serde_json takes duplicate names, and refuses numbers that overflow a double: both are meant.
                Err(JsonErrorKind::DuplicateName) => {}
                Err(_) => prop_assert!(theirs.is_err(), "{text:?}"),
            }
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Doc::parse(&bytes, Limits::default());
        }
    }
}
