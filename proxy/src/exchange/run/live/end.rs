//! The end of a session, however it comes: the receipt first, then the last words to both sides.

use std::time::Duration;

use bytes::Bytes;
use clyra_receipts::receipt::Verdict;
use tokio::time::timeout;

use super::super::{Exchange, verdict_of};
use super::Session;
use crate::exchange::answer::Reason;
use crate::exchange::judge::PolicyJudge;
use crate::exchange::live::{Kind, LiveDownstream, LiveError, LiveUpstream};
use crate::exchange::ports::UpstreamError;
use crate::guard::{self, Block, Cause, Gap, Released, Report};
use crate::surface::{Live, Shown};
use crate::wire::websocket::{Close, Fault};

/// Close codes of RFC 6455 section 7.4.1 that are Clyra's own.
const AWAY: u16 = 1001;
const POLICY: u16 = 1008;
const INTERNAL: u16 = 1011;
const AGAIN: u16 = 1013;

/// How long a provider may take to be told to stop: one that does not read is cut off instead.
const CANCEL_MAX: Duration = Duration::from_secs(1);

/// Why a session ends.
#[derive(Debug)]
pub(super) enum End {
    ClientCloses(Close),
    ClientGone,
    ClientFault(LiveError),
    UpstreamCloses(Close),
    UpstreamGone,
    UpstreamFault(LiveError),
    Blocked(Block),
    /// Nothing came for too long, or the session has lasted long enough.
    TooLong,
    NoRoom,
    /// What was to be said could not be put on record.
    NoReceipt,
    Stopping,
}

/// What both sides are told.
struct Last {
    verdict: Verdict,
    /// The event before the close.
    event: Option<Released>,
    client: Option<u16>,
    reason: Option<Released>,
    upstream: Option<u16>,
}

impl End {
    /// The verdict on answers that this end cuts off.
    fn of_answers(&self) -> Verdict {
        match self {
            Self::ClientCloses(_) | Self::ClientGone => Verdict::AbortedByClient,
            Self::TooLong => Verdict::Timeout,
            _ => Verdict::Errored,
        }
    }
}

impl<'g> Exchange<'g> {
    pub(super) async fn end_session(
        &mut self,
        live: &'static Live,
        mut session: Session<'g>,
        end: End,
        (down, up): (&mut dyn LiveDownstream, &mut dyn LiveUpstream),
    ) {
        if matches!(end, End::Blocked(_)) {
            // The provider stops now, before anything else is done.
            let _ = timeout(CANCEL_MAX, up.send(guard::cancel(live), Kind::Text)).await;
        }
        let mut end = self.flush(&mut session, end, down).await;
        let mut tail = Vec::new();
        if let End::UpstreamCloses(_) = &end {
            let finished = session.guard.finish(&mut tail);
            let settled = session.guard.take_settled();
            self.settle(&mut session, settled, finished.as_ref().err());
            if let Err(block) = finished {
                end = End::Blocked(block);
            }
        }
        let cut_short = session.guard.answers() > 0 || session.guard.held_bytes() > 0;
        let settled = session.guard.abandon();
        self.settle(&mut session, settled, None);
        let _ = self.held_answer.set(0);
        if cut_short && !matches!(end, End::Blocked(_)) {
            self.record.response.report.gaps.insert(Gap::Truncated);
        }
        for one in &tail {
            self.note_event(&mut session.events, &one.part);
            session.outbox.note_tail(one);
        }
        let last = self.last(&session, &end);
        let events = std::mem::take(&mut session.events);
        self.note_events(events);
        std::mem::take(&mut session.asked).rest(self);
        let recorded = self.end_parts(&mut session, end.of_answers()).await;
        self.record.verdict = match last.verdict {
            Verdict::Executed => session.whole.verdict(&self.record),
            verdict => verdict,
        };
        up.close(last.upstream).await;
        let tail = tail.into_iter().map(|one| one.part).chain(last.event).collect();
        let (parts, code, reason) = if self.close().await.is_ok() && recorded {
            (tail, last.client, last.reason)
        } else {
            // Nothing of the provider's is shown then.
            self.record.code = Some(Reason::NoReceipt.code());
            (vec![Reason::NoReceipt.event(self.surface, &Shown::default(), &self.id)], Some(INTERNAL), None)
        };
        if matches!(end, End::ClientGone) {
            return;
        }
        for part in parts {
            if down.send(part, Kind::Text).await.is_err() {
                return;
            }
        }
        down.close(code, reason).await;
    }

    /// Sends what is on its way, as far as it can be put on record, and says why the session ends then.
    async fn flush(&mut self, session: &mut Session<'g>, end: End, down: &mut dyn LiveDownstream) -> End {
        if matches!(end, End::ClientGone | End::NoReceipt) {
            return end;
        }
        while !session.outbox.is_empty() {
            session.outbox.due().await;
            if let Err(other) = self.leave(session, down).await {
                return if matches!(end, End::Blocked(_)) { end } else { other };
            }
        }
        end
    }

    fn last(&mut self, session: &Session<'g>, end: &End) -> Last {
        let last = |verdict, client: u16, upstream: u16| Last {
            verdict,
            event: None,
            client: Some(client),
            reason: None,
            upstream: Some(upstream),
        };
        let name = self.record.upstream.clone().unwrap_or_default();
        match end {
            End::ClientCloses(close) => {
                Last { client: close.code, upstream: close.code, ..last(Verdict::Executed, AWAY, AWAY) }
            }
            End::UpstreamCloses(close) => Last {
                client: close.code,
                upstream: close.code,
                reason: self.reason(session, close),
                ..last(Verdict::Executed, AWAY, AWAY)
            },
            End::ClientGone => last(Verdict::AbortedByClient, AWAY, AWAY),
            End::ClientFault(error) => {
                self.record.code = Some("invalid_request");
                if *error == LiveError::Fault(Fault::TooLarge) {
                    self.record.request.report.gaps.insert(Gap::Oversize);
                }
                last(Verdict::Errored, code(*error), AWAY)
            }
            End::UpstreamGone | End::UpstreamFault(LiveError::Gone) => {
                let error = UpstreamError::Body { name, detail: String::new() };
                self.told_by(&Reason::Upstream(&error), last(Verdict::Errored, INTERNAL, AWAY))
            }
            End::UpstreamFault(LiveError::NoRoom) | End::NoRoom => {
                self.told_by(&Reason::NoRoom, last(Verdict::Errored, AGAIN, AWAY))
            }
            End::UpstreamFault(LiveError::Fault(fault)) => {
                let gap = if *fault == Fault::TooLarge { Gap::Oversize } else { Gap::Unreadable };
                self.record.response.report.gaps.insert(gap);
                let block = Block {
                    cause: Cause::BadAnswer,
                    rule: None,
                    reason: format!("what the provider sends cannot be read: {fault}"),
                    detectors: Vec::new(),
                };
                self.told_by(&Reason::Block(&block), last(Verdict::Errored, INTERNAL, fault.close_code()))
            }
            End::Blocked(block) => {
                let verdict = verdict_of(block);
                let code = if verdict == Verdict::Blocked { POLICY } else { INTERNAL };
                let last = self.told_by(&Reason::Block(block), last(verdict, code, AWAY));
                if session.outbox.has_blocked() {
                    // It is told, and counted, as that answer's.
                    self.record.code = None;
                } else {
                    self.record.rule.clone_from(&block.rule);
                }
                last
            }
            End::NoReceipt => self.told_by(&Reason::NoReceipt, last(Verdict::Errored, INTERNAL, AWAY)),
            End::TooLong => last(Verdict::Timeout, AWAY, AWAY),
            End::Stopping => last(Verdict::Errored, AWAY, AWAY),
        }
    }

    /// With an event that says why.
    fn told_by(&mut self, reason: &Reason<'_>, last: Last) -> Last {
        self.record.code = Some(reason.code());
        Last { event: Some(reason.event(self.surface, &Shown::default(), &self.id)), ..last }
    }

    /// The reason that the provider gives, unless something in it must not be shown.
    fn reason(&mut self, session: &Session<'g>, close: &Close) -> Option<Released> {
        if close.reason.is_empty() {
            return None;
        }
        let mut judge = PolicyJudge::response(session.context.clone(), 200, Default::default());
        let mut report = Report::default();
        let body = Bytes::copy_from_slice(close.reason.as_bytes());
        let answer = guard::error(&self.gateway.engine, body, &mut judge, &mut report);
        self.record.response.gather(report, judge.decided);
        answer.ok().map(|answer| answer.body)
    }
}

fn code(error: LiveError) -> u16 {
    match error {
        LiveError::Fault(fault) => fault.close_code(),
        LiveError::NoRoom => AGAIN,
        LiveError::Gone => AWAY,
    }
}
