//! What the mender promises: `classes` damage by damage, `properties` for any text (of `documents`) and any cutting, `corpus` on the cases of
//! other libraries.

#![allow(clippy::string_slice, reason = "the offsets are those of the texts beside them")]

mod classes;
mod corpus;
mod documents;
mod properties;

use super::{Edit, Mended, Mender, RepairClass, RepairPolicy};
use crate::syntax::Syntax;
use crate::{End, Limits};

/// A text that was mended.
#[derive(Debug, PartialEq)]
struct Result {
    text: String,
    edits: Vec<Edit>,
}

/// Mends a text that comes in pieces of so many characters.
fn mend_in_pieces(policy: RepairPolicy, text: &str, size: usize, end: End) -> Result {
    let mut mender = Mender::new(policy, &Limits::default());
    let mut out = Mended::default();
    let chars: Vec<char> = text.chars().collect();
    for piece in chars.chunks(size) {
        mender.feed(&piece.iter().collect::<String>(), &mut out);
    }
    mender.finish(end, &mut out);
    assert_eq!(mender.held_bytes(), 0, "nothing is held behind the end of {text:?}");
    Result { text: out.text, edits: out.edits }
}

/// Mends a text in several cuttings, which must make no difference.
fn mend(policy: RepairPolicy, text: &str, end: End) -> Result {
    let whole = mend_in_pieces(policy, text, usize::MAX, end);
    for size in [1, 2, 3, 7] {
        assert_eq!(mend_in_pieces(policy, text, size, end), whole, "{text:?} in pieces of {size}");
    }
    assert_eq!(apply(text, &whole.edits), whole.text, "the edits of {text:?} are what was done to it");
    whole
}

/// The text with the edits in it.
fn apply(text: &str, edits: &[Edit]) -> String {
    let mut out = String::new();
    let mut at = 0;
    for edit in edits {
        let (start, end) = (edit.range.start as usize, edit.range.end as usize);
        assert!(at <= start && start < end, "edits are in order, apart, and never empty: {edits:?}");
        out.push_str(&text[at..start]);
        out.push_str(&edit.with);
        at = end;
    }
    out + &text[at..]
}

/// Whether the strict reader takes it.
fn is_strict(text: &str) -> bool {
    let mut syntax = Syntax::new(&Limits::default());
    syntax.feed(text, &mut ()).is_ok() && syntax.finish(text, &mut ()).is_ok()
}

fn classes(edits: &[Edit]) -> Vec<RepairClass> {
    let mut classes: Vec<_> = edits.iter().map(|edit| RepairClass::named(edit.class).unwrap()).collect();
    classes.sort();
    classes.dedup();
    classes
}
