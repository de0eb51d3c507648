//! Reads the members of a bundle in one pass: small ones whole, large ones in passing, of which digests remain.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::bundle::{self, Container, ContainerFault, Manifest, ManifestFile, io_fault, open_bundle};
use crate::canonical::{Limits, parse};

/// Read at once of a large member.
const CHUNK_BYTES: usize = 128 * 1024;

/// What is in a bundle, as far as it was read.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// Members that are held in memory.
    pub(super) whole: BTreeMap<String, Vec<u8>>,
    /// Members that were read in passing.
    pub(super) passed: BTreeMap<String, ManifestFile>,
}

impl Members {
    pub(super) fn get(&self, path: &str) -> Option<&Vec<u8>> {
        self.whole.get(path)
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.whole.contains_key(path) || self.passed.contains_key(path)
    }

    /// Sizes and digests of a member.
    pub(super) fn file(&self, path: &str) -> Option<ManifestFile> {
        self.whole.get(path).map(|bytes| ManifestFile::of(path, bytes)).or_else(|| self.passed.get(path).cloned())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.whole.keys().chain(self.passed.keys())
    }
}

/// Digests of bytes in passing.
#[derive(Debug, Default)]
pub(super) struct Digests {
    sha256: Sha256,
    blake3: blake3::Hasher,
    size: u64,
}

impl Digests {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.blake3.update(bytes);
        self.size += bytes.len() as u64;
    }

    pub(super) fn finish(self, path: &str) -> ManifestFile {
        ManifestFile {
            path: path.to_owned(),
            size: self.size,
            sha256: self.sha256.finalize().into(),
            blake3: *self.blake3.finalize().as_bytes(),
        }
    }

    /// Of all that a reader gives.
    pub(super) fn of(path: &str, input: &mut impl Read) -> io::Result<ManifestFile> {
        let mut digests = Self::default();
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = input.read(&mut chunk)?;
            let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
            digests.update(bytes);
        }
        Ok(digests.finish(path))
    }
}

/// What a first look at a bundle shows.
#[derive(Debug)]
pub(super) struct Survey {
    /// Log and beginning, as its manifest claims; for putting bundles in order.
    pub(super) place: Option<(String, u64)>,
    /// What is wrong with the container. Then nothing else of it is looked at: readers differ in how much of a damaged frame
    /// they give before they notice.
    pub(super) fault: Option<ContainerFault>,
}

/// Reads a bundle from front to back for its container alone.
pub(super) fn survey(path: &Path) -> io::Result<Survey> {
    let mut container = open_bundle(path)?;
    let mut place = None;
    let fault = loop {
        match container.next() {
            Ok(None) => break None,
            Err(fault) => break Some(fault),
            Ok(Some(member)) if member.path == bundle::MANIFEST => match container.read_member() {
                Ok(bytes) => place = claimed(&bytes),
                Err(fault) => break Some(fault),
            },
            Ok(Some(_)) => {}
        }
    };
    Ok(Survey { place, fault: fault.map(|fault| container.judge(fault)) })
}

fn claimed(manifest: &[u8]) -> Option<(String, u64)> {
    let manifest = Manifest::from_value(&parse(manifest, Limits::MANIFEST).ok()?)?;
    Some((manifest.log, manifest.from))
}

/// Reads the current member in passing.
pub(super) fn pass(container: &mut Container, path: &str) -> Result<ManifestFile, ContainerFault> {
    Digests::of(path, container).map_err(|error| io_fault(&error))
}
