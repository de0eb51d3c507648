//! What may stand around a CSV text and is taken off if the policy says so: a byte order mark, a Markdown code fence.
//!
//! A fence is taken off only where both of its lines are there: one that opens and never closes is a text that went wrong.
//! What is held until that is decided is bounded by constants.

use crate::repair::{RepairClass, RepairPolicy};

/// White space before a fence, and on its closing line. Nobody writes more by accident.
const SPACE_BYTES_MAX: usize = 16;
/// The word behind an opening fence, such as `csv`.
const INFO_BYTES_MAX: usize = 16;

const FENCE: &str = "```";

/// Where in the wrapping the text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing has been decided.
    Start,
    /// All that follows is content.
    Bare,
    /// Content, up to the closing fence.
    Fenced,
    /// At the beginning of a record there is something like a closing fence.
    Closing,
    /// After the closing fence.
    Closed,
}

/// What a character that was offered is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// Not known yet; it is held.
    Held,
    /// What was held, and it, are content.
    Content(String),
    /// What was held, and it, are to be left out: so many bytes of that kind of damage.
    Left { bytes: usize, class: RepairClass },
    /// It cannot stand behind the closing fence.
    Refused,
}

/// What the end of the text makes of what is held.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Last {
    /// It is content, and the text may end.
    Content(String),
    /// The closing fence and what is behind it, so many bytes.
    Fence { bytes: usize },
    /// It is content, and the closing fence is missing.
    Open(String),
}

#[derive(Debug)]
pub(super) struct Wrapper {
    stage: Stage,
    mark: bool,
    fences: bool,
    held: String,
    /// Bytes of the closing fence, and of the white space behind it.
    closed: usize,
}

impl Wrapper {
    pub(super) fn new(repair: RepairPolicy) -> Self {
        let (mark, fences) = (repair.allows(RepairClass::ByteOrderMark), repair.allows(RepairClass::Fences));
        let stage = if mark || fences { Stage::Start } else { Stage::Bare };
        Self { stage, mark, fences, held: String::new(), closed: 0 }
    }

    /// Bytes that have been offered and are neither content nor left out.
    pub(super) fn held_bytes(&self) -> usize {
        self.held.len() + self.closed
    }

    /// Whether `next`, at the beginning of a record or not, is content without asking.
    pub(super) fn lets_pass(&self, next: &str, between_records: bool) -> bool {
        match self.stage {
            Stage::Bare => true,
            Stage::Fenced => !between_records || !next.starts_with('`'),
            Stage::Start | Stage::Closing | Stage::Closed => false,
        }
    }

    /// Takes a character that [`Wrapper::lets_pass`] stopped.
    pub(super) fn offer(&mut self, character: char) -> Offer {
        if self.stage == Stage::Closed {
            self.closed += character.len_utf8();
            return if is_space(character) { Offer::Held } else { Offer::Refused };
        }
        if self.stage == Stage::Start && self.mark && self.held.is_empty() {
            self.mark = false;
            if character == '\u{feff}' {
                self.stage = if self.fences { Stage::Start } else { Stage::Bare };
                return Offer::Left { bytes: character.len_utf8(), class: RepairClass::ByteOrderMark };
            }
        }
        self.held.push(character);
        if self.stage == Stage::Start {
            return match opening(&self.held).filter(|_| self.fences) {
                Some(Line::Part) => Offer::Held,
                Some(Line::Whole) => {
                    self.stage = Stage::Fenced;
                    Offer::Left { bytes: std::mem::take(&mut self.held).len(), class: RepairClass::Fences }
                }
                None => {
                    self.stage = Stage::Bare;
                    Offer::Content(std::mem::take(&mut self.held))
                }
            };
        }
        match closing(&self.held) {
            Some(Line::Part) => {
                self.stage = Stage::Closing;
                Offer::Held
            }
            Some(Line::Whole) => {
                self.stage = Stage::Closed;
                self.closed = std::mem::take(&mut self.held).len();
                Offer::Held
            }
            None => {
                self.stage = Stage::Fenced;
                Offer::Content(std::mem::take(&mut self.held))
            }
        }
    }

    /// The text ends here.
    pub(super) fn finish(&mut self) -> Last {
        let held = std::mem::take(&mut self.held);
        let bytes = held.len() + std::mem::take(&mut self.closed);
        match std::mem::replace(&mut self.stage, Stage::Bare) {
            Stage::Closed => Last::Fence { bytes },
            Stage::Closing if held.starts_with(FENCE) => Last::Fence { bytes },
            Stage::Closing | Stage::Fenced => Last::Open(held),
            Stage::Start | Stage::Bare => Last::Content(held),
        }
    }
}

enum Line {
    /// It may still become one.
    Part,
    Whole,
}

/// Whether `text` is the line of an opening fence, or the beginning of one.
fn opening(text: &str) -> Option<Line> {
    let line = text.trim_start_matches(is_space);
    if text.len() - line.len() > SPACE_BYTES_MAX {
        return None;
    }
    let Some(rest) = line.strip_prefix(FENCE) else { return FENCE.starts_with(line).then_some(Line::Part) };
    let is_info = |info: &str| {
        info.len() <= INFO_BYTES_MAX && info.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_+".contains(&byte))
    };
    line_of(rest, is_info)
}

/// The same for a closing fence.
fn closing(text: &str) -> Option<Line> {
    let Some(rest) = text.strip_prefix(FENCE) else { return FENCE.starts_with(text).then_some(Line::Part) };
    line_of(rest, str::is_empty)
}

/// What follows a fence: a word that `is_word` takes, spaces, the end of the line.
fn line_of(rest: &str, is_word: impl Fn(&str) -> bool) -> Option<Line> {
    let (line, whole) = match rest.strip_suffix('\n') {
        Some(line) => (line, true),
        None => (rest, false),
    };
    let line = line.strip_suffix('\r').unwrap_or(line);
    let word = line.trim_end_matches([' ', '\t']);
    (is_word(word) && line.len() - word.len() <= SPACE_BYTES_MAX).then_some(if whole {
        Line::Whole
    } else {
        Line::Part
    })
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}
