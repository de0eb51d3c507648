//! Text that has been taken and not given out, with the edits decided in it, and the way back from mended offsets.

use std::ops::Range;

use super::{Edit, RepairClass};

/// What a mender has given out.
#[derive(Debug, Default)]
pub(crate) struct Mended {
    /// Mended text that the strict reader may have now.
    pub(crate) text: String,
    /// The edits in it, in the order of the text.
    pub(crate) edits: Vec<Edit>,
}

#[derive(Debug, Default)]
pub(super) struct Held {
    text: String,
    /// Offset of `text` in the text as it came.
    base: u64,
    /// Decided and not given out, in the order of the text.
    edits: Vec<Edit>,
    /// Bytes given out.
    given: u64,
    moves: Vec<Move>,
    /// Bytes that decided edits take out.
    removed: u64,
}

/// An edit that has been given out: where it begins in the mended text, how long it is there, and where it ended in the
/// text as it came.
#[derive(Debug)]
struct Move {
    mended: u64,
    with: u64,
    source: Range<u64>,
}

impl Held {
    pub(super) fn take(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Offset behind everything that was taken.
    pub(super) fn end(&self) -> u64 {
        self.base + self.text.len() as u64
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.text.len()
    }

    pub(super) fn edits(&self) -> usize {
        self.moves.len() + self.edits.len()
    }

    pub(super) fn removed(&self) -> u64 {
        self.removed
    }

    /// The text as it came between two offsets that have not been given out.
    pub(super) fn text(&self, range: Range<u64>) -> &str {
        let at = |offset: u64| usize::try_from(offset.saturating_sub(self.base)).unwrap_or(usize::MAX);
        self.text.get(at(range.start)..at(range.end)).unwrap_or_default()
    }

    /// Where the last character begins.
    pub(super) fn last(&self) -> u64 {
        self.end() - self.text.chars().next_back().map_or(0, char::len_utf8) as u64
    }

    /// Decides an edit of bytes that have not been given out and that no other edit touches.
    pub(super) fn edit(&mut self, range: Range<u64>, with: impl Into<String>, class: RepairClass) {
        let with = with.into();
        self.removed += (range.end - range.start).saturating_sub(with.len() as u64);
        let place = self.edits.partition_point(|edit| edit.range.start < range.start);
        self.edits.insert(place, Edit { range, with, class: class.name() });
    }

    /// Puts `with` behind everything. An edit that ends there gives up its last character for it, or, if it has only one,
    /// its name.
    pub(super) fn append(&mut self, with: &str, class: RepairClass) {
        let (last, end) = (self.last(), self.end());
        match self.edits.last_mut() {
            Some(edit) if edit.range.end == end && edit.range.start == last => {
                edit.with.push_str(with);
                edit.class = class.name();
            }
            Some(edit) if edit.range.end == end => {
                edit.range.end = last;
                self.edit(last..end, with, class);
            }
            _ => {
                let whole = format!("{}{with}", self.text(last..end));
                self.edit(last..end, whole, class);
            }
        }
    }

    /// Takes back every edit from an offset on.
    pub(super) fn forget(&mut self, from: u64) {
        self.edits.retain(|edit| edit.range.start < from);
    }

    /// Gives out everything before an offset, except an edit that it cuts and what follows.
    pub(super) fn give(&mut self, upto: u64, out: &mut Mended) {
        if self.edits.is_empty() && upto == self.end() {
            out.text.push_str(&self.text);
            self.given += self.text.len() as u64;
            self.base = upto;
            self.text.clear();
            return;
        }
        let ready = self.edits.partition_point(|edit| edit.range.end <= upto);
        let upto = self.edits.get(ready).map_or(upto, |edit| edit.range.start.min(upto));
        let before = out.text.len();
        let mut at = self.base;
        let ready: Vec<Edit> = self.edits.drain(..ready).collect();
        for edit in ready {
            out.text.push_str(self.text(at..edit.range.start));
            self.moves.push(Move {
                mended: self.given + (out.text.len() - before) as u64,
                with: edit.with.len() as u64,
                source: edit.range.clone(),
            });
            out.text.push_str(&edit.with);
            at = edit.range.end;
            out.edits.push(edit);
        }
        out.text.push_str(self.text(at..upto));
        self.given += (out.text.len() - before) as u64;
        let gone = self.text(self.base..upto).len();
        self.text.drain(..gone);
        self.base += gone as u64;
    }

    /// Where a byte of the mended text stood in the text as it came: exact for a byte that came unchanged, the beginning of
    /// the edit for one that did not.
    pub(super) fn source_offset(&self, mended: u64) -> u64 {
        let place = self.moves.partition_point(|edit| edit.mended <= mended);
        match place.checked_sub(1).and_then(|place| self.moves.get(place)) {
            None => mended,
            Some(edit) if mended < edit.mended + edit.with => edit.source.start,
            Some(edit) => edit.source.end + (mended - edit.mended - edit.with),
        }
    }

    /// Where the text as it came stands behind the mended text up to here: what is left out at this place is still to come.
    pub(super) fn source_end(&self, mended: u64) -> u64 {
        let place = self.moves.partition_point(|edit| edit.mended < mended);
        match place.checked_sub(1).and_then(|place| self.moves.get(place)) {
            None => mended,
            Some(edit) => edit.source.end + mended.saturating_sub(edit.mended + edit.with),
        }
    }
}
