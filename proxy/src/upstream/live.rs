//! Opens WebSockets to providers: a handshake of our own on a connection of its own, then messages.
//!
//! No extension is offered, so that what is inspected is what the provider reads; the answer to our key is checked, and so is
//! that the subprotocol is one that the client has offered. A handshake goes to another endpoint only where no connection
//! could be had.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{
    CONNECTION, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::client::HttpSession;
use pingora::protocols::http::v1::client::HttpSession as Http1;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};
use tokio::time::{Instant, timeout};

use super::auth::Outgoing;
use super::body::Body;
use super::failover::without_credentials;
use super::provider::{AllOpen, Endpoint};
use super::{Outcome, UpstreamService, failure, headers, request};
use crate::exchange::held::Share;
use crate::exchange::live::{Came, Kind, LiveError, LiveReply, LiveRequest, LiveUpstream, Opened};
use crate::exchange::ports::{UpstreamError, UpstreamReply};
use crate::guard::Inspected;
use crate::wire::websocket::{self, Close, End, Event, Message, Socket};

/// How long a provider may take to answer a handshake: nothing is generated for it.
const HANDSHAKE_MAX: Duration = Duration::from_secs(30);
/// A provider that takes no byte for that long has stopped reading.
const WRITE_MAX: Duration = Duration::from_secs(60);
/// How long saying goodbye may take; after that the connection is simply closed.
const GOODBYE_MAX: Duration = Duration::from_millis(500);
/// Interim (1xx) heads that are skipped before an answer.
const INTERIM_HEADS_MAX: u32 = 16;
/// Connections of sessions are never shared; their numbers begin where those of other calls of their own do not come.
static GROUPS: AtomicU64 = AtomicU64::new(1 << 48);

/// Headers of a handshake that are between two neighbours.
fn is_of_handshake(name: &http::HeaderName) -> bool {
    name.as_str().starts_with("sec-websocket-") && name != SEC_WEBSOCKET_PROTOCOL
}

impl UpstreamService {
    /// Opens a session. Everything that is not the answer 101 comes back as a refusal, with its body to be read.
    pub async fn open(&self, request: LiveRequest) -> Result<LiveReply, UpstreamError> {
        let provider = Arc::clone(&request.provider);
        let mut tried: Vec<Arc<Endpoint>> = Vec::new();
        let mut last = None;
        let unavailable = |for_another| UpstreamError::Unavailable { name: Arc::clone(&provider.name), for_another };
        loop {
            let leave = match provider.pick(&tried, Instant::now()) {
                Ok(Some(leave)) => leave,
                Ok(None) => return Err(last.unwrap_or_else(|| unavailable(Duration::ZERO))),
                Err(AllOpen { for_another }) => return Err(last.unwrap_or_else(|| unavailable(for_another))),
            };
            let endpoint = Arc::clone(&leave.endpoint);
            request.made.fetch_add(1, Ordering::Relaxed);
            let result = match timeout(HANDSHAKE_MAX, self.shake(&request, &endpoint)).await {
                Ok(result) => result,
                Err(_) => Err(UpstreamError::Timeout { name: Arc::clone(&endpoint.label), after: HANDSHAKE_MAX }),
            };
            match &result {
                Ok(LiveReply::Opened(_)) => leave.settle(Outcome::of_status(StatusCode::SWITCHING_PROTOCOLS)),
                Ok(LiveReply::Refused(reply)) => leave.settle(Outcome::of_status(reply.status)),
                // Nothing was sent: it says nothing about the endpoint.
                Err(UpstreamError::Credentials { .. } | UpstreamError::UnknownKey { .. }) => drop(leave),
                Err(_) => leave.settle(Outcome::Failed),
            }
            match result {
                Err(error @ (UpstreamError::Connect { .. } | UpstreamError::Resolve { .. })) => {
                    last = Some(error);
                    tried.push(endpoint);
                }
                done => return done,
            }
        }
    }

    async fn shake(&self, request: &LiveRequest, endpoint: &Arc<Endpoint>) -> Result<LiveReply, UpstreamError> {
        let (target, way, name) = (&endpoint.target, &endpoint.way, &endpoint.target.name);
        let mut path = request.path_and_query.clone();
        let mut fields = request.headers.clone();
        let own: Vec<_> = fields.keys().filter(|name| is_of_handshake(name)).cloned().collect();
        own.iter().for_each(|name| drop(fields.remove(name)));
        let mut out = Outgoing {
            target,
            method: &Method::GET,
            path_and_query: &mut path,
            headers: &mut fields,
            body: Some(request.judged.bytes()),
        };
        request.provider.auth.put(&mut out).await.map_err(|error| without_credentials(name, error))?;
        let key = websocket::new_key().ok_or_else(|| no_connection(name, "no random bytes"))?;
        let offered = protocols(&fields);
        let head = head(fields, request::full_path(target, &path), target.authority(), &key)
            .map_err(|error| failure::connect(name, &error))?;

        let (host, port) = way.place(target);
        let addresses = self.resolver.addresses(host, port).await.map_err(|detail| UpstreamError::Resolve {
            name: Arc::clone(name),
            host: host.to_owned(),
            detail,
        })?;
        let address = addresses.preferred().ok_or_else(|| no_connection(name, "no usable address"))?;
        let mut peer = way.peer(target, address, self.waits).ok_or_else(|| no_connection(name, "no usable address"))?;
        peer.options.set_http_version(1, 1);
        peer.group_key = GROUPS.fetch_add(1, Ordering::Relaxed);
        let (session, _) = self.connector.0.get_http_session(&peer).await.map_err(|error| {
            addresses.leave(address);
            failure::connect(name, &error)
        })?;
        let HttpSession::H1(mut session) = session else { return Err(protocol(name, "it speaks no HTTP/1.1")) };
        session.write_timeout = Some(WRITE_MAX);
        let started = Instant::now();
        let answer = answer(&mut session, head).await.map_err(|error| failure::before_head(name, false, &error))?;
        let time_to_head = started.elapsed();
        if answer.status != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(LiveReply::Refused(self.refused(
                session,
                peer,
                answer,
                endpoint,
                (request.made.load(Ordering::Relaxed), time_to_head),
            )));
        }
        check(&answer.headers, &key, &offered).map_err(|detail| protocol(name, detail))?;
        session.maybe_upgrade_body_writer();
        let mut headers = HeaderMap::new();
        for (field, value) in headers::end_to_end(&answer.headers).filter(|(field, _)| !is_of_handshake(field)) {
            headers.append(field.clone(), value.clone());
        }
        let session = Box::new(Session { session, socket: Socket::new(End::Client), ended: false });
        Ok(LiveReply::Opened(Opened { headers, upstream: Arc::clone(name), time_to_head, session }))
    }

    fn refused(
        &self,
        session: Http1,
        peer: HttpPeer,
        answer: ResponseHeader,
        endpoint: &Endpoint,
        (attempts, time_to_head): (u32, Duration),
    ) -> UpstreamReply {
        let mut headers = HeaderMap::new();
        for (field, value) in headers::end_to_end(&answer.headers) {
            headers.append(field.clone(), value.clone());
        }
        let name = Arc::clone(&endpoint.target.name);
        let connector = Arc::clone(&self.connector.0);
        // The connection is nobody else's: what is released of it ends by itself.
        let session = HttpSession::H1(session);
        let body = Body::new(Arc::clone(&name), session, peer, connector, HANDSHAKE_MAX, Duration::ZERO, false);
        UpstreamReply { status: answer.status, headers, upstream: name, attempts, time_to_head, body: Box::new(body) }
    }
}

fn no_connection(name: &Arc<str>, detail: &str) -> UpstreamError {
    UpstreamError::Connect { name: Arc::clone(name), detail: detail.to_owned() }
}

fn protocol(name: &Arc<str>, detail: &str) -> UpstreamError {
    UpstreamError::Protocol { name: Arc::clone(name), detail: detail.to_owned() }
}

/// The subprotocols of a handshake (RFC 6455 section 11.3.4).
fn protocols(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|offer| offer.trim().to_owned()).collect()
}

/// The handshake of RFC 6455 section 4.1.
fn head(fields: HeaderMap, path: String, authority: String, key: &str) -> Result<Box<RequestHeader>, Box<Error>> {
    let mut head = RequestHeader::build(Method::GET, path.as_bytes(), Some(fields.len().saturating_add(5)))?;
    for (name, value) in headers::end_to_end(&fields).filter(|(name, _)| *name != HOST) {
        head.append_header(name.clone(), value.clone())?;
    }
    head.insert_header(HOST, authority)?;
    head.insert_header(CONNECTION, HeaderValue::from_static("Upgrade"))?;
    head.insert_header(UPGRADE, HeaderValue::from_static("websocket"))?;
    head.insert_header(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))?;
    head.insert_header(SEC_WEBSOCKET_KEY, key)?;
    Ok(Box::new(head))
}

async fn answer(session: &mut Http1, head: Box<RequestHeader>) -> Result<ResponseHeader, Box<Error>> {
    session.write_request_header(head).await?;
    for _ in 0..INTERIM_HEADS_MAX {
        session.read_response().await?;
        if let Some(head) = session.resp_header()
            && (!head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS)
        {
            return Ok(head.clone());
        }
    }
    Error::e_explain(ErrorType::InvalidHTTPHeader, "interim responses without end")
}

/// What a client checks of the answer (RFC 6455 section 4.1).
fn check(headers: &HeaderMap, key: &str, offered: &[String]) -> Result<(), &'static str> {
    let is = |name: http::HeaderName, wanted: &str| {
        let values = headers.get_all(name);
        let mut tokens = values.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
        tokens.any(|token| token.trim().eq_ignore_ascii_case(wanted))
    };
    if !is(UPGRADE, "websocket") || !is(CONNECTION, "upgrade") {
        return Err("the answer to the handshake names another protocol");
    }
    let accepted = headers.get(SEC_WEBSOCKET_ACCEPT).and_then(|value| value.to_str().ok());
    if accepted.map(str::trim) != Some(websocket::accept(key).as_str()) {
        return Err("the answer to the handshake is to another one");
    }
    if headers.contains_key(SEC_WEBSOCKET_EXTENSIONS) {
        return Err("the answer to the handshake names an extension that was not offered");
    }
    let chosen = protocols(headers);
    if chosen.len() > 1 || chosen.iter().any(|chosen| !offered.contains(chosen)) {
        return Err("the answer to the handshake names a subprotocol that was not offered");
    }
    Ok(())
}

/// A connection that has switched.
struct Session {
    session: Http1,
    socket: Socket,
    ended: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Session {
    /// Writes what is on its way; a write that is given up ends the connection.
    async fn write(&mut self) -> Result<(), LiveError> {
        let bytes: Bytes = self.socket.take_outgoing();
        if bytes.is_empty() {
            return Ok(());
        }
        if std::mem::replace(&mut self.ended, true) {
            return Err(LiveError::Gone);
        }
        match timeout(WRITE_MAX, self.session.write_body(&bytes)).await {
            Ok(Ok(_)) => {
                self.ended = false;
                Ok(())
            }
            _ => Err(LiveError::Gone),
        }
    }
}

#[async_trait]
impl LiveUpstream for Session {
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
            match self.session.read_body_bytes().await {
                Ok(Some(bytes)) => self.socket.feed(&bytes),
                _ => return Err(LiveError::Gone),
            }
        }
    }

    async fn send(&mut self, message: Inspected, kind: Kind) -> Result<(), LiveError> {
        let bytes = message.bytes().clone();
        self.socket.send(match kind {
            Kind::Text => Message::Text(bytes),
            Kind::Binary => Message::Binary(bytes),
        })?;
        self.write().await
    }

    async fn flush(&mut self) -> Result<(), LiveError> {
        self.write().await
    }

    async fn close(&mut self, code: Option<u16>) {
        let goodbye = async {
            self.socket.close(&Close { code, reason: String::new() });
            let _ = self.write().await;
            self.session.shutdown().await;
        };
        let _ = timeout(GOODBYE_MAX, goodbye).await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::AtomicU32;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::exchange::ports::UpstreamTarget;
    use crate::upstream::tests::origin::service;
    use crate::upstream::{EndpointSettings, Provider, UpstreamSettings};

    fn endpoint(name: &str, address: SocketAddr, weight: u32) -> EndpointSettings {
        let target = UpstreamTarget::parse("p", &format!("http://{address}/base")).unwrap();
        EndpointSettings { name: name.into(), target, weight }
    }

    fn request(endpoints: Vec<EndpointSettings>) -> LiveRequest {
        let one = UpstreamSettings::from(UpstreamTarget::parse("p", "http://unused").unwrap());
        LiveRequest {
            provider: Arc::new(Provider::new(UpstreamSettings { endpoints, ..one }, None, 0).unwrap()),
            path_and_query: "/v1/realtime?model=m".into(),
            headers: answer_with(&[
                ("x-a", "1"),
                ("sec-websocket-extensions", "x"),
                ("connection", "x-hop"),
                ("x-hop", "1"),
            ]),
            judged: Inspected::for_test(Bytes::new()),
            made: Arc::new(AtomicU32::new(0)),
        }
    }

    async fn nowhere() -> SocketAddr {
        TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap()
    }

    #[tokio::test]
    async fn an_endpoint_that_takes_no_connection_is_passed_over() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let there = listener.local_addr().unwrap();
        let origin = tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(tcp.read_u8().await.unwrap());
            }
            tcp.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await.unwrap();
            String::from_utf8(head).unwrap().to_ascii_lowercase()
        });
        let request = request(vec![endpoint("a", nowhere().await, 9), endpoint("b", there, 1)]);
        let made = Arc::clone(&request.made);
        let LiveReply::Refused(mut reply) = service().open(request).await.unwrap() else { panic!("it was opened") };
        assert_eq!((reply.status.as_u16(), &*reply.upstream, reply.attempts), (403, "p/b", 2));
        assert_eq!(made.load(Ordering::Relaxed), 2);
        assert_eq!(reply.body.chunk().await.unwrap().as_deref(), Some(&b"no"[..]));
        let head = origin.await.unwrap();
        assert!(head.starts_with("get /base/v1/realtime?model=m http/1.1\r\n"), "{head}");
        assert!(head.contains("\r\nx-a: 1\r\n") && head.contains("\r\nsec-websocket-version: 13\r\n"), "{head}");
        assert!(!head.contains("extensions") && !head.contains("x-hop"), "{head}");
    }

    #[tokio::test]
    async fn nobody_who_takes_a_connection_is_an_error() {
        let error = service().open(request(vec![endpoint("a", nowhere().await, 1)])).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Connect { .. }), "{error}");
    }

    fn answer_with(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_the_answer_to_our_handshake_opens_a_session() {
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        let offered = ["realtime".to_owned(), "openai-beta.realtime-v1".to_owned()];
        let good = [
            ("upgrade", "WebSocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            ("sec-websocket-protocol", "realtime"),
        ];
        assert_eq!(check(&answer_with(&good), key, &offered), Ok(()));
        assert_eq!(check(&answer_with(&good[..3]), key, &offered), Ok(()));
        for (at, bad) in
            [(0, "h2c"), (1, "close"), (2, "s3pPLMBiTxaQ9kYGzzhZRbK+xOp="), (3, "mqtt"), (3, "realtime, x")]
        {
            let mut pairs = good;
            pairs[at].1 = bad;
            assert!(check(&answer_with(&pairs), key, &offered).is_err(), "{bad}");
        }
        let mut extended = answer_with(&good);
        extended.insert("sec-websocket-extensions", "permessage-deflate".parse().unwrap());
        assert!(check(&extended, key, &offered).is_err());
    }
}
