//! One event on the wire: its bytes as they came, and what a client reads of it.

use bytes::{Bytes, BytesMut};

use super::event_stream::Envelope;

/// Longest frame. The largest recorded ones (whole tool calls, images in base64) are well below; a longer one would be
/// an unbounded buffer in somebody else's hands.
pub const FRAME_BYTES_MAX: usize = 8 << 20;

/// One event. The raw bytes of all frames laid end to end are the stream as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The bytes as they came.
    pub raw: Bytes,
    /// What a client dispatches, as JSON text. `None` where no event results.
    pub data: Option<Bytes>,
    /// Value of the last `event` line of a server-sent event.
    pub event: Option<String>,
    /// Everything beside the data (comments, ids, event names, headers), joined by line feeds: text that passes unseen by
    /// SDKs, but passes.
    pub fields: String,
    pub(super) dress: Dress,
}

/// What stands around the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Dress {
    /// Text: where the values of the data lines stand in the raw bytes.
    Lines(Vec<(usize, usize)>),
    /// A message of an event stream.
    Message(Box<Envelope>),
}

impl Frame {
    /// The frame with other data in the same dress: line endings, comments, fields and headers stay. `None` if it cannot
    /// be put in again.
    ///
    /// In text, line feeds in `data` become spaces, which is the same JSON.
    pub fn with_data(&self, data: &[u8]) -> Option<Bytes> {
        let lines = match &self.dress {
            Dress::Lines(lines) => lines,
            Dress::Message(envelope) => return envelope.with_data(data),
        };
        let (Some(first), Some(last)) = (lines.first(), lines.last()) else { return Some(self.raw.clone()) };
        let mut out = BytesMut::with_capacity(self.raw.len() + data.len());
        let before = self.raw.get(..first.0)?;
        out.extend_from_slice(before);
        // A line `data` alone is an empty line of data; with something behind it, it needs its colon.
        if first.0 == first.1 && before.ends_with(b"data") {
            out.extend_from_slice(b": ");
        }
        out.extend(data.iter().map(|b| if matches!(b, b'\n' | b'\r') { b' ' } else { *b }));
        // Lines between the first and last data line: kept unless they are data lines themselves.
        let mut from = first.1;
        for (start, end) in lines.iter().skip(1) {
            let gap = self.raw.get(from..*start)?;
            let line_start = gap.iter().rposition(|b| matches!(b, b'\n' | b'\r')).map_or(0, |i| i + 1);
            let kept = gap.get(..line_start)?;
            // The line end before a dropped data line goes with it.
            let kept =
                kept.strip_suffix(b"\r\n").or_else(|| kept.strip_suffix(b"\n")).or_else(|| kept.strip_suffix(b"\r"));
            out.extend_from_slice(kept.unwrap_or_default());
            from = *end;
        }
        out.extend_from_slice(self.raw.get(last.1..)?);
        Some(out.freeze())
    }
}

/// Bytes that are no stream of the expected kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame grew past [`FRAME_BYTES_MAX`].
    #[error("one event of the stream is over {FRAME_BYTES_MAX} bytes")]
    TooLong,
    /// A checksum or a length is wrong: nobody knows where the next event begins.
    #[error("the stream is damaged")]
    Damaged,
}
