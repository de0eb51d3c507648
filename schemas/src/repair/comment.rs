//! Comments: `//` and `#` to the end of the line, `/* */`.

use super::RepairClass;
use super::mender::{Mender, State, Unmended};

/// Longest comment: a paragraph about a value. A longer one is not beside the document but in its place.
const COMMENT_BYTES_MAX: u64 = 4 << 10;

#[derive(Clone, Copy, Debug)]
pub(super) struct Comment {
    pub(super) start: u64,
    kind: Kind,
    /// Double quotes in it. An odd number shows a string that lacks one and is no comment.
    quotes: u64,
    /// Whether the last character was a backslash.
    backslash: bool,
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
        Self { start: at, kind: if c == '#' { Kind::Hash } else { Kind::Slash }, quotes: 0, backslash: false }
    }
}

impl Mender {
    pub(super) fn in_comment(&mut self, c: char, at: u64) -> Result<(), Unmended> {
        let State::Comment(comment) = &mut self.state else { return Err(Unmended) };
        let start = comment.start;
        if at - start >= COMMENT_BYTES_MAX {
            return Err(Unmended);
        }
        // Only strings have escaped quotes.
        if c == '"' && comment.backslash {
            return Err(Unmended);
        }
        comment.backslash = c == '\\';
        comment.quotes += u64::from(c == '"');
        let is_odd = comment.quotes % 2 == 1;
        if comment.kind == Kind::Hash && c.is_whitespace() {
            comment.kind = Kind::Line;
        }
        match (comment.kind, c) {
            // `#ff0000` and `#tag` are values.
            (Kind::Hash, _) => return Err(Unmended),
            (Kind::Line, '\n' | '\r') | (Kind::Block { star: true }, '/') if is_odd => return Err(Unmended),
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
        self.comment_has_structure |= matches!(c, '{' | '}' | '[' | ']' | '"');
        Ok(())
    }

    /// The text ends in a comment.
    pub(super) fn end_comment(&mut self) -> Result<(), Unmended> {
        let State::Comment(Comment { start, kind, quotes, .. }) = self.state else { return Err(Unmended) };
        if kind == Kind::Slash || quotes % 2 == 1 {
            return Err(Unmended);
        }
        self.held.edit(start..self.held.end(), "", RepairClass::Comments);
        self.state = State::Between;
        Ok(())
    }
}
