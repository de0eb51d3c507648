//! Text that waits for its lock, for callers that have the text in one piece or in their own hands.

use std::collections::VecDeque;

use crate::repair::Edit;

/// Keeps what a lock has been fed until the lock says that it may leave, and applies the lock's edits to it.
///
/// After each [`Lock::feed`](crate::Lock::feed) and at the end, hand over `lock.take_edits()` and `lock.settled()`.
#[derive(Debug, Default)]
pub struct Release {
    /// Text that has not left, from `start` on.
    pending: String,
    start: u64,
    edits: VecDeque<Edit>,
}

impl Release {
    /// Text that the lock was fed.
    pub fn push(&mut self, text: &str) {
        self.pending.push_str(text);
    }

    /// The text up to `settled`, with the edits in it. The edits are the lock's new ones, in the order of the text.
    pub fn take(&mut self, edits: Vec<Edit>, settled: u64) -> String {
        self.edits.extend(edits);
        let end = self.start + self.pending.len() as u64;
        let settled = settled.min(end);
        let mut out = String::new();
        let mut at = self.start;
        while let Some(edit) = self.edits.front() {
            if edit.range.end > settled {
                break;
            }
            out.push_str(self.text(at, edit.range.start));
            out.push_str(&edit.with);
            at = edit.range.end;
            self.edits.pop_front();
        }
        // An edit that has only begun to settle holds what it covers.
        let upto = self.edits.front().map_or(settled, |edit| edit.range.start.min(settled)).max(at);
        out.push_str(self.text(at, upto));
        let gone = usize::try_from(upto - self.start).unwrap_or(usize::MAX).min(self.pending.len());
        self.pending.drain(..gone);
        self.start = upto;
        out
    }

    /// Bytes that have not left.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.pending.len()
    }

    fn text(&self, from: u64, to: u64) -> &str {
        let at = |offset: u64| usize::try_from(offset.saturating_sub(self.start)).unwrap_or(usize::MAX);
        self.pending.get(at(from)..at(to)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(range: std::ops::Range<u64>, with: &str) -> Edit {
        Edit { range, with: with.to_owned(), class: "quotes" }
    }

    #[test]
    fn edits_are_applied_where_the_text_settles() {
        let mut release = Release::default();
        release.push("{'a': 1");
        assert_eq!(release.take(vec![edit(1..2, "\""), edit(3..4, "\"")], 3), "{\"a");
        assert_eq!(release.held_bytes(), 4);
        assert_eq!(release.take(Vec::new(), 6), "\": ");
        release.push(",}");
        assert_eq!(release.take(vec![edit(7..9, "}")], 8), "1");
        assert_eq!(release.take(Vec::new(), u64::MAX), "}");
        assert_eq!(release.held_bytes(), 0);
    }

    #[test]
    fn an_edit_of_nothing_stands_where_it_is() {
        let mut release = Release::default();
        assert_eq!(release.take(vec![edit(0..0, "{}")], 0), "{}");
    }
}
