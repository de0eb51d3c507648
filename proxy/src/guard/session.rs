//! Inspecting a session: an endless stream of messages in which several answers begin and end.
//!
//! Each thread of messages (an answer, a transcript) has a [`StreamGuard`] of its own, from its first message to its end, so
//! that its texts end where it does and nothing is kept of it afterwards. What stands alone is inspected alone. Messages
//! leave in the order in which they came, whatever thread they are of: one that must wait keeps those behind it. Only a
//! transcript keeps nobody but itself: it may end long after the answer to what was said.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clyra_detectors::Engine;

use super::judge::{Block, Cause, Gap, Judge, Report};
use super::schema::Binding;
use super::stream::{HELD_BYTES_MAX, StreamGuard};
use super::witness::{Inspected, Released};
use crate::json::{Doc, Limits};
use crate::surface::{Item, Live, ResponseFacts, Surface};

/// Threads under way at one time. A conversation has one answer and a few transcripts, with others besides it a handful;
/// beyond, the one that was silent longest is taken to have ended.
pub(super) const THREADS_MAX: usize = 64;

/// Threads that are known to have ended: a message of one of them comes too late to be put together with what has left.
pub(super) const OVER_MAX: usize = 1_024;

/// Messages that wait at one time, which bounds what is kept beside their bytes.
const WAITING_MAX: usize = 1 << 16;

/// Items that an answer is known to have. More than one makes.
const ITEMS_MAX: usize = 256;

/// Items of the client's own that are remembered: it is told of each within moments, if at all.
const OWN_MAX: usize = 1_024;

type Id = [u8; 32];

/// The guard of what a provider says in one session. Pure: messages in, releases out.
pub struct SessionGuard<J, F> {
    surface: &'static Surface,
    live: &'static Live,
    engine: Arc<Engine>,
    /// Makes the judge of what no schema binds.
    judge: F,
    /// What binds answers that begin now.
    bond: Arc<Bond<J>>,
    /// What items of the client's own say, the oldest first.
    own: VecDeque<Id>,
    /// Time since the session began.
    now: Duration,
    /// The longest silent first.
    threads: Vec<Thread<J>>,
    over: VecDeque<Id>,
    /// Messages that have not left, in the order in which they came.
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// Number of the next thread.
    next: u64,
    /// As the provider names it.
    model: Option<String>,
    begun: Vec<u64>,
    /// The answer that the last message was of.
    heard: Option<u64>,
    settled: Vec<Settled<J>>,
}

struct Thread<J> {
    id: Id,
    number: u64,
    aside: bool,
    once: bool,
    /// What binds it, if it is an answer, and the items that it is known to have.
    bond: Option<Arc<Bond<J>>>,
    items: Vec<Id>,
    guard: StreamGuard<J>,
}

/// What answers are held to.
pub struct Bond<J> {
    /// Makes the judge of an answer.
    pub judge: Box<dyn Fn() -> J + Send + Sync>,
    pub bindings: Vec<Binding>,
}

impl<J> std::fmt::Debug for Bond<J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bond").field("bindings", &self.bindings).finish_non_exhaustive()
    }
}

struct Waiting {
    thread: u64,
    of: Of,
    /// Nothing more comes of its thread.
    last: bool,
    bytes: usize,
    /// What may leave of it, once its thread says so.
    ready: Option<Released>,
}

/// What a message is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Answer,
    /// A transcript, say: only its own thread waits for it.
    Aside,
    Nothing,
}

/// A message that may leave.
#[derive(Debug)]
pub struct Leaving {
    pub part: Released,
    /// Number of the answer that it is of.
    pub answer: Option<u64>,
    /// Nothing more of that answer comes.
    pub last: bool,
}

/// How a thread ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// In good order: all of it may leave.
    Ended,
    /// By what it said.
    Blocked,
    /// With the session.
    Abandoned,
}

/// What is known of a thread that has ended.
#[derive(Debug)]
pub struct Settled<J> {
    pub report: Report,
    pub judge: J,
    pub facts: ResponseFacts,
    /// Its number, if it is an answer.
    pub answer: Option<u64>,
    pub fate: Fate,
    /// Something of it is still to leave.
    pub waits: bool,
}

impl Fate {
    fn of<T>(ended: &Result<T, Block>) -> Fate {
        if ended.is_ok() { Self::Ended } else { Self::Blocked }
    }
}

impl<J, F> std::fmt::Debug for SessionGuard<J, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionGuard")
            .field("surface", &self.surface.id)
            .field("threads", &self.threads.len())
            .field("waiting", &self.waiting.len())
            .finish_non_exhaustive()
    }
}

impl<J: Judge, F: Fn() -> J> SessionGuard<J, F> {
    pub fn new(
        (surface, live): (&'static Surface, &'static Live),
        engine: Arc<Engine>,
        judge: F,
        bond: Arc<Bond<J>>,
    ) -> Self {
        Self {
            surface,
            live,
            engine,
            judge,
            bond,
            own: VecDeque::new(),
            now: Duration::ZERO,
            threads: Vec::new(),
            over: VecDeque::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            next: 0,
            model: None,
            begun: Vec::new(),
            heard: None,
            settled: Vec::new(),
        }
    }

    /// From now on, answers that begin are held to this.
    pub fn bind(&mut self, bond: Arc<Bond<J>>) {
        self.bond = bond;
    }

    /// The client was let say this: what the provider tells of it is nothing that an answer says.
    pub fn sent(&mut self, message: &Bytes) {
        if self.bond.bindings.is_empty() {
            return;
        }
        let Some(item) = self.item(message).and_then(|item| item.says) else { return };
        if self.own.len() >= OWN_MAX {
            self.own.pop_front();
        }
        self.own.push_back(*blake3::hash(item.as_bytes()).as_bytes());
    }

    /// Takes a message; appends those that may leave. What was appended before a block may leave all the same. `now` is the
    /// time since the session began.
    pub fn feed(&mut self, message: &Bytes, now: Duration, out: &mut Vec<Leaving>) -> Result<(), Block> {
        self.now = now;
        let fed = self.take(message);
        self.leave(out);
        fed?;
        if self.waiting_bytes > HELD_BYTES_MAX || self.waiting.len() > WAITING_MAX {
            return Err(self.refuse(Gap::Oversize, "the session is larger than can be held for inspection"));
        }
        Ok(())
    }

    /// When something will have been held too long; ask [`Self::tick`] then.
    pub fn deadline(&self) -> Option<Duration> {
        self.threads.iter().filter_map(|thread| thread.guard.deadline()).min()
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Duration, out: &mut Vec<Leaving>) -> Result<(), Block> {
        self.now = now;
        let mut ticked = Ok(());
        for at in 0..self.threads.len() {
            let Some(thread) = self.threads.get_mut(at) else { break };
            let (number, mut parts) = (thread.number, Vec::new());
            ticked = thread.guard.tick(now, &mut parts);
            self.fill(number, parts);
            if ticked.is_err() {
                self.settle(at, Fate::Blocked);
                break;
            }
        }
        self.leave(out);
        ticked
    }

    /// The provider has ended the session: what is under way is judged as far as it came.
    pub fn finish(&mut self, out: &mut Vec<Leaving>) -> Result<(), Block> {
        while !self.threads.is_empty() {
            self.end(0)?;
        }
        self.leave(out);
        Ok(())
    }

    /// Threads under way, transcripts included.
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    /// Answers under way.
    pub fn answers(&self) -> usize {
        self.threads.iter().filter(|thread| !thread.aside).count()
    }

    /// Threads that have ended and are remembered.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.over.len()
    }

    /// Bytes of messages that wait here.
    pub fn held_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// The answer that the last message was of.
    pub fn heard(&self) -> Option<u64> {
        self.heard
    }

    /// The answers that have begun since this was asked last, by their numbers.
    pub fn take_begun(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.begun)
    }

    /// The threads that have ended since this was asked last, those with a block included.
    pub fn take_settled(&mut self) -> Vec<Settled<J>> {
        std::mem::take(&mut self.settled)
    }

    /// The same for all that are under way: nothing more is asked of them.
    pub fn abandon(&mut self) -> Vec<Settled<J>> {
        while !self.threads.is_empty() {
            self.settle(0, Fate::Abandoned);
        }
        self.take_settled()
    }

    fn take(&mut self, message: &Bytes) -> Result<(), Block> {
        self.heard = None;
        let doc = Doc::parse(message, Limits::default()).ok();
        let thread = doc.as_ref().and_then(|doc| (self.live.thread)(doc.root(message)));
        let item = doc.as_ref().and_then(|doc| (self.live.item)(doc.root(message)));
        let Some(crate::surface::Thread { name, aside, once }) = thread else { return self.alone(message, item) };
        let id = *blake3::hash(name.as_bytes()).as_bytes();
        if self.over.contains(&id) {
            // Clients put it together with what has left: it was never settled.
            return Err(self.refuse(Gap::Unreadable, "an answer goes on after its end"));
        }
        let at = match self.threads.iter().position(|thread| thread.id == id) {
            Some(at) => at,
            None => {
                if self.threads.len() >= THREADS_MAX {
                    self.end(0)?;
                }
                let bond = (!aside).then(|| Arc::clone(&self.bond));
                let guard = self.guard(bond.as_deref());
                self.threads.push(Thread { id, number: self.next, aside, once, bond, items: Vec::new(), guard });
                if !aside {
                    self.begun.push(self.next);
                }
                self.next = self.next.wrapping_add(1);
                self.threads.len() - 1
            }
        };
        // It is the one that was heard of last.
        let mut thread = self.threads.remove(at);
        let number = thread.number;
        if let Some(item) = item.and_then(|item| item.id).filter(|_| thread.items.len() < ITEMS_MAX) {
            thread.items.push(*blake3::hash(item.as_bytes()).as_bytes());
        }
        self.threads.push(thread);
        self.heard = (!aside).then_some(number);
        self.wait((number, if aside { Of::Aside } else { Of::Answer }), message);
        let at = self.threads.len() - 1;
        let Some(thread) = self.threads.last_mut() else { return Ok(()) };
        let mut parts = Vec::new();
        let fed = thread.guard.feed(message, self.now, &mut parts);
        let done = thread.guard.done();
        self.fill(number, parts);
        if let Err(block) = fed {
            self.settle(at, Fate::Blocked);
            return Err(block);
        }
        if done { self.end(at) } else { Ok(()) }
    }

    fn item(&self, message: &Bytes) -> Option<Item> {
        let doc = Doc::parse(message, Limits::default()).ok()?;
        (self.live.item)(doc.root(message))
    }

    /// The answer under way that an item is of.
    fn owner(&self, item: &Item) -> Option<usize> {
        let id = *blake3::hash(item.id.as_ref()?.as_bytes()).as_bytes();
        self.threads.iter().position(|thread| thread.items.contains(&id))
    }

    /// What binds an item that is told by itself: what binds its answer, unless the client has said it.
    fn bond_of(&self, item: &Item, owner: Option<usize>) -> Option<Arc<Bond<J>>> {
        let says = *blake3::hash(item.says.as_ref()?.as_bytes()).as_bytes();
        if self.own.contains(&says) {
            return None;
        }
        let answer = owner.and_then(|at| self.threads.get(at));
        Some(answer.and_then(|answer| answer.bond.clone()).unwrap_or_else(|| Arc::clone(&self.bond)))
    }

    /// A message that belongs to nothing else.
    fn alone(&mut self, message: &Bytes, item: Option<Item>) -> Result<(), Block> {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.wait((number, Of::Nothing), message);
        let owner = item.as_ref().and_then(|item| self.owner(item));
        let bond = item.as_ref().and_then(|item| self.bond_of(item, owner));
        let mut guard = self.guard(bond.as_deref());
        if item.is_some_and(|item| item.complete) {
            guard.facts.finish_reason = Some("stop".to_owned());
        }
        let mut parts = Vec::new();
        let ended = guard.feed(message, self.now, &mut parts).and_then(|()| guard.finish(self.now));
        if let Some((at, answer)) =
            owner.and_then(|at| Some((at, self.threads.get_mut(at)?))).filter(|_| ended.is_err())
        {
            // It is the answer that says what it may not.
            answer.guard.judge.share(&guard.judge);
            self.settle(at, Fate::Blocked);
        }
        self.put_away(guard, None, Fate::of(&ended));
        parts.extend(ended?.tail);
        self.fill(number, parts);
        Ok(())
    }

    fn guard(&self, bond: Option<&Bond<J>>) -> StreamGuard<J> {
        let engine = Arc::clone(&self.engine);
        let (judge, bindings) = match bond {
            Some(bond) => ((bond.judge)(), bond.bindings.clone()),
            None => ((self.judge)(), Vec::new()),
        };
        let mut guard = StreamGuard::new(self.surface, engine, judge, bindings);
        guard.open_at_once();
        guard.facts.model.clone_from(&self.model);
        guard
    }

    /// Ends a thread in good order.
    fn end(&mut self, at: usize) -> Result<(), Block> {
        let Some(thread) = self.threads.get_mut(at) else { return Ok(()) };
        let number = thread.number;
        let ended = thread.guard.finish(self.now);
        self.settle(at, Fate::of(&ended));
        self.fill(number, ended?.tail);
        Ok(())
    }

    fn settle(&mut self, at: usize, fate: Fate) {
        if at >= self.threads.len() {
            return;
        }
        let thread = self.threads.remove(at);
        if thread.once {
            if self.over.len() >= OVER_MAX {
                self.over.pop_front();
            }
            self.over.push_back(thread.id);
        }
        let answer = (!thread.aside).then_some(thread.number);
        self.put_away(thread.guard, answer, fate);
    }

    fn put_away(&mut self, guard: StreamGuard<J>, answer: Option<u64>, fate: Fate) {
        let StreamGuard { report, judge, facts, .. } = guard;
        self.model = facts.model.clone().or(self.model.take());
        let last = answer.and_then(|number| self.waiting.iter_mut().rev().find(|one| one.thread == number));
        let waits = last.is_some();
        if let Some(last) = last {
            last.last = true;
        }
        self.settled.push(Settled { report, judge, facts, answer, fate, waits });
    }

    /// The session cannot go on, whatever the policy says about failures: what it holds cannot be told apart any more.
    fn refuse(&mut self, gap: Gap, reason: &'static str) -> Block {
        let mut judge = (self.judge)();
        let mut report = Report::default();
        report.gaps.insert(gap);
        let block = judge.gap(gap, Cause::BadAnswer).unwrap_or_else(|| Block {
            cause: Cause::BadAnswer,
            rule: None,
            reason: reason.into(),
            detectors: Vec::new(),
        });
        let (facts, fate) = (ResponseFacts::default(), Fate::Blocked);
        self.settled.push(Settled { report, judge, facts, answer: None, fate, waits: false });
        block
    }

    fn wait(&mut self, (thread, of): (u64, Of), message: &Bytes) {
        self.waiting_bytes += message.len();
        self.waiting.push_back(Waiting { thread, of, last: false, bytes: message.len(), ready: None });
    }

    /// A thread lets its messages go in their order: each is that of the first which waits.
    fn fill(&mut self, thread: u64, parts: Vec<Released>) {
        let slots = self.waiting.iter_mut().filter(|one| one.thread == thread && one.ready.is_none());
        for (slot, part) in slots.zip(parts) {
            slot.ready = Some(part);
        }
    }

    fn leave(&mut self, out: &mut Vec<Leaving>) {
        // Threads aside that wait, of which nothing more may leave before.
        let mut behind: BTreeSet<u64> = BTreeSet::new();
        let mut at = 0;
        while let Some(one) = self.waiting.get(at) {
            if one.ready.is_some() && !behind.contains(&one.thread) {
                let Some(one) = self.waiting.remove(at) else { break };
                self.waiting_bytes = self.waiting_bytes.saturating_sub(one.bytes);
                let (answer, last) = ((one.of == Of::Answer).then_some(one.thread), one.last);
                out.extend(one.ready.map(|part| Leaving { part, answer, last }));
            } else if one.of == Of::Aside {
                behind.insert(one.thread);
                at += 1;
            } else {
                break;
            }
        }
    }
}

/// The message that makes a provider stop: Clyra's own, and nothing of the client's.
pub fn cancel(live: &Live) -> Inspected {
    Inspected::new(Bytes::from_static(live.cancel.as_bytes()))
}
