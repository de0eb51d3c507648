//! An event that waits, and what it becomes when it leaves.

use bytes::Bytes;

use crate::guard::channel::Piece;
use crate::guard::choices::Ended;
use crate::guard::count::Ours;
use crate::guard::said::Origin;
use crate::guard::splice::Span;
use crate::surface::{Channel, Mark, Replaced, Segment};
use crate::wire::Frame;

/// An event that waits.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) frame: Frame,
    pub(super) segments: Vec<HeldSegment>,
    /// Values to become `null` if anything in this event is redacted.
    pub(super) repeats: Vec<Replaced>,
    pub(super) mark: Mark,
    /// Holds until the answer is complete.
    pub(super) terminal: bool,
    /// A client shows something of it.
    pub(super) shows: bool,
    /// What of it was not asked for by the client.
    pub(super) ours: Ours,
    /// Choices that are said to have ended here.
    pub(super) ends: Vec<u64>,
}

#[derive(Debug)]
pub(super) struct HeldSegment {
    pub(super) segment: Segment,
    pub(super) text: Option<(usize, Piece)>,
    /// Where this text was said first, if it may be said several times.
    pub(super) origin: Option<Origin>,
    pub(super) spans: Vec<Span>,
    /// Locks that hold a text that stands alone, and its length.
    pub(super) lock: Option<(usize, u64)>,
    /// Held until the rules have judged the call.
    pub(super) judged: bool,
    /// Held until a lock vouches for something of the call.
    pub(super) vouched: bool,
    /// Its choice has ended: it does not leave.
    pub(super) gone: bool,
}

impl Held {
    /// Something in it is of this choice.
    pub(super) fn tells(&self, choice: u64) -> bool {
        self.mark.opens.contains(&choice) || self.mark.closes.contains(&choice)
    }

    pub(super) fn tells_any(&self, ended: &Ended) -> bool {
        ended.any() && self.mark.opens.iter().chain(&self.mark.closes).any(|choice| ended.has(*choice))
    }
}

/// An event as it may leave.
#[derive(Debug, Default)]
pub(super) struct Dressed {
    /// Where that is not how it came.
    pub(super) data: Option<Bytes>,
    /// Nothing of it is left to be sent.
    pub(super) empty: bool,
}

/// Whether clients show this text.
pub(super) fn shows(segment: &Segment) -> bool {
    use Channel::{Content, FunctionCall, Reasoning, Refusal, ToolArguments, ToolName};
    let shown = matches!(segment.channel, Content | FunctionCall | Reasoning | Refusal | ToolArguments | ToolName);
    shown && !segment.range.is_empty()
}
