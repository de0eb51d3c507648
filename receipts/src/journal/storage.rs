//! What the journal needs of a file system, so that tests can lose power, fail a sync or run out of space in its place.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::durable;

/// How long a lock is waited for. A process that has ended lets go of its files a moment later, and one that it was starting
/// holds copies of them until it runs; a supervisor that restarts a sidecar must not find its directory taken by that.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

/// Between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// A file system as the journal uses it.
pub(crate) trait Storage: Send + Sync + fmt::Debug {
    /// Makes a directory if it is not there.
    fn create_directory(&self, path: &Path) -> io::Result<()>;
    /// Names of the files in a directory, in any order.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>>;
    /// Bytes of a file.
    fn length(&self, path: &Path) -> io::Result<u64>;
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
    /// Reserves space for the bytes `[from, to)`, which lie beyond the end, without changing the length. False where the file
    /// system cannot. After a failure for want of space, nothing of the range is reserved.
    fn reserve(&mut self, from: u64, to: u64) -> io::Result<bool>;
    /// Gives back what is reserved beyond the end. Whether that works is of no consequence.
    fn release(&mut self);
}

/// True when the cause is a full disk, or a quota.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A held lock.
pub(crate) trait Lock: Send + Sync {}

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

    fn length(&self, path: &Path) -> io::Result<u64> {
        Ok(std::fs::metadata(path)?.len())
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
        let until = Instant::now() + LOCK_PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(Box::new(file))),
                Err(std::fs::TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(LOCK_PAUSE),
                Err(std::fs::TryLockError::WouldBlock) => return Ok(None),
                Err(std::fs::TryLockError::Error(error)) => return Err(error),
            }
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

    #[cfg(target_os = "linux")]
    fn reserve(&mut self, from: u64, to: u64) -> io::Result<bool> {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;
        let length = to.saturating_sub(from);
        match rustix::io::retry_on_intr(|| fallocate(&*self, FallocateFlags::KEEP_SIZE, from, length)) {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
            Err(error) => {
                // A file system may have got half of it, and keeps that: the last blocks of a full disk.
                let _ = fallocate(&*self, FallocateFlags::KEEP_SIZE | FallocateFlags::PUNCH_HOLE, from, length);
                Err(error.into())
            }
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn reserve(&mut self, _: u64, _: u64) -> io::Result<bool> {
        Ok(false)
    }

    fn release(&mut self) {
        // Cutting a file at its own end keeps every byte and frees what lies beyond.
        if let Ok(metadata) = self.metadata() {
            let _ = self.set_len(metadata.len());
        }
    }
}

impl Lock for File {}
