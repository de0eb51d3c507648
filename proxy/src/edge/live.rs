//! The client's side of a session over a WebSocket, over pingora's session.
//!
//! Guarantees: until the handshake is answered it is an ordinary client; afterwards every wait is bounded, a write that was
//! given up is the last one, and an edge that must stop says so at any time.

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, StatusCode};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::downstream::{Client, Outcome};
use super::limits;
use crate::exchange::held::Share;
use crate::exchange::live::{Came, Kind, LiveDownstream, LiveError, Stops};
use crate::exchange::ports::{ClientGone, Downstream, ResponseHead};
use crate::guard::Released;
use crate::upstream::headers;
use crate::wire::websocket::{Close, End, Event, Message, Socket};

pub(super) struct LiveClient<'a> {
    client: Client<'a>,
    cut: &'a CancellationToken,
    closing: watch::Receiver<bool>,
    socket: Socket,
    switched: bool,
    /// Nothing can be written any more.
    ended: bool,
}

impl<'a> LiveClient<'a> {
    pub(super) fn new(
        session: &'a mut ServerSession,
        cut: &'a CancellationToken,
        closing: watch::Receiver<bool>,
    ) -> Self {
        let client = Client::new(session, cut);
        Self { client, cut, closing, socket: Socket::new(End::Server), switched: false, ended: false }
    }

    /// The ordinary client that it still is, unless it has switched.
    pub(super) fn unswitched(&mut self) -> Option<&mut Client<'a>> {
        (!self.switched).then_some(&mut self.client)
    }

    async fn write_outgoing(&mut self) -> Result<(), ClientGone> {
        let bytes: Bytes = self.socket.take_outgoing();
        if bytes.is_empty() {
            return Ok(());
        }
        if !self.switched || std::mem::replace(&mut self.ended, true) {
            return Err(ClientGone);
        }
        let write = self.client.session().write_response_body(bytes, false);
        if matches!(timeout(limits::WRITE_MAX, write).await, Ok(Ok(()))) {
            self.ended = false;
            return Ok(());
        }
        Err(ClientGone)
    }
}

#[async_trait]
impl LiveDownstream for LiveClient<'_> {
    fn plain(&mut self) -> &mut dyn Downstream {
        &mut self.client
    }

    async fn switch(&mut self, head: ResponseHead) -> Result<(), ClientGone> {
        if self.switched || self.client.outcome() != Outcome::Silent {
            return Err(ClientGone);
        }
        let header = switching(&head).map_err(|_| ClientGone)?;
        let session = self.client.session();
        // How long a session may be silent is not this side's business.
        session.set_read_timeout(None);
        (self.switched, self.ended) = (true, true);
        match timeout(limits::WRITE_MAX, session.write_response_header(Box::new(header))).await {
            Ok(Ok(())) => {
                self.ended = false;
                Ok(())
            }
            _ => Err(ClientGone),
        }
    }

    async fn receive(&mut self, room: &mut Share) -> Result<Came, LiveError> {
        loop {
            let event = self.socket.next_event()?;
            room.set(self.socket.pending_bytes()).map_err(|_| LiveError::NoRoom)?;
            match event {
                Some(Event::Message(message)) => return Ok(Came::Message(message)),
                Some(Event::Control) => return Ok(Came::Control),
                Some(Event::Close(close)) => return Ok(Came::Close(close)),
                None => {}
            }
            match self.client.session().read_request_body().await {
                Ok(Some(bytes)) => self.socket.feed(&bytes),
                _ => return Err(LiveError::Gone),
            }
        }
    }

    async fn send(&mut self, message: Released, kind: Kind) -> Result<(), ClientGone> {
        let bytes = message.into_bytes();
        let message = match kind {
            Kind::Text => Message::Text(bytes),
            Kind::Binary => Message::Binary(bytes),
        };
        self.socket.send(message).map_err(|_| ClientGone)?;
        self.write_outgoing().await
    }

    async fn flush(&mut self) -> Result<(), ClientGone> {
        self.write_outgoing().await
    }

    async fn close(&mut self, code: Option<u16>, reason: Option<Released>) {
        let reason = reason.map(|reason| String::from_utf8_lossy(reason.bytes()).into_owned()).unwrap_or_default();
        self.socket.close(&Close { code, reason });
        if self.write_outgoing().await.is_err() {
            return;
        }
        // Until the client agrees, what it sends is read and forgotten: closing over unread bytes resets the connection,
        // and the reset can overtake the close.
        let agreed = async {
            loop {
                match self.socket.next_event() {
                    Ok(Some(Event::Close(_))) | Err(_) => return,
                    Ok(Some(_)) => continue,
                    Ok(None) => {}
                }
                match self.client.session().read_request_body().await {
                    Ok(Some(bytes)) => self.socket.feed(&bytes),
                    _ => return,
                }
            }
        };
        let _ = timeout(limits::LINGER_MAX, agreed).await;
    }

    fn stops(&self) -> Stops {
        Stops { cut: self.cut.clone(), closing: self.closing.clone() }
    }
}

/// The head of the answer to a handshake.
fn switching(head: &ResponseHead) -> pingora::Result<ResponseHeader> {
    let mut header =
        ResponseHeader::build(StatusCode::SWITCHING_PROTOCOLS, Some(head.headers.len().saturating_add(2)))?;
    for (name, value) in &head.headers {
        if !headers::is_framing(name) {
            header.append_header(name.clone(), value.clone())?;
        }
    }
    header.insert_header(UPGRADE, HeaderValue::from_static("websocket"))?;
    header.insert_header(CONNECTION, HeaderValue::from_static("Upgrade"))?;
    Ok(header)
}
