//! Files that are there whole or not at all: temporary file, sync, rename, sync of the directory.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Ending of a file that is not finished; recovery removes it or, for bundles, completes it.
pub(crate) const TEMPORARY: &str = "tmp";

/// `name` → `name.tmp`.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(TEMPORARY);
    PathBuf::from(name)
}

/// Opens a new, empty file with these permission bits; one that a crash left there is emptied.
pub(crate) fn create(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new().write(true).read(true).create(true).truncate(true).mode(mode).open(path)
}

/// Makes a file durable under its name.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    stage(path, bytes, mode)?;
    publish(path)
}

/// Makes the content of a file durable, under its temporary name.
pub(crate) fn stage(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = create(&temporary(path), mode)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Gives a staged file its name, durably.
pub(crate) fn publish(path: &Path) -> io::Result<()> {
    std::fs::rename(temporary(path), path)?;
    sync_parent(path)
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        // A bare name stands in the working directory.
        Some(parent) if parent.as_os_str().is_empty() => sync_directory(Path::new(".")),
        Some(parent) => sync_directory(parent),
        None => Ok(()),
    }
}

/// Makes a directory and those above it, and their names durable.
pub(crate) fn create_directory(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(path)?;
    sync_parent(path)
}

/// Reads the first bytes of a file, at most this many.
pub(crate) fn read_start(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a file of bounded size.
pub(crate) fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let bytes = read_start(path, bytes_max + 1)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {bytes_max} bytes")));
    }
    Ok(bytes)
}
