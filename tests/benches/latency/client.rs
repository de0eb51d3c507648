//! One keep-alive connection, and what an exchange on it took.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// Longest wait for a server of this process to accept its first connection.
const START_MAX: Duration = Duration::from_secs(10);
/// Longest wait for an answer: far above anything that is measured, so that a hang ends.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// What a client waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// From the request to the first byte of the answer's body.
    pub(crate) first: Duration,
    /// From the request to the end of the answer.
    pub(crate) total: Duration,
}

#[derive(Debug)]
pub(crate) struct Client {
    host: String,
    sender: SendRequest<Full<Bytes>>,
}

impl Client {
    /// Connects, as soon as somebody listens.
    pub(crate) async fn connect(address: SocketAddr) -> Client {
        let connected = timeout(START_MAX, async {
            loop {
                match TcpStream::connect(address).await {
                    Ok(stream) => return stream,
                    Err(_) => sleep(Duration::from_millis(5)).await,
                }
            }
        });
        let stream = connected.await.unwrap_or_else(|_| panic!("nobody listens on {address}"));
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Client { host: address.to_string(), sender }
    }

    /// One exchange; `events` is how many the answer must have, 0 for an answer that does not stream.
    pub(crate) async fn exchange(&mut self, body: &Bytes, events: usize) -> Sample {
        self.sender.ready().await.expect("the connection is kept alive");
        let request = Request::post("/v1/chat/completions")
            .header("host", &self.host)
            .header("content-type", "application/json")
            .header("authorization", "Bearer sk-none")
            .body(Full::new(body.clone()))
            .unwrap();
        timeout(ANSWER_MAX, self.send(request, events)).await.expect("an answer in time")
    }

    async fn send(&mut self, request: Request<Full<Bytes>>, events: usize) -> Sample {
        let start = Instant::now();
        let response = self.sender.send_request(request).await.unwrap();
        let (head, mut body) = response.into_parts();
        let (mut first, mut text) = (None, Vec::new());
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.unwrap().into_data() {
                first.get_or_insert_with(|| start.elapsed());
                text.extend_from_slice(&data);
            }
        }
        let total = start.elapsed();
        // Only what went well is worth a figure.
        let text = String::from_utf8(text).unwrap();
        assert_eq!(head.status, StatusCode::OK, "{text}");
        let decision = head.headers.get("x-clyra-decision").map_or("allow", |v| v.to_str().unwrap());
        assert_eq!(decision, "allow", "{text}");
        assert_eq!(text.matches("data: ").count(), events, "{text}");
        assert!(text.trim_end().ends_with(if events > 0 { "data: [DONE]" } else { "}" }), "{text}");
        Sample { first: first.unwrap_or(total), total }
    }
}
