//! One attempt at one call: connect or reuse, send, wait for the head of the answer.
//!
//! Cancel-safe: dropping the future closes the connection. The body is written in pieces, and an answer that arrives
//! before its end (a refusal, mostly) is taken at once instead of pushing the rest.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use pingora::connectors::http::Connector;
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};
use tokio::time::{Instant, timeout};
use tower::Service;

use super::body::Body;
use super::peer::Waits;
use super::provider::Endpoint;
use super::request::{self, Version};
use super::resolve::Resolver;
use super::{failure, headers};
use crate::exchange::ports::{UpstreamError, UpstreamReply, UpstreamRequest, UpstreamTarget};

/// Bytes written between two looks for an early answer: large enough to fill a connection, small enough to notice a
/// refusal within one round trip.
const PIECE_BYTES: usize = 64 * 1024;
/// A server that takes no byte of the request for that long has stopped reading.
const WRITE_STALL: Duration = Duration::from_secs(30);
/// How long a refusal that broke the sending is waited for: it is on its way already, or there is none.
const REFUSAL_WAIT: Duration = Duration::from_secs(1);
/// A pooled connection that was dead answers with its end within a round trip. One that ends later may have been worked
/// on, and a model call is not made twice on a guess.
const STALE_WITHIN: Duration = Duration::from_secs(3);
/// Interim (1xx) heads that are skipped before an answer; real servers send one or two.
const INTERIM_HEADS_MAX: u32 = 16;
/// Numbers from here on are connections of their own; those below are shared by the calls of one endpoint.
const OWN_GROUPS: u64 = 1 << 32;

/// A call of one endpoint.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    pub(super) request: UpstreamRequest,
    pub(super) endpoint: Arc<Endpoint>,
    /// Whether the connection must be a new one, because a pooled one was stale.
    pub(super) fresh: bool,
    /// How many addresses the host turned out to have; tells the retry policy whether there is another one.
    pub(super) addresses: Arc<AtomicUsize>,
}

impl Attempt {
    pub(super) fn first(request: UpstreamRequest, endpoint: Arc<Endpoint>) -> Self {
        Self { request, endpoint, fresh: false, addresses: Arc::new(AtomicUsize::new(0)) }
    }
}

/// Makes single attempts over pingora's pooled connections.
#[derive(Clone)]
pub(super) struct Caller {
    connector: Arc<Connector>,
    resolver: Arc<Resolver>,
    waits: Waits,
    idle: Duration,
    groups: Arc<AtomicU64>,
}

impl Caller {
    pub(super) fn new(connector: Arc<Connector>, waits: Waits, idle: Duration) -> Self {
        Self { connector, resolver: Arc::default(), waits, idle, groups: Arc::new(AtomicU64::new(OWN_GROUPS)) }
    }

    async fn call(self, attempt: Attempt) -> Result<UpstreamReply, UpstreamError> {
        let Attempt { request, endpoint, fresh, addresses: known } = attempt;
        request.made.fetch_add(1, Ordering::Relaxed);
        let (target, way) = (&endpoint.target, &endpoint.way);
        let name = &target.name;
        let (host, port) = way.place(target);
        let addresses = self.resolver.addresses(host, port).await.map_err(|detail| UpstreamError::Resolve {
            name: name.clone(),
            host: host.to_owned(),
            detail,
        })?;
        known.store(addresses.count(), Ordering::Relaxed);
        let no_address = || UpstreamError::Connect { name: name.clone(), detail: "no usable address".to_owned() };
        let address = addresses.preferred().ok_or_else(no_address)?;
        let mut peer = way.peer(target, address, self.waits).ok_or_else(no_address)?;
        let shared = peer.group_key;
        if fresh {
            peer.group_key = self.groups.fetch_add(1, Ordering::Relaxed);
        }

        let (mut session, reused) = self.connector.get_http_session(&peer).await.map_err(|error| {
            addresses.leave(address);
            failure::connect(name, &error)
        })?;
        session.set_write_timeout(Some(WRITE_STALL));
        let started = Instant::now();
        let sent = match exchange_heads(&mut session, &request, target).await {
            Ok(sent) => sent,
            Err(error) => {
                if matches!(error.etype(), ErrorType::H2Downgrade) {
                    self.connector.prefer_h1(&peer);
                }
                let stale = reused && started.elapsed() < STALE_WITHIN && is_broken_connection(&session, &error);
                return Err(failure::before_head(name, stale, &error));
            }
        };
        let time_to_head = started.elapsed();
        let Some(head) = session.response_header() else {
            return Err(UpstreamError::Protocol { name: name.clone(), detail: "no response head".to_owned() });
        };
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            let detail = "the server switched protocols unasked".to_owned();
            return Err(UpstreamError::Protocol { name: name.clone(), detail });
        }
        let status = head.status;
        let mut fields = HeaderMap::with_capacity(head.headers.len());
        for (field, value) in headers::end_to_end(&head.headers) {
            fields.append(field.clone(), value.clone());
        }
        let pooled = pooled_for(&head.headers, self.waits.pooled);
        // A connection that was opened apart joins the common pool; HTTP/2 keeps its books under the first name.
        let release_as = match session {
            HttpSession::H1(_) => HttpPeer { group_key: shared, ..peer },
            _ => peer,
        };
        let body = Body::new(name.clone(), session, release_as, self.connector, self.idle, pooled, sent == Sent::All);
        let attempts = request.made.load(Ordering::Relaxed);
        let upstream = Arc::clone(name);
        Ok(UpstreamReply { status, headers: fields, upstream, attempts, time_to_head, body: Box::new(body) })
    }
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller").field("resolver", &self.resolver).field("idle", &self.idle).finish_non_exhaustive()
    }
}

impl Service<Attempt> for Caller {
    type Response = UpstreamReply;
    type Error = UpstreamError;
    type Future = Pin<Box<dyn Future<Output = Result<UpstreamReply, UpstreamError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), UpstreamError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, attempt: Attempt) -> Self::Future {
        Box::pin(self.clone().call(attempt))
    }
}

/// How much of the request went out before the answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    All,
    Part,
}

/// Where sending the body went wrong. After a failed read, pingora allows no other.
enum Broken {
    Writing(Box<Error>),
    Reading(Box<Error>),
}

/// Sends the request and reads the head of the final answer.
async fn exchange_heads(
    session: &mut HttpSession,
    request: &UpstreamRequest,
    target: &UpstreamTarget,
) -> Result<Sent, Box<Error>> {
    let version = if session.as_http2().is_some() { Version::Http2 } else { Version::Http1 };
    session.write_request_header(request::head(request, target, version)?).await?;
    match send_body(session, request.body.bytes().clone()).await {
        Ok(Sent::Part) => Ok(Sent::Part),
        Ok(Sent::All) => final_head(session).await.map(|()| Sent::All),
        Err(Broken::Reading(error)) => Err(error),
        // A server that refuses a body often answers and closes; its answer says more than the broken pipe.
        Err(Broken::Writing(error)) => match timeout(REFUSAL_WAIT, final_head(session)).await {
            Ok(Ok(())) => Ok(Sent::Part),
            _ => Err(error),
        },
    }
}

/// Writes the body, until all is written or the final answer has arrived.
async fn send_body(session: &mut HttpSession, mut rest: Bytes) -> Result<Sent, Broken> {
    while !rest.is_empty() {
        let piece = rest.split_to(rest.len().min(PIECE_BYTES));
        let last = rest.is_empty();
        session.write_request_body(piece, last).await.map_err(Broken::Writing)?;
        if !last && let Some(head) = once(session.read_response_header()).await {
            head.map_err(Broken::Reading)?;
            if !is_interim(session) {
                return Ok(Sent::Part);
            }
            if session.as_http2().is_some() {
                return Err(Broken::Reading(Error::new(ErrorType::InvalidH2)));
            }
        }
    }
    session.finish_request_body().await.map_err(Broken::Writing)?;
    Ok(Sent::All)
}

/// Reads heads until one is not interim.
async fn final_head(session: &mut HttpSession) -> Result<(), Box<Error>> {
    for _ in 0..INTERIM_HEADS_MAX {
        session.read_response_header().await?;
        if !is_interim(session) {
            return Ok(());
        }
        if session.as_http2().is_some() {
            break;
        }
    }
    Error::e_explain(ErrorType::InvalidHTTPHeader, "interim responses without end")
}

fn is_interim(session: &HttpSession) -> bool {
    session
        .response_header()
        .is_some_and(|head| head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS)
}

/// Whether it was the connection that failed, on which no byte of an answer came (`before_head` looks at that).
fn is_broken_connection(session: &HttpSession, error: &Error) -> bool {
    match session {
        HttpSession::H1(_) => {
            matches!(error.etype(), ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError)
        }
        // A stream can end for reasons of its own; only pingora knows which were failures of the connection.
        _ => {
            let mut retry = error.retry;
            retry.decide_reuse(true);
            retry.retry()
        }
    }
}

/// How long the connection may be pooled: never longer than the server says that it keeps it (one second less, for the
/// way there).
fn pooled_for(headers: &HeaderMap, ours: Duration) -> Duration {
    let hint = headers.get("keep-alive").and_then(|value| value.to_str().ok()).and_then(|value| {
        value.split(',').find_map(|part| part.trim().strip_prefix("timeout=")?.trim().parse::<u64>().ok())
    });
    hint.map_or(ours, |seconds| ours.min(Duration::from_secs(seconds.saturating_sub(1))))
}

/// Polls the future a single time.
async fn once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        Poll::Ready(match future.as_mut().poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}
