//! Calls providers: one request in, one reply out, as a `tower` service over pingora's pooled connections.
//!
//! | pingora guarantees | this module guarantees |
//! | --- | --- |
//! | pools, TLS, HTTP/2 by ALPN | the server name is never empty, so certificates are always verified (`peer`) |
//! | HTTP/1 and HTTP/2 framing | `Host`, framing and `accept-encoding` are ours, hop-by-hop fields end here (`request`) |
//! | blocking name resolution | resolution off the worker threads, cached, served stale while DNS fails (`resolve`) |
//! | a dead pooled connection is an error | it is replaced once, and nothing is sent twice that may have been worked on (`retry`) |
//! | one peer | several endpoints for one name: shares, failover, circuits, health (`provider`, `failover`, `breaker`, `health`) |
//! | proxies on Unix sockets | proxies by TCP (`proxy`) |
//! | | credentials of Clyra's own in place of the client's (`auth`) |
//! | a time limit per read | connect, head and idle limits, and a bound on the calls in flight (`call`, `body`, `limit`) |
//! | errors that quote received bytes | errors that do not (`failure`) |

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::Connector;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt as _};

use crate::exchange::ports::{UpstreamError, UpstreamReply, UpstreamRequest};
use call::Caller;
use failover::Single;
use limit::InFlightLayer;
use peer::Waits;
use retry::RetryPolicy;

pub(crate) mod auth;
mod balance;
mod body;
mod breaker;
mod call;
pub(crate) mod failover;
pub(crate) mod failure;
pub(crate) mod headers;
mod health;
mod limit;
mod live;
pub(crate) mod peer;
mod provider;
mod proxy;
pub(crate) mod request;
pub(crate) mod resolve;
mod retry;
mod settings;
mod target;
#[cfg(test)]
pub(crate) mod tests;
mod tls;

pub(crate) use auth::strip_query;
pub use auth::{AuthError, SecretError, SecretPlace};
pub(crate) use breaker::Outcome;
pub use breaker::{CircuitRules, CircuitState};
pub(crate) use provider::{BUDGET_PERCENT, ENDPOINTS_MAX, Leave};
pub use provider::{Endpoint, EndpointState, Provider, ProviderError};
pub(crate) use retry::RETRIES_MAX;
pub use retry::RetryReason;
pub use settings::{
    AuthSettings, AwsCredentialPlace, AwsSettings, EndpointSettings, GoogleSettings, HealthRules, ProxySettings,
    RetryRules, TlsSettings, UpstreamSettings,
};
pub use target::TargetError;
pub use tls::TlsError;

/// How providers are called. `Default` suits the public providers.
#[derive(Debug, Clone)]
pub struct UpstreamOptions {
    /// PEM file of the certificate authorities to trust; the platform's own when absent.
    pub ca_file: Option<PathBuf>,
    /// Calls in flight over all upstreams, streams included; more are refused with [`UpstreamError::Overloaded`].
    pub calls_max: usize,
    /// TCP and TLS handshakes together.
    pub connect_timeout: Duration,
    /// From the start of an attempt to the head of its answer. An answer that is not streamed has its head at its end,
    /// so this is as long as a model may think.
    pub head_timeout: Duration,
    /// The longest silence within an answer.
    pub idle_timeout: Duration,
    /// How long an unused connection is kept; less when the server says so.
    pub pooled_idle: Duration,
    /// Unused connections that are kept.
    pub pooled_max: usize,
}

impl Default for UpstreamOptions {
    fn default() -> Self {
        Self {
            ca_file: None,
            calls_max: 1024,
            connect_timeout: Duration::from_secs(5),
            head_timeout: Duration::from_secs(600),
            idle_timeout: Duration::from_secs(300),
            pooled_idle: Duration::from_secs(60),
            pooled_max: 256,
        }
    }
}

/// Why calls cannot be made at all.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("the CA file {path}: {detail}")]
    CaFile { path: String, detail: String },
    #[error("the platform's trusted certificates cannot be loaded: {detail}; name a CA file instead")]
    Platform { detail: String },
}

/// Calls providers. Clones share connections, limits and the address cache.
#[derive(Debug, Clone)]
pub struct UpstreamService {
    inner: BoxCloneSyncService<UpstreamRequest, UpstreamReply, BoxError>,
    head_timeout: Duration,
    connector: Shared,
    resolver: Arc<resolve::Resolver>,
    waits: Waits,
}

/// The connector, which has no `Debug`.
#[derive(Clone)]
struct Shared(Arc<Connector>);

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector")
    }
}

impl UpstreamService {
    /// Asks endpoints whether they are well, for those providers that want it; ends when all are dropped.
    pub fn watch(&self, providers: Vec<Arc<Provider>>) -> impl Future<Output = ()> + Send + use<> {
        health::watch(providers, Arc::clone(&self.connector.0), self.waits)
    }
}

/// Builds the service; must be called where the trust store is readable, and used inside a tokio runtime.
pub fn upstream_service(options: UpstreamOptions) -> Result<UpstreamService, TrustError> {
    let mut connector = ConnectorOptions::new(options.pooled_max);
    connector.ca_file = trust(options.ca_file.as_deref())?;
    let waits = Waits { connect: options.connect_timeout, pooled: options.pooled_idle };
    let connector = Arc::new(Connector::new(Some(connector)));
    let head_timeout = options.head_timeout;
    let caller = Caller::new(Arc::clone(&connector), waits, options.idle_timeout);
    let single = ServiceBuilder::new().retry(RetryPolicy::default()).timeout(head_timeout).service(caller);
    let single = Single::new(ServiceBuilder::new().service_fn(move |attempt: call::Attempt| {
        let (name, single) = (Arc::clone(&attempt.endpoint.label), single.clone());
        async move { single.oneshot(attempt).await.map_err(|error| outcome(error, name, head_timeout)) }
    }));
    let stack = ServiceBuilder::new().load_shed().layer(InFlightLayer::new(options.calls_max)).service_fn(
        move |request: UpstreamRequest| {
            let call = failover::call(single.clone(), request, head_timeout);
            async move { call.await.map_err(BoxError::from) }
        },
    );
    let inner = BoxCloneSyncService::new(stack);
    Ok(UpstreamService { inner, head_timeout, connector: Shared(connector), resolver: Arc::default(), waits })
}

impl Service<UpstreamRequest> for UpstreamService {
    type Response = UpstreamReply;
    type Error = UpstreamError;
    type Future = Pin<Box<dyn Future<Output = Result<UpstreamReply, UpstreamError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), UpstreamError>> {
        // The stack sheds load instead of making callers wait, so it is always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: UpstreamRequest) -> Self::Future {
        let name = request.provider.name.clone();
        let stack = self.inner.clone();
        let after = self.head_timeout;
        Box::pin(async move { stack.oneshot(request).await.map_err(|error| outcome(error, name, after)) })
    }
}

/// The one place where the stack's errors become ours.
fn outcome(error: BoxError, name: Arc<str>, after: Duration) -> UpstreamError {
    let error = match error.downcast::<UpstreamError>() {
        Ok(known) => return *known,
        Err(other) => other,
    };
    if error.is::<tower::timeout::error::Elapsed>() {
        UpstreamError::Timeout { name, after }
    } else if error.is::<tower::load_shed::error::Overloaded>() {
        UpstreamError::Overloaded { name }
    } else {
        UpstreamError::NoAnswer { name, reused: false, detail: error.to_string() }
    }
}

/// Looks at the trust store before pingora does, which panics on one that it cannot load.
pub(crate) fn trust(ca_file: Option<&Path>) -> Result<Option<String>, TrustError> {
    let mut store = pingora::tls::RootCertStore::empty();
    let Some(path) = ca_file else {
        pingora::tls::load_platform_certs_incl_env_into_store(&mut store)
            .map_err(|error| TrustError::Platform { detail: error.to_string() })?;
        return Ok(None);
    };
    let problem = |detail: String| TrustError::CaFile { path: path.display().to_string(), detail };
    let text = path.to_str().ok_or_else(|| problem("the path is not UTF-8".to_owned()))?;
    pingora::tls::load_ca_file_into_store(path, &mut store).map_err(|error| problem(error.to_string()))?;
    if store.is_empty() {
        return Err(problem("it contains no certificate".to_owned()));
    }
    Ok(Some(text.to_owned()))
}
