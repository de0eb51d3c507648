//! Writes the file of a bundle: the one tar, in one zstd frame, durable, with its digest.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::seal::SealError;
use super::tar::{SIZE_MAX_BYTES, write_end, write_member};
use super::{RECEIPTS, ZSTD_WINDOW_LOG};
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

/// Writes the bundle file, durably, and returns its SHA-256.
pub(super) fn pack(
    path: &Path,
    members: &BTreeMap<String, Vec<u8>>,
    spool: &Path,
    spooled: u64,
) -> Result<String, SealError> {
    let file = durable::create(path, 0o600).map_err(SealError::io(path))?;
    let mut receipts = File::open(spool).map_err(SealError::io(spool))?;
    let packed = (|| -> io::Result<(File, Sha256)> {
        let mut encoder = zstd::Encoder::new(Digesting { inner: file, digest: Sha256::new() }, ZSTD_LEVEL)?;
        encoder.include_checksum(true)?;
        encoder.window_log(ZSTD_WINDOW_LOG)?;
        let mut paths: Vec<&str> = members.keys().map(String::as_str).collect();
        paths.push(RECEIPTS);
        paths.sort_unstable();
        for member in paths {
            match members.get(member) {
                Some(bytes) => write_member(&mut encoder, member, bytes.len() as u64, &mut bytes.as_slice())?,
                None => {
                    receipts.rewind()?;
                    write_member(&mut encoder, member, spooled, &mut (&mut receipts).take(SIZE_MAX_BYTES))?;
                }
            }
        }
        write_end(&mut encoder)?;
        let done = encoder.finish()?;
        done.inner.sync_all()?;
        Ok((done.inner, done.digest))
    })();
    let (_, digest) = packed.map_err(SealError::io(path))?;
    Ok(hex::encode(&digest.finalize()))
}
