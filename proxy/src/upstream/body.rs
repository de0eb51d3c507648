//! The body of an answer, read as it arrives.
//!
//! A connection goes back to the pool only when its answer was read to the end and its request was sent to the end; in
//! every other case it is closed, which is how a provider learns that nobody listens any more.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::connectors::http::Connector;
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::HttpPeer;
use tokio::time::timeout;

use super::failure;
use crate::exchange::ports::{UpstreamBody, UpstreamError};

/// How long saying goodbye may take (TLS sends an alert); after that the socket is simply closed.
const GOODBYE_MAX: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    Ended,
    Failed,
}

pub(super) struct Body {
    name: Arc<str>,
    session: HttpSession,
    release_as: HttpPeer,
    connector: Arc<Connector>,
    idle: Duration,
    pooled: Duration,
    request_sent: bool,
    state: State,
}

impl Body {
    pub(super) fn new(
        name: Arc<str>,
        session: HttpSession,
        release_as: HttpPeer,
        connector: Arc<Connector>,
        idle: Duration,
        pooled: Duration,
        request_sent: bool,
    ) -> Self {
        Self { name, session, release_as, connector, idle, pooled, request_sent, state: State::Reading }
    }

    fn broken(&mut self, detail: String) -> UpstreamError {
        self.state = State::Failed;
        UpstreamError::Body { name: self.name.clone(), detail }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body").field("name", &self.name).field("state", &self.state).finish_non_exhaustive()
    }
}

#[async_trait]
impl UpstreamBody for Body {
    async fn chunk(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        loop {
            match self.state {
                State::Reading => {}
                State::Ended => return Ok(None),
                State::Failed => return Err(self.broken("read on after a failure".to_owned())),
            }
            match timeout(self.idle, self.session.read_response_body()).await {
                Ok(Ok(Some(bytes))) if bytes.is_empty() => {}
                Ok(Ok(Some(bytes))) => return Ok(Some(bytes)),
                Ok(Ok(None)) => self.state = State::Ended,
                Ok(Err(error)) => {
                    let detail = failure::detail(&error);
                    return Err(self.broken(detail));
                }
                Err(_) => {
                    self.state = State::Failed;
                    return Err(UpstreamError::Timeout { name: self.name.clone(), after: self.idle });
                }
            }
        }
    }

    async fn release(mut self: Box<Self>) {
        let ended = self.state == State::Ended || (self.state == State::Reading && self.session.response_done());
        if ended && self.request_sent {
            let Self { session, release_as, connector, pooled, .. } = *self;
            connector.release_http_session(session, &release_as, Some(pooled)).await;
        } else {
            self.abort().await;
        }
    }

    async fn abort(mut self: Box<Self>) {
        let _ = timeout(GOODBYE_MAX, self.session.shutdown()).await;
    }
}
