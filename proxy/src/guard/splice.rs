//! Rewriting a document in place: the spans that were redacted change, every other byte stays.

use std::ops::Range;

use super::judge::Found;
use crate::json::{Doc, Edit, Limits, TextDecoder, rewrite};
use crate::surface::{Form, Replaced, Segment};

/// What stands where something was taken out.
pub(super) fn replacement(class: &str) -> String {
    format!("[REDACTED:{class}]")
}

/// A span of a channel's text that must not leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) with: String,
    /// The replacement has been written already (the span goes on in a later event).
    pub(super) written: bool,
}

/// Adds the span of a finding to sorted, disjoint spans; overlapping ones become one.
pub(super) fn add_span(spans: &mut Vec<Span>, found: &Found) {
    let mut new = Span { start: found.start, end: found.end, with: replacement(&found.class), written: false };
    spans.retain(|old| {
        let apart = old.end <= new.start || new.end <= old.start;
        if !apart {
            if old.start <= new.start {
                new.with.clone_from(&old.with);
            }
            new.written |= old.written;
            new.start = new.start.min(old.start);
            new.end = new.end.max(old.end);
        }
        apart
    });
    let at = spans.partition_point(|s| s.start < new.start);
    spans.insert(at, new);
}

/// The edits that spans of a channel's text mean for one piece of it, which covers `start..reach`.
pub(super) fn edits_for(spans: &mut [Span], start: u64, reach: u64) -> Vec<Edit> {
    let mut edits = Vec::new();
    let first = spans.partition_point(|s| s.end <= start);
    for span in spans.iter_mut().skip(first).take_while(|s| s.start < reach) {
        let from = span.start.max(start) - start;
        let to = span.end.min(reach) - start;
        let with = if span.written { String::new() } else { span.with.clone() };
        span.written = true;
        edits.push(Edit { range: from as usize..to as usize, with });
    }
    edits
}

/// The edits of both kinds, redactions and repairs, for one piece of a text; `None` where one covers bytes of the other, so
/// that nobody can say what should stand there.
pub(super) fn all_edits_for(redact: &mut [Span], mend: &mut [Span], start: u64, reach: u64) -> Option<Vec<Edit>> {
    let mut edits = edits_for(redact, start, reach);
    edits.extend(edits_for(mend, start, reach));
    edits.sort_by_key(|edit| (edit.range.start, edit.range.end));
    edits.is_sorted_by(|a, b| a.range.end <= b.range.start).then_some(edits)
}

/// A whole text without what its spans cover.
pub(super) fn redacted(text: &str, spans: &[Span]) -> String {
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    for span in spans {
        out.push_str(text.get(at..span.start as usize).unwrap_or_default());
        out.push_str(&span.with);
        at = span.end as usize;
    }
    out + text.get(at..).unwrap_or_default()
}

/// New bytes for one range of a document.
#[derive(Debug, Clone)]
pub(super) struct Patch {
    range: Range<usize>,
    bytes: Vec<u8>,
}

/// The patch that applies `edits` to a segment's text.
pub(super) fn patch(document: &[u8], segment: &Segment, before: TextDecoder, edits: &[Edit]) -> Patch {
    let raw = document.get(segment.range.clone()).unwrap_or_default();
    let bytes = match segment.form {
        Form::JsonValue => {
            let (mut out, mut at) = (Vec::with_capacity(raw.len()), 0);
            for edit in edits {
                out.extend_from_slice(raw.get(at..edit.range.start).unwrap_or_default());
                out.extend_from_slice(edit.with.as_bytes());
                at = edit.range.end;
            }
            out.extend_from_slice(raw.get(at..).unwrap_or_default());
            out
        }
        Form::Text | Form::JsonText | Form::Media => rewrite(before, raw, edits),
    };
    Patch { range: segment.range.clone(), bytes }
}

/// Replaces a whole value.
pub(super) fn replace(value: Replaced) -> Patch {
    Patch { range: value.range, bytes: value.with.into() }
}

/// Applies patches; one inside another gives way. `None` if the result is no longer strict JSON, which must then not leave.
pub(super) fn apply(document: &[u8], mut patches: Vec<Patch>, limits: Limits) -> Option<Vec<u8>> {
    patches.sort_by_key(|p| (p.range.start, std::cmp::Reverse(p.range.end)));
    let (mut out, mut at) = (Vec::with_capacity(document.len()), 0);
    for patch in patches {
        if patch.range.start < at {
            continue;
        }
        out.extend_from_slice(document.get(at..patch.range.start)?);
        out.extend_from_slice(&patch.bytes);
        at = patch.range.end;
    }
    out.extend_from_slice(document.get(at..)?);
    Doc::parse(&out, limits).is_ok().then_some(out)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::surface::Channel;

    fn found(start: u64, end: u64, class: &str) -> Found {
        Found {
            detector: Arc::from("d"),
            class: Arc::from(class),
            score_ppm: 1_000_000,
            channel: Channel::Content,
            pointer: String::new(),
            start,
            end,
            contained: true,
            tool: None,
        }
    }

    #[test]
    fn overlapping_spans_become_one() {
        let mut spans = Vec::new();
        for (start, end, class) in [(10, 20, "a"), (30, 40, "b"), (15, 32, "c"), (50, 60, "d")] {
            add_span(&mut spans, &found(start, end, class));
        }
        let got: Vec<_> = spans.iter().map(|s| (s.start, s.end, s.with.as_str())).collect();
        assert_eq!(got, [(10, 40, "[REDACTED:a]"), (50, 60, "[REDACTED:d]")]);
    }

    #[test]
    fn a_span_over_two_pieces_is_replaced_once() {
        let mut spans = Vec::new();
        add_span(&mut spans, &found(5, 15, "a"));
        let first = edits_for(&mut spans, 0, 10);
        let second = edits_for(&mut spans, 10, 20);
        assert_eq!(first, [Edit { range: 5..10, with: "[REDACTED:a]".into() }]);
        assert_eq!(second, [Edit { range: 0..5, with: String::new() }]);
        assert!(edits_for(&mut spans, 20, 30).is_empty());
    }

    #[test]
    fn a_redaction_and_a_repair_stand_side_by_side_or_not_at_all() {
        let span = |start, end, with: &str| Span { start, end, with: with.to_owned(), written: false };
        let edits = all_edits_for(&mut [span(4, 6, "#")], &mut [span(0, 1, "{"), span(6, 9, "}")], 2, 8).unwrap();
        assert_eq!(edits, [Edit { range: 2..4, with: "#".into() }, Edit { range: 4..6, with: "}".into() }]);
        assert_eq!(all_edits_for(&mut [span(4, 7, "#")], &mut [span(6, 9, "}")], 0, 9), None);
    }

    #[test]
    fn a_whole_text_goes_without_its_spans() {
        let mut spans = Vec::new();
        add_span(&mut spans, &found(6, 9, "b"));
        add_span(&mut spans, &found(0, 2, "a"));
        assert_eq!(redacted("01\u{e9}45789x", &spans), "[REDACTED:a]\u{e9}45[REDACTED:b]x");
        assert_eq!(redacted("", &[]), "");
    }

    #[test]
    fn a_patch_inside_another_gives_way() {
        let document = br#"{"a":{"b":"x"},"c":"y"}"#;
        let inner = Patch { range: 10..13, bytes: b"\"z\"".to_vec() };
        let out =
            apply(document, vec![inner, replace(Replaced { range: 5..14, with: "null" })], Limits::default()).unwrap();
        assert_eq!(out, br#"{"a":null,"c":"y"}"#);
        let broken = Patch { range: 0..1, bytes: Vec::new() };
        assert!(apply(document, vec![broken], Limits::default()).is_none());
    }
}
