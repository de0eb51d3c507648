//! One session over a WebSocket: an exchange whose request and answer are both streams of messages.
//!
//! The handshake is an exchange like any other until the provider switches. Then each message of the client is inspected as
//! a request is, and sent or not; what the provider says goes through the guard of the session. One attempt is on disk before
//! the client sees that the protocol is switched, one outcome before it sees the end.
//!
//! One task carries both directions, a message at a time: nothing queues here, and who does not read is waited for, up to a
//! limit.

mod asked;
mod end;
mod patience;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use clyra_policy::{Action, Facts, Mode, SchemaRule, SchemaSource, StreamMode};
use clyra_receipts::EventTree;
use clyra_receipts::receipt::Verdict;
use http::header::{SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION};
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::time::{Instant, sleep_until};

use super::{Context, Exchange, Stop, again, own_query};
use crate::exchange::answer::Reason;
use crate::exchange::gateway::Gateway;
use crate::exchange::headers;
use crate::exchange::held::Share;
use crate::exchange::judge::PolicyJudge;
use crate::exchange::live::{
    Came, Ending, Kind, LiveDownstream, LiveError, LiveReply, LiveRequest, LiveUpstream, Opened, Stops,
};
use crate::exchange::lock::Bound;
use crate::exchange::ports::{RequestHead, ResponseHead};
use crate::exchange::record::Side;
use crate::guard::{self, Block, Cause, Gap, Inspected, Report, SessionGuard, Settled};
use crate::siem;
use crate::surface::{Address, Live, Surface};
use crate::wire::websocket::{self, Message};
use end::End;
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
    match exchange.open_session(&head, down).await {
        Ok(Some((context, opened))) => exchange.session(live, context, opened, down).await,
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
struct Session {
    context: Arc<Context>,
    guard: SessionGuard<PolicyJudge, MakeJudge>,
    events: EventTree,
    /// What incomplete messages of each side take of the memory for bodies.
    rooms: (Share, Share),
    stops: Stops,
    patience: Patience,
}

impl Exchange<'_> {
    /// The handshake: judged, sent, and answered. `None` where the answer was one of HTTP, which the client has.
    async fn open_session(
        &mut self,
        head: &RequestHead,
        down: &mut dyn LiveDownstream,
    ) -> Result<Option<(Arc<Context>, Opened)>, Stop> {
        let key = handshake(&head.headers).map_err(Stop::Malformed)?;
        self.admit(head)?;
        let empty = Bytes::from_static(b"{}");
        let doc = crate::json::Doc::parse(&empty, crate::json::Limits::default());
        let address = Address { path: &head.path, query: head.query.as_deref() };
        let facts = doc.map(|doc| (self.surface.request_facts)(doc.root(&empty), address)).unwrap_or_default();
        self.note_facts(&facts);
        let context = self.context(head, &facts, 0);
        let judged = self.judge_handshake(head, &context)?;
        self.unbound(&context)?;
        let (provider, path) = self.provider(head)?;
        self.record.upstream = Some(Arc::clone(&provider.name));
        let path_and_query = head.query.as_ref().map_or(path.clone(), |query| format!("{path}?{query}"));
        let headers = headers::end_to_end(&head.headers);
        // Unlike a call, it waits for the disk: whoever hears from the provider can answer at once.
        self.opened().await?;
        let made = Arc::new(AtomicU32::new(0));
        let request = LiveRequest { provider, path_and_query, headers, judged, made: Arc::clone(&made) };
        let reply = Box::pin(self.gateway.call.open(request)).await;
        self.record.called.attempts = made.load(Ordering::Relaxed);
        let reply = reply.map_err(Stop::Upstream)?;
        let opened = match reply {
            LiveReply::Opened(opened) => opened,
            LiveReply::Refused(reply) => {
                self.note_reply(&reply);
                self.record.upstream = Some(Arc::clone(&reply.upstream));
                self.record.stream = false;
                let reply = self.decoded_reply(reply)?;
                Box::pin(self.answer(reply, context, Bound::default(), down.plain())).await?;
                return Ok(None);
            }
        };
        self.record.called.status = Some(StatusCode::SWITCHING_PROTOCOLS.as_u16());
        self.record.called.first_byte_us = Some(opened.time_to_head.as_micros() as u64);
        self.record.upstream = Some(Arc::clone(&opened.upstream));
        let ResponseHead { headers: mut answered, .. } =
            self.response_head(StatusCode::SWITCHING_PROTOCOLS, &opened.headers);
        let accept = HeaderValue::from_str(&websocket::accept(&key)).map_err(|_| Stop::Malformed(NO_KEY))?;
        answered.insert(http::header::SEC_WEBSOCKET_ACCEPT, accept);
        self.record.status = Some(StatusCode::SWITCHING_PROTOCOLS.as_u16());
        self.started = true;
        down.switch(ResponseHead { status: StatusCode::SWITCHING_PROTOCOLS, headers: answered }).await?;
        Ok(Some((context, opened)))
    }

    /// Rules may be about the handshake as such, and texts may stand in its address.
    fn judge_handshake(&mut self, head: &RequestHead, context: &Arc<Context>) -> Result<Inspected, Stop> {
        let mut judge = PolicyJudge::request(Arc::clone(context));
        let mut report = Report::default();
        let query = own_query(head);
        let (path, query) = Address { path: &head.path, query: Some(&query) }.texts();
        let judged = guard::handshake(&self.gateway.engine, (&path, &query), &mut judge, &mut report);
        self.record.request = Side { report, decided: Some(judge.decided), inspected: true };
        Ok(judged?)
    }

    /// A policy that holds answers on this route, or calls of tools, to a schema cannot be kept here. What it would only
    /// record, or what the request would have to ask for, is nothing to stop for.
    fn unbound(&self, context: &Context) -> Result<(), Stop> {
        let asked = Facts::new(&context.caller, &context.request, context.now_unix_s);
        let blocks = |rule: &SchemaRule| {
            let observes = rule.stream == StreamMode::Observe || rule.on_violation == Action::Allow;
            !observes && !matches!(rule.source, SchemaSource::FromRequest)
        };
        let bound = self.gateway.policy.schemas_for(&asked).map_or(true, |rules| rules.into_iter().any(blocks));
        if bound && self.gateway.policy.mode() == Mode::Enforce {
            let reason =
                "the policy binds answers of this endpoint to a schema, which cannot be kept in a session".into();
            return Err(Block { cause: Cause::BadRequest, rule: None, reason, detectors: Vec::new() }.into());
        }
        Ok(())
    }

    async fn session(
        &mut self,
        live: &'static Live,
        context: Arc<Context>,
        opened: Opened,
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
            guard: SessionGuard::new((self.surface, live), engine, judge),
            events: if self.gateway.streams.is_some() { EventTree::keeping() } else { EventTree::new() },
            rooms: (self.gateway.held.share(), self.gateway.held.share()),
            stops: down.stops(),
            patience: Patience::new(clock),
        };
        self.record.response.inspected = true;
        let end = loop {
            if let Err(end) = self.turn(&mut session, down, &mut *up).await {
                break end;
            }
        };
        self.record.called.total_us = Some(clock.elapsed().as_micros() as u64);
        self.end_session(live, session, end, (down, &mut *up)).await;
    }

    /// Waits for one thing to happen, and deals with it.
    async fn turn(
        &mut self,
        session: &mut Session,
        down: &mut dyn LiveDownstream,
        up: &mut dyn LiveUpstream,
    ) -> Result<(), End> {
        if session.patience.drains() && session.guard.answers() == 0 {
            return Err(End::Stopping);
        }
        let drains = session.patience.drains();
        tokio::select! {
            ending = session.stops.next(!drains) => match ending {
                Ending::Cut => return Err(End::Stopping),
                Ending::Drain => {
                    session.patience.drain(Instant::now());
                    return Ok(());
                }
            },
            () = sleep_until(session.patience.until()) => return Err(if drains { End::Stopping } else { End::TooLong }),
            asked = down.receive(&mut session.rooms.0) => match asked {
                Ok(Came::Message(message)) => self.asked(session, message, down, up).await?,
                Ok(Came::Control) => down.flush().await.map_err(|_| End::ClientGone)?,
                Ok(Came::Close(close)) => return Err(End::ClientCloses(close)),
                Err(LiveError::Gone) => return Err(End::ClientGone),
                Err(error) => return Err(End::ClientFault(error)),
            },
            told = up.receive(&mut session.rooms.1) => match told {
                Ok(Came::Message(message)) => self.told(session, message, down).await?,
                Ok(Came::Control) => up.flush().await.map_err(|_| End::UpstreamGone)?,
                Ok(Came::Close(close)) => return Err(End::UpstreamCloses(close)),
                Err(LiveError::Gone) => return Err(End::UpstreamGone),
                Err(error) => return Err(End::UpstreamFault(error)),
            },
        }
        session.patience.heard(Instant::now());
        Ok(())
    }

    /// A message of the provider.
    async fn told(
        &mut self,
        session: &mut Session,
        message: Message,
        down: &mut dyn LiveDownstream,
    ) -> Result<(), End> {
        let bytes = message.bytes().clone();
        self.record.received.bytes += bytes.len() as u64;
        if let Some(committer) = &mut self.received {
            committer.update(&bytes);
        }
        let kind = Kind::of(&message);
        let mut parts = Vec::new();
        let fed = match kind {
            Kind::Text => session.guard.feed(&bytes, &mut parts),
            Kind::Binary => {
                // No event is binary. Where the policy lets pass what cannot be read, it does not wait for anything.
                let mut judge = PolicyJudge::response(Arc::clone(&session.context), 200, Default::default());
                let mut report = Report::default();
                let part = guard::uninspected(bytes, Gap::Unreadable, &mut judge, &mut report);
                self.record.response.gather(report, judge.decided);
                part.map(|part| parts.push(part))
            }
        };
        self.settle_threads(session.guard.take_settled());
        let room = self.held_answer.set(session.guard.held_bytes());
        let at = self.record.elapsed_us();
        for part in parts {
            session.events.push(part.bytes());
            self.note_released(std::slice::from_ref(&part));
            self.record.first_release_us.get_or_insert(at);
            down.send(part, kind).await.map_err(|_| End::ClientGone)?;
        }
        fed.map_err(End::Blocked)?;
        room.map_err(|_| End::NoRoom)
    }

    /// What threads that have ended have come to.
    fn settle_threads(&mut self, settled: Vec<Settled<PolicyJudge>>) {
        for Settled { report, judge, facts } in settled {
            self.record.response.gather(report, judge.decided);
            let all = &mut self.record.facts;
            all.usage = again::sum(all.usage, facts.usage);
            all.model = facts.model.or(all.model.take());
            all.finish_reason = facts.finish_reason.or(all.finish_reason.take());
            let room = TOOL_CALLS_MAX.saturating_sub(all.tool_calls.len());
            let new: Vec<String> = facts.tool_calls.into_iter().filter(|id| !all.tool_calls.contains(id)).collect();
            all.tool_calls.extend(new.into_iter().take(room));
        }
    }
}

/// Tool calls of one session whose ids are remembered, for the lineage.
const TOOL_CALLS_MAX: usize = 1_024;

const NO_KEY: &str = "the handshake has no key, or one that is none";

/// The key of a handshake (RFC 6455 section 4.2.1).
fn handshake(headers: &HeaderMap) -> Result<String, &'static str> {
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version.as_bytes().trim_ascii() != b"13") {
        return Err("the handshake is not of version 13 of the protocol");
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok()).map(str::trim).unwrap_or_default();
    if websocket::is_key(key) { Ok(key.to_owned()) } else { Err(NO_KEY) }
}
