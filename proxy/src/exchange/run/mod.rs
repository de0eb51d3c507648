//! One exchange as one linear function: the stations of the blueprint in their order.
//!
//! Runs to completion even when the client leaves, because its receipts must be written; the upstream call is dropped at
//! once then, which makes the provider stop.

mod again;
mod alive;
mod coding;
mod count;
mod live;
mod read;
mod reply;
mod settle;

pub use count::AskForUsage;
pub use live::live;
pub use settle::stamp;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use clyra_policy::{BodyStorage, Facts};
use clyra_receipts::Committer;
use clyra_receipts::receipt::Verdict;
use http::header;
use tower::ServiceExt;

use super::answer::{Asked, Reason};
use super::gateway::Gateway;
use super::headers;
use super::held::{Full, Share};
use super::inspect::InspectError;
use super::judge::{Context, PolicyJudge};
use super::ledger::{LedgerError, Pending};
use super::lock::{BindError, Bound, Plan};
use super::ports::{BodyError, ClientGone, Downstream, RequestHead, UpstreamError, UpstreamReply, UpstreamRequest};
use super::record::{Labels, Part, Record, Side};
use crate::guard::{self, Block, Cause, Gap, Inspected, NotAsked, Report};
use crate::json::{Doc, Limits};
use crate::siem;
use crate::surface::{Address, RequestFacts, Shown, Surface};
use crate::upstream::{Provider, strip_query};
use again::Asking;
use settle::send_own;

/// Runs one inspected exchange.
pub async fn run(gateway: &Gateway, head: RequestHead, surface: &'static Surface, down: &mut dyn Downstream) {
    let Ok(_permit) = gateway.in_flight.try_acquire() else {
        let answer = Reason::Overloaded.answer(surface.dialect, &head.request_id.to_string());
        gateway.events.send(siem::notice_line("overloaded", &head.request_id.to_string()));
        gateway.metrics.own_answer(Reason::Overloaded.code());
        let _ = send_own(gateway, &head.request_id.to_string(), "block", answer, down).await;
        return;
    };
    let mut exchange = Exchange::new(gateway, &head, surface);
    exchange.go(head, down).await;
}

/// How a station ended the exchange early.
enum Stop {
    /// Clyra answers by itself.
    Block(Block),
    Upstream(UpstreamError),
    Body(BodyError),
    Overloaded,
    Malformed(&'static str),
    /// Nobody is there to be answered.
    Gone,
    /// The receipt could not be made durable.
    NoReceipt,
    /// The memory for bodies is spent.
    NoRoom,
}

impl From<Full> for Stop {
    fn from(_: Full) -> Self {
        Self::NoRoom
    }
}

impl From<Block> for Stop {
    fn from(block: Block) -> Self {
        Self::Block(block)
    }
}

impl From<ClientGone> for Stop {
    fn from(_: ClientGone) -> Self {
        Self::Gone
    }
}

impl From<LedgerError> for Stop {
    fn from(_: LedgerError) -> Self {
        Self::NoReceipt
    }
}

struct Exchange<'g> {
    gateway: &'g Gateway,
    surface: &'static Surface,
    id: String,
    record: Record,
    attempt_seq: Option<u64>,
    attempt_pending: Option<Pending>,
    outcome_pending: Option<Pending>,
    outcome_seq: Option<u64>,
    attempted: bool,
    closed: bool,
    /// The head of an answer has left.
    started: bool,
    received: Option<Committer>,
    released: Option<Committer>,
    token: Option<String>,
    /// Leaf hashes of the released events, where they are kept and were not too many.
    event_leaves: Option<Vec<clyra_receipts::tree::Hash>>,
    /// What the client has seen of a stream, and how it expects its answer: an ending fits both.
    shown: Shown,
    asked: Asked,
    /// Bytes of the answer that were read to see what it is.
    ahead: Option<Bytes>,
    /// Something of the answer was mended, or will be.
    mended: bool,
    /// When the whole answer must be there.
    answered_by: Instant,
    /// The content type of a request that is written anew.
    content_type: Option<http::HeaderValue>,
    /// What the request takes of the memory for bodies, and what the answer does.
    held: Share,
    held_answer: Share,
    /// How the request does not ask for the count of its stream's tokens, and whether we did in its place.
    uncounted: Option<NotAsked>,
    hides_count: bool,
    /// A choice of the answer was ended alone before its head left.
    shortened: bool,
}

impl<'g> Exchange<'g> {
    fn new(gateway: &'g Gateway, head: &RequestHead, surface: &'static Surface) -> Self {
        Self::of(gateway, surface, record(gateway, head, surface.id))
    }

    fn of(gateway: &'g Gateway, surface: &'static Surface, record: Record) -> Self {
        Self {
            gateway,
            surface,
            id: record.id.to_string(),
            record,
            attempt_seq: None,
            attempt_pending: None,
            outcome_pending: None,
            outcome_seq: None,
            attempted: false,
            closed: false,
            started: false,
            received: committer(gateway),
            released: committer(gateway),
            token: None,
            event_leaves: None,
            shown: Shown::default(),
            asked: Asked::Document,
            ahead: None,
            mended: false,
            answered_by: Instant::now() + gateway.limits.answer_time_max,
            content_type: None,
            held: gateway.held.share(),
            held_answer: gateway.held.share(),
            uncounted: None,
            hides_count: false,
            shortened: false,
        }
    }

    async fn go(&mut self, head: RequestHead, down: &mut dyn Downstream) {
        match self.stations(head, down).await {
            Ok(()) => {}
            Err(Stop::Gone) => {
                self.record.verdict = Verdict::AbortedByClient;
                let _ = self.close().await;
            }
            Err(stop) => {
                let stop = self.unreadable(stop);
                self.stop(stop, down).await;
            }
        }
        self.publish();
    }

    async fn stations(&mut self, mut head: RequestHead, down: &mut dyn Downstream) -> Result<(), Stop> {
        self.admit(&head)?;
        let limit_bytes = self.gateway.limits.request_bytes_max;
        let body = down.read_body(limit_bytes, &mut self.held).await.map_err(Stop::Body)?;
        self.note_request(&body);
        let body = self.decoded_request(&mut head, body).await?;
        let (context, facts, inspected) = self.inspect(&head, body).await?;
        let plan = self.plan(&context, &facts)?;
        let request = self.upstream_request(&head, inspected)?;
        // The attempt becomes durable while the provider thinks; one that never will be keeps the request here.
        self.open();
        if self.attempt_pending.as_mut().is_some_and(Pending::is_refused) {
            self.opened().await?;
        }
        let clock = Instant::now();
        self.answered_by = clock + self.gateway.limits.answer_time_max;
        let kept = plan.may_ask().then(|| request.clone());
        let made = Arc::clone(&request.made);
        let called = self.call(request, plan, down).await;
        self.record.called.attempts = made.load(Ordering::Relaxed);
        let (reply, bound) = called?;
        self.note_reply(&reply);
        self.record.upstream = Some(Arc::clone(&reply.upstream));
        let reply = self.decoded_reply(reply)?;
        if kept.is_none() {
            self.held.set(0)?;
        }
        let asking = kept.map(|request| {
            let (context, bound) = (Arc::clone(&context), bound.clone().strict());
            Asking { context, request, bound }
        });
        let mut result = self.answer(reply, context, bound, down).await;
        let invalid = self.record.response.report.schema.invalid.take().filter(|_| !self.started);
        if let (Err(Stop::Block(_)), Some(invalid), Some(asking)) = (&result, invalid, asking)
            && self.ask_again(asking, invalid, down).await?
        {
            result = Ok(());
        }
        self.record.called.total_us = Some(clock.elapsed().as_micros() as u64);
        result
    }

    /// `decode` and `inspect`: strict JSON, facts, findings, decision.
    async fn inspect(
        &mut self,
        head: &RequestHead,
        body: Bytes,
    ) -> Result<(Arc<Context>, RequestFacts, Inspected), Stop> {
        if head.headers.contains_key(header::CONTENT_ENCODING) {
            return self.uninspected(head, body, Gap::Encoded);
        }
        let posted = self.read(head, &body).await?;
        let address = Address { path: &head.path, query: head.query.as_deref() };
        let facts = (self.surface.request_facts)(posted.doc.root(&posted.document), address);
        self.note_facts(&facts);
        if let Some(fits) = self.surface.headers {
            fits(&head.headers, posted.doc.root(&posted.document)).map_err(mismatch)?;
        }
        self.uncounted = self.uncounted(posted.doc.root(&posted.document), &facts);
        let context = self.context(head, &facts, body.len());
        let (surface, engine, job) = (self.surface, Arc::clone(&self.gateway.engine), Arc::clone(&context));
        let in_job = body.clone();
        let kept = if self.surface.kept { address.kept_id() } else { None };
        let query = own_query(head);
        let is_plain = query.is_empty() && self.surface.is_plain_route(head.method.as_str(), &head.path);
        let texts = (!is_plain).then(|| Address { path: &head.path, query: Some(&query) }.texts());
        let outcome = self.gateway.inspect.run(body.len(), move || {
            let mut judge = PolicyJudge::request(job);
            let mut report = Report::default();
            let known = match &texts {
                Some((path, query)) => guard::address(&engine, (path, query), &mut judge, &mut report),
                None => Ok(()),
            };
            let known = known.and_then(|()| guard::kept(kept, &mut judge, &mut report));
            let result = known.and_then(|()| match &posted.form {
                Some(form) => guard::form(surface, &engine, form, &mut judge, &mut report),
                None if in_job.is_empty() => guard::bodiless(&engine, &mut judge, &mut report),
                None => guard::request(surface, &engine, (&in_job, &posted.doc), &mut judge, &mut report),
            });
            (result, judge, report)
        });
        let (result, judge, report) = match outcome.await {
            Ok(done) => done,
            Err(InspectError::Overloaded) => return Err(Stop::Overloaded),
            Err(error) => {
                let gap = if error == InspectError::Timeout { Gap::DetectorTimeout } else { Gap::DetectorError };
                let mut judge = PolicyJudge::request(Arc::clone(&context));
                let mut report = Report::default();
                let result = guard::bypass(body, gap, Cause::Unavailable, &mut judge, &mut report);
                (result, judge, report)
            }
        };
        let inspected = report.gaps.iter().all(|g| !matches!(g, Gap::DetectorTimeout | Gap::DetectorError));
        let redacted = report.redactions > 0;
        self.record.parents.extend(judge.decided.made_by.iter().copied());
        self.record.request = Side { report, decided: Some(judge.decided), inspected };
        let inspected = result?;
        if let Some(fits) = self.surface.headers.filter(|_| redacted) {
            // What was redacted in the body must not stand in a header.
            let body = inspected.bytes();
            let doc = Doc::parse(body, Limits::default()).map_err(|error| mismatch(error.to_string()))?;
            fits(&head.headers, doc.root(body)).map_err(|_| Block {
                cause: Cause::Policy,
                rule: None,
                reason: "something was to be redacted that a header repeats".into(),
                detectors: Vec::new(),
            })?;
        }
        Ok((context, facts, inspected))
    }

    /// A request that cannot be read, if the policy lets such requests pass.
    fn uninspected(
        &mut self,
        head: &RequestHead,
        body: Bytes,
        gap: Gap,
    ) -> Result<(Arc<Context>, RequestFacts, Inspected), Stop> {
        let facts = RequestFacts::default();
        let context = self.context(head, &facts, body.len());
        let mut judge = PolicyJudge::request(Arc::clone(&context));
        let mut report = Report::default();
        let result = guard::bypass(body, gap, Cause::BadRequest, &mut judge, &mut report);
        self.record.request = Side { report, decided: Some(judge.decided), inspected: false };
        Ok((context, facts, result?))
    }

    fn context(&self, head: &RequestHead, facts: &RequestFacts, bytes: usize) -> Arc<Context> {
        let labels = &self.record.labels;
        let server = self.gateway.upstreams.select(&head.path, Some(self.surface.dialect));
        Arc::new(Context {
            policy: Arc::clone(&self.gateway.policy),
            caller: self.record.caller.clone(),
            request: clyra_policy::RequestFacts {
                surface: self.surface.id.into(),
                route: head.path.clone(),
                model: facts.model.clone(),
                stream: facts.stream,
                tools: facts.tools.clone(),
                app: labels.app.clone().unwrap_or_default(),
                run_id: labels.run_id.clone().unwrap_or_default(),
                bytes: bytes as u64,
            },
            now_unix_s: unix_now(),
            calls: self.surface.calls,
            kept: Some(Arc::clone(&self.gateway.kept)),
            pins: server.map(|(target, _)| (Arc::clone(&self.gateway.pins), Arc::clone(&target.name))),
        })
    }

    /// Schemas that will bind the answer.
    fn plan(&self, context: &Context, facts: &RequestFacts) -> Result<Plan, Stop> {
        let asked = Facts::new(&context.caller, &context.request, context.now_unix_s);
        let read = Some(facts).filter(|_| self.record.request.inspected);
        Ok(self.gateway.contracts.plan(&context.policy, &asked, read).map_err(refused)?)
    }

    /// Calls the provider, and compiles the request's own schemas meanwhile. One that cannot be used ends the call at once.
    async fn call(
        &self,
        request: UpstreamRequest,
        plan: Plan,
        down: &mut dyn Downstream,
    ) -> Result<(UpstreamReply, Bound), Stop> {
        let contracts = Arc::clone(&self.gateway.contracts);
        let (mut bound, job) = match plan.wants_request() {
            true => (None, Some(tokio::task::spawn_blocking(move || plan.compile(&contracts)))),
            false => (Some(plan.compile(&contracts).map_err(refused)?), None),
        };
        let mut compiling = std::pin::pin!(async move {
            match job {
                Some(job) => job.await,
                None => std::future::pending().await,
            }
        });
        let mut reply = None;
        let mut call = std::pin::pin!(self.gateway.call.clone().oneshot(request));
        loop {
            tokio::select! {
                biased;
                () = down.gone() => return Err(Stop::Gone),
                compiled = &mut compiling, if bound.is_none() => bound = Some(compiled.map_err(|_| unavailable())?.map_err(refused)?),
                answer = &mut call, if reply.is_none() => reply = Some(answer.map_err(Stop::Upstream)?),
            }
            match (reply.take(), bound.take()) {
                (Some(reply), Some(bound)) => return Ok((reply, bound)),
                (some_reply, some_bound) => (reply, bound) = (some_reply, some_bound),
            }
        }
    }

    fn upstream_request(&mut self, head: &RequestHead, body: Inspected) -> Result<UpstreamRequest, Stop> {
        let (provider, path) = self.provider(head)?;
        self.record.upstream = Some(Arc::clone(&provider.name));
        let body = self.counted(&provider, body);
        let path_and_query = head.query.as_ref().map_or(path.clone(), |query| format!("{path}?{query}"));
        let mut headers = headers::end_to_end(&head.headers);
        if let Some(kind) = self.content_type.take() {
            headers.insert(header::CONTENT_TYPE, kind);
        }
        Ok(UpstreamRequest {
            provider,
            method: head.method.clone(),
            path_and_query,
            headers,
            body,
            made: Arc::default(),
        })
    }

    /// A client whose key is unknown where keys are exchanged gets nowhere, before anything of it is read.
    fn admit(&self, head: &RequestHead) -> Result<(), Stop> {
        let (provider, _) = self.provider(head)?;
        if provider.admits(head) {
            return Ok(());
        }
        Err(Stop::Upstream(UpstreamError::UnknownKey { name: Arc::clone(&provider.name) }))
    }

    fn provider(&self, head: &RequestHead) -> Result<(Arc<Provider>, String), Stop> {
        let selected = self.gateway.upstreams.select(&head.path, Some(self.surface.dialect));
        selected.ok_or(Stop::Malformed("no upstream is configured"))
    }
}

/// Commits to a body as it passes, where the policy wants that.
fn committer(gateway: &Gateway) -> Option<Committer> {
    let commits = gateway.policy.defaults().body_storage == BodyStorage::Hmac;
    commits.then(Committer::new).and_then(Result::ok)
}

/// The verdict on an exchange that ends with this block.
fn verdict_of(block: &Block) -> Verdict {
    match block.cause {
        Cause::Policy | Cause::Schema => Verdict::Blocked,
        _ => Verdict::Errored,
    }
}

/// The query without credentials, which are no texts of the client's.
fn own_query(head: &RequestHead) -> String {
    head.query.as_ref().map(|query| strip_query(&format!("?{query}"))).unwrap_or_default()
}

fn mismatch(reason: String) -> Block {
    Block { cause: Cause::HeaderMismatch, rule: None, reason, detectors: Vec::new() }
}

/// The request asks for what cannot be held to.
fn refused(error: BindError) -> Block {
    Block { cause: Cause::BadRequest, rule: None, reason: error.to_string(), detectors: Vec::new() }
}

fn unavailable() -> Block {
    Block {
        cause: Cause::Unavailable,
        rule: None,
        reason: "the schema in the request could not be compiled".into(),
        detectors: Vec::new(),
    }
}

/// A record of an exchange of which only the head is known.
pub fn record(gateway: &Gateway, head: &RequestHead, surface: &'static str) -> Record {
    let caller = gateway.policy.caller(gateway.api_key(head));
    let policy = (gateway.policy.mode(), gateway.policy.hash());
    Record {
        labels: Labels::of(head),
        known_caller: &*caller.id != "anonymous",
        method: head.method.to_string(),
        route: head.path.chars().take(256).collect(),
        ..Record::begun((head.request_id, Part::Whole), caller, surface, policy)
    }
}

fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
