//! JSON Lines (`application/x-ndjson`): one JSON document a line, as Ollama streams its answers and as providers give out
//! the results of batches. The frames' bytes laid end to end are the stream as it came, for any chunking.

use bytes::BytesMut;

use super::frame::{Dress, FRAME_BYTES_MAX, Frame, FrameError};

/// Cuts a byte stream into lines.
#[derive(Debug, Default)]
pub struct Framer {
    /// The current line so far.
    buf: BytesMut,
    /// Next byte of `buf` to look at.
    at: usize,
}

impl Framer {
    /// Takes the next bytes and appends the frames that they complete.
    pub fn feed(&mut self, bytes: &[u8], frames: &mut Vec<Frame>) -> Result<(), FrameError> {
        self.buf.extend_from_slice(bytes);
        while let Some(end) = self.buf.get(self.at..).and_then(|rest| rest.iter().position(|b| *b == b'\n')) {
            self.at += end + 1;
            frames.push(self.take());
        }
        self.at = self.buf.len();
        if self.buf.len() > FRAME_BYTES_MAX { Err(FrameError::TooLong) } else { Ok(()) }
    }

    /// The stream has ended: what stands behind the last line feed is a line as well.
    pub fn finish(&mut self) -> Option<Frame> {
        self.at = self.buf.len();
        (!self.buf.is_empty()).then(|| self.take())
    }

    pub fn pending_bytes(&self) -> usize {
        self.buf.len()
    }

    fn take(&mut self) -> Frame {
        let raw = self.buf.split_to(self.at.min(self.buf.len())).freeze();
        self.at = 0;
        let start = raw.len() - raw.trim_ascii_start().len();
        let end = start + raw.trim_ascii().len();
        let data = (start < end).then(|| raw.slice(start..end));
        let lines = if data.is_some() { vec![(start, end)] } else { Vec::new() };
        Frame { raw, data, event: None, fields: String::new(), dress: Dress::Lines(lines) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames(chunks: &[&[u8]]) -> Vec<Frame> {
        let (mut framer, mut out) = (Framer::default(), Vec::new());
        for chunk in chunks {
            framer.feed(chunk, &mut out).unwrap();
        }
        out.extend(framer.finish());
        out
    }

    #[test]
    fn each_line_is_an_event() {
        let got = frames(&[b"{\"a\":1}\r\n\n {\"b\":2} \n{\"c\"", b":3}"]);
        let data: Vec<_> = got.iter().filter_map(|f| f.data.clone()).collect();
        assert_eq!(data, [&b"{\"a\":1}"[..], b"{\"b\":2}", b"{\"c\":3}"]);
        assert_eq!(got[0].with_data(b"{\n}").unwrap(), &b"{ }\r\n"[..]);
        assert_eq!(got[2].with_data(b"{}").unwrap(), &b" {} \n"[..]);
        let mut framer = Framer::default();
        assert_eq!(framer.feed(&vec![b'a'; FRAME_BYTES_MAX + 1], &mut Vec::new()), Err(FrameError::TooLong));
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_frames(text in "[\r\n{} a]{0,40}", cut in 0usize..40) {
            let text = text.into_bytes();
            let cut = cut.min(text.len());
            let single: Vec<&[u8]> = text.chunks(1).collect();
            let whole = frames(&[&text]);
            prop_assert_eq!(&whole, &frames(&[&text[..cut], &text[cut..]]));
            prop_assert_eq!(&whole, &frames(&single));
            let raw: Vec<u8> = whole.iter().flat_map(|f| f.raw.to_vec()).collect();
            prop_assert_eq!(raw, text);
        }
    }
}
