//! Content codings of both bodies, undone before anything looks at them.
//!
//! A request goes on decoded, and an answer leaves decoded: nobody behind us reads other bytes than those that were
//! inspected. A provider is asked for `identity`, but one that encodes all the same is understood, as it streams. What is in
//! a coding that is not known stays as it is, and is a gap.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Exchange, Stop};
use crate::exchange::held::Share;
use crate::exchange::ports::{BodyError, RequestHead, UpstreamBody, UpstreamError, UpstreamReply};
use crate::guard::{Block, Cause, Gap};
use crate::wire::encoding::{self, Coding, Decoder, Fault};

/// Encoded requests up to this size are decoded in place: they give a MiB at most, which takes a millisecond or two.
const INLINE_BYTES_MAX: usize = 4 * 1024;

impl Exchange<'_> {
    /// The request as it will be inspected and sent.
    pub(super) async fn decoded_request(&mut self, head: &mut RequestHead, body: Bytes) -> Result<Bytes, Stop> {
        let Ok(codings) = encoding::codings(&head.headers) else { return Ok(body) };
        if codings.is_empty() {
            head.headers.remove(http::header::CONTENT_ENCODING);
            return Ok(body);
        }
        let limit_bytes = self.gateway.limits.request_bytes_max;
        let mut share = self.gateway.held.share();
        let inline = body.len() <= INLINE_BYTES_MAX;
        let work = move || {
            let result = decode(&codings, body, limit_bytes, &mut share);
            (result, share)
        };
        let done = if inline { Ok(work()) } else { tokio::task::spawn_blocking(work).await };
        let (result, share) = done.map_err(|_| Block {
            cause: Cause::Unavailable,
            rule: None,
            reason: "the request body could not be decoded".into(),
            detectors: Vec::new(),
        })?;
        let body = result.map_err(|fault| match fault {
            Fault::TooLarge(limit_bytes) => Stop::Body(BodyError::TooLarge { limit_bytes }),
            Fault::NoRoom => Stop::Body(BodyError::NoRoom),
            fault => {
                self.record.request.report.gaps.insert(Gap::Unreadable);
                Stop::Block(Block {
                    cause: Cause::BadRequest,
                    rule: None,
                    reason: format!("the request body cannot be decoded: {fault}"),
                    detectors: Vec::new(),
                })
            }
        })?;
        // The encoded bytes are gone, and so is what they took.
        self.held = share;
        encoding::OF_ENCODED_BYTES.iter().for_each(|name| drop(head.headers.remove(name)));
        Ok(body)
    }

    /// The answer as it will be inspected and shown.
    pub(super) fn decoded_reply(&self, mut reply: UpstreamReply) -> Result<UpstreamReply, Stop> {
        let Ok(codings) = encoding::codings(&reply.headers) else { return Ok(reply) };
        if codings.is_empty() {
            return Ok(reply);
        }
        let mut windows = self.gateway.held.share();
        let decoder = windows.grow(memory(&codings)).ok().and_then(|()| Decoder::new(&codings).ok());
        let decoder = decoder.ok_or(Stop::NoRoom)?;
        encoding::OF_ENCODED_BYTES.iter().for_each(|name| drop(reply.headers.remove(name)));
        let name = self.record.upstream.clone().unwrap_or_default();
        reply.body = Box::new(Decoded { name, body: reply.body, decoder, ended: false, _windows: windows });
        Ok(reply)
    }

    /// An answer that cannot be decoded is one that cannot be read.
    pub(super) fn unreadable(&mut self, stop: Stop) -> Stop {
        let Stop::Upstream(UpstreamError::Coding { fault, .. }) = &stop else { return stop };
        self.record.response.report.gaps.insert(Gap::Unreadable);
        Stop::Block(Block {
            cause: Cause::BadAnswer,
            rule: None,
            reason: format!("the provider's answer cannot be decoded: {fault}"),
            detectors: Vec::new(),
        })
    }
}

fn memory(codings: &[Coding]) -> usize {
    codings.iter().map(|coding| coding.memory_bytes()).sum()
}

/// Decodes within the budget, which has been asked for the windows meanwhile, and holds what came out afterwards.
fn decode(codings: &[Coding], body: Bytes, bytes_max: usize, share: &mut Share) -> Result<Bytes, Fault> {
    share.grow(memory(codings)).map_err(|_| Fault::NoRoom)?;
    let decoded = encoding::decode(codings, body, bytes_max, &mut |bytes| share.grow(bytes).is_ok())?;
    share.set(decoded.len()).map_err(|_| Fault::NoRoom)?;
    Ok(decoded)
}

/// The body of an answer without its codings.
#[derive(Debug)]
struct Decoded {
    name: Arc<str>,
    body: Box<dyn UpstreamBody>,
    decoder: Decoder,
    ended: bool,
    _windows: Share,
}

#[async_trait]
impl UpstreamBody for Decoded {
    async fn chunk(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        let fault = |fault| UpstreamError::Coding { name: Arc::clone(&self.name), fault };
        loop {
            if let Some(piece) = self.decoder.piece().map_err(fault)? {
                return Ok(Some(piece));
            }
            if self.ended {
                return Ok(None);
            }
            match self.body.chunk().await? {
                Some(bytes) => self.decoder.feed(bytes),
                None => {
                    self.decoder.finish().map_err(fault)?;
                    self.ended = true;
                }
            }
        }
    }

    async fn release(self: Box<Self>) {
        self.body.release().await;
    }

    async fn abort(self: Box<Self>) {
        self.body.abort().await;
    }
}
