//! A WebSocket through a bypass: the handshake is forwarded, then bytes are, both ways, until either side closes.
//!
//! pingora can do this too, but its two halves race: when the target answers 101 before the (empty) request body was
//! passed along inside pingora, it takes the end of that body for the end of the WebSocket. On a loopback that is
//! every other time.

use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, HeaderValue, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v1::client::HttpSession;
use pingora::proxy::Session;
use pingora::{Error, ErrorType, OrErr, Result};
use tokio::time::timeout;

use super::super::handler::Handler;
use super::super::limits::{BYPASS_SILENCE_MAX, WRITE_MAX};
use super::{Adapter, Context, fail_to_connect, request_body_filter, response_body_filter};
use super::{response_filter, upstream_peer, upstream_request_filter};
use crate::upstream::headers;

/// Interim answers before the one to the handshake.
const INTERIM_HEADS_MAX: u32 = 16;

/// Runs the WebSocket to its end. An error before an answer was begun is answered by `fail_to_proxy`.
pub(super) async fn run<H: Handler>(adapter: &Adapter<H>, session: &mut Session, ctx: &mut Context<H>) -> Result<()> {
    let mut target = connect(adapter, ctx).await?;
    let mut handshake = handshake(session.req_header())?;
    upstream_request_filter::run(&mut handshake, ctx).await?;
    target.write_timeout = Some(WRITE_MAX);
    target.write_request_header(Box::new(handshake)).await.map_err(Error::into_up)?;
    let answered = timeout(BYPASS_SILENCE_MAX, answer(&mut target)).await;
    let mut head = answered.or_err(ErrorType::ReadTimedout, "no answer to the handshake")?.map_err(Error::into_up)?;
    let switched = head.status == StatusCode::SWITCHING_PROTOCOLS;
    if !switched {
        frame(&mut head)?;
    }
    response_filter::run(&mut head, ctx)?;
    let client = session.as_downstream_mut();
    // Nothing can follow a WebSocket, or an answer whose request may still have bytes on the way.
    client.set_keepalive(None);
    client.set_read_timeout(None);
    client.write_response_header(Box::new(head)).await.map_err(Error::into_down)?;
    let passed = async {
        if switched {
            pass_both_ways(client, &mut target, ctx).await
        } else {
            pass_back(client, &mut target, ctx).await
        }
    };
    let passed = tokio::select! {
        passed = passed => passed,
        () = adapter.cut.cancelled() => Error::e_explain(ErrorType::ConnectionClosed, "Clyra is stopping"),
    };
    target.shutdown().await;
    passed
}

/// A connection of its own to the first address that takes one.
async fn connect<H: Handler>(adapter: &Adapter<H>, ctx: &mut Context<H>) -> Result<HttpSession> {
    loop {
        let mut peer = upstream_peer::run(adapter, ctx).await.map_err(Error::into_up)?;
        peer.options.set_http_version(1, 1);
        match adapter.transport.new_stream(&*peer).await {
            Ok(stream) => return Ok(HttpSession::new(stream)),
            Err(error) => {
                let error = fail_to_connect::run(ctx, error);
                if !error.retry() {
                    return Err(error.into_up());
                }
            }
        }
    }
}

/// The client's handshake without what is between it and us, except the upgrade itself.
fn handshake(request: &RequestHeader) -> Result<RequestHeader> {
    let mut handshake = request.clone();
    let nominated = headers::nominated(&request.headers);
    let ours: Vec<HeaderName> = request
        .headers
        .keys()
        .filter(|name| headers::is_framing(name) || (nominated.contains(name) && *name != UPGRADE))
        .cloned()
        .collect();
    for name in ours {
        handshake.remove_header(&name);
    }
    handshake.insert_header(CONNECTION, HeaderValue::from_static("Upgrade"))?;
    handshake.insert_header(UPGRADE, HeaderValue::from_static("websocket"))?;
    Ok(handshake)
}

async fn answer(target: &mut HttpSession) -> Result<ResponseHeader> {
    for _ in 0..INTERIM_HEADS_MAX {
        target.read_response().await?;
        if let Some(head) = target.resp_header()
            && (!head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS)
        {
            return Ok(head.clone());
        }
    }
    Error::e_explain(ErrorType::InvalidHTTPHeader, "interim responses without end")
}

/// Makes the head of a refusal ours: hop-by-hop fields end here, and a body without a length is chunked.
fn frame(head: &mut ResponseHeader) -> Result<()> {
    let nominated = headers::nominated(&head.headers);
    let theirs: Vec<HeaderName> =
        head.headers.keys().filter(|name| headers::is_hop_by_hop(name) || nominated.contains(name)).cloned().collect();
    for name in theirs {
        head.remove_header(&name);
    }
    if !head.headers.contains_key(CONTENT_LENGTH) {
        head.insert_header(TRANSFER_ENCODING, HeaderValue::from_static("chunked"))?;
    }
    Ok(())
}

/// The answer of a target that did not switch protocols.
async fn pass_back<H: Handler>(
    client: &mut ServerSession,
    target: &mut HttpSession,
    ctx: &mut Context<H>,
) -> Result<()> {
    loop {
        let bytes = timeout(BYPASS_SILENCE_MAX, target.read_body_bytes()).await;
        let bytes = bytes.or_err(ErrorType::ReadTimedout, "the target fell silent")?.map_err(Error::into_up)?;
        response_body_filter::run(bytes.as_ref(), ctx);
        let end = bytes.is_none();
        client.write_response_body(bytes.unwrap_or_default(), end).await.map_err(Error::into_down)?;
        if end {
            return Ok(());
        }
    }
}

async fn pass_both_ways<H: Handler>(
    client: &mut ServerSession,
    target: &mut HttpSession,
    ctx: &mut Context<H>,
) -> Result<()> {
    target.maybe_upgrade_body_writer();
    loop {
        let pass = async {
            tokio::select! {
                sent = client.read_request_body() => Passed::FromClient(sent),
                sent = target.read_body_bytes() => Passed::FromTarget(sent),
            }
        };
        match timeout(BYPASS_SILENCE_MAX, pass).await.or_err(ErrorType::ReadTimedout, "both sides fell silent")? {
            Passed::FromClient(Ok(Some(bytes))) => {
                request_body_filter::run(Some(&bytes), ctx);
                target.write_body(&bytes).await.map_err(Error::into_up)?;
            }
            Passed::FromTarget(Ok(Some(bytes))) => {
                response_body_filter::run(Some(&bytes), ctx);
                client.write_response_body(bytes, false).await.map_err(Error::into_down)?;
            }
            // Either side may leave; the other one then has nobody to talk to.
            Passed::FromClient(Ok(None)) | Passed::FromTarget(Ok(None)) => return Ok(()),
            Passed::FromClient(Err(error)) => return Err(error.into_down()),
            Passed::FromTarget(Err(error)) => return Err(error.into_up()),
        }
    }
}

enum Passed {
    FromClient(Result<Option<bytes::Bytes>>),
    FromTarget(Result<Option<bytes::Bytes>>),
}
