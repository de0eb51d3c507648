//! The handle on a running log.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use uuid::Uuid;

use super::JOURNAL_DIRECTORY;
use super::chain::genesis_value;
use super::error::{AppendError, LogError, Poison};
use super::queue::{Closing, Job, Queue, Waiter, Work};
use super::recover::{Evidence, Recovered, Removal, recover};
use super::segment::{SegmentHeader, origin_digest};
use super::sequence::{Group, RotateAfter, Rotations, Sequencer, SequencerParts};
use super::storage::{Disk, Storage};
use super::token::Token;
use super::writer::{Durable, Writer, WriterParts, now_ns};
use crate::bundle::newest_checkpoint;
use crate::canonical::{Limits, parse};
use crate::clock::{self, Clock, SystemClock};
use crate::keys::{KeyAccess, KeyError, KeyPlace, Keys, PlainFiles};
use crate::lock::{self, Known, LockError, LockStore};
use crate::receipt::{Boot, BuildInfo, Draft, Entry, Genesis, Kind, LifeEntry, Prune, TornRecord};
use crate::retention::{self, Removed, Retained, Retention, RetentionError, Surroundings, Ways};

/// Groups between placing and writing: what is signed while a sync runs. Their bytes are bounded by the reserve.
const GROUPS_MAX: usize = 64;

/// Longest text of a [`BuildInfo`] member; longer ones are cut.
const BUILD_TEXT_MAX_BYTES: usize = 128;

/// When a receipt must be on disk. It is written into every receipt as `dur`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The attempt before the first byte of the answer is released, the outcome before the last.
    Durable,
    /// The attempt before any byte of the request leaves.
    Strict,
}

impl Durability {
    pub fn name(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::Strict => "strict",
        }
    }
}

/// How to open a log.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// The data directory; the journal is in `journal/`, the keys in `keys/`.
    pub data_dir: PathBuf,
    /// Name of the log, the same at every start: host and path, without scheme, e.g. `checkout.prod.example.com/clyra`.
    pub origin: String,
    pub durability: Durability,
    pub build: BuildInfo,
    /// Hash of the policy in force at the first start, for the genesis receipt.
    pub policy_hash: Option<String>,
    /// A segment is ended before it grows beyond this many bytes.
    pub segment_bytes: u64,
    /// How the log key is opened.
    pub key_access: Arc<dyn KeyAccess>,
    /// Where the lock record is; without one, a restored or copied data directory is not noticed.
    pub lock: Option<Arc<dyn LockStore>>,
    /// Receipts that may wait to be placed; beyond it appends are refused as overloaded.
    pub queue_len: usize,
    /// Space kept free for the log beyond what is written, where the file system can.
    pub reserve_bytes: u64,
    /// A receipt key is replaced after this time …
    pub receipt_key_rotate: Duration,
    /// … or after so many receipts, whichever comes first.
    pub receipt_key_rotate_receipts: u64,
}

impl LogOptions {
    /// 64 MiB: the size that etcd and others settled on; some 30,000 exchanges.
    pub const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
    /// Half a second of receipts at the highest rate that one core can sign.
    pub const QUEUE_LEN: usize = 8192;
    /// Four syncs of the largest size, with what the log itself has to say on a full disk.
    pub const RESERVE_BYTES: u64 = 4 * 1024 * 1024;
    /// An hour: what a thief of the process's memory can sign for is never older.
    pub const RECEIPT_KEY_ROTATE: Duration = Duration::from_secs(3600);
    /// A million: two minutes at the highest rate.
    pub const RECEIPT_KEY_ROTATE_RECEIPTS: u64 = 1_000_000;

    pub fn new(data_dir: impl Into<PathBuf>, origin: &str, build: BuildInfo) -> Self {
        Self {
            data_dir: data_dir.into(),
            origin: origin.to_owned(),
            durability: Durability::Durable,
            build,
            policy_hash: None,
            segment_bytes: Self::SEGMENT_BYTES,
            key_access: Arc::new(PlainFiles),
            lock: None,
            queue_len: Self::QUEUE_LEN,
            reserve_bytes: Self::RESERVE_BYTES,
            receipt_key_rotate: Self::RECEIPT_KEY_ROTATE,
            receipt_key_rotate_receipts: Self::RECEIPT_KEY_ROTATE_RECEIPTS,
        }
    }
}

/// What was found when the log was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootReport {
    /// True when the log was made now.
    pub first_start: bool,
    /// True when the process before shut down in good order (or there was none).
    pub clean: bool,
    pub boot_id: Uuid,
    /// Counts the processes that have served this log, from 1.
    pub epoch: u64,
    /// Sequence number of the last receipt of the process before.
    pub last_seq: Option<u64>,
    /// A torn end that was set aside.
    pub torn: Option<TornTail>,
    /// Id of the receipt key of this process.
    pub key_id: String,
    /// Verifier key of the root: what somebody outside must hold to trust this log.
    pub root_vkey: String,
}

/// Bytes after the last whole receipt, never acknowledged, moved to a file beside the segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    pub segment: String,
    pub offset: u64,
    pub bytes: u64,
}

/// How the log is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogStatus {
    /// Number of receipts on disk: the sequence number of the first that is not.
    pub durable_count: u64,
    /// Highest sequence number on disk.
    pub durable_seq: Option<u64>,
    /// Receipts waiting to be placed.
    pub queue_len: usize,
    /// Code and cause, once a write has failed.
    pub poisoned: Option<String>,
    /// The disk is full: appends are refused until there is space again.
    pub full: bool,
    /// Times that the receipt key was replaced, and times that it should have been and could not.
    pub rotations: u64,
    pub rotations_failed: u64,
    /// Bytes of old segments removed since the start.
    pub pruned_bytes: u64,
    /// Segments that only a legal hold kept at the last removal.
    pub held_segments: u64,
}

/// A handle on the log; clones share it. When the last is dropped without [`Log::shutdown`], what is queued is still
/// written, and the next start finds the log unclean.
#[derive(Debug, Clone)]
pub struct Log(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    queue: Arc<Queue>,
    durable: Arc<Durable>,
    rotations: Arc<Rotations>,
    retained: Retained,
    storage: Arc<dyn Storage>,
    data_dir: PathBuf,
    clock: Arc<dyn Clock>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Handle {
    /// Waits for the log's threads; not when called on one of them (by a waiter's own code), which would be for ever.
    fn join(&self) {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let here = std::thread::current().id();
        if threads.iter().any(|thread| thread.thread().id() == here) {
            return;
        }
        for thread in threads {
            // A thread that ended by a panic has poisoned the queue, which is how it is told.
            let _ = thread.join();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.queue.close(Closing::Abandoned);
        self.join();
    }
}

impl Log {
    /// Opens the log, or makes it with its keys at the first start. Blocks until the `boot` receipt is durable.
    ///
    /// Refuses to start, and changes nothing, when receipts that were acknowledged are missing or damaged.
    pub fn open(options: LogOptions) -> Result<(Log, BootReport), LogError> {
        Self::open_on(options, Arc::new(Disk), Arc::new(SystemClock::start()))
    }

    pub(crate) fn open_on(
        options: LogOptions,
        storage: Arc<dyn Storage>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Log, BootReport), LogError> {
        let directory = options.data_dir.join(JOURNAL_DIRECTORY);
        storage.create_directory(&options.data_dir).map_err(LogError::io(&options.data_dir))?;
        storage.create_directory(&directory).map_err(LogError::io(&directory))?;
        let lock_path = directory.join("LOCK");
        let directory_lock = storage.lock(&lock_path).map_err(LogError::io(&lock_path))?;
        let directory_lock = directory_lock.ok_or_else(|| LogError::Locked(options.data_dir.clone()))?;

        let newest = newest_checkpoint(&options.data_dir)?;
        let known = newest.as_ref().map_or_else(Known::default, |stored| Known {
            frontier: stored.frontier.clone(),
            chain: Some(stored.chain),
        });
        let held = match &options.lock {
            Some(store) => lock::hold(&**store, &options.data_dir, &options.origin, &known),
            None => Ok(()),
        };
        // Of a damaged journal its own check says more.
        if let Err(error) = &held
            && !matches!(error, LockError::Unreadable { .. })
        {
            return Err(error.clone().into());
        }
        let mut keys = open_keys(&options, &*storage, &directory)?;
        let certified = keys.highest_certified_seq().map(|seq| (seq, "a receipt key's certificate"));
        let sealed = newest.as_ref().map(|stored| (stored.checkpoint.size, "the newest checkpoint"));
        let evidence = Evidence {
            durable: certified.into_iter().chain(sealed).collect(),
            checkpoint: newest.map(|stored| (stored.checkpoint.size, stored.chain)),
        };
        let recovered = recover(&*storage, &directory, &options.origin, &evidence)?;
        held?;
        let boot_id = Uuid::now_v7();
        let key = keys.issue_receipt_key(recovered.next_seq)?;
        let life = life(&recovered, &options, &keys);
        let first_chain = match &life.genesis {
            Some(genesis) => genesis_chain(genesis),
            None => recovered.chain,
        };
        let report = BootReport {
            first_start: life.genesis.is_some(),
            clean: life.boot.clean,
            boot_id,
            epoch: life.epoch,
            last_seq: recovered.next_seq.checked_sub(1),
            torn: recovered.torn.as_ref().map(|torn| TornTail {
                segment: torn.segment.clone(),
                offset: torn.offset,
                bytes: torn.bytes,
            }),
            key_id: key.public.id(),
            root_vkey: keys.root().to_vkey(),
        };
        let durable = Arc::new(Durable::new(recovered.next_seq));
        let writer = Writer::new(WriterParts {
            storage: Arc::clone(&storage),
            directory,
            segment_bytes: options.segment_bytes,
            reserve_bytes: options.reserve_bytes,
            durable: Arc::clone(&durable),
            lock: directory_lock,
            first: SegmentHeader {
                origin_sha256: origin_digest(&options.origin),
                number: recovered.next_segment,
                first_seq: recovered.next_seq,
                prev_chain: first_chain,
                boot_id: boot_id.into_bytes(),
                created_ns: now_ns(),
            },
        })
        .map_err(|poison| poison.to_log_error())?;
        let build =
            BuildInfo { digest: options.build.digest.as_deref().map(short), version: short(&options.build.version) };
        let rotations = Arc::<Rotations>::default();
        let sequencer = Sequencer::new(SequencerParts {
            next_seq: recovered.next_seq,
            last_chain: first_chain,
            clock: Arc::clone(&clock),
            keys,
            key,
            rotate_after: RotateAfter {
                age: options.receipt_key_rotate,
                // A key that signs its own end only would be replaced for ever.
                receipts: options.receipt_key_rotate_receipts.max(1),
            },
            rotations: Arc::clone(&rotations),
            boot_id: boot_id.to_string(),
            epoch: life.epoch,
            durability: options.durability.name(),
            build: &build,
        });
        let queue = Arc::new(Queue::new(options.queue_len));
        writer.grant(&queue);
        let handle = Handle {
            queue,
            durable,
            rotations,
            retained: Retained::default(),
            storage,
            data_dir: options.data_dir,
            clock,
            threads: Mutex::default(),
        };
        let log = start(sequencer, writer, handle)?;
        if let Some(genesis) = life.genesis {
            log.append_life(&LifeEntry::Genesis(genesis))?;
        }
        log.append_life(&LifeEntry::Boot(life.boot))?;
        if let Some(Removal { pruned, recorded, left }) = recovered.pruned {
            retention::finish(log.surroundings(), &pruned, recorded, &left, &|prune| log.append_prune(prune))?;
        }
        Ok((log, report))
    }

    /// Records a receipt. Never blocks: `done` runs on a thread of the log when the receipt is on disk; or, with the error,
    /// when it never will be (at once on this thread, if it cannot even be queued). It must be quick and must not call
    /// [`Log::append_blocking`].
    pub fn append(&self, entry: impl Into<Entry>, done: Box<dyn FnOnce(Result<Token, AppendError>) + Send>) {
        self.push(Work::Draft(Draft::new(&entry.into())), done);
    }

    /// Records a receipt and waits until it is on disk.
    pub fn append_blocking(&self, entry: impl Into<Entry>) -> Result<Token, AppendError> {
        self.push_blocking(Work::Draft(Draft::new(&entry.into())))
    }

    /// Records that the log is served and idle; like [`Log::append`].
    pub fn heartbeat(&self, done: Box<dyn FnOnce(Result<Token, AppendError>) + Send>) {
        self.push(Work::Heartbeat, done);
    }

    /// Counts an exchange that was let through although [`AppendError::NoSpace`] was its answer. When there is space again, a
    /// `gap` receipt gives the number.
    pub fn count_unreceipted(&self) {
        self.0.queue.count_unreceipted();
    }

    /// Removes the segments that this retention lets go, oldest first, and records it; `None` when there are none. Blocks
    /// for as long as it takes to read them once.
    pub fn prune(&self, retention: &Retention) -> Result<Option<Removed>, RetentionError> {
        let ways = Ways { append: &|prune| self.append_prune(prune), now_us: self.0.clock.wall_us() };
        retention::prune(self.surroundings(), retention, &self.0.retained, &ways)
    }

    /// On a full disk this is what makes space, so it may use the log's own reserve.
    fn append_prune(&self, prune: Prune) -> Result<(), AppendError> {
        self.push_blocking(Work::Own(Draft::new(&prune.into()))).map(drop)
    }

    fn surroundings(&self) -> Surroundings<'_> {
        Surroundings { storage: &*self.0.storage, data_dir: &self.0.data_dir }
    }

    fn push(&self, work: Work, done: Box<dyn FnOnce(Result<Token, AppendError>) + Send>) {
        self.0.queue.push(Job { work, waiter: Waiter::new(done) });
    }

    fn push_blocking(&self, work: Work) -> Result<Token, AppendError> {
        let (tell, told) = mpsc::sync_channel(1);
        self.push(work, Box::new(move |result| drop(tell.send(result))));
        told.recv().unwrap_or(Err(AppendError::Closed))
    }

    fn append_life(&self, entry: &LifeEntry) -> Result<(), LogError> {
        self.push_blocking(Work::Own(Draft::life(entry))).map(drop).map_err(|error| match self.0.queue.poisoned() {
            Some(poison) => poison.to_log_error(),
            None => LogError::SyncFailed { what: error.to_string() },
        })
    }

    pub fn status(&self) -> LogStatus {
        let durable_count = self.0.durable.count();
        LogStatus {
            durable_count,
            durable_seq: durable_count.checked_sub(1),
            queue_len: self.0.queue.len(),
            poisoned: self.0.queue.poisoned().map(|poison| format!("{}: {}", poison.code, poison.what)),
            full: self.0.queue.is_full(),
            rotations: self.0.rotations.done.load(Ordering::Relaxed),
            rotations_failed: self.0.rotations.failed.load(Ordering::Relaxed),
            pruned_bytes: self.0.retained.pruned_bytes.load(Ordering::Relaxed),
            held_segments: self.0.retained.held_segments.load(Ordering::Relaxed),
        }
    }

    /// Writes what is queued and the `shutdown` receipt, seals the segment, and lets go of the directory. Appends from now on
    /// are refused. Fails when the log was poisoned, before or while doing so.
    pub fn shutdown(self) -> Result<(), LogError> {
        self.0.queue.close(Closing::Graceful);
        self.0.join();
        match self.0.queue.poisoned() {
            Some(poison) => Err(poison.to_log_error()),
            None => Ok(()),
        }
    }
}

fn short(text: &str) -> String {
    text.chars()
        .scan(0, |bytes, character| {
            *bytes += character.len_utf8();
            (*bytes <= BUILD_TEXT_MAX_BYTES).then_some(character)
        })
        .collect()
}

/// Keys that are there, or new ones when there is no log yet.
fn open_keys(options: &LogOptions, storage: &dyn Storage, directory: &std::path::Path) -> Result<Keys, LogError> {
    let access = &*options.key_access;
    let keys = match Keys::open_with(&options.data_dir, access) {
        Err(KeyError::Missing(path)) => {
            let names = storage.list(directory).map_err(LogError::io(directory))?;
            if names.iter().any(|name| super::segment::segment_first_seq(name).is_some()) || path.is_file() {
                return Err(LogError::Keys(KeyError::Missing(path)));
            }
            Keys::init_with(&options.data_dir, &options.origin, &KeyPlace::File, &KeyPlace::File, access)?
        }
        other => other?,
    };
    if keys.origin() != options.origin {
        return Err(LogError::Origin { directory: options.data_dir.clone(), origin: options.origin.clone() });
    }
    Ok(keys)
}

/// The first receipts of a process.
struct Life {
    genesis: Option<Genesis>,
    boot: Boot,
    epoch: u64,
}

fn life(recovered: &Recovered, options: &LogOptions, keys: &Keys) -> Life {
    let genesis = (recovered.next_seq == 0).then(|| Genesis {
        created: clock::now(),
        log: options.origin.clone(),
        policy: options.policy_hash.clone(),
        root: keys.root().id(),
    });
    let last = recovered.last.as_ref();
    let clean = recovered.torn.is_none() && last.is_none_or(|last| last.kind == Some(Kind::Shutdown));
    let torn: Option<TornRecord> = recovered.torn.clone();
    let last_seq = recovered.next_seq.checked_sub(1).map(|seq| seq.to_string());
    Life { genesis, boot: Boot { clean, last_seq, torn }, epoch: last.map_or(1, |last| last.epoch + 1) }
}

/// Chain value before the genesis receipt: over its `event`, exactly as it is written.
fn genesis_chain(genesis: &Genesis) -> super::ChainValue {
    let mut bytes = Vec::new();
    crate::canonical::write_record(genesis, &mut bytes);
    genesis_value(&parse(&bytes, Limits::RECEIPT).unwrap_or(crate::canonical::Value::Null))
}

fn start(sequencer: Sequencer, writer: Writer, handle: Handle) -> Result<Log, LogError> {
    let (to_writer, groups) = mpsc::sync_channel::<Group>(GROUPS_MAX);
    let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
    let keep = |thread| handle.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
    // Whatever way a thread ends, nothing is accepted after it.
    let guard = || EndGuard(Arc::clone(&handle.queue));
    let (queue, ends) = (Arc::clone(&handle.queue), guard());
    let writing = thread("clyra-journal").spawn(move || {
        let _ends = ends;
        writer.run(&queue, &groups);
    });
    keep(writing.map_err(LogError::Thread)?);
    let (queue, ends) = (Arc::clone(&handle.queue), guard());
    let placing = thread("clyra-sequence").spawn(move || {
        let _ends = ends;
        sequencer.run(&queue, &to_writer);
    });
    keep(placing.map_err(LogError::Thread)?);
    Ok(Log(Arc::new(handle)))
}

/// Closes the queue when a thread of the log ends, and poisons it when the thread ends by a panic.
struct EndGuard(Arc<Queue>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.poison(Poison { code: "W004", what: "a thread of the log ended unexpectedly".to_owned() });
        }
        self.0.close(Closing::Abandoned);
    }
}
