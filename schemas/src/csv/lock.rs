//! Holds one CSV text to its contract, record by record.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;

use super::contract::{Column, CsvContract, Formulas, Type};
use super::formula::{defused, is_formula};
use super::machine::{Event, Machine, Refused};
use crate::lock::{End, Outcome, Step};
use crate::violation::{Violation, ViolationKind};

/// Text that is remembered of the fields of one unique column. Past it uniqueness cannot be vouched for.
const UNIQUE_BYTES_MAX: usize = 8 << 20;

/// Text that may go to the client. The lock adds to it, the caller takes from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Released {
    /// The text.
    pub text: String,
}

/// Holds one CSV text to its contract: releases whole records that keep it, and nothing after the first violation.
#[derive(Debug)]
pub struct CsvLock {
    contract: Arc<CsvContract>,
    machine: Machine,
    /// The record under way.
    record: String,
    /// Where each field of it begins and ends in `record`.
    fields: Vec<(usize, usize)>,
    field_start: usize,
    /// Offset of the record under way in the text.
    record_at: u64,
    /// Records that ended, the header included.
    records: u64,
    unique: Vec<Unique>,
    edits: u64,
    violation: Option<Violation>,
    finished: bool,
}

/// The values met in a unique column.
#[derive(Debug, Default)]
struct Unique {
    met: HashSet<Box<str>>,
    bytes: usize,
}

impl CsvLock {
    /// A lock for one text.
    #[must_use]
    pub fn new(contract: Arc<CsvContract>) -> Self {
        let machine = Machine::new(contract.delimiter, contract.line_ending);
        let unique = contract.columns.iter().map(|_| Unique::default()).collect();
        Self {
            contract,
            machine,
            record: String::new(),
            fields: Vec::new(),
            field_start: 0,
            record_at: 0,
            records: 0,
            unique,
            edits: 0,
            violation: None,
            finished: false,
        }
    }

    /// Fields that were defused so far.
    #[must_use]
    pub fn edits(&self) -> u64 {
        self.edits
    }

    /// Takes the next fragment of text and adds to `out` the records that it completes. After a violation, or after
    /// [`CsvLock::finish`], text is dropped.
    pub fn feed(&mut self, text: &str, out: &mut Released) -> Step {
        if self.violation.is_none()
            && !self.finished
            && let Err(violation) = self.take(text, out)
        {
            self.violate(violation);
        }
        match &self.violation {
            Some(violation) => Step::Violation(violation.clone()),
            None => Step::Hold { bytes: self.record.len() },
        }
    }

    /// Ends the text and judges it. A last record without a line ending is a record (RFC 4180 §2.2).
    pub fn finish(&mut self, end: End, out: &mut Released) -> Outcome {
        if self.violation.is_none() && !self.finished {
            if let Err(violation) = self.end(end, out) {
                self.violate(violation);
            }
            self.finished = true;
        }
        match &self.violation {
            Some(violation) => Outcome::Block(violation.clone()),
            None => Outcome::Pass,
        }
    }

    fn violate(&mut self, violation: Violation) {
        self.record = String::new();
        self.fields = Vec::new();
        self.violation = Some(violation);
    }

    fn take(&mut self, text: &str, out: &mut Released) -> Result<(), Violation> {
        for character in text.chars() {
            let at = self.record_at + self.record.len() as u64;
            if at == 0 && character == '\u{feff}' {
                return Err(Violation::of_text(at, ViolationKind::ByteOrderMark, true));
            }
            let width = character.len_utf8();
            let too_large = at as usize + width > self.contract.doc_bytes
                || self.record.len() + width > self.contract.record_bytes_max;
            if too_large {
                return Err(Violation::of_text(at, ViolationKind::TooLarge, true));
            }
            // Only ASCII characters mean anything to the machine; any other byte is text like a letter.
            let byte = u8::try_from(character).ok().filter(u8::is_ascii).unwrap_or(b'x');
            let event = self.machine.feed(byte).map_err(|refused| of_syntax(refused, at, true))?;
            let before = self.record.len();
            self.record.push(character);
            match event {
                Event::Nothing => {}
                Event::FieldEnd => self.end_field(before, at)?,
                Event::RecordEnd { ending } => {
                    let back = ending - 1;
                    self.end_field(before - back, at - back as u64)?;
                    self.end_record(at - back as u64, out)?;
                }
            }
        }
        Ok(())
    }

    fn end_field(&mut self, before: usize, at: u64) -> Result<(), Violation> {
        self.fields.push((self.field_start, before));
        self.field_start = self.record.len();
        if self.fields.len() > self.contract.columns.len() {
            return Err(Violation::of_text(at, ViolationKind::ColumnCount, true));
        }
        Ok(())
    }

    fn end_record(&mut self, at: u64, out: &mut Released) -> Result<(), Violation> {
        if self.fields.len() != self.contract.columns.len() {
            return Err(Violation::of_text(at, ViolationKind::ColumnCount, true));
        }
        let contract = Arc::clone(&self.contract);
        let texts = self.texts();
        if contract.header && self.records == 0 {
            self.check_header(&contract, &texts)?;
            out.text.push_str(&self.record);
        } else {
            if self.records - u64::from(contract.header) >= contract.rows_max {
                return Err(Violation::of_text(self.record_at, ViolationKind::TooManyRows, true));
            }
            let mut edited: Vec<Option<String>> = Vec::with_capacity(texts.len());
            for (index, (column, text)) in contract.columns.iter().zip(&texts).enumerate() {
                edited.push(self.check_field(index, column, text)?);
            }
            self.release(&edited, out);
        }
        self.records += 1;
        self.record_at += self.record.len() as u64;
        self.record.clear();
        self.fields.clear();
        self.field_start = 0;
        Ok(())
    }

    /// The texts of the record's fields, read by the `csv` crate: quotes taken off, doubled quotes made one.
    fn texts(&self) -> Vec<String> {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(self.contract.delimiter)
            .from_reader(self.record.as_bytes());
        let mut record = csv::StringRecord::new();
        match reader.read_record(&mut record) {
            Ok(true) => record.iter().map(str::to_owned).collect(),
            // An empty line is one empty field; the reader skips it.
            _ => vec![String::new(); self.fields.len()],
        }
    }

    fn check_header(&self, contract: &CsvContract, texts: &[String]) -> Result<(), Violation> {
        let wrong = contract.columns.iter().zip(texts).position(|(column, text)| column.name != *text);
        match wrong {
            None => Ok(()),
            Some(index) => Err(self.violation_at(index, None, ViolationKind::Header, "header")),
        }
    }

    /// Checks a field; the text to write in its place, if there is one.
    fn check_field(&mut self, index: usize, column: &Column, text: &str) -> Result<Option<String>, Violation> {
        let fail = |this: &Self, keyword| Err(this.violation_at(index, Some(column), ViolationKind::Schema, keyword));
        if text.is_empty() && !column.required {
            return Ok(None);
        }
        if text.is_empty() && column.kind != Type::String {
            return fail(self, "required");
        }
        let Some(value) = value_of(column.kind, text) else { return fail(self, "type") };
        if !column.contract.affords(1, 0) {
            return Err(self.violation_at(index, Some(column), ViolationKind::TooCostly, "schema"));
        }
        if let Err(error) = column.contract.authority.validate(&value) {
            let keyword = crate::lock::keyword(&error);
            return fail(self, keyword);
        }
        if column.unique {
            let Some(unique) = self.unique.get_mut(index) else { return fail(self, "unique") };
            unique.bytes += text.len();
            let bytes = unique.bytes;
            if !unique.met.insert(text.into()) {
                return fail(self, "unique");
            }
            if bytes > UNIQUE_BYTES_MAX {
                return Err(self.violation_at(index, Some(column), ViolationKind::TooCostly, "unique"));
            }
        }
        // A number that is one is no formula, though it may begin like it.
        if column.kind != Type::String || !is_formula(text) {
            return Ok(None);
        }
        match self.contract.formulas {
            Formulas::Off => Ok(None),
            Formulas::Block => fail(self, "formulas"),
            Formulas::Prefix => Ok(Some(defused(text))),
        }
    }

    /// Writes the record with its edits; every other byte as it came.
    fn release(&mut self, edited: &[Option<String>], out: &mut Released) {
        let mut from = 0;
        for ((start, end), edit) in self.fields.iter().zip(edited) {
            if let Some(edit) = edit {
                out.text.push_str(self.record.get(from..*start).unwrap_or_default());
                out.text.push_str(edit);
                from = *end;
                self.edits += 1;
            }
        }
        out.text.push_str(self.record.get(from..).unwrap_or_default());
    }

    fn end(&mut self, end: End, out: &mut Released) -> Result<(), Violation> {
        let at = self.record_at + self.record.len() as u64;
        if !end.is_complete() && !self.machine.is_between() {
            return Err(Violation::of_text(at, ViolationKind::Interrupted, false));
        }
        if self.machine.finish().map_err(|refused| of_syntax(refused, at, false))? {
            self.end_field(self.record.len(), at)?;
            self.end_record(at, out)?;
        }
        let rows = self.records.saturating_sub(u64::from(self.contract.header));
        if self.records == 0 && (self.contract.header || self.contract.rows_min > 0) {
            return Err(Violation::of_text(at, ViolationKind::Empty, false));
        }
        if rows < self.contract.rows_min {
            return Err(Violation::of_text(at, ViolationKind::TooFewRows, false));
        }
        Ok(())
    }

    /// A violation of a field: `/<row>/<column>`, rows counted from 0 without the header. Column names are the contract's.
    fn violation_at(
        &self,
        index: usize,
        column: Option<&Column>,
        kind: ViolationKind,
        keyword: &'static str,
    ) -> Violation {
        let start = self.fields.get(index).map_or(0, |(start, _)| *start);
        let row = self.records.saturating_sub(u64::from(self.contract.header));
        let name = |column: &Column| column.name.replace('~', "~0").replace('/', "~1");
        Violation {
            at: self.record_at + start as u64,
            found_at: self.record_at + start as u64,
            kind,
            instance_path: column.map_or_else(|| format!("/{index}"), |column| format!("/{row}/{}", name(column))),
            schema_path: format!("/columns/{index}"),
            keyword: Some(keyword),
            early: true,
        }
    }
}

fn of_syntax(refused: Refused, at: u64, early: bool) -> Violation {
    Violation::of_text(at.saturating_sub(refused.back), refused.kind, early)
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
