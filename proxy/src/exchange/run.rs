//! One exchange as one linear function: the stations of the blueprint in their order.
//!
//! Runs to completion even when the client leaves, because its receipts must be written; the upstream call is dropped at
//! once then, which makes the provider stop.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use clyra_policy::{BodyStorage, Facts};
use clyra_receipts::Committer;
use clyra_receipts::receipt::Verdict;
use http::{HeaderMap, StatusCode, header};
use tower::ServiceExt;

use super::answer::{OwnAnswer, Reason};
use super::evidence;
use super::gateway::Gateway;
use super::headers;
use super::inspect::InspectError;
use super::judge::{Context, PolicyJudge};
use super::ledger::{LedgerError, Pending};
use super::lock::Bound;
use super::ports::{ClientGone, Downstream, RequestHead, ResponseHead, UpstreamError, UpstreamReply, UpstreamRequest};
use super::record::{Called, Labels, Passed, Record, Side};
use crate::guard::{self, Block, Cause, Gap, Inspected, Released, Report, SchemaReport};
use crate::json::{Doc, Limits as JsonLimits};
use crate::siem;
use crate::surface::{RequestFacts, ResponseFacts, Surface};

/// Runs one inspected exchange.
pub async fn run(gateway: &Gateway, head: RequestHead, surface: &'static Surface, down: &mut dyn Downstream) {
    let Ok(_permit) = gateway.in_flight.try_acquire() else {
        let answer = Reason::Overloaded.answer(surface.dialect, &head.request_id.to_string());
        gateway.events.send(siem::notice_line("overloaded", &head.request_id.to_string()));
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
    Body(super::ports::BodyError),
    Overloaded,
    Malformed(&'static str),
    /// Nobody is there to be answered.
    Gone,
    /// The receipt could not be made durable.
    NoReceipt,
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
    outcome_seq: Option<u64>,
    attempted: bool,
    closed: bool,
    /// The head of an answer has left.
    started: bool,
    received: Option<Committer>,
    released: Option<Committer>,
    token: Option<String>,
    /// Bytes of the answer that were read to see what it is.
    ahead: Option<Bytes>,
}

impl<'g> Exchange<'g> {
    fn new(gateway: &'g Gateway, head: &RequestHead, surface: &'static Surface) -> Self {
        let commits = gateway.policy.defaults().body_storage == BodyStorage::Hmac;
        let committer = || commits.then(Committer::new).and_then(Result::ok);
        Self {
            gateway,
            surface,
            id: head.request_id.to_string(),
            record: record(gateway, head, surface.id),
            attempt_seq: None,
            attempt_pending: None,
            outcome_seq: None,
            attempted: false,
            closed: false,
            started: false,
            received: committer(),
            released: committer(),
            token: None,
            ahead: None,
        }
    }

    async fn go(&mut self, head: RequestHead, down: &mut dyn Downstream) {
        match self.stations(head, down).await {
            Ok(()) => {}
            Err(Stop::Gone) => {
                self.record.verdict = Verdict::AbortedByClient;
                let _ = self.close().await;
            }
            Err(stop) => self.stop(stop, down).await,
        }
        self.publish();
    }

    async fn stations(&mut self, head: RequestHead, down: &mut dyn Downstream) -> Result<(), Stop> {
        let body = down.read_body(self.gateway.limits.request_bytes_max).await.map_err(Stop::Body)?;
        self.note_request(&body);
        let (context, facts, inspected) = self.inspect(&head, body).await?;
        let bound = self.bind(&context, &facts)?;
        let request = self.upstream_request(&head, inspected)?;
        // The attempt becomes durable while the provider thinks.
        self.open();
        let clock = Instant::now();
        let reply = tokio::select! {
            biased;
            () = down.gone() => return Err(Stop::Gone),
            reply = self.gateway.call.clone().oneshot(request) => reply.map_err(Stop::Upstream)?,
        };
        self.note_reply(&reply);
        let result = self.answer(reply, context, bound, down).await;
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
        let doc = Doc::parse(&body, JsonLimits::default()).map_err(|error| {
            self.record.request.report.gaps.insert(Gap::Unreadable);
            Block {
                cause: Cause::BadRequest,
                rule: None,
                reason: format!("the request body is not strict JSON: {error}"),
                detectors: Vec::new(),
            }
        })?;
        let facts = (self.surface.request_facts)(doc.root(&body));
        self.note_facts(&facts);
        let context = self.context(head, &facts, body.len());
        let (surface, engine, job) = (self.surface, Arc::clone(&self.gateway.engine), Arc::clone(&context));
        let in_job = body.clone();
        let outcome = self.gateway.inspect.run(body.len(), move || {
            let mut judge = PolicyJudge::request(job);
            let mut report = Report::default();
            let result = guard::request(surface, &engine, (&in_job, &doc), &mut judge, &mut report);
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
        self.record.request = Side { report, decided: Some(judge.decided), inspected };
        Ok((context, facts, result?))
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
        })
    }

    /// Schemas that bind the answer.
    fn bind(&mut self, context: &Context, facts: &RequestFacts) -> Result<Bound, Stop> {
        let asked = Facts::new(&context.caller, &context.request, context.now_unix_s);
        let bound = self.gateway.contracts.bind(&context.policy, &asked, facts.response_schema.as_deref());
        let mut bound = bound.map_err(|error| Block {
            cause: Cause::BadRequest,
            rule: None,
            reason: error.to_string(),
            detectors: Vec::new(),
        })?;
        self.record.schema_digests = std::mem::take(&mut bound.digests);
        Ok(bound)
    }

    fn upstream_request(&mut self, head: &RequestHead, body: Inspected) -> Result<UpstreamRequest, Stop> {
        let selected = self.gateway.upstreams.select(&head.path, Some(self.surface.dialect));
        let (target, path) = selected.ok_or(Stop::Malformed("no upstream is configured"))?;
        self.record.upstream = Some(Arc::clone(&target.name));
        let path_and_query = head.query.as_ref().map_or(path.clone(), |query| format!("{path}?{query}"));
        Ok(UpstreamRequest {
            target,
            method: head.method.clone(),
            path_and_query,
            headers: headers::end_to_end(&head.headers),
            body,
        })
    }

    async fn answer(
        &mut self,
        reply: UpstreamReply,
        context: Arc<Context>,
        bound: Bound,
        down: &mut dyn Downstream,
    ) -> Result<(), Stop> {
        let status = reply.status;
        let judge = PolicyJudge::response(context, status.as_u16(), bound.on_violation);
        let kind = reply.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let encoded = reply
            .headers
            .get(header::CONTENT_ENCODING)
            .is_some_and(|v| !v.as_bytes().eq_ignore_ascii_case(b"identity"));
        if encoded {
            return self.pass(reply, judge, Gap::Encoded, down).await;
        }
        let mut reply = reply;
        if kind == "text/event-stream"
            || (self.record.stream && status.is_success() && self.reads_as_stream(&mut reply, down).await?)
        {
            return self.stream(reply, judge, bound.bindings, down).await;
        }
        self.plain(reply, judge, bound.bindings, down).await
    }

    /// SDKs that asked for a stream read one, whatever the content type says. Only what begins as a JSON document is none.
    async fn reads_as_stream(&mut self, reply: &mut UpstreamReply, down: &mut dyn Downstream) -> Result<bool, Stop> {
        let Some(chunk) = self.next(reply, down).await? else { return Ok(false) };
        let first = chunk.iter().find(|b| !b.is_ascii_whitespace()).copied();
        self.ahead = Some(chunk);
        Ok(!matches!(first, Some(b'{' | b'[')))
    }

    /// An answer that does not stream: held whole, judged, then sent with its length.
    async fn plain(
        &mut self,
        mut reply: UpstreamReply,
        judge: PolicyJudge,
        bindings: Vec<guard::Binding>,
        down: &mut dyn Downstream,
    ) -> Result<(), Stop> {
        let limit = self.gateway.limits.response_bytes_max;
        let mut body = Vec::new();
        while let Some(chunk) = self.next(&mut reply, down).await? {
            if body.len() + chunk.len() > limit {
                // Too large to be held: it goes as it comes or not at all, as the policy says of what is not inspected.
                body.extend_from_slice(&chunk);
                self.ahead = Some(body.into());
                return self.pass(reply, judge, Gap::Oversize, down).await;
            }
            body.extend_from_slice(&chunk);
        }
        let success = reply.status.is_success();
        let (status, upstream_headers) = (reply.status, reply.headers);
        reply.body.release().await;
        let body = Bytes::from(body);
        let (surface, engine) = (self.surface, Arc::clone(&self.gateway.engine));
        let in_job = body.clone();
        let (backup, job) = (judge.fresh(), judge);
        let outcome = self.gateway.inspect.run(body.len(), move || {
            let (mut judge, mut report) = (job, Report::default());
            let result = if success {
                guard::answer(surface, &engine, in_job, bindings, &mut judge, &mut report)
                    .map(|a| (a.body, a.facts, a.schema))
            } else {
                guard::error(&engine, in_job, &mut judge, &mut report)
                    .map(|body| (body, ResponseFacts::default(), SchemaReport::default()))
            };
            (result, judge, report)
        });
        let (result, judge, report) = match outcome.await {
            Ok(done) => done,
            Err(InspectError::Overloaded) => return Err(Stop::Overloaded),
            Err(error) => {
                let gap = if error == InspectError::Timeout { Gap::DetectorTimeout } else { Gap::DetectorError };
                let (mut judge, mut report) = (backup, Report::default());
                let result = guard::uninspected(body, gap, &mut judge, &mut report)
                    .map(|body| (body, ResponseFacts::default(), SchemaReport::default()));
                (result, judge, report)
            }
        };
        let inspected =
            report.gaps.iter().all(|g| !matches!(g, Gap::DetectorTimeout | Gap::DetectorError | Gap::Unreadable));
        let breach = judge.decided.breaches.first().cloned();
        self.record.response = Side { report, decided: Some(judge.decided), inspected };
        self.record.schema.breach = breach;
        let (body, facts, schema) = result?;
        self.record.facts = facts;
        self.record.schema = schema;
        self.note_released(std::slice::from_ref(&body));
        self.executed(success);
        self.close().await?;
        let length = body.bytes().len();
        let head = self.response_head(status, &upstream_headers);
        self.start(head, Some(length), down).await?;
        down.write(body).await?;
        down.finish().await?;
        Ok(())
    }

    /// A streamed answer: whole events leave as soon as nothing in them can still be the start of something forbidden.
    async fn stream(
        &mut self,
        mut reply: UpstreamReply,
        judge: PolicyJudge,
        bindings: Vec<guard::Binding>,
        down: &mut dyn Downstream,
    ) -> Result<(), Stop> {
        let mut guard = guard::StreamGuard::new(self.surface, Arc::clone(&self.gateway.engine), judge, bindings);
        let mut events = clyra_receipts::EventTree::new();
        let end = self.stream_events(&mut reply, &mut guard, &mut events, down).await;
        self.record.events = Some((events.events(), events.root_hex()));
        self.record.facts = guard.facts.clone();
        let truncated = end.is_err();
        let breach = guard.judge.decided.breaches.first().cloned();
        self.record.response = Side { report: guard.report, decided: Some(guard.judge.decided), inspected: true };
        self.record.schema.breach = breach;
        let (tail, schema) = match end {
            Ok(end) => (end.tail, end.schema),
            Err(stop) => {
                // The provider stops generating now, before anything else is done.
                reply.body.abort().await;
                if truncated && matches!(stop, Stop::Upstream(_)) {
                    self.record.response.report.gaps.insert(Gap::Truncated);
                }
                return Err(stop);
            }
        };
        self.record.schema = schema;
        for part in &tail {
            events.push(part.bytes());
        }
        self.record.events = Some((events.events(), events.root_hex()));
        self.note_released(&tail);
        let (status, upstream_headers) = (reply.status, reply.headers);
        reply.body.release().await;
        self.executed(status.is_success());
        // The outcome is on disk before the last byte leaves: the terminal event and the end of the message.
        self.close().await?;
        let head = self.response_head(status, &upstream_headers);
        self.start(head, None, down).await?;
        if !tail.is_empty() {
            down.write(Released::join(tail)).await?;
        }
        down.finish().await?;
        Ok(())
    }

    async fn stream_events(
        &mut self,
        reply: &mut UpstreamReply,
        guard: &mut guard::StreamGuard<PolicyJudge>,
        events: &mut clyra_receipts::EventTree,
        down: &mut dyn Downstream,
    ) -> Result<guard::StreamEnd, Stop> {
        loop {
            let next = if guard.done() {
                // The client's SDK stops reading at the terminal event: a provider that keeps the connection open after
                // it must not keep the answer from being closed.
                match tokio::time::timeout(AFTER_DONE_MAX, self.next(reply, down)).await {
                    Ok(next) => next?,
                    Err(_) => None,
                }
            } else {
                self.next(reply, down).await?
            };
            let Some(chunk) = next else { break };
            let mut parts = Vec::new();
            let fed = guard.feed(&chunk, &mut parts);
            if let (Err(block), false) = (&fed, self.started) {
                // Nothing has left yet: the client gets a real HTTP error.
                return Err(block.clone().into());
            }
            if parts.is_empty() {
                fed?;
                continue;
            }
            for part in &parts {
                events.push(part.bytes());
            }
            self.note_released(&parts);
            if !self.started {
                self.opened().await?;
                let head = self.response_head(reply.status, &reply.headers);
                self.start(head, None, down).await?;
            }
            down.write(Released::join(parts)).await?;
            fed?;
        }
        Ok(guard.finish()?)
    }

    /// An answer that cannot be inspected, where the policy lets such answers pass: forwarded as it comes.
    async fn pass(
        &mut self,
        mut reply: UpstreamReply,
        mut judge: PolicyJudge,
        gap: Gap,
        down: &mut dyn Downstream,
    ) -> Result<(), Stop> {
        let mut report = Report::default();
        let mut result = Ok(());
        while let Some(chunk) = self.next(&mut reply, down).await? {
            match guard::uninspected(chunk, gap, &mut judge, &mut report) {
                Ok(part) => {
                    self.note_released(std::slice::from_ref(&part));
                    if !self.started {
                        self.opened().await?;
                        let head = self.response_head(reply.status, &reply.headers);
                        self.start(head, None, down).await?;
                    }
                    down.write(part).await?;
                }
                Err(block) => {
                    result = Err(Stop::Block(block));
                    break;
                }
            }
        }
        self.record.response = Side { report, decided: Some(judge.decided), inspected: false };
        result?;
        let (status, upstream_headers) = (reply.status, reply.headers);
        reply.body.release().await;
        self.executed(status.is_success());
        self.close().await?;
        let head = self.response_head(status, &upstream_headers);
        self.start(head, None, down).await?;
        down.finish().await?;
        Ok(())
    }

    /// The next bytes of the answer, unless the client leaves first.
    async fn next(&mut self, reply: &mut UpstreamReply, down: &mut dyn Downstream) -> Result<Option<Bytes>, Stop> {
        if let Some(chunk) = self.ahead.take() {
            return Ok(Some(chunk));
        }
        let chunk = tokio::select! {
            biased;
            () = down.gone() => return Err(Stop::Gone),
            chunk = reply.body.chunk() => chunk.map_err(Stop::Upstream)?,
        };
        if let Some(chunk) = &chunk {
            self.record.received.bytes += chunk.len() as u64;
            if let Some(committer) = &mut self.received {
                committer.update(chunk);
            }
        }
        Ok(chunk)
    }

    /// Clyra ends the exchange: with an HTTP error while nothing has left, with an error event afterwards.
    async fn stop(&mut self, stop: Stop, down: &mut dyn Downstream) {
        let reason = match &stop {
            Stop::Block(block) => Reason::Block(block),
            Stop::Upstream(error) => Reason::Upstream(error),
            Stop::Body(error) => Reason::Body(error),
            Stop::Overloaded => Reason::Overloaded,
            Stop::Malformed(text) => Reason::Malformed(text),
            Stop::Gone | Stop::NoReceipt => Reason::NoReceipt,
        };
        self.record.verdict = match &stop {
            Stop::Block(block) if matches!(block.cause, Cause::Policy | Cause::Schema) => Verdict::Blocked,
            Stop::Block(_) | Stop::Malformed(_) => Verdict::Errored,
            Stop::Upstream(UpstreamError::Timeout { .. }) => Verdict::Timeout,
            Stop::Body(super::ports::BodyError::Gone) => Verdict::AbortedByClient,
            _ => Verdict::Errored,
        };
        if let Stop::Block(block) = &stop {
            self.record.rule.clone_from(&block.rule);
        }
        if let Stop::Upstream(error) = &stop {
            tracing::warn!(request_id = %self.id, "{error}");
        }
        self.record.code = Some(reason.code());
        let settled = self.close().await.is_ok();
        let reason = if settled { reason } else { Reason::NoReceipt };
        self.record.code = Some(reason.code());
        if self.started {
            let event = reason.event(self.surface.dialect, &self.id);
            if down.write(event).await.is_ok() {
                let _ = down.finish().await;
            }
            return;
        }
        let mut answer = reason.answer(self.surface.dialect, &self.id);
        self.stamp_receipt(&mut answer.headers);
        self.record.status = Some(answer.status.as_u16());
        let decision = if matches!(reason, Reason::Upstream(_)) { "allow" } else { "block" };
        let _ = send_own(self.gateway, &self.id, decision, answer, down).await;
    }

    /// Puts the attempt on its way to the disk.
    fn open(&mut self) {
        if !std::mem::replace(&mut self.attempted, true) {
            let entry = evidence::attempt(&self.record, &self.gateway.engine);
            self.attempt_pending = Some(self.gateway.ledger.append(entry));
        }
    }

    /// Waits until the attempt is on disk.
    async fn opened(&mut self) -> Result<(), Stop> {
        self.open();
        if let Some(pending) = self.attempt_pending.take() {
            let token = pending.durable().await.inspect_err(|error| {
                tracing::error!(request_id = %self.id, "no attempt receipt: {error}");
            })?;
            self.attempt_seq = Some(token.seq);
            self.token = Some(token.to_string());
        }
        if self.attempt_seq.is_none() { Err(Stop::NoReceipt) } else { Ok(()) }
    }

    /// Writes the outcome and waits until it is on disk.
    async fn close(&mut self) -> Result<(), Stop> {
        self.opened().await?;
        let Some(attempt_seq) = self.attempt_seq else { return Err(Stop::NoReceipt) };
        if std::mem::replace(&mut self.closed, true) {
            return Ok(());
        }
        self.commit();
        let entry = evidence::outcome(&self.record, attempt_seq, &self.gateway.engine);
        let token = self.gateway.ledger.append(entry).durable().await.inspect_err(|error| {
            tracing::error!(request_id = %self.id, "no outcome receipt: {error}");
        })?;
        self.outcome_seq = Some(token.seq);
        self.token = Some(token.to_string());
        Ok(())
    }

    /// Fixes the commitments of both bodies and hands their salts to the file beside the receipts.
    fn commit(&mut self) {
        for (part, committer) in [("received", self.received.take()), ("released", self.released.take())] {
            let Some(committer) = committer.filter(|_| self.record.called.status.is_some()) else { continue };
            let (commitment, salt) = committer.finish();
            self.gateway.commitments.send(commitment_line(&self.id, part, &commitment.value, &salt.to_base64()));
            let passed = if part == "received" { &mut self.record.received } else { &mut self.record.released };
            passed.commit = Some(commitment);
        }
    }

    async fn start(
        &mut self,
        head: ResponseHead,
        length: Option<usize>,
        down: &mut dyn Downstream,
    ) -> Result<(), Stop> {
        if std::mem::replace(&mut self.started, true) {
            return Ok(());
        }
        self.record.status = Some(head.status.as_u16());
        self.record.first_release_us = Some(self.record.elapsed_us());
        Ok(down.start(head, length).await?)
    }

    /// The provider's head with Clyra's own headers. They say what is known when the head leaves.
    fn response_head(&self, status: StatusCode, upstream: &HeaderMap) -> ResponseHead {
        let mut headers = headers::end_to_end(upstream);
        let redacted = self.record.request.report.redactions + self.record.response.report.redactions > 0;
        let decision = if redacted { "redact" } else { "allow" };
        stamp(&mut headers, self.gateway, &self.id, decision);
        self.stamp_receipt(&mut headers);
        ResponseHead { status, headers }
    }

    /// The token of the newest receipt: with it every client is a witness.
    fn stamp_receipt(&self, headers: &mut HeaderMap) {
        if let Some(value) = self.token.as_ref().and_then(|t| t.parse().ok()) {
            headers.insert(headers::RECEIPT, value);
        }
    }

    fn executed(&mut self, success: bool) {
        let redactions = self.record.request.report.redactions + self.record.response.report.redactions;
        self.record.verdict = match (success, redactions) {
            (false, _) => Verdict::Errored,
            (true, 0) => Verdict::Executed,
            (true, _) => Verdict::Redacted,
        };
    }

    fn note_request(&mut self, body: &Bytes) {
        self.record.request_body.bytes = body.len() as u64;
        if self.gateway.policy.defaults().body_storage == BodyStorage::Hmac
            && let Ok((commitment, salt)) = clyra_receipts::Commitment::of(body)
        {
            self.gateway.commitments.send(commitment_line(&self.id, "request", &commitment.value, &salt.to_base64()));
            self.record.request_body.commit = Some(commitment);
        }
    }

    fn note_facts(&mut self, facts: &RequestFacts) {
        self.record.model.clone_from(&facts.model);
        self.record.stream = facts.stream;
        self.record.messages = facts.messages;
        self.record.tools.clone_from(&facts.tools);
    }

    fn note_reply(&mut self, reply: &UpstreamReply) {
        let text = |name: &str| reply.headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        self.record.called = Called {
            status: Some(reply.status.as_u16()),
            attempts: reply.attempts,
            first_byte_us: Some(reply.time_to_head.as_micros() as u64),
            total_us: None,
            request_id: text("x-request-id").or_else(|| text("request-id")),
            error: None,
        };
    }

    fn note_released(&mut self, parts: &[Released]) {
        for part in parts {
            self.record.released.bytes += part.bytes().len() as u64;
            if let Some(committer) = &mut self.released {
                committer.update(part.bytes());
            }
        }
    }

    /// News for the SIEM and the metrics.
    fn publish(&self) {
        let gateway = self.gateway;
        gateway.events.send(siem::exchange_line(&self.record, (self.attempt_seq, self.outcome_seq)));
        for line in siem::finding_lines(&self.record) {
            gateway.events.send(line);
        }
        gateway.metrics.ended(&self.record);
    }
}

impl Drop for Exchange<'_> {
    /// A panic or a runtime that goes away in the middle: the outcome says so, if the journal still takes it.
    fn drop(&mut self) {
        if let Some(seq) = self.attempt_seq.filter(|_| !self.closed) {
            self.record.verdict = Verdict::Crashed;
            drop(self.gateway.ledger.append(evidence::outcome(&self.record, seq, &self.gateway.engine)));
        }
    }
}

/// How long a provider may keep the connection open after its terminal event.
const AFTER_DONE_MAX: std::time::Duration = std::time::Duration::from_secs(2);

/// A record of an exchange of which only the head is known.
pub fn record(gateway: &Gateway, head: &RequestHead, surface: &'static str) -> Record {
    let caller = gateway.policy.caller(gateway.api_key(head));
    Record {
        id: head.request_id,
        started: Instant::now(),
        labels: Labels::of(head),
        known_caller: &*caller.id != "anonymous",
        caller,
        method: head.method.to_string(),
        route: head.path.chars().take(256).collect(),
        surface,
        model: String::new(),
        stream: false,
        messages: 0,
        tools: Vec::new(),
        upstream: None,
        mode: gateway.policy.mode(),
        policy_hash: gateway.policy.hash().to_owned(),
        request_body: Passed::default(),
        request: Side::default(),
        response: Side::default(),
        facts: ResponseFacts::default(),
        called: Called::default(),
        received: Passed::default(),
        released: Passed::default(),
        events: None,
        schema: SchemaReport::default(),
        schema_digests: Vec::new(),
        verdict: Verdict::Errored,
        code: None,
        rule: None,
        status: None,
        first_release_us: None,
    }
}

/// Clyra's headers on a response.
pub fn stamp(headers: &mut HeaderMap, gateway: &Gateway, id: &str, decision: &'static str) {
    if let Ok(id) = id.parse() {
        headers.insert(headers::REQUEST_ID, id);
    }
    headers.insert(headers::DECISION, http::HeaderValue::from_static(decision));
    let short = gateway.policy.hash().get(..12).unwrap_or_default();
    if let Ok(hash) = short.parse() {
        headers.insert(headers::POLICY, hash);
    }
}

async fn send_own(
    gateway: &Gateway,
    id: &str,
    decision: &'static str,
    mut answer: OwnAnswer,
    down: &mut dyn Downstream,
) -> Result<(), ClientGone> {
    stamp(&mut answer.headers, gateway, id, decision);
    let length = answer.body.bytes().len();
    down.start(ResponseHead { status: answer.status, headers: answer.headers }, Some(length)).await?;
    down.write(answer.body).await?;
    down.finish().await
}

fn commitment_line(id: &str, part: &str, value: &str, salt: &str) -> String {
    serde_json::json!({"v": 1, "request_id": id, "part": part, "alg": "hmac-sha256", "value": value, "salt": salt})
        .to_string()
}

fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
