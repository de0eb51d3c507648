//! `upstream_request_filter`: the target's authority and path prefix, and nothing that is between us and the client.
//!
//! pingora has stripped hop-by-hop fields and those that `Connection` names.

use http::header::HOST;
use http::uri::{Authority, Uri};
use pingora::http::RequestHeader;
use pingora::{ErrorType, OrErr, Result};

use super::super::handler::Handler;
use super::Context;
use crate::upstream::{headers, request};

pub(super) fn run<H: Handler>(request: &mut RequestHeader, ctx: &mut Context<H>) -> Result<()> {
    let Some(record) = ctx.bypass.as_mut().and_then(|bypass| bypass.record()) else {
        return Ok(());
    };
    let own: Vec<_> = request.headers.keys().filter(|name| headers::is_own(name)).cloned().collect();
    for name in own {
        request.remove_header(&name);
    }
    let path = match &record.head.query {
        Some(query) => format!("{}?{query}", record.head.path),
        None => record.head.path.clone(),
    };
    let path = request::full_path(&record.target, &path);
    let authority = record.target.authority();
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
