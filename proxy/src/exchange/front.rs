//! `identify`: the edge's questions answered. Which requests are inspected, which pass on record, which are refused.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use clyra_policy::UnknownSurface;
use clyra_receipts::receipt::Verdict;
use http::HeaderMap;
use uuid::Uuid;

use super::answer::{OwnAnswer, Reason};
use super::gateway::Gateway;
use super::live::LiveDownstream;
use super::ports::{Downstream, RequestHead, UpstreamError};
use super::record::{Record, UNKNOWN_SURFACE};
use super::{evidence, run};
use crate::edge::{BypassEnd, BypassFailure, Handler, Route};
use crate::guard::Gap;
use crate::siem;
use crate::surface::{Dialect, Found, find};
use crate::upstream::Provider;

/// The handler that the edge drives.
#[derive(Debug)]
pub struct Front {
    gateway: Arc<Gateway>,
    /// Bypasses under way; each entry lives from its opening to its one closing report.
    open: Mutex<BTreeMap<Uuid, Box<Record>>>,
}

impl Front {
    pub fn new(gateway: Arc<Gateway>) -> Front {
        Front { gateway, open: Mutex::default() }
    }

    /// Refuses what is not inspected. One receipt tells the whole story: nothing was read, nothing was sent.
    fn refuse(&self, head: &RequestHead, reason: Reason<'_>) -> Route {
        let mut record = run::record(&self.gateway, head, UNKNOWN_SURFACE);
        record.verdict = match reason {
            Reason::Upstream(UpstreamError::UnknownKey { .. }) => Verdict::Denied,
            _ => Verdict::Blocked,
        };
        record.code = Some(reason.code());
        record.request.report.gaps.insert(Gap::UnknownSurface);
        drop(self.gateway.ledger.append(evidence::bypass(&record, true)));
        self.gateway.events.send(siem::bypass_line(&record, (None, None)));
        self.gateway.metrics.ended(&record);
        Route::Refuse(self.own(reason, dialect_of(head), &head.request_id.to_string()))
    }

    fn own(&self, reason: Reason<'_>, dialect: Dialect, id: &str) -> OwnAnswer {
        let mut answer = reason.answer(dialect, id);
        run::stamp(&mut answer.headers, &self.gateway, id, "block");
        answer
    }
}

#[async_trait]
impl Handler for Front {
    fn route(&self, head: &RequestHead) -> Route {
        let id = head.request_id.to_string();
        if let Found::Surface(surface) = find(&head.method, &head.path) {
            return if surface.live.is_some() { Route::Live } else { Route::Inspect };
        }
        let dialect = dialect_of(head);
        if self.gateway.policy.defaults().unknown_surface == UnknownSurface::Block {
            return self.refuse(head, Reason::UnknownSurface);
        }
        match self.gateway.upstreams.select(&head.path, None) {
            Some((provider, _)) if !provider.admits(head) => {
                let unknown = UpstreamError::UnknownKey { name: Arc::clone(&provider.name) };
                self.refuse(head, Reason::Upstream(&unknown))
            }
            Some((provider, path)) => Route::Bypass { provider, path },
            None => Route::Refuse(self.own(Reason::UnknownSurface, dialect, &id)),
        }
    }

    async fn exchange(&self, head: RequestHead, down: &mut dyn Downstream) {
        if let Found::Surface(surface) = find(&head.method, &head.path) {
            run::run(&self.gateway, head, surface, down).await;
        }
    }

    async fn live(&self, head: RequestHead, down: &mut dyn LiveDownstream) {
        if let Found::Surface(surface) = find(&head.method, &head.path) {
            Box::pin(run::live(&self.gateway, head, surface, down)).await;
        }
    }

    async fn bypass_opened(&self, head: &RequestHead, provider: &Provider) -> Result<HeaderMap, OwnAnswer> {
        let id = head.request_id.to_string();
        let mut record = Box::new(run::record(&self.gateway, head, UNKNOWN_SURFACE));
        record.upstream = Some(Arc::clone(&provider.name));
        record.request.report.gaps.insert(Gap::UnknownSurface);
        let entry = evidence::bypass(&record, false);
        if let Err(error) = self.gateway.ledger.append(entry).durable().await {
            tracing::error!(request_id = %id, "no bypass receipt: {error}");
            return Err(self.own(Reason::NoReceipt, dialect_of(head), &id));
        }
        let mut headers = HeaderMap::new();
        run::stamp(&mut headers, &self.gateway, &id, "bypass");
        if let Ok(mut open) = self.open.lock() {
            open.insert(head.request_id, record);
        }
        Ok(headers)
    }

    async fn bypass_closed(&self, head: &RequestHead, end: BypassEnd) {
        let Some(mut record) = self.open.lock().ok().and_then(|mut open| open.remove(&head.request_id)) else { return };
        record.called.status = end.status;
        record.called.attempts = end.attempts;
        record.upstream = end.upstream.or(record.upstream);
        record.status = end.status;
        record.request_body.bytes = end.request_bytes;
        record.received.bytes = end.response_bytes;
        record.released.bytes = end.response_bytes;
        record.verdict = match (&end.error, end.status) {
            (None, Some(status)) if status < 400 => Verdict::Executed,
            _ => Verdict::Errored,
        };
        let token = self.gateway.ledger.append(evidence::bypass(&record, true)).durable().await.ok();
        self.gateway.events.send(siem::bypass_line(&record, (None, token.map(|t| t.seq))));
        self.gateway.metrics.ended(&record);
    }

    fn bypass_failed(&self, head: &RequestHead, provider: &Provider, failure: BypassFailure) -> OwnAnswer {
        let credentials = UpstreamError::Credentials { name: Arc::clone(&provider.name), detail: String::new() };
        let reason = match failure {
            BypassFailure::Timeout => Reason::ProviderSlow,
            BypassFailure::Credentials => Reason::Upstream(&credentials),
            BypassFailure::Resolve | BypassFailure::Connect | BypassFailure::Broken => Reason::ProviderAway,
        };
        self.own(reason, dialect_of(head), &head.request_id.to_string())
    }

    fn malformed(&self, reason: &'static str) -> OwnAnswer {
        self.own(Reason::Malformed(reason), Dialect::OpenAi, &Uuid::now_v7().to_string())
    }
}

/// Whose error shape a client expects on an endpoint that is not a surface.
fn dialect_of(head: &RequestHead) -> Dialect {
    let has = |name: &str| head.headers.contains_key(name);
    if has("anthropic-version") || has("x-api-key") {
        Dialect::Anthropic
    } else if has("x-goog-api-key") || has("x-goog-api-client") {
        Dialect::Gemini
    } else {
        Dialect::OpenAi
    }
}
