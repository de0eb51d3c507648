//! Reads a segment front to back in bounded memory.

use std::io::{self, Read};

use super::frame::{FRAME_HEADER_BYTES, FRAME_MAGIC, Frame, frame_bytes, read_frame, read_header};
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};

/// Read at once: four times the longest frame, so that a refill is rare.
const CHUNK_BYTES: usize = 256 * 1024;

/// A segment being read.
pub(crate) struct SegmentReader {
    input: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    /// Start of what is not yet consumed in `buffer`.
    start: usize,
    /// Offset of `start` in the file.
    offset: u64,
    ended: bool,
}

/// What stands next in a segment.
#[derive(Debug)]
pub(crate) enum Next {
    Frame(Frame),
    /// The file ends here, between two frames.
    End,
    /// Bytes that are not a frame.
    Bad,
}

impl SegmentReader {
    /// Opens a segment and reads its header; `None` when that is not perfect.
    pub(crate) fn open(input: Box<dyn Read + Send>) -> io::Result<(Self, Option<SegmentHeader>)> {
        let mut reader = Self { input, buffer: Vec::new(), start: 0, offset: 0, ended: false };
        reader.fill(SEGMENT_HEADER_BYTES)?;
        let header = SegmentHeader::read(reader.unread());
        if header.is_some() {
            reader.consume(SEGMENT_HEADER_BYTES);
        }
        Ok((reader, header))
    }

    /// Offset of the next frame in the file.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    fn unread(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    fn consume(&mut self, bytes: usize) {
        self.start = (self.start + bytes).min(self.buffer.len());
        self.offset += bytes as u64;
    }

    /// Sees to it that `bytes` are unread in the buffer, or all that there are.
    fn fill(&mut self, bytes: usize) -> io::Result<()> {
        while self.unread().len() < bytes && !self.ended {
            self.buffer.drain(..self.start);
            self.start = 0;
            let before = self.buffer.len();
            self.input.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut self.buffer)?;
            self.ended = self.buffer.len() == before;
        }
        Ok(())
    }

    /// Reads on where the file had ended: it may have grown.
    pub(crate) fn resume(&mut self) {
        self.ended = false;
    }

    pub(crate) fn next(&mut self) -> io::Result<Next> {
        self.fill(FRAME_HEADER_BYTES)?;
        if self.unread().is_empty() {
            return Ok(Next::End);
        }
        let Some(frame) = self.frame_here()? else {
            return Ok(Next::Bad);
        };
        self.consume(frame_bytes(frame.body.len(), frame.signature.len()));
        Ok(Next::Frame(frame))
    }

    fn frame_here(&mut self) -> io::Result<Option<Frame>> {
        let Some(header) = read_header(self.unread()) else {
            return Ok(None);
        };
        self.fill(frame_bytes(header.body_len, header.sig_len))?;
        Ok(read_frame(self.unread()))
    }

    /// After `Bad`: looks through the rest for a whole frame of a sequence number not below `seq`. Frames stand at multiples
    /// of 8, and text inside a body cannot look like one because JSON escapes the zero bytes that a header has.
    pub(crate) fn has_later_frame(&mut self, seq: u64) -> io::Result<bool> {
        loop {
            self.fill(FRAME_HEADER_BYTES)?;
            if self.unread().len() < FRAME_HEADER_BYTES {
                return Ok(false);
            }
            if self.unread().starts_with(&FRAME_MAGIC)
                && let Some(frame) = self.frame_here()?
                && frame.header.seq >= seq
            {
                return Ok(true);
            }
            self.consume(8);
        }
    }
}

impl std::fmt::Debug for SegmentReader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SegmentReader").field("offset", &self.offset).finish_non_exhaustive()
    }
}
