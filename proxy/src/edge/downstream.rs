//! The client's side of one exchange, over pingora's session.
//!
//! Guarantees: a body of any size up to the limit is read whole (pingora's own replay stops at 64 KiB and is not used);
//! every wait is bounded; an answer that was begun and not finished never looks complete; a client that has left, or an
//! edge that must stop, ends every wait.

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use http::{HeaderValue, Method, StatusCode, Version};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::{Error, ErrorType};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::limits;
use super::socket::ClientSocket;
use crate::exchange::answer::OwnAnswer;
use crate::exchange::held::Share;
use crate::exchange::ports::{BodyError, ClientGone, Downstream, ResponseHead};
use crate::guard::Released;
use crate::upstream::headers;

/// How far the answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    NotBegun,
    /// Bytes left to write, where the length was announced.
    Begun {
        left: Option<usize>,
    },
    Finished,
    /// A write failed or was abandoned half-way; what the client has is not well framed any more.
    Broken,
}

/// What became of an exchange, for the connection's sake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The answer is complete.
    Answered,
    /// No byte was sent.
    Silent,
    /// The answer was begun and not completed.
    Torn,
}

pub(super) struct Client<'a> {
    session: &'a mut ServerSession,
    cut: &'a CancellationToken,
    answer: Answer,
    /// Whether the answer's body is not sent, by its status or the request's method.
    bodiless: bool,
    body_read: bool,
    /// Whether reading or writing has shown that the client is gone.
    left: bool,
    /// Whether the client may hold its body back until it is asked for it.
    holds_body_back: bool,
}

impl<'a> Client<'a> {
    pub(super) fn new(session: &'a mut ServerSession, cut: &'a CancellationToken) -> Self {
        session.set_write_timeout(Some(limits::WRITE_MAX));
        let body_read = session.is_body_done();
        let header = session.req_header();
        let holds_body_back = header.version == Version::HTTP_11
            && header.headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        Self { session, cut, answer: Answer::NotBegun, bodiless: false, body_read, left: false, holds_body_back }
    }

    /// The connection, for whoever switches its protocol.
    pub(super) fn session(&mut self) -> &mut ServerSession {
        self.session
    }

    pub(super) fn outcome(&self) -> Outcome {
        match self.answer {
            Answer::Finished => Outcome::Answered,
            Answer::NotBegun => Outcome::Silent,
            Answer::Begun { .. } | Answer::Broken => Outcome::Torn,
        }
    }

    /// Sends an answer that Clyra itself makes.
    pub(super) async fn own(&mut self, answer: OwnAnswer) -> Result<(), ClientGone> {
        let OwnAnswer { status, headers, body } = answer;
        self.start(ResponseHead { status, headers }, Some(body.bytes().len())).await?;
        self.write(body).await?;
        self.finish().await
    }

    /// Takes in some of a body that nobody read, so that the answer to it is not lost to a connection reset.
    pub(super) async fn linger(&mut self) {
        if self.body_read || self.session.is_http2() || self.holds_body_back {
            return;
        }
        let mut left = limits::LINGER_BYTES_MAX;
        let drain = async {
            while let Ok(Some(bytes)) = self.session.read_request_body().await {
                left = left.saturating_sub(bytes.len());
                if left == 0 {
                    break;
                }
            }
        };
        tokio::select! {
            () = self.cut.cancelled() => {}
            _ = timeout(limits::LINGER_MAX, drain) => {}
        }
    }

    fn announced_bytes(&self) -> Option<usize> {
        self.session.get_header(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
    }

    fn is_malformed(&self) -> bool {
        let socket = self.session.stream().and_then(ClientSocket::of);
        socket.is_some_and(ClientSocket::is_malformed)
    }

    async fn ask_for_body(&mut self) -> Result<(), BodyError> {
        // Writing any head while a body is due makes pingora close the connection afterwards; this head asks for it.
        self.session.set_close_on_response_before_downstream_finish(false);
        let asked = timeout(limits::WRITE_MAX, self.session.write_continue_response()).await;
        self.session.set_close_on_response_before_downstream_finish(true);
        self.holds_body_back = false;
        match asked {
            Ok(Ok(())) => Ok(()),
            _ => Err(BodyError::Gone),
        }
    }

    /// Reads the body as it comes, within its limits.
    async fn receive_body(&mut self, limit_bytes: usize, room: &mut Share) -> Result<Bytes, BodyError> {
        let announced = self.announced_bytes();
        if announced.is_some_and(|bytes| bytes > limit_bytes) {
            return Err(BodyError::TooLarge { limit_bytes });
        }
        // Taken at once where the length is known: bodies that grew side by side would find no room half-way, all of them. Who
        // announces a body and does not send it loses its room with the time limit.
        room.grow(announced.unwrap_or(0)).map_err(|_| BodyError::NoRoom)?;
        if self.holds_body_back {
            self.ask_for_body().await?;
        }
        let end = Instant::now() + limits::BODY_MAX;
        let mut first = Bytes::new();
        let mut whole = BytesMut::new();
        loop {
            let until = end.min(Instant::now() + limits::BODY_SILENCE_MAX);
            let read = tokio::select! {
                read = timeout_at(until, self.session.read_request_body()) => read,
                () = self.cut.cancelled() => return Err(BodyError::Gone),
            };
            let chunk = match read {
                Err(_) => return Err(BodyError::Timeout),
                Ok(Err(_)) if self.is_malformed() => return Err(BodyError::Malformed),
                Ok(Err(error)) => return Err(body_error(&error)),
                Ok(Ok(None)) => break,
                Ok(Ok(Some(chunk))) => chunk,
            };
            if chunk.len() > limit_bytes.saturating_sub(first.len() + whole.len()) {
                return Err(BodyError::TooLarge { limit_bytes });
            }
            if announced.is_none() {
                room.grow(chunk.len()).map_err(|_| BodyError::NoRoom)?;
            }
            if first.is_empty() && whole.is_empty() {
                first = chunk;
            } else {
                if whole.is_empty() {
                    whole.reserve(announced.unwrap_or(0).min(limits::BODY_RESERVE_MAX).max(first.len() + chunk.len()));
                    whole.extend_from_slice(&std::mem::take(&mut first));
                }
                whole.extend_from_slice(&chunk);
            }
        }
        Ok(if whole.is_empty() { first } else { whole.freeze() })
    }

    /// Runs one write. Unless it completes, the answer is broken, also when the caller drops the future.
    async fn send(&mut self, piece: Piece, after: Answer) -> Result<(), ClientGone> {
        self.answer = Answer::Broken;
        let write = async {
            match piece {
                Piece::Head(header) => self.session.write_response_header(header).await,
                Piece::Body(bytes) => self.session.write_response_body(bytes, false).await,
                Piece::End => self.session.write_response_body(Bytes::new(), true).await,
            }
        };
        let sent = tokio::select! {
            biased;
            sent = timeout(limits::WRITE_MAX, write) => matches!(sent, Ok(Ok(()))),
            () = self.cut.cancelled() => false,
        };
        if sent {
            self.answer = after;
            Ok(())
        } else {
            self.left = true;
            Err(ClientGone)
        }
    }
}

/// What is written at once.
enum Piece {
    Head(Box<ResponseHeader>),
    Body(Bytes),
    End,
}

#[async_trait]
impl Downstream for Client<'_> {
    async fn read_body(&mut self, limit_bytes: usize, room: &mut Share) -> Result<Bytes, BodyError> {
        if self.body_read {
            return Ok(Bytes::new());
        }
        let body = self.receive_body(limit_bytes, room).await;
        match &body {
            Ok(_) => self.body_read = true,
            // Where the next request begins is unknown, or not worth finding out; pingora would take the rest of a
            // malformed body for it.
            Err(error) => {
                self.left |= matches!(error, BodyError::Gone);
                self.session.set_keepalive(None);
            }
        }
        body
    }

    async fn start(&mut self, head: ResponseHead, body_bytes: Option<usize>) -> Result<(), ClientGone> {
        if self.answer != Answer::NotBegun {
            return Err(ClientGone);
        }
        let request = self.session.req_header();
        let is_head = request.method == Method::HEAD;
        let chunked = body_bytes.is_none() && request.version == Version::HTTP_11;
        self.bodiless = is_head || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let header = response_header(&head, body_bytes, chunked, self.bodiless && !is_head).map_err(|_| ClientGone)?;
        let left = if self.bodiless { Some(0) } else { body_bytes };
        self.send(Piece::Head(Box::new(header)), Answer::Begun { left }).await
    }

    async fn write(&mut self, chunk: Released) -> Result<(), ClientGone> {
        let Answer::Begun { left } = self.answer else { return Err(ClientGone) };
        let bytes = chunk.into_bytes();
        if bytes.is_empty() || self.bodiless {
            return Ok(());
        }
        // More than was announced would be read as the next answer.
        let left = match left {
            Some(left) => Some(left.checked_sub(bytes.len()).ok_or(ClientGone)?),
            None => None,
        };
        self.send(Piece::Body(bytes), Answer::Begun { left }).await
    }

    async fn finish(&mut self) -> Result<(), ClientGone> {
        let Answer::Begun { left } = self.answer else { return Err(ClientGone) };
        if left.is_some_and(|left| left > 0) {
            self.answer = Answer::Broken;
            return Err(ClientGone);
        }
        self.send(Piece::End, Answer::Finished).await
    }

    async fn gone(&mut self) {
        if self.left {
            return;
        }
        // While body bytes are due over HTTP/1, what arrives is not a sign of anything.
        let tells = self.body_read || self.session.is_http2();
        let closed = async {
            if !tells || self.session.read_body_or_idle(true).await.is_ok() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = self.cut.cancelled() => {}
            () = closed => {}
        }
    }
}

/// The head as pingora writes it, framed by us.
fn response_header(
    head: &ResponseHead,
    body_bytes: Option<usize>,
    chunked: bool,
    no_length: bool,
) -> Result<ResponseHeader, Box<Error>> {
    let mut header = ResponseHeader::build(head.status, Some(head.headers.len().saturating_add(3)))?;
    for (name, value) in &head.headers {
        if !headers::is_framing(name) {
            header.append_header(name.clone(), value.clone())?;
        }
    }
    match body_bytes {
        _ if no_length => {}
        Some(bytes) => header.insert_header(CONTENT_LENGTH, HeaderValue::from(bytes))?,
        None if chunked => header.insert_header(TRANSFER_ENCODING, HeaderValue::from_static("chunked"))?,
        None => {}
    }
    Ok(header)
}

fn body_error(error: &Error) -> BodyError {
    match error.etype() {
        ErrorType::ReadTimedout => BodyError::Timeout,
        ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::H2Error => BodyError::Gone,
        _ => BodyError::Malformed,
    }
}
