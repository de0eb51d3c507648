//! The handshake of a session: an exchange like any other until the provider switches.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use http::header::{SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::super::{Context, Exchange, Stop, own_query};
use super::Open;
use crate::exchange::headers;
use crate::exchange::judge::PolicyJudge;
use crate::exchange::live::{LiveDownstream, LiveReply, LiveRequest};
use crate::exchange::lock::Bound;
use crate::exchange::ports::{RequestHead, ResponseHead};
use crate::exchange::record::{Part, Side};
use crate::guard::{self, Inspected, Report};
use crate::surface::{Address, RequestFacts};
use crate::wire::websocket;

const NO_KEY: &str = "the handshake has no key, or one that is none";

impl Exchange<'_> {
    /// The handshake: judged, sent, and answered. `None` where the answer was one of HTTP, which the client has.
    pub(super) async fn open_session(
        &mut self,
        head: &RequestHead,
        down: &mut dyn LiveDownstream,
    ) -> Result<Option<Open>, Stop> {
        let key = handshake(&head.headers).map_err(Stop::Malformed)?;
        self.admit(head)?;
        let empty = Bytes::from_static(b"{}");
        let doc = crate::json::Doc::parse(&empty, crate::json::Limits::default());
        let address = Address { path: &head.path, query: head.query.as_deref() };
        let facts = doc.map(|doc| (self.surface.request_facts)(doc.root(&empty), address)).unwrap_or_default();
        self.note_facts(&facts);
        let context = self.context(head, &facts, 0);
        let judged = self.judge_handshake(head, &context)?;
        let bond = self.bond(&context, RequestFacts::default()).await?;
        let (provider, path) = self.provider(head)?;
        self.record.upstream = Some(Arc::clone(&provider.name));
        let path_and_query = head.query.as_ref().map_or(path.clone(), |query| format!("{path}?{query}"));
        let headers = headers::end_to_end(&head.headers);
        // Unlike a call, it waits for the disk: whoever hears from the provider can answer at once.
        self.opened().await?;
        let made = Arc::new(AtomicU32::new(0));
        let request = LiveRequest { provider, path_and_query, headers, judged, made: Arc::clone(&made) };
        let reply = Box::pin(self.gateway.call.open(request)).await;
        self.record.called.attempts = made.load(Ordering::Relaxed);
        let reply = reply.map_err(Stop::Upstream)?;
        let opened = match reply {
            LiveReply::Opened(opened) => opened,
            LiveReply::Refused(reply) => {
                self.note_reply(&reply);
                self.record.upstream = Some(Arc::clone(&reply.upstream));
                self.record.stream = false;
                let reply = self.decoded_reply(reply)?;
                Box::pin(self.answer(reply, context, Bound::default(), down.plain())).await?;
                return Ok(None);
            }
        };
        self.record.called.status = Some(StatusCode::SWITCHING_PROTOCOLS.as_u16());
        self.record.called.first_byte_us = Some(opened.time_to_head.as_micros() as u64);
        self.record.upstream = Some(Arc::clone(&opened.upstream));
        let ResponseHead { headers: mut answered, .. } =
            self.response_head(StatusCode::SWITCHING_PROTOCOLS, &opened.headers);
        let accept = HeaderValue::from_str(&websocket::accept(&key)).map_err(|_| Stop::Malformed(NO_KEY))?;
        answered.insert(http::header::SEC_WEBSOCKET_ACCEPT, accept);
        self.record.status = Some(StatusCode::SWITCHING_PROTOCOLS.as_u16());
        self.started = true;
        self.record.part = Part::Session;
        down.switch(ResponseHead { status: StatusCode::SWITCHING_PROTOCOLS, headers: answered }).await?;
        Ok(Some(Open { context, bond, opened }))
    }

    /// Rules may be about the handshake as such, and texts may stand in its address.
    fn judge_handshake(&mut self, head: &RequestHead, context: &Arc<Context>) -> Result<Inspected, Stop> {
        let mut judge = PolicyJudge::request(Arc::clone(context));
        let mut report = Report::default();
        let query = own_query(head);
        let (path, query) = Address { path: &head.path, query: Some(&query) }.texts();
        let judged = guard::handshake(&self.gateway.engine, (&path, &query), &mut judge, &mut report);
        self.record.request = Side { report, decided: Some(judge.decided), inspected: true };
        Ok(judged?)
    }
}

/// The key of a handshake (RFC 6455 section 4.2.1).
fn handshake(headers: &HeaderMap) -> Result<String, &'static str> {
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version.as_bytes().trim_ascii() != b"13") {
        return Err("the handshake is not of version 13 of the protocol");
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok()).map(str::trim).unwrap_or_default();
    if websocket::is_key(key) { Ok(key.to_owned()) } else { Err(NO_KEY) }
}
