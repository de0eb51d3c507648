//! What an exchange needs from the world, and nothing more: a client to answer, a provider to call.
//!
//! The pipeline is written against these traits, so that a whole exchange runs in a test without a socket. The pingora
//! adapter (`edge/`) and the upstream client (`upstream/`) implement them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use super::held::Share;
use crate::guard::{Inspected, Released};
use crate::upstream::Provider;
use crate::wire::encoding::Fault;

/// The head of a client's request, as it came in.
#[derive(Debug, Clone)]
pub struct RequestHead {
    pub method: Method,
    /// Path without the query, as sent (not decoded, not normalised).
    pub path: String,
    pub query: Option<String>,
    pub headers: HeaderMap,
    /// The client's address, where the listener knows one.
    pub peer: Option<SocketAddr>,
    /// UUIDv7, the id of the exchange: minted when the head was read.
    pub request_id: uuid::Uuid,
}

/// The head of an answer to the client. Framing headers (`content-length`, `transfer-encoding`, `connection`) are the
/// implementation's business: it drops what stands here and frames by itself.
#[derive(Debug, Clone)]
pub struct ResponseHead {
    pub status: StatusCode,
    pub headers: HeaderMap,
}

/// Why no request body could be had.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the request body is over {limit_bytes} bytes")]
    TooLarge { limit_bytes: usize },
    #[error("the client did not send its request body within the time limit")]
    Timeout,
    #[error("the client left before its request body was complete")]
    Gone,
    #[error("the request body is not well framed")]
    Malformed,
    #[error("too many bytes of other requests and answers are held at this moment")]
    NoRoom,
}

/// The client is no longer there to be written to.
#[derive(Debug, thiserror::Error)]
#[error("the client closed the connection")]
pub struct ClientGone;

/// The client's side of one exchange.
///
/// Cancellation: `gone` may be dropped at any time. A `start`, `write` or `finish` that is dropped half-way has torn the
/// answer: every later one fails, and the client sees that the answer broke off.
#[async_trait]
pub trait Downstream: Send {
    /// The whole request body, at most `limit_bytes`, for which `room` grows as it comes. Answers `Expect: 100-continue`
    /// first, unless the body could not be taken.
    async fn read_body(&mut self, limit_bytes: usize, room: &mut Share) -> Result<Bytes, BodyError>;

    /// Sends the response head together with the first released bytes. `body_bytes` is the exact length of the body if
    /// it is known already (then it is framed by `Content-Length`), otherwise the body is chunked.
    async fn start(&mut self, head: ResponseHead, body_bytes: Option<usize>) -> Result<(), ClientGone>;

    /// Sends released bytes at once; only of a body of announced length may a few KiB wait for `finish`. Waits while the
    /// client reads slowly, up to a limit.
    async fn write(&mut self, chunk: Released) -> Result<(), ClientGone>;

    /// Ends the message in good order.
    async fn finish(&mut self) -> Result<(), ClientGone>;

    /// Resolves when the client has closed its side; otherwise never. Safe to poll in a `select!` beside the upstream.
    async fn gone(&mut self);
}

/// One configured address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTarget {
    /// Name from the configuration; appears in receipts, events and metrics.
    pub name: Arc<str>,
    /// Host name or address, without port.
    pub host: String,
    pub port: u16,
    pub tls: bool,
    /// Path prefix of the configured URL without a trailing slash, usually empty.
    pub path_prefix: String,
}

/// A request that passed inspection, ready to be sent.
#[derive(Debug, Clone)]
pub struct UpstreamRequest {
    pub provider: Arc<Provider>,
    pub method: Method,
    /// Path and query below the endpoint's prefix, as the client sent them.
    pub path_and_query: String,
    /// End-to-end headers chosen by the pipeline; `host`, framing and `accept-encoding` are set by the client.
    pub headers: HeaderMap,
    pub body: Inspected,
    /// Counts the calls that are made for it, those that fail included.
    pub made: Arc<AtomicU32>,
}

/// What went wrong between Clyra and the provider. The variants are what retry, receipts and the client's answer
/// are decided by; the text is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("upstream {name}: the host name {host} cannot be resolved: {detail}")]
    Resolve { name: Arc<str>, host: String, detail: String },
    #[error("upstream {name}: no connection: {detail}")]
    Connect { name: Arc<str>, detail: String },
    /// The connection failed before any response byte. `reused` says that it came from the pool and was dead when it was
    /// taken, so that the provider never saw the request.
    #[error("upstream {name}: the connection ended before an answer: {detail}")]
    NoAnswer { name: Arc<str>, reused: bool, detail: String },
    #[error("upstream {name}: no answer within {after:?}")]
    Timeout { name: Arc<str>, after: Duration },
    /// The body broke off after the head had arrived.
    #[error("upstream {name}: the answer broke off: {detail}")]
    Body { name: Arc<str>, detail: String },
    /// The body is not in the coding that its head names, or breaks its limits.
    #[error("upstream {name}: the answer cannot be decoded: {fault}")]
    Coding { name: Arc<str>, fault: Fault },
    /// Something came that is not an HTTP answer, or only a part of one. The provider may have acted on the request.
    #[error("upstream {name}: the answer is not usable HTTP: {detail}")]
    Protocol { name: Arc<str>, detail: String },
    #[error("too many calls in flight to upstream {name}")]
    Overloaded { name: Arc<str> },
    /// Nobody was called: every endpoint has failed too often just now.
    #[error("upstream {name}: every endpoint has failed; none is called for another {for_another:?}")]
    Unavailable { name: Arc<str>, for_another: Duration },
    /// Nobody was called: there are no credentials to call with.
    #[error("upstream {name}: no credentials: {detail}")]
    Credentials { name: Arc<str>, detail: String },
    /// Nobody was called: the client's key is none of the virtual keys.
    #[error("upstream {name}: the client's key is not among its virtual keys")]
    UnknownKey { name: Arc<str> },
}

/// The provider's answer: its head, and a body to be read.
#[derive(Debug)]
pub struct UpstreamReply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// Who answered: the provider's name, with the endpoint's where there are several.
    pub upstream: Arc<str>,
    /// Calls that were made for this answer, retries included (1 is the ordinary case).
    pub attempts: u32,
    /// From sending the request to having read the response head.
    pub time_to_head: Duration,
    pub body: Box<dyn UpstreamBody>,
}

/// The body of a provider's answer. Dropping it without `release` closes the connection, which makes the provider stop.
#[async_trait]
pub trait UpstreamBody: Send + std::fmt::Debug {
    /// The next bytes, as they arrive; `None` at the end. Cancel-safe. Fails when nothing comes within the idle limit.
    async fn chunk(&mut self) -> Result<Option<Bytes>, UpstreamError>;
    /// Returns the connection to the pool; call it after `chunk` gave `None`.
    async fn release(self: Box<Self>);
    /// Closes the connection at once, so that the provider stops generating.
    async fn abort(self: Box<Self>);
}
