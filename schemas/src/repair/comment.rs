//! Comments: `//` and `#` to the end of the line, `/* */`.

use super::RepairClass;
use super::mender::{Mender, State, Unmended};

/// Longest comment: a paragraph about a value. A longer one is not beside the document but in its place.
const COMMENT_BYTES_MAX: u64 = 4 << 10;

#[derive(Clone, Copy, Debug)]
pub(super) struct Comment {
    pub(super) start: u64,
    kind: Kind,
    quotes: Quotes,
}

/// The quotes in a comment. One without its pair shows a string whose first quote is missing, and no comment.
#[derive(Clone, Copy, Debug)]
struct Quotes {
    is_double_open: bool,
    is_single_open: bool,
    /// The last two characters.
    last: [char; 2],
}

impl Quotes {
    fn step(&mut self, c: char) -> Result<(), Unmended> {
        let [before, last] = self.last;
        // Only strings have escaped quotes.
        if matches!(c, '"' | '\'') && last == '\\' {
            return Err(Unmended);
        }
        self.is_double_open ^= c == '"';
        // Between letters it is an apostrophe.
        self.is_single_open ^= last == '\'' && !(before.is_alphanumeric() && c.is_alphanumeric());
        self.last = [last, c];
        Ok(())
    }

    fn are_paired(self) -> bool {
        !self.is_double_open && !self.is_single_open
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `/`, and nothing else yet.
    Slash,
    /// `#`, and nothing else yet.
    Hash,
    Line,
    Block {
        /// Whether the last character was a `*`.
        star: bool,
    },
}

impl Comment {
    /// A comment that begins with `/` or `#`.
    pub(super) fn begin(c: char, at: u64) -> Self {
        Self {
            start: at,
            kind: if c == '#' { Kind::Hash } else { Kind::Slash },
            quotes: Quotes { is_double_open: false, is_single_open: false, last: [' '; 2] },
        }
    }
}

impl Mender {
    pub(super) fn in_comment(&mut self, c: char, at: u64) -> Result<(), Unmended> {
        let State::Comment(comment) = &mut self.state else { return Err(Unmended) };
        let start = comment.start;
        if at - start >= COMMENT_BYTES_MAX {
            return Err(Unmended);
        }
        comment.quotes.step(c)?;
        let are_paired = comment.quotes.are_paired();
        if comment.kind == Kind::Hash && c.is_whitespace() {
            comment.kind = Kind::Line;
        }
        match (comment.kind, c) {
            // `#ff0000` and `#tag` are values.
            (Kind::Hash, _) => return Err(Unmended),
            (Kind::Line, '\n' | '\r') | (Kind::Block { star: true }, '/') if !are_paired => return Err(Unmended),
            (Kind::Slash, '/') => comment.kind = Kind::Line,
            (Kind::Slash, '*') => comment.kind = Kind::Block { star: false },
            (Kind::Slash, _) => return Err(Unmended),
            (Kind::Line, '\n' | '\r') => {
                self.held.edit(start..at, "", RepairClass::Comments);
                self.state = State::Between;
                return self.between(c, at);
            }
            // JavaScript ends the line here, others do not.
            (Kind::Line, '\u{2028}' | '\u{2029}') => return Err(Unmended),
            (Kind::Block { star: true }, '/') => {
                // A space, so that what stood apart stays apart.
                self.held.edit(start..at + 1, " ", RepairClass::Comments);
                self.state = State::Between;
            }
            (Kind::Block { .. }, _) => comment.kind = Kind::Block { star: c == '*' },
            (Kind::Line, _) => {}
        }
        self.comment_has_comma |= c == ',';
        self.comment_has_structure |= matches!(c, '{' | '}' | '[' | ']' | '"');
        Ok(())
    }

    /// The text ends in a comment.
    pub(super) fn end_comment(&mut self) -> Result<(), Unmended> {
        let State::Comment(Comment { start, kind, mut quotes }) = self.state else { return Err(Unmended) };
        quotes.step('\n')?;
        if kind == Kind::Slash || !quotes.are_paired() {
            return Err(Unmended);
        }
        self.held.edit(start..self.held.end(), "", RepairClass::Comments);
        self.state = State::Between;
        Ok(())
    }
}
