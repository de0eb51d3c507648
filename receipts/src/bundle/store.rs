//! The bundles and checkpoints of a data directory: what is there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::attached::{Attached, read_externals};
use super::container::{Member, open_bundle};
use super::manifest::{Manifest, read_frontier};
use super::seal::SealError;
use super::{ARTIFACTS, BUNDLES_DIRECTORY, CHECKPOINTS_DIRECTORY, EXTERNALS, MANIFEST};
use crate::canonical::{Limits, Value, parse};
use crate::checkpoint::{Checkpoint, NOTE_MAX_BYTES, SignedNote};
use crate::journal::ChainValue;
use crate::receipt::{parse_decimal, shape};
use crate::tree::Frontier;
use crate::{durable, hex};

/// Ending of a bundle.
pub(crate) const BUNDLE_SUFFIX: &str = ".pef";

/// A bundle in the data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleInfo {
    pub path: PathBuf,
    pub log: String,
    /// First sequence number.
    pub from: u64,
    /// Number after the last: the size of the tree.
    pub to: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Time of its last receipt.
    pub created: String,
    /// Hexadecimal tree root at `to`.
    pub root: String,
    /// Receipts by kind.
    pub kinds: std::collections::BTreeMap<String, u64>,
    /// Outcomes and bypasses by verdict.
    pub verdicts: std::collections::BTreeMap<String, u64>,
    /// Its files and their bytes; the two manifest files are not listed.
    pub files: Vec<(String, u64)>,
    /// What its manifest says for people.
    pub about: Value,
}

/// Name of the bundle of receipts `[from, to)`.
pub(crate) fn bundle_name(from: u64, to: u64) -> String {
    format!("{from}-{to}{BUNDLE_SUFFIX}")
}

/// The range in a bundle's name.
pub(crate) fn bundle_range(name: &str) -> Option<(u64, u64)> {
    let (from, to) = name.strip_suffix(BUNDLE_SUFFIX)?.split_once('-')?;
    Some((parse_decimal(from)?, parse_decimal(to)?))
}

/// The bundle files of a data directory and their names, in the order of the ranges that the names claim.
pub(crate) fn list_bundle_files(data_dir: &Path) -> std::io::Result<Vec<(PathBuf, String)>> {
    let directory = data_dir.join(BUNDLES_DIRECTORY);
    let mut files = Vec::new();
    if directory.is_dir() {
        for entry in std::fs::read_dir(&directory)? {
            let path = entry?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if let Some(range) = bundle_range(&name) {
                files.push((range, path, name));
            }
        }
    }
    files.sort();
    Ok(files.into_iter().map(|(_, path, name)| (path, name)).collect())
}

/// Bundle files whose receipts begin at this number or later: path, name, and where they end.
pub fn files_from(data_dir: &Path, from: u64) -> std::io::Result<Vec<(PathBuf, String, u64)>> {
    let files = list_bundle_files(data_dir)?.into_iter();
    let ranged = files.filter_map(|(path, name)| bundle_range(&name).map(|(start, end)| (path, name, start, end)));
    Ok(ranged.filter(|(_, _, start, _)| *start >= from).map(|(path, name, _, end)| (path, name, end)).collect())
}

/// The note of the newest checkpoint.
pub fn newest_note(data_dir: &Path) -> Result<Option<Vec<u8>>, SealError> {
    Ok(newest_checkpoint(data_dir)?.map(|stored| stored.bytes))
}

/// The bundles of a data directory, in the order of their receipts.
pub fn list(data_dir: &Path) -> Result<Vec<BundleInfo>, SealError> {
    let files = list_bundle_files(data_dir).map_err(SealError::io(data_dir))?;
    let mut infos = files.iter().map(|(path, _)| inspect(path)).collect::<Result<Vec<_>, _>>()?;
    infos.sort_by_key(|info| (info.from, info.to));
    Ok(infos)
}

/// What a bundle says it holds. Nothing is checked but that it can be read: that is what `verify` is for.
pub fn inspect(path: &Path) -> Result<BundleInfo, SealError> {
    let unreadable = |what: &str| SealError::Bundle { path: path.to_owned(), what: what.to_owned() };
    let bytes = std::fs::metadata(path).map_err(SealError::io(path))?.len();
    let mut container = open_bundle(path).map_err(SealError::io(path))?;
    loop {
        match container.next().map_err(|fault| unreadable(&fault.to_string()))? {
            None => return Err(unreadable("it has no manifest.json")),
            Some(Member { path: name, .. }) if name == MANIFEST => {
                let document = container.read_member().map_err(|fault| unreadable(&fault.to_string()))?;
                let value = parse(&document, Limits::MANIFEST).map_err(|error| unreadable(&error.to_string()))?;
                let good = shape::check(&value, Manifest::SHAPE).is_empty();
                let manifest = Manifest::from_value(&value).filter(|_| good);
                let manifest = manifest.ok_or_else(|| unreadable("its manifest.json is not of the form of PEF v0"))?;
                return Ok(BundleInfo {
                    path: path.to_owned(),
                    log: manifest.log,
                    from: manifest.from,
                    to: manifest.to,
                    bytes,
                    created: manifest.created,
                    root: hex::encode(&manifest.root),
                    kinds: manifest.kinds,
                    verdicts: manifest.verdicts,
                    files: manifest.files.into_iter().map(|file| (file.path, file.size)).collect(),
                    about: manifest.about,
                });
            }
            Some(_) => {}
        }
    }
}

/// Digests of the files that are attached to a bundle, in it or beside it.
pub(super) fn attached_to(path: &Path) -> Result<BTreeSet<String>, SealError> {
    let unreadable = |what: &str| SealError::Bundle { path: path.to_owned(), what: what.to_owned() };
    let mut container = open_bundle(path).map_err(SealError::io(path))?;
    let mut digests = BTreeSet::new();
    while let Some(member) = container.next().map_err(|fault| unreadable(&fault.to_string()))? {
        digests.extend(member.path.strip_prefix(ARTIFACTS).map(str::to_owned));
        if member.path == EXTERNALS {
            let document = container.read_member().map_err(|fault| unreadable(&fault.to_string()))?;
            let value = parse(&document, Limits::MANIFEST).map_err(|error| unreadable(&error.to_string()))?;
            let externals = read_externals(&value).ok_or_else(|| unreadable("its externals.json is damaged"))?;
            digests.extend(externals.iter().map(Attached::digest));
        }
        if member.path.as_str() > EXTERNALS {
            break;
        }
    }
    Ok(digests)
}

/// A checkpoint of the data directory with what is kept beside it.
#[derive(Debug, Clone)]
pub(crate) struct StoredCheckpoint {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) note: SignedNote,
    pub(crate) bytes: Vec<u8>,
    pub(crate) frontier: Frontier,
    /// Chain value of the last receipt under it.
    pub(crate) chain: ChainValue,
}

/// Sizes of the published checkpoints, ascending.
pub(crate) fn checkpoint_sizes(directory: &Path) -> std::io::Result<Vec<u64>> {
    let mut sizes = Vec::new();
    if directory.is_dir() {
        for entry in std::fs::read_dir(directory)? {
            sizes.extend(parse_decimal(&entry?.file_name().to_string_lossy()));
        }
    }
    sizes.sort_unstable();
    Ok(sizes)
}

/// The newest checkpoint, its form and its agreement with its frontier checked; the signature is for the caller to check.
pub(crate) fn newest_checkpoint(data_dir: &Path) -> Result<Option<StoredCheckpoint>, SealError> {
    let directory = data_dir.join(CHECKPOINTS_DIRECTORY);
    match checkpoint_sizes(&directory).map_err(SealError::io(&directory))?.pop() {
        Some(size) => stored_checkpoint(&directory, size).map(Some),
        None => Ok(None),
    }
}

/// The checkpoint of a size, likewise.
pub(crate) fn stored_checkpoint(directory: &Path, size: u64) -> Result<StoredCheckpoint, SealError> {
    let path = directory.join(size.to_string());
    let damaged = |what: &str| SealError::Checkpoint { path: path.clone(), what: what.to_owned() };
    let bytes = durable::read_bounded(&path, NOTE_MAX_BYTES as u64).map_err(SealError::io(&path))?;
    let note = SignedNote::parse(&bytes).map_err(|error| damaged(&error.to_string()))?;
    let checkpoint = Checkpoint::from_text(note.text()).map_err(|error| damaged(&error.to_string()))?;
    let frontier_path = directory.join(frontier_name(size));
    let document =
        durable::read_bounded(&frontier_path, NOTE_MAX_BYTES as u64).map_err(SealError::io(&frontier_path))?;
    let value = parse(&document, Limits::RECEIPT).map_err(|error| damaged(&error.to_string()))?;
    let chain = value.get("chain").and_then(Value::as_str).and_then(hex::decode_32);
    let (Some(frontier), Some(chain)) = (value.get("frontier").and_then(read_frontier), chain) else {
        return Err(damaged("its frontier is not readable"));
    };
    if checkpoint.size != size || frontier.size() != size || frontier.root() != checkpoint.root {
        return Err(damaged("its frontier has another size or root"));
    }
    Ok(StoredCheckpoint { checkpoint, note, bytes, frontier, chain })
}

/// Root in the published checkpoint of this size; the signature is for the caller to check.
pub(crate) fn read_root(data_dir: &Path, size: u64) -> Option<crate::tree::Hash> {
    let path = data_dir.join(CHECKPOINTS_DIRECTORY).join(size.to_string());
    let bytes = durable::read_bounded(&path, NOTE_MAX_BYTES as u64).ok()?;
    let checkpoint = Checkpoint::from_text(SignedNote::parse(&bytes).ok()?.text()).ok()?;
    (checkpoint.size == size).then_some(checkpoint.root)
}

/// Name of the file that keeps what the next bundle needs: frontier and chain value.
pub(crate) fn frontier_name(size: u64) -> String {
    format!("{size}.frontier")
}
