//! Anchors: checkpoint notes brought to places that the log's owner does not hold.
//!
//! One file for each kind. Each anchor of the settings has a task of its own ([`task`]), so that one which hangs keeps no other
//! waiting, and traffic never waits for any. What proves the anchor is durable in `anchors/` before the receipt that
//! names it. How proofs are read and checked is `clyra_receipts::anchor`.

mod connector;
mod copy;
mod directory;
mod object;
mod op_return;
mod opentimestamps;
mod rfc3161;
mod settings;
mod state;
pub mod task;

use std::path::PathBuf;

use async_trait::async_trait;
use clyra_receipts::anchor::rfc3161::ResponseFault;
use clyra_receipts::anchor::{AnchorKind, AnchorState};
use clyra_receipts::checkpoint::{Checkpoint, SignedNote};
use sha2::{Digest as _, Sha256};

pub(crate) use settings::AnchorEntry;
pub use settings::{AnchorConfigError, AnchorSettings};
pub use task::{Anchoring, Ran};

use crate::fetch::FetchError;

/// A checkpoint note and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub bytes: Vec<u8>,
    /// SHA-256 of the bytes: what is anchored.
    pub digest: [u8; 32],
    pub checkpoint: Checkpoint,
}

impl Note {
    /// `None` when the bytes are no checkpoint note.
    pub fn read(bytes: Vec<u8>) -> Option<Note> {
        let note = SignedNote::parse(&bytes).ok()?;
        let checkpoint = Checkpoint::from_text(note.text()).ok()?;
        let digest = Sha256::digest(&bytes).into();
        Some(Note { bytes, digest, checkpoint })
    }

    /// The digest in hexadecimal.
    pub fn sha256(&self) -> String {
        hex(&self.digest)
    }
}

/// What an anchor gives back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchored {
    /// The proof file.
    pub proof: Vec<u8>,
    pub state: AnchorState,
    /// Timestamp that the anchor attests.
    pub at: Option<String>,
    /// Hexadecimal block header that the proof leads to.
    pub header: Option<String>,
    /// Where the anchor lives.
    pub reference: Option<String>,
}

impl Anchored {
    /// One that is finished, and attests no time.
    fn confirmed(proof: Vec<u8>, reference: String) -> Anchored {
        Anchored { proof, state: AnchorState::Confirmed, at: None, header: None, reference: Some(reference) }
    }
}

/// Something that a note can be tied to.
#[async_trait]
pub trait Anchor: std::fmt::Debug + Send + Sync {
    fn kind(&self) -> AnchorKind;

    /// Ties the note to it. `None`: begun, and [`Anchor::finish`] will have the proof.
    async fn anchor(&self, note: &Note) -> Result<Option<Anchored>, AnchorError>;

    /// Asks for the end of what was begun: given the proof so far, if there is one. `None`: not yet.
    async fn finish(&self, note: &Note, proof: Option<&[u8]>) -> Result<Option<Anchored>, AnchorError> {
        let _ = (note, proof);
        Ok(None)
    }

    /// Whether it keeps bundles too.
    fn keeps_bundles(&self) -> bool {
        false
    }

    /// Keeps a bundle.
    async fn keep_bundle(&self, name: &str, bytes: bytes::Bytes) -> Result<(), AnchorError> {
        let _ = (name, bytes);
        Ok(())
    }
}

/// Why a note was not anchored. It is tried again, unless it says that there is nothing to try.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    #[error("A001: {0}")]
    Call(#[from] FetchErrorText),
    #[error("A002: {host} answered with status {status}")]
    Status { host: String, status: u16 },
    #[error("A003: {host}: {fault}")]
    TimeStamp { host: String, fault: ResponseFault },
    #[error("A004: {host} stamped something else than was asked for (another digest, nonce or policy)")]
    NotTheAnswer { host: String },
    #[error("A005: {host} gave no OpenTimestamps proof of the digest: {fault}")]
    Calendar { host: String, fault: String },
    #[error("A006: {path}: {source}", path = path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("A007: the object store: {0}")]
    Store(String),
    #[error(
        "A008: {uri} holds another content than this log's. Either two logs write to the same place, or this log was \
         set back and went on differently: compare `clyra verify --checkpoint` with that copy"
    )]
    Conflict { uri: String },
    #[error("A009: {path} is no proof of this note: {what}", path = path.display())]
    Proof { path: PathBuf, what: String },
    #[error("A010: the authority's signature is not good: {0}")]
    Signature(String),
}

/// What a call failed with, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct FetchErrorText(String);

impl From<FetchError> for AnchorError {
    fn from(error: FetchError) -> Self {
        Self::Call(FetchErrorText(error.to_string()))
    }
}

impl AnchorError {
    /// Stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Call(_) => "A001",
            Self::Status { .. } => "A002",
            Self::TimeStamp { .. } => "A003",
            Self::NotTheAnswer { .. } => "A004",
            Self::Calendar { .. } => "A005",
            Self::Io { .. } => "A006",
            Self::Store(_) => "A007",
            Self::Conflict { .. } => "A008",
            Self::Proof { .. } => "A009",
            Self::Signature(_) => "A010",
        }
    }

    fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// Lower-case hexadecimal.
fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|nibble| char::from_digit(nibble.into(), 16))
        .collect()
}

/// Seconds since 1970 as evidence writes a time.
fn timestamp(seconds: u64) -> String {
    clyra_receipts::anchor::timestamp(seconds)
}
