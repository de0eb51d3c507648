//! A handler that does what the path says, an edge that serves it, and a client that sends raw bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tower::ServiceExt;

use crate::edge::{BypassEnd, BypassFailure, Edge, EdgeError, Handler, Route, ServeOptions, Stop, Stopped};
use crate::exchange::answer::OwnAnswer;
use crate::exchange::held::{Budget, Share};
use crate::exchange::live::{Came, Kind, LiveDownstream};
use crate::exchange::ports::{
    BodyError, Downstream, RequestHead, ResponseHead, UpstreamReply, UpstreamRequest, UpstreamTarget,
};
use crate::guard::{Inspected, Released};
use crate::upstream::tests::identity::small_trust_store;
use crate::upstream::tests::origin::plain_options;
use crate::upstream::{Provider, UpstreamService, upstream_service};

/// Ends a test that would otherwise hang; never reached when all is well.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// What `/echo` reads at most.
pub(super) const ECHO_BYTES_MAX: usize = 8 * 1024 * 1024;

pub(super) async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited too long: {what}"))
}

/// What the handler saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    Began(String),
    Body(Result<usize, String>),
    Gone,
    WriteFailed,
    Finished(bool),
    BypassOpened,
    BypassClosed(BypassEnd),
}

#[derive(Debug)]
pub(super) struct Script {
    events: mpsc::UnboundedSender<Event>,
    /// `/stream` writes its second half after this.
    pub(super) go_on: Notify,
    pub(super) bypass: Option<Arc<Provider>>,
    upstream: UpstreamService,
}

/// Memory for any body.
pub(super) fn roomy() -> Share {
    Budget::new(usize::MAX).share()
}

fn released(text: impl Into<Bytes>) -> Released {
    Released::for_test(text.into())
}

pub(super) fn own(status: u16, text: &str) -> OwnAnswer {
    let mut headers = HeaderMap::new();
    headers.insert("x-own", HeaderValue::from_static("yes"));
    OwnAnswer {
        status: StatusCode::from_u16(status).unwrap(),
        headers,
        body: released(Bytes::copy_from_slice(text.as_bytes())),
    }
}

impl Script {
    fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    async fn answer(&self, down: &mut dyn Downstream, status: StatusCode, text: Bytes, sized: bool) {
        let mut headers = HeaderMap::new();
        // Framing is not the handler's business: this must not reach the wire.
        headers.insert("content-length", HeaderValue::from_static("999"));
        headers.insert("x-path", HeaderValue::from_static("handler"));
        let length = sized.then_some(text.len());
        let done = async {
            down.start(ResponseHead { status, headers }, length).await?;
            down.write(released(text)).await?;
            down.finish().await
        };
        self.tell(Event::Finished(done.await.is_ok()));
    }

    /// What an exchange does at its simplest: passes an upstream's answer on for as long as the client is there.
    async fn relay(&self, head: &RequestHead, down: &mut dyn Downstream) {
        let body = down.read_body(ECHO_BYTES_MAX, &mut roomy()).await.unwrap();
        let request = UpstreamRequest {
            provider: self.bypass.clone().unwrap(),
            method: head.method.clone(),
            path_and_query: head.path.clone(),
            headers: HeaderMap::new(),
            body: Inspected::for_test(body),
            made: Arc::default(),
        };
        let called = tokio::select! {
            reply = self.upstream.clone().oneshot(request) => reply.ok(),
            () = down.gone() => None,
        };
        let Some(UpstreamReply { status, headers, mut body, .. }) = called else {
            return self.tell(Event::Gone);
        };
        let _ = down.start(ResponseHead { status, headers }, None).await;
        loop {
            let chunk = tokio::select! {
                chunk = body.chunk() => chunk.unwrap(),
                () = down.gone() => {
                    body.abort().await;
                    return self.tell(Event::Gone);
                }
            };
            match chunk {
                Some(chunk) => down.write(released(chunk)).await.unwrap(),
                None => break,
            }
        }
        self.tell(Event::Finished(down.finish().await.is_ok()));
        body.release().await;
    }

    async fn echo(&self, down: &mut dyn Downstream, limit: usize) {
        match down.read_body(limit, &mut roomy()).await {
            Ok(body) => {
                self.tell(Event::Body(Ok(body.len())));
                let text = format!("{} {}", body.len(), checksum(&body));
                self.answer(down, StatusCode::OK, text.into(), true).await;
            }
            Err(error) => {
                self.tell(Event::Body(Err(error.to_string())));
                let status = match error {
                    BodyError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
                    _ => StatusCode::BAD_REQUEST,
                };
                self.answer(down, status, Bytes::from_static(b"no"), true).await;
            }
        }
    }
}

pub(super) fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(7, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)))
}

#[async_trait]
impl Handler for Script {
    fn route(&self, head: &RequestHead) -> Route {
        if head.path.starts_with("/bypass")
            && let Some(provider) = &self.bypass
        {
            return Route::Bypass { provider: provider.clone(), path: head.path.clone() };
        }
        if head.path.starts_with("/live") {
            return Route::Live;
        }
        if head.path == "/refused" { Route::Refuse(own(404, "no such route")) } else { Route::Inspect }
    }

    /// Says everything again, until the client closes.
    async fn live(&self, head: RequestHead, down: &mut dyn LiveDownstream) {
        if head.path == "/live/refused" {
            return self.answer(down.plain(), StatusCode::UNAUTHORIZED, Bytes::from_static(b"no"), true).await;
        }
        let mut room = roomy();
        let _ = down.switch(ResponseHead { status: StatusCode::SWITCHING_PROTOCOLS, headers: HeaderMap::new() }).await;
        loop {
            match down.receive(&mut room).await {
                Ok(Came::Message(message)) => {
                    let kind = Kind::of(&message);
                    let _ = down.send(Released::for_test(message.bytes().clone()), kind).await;
                }
                Ok(Came::Control) => drop(down.flush().await),
                Ok(Came::Close(close)) => return down.close(close.code, None).await,
                Err(_) => return self.tell(Event::Gone),
            }
        }
    }

    async fn exchange(&self, head: RequestHead, down: &mut dyn Downstream) {
        self.tell(Event::Began(head.path.clone()));
        let start = || ResponseHead { status: StatusCode::OK, headers: HeaderMap::new() };
        match head.path.as_str() {
            "/echo" => self.echo(down, ECHO_BYTES_MAX).await,
            "/small" => self.echo(down, 10).await,
            "/chunked" => self.answer(down, StatusCode::OK, Bytes::from_static(b"in pieces"), false).await,
            "/empty" => self.answer(down, StatusCode::NO_CONTENT, Bytes::new(), true).await,
            "/head" => {
                let text = format!("{:?} {:?} {}", head.query, head.headers.get("host"), head.request_id);
                self.answer(down, StatusCode::OK, text.into(), true).await;
            }
            "/stream" => {
                let done = async {
                    down.read_body(ECHO_BYTES_MAX, &mut roomy()).await.map_err(|_| ())?;
                    down.start(start(), None).await.map_err(|_| ())?;
                    down.write(released("first,")).await.map_err(|_| ())?;
                    self.go_on.notified().await;
                    down.write(released("second")).await.map_err(|_| ())?;
                    down.finish().await.map_err(|_| ())
                };
                self.tell(Event::Finished(done.await.is_ok()));
            }
            "/wait" => {
                let _ = down.read_body(ECHO_BYTES_MAX, &mut roomy()).await;
                tokio::select! {
                    () = down.gone() => self.tell(Event::Gone),
                    () = self.go_on.notified() => {
                        self.answer(down, StatusCode::OK, Bytes::from_static(b"waited"), true).await;
                    }
                }
            }
            "/relay" => self.relay(&head, down).await,
            "/flood" => {
                let _ = down.start(start(), None).await;
                let piece = Bytes::from(vec![b'x'; 64 * 1024]);
                while down.write(released(piece.clone())).await.is_ok() {}
                self.tell(Event::WriteFailed);
            }
            "/torn" => {
                let _ = down.start(start(), None).await;
                let _ = down.write(released("half")).await;
            }
            "/short" => {
                let _ = down.start(start(), Some(10)).await;
                let _ = down.write(released("half")).await;
                self.tell(Event::Finished(down.finish().await.is_ok()));
            }
            "/long" => {
                let _ = down.start(start(), Some(2)).await;
                if down.write(released("too much")).await.is_err() {
                    self.tell(Event::WriteFailed);
                }
            }
            "/panic" => panic!("a handler's bug"),
            _ => {}
        }
    }

    async fn bypass_opened(&self, head: &RequestHead, _: &Provider) -> Result<HeaderMap, OwnAnswer> {
        if head.path == "/bypass/not-durable" {
            return Err(own(503, "no receipt, no bypass"));
        }
        self.tell(Event::BypassOpened);
        let mut headers = HeaderMap::new();
        headers.insert("x-clyra-decision", HeaderValue::from_static("bypass"));
        Ok(headers)
    }

    async fn bypass_closed(&self, _: &RequestHead, end: BypassEnd) {
        self.tell(Event::BypassClosed(end));
    }

    fn bypass_failed(&self, _: &RequestHead, _: &Provider, failure: BypassFailure) -> OwnAnswer {
        own(failure.status().as_u16(), &format!("{failure:?}"))
    }

    fn malformed(&self, reason: &'static str) -> OwnAnswer {
        own(400, reason)
    }
}

/// An edge that serves a [`Script`].
pub(super) struct Served {
    pub(super) address: SocketAddr,
    pub(super) script: Arc<Script>,
    pub(super) stop: Stop,
    events: Mutex<mpsc::UnboundedReceiver<Event>>,
    running: JoinHandle<Result<Stopped, EdgeError>>,
}

pub(super) fn loopback() -> ServeOptions {
    let ca_file = Some(small_trust_store());
    ServeOptions { ca_file, ..ServeOptions::new(SocketAddr::from(([127, 0, 0, 1], 0))) }
}

impl Served {
    pub(super) fn new() -> Self {
        Self::with(loopback(), None)
    }

    pub(super) fn bypassing(target: SocketAddr) -> Self {
        let target = UpstreamTarget::parse("origin", &format!("http://{target}/base")).unwrap();
        Self::with(loopback(), Some(target))
    }

    pub(super) fn with(options: ServeOptions, bypass: Option<UpstreamTarget>) -> Self {
        Self::with_provider(options, bypass.map(Provider::of))
    }

    pub(super) fn with_provider(options: ServeOptions, bypass: Option<Arc<Provider>>) -> Self {
        let (events, seen) = mpsc::unbounded_channel();
        let upstream = upstream_service(plain_options()).unwrap();
        let script = Arc::new(Script { events, go_on: Notify::new(), bypass, upstream });
        let edge = Edge::bind(options, script.clone()).unwrap();
        let address = edge.local_addr();
        let stop = Stop::new();
        let running = tokio::spawn(edge.run(stop.clone()));
        Self { address, script, stop, events: Mutex::new(seen), running }
    }

    pub(super) async fn event(&self) -> Event {
        patiently("an event", async { self.events.lock().await.recv().await.unwrap() }).await
    }

    pub(super) async fn no_event_is_left(&self) {
        assert_eq!(self.events.lock().await.try_recv().ok(), None);
    }

    pub(super) async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    /// One request on a connection of its own; everything that comes back.
    pub(super) async fn ask(&self, request: &str) -> String {
        let mut client = self.connect().await;
        client.send(request).await;
        client.rest().await
    }

    pub(super) fn is_running(&self) -> bool {
        !self.running.is_finished()
    }

    pub(super) async fn stopped(self) -> Stopped {
        patiently("the edge to stop", self.running).await.unwrap().unwrap()
    }
}

/// A response as it stood on the wire.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap()
    }

    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A raw client.
pub(super) struct Client(pub(super) TcpStream);

impl Client {
    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// All that comes until the connection closes.
    pub(super) async fn rest(&mut self) -> String {
        let mut all = Vec::new();
        // A reset after the answer is a close, too.
        let _ = patiently("the connection to close", self.0.read_to_end(&mut all)).await;
        String::from_utf8_lossy(&all).into_owned()
    }

    pub(super) async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(patiently("a response head", self.0.read_u8()).await.expect("the connection closed in a head"));
        }
        String::from_utf8(head).unwrap()
    }

    /// Reads one whole answer by its framing and leaves the connection open.
    pub(super) async fn answer(&mut self) -> Answer {
        let mut answer = Answer { head: self.head().await, body: Vec::new() };
        if let Some(length) = answer.field("content-length") {
            answer.body = vec![0; length.parse().unwrap()];
            patiently("a response body", self.0.read_exact(&mut answer.body)).await.unwrap();
        } else if answer.field("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk().await {
                answer.body.extend(chunk);
            }
        }
        answer
    }

    /// One chunk; `None` for the last.
    pub(super) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.push(patiently("a chunk", self.0.read_u8()).await.expect("the connection closed in a body"));
        }
        let size = usize::from_str_radix(String::from_utf8(line).unwrap().trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        patiently("a chunk", self.0.read_exact(&mut chunk)).await.unwrap();
        chunk.truncate(size);
        (size > 0).then_some(chunk)
    }
}

/// An origin that answers each connection by a script.
pub(super) async fn origin<F, W>(serve: F) -> SocketAddr
where
    F: Fn(TcpStream) -> W + Send + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(serve(tcp));
        }
    });
    address
}
