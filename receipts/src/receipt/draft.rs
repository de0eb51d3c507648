//! A receipt before the log has placed it: the caller's members already written out, so that the serial part of the log
//! only joins them with its own.
//!
//! A draft always fits. What is too long is shortened in fixed steps, the same for the same entry, and `ext.truncated`
//! counts what was left out: a receipt is never lost because of its size.

use std::io;

use serde::Serialize;
use uuid::Uuid;

use super::BODY_MAX_BYTES;
use super::cut::Cut;
use super::entry::{Entry, Kind, LifeEntry, RunRef};
use super::record::Ext;
use super::written::{Members, member_bytes};
use crate::canonical::{Value, write};

/// Bytes kept free in a body for the members that the log adds: its origin, the ids of the run and of its parent (240 and 128
/// bytes at most, up to six times that when characters are escaped), 32 numbers of parents, digests, times and names.
pub(crate) const LOG_MEMBERS_MAX_BYTES: usize = 6 * 1024;

/// Longest sum of a draft's members.
pub(crate) const DRAFT_MAX_BYTES: usize = BODY_MAX_BYTES - LOG_MEMBERS_MAX_BYTES;

/// Steps of shortening: longest string in bytes, longest list in entries. The first that makes the draft fit is taken.
/// No string is cut below 64 bytes, the length of a hexadecimal digest, so digests always stay whole; at the last step
/// nothing is left but single strings, of which a receipt has fewer than 60.
const STEPS: [(usize, usize); 6] = [(1024, 128), (256, 64), (128, 64), (64, 32), (64, 8), (64, 0)];

/// Space for the values of an ordinary draft, and for the members of any, so that the buffers need not grow.
const USUAL_BYTES: usize = 2 * 1024;
const MEMBERS_MAX: usize = 16;

/// The caller's part of a receipt.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) run: Option<RunRef>,
    pub(crate) members: Members,
    size: usize,
}

impl Draft {
    pub(crate) fn new(entry: &Entry) -> Self {
        let run = match entry {
            Entry::Attempt(attempt) => attempt.run.as_ref(),
            Entry::Outcome(outcome) => outcome.run.as_ref(),
            Entry::Bypass(bypass) => bypass.run.as_ref(),
            _ => None,
        };
        // Its fields are public: what is too long never gets in.
        let run = run.map(RunRef::within_bounds);
        let mut whole = Whole::default();
        describe(entry, &mut whole);
        if let Some(members) = whole.finish() {
            return Self::of(run, members);
        }
        let mut draft = Self::of(run, Members::default());
        for (string_max, list_max) in STEPS {
            let mut shortened = Shortened { cut: Cut::new(string_max, list_max), members: Members::default() };
            describe(entry, &mut shortened);
            draft = Self::of(draft.run, shortened.finish());
            if draft.size <= DRAFT_MAX_BYTES {
                break;
            }
        }
        draft
    }

    pub(crate) fn life(entry: &LifeEntry) -> Self {
        let mut whole = Whole::default();
        match entry {
            LifeEntry::Genesis(genesis) => event(Kind::Genesis, genesis, &mut whole),
            LifeEntry::Boot(boot) => event(Kind::Boot, boot, &mut whole),
            LifeEntry::Shutdown(shutdown) => event(Kind::Shutdown, shutdown, &mut whole),
            LifeEntry::Heartbeat(heartbeat) => event(Kind::Heartbeat, heartbeat, &mut whole),
            LifeEntry::ClockStep(step) => event(Kind::ClockStep, step, &mut whole),
            LifeEntry::KeyRotate(rotate) => event(Kind::KeyRotate, rotate, &mut whole),
        }
        Self::of(None, whole.members)
    }

    fn of(run: Option<RunRef>, members: Members) -> Self {
        let size = members.size();
        Self { run, members, size }
    }

    /// Bytes of the members, for the bounds of the queue.
    pub(crate) fn size(&self) -> usize {
        self.size
    }
}

/// Takes the members of an entry.
trait Sink {
    fn add<T: Serialize>(&mut self, name: &'static str, record: &T);

    fn add_some<T: Serialize>(&mut self, name: &'static str, record: Option<&T>) {
        if let Some(record) = record {
            self.add(name, record);
        }
    }

    fn add_ext(&mut self, ext: &Ext);
}

fn describe(entry: &Entry, to: &mut impl Sink) {
    let kind = entry.kind();
    match entry {
        Entry::Attempt(attempt) => {
            exchange(kind, attempt.id, to);
            to.add("caller", &attempt.caller);
            to.add("checks", &attempt.checks);
            to.add("coverage", &attempt.coverage);
            to.add("findings", &attempt.findings);
            to.add("policy", &attempt.policy);
            to.add("request", &attempt.request);
            to.add_ext(&attempt.ext);
        }
        Entry::Outcome(outcome) => {
            exchange(kind, outcome.id, to);
            to.add("attempt_seq", &outcome.attempt_seq.to_string());
            to.add("caller", &outcome.caller);
            to.add("checks", &outcome.checks);
            to.add("coverage", &outcome.coverage);
            to.add("findings", &outcome.findings);
            to.add("policy", &outcome.policy);
            to.add_some("request", outcome.request.as_ref());
            to.add_some("response", outcome.response.as_ref());
            to.add_some("schema", outcome.schema.as_ref());
            to.add_some("stream", outcome.stream.as_ref());
            to.add_some("upstream", outcome.upstream.as_ref());
            to.add("verdict", &outcome.verdict);
            to.add_ext(&outcome.ext);
        }
        Entry::Bypass(bypass) => {
            exchange(kind, bypass.id, to);
            to.add("caller", &bypass.caller);
            to.add("coverage", &bypass.coverage);
            to.add("policy", &bypass.policy);
            to.add("request", &bypass.request);
            to.add_some("response", bypass.response.as_ref());
            to.add_some("upstream", bypass.upstream.as_ref());
            to.add_some("verdict", bypass.verdict.as_ref());
            to.add_ext(&bypass.ext);
        }
        Entry::PolicyChange(change) => event(kind, change, to),
        Entry::Degraded(degraded) => event(kind, degraded, to),
        Entry::Gap(gap) => event(kind, gap, to),
        Entry::Seal(seal) => event(kind, seal, to),
        Entry::KeyRotate(rotate) => event(kind, rotate, to),
        Entry::KeyRevoke(revoke) => event(kind, revoke, to),
        Entry::Anchor(anchor) => event(kind, anchor, to),
        Entry::Prune(prune) => event(kind, prune, to),
    }
}

fn exchange(kind: Kind, id: Uuid, to: &mut impl Sink) {
    to.add("id", &id);
    to.add("kind", &kind.name());
}

/// A receipt of the log's own life: no exchange, so an id of its own, and all it says in `event`.
fn event<T: Serialize>(kind: Kind, record: &T, to: &mut impl Sink) {
    exchange(kind, Uuid::now_v7(), to);
    to.add("event", record);
}

/// Writes members as they are, and gives up as soon as they do not fit.
struct Whole {
    members: Members,
    size: usize,
    overflow: bool,
}

impl Default for Whole {
    fn default() -> Self {
        Self { members: Members::with_capacity(MEMBERS_MAX, USUAL_BYTES), size: 0, overflow: false }
    }
}

impl Whole {
    fn finish(self) -> Option<Members> {
        (!self.overflow).then_some(self.members)
    }
}

impl Sink for Whole {
    fn add<T: Serialize>(&mut self, name: &'static str, record: &T) {
        if self.overflow {
            return;
        }
        let room = DRAFT_MAX_BYTES.saturating_sub(self.size + member_bytes(name, 0));
        let left = self.members.add(name, |bytes| {
            let mut out = Bounded { bytes, room };
            // Our records serialize without fail (texts as member names, no writer errors but this one).
            serde_json::to_writer(&mut out, record).ok().map(|()| out.room)
        });
        match left {
            Some(left) => self.size += member_bytes(name, room - left),
            None => self.overflow = true,
        }
    }

    fn add_ext(&mut self, ext: &Ext) {
        if !ext.is_empty() {
            self.add("ext", ext);
        }
    }
}

/// A buffer that refuses to grow by more than its room.
struct Bounded<'b> {
    bytes: &'b mut Vec<u8>,
    room: usize,
}

impl io::Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.room = self.room.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes members within the bounds of one step.
struct Shortened {
    cut: Cut,
    members: Members,
}

impl Shortened {
    fn finish(mut self) -> Members {
        let ext = Value::from([(Ext::TRUNCATED, self.cut.report())]);
        self.members.add("ext", |out| write(&ext, out));
        self.members
    }
}

impl Sink for Shortened {
    fn add<T: Serialize>(&mut self, name: &'static str, record: &T) {
        let value = self.cut.value(name, record);
        self.members.add(name, |out| write(&value, out));
    }

    /// Members beyond the format are the first to go.
    fn add_ext(&mut self, ext: &Ext) {
        self.cut.count("ext", ext.len());
    }
}
