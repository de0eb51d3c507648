//! A strict JSON reader that yields a flat table of values with their byte ranges.
//!
//! It guarantees: what it accepts is exactly one RFC 8259 document in UTF-8 without a byte order mark, without duplicate
//! names in any object, and within the limits. It never recurses and never panics.

mod read;

use std::borrow::Cow;
use std::ops::Range;

use super::error::{JsonError, JsonErrorKind};
use super::text::TextDecoder;
use read::Reader;

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
        Reader::new(bytes, limits).read()
    }

    /// The outermost value. `bytes` must be what the document was read from.
    pub fn root<'a>(&'a self, bytes: &'a [u8]) -> Value<'a> {
        Value { doc: self, bytes, index: 0 }
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
