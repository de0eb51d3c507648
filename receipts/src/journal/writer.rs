//! The writer: puts groups of receipts on disk with one sync each, and tells those who wait.
//!
//! A write or sync that failed is never tried again: the kernel may have dropped what it could not write and would report
//! the next sync as good. The log is poisoned instead, and everybody who waits is told. A full disk is no such failure as
//! long as it shows when space is reserved: the writer says so, and looks for space again until there is some.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::chain::ChainValue;
use super::error::Poison;
use super::frame::{FrameParts, FrameType, NOTHING_DURABLE, write_frame};
use super::queue::{OWN_SPACE_BYTES, Queue, Waiter};
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, seal_frame};
use super::sequence::{Group, Placed};
use super::storage::{Lock, Storage, is_full};
use super::tail::Tail;
use super::token::Token;

/// Most bytes that one sync makes durable: what a disk takes in some 10 ms. A waiter is never behind more than this.
pub(crate) const SYNC_MAX_BYTES: usize = 1024 * 1024;

/// Least reserve that the log can work with: its own part, and the longest receipt twice.
const RESERVE_MIN_BYTES: u64 = OWN_SPACE_BYTES + 2 * 64 * 1024;

/// Kept free of the reserve for the seal, which has some 250 bytes.
const SEAL_BYTES: u64 = 512;

/// Pause between two looks for space on a full disk: soon enough for whoever waits, and nothing to the disk.
const SPACE_AGAIN: Duration = Duration::from_millis(250);

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

pub(crate) struct Writer {
    storage: Arc<dyn Storage>,
    directory: PathBuf,
    segment_bytes: u64,
    reserve: u64,
    durable: Arc<Durable>,
    /// Held until the last byte is written.
    _lock: Box<dyn Lock>,
    tail: Tail,
    next_seq: u64,
    chain: ChainValue,
    /// Bytes of all receipts written, over all segments: what the queue's account of space is held against.
    written: u64,
    lack: Option<Lack>,
}

/// What could not be had on a full disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lack {
    /// More reserve in the open segment.
    Reserve,
    /// The next segment, though this one has grown to its limit.
    Segment,
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
    pub(crate) reserve_bytes: u64,
    pub(crate) durable: Arc<Durable>,
    pub(crate) lock: Box<dyn Lock>,
    /// Header of the first segment of this process.
    pub(crate) first: SegmentHeader,
}

impl Writer {
    /// Opens the first segment of this process, durably: never one of a process before.
    pub(crate) fn new(parts: WriterParts) -> Result<Self, Poison> {
        let (next_seq, chain) = (parts.first.first_seq, parts.first.prev_chain);
        let reserve = parts.reserve_bytes.max(RESERVE_MIN_BYTES);
        let making = |error: std::io::Error| Poison::from_io("making a segment", &error);
        let tail = Tail::prepare(&*parts.storage, &parts.directory, parts.first, reserve).map_err(making)?;
        tail.publish(&*parts.storage, &parts.directory).map_err(making)?;
        Ok(Self {
            storage: parts.storage,
            directory: parts.directory,
            segment_bytes: parts.segment_bytes,
            reserve,
            durable: parts.durable,
            _lock: parts.lock,
            tail,
            next_seq,
            chain,
            written: 0,
            lack: None,
        })
    }

    /// Tells the queue how much may be written.
    pub(crate) fn grant(&self, queue: &Queue) {
        queue.grant(self.tail.room().map(|room| self.written + room.saturating_sub(SEAL_BYTES)));
    }

    /// Works until no group comes any more. A failure poisons the queue.
    pub(crate) fn run(mut self, queue: &Queue, groups: &Receiver<Group>) {
        let mut kept: Option<Group> = None;
        loop {
            let mut group = match kept.take().map_or_else(|| self.next_group(queue, groups), |group| Ok(Some(group))) {
                Ok(Some(group)) => group,
                Ok(None) => return,
                Err(poison) => return fail(queue, poison, Vec::new(), groups.iter()),
            };
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
            let written = self.write(queue, &mut group.receipts, &mut waiters);
            let written = written.and_then(|()| if group.ends_log { self.seal() } else { Ok(()) });
            if let Err(poison) = written {
                return fail(queue, poison, waiters, std::iter::once(group).chain(groups.iter()).chain(kept));
            }
            for (waiter, token) in waiters {
                waiter.tell(Ok(token));
            }
            if group.ends_log {
                return;
            }
            // After the waiters, who need not wait for it.
            if let Err(poison) = self.make_room(queue) {
                return fail(queue, poison, Vec::new(), groups.iter().chain(kept));
            }
        }
    }

    /// The next group; looks for space while there is none.
    fn next_group(&mut self, queue: &Queue, groups: &Receiver<Group>) -> Result<Option<Group>, Poison> {
        while let Some(lack) = self.lack {
            match groups.recv_timeout(SPACE_AGAIN) {
                Ok(group) => return Ok(Some(group)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => match lack {
                    Lack::Reserve => self.make_room(queue)?,
                    Lack::Segment => self.rotate(queue)?,
                },
            }
        }
        Ok(groups.recv().ok())
    }

    /// Writes receipts and makes them durable, over as many segments as it takes.
    fn write(
        &mut self,
        queue: &Queue,
        receipts: &mut [Placed],
        waiters: &mut Vec<(Waiter, Token)>,
    ) -> Result<(), Poison> {
        let mut buffer = Vec::with_capacity(SYNC_MAX_BYTES / 4);
        for placed in receipts {
            let filled = self.tail.bytes + buffer.len() as u64;
            let over = filled + placed.frame_bytes() as u64 > self.segment_bytes;
            // What has its number was promised its place: without a next segment it goes into this one's reserve.
            if over && filled > SEGMENT_HEADER_BYTES as u64 && self.lack != Some(Lack::Segment) {
                self.flush(&mut buffer)?;
                self.rotate(queue)?;
            }
            write_frame(
                FrameParts {
                    kind: FrameType::Receipt,
                    key_index: placed.key.index,
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
                    key_id: placed.key.id.clone(),
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
        self.tail.append(buffer).map_err(|error| Poison::from_io("writing receipts", &error))?;
        self.written += buffer.len() as u64;
        buffer.clear();
        self.durable.0.store(self.next_seq, Ordering::Release);
        Ok(())
    }

    /// Ends the open segment with its seal.
    fn seal(&mut self) -> Result<(), Poison> {
        let durable_hwm = self.durable.count().checked_sub(1).unwrap_or(NOTHING_DURABLE);
        let frame = seal_frame(self.next_seq, self.tail.header.first_seq, durable_hwm, &self.chain, self.tail.bytes);
        self.tail.append(&frame).map_err(|error| Poison::from_io("sealing a segment", &error))?;
        self.tail.release();
        Ok(())
    }

    /// Ends the open segment and begins the next. The next one has its space before this one lets go of its own; on a full
    /// disk this one stays.
    fn rotate(&mut self, queue: &Queue) -> Result<(), Poison> {
        let making = |error: std::io::Error| Poison::from_io("making a segment", &error);
        let header = SegmentHeader {
            number: self.tail.header.number + 1,
            first_seq: self.next_seq,
            prev_chain: self.chain,
            created_ns: now_ns(),
            ..self.tail.header.clone()
        };
        let next = match Tail::prepare(&*self.storage, &self.directory, header, self.reserve) {
            Ok(next) => next,
            Err(error) if is_full(&error) && self.tail.room().is_some() => {
                self.lacks(Lack::Segment, queue);
                return Ok(());
            }
            Err(error) => return Err(making(error)),
        };
        self.seal()?;
        next.publish(&*self.storage, &self.directory).map_err(making)?;
        self.tail = next;
        self.has_space(queue);
        Ok(())
    }

    /// Keeps the reserve full.
    fn make_room(&mut self, queue: &Queue) -> Result<(), Poison> {
        if self.lack == Some(Lack::Segment) {
            return Ok(());
        }
        // A disk that was full must have more than the least again, so that a few bytes that come and go do not end it.
        let room = if self.lack.is_some() { self.reserve + self.reserve / 4 } else { self.reserve };
        // No more ahead than the segment may still grow.
        let ahead = self.reserve.min(self.segment_bytes.saturating_sub(self.tail.bytes));
        match self.tail.make_room(room, ahead) {
            Ok(()) => self.has_space(queue),
            Err(error) if is_full(&error) => self.lacks(Lack::Reserve, queue),
            Err(error) => return Err(Poison::from_io("reserving space", &error)),
        }
        Ok(())
    }

    fn lacks(&mut self, lack: Lack, queue: &Queue) {
        if self.lack.replace(lack).is_none() {
            queue.set_full(true);
        }
    }

    fn has_space(&mut self, queue: &Queue) {
        self.grant(queue);
        if self.lack.take().is_some() {
            queue.set_full(false);
        }
    }
}

/// Ends the log for good, and tells everybody who waits.
fn fail(queue: &Queue, poison: Poison, waiters: Vec<(Waiter, Token)>, groups: impl Iterator<Item = Group>) {
    let poison = queue.poison(poison);
    for (waiter, _) in waiters {
        waiter.tell(Err(poison.to_append_error()));
    }
    for placed in groups.flat_map(|group| group.receipts) {
        if let Some(waiter) = placed.waiter {
            waiter.tell(Err(poison.to_append_error()));
        }
    }
}

fn group_bytes(group: &Group) -> usize {
    group.receipts.iter().map(Placed::frame_bytes).sum()
}

/// Nanoseconds since 1970.
pub(crate) fn now_ns() -> u64 {
    let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    elapsed.map_or(0, |elapsed| u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
}
