//! What the journal needs of a file system, so that tests can lose power, fail a sync or run out of space in its place.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::Path;

use crate::durable;

/// A file system as the journal uses it.
pub(crate) trait Storage: Send + Sync + fmt::Debug {
    /// Makes a directory if it is not there.
    fn create_directory(&self, path: &Path) -> io::Result<()>;
    /// Names of the files in a directory, in any order.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>>;
    /// Makes a file, empty.
    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>>;
    /// Replaces what bears the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the content of a finished file durable.
    fn sync_file(&self, path: &Path) -> io::Result<()>;
    /// Makes names in a directory durable.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;
    /// Takes the directory for this process; `None` when another has it. Held until dropped.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>>;
}

/// A file that is written from start to end.
pub(crate) trait StorageFile: Send {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Returns when content and length are on the disk.
    fn sync(&mut self) -> io::Result<()>;
}

/// A held lock.
pub(crate) trait Lock: Send {}

/// The real thing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Disk;

impl Storage for Disk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        durable::create_directory(path, 0o700)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        std::fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(File::open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        Ok(Box::new(durable::create(path, 0o600)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        durable::sync_directory(directory)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let file = File::options().create(true).write(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

impl StorageFile for File {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        io::Write::write_all(self, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        // fdatasync: content and the length that is needed to read it.
        self.flush()?;
        self.sync_data()
    }
}

impl Lock for File {}
