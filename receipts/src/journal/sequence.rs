//! The serial heart of the log: gives each receipt its number, time and chain value, then has it signed.
//!
//! The chain covers bodies and not signatures, so placing is a matter of microseconds and signing runs beside the writer's
//! sync. The log's own receipts are made here, because only here it is known what comes next: what a clock did, that the disk
//! is full, that another key takes over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use super::chain::{Chain, ChainValue};
use super::error::Poison;
use super::frame::frame_bytes;
use super::queue::{Closing, Job, Queue, Taken, Waiter, Work};
use super::runs::Runs;
use super::sign::sign;
use crate::canonical::write_record;
use crate::clock::{Clock, MICROS_MAX, rfc3339};
use crate::hex;
use crate::keys::{ALG, Keys, ReceiptKey};
use crate::receipt::{
    ClockStep, Degraded, Draft, FORMAT, Gap, Heartbeat, LifeEntry, Members, RunRef, ServiceState, Shutdown, join,
};

/// How far the wall clock may be from where it should be before that is put on record: more than any time service corrects
/// without being asked.
const CLOCK_STEP_US: u64 = 2_000_000;

/// Wait after a rotation that could not begin (its certificate could not be written) before the next try.
const ROTATE_AGAIN: Duration = Duration::from_secs(60);

/// Space for the values that the log adds to an ordinary receipt, so that their buffer need not grow.
const OWN_BYTES: usize = 512;

/// `reason` of the receipts about a full disk.
const DISK_FULL: &str = "disk_full";

/// A receipt with its place, and signed.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) seq: u64,
    pub(crate) chain: ChainValue,
    pub(crate) body: Vec<u8>,
    pub(crate) signature: [u8; 64],
    pub(crate) key: Arc<KeyLabel>,
    pub(crate) waiter: Option<Waiter>,
}

impl Placed {
    /// Bytes that it takes in the journal.
    pub(crate) fn frame_bytes(&self) -> usize {
        frame_bytes(self.body.len(), self.signature.len())
    }
}

/// What a receipt key is called.
#[derive(Debug)]
pub(crate) struct KeyLabel {
    pub(crate) id: String,
    /// Position among the keys of this process, modulo 2^16.
    pub(crate) index: u16,
}

/// What goes to the writer.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) receipts: Vec<Placed>,
    /// After this group the segment is sealed and the log ends in good order.
    pub(crate) ends_log: bool,
}

/// When a receipt key is replaced.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RotateAfter {
    pub(crate) age: Duration,
    pub(crate) receipts: u64,
}

/// Rotations since the start, for whoever watches.
#[derive(Debug, Default)]
pub(crate) struct Rotations {
    pub(crate) done: AtomicU64,
    pub(crate) failed: AtomicU64,
}

/// The key that signs now.
#[derive(Debug)]
struct InForce {
    key: ReceiptKey,
    label: Arc<KeyLabel>,
    since_ns: u64,
    receipts: u64,
}

/// The two clocks, read together.
#[derive(Debug, Clone, Copy)]
struct Now {
    wall_us: u64,
    mono_ns: u64,
}

/// Where the chain stands, and the members that are the same in every receipt of this process.
#[derive(Debug)]
pub(crate) struct Sequencer {
    next_seq: u64,
    first_seq: u64,
    last_chain: ChainValue,
    chain: Chain,
    runs: Runs,
    constant: Members,
    key_member: Members,
    clock: Arc<dyn Clock>,
    last: Option<Now>,
    keys: Keys,
    in_force: InForce,
    rotate_after: RotateAfter,
    not_before_ns: u64,
    rotations: Arc<Rotations>,
    sign_threads: usize,
}

/// What a sequencer is made of.
#[derive(Debug)]
pub(crate) struct SequencerParts<'a> {
    pub(crate) next_seq: u64,
    pub(crate) last_chain: ChainValue,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) keys: Keys,
    pub(crate) key: ReceiptKey,
    pub(crate) rotate_after: RotateAfter,
    pub(crate) rotations: Arc<Rotations>,
    pub(crate) boot_id: String,
    pub(crate) epoch: u64,
    pub(crate) durability: &'static str,
    pub(crate) build: &'a crate::receipt::BuildInfo,
}

impl Sequencer {
    pub(crate) fn new(parts: SequencerParts<'_>) -> Self {
        #[derive(serde::Serialize)]
        struct Boot<'a> {
            #[serde(serialize_with = "crate::receipt::count")]
            epoch: u64,
            id: &'a str,
        }
        let boot = Boot { epoch: parts.epoch, id: &parts.boot_id };
        let mut constant = Members::default();
        constant.add_plain("alg", ALG);
        constant.add("boot", |out| write_record(&boot, out));
        constant.add("build", |out| write_record(parts.build, out));
        constant.add_plain("dur", parts.durability);
        constant.add("log", |out| write_record(&parts.keys.origin(), out));
        constant.add_plain("v", FORMAT);
        let label = Arc::new(KeyLabel { id: parts.key.public.id(), index: 0 });
        Self {
            next_seq: parts.next_seq,
            first_seq: parts.next_seq,
            last_chain: parts.last_chain,
            chain: Chain::default(),
            runs: Runs::default(),
            constant,
            key_member: key_member(&label),
            in_force: InForce { key: parts.key, label, since_ns: parts.clock.mono_ns(), receipts: 0 },
            clock: parts.clock,
            last: None,
            keys: parts.keys,
            rotate_after: parts.rotate_after,
            not_before_ns: 0,
            rotations: parts.rotations,
            sign_threads: std::thread::available_parallelism().map_or(1, usize::from).min(4),
        }
    }

    /// Works until the queue closes or the writer is gone.
    pub(crate) fn run(mut self, queue: &Queue, writer: &SyncSender<Group>) {
        loop {
            let wait = self.until_rotation();
            if wait.is_some_and(|wait| wait.is_zero()) && !queue.is_full() && self.rotate(queue, writer).is_none() {
                return;
            }
            let mut receipts = Vec::new();
            // Zero means that a rotation could not take place now; the next receipt or a minute brings the next try.
            let taken = queue.take(wait.map(|wait| if wait.is_zero() { ROTATE_AGAIN } else { wait }));
            let ends_log = matches!(taken, Taken::Closed(_));
            match taken {
                Taken::Nothing => continue,
                Taken::Closed(Closing::Abandoned) => return,
                Taken::Jobs(jobs, set_aside) => {
                    self.place_jobs(jobs, &mut receipts);
                    queue.settle(set_aside, bytes_of(&receipts));
                }
                Taken::Full => self.place_degraded(ServiceState::Entered, queue, &mut receipts),
                Taken::Freed { unreceipted } => {
                    self.place_degraded(ServiceState::Left, queue, &mut receipts);
                    self.place_gap(unreceipted, queue, &mut receipts);
                }
                Taken::Closed(Closing::Graceful) => {
                    self.place_gap(queue.take_unreceipted(), queue, &mut receipts);
                    let shutdown = Shutdown { receipts: self.next_seq - self.first_seq + 1 };
                    if !self.place_own(&Draft::life(&LifeEntry::Shutdown(shutdown)), queue, &mut receipts) {
                        return;
                    }
                }
            }
            self.sign(&mut receipts);
            // A writer that is gone drops the group, and with it every waiter is told.
            if writer.send(Group { receipts, ends_log }).is_err() || ends_log {
                return;
            }
        }
    }

    fn now(&self) -> Now {
        Now { wall_us: self.clock.wall_us().min(MICROS_MAX), mono_ns: self.clock.mono_ns() }
    }

    fn place_jobs(&mut self, jobs: Vec<Job>, receipts: &mut Vec<Placed>) {
        for job in jobs {
            let now = self.now();
            receipts.extend(self.place_clock_step(now));
            let placed = match job.work {
                Work::Draft(draft) | Work::Own(draft) => self.place(&draft, Some(job.waiter), now),
                Work::Heartbeat => {
                    let heartbeat = Heartbeat { receipts: self.next_seq - self.first_seq + 1 };
                    self.place(&Draft::life(&LifeEntry::Heartbeat(heartbeat)), Some(job.waiter), now)
                }
            };
            receipts.push(placed);
        }
    }

    /// Places a receipt that nobody asked for, if the reserve holds it.
    fn place_own(&mut self, draft: &Draft, queue: &Queue, receipts: &mut Vec<Placed>) -> bool {
        let Some(set_aside) = queue.set_aside_own(draft) else { return false };
        let before = bytes_of(receipts);
        let now = self.now();
        receipts.extend(self.place_clock_step(now));
        receipts.push(self.place(draft, None, now));
        queue.settle(set_aside, bytes_of(receipts) - before);
        true
    }

    fn place_degraded(&mut self, state: ServiceState, queue: &Queue, receipts: &mut Vec<Placed>) {
        let degraded = Degraded { reason: DISK_FULL.to_owned(), state };
        self.place_own(&Draft::new(&degraded.into()), queue, receipts);
    }

    fn place_gap(&mut self, exchanges: u64, queue: &Queue, receipts: &mut Vec<Placed>) {
        if exchanges > 0 {
            let gap = Gap { exchanges, reason: DISK_FULL.to_owned() };
            self.place_own(&Draft::new(&gap.into()), queue, receipts);
        }
    }

    /// What the wall clock should say now, if that is far from what it says.
    fn stepped(&self, now: Now) -> Option<u64> {
        let last = self.last?;
        let passed_us = now.mono_ns.saturating_sub(last.mono_ns) / 1000;
        let expected = last.wall_us.saturating_add(passed_us).min(MICROS_MAX);
        (now.wall_us.abs_diff(expected) > CLOCK_STEP_US).then_some(expected)
    }

    /// The receipt that goes before one whose time is not what the one before leads to expect.
    fn place_clock_step(&mut self, now: Now) -> Option<Placed> {
        let expected = self.stepped(now)?;
        // Both are at most the year 9999 in microseconds, which is less than 2^58.
        let step_us = now.wall_us.cast_signed() - expected.cast_signed();
        let bound = crate::canonical::INTEGER_MAX;
        let step = ClockStep { from: rfc3339(expected), step_us: step_us.clamp(-bound, bound) };
        Some(self.place(&Draft::life(&LifeEntry::ClockStep(step)), None, now))
    }

    fn place(&mut self, draft: &Draft, waiter: Option<Waiter>, now: Now) -> Placed {
        let seq = self.next_seq;
        let run = draft.run.as_ref().map(|run| {
            let (position, prev) = self.runs.position(&run.id);
            (run, position, prev)
        });
        let mut own = Members::with_capacity(5, OWN_BYTES);
        own.add_plain("mono_ns", &now.mono_ns.to_string());
        own.add_plain("prev", &hex::encode(&self.last_chain));
        own.add_plain("seq", &seq.to_string());
        own.add_plain("ts", &rfc3339(now.wall_us));
        if let Some((run, position, prev)) = &run {
            own.add("run", |out| write_run(run, *position, prev, out));
        }
        let body = join(&[&draft.members, &self.constant, &self.key_member, &own]);
        let chain = self.chain.value(seq, &body);
        if let Some((run, position, _)) = run {
            self.runs.advance(&run.id, position, chain);
        }
        self.last_chain = chain;
        self.last = Some(now);
        self.next_seq += 1;
        self.in_force.receipts += 1;
        Placed { seq, chain, body, signature: [0; 64], key: Arc::clone(&self.in_force.label), waiter }
    }

    fn sign(&self, receipts: &mut [Placed]) {
        sign(&self.in_force.key, receipts, self.sign_threads);
    }

    /// Time until the key is to be replaced; zero when that is due, nothing when it has not signed yet.
    fn until_rotation(&self) -> Option<Duration> {
        if self.in_force.receipts == 0 {
            return None;
        }
        let now = self.clock.mono_ns();
        let not_before = Duration::from_nanos(self.not_before_ns.saturating_sub(now));
        if self.in_force.receipts >= self.rotate_after.receipts {
            return Some(not_before);
        }
        let age = Duration::from_nanos(now.saturating_sub(self.in_force.since_ns));
        Some(self.rotate_after.age.saturating_sub(age).max(not_before))
    }

    /// Puts a new key in the place of the old one, in the order that lets a crash at any point be understood: the rotation is
    /// on disk as the last receipt of the old key, then the certificate of the new one, then its first receipt. Nothing when
    /// the log cannot go on.
    fn rotate(&mut self, queue: &Queue, writer: &SyncSender<Group>) -> Option<()> {
        self.not_before_ns = self.clock.mono_ns().saturating_add(ROTATE_AGAIN.as_nanos() as u64);
        let now = self.now();
        if let Some(step) = self.place_clock_step(now) {
            queue.settle(0, step.frame_bytes() as u64);
            self.send(vec![step], writer)?;
        }
        let staged = match self.keys.stage_receipt_key(self.next_seq + 1) {
            Ok(staged) => staged,
            // Nothing depends on it yet: the old key goes on, and the next try comes.
            Err(_) => {
                self.rotations.failed.fetch_add(1, Ordering::Relaxed);
                return Some(());
            }
        };
        let draft = Draft::life(&LifeEntry::KeyRotate(staged.rotation(self.keys.origin(), &self.in_force.key)));
        let now = self.now();
        // A clock that steps just now would put a receipt between: then later.
        let set_aside = if self.stepped(now).is_some() { None } else { queue.set_aside_own(&draft) };
        let Some(set_aside) = set_aside else {
            self.rotations.failed.fetch_add(1, Ordering::Relaxed);
            return Some(());
        };
        let (tell, told) = sync_channel(1);
        let waiter = Waiter::new(Box::new(move |result| {
            let _ = tell.send(result.is_ok());
        }));
        let placed = self.place(&draft, Some(waiter), now);
        queue.settle(set_aside, placed.frame_bytes() as u64);
        self.send(vec![placed], writer)?;
        if !told.recv().unwrap_or(false) {
            return None;
        }
        let key = match self.keys.publish_receipt_key(staged) {
            Ok(key) => key,
            Err(error) => {
                queue.poison(Poison::from_key("putting a new receipt key in force", &error));
                return None;
            }
        };
        let label = Arc::new(KeyLabel { id: key.public.id(), index: self.in_force.label.index.wrapping_add(1) });
        self.key_member = key_member(&label);
        // The old private key is wiped here.
        self.in_force = InForce { key, label, since_ns: self.clock.mono_ns(), receipts: 0 };
        self.not_before_ns = 0;
        self.rotations.done.fetch_add(1, Ordering::Relaxed);
        Some(())
    }

    fn send(&self, mut receipts: Vec<Placed>, writer: &SyncSender<Group>) -> Option<()> {
        self.sign(&mut receipts);
        writer.send(Group { receipts, ends_log: false }).ok()
    }
}

fn bytes_of(receipts: &[Placed]) -> u64 {
    receipts.iter().map(|placed| placed.frame_bytes() as u64).sum()
}

fn key_member(label: &KeyLabel) -> Members {
    let mut members = Members::default();
    members.add_plain("key_id", &label.id);
    members
}

fn write_run(run: &RunRef, position: u64, prev: &ChainValue, out: &mut Vec<u8>) {
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
    write_record(&run, out);
}
