//! What is on its way to the client of a session, and waits for receipts: messages keep the order in which they were
//! released, and nothing of the other direction waits with them.
//!
//! The first message of an answer waits for its attempt, the last for its outcome. The error that stands for an event which
//! was not sent waits for both receipts of it.

use std::collections::VecDeque;

use super::super::{Exchange, Stop};
use super::parts::Answer;
use crate::exchange::live::Kind;
use crate::guard::{Fate, Leaving, Released};

/// Messages to the client, in their order, and the answers that they are of.
#[derive(Default)]
pub(super) struct Outbox<'g> {
    queue: VecDeque<Item<'g>>,
    bytes: usize,
    pub(super) answers: Vec<Answer<'g>>,
}

struct Item<'g> {
    /// Nothing where an answer ends of which nothing is left to be sent.
    message: Option<Released>,
    kind: Kind,
    due: Due<'g>,
}

/// Which receipts a message waits for.
enum Due<'g> {
    Nothing,
    /// The attempt of the answer with this number.
    Attempt(u64),
    /// Its outcome.
    Outcome(u64),
    /// Both of an event of the client that was not sent.
    Refusal(Box<Exchange<'g>>),
}

/// What leaves now.
pub(super) struct Leaves<'g> {
    pub(super) message: Option<Released>,
    pub(super) kind: Kind,
    /// Clyra's own message, and not the provider's.
    pub(super) is_own: bool,
    /// A part of the session that ends with it, and is on record.
    pub(super) ended: Option<Exchange<'g>>,
}

impl<'g> Outbox<'g> {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// False while an answer of Clyra's own to the client waits: one at a time.
    pub(super) fn hears_client(&self) -> bool {
        !self.queue.iter().any(|item| matches!(item.due, Due::Refusal(_)))
    }

    /// Bytes of messages that wait here.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The answer with this number, while it is under way or something of it is.
    pub(super) fn answer(&mut self, number: u64) -> Option<&mut Answer<'g>> {
        self.answers.iter_mut().find(|answer| answer.number == number)
    }

    pub(super) fn extend(&mut self, parts: Vec<Leaving>, kind: Kind) {
        for Leaving { part, answer, last } in parts {
            let due = match answer {
                None => Due::Nothing,
                Some(number) if last => Due::Outcome(number),
                Some(number) => Due::Attempt(number),
            };
            self.push(Some(part), kind, due);
        }
    }

    /// An answer has ended of which nothing waits.
    pub(super) fn end(&mut self, number: u64) {
        self.push(None, Kind::Text, Due::Outcome(number));
    }

    /// An event of the client was not sent; this is said in place of an answer.
    pub(super) fn refuse(&mut self, event: Released, refusal: Exchange<'g>) {
        self.push(Some(event), Kind::Text, Due::Refusal(Box::new(refusal)));
    }

    fn push(&mut self, message: Option<Released>, kind: Kind, due: Due<'g>) {
        self.bytes += message.as_ref().map_or(0, |message| message.bytes().len());
        self.queue.push_back(Item { message, kind, due });
    }

    /// What is sent as the session ends: nothing of it waits here.
    pub(super) fn note_tail(&mut self, tail: &Leaving) {
        if let Some(answer) = tail.answer.and_then(|number| self.answer(number)) {
            answer.note_released(&tail.part);
            answer.is_whole |= tail.last;
        }
    }

    /// True if an answer said what ends the session.
    pub(super) fn has_blocked(&self) -> bool {
        self.answers.iter().any(|answer| answer.fate == Some(Fate::Blocked))
    }

    /// Gives up what waits; gives the events of the client that were not sent, and of which it will not be told.
    pub(super) fn give_up(&mut self) -> Vec<Exchange<'g>> {
        self.bytes = 0;
        let refusals = self.queue.drain(..).filter_map(|item| match item.due {
            Due::Refusal(refusal) => Some(*refusal),
            _ => None,
        });
        refusals.collect()
    }

    /// Waits until it is known what came of the receipt that the message at the front waits for. Cancel-safe.
    pub(super) async fn due(&mut self) {
        let Some(front) = self.queue.front_mut() else { return };
        let exchange = match &mut front.due {
            Due::Nothing => None,
            Due::Attempt(number) | Due::Outcome(number) => {
                self.answers.iter_mut().find(|answer| answer.number == *number).map(|answer| &mut answer.exchange)
            }
            Due::Refusal(refusal) => Some(refusal.as_mut()),
        };
        if let Some(exchange) = exchange {
            exchange.receipt_known().await;
        }
    }

    /// The message at the front, unless it waits for one more receipt; to be called after [`Self::due`].
    pub(super) async fn take(&mut self) -> Result<Option<Leaves<'g>>, Stop> {
        let Some(front) = self.queue.front_mut() else { return Ok(None) };
        let answer = match front.due {
            Due::Attempt(number) | Due::Outcome(number) => {
                self.answers.iter_mut().position(|answer| answer.number == number)
            }
            Due::Nothing | Due::Refusal(_) => None,
        };
        let is_on_record = match &mut front.due {
            Due::Nothing => true,
            Due::Refusal(refusal) => on_record(refusal, |_| {}).await?,
            Due::Attempt(_) => {
                if let Some(answer) = answer.and_then(|at| self.answers.get_mut(at)) {
                    answer.exchange.opened().await?;
                    if let Some(message) = &front.message {
                        answer.note_released(message);
                    }
                }
                true
            }
            Due::Outcome(_) => match answer.and_then(|at| self.answers.get_mut(at)) {
                Some(Answer { exchange, events, .. }) => {
                    on_record(exchange, |exchange| {
                        if let Some(message) = &front.message {
                            exchange.note_event(events, message);
                        }
                        exchange.note_events(std::mem::take(events));
                    })
                    .await?
                }
                None => true,
            },
        };
        if !is_on_record {
            return Ok(None);
        }
        let Some(Item { message, kind, due }) = self.queue.pop_front() else { return Ok(None) };
        self.bytes = self.bytes.saturating_sub(message.as_ref().map_or(0, |message| message.bytes().len()));
        let is_own = matches!(due, Due::Refusal(_));
        let ended = match (due, answer) {
            (Due::Refusal(refusal), _) => Some(*refusal),
            (Due::Outcome(_), Some(at)) => Some(self.answers.swap_remove(at).exchange),
            _ => None,
        };
        Ok(Some(Leaves { message, kind, is_own, ended }))
    }
}

/// True once both receipts of an exchange are on disk, of which the attempt is. The outcome is put on its way the first time,
/// after what there is `left` to note of it.
async fn on_record<'g>(exchange: &mut Exchange<'g>, left: impl FnOnce(&mut Exchange<'g>) + Send) -> Result<bool, Stop> {
    exchange.opened().await?;
    if !exchange.closed {
        left(exchange);
        exchange.end()?;
        return Ok(false);
    }
    exchange.ended().await?;
    Ok(true)
}
