//! One bypassed exchange: what it counted, and its one report to the handler, whatever happens to it.

use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderMap;

use super::super::handler::{BypassEnd, BypassFailure, Handler};
use super::super::in_flight::Entered;
use crate::exchange::ports::RequestHead;
use crate::upstream::resolve::Addresses;
use crate::upstream::{Endpoint, Leave, Provider};

/// What is known of a bypass under way.
pub(super) struct Record<H> {
    pub(super) handler: Arc<H>,
    pub(super) head: RequestHead,
    pub(super) provider: Arc<Provider>,
    /// Endpoints to which no connection could be had.
    pub(super) tried: Vec<Arc<Endpoint>>,
    /// The endpoint that is called.
    pub(super) leave: Option<Leave>,
    /// Calls that were begun, and the name on record of the endpoint of the last.
    pub(super) attempts: u32,
    pub(super) upstream: Option<Arc<str>>,
    /// Added to the answer.
    pub(super) headers: HeaderMap,
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
    pub(super) status: Option<u16>,
    pub(super) failure: Option<BypassFailure>,
    /// Where the current attempt connects to.
    pub(super) connecting: Option<(Arc<Addresses>, SocketAddr)>,
    pub(super) entered: Option<Entered>,
}

/// Reports its record exactly once: by [`Bypass::close`], or when it is dropped without.
pub(super) struct Bypass<H: Handler>(Option<Box<Record<H>>>);

impl<H: Handler> Bypass<H> {
    pub(super) fn new(record: Record<H>) -> Self {
        Self(Some(Box::new(record)))
    }

    pub(super) fn record(&mut self) -> Option<&mut Record<H>> {
        self.0.as_deref_mut()
    }

    pub(super) async fn close(mut self, error: Option<String>, upgraded: bool) {
        if let Some(record) = self.0.take() {
            report(*record, error, upgraded).await;
        }
    }
}

impl<H: Handler> Drop for Bypass<H> {
    fn drop(&mut self) {
        // The connection's task was stopped, or panicked: the report outlives it, and the stop waits for the report.
        if let Some(record) = self.0.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(report(*record, Some("cut off while Clyra was stopping".to_owned()), false));
        }
    }
}

async fn report<H: Handler>(record: Record<H>, error: Option<String>, upgraded: bool) {
    let end = BypassEnd {
        status: record.status,
        attempts: record.attempts,
        upstream: record.upstream,
        request_bytes: record.request_bytes,
        response_bytes: record.response_bytes,
        error,
        upgraded,
    };
    record.handler.bypass_closed(&record.head, end).await;
    drop(record.entered);
}
