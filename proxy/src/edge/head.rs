//! Reads a request head, and refuses what two HTTP implementations could understand differently.
//!
//! pingora has refused before: duplicate or conflicting `Content-Length`, duplicate `Host`, user information in the
//! authority, a target that disagrees with `Host`, HTTP/1.0 with `Transfer-Encoding`, a last transfer coding other than
//! `chunked`, CONNECT. What it lets pass and this does not: `Content-Length` beside `Transfer-Encoding` (RFC 9112
//! section 6.1), a length that is said twice, other transfer codings, a `Host` that is missing or none (section 3.2), lines
//! that end in a bare line feed, targets that it would write in another way, names that only an underscore tells from those
//! of framing fields, header sections beyond our limits.

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderValue, Version};
use pingora::http::RequestHeader;
use pingora::protocols::http::ServerSession;
use uuid::Uuid;

use super::limits::{HEADER_BYTES_MAX, HEADER_FIELDS_MAX};
use super::socket::ClientSocket;
use crate::exchange::ports::RequestHead;

/// Why a head was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed {
    pub(super) reason: &'static str,
    /// Whether it is uncertain where the request ends; then nothing else may be read from the connection.
    pub(super) framing: bool,
}

const fn framing(reason: &'static str) -> Malformed {
    Malformed { reason, framing: true }
}

const fn content(reason: &'static str) -> Malformed {
    Malformed { reason, framing: false }
}

/// The head of the request that the session has read.
pub(super) fn read(session: &ServerSession) -> Result<RequestHead, Malformed> {
    let header = session.req_header();
    // Over HTTP/2 the protocol itself delimits fields, and the listener bounds the section.
    let raw = session.as_http1().map(|_| session.to_h1_raw());
    if let Some(raw) = &raw {
        check_raw(raw)?;
    }
    let socket = session.stream().and_then(ClientSocket::of);
    if socket.is_some_and(ClientSocket::has_odd_line) {
        return Err(framing("the request line is not a method, a target and a version"));
    }
    let (path, query) = check(header)?;
    let mut headers = header.headers.clone();
    if !headers.contains_key(HOST)
        && let Some(authority) = header.uri.authority()
        && let Ok(value) = HeaderValue::from_str(authority.as_str())
    {
        headers.insert(HOST, value);
    }
    Ok(RequestHead {
        method: header.method.clone(),
        path,
        query,
        headers,
        peer: session.client_addr().and_then(|address| address.as_inet()).copied(),
        request_id: Uuid::now_v7(),
    })
}

/// The checks on what stood on the wire, of which pingora does not tell everything: it drops a length beside a transfer coding,
/// and the fragment of a target.
fn check_raw(raw: &[u8]) -> Result<(), Malformed> {
    if raw.len() > HEADER_BYTES_MAX {
        return Err(framing("the header section is larger than 32 KiB"));
    }
    let raw = raw.trim_ascii_start();
    let mut before = None;
    for byte in raw {
        if *byte == b'\n' && before != Some(b'\r') {
            return Err(framing("a line of the header section does not end in CR and LF"));
        }
        before = Some(*byte);
    }
    let line = raw.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii_end();
    if line.contains(&b'#') {
        return Err(content("the request target has a fragment"));
    }
    if has_field(raw, b"transfer-encoding") && has_field(raw, b"content-length") {
        return Err(framing("Content-Length and Transfer-Encoding exclude each other"));
    }
    Ok(())
}

/// The checks on what was parsed. Returns path and query.
fn check(header: &RequestHeader) -> Result<(String, Option<String>), Malformed> {
    if header.headers.len() > HEADER_FIELDS_MAX {
        return Err(framing("the request has more than 100 header fields"));
    }
    let mut codings = header.headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next()
        && (codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
    {
        return Err(framing("the only transfer coding that is supported is chunked"));
    }
    let mut lengths = header.headers.get_all(CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next()
        && (lengths.next().is_some() || !length.as_bytes().iter().all(u8::is_ascii_digit))
    {
        return Err(framing("there is more than one Content-Length, or it is no number"));
    }
    // Some servers read an underscore as a hyphen.
    if header.headers.keys().any(|name| matches!(name.as_str(), "transfer_encoding" | "content_length")) {
        return Err(framing("a header field looks like one that frames the request"));
    }
    match header.headers.get(HOST) {
        None if header.version == Version::HTTP_11 => return Err(content("the Host header field is missing")),
        Some(host) if !is_host(host.as_bytes()) => return Err(content("the Host header field names no host")),
        _ => {}
    }
    let target = std::str::from_utf8(header.raw_path()).map_err(|_| content("the request target is not UTF-8"))?;
    split_target(target).ok_or(content("the request target is neither a path nor an http URL"))
}

/// Whether it is a host, with a port or without (RFC 9110 section 7.2): no list, no path, no user, nothing that another reader could
/// end earlier. HTTP/1.0 clients may leave it empty, but then they may leave it out.
fn is_host(value: &[u8]) -> bool {
    let (host, port) = match value {
        [b'[', ..] => match value.iter().position(|byte| *byte == b']') {
            Some(at) => value.split_at(at + 1),
            None => return false,
        },
        _ => value.split_at(value.iter().position(|byte| *byte == b':').unwrap_or(value.len())),
    };
    let in_host = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=".contains(byte);
    let host = match host {
        [b'[', address @ .., b']'] => !address.is_empty() && address.iter().all(|byte| in_host(byte) || *byte == b':'),
        name => !name.is_empty() && name.iter().all(in_host),
    };
    let port = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    host && port
}

/// Whether a field of that name (in lower case) stands in the raw header section.
fn has_field(raw: &[u8], name: &[u8]) -> bool {
    raw.split(|byte| *byte == b'\n').skip(1).any(|line| {
        line.split(|byte| *byte == b':').next().is_some_and(|field| field.trim_ascii().eq_ignore_ascii_case(name))
    })
}

/// Path and query of an origin-form or absolute-form target (RFC 9112 section 3.2).
fn split_target(target: &str) -> Option<(String, Option<String>)> {
    let origin_form = if target.starts_with('/') {
        target
    } else {
        let (scheme, rest) = target.split_once("://")?;
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return None;
        }
        let authority_bytes = rest.find(['/', '?']).unwrap_or(rest.len());
        rest.get(authority_bytes..)?
    };
    if origin_form.contains('#') {
        return None;
    }
    let (path, query) = match origin_form.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (origin_form, None),
    };
    let path = if path.is_empty() { "/" } else { path };
    Some((path.to_owned(), query))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(target: &str, fields: &[(&str, &str)]) -> RequestHeader {
        let mut header = RequestHeader::build("POST", target.as_bytes(), None).unwrap();
        header.set_version(Version::HTTP_11);
        for (name, value) in fields {
            header.append_header((*name).to_owned(), *value).unwrap();
        }
        header
    }

    #[test]
    fn splits_targets_as_they_were_sent() {
        let split = |target: &str| split_target(target).map(|(path, query)| (path, query.unwrap_or_default()));
        assert_eq!(split("/v1/%2e?a=b?c"), Some(("/v1/%2e".into(), "a=b?c".into())));
        assert_eq!(split("http://host:80/v1?x"), Some(("/v1".into(), "x".into())));
        assert_eq!(split("HTTP://host"), Some(("/".into(), String::new())));
        assert_eq!(split("http://host?x=1"), Some(("/".into(), "x=1".into())));
        for refused in ["*", "host:443", "ftp://host/", "/a#b", "", "?q"] {
            assert_eq!(split(refused), None, "{refused:?}");
        }
    }

    #[test]
    fn a_host_is_needed_in_http11_only() {
        assert_eq!(check(&header("/", &[])), Err(content("the Host header field is missing")));
        let mut old = header("/", &[]);
        old.set_version(Version::HTTP_10);
        assert!(check(&old).is_ok());
    }

    #[test]
    fn length_beside_transfer_coding_is_seen_in_the_raw_bytes() {
        let raw = b"POST / HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: chunked\r\nCONTENT-LENGTH : 3\r\n\r\n";
        assert!(check_raw(raw).unwrap_err().framing);
        let raw =
            b"\r\nPOST /content-length: HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: chunked\r\nx: content-length\r\n\r\n";
        assert!(check_raw(raw).is_ok());
    }

    #[test]
    fn line_ends_have_one_form_and_targets_no_fragment() {
        let framing_of =
            |line: &str, end: &str| check_raw(format!("{line}{end}host: a\r\n\r\n").as_bytes()).map_err(|e| e.framing);
        assert_eq!(framing_of("POST /\u{e9} HTTP/1.1", "\r\n"), Ok(()));
        assert_eq!(framing_of("POST / HTTP/1.1", "\n"), Err(true));
        assert_eq!(framing_of("POST /#x HTTP/1.1", "\r\n"), Err(false));
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        for host in ["a", "a.example", "a:1", "a:", "10.0.0.1:65535", "[::1]", "[::1]:80", "a_b"] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for none in [
            "", ":1", "a b", "a,b", "a/b", "u@a", "a:x", "a:1:2", "a:123456", "[::1", "[]", "[::1]x", "a\0", "a?b",
            "\u{e9}",
        ] {
            assert!(!is_host(none.as_bytes()), "{none:?}");
        }
    }

    #[test]
    fn lengths_are_said_once_and_under_their_name() {
        for fields in [
            [("host", "a"), ("content-length", "1"), ("content-length", "1")].as_slice(),
            &[("host", "a"), ("content-length", "1, 1")],
            &[("host", "a"), ("transfer_encoding", "chunked")],
            &[("host", "a"), ("content_length", "1")],
        ] {
            assert!(check(&header("/", fields)).unwrap_err().framing, "{fields:?}");
        }
    }

    #[test]
    fn other_transfer_codings_are_refused() {
        for codings in [&["gzip, chunked"][..], &["gzip", "chunked"], &["chunked, chunked"]] {
            let fields: Vec<_> = codings.iter().map(|coding| ("transfer-encoding", *coding)).collect();
            assert!(check(&header("/", &fields)).unwrap_err().framing, "{codings:?}");
        }
    }

    #[test]
    fn header_sections_are_bounded() {
        let fields: Vec<(String, &str)> = (0..=HEADER_FIELDS_MAX).map(|n| (format!("x-{n}"), "v")).collect();
        let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        assert!(check(&header("/", &fields)).is_err());
        let long = vec![b'a'; HEADER_BYTES_MAX + 1];
        assert!(check_raw(&long).is_err());
    }
}
