//! Whole messages of every surface: each string is in a segment, and what was inspected once passes the next time as it is.

use std::ops::Range;

use bytes::Bytes;
use clyra::guard::{self, Report};
use clyra::json::{Doc, Kind, Limits, Value};
use clyra::surface::{Address, ResponseFacts, Segment, TOOL_SCHEMAS_MAX, Table, segments};

use crate::judge::{FORBIDDEN, MASKED, SETUP, holds, of_answer, of_request};
use crate::{choice, surface};

/// The first byte is the surface, the rest a document that is taken for its request, its answer and an event of its stream.
pub fn segments_of(input: &[u8]) {
    let Some((number, bytes)) = choice(input) else { return };
    let surface = surface(number);
    let Ok(doc) = Doc::parse(bytes, Limits::default()) else { return };
    let root = doc.root(bytes);
    let (mut strings, mut values) = (Vec::new(), 0);
    collect(root, &mut strings, &mut values);
    let tables = [(surface.request)(), (surface.response)(), (surface.event)(root)];
    for table in tables {
        check(table, root, bytes, &strings, values);
    }
    let query = if number >= 128 { Some("alt=sse") } else { None };
    let facts = (surface.request_facts)(root, Address { path: "/v1/models/m:generateContent", query });
    assert!(facts.tool_schemas.len() <= TOOL_SCHEMAS_MAX);
    let mut facts = ResponseFacts::default();
    (surface.note_response)(root, &mut facts);
    let once = facts.clone();
    (surface.note_response)(root, &mut facts);
    assert_eq!(facts, once, "the same said twice is something else");
    let _ = ((surface.signal)(root), (surface.mark)(root));
}

fn collect(value: Value<'_>, strings: &mut Vec<Range<usize>>, values: &mut usize) {
    *values += 1;
    if value.kind() == Kind::String {
        strings.push(value.inner());
    }
    for child in value.children() {
        collect(child, strings, values);
    }
}

fn check(table: &Table, root: Value<'_>, bytes: &[u8], strings: &[Range<usize>], values: usize) {
    let found: Vec<Segment> = segments(table, root);
    // At most a value and its name each.
    assert!(found.len() <= 2 * values, "more segments than values");
    let mut ranges = found.iter().map(|segment| segment.range.clone()).collect::<Vec<_>>();
    for range in &ranges {
        assert!(range.start <= range.end && range.end <= bytes.len());
        assert!(std::str::from_utf8(&bytes[range.clone()]).is_ok());
    }
    ranges.sort_by_key(|range| (range.start, range.end));
    assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start), "segments overlap");
    for string in strings {
        let at = ranges.partition_point(|range| range.start <= string.start);
        let covered = at > 0 && string.end <= ranges[at - 1].end;
        assert!(covered, "the string at {string:?} is in no segment");
    }
}

/// The guard of whole messages. The first byte is the surface, the second the direction.
pub fn messages(input: &[u8]) {
    let Some((number, rest)) = choice(input) else { return };
    let Some((direction, bytes)) = choice(rest) else { return };
    let inspect: fn(u8, Bytes) -> _ = if direction % 2 == 0 { request } else { answer };
    let Some((passed, report)) = inspect(number, Bytes::copy_from_slice(bytes)) else { return };
    // Media is declared to be a gap: nobody reads it.
    for words in [FORBIDDEN, MASKED] {
        assert!(!report.gaps.is_empty() || !holds(&passed, words), "what must not pass has passed");
    }
    let again = inspect(number, passed.clone()).map(|(bytes, _)| bytes);
    assert_eq!(again.as_ref(), Some(&passed), "what has passed does not pass as it is");
}

fn request(number: u8, body: Bytes) -> Option<(Bytes, Report)> {
    let doc = Doc::parse(&body, Limits::default()).ok()?;
    let (mut judge, mut report) = (of_request(), Report::default());
    let passed = guard::request(surface(number), &SETUP.engine, (&body, &doc), &mut judge, &mut report).ok()?;
    if report.redactions == 0 {
        assert_eq!(passed.bytes(), &body, "changed without a reason");
    }
    Some((passed.bytes().clone(), report))
}

fn answer(number: u8, body: Bytes) -> Option<(Bytes, Report)> {
    let (mut judge, mut report, mut facts) = (of_answer(), Report::default(), ResponseFacts::default());
    let both = (&mut report, &mut facts);
    let passed = guard::answer(surface(number), &SETUP.engine, body.clone(), Vec::new(), &mut judge, both).ok()?;
    if report.redactions == 0 {
        assert_eq!(passed.body.bytes(), &body, "changed without a reason");
    }
    Some((passed.body.into_bytes(), report))
}
