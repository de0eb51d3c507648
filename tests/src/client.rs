//! An HTTP client that records what arrives, piece by piece, and when.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// What a client saw of an answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub pieces: Vec<(Duration, Bytes)>,
    /// The message ended as HTTP wants it to end.
    pub complete: bool,
}

impl Answer {
    pub fn body(&self) -> Vec<u8> {
        self.pieces.iter().flat_map(|(_, p)| p.iter().copied()).collect()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body()).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    /// The id that Clyra gave the exchange.
    pub fn request_id(&self) -> &str {
        self.header("x-clyra-request-id")
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Longest wait for an answer in a test: long for a machine under load, short for a hang.
const WAIT_MAX: Duration = Duration::from_secs(60);

async fn in_time<T>(path: &str, what: impl Future<Output = Result<T, Failure>>) -> T {
    tokio::time::timeout(WAIT_MAX, what)
        .await
        .unwrap_or_else(|_| panic!("no answer on {path} within {WAIT_MAX:?}"))
        .unwrap_or_else(|error| panic!("request to {path} failed: {error}"))
}

/// One POST on a connection of its own.
pub async fn post(address: SocketAddr, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    in_time(path, try_post(address, path, headers, body)).await
}

/// Like [`post`], for a server that may go away at any moment.
pub async fn try_post(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Result<Answer, Failure> {
    Ok(try_open(address, Method::POST, path, headers, Full::new(Bytes::from(body))).await?.rest().await)
}

/// Like [`post`], with a body in chunks whose length is not announced.
pub async fn post_chunked(address: SocketAddr, path: &str, chunks: Vec<Bytes>) -> Answer {
    let body = Chunks(chunks.into());
    in_time(path, async { Ok(try_open(address, Method::POST, path, &[], body).await?.rest().await) }).await
}

/// One GET on a connection of its own.
pub async fn get(address: SocketAddr, path: &str) -> Answer {
    send(address, Method::GET, path, &[], Vec::new()).await
}

/// One request on a connection of its own.
pub async fn send(address: SocketAddr, method: Method, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    let body = Full::new(Bytes::from(body));
    in_time(path, async { Ok(try_open(address, method, path, headers, body).await?.rest().await) }).await
}

/// One POST whose answer is read piece by piece.
pub async fn open(address: SocketAddr, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Open {
    in_time(path, try_open(address, Method::POST, path, headers, Full::new(Bytes::from(body)))).await
}

/// An answer that has begun. Dropping it closes the connection, as a client does that leaves; so does dropping the future
/// that waits for it to begin.
#[derive(Debug)]
pub struct Open {
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: Incoming,
    start: Instant,
    _connection: Connection,
}

impl Open {
    /// The next piece as it arrived; `None` at the end, in good order or not.
    pub async fn piece(&mut self) -> Option<Bytes> {
        loop {
            let frame = tokio::time::timeout(WAIT_MAX, self.body.frame()).await;
            match frame.unwrap_or_else(|_| panic!("no piece within {WAIT_MAX:?}"))? {
                Ok(frame) => match frame.into_data() {
                    Ok(data) => return Some(data),
                    Err(_) => continue,
                },
                Err(_) => return None,
            }
        }
    }

    /// Everything that still comes.
    pub async fn rest(mut self) -> Answer {
        let (mut pieces, mut complete) = (Vec::new(), true);
        while let Some(frame) = self.body.frame().await {
            match frame.map(|f| f.into_data()) {
                Ok(Ok(data)) => pieces.push((self.start.elapsed(), data)),
                Ok(Err(_)) => {}
                Err(_) => complete = false,
            }
        }
        Answer { status: self.status, headers: self.headers, pieces, complete }
    }
}

#[derive(Debug)]
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn try_open<B>(
    address: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: B,
) -> Result<Open, Failure>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Failure>,
{
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = Connection(tokio::spawn(async move {
        // What goes wrong on the connection shows in the answer.
        let _ = connection.await;
    }));
    let mut request = Request::builder().method(method).uri(path).header("host", address.to_string());
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
        request = request.header("content-type", "application/json");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let start = Instant::now();
    let (head, body) = sender.send_request(request.body(Box::pin(body))?).await?.into_parts();
    Ok(Open { status: head.status, headers: head.headers, body, start, _connection: connection })
}

/// A body of unannounced length.
struct Chunks(VecDeque<Bytes>);

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|chunk| Ok(Frame::data(chunk))))
    }
}

/// Writes bytes as they are and reads to the end of the connection.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    raw_until(address, bytes, false).await
}

/// Like [`raw`]; `leaves` says that the client closes its side behind the bytes.
pub async fn raw_until(address: SocketAddr, bytes: &[u8], leaves: bool) -> Vec<u8> {
    in_time("a raw connection", async {
        let mut stream = TcpStream::connect(address).await?;
        // It may be closed to us before all is written.
        let _ = stream.write_all(bytes).await;
        if leaves {
            let _ = stream.shutdown().await;
        }
        let mut answer = Vec::new();
        // A reset behind an answer is a close, too.
        let _ = stream.read_to_end(&mut answer).await;
        Ok(answer)
    })
    .await
}
