//! One text of an answer as it streams: decoding, scanning, what may be shown of it, what must be taken out.

use std::sync::Arc;
use std::time::Instant;

use clyra_detectors::{Engine, Finding, Stream, View};

use super::judge::{Found, Report};
use super::splice::{Span, add_span, all_edits_for};
use crate::json::{Edit, TextDecoder};
use crate::surface::{Channel, Form, Segment};

/// Most text of one call that is kept whole, for a tool rule to judge. Answers of today's models end well below; beyond it
/// the channel counts as oversize.
pub(super) const KEPT_BYTES_MAX: usize = 4 << 20;

/// Where one segment's text lies in its channel.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) start: u64,
    /// Behind the last byte that this piece brings; one more while half a character waits for its other half.
    pub(super) reach: u64,
    pub(super) before: TextDecoder,
}

/// A text that comes in pieces.
#[derive(Debug)]
pub(super) struct Text {
    channel: Channel,
    decoder: TextDecoder,
    stream: Stream,
    /// Whatever is found may be taken out, whether or not a reader of JSON could still read what is left.
    loose: bool,
    fed: u64,
    ended: bool,
    spans: Vec<Span>,
    /// Over the text so far, where it may be said again.
    hasher: Option<Box<blake3::Hasher>>,
    /// The text so far, where something needs it whole.
    kept: Option<String>,
    kept_too_long: bool,
}

impl Text {
    pub(super) fn new(engine: &Arc<Engine>, segment: &Segment, view: View, keep: bool) -> Text {
        Text {
            channel: segment.channel,
            decoder: TextDecoder::default(),
            stream: engine.stream(view),
            loose: false,
            fed: 0,
            ended: false,
            spans: Vec::new(),
            hasher: None,
            kept: keep.then(String::new),
            kept_too_long: false,
        }
    }

    /// The text may be said again, whole: then its hash is to be known at its end.
    pub(super) fn hashed(self) -> Text {
        Text { hasher: Some(Box::default()), ..self }
    }

    /// The hash of a text that has ended.
    pub(super) fn hash(&self) -> Option<[u8; 32]> {
        self.hasher.as_ref().filter(|_| self.ended).map(|hasher| *hasher.finalize().as_bytes())
    }

    /// The same, of which anything may be taken out.
    pub(super) fn loosely(self, loose: bool) -> Text {
        Text { loose, ..self }
    }

    /// Takes the next piece: `raw` stands at `segment` in its document. Gives where it lies, and its text. New findings are
    /// appended to `found`.
    pub(super) fn feed(
        &mut self,
        raw: &[u8],
        segment: &Segment,
        found: &mut Vec<Found>,
        report: &mut Report,
    ) -> (Piece, String) {
        let before = self.decoder.clone();
        let start = self.fed;
        let mut text = String::with_capacity(raw.len());
        self.decoder.feed(raw, &mut text);
        self.take(&text, &segment.pointer, found, report);
        (Piece { start, reach: self.fed + u64::from(self.decoder.pending()), before }, text)
    }

    /// Nothing more will come. Gives the text of half a character that stayed alone.
    pub(super) fn end(&mut self, found: &mut Vec<Found>, report: &mut Report) -> String {
        if std::mem::replace(&mut self.ended, true) {
            return String::new();
        }
        let mut text = String::new();
        self.decoder.finish(&mut text);
        self.take(&text, "", found, report);
        let mut new = Vec::new();
        self.stream.finish(&mut new);
        self.note(new, "", found);
        text
    }

    fn take(&mut self, text: &str, pointer: &str, found: &mut Vec<Found>, report: &mut Report) {
        if let Some(kept) = &mut self.kept {
            if kept.len() + text.len() > KEPT_BYTES_MAX {
                self.kept_too_long = true;
            } else {
                kept.push_str(text);
            }
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(text.as_bytes());
        }
        self.fed += text.len() as u64;
        report.saw(self.channel, text.len());
        // What continues a text that had ended (content after a block's end) is scanned as a text of its own.
        let clock = Instant::now();
        let mut new = Vec::new();
        self.stream.feed(text, &mut new);
        report.scan_us += clock.elapsed().as_micros() as u64;
        self.note(new, pointer, found);
    }

    fn note(&self, new: Vec<Finding>, pointer: &str, found: &mut Vec<Found>) {
        let new =
            new.into_iter().map(|f| Found { contained: f.contained || self.loose, ..place(f, self.channel, pointer) });
        found.extend(new);
    }

    /// Bytes before this offset are safe to show.
    pub(super) fn settled(&self) -> u64 {
        // After the end, half a character that stayed alone is settled with the rest.
        if self.ended { u64::MAX } else { self.stream.settled() }
    }

    pub(super) fn failed(&self) -> bool {
        self.stream.failed().is_some()
    }

    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    pub(super) fn redact(&mut self, found: &Found) {
        add_span(&mut self.spans, found);
    }

    /// What is to be changed in a piece; `mend` are the edits of the text's locks. `None` where the two cannot both be made.
    pub(super) fn edits(&mut self, piece: &Piece, mend: &mut [Span]) -> Option<Vec<Edit>> {
        all_edits_for(&mut self.spans, mend, piece.start, piece.reach)
    }

    /// What is taken out of the text.
    pub(super) fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The whole text, if it was kept; once.
    pub(super) fn take_kept(&mut self) -> Option<String> {
        self.kept.take()
    }

    /// The text that was kept is not all of it.
    pub(super) fn kept_too_long(&self) -> bool {
        self.kept_too_long
    }

    pub(super) fn channel(&self) -> Channel {
        self.channel
    }
}

pub(super) fn view(form: Form) -> View {
    match form {
        Form::Text | Form::Media => View::Plain,
        Form::JsonText | Form::JsonValue => View::Json,
    }
}

/// Longest place that is told of a finding. Names on the way are the sender's to choose; those that people choose are short.
const POINTER_BYTES_MAX: usize = 256;

/// A detector's finding with its place.
pub(super) fn place(finding: Finding, channel: Channel, pointer: &str) -> Found {
    let pointer = short(pointer);
    Found {
        detector: finding.detector,
        class: finding.class,
        score_ppm: finding.score_ppm,
        channel,
        pointer: pointer.to_owned(),
        start: finding.start,
        end: finding.end,
        contained: finding.contained,
        tool: None,
    }
}

fn short(pointer: &str) -> &str {
    pointer.get(..pointer.floor_char_boundary(POINTER_BYTES_MAX)).unwrap_or(pointer)
}

/// Findings are told without content, and a name that something was found in is content: `*` stands for it in the place of
/// every finding at or below it. `names` are the pointers of such members.
pub(super) fn hide_names(found: &mut [Found], names: &[String]) {
    for name in names.iter().map(|name| short(name)) {
        let parent = name.rsplit_once('/').map_or("", |(parent, _)| parent);
        for found in found.iter_mut() {
            if let Some(rest) = found.pointer.strip_prefix(name).filter(|rest| rest.is_empty() || rest.starts_with('/'))
            {
                found.pointer = format!("{parent}/*{rest}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_findings_are_not_told() {
        let found = |pointer: &str| {
            let finding =
                Finding { detector: "d".into(), class: "c".into(), score_ppm: 1, start: 0, end: 1, contained: true };
            place(finding, Channel::Metadata, pointer)
        };
        let long = format!("/a/{}", "\u{e9}".repeat(500));
        let mut all = ["/a/key", "/a/key/b", "/a/keys", "/x/a/key", long.as_str()].map(found);
        assert!(all[4].pointer.len() <= POINTER_BYTES_MAX);
        hide_names(&mut all, &["/a/key".to_owned(), long]);
        assert_eq!(all.map(|found| found.pointer), ["/a/*", "/a/*/b", "/a/keys", "/x/a/key", "/a/*"]);
    }
}
