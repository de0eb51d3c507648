//! Drives one client connection: tells the protocol, then feeds requests to pingora one by one (HTTP/1) or side by
//! side (HTTP/2 by prior knowledge).
//!
//! pingora's own loop waits without limit for 24 bytes before it answers anything, so a connection that stays silent
//! is never closed, and an HTTP/1.0 request of 18 bytes never answered.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use pingora::apps::HttpServerApp;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{self, H2Accept, H2Options, HttpSession as Http2Session};
use pingora::protocols::{Digest, GetSocketDigest};
use pingora::proxy::HttpProxy;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::adapter::Adapter;
use super::handler::Handler;
use super::limits;
use super::socket::ClientSocket;

/// How the preface of HTTP/2 begins (RFC 9113 section 3.4); no method of HTTP/1 begins like it.
const H2_PREFACE_START: &[u8] = b"PRI ";
/// Enough for most request heads, so that telling the protocol costs no extra read.
const FIRST_READ_BYTES: usize = 4 * 1024;

/// What a connection needs besides its socket.
pub(super) struct Shared<H: Handler> {
    pub(super) proxy: Arc<HttpProxy<Adapter<H>>>,
    /// True while connections should be closed after the request that they are on.
    pub(super) closing: watch::Receiver<bool>,
    /// Cancelled when nothing is in flight any more and idle connections should go.
    pub(super) closed: CancellationToken,
}

impl<H: Handler> Clone for Shared<H> {
    fn clone(&self) -> Self {
        Self { proxy: self.proxy.clone(), closing: self.closing.clone(), closed: self.closed.clone() }
    }
}

/// Serves the connection until either side is done with it.
pub(super) async fn serve<H: Handler>(mut tcp: TcpStream, peer: SocketAddr, shared: Shared<H>) {
    let _ = tcp.set_nodelay(true);
    let told = tokio::select! {
        told = timeout(limits::HEAD_MAX, tell(&mut tcp)) => told,
        () = shared.closed.cancelled() => return,
    };
    let Ok(Some((protocol, again))) = told else {
        return;
    };
    let socket = ClientSocket::new(tcp, peer, again);
    match protocol {
        Protocol::Http1 => http1(socket, shared).await,
        Protocol::Http2 => http2(socket.without_framing(), shared).await,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// Reads until the protocol is certain; the bytes are read again by whoever speaks it.
async fn tell(tcp: &mut TcpStream) -> Option<(Protocol, Bytes)> {
    let mut seen = BytesMut::with_capacity(FIRST_READ_BYTES);
    loop {
        if tcp.read_buf(&mut seen).await.ok()? == 0 {
            return None;
        }
        if let Some(protocol) = protocol_of(&seen) {
            return Some((protocol, seen.freeze()));
        }
    }
}

fn protocol_of(seen: &[u8]) -> Option<Protocol> {
    if seen.starts_with(H2_PREFACE_START) {
        Some(Protocol::Http2)
    } else if H2_PREFACE_START.starts_with(seen) {
        None
    } else {
        Some(Protocol::Http1)
    }
}

async fn http1<H: Handler>(socket: ClientSocket, shared: Shared<H>) {
    let mut session = ServerSession::new_http1(Box::new(socket));
    session.set_keepalive(Some(limits::KEEP_ALIVE.as_secs()));
    session.set_pipelining_enabled(true);
    loop {
        let Some(reused) = shared.proxy.process_new_http(session, &shared.closing).await else {
            return;
        };
        let (stream, settings) = reused.consume();
        if let Some(socket) = ClientSocket::of(&stream) {
            socket.expect_head();
        }
        session = ServerSession::new_http1(stream);
        if let Some(settings) = settings {
            settings.apply_to_session(&mut session);
        }
    }
}

async fn http2<H: Handler>(socket: ClientSocket, shared: Shared<H>) {
    let digest = Arc::new(Digest { socket_digest: socket.get_socket_digest(), ..Digest::default() });
    // Heads are frames among others; their size is bounded, and idle connections are closed below.
    socket.head_complete();
    let handshake = server::handshake(Box::new(socket), Some(h2_options()));
    let Ok(Ok(mut connection)) = timeout(limits::H2_HANDSHAKE_MAX, handshake).await else {
        return;
    };
    let mut closing = shared.closing.clone();
    let mut goodbye_said = false;
    let mut rejected = 0;
    let mut requests = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = closing.wait_for(|closing| *closing), if !goodbye_said => {
                // A GOAWAY, and the end of the connection once its streams are done and the client has confirmed;
                // whoever closes the edge gives up on clients that do not.
                connection.graceful_shutdown();
                goodbye_said = true;
                continue;
            }
            accepted = Http2Session::from_h2_conn(&mut connection, digest.clone()) => accepted,
            Some(_) = requests.join_next() => continue,
            () = sleep(limits::KEEP_ALIVE), if requests.is_empty() => break,
        };
        match accepted {
            Ok(Some(H2Accept::Session(session))) => {
                let Shared { proxy, closing, .. } = shared.clone();
                requests.spawn(async move {
                    proxy.process_new_http(ServerSession::new_http2(session), &closing).await;
                });
            }
            Ok(Some(H2Accept::Rejected)) => {
                rejected += 1;
                if rejected >= limits::H2_REJECTED_MAX {
                    break;
                }
            }
            Ok(None) | Err(_) => break,
        }
    }
    drop(connection);
    // The client has left; its exchanges still write down how they ended.
    while requests.join_next().await.is_some() {}
}

fn h2_options() -> H2Options {
    let mut options = server::default_h2_options();
    options.max_header_list_size(limits::HEADER_BYTES_MAX as u32);
    options.max_concurrent_streams(limits::H2_STREAMS_MAX);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_is_told_by_as_few_bytes_as_possible() {
        assert_eq!(protocol_of(b"G"), Some(Protocol::Http1));
        assert_eq!(protocol_of(b"POST / HTTP/1.1"), Some(Protocol::Http1));
        assert_eq!(protocol_of(b"PRI"), None, "PRIVMSG could follow, or a preface");
        assert_eq!(protocol_of(b"PRI * HTTP/2.0"), Some(Protocol::Http2));
        assert_eq!(protocol_of(b"PROPFIND"), Some(Protocol::Http1));
    }
}
