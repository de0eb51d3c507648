//! An HTTP client that records what arrives, piece by piece, and when.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

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
}

/// Longest wait for an answer in a test: long for a machine under load, short for a hang.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// One POST on a connection of its own.
pub async fn post(address: SocketAddr, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    tokio::time::timeout(WAIT_MAX, try_post(address, path, headers, body))
        .await
        .unwrap_or_else(|_| panic!("no answer on {path} within {WAIT_MAX:?}"))
        .unwrap_or_else(|error| panic!("request to {path} failed: {error}"))
}

/// Like [`post`], for a server that may go away at any moment.
pub async fn try_post(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let mut request =
        Request::post(path).header("host", address.to_string()).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let start = Instant::now();
    let response = sender.send_request(request.body(Full::new(Bytes::from(body)))?).await?;
    let (head, mut body) = response.into_parts();
    let (mut pieces, mut complete) = (Vec::new(), true);
    while let Some(frame) = body.frame().await {
        match frame.map(|f| f.into_data()) {
            Ok(Ok(data)) => pieces.push((start.elapsed(), data)),
            Ok(Err(_)) => {}
            Err(_) => complete = false,
        }
    }
    driver.abort();
    Ok(Answer { status: head.status, headers: head.headers, pieces, complete })
}
