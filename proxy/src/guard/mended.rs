//! The text that a client's parser will have, where locks mend what the model wrote: scanned as it leaves, because a phrase
//! may come about only by mending.

use std::sync::Arc;

use clyra_detectors::{Engine, Finding, Stream, View};

use super::splice::Span;

/// The mended form of one text, as far as it has settled.
#[derive(Debug)]
pub(super) struct Mended {
    stream: Stream,
    /// Bytes of the text as it came that have been taken.
    taken: u64,
    /// Bytes of the mended text.
    written: u64,
    /// Where the two texts stand beside each other: at each change, (mended, as it came, the bytes behind are copied).
    marks: Vec<(u64, u64, bool)>,
    ended: bool,
}

impl Mended {
    pub(super) fn new(engine: &Arc<Engine>, view: View) -> Mended {
        Mended { stream: engine.stream(view), taken: 0, written: 0, marks: vec![(0, 0, true)], ended: false }
    }

    /// Takes what of `text` has settled, with the sorted edits in it. Findings are in offsets of the text as it came.
    pub(super) fn advance(&mut self, text: &str, edits: &[Span], settled: u64, found: &mut Vec<Finding>) {
        let settled = settled.min(text.len() as u64);
        let first = edits.partition_point(|edit| edit.start < self.taken);
        let mut new = Vec::new();
        for edit in edits.iter().skip(first).take_while(|edit| edit.end <= settled) {
            self.copy(text, edit.start, &mut new);
            self.mark(false);
            self.stream.feed(&edit.with, &mut new);
            self.written += edit.with.len() as u64;
            self.taken = edit.end;
            self.mark(true);
        }
        let rest = edits.partition_point(|edit| edit.start < self.taken);
        let upto = edits.get(rest).map_or(settled, |edit| edit.start.min(settled));
        self.copy(text, upto, &mut new);
        found.extend(new.into_iter().map(|finding| self.place(finding)));
    }

    /// The text has ended.
    pub(super) fn end(&mut self, found: &mut Vec<Finding>) {
        let mut new = Vec::new();
        self.stream.finish(&mut new);
        self.ended = true;
        found.extend(new.into_iter().map(|finding| self.place(finding)));
    }

    /// Bytes of the text as it came that may be shown, as far as its mended form is concerned.
    pub(super) fn settled(&self) -> u64 {
        if self.ended { u64::MAX } else { self.source(self.stream.settled(), false) }
    }

    pub(super) fn failed(&self) -> bool {
        self.stream.failed().is_some()
    }

    fn copy(&mut self, text: &str, upto: u64, found: &mut Vec<Finding>) {
        let piece = text.get(self.taken as usize..upto as usize).unwrap_or_default();
        self.stream.feed(piece, found);
        self.written += piece.len() as u64;
        self.taken = upto.max(self.taken);
    }

    fn mark(&mut self, copied: bool) {
        self.marks.push((self.written, self.taken, copied));
    }

    /// Where a place of the mended text stands in the text as it came: of replaced bytes, where they begin, or `end`.
    fn source(&self, mended: u64, end: bool) -> u64 {
        let next = self.marks.partition_point(|(at, _, _)| *at <= mended);
        let Some(&(at, source, copied)) = next.checked_sub(1).and_then(|last| self.marks.get(last)) else { return 0 };
        match (copied, end) {
            (true, _) => source + (mended - at),
            (false, false) => source,
            (false, true) => self.marks.get(next).map_or(self.taken, |(_, source, _)| *source),
        }
    }

    fn place(&self, finding: Finding) -> Finding {
        // The last byte of the match says where it ends: the place behind it may belong to the next edit.
        let end = finding.end.saturating_sub(1).max(finding.start);
        let last = self.source(end, true);
        let copied = self.marks.partition_point(|(at, _, _)| *at <= end).checked_sub(1);
        let copied = copied.and_then(|at| self.marks.get(at)).is_none_or(|(_, _, copied)| *copied);
        Finding { start: self.source(finding.start, false), end: if copied { last + 1 } else { last }, ..finding }
    }
}

#[cfg(test)]
mod tests {
    use clyra_detectors::{EngineConfig, Matcher, Rule};

    use super::*;

    fn engine() -> Arc<Engine> {
        let rule = Rule {
            id: "name".into(),
            class: "c".into(),
            score_ppm: 1_000_000,
            matcher: Matcher::Literal { text: "O'Brien".into(), case_insensitive: false },
        };
        Arc::new(Engine::compile(EngineConfig { rules: vec![rule], ..EngineConfig::default() }).unwrap())
    }

    fn edit(start: u64, end: u64, with: &str) -> Span {
        Span { start, end, with: with.to_owned(), written: false }
    }

    #[test]
    fn a_phrase_that_comes_about_by_mending_is_found_where_it_was() {
        let text = r#"{'a':"O\'Brien","b":1}"#;
        let edits = [edit(1, 2, "\""), edit(3, 4, "\""), edit(7, 9, "'")];
        for step in [1, 3, 100] {
            let (mut mended, mut found) = (Mended::new(&engine(), View::Json), Vec::new());
            for settled in (0..=text.len() as u64).step_by(step).chain([text.len() as u64]) {
                mended.advance(text, &edits, settled, &mut found);
                assert!(mended.settled() <= settled);
            }
            mended.end(&mut found);
            let places: Vec<_> = found.iter().map(|f| (f.start, f.end)).collect();
            assert_eq!(places, [(6, 14)], "{step}");
            assert_eq!((mended.settled(), mended.failed()), (u64::MAX, false));
        }
    }

    #[test]
    fn what_could_become_a_phrase_is_held() {
        let text = r#"["O\'Br"#;
        let (mut mended, mut found) = (Mended::new(&engine(), View::Json), Vec::new());
        mended.advance(text, &[edit(3, 5, "'")], text.len() as u64, &mut found);
        assert_eq!((mended.settled(), found.len()), (2, 0));
    }
}
