//! The lock on one CSV text: fragments in, and how far it may leave, record by record or field by field.

use std::sync::Arc;

use super::contract::{CsvContract, Formulas};
use super::field::Fields;
use super::machine::{Event, Machine, Refused};
use super::opening::Opening;
use super::reader::FieldReader;
use super::wrapper::{Last, Offer, Wrapper};
use crate::lock::{End, Mode, Outcome, Step};
use crate::repair::{Edit, RepairClass, RepairPolicy};
use crate::violation::{Violation, ViolationKind};

/// The class of the edits that defuse formulas.
const FORMULAS: &str = "formulas";

/// Holds one CSV text to its contract.
///
/// Like a [`Lock`](crate::Lock): the caller keeps the text, [`CsvLock::settled`] says how much of it may leave, and
/// [`CsvLock::take_edits`] what is to be changed in it on the way.
///
/// | mode | what is settled |
/// | --- | --- |
/// | [`Mode::Buffer`] | nothing, and all of it once the whole has passed |
/// | [`Mode::Verified`] | whole records that have passed, from the least number of rows on: what has left is at any time a text that keeps the contract |
/// | [`Mode::Cutoff`] | whole fields that have passed; text to which the contract says nothing, byte by byte |
/// | [`Mode::Observe`] | everything, and nothing is edited |
#[derive(Debug)]
pub struct CsvLock {
    contract: Arc<CsvContract>,
    mode: Mode,
    wrapper: Wrapper,
    machine: Machine,
    reader: FieldReader,
    checked: Fields,
    /// The field under way, as it stands in the text.
    field: String,
    /// What its beginning says of the rest of it, in [`Mode::Cutoff`].
    opening: Opening,
    /// Offsets in the text: of the next byte, of the record under way, and of its field under way.
    at: u64,
    record_at: u64,
    field_at: u64,
    /// Fields of the record under way that have ended.
    fields: usize,
    /// Records that have ended, the header included.
    records: u64,
    settled: u64,
    edits: Vec<Edit>,
    /// Those in the record under way.
    record_edits: Vec<Edit>,
    violation: Option<Violation>,
    passed: bool,
}

impl CsvLock {
    /// A lock for one text. Of `repair`, [`RepairClass::ByteOrderMark`] and [`RepairClass::Fences`] mean something to CSV.
    #[must_use]
    pub fn new(contract: Arc<CsvContract>, mode: Mode, repair: RepairPolicy) -> Self {
        let machine = Machine::new(contract.delimiter, contract.line_ending);
        let reader = FieldReader::new(&contract);
        let mut lock = Self {
            contract,
            mode,
            wrapper: Wrapper::new(repair),
            machine,
            reader,
            checked: Fields::default(),
            field: String::new(),
            opening: Opening::Held,
            at: 0,
            record_at: 0,
            field_at: 0,
            fields: 0,
            records: 0,
            settled: 0,
            edits: Vec::new(),
            record_edits: Vec::new(),
            violation: None,
            passed: false,
        };
        lock.open_field();
        lock
    }

    /// When this lock lets text leave.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Bytes of the text as it came, from its beginning, that may leave now. Never falls. After a violation it stands where it
    /// was; after [`Outcome::Pass`] it is [`u64::MAX`].
    #[must_use]
    pub fn settled(&self) -> u64 {
        match self.mode {
            Mode::Observe => u64::MAX,
            _ if self.passed => u64::MAX,
            Mode::Buffer => 0,
            Mode::Verified | Mode::Cutoff => self.settled,
        }
    }

    /// The edits that were decided since the last call, in the order of the text. None of them touches a byte that was settled
    /// before it was decided. Their classes are `formulas` and those of the repairs.
    pub fn take_edits(&mut self) -> Vec<Edit> {
        std::mem::take(&mut self.edits)
    }

    /// Takes the next fragment of text. After a violation, or after [`CsvLock::finish`], text is dropped.
    pub fn feed(&mut self, text: &str) -> Step {
        if self.violation.is_none()
            && !self.passed
            && let Err(violation) = self.take(text)
        {
            self.violate(violation);
        }
        match &self.violation {
            Some(violation) => Step::Violation(violation.clone()),
            None => {
                let held = (self.at + self.wrapper.held_bytes() as u64).saturating_sub(self.settled());
                Step::Hold { bytes: usize::try_from(held).unwrap_or(usize::MAX) }
            }
        }
    }

    /// Ends the text and judges it. A second call gives the same verdict.
    ///
    /// A last record without a line ending is a record (RFC 4180 §2.2). A text that was cut off is
    /// [`ViolationKind::Interrupted`] even between two records: no CSV shows that nothing is missing.
    pub fn finish(&mut self, end: End) -> Outcome {
        if self.violation.is_none() && !self.passed {
            match self.end(end) {
                Ok(()) => {
                    self.passed = true;
                    self.forget();
                }
                Err(violation) => self.violate(Violation { early: false, ..violation }),
            }
        }
        match &self.violation {
            Some(violation) => Outcome::Block(violation.clone()),
            None => Outcome::Pass,
        }
    }

    fn violate(&mut self, violation: Violation) {
        self.record_edits = Vec::new();
        self.violation = Some(violation);
        self.forget();
    }

    /// Drops the text that is no longer needed.
    fn forget(&mut self) {
        self.field = String::new();
        self.checked = Fields::default();
        self.reader.forget();
    }

    fn take(&mut self, text: &str) -> Result<(), Violation> {
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            let used = if self.wrapper.lets_pass(rest, self.machine.is_between()) {
                self.step(rest)?
            } else {
                self.offer(character)?;
                character.len_utf8()
            };
            rest = rest.get(used..).unwrap_or_default();
        }
        Ok(())
    }

    /// Lets the wrapper look at a character.
    fn offer(&mut self, character: char) -> Result<(), Violation> {
        let at = self.at + self.wrapper.held_bytes() as u64;
        if at >= self.contract.limits.doc_bytes as u64 {
            return Err(Violation::of_text(at, ViolationKind::TooLarge, true));
        }
        match self.wrapper.offer(character) {
            Offer::Held => Ok(()),
            Offer::Content(text) => self.content(&text),
            Offer::Left { bytes, class } => {
                self.leave_out(bytes, class);
                Ok(())
            }
            Offer::Refused => Err(Violation::of_text(at, ViolationKind::CsvSyntax, true)),
        }
    }

    /// Leaves out the next `bytes` bytes of the text. They stand between records.
    fn leave_out(&mut self, bytes: usize, class: RepairClass) {
        let range = self.at..self.at + bytes as u64;
        (self.at, self.record_at, self.field_at) = (range.end, range.end, range.end);
        self.edit(Edit { range, with: String::new(), class: class.name() });
    }

    fn content(&mut self, text: &str) -> Result<(), Violation> {
        let mut rest = text;
        while !rest.is_empty() {
            rest = rest.get(self.step(rest)?..).unwrap_or_default();
        }
        Ok(())
    }

    /// Takes some of `rest`, which is not empty; how many bytes.
    fn step(&mut self, rest: &str) -> Result<usize, Violation> {
        if self.machine.is_between() {
            self.begin_record(rest)?;
        }
        let room = (self.contract.limits.doc_bytes as u64).saturating_sub(self.at);
        let record_room = (self.contract.record_bytes_max as u64).saturating_sub(self.at - self.record_at);
        let room = usize::try_from(room.min(record_room)).unwrap_or(usize::MAX);
        let fits = rest.get(..rest.floor_char_boundary(room)).unwrap_or_default();
        let Some(next) = fits.bytes().next() else {
            return Err(Violation::of_text(self.at, ViolationKind::TooLarge, true));
        };
        let plain = self.machine.plain(fits.as_bytes());
        if let Some(text) = fits.get(..plain).filter(|text| !text.is_empty()) {
            self.extend_field(text);
            return Ok(plain);
        }
        let event = self.machine.feed(next).map_err(|refused| of_syntax(refused, self.at, true))?;
        match event {
            // No byte that is not ASCII comes here: it is plain text, or refused.
            Event::Text => self.extend_field(fits.get(..1).unwrap_or_default()),
            Event::Return => self.at += 1,
            Event::FieldEnd => {
                self.end_field()?;
                if self.fields == self.contract.columns.len() {
                    // This delimiter begins a field for which there is no column.
                    return Err(Violation::of_text(self.at, ViolationKind::ColumnCount, true));
                }
                self.at += 1;
                self.open_field();
                self.settle_field();
            }
            Event::RecordEnd => {
                self.at += 1;
                self.end_record()?;
            }
        }
        Ok(1)
    }

    /// The first byte of a record is about to be taken.
    fn begin_record(&self, rest: &str) -> Result<(), Violation> {
        if self.at == 0 && rest.starts_with('\u{feff}') {
            return Err(Violation::of_text(0, ViolationKind::ByteOrderMark, true));
        }
        if !self.in_header() && self.rows() >= self.contract.rows_max {
            return Err(Violation::of_text(self.at, ViolationKind::TooManyRows, true));
        }
        Ok(())
    }

    /// Whether the record under way is the header.
    fn in_header(&self) -> bool {
        self.contract.header && self.records == 0
    }

    /// Records that have ended, without the header.
    fn rows(&self) -> u64 {
        self.records.saturating_sub(u64::from(self.contract.header))
    }

    fn open_field(&mut self) {
        self.field_at = self.at;
        self.field.clear();
        let column = self.contract.columns.get(self.fields).filter(|_| !self.in_header());
        self.opening = match column {
            Some(column) if column.takes_any_text && !column.unique => match self.contract.formulas {
                Formulas::Off => Opening::Flows,
                Formulas::Prefix | Formulas::Block => Opening::Unread,
            },
            _ => Opening::Held,
        };
    }

    fn extend_field(&mut self, text: &str) {
        self.field.push_str(text);
        self.at += text.len() as u64;
        if self.mode == Mode::Cutoff {
            self.opening = self.opening.read(text);
            if self.opening == Opening::Flows {
                self.settled = self.at;
            }
        }
    }

    /// The field under way has ended before the next byte.
    fn end_field(&mut self) -> Result<(), Violation> {
        let (index, in_header) = (self.fields, self.in_header());
        let Some(text) = self.reader.read(&self.field) else {
            return Err(self.violation_at(ViolationKind::CsvSyntax, "csv"));
        };
        if in_header {
            let is_right = self.contract.columns.get(index).is_some_and(|column| column.name == text);
            if !is_right {
                return Err(self.violation_at(ViolationKind::Header, "header"));
            }
        } else {
            let written = self.checked.check(&self.contract, index, text);
            if let Some(with) = written.map_err(|(kind, keyword)| self.violation_at(kind, keyword))? {
                let range = self.field_at..self.field_at + self.field.len() as u64;
                self.record_edits.push(Edit { range, with, class: FORMULAS });
            }
        }
        self.fields += 1;
        Ok(())
    }

    /// The record under way has ended; its line ending, if there is one, has been taken.
    fn end_record(&mut self) -> Result<(), Violation> {
        if self.fields + 1 != self.contract.columns.len() {
            let at = self.field_at + self.field.len() as u64;
            return Err(Violation::of_text(at, ViolationKind::ColumnCount, true));
        }
        self.end_field()?;
        self.records += 1;
        self.fields = 0;
        self.record_at = self.at;
        self.open_field();
        self.settle_field();
        if self.mode == Mode::Verified {
            for edit in std::mem::take(&mut self.record_edits) {
                self.edit(edit);
            }
            if self.rows() >= self.contract.rows_min {
                self.settled = self.at;
            }
        }
        Ok(())
    }

    /// A field has passed, and what ended it can stand there.
    fn settle_field(&mut self) {
        if self.mode != Mode::Verified {
            for edit in std::mem::take(&mut self.record_edits) {
                self.edit(edit);
            }
            self.settled = self.at;
        }
    }

    fn edit(&mut self, edit: Edit) {
        if self.mode != Mode::Observe {
            self.edits.push(edit);
        }
    }

    fn end(&mut self, end: End) -> Result<(), Violation> {
        let all = self.at + self.wrapper.held_bytes() as u64;
        if !end.is_complete() {
            return Err(Violation::of_text(all, ViolationKind::Interrupted, false));
        }
        if all == 0 && end == End::ToolCalls {
            return Ok(());
        }
        match self.wrapper.finish() {
            Last::Content(held) => self.content(&held)?,
            Last::Fence { bytes } => self.leave_out(bytes, RepairClass::Fences),
            Last::Open(held) => {
                self.content(&held)?;
                return Err(Violation::of_text(self.at, ViolationKind::Incomplete, false));
            }
        }
        if self.machine.finish().map_err(|refused| of_syntax(refused, self.at, false))? {
            self.end_record()?;
        }
        if self.records == 0 && (self.contract.header || self.contract.rows_min > 0) {
            return Err(Violation::of_text(self.at, ViolationKind::Empty, false));
        }
        if self.rows() < self.contract.rows_min {
            return Err(Violation::of_text(self.at, ViolationKind::TooFewRows, false));
        }
        Ok(())
    }

    /// A violation of the field under way: `/<row>/<column>`, rows counted from 0 without the header. Column names are the
    /// contract's.
    fn violation_at(&self, kind: ViolationKind, keyword: &'static str) -> Violation {
        let index = self.fields;
        let column = self.contract.columns.get(index).filter(|_| !self.in_header());
        let name = column.map(|column| column.name.replace('~', "~0").replace('/', "~1"));
        Violation {
            at: self.field_at,
            found_at: self.field_at + self.field.len() as u64,
            kind,
            instance_path: name.map_or_else(|| format!("/{index}"), |name| format!("/{}/{name}", self.rows())),
            schema_path: format!("/columns/{index}"),
            keyword: Some(keyword),
            early: true,
        }
    }
}

fn of_syntax(refused: Refused, at: u64, early: bool) -> Violation {
    Violation::of_text(at.saturating_sub(refused.back), refused.kind, early)
}
