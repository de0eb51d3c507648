//! The lock on one text channel: fragments in, the document out if its contract is kept, a violation otherwise.

use std::sync::Arc;

use serde_json::Value;

use crate::coerce::{Coercion, Extent, Scalar, Shifts};
use crate::contract::{Contract, ContractSource};
use crate::falsify::{self, Falsifier};
use crate::locate::Segment;
use crate::repair::{Edit, Mended, Mender, RepairClass, RepairPolicy};
use crate::syntax::{Fault, Syntax, Under};
use crate::violation::{Violation, ViolationKind};

/// When text is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Nothing before the whole document has passed.
    Buffer,
    /// Each value once it has been checked; the document's last bracket once the whole has passed.
    Verified,
    /// Each byte while some continuation could still be valid; the document's last bracket once the whole has passed.
    Cutoff,
    /// At once. The verdict is for the record.
    Observe,
}

/// How the answer ended, as the provider said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// The model was done.
    Stop,
    /// The model was done and calls tools. Without any text there is then nothing to check.
    ToolCalls,
    /// It ran into its length limit.
    Length,
    /// The provider's filter stopped it.
    ContentFilter,
    /// The model refused.
    Refusal,
    /// The upstream failed.
    UpstreamError,
    /// The client left, or somebody else cancelled.
    Cancelled,
}

impl End {
    pub(crate) fn is_complete(self) -> bool {
        matches!(self, Self::Stop | Self::ToolCalls)
    }
}

/// Where a lock stands after a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// The document goes on; so many bytes of what came may not leave yet.
    Hold {
        /// How many.
        bytes: usize,
    },
    /// The document's root has closed; what is left is the verdict.
    Complete,
    /// The document cannot become valid. Nothing more is kept, and the upstream call may be cancelled.
    Violation(Violation),
}

/// The verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// All of the document may leave, with the edits that the lock named.
    Pass,
    /// Nothing more may leave.
    Block(Violation),
}

/// Scalars of one document that may change their kind. A document with more was written for another schema.
const COERCIONS_MAX: usize = 64;

/// Bytes that may be read again to try them: each is a few milliseconds for the longest document.
const READ_AGAIN_BYTES_MAX: usize = 8 << 20;

#[derive(Debug)]
struct Waiting {
    scalar: Scalar,
    /// What is wrong if it stays as it is.
    violation: Violation,
}

/// Holds one document to its contract.
///
/// The caller keeps the text. After each call, [`Lock::settled`] says how much of it may leave, and
/// [`Lock::take_edits`] what is to be changed in it on the way ([`Release`](crate::Release) does that for a text in one hand).
#[derive(Debug)]
pub struct Lock {
    contract: Arc<Contract>,
    mode: Mode,
    repair: RepairPolicy,
    /// Where something may be mended: the reader gets its text.
    mender: Option<Mender>,
    /// The document so far, mended.
    document: String,
    edits: Vec<Edit>,
    syntax: Syntax,
    falsifier: Falsifier,
    /// Bytes of the text as it came: all of them, and those that may leave.
    taken: u64,
    settled: u64,
    /// A scalar that is refused as it stands and may come to stand for another.
    waiting: Option<Waiting>,
    /// Where such scalars were changed, and how much was read again for them.
    shifts: Shifts,
    read_again: usize,
    /// The root has closed, and the authority accepts it.
    accepted: bool,
    outcome: Option<Outcome>,
}

impl Lock {
    /// A lock for one document, which mends what `repair` allows. Arguments of a tool are never completed, since a call that was
    /// cut off must not be made; and where everything leaves at once, nothing is mended.
    #[must_use]
    pub fn new(contract: Arc<Contract>, mode: Mode, repair: RepairPolicy) -> Self {
        let repair = match (mode, contract.source()) {
            (Mode::Observe, _) => RepairPolicy::NONE,
            (_, ContractSource::ToolParameters) => repair.without(RepairClass::CloseBrackets),
            _ => repair,
        };
        let mender = (!repair.is_none()).then(|| Mender::new(repair, &contract.limits));
        let syntax = Syntax::new(&contract.limits);
        let falsifier = contract.falsifier();
        Self {
            contract,
            mode,
            repair,
            mender,
            document: String::new(),
            edits: Vec::new(),
            syntax,
            falsifier,
            taken: 0,
            settled: 0,
            waiting: None,
            shifts: Shifts::default(),
            read_again: 0,
            accepted: false,
            outcome: None,
        }
    }

    /// When this lock lets text leave.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What this lock may mend.
    #[must_use]
    pub fn repair(&self) -> RepairPolicy {
        self.repair
    }

    /// Bytes of the text as it came, from its beginning, that may leave now. Never falls. After a violation it stands where it
    /// was; after [`Outcome::Pass`] it is [`u64::MAX`].
    #[must_use]
    pub fn settled(&self) -> u64 {
        if self.mode == Mode::Observe || self.outcome == Some(Outcome::Pass) { u64::MAX } else { self.settled }
    }

    /// The edits of what has settled since the last call, in the order of the text. None of them touches a byte that was settled
    /// before.
    pub fn take_edits(&mut self) -> Vec<Edit> {
        let settled = self.settled();
        let due = self.edits.partition_point(|edit| edit.range.end <= settled);
        self.edits.drain(..due).collect()
    }

    /// Takes the next fragment of decoded text. After a violation, or after [`Lock::finish`], text is dropped.
    pub fn feed(&mut self, text: &str) -> Step {
        if self.outcome.is_none()
            && let Err(violation) = self.take(text)
        {
            self.violate(violation);
        }
        match &self.outcome {
            Some(Outcome::Block(violation)) => Step::Violation(violation.clone()),
            _ if self.syntax.is_complete() => Step::Complete,
            _ => Step::Hold { bytes: usize::try_from(self.taken.saturating_sub(self.settled())).unwrap_or(usize::MAX) },
        }
    }

    /// Ends the document and judges it. A second call gives the same verdict.
    ///
    /// A document whose root had closed before the answer was cut off is judged like any other; one that had not is
    /// [`ViolationKind::Interrupted`].
    pub fn finish(&mut self, end: End) -> Outcome {
        if self.outcome.is_none() {
            match self.end(end) {
                Ok(()) => {
                    self.document = String::new();
                    self.outcome = Some(Outcome::Pass);
                }
                Err(violation) => self.violate(violation),
            }
        }
        self.outcome.clone().unwrap_or(Outcome::Pass)
    }

    fn violate(&mut self, violation: Violation) {
        self.document = String::new();
        self.outcome = Some(Outcome::Block(violation));
    }

    fn take(&mut self, text: &str) -> Result<(), Violation> {
        self.taken += text.len() as u64;
        let Some(mender) = &mut self.mender else { return self.read(text) };
        let mut mended = Mended::default();
        mender.feed(text, &mut mended);
        self.edits.append(&mut mended.edits);
        self.read(&mended.text)
    }

    /// Reads on, in text that is mended.
    fn read(&mut self, text: &str) -> Result<(), Violation> {
        let room = self.contract.limits.doc_bytes.saturating_sub(self.document.len());
        let fits = text.get(..text.floor_char_boundary(room)).unwrap_or(text);
        self.document.push_str(fits);
        if self.waiting.is_none() {
            self.advance()?;
        }
        self.coerce(false)?;
        if fits.len() < text.len() {
            let at = self.source_offset(self.contract.limits.doc_bytes as u64);
            return Err(Violation::of_text(at, ViolationKind::TooLarge, true));
        }
        Ok(())
    }

    /// Reads to the end of the document as far as it has come, or to a scalar that waits.
    fn advance(&mut self) -> Result<(), Violation> {
        let read = self.syntax.feed(&self.document, &mut self.falsifier);
        self.settle();
        if let Err(fault) = read {
            if fault.kind == ViolationKind::TrailingBytes && !self.accepted {
                // The document ended before: what is wrong with it comes first, as it does where the rest comes later.
                self.judge(self.document.get(..fault.at).unwrap_or_default())?;
            }
            let violation = self.violation(fault, true);
            // Only what is refused as soon as it begins is of the wrong kind.
            let is_wrong_kind = fault.kind == ViolationKind::Schema
                && self.falsifier.refusal().is_some_and(|refusal| refusal.at == fault.at);
            if !is_wrong_kind || !self.repair.coerces_any() {
                return Err(violation);
            }
            self.waiting = Some(Waiting { scalar: Scalar::new(fault.at), violation });
            return Ok(());
        }
        if self.syntax.is_complete() && !self.accepted {
            self.judge(&self.document)?;
            self.accepted = true;
        }
        Ok(())
    }

    /// Changes the scalar that waits, once it is whole, if it can only mean one other.
    fn coerce(&mut self, is_whole: bool) -> Result<(), Violation> {
        while let Some(Waiting { mut scalar, violation }) = self.waiting.take() {
            let at = scalar.at;
            let end = match scalar.extent(&self.document, is_whole) {
                Extent::Ends(end) => end,
                Extent::Open if !is_whole => {
                    self.waiting = Some(Waiting { scalar, violation });
                    return Ok(());
                }
                Extent::Open | Extent::NoScalar => return Err(violation),
            };
            let scalar = self.document.get(at..end).unwrap_or_default().to_owned();
            let mut accepted = Vec::new();
            let repair = self.repair;
            for coercion in Coercion::ALL.into_iter().filter(|&coercion| repair.coerces(coercion)) {
                if let Some(with) = coercion.of(&scalar)
                    && self.accepts_at(at, &with)
                {
                    accepted.push((coercion, with));
                }
            }
            let budget = self.shifts.len() < COERCIONS_MAX && self.read_again <= READ_AGAIN_BYTES_MAX;
            let (Some((coercion, with)), None, true) = (accepted.pop(), accepted.pop(), budget) else {
                return Err(violation);
            };
            let range = self.source_offset(at as u64)..self.source_offset(end as u64);
            // What was mended inside it is part of the one edit now.
            self.edits.retain(|edit| edit.range.end <= range.start || edit.range.start >= range.end);
            let place = self.edits.partition_point(|edit| edit.range.end <= range.start);
            self.edits.insert(place, Edit { range, with: with.clone(), class: coercion.name() });
            self.document.replace_range(at..end, &with);
            self.shifts.push(at, with.len(), scalar.len());
            self.read_again += self.document.len();
            self.syntax = Syntax::new(&self.contract.limits);
            self.falsifier = self.contract.falsifier();
            self.advance()?;
        }
        Ok(())
    }

    /// Whether the document up to `at` may go on with this value.
    fn accepts_at(&mut self, at: usize, value: &str) -> bool {
        // White space, so that a number ends.
        let trial = [self.document.get(..at).unwrap_or_default(), value, " "].concat();
        self.read_again += trial.len();
        Syntax::new(&self.contract.limits).feed(&trial, &mut self.contract.falsifier()).is_ok()
    }

    /// The offset in the text as it came of an offset in the document.
    fn source_offset(&self, offset: u64) -> u64 {
        let mended = self.shifts.before(offset);
        self.mender.as_ref().map_or(mended, |mender| mender.source_offset(mended))
    }

    /// The offset in the text as it came behind this much of the document, whatever is left out there.
    fn source_end(&self, offset: u64) -> u64 {
        let mended = self.shifts.before(offset);
        self.mender.as_ref().map_or(mended, |mender| mender.source_end(mended))
    }

    /// Moves on to the last byte that may leave.
    fn settle(&mut self) {
        if matches!(self.mode, Mode::Buffer | Mode::Observe) {
            return;
        }
        let at = self.syntax.at();
        let settled = match self.syntax.under() {
            // What closes the root, and whatever comes behind it, waits for the verdict.
            Under::Nothing => self.syntax.root_closer().unwrap_or(at),
            Under::Text(start, _) if self.mode == Mode::Verified && self.falsifier.owes_text() => start,
            Under::Text(_, escape) => escape.unwrap_or(at),
            // They are short, and no part of them means anything by itself.
            Under::Name(start) | Under::Scalar(start) => start,
        };
        self.settled = self.settled.max(self.source_offset(settled as u64));
    }

    fn end(&mut self, end: End) -> Result<(), Violation> {
        if let Some(mender) = &mut self.mender {
            let mut mended = Mended::default();
            mender.finish(end, &mut mended);
            self.edits.append(&mut mended.edits);
            self.read(&mended.text)?;
        }
        self.coerce(true)?;
        if !end.is_complete() && !self.syntax.is_complete() {
            let at = self.source_offset(self.document.len() as u64);
            return Err(Violation::of_text(at, ViolationKind::Interrupted, false));
        }
        match self.syntax.finish(&self.document, &mut self.falsifier) {
            Err(Fault { kind: ViolationKind::Empty, .. })
                if self.contract.source() == ContractSource::ToolParameters =>
            {
                self.judge_value("{}", &Value::Object(serde_json::Map::new()))
            }
            Err(Fault { kind: ViolationKind::Empty, .. }) if end == End::ToolCalls => Ok(()),
            Err(fault) => Err(self.violation(fault, fault.kind == ViolationKind::Schema)),
            Ok(()) if self.accepted => Ok(()),
            Ok(()) => self.judge(&self.document),
        }
    }

    /// What the reader stopped at; the falsifier knows more of what it refused.
    fn violation(&self, fault: Fault, early: bool) -> Violation {
        let found_at = self.source_offset(self.syntax.at() as u64);
        let refusal = self.falsifier.refusal().filter(|_| fault.kind == ViolationKind::Schema);
        match refusal {
            None => {
                let at = self.source_offset(fault.at as u64);
                Violation { found_at, ..Violation::of_text(at, fault.kind, early) }
            }
            Some(refusal) => Violation {
                at: self.source_offset(refusal.at as u64),
                found_at,
                kind: ViolationKind::Schema,
                instance_path: self
                    .contract
                    .masked(&refusal.path.iter().map(|step| self.segment(step)).collect::<Vec<_>>()),
                schema_path: refusal.schema_path.clone(),
                keyword: Some(refusal.keyword),
                early,
            },
        }
    }

    fn segment(&self, step: &falsify::Step) -> Segment {
        match step {
            falsify::Step::Index(index) => Segment::Index(usize::try_from(*index).unwrap_or(usize::MAX)),
            falsify::Step::Name(range) => {
                let name = self.document.get(range.clone()).and_then(|name| serde_json::from_str(name).ok());
                Segment::Name(name.unwrap_or_default())
            }
        }
    }

    /// The authority's word on a whole document.
    fn judge(&self, document: &str) -> Result<(), Violation> {
        let value = serde_json::from_str(document).map_err(|error| self.unreadable(document, &error))?;
        self.judge_value(document, &value)
    }

    /// The text is JSON, so what the reader cannot take is a number that is too large for it.
    fn unreadable(&self, document: &str, error: &serde_json::Error) -> Violation {
        let before: usize = document.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
        let at = (before + error.column().saturating_sub(1)).min(document.len());
        Violation::of_text(self.source_offset(at as u64), ViolationKind::Number, false)
    }

    fn judge_value(&self, text: &str, value: &Value) -> Result<(), Violation> {
        let (values, deepest) = (self.syntax.values().max(1), self.syntax.deepest());
        if !self.contract.affords(values, deepest) {
            return Err(Violation::of_text(0, ViolationKind::TooCostly, false));
        }
        if self.contract.authority.is_valid(value) {
            return Ok(());
        }
        let end = self.source_end(text.trim_ascii_end().len() as u64);
        let found = if self.contract.can_explain(values, deepest) {
            self.contract.authority.validate(value).err().map(|error| self.contract.explained(text, value, &error))
        } else {
            None
        };
        let violation = found.unwrap_or_else(|| Violation::of_text(0, ViolationKind::Schema, false));
        Err(Violation { at: self.source_offset(violation.at), found_at: end, ..violation })
    }
}
