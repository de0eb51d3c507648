//! `streams/` in the data directory: the leaf hashes of released events, from which a single event can be proven later.
//!
//! What is kept of an event is a hash without a salt, so whoever can read the store can test guesses of short events: it is as
//! private as the data directory, is of bounded size (the oldest go first), and may be switched off. It is no evidence by
//! itself: what comes out of it is compared with the root in the signed outcome. So it is written without syncing, and what
//! a crash leaves half written is passed over.

use std::fs::File;
use std::io::{self, BufReader, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::durable;
use crate::receipt::parse_decimal;
use crate::tree::{Hash, ProofError, Span};

/// Directory of the store in the data directory.
const DIRECTORY: &str = "streams";
const SUFFIX: &str = ".leaves";
const MAGIC: [u8; 4] = *b"PEFS";
/// Magic, count, sequence number.
const HEADER_BYTES: u64 = 16;
const CRC_BYTES: u64 = 4;

/// Most events of one stream that are kept: 512 KiB of hashes. An answer of a hundred thousand words has fewer.
pub const EVENTS_KEPT_MAX: usize = 16_384;

/// A file is ended at this size, which is what one step of forgetting takes away.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The store, written to.
#[derive(Debug)]
pub struct StreamStore {
    directory: PathBuf,
    open: Option<(File, u64)>,
    file_bytes_max: u64,
    bytes_max: u64,
}

impl StreamStore {
    /// Some eight million events.
    pub const BYTES_MAX: u64 = 256 * 1024 * 1024;

    /// Opens the store of a data directory; of more than `bytes_max` bytes the oldest are forgotten.
    pub fn open(data_dir: &Path, bytes_max: u64) -> io::Result<Self> {
        let directory = data_dir.join(DIRECTORY);
        durable::create_directory(&directory, 0o700)?;
        Ok(Self { directory, open: None, file_bytes_max: FILE_BYTES_MAX, bytes_max })
    }

    /// Keeps the leaf hashes of the stream that outcome `seq` is about.
    pub fn append(&mut self, seq: u64, leaves: &[Hash]) -> io::Result<()> {
        let count = u32::try_from(leaves.len()).ok().filter(|_| leaves.len() <= EVENTS_KEPT_MAX);
        let count = count.ok_or(io::ErrorKind::InvalidInput)?;
        let mut record = MAGIC.to_vec();
        record.extend_from_slice(&count.to_be_bytes());
        record.extend_from_slice(&seq.to_be_bytes());
        record.extend_from_slice(leaves.as_flattened());
        record.extend_from_slice(&crc32c::crc32c(&record).to_be_bytes());
        let full = |bytes: &u64| bytes + record.len() as u64 > self.file_bytes_max;
        if self.open.as_ref().is_none_or(|(_, bytes)| full(bytes)) {
            // A process writes into files of its own: the end of another's may be torn.
            self.open = None;
            self.forget(record.len() as u64)?;
            let path = self.directory.join(format!("{seq:020}{SUFFIX}"));
            let file = File::options().create_new(true).append(true).mode(0o600).open(path)?;
            self.open = Some((file, 0));
        }
        let Some((file, bytes)) = &mut self.open else { return Ok(()) };
        *bytes += record.len() as u64;
        let written = file.write_all(&record);
        if written.is_err() {
            // What follows half a record is not found again, so the next goes elsewhere.
            self.open = None;
        }
        written
    }

    /// Removes the oldest files until one more fits.
    fn forget(&self, coming: u64) -> io::Result<()> {
        let mut files = Vec::new();
        for first in firsts(&self.directory)? {
            let path = self.directory.join(format!("{first:020}{SUFFIX}"));
            files.push((path.metadata()?.len(), path));
        }
        let mut total: u64 = files.iter().map(|(bytes, _)| bytes).sum();
        let room = self.bytes_max.saturating_sub(self.file_bytes_max.max(coming));
        for (bytes, path) in files {
            if total <= room {
                break;
            }
            std::fs::remove_file(path)?;
            total -= bytes;
        }
        Ok(())
    }
}

fn firsts(directory: &Path) -> io::Result<Vec<u64>> {
    let mut firsts = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)).filter(|digits| digits.len() == 20);
        let number = digits.and_then(|digits| match digits.trim_start_matches('0') {
            "" => Some(0),
            number => parse_decimal(number),
        });
        firsts.extend(number);
    }
    firsts.sort_unstable();
    Ok(firsts)
}

/// The leaf hashes of the stream that outcome `seq` is about, if they are still kept. What they prove is for the reader to
/// find out.
pub fn find_stream(data_dir: &Path, seq: u64) -> io::Result<Option<Vec<Hash>>> {
    let directory = data_dir.join(DIRECTORY);
    let mut firsts = match firsts(&directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        firsts => firsts?,
    };
    // Outcomes become durable in almost the order in which they are kept: most likely it is in the file that begins last
    // before it.
    let after = firsts.partition_point(|first| *first <= seq);
    let later = firsts.split_off(after);
    for first in firsts.into_iter().rev().chain(later) {
        let path = directory.join(format!("{first:020}{SUFFIX}"));
        if let Some(leaves) = find_in(File::open(path)?, seq)? {
            return Ok(Some(leaves));
        }
    }
    Ok(None)
}

fn find_in(file: File, seq: u64) -> io::Result<Option<Vec<Hash>>> {
    let mut left = file.metadata()?.len();
    let mut input = BufReader::new(file);
    while left >= HEADER_BYTES {
        let mut header = [0; 16];
        input.read_exact(&mut header)?;
        let (magic, rest) = header.split_at(4);
        let (count, own) = rest.split_at(4);
        let count = u32::from_be_bytes(count.try_into().unwrap_or_default());
        let hashes = u64::from(count) * 32;
        let whole = HEADER_BYTES + hashes + CRC_BYTES;
        if magic != MAGIC || count as usize > EVENTS_KEPT_MAX || whole > left {
            return Ok(None);
        }
        left -= whole;
        if own != seq.to_be_bytes() {
            input.seek_relative(i64::try_from(hashes + CRC_BYTES).unwrap_or(i64::MAX))?;
            continue;
        }
        let mut bytes = header.to_vec();
        input.by_ref().take(hashes).read_to_end(&mut bytes)?;
        let mut crc = [0; 4];
        input.read_exact(&mut crc)?;
        if crc != crc32c::crc32c(&bytes).to_be_bytes() {
            return Ok(None);
        }
        let leaves = bytes.get(header.len()..).unwrap_or_default().as_chunks::<32>().0;
        return Ok(Some(leaves.to_vec()));
    }
    Ok(None)
}

/// Proof that one event is in the stream of these leaves, and the stream's root.
pub(crate) fn event_path(leaves: &[Hash], event: u64) -> Result<(Vec<Hash>, Hash), ProofError> {
    use crate::tree::Subtrees as _;
    let mut span = Span::default();
    leaves.iter().for_each(|leaf| span.push(*leaf));
    let size = span.size();
    Ok((span.inclusion(event, size)?, span.subtree(0, size)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::fast_directory;
    use crate::tree::leaf_hash;

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|event| leaf_hash(&event.to_be_bytes())).collect()
    }

    #[test]
    fn streams_are_found_again_by_their_outcome() {
        let directory = fast_directory();
        assert_eq!(find_stream(directory.path(), 7).unwrap(), None);
        let mut store = StreamStore::open(directory.path(), StreamStore::BYTES_MAX).unwrap();
        // Not quite in order, and over two processes.
        for seq in [7, 11, 9, 15] {
            store.append(seq, &leaves(seq)).unwrap();
        }
        let mut store = StreamStore::open(directory.path(), StreamStore::BYTES_MAX).unwrap();
        store.append(20, &leaves(0)).unwrap();
        store.append(14, &leaves(14)).unwrap();
        for seq in [7, 9, 11, 14, 15] {
            assert_eq!(find_stream(directory.path(), seq).unwrap(), Some(leaves(seq)), "{seq}");
        }
        assert_eq!(find_stream(directory.path(), 20).unwrap(), Some(Vec::new()));
        assert_eq!(find_stream(directory.path(), 8).unwrap(), None);
        assert!(store.append(21, &leaves(EVENTS_KEPT_MAX as u64 + 1)).is_err());
    }

    #[test]
    fn a_torn_or_damaged_end_is_passed_over() {
        let directory = fast_directory();
        let mut store = StreamStore::open(directory.path(), StreamStore::BYTES_MAX).unwrap();
        store.append(7, &leaves(3)).unwrap();
        store.append(9, &leaves(5)).unwrap();
        let path = directory.path().join("streams/00000000000000000007.leaves");
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(find_stream(directory.path(), 9).unwrap(), None, "{cut}");
            let first = find_stream(directory.path(), 7).unwrap();
            assert_eq!(first.is_some(), cut >= 16 + 96 + 4, "{cut}");
        }
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            std::fs::write(&path, flipped).unwrap();
            for (seq, count) in [(7, 3), (9, 5)] {
                let found = find_stream(directory.path(), seq).unwrap();
                assert!(found.is_none() || found == Some(leaves(count)), "{seq} at {at}");
            }
        }
    }

    #[test]
    fn the_oldest_are_forgotten_first() {
        let directory = fast_directory();
        let mut store = StreamStore::open(directory.path(), 4096).unwrap();
        store.file_bytes_max = 1024;
        for seq in 0..100 {
            store.append(seq, &leaves(10)).unwrap();
        }
        let kept: Vec<u64> = (0..100).filter(|seq| find_stream(directory.path(), *seq).unwrap().is_some()).collect();
        assert_eq!(kept, Vec::from_iter(kept[0]..100));
        let bytes: u64 = std::fs::read_dir(directory.path().join("streams"))
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        assert!(bytes <= 4096 && kept.len() >= 6, "{bytes} {kept:?}");
    }
}
