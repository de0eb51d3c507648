//! Segments taken apart and put together again, for tests that tamper.

use std::io::Cursor;

use super::frame::{FrameParts, FrameType, write_frame};
use super::read::{Next, SegmentReader};
use super::segment::SEGMENT_HEADER_BYTES;
use super::{Chain, ChainValue};

/// A frame that can be changed.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    kind: FrameType,
    key_index: u16,
    seq: u64,
    durable_hwm: u64,
    chain: ChainValue,
    body: Vec<u8>,
    signature: Vec<u8>,
}

/// Header and frames.
pub(crate) fn pieces(segment: &[u8]) -> (Vec<u8>, Vec<Piece>) {
    let (mut reader, _) = SegmentReader::open(Box::new(Cursor::new(segment.to_vec()))).unwrap();
    let mut frames = Vec::new();
    while let Next::Frame(frame) = reader.next().unwrap() {
        frames.push(Piece {
            kind: frame.header.kind,
            key_index: frame.header.key_index,
            seq: frame.header.seq,
            durable_hwm: frame.header.durable_hwm,
            chain: frame.header.chain,
            body: frame.body,
            signature: frame.signature,
        });
    }
    (segment[..SEGMENT_HEADER_BYTES].to_vec(), frames)
}

/// The segment again, with good CRCs.
pub(crate) fn put(header: &[u8], frames: &[Piece]) -> Vec<u8> {
    let mut out = header.to_vec();
    for frame in frames {
        out.extend_from_slice(&frame.written());
    }
    out
}

impl Piece {
    fn written(&self) -> Vec<u8> {
        let mut out = Vec::new();
        write_frame(
            FrameParts {
                kind: self.kind,
                key_index: self.key_index,
                seq: self.seq,
                durable_hwm: self.durable_hwm,
                chain: &self.chain,
                body: &self.body,
                signature: &self.signature,
            },
            &mut out,
        );
        out
    }

    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.written().len()
    }

    /// Changes the body, and with it the frame's chain value if wanted.
    pub(crate) fn edit(&mut self, from: &str, to: &str, chain: bool) {
        let text = String::from_utf8(self.body.clone()).unwrap();
        assert!(text.contains(from));
        self.body = text.replacen(from, to, 1).into_bytes();
        if chain {
            self.chain = Chain::default().value(self.seq, &self.body);
        }
    }
}
