//! The directory `anchors/`: proofs and notes under the digest of their content, each there whole or not at all.

use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::{AnchorKind, NOTE_ENDING, PROOF_MAX_BYTES};
use crate::checkpoint::NOTE_MAX_BYTES;
use crate::{durable, hex};

/// Where anchors are kept in the data directory.
pub const ANCHORS_DIRECTORY: &str = "anchors";

/// The files of a log's anchors.
#[derive(Debug, Clone)]
pub struct AnchorFiles {
    directory: PathBuf,
}

impl AnchorFiles {
    /// The files below a data directory. Makes the directory.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let directory = data_dir.join(ANCHORS_DIRECTORY);
        durable::create_directory(&directory, 0o700)?;
        Ok(Self { directory })
    }

    /// Keeps a checkpoint note, durably. Gives its digest.
    pub fn keep_note(&self, note: &[u8]) -> io::Result<String> {
        self.keep(note, NOTE_ENDING)
    }

    /// Keeps a proof, durably. Gives its digest.
    pub fn keep_proof(&self, kind: AnchorKind, proof: &[u8]) -> io::Result<String> {
        if proof.len() > PROOF_MAX_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {PROOF_MAX_BYTES} bytes")));
        }
        self.keep(proof, kind.ending())
    }

    /// Path of a proof.
    pub fn proof_path(&self, kind: AnchorKind, digest: &str) -> PathBuf {
        self.directory.join(format!("{digest}.{}", kind.ending()))
    }

    /// Reads a proof, and checks that it is the one that its digest names.
    pub fn proof(&self, kind: AnchorKind, digest: &str) -> io::Result<Vec<u8>> {
        self.read(digest, kind.ending(), PROOF_MAX_BYTES)
    }

    /// Reads a note, and checks that it is the one that its digest names.
    pub fn note(&self, digest: &str) -> io::Result<Vec<u8>> {
        self.read(digest, NOTE_ENDING, NOTE_MAX_BYTES)
    }

    fn keep(&self, content: &[u8], ending: &str) -> io::Result<String> {
        let digest = hex::encode(&Sha256::digest(content));
        let path = self.directory.join(format!("{digest}.{ending}"));
        if !path.exists() {
            durable::write(&path, content, 0o600)?;
        }
        Ok(digest)
    }

    fn read(&self, digest: &str, ending: &str, bytes_max: usize) -> io::Result<Vec<u8>> {
        if hex::decode_32(digest).is_none() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a digest"));
        }
        let content = durable::read_bounded(&self.directory.join(format!("{digest}.{ending}")), bytes_max as u64)?;
        if hex::encode(&Sha256::digest(&content)) != digest {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not the content that its name is the digest of"));
        }
        Ok(content)
    }
}
