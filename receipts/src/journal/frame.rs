//! Frames: how a receipt lies in a segment. CRC-32C finds tears, the chain value finds tampering.
//!
//! All numbers are big-endian. A frame is a multiple of 8 bytes long and begins at a multiple of 8, so its length field never
//! straddles a sector. The layout is normative: `SPEC.md`, section "Journal".

use super::chain::ChainValue;
use crate::receipt::BODY_MAX_BYTES;

pub(crate) const FRAME_MAGIC: [u8; 4] = *b"PEFR";
const FRAME_VERSION: u8 = 1;
pub(crate) const FRAME_HEADER_BYTES: usize = 72;
const CRC_AT: usize = 64;

/// `durable_hwm` while nothing is known durable.
pub(crate) const NOTHING_DURABLE: u64 = u64::MAX;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameType {
    Receipt,
    /// Ends a segment that will not be written again.
    Seal,
}

impl FrameType {
    fn code(self) -> u8 {
        match self {
            Self::Receipt => 1,
            Self::Seal => 4,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Receipt),
            4 => Some(Self::Seal),
            _ => None,
        }
    }
}

/// A frame's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: FrameType,
    pub(crate) body_len: usize,
    pub(crate) sig_len: usize,
    /// Position of the receipt key among those of this process, 0 the first.
    pub(crate) key_index: u16,
    pub(crate) seq: u64,
    /// Highest sequence number known to be on disk when this frame was written.
    pub(crate) durable_hwm: u64,
    pub(crate) chain: ChainValue,
    crc: u32,
}

/// A frame read from a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) header: FrameHeader,
    pub(crate) body: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

/// Bytes of a frame with its padding.
pub(crate) fn frame_bytes(body_len: usize, sig_len: usize) -> usize {
    (FRAME_HEADER_BYTES + body_len + sig_len).next_multiple_of(8)
}

/// What goes into a frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameParts<'a> {
    pub(crate) kind: FrameType,
    pub(crate) key_index: u16,
    pub(crate) seq: u64,
    pub(crate) durable_hwm: u64,
    pub(crate) chain: &'a ChainValue,
    pub(crate) body: &'a [u8],
    pub(crate) signature: &'a [u8],
}

/// Appends a frame.
pub(crate) fn write_frame(parts: FrameParts<'_>, out: &mut Vec<u8>) {
    let mut header = Vec::with_capacity(FRAME_HEADER_BYTES);
    header.extend_from_slice(&FRAME_MAGIC);
    header.extend_from_slice(&[FRAME_VERSION, parts.kind.code(), 0, 0]);
    header.extend_from_slice(&u32::try_from(parts.body.len()).unwrap_or(u32::MAX).to_be_bytes());
    header.extend_from_slice(&u16::try_from(parts.signature.len()).unwrap_or(u16::MAX).to_be_bytes());
    header.extend_from_slice(&parts.key_index.to_be_bytes());
    header.extend_from_slice(&parts.seq.to_be_bytes());
    header.extend_from_slice(&parts.durable_hwm.to_be_bytes());
    header.extend_from_slice(parts.chain);
    header.extend_from_slice(&[0; 8]);
    let crc = frame_crc(&header, parts.body, parts.signature);
    out.extend_from_slice(header.get(..CRC_AT).unwrap_or_default());
    out.extend_from_slice(&crc.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(parts.body);
    out.extend_from_slice(parts.signature);
    let used = FRAME_HEADER_BYTES + parts.body.len() + parts.signature.len();
    out.resize(out.len() + used.next_multiple_of(8) - used, 0);
}

/// CRC-32C over the header with its CRC field zero, the body and the signature.
fn frame_crc(header: &[u8], body: &[u8], signature: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(header), body), signature)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// Reads a frame header; `None` when it cannot be one.
pub(crate) fn read_header(bytes: &[u8]) -> Option<FrameHeader> {
    if array(bytes, 0)? != FRAME_MAGIC {
        return None;
    }
    let [version, kind, flags @ ..] = array::<4>(bytes, 4)?;
    let header = FrameHeader {
        kind: FrameType::from_code(kind)?,
        body_len: usize::try_from(u32::from_be_bytes(array(bytes, 8)?)).ok()?,
        sig_len: usize::from(u16::from_be_bytes(array(bytes, 12)?)),
        key_index: u16::from_be_bytes(array(bytes, 14)?),
        seq: u64::from_be_bytes(array(bytes, 16)?),
        durable_hwm: u64::from_be_bytes(array(bytes, 24)?),
        chain: array(bytes, 32)?,
        crc: u32::from_be_bytes(array(bytes, CRC_AT)?),
    };
    let expected_sig = match header.kind {
        FrameType::Receipt => 64,
        FrameType::Seal => 0,
    };
    let good = version == FRAME_VERSION
        && flags == [0, 0]
        && array(bytes, 68)? == [0; 4]
        && header.body_len <= BODY_MAX_BYTES
        && header.sig_len == expected_sig;
    good.then_some(header)
}

/// Reads the whole frame at the start of `bytes` and checks its CRC and padding.
pub(crate) fn read_frame(bytes: &[u8]) -> Option<Frame> {
    let header = read_header(bytes)?;
    let body_end = FRAME_HEADER_BYTES + header.body_len;
    let sig_end = body_end + header.sig_len;
    let body = bytes.get(FRAME_HEADER_BYTES..body_end)?;
    let signature = bytes.get(body_end..sig_end)?;
    let padding = bytes.get(sig_end..sig_end.next_multiple_of(8))?;
    let mut blank: [u8; FRAME_HEADER_BYTES] = array(bytes, 0)?;
    for byte in blank.iter_mut().skip(CRC_AT).take(4) {
        *byte = 0;
    }
    if frame_crc(&blank, body, signature) != header.crc || padding.iter().any(|byte| *byte != 0) {
        return None;
    }
    Some(Frame { body: body.to_vec(), signature: signature.to_vec(), header })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_frame(
            FrameParts {
                kind: FrameType::Receipt,
                key_index: 258,
                seq: 7,
                durable_hwm: 5,
                chain: &[3; 32],
                body,
                signature: &[9; 64],
            },
            &mut out,
        );
        out
    }

    #[test]
    fn the_layout_is_that_of_the_spec() {
        let bytes = frame(b"{\"a\":1}");
        assert_eq!(bytes.len(), 144);
        let expected = [
            b"PEFR".as_slice(),
            &[1, 1, 0, 0],
            &[0, 0, 0, 7],
            &[0, 64],
            &[1, 2],
            &[0, 0, 0, 0, 0, 0, 0, 7],
            &[0, 0, 0, 0, 0, 0, 0, 5],
            &[3; 32],
        ]
        .concat();
        assert_eq!(&bytes[..64], expected);
        assert_eq!(&bytes[68..72], [0; 4]);
        assert_eq!(&bytes[72..79], b"{\"a\":1}");
        assert_eq!(&bytes[79..143], [9; 64]);
        assert_eq!(bytes[143], 0);
    }

    #[test]
    fn every_flipped_bit_of_a_frame_is_noticed() {
        let bytes = frame(b"{\"kind\":\"attempt\"}");
        assert!(read_frame(&bytes).is_some());
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read_frame(&flipped), None, "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(read_frame(&bytes[..length]), None, "length {length}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let bytes = frame(&body);
            prop_assert_eq!(bytes.len(), frame_bytes(body.len(), 64));
            prop_assert_eq!(read_frame(&bytes).unwrap().body, body);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_frame(&bytes);
            for (to, from) in bytes.iter_mut().zip(FRAME_MAGIC) { *to = from; }
            let _ = read_frame(&bytes);
        }
    }
}
