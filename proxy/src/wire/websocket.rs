//! WebSocket (RFC 6455) without a socket: bytes in, messages out, and the other way round.
//!
//! `tungstenite` guarantees masking, UTF-8, joined fragments and well-formed control frames; here every message is bounded,
//! no extension is known, and nothing is sent until it is asked for ([`Socket::take_outgoing`]), answers to pings and to a
//! close included.

use std::io::{self, Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes, BytesMut};
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Error, Message as Whole};

/// Longest message. OpenAI takes 15 MiB of audio in one event, in base64.
pub const MESSAGE_BYTES_MAX: usize = 24 << 20;

/// Bytes that are read into a connection's buffer at once: most events are smaller, and sessions are many.
const READ_BYTES: usize = 8 * 1024;

/// Longest reason that a close frame has room for (RFC 6455 section 5.5).
const CLOSE_REASON_BYTES_MAX: usize = 123;

/// What the server's answer to a handshake is made with (RFC 6455 section 1.3).
const ACCEPT_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Which end of the connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its frames are masked.
    Client,
    Server,
}

/// One whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Is UTF-8.
    Text(Bytes),
    Binary(Bytes),
}

impl Message {
    pub fn bytes(&self) -> &Bytes {
        match self {
            Self::Text(bytes) | Self::Binary(bytes) => bytes,
        }
    }
}

/// Why the other side closes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Close {
    /// Absent where it gave none.
    pub code: Option<u16>,
    pub reason: String,
}

/// What the bytes that were fed have come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Message(Message),
    /// A ping or a pong. There may be an answer to be sent.
    Control,
    /// The last that comes.
    Close(Close),
}

/// Why a connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("a message is over {MESSAGE_BYTES_MAX} bytes")]
    TooLarge,
    #[error("a text is not UTF-8")]
    NotUtf8,
    #[error("the frames are not well formed")]
    Malformed,
    #[error("the connection has been closed")]
    Closed,
}

impl Fault {
    /// The code that says so (RFC 6455 section 7.4.1).
    pub fn close_code(self) -> u16 {
        match self {
            Self::TooLarge => 1009,
            Self::NotUtf8 => 1007,
            Self::Malformed => 1002,
            Self::Closed => 1000,
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::Capacity(_) => Self::TooLarge,
            Error::Utf8(_) => Self::NotUtf8,
            Error::ConnectionClosed | Error::AlreadyClosed => Self::Closed,
            _ => Self::Malformed,
        }
    }
}

/// One end of a connection.
#[derive(Debug)]
pub struct Socket {
    context: WebSocketContext,
    wire: Wire,
    /// Bytes that came since the last message was complete.
    pending: usize,
}

/// The bytes on their way.
#[derive(Debug, Default)]
struct Wire {
    incoming: BytesMut,
    outgoing: BytesMut,
}

impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.incoming.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = buf.len().min(self.incoming.len());
        let (Some(to), Some(from)) = (buf.get_mut(..count), self.incoming.get(..count)) else { return Ok(0) };
        to.copy_from_slice(from);
        self.incoming.advance(count);
        Ok(count)
    }
}

impl Write for Wire {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.outgoing.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket {
    pub fn new(end: End) -> Self {
        let role = match end {
            End::Client => Role::Client,
            End::Server => Role::Server,
        };
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        Self { context: WebSocketContext::new(role, Some(config)), wire: Wire::default(), pending: 0 }
    }

    /// Takes bytes as they come.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.pending = self.pending.saturating_add(bytes.len());
        self.wire.incoming.extend_from_slice(bytes);
    }

    /// The next thing that has come whole.
    pub fn next_event(&mut self) -> Result<Option<Event>, Fault> {
        let read = match self.context.read(&mut self.wire) {
            Ok(read) => read,
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let event = match read {
            Whole::Text(text) => Event::Message(Message::Text(text.into())),
            Whole::Binary(bytes) => Event::Message(Message::Binary(bytes)),
            Whole::Ping(_) | Whole::Pong(_) => return Ok(Some(Event::Control)),
            Whole::Close(None) => Event::Close(Close::default()),
            Whole::Close(Some(frame)) => {
                Event::Close(Close { code: Some(frame.code.into()), reason: frame.reason.to_string() })
            }
            Whole::Frame(_) => return Err(Fault::Malformed),
        };
        self.pending = self.wire.incoming.len();
        Ok(Some(event))
    }

    /// Bytes of what has not come whole yet.
    pub fn pending_bytes(&self) -> usize {
        self.pending
    }

    /// Puts a message on its way, as one frame.
    pub fn send(&mut self, message: Message) -> Result<(), Fault> {
        let message = match message {
            Message::Text(bytes) => Whole::Text(bytes.try_into().map_err(|_| Fault::NotUtf8)?),
            Message::Binary(bytes) => Whole::Binary(bytes),
        };
        Ok(self.context.write(&mut self.wire, message)?)
    }

    /// Puts a close on its way, or the answer to the other side's. A code that may not be sent is left out, a long reason
    /// is cut.
    pub fn close(&mut self, close: &Close) {
        let code = close.code.map(CloseCode::from).filter(|code| code.is_allowed());
        let end = close.reason.floor_char_boundary(CLOSE_REASON_BYTES_MAX);
        let reason = close.reason.get(..end).unwrap_or_default().into();
        // What keeps it from being written is that it has been.
        let _ = self.context.close(&mut self.wire, code.map(|code| CloseFrame { code, reason }));
    }

    /// What is to be sent now.
    pub fn take_outgoing(&mut self) -> Bytes {
        // Answers to pings wait inside.
        let _ = self.context.flush(&mut self.wire);
        self.wire.outgoing.split().freeze()
    }
}

/// The value of `Sec-WebSocket-Accept` that answers this key.
pub fn accept(key: &str) -> String {
    let mut hash = ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key.as_bytes());
    hash.update(ACCEPT_GUID.as_bytes());
    STANDARD.encode(hash.finish())
}

/// Whether this is a key as clients send it: 16 bytes in base64 (RFC 6455 section 4.1).
pub fn is_key(key: &str) -> bool {
    STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16)
}

/// A key of our own, or `None` where the system has no random bytes.
pub fn new_key() -> Option<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    Some(STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> Message {
        Message::Text(Bytes::copy_from_slice(text.as_bytes()))
    }

    /// Everything that comes of these bytes, fed in pieces of this size.
    fn events(socket: &mut Socket, bytes: &[u8], size: usize) -> Result<Vec<Event>, Fault> {
        let mut events = Vec::new();
        for piece in bytes.chunks(size) {
            socket.feed(piece);
            loop {
                match socket.next_event() {
                    Ok(Some(event)) => events.push(event),
                    Ok(None) => break,
                    Err(Fault::Closed) if matches!(events.last(), Some(Event::Close(_))) => return Ok(events),
                    Err(fault) => return Err(fault),
                }
            }
        }
        Ok(events)
    }

    fn masked(head: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![head, 0x80 | u8::try_from(payload.len()).unwrap(), 0, 0, 0, 0];
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn the_key_of_the_rfc_is_answered_as_there() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(is_key("dGhlIHNhbXBsZSBub25jZQ==") && is_key(&new_key().unwrap()));
        assert!(!is_key("dGhlIHNhbXBsZQ==") && !is_key("?"));
    }

    #[test]
    fn fragments_are_joined_and_pings_between_them_answered() {
        let mut server = Socket::new(End::Server);
        let bytes = [masked(0x01, b"{\"a\""), masked(0x89, b"hi"), masked(0x00, b":"), masked(0x80, b"1}")].concat();
        assert_eq!(events(&mut server, &bytes, 3).unwrap(), [Event::Control, Event::Message(text("{\"a\":1}"))]);
        assert_eq!(server.take_outgoing(), &b"\x8a\x02hi"[..]);
        assert_eq!(server.pending_bytes(), 0);
    }

    #[test]
    fn what_is_malformed_or_too_large_is_told_apart() {
        let too_large = [&[0x81, 0xff][..], &(MESSAGE_BYTES_MAX as u64 + 1).to_be_bytes(), &[0; 4]].concat();
        for (bytes, fault) in [
            (vec![0x81, 0x01, b'a'], Fault::Malformed),
            (masked(0xc1, b"a"), Fault::Malformed),
            (masked(0x80, b"a"), Fault::Malformed),
            (masked(0x83, b"a"), Fault::Malformed),
            (masked(0x81, b"\xff"), Fault::NotUtf8),
            (too_large, Fault::TooLarge),
        ] {
            assert_eq!(events(&mut Socket::new(End::Server), &bytes, bytes.len()), Err(fault), "{bytes:?}");
        }
    }

    #[test]
    fn many_fragments_are_not_more_than_one_message() {
        let mut server = Socket::new(End::Server);
        let piece = vec![b'a'; 1 << 20];
        let frame = |head: u8| [&[head, 0xff][..], &(1u64 << 20).to_be_bytes(), &[0; 4], &piece].concat();
        assert_eq!(events(&mut server, &frame(0x01), 1 << 20), Ok(Vec::new()));
        let fault = (0..MESSAGE_BYTES_MAX >> 20).find_map(|_| events(&mut server, &frame(0x00), 1 << 20).err());
        assert_eq!(fault, Some(Fault::TooLarge));
    }

    #[test]
    fn a_close_is_answered_when_that_is_asked_for() {
        let (mut client, mut server) = (Socket::new(End::Client), Socket::new(End::Server));
        let reason = "ä".repeat(100);
        client.close(&Close { code: Some(4001), reason });
        let sent = client.take_outgoing();
        let Ok(closes) = events(&mut server, &sent, 1) else { panic!() };
        assert_eq!(closes, [Event::Close(Close { code: Some(4001), reason: "ä".repeat(61) })]);
        let answer = server.take_outgoing();
        assert!(matches!(events(&mut client, &answer, 1).unwrap()[..], [Event::Close(_)]));
        // A code that nobody may send.
        let mut other = Socket::new(End::Server);
        other.close(&Close { code: Some(1006), reason: String::new() });
        assert_eq!(other.take_outgoing(), &b"\x88\x00"[..]);
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_messages(texts in prop::collection::vec("[a-zä€]{0,80}", 1..5), size in 1usize..50) {
            let (mut client, mut server) = (Socket::new(End::Client), Socket::new(End::Server));
            for one in &texts {
                client.send(text(one)).unwrap();
            }
            let sent = client.take_outgoing();
            let wanted: Vec<_> = texts.iter().map(|one| Event::Message(text(one))).collect();
            prop_assert_eq!(events(&mut server, &sent, size).unwrap(), wanted);
        }

        #[test]
        fn no_bytes_are_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), size in 1usize..50) {
            let _ = events(&mut Socket::new(End::Server), &bytes, size);
            let _ = events(&mut Socket::new(End::Client), &bytes, size);
        }
    }
}
