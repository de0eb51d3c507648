//! What a session over a WebSocket needs from the world: a client that has switched protocols, and a provider that has.
//!
//! Both sides speak whole messages. Only what passed the guard can be given to either of them, as for other exchanges.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use async_trait::async_trait;
use http::HeaderMap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::held::Share;
use super::ports::{ClientGone, Downstream, ResponseHead, UpstreamReply};
use crate::guard::{Inspected, Released};
use crate::upstream::Provider;
use crate::wire::websocket::{Close, Fault, Message};

/// What came from one side.
#[derive(Debug)]
pub enum Came {
    Message(Message),
    /// A ping or a pong; its answer waits for `flush`.
    Control,
    Close(Close),
}

/// Why nothing more comes from one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LiveError {
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error("too many bytes of messages are held at this moment")]
    NoRoom,
    /// The connection ended without a close, or takes nothing any more.
    #[error("the connection is gone")]
    Gone,
}

/// How a message is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Binary,
}

impl Kind {
    pub fn of(message: &Message) -> Kind {
        match message {
            Message::Text(_) => Kind::Text,
            Message::Binary(_) => Kind::Binary,
        }
    }
}

/// Why a session should end, from our side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Soon: the sidecar is stopping, and nobody waits for it longer than for what is under way.
    Drain,
    /// Now.
    Cut,
}

/// Tells when the sidecar is stopping.
#[derive(Debug, Clone)]
pub struct Stops {
    pub cut: CancellationToken,
    /// True once it drains.
    pub closing: watch::Receiver<bool>,
}

impl Stops {
    /// Resolves when it is stopping; `drains` is false when it is known that it does. Cancel-safe.
    pub async fn next(&mut self, drains: bool) -> Ending {
        let drained = async {
            if !drains || self.closing.wait_for(|closing| *closing).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            () = self.cut.cancelled() => Ending::Cut,
            () = drained => Ending::Drain,
        }
    }
}

/// The client of a session.
#[async_trait]
pub trait LiveDownstream: Send {
    /// The client as one that is answered over HTTP: until `switch`, and not any more after it.
    fn plain(&mut self) -> &mut dyn Downstream;

    /// Answers the handshake: status 101 with these headers, to which those of the upgrade itself are added.
    async fn switch(&mut self, head: ResponseHead) -> Result<(), ClientGone>;

    /// What comes next, for which `room` grows as it comes. Cancel-safe.
    async fn receive(&mut self, room: &mut Share) -> Result<Came, LiveError>;

    /// Sends a message. Waits while the client reads slowly, up to a limit.
    async fn send(&mut self, message: Released, kind: Kind) -> Result<(), ClientGone>;

    /// Sends the answers that are due to control frames.
    async fn flush(&mut self) -> Result<(), ClientGone>;

    /// Closes, and waits a little for the client to agree.
    async fn close(&mut self, code: Option<u16>, reason: Option<Released>);

    /// Tells when the sidecar is stopping.
    fn stops(&self) -> Stops;
}

/// A handshake that may be sent to a provider.
#[derive(Debug)]
pub struct LiveRequest {
    pub provider: Arc<Provider>,
    /// Path and query below the endpoint's prefix.
    pub path_and_query: String,
    /// End-to-end headers; those of the handshake itself are set by the client.
    pub headers: HeaderMap,
    /// Proof that the request as such has been judged.
    pub judged: Inspected,
    /// Counts the handshakes that are begun, those that fail included.
    pub made: Arc<AtomicU32>,
}

/// The answer to a handshake.
#[derive(Debug)]
pub enum LiveReply {
    /// An answer of HTTP: the provider does not switch.
    Refused(UpstreamReply),
    Opened(Opened),
}

/// A provider that has switched protocols.
#[derive(Debug)]
pub struct Opened {
    /// Headers of its answer that go on to the client.
    pub headers: HeaderMap,
    pub upstream: Arc<str>,
    pub time_to_head: Duration,
    pub session: Box<dyn LiveUpstream>,
}

/// The provider of a session. Dropping it closes the connection without a word.
#[async_trait]
pub trait LiveUpstream: Send + std::fmt::Debug {
    /// As [`LiveDownstream::receive`].
    async fn receive(&mut self, room: &mut Share) -> Result<Came, LiveError>;
    /// As [`LiveDownstream::send`].
    async fn send(&mut self, message: Inspected, kind: Kind) -> Result<(), LiveError>;
    /// As [`LiveDownstream::flush`].
    async fn flush(&mut self) -> Result<(), LiveError>;
    /// Closes, without waiting for an answer.
    async fn close(&mut self, code: Option<u16>);
}
