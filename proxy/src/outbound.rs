//! Calls that Clyra makes on its own account: to witnesses and to what keeps the lock record. Small, bounded in bytes and
//! time, over HTTP/1.1 and pingora's connector, so that DNS and TLS are those of the upstream calls.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::protocols::http::client::HttpSession;

use crate::exchange::ports::UpstreamTarget;
use crate::upstream::peer::{Security, Waits, peer};
use crate::upstream::request::full_path;
use crate::upstream::resolve::Resolver;
use crate::upstream::{TrustError, failure, trust};

/// Connections that are kept: a handful of witnesses, one API server.
const POOLED_MAX: usize = 16;
/// Longest answer: a Kubernetes object with all that others put into it.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Interim (1xx) heads that are skipped.
const INTERIM_HEADS_MAX: u32 = 4;

/// Makes calls. Clones share connections.
#[derive(Clone)]
pub struct Outbound {
    connector: Arc<Connector>,
    resolver: Arc<Resolver>,
    /// For a whole call, from the look-up of the name to the last byte.
    within: Duration,
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbound").field("within", &self.within).finish_non_exhaustive()
    }
}

/// A call.
#[derive(Debug)]
pub struct Call<'a> {
    pub target: &'a UpstreamTarget,
    pub method: Method,
    /// Path below the target's prefix, with its slash.
    pub path: &'a str,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// Why nothing came back. Never with content.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    #[error("{host} cannot be looked up: {detail}")]
    Resolve { host: String, detail: String },
    #[error("{host}: {detail}")]
    Failed { host: String, detail: String },
    #[error("{host} did not answer within {within:?}")]
    Timeout { host: String, within: Duration },
    #[error("{host}: an answer of more than {ANSWER_BYTES_MAX} bytes")]
    TooLong { host: String },
}

impl Outbound {
    pub fn new(ca_file: Option<&Path>, within: Duration) -> Result<Outbound, TrustError> {
        let mut options = ConnectorOptions::new(POOLED_MAX);
        options.ca_file = trust(ca_file)?;
        let connector = Arc::new(Connector::new(Some(options)));
        Ok(Outbound { connector, resolver: Arc::default(), within })
    }

    pub async fn call(&self, call: Call<'_>) -> Result<Reply, OutboundError> {
        let host = call.target.host.clone();
        match tokio::time::timeout(self.within, self.exchange(call)).await {
            Ok(result) => result,
            Err(_) => Err(OutboundError::Timeout { host, within: self.within }),
        }
    }

    async fn exchange(&self, call: Call<'_>) -> Result<Reply, OutboundError> {
        let target = call.target;
        let host = || target.host.clone();
        let addresses = self.resolver.addresses(&target.host, target.port).await;
        let addresses = addresses.map_err(|detail| OutboundError::Resolve { host: host(), detail })?;
        let failed = |detail: String| OutboundError::Failed { host: host(), detail };
        let broken = |error: Box<pingora::Error>| failed(failure::detail(&error));
        let nowhere = || failed("no usable address".to_owned());
        let address = addresses.preferred().ok_or_else(nowhere)?;
        let security = Security::of(target).ok_or_else(nowhere)?;
        let waits = Waits { connect: self.within, pooled: self.within };
        let mut peer = peer(address, security, waits, 0);
        peer.options.set_http_version(1, 1);
        let head = head(&call).map_err(broken)?;
        let (mut session, _) = self.connector.get_http_session(&peer).await.map_err(|error| {
            addresses.leave(address);
            broken(error)
        })?;
        session.write_request_header(head).await.map_err(broken)?;
        if !call.body.is_empty() {
            session.write_request_body(call.body, true).await.map_err(broken)?;
        }
        session.finish_request_body().await.map_err(broken)?;
        let (status, headers) = final_head(&mut session).await.map_err(broken)?;
        let mut body = Vec::new();
        while let Some(chunk) = session.read_response_body().await.map_err(broken)? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_BYTES_MAX {
                return Err(OutboundError::TooLong { host: host() });
            }
        }
        self.connector.release_http_session(session, &peer, Some(self.within)).await;
        Ok(Reply { status, headers, body })
    }
}

fn head(call: &Call<'_>) -> pingora::Result<Box<RequestHeader>> {
    let path = full_path(call.target, call.path);
    let mut head = RequestHeader::build(call.method.clone(), path.as_bytes(), Some(call.headers.len() + 2))?;
    head.insert_header(header::HOST, call.target.authority())?;
    if call.method != Method::GET {
        head.insert_header(header::CONTENT_LENGTH, HeaderValue::from(call.body.len()))?;
    }
    for (name, value) in &call.headers {
        head.insert_header(name.clone(), value.clone())?;
    }
    Ok(Box::new(head))
}

async fn final_head(session: &mut HttpSession) -> pingora::Result<(u16, HeaderMap)> {
    for _ in 0..INTERIM_HEADS_MAX {
        session.read_response_header().await?;
        if let Some(head) = session.response_header()
            && !head.status.is_informational()
        {
            return Ok((head.status.as_u16(), head.headers.clone()));
        }
    }
    pingora::Error::e_explain(pingora::ErrorType::InvalidHTTPHeader, "interim responses without end")
}
