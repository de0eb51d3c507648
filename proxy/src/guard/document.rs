//! Inspecting a document as a whole: a request, or an answer that does not stream.

mod scan;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clyra_detectors::Engine;

use super::channel::hide_names;
use super::choices::{self, Ended, Fate};
use super::judge::{Block, Cause, Found, Gap, Judge, Report, Ruling};
use super::locks::{Desk, Locks};
use super::splice::add_span;
use crate::json::{Doc, Kind, Value};
use crate::surface::{Channel, Choices, Form, Join, ResponseFacts, Segment, Table, segments};
use scan::{Scan, Source};
pub(super) use scan::{decoded, scan_viewed, scan_whole};

/// Texts of one document. A request of a million messages is an attack on the inspector, not a conversation.
const SEGMENTS_MAX: usize = 200_000;

/// Ids in one request that are looked up. One that is unknown among more than this is as many as all.
const STORED_MAX: usize = 4_096;

/// A document that may leave.
#[derive(Debug)]
pub(super) struct Checked {
    /// As it came, or rewritten where something was redacted.
    pub(super) bytes: Bytes,
}

/// A document to be inspected.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'d> {
    pub(super) table: &'d Table,
    pub(super) document: &'d Bytes,
    /// What `document` was read as.
    pub(super) doc: &'d Doc,
    pub(super) facts: &'d ResponseFacts,
    /// Where an answer has choices, one of which may be ended alone.
    pub(super) choices: Option<&'d Choices>,
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
    let Subject { table, document, doc, facts, choices, direction } = subject;
    let root = doc.root(document);
    let segments = segments(table, root);
    let (mut bound, mut mended, mut mended_failed) = (Bound::default(), Vec::new(), false);
    if segments.len() > SEGMENTS_MAX
        && let Some(block) = judge.gap(note(report, Gap::Oversize), direction.too_much())
    {
        return Err(block);
    }
    if direction == Direction::Request {
        let of = |segment: &Segment| decoded(segment, document.get(segment.range.clone()).unwrap_or_default());
        stored(segments.iter().filter(|segment| segment.stored).map(of), judge, report)?;
    }
    let mut scan = Scan::default();
    // Whether the answer calls tools is to be known before its text is judged, wherever the calls stand.
    for segment in segments.iter().filter(|segment| segment.channel.is_tool_call() && !segment.range.is_empty()) {
        locks.note(segment.channel, "call");
    }
    for (index, segment) in segments.iter().enumerate().take(SEGMENTS_MAX) {
        let raw = document.get(segment.range.clone()).unwrap_or_default();
        if segment.form == Form::Media {
            note(report, Gap::Media);
        } else if segment.join == Join::Stream {
            let before = scan.found.len();
            let text = scan.joined(engine, index, segment, raw, &locks, report);
            locks.note(segment.channel, &text);
            let found = scan.found.get(before..).unwrap_or_default();
            let mut desk = desk(engine, judge, report);
            bound.open((index, segment, &text), root, found, &mut locks, &mut desk)?;
            mended.extend(desk.found);
            mended_failed |= desk.failed;
        } else {
            let text = decoded(segment, raw);
            let noted = scan.calls.note_part(segment, &text);
            if noted.is_err() && locks.bind_tools() {
                locks.refuse_call(&mut desk(engine, judge, report))?;
            }
            if noted.is_err()
                && judge.wants_tool_calls()
                && let Some(block) = judge.gap(note(report, Gap::Oversize), direction.too_much())
            {
                return Err(block);
            }
            locks.note(segment.channel, &text);
            let before = scan.found.len();
            scan.whole(engine, index, segment, &text, &locks, report);
            let found = scan.found.get(before..).unwrap_or_default();
            let mut desk = desk(engine, judge, report);
            bound.open((index, segment, &text), root, found, &mut locks, &mut desk)?;
            mended.extend(desk.found);
            mended_failed |= desk.failed;
        }
    }
    let tails = scan.finish(report);
    let failed = scan.failed;
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
    if locks.any() {
        let calls = scan.calls.called_all(&bound.free);
        let mut desk = desk(engine, judge, report);
        for (key, rest, found) in &tails {
            if let Some(lock) = bound.joined.get(key) {
                locks.found(*lock, found);
                locks.feed(*lock, rest, None, &mut desk)?;
            }
        }
        locks.finish(facts, &calls, &mut desk)?;
        for (segment, spans) in scan.redactions() {
            if let Some(lock) = bound.locks.get(&segment) {
                locks.recheck(*lock, spans, facts, &mut desk)?;
            }
        }
        for (key, lock) in &bound.joined {
            if let Some((text, _)) = scan.texts.get(key) {
                locks.recheck(*lock, text.spans(), facts, &mut desk)?;
            }
        }
        mended.extend(desk.found);
        mended_failed |= desk.failed;
        rule_on_apart(&mended, mended_failed, facts, judge, report)?;
    }
    let mut ended = Ended::default();
    for (choice, block) in locks.take_ended() {
        ended.end(choice, block);
    }
    ended.note(&choices.map_or_else(Vec::new, |choices| choices::listed(choices, root)));
    if let Some(block) = ended.all() {
        return Err(block);
    }
    if judge.wants_tool_calls() {
        for place in scan.calls.pending().into_iter().filter(|place| !ended.has_place(place)) {
            let readings = scan.calls.readings(&place, Vec::new());
            if let Some(block) = readings.iter().find_map(|call| judge.tool_call(call, facts)) {
                return Err(block);
            }
        }
    }
    let bytes = scan.rewrite(document, &segments, &bound, &mut locks)?;
    let Some(choices) = choices.filter(|_| ended.any()) else { return Ok(Checked { bytes }) };
    let fate = |choice| match ended.has(choice) {
        true => Fate::Ends((choices.whole)(choice, ended.reason(choice))),
        false => Fate::Stays,
    };
    Ok(Checked { bytes: choices::rest(choices, &bytes, fate).ok_or_else(broken)?.data })
}

/// Asks about what the request names and does not hold.
pub(super) fn stored(
    ids: impl Iterator<Item = String>,
    judge: &mut dyn Judge,
    report: &mut Report,
) -> Result<(), Block> {
    let ids: Vec<String> = ids.filter(|id| !id.is_empty()).take(STORED_MAX + 1).collect();
    if !ids.is_empty() && !judge.stored(&ids)? {
        report.gaps.insert(Gap::Stored);
    }
    Ok(())
}

fn desk<'d>(engine: &'d Arc<Engine>, judge: &'d mut dyn Judge, report: &'d mut Report) -> Desk<'d> {
    Desk { engine, judge, report, now: Duration::ZERO, found: Vec::new(), failed: false }
}

/// Rules on what stands in no text that could be rewritten: what only mended texts show, or what a tool has become.
pub(super) fn rule_on_apart(
    found: &[Found],
    failed: bool,
    facts: &ResponseFacts,
    judge: &mut dyn Judge,
    report: &mut Report,
) -> Result<(), Block> {
    if failed && let Some(block) = judge.gap(note(report, Gap::DetectorError), Cause::Unavailable) {
        return Err(block);
    }
    if found.is_empty() {
        return Ok(());
    }
    let ruling = judge.findings(found, facts);
    match (ruling.block, ruling.redact.first().and_then(|at| found.get(*at))) {
        (Some(block), _) => Err(block),
        (None, Some(found)) => Err(cannot_redact(found)),
        (None, None) => Ok(()),
    }
}

/// The locks of a document's texts, by segment.
#[derive(Debug, Default)]
struct Bound {
    locks: BTreeMap<usize, usize>,
    /// By the key of texts in several pieces.
    joined: BTreeMap<String, usize>,
    /// Calls that no schema binds.
    free: BTreeSet<String>,
}

impl Bound {
    fn open(
        &mut self,
        (index, segment, text): (usize, &Segment, &str),
        root: Value<'_>,
        found: &[Found],
        locks: &mut Locks,
        desk: &mut Desk<'_>,
    ) -> Result<(), Block> {
        if segment.channel.is_tool_call() && locks.bind_tools() && !is_clients_call(root, &segment.pointer) {
            self.free.insert(segment.path_index.clone());
            return Ok(());
        }
        if !locks.binds(segment) {
            return Ok(());
        }
        let joined = segment.join == Join::Stream;
        if let Some(lock) = self.joined.get(&segment.key).copied().filter(|_| joined) {
            locks.found(lock, found);
            return locks.feed(lock, text, None, desk);
        }
        let lock = locks.open(segment, None, desk)?;
        locks.found(lock, found);
        if joined {
            self.joined.insert(segment.key.clone(), lock);
        } else {
            self.locks.insert(index, lock);
        }
        locks.feed(lock, text, None, desk)
    }
}

/// Whether the call whose name or arguments stand at `pointer` is one that the client makes, of a tool that takes JSON.
/// Providers call their own tools, and tools of other servers, in the same answers, and say so by the type of the block.
pub(super) fn is_clients_call(root: Value<'_>, pointer: &str) -> bool {
    let (above, _) = pointer.rsplit_once('/').unwrap_or_default();
    match above.rsplit_once('/').map_or(above, |(_, last)| last) {
        "custom" | "executableCode" => return false,
        "function" | "function_call" | "functionCall" => return true,
        _ => {}
    }
    let mut here = Some(root);
    for name in above.split('/').skip(1) {
        here = here.and_then(|value| match name.parse::<usize>() {
            Ok(position) if value.kind() == Kind::Array => value.children().nth(position),
            _ => value.get(name),
        });
    }
    let kind = here.and_then(|value| value.get("type")).and_then(|kind| kind.as_str());
    // The last two are of events, of which the call that they continue says the rest.
    let of_events = ["input_json_delta", "response.function_call_arguments"];
    kind.is_none_or(|kind| {
        matches!(kind.as_ref(), "tool_use" | "function" | "function_call")
            || of_events.iter().any(|of| kind.starts_with(of))
    })
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
