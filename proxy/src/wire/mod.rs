//! Wire framing: how bytes on the connection become events, without changing one of them; and content codings, undone.

pub mod encoding;
pub mod event_stream;
pub mod form;
mod frame;
pub mod lines;
pub mod messages;
pub mod sse;
pub mod websocket;

pub use frame::{FRAME_BYTES_MAX, Frame, FrameError};

/// How a surface's streams are cut into events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events.
    Sse,
    /// One JSON document a line.
    Lines,
    /// Binary messages of AWS.
    EventStream,
    /// Messages that come cut already, one JSON document each: those of a WebSocket.
    Messages,
}

impl Framing {
    /// The media type of such a stream; of messages none that a body could have.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Sse => "text/event-stream",
            Self::Lines => "application/x-ndjson",
            Self::EventStream => "application/vnd.amazon.eventstream",
            Self::Messages => "websocket",
        }
    }

    pub fn framer(self) -> Framer {
        match self {
            Self::Sse => Framer::Sse(sse::Framer::default()),
            Self::Lines => Framer::Lines(lines::Framer::default()),
            Self::EventStream => Framer::EventStream(event_stream::Framer::default()),
            Self::Messages => Framer::Messages,
        }
    }
}

/// Cuts a stream into events.
#[derive(Debug)]
pub enum Framer {
    Sse(sse::Framer),
    Lines(lines::Framer),
    EventStream(event_stream::Framer),
    Messages,
}

impl Framer {
    /// Takes the next bytes and appends the frames that they complete.
    pub fn feed(&mut self, bytes: &[u8], frames: &mut Vec<Frame>) -> Result<(), FrameError> {
        match self {
            Self::Sse(framer) => framer.feed(bytes, frames),
            Self::Lines(framer) => framer.feed(bytes, frames),
            Self::EventStream(framer) => framer.feed(bytes, frames),
            Self::Messages => {
                frames.push(messages::frame(bytes));
                Ok(())
            }
        }
    }

    /// The stream has ended: what is left.
    pub fn finish(&mut self) -> Result<Option<Frame>, FrameError> {
        match self {
            Self::Sse(framer) => Ok(framer.finish()),
            Self::Lines(framer) => Ok(framer.finish()),
            Self::EventStream(framer) => framer.finish(),
            Self::Messages => Ok(None),
        }
    }

    /// Bytes of a frame that is not complete yet.
    pub fn pending_bytes(&self) -> usize {
        match self {
            Self::Sse(framer) => framer.pending_bytes(),
            Self::Lines(framer) => framer.pending_bytes(),
            Self::EventStream(framer) => framer.pending_bytes(),
            Self::Messages => 0,
        }
    }
}
