//! Files that are attached to the evidence: kept in the data directory until the next seal takes them up.
//!
//! Up to 25 MiB a file goes into the bundle; a larger one stays beside it, in a directory of the bundle's name and
//! `.externals`, and the bundle says what it must be. A file is there whole or not at all, and leaves only when the bundle
//! that has it is there.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::manifest::ManifestFile;
use super::seal::SealError;
use super::{ARTIFACT_MAX_BYTES, ARTIFACTS};
use crate::canonical::{INTEGER_MAX, Limits, Value, parse, to_vec};
use crate::receipt::shape;
use crate::{durable, hex};

/// Directory of the files that wait for the next seal, in the data directory.
pub(super) const ATTACHED_DIRECTORY: &str = "artifacts";

/// Ending of what is said about a file, beside it.
const SIDE_SUFFIX: &str = ".json";

/// Longest media type and name.
const TEXT_MAX_BYTES: usize = 1024;

/// Most files in one bundle; those beyond wait for the next. A quarter of the members that a bundle may have.
pub(super) const ATTACHED_MAX: usize = 1024;

/// Most bytes of files that one bundle takes up; those beyond wait for the next. Half of what a verifier reads.
const BUNDLE_ATTACHED_BYTES: u64 = super::ARTIFACTS_MAX_BYTES / 2;

/// Read at once of a file that may be larger than memory.
const CHUNK_BYTES: usize = 256 * 1024;

/// An attached file: what `externals.json` says of one, and what is kept of each until it is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    pub sha256: [u8; 32],
    pub blake3: [u8; 32],
    pub size: u64,
    /// Media type, as whoever attached it says.
    pub media: String,
    /// What it is called, or where it is.
    pub uri: String,
}

impl Attached {
    pub fn digest(&self) -> String {
        hex::encode(&self.sha256)
    }

    /// True when it stays beside the bundle.
    pub fn is_external(&self) -> bool {
        self.size > ARTIFACT_MAX_BYTES
    }

    fn to_value(&self) -> Value {
        Value::from([
            ("blake3", Value::from(hex::encode(&self.blake3))),
            ("media", Value::from(self.media.as_str())),
            ("sha256", Value::from(self.digest())),
            ("size", Value::Integer(i64::try_from(self.size).unwrap_or(INTEGER_MAX).min(INTEGER_MAX))),
            ("uri", Value::from(self.uri.as_str())),
        ])
    }

    fn from_value(value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name)?.as_str();
        Some(Self {
            sha256: hex::decode_32(text("sha256")?)?,
            blake3: hex::decode_32(text("blake3")?)?,
            size: u64::try_from(value.get("size")?.as_integer()?).ok()?,
            media: text("media")?.to_owned(),
            uri: text("uri")?.to_owned(),
        })
    }

    /// As a member of the bundle.
    pub(super) fn member(&self) -> ManifestFile {
        ManifestFile {
            path: format!("{ARTIFACTS}{}", self.digest()),
            size: self.size,
            sha256: self.sha256,
            blake3: self.blake3,
        }
    }
}

/// Where external files of a bundle are looked for.
pub(crate) fn externals_directory(bundle: &Path) -> PathBuf {
    let mut name = bundle.as_os_str().to_owned();
    name.push(".externals");
    PathBuf::from(name)
}

/// `externals.json`.
pub(super) fn externals_document(externals: &[&Attached]) -> Vec<u8> {
    to_vec(&Value::Array(externals.iter().map(|external| external.to_value()).collect()))
}

/// Reads `externals.json` of the right form.
pub(crate) fn read_externals(value: &Value) -> Option<Vec<Attached>> {
    value.as_array()?.iter().map(Attached::from_value).collect()
}

/// Where the content waits.
pub(super) fn place(data_dir: &Path, file: &Attached) -> PathBuf {
    data_dir.join(ATTACHED_DIRECTORY).join(file.digest())
}

fn side(data_dir: &Path, digest: &str) -> PathBuf {
    data_dir.join(ATTACHED_DIRECTORY).join(format!("{digest}{SIDE_SUFFIX}"))
}

/// Takes a copy of a file into the data directory, durably, for the next seal. The same file twice is one file.
pub fn attach(data_dir: &Path, file: &Path, media: &str, uri: &str) -> Result<Attached, SealError> {
    if media.len() > TEXT_MAX_BYTES || uri.len() > TEXT_MAX_BYTES {
        let what = format!("a media type or name of more than {TEXT_MAX_BYTES} bytes");
        return Err(SealError::Attach { path: file.to_owned(), what });
    }
    let directory = data_dir.join(ATTACHED_DIRECTORY);
    durable::create_directory(&directory, 0o700).map_err(SealError::io(&directory))?;
    let mut input = File::open(file).map_err(SealError::io(file))?;
    if !input.metadata().map_err(SealError::io(file))?.is_file() {
        return Err(SealError::Attach { path: file.to_owned(), what: "not a plain file".to_owned() });
    }
    // Its name is known only at its end, and others may attach at the same time.
    let unfinished = durable::temporary(&directory.join(format!("{}", uuid::Uuid::now_v7())));
    let copied = copy(&mut input, file, &unfinished);
    let attached = copied.and_then(|(sha256, blake3, size)| {
        let attached = Attached { sha256, blake3, size, media: media.to_owned(), uri: uri.to_owned() };
        // First what is said about it: without that, the content is not taken up.
        let side = side(data_dir, &attached.digest());
        durable::write(&side, &to_vec(&attached.to_value()), 0o600).map_err(SealError::io(&side))?;
        let target = place(data_dir, &attached);
        std::fs::rename(&unfinished, &target).map_err(SealError::io(&target))?;
        durable::sync_parent(&target).map_err(SealError::io(&target))?;
        Ok(attached)
    });
    if attached.is_err() {
        // What was copied so far is of no use; if it cannot be removed now, the next seal does.
        let _ = std::fs::remove_file(&unfinished);
    }
    attached
}

fn copy(input: &mut File, from: &Path, to: &Path) -> Result<([u8; 32], [u8; 32], u64), SealError> {
    let mut out = durable::create(to, 0o600).map_err(SealError::io(to))?;
    let (mut sha256, mut blake3, mut size) = (Sha256::new(), blake3::Hasher::new(), 0);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = input.read(&mut chunk).map_err(SealError::io(from))?;
        let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        sha256.update(bytes);
        blake3.update(bytes);
        size += bytes.len() as u64;
        out.write_all(bytes).map_err(SealError::io(to))?;
    }
    out.sync_all().map_err(SealError::io(to))?;
    Ok((sha256.finalize().into(), *blake3.finalize().as_bytes(), size))
}

/// Files that wait to be sealed, ascending by digest, as many as one bundle takes.
pub fn attached(data_dir: &Path) -> Result<Vec<Attached>, SealError> {
    let directory = data_dir.join(ATTACHED_DIRECTORY);
    let mut digests = Vec::new();
    for name in names(&directory)? {
        digests.extend(hex::decode_32(&name).map(|_| name));
    }
    digests.sort_unstable();
    let (mut files, mut bytes) = (Vec::new(), 0);
    for digest in digests {
        let path = side(data_dir, &digest);
        let damaged = || SealError::Attach { path: path.clone(), what: "not what it should be".to_owned() };
        let document = durable::read_bounded(&path, 16 * 1024).map_err(SealError::io(&path))?;
        let value = parse(&document, Limits::RECEIPT).map_err(|_| damaged())?;
        let listed = shape::check(&Value::Array(vec![value.clone()]), &shape::EXTERNALS).is_empty();
        let file = Attached::from_value(&value).filter(|file| listed && file.digest() == digest).ok_or_else(damaged)?;
        bytes += if file.is_external() { 0 } else { file.size };
        if files.len() >= ATTACHED_MAX || bytes > BUNDLE_ATTACHED_BYTES {
            break;
        }
        files.push(file);
    }
    Ok(files)
}

fn names(directory: &Path) -> Result<Vec<String>, SealError> {
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(directory).map_err(SealError::io(directory))?;
    let name = |entry: io::Result<std::fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    entries.map(name).collect::<io::Result<Vec<_>>>().map_err(SealError::io(directory))
}

/// After a bundle is there: what it holds leaves, what is external goes beside it. Does no harm when done twice.
pub(super) fn settle(data_dir: &Path, bundle: &Path, files: &[Attached]) -> Result<(), SealError> {
    for file in files {
        let digest = file.digest();
        let from = place(data_dir, file);
        if file.is_external() && from.exists() {
            let directory = externals_directory(bundle);
            durable::create_directory(&directory, 0o700).map_err(SealError::io(&directory))?;
            let target = directory.join(&digest);
            std::fs::rename(&from, &target).map_err(SealError::io(&target))?;
            durable::sync_parent(&target).map_err(SealError::io(&target))?;
        }
        for path in [from, side(data_dir, &digest)] {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(SealError::io(&path)(error)),
                _ => {}
            }
        }
    }
    Ok(())
}

/// A copy that was not finished for so long never will be: some terabytes at the speed of a slow disk.
const UNFINISHED_AGE: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);

/// Removes copies that were never finished.
pub(super) fn remove_unfinished(data_dir: &Path) -> Result<(), SealError> {
    let directory = data_dir.join(ATTACHED_DIRECTORY);
    for name in names(&directory)?.iter().filter(|name| name.ends_with(durable::TEMPORARY)) {
        let path = directory.join(name);
        let modified = path.metadata().and_then(|metadata| metadata.modified());
        let age = modified.ok().and_then(|modified| modified.elapsed().ok()).unwrap_or_default();
        if age > UNFINISHED_AGE {
            std::fs::remove_file(&path).map_err(SealError::io(&path))?;
        }
    }
    Ok(())
}
