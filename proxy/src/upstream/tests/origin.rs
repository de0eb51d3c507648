//! An origin that follows a script, connection by connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tower::ServiceExt;

use super::identity::small_trust_store;
use crate::exchange::ports::{UpstreamError, UpstreamReply, UpstreamRequest, UpstreamTarget};
use crate::guard::Inspected;
use crate::upstream::{Provider, UpstreamOptions, UpstreamService, upstream_service};

/// Ends a test that would otherwise hang.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited too long: {what}"))
}

/// Accepted connections, in order.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    accepted: mpsc::UnboundedReceiver<TcpStream>,
}

impl Origin {
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, accepted) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let _ = connections.send(tcp);
            }
        });
        Self { address, accepted }
    }

    pub(crate) fn request(&self, body: impl Into<Bytes>) -> UpstreamRequest {
        request(&format!("http://{}", self.address), body)
    }

    pub(crate) async fn connection(&mut self) -> Connection {
        Connection(patiently("a connection", self.accepted.recv()).await.unwrap())
    }

    /// The connection that carries the next request: this one from the pool, or else a new one. Under load pingora at
    /// times finds a pooled connection still in use by its own watchdog, and opens another.
    pub(crate) async fn carrier(&mut self, pooled: Connection) -> (Connection, bool) {
        match patiently("a request or the end", pooled.0.peek(&mut [0])).await {
            Ok(1..) => (pooled, true),
            _ => (self.connection().await, false),
        }
    }

    pub(crate) fn has_no_further_connection(&mut self) -> bool {
        self.accepted.try_recv().is_err()
    }
}

pub(crate) struct Connection(pub(crate) TcpStream);

impl Connection {
    /// Reads a request by its `content-length`.
    pub(crate) async fn request(&mut self) -> (String, Vec<u8>) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(patiently("a request head", self.0.read_u8()).await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        patiently("a request body", self.0.read_exact(&mut body)).await.unwrap();
        (head, body)
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    pub(crate) async fn answer(&mut self, text: &str) {
        self.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len())).await;
    }

    /// Resolves when the caller has closed its side.
    pub(crate) async fn closed(&mut self) {
        let mut rest = Vec::new();
        let _ = patiently("the caller to close", self.0.read_to_end(&mut rest)).await;
    }
}

pub(crate) fn request(url: &str, body: impl Into<Bytes>) -> UpstreamRequest {
    UpstreamRequest {
        provider: Provider::of(UpstreamTarget::parse("main", url).unwrap()),
        method: Method::POST,
        path_and_query: "/v1/chat".into(),
        headers: HeaderMap::new(),
        body: Inspected::for_test(body.into()),
        made: Arc::default(),
    }
}

/// The defaults, for servers without TLS.
pub(crate) fn plain_options() -> UpstreamOptions {
    UpstreamOptions { ca_file: Some(small_trust_store()), ..UpstreamOptions::default() }
}

pub(crate) fn service() -> UpstreamService {
    upstream_service(plain_options()).unwrap()
}

pub(crate) async fn call(service: &UpstreamService, request: UpstreamRequest) -> Result<UpstreamReply, UpstreamError> {
    patiently("a reply", service.clone().oneshot(request)).await
}

pub(crate) async fn text(reply: &mut UpstreamReply) -> Result<String, UpstreamError> {
    let mut all = Vec::new();
    while let Some(chunk) = patiently("a chunk", reply.body.chunk()).await? {
        all.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8(all).unwrap())
}
