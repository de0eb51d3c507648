//! Receipts around the answer, and the end of an exchange however it comes: nothing is shown that is not on record.

use bytes::Bytes;
use clyra_policy::{BlockStyle, BodyStorage};
use clyra_receipts::receipt::Verdict;
use clyra_receipts::{Commitment, Salt};
use http::{HeaderMap, StatusCode};

use super::{Exchange, Stop, unix_now, verdict_of};
use crate::exchange::answer::{Asked, OwnAnswer, Reason};
use crate::exchange::gateway::Gateway;
use crate::exchange::ports::{BodyError, ClientGone, Downstream, ResponseHead, UpstreamError, UpstreamReply};
use crate::exchange::record::Called;
use crate::exchange::{evidence, headers};
use crate::guard::Released;
use crate::siem;
use crate::surface::RequestFacts;

impl Exchange<'_> {
    /// Clyra ends the exchange: with an HTTP error while nothing has left, with an error event afterwards; or, where the
    /// policy wants its blocks to look like that, as the provider's own filter would.
    pub(super) async fn stop(&mut self, stop: Stop, down: &mut dyn Downstream) {
        let reason = match &stop {
            Stop::Block(block) => Reason::Block(block),
            Stop::Upstream(error) => Reason::Upstream(error),
            Stop::Body(error) => Reason::Body(error),
            Stop::Overloaded => Reason::Overloaded,
            Stop::NoRoom => Reason::NoRoom,
            Stop::Malformed(text) => Reason::Malformed(text),
            Stop::Gone | Stop::NoReceipt => Reason::NoReceipt,
        };
        self.record.verdict = match &stop {
            Stop::Block(block) => verdict_of(block),
            Stop::Malformed(_) => Verdict::Errored,
            Stop::Upstream(UpstreamError::Timeout { .. }) => Verdict::Timeout,
            Stop::Upstream(UpstreamError::UnknownKey { .. }) => Verdict::Denied,
            Stop::Body(BodyError::Gone) => Verdict::AbortedByClient,
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
        let soft = self.surface.ending.soft.as_ref();
        let soft = soft
            .filter(|_| self.gateway.policy.defaults().block_style == BlockStyle::Refusal && reason.may_be_refusal());
        self.shown.asked_model.clone_from(&self.record.model);
        self.shown.now_unix_s = unix_now();
        if self.started {
            let event = match soft {
                Some(soft) => reason.refused_events(self.surface, soft, &self.shown, &self.id),
                None => reason.event(self.surface, &self.shown, &self.id),
            };
            if down.write(event).await.is_ok() {
                let _ = down.finish().await;
            }
            return;
        }
        let mut answer = match soft {
            Some(soft) => reason.refused(self.surface, soft, &self.shown, self.asked, &self.id),
            None => reason
                .in_ok(self.surface, &self.shown, &self.id)
                .unwrap_or_else(|| reason.answer(self.surface.dialect, &self.id)),
        };
        self.stamp_receipt(&mut answer.headers);
        self.record.status = Some(answer.status.as_u16());
        let is_refused = matches!(reason, Reason::Upstream(UpstreamError::UnknownKey { .. }));
        let decision = if matches!(reason, Reason::Upstream(_)) && !is_refused { "allow" } else { "block" };
        let _ = send_own(self.gateway, &self.id, decision, answer, down).await;
    }

    /// Puts the attempt on its way to the disk.
    pub(super) fn open(&mut self) {
        if !std::mem::replace(&mut self.attempted, true) {
            self.record.withhold(&self.gateway.engine);
            let entry = evidence::attempt(&self.record, &self.gateway.engine);
            self.attempt_pending = Some(self.gateway.ledger.append(entry));
        }
    }

    /// Waits until the attempt is on disk.
    pub(super) async fn opened(&mut self) -> Result<(), Stop> {
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
    pub(super) async fn close(&mut self) -> Result<(), Stop> {
        self.opened().await?;
        self.end()?;
        self.ended().await
    }

    /// Puts the outcome on its way to the disk, where the attempt is already.
    pub(super) fn end(&mut self) -> Result<(), Stop> {
        let Some(attempt_seq) = self.attempt_seq else { return Err(Stop::NoReceipt) };
        if !std::mem::replace(&mut self.closed, true) {
            self.commit();
            self.record.withhold(&self.gateway.engine);
            let entry = evidence::outcome(&self.record, attempt_seq, &self.gateway.engine);
            self.outcome_pending = Some(self.gateway.ledger.append(entry));
        }
        Ok(())
    }

    /// Waits until it is known what came of the receipt that is on its way. Cancel-safe.
    pub(super) async fn receipt_known(&mut self) {
        if let Some(pending) = self.attempt_pending.as_mut().or(self.outcome_pending.as_mut()) {
            pending.known().await;
        }
    }

    /// Waits until the outcome is on disk.
    pub(super) async fn ended(&mut self) -> Result<(), Stop> {
        let Some(pending) = self.outcome_pending.take() else { return Ok(()) };
        let token = pending.durable().await.inspect_err(|error| {
            tracing::error!(request_id = %self.id, "no outcome receipt: {error}");
        })?;
        self.outcome_seq = Some(token.seq);
        self.gateway.tool_calls.made(&self.record.caller.id, &self.record.facts.tool_calls, token.seq);
        self.gateway.kept.made(&self.record.caller.id, self.record.made(), token.seq);
        if let (Some(streams), Some(_)) = (&self.gateway.streams, &self.record.events) {
            streams.keep(token.seq, self.event_leaves.take());
        }
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

    pub(super) async fn start(
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
    pub(super) fn response_head(&self, status: StatusCode, upstream: &HeaderMap) -> ResponseHead {
        let mut headers = headers::end_to_end(upstream);
        let redacted = self.shortened || self.record.takes_out();
        let mended = self.mended || self.record.response.report.schema.repairs.any();
        let decision = match (redacted, mended) {
            (true, _) => "redact",
            (_, true) => "repair",
            _ => "allow",
        };
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

    pub(super) fn executed(&mut self, success: bool) {
        self.record.verdict = match (success, self.record.takes_out(), self.record.response.report.schema.repairs.any())
        {
            (false, ..) => Verdict::Errored,
            (true, true, _) => Verdict::Redacted,
            (true, false, true) => Verdict::Repaired,
            (true, false, false) => Verdict::Executed,
        };
    }

    pub(super) fn note_request(&mut self, body: &Bytes) {
        self.record.request_body.bytes = body.len() as u64;
        if self.gateway.policy.defaults().body_storage == BodyStorage::Hmac
            && let Ok(committed) = Commitment::of(body)
        {
            self.commit_request(committed);
        }
    }

    /// Fixes the commitment of the request and hands its salt to the file beside the receipts.
    pub(super) fn commit_request(&mut self, (commitment, salt): (Commitment, Salt)) {
        self.gateway.commitments.send(commitment_line(&self.id, "request", &commitment.value, &salt.to_base64()));
        self.record.request_body.commit = Some(commitment);
    }

    pub(super) fn note_facts(&mut self, facts: &RequestFacts) {
        self.record.model.clone_from(&facts.model);
        self.record.stream = facts.stream;
        self.asked = match (facts.stream, facts.array) {
            (false, _) => Asked::Document,
            (true, true) => Asked::Array,
            (true, false) => Asked::Events,
        };
        self.shown.rpc_id.clone_from(&facts.rpc_id);
        self.record.messages = facts.messages;
        self.record.tools.clone_from(&facts.tools);
        self.record.parents = self.answered(facts);
    }

    /// The outcomes whose tool calls these are the results of.
    pub(super) fn answered(&self, facts: &RequestFacts) -> Vec<u64> {
        self.gateway.tool_calls.answered(&self.record.caller.id, &facts.tool_results)
    }

    pub(super) fn note_reply(&mut self, reply: &UpstreamReply) {
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

    /// Bytes of the provider's have come.
    pub(super) fn note_received(&mut self, bytes: &Bytes) {
        self.record.received.bytes += bytes.len() as u64;
        if let Some(committer) = &mut self.received {
            committer.update(bytes);
        }
    }

    pub(super) fn note_released(&mut self, parts: &[Released]) {
        for part in parts {
            self.record.released.bytes += part.bytes().len() as u64;
            if let Some(committer) = &mut self.released {
                committer.update(part.bytes());
            }
        }
    }

    /// News for the metrics and the SIEM: whoever reads the event finds it counted.
    pub(super) fn publish(&self) {
        let gateway = self.gateway;
        gateway.metrics.ended(&self.record);
        gateway.events.send(siem::exchange_line(&self.record, (self.attempt_seq, self.outcome_seq)));
        for line in siem::finding_lines(&self.record) {
            gateway.events.send(line);
        }
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

pub(super) async fn send_own(
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
