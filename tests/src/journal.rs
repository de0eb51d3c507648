//! Reads receipts out of a journal by its published layout, sharing no code with the writer, and while it is written.

use std::path::Path;

use serde_json::Value;

const HEADER_BYTES: usize = 4096;
const FRAME_HEADER_BYTES: usize = 72;

/// Every whole receipt of the journal below a data directory, in order. What stands behind the last whole frame of a
/// segment is not there (yet).
pub fn receipts(data_dir: &Path) -> Vec<Value> {
    let mut segments: Vec<_> = std::fs::read_dir(data_dir.join("journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|suffix| suffix == "pefwal"))
        .collect();
    segments.sort();
    let mut out = Vec::new();
    for segment in segments {
        let bytes = std::fs::read(&segment).unwrap();
        let mut rest = bytes.get(HEADER_BYTES..).unwrap_or_default();
        while let Some((receipt, length)) = frame(rest) {
            out.extend(receipt);
            rest = &rest[length..];
        }
    }
    out
}

/// The receipt in the frame at the start of `bytes` (a seal has none), and the frame's length.
fn frame(bytes: &[u8]) -> Option<(Option<Value>, usize)> {
    let header = bytes.get(..FRAME_HEADER_BYTES)?;
    if &header[..4] != b"PEFR" {
        return None;
    }
    let body_bytes = u32::from_be_bytes(header[8..12].try_into().unwrap()) as usize;
    let signature_bytes = usize::from(u16::from_be_bytes(header[12..14].try_into().unwrap()));
    let length = (FRAME_HEADER_BYTES + body_bytes + signature_bytes).next_multiple_of(8);
    let body = bytes.get(..length)?.get(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + body_bytes)?;
    // Zeros of a body that is not on disk yet are no JSON.
    let value = serde_json::from_slice(body).ok()?;
    Some(((header[5] == 1).then_some(value), length))
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
