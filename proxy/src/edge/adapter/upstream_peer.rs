//! `upstream_peer`: where a bypassed request goes.

use std::sync::Arc;

use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};
use pingora::{Error, ErrorType, Result};
use tokio::time::Instant;

use super::super::handler::{BypassFailure, Handler};
use super::super::limits::{BYPASS_CONNECT_MAX, BYPASS_POOLED, BYPASS_SILENCE_MAX, WRITE_MAX};
use super::{Adapter, Context};
use crate::upstream::Outcome;
use crate::upstream::peer::Waits;

const WAITS: Waits = Waits { connect: BYPASS_CONNECT_MAX, pooled: BYPASS_POOLED };

pub(super) async fn run<H: Handler>(adapter: &Adapter<H>, ctx: &mut Context<H>) -> Result<Box<HttpPeer>> {
    let Some(record) = ctx.bypass.as_mut().and_then(|bypass| bypass.record()) else {
        return Error::e_explain(ErrorType::InternalError, "only a bypass has a peer");
    };
    // What was left of an earlier try must not stand in the way of this one.
    record.leave = None;
    let Some(leave) = record.provider.pick(&record.tried, Instant::now()).ok().flatten() else {
        record.failure = Some(BypassFailure::Connect);
        return Error::e_explain(ErrorType::ConnectError, "no endpoint can be called");
    };
    let endpoint = Arc::clone(&leave.endpoint);
    record.attempts = record.attempts.saturating_add(1);
    record.upstream = Some(Arc::clone(&endpoint.label));
    let (host, port) = endpoint.way.place(&endpoint.target);
    let found = adapter.resolver.addresses(host, port).await.ok();
    let found = found.and_then(|addresses| addresses.preferred().map(|address| (addresses, address)));
    let peer = found.and_then(|(addresses, address)| {
        Some((endpoint.way.peer(&endpoint.target, address, WAITS)?, addresses, address))
    });
    let Some((mut peer, addresses, address)) = peer else {
        leave.settle(Outcome::Failed);
        record.failure = Some(BypassFailure::Resolve);
        return Error::e_explain(ErrorType::ConnectError, "the target's host name has no address");
    };
    record.leave = Some(leave);
    peer.options.read_timeout = Some(BYPASS_SILENCE_MAX);
    peer.options.write_timeout = Some(WRITE_MAX);
    // A WebSocket never comes this far (`tunnel`), so whatever asks for an upgrade is made an ordinary request.
    peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
    record.connecting = Some((addresses, address));
    Ok(Box::new(peer))
}
