//! `clyra validate --follow`: the document as a client would receive it, each part of it as soon as it may leave.
//!
//! What may not leave never reaches the output; what is held and why it ends is told beside it.

use std::io::{self, Write};

use serde_json::json;

use super::Fault;
use super::judge::{Judge, Watch};
use super::mended::{Passage, edits_json, passed_with};
use crate::cli::exit::Exit;
use crate::cli::print;

/// Shows a text on its way through a lock.
pub(super) struct Follow<'a> {
    out: &'a mut dyn Write,
    notes: &'a mut dyn Write,
    as_json: bool,
    /// Both end on the same terminal, where a note must not stand in the middle of a line of the document.
    shares_terminal: bool,
    in_line: bool,
    passage: Passage,
    /// Where the text was held that the last note was about.
    held_from: Option<u64>,
    /// How writing the document failed.
    failed: Option<io::Error>,
}

impl<'a> Follow<'a> {
    pub(super) fn new(
        out: &'a mut dyn Write,
        notes: &'a mut dyn Write,
        as_json: bool,
        shares_terminal: bool,
    ) -> Follow<'a> {
        Follow {
            out,
            notes,
            as_json,
            shares_terminal,
            in_line: false,
            passage: Passage::default(),
            held_from: None,
            failed: None,
        }
    }

    /// Says how it went.
    pub(super) fn end(mut self, fault: Option<&Fault>, excerpt: Option<String>) -> Result<(), Exit> {
        if self.as_json {
            let left = self.passage.left();
            let mut verdict = json!(super::verdict(fault));
            if let Some(members) = verdict.as_object_mut() {
                let edits = self.passage.edits.iter().filter(|edit| edit.range.end <= left);
                members.insert("edits".to_owned(), edits_json(edits));
            }
            self.show(&format!("{verdict}\n"));
        } else if let Some(fault) = fault {
            self.note(&format!("violation: {}", fault.text()));
            if let Some(excerpt) = excerpt {
                self.note(&excerpt);
            }
            let left = self.passage.left();
            let behind = match self.passage.held() {
                0 => String::new(),
                held => format!(": {} behind it did not leave", print::count(held, "byte")),
            };
            self.note(&format!("cut at byte {left}{behind}"));
        } else {
            self.note(&passed_with(&self.passage.edits));
        }
        print::written(self.failed.map_or(Ok(()), Err))
    }

    /// Writes at once. Whoever reads no more has seen enough: the rest is judged all the same.
    fn show(&mut self, text: &str) {
        if text.is_empty() || self.failed.is_some() {
            return;
        }
        self.in_line = !text.ends_with('\n');
        self.failed = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()).err();
    }

    /// Something for people. That nobody reads it is no reason to fail.
    fn note(&mut self, text: &str) {
        let begin = if self.shares_terminal && std::mem::take(&mut self.in_line) { "\n" } else { "" };
        let _ = writeln!(self.notes, "{begin}{text}");
    }
}

impl Watch for Follow<'_> {
    fn fed(&mut self, text: &str, lock: &mut dyn Judge) {
        let released = self.passage.fed(text, lock);
        let held = self.passage.held();
        if self.as_json {
            if !text.is_empty() || !released.is_empty() {
                self.show(&format!("{}\n", json!({ "text": released, "held": held })));
            }
            return;
        }
        self.show(&released);
        let from = Some(self.passage.left()).filter(|_| held > 0);
        if let Some(at) = from.filter(|_| from != self.held_from) {
            self.note(&format!("held: {} from byte {at} on", print::count(held, "byte")));
        }
        self.held_from = from;
    }
}
