//! Follows the bytes of an HTTP/1 connection ahead of pingora, to refuse chunks that two implementations could read differently
//! (RFC 9112 section 7.1). pingora's own reader takes an empty chunk size for zero, line feeds within an extension, and sizes
//! that nobody can send.
//!
//! Nothing is decided here about heads: one that is not plain makes this blind, and [`super::head`] refuses it. It asks here about
//! the request line, of which pingora shows only its own rewriting.

use super::limits::{CHUNK_BYTES_MAX, CHUNK_LINE_BYTES_MAX, HEADER_BYTES_MAX};

/// Where in the messages of a connection its next byte stands.
#[derive(Debug)]
pub(super) struct Framing {
    place: Place,
    odd_line: bool,
}

#[derive(Debug)]
enum Place {
    /// In a head, of which this has come.
    Head(Vec<u8>),
    /// In a body of so many bytes more.
    Body(u64),
    /// In the line before a chunk.
    Size(SizeLine),
    /// In a chunk of so many bytes more.
    Chunk(u64),
    /// Behind a chunk; the line feed is next when the carriage return has come.
    ChunkEnd { cr: bool },
    /// Behind the last chunk: bytes of trailer fields so far, those of the line, and whether a carriage return has come.
    Trailers { bytes: usize, line: usize, cr: bool },
    /// What comes is not followed any more: the head was refused, or the connection speaks another protocol.
    Blind,
}

#[derive(Debug, Default)]
struct SizeLine {
    size: u64,
    digits: bool,
    bytes: usize,
    /// The size has ended; only white space may come before the extension.
    ended: bool,
    extension: bool,
    cr: bool,
}

impl Default for Framing {
    fn default() -> Self {
        Self { place: Place::Head(Vec::new()), odd_line: false }
    }
}

impl Framing {
    /// Whether a request line has come that is not a method, a target and a version with a space between.
    pub(super) fn has_odd_line(&self) -> bool {
        self.odd_line
    }

    /// How many of these bytes are well framed. The byte behind them, if there is one, must not be passed on, nor any other.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while let [first, behind @ ..] = rest {
            match &mut self.place {
                Place::Blind => return bytes.len(),
                Place::Body(left) | Place::Chunk(left) => {
                    let skip = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= skip as u64;
                    let done = *left == 0;
                    rest = rest.get(skip..).unwrap_or_default();
                    if done {
                        self.place = match self.place {
                            Place::Chunk(_) => Place::ChunkEnd { cr: false },
                            _ => Place::Head(Vec::new()),
                        };
                    }
                }
                Place::Head(seen) => {
                    // Empty lines ahead of a request line are skipped (RFC 9112 section 2.2).
                    if !(seen.is_empty() && matches!(first, b'\r' | b'\n')) {
                        seen.push(*first);
                    }
                    if seen.ends_with(b"\r\n\r\n") {
                        self.odd_line |= is_odd_line(seen);
                        self.place = behind_head(seen);
                    } else if seen.len() > HEADER_BYTES_MAX {
                        self.place = Place::Blind;
                    }
                    rest = behind;
                }
                other => {
                    let Some(next) = step(other, *first) else { break };
                    if let Some(next) = next {
                        self.place = next;
                    }
                    rest = behind;
                }
            }
        }
        bytes.len() - rest.len()
    }
}

/// One byte of chunked framing: `None` where it cannot stand there, otherwise the next place if it is another one.
fn step(place: &mut Place, byte: u8) -> Option<Option<Place>> {
    match place {
        Place::Size(line) => line.step(byte),
        Place::ChunkEnd { cr } => match (std::mem::replace(cr, true), byte) {
            (false, b'\r') => Some(None),
            (true, b'\n') => Some(Some(Place::Size(SizeLine::default()))),
            _ => None,
        },
        Place::Trailers { bytes, line, cr } => {
            *bytes += 1;
            match (std::mem::replace(cr, byte == b'\r'), byte) {
                _ if *bytes > HEADER_BYTES_MAX => None,
                (true, b'\n') if *line == 0 => Some(Some(Place::Head(Vec::new()))),
                (true, b'\n') => {
                    *line = 0;
                    Some(None)
                }
                (true, _) | (false, b'\n' | 0) => None,
                (false, b'\r') => Some(None),
                (false, _) => {
                    *line += 1;
                    Some(None)
                }
            }
        }
        _ => None,
    }
}

impl SizeLine {
    fn step(&mut self, byte: u8) -> Option<Option<Place>> {
        self.bytes += 1;
        if self.bytes > CHUNK_LINE_BYTES_MAX {
            return None;
        }
        if self.cr {
            return (byte == b'\n').then_some(Some(match self.size {
                0 => Place::Trailers { bytes: 0, line: 0, cr: false },
                size => Place::Chunk(size),
            }));
        }
        match byte {
            b'\r' if self.digits => self.cr = true,
            b'\r' | b'\n' | 0 => return None,
            _ if self.extension => {}
            b';' if self.digits => self.extension = true,
            b' ' | b'\t' if self.digits => self.ended = true,
            _ if self.ended => return None,
            digit => {
                let digit = char::from(digit).to_digit(16)?;
                self.digits = true;
                self.size = self.size << 4 | u64::from(digit);
                if self.size > CHUNK_BYTES_MAX {
                    return None;
                }
            }
        }
        Some(None)
    }
}

fn is_odd_line(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    line.iter().filter(|byte| **byte == b' ').count() != 2 || line.iter().any(u8::is_ascii_control)
}

/// What follows a head, as far as it says so plainly.
fn behind_head(head: &[u8]) -> Place {
    let (mut length, mut chunked) = (None, false);
    for line in head.split(|byte| *byte == b'\n').skip(1) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = parts.next().unwrap_or_default();
        let value = parts.next().unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            let number = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
            match (length.is_some(), number) {
                (false, Some(number)) => length = Some(number),
                _ => return Place::Blind,
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Place::Blind;
            }
            chunked = true;
        } else if name.eq_ignore_ascii_case(b"upgrade") && !value.eq_ignore_ascii_case(b"h2c") {
            return Place::Blind;
        }
    }
    match (chunked, length) {
        (true, Some(_)) => Place::Blind,
        (true, None) => Place::Size(SizeLine::default()),
        (false, None | Some(0)) => Place::Head(Vec::new()),
        (false, Some(length)) => Place::Body(length),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

    /// Follows the bytes in pieces of this size; gives how many were well framed.
    fn follow(bytes: &[u8], piece: usize) -> usize {
        let (mut framing, mut sum) = (Framing::default(), 0);
        for bytes in bytes.chunks(piece) {
            let good = framing.follow(bytes);
            sum += good;
            if good < bytes.len() {
                break;
            }
        }
        sum
    }

    #[test]
    fn what_is_well_framed_passes() {
        for body in [
            "5\r\nhello\r\n0\r\n\r\n",
            "5;a=\"b\"\r\nhello\r\n00A ; x\r\n0123456789\r\n000;z\r\nTrailer: x\r\nOther: y\r\n\r\n",
            "5  \r\nhello\r\n0\r\n\r\n",
        ] {
            let plain = "\r\nPOST / HTTP/1.1\r\nContent-Length: 7\r\n\r\nzz\r\nzz\n";
            let whole = format!("{HEAD}{body}GET / HTTP/1.1\r\nHost: a\r\n\r\n{plain}{HEAD}{body}{HEAD}");
            for piece in [1, 2, 7, 10_000] {
                assert_eq!(follow(whole.as_bytes(), piece), whole.len(), "{body:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn what_is_not_stops_at_its_first_byte() {
        for (good, bad) in [
            ("", "\r\n0\r\n\r\n"),
            ("", ";a\r\n"),
            ("", " 5\r\nhello\r\n"),
            ("", "-5\r\n"),
            ("5", "\nhello\r\n"),
            ("5\r", "hello\r\n"),
            ("5;a", "\nb\r\nhello\r\n"),
            ("5;a\r", "b\r\nhello\r\n"),
            ("5 ", "5\r\n"),
            ("5", "_0\r\n"),
            ("10000000", "0\r\n"),
            ("5\r\nhello", "\n0\r\n\r\n"),
            ("5\r\nhello", "!"),
            ("5\r\nhello\r", "0"),
            ("0\r\nX: y", "\n\n"),
            ("0\r\nX: y\r", "z"),
            ("0\r\n", "\n"),
        ] {
            let whole = format!("{HEAD}{good}{bad}");
            for piece in [1, 3, 10_000] {
                assert_eq!(follow(whole.as_bytes(), piece), HEAD.len() + good.len(), "{good:?} before {bad:?}");
            }
        }
        let long = format!("{HEAD}1;{}", "x".repeat(CHUNK_LINE_BYTES_MAX));
        assert_eq!(follow(long.as_bytes(), 100), HEAD.len() + CHUNK_LINE_BYTES_MAX);
        let trailers = format!("{HEAD}0\r\nX: {}", "x".repeat(HEADER_BYTES_MAX));
        assert_eq!(follow(trailers.as_bytes(), 100), HEAD.len() + 3 + HEADER_BYTES_MAX);
    }

    #[test]
    fn request_lines_have_one_form() {
        for (line, odd) in [
            ("POST /\u{e9}?q HTTP/1.1", false),
            ("POST / x HTTP/1.1", true),
            ("POST /\0 HTTP/1.1", true),
            ("POST /\rx HTTP/1.1", true),
            ("POST\t/ HTTP/1.1", true),
            ("POST / ", false),
            ("POST /", true),
        ] {
            let mut framing = Framing::default();
            framing.follow(format!("\r\n{line}\r\nhost: a\r\n\r\n").as_bytes());
            assert_eq!(framing.has_odd_line(), odd, "{line:?}");
        }
    }

    #[test]
    fn a_head_that_is_not_plain_makes_blind() {
        for field in [
            "Transfer-Encoding: gzip",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 1",
            "Content-Length: x",
            "Content-Length: 1\r\nContent-Length: 1",
            "Upgrade: websocket\r\nTransfer-Encoding: chunked",
        ] {
            let whole = format!("POST / HTTP/1.1\r\n{field}\r\n\r\nno framing at all");
            assert_eq!(follow(whole.as_bytes(), 5), whole.len(), "{field}");
        }
    }

    proptest! {
        #[test]
        fn the_verdict_does_not_depend_on_the_cut(
            body in proptest::collection::vec(prop::sample::select(b"05aA;x \t\r\n\r\n:\0".to_vec()), 0..60),
            piece in 1_usize..20,
        ) {
            let whole = [HEAD.as_bytes(), &body].concat();
            prop_assert_eq!(follow(&whole, piece), follow(&whole, 1_000));
        }
    }
}
