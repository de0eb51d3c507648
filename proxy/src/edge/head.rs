//! Reads a request head, and refuses what two HTTP implementations could understand differently.
//!
//! pingora has refused before: duplicate or conflicting `Content-Length`, duplicate `Host`, user information in the
//! authority, a target that disagrees with `Host`, HTTP/1.0 with `Transfer-Encoding`, a last transfer coding other than
//! `chunked`, CONNECT. What it lets pass and this does not: `Content-Length` beside `Transfer-Encoding` (RFC 9112
//! section 6.1), other transfer codings, a missing `Host` (section 3.2), header sections beyond our limits.

use http::header::{HOST, TRANSFER_ENCODING};
use http::{HeaderValue, Version};
use pingora::http::RequestHeader;
use pingora::protocols::http::ServerSession;
use uuid::Uuid;

use super::limits::{HEADER_BYTES_MAX, HEADER_FIELDS_MAX};
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
    let (path, query) = check(header, raw.as_deref())?;
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

/// The checks, on what was parsed and on what stood on the wire. Returns path and query.
fn check(header: &RequestHeader, raw: Option<&[u8]>) -> Result<(String, Option<String>), Malformed> {
    if let Some(raw) = raw {
        if raw.len() > HEADER_BYTES_MAX {
            return Err(framing("the header section is larger than 32 KiB"));
        }
        // pingora drops the length silently, so only the raw bytes tell.
        if has_field(raw, b"transfer-encoding") && has_field(raw, b"content-length") {
            return Err(framing("Content-Length and Transfer-Encoding exclude each other"));
        }
    }
    if header.headers.len() > HEADER_FIELDS_MAX {
        return Err(framing("the request has more than 100 header fields"));
    }
    let mut codings = header.headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next()
        && (codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
    {
        return Err(framing("the only transfer coding that is supported is chunked"));
    }
    if header.version == Version::HTTP_11 && !header.headers.contains_key(HOST) {
        return Err(content("the Host header field is missing"));
    }
    let target = std::str::from_utf8(header.raw_path()).map_err(|_| content("the request target is not UTF-8"))?;
    split_target(target).ok_or(content("the request target is neither a path nor an http URL"))
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
        assert_eq!(check(&header("/", &[]), None), Err(content("the Host header field is missing")));
        let mut old = header("/", &[]);
        old.set_version(Version::HTTP_10);
        assert!(check(&old, None).is_ok());
    }

    #[test]
    fn length_beside_transfer_coding_is_seen_in_the_raw_bytes() {
        let parsed = header("/", &[("host", "a"), ("transfer-encoding", "chunked")]);
        let raw = b"POST / HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: chunked\r\nCONTENT-LENGTH : 3\r\n\r\n";
        assert!(check(&parsed, Some(raw)).unwrap_err().framing);
        let raw =
            b"POST /content-length: HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: chunked\r\nx: content-length\r\n\r\n";
        assert!(check(&parsed, Some(raw)).is_ok());
    }

    #[test]
    fn other_transfer_codings_are_refused() {
        for codings in [&["gzip, chunked"][..], &["gzip", "chunked"], &["chunked, chunked"]] {
            let fields: Vec<_> = codings.iter().map(|coding| ("transfer-encoding", *coding)).collect();
            assert!(check(&header("/", &fields), None).unwrap_err().framing, "{codings:?}");
        }
    }

    #[test]
    fn header_sections_are_bounded() {
        let fields: Vec<(String, &str)> = (0..=HEADER_FIELDS_MAX).map(|n| (format!("x-{n}"), "v")).collect();
        let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        assert!(check(&header("/", &fields), None).is_err());
        let long = vec![b'a'; HEADER_BYTES_MAX + 1];
        assert!(check(&header("/", &[("host", "a")]), Some(&long)).is_err());
    }
}
