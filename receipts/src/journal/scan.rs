//! Reads receipts out of a journal's segments in order, from any sequence number on.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::chain::{Chain, ChainValue};
use super::frame::{Frame, FrameType};
use super::read::{Next, SegmentReader};
use super::segment::{segment_first_seq, segment_name};

/// Why the next receipt cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScanError {
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is damaged at byte {offset}", .path.display())]
    Damaged { path: PathBuf, offset: u64 },
    #[error("receipt {0} is not in the journal")]
    Missing(u64),
}

/// First sequence numbers of the segments in a directory, ascending.
pub(crate) fn segments(directory: &Path) -> io::Result<Vec<u64>> {
    let mut first_seqs = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        first_seqs.extend(segment_first_seq(&entry?.file_name().to_string_lossy()));
    }
    first_seqs.sort_unstable();
    Ok(first_seqs)
}

/// A position in a journal.
#[derive(Debug)]
pub(crate) struct JournalScan {
    directory: PathBuf,
    /// Segments not yet opened, last first.
    waiting: Vec<u64>,
    open: Option<(PathBuf, SegmentReader)>,
    next_seq: u64,
    chain: Chain,
}

impl JournalScan {
    /// Stands before receipt `from`.
    pub(crate) fn new(directory: &Path, from: u64) -> Result<Self, ScanError> {
        let io = |source| ScanError::Io { path: directory.to_owned(), source };
        let mut waiting = segments(directory).map_err(io)?;
        let before = waiting.partition_point(|first| *first <= from).saturating_sub(1);
        waiting.drain(..before);
        waiting.reverse();
        let mut scan =
            Self { directory: directory.to_owned(), waiting, open: None, next_seq: 0, chain: Chain::default() };
        scan.next_seq = scan.waiting.last().copied().unwrap_or(0);
        if scan.next_seq > from {
            // Older segments were removed.
            return Err(ScanError::Missing(from));
        }
        while scan.next_seq < from {
            if scan.next()?.is_none() {
                return Err(ScanError::Missing(scan.next_seq));
            }
        }
        Ok(scan)
    }

    /// The next receipt and its chain value; `None` where the journal ends, or ends for now.
    pub(crate) fn next(&mut self) -> Result<Option<(Frame, ChainValue)>, ScanError> {
        loop {
            let Some((path, reader)) = &mut self.open else {
                let Some(first_seq) = self.waiting.pop() else { return Ok(None) };
                let path = self.directory.join(segment_name(first_seq));
                let io = |source| ScanError::Io { path: path.clone(), source };
                let (reader, header) = SegmentReader::open(Box::new(File::open(&path).map_err(io)?)).map_err(io)?;
                if header.is_none_or(|header| header.first_seq != self.next_seq) {
                    return Err(ScanError::Damaged { path, offset: 0 });
                }
                self.open = Some((path, reader));
                continue;
            };
            let offset = reader.offset();
            let damaged = || ScanError::Damaged { path: path.clone(), offset };
            match reader.next().map_err(|source| ScanError::Io { path: path.clone(), source })? {
                Next::Frame(frame) if frame.header.kind == FrameType::Seal => {}
                Next::Frame(frame) => {
                    let chain = self.chain.value(self.next_seq, &frame.body);
                    if frame.header.seq != self.next_seq || frame.header.chain != chain {
                        return Err(damaged());
                    }
                    self.next_seq += 1;
                    return Ok(Some((frame, chain)));
                }
                // In the last segment this is the torn or growing end of the log.
                Next::Bad if self.waiting.is_empty() => return Ok(None),
                Next::Bad => return Err(damaged()),
                Next::End => {
                    if self.waiting.is_empty() {
                        return Ok(None);
                    }
                    self.open = None;
                }
            }
        }
    }

    /// Looks for what was written since the end was met: in the segment that is open, and in those after it.
    pub(crate) fn refresh(&mut self) -> Result<(), ScanError> {
        if let Some((_, reader)) = &mut self.open {
            reader.resume();
        }
        let io = |source| ScanError::Io { path: self.directory.clone(), source };
        // A segment that holds the next receipt and is not the open one begins with it, unless a scan has yet to begin.
        let begun = self.open.is_some();
        let mut firsts = segments(&self.directory).map_err(io)?;
        firsts.retain(|first| *first >= self.next_seq && !(begun && self.is_open(*first)));
        firsts.reverse();
        self.waiting = firsts;
        Ok(())
    }

    fn is_open(&self, first_seq: u64) -> bool {
        let name = segment_name(first_seq);
        self.open.as_ref().is_some_and(|(path, _)| path.file_name().is_some_and(|open| open == name.as_str()))
    }

    /// Sequence number of the next receipt.
    pub(crate) fn position(&self) -> u64 {
        self.next_seq
    }
}
