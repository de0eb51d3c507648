//! `clyra validate --repair` and `--coerce`: the document as an answer would be released, and what was changed in it.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clyra_schemas::{Coercion, Edit, Release, RepairClass, RepairPolicy};
use serde_json::{Value, json};

use super::Fault;
use super::judge::{Judge, Watch};
use crate::cli::exit::Exit;
use crate::cli::print;
use crate::json;

/// Reads the name of a kind of damage.
pub(super) fn class() -> impl TypedValueParser<Value = RepairClass> {
    PossibleValuesParser::new(RepairClass::ALL.map(RepairClass::name))
        .try_map(|name| RepairClass::named(&name).ok_or("no such kind of damage"))
}

/// What `--repair` with these names allows: without names, everything.
pub(super) fn policy(classes: &[RepairClass]) -> RepairPolicy {
    if classes.is_empty() { RepairPolicy::all() } else { RepairPolicy::of(classes.iter().copied()) }
}

/// Reads the name of a coercion.
pub(super) fn coercion() -> impl TypedValueParser<Value = Coercion> {
    PossibleValuesParser::new(Coercion::ALL.map(Coercion::name))
        .try_map(|name| Coercion::named(&name).ok_or("no such coercion"))
}

/// What `--coerce` with these names allows: without names, everything.
pub(super) fn coercions(named: &[Coercion]) -> Vec<Coercion> {
    if named.is_empty() { Coercion::ALL.to_vec() } else { named.to_vec() }
}

/// What the member `coerce` of a line allows: `true`, `false`, or a list of names. `None` if it is anything else.
pub(super) fn coercions_of_line(coerce: json::Value<'_>) -> Option<Vec<Coercion>> {
    match coerce.kind() {
        json::Kind::Bool => Some(if coerce.as_bool()? { Coercion::ALL.to_vec() } else { Vec::new() }),
        json::Kind::Array => coerce.children().map(|name| Coercion::named(&name.as_str()?)).collect(),
        _ => None,
    }
}

/// What the member `repair` of a line allows: `true`, `false`, or a list of names. `None` if it is anything else.
pub(super) fn policy_of_line(repair: json::Value<'_>) -> Option<RepairPolicy> {
    match repair.kind() {
        json::Kind::Bool => Some(if repair.as_bool()? { RepairPolicy::all() } else { RepairPolicy::NONE }),
        json::Kind::Array => {
            let classes: Option<Vec<RepairClass>> =
                repair.children().map(|name| RepairClass::named(&name.as_str()?)).collect();
            classes.map(RepairPolicy::of)
        }
        _ => None,
    }
}

/// A text on its way through a lock.
#[derive(Debug, Default)]
pub(super) struct Passage {
    waiting: Release,
    taken: u64,
    pub(super) edits: Vec<Edit>,
}

impl Passage {
    /// What may leave now that the lock has been fed `text`.
    pub(super) fn fed(&mut self, text: &str, lock: &mut dyn Judge) -> String {
        self.waiting.push(text);
        self.taken += text.len() as u64;
        let edits = lock.take_edits();
        self.edits.extend(edits.iter().cloned());
        self.waiting.take(edits, lock.settled())
    }

    /// Bytes of the text that have not left.
    pub(super) fn held(&self) -> u64 {
        self.waiting.held_bytes() as u64
    }

    /// Offset in the text of the first of them.
    pub(super) fn left(&self) -> u64 {
        self.taken - self.held()
    }
}

/// Collects what a lock lets leave.
#[derive(Debug, Default)]
pub(super) struct Mended {
    passage: Passage,
    pub(super) text: String,
}

impl Watch for Mended {
    fn fed(&mut self, text: &str, lock: &mut dyn Judge) {
        self.text.push_str(&self.passage.fed(text, lock));
    }
}

impl Mended {
    pub(super) fn edits(&self) -> &[Edit] {
        &self.passage.edits
    }

    /// Prints the document to stdout, byte for byte, and the rest to stderr; or all of it as JSON. Of a document that does not
    /// pass nothing is released.
    pub(super) fn print(&self, fault: Option<&Fault>, as_json: bool) -> Result<(), Exit> {
        let passed = fault.is_none();
        if as_json {
            let mut verdict = json!(super::verdict(fault));
            if let Some(members) = verdict.as_object_mut() {
                members.insert("text".to_owned(), json!(passed.then_some(&self.text)));
                members.insert("edits".to_owned(), edits_json(self.edits().iter().filter(|_| passed)));
            }
            return print::result(|out| writeln!(out, "{verdict}"));
        }
        match fault {
            Some(fault) => print::hint(format_args!("violation: {}", fault.text())),
            None => {
                print::result(|out| out.write_all(self.text.as_bytes()))?;
                print::hint(passed_with(self.edits()));
            }
        }
        Ok(())
    }
}

/// That a document passes, with these edits.
pub(super) fn passed_with(edits: &[Edit]) -> String {
    let mut text = format!("pass, {}", print::count(edits.len() as u64, "edit"));
    for edit in edits {
        text.push_str(&format!("\nbytes {} to {}: {}", edit.range.start, edit.range.end, edit.class));
    }
    text
}

pub(super) fn edits_json<'a>(edits: impl Iterator<Item = &'a Edit>) -> Value {
    edits
        .map(|edit| json!({ "from": edit.range.start, "to": edit.range.end, "class": edit.class, "with": edit.with }))
        .collect()
}
