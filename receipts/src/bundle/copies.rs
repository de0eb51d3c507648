//! Copies of bundles to be handed over: as they are, with an entry in their custody log, or without an attached file.
//!
//! What is sealed is never changed. A copy is there whole or not at all, and overwrites nothing.

use std::fs::File;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::attached::{Attached, externals_directory, read_externals};
use super::container::open_bundle;
use super::custody::{self, Action, CustodyEntry, CustodyNote, CustodySigner};
use super::manifest::Manifest;
use super::pack::BundleWriter;
use super::seal::SealError;
use super::store::inspect;
use super::{ARTIFACTS, CUSTODY, EXTERNALS, MANIFEST};
use crate::canonical::{Limits, parse};
use crate::receipt::shape;
use crate::{durable, hex};

/// Read at once of a file that may be larger than memory.
const CHUNK_BYTES: usize = 256 * 1024;

/// A copy that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    pub path: PathBuf,
    /// Hexadecimal SHA-256 of the bundle file.
    pub sha256: String,
    /// Files that were copied beside it.
    pub externals: usize,
}

/// What a change of the unsealed part needs to know about a bundle.
struct Known {
    log: String,
    manifest: [u8; 32],
    custody: Vec<u8>,
    externals: Vec<Attached>,
    artifacts: Vec<String>,
}

fn know(path: &Path) -> Result<Known, SealError> {
    let unreadable = |what: String| SealError::Bundle { path: path.to_owned(), what };
    let mut container = open_bundle(path).map_err(SealError::io(path))?;
    let (mut custody, mut externals, mut artifacts, mut manifest) = (Vec::new(), Vec::new(), Vec::new(), None);
    while let Some(member) = container.next().map_err(|fault| unreadable(fault.to_string()))? {
        artifacts.extend(member.path.strip_prefix(ARTIFACTS).map(str::to_owned));
        if ![CUSTODY, EXTERNALS, MANIFEST].contains(&member.path.as_str()) {
            continue;
        }
        let bytes = container.read_member().map_err(|fault| unreadable(fault.to_string()))?;
        match member.path.as_str() {
            CUSTODY => custody = bytes,
            EXTERNALS => {
                let value = parse(&bytes, Limits::MANIFEST).map_err(|error| unreadable(error.to_string()))?;
                let formed = shape::check(&value, &shape::EXTERNALS).is_empty();
                let read = read_externals(&value).filter(|_| formed);
                externals = read.ok_or_else(|| unreadable("its externals.json is not of its form".to_owned()))?;
            }
            _ => {
                let value = parse(&bytes, Limits::MANIFEST).map_err(|error| unreadable(error.to_string()))?;
                let log = Manifest::from_value(&value).map(|manifest| manifest.log);
                manifest = log.map(|log| (log, custody::manifest_digest(&bytes)));
            }
        }
    }
    let (log, manifest) = manifest.ok_or_else(|| unreadable("it has no manifest.json of PEF v0".to_owned()))?;
    Ok(Known { log, manifest, custody, externals, artifacts })
}

/// The entries of a bundle's custody log, each checked.
pub fn custody_of(path: &Path) -> Result<Vec<CustodyEntry>, SealError> {
    let known = know(path)?;
    custody::read(&known.custody, &known.manifest, &known.log)
        .map_err(|broken| SealError::Custody { path: path.to_owned(), what: broken.to_string() })
}

/// Copies a bundle and what lies beside it, durably. A directory as target gets the bundle's name. With a note, the copy's
/// custody log tells of it.
pub fn export(path: &Path, out: &Path, note: Option<(&CustodyNote, &CustodySigner)>) -> Result<Copied, SealError> {
    inspect(path)?;
    let known = know(path)?;
    let target = target(path, out)?;
    let externals = copy_externals(path, &target, &known, None)?;
    let sha256 = match note {
        None if path.is_file() => finish(&target, |unfinished| copy_file(path, unfinished))?,
        _ => {
            let custody = told(path, &known, note, None)?;
            finish(&target, |unfinished| rewrite(path, unfinished, &custody, None))?
        }
    };
    Ok(Copied { path: target, sha256, externals })
}

/// Copies a bundle without one of its attached files, and says so in the copy's custody log.
pub fn redact(
    path: &Path,
    out: &Path,
    digest: &str,
    note: &CustodyNote,
    signer: &CustodySigner,
) -> Result<Copied, SealError> {
    let known = know(path)?;
    let missing = || SealError::NotAttached { path: path.to_owned(), digest: digest.to_owned() };
    let taken = hex::decode_32(digest).ok_or_else(missing)?;
    if !known.artifacts.iter().any(|artifact| artifact == digest)
        && !known.externals.iter().any(|external| external.sha256 == taken)
    {
        return Err(missing());
    }
    let target = target(path, out)?;
    let note = CustodyNote { action: Action::Redacted, ..note.clone() };
    let custody = told(path, &known, Some((&note, signer)), Some(taken))?;
    let externals = copy_externals(path, &target, &known, Some(digest))?;
    let sha256 = finish(&target, |unfinished| rewrite(path, unfinished, &custody, Some(digest)))?;
    Ok(Copied { path: target, sha256, externals })
}

/// Adds an entry to the custody log of a bundle file, in its place. Returns the file's new SHA-256.
pub fn add_custody(path: &Path, note: &CustodyNote, signer: &CustodySigner) -> Result<String, SealError> {
    if note.action == Action::Redacted {
        let what = "an artifact is taken out with `clyra bundle redact`".to_owned();
        return Err(SealError::Custody { path: path.to_owned(), what });
    }
    if !path.is_file() {
        return Err(SealError::Custody { path: path.to_owned(), what: "not a bundle file".to_owned() });
    }
    let custody = told(path, &know(path)?, Some((note, signer)), None)?;
    let unfinished = durable::temporary(path);
    let sha256 = rewrite(path, &unfinished, &custody, None)?;
    publish(&unfinished, path)?;
    Ok(sha256)
}

/// The custody log with what is to be added.
fn told(
    path: &Path,
    known: &Known,
    note: Option<(&CustodyNote, &CustodySigner)>,
    taken_out: Option<[u8; 32]>,
) -> Result<Vec<u8>, SealError> {
    let mut custody = known.custody.clone();
    if let Some((note, signer)) = note {
        custody::append(&mut custody, &known.manifest, &known.log, note, taken_out, signer).map_err(
            |fault| match fault {
                custody::AppendFault::Keys(error) => SealError::Keys(error),
                other => SealError::Custody { path: path.to_owned(), what: other.to_string() },
            },
        )?;
    }
    Ok(custody)
}

fn target(path: &Path, out: &Path) -> Result<PathBuf, SealError> {
    let target = match path.file_name() {
        Some(name) if out.is_dir() => out.join(name),
        _ => out.to_owned(),
    };
    for there in [&target, &externals_directory(&target)] {
        if there.exists() {
            return Err(SealError::Exists(there.clone()));
        }
    }
    Ok(target)
}

/// Makes a file under a temporary name and gives it its own.
fn finish(target: &Path, make: impl FnOnce(&Path) -> Result<String, SealError>) -> Result<String, SealError> {
    let unfinished = durable::temporary(target);
    let sha256 = make(&unfinished)?;
    publish(&unfinished, target)?;
    Ok(sha256)
}

fn publish(unfinished: &Path, target: &Path) -> Result<(), SealError> {
    std::fs::rename(unfinished, target).map_err(SealError::io(target))?;
    durable::sync_parent(target).map_err(SealError::io(target))
}

/// Copies a file, durably, and returns its SHA-256.
fn copy_file(from: &Path, to: &Path) -> Result<String, SealError> {
    let mut input = File::open(from).map_err(SealError::io(from))?;
    let mut copy = durable::create(to, 0o600).map_err(SealError::io(to))?;
    let mut digest = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = input.read(&mut chunk).map_err(SealError::io(from))?;
        let Some(part) = chunk.get(..read).filter(|part| !part.is_empty()) else { break };
        digest.update(part);
        copy.write_all(part).map_err(SealError::io(to))?;
    }
    copy.sync_all().map_err(SealError::io(to))?;
    Ok(hex::encode(&digest.finalize()))
}

/// Copies the files beside the bundle, as far as they are there, before the bundle itself.
fn copy_externals(path: &Path, target: &Path, known: &Known, without: Option<&str>) -> Result<usize, SealError> {
    let from = externals_directory(path);
    let wanted = known.externals.iter().map(Attached::digest).filter(|digest| without != Some(digest));
    let there: Vec<String> = wanted.filter(|digest| from.join(digest).is_file()).collect();
    if there.is_empty() {
        return Ok(0);
    }
    let to = externals_directory(target);
    let unfinished = durable::temporary(&to);
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished).map_err(SealError::io(&unfinished))?;
    }
    durable::create_directory(&unfinished, 0o700).map_err(SealError::io(&unfinished))?;
    for digest in &there {
        copy_file(&from.join(digest), &unfinished.join(digest))?;
    }
    durable::sync_directory(&unfinished).map_err(SealError::io(&unfinished))?;
    publish(&unfinished, &to)?;
    Ok(there.len())
}

/// Writes the bundle again with this custody log, and without an artifact where one is to be left out.
fn rewrite(path: &Path, to: &Path, custody: &[u8], without: Option<&str>) -> Result<String, SealError> {
    let unreadable = |what: String| SealError::Bundle { path: path.to_owned(), what };
    let mut container = open_bundle(path).map_err(SealError::io(path))?;
    let mut writer = BundleWriter::create(to).map_err(SealError::io(to))?;
    let mut custody = Some(custody).filter(|custody| !custody.is_empty());
    while let Some(member) = container.next().map_err(|fault| unreadable(fault.to_string()))? {
        if member.path.as_str() >= CUSTODY
            && let Some(mut custody) = custody.take()
        {
            writer.member(CUSTODY, custody.len() as u64, &mut custody).map_err(SealError::io(to))?;
        }
        let left_out =
            member.path == CUSTODY || member.path.strip_prefix(ARTIFACTS).is_some_and(|digest| without == Some(digest));
        if !left_out {
            writer.member(&member.path, member.size, &mut container).map_err(SealError::io(to))?;
        }
    }
    writer.finish().map_err(SealError::io(to))
}
