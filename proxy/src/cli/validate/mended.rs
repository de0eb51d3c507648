//! `clyra validate --repair`: the document as an answer would be released, and what was changed in it.

use clyra_schemas::{Edit, Release};
use serde_json::{Value, json};

use super::{Fault, Judge};
use crate::cli::exit::Exit;
use crate::cli::print;

/// Collects what a lock lets leave.
#[derive(Debug, Default)]
pub(super) struct Mended {
    waiting: Release,
    pub(super) text: String,
    pub(super) edits: Vec<Edit>,
}

impl Mended {
    /// Text that the lock is fed.
    pub(super) fn push(&mut self, text: &str) {
        self.waiting.push(text);
    }

    /// What may leave by now.
    pub(super) fn take(&mut self, lock: &mut dyn Judge) {
        let edits = lock.take_edits();
        self.text.push_str(&self.waiting.take(edits.clone(), lock.settled()));
        self.edits.extend(edits);
    }

    /// Prints the document to stdout, byte for byte, and the rest to stderr; or all of it as JSON. Of a document that does not
    /// pass nothing is released.
    pub(super) fn print(&self, fault: Option<&Fault>, as_json: bool) -> Result<(), Exit> {
        let passed = fault.is_none();
        if as_json {
            let edits: Vec<Value> = self.edits.iter().filter(|_| passed).map(edit_json).collect();
            let mut verdict = json!(super::verdict(fault));
            if let Some(members) = verdict.as_object_mut() {
                members.insert("text".to_owned(), json!(passed.then_some(&self.text)));
                members.insert("edits".to_owned(), json!(edits));
            }
            return print::result(|out| writeln!(out, "{verdict}"));
        }
        match fault {
            Some(fault) => print::hint(format_args!("violation: {}", fault.text())),
            None => {
                print::result(|out| out.write_all(self.text.as_bytes()))?;
                print::hint(format_args!("pass, {}", print::count(self.edits.len() as u64, "edit")));
                for edit in &self.edits {
                    print::hint(format_args!("bytes {} to {}: {}", edit.range.start, edit.range.end, edit.class));
                }
            }
        }
        Ok(())
    }
}

fn edit_json(edit: &Edit) -> Value {
    json!({ "from": edit.range.start, "to": edit.range.end, "class": edit.class, "with": edit.with })
}
