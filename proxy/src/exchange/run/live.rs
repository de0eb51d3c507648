//! One session over a WebSocket: an exchange whose request and answer are both streams of messages.
//!
//! The handshake is an exchange like any other until the provider switches. Then each message of the client is inspected as
//! a request is, and sent or not; what the provider says goes through the guard of the session. One attempt is on disk before
//! the client sees that the protocol is switched, one outcome before it sees the end; each answer between has its own.
//!
//! One task carries both directions, a message at a time: who does not read is waited for, up to a limit, and the provider
//! is not listened to while something of it waits for a receipt.

mod asked;
mod end;
mod handshake;
mod offered;
mod outbox;
mod parts;
mod patience;

use std::sync::Arc;

use clyra_receipts::EventTree;
use clyra_receipts::receipt::Verdict;
use http::StatusCode;
use tokio::time::{Instant, sleep_until};

use super::{Context, Exchange, Stop};
use crate::exchange::answer::Reason;
use crate::exchange::gateway::Gateway;
use crate::exchange::held::Share;
use crate::exchange::judge::PolicyJudge;
use crate::exchange::live::{Came, Ending, Kind, LiveDownstream, LiveError, LiveUpstream, Opened, Stops};
use crate::exchange::ports::RequestHead;
use crate::guard::{self, Block, Bond, Gap, Leaving, Report, SessionGuard};
use crate::siem;
use crate::surface::{Live, Surface};
use crate::wire::websocket::Message;
use asked::Asked;
use end::End;
use offered::Offered;
use outbox::Outbox;
use parts::Whole;
use patience::Patience;

/// Runs one inspected session.
pub async fn live(gateway: &Gateway, head: RequestHead, surface: &'static Surface, down: &mut dyn LiveDownstream) {
    let Some(live) = &surface.live else { return };
    let Ok(_permit) = gateway.in_flight.try_acquire() else {
        let answer = Reason::Overloaded.answer(surface.dialect, &head.request_id.to_string());
        gateway.events.send(siem::notice_line("overloaded", &head.request_id.to_string()));
        gateway.metrics.own_answer(Reason::Overloaded.code());
        let _ = super::send_own(gateway, &head.request_id.to_string(), "block", answer, down.plain()).await;
        return;
    };
    let mut exchange = Exchange::new(gateway, &head, surface);
    // Where the client names no run, the session is one.
    exchange.record.labels.run_id.get_or_insert_with(|| head.request_id.to_string());
    match exchange.open_session(&head, down).await {
        Ok(Some(open)) => exchange.session(live, open, down).await,
        Ok(None) => {}
        Err(Stop::Gone) => {
            exchange.record.verdict = Verdict::AbortedByClient;
            let _ = exchange.close().await;
        }
        Err(stop) => {
            let stop = exchange.unreadable(stop);
            exchange.stop(stop, down.plain()).await;
        }
    }
    exchange.publish();
}

/// The judge of a thread of the provider's.
type MakeJudge = Box<dyn Fn() -> PolicyJudge + Send>;

/// What a session holds beside its two ends.
struct Session<'g> {
    context: Arc<Context>,
    guard: SessionGuard<PolicyJudge, MakeJudge>,
    /// What the client has said that no answer has come to yet.
    asked: Asked,
    /// The tools that answers may call.
    offered: Offered,
    /// What is on its way to the client.
    outbox: Outbox<'g>,
    /// Everything that the client was sent.
    events: EventTree,
    whole: Whole,
    /// What incomplete messages of each side take of the memory for bodies.
    rooms: (Share, Share),
    stops: Stops,
    patience: Patience,
    begun: Instant,
}

/// What the handshake has come to.
struct Open {
    context: Arc<Context>,
    /// What answers are held to from the start.
    bond: Arc<Bond<PolicyJudge>>,
    opened: Opened,
}

impl<'g> Exchange<'g> {
    async fn session(
        &mut self,
        live: &'static Live,
        Open { context, bond, opened }: Open,
        down: &mut dyn LiveDownstream,
    ) {
        let clock = Instant::now();
        let mut up = opened.session;
        let of_threads = Arc::clone(&context);
        let judge: MakeJudge = Box::new(move || {
            PolicyJudge::response(Arc::clone(&of_threads), StatusCode::OK.as_u16(), Default::default())
        });
        let engine = Arc::clone(&self.gateway.engine);
        let mut session = Session {
            context,
            guard: SessionGuard::new((self.surface, live), engine, judge, Arc::clone(&bond)),
            asked: Asked::default(),
            offered: Offered::new(bond),
            outbox: Outbox::default(),
            events: self.event_tree(),
            whole: Whole::default(),
            rooms: (self.gateway.held.share(), self.gateway.held.share()),
            stops: down.stops(),
            patience: Patience::new(clock),
            begun: clock,
        };
        self.record.response.inspected = true;
        let end = loop {
            if let Err(end) = self.turn(&mut session, live, down, &mut *up).await {
                break end;
            }
        };
        self.record.called.total_us = Some(clock.elapsed().as_micros() as u64);
        self.end_session(live, session, end, (down, &mut *up)).await;
    }

    /// Waits for one thing to happen, and deals with it.
    async fn turn(
        &mut self,
        session: &mut Session<'g>,
        live: &'static Live,
        down: &mut dyn LiveDownstream,
        up: &mut dyn LiveUpstream,
    ) -> Result<(), End> {
        let drains = session.patience.drains();
        let (waits, hears) = (!session.outbox.is_empty(), session.outbox.hears_client());
        if drains && session.guard.answers() == 0 && !waits {
            return Err(End::Stopping);
        }
        let held = session.guard.deadline().filter(|_| !waits).map(|deadline| session.begun + deadline);
        tokio::select! {
            ending = session.stops.next(!drains) => match ending {
                Ending::Cut => return Err(End::Stopping),
                Ending::Drain => {
                    session.patience.drain(Instant::now());
                    return Ok(());
                }
            },
            () = sleep_until(session.patience.until()) => return Err(if drains { End::Stopping } else { End::TooLong }),
            () = sleep_until(held.unwrap_or(session.begun)), if held.is_some() => {
                return self.held_too_long(session);
            }
            () = session.outbox.due(), if waits => return self.leave(session, down).await,
            asked = down.receive(&mut session.rooms.0), if hears => match asked {
                Ok(Came::Message(message)) => self.asked(session, live, message, up).await?,
                Ok(Came::Control) => down.flush().await.map_err(|_| End::ClientGone)?,
                Ok(Came::Close(close)) => return Err(End::ClientCloses(close)),
                Err(LiveError::Gone) => return Err(End::ClientGone),
                Err(error) => return Err(End::ClientFault(error)),
            },
            told = up.receive(&mut session.rooms.1), if !waits => match told {
                Ok(Came::Message(message)) => self.told(session, message)?,
                Ok(Came::Control) => up.flush().await.map_err(|_| End::UpstreamGone)?,
                Ok(Came::Close(close)) => return Err(End::UpstreamCloses(close)),
                Err(LiveError::Gone) => return Err(End::UpstreamGone),
                Err(error) => return Err(End::UpstreamFault(error)),
            },
        }
        session.patience.heard(Instant::now());
        Ok(())
    }

    /// A message of the provider: what may leave now waits for its receipts.
    fn told(&mut self, session: &mut Session<'g>, message: Message) -> Result<(), End> {
        let bytes = message.bytes().clone();
        self.note_received(&bytes);
        let kind = Kind::of(&message);
        let mut parts = Vec::new();
        let fed = match kind {
            Kind::Text => session.guard.feed(&bytes, session.begun.elapsed(), &mut parts),
            Kind::Binary => {
                // No event is binary. Where the policy lets pass what cannot be read, it does not wait for anything.
                let mut judge = PolicyJudge::response(Arc::clone(&session.context), 200, Default::default());
                let mut report = Report::default();
                let part = guard::uninspected(bytes.clone(), Gap::Unreadable, &mut judge, &mut report);
                self.record.response.gather(report, judge.decided);
                part.map(|part| parts.push(Leaving { part, answer: None, last: false }))
            }
        };
        self.begin(session)?;
        if let Some(answer) = session.guard.heard().and_then(|number| session.outbox.answer(number)) {
            answer.exchange.note_received(&bytes);
        }
        self.guarded(session, (fed, parts), kind)
    }

    /// What is held has been held too long.
    fn held_too_long(&mut self, session: &mut Session<'g>) -> Result<(), End> {
        let mut parts = Vec::new();
        let ticked = session.guard.tick(session.begun.elapsed(), &mut parts);
        self.guarded(session, (ticked, parts), Kind::Text)
    }

    /// What the guard says now: what has ended, what leaves, and what may not.
    fn guarded(
        &mut self,
        session: &mut Session<'g>,
        (result, parts): (Result<(), Block>, Vec<Leaving>),
        kind: Kind,
    ) -> Result<(), End> {
        let settled = session.guard.take_settled();
        self.settle(session, settled, result.as_ref().err());
        session.outbox.extend(parts, kind);
        let room = self.held_answer.set(session.guard.held_bytes().saturating_add(session.outbox.bytes()));
        result.map_err(End::Blocked)?;
        room.map_err(|_| End::NoRoom)
    }
}
