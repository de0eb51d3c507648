//! The strict machine: RFC 4180 byte by byte, with the dialect's delimiter and line ending.
//!
//! Stricter than most readers, on purpose: what two readers read differently is refused at the byte where they part. A quote
//! inside an unquoted field, text after a closing quote, a bare CR, a control character, a mixture of line endings.

use super::contract::LineEnding;
use crate::violation::ViolationKind;

/// Where the machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    RecordStart,
    FieldStart,
    Unquoted,
    Quoted,
    /// After a quote in a quoted field: the end of it, or the first half of an escaped quote.
    QuoteInQuoted,
    /// After a CR outside quotes; only LF may follow.
    Return,
}

/// What a byte completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    Nothing,
    /// The field ended before this byte.
    FieldEnd,
    /// Field and record ended; this byte is the last of a line ending of so many bytes.
    RecordEnd {
        ending: usize,
    },
}

/// What is wrong, and how far back it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) kind: ViolationKind,
    pub(super) back: u64,
}

#[derive(Debug)]
pub(super) struct Machine {
    state: State,
    delimiter: u8,
    ending: LineEnding,
}

impl Machine {
    pub(super) fn new(delimiter: u8, ending: LineEnding) -> Self {
        Self { state: State::RecordStart, delimiter, ending }
    }

    /// True between records.
    pub(super) fn is_between(&self) -> bool {
        self.state == State::RecordStart
    }

    pub(super) fn feed(&mut self, byte: u8) -> Result<Event, Refused> {
        use State::{FieldStart, QuoteInQuoted, Quoted, RecordStart, Return, Unquoted};
        let refused = Err(Refused { kind: ViolationKind::CsvSyntax, back: 0 });
        let (state, event) = match (self.state, byte) {
            (Return, b'\n') => (RecordStart, Event::RecordEnd { ending: 2 }),
            // The CR is what cannot stand there.
            (Return, _) => return Err(Refused { kind: ViolationKind::CsvSyntax, back: 1 }),
            (Quoted, b'"') => (QuoteInQuoted, Event::Nothing),
            (Quoted, 0..0x20 | 0x7f) if !matches!(byte, b'\t' | b'\r' | b'\n') => return refused,
            (Quoted, _) => (Quoted, Event::Nothing),
            (QuoteInQuoted, b'"') => (Quoted, Event::Nothing),
            (_, b'\r') if self.takes(LineEnding::Crlf) => (Return, Event::Nothing),
            (_, b'\n') if self.takes(LineEnding::Lf) => (RecordStart, Event::RecordEnd { ending: 1 }),
            (_, byte) if byte == self.delimiter => (FieldStart, Event::FieldEnd),
            (RecordStart | FieldStart, b'"') => (Quoted, Event::Nothing),
            (QuoteInQuoted, _) | (Unquoted, b'"') => return refused,
            (_, 0..0x20 | 0x7f) if byte != b'\t' => return refused,
            (_, _) => (Unquoted, Event::Nothing),
        };
        self.state = state;
        Ok(event)
    }

    /// The text ends here. True when a record without a line ending ends with it.
    pub(super) fn finish(&mut self) -> Result<bool, Refused> {
        match self.state {
            State::RecordStart => Ok(false),
            State::Quoted => Err(Refused { kind: ViolationKind::Incomplete, back: 0 }),
            State::Return => Err(Refused { kind: ViolationKind::CsvSyntax, back: 1 }),
            State::FieldStart | State::Unquoted | State::QuoteInQuoted => {
                self.state = State::RecordStart;
                Ok(true)
            }
        }
    }

    /// Whether a line may end so. Where the dialect leaves it open, the first line decides.
    fn takes(&mut self, ending: LineEnding) -> bool {
        if self.ending == LineEnding::Any {
            self.ending = ending;
        }
        self.ending == ending
    }
}
