//! The segment that is being written, and the space reserved beyond its end.

use std::io;
use std::path::Path;

use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, segment_name};
use super::storage::{Storage, StorageFile};
use crate::durable::temporary;

/// A segment open for writing.
pub(super) struct Tail {
    file: Box<dyn StorageFile>,
    pub(super) header: SegmentHeader,
    /// Bytes written and synced.
    pub(super) bytes: u64,
    /// Space is reserved up to here; `None` where the file system cannot.
    reserved: Option<u64>,
}

impl Tail {
    /// Makes a segment under its temporary name, with its header and this much space beyond.
    pub(super) fn prepare(
        storage: &dyn Storage,
        directory: &Path,
        header: SegmentHeader,
        reserve: u64,
    ) -> io::Result<Self> {
        let unfinished = temporary(&directory.join(segment_name(header.first_seq)));
        let prepare = || -> io::Result<Self> {
            let mut file = storage.create(&unfinished)?;
            let bytes = SEGMENT_HEADER_BYTES as u64;
            let reserved = file.reserve(0, bytes + reserve)?.then_some(bytes + reserve);
            file.write_all(&header.to_bytes())?;
            file.sync()?;
            Ok(Self { file, header, bytes, reserved })
        };
        // What could not be finished must not take the last space there is.
        prepare().inspect_err(|_| drop(storage.remove(&unfinished)))
    }

    /// Gives the segment its name, durably: from then on receipts may go into it.
    pub(super) fn publish(&self, storage: &dyn Storage, directory: &Path) -> io::Result<()> {
        let path = directory.join(segment_name(self.header.first_seq));
        storage.rename(&temporary(&path), &path)?;
        storage.sync_directory(directory)
    }

    /// Appends bytes and returns when they are on disk.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.file.sync()?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Space beyond the end; `None` where the file system cannot tell.
    pub(super) fn room(&self) -> Option<u64> {
        self.reserved.map(|reserved| reserved.saturating_sub(self.bytes))
    }

    /// Sees to it that there is this much room, with some more ahead if that can be had.
    pub(super) fn make_room(&mut self, room: u64, ahead: u64) -> io::Result<()> {
        let Some(reserved) = self.reserved else { return Ok(()) };
        let wanted = self.bytes + room;
        if reserved >= wanted {
            return Ok(());
        }
        let mut take = |to: u64| -> io::Result<()> {
            self.reserved = self.file.reserve(reserved, to)?.then_some(to);
            Ok(())
        };
        take(wanted + ahead).or_else(|error| if super::storage::is_full(&error) { take(wanted) } else { Err(error) })
    }

    /// Gives back the space that a finished segment does not need.
    pub(super) fn release(&mut self) {
        self.reserved = None;
        self.file.release();
    }
}
