//! Connections through an HTTP proxy: asked for with `CONNECT` (RFC 9110 section 9.3.6), for plain and TLS targets alike, so
//! that the proxy sees a name and nothing else. The proxy looks the target's name up; a pod behind one often cannot.
//!
//! pingora's own support reaches proxies on Unix sockets only; this is its hook for connecting by other means.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pingora::connectors::L4Connect;
use pingora::protocols::l4::socket::SocketAddr as PeerAddress;
use pingora::protocols::l4::stream::Stream;
use pingora::{Error, ErrorType, OrErr as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::auth::{Secret, SecretError};
use super::settings::ProxySettings;

/// The head of a proxy's answer: a status line and a few fields.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Until the proxy's answer, which it gives after it has connected in turn.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// A proxy.
pub(crate) struct HttpProxy {
    pub(super) host: String,
    pub(super) port: u16,
    login: Option<(String, Secret)>,
}

/// The way through a proxy to one target. pingora takes the proxy for the peer, so that it knows the connection again.
#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) proxy: Arc<HttpProxy>,
    /// `host:port`
    pub(super) target: String,
}

impl std::fmt::Debug for HttpProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpProxy").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

impl HttpProxy {
    pub(super) fn new(settings: ProxySettings) -> Result<Self, SecretError> {
        let ProxySettings { host, port, login } = settings;
        let login = login.map(|(user, place)| Secret::new(place).map(|secret| (user, secret))).transpose()?;
        Ok(Self { host, port, login })
    }

    fn credentials(&self) -> Option<Zeroizing<String>> {
        let (user, password) = self.login.as_ref()?;
        let pair = Zeroizing::new(format!("{user}:{}", password.text().as_str()));
        Some(Zeroizing::new(format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(pair.as_bytes()))))
    }
}

impl Tunnel {
    async fn open(&self, proxy: SocketAddr) -> Result<TcpStream> {
        let mut stream = TcpStream::connect(proxy).await.or_err(ErrorType::ConnectError, "the proxy")?;
        stream.set_nodelay(true).or_err(ErrorType::SocketError, "the proxy")?;
        let target = &self.target;
        let credentials = self.proxy.credentials();
        let credentials = credentials.as_ref().map_or("", |line| line.as_str());
        let ask = Zeroizing::new(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{credentials}\r\n"));
        stream.write_all(ask.as_bytes()).await.or_err(ErrorType::ConnectError, "the proxy")?;
        match status(&mut stream).await? {
            200..=299 => Ok(stream),
            status => Error::e_explain(ErrorType::ConnectError, format!("the proxy answered {status}")),
        }
    }
}

#[async_trait]
impl L4Connect for Tunnel {
    async fn connect(&self, proxy: &PeerAddress) -> Result<Stream> {
        let Some(proxy) = proxy.as_inet() else {
            return Error::e_explain(ErrorType::ConnectError, "the proxy has no address");
        };
        let stream = timeout(CONNECT_MAX, self.open(*proxy)).await;
        stream.or_err(ErrorType::ConnectTimedout, "the proxy")?.map(Stream::from)
    }
}

/// The status of the proxy's answer. Read byte by byte to the end of its head: what follows belongs to the target.
async fn status(stream: &mut TcpStream) -> Result<u16> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= HEAD_BYTES_MAX {
            return Error::e_explain(ErrorType::ConnectError, "the proxy's answer has no end");
        }
        head.push(stream.read_u8().await.or_err(ErrorType::ConnectError, "the proxy")?);
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let status = std::str::from_utf8(line).ok().and_then(|line| {
        let (version, rest) = line.split_once(' ')?;
        let status = rest.get(..3)?.parse().ok()?;
        version.starts_with("HTTP/1.").then_some(status)
    });
    status.ok_or_else(|| Error::explain(ErrorType::ConnectError, "the proxy's answer is no HTTP"))
}
