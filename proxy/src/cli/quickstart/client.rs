//! A very small HTTP client for the demonstration, so that it shows what any client sees.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// The body's pieces as they arrived.
    pub(super) pieces: Vec<Bytes>,
}

impl Answer {
    pub(super) fn text(&self) -> String {
        let body: Vec<u8> = self.pieces.iter().flat_map(|p| p.iter().copied()).collect();
        String::from_utf8_lossy(&body).into_owned()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("-")
    }
}

/// One POST on a connection of its own.
pub(super) async fn post(address: SocketAddr, path: &str, body: String) -> Result<Answer, String> {
    let fail = |error: &dyn std::fmt::Display| format!("the request to {address}{path} failed: {error}");
    let stream = TcpStream::connect(address).await.map_err(|e| fail(&e))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| fail(&e))?;
    let driver = tokio::spawn(connection);
    let request = Request::post(path)
        .header("host", address.to_string())
        .header("content-type", "application/json")
        .header("x-clyra-run-id", "quickstart")
        .body(Full::new(Bytes::from(body)))
        .map_err(|e| fail(&e))?;
    let response = sender.send_request(request).await.map_err(|e| fail(&e))?;
    let (head, mut body) = response.into_parts();
    let mut pieces = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(|e| fail(&e))?.into_data() {
            pieces.push(data);
        }
    }
    driver.abort();
    Ok(Answer { status: head.status, headers: head.headers, pieces })
}
