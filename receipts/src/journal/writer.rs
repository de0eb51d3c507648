//! The writer: puts groups of receipts on disk with one sync each, and tells those who wait.
//!
//! A write or sync that failed is never tried again: the kernel may have dropped what it could not write and would report
//! the next sync as good. The log is poisoned instead, and everybody who waits is told.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;

use super::chain::ChainValue;
use super::error::Poison;
use super::frame::{FrameParts, FrameType, NOTHING_DURABLE, frame_bytes, write_frame};
use super::queue::{Queue, Waiter};
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, seal_frame, segment_name};
use super::sequence::{Group, Placed};
use super::storage::{Lock, Storage, StorageFile};
use super::token::Token;
use crate::durable::temporary;

/// Most bytes that one sync makes durable: what a disk takes in some 10 ms. A waiter is never behind more than this.
pub(crate) const SYNC_MAX_BYTES: usize = 1024 * 1024;

/// What the log has made durable, readable by everybody.
#[derive(Debug)]
pub(crate) struct Durable(AtomicU64);

impl Durable {
    pub(crate) fn new(next_seq: u64) -> Self {
        Self(AtomicU64::new(next_seq))
    }

    /// Number of receipts on disk: the sequence number of the first that is not.
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// The segment that is being written.
struct Open {
    file: Box<dyn StorageFile>,
    header: SegmentHeader,
    bytes: u64,
}

pub(crate) struct Writer {
    storage: Arc<dyn Storage>,
    directory: PathBuf,
    segment_bytes: u64,
    key_id: String,
    durable: Arc<Durable>,
    /// Held until the last byte is written.
    _lock: Box<dyn Lock>,
    open: Open,
    next_seq: u64,
    chain: ChainValue,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Writer").field("next_seq", &self.next_seq).finish_non_exhaustive()
    }
}

/// What a writer is made of.
pub(crate) struct WriterParts {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) directory: PathBuf,
    pub(crate) segment_bytes: u64,
    pub(crate) key_id: String,
    pub(crate) durable: Arc<Durable>,
    pub(crate) lock: Box<dyn Lock>,
    /// Header of the first segment of this process.
    pub(crate) first: SegmentHeader,
}

impl Writer {
    /// Opens the first segment of this process, durably: never one of a process before.
    pub(crate) fn new(parts: WriterParts) -> Result<Self, Poison> {
        let (next_seq, chain) = (parts.first.first_seq, parts.first.prev_chain);
        let open = open_segment(&*parts.storage, &parts.directory, parts.first)?;
        Ok(Self {
            storage: parts.storage,
            directory: parts.directory,
            segment_bytes: parts.segment_bytes,
            key_id: parts.key_id,
            durable: parts.durable,
            _lock: parts.lock,
            open,
            next_seq,
            chain,
        })
    }

    /// Works until no group comes any more. A failure poisons the queue.
    pub(crate) fn run(mut self, queue: &Queue, groups: &Receiver<Group>) {
        let mut kept: Option<Group> = None;
        while let Some(mut group) = kept.take().or_else(|| groups.recv().ok()) {
            let mut bytes = group_bytes(&group);
            while !group.ends_log {
                let Ok(next) = groups.try_recv() else { break };
                bytes += group_bytes(&next);
                if bytes > SYNC_MAX_BYTES {
                    kept = Some(next);
                    break;
                }
                group.ends_log = next.ends_log;
                group.receipts.extend(next.receipts);
            }
            let mut waiters = Vec::with_capacity(group.receipts.len());
            let written = self.write(&mut group.receipts, &mut waiters);
            match written.and_then(|()| if group.ends_log { self.seal() } else { Ok(()) }) {
                Ok(()) => {
                    for (waiter, token) in waiters {
                        waiter.tell(Ok(token));
                    }
                }
                Err(poison) => {
                    let poison = queue.poison(poison);
                    for (waiter, _) in waiters {
                        waiter.tell(Err(poison.to_append_error()));
                    }
                    for mut placed in group.receipts.into_iter().chain(groups.iter().flat_map(|group| group.receipts)) {
                        if let Some(waiter) = placed.waiter.take() {
                            waiter.tell(Err(poison.to_append_error()));
                        }
                    }
                    for placed in kept.into_iter().flat_map(|group| group.receipts) {
                        if let Some(waiter) = placed.waiter {
                            waiter.tell(Err(poison.to_append_error()));
                        }
                    }
                    return;
                }
            }
            if group.ends_log {
                return;
            }
        }
    }

    /// Writes receipts and makes them durable, over as many segments as it takes.
    fn write(&mut self, receipts: &mut [Placed], waiters: &mut Vec<(Waiter, Token)>) -> Result<(), Poison> {
        let mut buffer = Vec::with_capacity(SYNC_MAX_BYTES / 4);
        for placed in receipts {
            let size = frame_bytes(placed.body.len(), placed.signature.len()) as u64;
            let filled = self.open.bytes + buffer.len() as u64;
            if filled + size > self.segment_bytes && filled > SEGMENT_HEADER_BYTES as u64 {
                self.flush(&mut buffer)?;
                self.rotate()?;
            }
            write_frame(
                FrameParts {
                    kind: FrameType::Receipt,
                    seq: placed.seq,
                    durable_hwm: self.durable.count().checked_sub(1).unwrap_or(NOTHING_DURABLE),
                    chain: &placed.chain,
                    body: &placed.body,
                    signature: &placed.signature,
                },
                &mut buffer,
            );
            self.next_seq = placed.seq + 1;
            self.chain = placed.chain;
            if let Some(waiter) = placed.waiter.take() {
                let token = Token {
                    seq: placed.seq,
                    chain: placed.chain,
                    key_id: self.key_id.clone(),
                    signature: placed.signature,
                };
                waiters.push((waiter, token));
            }
        }
        self.flush(&mut buffer)
    }

    fn flush(&mut self, buffer: &mut Vec<u8>) -> Result<(), Poison> {
        if buffer.is_empty() {
            return Ok(());
        }
        self.open.file.write_all(buffer).map_err(|error| Poison::from_io("writing receipts", &error))?;
        self.open.file.sync().map_err(|error| Poison::from_io("syncing receipts", &error))?;
        self.open.bytes += buffer.len() as u64;
        buffer.clear();
        self.durable.0.store(self.next_seq, Ordering::Release);
        Ok(())
    }

    /// Ends the open segment with its seal.
    fn seal(&mut self) -> Result<(), Poison> {
        let durable_hwm = self.durable.count().checked_sub(1).unwrap_or(NOTHING_DURABLE);
        let frame = seal_frame(self.next_seq, self.open.header.first_seq, durable_hwm, &self.chain, self.open.bytes);
        self.open.file.write_all(&frame).map_err(|error| Poison::from_io("sealing a segment", &error))?;
        self.open.file.sync().map_err(|error| Poison::from_io("sealing a segment", &error))
    }

    fn rotate(&mut self) -> Result<(), Poison> {
        self.seal()?;
        let header = SegmentHeader {
            number: self.open.header.number + 1,
            first_seq: self.next_seq,
            prev_chain: self.chain,
            created_ns: now_ns(),
            ..self.open.header.clone()
        };
        self.open = open_segment(&*self.storage, &self.directory, header)?;
        Ok(())
    }
}

fn group_bytes(group: &Group) -> usize {
    group.receipts.iter().map(|placed| frame_bytes(placed.body.len(), placed.signature.len())).sum()
}

/// Nanoseconds since 1970.
pub(crate) fn now_ns() -> u64 {
    let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    elapsed.map_or(0, |elapsed| u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
}

/// Makes a segment with its header, durable under its name before the first receipt goes into it.
fn open_segment(storage: &dyn Storage, directory: &std::path::Path, header: SegmentHeader) -> Result<Open, Poison> {
    let failed = |error: std::io::Error| Poison::from_io("making a segment", &error);
    let path = directory.join(segment_name(header.first_seq));
    let unfinished = temporary(&path);
    let mut file = storage.create(&unfinished).map_err(failed)?;
    file.write_all(&header.to_bytes()).map_err(failed)?;
    file.sync().map_err(failed)?;
    storage.rename(&unfinished, &path).map_err(failed)?;
    storage.sync_directory(directory).map_err(failed)?;
    Ok(Open { file, header, bytes: SEGMENT_HEADER_BYTES as u64 })
}
