//! Inspecting a document as a whole: a request, or an answer that does not stream.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use clyra_detectors::{Engine, View};

use super::calls::Calls;
use super::channel::{Piece, Text, hide_names, place, view};
use super::judge::{Block, Cause, Found, Gap, Judge, Report, Ruling, SchemaBreach};
use super::schema::{Locks, SchemaReport};
use super::splice::{Patch, Span, add_span, apply, edits_for, patch, redacted, replace};
use crate::json::{Doc, Limits, TextDecoder};
use crate::surface::{Channel, Form, Join, ResponseFacts, Segment, Table, segments};

/// Texts of one document. A request of a million messages is an attack on the inspector, not a conversation.
const SEGMENTS_MAX: usize = 200_000;

/// A document that may leave.
#[derive(Debug)]
pub(super) struct Checked {
    /// As it came, or rewritten where something was redacted.
    pub(super) bytes: Bytes,
    pub(super) schema: SchemaReport,
}

/// Where findings of one text go.
enum Source {
    Whole { segment: usize, spans: Vec<Span> },
    Joined { key: String },
}

/// A document to be inspected.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'d> {
    pub(super) table: &'d Table,
    pub(super) document: &'d Bytes,
    /// What `document` was read as.
    pub(super) doc: &'d Doc,
    pub(super) facts: &'d ResponseFacts,
    pub(super) direction: Direction,
}

/// Which way a document travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Request,
    Answer,
}

impl Direction {
    /// The kind of block that a document means which is more than can be inspected.
    fn too_much(self) -> Cause {
        match self {
            Self::Request => Cause::BadRequest,
            Self::Answer => Cause::BadAnswer,
        }
    }
}

/// Inspects all text of a document and applies what the judge says.
pub(super) fn check(
    engine: &Arc<Engine>,
    subject: Subject<'_>,
    mut locks: Locks,
    judge: &mut dyn Judge,
    report: &mut Report,
) -> Result<Checked, Block> {
    let Subject { table, document, doc, facts, direction } = subject;
    let segments = segments(table, doc.root(document));
    if segments.len() > SEGMENTS_MAX
        && let Some(block) = judge.gap(note(report, Gap::Oversize), direction.too_much())
    {
        return Err(block);
    }
    let mut scan = Scan::default();
    for (index, segment) in segments.iter().enumerate().take(SEGMENTS_MAX) {
        let raw = document.get(segment.range.clone()).unwrap_or_default();
        if segment.form == Form::Media {
            note(report, Gap::Media);
        } else if segment.join == Join::Stream {
            let text = scan.joined(engine, index, segment, raw, locks.binds(segment.channel), report);
            locks.note(segment.channel, &text);
            if locks.binds(segment.channel)
                && let Some(breach) = locks.feed(&segment.key, &text)
                && let Some(block) = judge.schema(&breach)
            {
                return Err(block);
            }
        } else {
            let text = decoded(segment, raw);
            if scan.calls.note_part(segment, &text).is_err()
                && judge.wants_tool_calls()
                && let Some(block) = judge.gap(note(report, Gap::Oversize), direction.too_much())
            {
                return Err(block);
            }
            locks.note(segment.channel, &text);
            if locks.binds(segment.channel)
                && let Some(breach) = locks.feed(&segment.key, &text)
                && let Some(block) = judge.schema(&breach)
            {
                return Err(block);
            }
            scan.whole(engine, index, segment, &text, report);
        }
    }
    let failed = scan.finish(report);
    scan.name_tools(&segments);
    hide_names(&mut scan.found, &scan.names);
    if failed && let Some(block) = judge.gap(note(report, Gap::DetectorError), Cause::Unavailable) {
        return Err(block);
    }
    let tool_results = segments.iter().any(|s| s.channel == Channel::ToolResult);
    let ruling = match direction {
        Direction::Request => judge.request(&scan.found, tool_results),
        Direction::Answer if scan.found.is_empty() => Ruling::default(),
        Direction::Answer => judge.findings(&scan.found, facts),
    };
    mark(ruling, &mut scan, report)?;
    if judge.wants_tool_calls() {
        for place in scan.calls.pending() {
            let readings = scan.calls.readings(&place, Vec::new());
            if let Some(block) = readings.iter().find_map(|call| judge.tool_call(call, facts)) {
                return Err(block);
            }
        }
    }
    let mut schema = locks.finish(facts);
    if schema.breach.is_none() {
        schema.breach = scan.redacted(document, &segments, &locks).find_map(|text| locks.recheck(&text, facts));
        if schema.breach.is_none() {
            schema.breach = scan.recheck_joined(&locks, facts)?;
        }
    }
    if let Some(breach) = &schema.breach
        && let Some(block) = judge.schema(breach)
    {
        return Err(block);
    }
    let bytes = scan.rewrite(document, &segments)?;
    Ok(Checked { bytes, schema })
}

fn note(report: &mut Report, gap: Gap) -> Gap {
    report.gaps.insert(gap);
    gap
}

/// Marks what is to be taken out.
fn mark(ruling: Ruling, scan: &mut Scan, report: &mut Report) -> Result<(), Block> {
    if let Some(block) = ruling.block {
        return Err(block);
    }
    for index in ruling.redact {
        let (Some(found), Some(source)) =
            (scan.found.get(index), scan.origin.get(index).and_then(|o| scan.sources.get_mut(*o)))
        else {
            continue;
        };
        if !found.contained {
            return Err(cannot_redact(found));
        }
        report.redactions += 1;
        match source {
            Source::Whole { spans, .. } => add_span(spans, found),
            Source::Joined { key } => {
                if let Some((text, _)) = scan.texts.get_mut(key) {
                    text.redact(found);
                }
            }
        }
    }
    Ok(())
}

/// A redaction that would cut through the structure around the text: then nothing of it may leave.
pub(super) fn cannot_redact(found: &Found) -> Block {
    Block {
        cause: Cause::Policy,
        rule: None,
        reason: "a finding that must be redacted spans more than one value and cannot be taken out in place".into(),
        detectors: vec![found.detector.to_string()],
    }
}

/// The text of a segment that stands alone.
pub(super) fn decoded(segment: &Segment, raw: &[u8]) -> String {
    if segment.form == Form::JsonValue {
        return String::from_utf8_lossy(raw).into_owned();
    }
    let mut decoder = TextDecoder::default();
    let mut text = String::with_capacity(raw.len());
    decoder.feed(raw, &mut text);
    decoder.finish(&mut text);
    text
}

/// Scans text that stands alone.
pub(super) fn scan_whole(
    engine: &Arc<Engine>,
    segment: &Segment,
    text: &str,
    report: &mut Report,
) -> (Vec<Found>, bool) {
    scan_text(engine, view(segment.form), segment, text, report)
}

fn scan_text(
    engine: &Arc<Engine>,
    view: View,
    segment: &Segment,
    text: &str,
    report: &mut Report,
) -> (Vec<Found>, bool) {
    report.saw(segment.channel, text.len());
    let clock = Instant::now();
    let mut stream = engine.stream(view);
    let mut found = Vec::new();
    stream.feed(text, &mut found);
    stream.finish(&mut found);
    report.scan_us += clock.elapsed().as_micros() as u64;
    let found = found.into_iter().map(|f| place(f, segment.channel, &segment.pointer)).collect();
    (found, stream.failed().is_some())
}

#[derive(Default)]
struct Scan {
    found: Vec<Found>,
    /// For each finding, its place in `sources`.
    origin: Vec<usize>,
    sources: Vec<Source>,
    texts: BTreeMap<String, (Text, Vec<(usize, Piece)>)>,
    calls: Calls,
    /// Pointers of members in whose names something was found.
    names: Vec<String>,
    failed: bool,
}

impl Scan {
    fn whole(&mut self, engine: &Arc<Engine>, index: usize, segment: &Segment, text: &str, report: &mut Report) {
        let (found, failed) = scan_whole(engine, segment, text, report);
        self.failed |= failed;
        if !found.is_empty() {
            self.names.extend(Some(segment.pointer.clone()).filter(|_| segment.name));
            self.note(found, Source::Whole { segment: index, spans: Vec::new() });
        }
    }

    /// Scans a piece of a text and gives what it adds to it. `bound` if a schema binds the text.
    fn joined(
        &mut self,
        engine: &Arc<Engine>,
        index: usize,
        segment: &Segment,
        raw: &[u8],
        bound: bool,
        report: &mut Report,
    ) -> String {
        let (text, pieces) =
            self.texts.entry(segment.key.clone()).or_insert_with(|| (Text::new(engine, segment, bound), Vec::new()));
        let mut found = Vec::new();
        let piece = text.feed(raw, segment, &mut found, report);
        let (mut decoder, mut added) = (piece.before.clone(), String::new());
        decoder.feed(raw, &mut added);
        pieces.push((index, piece));
        if !found.is_empty() {
            self.note(found, Source::Joined { key: segment.key.clone() });
        }
        added
    }

    fn note(&mut self, found: Vec<Found>, source: Source) {
        let at = self.sources.len();
        self.sources.push(source);
        self.origin.extend(std::iter::repeat_n(at, found.len()));
        self.found.extend(found);
    }

    fn finish(&mut self, report: &mut Report) -> bool {
        let mut tails = Vec::new();
        for (key, (text, _)) in &mut self.texts {
            let mut found = Vec::new();
            text.end(&mut found, report);
            self.failed |= text.failed();
            tails.push((key.clone(), found));
        }
        for (key, found) in tails {
            if !found.is_empty() {
                self.note(found, Source::Joined { key });
            }
        }
        self.failed
    }

    /// Names may stand behind the arguments, so they are given when all have been read.
    fn name_tools(&mut self, segments: &[Segment]) {
        for (found, origin) in self.found.iter_mut().zip(&self.origin) {
            if let Some(Source::Whole { segment, .. }) = self.sources.get(*origin)
                && let Some(segment) = segments.get(*segment)
            {
                self.calls.name(&segment.path_index, std::slice::from_mut(found));
            }
        }
    }

    /// Texts that a schema binds, as redactions leave them.
    fn redacted<'s>(
        &'s self,
        document: &'s Bytes,
        segments: &'s [Segment],
        locks: &'s Locks,
    ) -> impl Iterator<Item = String> + 's {
        self.sources.iter().filter_map(|source| {
            let Source::Whole { segment, spans } = source else { return None };
            let segment = segments.get(*segment).filter(|s| !spans.is_empty() && locks.binds(s.channel))?;
            Some(redacted(&decoded(segment, document.get(segment.range.clone())?), spans))
        })
    }

    /// The first schema that a redaction in a text of several pieces breaks.
    fn recheck_joined(&self, locks: &Locks, facts: &ResponseFacts) -> Result<Option<SchemaBreach>, Block> {
        for (text, _) in self.texts.values().filter(|(text, _)| locks.binds(text.channel())) {
            match text.redacted() {
                None => {}
                Some(Err(())) => return Err(broken()),
                Some(Ok(text)) => match locks.recheck(&text, facts) {
                    None => {}
                    breach => return Ok(breach),
                },
            }
        }
        Ok(None)
    }

    fn rewrite(&mut self, document: &Bytes, segments: &[Segment]) -> Result<Bytes, Block> {
        let mut patches: Vec<Patch> = Vec::new();
        for source in &mut self.sources {
            if let Source::Whole { segment, spans } = source
                && let Some(segment) = segments.get(*segment)
            {
                let edits = edits_for(spans, 0, u64::MAX);
                if !edits.is_empty() {
                    patches.push(patch(document, segment, TextDecoder::default(), &edits));
                }
            }
        }
        for (text, pieces) in self.texts.values_mut() {
            for (index, piece) in pieces.iter() {
                let edits = text.edits(piece);
                if let Some(segment) = segments.get(*index).filter(|_| !edits.is_empty()) {
                    patches.push(patch(document, segment, piece.before.clone(), &edits));
                }
            }
        }
        if patches.is_empty() {
            return Ok(document.clone());
        }
        patches.extend(segments.iter().filter_map(|s| s.repeats.clone()).map(replace));
        match apply(document, patches, Limits::default()) {
            Some(bytes) => Ok(bytes.into()),
            None => Err(broken()),
        }
    }
}

/// A redaction whose result would not be strict JSON (two members of one name, say): it never leaves, whatever the policy
/// says about failures, and trying again would not help.
pub(super) fn broken() -> Block {
    Block {
        cause: Cause::Policy,
        rule: None,
        reason: "a redaction could not be applied without breaking the document".into(),
        detectors: Vec::new(),
    }
}
