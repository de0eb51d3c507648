//! The record in a file: on another volume than the data directory, so that no copy brings both back.

use std::io;
use std::path::{Path, PathBuf};

use super::{LOCK_RECORD_MAX_BYTES, LockError, LockStore};
use crate::durable;
use crate::journal::{Disk, Storage as _};

/// A lock record in a file. An advisory lock beside it (`<file>.lock`) makes the swap one step.
#[derive(Debug, Clone)]
pub struct FileLock {
    path: PathBuf,
}

impl FileLock {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    fn fault(&self, what: impl ToString) -> LockError {
        LockError::Unavailable { place: self.place(), what: what.to_string() }
    }

    fn current(&self) -> Result<Option<Vec<u8>>, LockError> {
        match durable::read_bounded(&self.path, LOCK_RECORD_MAX_BYTES as u64) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.fault(error)),
        }
    }
}

impl LockStore for FileLock {
    fn read(&self) -> Result<Option<Vec<u8>>, LockError> {
        // A volume that is not mounted is not a log that was never locked.
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !directory.is_dir() {
            return Err(self.fault(format!("there is no directory {}", directory.display())));
        }
        self.current()
    }

    fn swap(&self, expected: Option<&[u8]>, new: &[u8]) -> Result<bool, LockError> {
        let mut name = self.path.clone().into_os_string();
        name.push(".lock");
        let held = Disk.lock(Path::new(&name)).map_err(|error| self.fault(error))?;
        // Another process is at it at this moment: what it leaves there is not what was expected.
        let Some(_held) = held else { return Ok(false) };
        if self.current()?.as_deref() != expected {
            return Ok(false);
        }
        durable::write(&self.path, new, 0o600).map_err(|error| self.fault(error))?;
        Ok(true)
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }
}
