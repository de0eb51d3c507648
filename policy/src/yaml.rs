//! YAML text into a tree whose every node knows its line and column.
//!
//! Nothing is lost on the way: duplicate keys, merge keys, a second document and unknown tags are errors here, so that the
//! reader above sees each key that the author wrote exactly once.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Location, Spanned};

use crate::diagnostic::Code;

/// Parser events (nodes and ends of collections) in one policy: two orders of magnitude over the largest rule set imaginable.
const EVENTS_MAX: usize = 200_000;
/// Nesting of maps and lists; the deepest policy has eight levels, and the JSON Schema of a column some more.
const DEPTH_MAX: usize = 16;
/// Uses of anchors; a handful saves typing, thousands are an attack.
const ALIASES_MAX: usize = 256;

/// A place in the source: line and column counted from 1 in characters; 0 when unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mark {
    pub(crate) line: u32,
    pub(crate) column: u32,
    /// Offset of the node's first character (which may be a quote) in the source.
    pub(crate) byte: Option<usize>,
}

impl From<Location> for Mark {
    fn from(location: Location) -> Self {
        Self {
            line: u32::try_from(location.line()).unwrap_or(0),
            column: u32::try_from(location.column()).unwrap_or(0),
            byte: location.span().byte_offset().and_then(|offset| usize::try_from(offset).ok()),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) at: Mark,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) at: Mark,
    pub(crate) name: String,
}

/// Why a text is not a document.
#[derive(Debug)]
pub(crate) struct Malformed {
    pub(crate) code: Code,
    pub(crate) at: Mark,
    pub(crate) message: String,
}

impl Node {
    /// What stands there, in words.
    pub(crate) fn describe(&self) -> &'static str {
        match self.kind {
            Kind::Null => "nothing",
            Kind::Bool(_) => "true or false",
            Kind::Int(_) => "a whole number",
            Kind::Float(_) => "a number",
            Kind::Text(_) => "text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a map",
        }
    }
}

/// Reads one document.
pub(crate) fn parse(source: &str) -> Result<Node, Malformed> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: EVENTS_MAX,
            max_depth: DEPTH_MAX,
            max_aliases: ALIASES_MAX,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        non_finite_float_policy: NonFiniteFloatPolicy::Reject,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options::<Node>(source, options).map_err(|error| {
        let at = error.location().map_or_else(Mark::default, Mark::from);
        let mut code = Code::Yaml;
        let message = match error.without_snippet() {
            serde_saphyr::Error::MultipleDocuments { .. } => {
                "a second YAML document starts here; a policy is one document".to_owned()
            }
            serde_saphyr::Error::MergeKeyNotAllowed { .. } => {
                "merge keys (`<<`) are not allowed; write the keys out".to_owned()
            }
            serde_saphyr::Error::DuplicateMappingKey { key, .. } => {
                code = Code::Duplicate;
                let key = key.as_deref().unwrap_or_default();
                format!("the key `{key}` stands in this map twice")
            }
            other => first_line(&other.to_string()),
        };
        Malformed { code, at, message }
    })
}

/// The parser repeats its position in words after the message; the position is shown by the caller.
fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    line.split(" at line ").next().unwrap_or(line).trim().to_owned()
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Kind>::deserialize(deserializer)?;
        Ok(Self { at: spanned.referenced.into(), kind: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Int(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Kind, E> {
        i64::try_from(value).map(Kind::Int).map_err(|_| E::custom("the number is too big"))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Kind, E> {
        Ok(Kind::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Kind, E> {
        Ok(Kind::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Kind, E> {
        Ok(Kind::Text(value))
    }

    fn visit_none<E>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_some<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Kind, D::Error> {
        Kind::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Kind, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = access.next_element()? {
            list.push(node);
        }
        Ok(Kind::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Kind, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = access.next_key::<Spanned<String>>()? {
            let value = access.next_value()?;
            let key = Key { at: key.referenced.into(), name: key.value };
            entries.push((key, value));
        }
        Ok(Kind::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(node: &Node) -> &[(Key, Node)] {
        match &node.kind {
            Kind::Map(entries) => entries,
            other => panic!("not a map: {other:?}"),
        }
    }

    #[test]
    fn every_node_knows_its_place() {
        let node = parse("a: 1\nb:\n  - x: 0.5\n    y: \"no\"\n").unwrap();
        let (key, value) = &entries(&node)[1];
        assert_eq!((key.at.line, key.at.column, key.name.as_str()), (2, 1, "b"));
        let Kind::List(list) = &value.kind else { panic!("not a list") };
        let (key, value) = &entries(&list[0])[1];
        assert_eq!((key.at.line, key.at.column), (4, 5));
        assert_eq!((value.at.line, value.at.column), (4, 8));
        assert_eq!(value.at.byte, Some(26));
        assert!(matches!(&value.kind, Kind::Text(text) if text == "no"));
    }

    #[test]
    fn plain_scalars_follow_yaml_1_2() {
        let node = parse("[no, yes, true, 7, 7.5, ~, 2027-01-01, 1e3]").unwrap();
        let Kind::List(list) = &node.kind else { panic!("not a list") };
        assert!(matches!(&list[0].kind, Kind::Text(t) if t == "no"));
        assert!(matches!(&list[1].kind, Kind::Text(t) if t == "yes"));
        assert!(matches!(list[2].kind, Kind::Bool(true)));
        assert!(matches!(list[3].kind, Kind::Int(7)));
        assert!(matches!(list[4].kind, Kind::Float(f) if f == 7.5));
        assert!(matches!(list[5].kind, Kind::Null));
        assert!(matches!(&list[6].kind, Kind::Text(t) if t == "2027-01-01"));
    }

    #[test]
    fn what_would_lose_a_key_is_refused() {
        for (source, line) in [
            ("a: 1\na: 2\n", 2),
            ("a: 1\n---\nb: 2\n", 3),
            ("a: &x {b: 1}\nc:\n  <<: *x\n", 3),
            ("a: !secret x\n", 1),
            ("a: .nan\n", 1),
            ("a: [1\n", 1),
        ] {
            let malformed = parse(source).expect_err(source);
            assert_eq!(malformed.at.line, line, "{source:?}: {malformed:?}");
            assert!(!malformed.message.is_empty());
        }
    }

    #[test]
    fn depth_and_aliases_are_bounded() {
        let deep = format!("{}1{}", "[".repeat(20_000), "]".repeat(20_000));
        assert!(parse(&deep).is_err());
        let bomb = format!("a: &a [1]\nb: [{}]\n", vec!["*a"; 1000].join(","));
        assert!(parse(&bomb).is_err());
    }
}
