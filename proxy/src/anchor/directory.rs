//! A directory on another machine's disk, or on one that is written once: a copy of each note, never overwritten.

use std::fs::{DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use clyra_receipts::anchor::{AnchorKind, CopyProof};

use super::copy::{bundle_name, note_name};
use super::{Anchor, AnchorError, Anchored, Note};

#[derive(Debug)]
pub(super) struct Directory {
    pub(super) path: PathBuf,
    pub(super) bundles: bool,
}

#[async_trait]
impl Anchor for Directory {
    fn kind(&self) -> AnchorKind {
        AnchorKind::Directory
    }

    async fn anchor(&self, note: &Note) -> Result<Option<Anchored>, AnchorError> {
        let path = self.path.join(note_name(note.checkpoint.size));
        put(path.clone(), Bytes::from(note.bytes.clone())).await?;
        let uri = format!("file://{}", std::path::absolute(&path).map_err(AnchorError::io(&path))?.display());
        let proof = CopyProof { uri: uri.clone(), ..CopyProof::default() };
        Ok(Some(Anchored::confirmed(proof.to_bytes(), uri)))
    }

    fn keeps_bundles(&self) -> bool {
        self.bundles
    }

    async fn keep_bundle(&self, name: &str, bytes: Bytes) -> Result<(), AnchorError> {
        put(self.path.join(bundle_name(name)), bytes).await
    }
}

async fn put(path: PathBuf, bytes: Bytes) -> Result<(), AnchorError> {
    let at = path.clone();
    let work = tokio::task::spawn_blocking(move || create(&path, &bytes)).await;
    match work.map_err(|error| AnchorError::Io { path: at.clone(), source: io::Error::other(error) })? {
        Ok(true) => Ok(()),
        Ok(false) => Err(AnchorError::Conflict { uri: at.display().to_string() }),
        Err(source) => Err(AnchorError::Io { path: at, source }),
    }
}

/// Writes a file that was not there, durably. False when another content is there.
fn create(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let parent = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    if path.exists() {
        return Ok(std::fs::read(path)? == bytes);
    }
    // Written beside it and given its name by a link, which fails where the name is taken: there whole or not at all, and
    // never in the place of another.
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".tmp");
    let unfinished = PathBuf::from(unfinished);
    let mut file = File::create(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&unfinished, path);
    std::fs::remove_file(&unfinished)?;
    match linked {
        Ok(()) => {
            File::open(parent)?.sync_all()?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(std::fs::read(path)? == bytes),
        Err(error) => Err(error),
    }
}
