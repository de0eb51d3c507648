//! Checkpoints: signed statements of the tree's size and root, as C2SP tlog-checkpoint in a C2SP signed-note.
//!
//! No extension lines are written. Signatures of keys that the reader does not know are ignored; one that claims to be of a
//! known key and is not makes the whole note invalid.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::keys::{KeyError, Keys, PublicKey};
use crate::receipt::parse_decimal;
use crate::tree::Hash;

/// Longest note: room for some hundred witness signatures.
pub const NOTE_MAX_BYTES: usize = 64 * 1024;

/// Most signature lines that are looked at. C2SP asks for at least 16.
const SIGNATURES_MAX: usize = 100;

/// Size and root of a log's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Name of the log.
    pub origin: String,
    /// Number of leaves.
    pub size: u64,
    pub root: Hash,
}

/// A text with signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedNote {
    text: String,
    signatures: Vec<NoteSignature>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct NoteSignature {
    name: String,
    hash: [u8; 4],
    signature: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    #[error("not a signed note in the form of C2SP signed-note")]
    Malformed,
    #[error("not a checkpoint in the form of C2SP tlog-checkpoint")]
    NotACheckpoint,
    #[error("no signature of a known key")]
    Unsigned,
    #[error("a signature in the name of a known key is wrong")]
    BadSignature,
    #[error("two of the known keys have the same name and hash")]
    Ambiguous,
}

impl SignedNote {
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        let malformed = NoteError::Malformed;
        if bytes.len() > NOTE_MAX_BYTES {
            return Err(malformed);
        }
        let note = std::str::from_utf8(bytes).map_err(|_| malformed)?;
        if note.chars().any(|character| character < ' ' && character != '\n') {
            return Err(malformed);
        }
        // The signatures begin after the last empty line.
        let (text, lines) = note.rsplit_once("\n\n").ok_or(malformed)?;
        let lines = lines.strip_suffix('\n').ok_or(malformed)?;
        let mut signatures = Vec::new();
        for line in lines.split('\n') {
            let (name, data) = line.strip_prefix("— ").and_then(|rest| rest.split_once(' ')).ok_or(malformed)?;
            let data = BASE64.decode(data).map_err(|_| malformed)?;
            let (hash, signature) = data.split_first_chunk::<4>().ok_or(malformed)?;
            let named =
                !name.is_empty() && !name.contains(|character: char| character.is_whitespace() || character == '+');
            if !named || signature.is_empty() || signatures.len() >= SIGNATURES_MAX {
                return Err(malformed);
            }
            signatures.push(NoteSignature { name: name.to_owned(), hash: *hash, signature: signature.to_vec() });
        }
        Ok(Self { text: format!("{text}\n"), signatures })
    }

    /// The signed text, with its final newline.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signature in the name and hash of a key, without its hash.
    pub(crate) fn signature(&self, name: &str, hash: [u8; 4]) -> Option<&[u8]> {
        let line = self.signatures.iter().find(|line| line.name == name && line.hash == hash);
        line.map(|line| line.signature.as_slice())
    }

    /// The note with the signatures of these names only.
    pub(crate) fn with_signatures_of(&self, names: &[&str]) -> String {
        let mut note = format!("{}\n", self.text);
        for line in self.signatures.iter().filter(|line| names.contains(&line.name.as_str())) {
            let data = [line.hash.as_slice(), &line.signature].concat();
            note.push_str(&format!("— {} {}\n", line.name, BASE64.encode(data)));
        }
        note
    }

    /// Names of those of the keys that signed. Fails when none did, or when one of them is claimed wrongly.
    pub fn verify<'k>(&self, keys: impl IntoIterator<Item = &'k PublicKey>) -> Result<Vec<&'k PublicKey>, NoteError> {
        let mut signed = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        for key in keys {
            if !seen.insert((key.name(), key.note_hash())) {
                return Err(NoteError::Ambiguous);
            }
            let claimed = self.signatures.iter().find(|line| line.name == key.name() && line.hash == key.note_hash());
            let Some(line) = claimed else { continue };
            let signature: &[u8; 64] = line.signature.as_slice().try_into().map_err(|_| NoteError::BadSignature)?;
            if !key.verify(self.text.as_bytes(), signature) {
                return Err(NoteError::BadSignature);
            }
            signed.push(key);
        }
        if signed.is_empty() { Err(NoteError::Unsigned) } else { Ok(signed) }
    }
}

impl Checkpoint {
    /// The text that is signed: origin, size and base64 root, a line each.
    pub fn to_text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(self.root))
    }

    /// Reads the text of a note. Extension lines are allowed and mean nothing here.
    pub fn from_text(text: &str) -> Result<Self, NoteError> {
        let mut lines = text.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(NoteError::NotACheckpoint);
        };
        let root = BASE64.decode(root).ok().and_then(|root| root.try_into().ok()).ok_or(NoteError::NotACheckpoint)?;
        let size = parse_decimal(size).ok_or(NoteError::NotACheckpoint)?;
        if origin.is_empty() || !text.ends_with('\n') {
            return Err(NoteError::NotACheckpoint);
        }
        Ok(Self { origin: origin.to_owned(), size, root })
    }

    /// The note, signed with the log key.
    pub(crate) fn sign(&self, keys: &Keys) -> Result<Vec<u8>, KeyError> {
        let text = self.to_text();
        let mut data = keys.log().note_hash().to_vec();
        data.extend_from_slice(&keys.sign_note(text.as_bytes())?);
        Ok(format!("{text}\n— {} {}\n", keys.log().name(), BASE64.encode(data)).into_bytes())
    }
}

#[cfg(test)]
mod tests;
