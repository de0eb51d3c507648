//! `upstream_peer`: where a bypassed request goes.

use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};
use pingora::{Error, ErrorType, Result};

use super::super::handler::{BypassFailure, Handler};
use super::super::limits::{BYPASS_CONNECT_MAX, BYPASS_POOLED, BYPASS_SILENCE_MAX, WRITE_MAX};
use super::{Adapter, Context};
use crate::upstream::peer::{Security, Waits, peer};

const WAITS: Waits = Waits { connect: BYPASS_CONNECT_MAX, pooled: BYPASS_POOLED };

pub(super) async fn run<H: Handler>(adapter: &Adapter<H>, ctx: &mut Context<H>) -> Result<Box<HttpPeer>> {
    let Some(record) = ctx.bypass.as_mut().and_then(|bypass| bypass.record()) else {
        return Error::e_explain(ErrorType::InternalError, "only a bypass has a peer");
    };
    let target = &record.target;
    let found = adapter.resolver.addresses(&target.host, target.port).await.ok();
    let found = found.and_then(|addresses| addresses.preferred().map(|address| (addresses, address)));
    let Some(((addresses, address), security)) = found.zip(Security::of(target)) else {
        record.failure = Some(BypassFailure::Resolve);
        return Error::e_explain(ErrorType::ConnectError, "the target's host name has no address");
    };
    let mut peer = peer(address, security, WAITS, 0);
    peer.options.read_timeout = Some(BYPASS_SILENCE_MAX);
    peer.options.write_timeout = Some(WRITE_MAX);
    // A WebSocket never comes this far (`tunnel`), so whatever asks for an upgrade is made an ordinary request.
    peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
    record.connecting = Some((addresses, address));
    Ok(Box::new(peer))
}
