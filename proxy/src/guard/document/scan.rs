//! The texts of one document: decoded and scanned, each alone or as the pieces of a longer one, and what is found in them
//! taken out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use clyra_detectors::{Engine, View};

use super::{Bound, broken};
use crate::guard::calls::Calls;
use crate::guard::channel::{Piece, Text, place, view};
use crate::guard::judge::{Block, Found, Report};
use crate::guard::locks::Locks;
use crate::guard::splice::{Patch, Span, all_edits_for, apply, patch, replace};
use crate::json::{Limits, TextDecoder};
use crate::surface::{Form, Segment};

/// The text of a segment that stands alone.
pub(in crate::guard) fn decoded(segment: &Segment, raw: &[u8]) -> String {
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
pub(in crate::guard) fn scan_whole(
    engine: &Arc<Engine>,
    segment: &Segment,
    text: &str,
    report: &mut Report,
) -> (Vec<Found>, bool) {
    scan_viewed(engine, view(segment.form), segment, text, report)
}

/// The same, read another way.
pub(in crate::guard) fn scan_viewed(
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

/// Where findings of one text go.
pub(super) enum Source {
    Whole { segment: usize, spans: Vec<Span> },
    Joined { key: String },
}

#[derive(Default)]
pub(super) struct Scan {
    pub(super) found: Vec<Found>,
    /// For each finding, its place in `sources`.
    pub(super) origin: Vec<usize>,
    pub(super) sources: Vec<Source>,
    pub(super) texts: BTreeMap<String, (Text, Vec<(usize, Piece)>)>,
    pub(super) calls: Calls,
    /// Pointers of members in whose names something was found.
    pub(super) names: Vec<String>,
    pub(super) failed: bool,
}

impl Scan {
    pub(super) fn whole(
        &mut self,
        engine: &Arc<Engine>,
        index: usize,
        segment: &Segment,
        text: &str,
        locks: &Locks,
        report: &mut Report,
    ) {
        let view = if locks.reads_json(segment.channel) { View::Json } else { view(segment.form) };
        let (mut found, failed) = scan_viewed(engine, view, segment, text, report);
        if locks.only_record(segment.channel) {
            found.iter_mut().for_each(|f| f.contained = true);
        }
        self.failed |= failed;
        if !found.is_empty() {
            self.names.extend(Some(segment.pointer.clone()).filter(|_| segment.name));
            self.note(found, Source::Whole { segment: index, spans: Vec::new() });
        }
    }

    /// Scans a piece of a text and gives what it adds to it.
    pub(super) fn joined(
        &mut self,
        engine: &Arc<Engine>,
        index: usize,
        segment: &Segment,
        raw: &[u8],
        locks: &Locks,
        report: &mut Report,
    ) -> String {
        let (text, pieces) = self.texts.entry(segment.key.clone()).or_insert_with(|| {
            let view = if locks.reads_json(segment.channel) { View::Json } else { view(segment.form) };
            let text = Text::new(engine, segment, view, false).loosely(locks.only_record(segment.channel));
            (text, Vec::new())
        });
        let mut found = Vec::new();
        let (piece, added) = text.feed(raw, segment, &mut found, report);
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

    /// Every text has ended. Gives what that adds to texts in several pieces, with their findings.
    pub(super) fn finish(&mut self, report: &mut Report) -> Vec<(String, String, Vec<Found>)> {
        let mut tails = Vec::new();
        for (key, (text, _)) in &mut self.texts {
            let mut found = Vec::new();
            let rest = text.end(&mut found, report);
            self.failed |= text.failed();
            tails.push((key.clone(), rest, found));
        }
        for (key, _, found) in &tails {
            if !found.is_empty() {
                self.note(found.clone(), Source::Joined { key: key.clone() });
            }
        }
        tails
    }

    /// Names may stand behind the arguments, so they are given when all have been read.
    pub(super) fn name_tools(&mut self, segments: &[Segment]) {
        for (found, origin) in self.found.iter_mut().zip(&self.origin) {
            if let Some(Source::Whole { segment, .. }) = self.sources.get(*origin)
                && let Some(segment) = segments.get(*segment)
            {
                self.calls.name(&segment.path_index, std::slice::from_mut(found));
            }
        }
    }

    /// What is taken out of texts that stand alone, by segment.
    pub(super) fn redactions(&self) -> impl Iterator<Item = (usize, &[Span])> {
        self.sources.iter().filter_map(|source| match source {
            Source::Whole { segment, spans } if !spans.is_empty() => Some((*segment, spans.as_slice())),
            _ => None,
        })
    }

    pub(super) fn rewrite(
        &mut self,
        document: &Bytes,
        segments: &[Segment],
        bound: &Bound,
        locks: &mut Locks,
    ) -> Result<Bytes, Block> {
        let mut patches: Vec<Patch> = Vec::new();
        let mut redactions: BTreeMap<usize, Vec<Span>> =
            bound.locks.keys().map(|segment| (*segment, Vec::new())).collect();
        for (segment, spans) in self.redactions() {
            redactions.insert(segment, spans.to_vec());
        }
        for (index, mut spans) in redactions {
            let mend = match bound.locks.get(&index) {
                Some(lock) => locks.edits(*lock),
                None => &mut [],
            };
            let edits = all_edits_for(&mut spans, mend, 0, u64::MAX).ok_or_else(broken)?;
            if let Some(segment) = segments.get(index).filter(|_| !edits.is_empty()) {
                patches.push(patch(document, segment, TextDecoder::default(), &edits));
            }
        }
        for (key, (text, pieces)) in &mut self.texts {
            for (index, piece) in pieces.iter() {
                let mend = match bound.joined.get(key) {
                    Some(lock) => locks.edits(*lock),
                    None => &mut [],
                };
                let edits = text.edits(piece, mend).ok_or_else(broken)?;
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
