//! The serial heart of the log: gives each receipt its number, time and chain value, then has it signed.
//!
//! The chain covers bodies and not signatures, so placing is a matter of microseconds and signing runs beside the writer's
//! sync, on several cores when a group is large.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Instant;

use super::chain::{Chain, ChainValue, run_start_value};
use super::queue::{Closing, Job, Queue, Taken, Waiter};
use crate::canonical::write_record;
use crate::keys::{ALG, ReceiptKey};
use crate::receipt::{Draft, FORMAT, LifeEntry, Member, RECEIPT_PAYLOAD_TYPE, Shutdown};
use crate::{clock, dsse, hex};

/// Agent runs whose position the log remembers. A run that is forgotten (least recently used first) or that outlives the
/// process begins again at 0: its receipts stay covered by the log's own chain. 16,384 runs are some 6 MiB.
pub(crate) const RUNS_MAX: usize = 16_384;

/// A thread is started for signing from this many receipts on: below, starting it costs as much as it saves.
const SIGN_PER_THREAD: usize = 24;

/// A receipt with its place, and signed.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) seq: u64,
    pub(crate) chain: ChainValue,
    pub(crate) body: Vec<u8>,
    pub(crate) signature: [u8; 64],
    pub(crate) waiter: Option<Waiter>,
}

/// What goes to the writer.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) receipts: Vec<Placed>,
    /// After this group the segment is sealed and the log ends in good order.
    pub(crate) ends_log: bool,
}

/// Where the chain stands, and the members that are the same in every receipt of this process.
#[derive(Debug)]
pub(crate) struct Sequencer {
    next_seq: u64,
    first_seq: u64,
    last_chain: ChainValue,
    chain: Chain,
    runs: Runs,
    constant: Vec<Member>,
    started: Instant,
    key: Arc<ReceiptKey>,
    sign_threads: usize,
}

/// The members that do not change while the process lives.
#[derive(Debug)]
pub(crate) struct Constants<'a> {
    pub(crate) origin: &'a str,
    pub(crate) boot_id: String,
    pub(crate) epoch: u64,
    pub(crate) durability: &'static str,
    pub(crate) build: &'a crate::receipt::BuildInfo,
}

fn written<T: serde::Serialize>(record: &T) -> Vec<u8> {
    let mut out = Vec::new();
    write_record(record, &mut out);
    out
}

impl Sequencer {
    pub(crate) fn new(next_seq: u64, last_chain: ChainValue, key: Arc<ReceiptKey>, constants: &Constants<'_>) -> Self {
        #[derive(serde::Serialize)]
        struct Boot<'a> {
            #[serde(serialize_with = "crate::receipt::count")]
            epoch: u64,
            id: &'a str,
        }
        let boot = Boot { epoch: constants.epoch, id: &constants.boot_id };
        let constant = vec![
            ("alg", written(&ALG)),
            ("boot", written(&boot)),
            ("build", written(constants.build)),
            ("dur", written(&constants.durability)),
            ("key_id", written(&key.public.id())),
            ("log", written(&constants.origin)),
            ("v", written(&FORMAT)),
        ];
        Self {
            next_seq,
            first_seq: next_seq,
            last_chain,
            chain: Chain::default(),
            runs: Runs::default(),
            constant,
            started: Instant::now(),
            key,
            sign_threads: std::thread::available_parallelism().map_or(1, usize::from).min(4),
        }
    }

    /// Works until the queue closes or the writer is gone.
    pub(crate) fn run(mut self, queue: &Queue, writer: &SyncSender<Group>) {
        loop {
            let (jobs, ends_log) = match queue.take() {
                Taken::Jobs(jobs) => (jobs, false),
                Taken::Closed(Closing::Abandoned) => return,
                Taken::Closed(Closing::Graceful) => {
                    let receipts = self.next_seq - self.first_seq + 1;
                    let draft = Draft::life(&LifeEntry::Shutdown(Shutdown { receipts }));
                    (vec![Job { draft, waiter: Waiter::new(Box::new(|_| {})) }], true)
                }
            };
            let mut receipts: Vec<Placed> =
                jobs.into_iter().map(|job| self.place(&job.draft, Some(job.waiter))).collect();
            self.sign(&mut receipts);
            // A writer that is gone drops the group, and with it every waiter is told.
            if writer.send(Group { receipts, ends_log }).is_err() || ends_log {
                return;
            }
        }
    }

    pub(crate) fn place(&mut self, draft: &Draft, waiter: Option<Waiter>) -> Placed {
        let seq = self.next_seq;
        let elapsed = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let run = draft.run.as_ref().map(|run| {
            let (position, prev) = self.runs.position(&run.id);
            (run, position, prev)
        });
        let mut own: Vec<Member> = vec![
            ("mono_ns", written(&elapsed.to_string())),
            ("prev", written(&hex::encode(&self.last_chain))),
            ("seq", written(&seq.to_string())),
            ("ts", written(&clock::now())),
        ];
        if let Some((run, position, prev)) = &run {
            #[derive(serde::Serialize)]
            struct Run<'a> {
                id: &'a str,
                #[serde(skip_serializing_if = "Option::is_none")]
                parent: Option<&'a str>,
                #[serde(skip_serializing_if = "Vec::is_empty")]
                parents: Vec<String>,
                prev: String,
                seq: String,
            }
            let run = Run {
                id: &run.id,
                parent: run.parent.as_deref(),
                parents: run.parents.iter().map(u64::to_string).collect(),
                prev: hex::encode(prev),
                seq: position.to_string(),
            };
            own.push(("run", written(&run)));
        }
        let body = join(&[&draft.members, &self.constant, &own]);
        let chain = self.chain.value(seq, &body);
        if let Some((run, position, _)) = run {
            self.runs.advance(&run.id, position, chain);
        }
        self.last_chain = chain;
        self.next_seq += 1;
        Placed { seq, chain, body, signature: [0; 64], waiter }
    }

    pub(crate) fn sign(&self, receipts: &mut [Placed]) {
        let key = &self.key.private;
        let sign = |part: &mut [Placed]| {
            for placed in part {
                placed.signature = dsse::sign(key, RECEIPT_PAYLOAD_TYPE, &placed.body);
            }
        };
        let parts = (receipts.len() / SIGN_PER_THREAD).clamp(1, self.sign_threads);
        let size = receipts.len().div_ceil(parts).max(1);
        std::thread::scope(|scope| {
            let mut parts = receipts.chunks_mut(size);
            let mine = parts.next();
            let mut refused = Vec::new();
            for part in parts {
                // The closure owns the part; keep a way to it in case no thread can be had.
                let slot = std::sync::Arc::new(std::sync::Mutex::new(Some(part)));
                let theirs = Arc::clone(&slot);
                let spawned = std::thread::Builder::new().name("clyra-sign".into()).spawn_scoped(scope, move || {
                    let part = theirs.lock().ok().and_then(|mut part| part.take());
                    part.map(sign);
                });
                if spawned.is_err() {
                    refused.push(slot);
                }
            }
            mine.map(sign);
            for slot in refused {
                let part = slot.lock().ok().and_then(|mut part| part.take());
                part.map(sign);
            }
        });
    }
}

/// One canonical object of members from several lists.
fn join(lists: &[&[Member]]) -> Vec<u8> {
    let mut members: Vec<&Member> = lists.iter().flat_map(|list| list.iter()).collect();
    members.sort_unstable_by_key(|(name, _)| *name);
    let size: usize = members.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    let mut out = Vec::with_capacity(size + 2);
    out.push(b'{');
    for (index, (name, value)) in members.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.push(b'"');
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        out.extend_from_slice(value);
    }
    out.push(b'}');
    out
}

/// Positions of the agent runs, least recently used first out.
#[derive(Debug, Default)]
struct Runs {
    by_id: HashMap<Arc<str>, RunState>,
    by_use: BTreeMap<u64, Arc<str>>,
    clock: u64,
}

#[derive(Debug)]
struct RunState {
    next: u64,
    chain: ChainValue,
    used: u64,
}

impl Runs {
    /// Number of the run's next receipt, and the chain value of the one before.
    fn position(&self, id: &str) -> (u64, ChainValue) {
        self.by_id.get(id).map_or_else(|| (0, run_start_value(id)), |state| (state.next, state.chain))
    }

    fn advance(&mut self, id: &str, position: u64, chain: ChainValue) {
        self.clock += 1;
        let id: Arc<str> = Arc::from(id);
        let state = RunState { next: position + 1, chain, used: self.clock };
        if let Some(before) = self.by_id.insert(Arc::clone(&id), state) {
            self.by_use.remove(&before.used);
        }
        self.by_use.insert(self.clock, id);
        if self.by_id.len() > RUNS_MAX
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.by_id.remove(&oldest);
        }
    }
}
