//! What the edge asks of the rest of Clyra: where a request goes, and what to answer.

use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderMap, StatusCode};

use crate::exchange::answer::OwnAnswer;
use crate::exchange::live::LiveDownstream;
use crate::exchange::ports::{Downstream, RequestHead};
use crate::upstream::Provider;

/// Where a request goes.
#[derive(Debug, Clone)]
pub enum Route {
    /// Through the exchange pipeline.
    Inspect,
    /// Through the pipeline of sessions, if it asks for a WebSocket.
    Live,
    /// Straight to the provider, uninspected and on record.
    Bypass {
        provider: Arc<Provider>,
        /// Path below the endpoint's prefix, without the query.
        path: String,
    },
    /// Nowhere: this is the answer.
    Refuse(OwnAnswer),
}

/// How a bypassed exchange ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BypassEnd {
    /// Status that the client saw, once there was one.
    pub status: Option<u16>,
    /// Calls that were begun.
    pub attempts: u32,
    /// The endpoint that was called last, as it is named on record.
    pub upstream: Option<Arc<str>>,
    /// Body bytes from the client, upgraded bytes included.
    pub request_bytes: u64,
    /// Body bytes to the client, upgraded bytes included.
    pub response_bytes: u64,
    /// What went wrong, in the operator's words and without content.
    pub error: Option<String>,
    /// Whether the connection became a WebSocket.
    pub upgraded: bool,
}

/// Why a bypassed request got no answer from its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BypassFailure {
    /// The target's host name has no address.
    Resolve,
    /// No connection to the target.
    Connect,
    /// The target did not answer in time.
    Timeout,
    /// The target's answer was no HTTP, or broke off before its head was complete.
    Broken,
    /// There are no credentials to call it with.
    Credentials,
}

impl BypassFailure {
    /// 504 where the target was too slow, otherwise 502 (RFC 9110 sections 15.6.3 and 15.6.5).
    pub fn status(self) -> StatusCode {
        match self {
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Resolve | Self::Connect | Self::Broken | Self::Credentials => StatusCode::BAD_GATEWAY,
        }
    }
}

/// The rest of Clyra, as seen from the edge. All methods run on the runtime that drives [`Edge::run`](super::Edge::run);
/// the synchronous ones must not block.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Where the request goes; its body has not been read.
    fn route(&self, head: &RequestHead) -> Route;

    /// One inspected exchange. Runs to completion even if the client leaves: it learns of that by
    /// [`Downstream::gone`] and by failing writes. Returning before `finish` breaks the answer off visibly.
    async fn exchange(&self, head: RequestHead, down: &mut dyn Downstream);

    /// One inspected session over a WebSocket, of which only the handshake has been read. As `exchange`.
    async fn live(&self, head: RequestHead, down: &mut dyn LiveDownstream);

    /// A bypass is about to begin: whatever must be durable before a byte passes is made durable here. The headers are
    /// added to the answer.
    async fn bypass_opened(&self, head: &RequestHead, provider: &Provider) -> Result<HeaderMap, OwnAnswer>;

    /// The bypass ended. Called exactly once for each that was opened, however it ended.
    async fn bypass_closed(&self, head: &RequestHead, end: BypassEnd);

    /// The answer to a bypassed request whose target gave none.
    fn bypass_failed(&self, head: &RequestHead, provider: &Provider, failure: BypassFailure) -> OwnAnswer;

    /// The answer to a request that is not well formed (status 400); the reason contains nothing that the client sent.
    fn malformed(&self, reason: &'static str) -> OwnAnswer;
}
