//! An answer that broke its schema while nothing of it had left: the model is asked once more, and held to the same schemas.
//!
//! The question is a request like any other: it passes the guard before it is sent, and so does its answer before it is
//! shown. Whatever goes wrong on the way, the first answer stays what it was, a block.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clyra_receipts::EventTree;
use http::{HeaderValue, header};
use tower::ServiceExt;

use super::{Context, Exchange, Stop};
use crate::exchange::answer::Asked;
use crate::exchange::judge::PolicyJudge;
use crate::exchange::lock::Bound;
use crate::exchange::ports::{Downstream, UpstreamReply, UpstreamRequest};
use crate::exchange::record::Side;
use crate::guard::{self, Inspected, Invalid, Repairs, Report};
use crate::json::{Doc, Limits};
use crate::surface::again::{self, Flaw, Streamed};
use crate::surface::{ResponseFacts, Usage};

/// What asking again needs to have kept of the first time.
pub(super) struct Asking {
    pub(super) context: Arc<Context>,
    pub(super) request: UpstreamRequest,
    pub(super) bound: Bound,
}

/// A second answer that may be shown.
struct Second {
    reply: (http::StatusCode, http::HeaderMap),
    answer: guard::Answer,
    side: Side,
    facts: ResponseFacts,
}

impl Exchange<'_> {
    /// Asks again and sends what comes of it. False where nothing did, so that the first answer's block stands.
    pub(super) async fn ask_again(
        &mut self,
        asking: Asking,
        (invalid, patience): (Invalid, Duration),
        down: &mut dyn Downstream,
    ) -> Result<bool, Stop> {
        let Some(breach) = self.record.breach() else { return Ok(false) };
        let by = (breach.id.clone(), breach.digest.clone());
        let Some((path_and_query, body)) = self.question(&asking, &invalid).await else { return Ok(false) };
        let Asking { context, mut request, bound } = asking;
        // Another question under the same key would be given the first one's answer.
        request.headers.remove("idempotency-key");
        let request = UpstreamRequest { path_and_query, body, made: Arc::default(), ..request };
        let second = tokio::time::timeout(patience, self.second(request, context, bound, down)).await;
        let Ok(second) = second else {
            tracing::warn!(request_id = %self.id, "the model was asked again and did not answer in time");
            return Ok(false);
        };
        let Some(Second { reply: (status, mut headers), answer, mut side, facts }) = second? else { return Ok(false) };
        let streamed = match self.asked {
            Asked::Document => None,
            Asked::Array => Some(Streamed::Array),
            Asked::Events => Some(Streamed::Events),
        };
        let parts = match streamed.map(|streamed| guard::as_stream(self.surface, &answer, streamed)) {
            None => vec![answer.body],
            Some(Some(parts)) => parts,
            Some(None) => return Ok(false),
        };
        let length = match streamed {
            Some(Streamed::Events) => {
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
                let mut tree = if self.gateway.streams.is_some() { EventTree::keeping() } else { EventTree::new() };
                parts.iter().for_each(|event| tree.push(event.bytes()));
                self.record.events = Some((tree.events(), tree.root_hex()));
                self.event_leaves = tree.into_leaves();
                None
            }
            _ => {
                // Whatever the first answer came as.
                (self.record.events, self.event_leaves) = (None, None);
                Some(parts.iter().map(|part| part.bytes().len()).sum())
            }
        };
        side.report.schema.repairs = Repairs::asked_again(by);
        // What was found in the first answer was found, although nobody is shown it.
        side.add(&self.record.response);
        self.record.response = side;
        self.record.facts = ResponseFacts { usage: sum(self.record.facts.usage, facts.usage), ..facts };
        self.note_released(&parts);
        self.complete((status, &headers), length, parts, down).await?;
        Ok(true)
    }

    /// The question, as far as the policy lets it be asked. What was found in it is on record, whether it is asked or not.
    async fn question(&mut self, asking: &Asking, invalid: &Invalid) -> Option<(String, Inspected)> {
        let breaches = &self.record.response.decided.as_ref()?.breaches;
        let flaws: Vec<Flaw<'_>> =
            breaches.iter().map(|b| Flaw { kind: &b.kind, keyword: &b.keyword, pointer: &b.pointer }).collect();
        let asked = (asking.request.path_and_query.as_str(), &**asking.request.body.bytes());
        let (path_and_query, body) = again::request(self.surface, asked, invalid.text(), &flaws)?;
        let body = Bytes::from(body);
        let doc = Doc::parse(&body, Limits::default()).ok()?;
        let (surface, engine, context) = (self.surface, Arc::clone(&self.gateway.engine), Arc::clone(&asking.context));
        let outcome = self.gateway.inspect.run(body.len(), move || {
            let (mut judge, mut report) = (PolicyJudge::request(context), Report::default());
            let inspected = guard::request(surface, &engine, (&body, &doc), &mut judge, &mut report);
            (inspected, judge, report)
        });
        let (inspected, judge, report) = outcome.await.ok()?;
        self.record.question = Side { report, decided: Some(judge.decided), inspected: true };
        Some((path_and_query, inspected.ok()?))
    }

    async fn second(
        &mut self,
        request: UpstreamRequest,
        context: Arc<Context>,
        bound: Bound,
        down: &mut dyn Downstream,
    ) -> Result<Option<Second>, Stop> {
        let reply = tokio::select! {
            biased;
            () = down.gone() => return Err(Stop::Gone),
            reply = self.gateway.call.clone().oneshot(request) => reply,
        };
        let Ok(mut reply) = reply.map_err(Stop::Upstream).and_then(|reply| self.decoded_reply(reply)) else {
            return Ok(None);
        };
        self.record.called.attempts = self.record.called.attempts.saturating_add(reply.attempts);
        let encoded = reply.headers.contains_key(header::CONTENT_ENCODING);
        let Some(body) = self.whole(&mut reply, down).await?.filter(|_| reply.status.is_success() && !encoded) else {
            reply.body.abort().await;
            return Ok(None);
        };
        let (status, headers) = (reply.status, reply.headers);
        reply.body.release().await;
        let mut judge = PolicyJudge::response(context, status.as_u16(), bound.on_violation);
        let (surface, engine) = (self.surface, Arc::clone(&self.gateway.engine));
        let outcome = self.gateway.inspect.run(body.len(), move || {
            let (mut report, mut facts) = (Report::default(), ResponseFacts::default());
            let both = (&mut report, &mut facts);
            let result = guard::answer(surface, &engine, body, bound.bindings, &mut judge, both);
            (result, judge, report, facts)
        });
        let Ok((result, judge, report, facts)) = outcome.await else { return Ok(None) };
        // What the provider counted was used, whatever came of it.
        let usage = facts.usage;
        let valid = judge.decided.breaches.is_empty() && report.schema.finished;
        let side = Side { report, decided: Some(judge.decided), inspected: true };
        match result.ok().filter(|_| valid) {
            Some(answer) => Ok(Some(Second { reply: (status, headers), answer, side, facts })),
            None => {
                self.record.facts.usage = sum(self.record.facts.usage, usage);
                self.record.response.add(&side);
                Ok(None)
            }
        }
    }

    /// A body that is read whole; `None` where it is too large or breaks off.
    async fn whole(&mut self, reply: &mut UpstreamReply, down: &mut dyn Downstream) -> Result<Option<Bytes>, Stop> {
        let mut body = Vec::new();
        loop {
            match self.next(reply, down).await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= self.gateway.limits.response_bytes_max => {
                    body.extend_from_slice(&chunk);
                }
                Ok(None) => return Ok(Some(body.into())),
                Ok(Some(_)) | Err(Stop::Upstream(_)) => return Ok(None),
                Err(stop) => return Err(stop),
            }
        }
    }
}

pub(super) fn sum(first: Usage, second: Usage) -> Usage {
    let add = |a: Option<u64>, b: Option<u64>| match (a, b) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (a, b) => a.or(b),
    };
    Usage {
        input: add(first.input, second.input),
        output: add(first.output, second.output),
        cached: add(first.cached, second.cached),
        reasoning: add(first.reasoning, second.reasoning),
    }
}
