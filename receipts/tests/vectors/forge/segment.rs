//! The journal's segments, frame by frame.

use super::{Files, sha256};

#[derive(Clone)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) body: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    pub(crate) key_index: u16,
    pub(crate) seq: u64,
    pub(crate) durable_hwm: u64,
    pub(crate) chain: [u8; 32],
}

impl Frame {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = b"PEFR\x01".to_vec();
        bytes.push(self.kind);
        bytes.extend([0, 0]);
        bytes.extend(u32::try_from(self.body.len()).unwrap().to_be_bytes());
        bytes.extend(u16::try_from(self.signature.len()).unwrap().to_be_bytes());
        bytes.extend(self.key_index.to_be_bytes());
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.durable_hwm.to_be_bytes());
        bytes.extend(self.chain);
        bytes.extend([0; 8]);
        bytes.extend(&self.body);
        bytes.extend(&self.signature);
        let crc = crc32c::crc32c(&bytes);
        bytes[64..68].copy_from_slice(&crc.to_be_bytes());
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }
}

#[derive(Clone)]
pub(crate) struct Segment {
    pub(crate) origin: String,
    pub(crate) number: u64,
    pub(crate) first_seq: u64,
    pub(crate) prev_chain: [u8; 32],
    pub(crate) boot_id: [u8; 16],
    pub(crate) created_ns: u64,
    pub(crate) frames: Vec<Frame>,
    /// Bytes after the last frame.
    pub(crate) rest: Vec<u8>,
}

impl Segment {
    pub(crate) fn name(&self) -> String {
        format!("seg-{:020}.pefwal", self.first_seq)
    }

    fn header(&self) -> Vec<u8> {
        let mut bytes = b"PEFWAL\0\0".to_vec();
        bytes.extend(1u32.to_be_bytes());
        bytes.extend(4096u32.to_be_bytes());
        bytes.extend(sha256(self.origin.as_bytes()));
        bytes.extend(self.number.to_be_bytes());
        bytes.extend(self.first_seq.to_be_bytes());
        bytes.extend(self.prev_chain);
        bytes.extend(self.boot_id);
        bytes.extend(self.created_ns.to_be_bytes());
        bytes.resize(4064, 0);
        let sum = blake3::hash(&bytes);
        bytes.extend(sum.as_bytes());
        bytes
    }

    /// Adds the seal.
    pub(crate) fn seal(&mut self) {
        let last = self.frames.last().unwrap();
        let body = super::json::canonical(&serde_json::json!({
            "bytes": self.encode().len().to_string(), "chain": super::hex(&last.chain),
            "receipts": self.frames.len().to_string(),
        }));
        let (seq, chain, key_index) = (last.seq + 1, last.chain, last.key_index);
        let durable_hwm = last.seq;
        self.frames.push(Frame { kind: 4, body, signature: Vec::new(), key_index, seq, durable_hwm, chain });
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.header();
        for frame in &self.frames {
            bytes.extend(frame.encode());
        }
        bytes.extend(&self.rest);
        bytes
    }
}

/// Segments as the files of a directory.
pub(crate) fn files(segments: &[Segment], directory: &str) -> Files {
    segments.iter().map(|segment| (format!("{directory}/{}", segment.name()), segment.encode())).collect()
}
