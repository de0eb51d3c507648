//! What stands around the document: prose and a code fence.
//!
//! Prose is words that cannot be JSON by any reading: at least two of them, no brackets and no double quotes, parted from the
//! document by a line's end or, before it, by a colon. It ends before the first bracket or fence. If that bracket belongs to the prose, what
//! follows is no document, and nothing is mended.

use super::RepairClass;
use super::mender::{Bracket, Comma, Expect, Mender, Place, State, Unmended};
use super::name::{is_json_literal, literal};
use super::text::Quote;

/// Longest prose on either side: a long paragraph. Whoever writes more is answering in prose.
const PROSE_BYTES_MAX: u64 = 4 << 10;

/// Fewest words that are prose. A single one may be a name.
const PROSE_WORDS_MIN: u32 = 2;

/// Longest word behind an opening fence (`json`, `javascript`). With the fence itself, 15 bytes.
const LABEL_BYTES_MAX: u64 = 12;

/// Backticks of a fence.
const FENCE_TICKS: u64 = 3;

/// What was found around the document so far.
#[derive(Debug, Default)]
pub(super) struct Wrapper {
    pub(super) prose_before: bool,
    /// What the document is, unless it is a single value.
    pub(super) root: Option<Bracket>,
    fence: Fenced,
    /// Whether closing brackets behind the document were taken out.
    has_extra_closers: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fenced {
    #[default]
    No,
    Open,
    Closed,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Fence {
    pub(super) start: u64,
    closing: bool,
}

#[derive(Debug)]
pub(super) struct Prose {
    pub(super) start: u64,
    behind: bool,
    words: u32,
    /// Where the word that is being read begins.
    word: Option<u64>,
    /// Whether a document could begin here.
    introduces: bool,
    /// Backticks in a row.
    ticks: u64,
}

impl Prose {
    fn begin(start: u64, behind: bool) -> Self {
        Self { start, behind, words: 0, word: None, introduces: false, ticks: 0 }
    }
}

impl Mender {
    /// The first character that is no white space.
    pub(super) fn before_document(&mut self, c: char, at: u64) -> Result<(), Unmended> {
        let may_be_prose = self.wrapper.fence == Fenced::No && self.policy.allows(RepairClass::Prose);
        match c {
            '`' if self.wrapper.fence == Fenced::No && self.policy.allows(RepairClass::Fences) => {
                self.state = State::Fence(Fence { start: at, closing: false });
                Ok(())
            }
            // In an open fence it is likelier the closing one.
            '`' if self.wrapper.fence == Fenced::Open => Err(Unmended),
            '-' | '/' | '\\' | ',' | ':' | '+' | '.' | '=' | ')' | ']' | '}' | '{' | '[' => self.value(c, at),
            _ if c.is_numeric() || Quote::opened_by(c).is_some() || !may_be_prose => self.value(c, at),
            _ => {
                self.state = State::Prose(Prose::begin(at, false));
                self.in_prose(c, at)
            }
        }
    }

    /// Something behind the document's end. `broke` if it is not on the same line.
    pub(super) fn behind_document(&mut self, c: char, at: u64, broke: bool) -> Result<(), Unmended> {
        let fenced = self.wrapper.fence;
        match c {
            '}' | ']' => {
                self.allows(RepairClass::ExtraBrackets)?;
                // The first one repeats the document's own; any other may be the end of something whose beginning is missing.
                let own = self.wrapper.root.is_some_and(|root| root.closer() == c);
                if fenced == Fenced::Closed || !(own || self.wrapper.has_extra_closers) {
                    return Err(Unmended);
                }
                self.wrapper.has_extra_closers = true;
                self.held.edit(at..at + 1, "", RepairClass::ExtraBrackets);
                Ok(())
            }
            ',' => {
                self.allows(RepairClass::TrailingCommas)?;
                self.comma = Some(Comma { at, place: Place::Behind });
                Ok(())
            }
            '`' if fenced != Fenced::Closed && self.policy.allows(RepairClass::Fences) => {
                self.state = State::Fence(Fence { start: at, closing: true });
                Ok(())
            }
            _ if broke && (self.wrapper.root.is_some() || fenced == Fenced::Closed) => {
                self.allows(RepairClass::Prose)?;
                self.state = State::Prose(Prose::begin(at, true));
                self.in_prose(c, at)
            }
            _ => Err(Unmended),
        }
    }

    pub(super) fn in_fence(&mut self, c: char, at: u64) -> Result<(), Unmended> {
        let State::Fence(Fence { start, closing }) = self.state else { return Err(Unmended) };
        let ticks = at - start;
        match c {
            '`' if ticks < FENCE_TICKS => {
                if closing && ticks + 1 == FENCE_TICKS {
                    self.held.edit(start..at + 1, "", RepairClass::Fences);
                    self.wrapper.fence = Fenced::Closed;
                    self.state = State::Between;
                }
                Ok(())
            }
            // One backtick is no fence, but a quote. Two are an empty string or half a fence.
            _ if ticks == 1 && !closing => {
                self.value('`', start)?;
                self.step(c, at)
            }
            '{' | '[' | ' ' | '\t' | '\n' | '\r' if !closing && ticks >= FENCE_TICKS => {
                self.held.edit(start..at, "", RepairClass::Fences);
                self.wrapper.fence = Fenced::Open;
                self.state = State::Between;
                self.between(c, at)
            }
            _ if ticks < FENCE_TICKS => Err(Unmended),
            _ if c.is_ascii_alphanumeric() && !closing && ticks - FENCE_TICKS < LABEL_BYTES_MAX => Ok(()),
            _ => Err(Unmended),
        }
    }

    pub(super) fn in_prose(&mut self, c: char, at: u64) -> Result<(), Unmended> {
        let State::Prose(prose) = &mut self.state else { return Err(Unmended) };
        let (start, behind) = (prose.start, prose.behind);
        if at - start >= PROSE_BYTES_MAX {
            return Err(Unmended);
        }
        if !is_word_part(c) && self.end_word(at)? {
            return self.between(c, at);
        }
        let State::Prose(prose) = &mut self.state else { return Err(Unmended) };
        match c {
            '{' | '[' if prose.introduces && !behind => {
                self.held.edit(start..at, "", RepairClass::Prose);
                self.wrapper.prose_before = true;
                self.state = State::Between;
                return self.value(c, at);
            }
            '{' | '[' | '}' | ']' | '"' | '“' | '”' => return Err(Unmended),
            '`' => {
                prose.ticks += 1;
                if prose.ticks == FENCE_TICKS {
                    let fence = at + 1 - FENCE_TICKS;
                    if behind || !prose.introduces || !self.policy.allows(RepairClass::Fences) {
                        return Err(Unmended);
                    }
                    self.held.edit(start..fence, "", RepairClass::Prose);
                    self.wrapper.prose_before = true;
                    self.state = State::Fence(Fence { start: fence, closing: false });
                }
                return Ok(());
            }
            '\n' | '\r' => prose.introduces = prose.words >= PROSE_WORDS_MIN,
            _ if c.is_whitespace() => {}
            _ => {
                prose.introduces = matches!(c, ':' | '：') && prose.words >= PROSE_WORDS_MIN;
                if prose.word.is_none() && is_word_part(c) {
                    // Where words are not parted by spaces, each character counts.
                    if c >= '\u{2e80}' {
                        prose.words += 1;
                    } else {
                        prose.word = Some(at);
                    }
                }
            }
        }
        prose.ticks = 0;
        Ok(())
    }

    /// The text ends in prose.
    pub(super) fn end_prose(&mut self) -> Result<(), Unmended> {
        let end = self.held.end();
        if self.end_word(end)? {
            return Ok(());
        }
        match &self.state {
            State::Prose(Prose { start, behind: true, words, .. }) if *words >= PROSE_WORDS_MIN => {
                self.held.edit(*start..end, "", RepairClass::Prose);
                self.state = State::Between;
                Ok(())
            }
            _ => Err(Unmended),
        }
    }

    /// Counts the word that ends here. Whether it was the document itself: a literal at the very beginning.
    fn end_word(&mut self, at: u64) -> Result<bool, Unmended> {
        let State::Prose(prose) = &mut self.state else { return Err(Unmended) };
        let Some(from) = prose.word.take() else { return Ok(false) };
        let word = self.held.text(from..at);
        let json = literal(word);
        if json.is_none() && !is_json_literal(word) {
            prose.words += u32::from(word.chars().nth(1).is_some());
            return Ok(false);
        }
        if prose.behind || from != prose.start {
            return Ok(false);
        }
        if let Some(json) = json {
            self.allows(RepairClass::PythonLiterals)?;
            self.held.edit(from..at, json, RepairClass::PythonLiterals);
        }
        self.state = State::Between;
        self.expect = Expect::Nothing;
        Ok(true)
    }
}

fn is_word_part(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '\'' | '’')
}
