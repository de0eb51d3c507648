//! The parts of a session that are exchanges of their own in evidence: each answer, with what the client has said since the
//! one before, and each event of the client that was not sent.
//!
//! What can be counted is counted in its part; the session's own record has what is in none, and what holds of any.

use clyra_receipts::EventTree;
use clyra_receipts::receipt::Verdict;
use http::StatusCode;

use super::super::{Exchange, verdict_of};
use super::outbox::Leaves;
use super::{End, Session};
use crate::exchange::answer::Reason;
use crate::exchange::judge::PolicyJudge;
use crate::exchange::live::LiveDownstream;
use crate::exchange::record::{Record, Side};
use crate::guard::{Block, Fate, Gap, Released, Settled};

/// Answers that are under way, or of which something waits. More is no conversation: each is some KiB beside its messages.
const ANSWERS_MAX: usize = 256;

/// An answer under way.
pub(super) struct Answer<'g> {
    /// The guard's number of it.
    pub(super) number: u64,
    pub(super) exchange: Exchange<'g>,
    /// What the client was sent of it.
    pub(super) events: EventTree,
    /// How it ended, once it has.
    pub(super) fate: Option<Fate>,
    /// Its last message leaves with the end of the session.
    pub(super) is_whole: bool,
}

/// What the session's own verdict needs to know of its parts.
#[derive(Debug, Default)]
pub(super) struct Whole {
    blocks: bool,
    takes_out: bool,
    mends: bool,
}

impl Whole {
    fn note(&mut self, part: &Record) {
        self.blocks |= part.code.is_some();
        self.takes_out |= part.takes_out();
        self.mends |= part.response.report.schema.repairs.any();
    }

    /// The verdict of a session that came to its end in good order.
    pub(super) fn verdict(&self, own: &Record) -> Verdict {
        if self.blocks {
            Verdict::Blocked
        } else if self.takes_out || own.takes_out() {
            Verdict::Redacted
        } else if self.mends {
            Verdict::Repaired
        } else {
            Verdict::Executed
        }
    }
}

impl<'g> Exchange<'g> {
    /// An exchange of its own within this session, which begins now.
    pub(super) fn part(&self) -> Exchange<'g> {
        Exchange::of(self.gateway, self.surface, self.record.part())
    }

    /// A tree for the events of a stream, which keeps its leaves where they are kept.
    pub(super) fn event_tree(&self) -> EventTree {
        if self.gateway.streams.is_some() { EventTree::keeping() } else { EventTree::new() }
    }

    /// A message leaves.
    pub(super) fn note_event(&mut self, events: &mut EventTree, message: &Released) {
        events.push(message.bytes());
        self.note_released(std::slice::from_ref(message));
        let at = self.record.elapsed_us();
        self.record.first_release_us.get_or_insert(at);
    }

    /// No message leaves any more.
    pub(super) fn note_events(&mut self, events: EventTree) {
        self.record.events = Some((events.events(), events.root_hex()));
        self.event_leaves = events.into_leaves();
    }

    /// Answers that have begun: each has asked what the client has said since the one before. Their attempts become durable
    /// while they wait for their first words.
    pub(super) fn begin(&mut self, session: &mut Session<'g>) -> Result<(), End> {
        for number in session.guard.take_begun() {
            if session.outbox.answers.len() >= ANSWERS_MAX {
                return Err(End::NoRoom);
            }
            let mut exchange = self.part();
            std::mem::take(&mut session.asked).ask(&mut exchange);
            exchange.open();
            let events = self.event_tree();
            session.offered.begun();
            session.outbox.answers.push(Answer { number, exchange, events, fate: None, is_whole: false });
        }
        Ok(())
    }

    /// What threads that have ended have come to; `block` is why the session ends by one of them.
    pub(super) fn settle(
        &mut self,
        session: &mut Session<'g>,
        settled: Vec<Settled<PolicyJudge>>,
        block: Option<&Block>,
    ) {
        for one in settled {
            let (answer, over) = (one.answer, one.fate == Fate::Ended && !one.waits);
            let Some(answer) = answer.and_then(|number| session.outbox.answer(number)) else {
                self.record.response.gather(one.report, one.judge.decided);
                self.record.facts.model = one.facts.model.or(self.record.facts.model.take());
                continue;
            };
            let number = answer.number;
            answer.settle(one, block);
            if over {
                session.outbox.end(number);
            }
        }
        if session.guard.answers() == 0
            && let Some(bond) = session.offered.rest()
        {
            session.guard.bind(bond);
        }
    }

    /// The message at the front has the receipt that it waited for, or waited for none.
    pub(super) async fn leave(&mut self, session: &mut Session<'g>, down: &mut dyn LiveDownstream) -> Result<(), End> {
        let leaves = session.outbox.take().await.map_err(|_| End::NoReceipt)?;
        let Some(Leaves { message, kind, is_own, ended }) = leaves else { return Ok(()) };
        if let Some(part) = ended {
            self.take_in(&mut session.whole, &part);
        }
        let Some(message) = message else { return Ok(()) };
        if !is_own {
            self.note_event(&mut session.events, &message);
        }
        let _ = self.held_answer.set(session.guard.held_bytes().saturating_add(session.outbox.bytes()));
        down.send(message, kind).await.map_err(|_| End::ClientGone)
    }

    /// Ends what is still under way as the session ends; true once all of it is on record.
    pub(super) async fn end_parts(&mut self, session: &mut Session<'g>, verdict: Verdict) -> bool {
        let mut parts = session.outbox.give_up();
        let answers = std::mem::take(&mut session.outbox.answers);
        parts.extend(answers.into_iter().map(|answer| answer.cut(verdict)));
        let mut recorded = true;
        for part in &mut parts {
            recorded &= part.opened().await.and_then(|()| part.end()).is_ok();
        }
        for mut part in parts {
            recorded &= part.ended().await.is_ok();
            self.take_in(&mut session.whole, &part);
        }
        recorded
    }

    /// A part has ended: it is told, and the session's own record learns what holds of the whole.
    fn take_in(&mut self, whole: &mut Whole, part: &Exchange<'g>) {
        part.publish();
        whole.note(&part.record);
        self.record.cover(&part.record);
    }
}

impl<'g> Answer<'g> {
    /// A message of it leaves.
    pub(super) fn note_released(&mut self, message: &Released) {
        self.exchange.note_event(&mut self.events, message);
    }

    fn settle(&mut self, settled: Settled<PolicyJudge>, block: Option<&Block>) {
        let Settled { mut report, judge, facts, fate, .. } = settled;
        if fate == Fate::Abandoned {
            report.gaps.insert(Gap::Truncated);
        }
        let record = &mut self.exchange.record;
        record.response = Side { report, decided: Some(judge.decided), inspected: true };
        record.facts = facts;
        // It is the handshake that was answered over HTTP; of the connection, the answer was asked for once.
        record.called.status = Some(StatusCode::SWITCHING_PROTOCOLS.as_u16());
        record.called.attempts = 1;
        record.called.total_us = Some(record.elapsed_us());
        self.fate = Some(fate);
        match (fate, block) {
            (Fate::Ended, _) => self.exchange.executed(true),
            (Fate::Blocked, Some(block)) => {
                record.verdict = verdict_of(block);
                record.rule.clone_from(&block.rule);
                record.code = Some(Reason::Block(block).code());
            }
            _ => {}
        }
    }

    /// Of the answer as it is when the session ends, of which the client may be missing something.
    fn cut(self, verdict: Verdict) -> Exchange<'g> {
        let Answer { mut exchange, events, fate, is_whole, .. } = self;
        if !exchange.closed {
            if !is_whole && fate != Some(Fate::Blocked) {
                exchange.record.verdict = verdict;
            }
            exchange.note_events(events);
        }
        exchange
    }
}
