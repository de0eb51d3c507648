//! Reads the record of a block device: the format of dm-log-writes, little-endian, in sectors.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
/// Head of an entry: sector, sectors, flags, length of data; then to the end of a sector.
const HEAD_BYTES: usize = 32;
/// Sectors in which the entries count.
pub(super) const SECTOR: u64 = 512;

/// What was done to the device, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// Where it was written.
    pub(super) sector: u64,
    /// How many sectors; 0 for a flush alone.
    pub(super) sectors: u64,
    /// Everything that had been written before is durable.
    pub(super) flush: bool,
    /// This write itself is durable when it is done.
    pub(super) durable: bool,
    pub(super) discard: bool,
    /// Where its data is in the record.
    data_at: u64,
}

#[derive(Debug)]
pub(super) struct Record {
    file: File,
    sector_bytes: u64,
    pub(super) entries: Vec<Entry>,
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Entries in a record that is being written.
pub(super) fn entry_count(path: &Path) -> io::Result<usize> {
    let mut head = [0; 28];
    File::open(path)?.read_exact_at(&mut head, 0)?;
    if number(&head, 0) != MAGIC {
        return Err(io::Error::other("no record of a block device"));
    }
    Ok(number(&head, 16) as usize)
}

impl Record {
    pub(super) fn read(path: &Path) -> io::Result<Record> {
        let count = entry_count(path)?;
        let file = File::open(path)?;
        let mut head = [0; 28];
        file.read_exact_at(&mut head, 0)?;
        let sector_bytes = u64::from(u32::from_le_bytes(head[24..28].try_into().unwrap()));
        let (mut entries, mut at) = (Vec::with_capacity(count), sector_bytes);
        for _ in 0..count {
            let mut head = [0; HEAD_BYTES];
            file.read_exact_at(&mut head, at)?;
            at += sector_bytes;
            let (sectors, flags) = (number(&head, 8), number(&head, 16));
            let entry = Entry {
                sector: number(&head, 0),
                sectors,
                flush: flags & FLUSH != 0,
                durable: flags & FUA != 0,
                discard: flags & DISCARD != 0,
                data_at: at,
            };
            if !entry.discard {
                at += sectors * sector_bytes;
            }
            entries.push(entry);
        }
        Ok(Record { file, sector_bytes, entries })
    }

    /// What an entry wrote.
    pub(super) fn data(&self, entry: &Entry) -> io::Result<Vec<u8>> {
        let length = if entry.discard { 0 } else { entry.sectors * self.sector_bytes };
        let mut data = vec![0; length as usize];
        self.file.read_exact_at(&mut data, entry.data_at)?;
        Ok(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_behind_each_others_data() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record");
        let mut bytes =
            [&MAGIC.to_le_bytes()[..], &1u64.to_le_bytes(), &3u64.to_le_bytes(), &512u32.to_le_bytes()].concat();
        bytes.resize(512, 0);
        for (sector, sectors, flags) in [(8u64, 2u64, 0u64), (0, 0, FLUSH), (9, 1, FUA)] {
            let mut entry = [sector, sectors, flags, 0].map(u64::to_le_bytes).concat();
            entry.resize(512, 0);
            bytes.extend(entry);
            bytes.extend(vec![sector as u8; (sectors * 512) as usize]);
        }
        std::fs::write(&path, bytes).unwrap();
        let record = Record::read(&path).unwrap();
        let shown: Vec<_> = record.entries.iter().map(|e| (e.sector, e.sectors, e.flush, e.durable)).collect();
        assert_eq!(shown, [(8, 2, false, false), (0, 0, true, false), (9, 1, false, true)]);
        assert_eq!(record.data(&record.entries[0]).unwrap(), [8; 1024]);
        assert_eq!(record.data(&record.entries[2]).unwrap(), [9; 512]);
        assert_eq!(entry_count(&path).unwrap(), 3);
    }
}
