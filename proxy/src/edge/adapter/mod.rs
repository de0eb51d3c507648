//! pingora's `ProxyHttp`, one hook per file. Nothing is decided here: hooks translate between pingora and
//! [`Handler`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::connectors::TransportConnector;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, Result};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::handler::Handler;
use super::in_flight::{Entered, InFlight};
use crate::upstream::resolve::Resolver;
use bypass::Bypass;

mod bypass;
mod fail_to_connect;
mod fail_to_proxy;
mod logging;
mod request_body_filter;
mod request_filter;
mod response_body_filter;
mod response_filter;
mod tunnel;
mod upstream_peer;
mod upstream_request_filter;

/// Everything that the hooks of one edge share.
pub(super) struct Adapter<H> {
    pub(super) handler: Arc<H>,
    pub(super) resolver: Resolver,
    /// Connects WebSockets.
    pub(super) transport: TransportConnector,
    pub(super) in_flight: InFlight,
    /// Cancelled when exchanges in flight must end now.
    pub(super) cut: CancellationToken,
    /// True while connections should not be kept for another request.
    pub(super) closing: watch::Receiver<bool>,
}

/// What the hooks of one request share. Dropping it unfinished reports a bypass as cut off.
pub(super) struct Context<H: Handler> {
    bypass: Option<Bypass<H>>,
    entered: Option<Entered>,
}

#[async_trait]
impl<H: Handler> ProxyHttp for Adapter<H> {
    type CTX = Context<H>;

    fn new_ctx(&self) -> Context<H> {
        Context { bypass: None, entered: None }
    }

    /// None: what is inspected must not be compressed behind our back.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context<H>) -> Result<bool> {
        request_filter::run(self, session, ctx).await
    }

    async fn upstream_peer(&self, _: &mut Session, ctx: &mut Context<H>) -> Result<Box<HttpPeer>> {
        upstream_peer::run(self, ctx).await
    }

    fn fail_to_connect(&self, _: &mut Session, _: &HttpPeer, ctx: &mut Context<H>, error: Box<Error>) -> Box<Error> {
        fail_to_connect::run(ctx, error)
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Context<H>,
    ) -> Result<()> {
        upstream_request_filter::run(request, ctx).await
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        ctx: &mut Context<H>,
    ) -> Result<()> {
        request_body_filter::run(body.as_ref(), ctx);
        Ok(())
    }

    async fn response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context<H>,
    ) -> Result<()> {
        response_filter::run(response, ctx)
    }

    fn response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        ctx: &mut Context<H>,
    ) -> Result<Option<Duration>> {
        response_body_filter::run(body.as_ref(), ctx);
        Ok(None)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Context<H>) -> FailToProxy {
        fail_to_proxy::run(self, session, error, ctx).await
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Context<H>) {
        logging::run(session, error, ctx).await;
    }

    /// pingora's log lines quote targets and received bytes; failures are reported through [`Handler`] instead.
    fn suppress_error_log(&self, _: &Session, _: &Context<H>, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(&self, _: &Session, _: &Context<H>, _: &Error, _: ProxyWarnLogContext) -> bool {
        true
    }
}
