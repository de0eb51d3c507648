//! Writes the file of a bundle: the one tar, in one zstd frame, durable, with its digest.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::ZSTD_WINDOW_LOG;
use super::seal::SealError;
use super::tar::{write_end, write_member};
use crate::{durable, hex};

/// Speed against size; the level is part of what makes bundles reproducible.
const ZSTD_LEVEL: i32 = 3;

/// Writes that also go into a digest.
struct Digesting<W> {
    inner: W,
    digest: Sha256,
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.digest.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Where the content of a member is.
pub(super) enum Content<'a> {
    Bytes(Vec<u8>),
    /// A file of this many bytes.
    File(&'a Path, u64),
}

/// Writes the bundle file, durably, and returns its SHA-256.
pub(super) fn pack(path: &Path, members: &BTreeMap<String, Content<'_>>) -> Result<String, SealError> {
    let mut writer = BundleWriter::create(path).map_err(SealError::io(path))?;
    for (name, content) in members {
        match content {
            Content::Bytes(bytes) => {
                writer.member(name, bytes.len() as u64, &mut bytes.as_slice()).map_err(SealError::io(path))?;
            }
            Content::File(from, size) => {
                let mut file = File::open(from).map_err(SealError::io(from))?;
                writer.member(name, *size, &mut file).map_err(SealError::io(path))?;
            }
        }
    }
    writer.finish().map_err(SealError::io(path))
}

/// A bundle file being written. Members must come in ascending order.
pub(super) struct BundleWriter(zstd::Encoder<'static, Digesting<File>>);

impl BundleWriter {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = durable::create(path, 0o600)?;
        let mut encoder = zstd::Encoder::new(Digesting { inner: file, digest: Sha256::new() }, ZSTD_LEVEL)?;
        encoder.include_checksum(true)?;
        encoder.window_log(ZSTD_WINDOW_LOG)?;
        Ok(Self(encoder))
    }

    pub(super) fn member(&mut self, name: &str, size: u64, content: &mut dyn Read) -> io::Result<()> {
        write_member(&mut self.0, name, size, content)
    }

    /// Makes the file durable and returns its SHA-256.
    pub(super) fn finish(mut self) -> io::Result<String> {
        write_end(&mut self.0)?;
        let done = self.0.finish()?;
        done.inner.sync_all()?;
        Ok(hex::encode(&done.digest.finalize()))
    }
}
