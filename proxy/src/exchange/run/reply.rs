//! The provider's answer on its way to the client: held whole, streamed, or passed as it comes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use clyra_policy::BlockStyle;
use clyra_receipts::EventTree;
use http::{HeaderMap, StatusCode, header};

use super::alive::Alive;
use super::{Context, Exchange, Stop};
use crate::exchange::inspect::InspectError;
use crate::exchange::judge::PolicyJudge;
use crate::exchange::lock::Bound;
use crate::exchange::ports::{Downstream, UpstreamError, UpstreamReply};
use crate::exchange::record::Side;
use crate::guard::{self, Gap, Released, Report};
use crate::surface::{Answers, ResponseFacts};
use crate::wire::{Framing, encoding};

/// How long a provider may keep the connection open after its terminal event.
const AFTER_DONE_MAX: Duration = Duration::from_secs(2);

/// White space that is read to see what an answer is. An hour of a line feed per second is less.
const LEADING_SPACE_MAX: usize = 4096;

/// What no detector can read as text. Without a word of its kind it may be anything, and is looked at.
fn is_media(kind: &str) -> bool {
    ["audio/", "image/", "video/"].iter().any(|of| kind.starts_with(of)) || kind == "application/octet-stream"
}

/// Why an answer is forwarded as it comes.
#[derive(Debug, Clone, Copy)]
enum Passing {
    /// It cannot be inspected, and the policy lets such answers pass.
    Uninspected(Gap),
    /// No detector reads what it is.
    Media,
}

impl Exchange<'_> {
    pub(super) async fn answer(
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
        if encoding::codings(&reply.headers).is_err() {
            return self.pass(reply, judge, Passing::Uninspected(Gap::Encoded), down).await;
        }
        let mut reply = reply;
        if status.is_success() && self.surface.answers == Answers::Media && is_media(&kind) {
            return self.pass(reply, judge, Passing::Media, down).await;
        }
        let framing = self.surface.framing;
        let rows = status.is_success() && self.surface.answers == Answers::Events;
        if rows
            || kind == framing.media_type()
            || (self.record.stream
                && status.is_success()
                && (framing == Framing::Lines || self.reads_as_stream(&mut reply, down).await?))
        {
            return self.stream(reply, judge, bound.bindings, down).await;
        }
        self.plain(reply, judge, bound.bindings, down).await
    }

    /// SDKs that asked for a stream read one, whatever the content type says. Only what begins as a JSON document is none.
    async fn reads_as_stream(&mut self, reply: &mut UpstreamReply, down: &mut dyn Downstream) -> Result<bool, Stop> {
        let mut begun = Vec::new();
        // Providers that keep a connection alive send line feeds ahead of either.
        while begun.len() < LEADING_SPACE_MAX && begun.iter().all(u8::is_ascii_whitespace) {
            let Some(chunk) = self.next(reply, down).await? else { break };
            begun.extend_from_slice(&chunk);
        }
        let first = begun.iter().find(|b| !b.is_ascii_whitespace()).copied();
        let empty = begun.is_empty();
        self.ahead = Some(begun.into()).filter(|_| !empty);
        Ok(!empty && !matches!(first, Some(b'{' | b'[')))
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
                return self.pass(reply, judge, Passing::Uninspected(Gap::Oversize), down).await;
            }
            self.held_answer.grow(chunk.len())?;
            body.extend_from_slice(&chunk);
        }
        let success = reply.status.is_success();
        // Where the endpoint says so, an answer may be text of no form (subtitles).
        let kind = reply.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let text = self.surface.answers == Answers::Media && kind.starts_with("text/");
        let (status, upstream_headers) = (reply.status, reply.headers);
        reply.body.release().await;
        let body = Bytes::from(body);
        let (surface, engine) = (self.surface, Arc::clone(&self.gateway.engine));
        let in_job = body.clone();
        let (backup, job) = (judge.fresh(), judge);
        let outcome = self.gateway.inspect.run(body.len(), move || {
            let (mut judge, mut report, mut facts) = (job, Report::default(), ResponseFacts::default());
            let result = if success && text {
                guard::error(&engine, in_job, &mut judge, &mut report)
            } else if success {
                guard::answer(surface, &engine, in_job, bindings, &mut judge, (&mut report, &mut facts))
            } else {
                guard::error(&engine, in_job, &mut judge, &mut report)
            };
            (result, judge, report, facts)
        });
        let (result, judge, report, facts) = match outcome.await {
            Ok(done) => done,
            Err(InspectError::Overloaded) => return Err(Stop::Overloaded),
            Err(error) => {
                let gap = if error == InspectError::Timeout { Gap::DetectorTimeout } else { Gap::DetectorError };
                let (mut judge, mut report) = (backup, Report::default());
                let result = guard::uninspected(body, gap, &mut judge, &mut report).map(|body| guard::Answer { body });
                (result, judge, report, ResponseFacts::default())
            }
        };
        let inspected =
            report.gaps.iter().all(|g| !matches!(g, Gap::DetectorTimeout | Gap::DetectorError | Gap::Unreadable));
        self.record.response = Side { report, decided: Some(judge.decided), inspected };
        self.record.facts = facts;
        let guard::Answer { body } = result?;
        self.note_released(std::slice::from_ref(&body));
        let length = body.bytes().len();
        self.complete((status, &upstream_headers), Some(length), vec![body], down).await
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
        guard.shown.rpc_id.clone_from(&self.shown.rpc_id);
        if self.hides_count {
            guard.hide_count();
        }
        guard.shown.keeps_items = self.gateway.policy.defaults().block_style == BlockStyle::Refusal;
        let mut events = if self.gateway.streams.is_some() { EventTree::keeping() } else { EventTree::new() };
        let mut alive = Alive::new(self.surface, self.gateway.limits.keep_alive);
        let end = self.stream_events(&mut reply, &mut guard, (&mut events, &mut alive), down).await;
        self.record.events = Some((events.events(), events.root_hex()));
        self.record.facts = guard.facts.clone();
        self.shown = std::mem::take(&mut guard.shown);
        self.shown.usage = guard.facts.usage;
        let truncated = end.is_err();
        self.record.response = Side { report: guard.report, decided: Some(guard.judge.decided), inspected: true };
        let tail = match end {
            Ok(end) => end.tail,
            Err(stop) => {
                self.event_leaves = events.into_leaves();
                // The provider stops generating now, before anything else is done.
                reply.body.abort().await;
                if truncated && matches!(stop, Stop::Upstream(_)) {
                    self.record.response.report.gaps.insert(Gap::Truncated);
                }
                return Err(stop);
            }
        };
        alive.leaves(&tail, &mut events);
        self.record.events = Some((events.events(), events.root_hex()));
        self.event_leaves = events.into_leaves();
        self.note_released(&tail);
        let (status, upstream_headers) = (reply.status, reply.headers);
        reply.body.release().await;
        self.complete((status, &upstream_headers), None, tail, down).await
    }

    async fn stream_events(
        &mut self,
        reply: &mut UpstreamReply,
        guard: &mut guard::StreamGuard<PolicyJudge>,
        (events, alive): (&mut EventTree, &mut Alive),
        down: &mut dyn Downstream,
    ) -> Result<guard::StreamEnd, Stop> {
        let clock = Instant::now();
        loop {
            // The client's SDK stops reading at the terminal event: a provider that keeps the connection open after it must not
            // keep the answer from being closed.
            let done = guard.done();
            let patience = guard.deadline().map(|deadline| deadline.saturating_sub(clock.elapsed()));
            let quiet = alive.patience(self.started, guard.held_bytes() > 0);
            let patience = [patience, quiet].into_iter().flatten().min();
            let wait = if done { Some(AFTER_DONE_MAX) } else { patience };
            let next = match wait {
                Some(wait) => tokio::time::timeout(wait, self.next(reply, down)).await,
                None => Ok(self.next(reply, down).await),
            };
            let mut parts = Vec::new();
            let (ended, fed) = match next {
                Ok(Ok(Some(chunk))) => (false, guard.feed(&chunk, clock.elapsed(), &mut parts)),
                Ok(Ok(None)) => (true, Ok(())),
                Ok(Err(stop)) => return Err(stop),
                Err(_) if done => (true, Ok(())),
                // What is held has been held too long, or it has been quiet for long.
                Err(_) => (false, guard.tick(clock.elapsed(), &mut parts)),
            };
            self.held_answer.set(guard.held_bytes())?;
            if ended && fed.is_ok() {
                break;
            }
            if let (Err(block), false) = (&fed, self.started) {
                // Nothing has left yet: the client gets a real HTTP error.
                return Err(block.clone().into());
            }
            if parts.is_empty() {
                fed?;
                self.show_life(alive, guard.held_bytes() > 0, down).await?;
                continue;
            }
            alive.leaves(&parts, events);
            self.note_released(&parts);
            if !self.started {
                self.opened().await?;
                self.mended = guard.mends();
                self.shortened = !guard.report.schema.ended.is_empty();
                let head = self.response_head(reply.status, &reply.headers);
                self.start(head, None, down).await?;
            }
            down.write(Released::join(parts)).await?;
            fed?;
        }
        Ok(guard.finish(clock.elapsed())?)
    }

    /// An answer that is forwarded as it comes.
    async fn pass(
        &mut self,
        mut reply: UpstreamReply,
        mut judge: PolicyJudge,
        passing: Passing,
        down: &mut dyn Downstream,
    ) -> Result<(), Stop> {
        let mut report = Report::default();
        let mut part = |bytes: BytesMut, report: &mut Report| match passing {
            Passing::Uninspected(gap) => guard::uninspected(bytes.freeze(), gap, &mut judge, report),
            Passing::Media => Ok(guard::media(bytes.freeze(), report)),
        };
        let mut result = Ok(());
        // Nobody can tell which byte completes an answer that is not read, so the newest one always waits: for the next
        // bytes, or for the outcome to be on disk.
        let mut newest = BytesMut::new();
        while let Some(chunk) = self.next(&mut reply, down).await? {
            newest.extend_from_slice(&chunk);
            let ready = newest.split_to(newest.len().saturating_sub(1));
            if ready.is_empty() {
                continue;
            }
            match part(ready, &mut report) {
                Ok(part) => self.show(part, (reply.status, &reply.headers), down).await?,
                Err(block) => {
                    result = Err(block);
                    break;
                }
            }
        }
        let rest = result.and_then(|()| {
            let newest = Some(newest).filter(|newest| !newest.is_empty());
            newest.map(|newest| part(newest, &mut report)).transpose()
        });
        let inspected = matches!(passing, Passing::Media);
        if inspected {
            // Also where nothing came.
            report.gaps.insert(Gap::Media);
        }
        self.record.response = Side { report, decided: Some(judge.decided), inspected };
        let rest = Vec::from_iter(rest?);
        self.note_released(&rest);
        let (status, upstream_headers) = (reply.status, reply.headers);
        reply.body.release().await;
        self.complete((status, &upstream_headers), None, rest, down).await
    }

    /// Sends a part of an answer that is not held, behind its head if that has not left.
    async fn show(
        &mut self,
        part: Released,
        (status, upstream): (StatusCode, &HeaderMap),
        down: &mut dyn Downstream,
    ) -> Result<(), Stop> {
        self.note_released(std::slice::from_ref(&part));
        if !self.started {
            self.opened().await?;
            let head = self.response_head(status, upstream);
            self.start(head, None, down).await?;
        }
        Ok(down.write(part).await?)
    }

    /// Ends an answer in good order. The outcome is on disk before the last byte leaves: before the whole body, or before
    /// the terminal event and the end of the message.
    pub(super) async fn complete(
        &mut self,
        (status, upstream): (StatusCode, &HeaderMap),
        length: Option<usize>,
        rest: Vec<Released>,
        down: &mut dyn Downstream,
    ) -> Result<(), Stop> {
        self.executed(status.is_success());
        self.close().await?;
        let head = self.response_head(status, upstream);
        self.start(head, length, down).await?;
        if !rest.is_empty() {
            down.write(Released::join(rest)).await?;
        }
        down.finish().await?;
        Ok(())
    }

    /// The next bytes of the answer, unless the client leaves first.
    pub(super) async fn next(
        &mut self,
        reply: &mut UpstreamReply,
        down: &mut dyn Downstream,
    ) -> Result<Option<Bytes>, Stop> {
        if let Some(chunk) = self.ahead.take() {
            return Ok(Some(chunk));
        }
        let chunk = tokio::select! {
            biased;
            () = down.gone() => return Err(Stop::Gone),
            () = tokio::time::sleep_until(self.answered_by.into()) => {
                let after = self.gateway.limits.answer_time_max;
                return Err(Stop::Upstream(UpstreamError::Timeout { name: Arc::clone(&reply.upstream), after }));
            }
            chunk = reply.body.chunk() => chunk.map_err(Stop::Upstream)?,
        };
        if let Some(chunk) = &chunk {
            self.note_received(chunk);
        }
        Ok(chunk)
    }
}
