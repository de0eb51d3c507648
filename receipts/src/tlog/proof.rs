//! The text form of an inclusion proof with its checkpoint: C2SP tlog-proof.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::checkpoint::NOTE_MAX_BYTES;
use crate::receipt::parse_decimal;
use crate::tree::Hash;

const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// A path through a tree of less than 2^64 leaves.
const PATH_MAX: usize = 64;

/// Longest proof: a note, 64 hashes of 45 bytes, and the lines before them.
pub(crate) const PROOF_MAX_BYTES: usize = NOTE_MAX_BYTES + 8 * 1024;

/// That a leaf is in the tree of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    /// Number of the leaf.
    pub index: u64,
    /// Audit path, nearest sibling first.
    pub path: Vec<Hash>,
    /// The checkpoint, a signed note.
    pub checkpoint: Vec<u8>,
}

impl TlogProof {
    pub fn to_text(&self) -> String {
        let mut text = format!("{HEADER}\nindex {}\n", self.index);
        for hash in &self.path {
            text.push_str(&BASE64.encode(hash));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&String::from_utf8_lossy(&self.checkpoint));
        text
    }

    /// Reads a proof; an `extra` line is allowed and means nothing here. Whether it proves anything is not asked.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= PROOF_MAX_BYTES)?;
        let text = text.strip_prefix(HEADER)?.strip_prefix('\n')?;
        let (head, checkpoint) = text.split_once("\n\n")?;
        let mut lines = head.split('\n');
        let mut line = lines.next()?;
        if let Some(extra) = line.strip_prefix("extra ") {
            BASE64.decode(extra).ok()?;
            line = lines.next()?;
        }
        let index = parse_decimal(line.strip_prefix("index ")?)?;
        let path = lines.map(|line| BASE64.decode(line).ok()?.try_into().ok()).take(PATH_MAX + 1);
        let path: Vec<Hash> = path.collect::<Option<_>>()?;
        (path.len() <= PATH_MAX).then(|| Self { index, path, checkpoint: checkpoint.as_bytes().to_vec() })
    }
}
