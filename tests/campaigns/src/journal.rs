//! Reads receipts out of a journal by its published layout, sharing no code with the writer, and while it is written.

use std::path::{Path, PathBuf};

use serde_json::Value;

const HEADER_BYTES: usize = 4096;
const FRAME_HEADER_BYTES: usize = 72;

/// A receipt as it lies in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Framed {
    pub seq: u64,
    /// Hexadecimal chain value.
    pub chain: String,
    pub body: Vec<u8>,
}

/// The segments of the journal below a data directory, in order.
pub fn segments(data_dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(data_dir.join("journal"))?;
    let mut segments = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    segments.retain(|path| path.extension().is_some_and(|suffix| suffix == "pefwal"));
    segments.sort();
    Ok(segments)
}

/// Every whole frame of the journal below a data directory, in order. What stands behind the last whole frame of a segment
/// is not there (yet).
pub fn frames(data_dir: &Path) -> std::io::Result<Vec<Framed>> {
    let mut out = Vec::new();
    for segment in segments(data_dir)? {
        out.extend(frames_of(&std::fs::read(segment)?));
    }
    Ok(out)
}

/// The receipts of one segment.
pub fn frames_of(segment: &[u8]) -> Vec<Framed> {
    frames_in(segment.get(HEADER_BYTES..).unwrap_or_default())
}

/// The receipts in bytes that begin with a frame.
pub fn frames_in(mut rest: &[u8]) -> Vec<Framed> {
    let mut out = Vec::new();
    while let Some((receipt, length)) = frame(rest) {
        out.extend(receipt);
        rest = &rest[length..];
    }
    out
}

/// Every whole receipt of the journal below a data directory, in order.
pub fn receipts(data_dir: &Path) -> Vec<Value> {
    let frames = frames(data_dir).unwrap();
    frames.iter().map(|frame| serde_json::from_slice(&frame.body).unwrap()).collect()
}

/// The receipt in the frame at the start of `bytes` (a seal has none), and the frame's length.
fn frame(bytes: &[u8]) -> Option<(Option<Framed>, usize)> {
    let header = bytes.get(..FRAME_HEADER_BYTES)?;
    if &header[..4] != b"PEFR" {
        return None;
    }
    let body_bytes = u32::from_be_bytes(header[8..12].try_into().unwrap()) as usize;
    let signature_bytes = usize::from(u16::from_be_bytes(header[12..14].try_into().unwrap()));
    let length = (FRAME_HEADER_BYTES + body_bytes + signature_bytes).next_multiple_of(8);
    let body = bytes.get(..length)?.get(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + body_bytes)?;
    // Zeros of a body that is not on disk yet are no JSON.
    serde_json::from_slice::<serde::de::IgnoredAny>(body).ok()?;
    let framed = Framed {
        seq: u64::from_be_bytes(header[16..24].try_into().unwrap()),
        chain: header[32..64].iter().map(|byte| format!("{byte:02x}")).collect(),
        body: body.to_vec(),
    };
    Some(((header[5] == 1).then_some(framed), length))
}

/// The receipts of one exchange.
pub fn of_exchange(receipts: &[Value], request_id: &str) -> Vec<Value> {
    receipts.iter().filter(|receipt| receipt["id"] == request_id).cloned().collect()
}

/// The attempt and the outcome of an exchange that has both, once each.
pub fn pair(receipts: &[Value], request_id: &str) -> (Value, Value) {
    let of = of_exchange(receipts, request_id);
    let [attempt, outcome] = of.as_slice() else {
        panic!("exchange {request_id} has {} receipts instead of two: {of:#?}", of.len())
    };
    assert_eq!((&attempt["kind"], &outcome["kind"]), (&"attempt".into(), &"outcome".into()), "{of:#?}");
    assert_eq!(outcome["attempt_seq"], attempt["seq"], "{of:#?}");
    (attempt.clone(), outcome.clone())
}
