//! The strict reader of JSON: it accepts what `serde_json` accepts, and where each value stands is where it stands.

use std::ops::Range;

use clyra::json::{Doc, Edit, JsonErrorKind, Kind, Limits, TextDecoder, Value, rewrite};
use serde::de::IgnoredAny;

/// Far below the real one, so that a small input reaches it.
const VALUES_MAX: usize = 1_000;

pub fn json(input: &[u8]) {
    let limits = Limits { values_max: VALUES_MAX, ..Limits::default() };
    let peer = std::str::from_utf8(input).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
    let doc = match Doc::parse(input, limits) {
        Ok(doc) => doc,
        Err(error) => {
            assert!(error.at <= input.len(), "an error behind the end");
            let ours = matches!(
                error.kind,
                JsonErrorKind::DuplicateName | JsonErrorKind::Depth | JsonErrorKind::TooManyValues
            );
            assert!(ours || !peer, "{error:?} where another reader sees none");
            return;
        }
    };
    assert!(peer, "no other reader takes this");
    let mut count = 0;
    walk(doc.root(input), 0..input.len(), &mut count);
    assert!(count <= VALUES_MAX);
}

fn walk(value: Value<'_>, within: Range<usize>, count: &mut usize) {
    *count += 1;
    let range = value.range();
    assert!(
        within.start <= range.start && range.start < range.end && range.end <= within.end,
        "{range:?} in {within:?}"
    );
    assert!(serde_json::from_slice::<IgnoredAny>(value.raw()).is_ok(), "a value that is none");
    if value.kind() == Kind::String {
        string(value);
    }
    let mut from = range.start;
    for child in value.children() {
        if let Some(name) = child.name_range() {
            assert!(from <= name.start && name.end <= child.range().start);
            assert_eq!(value.get(&child.name()).map(|found| found.range()), Some(child.range()), "a name is not found");
        }
        assert!(from <= child.range().start, "values out of order");
        from = child.range().end;
        walk(child, range.clone(), count);
    }
}

/// What a string says is what others read, however it is cut, and an edit changes what it covers.
fn string(value: Value<'_>) {
    let text = value.as_str().expect("a string has text");
    // Others refuse half of a surrogate pair.
    if let Ok(peer) = serde_json::from_slice::<String>(value.raw()) {
        assert_eq!(text, peer.as_str());
    }
    let raw = &value.raw()[1..value.raw().len() - 1];
    let end = text.ceil_char_boundary(text.len() / 2);
    let start = text.floor_char_boundary(end / 2);
    let edited = rewrite(TextDecoder::default(), raw, &[Edit { range: start..end, with: "\"\\\u{1}é".into() }]);
    let quoted = [b"\"", edited.as_slice(), b"\""].concat();
    let doc = Doc::parse(&quoted, Limits::default()).expect("an edited string is a string");
    let read = doc.root(&quoted).as_str().expect("a string").into_owned();
    if start < end {
        assert_eq!(read, format!("{}\"\\\u{1}é{}", &text[..start], &text[end..]));
    }
}
