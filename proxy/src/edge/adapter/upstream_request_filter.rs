//! `upstream_request_filter`: the endpoint's authority and path prefix, Clyra's credentials where it has any, and nothing that
//! is between us and the client.
//!
//! pingora has stripped hop-by-hop fields and those that `Connection` names.

use std::sync::Arc;

use http::header::HOST;
use http::uri::{Authority, Uri};
use pingora::http::RequestHeader;
use pingora::{Error, ErrorType, OrErr, Result};

use super::super::handler::{BypassFailure, Handler};
use super::Context;
use crate::exchange::ports::UpstreamTarget;
use crate::upstream::auth::Outgoing;
use crate::upstream::{Provider, headers, request};

pub(super) async fn run<H: Handler>(request: &mut RequestHeader, ctx: &mut Context<H>) -> Result<()> {
    let Some(record) = ctx.bypass.as_mut().and_then(|bypass| bypass.record()) else {
        return Ok(());
    };
    let own: Vec<_> = request.headers.keys().filter(|name| headers::is_own(name)).cloned().collect();
    for name in own {
        request.remove_header(&name);
    }
    let mut path = match &record.head.query {
        Some(query) => format!("{}?{query}", record.head.path),
        None => record.head.path.clone(),
    };
    let Some(target) = record.leave.as_ref().map(|leave| Arc::clone(&leave.endpoint.target)) else {
        return Error::e_explain(ErrorType::InternalError, "no endpoint was chosen");
    };
    if credentials(request, &record.provider, &target, &mut path).await.is_err() {
        record.failure = Some(BypassFailure::Credentials);
        return Error::e_explain(ErrorType::InternalError, "no credentials for the provider");
    }
    let path = request::full_path(&target, &path);
    let authority = target.authority();
    if request.uri.authority().is_some() {
        let mut parts = request.uri.clone().into_parts();
        parts.authority =
            Some(authority.parse::<Authority>().or_err(ErrorType::InvalidHTTPHeader, "target authority")?);
        parts.path_and_query = Some(path.parse().or_err(ErrorType::InvalidHTTPHeader, "target path")?);
        request.set_uri(Uri::from_parts(parts).or_err(ErrorType::InvalidHTTPHeader, "target URI")?);
    } else {
        request.set_raw_path(path.as_bytes())?;
    }
    request.insert_header(HOST, authority)
}

/// Puts Clyra's credentials in place of the client's.
async fn credentials(
    request: &mut RequestHeader,
    provider: &Provider,
    target: &UpstreamTarget,
    path: &mut String,
) -> Result<()> {
    let mut headers = request.headers.clone();
    let method = request.method.clone();
    // The body passes as it comes: nobody knows it beforehand.
    let mut out = Outgoing { target, method: &method, path_and_query: path, headers: &mut headers, body: None };
    if let Err(error) = provider.auth.put(&mut out).await {
        tracing::warn!("upstream {}: {error}", provider.name);
        return Error::e_explain(ErrorType::InternalError, "no credentials");
    }
    let gone: Vec<_> = request.headers.keys().filter(|name| !headers.contains_key(*name)).cloned().collect();
    for name in gone {
        request.remove_header(&name);
    }
    for (name, value) in &headers {
        if !request.headers.get_all(name).iter().any(|known| known == value) {
            request.insert_header(name.clone(), value.clone())?;
        }
    }
    Ok(())
}
