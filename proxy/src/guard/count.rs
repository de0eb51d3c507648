//! The count of tokens that a provider sends at the end of a stream only if it is asked to: asked for where the client did not,
//! and taken out of the stream again, so that the client is shown what it would have been shown without.
//!
//! This is OpenAI's `stream_options.include_usage`: each chunk gets a member `"usage":null`, and one more chunk comes, with
//! no choices and the count.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::witness::Inspected;
use crate::json::{Doc, Kind, Limits, Value};

const OPTIONS: &str = "stream_options";
const COUNT: &str = "include_usage";

/// How a request does not ask for the count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAsked {
    /// It has no options of this kind.
    WithoutOptions,
    /// It has some; this is not among them, or is not wanted.
    WithOptions,
}

/// Whether a request for a stream leaves the count out; `None` where it asks for it, or for something that is not known here.
pub fn not_asked(request: Value<'_>) -> Option<NotAsked> {
    let Some(options) = request.get(OPTIONS) else { return Some(NotAsked::WithoutOptions) };
    let asked = match options.kind() {
        Kind::Null => false,
        Kind::Object => match options.get(COUNT) {
            None => false,
            Some(wanted) if wanted.is_null() => false,
            Some(wanted) => wanted.as_bool()?,
        },
        _ => return None,
    };
    (!asked).then_some(NotAsked::WithOptions)
}

/// The request with the count asked for, every other byte as it was; `None` where it cannot be written in.
pub fn ask_for_count(request: &Inspected, how: NotAsked) -> Option<Inspected> {
    let body = request.bytes();
    let (at, with) = match how {
        NotAsked::WithoutOptions => {
            // Ahead of the first member, so that a large body need not be read once more. It has members: one says `stream`.
            let first = body.iter().position(|byte| !byte.is_ascii_whitespace())?;
            (body.get(first) == Some(&b'{')).then_some(())?;
            (first + 1..first + 1, format!("\"{OPTIONS}\":{{\"{COUNT}\":true}},"))
        }
        NotAsked::WithOptions => {
            let doc = Doc::parse(body, Limits::default()).ok()?;
            let options = doc.root(body).get(OPTIONS)?;
            let inside = options.range().start + 1;
            match options.get(COUNT) {
                _ if options.is_null() => (options.range(), format!("{{\"{COUNT}\":true}}")),
                Some(unwanted) => (unwanted.range(), "true".to_owned()),
                None if options.children().next().is_none() => (inside..inside, format!("\"{COUNT}\":true")),
                None => (inside..inside, format!("\"{COUNT}\":true,")),
            }
        }
    };
    Some(Inspected::new(replaced(body, at, with.as_bytes())?))
}

fn replaced(body: &[u8], range: Range<usize>, with: &[u8]) -> Option<Bytes> {
    let mut out = BytesMut::with_capacity(body.len() + with.len());
    out.extend_from_slice(body.get(..range.start)?);
    out.extend_from_slice(with);
    out.extend_from_slice(body.get(range.end..)?);
    Some(out.freeze())
}

/// What of an event is there only because the count was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Ours {
    #[default]
    Nothing,
    /// The bytes of one member, with the comma that goes with it.
    Member(Range<usize>),
    Everything,
}

/// Reads that off a chunk.
pub(super) fn ours(chunk: Value<'_>, data: &[u8]) -> Ours {
    let Some(usage) = chunk.get("usage") else { return Ours::Nothing };
    let no_choices = chunk.get("choices").is_some_and(|c| c.kind() == Kind::Array && c.children().next().is_none());
    match usage.kind() {
        Kind::Null => member(usage, data).map_or(Ours::Nothing, Ours::Member),
        Kind::Object if no_choices => Ours::Everything,
        // A provider that counts in a chunk which says something does so unasked.
        _ => Ours::Nothing,
    }
}

/// The bytes of a member and of one comma beside it.
fn member(value: Value<'_>, data: &[u8]) -> Option<Range<usize>> {
    let start = value.name_range()?.start.checked_sub(1)?;
    let end = value.range().end;
    let before = data.get(..start)?.iter().rposition(|byte| !byte.is_ascii_whitespace())?;
    if data.get(before) == Some(&b',') {
        return Some(before..end);
    }
    let behind = data.get(end..)?;
    let skip = match behind.iter().position(|byte| !byte.is_ascii_whitespace()) {
        Some(at) if behind.get(at) == Some(&b',') => {
            let next = behind.get(at + 1..)?.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(0);
            at + 1 + next
        }
        _ => 0,
    };
    Some(start..end + skip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(request: &str) -> Option<String> {
        let doc = Doc::parse(request.as_bytes(), Limits::default()).unwrap();
        let how = not_asked(doc.root(request.as_bytes()))?;
        let request = Inspected::for_test(Bytes::copy_from_slice(request.as_bytes()));
        let asked = ask_for_count(&request, how).unwrap();
        let text = String::from_utf8(asked.bytes().to_vec()).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["stream_options"]["include_usage"], true, "{text}");
        assert_eq!(not_asked(Doc::parse(text.as_bytes(), Limits::default()).unwrap().root(text.as_bytes())), None);
        Some(text)
    }

    #[test]
    fn the_count_is_asked_for_where_it_was_not() {
        for (request, expected) in [
            (r#" { "stream" : true }"#, Some(r#" {"stream_options":{"include_usage":true}, "stream" : true }"#)),
            (r#"{"a":1,"stream_options":null}"#, Some(r#"{"a":1,"stream_options":{"include_usage":true}}"#)),
            (r#"{"stream_options": {} ,"a":1}"#, Some(r#"{"stream_options": {"include_usage":true} ,"a":1}"#)),
            (
                r#"{"stream_options":{"include_obfuscation":false}}"#,
                Some(r#"{"stream_options":{"include_usage":true,"include_obfuscation":false}}"#),
            ),
            (
                r#"{"stream_options":{"x":1,"include_usage": false }}"#,
                Some(r#"{"stream_options":{"x":1,"include_usage": true }}"#),
            ),
            (r#"{"stream_options":{"include_usage":null}}"#, Some(r#"{"stream_options":{"include_usage":true}}"#)),
            (
                "{\"stream\\u005foptions\":{\"include_usage\":null}}",
                Some("{\"stream\\u005foptions\":{\"include_usage\":true}}"),
            ),
            (r#"{"stream_options":{"include_usage":true}}"#, None),
            (r#"{"stream_options":{"include_usage":"yes"}}"#, None),
            (r#"{"stream_options":[]}"#, None),
        ] {
            assert_eq!(asked(request).as_deref(), expected, "{request}");
        }
    }

    fn left(chunk: &str) -> Option<String> {
        let doc = Doc::parse(chunk.as_bytes(), Limits::default()).unwrap();
        match ours(doc.root(chunk.as_bytes()), chunk.as_bytes()) {
            Ours::Nothing => Some(chunk.to_owned()),
            Ours::Member(range) => {
                Some(String::from_utf8(replaced(chunk.as_bytes(), range, b"").unwrap().to_vec()).unwrap())
            }
            Ours::Everything => None,
        }
    }

    #[test]
    fn what_was_added_is_told_from_what_was_not() {
        for (chunk, expected) in [
            (r#"{"id":"a","choices":[{}],"usage":null}"#, Some(r#"{"id":"a","choices":[{}]}"#)),
            (r#"{"id":"a","usage":null,"choices":[{}]}"#, Some(r#"{"id":"a","choices":[{}]}"#)),
            (r#"{"usage":null,"choices":[{}]}"#, Some(r#"{"choices":[{}]}"#)),
            (r#"{ "usage" : null , "choices": []}"#, Some(r#"{ "choices": []}"#)),
            (r#"{"id": "a", "usage": null, "x": 1}"#, Some(r#"{"id": "a", "x": 1}"#)),
            (r#"{"usage":null}"#, Some("{}")),
            (r#"{"choices":[],"usage":{"prompt_tokens":1}}"#, None),
            (
                r#"{"choices":[{}],"usage":{"prompt_tokens":1}}"#,
                Some(r#"{"choices":[{}],"usage":{"prompt_tokens":1}}"#),
            ),
            (r#"{"usage":{"prompt_tokens":1}}"#, Some(r#"{"usage":{"prompt_tokens":1}}"#)),
            (r#"{"choices":[{"usage":null}]}"#, Some(r#"{"choices":[{"usage":null}]}"#)),
        ] {
            assert_eq!(left(chunk).as_deref(), expected, "{chunk}");
        }
    }
}

#[cfg(test)]
mod recorded;
