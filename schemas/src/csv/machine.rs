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
    /// Part of a field, its quotes included.
    Text,
    /// The CR of a line ending whose LF is still to come.
    Return,
    /// The field ended before this byte.
    FieldEnd,
    /// Field and record ended; this byte is the last of the line ending.
    RecordEnd,
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

    /// How many bytes of `text` are plain text of a field, and takes them. It ends before the next byte that means anything,
    /// and so never inside a character.
    pub(super) fn plain(&mut self, text: &[u8]) -> usize {
        let delimiter = self.delimiter;
        let length = match self.state {
            State::Quoted => length_without(text, |byte| (byte == b'"') | is_control(byte)),
            State::RecordStart | State::FieldStart | State::Unquoted => {
                length_without(text, |byte| (byte == b'"') | (byte == delimiter) | is_control(byte))
            }
            State::QuoteInQuoted | State::Return => 0,
        };
        if length > 0 && self.state != State::Quoted {
            self.state = State::Unquoted;
        }
        length
    }

    /// Takes a byte of ASCII.
    pub(super) fn feed(&mut self, byte: u8) -> Result<Event, Refused> {
        use State::{FieldStart, QuoteInQuoted, Quoted, RecordStart, Return, Unquoted};
        let refused = Err(Refused { kind: ViolationKind::CsvSyntax, back: 0 });
        let (state, event) = match (self.state, byte) {
            (Return, b'\n') => (RecordStart, Event::RecordEnd),
            // The CR is what cannot stand there.
            (Return, _) => return Err(Refused { kind: ViolationKind::CsvSyntax, back: 1 }),
            (Quoted, b'"') => (QuoteInQuoted, Event::Text),
            (Quoted, b'\t' | b'\r' | b'\n') => (Quoted, Event::Text),
            (Quoted, byte) if is_control(byte) => return refused,
            (Quoted, _) => (Quoted, Event::Text),
            (QuoteInQuoted, b'"') => (Quoted, Event::Text),
            (_, b'\r') if self.takes(LineEnding::Crlf) => (Return, Event::Return),
            (_, b'\n') if self.takes(LineEnding::Lf) => (RecordStart, Event::RecordEnd),
            (_, byte) if byte == self.delimiter => (FieldStart, Event::FieldEnd),
            (RecordStart | FieldStart, b'"') => (Quoted, Event::Text),
            (QuoteInQuoted, _) | (Unquoted, b'"') => return refused,
            (_, byte) if is_control(byte) && byte != b'\t' => return refused,
            (_, _) => (Unquoted, Event::Text),
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

fn is_control(byte: u8) -> bool {
    byte.is_ascii_control()
}

/// Bytes looked at together. So many fill a register, and the compiler makes one comparison of sixteen.
const LANES: usize = 16;

/// How many bytes of `text` come before the first that `is_special`.
fn length_without(text: &[u8], is_special: impl Fn(u8) -> bool) -> usize {
    let (chunks, _) = text.as_chunks::<LANES>();
    let plain = chunks.iter().take_while(|chunk| !chunk.iter().fold(false, |any, byte| any | is_special(*byte)));
    let looked_at = plain.count() * LANES;
    let rest = text.get(looked_at..).unwrap_or_default();
    looked_at + rest.iter().position(|byte| is_special(*byte)).unwrap_or(rest.len())
}
