//! Segments: the files of the journal, their names, headers and seals.

use sha2::{Digest as _, Sha256};

use super::chain::ChainValue;
use super::frame::{FrameParts, FrameType, write_frame};
use crate::canonical::{Value, to_vec};
use crate::hex;

/// Bytes of a segment's header; frames begin after it.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 4096;
const DIGEST_AT: usize = SEGMENT_HEADER_BYTES - 32;
const SEGMENT_MAGIC: [u8; 8] = *b"PEFWAL\0\0";
const SEGMENT_FORMAT: u32 = 1;
const SUFFIX: &str = ".pefwal";

/// What a segment says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) origin_sha256: [u8; 32],
    /// Counts segments from 0.
    pub(crate) number: u64,
    /// Sequence number of the first receipt in it.
    pub(crate) first_seq: u64,
    /// Chain value before it.
    pub(crate) prev_chain: ChainValue,
    pub(crate) boot_id: [u8; 16],
    /// Nanoseconds since 1970.
    pub(crate) created_ns: u64,
}

/// Name of the segment that begins with this sequence number. Text order is sequence order.
pub(crate) fn segment_name(first_seq: u64) -> String {
    format!("seg-{first_seq:020}{SUFFIX}")
}

/// The sequence number in a segment's name; `None` for any other file.
pub(crate) fn segment_first_seq(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("seg-")?.strip_suffix(SUFFIX)?;
    let plain = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

/// SHA-256 of the log's name, which every segment carries.
pub(crate) fn origin_digest(origin: &str) -> [u8; 32] {
    Sha256::digest(origin).into()
}

impl SegmentHeader {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SEGMENT_HEADER_BYTES);
        out.extend_from_slice(&SEGMENT_MAGIC);
        out.extend_from_slice(&SEGMENT_FORMAT.to_be_bytes());
        out.extend_from_slice(&4096u32.to_be_bytes());
        out.extend_from_slice(&self.origin_sha256);
        out.extend_from_slice(&self.number.to_be_bytes());
        out.extend_from_slice(&self.first_seq.to_be_bytes());
        out.extend_from_slice(&self.prev_chain);
        out.extend_from_slice(&self.boot_id);
        out.extend_from_slice(&self.created_ns.to_be_bytes());
        out.resize(DIGEST_AT, 0);
        let digest = blake3::hash(&out);
        out.extend_from_slice(digest.as_bytes());
        out
    }

    /// Reads a header; `None` when any bit of it is not what was written.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
            bytes.get(at..at.checked_add(N)?)?.try_into().ok()
        }
        let digest = blake3::hash(bytes.get(..DIGEST_AT)?);
        if array(bytes, DIGEST_AT)? != *digest.as_bytes() {
            return None;
        }
        let known = array(bytes, 0)? == SEGMENT_MAGIC
            && u32::from_be_bytes(array(bytes, 8)?) == SEGMENT_FORMAT
            && u32::from_be_bytes(array(bytes, 12)?) == 4096;
        let header = Self {
            origin_sha256: array(bytes, 16)?,
            number: u64::from_be_bytes(array(bytes, 48)?),
            first_seq: u64::from_be_bytes(array(bytes, 56)?),
            prev_chain: array(bytes, 64)?,
            boot_id: array(bytes, 96)?,
            created_ns: u64::from_be_bytes(array(bytes, 112)?),
        };
        known.then_some(header)
    }
}

/// Body of the frame that ends a segment: file bytes before it, last chain value, receipts in the segment.
pub(crate) fn seal_body(bytes: u64, chain: &ChainValue, receipts: u64) -> Vec<u8> {
    to_vec(&Value::from([
        ("bytes", Value::from(bytes.to_string())),
        ("chain", Value::from(hex::encode(chain))),
        ("receipts", Value::from(receipts.to_string())),
    ]))
}

/// The frame that ends a segment. Its `seq` is that of the receipt after it, its chain value that of the last.
pub(crate) fn seal_frame(next_seq: u64, first_seq: u64, durable_hwm: u64, chain: &ChainValue, bytes: u64) -> Vec<u8> {
    let body = seal_body(bytes, chain, next_seq.saturating_sub(first_seq));
    let mut out = Vec::with_capacity(256);
    write_frame(
        FrameParts {
            kind: FrameType::Seal,
            key_index: 0,
            seq: next_seq,
            durable_hwm,
            chain,
            body: &body,
            signature: &[],
        },
        &mut out,
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            origin_sha256: origin_digest("example.com/log"),
            number: 2,
            first_seq: 300,
            prev_chain: [4; 32],
            boot_id: [5; 16],
            created_ns: 6,
        }
    }

    #[test]
    fn names_sort_like_numbers_and_nothing_else_is_one() {
        assert_eq!(segment_name(300), "seg-00000000000000000300.pefwal");
        assert_eq!(segment_first_seq(&segment_name(u64::MAX)), Some(u64::MAX));
        for name in ["seg-300.pefwal", "seg-00000000000000000300.pefwal.tmp", "seg-+0000000000000000300.pefwal", "LOCK"]
        {
            assert_eq!(segment_first_seq(name), None);
        }
        assert_eq!(segment_first_seq("seg-99999999999999999999.pefwal"), None);
    }

    #[test]
    fn every_flipped_byte_of_a_header_is_noticed() {
        let bytes = header().to_bytes();
        assert_eq!(bytes.len(), SEGMENT_HEADER_BYTES);
        assert_eq!(SegmentHeader::read(&bytes), Some(header()));
        for index in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[index] ^= 1;
            assert_eq!(SegmentHeader::read(&flipped), None, "byte {index}");
        }
        assert_eq!(SegmentHeader::read(&bytes[..SEGMENT_HEADER_BYTES - 1]), None);
    }
}
