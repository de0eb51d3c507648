//! Choices that end alone: which of an answer's are over, and the answer without them.
//!
//! Nothing of a choice that broke its schema leaves behind its last released event but the word that it has ended. What
//! cannot be said of one choice is said of the answer: then all of it ends.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde_json::Value as Json;

use super::judge::Block;
use crate::json::{Doc, Kind, Limits, Value};
use crate::surface::{Choices, Segment};

/// Choices of one answer that are told apart; what providers take as `n` is far below.
const CHOICES_MAX: usize = 1_024;

/// The choices of one answer.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// Why each ended that did.
    blocks: BTreeMap<u64, Block>,
    seen: BTreeSet<u64>,
    finished: BTreeSet<u64>,
}

/// What becomes of a choice.
#[derive(Debug)]
pub(super) enum Fate {
    Stays,
    Goes,
    /// This stands for it.
    Ends(Json),
}

impl Ended {
    pub(super) fn note(&mut self, indices: &[u64]) {
        let room = CHOICES_MAX.saturating_sub(self.seen.len());
        self.seen.extend(indices.iter().take(room));
    }

    /// The provider says that a choice is over: true the first time. Beyond [`CHOICES_MAX`] they are over with the answer.
    pub(super) fn finish(&mut self, index: u64) -> bool {
        self.seen.contains(&index) && !self.has(index) && self.finished.insert(index)
    }

    pub(super) fn end(&mut self, index: u64, block: Block) {
        self.blocks.insert(index, block);
    }

    pub(super) fn any(&self) -> bool {
        !self.blocks.is_empty()
    }

    pub(super) fn has(&self, index: u64) -> bool {
        self.blocks.contains_key(&index)
    }

    /// Whether this text belongs to a choice that has ended.
    pub(super) fn has_text(&self, choices: Option<&Choices>, segment: &Segment) -> bool {
        self.any() && choice_of(choices, segment).is_some_and(|index| self.has(index))
    }

    /// Whether what stands at this place of an answer does, which begins with the number of its choice.
    pub(super) fn has_place(&self, place: &str) -> bool {
        self.any() && place.split('/').next().and_then(|index| index.parse().ok()).is_some_and(|index| self.has(index))
    }

    /// Why a choice ended.
    pub(super) fn reason(&self, index: u64) -> &str {
        self.blocks.get(&index).map_or("", |block| &block.reason)
    }

    /// The block that stands for all, where no choice is left.
    pub(super) fn all(&self) -> Option<Block> {
        let first = self.blocks.values().next();
        first.filter(|_| self.seen.iter().all(|index| self.has(*index))).cloned()
    }
}

/// The number of the choice that a text belongs to.
pub(super) fn choice_of(choices: Option<&Choices>, segment: &Segment) -> Option<u64> {
    choices.filter(|choices| choices.holds(&segment.pointer)).and_then(|_| segment.index.parse().ok())
}

/// The numbers of the choices that an answer lists.
pub(super) fn listed(choices: &Choices, root: Value<'_>) -> Vec<u64> {
    each(choices, root).map(|(index, _)| index).collect()
}

/// The choices of an answer with their numbers. Of Gemini's, a single one may stand for a list of it.
fn each<'a>(choices: &Choices, root: Value<'a>) -> impl Iterator<Item = (u64, Value<'a>)> + use<'a> {
    let list = root.get(choices.list);
    let single = list.filter(|list| list.kind() == Kind::Object);
    let many = list.filter(|list| list.kind() == Kind::Array).into_iter().flat_map(|list| list.children());
    single.into_iter().chain(many).enumerate().map(|(position, choice)| {
        (choice.get("index").and_then(|index| index.as_u64()).unwrap_or(position as u64), choice)
    })
}

/// An answer, or an event of one, with the choices that are left.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) data: Bytes,
    /// There is nothing in it any more that a client waits for.
    pub(super) empty: bool,
}

/// Takes the choices out that do not stay. `None` if the result is no strict JSON, which must then not leave.
pub(super) fn rest(choices: &Choices, data: &[u8], fate: impl Fn(u64) -> Fate) -> Option<Rest> {
    let doc = Doc::parse(data, Limits::default()).ok()?;
    let root = doc.root(data);
    let Some(list) = root.get(choices.list) else {
        return Some(Rest { data: Bytes::copy_from_slice(data), empty: false });
    };
    let mut left: Vec<Vec<u8>> = Vec::new();
    for (index, choice) in each(choices, root) {
        match fate(index) {
            Fate::Stays => left.push(choice.raw().to_vec()),
            Fate::Goes => {}
            Fate::Ends(end) => left.push(end.to_string().into_bytes()),
        }
    }
    let empty = left.is_empty() && root.get(choices.usage).is_none_or(|usage| usage.is_null());
    let range = list.range();
    let mut out = data.get(..range.start)?.to_vec();
    out.push(b'[');
    out.extend_from_slice(&left.join(&b','));
    out.push(b']');
    out.extend_from_slice(data.get(range.end..)?);
    Doc::parse(&out, Limits::default()).ok()?;
    Some(Rest { data: out.into(), empty })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::surface::SURFACES;

    fn chat() -> &'static Choices {
        SURFACES[0].choices.as_ref().unwrap()
    }

    fn left(data: &str, fate: impl Fn(u64) -> Fate) -> (String, bool) {
        let rest = rest(chat(), data.as_bytes(), fate).unwrap();
        (String::from_utf8(rest.data.to_vec()).unwrap(), rest.empty)
    }

    #[test]
    fn choices_go_and_the_rest_stays_as_it_was() {
        let of = |index| match index {
            1 => Fate::Goes,
            2 => Fate::Ends(json!({"end": 2})),
            _ => Fate::Stays,
        };
        let data = r#"{"a": 1.50, "choices": [ {"index":1}, {"index":0, "x": "\u0041"} ,{"index":2}], "z": [ ]}"#;
        let out = r#"{"a": 1.50, "choices": [{"index":0, "x": "\u0041"},{"end":2}], "z": [ ]}"#;
        assert_eq!(left(data, of), (out.to_owned(), false));
        assert_eq!(left(r#"{"choices":[{"index":1}]}"#, of), (r#"{"choices":[]}"#.to_owned(), true));
        assert!(left(r#"{"choices":[{"index":1}],"usage":null}"#, of).1);
        assert!(!left(r#"{"choices":[{"index":1}],"usage":{}}"#, of).1);
        assert_eq!(left(r#"{"x":1}"#, of), (r#"{"x":1}"#.to_owned(), false));
        // Without a number, the place counts.
        assert_eq!(left(r#"{"choices":[{"a":0},{"a":1}]}"#, of).0, r#"{"choices":[{"a":0}]}"#);
    }

    #[test]
    fn an_answer_is_over_when_every_choice_is() {
        let block = |reason: &str| Block {
            cause: super::super::Cause::Schema,
            rule: None,
            reason: reason.to_owned(),
            detectors: Vec::new(),
        };
        let mut ended = Ended::default();
        ended.note(&[0, 1]);
        assert!(ended.all().is_none());
        assert!(ended.finish(0) && !ended.finish(0) && !ended.finish(7));
        ended.end(1, block("b"));
        assert!(ended.all().is_none() && ended.has(1) && ended.has_place("1/0") && !ended.has_place("0/1"));
        ended.end(0, block("a"));
        assert_eq!((ended.all().map(|block| block.reason), ended.reason(1)), (Some("a".to_owned()), "b"));
    }
}
