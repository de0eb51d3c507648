//! The text of one field held to its column: judged by the column's schema, unique where it must be, and no formula.

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::Value;

use super::contract::{Column, CsvContract, Formulas, Type};
use super::formula::{defused, is_formula, quoted};
use crate::violation::ViolationKind;

/// Values that are remembered for the unique columns of one text. Past it uniqueness cannot be vouched for. Twice the default
/// number of rows; some ten megabytes.
const UNIQUE_VALUES_MAX: usize = 200_000;

/// Why a field is refused: what kind of violation, and its keyword.
pub(super) type Refusal = (ViolationKind, &'static str);

/// What the fields of one text have come to so far.
#[derive(Debug, Default)]
pub(super) struct Fields {
    /// The values met, with their columns.
    met: HashSet<(usize, Box<str>)>,
    /// Places in schemas that were asked, over all fields.
    work: u64,
}

impl Fields {
    /// Judges a field of this text in column `index`. What is to be written in its place, if anything.
    pub(super) fn check(
        &mut self,
        contract: &CsvContract,
        index: usize,
        text: &str,
    ) -> Result<Option<String>, Refusal> {
        let Some(column) = contract.columns.get(index) else {
            return Err((ViolationKind::ColumnCount, "columns"));
        };
        if text.is_empty() && !column.required {
            return Ok(None);
        }
        if text.is_empty() && column.kind != Type::String {
            return Err((ViolationKind::Schema, "required"));
        }
        self.judge(contract, column, text)?;
        // A number that is one is no formula, though it may begin like it.
        let is_formula = column.kind == Type::String && contract.formulas != Formulas::Off && is_formula(text);
        let written = match is_formula {
            false => Cow::Borrowed(text),
            true if contract.formulas == Formulas::Block => return Err((ViolationKind::Schema, "formulas")),
            true => {
                let defused = defused(text);
                // The text with the apostrophe is what the client reads.
                self.judge(contract, column, &defused).map_err(|(kind, _)| (kind, "formulas"))?;
                Cow::Owned(defused)
            }
        };
        if column.unique {
            self.remember(index, &written)?;
        }
        Ok(is_formula.then(|| quoted(&written)))
    }

    fn judge(&mut self, contract: &CsvContract, column: &Column, text: &str) -> Result<(), Refusal> {
        if column.takes_any_text {
            return Ok(());
        }
        let value = value_of(column.kind, text).ok_or((ViolationKind::Schema, "type"))?;
        self.work = self.work.saturating_add(column.contract.analysis.cost.places);
        if self.work > contract.limits.work || !column.contract.affords(1, 0) {
            return Err((ViolationKind::TooCostly, "schema"));
        }
        if column.contract.authority.is_valid(&value) {
            return Ok(());
        }
        let error =
            column.contract.can_explain(1, 0).then(|| column.contract.authority.validate(&value).err()).flatten();
        Err((ViolationKind::Schema, error.map_or("schema", |error| crate::explain::keyword(&error))))
    }

    fn remember(&mut self, index: usize, text: &str) -> Result<(), Refusal> {
        if !self.met.insert((index, text.into())) {
            return Err((ViolationKind::Schema, "unique"));
        }
        if self.met.len() > UNIQUE_VALUES_MAX {
            return Err((ViolationKind::TooCostly, "unique"));
        }
        Ok(())
    }
}

/// A field's text as a value of its column's type. Numbers are spelled as in JSON.
fn value_of(kind: Type, text: &str) -> Option<Value> {
    match kind {
        Type::String => Some(Value::String(text.to_owned())),
        Type::Integer | Type::Number => {
            let number: serde_json::Number = serde_json::from_str(text).ok()?;
            // A reader of JSON forgives white space around a number.
            (!text.starts_with([' ', '\t', '\r', '\n']) && !text.ends_with([' ', '\t', '\r', '\n']))
                .then_some(Value::Number(number))
        }
        Type::Boolean => match text {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            _ => None,
        },
    }
}
