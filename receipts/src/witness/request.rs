//! The body of `add-checkpoint`, C2SP tlog-witness: the size that the witness is thought to know, the proof from there, and
//! the checkpoint.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Cosignature, WitnessKey};
use crate::checkpoint::{NOTE_MAX_BYTES, SignedNote};
use crate::receipt::parse_decimal;
use crate::tree::Hash;

/// Most lines of a consistency proof.
const PROOF_LINES_MAX: usize = 63;

/// A request to cosign a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// Size of the newest checkpoint that the witness cosigned, 0 for none.
    pub old: u64,
    pub consistency: Vec<Hash>,
    /// The checkpoint, a signed note.
    pub note: Vec<u8>,
}

/// A body that is not of the form of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an add-checkpoint request: {0}")]
pub struct RequestError(&'static str);

impl AddCheckpoint {
    /// Longest body: a note, 63 hashes of 45 bytes, and the lines around them.
    pub const BYTES_MAX: usize = NOTE_MAX_BYTES + 4096;

    pub fn to_body(&self) -> Vec<u8> {
        let mut body = format!("old {}\n", self.old);
        for hash in &self.consistency {
            body.push_str(&BASE64.encode(hash));
            body.push('\n');
        }
        body.push('\n');
        let mut body = body.into_bytes();
        body.extend_from_slice(&self.note);
        body
    }

    pub fn parse(body: &[u8]) -> Result<Self, RequestError> {
        if body.len() > Self::BYTES_MAX {
            return Err(RequestError("it is too long"));
        }
        let text = std::str::from_utf8(body).map_err(|_| RequestError("it is not UTF-8"))?;
        let (head, note) = text.split_once("\n\n").ok_or(RequestError("it has no empty line"))?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| parse_decimal(line.strip_prefix("old ")?));
        let old = old.ok_or(RequestError("its first line is not `old` and a size"))?;
        let hash = |line: &str| BASE64.decode(line).ok()?.try_into().ok();
        let consistency: Option<Vec<Hash>> = lines.take(PROOF_LINES_MAX + 1).map(hash).collect();
        let consistency = consistency.ok_or(RequestError("a line of the proof is not a hash in base64"))?;
        if consistency.len() > PROOF_LINES_MAX {
            return Err(RequestError("the proof has more than 63 lines"));
        }
        Ok(Self { old, consistency, note: note.as_bytes().to_vec() })
    }

    /// The cosignature of a witness in its answer to this request. `None` when there is no good one.
    pub fn read_answer(&self, answer: &[u8], witness: &WitnessKey) -> Option<Cosignature> {
        // Held under the text that was sent: the lines of the answer instead of those of the note.
        let text = SignedNote::parse(&self.note).ok()?;
        let mut signed = text.text().as_bytes().to_vec();
        signed.push(b'\n');
        signed.extend_from_slice(answer);
        witness.verify(&SignedNote::parse(&signed).ok()?).ok()?
    }
}
