//! Calls that are not traffic: time-stamp authorities, calendars, object stores, witnesses.
//!
//! One connection a request, HTTP/1.1, with TLS wherever the address says `https`. The whole call has one time limit, the
//! answer a limit of bytes, and no redirect is followed: where evidence goes to is what the settings name, nothing else.
//! Providers are never called from here; that is `upstream/`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderValue, USER_AGENT};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_util::rt::TokioIo;
use pingora::tls::{ClientConfig, RootCertStore, ServerName, TlsConnector};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::upstream::resolve::Resolver;
use crate::upstream::{TrustError, trust};

#[cfg(test)]
mod tests;

/// TCP and TLS handshakes together; the peers are far away at times, and nobody waits.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// Makes calls. Clones share the addresses that were looked up.
#[derive(Clone)]
pub(crate) struct Fetch {
    tls: TlsConnector,
    resolver: Arc<Resolver>,
}

impl std::fmt::Debug for Fetch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Fetch").finish_non_exhaustive()
    }
}

/// What bounds one call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// From looking up the name to the last byte of the answer.
    pub(crate) time: Duration,
    /// Bytes of the answer's body.
    pub(crate) answer: usize,
}

/// Why there is no answer. Nothing of what was sent or received is in it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("{0} is no http or https address with a host")]
    Address(Box<str>),
    #[error("{host}: {detail}")]
    Connect { host: Box<str>, detail: String },
    #[error("{host}: no whole answer: {detail}")]
    Exchange { host: Box<str>, detail: String },
    #[error("{host}: the answer is longer than {bytes_max} bytes")]
    TooLong { host: Box<str>, bytes_max: usize },
    #[error("{host}: no answer within {} s", .after.as_secs())]
    Timeout { host: Box<str>, after: Duration },
}

impl Fetch {
    /// Trusts the authorities of this PEM file, or the platform's own.
    pub(crate) fn new(ca_file: Option<&Path>) -> Result<Self, TrustError> {
        // Looks at the store first, with errors that say what to do.
        trust(ca_file)?;
        let mut roots = RootCertStore::empty();
        let loaded = match ca_file {
            Some(path) => pingora::tls::load_ca_file_into_store(path, &mut roots),
            None => pingora::tls::load_platform_certs_incl_env_into_store(&mut roots),
        };
        loaded.map_err(|error| TrustError::Platform { detail: error.to_string() })?;
        pingora::tls::install_default_crypto_provider();
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), resolver: Arc::default() })
    }

    /// Sends a request to the address in its URI; gives the answer whole, whatever its status.
    pub(crate) async fn call(
        &self,
        request: Request<Full<Bytes>>,
        bounds: Bounds,
    ) -> Result<Response<Bytes>, FetchError> {
        let place = Place::of(request.uri())?;
        let host: Box<str> = place.authority.host().into();
        let call = self.exchange(place, request, bounds.answer);
        match tokio::time::timeout(bounds.time, call).await {
            Ok(result) => result,
            Err(_) => Err(FetchError::Timeout { host, after: bounds.time }),
        }
    }

    async fn exchange(
        &self,
        place: Place,
        mut request: Request<Full<Bytes>>,
        answer_max: usize,
    ) -> Result<Response<Bytes>, FetchError> {
        let host = place.authority.host();
        let connect = |detail: String| FetchError::Connect { host: host.into(), detail };
        let stream = tokio::time::timeout(CONNECT_MAX, self.connect(&place))
            .await
            .map_err(|_| connect(format!("no connection within {} s", CONNECT_MAX.as_secs())))?
            .map_err(connect)?;
        *request.uri_mut() = Uri::from(place.path);
        let headers = request.headers_mut();
        if !headers.contains_key(HOST) {
            let name = HeaderValue::from_str(place.authority.as_str());
            headers.insert(HOST, name.map_err(|_| FetchError::Address(place.authority.as_str().into()))?);
        }
        let ours = HeaderValue::from_static(concat!("clyra/", env!("CARGO_PKG_VERSION")));
        headers.entry(USER_AGENT).or_insert(ours);

        let exchange = |error: hyper::Error| FetchError::Exchange { host: host.into(), detail: error.to_string() };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(exchange)?;
        let answered = async {
            let (head, body) = sender.send_request(request).await.map_err(exchange)?.into_parts();
            let body = Limited::new(body, answer_max).collect().await.map_err(|error| {
                match error.is::<LengthLimitError>() {
                    true => FetchError::TooLong { host: host.into(), bytes_max: answer_max },
                    false => FetchError::Exchange { host: host.into(), detail: error.to_string() },
                }
            })?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        tokio::pin!(answered, connection);
        // The connection lives as long as this call does. When it ends first, the answer says how.
        tokio::select! {
            answer = &mut answered => answer,
            _ = &mut connection => answered.await,
        }
    }

    async fn connect(&self, place: &Place) -> Result<Box<dyn Stream>, String> {
        let host = place.authority.host().trim_start_matches('[').trim_end_matches(']');
        let addresses = self.resolver.addresses(host, place.port).await?;
        let address = addresses.preferred().ok_or("it has no address")?;
        let stream = TcpStream::connect(address).await.map_err(|error| {
            addresses.leave(address);
            error.to_string()
        })?;
        if !place.tls {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        Ok(Box::new(self.tls.connect(name, stream).await.map_err(|error| error.to_string())?))
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Where a request goes.
struct Place {
    tls: bool,
    authority: Authority,
    port: u16,
    path: PathAndQuery,
}

impl Place {
    fn of(uri: &Uri) -> Result<Self, FetchError> {
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(FetchError::Address(uri.to_string().into())),
        };
        // A name and password in an address would end in logs.
        let authority = uri.authority().filter(|authority| !authority.host().is_empty());
        let authority = authority.filter(|authority| !authority.as_str().contains('@')).cloned();
        let Some(authority) = authority else { return Err(FetchError::Address(uri.to_string().into())) };
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        Ok(Self { tls, authority, port, path })
    }
}
