//! WebSockets in the hands of a test: a client of a sidecar, and a provider behind it.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, Uri};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async, client_async};

/// Longest wait for a message: long for a machine under load, short for a hang.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

/// One end of a session in the test's hands.
#[derive(Debug)]
pub struct End(pub WebSocketStream<TcpStream>);

impl End {
    pub async fn say(&mut self, event: &Value) {
        self.send(Message::text(event.to_string())).await;
    }

    /// The same to one that may be gone.
    pub async fn try_say(&mut self, event: &Value) -> Result<(), Error> {
        timeout(WAIT_MAX, self.0.send(Message::text(event.to_string()))).await.expect("no room to send")
    }

    pub async fn send(&mut self, message: Message) {
        timeout(WAIT_MAX, self.0.send(message)).await.expect("no room to send").unwrap();
    }

    /// The next message that is no ping; `None` when the connection is gone.
    pub async fn next(&mut self) -> Option<Message> {
        loop {
            let message = timeout(WAIT_MAX, self.0.next()).await.expect("no message came")?;
            match message {
                Ok(Message::Ping(_) | Message::Pong(_)) => continue,
                Ok(message) => return Some(message),
                Err(_) => return None,
            }
        }
    }

    pub async fn text(&mut self) -> String {
        match self.next().await {
            Some(Message::Text(text)) => text.to_string(),
            other => panic!("no text but {other:?}"),
        }
    }

    pub async fn event(&mut self) -> Value {
        serde_json::from_str(&self.text().await).unwrap()
    }

    /// Code and reason of the close that comes now, after which the connection ends.
    pub async fn closed(&mut self) -> Option<(u16, String)> {
        let Some(Message::Close(close)) = self.next().await else { panic!("no close") };
        while self.next().await.is_some() {}
        close.map(|close| (close.code.into(), close.reason.to_string()))
    }

    pub async fn close(&mut self, code: u16, reason: &str) {
        let close = CloseFrame { code: code.into(), reason: reason.into() };
        self.send(Message::Close(Some(close))).await;
    }

    /// Everything up to the end: texts, and the close.
    pub async fn rest(&mut self) -> (Vec<String>, Option<u16>) {
        let (mut texts, mut code) = (Vec::new(), None);
        while let Some(message) = self.next().await {
            match message {
                Message::Text(text) => texts.push(text.to_string()),
                Message::Close(close) => code = close.map(|close| close.code.into()),
                other => panic!("{other:?}"),
            }
        }
        (texts, code)
    }
}

/// A handshake as the provider saw it.
#[derive(Debug)]
pub struct Handshake {
    pub uri: Uri,
    pub headers: HeaderMap,
}

/// A provider that takes every handshake and leaves the rest to the test.
#[derive(Debug)]
pub struct Provider {
    pub url: String,
    sessions: Mutex<mpsc::UnboundedReceiver<(Handshake, End)>>,
    accepting: JoinHandle<()>,
}

impl Provider {
    pub async fn start() -> Provider {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (tell, sessions) = mpsc::unbounded_channel();
        let accepting = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let tell = tell.clone();
                tokio::spawn(async move {
                    let mut seen = None;
                    #[expect(clippy::result_large_err, reason = "the type is tungstenite's")]
                    let look = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
                        seen = Some(Handshake { uri: request.uri().clone(), headers: request.headers().clone() });
                        if request.headers().get("sec-websocket-protocol").is_some() {
                            response.headers_mut().insert("sec-websocket-protocol", "realtime".parse().unwrap());
                        }
                        response.headers_mut().insert("openai-processing-ms", "7".parse().unwrap());
                        response.headers_mut().insert("x-clyra-decision", "forged".parse().unwrap());
                        Ok(response)
                    };
                    if let Ok(socket) = accept_hdr_async(tcp, look).await {
                        let _ = tell.send((seen.unwrap(), End(socket)));
                    }
                });
            }
        });
        Provider { url, sessions: Mutex::new(sessions), accepting }
    }

    /// The next session, whenever it comes.
    pub async fn next_session(&self) -> Option<(Handshake, End)> {
        self.sessions.lock().await.recv().await
    }

    pub async fn session(&self) -> (Handshake, End) {
        timeout(WAIT_MAX, self.sessions.lock().await.recv()).await.expect("no handshake came").unwrap()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Opens a session of a client with the sidecar at this address; gives the headers of the answer as well.
pub async fn open(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Result<(End, HeaderMap), Error> {
    let mut request = http::Request::get(format!("ws://{address}{path}"))
        .header("host", address.to_string())
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let tcp = TcpStream::connect(address).await.unwrap();
    let (socket, response) = client_async(request.body(()).unwrap(), tcp).await?;
    Ok((End(socket), response.headers().clone()))
}
