//! Reads whole segments and checks every checksum and chain value in them, several segments at a time: what a long log costs
//! at its start.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::LogError;
use super::chain::{Chain, ChainValue};
use super::frame::{Frame, FrameType};
use super::pruned::is_prune_to;
use super::read::{Next, SegmentReader};
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, origin_digest, segment_name};
use super::storage::Storage;

/// Most segments that are read at one time: more do not make a disk faster. Each takes 512 KiB of memory.
const THREADS_MAX: usize = 4;

/// A walk through a journal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walk<'a> {
    pub(super) storage: &'a dyn Storage,
    pub(super) directory: &'a Path,
    pub(super) origin: &'a str,
    /// Size of the newest checkpoint and the chain value at its end.
    pub(super) checkpoint: Option<(u64, ChainValue)>,
    /// First receipt that a removal left.
    pub(super) cut: Option<u64>,
}

/// A segment walked to its end, or to where it is damaged.
#[derive(Debug)]
pub(super) struct Walked {
    pub(super) header: SegmentHeader,
    /// End of the last whole frame.
    pub(super) good_bytes: u64,
    pub(super) frames: u64,
    pub(super) last: Option<Frame>,
    pub(super) next_seq: u64,
    pub(super) chain: ChainValue,
    pub(super) sealed: bool,
    /// It ends in bytes that are no whole frame.
    pub(super) bad: bool,
    /// A receipt in it says what `pruned.json` does.
    pub(super) prune_recorded: bool,
    fault: Option<LogError>,
}

impl Walked {
    /// The segment, if nothing was found on the way.
    pub(super) fn into_whole(mut self) -> Result<Self, LogError> {
        self.fault.take().map_or(Ok(self), Err)
    }
}

impl Walk<'_> {
    /// Walks the segments that begin with these numbers. The outcome of each is that of reading it alone, in their order; an
    /// error is one of its header.
    pub(super) fn segments(&self, first_seqs: &[u64]) -> Vec<Result<Walked, LogError>> {
        let slots: Vec<Mutex<Option<Result<Walked, LogError>>>> = first_seqs.iter().map(|_| Mutex::default()).collect();
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some((index, first_seq)) =
                Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|index| Some((index, *first_seqs.get(index)?)))
            {
                let walked = self.segment(first_seq, index + 1 == first_seqs.len());
                if let Some(mut slot) = slots.get(index).and_then(|slot| slot.lock().ok()) {
                    *slot = Some(walked);
                }
            }
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let helpers = cores.min(THREADS_MAX).min(first_seqs.len()).saturating_sub(1);
        std::thread::scope(|scope| {
            for _ in 0..helpers {
                // A thread that cannot be had is not needed: this one does what is left.
                let _ = std::thread::Builder::new().name("clyra-recover".into()).spawn_scoped(scope, work);
            }
            work();
        });
        let outcome = |slot: Mutex<Option<Result<Walked, LogError>>>| {
            let walked = slot.into_inner().ok().flatten();
            walked.unwrap_or_else(|| Err(LogError::Thread(std::io::Error::other("a segment was not read to its end"))))
        };
        slots.into_iter().map(outcome).collect()
    }

    fn segment(&self, first_seq: u64, is_last: bool) -> Result<Walked, LogError> {
        let path = self.directory.join(segment_name(first_seq));
        let io = |source| LogError::Io { path: path.clone(), source };
        let (mut reader, header) = SegmentReader::open(self.storage.open(&path).map_err(io)?).map_err(io)?;
        let header = header.ok_or_else(|| LogError::CorruptMiddle {
            segment: path.clone(),
            offset: 0,
            what: "its header is damaged",
        })?;
        if header.origin_sha256 != origin_digest(self.origin) {
            return Err(LogError::Origin { directory: self.directory.to_owned(), origin: self.origin.to_owned() });
        }
        let mut walked = Walked {
            chain: header.prev_chain,
            header,
            good_bytes: SEGMENT_HEADER_BYTES as u64,
            frames: 0,
            last: None,
            next_seq: first_seq,
            sealed: false,
            bad: false,
            prune_recorded: false,
            fault: None,
        };
        walked.fault = self.frames(&mut reader, &path, is_last, &mut walked).err();
        Ok(walked)
    }

    fn frames(
        &self,
        reader: &mut SegmentReader,
        path: &Path,
        is_last: bool,
        walked: &mut Walked,
    ) -> Result<(), LogError> {
        let corrupt = |offset, what| LogError::CorruptMiddle { segment: path.to_owned(), offset, what };
        let io = |source| LogError::Io { path: path.to_owned(), source };
        let chains = Chain::default();
        loop {
            let offset = reader.offset();
            let frame = match reader.next().map_err(io)? {
                Next::End => return Ok(()),
                Next::Bad if is_last && !walked.sealed => {
                    if reader.has_later_frame(walked.next_seq).map_err(io)? {
                        return Err(corrupt(offset, "a whole frame follows"));
                    }
                    walked.bad = true;
                    return Ok(());
                }
                Next::Bad => return Err(corrupt(offset, "the segment was finished")),
                Next::Frame(frame) => frame,
            };
            if walked.sealed {
                return Err(corrupt(offset, "a frame follows the seal"));
            }
            if frame.header.seq != walked.next_seq {
                return Err(corrupt(offset, "its sequence number does not continue"));
            }
            match frame.header.kind {
                FrameType::Seal => walked.sealed = true,
                FrameType::Receipt => {
                    let chain = chains.value(walked.next_seq, &frame.body);
                    if chain != frame.header.chain {
                        return Err(corrupt(offset, "its chain value is not that of its body"));
                    }
                    if let Some((size, expected)) = self.checkpoint
                        && walked.next_seq + 1 == size
                        && chain != expected
                    {
                        let directory = self.directory.to_owned();
                        return Err(LogError::Fork { directory, seq: walked.next_seq, size });
                    }
                    walked.prune_recorded |= self.cut.is_some_and(|cut| is_prune_to(&frame.body, cut));
                    walked.chain = chain;
                    walked.next_seq += 1;
                    walked.frames += 1;
                    walked.last = Some(frame);
                }
            }
            walked.good_bytes = reader.offset();
        }
    }
}
