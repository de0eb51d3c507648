//! The same over HTTP/2 (RFC 9113 section 8), frame by frame.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::cases::{FIRST, PATH};

pub(super) struct Case {
    pub(super) name: &'static str,
    /// The header block and the data of stream 1.
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    data: Vec<u8>,
    /// Whether the request is served all the same.
    pub(super) served: bool,
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A literal field without indexing and without Huffman coding (RFC 7541 section 6.2.2).
fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = vec![0];
    for text in [name, value] {
        match u8::try_from(text.len()) {
            Ok(length) if length < 127 => out.push(length),
            _ => {
                out.push(127);
                let mut rest = text.len() - 127;
                while rest >= 128 {
                    out.push((rest % 128) as u8 | 128);
                    rest /= 128;
                }
                out.push(rest as u8);
            }
        }
        out.extend(text);
    }
    out
}

impl Case {
    fn bytes(&self, path: &str) -> Vec<u8> {
        let block: Vec<u8> = self
            .fields
            .iter()
            .flat_map(|(name, value)| literal(name, &super::replaced(value, PATH.as_bytes(), path.as_bytes())))
            .collect();
        [
            PREFACE.to_vec(),
            frame(SETTINGS, 0, 0, &[]),
            frame(HEADERS, END_HEADERS, 1, &block),
            frame(DATA, END_STREAM, 1, &self.data),
        ]
        .concat()
    }

    /// Sends it and reads until its stream has an answer, or an end; says which.
    pub(super) async fn send(&self, address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let _ = stream.write_all(&self.bytes(path)).await;
        let read = read(&mut stream);
        tokio::time::timeout(Duration::from_secs(60), read).await.unwrap_or_else(|_| panic!("{}: no answer", self.name))
    }
}

async fn read(stream: &mut TcpStream) -> String {
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            return "closed".to_owned();
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        if stream.read_exact(&mut payload).await.is_err() {
            return "closed".to_owned();
        }
        match head[3] {
            HEADERS => return status(&payload),
            RST_STREAM => return "stream reset".to_owned(),
            GOAWAY => return "connection ended".to_owned(),
            _ => {}
        }
    }
}

/// The status that begins a header block of an answer: of the static table, or a literal beside its name.
fn status(block: &[u8]) -> String {
    match block {
        [0x88, ..] => "200".to_owned(),
        [0x8c, ..] => "400".to_owned(),
        [0x8d, ..] => "404".to_owned(),
        [0x08 | 0x48, 3, digits @ ..] => String::from_utf8_lossy(&digits[..3]).into_owned(),
        other => format!("an answer that begins with {:02x?}", &other[..other.len().min(6)]),
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let pseudo = [(":method", "POST"), (":scheme", "http"), (":authority", "edge"), (":path", PATH)];
    let length = FIRST.len().to_string();
    let pair = |(name, value): &(&str, &str)| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
    let mut add = |served: bool, name: &'static str, fields: &[(&str, &str)]| {
        let fields = fields.iter().map(pair).collect();
        cases.push(Case { name, fields, data: FIRST.as_bytes().to_vec(), served });
    };
    let with = |more: &[(&'static str, &'static str)]| [&pseudo, more].concat();
    let without = |name: &str| pseudo.iter().copied().filter(|(n, _)| *n != name).collect::<Vec<_>>();
    let instead = |name: &str, value: &'static str| {
        pseudo.iter().map(|(n, v)| (*n, if *n == name { value } else { *v })).collect::<Vec<_>>()
    };
    add(true, "nothing odd", &[&pseudo[..], &[("content-length", &length)]].concat());
    add(true, "no content-length", &pseudo);
    add(true, "te: trailers", &with(&[("te", "trailers")]));
    add(false, "pseudo: two :path", &with(&[(":path", "/v1/else")]));
    add(false, "pseudo: two :method", &with(&[(":method", "GET")]));
    add(false, "pseudo: two :authority", &with(&[(":authority", "evil.example")]));
    add(false, "pseudo: no :path", &without(":path"));
    add(false, "pseudo: no :method", &without(":method"));
    add(false, "pseudo: no :scheme", &without(":scheme"));
    add(false, "pseudo: no :authority and no host", &without(":authority"));
    add(false, "pseudo: empty :path", &instead(":path", ""));
    add(false, "pseudo: empty :authority", &instead(":authority", ""));
    add(false, "pseudo: :path without a slash", &instead(":path", "v1/chat/completions"));
    add(false, "pseudo: :path with a space", &instead(":path", "/v1/chat/completions HTTP/1.1"));
    add(false, "pseudo: :path with a line end", &instead(":path", "/v1/chat/completions\r\nX: EMBEDDED"));
    // The parser drops it, so that nobody sees it.
    add(true, "pseudo: :path with a fragment", &instead(":path", "/v1/chat/completions#x"));
    add(false, "pseudo: :path of *", &instead(":path", "*"));
    add(false, "pseudo: :path is a URL", &instead(":path", "http://evil.example/v1/chat/completions"));
    add(false, "pseudo: :method with a space", &instead(":method", "POST /EMBEDDED HTTP/1.1"));
    add(false, "pseudo: :method CONNECT", &instead(":method", "CONNECT"));
    add(false, "pseudo: :authority with a user", &instead(":authority", "user@edge"));
    add(false, "pseudo: :authority with a path", &instead(":authority", "edge/EMBEDDED"));
    add(false, "pseudo: unknown", &with(&[(":unknown", "x")]));
    add(false, "pseudo: of an answer", &with(&[(":status", "200")]));
    add(false, "pseudo: behind a field", &[&[("x-first", "1")], &pseudo[..]].concat());
    add(false, "host: another than :authority", &with(&[("host", "evil.example")]));
    add(false, "field: connection", &with(&[("connection", "close")]));
    add(false, "field: keep-alive", &with(&[("keep-alive", "timeout=5")]));
    add(false, "field: proxy-connection", &with(&[("proxy-connection", "close")]));
    add(false, "field: transfer-encoding", &with(&[("transfer-encoding", "chunked")]));
    add(false, "field: upgrade", &with(&[("upgrade", "websocket")]));
    add(false, "field: te: gzip", &with(&[("te", "gzip")]));
    add(false, "field: upper case name", &with(&[("X-Upper", "1")]));
    add(false, "field: empty name", &with(&[("", "1")]));
    add(false, "field: space in the name", &with(&[("x y", "1")]));
    add(false, "field: colon in the name", &with(&[("x:y", "1")]));
    add(false, "field: line end in the name", &with(&[("x\r\nembedded", "1")]));
    add(false, "field: line end in the value", &with(&[("x", "1\r\nX: EMBEDDED")]));
    add(false, "field: LF in the value", &with(&[("x", "1\nX: EMBEDDED")]));
    add(false, "field: NUL in the value", &with(&[("x", "1\0")]));
    add(false, "length: shorter than the data", &with(&[("content-length", "5")]));
    add(false, "length: longer than the data", &with(&[("content-length", "500")]));
    add(
        false,
        "length: two different",
        &[&pseudo[..], &[("content-length", &length), ("content-length", "5")]].concat(),
    );
    add(
        false,
        "length: two equal",
        &[&pseudo[..], &[("content-length", &length), ("content-length", &length)]].concat(),
    );
    add(false, "length: a list", &with(&[("content-length", "60, 60")]));
    add(false, "length: plus sign", &with(&[("content-length", "+60")]));
    add(false, "length: no number", &with(&[("content-length", "many")]));
    add(false, "length: underscore in the name", &with(&[("content_length", "60")]));
    cases
}
