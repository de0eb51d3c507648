//! `request_filter`: refuses malformed requests, asks the handler for the route, and runs inspected exchanges.

use std::sync::Arc;

use http::header::UPGRADE;
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};

use super::super::downstream::{Client, Outcome};
use super::super::handler::{Handler, Route};
use super::super::head;
use super::super::limits::{KEEP_ALIVE, LINGER_MAX, WRITE_MAX};
use super::super::live::LiveClient;
use super::super::socket::ClientSocket;
use super::bypass::{Bypass, Record};
use super::{Adapter, Context, tunnel};
use crate::exchange::answer::OwnAnswer;
use crate::exchange::ports::RequestHead;
use crate::upstream::Provider;

/// Whether the request was answered; an error when an answer was begun and cannot be completed.
pub(super) async fn run<H: Handler>(adapter: &Adapter<H>, session: &mut Session, ctx: &mut Context<H>) -> Result<bool> {
    ctx.entered = Some(adapter.in_flight.enter());
    if let Some(socket) = session.stream().and_then(ClientSocket::of) {
        socket.head_complete();
    }
    let head = match head::read(session) {
        Ok(head) => head,
        Err(malformed) => {
            if malformed.framing {
                session.set_keepalive(None);
            }
            return answer(adapter, session, adapter.handler.malformed(malformed.reason)).await;
        }
    };
    // pingora would otherwise wait for the next request for ever.
    if session.get_keepalive() == Some(0) && !*adapter.closing.borrow() {
        session.set_keepalive(Some(KEEP_ALIVE.as_secs()));
    }
    // Whoever follows the bytes ahead of pingora looks away where another protocol may begin: no request comes behind this one.
    if offered_protocols(session).any(|protocol| !protocol.eq_ignore_ascii_case("h2c")) {
        session.set_keepalive(None);
    }
    match adapter.handler.route(&head) {
        Route::Refuse(refusal) => answer(adapter, session, refusal).await,
        Route::Bypass { provider, path } => {
            open_bypass(adapter, session, ctx, RequestHead { path, ..head }, provider).await
        }
        Route::Inspect if asks_for_upgrade(session) => {
            let refusal = adapter.handler.malformed("a connection upgrade cannot be inspected on this route");
            answer(adapter, session, refusal).await
        }
        Route::Live if asks_for_websocket(session) => live(adapter, session, head).await,
        Route::Live => {
            session.set_keepalive(None);
            let refusal = adapter.handler.malformed("this endpoint speaks WebSocket over HTTP/1.1 and nothing else");
            answer(adapter, session, refusal).await
        }
        Route::Inspect => {
            let mut client = Client::new(session.as_downstream_mut(), &adapter.cut);
            adapter.handler.exchange(head, &mut client).await;
            settle(&mut client).await
        }
    }
}

async fn answer<H: Handler>(adapter: &Adapter<H>, session: &mut Session, answer: OwnAnswer) -> Result<bool> {
    let mut client = Client::new(session.as_downstream_mut(), &adapter.cut);
    // A client that does not wait for its refusal has nothing to be told.
    let _ = client.own(answer).await;
    settle(&mut client).await
}

async fn live<H: Handler>(adapter: &Adapter<H>, session: &mut Session, head: RequestHead) -> Result<bool> {
    // Nothing can follow a WebSocket, nor a handshake that was refused: the client may have begun to speak.
    session.set_keepalive(None);
    let mut client = LiveClient::new(session.as_downstream_mut(), &adapter.cut, adapter.closing.clone());
    adapter.handler.live(head, &mut client).await;
    match client.unswitched() {
        Some(client) => settle(client).await,
        // Its connection ends with it.
        None => Ok(true),
    }
}

async fn settle(client: &mut Client<'_>) -> Result<bool> {
    match client.outcome() {
        Outcome::Answered => {
            client.linger().await;
            Ok(true)
        }
        // As an error, pingora drops the connection; as a success it would end the message in good order.
        Outcome::Silent | Outcome::Torn => {
            Error::e_explain(ErrorType::ConnectionClosed, "the exchange ended without a complete answer")
                .map_err(|error| error.into_down())
        }
    }
}

async fn open_bypass<H: Handler>(
    adapter: &Adapter<H>,
    session: &mut Session,
    ctx: &mut Context<H>,
    head: RequestHead,
    provider: Arc<Provider>,
) -> Result<bool> {
    let headers = match adapter.handler.bypass_opened(&head, &provider).await {
        Ok(headers) => headers,
        Err(refusal) => return answer(adapter, session, refusal).await,
    };
    ctx.bypass = Some(Bypass::new(Record {
        handler: adapter.handler.clone(),
        head,
        provider,
        tried: Vec::new(),
        leave: None,
        attempts: 0,
        upstream: None,
        headers,
        request_bytes: 0,
        response_bytes: 0,
        status: None,
        failure: None,
        connecting: None,
        entered: ctx.entered.take(),
    }));
    session.set_write_timeout(Some(WRITE_MAX));
    session.set_total_drain_timeout(Some(LINGER_MAX));
    if asks_for_websocket(session) {
        tunnel::run(adapter, session, ctx).await?;
        return Ok(true);
    }
    Ok(false)
}

/// Whether the client wants to speak another protocol. `h2c` does not count: clients offer it with ordinary requests,
/// and a server may ignore the offer (RFC 9110 section 7.8).
fn asks_for_upgrade(session: &Session) -> bool {
    session.is_upgrade_req() && offered_protocols(session).any(|protocol| !protocol.eq_ignore_ascii_case("h2c"))
}

/// Whether the request is the handshake of RFC 6455 section 4.1.
fn asks_for_websocket(session: &Session) -> bool {
    session.is_upgrade_req() && offered_protocols(session).any(|protocol| protocol.eq_ignore_ascii_case("websocket"))
}

/// What `Upgrade` names; a value that is no text counts as a protocol that nobody knows.
fn offered_protocols(session: &Session) -> impl Iterator<Item = &str> {
    let offers = session.req_header().headers.get_all(UPGRADE);
    offers.iter().flat_map(|offer| offer.to_str().unwrap_or("?").split(',')).map(str::trim)
}
