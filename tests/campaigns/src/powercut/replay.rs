//! Cuts the power at a place in a record: makes the disk as it may be found afterwards, and mounts it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::device::{DISK_BYTES, Loop, Mounted};
use super::record::{Record, SECTOR};
use crate::dice::Dice;

const LOST: usize = 0;
const TORN: usize = 1;
const KEPT: usize = 2;

#[derive(Debug)]
pub(super) struct Replay {
    record: Record,
    place: PathBuf,
    mount_options: String,
    /// Sectors as they are for certain, up to the entry `applied`.
    disk: BTreeMap<u64, Vec<u8>>,
    applied: usize,
}

impl Replay {
    pub(super) fn new(place: &Path, record: Record, mount_options: &str) -> io::Result<Replay> {
        let (place, mount_options) = (place.to_owned(), mount_options.to_owned());
        Ok(Replay { record, place, mount_options, disk: BTreeMap::new(), applied: 0 })
    }

    /// The disk when the power failed after `point` entries, mounted; or why it cannot be. Points only go up. What was flushed
    /// is there. Of the rest each write is lost, torn or kept, as the dice decide; one that asked to be durable is kept.
    pub(super) fn cut(&mut self, point: usize, dice: &mut Dice) -> io::Result<(Result<Mounted, String>, [usize; 3])> {
        let flushed = self.record.entries[..point].iter().rposition(|entry| entry.flush).map_or(0, |at| at + 1);
        for index in self.applied..flushed.max(self.applied) {
            for (sector, bytes) in self.sectors(index)? {
                self.disk.insert(sector, bytes);
            }
        }
        self.applied = self.applied.max(flushed);
        let (mut after, mut fates) = (BTreeMap::new(), [0; 3]);
        for index in self.applied..point {
            let sectors = self.sectors(index)?;
            if sectors.is_empty() {
                continue;
            }
            let fate = match dice.below(4) {
                _ if self.record.entries[index].durable => KEPT,
                0 => LOST,
                1 => TORN,
                _ => KEPT,
            };
            fates[fate] += 1;
            for (sector, bytes) in sectors {
                if fate == KEPT || (fate == TORN && dice.coin()) {
                    after.insert(sector, bytes);
                }
            }
        }
        let image = self.place.join("cut");
        let file = File::create(&image)?;
        file.set_len(DISK_BYTES)?;
        let changed = |sector: &u64| after.contains_key(sector);
        for (sector, bytes) in self.disk.iter().filter(|(sector, _)| !changed(sector)).chain(&after) {
            file.write_all_at(bytes, sector * SECTOR)?;
        }
        let mounted = Mounted::new(Loop::new(&image)?, &self.place.join("cut-mounted"), &self.mount_options);
        Ok((mounted.map_err(|error| format!("the file system cannot be mounted: {error}")), fates))
    }

    /// The sectors that an entry wrote.
    fn sectors(&self, index: usize) -> io::Result<Vec<(u64, Vec<u8>)>> {
        let entry = self.record.entries[index];
        let data = self.record.data(&entry)?;
        let pieces = data.chunks(SECTOR as usize).map(<[u8]>::to_vec);
        Ok((entry.sector..).zip(pieces).collect())
    }
}
