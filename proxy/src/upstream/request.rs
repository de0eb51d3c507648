//! Writes the head of the request that an upstream sees.
//!
//! `Host` (or `:authority`), framing and `accept-encoding: identity` are always ours: an answer that cannot be read
//! cannot be inspected. Hop-by-hop fields and Clyra's own never leave.

use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, EXPECT, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Uri};
use pingora::Result;
use pingora::http::RequestHeader;

use super::headers;
use crate::exchange::ports::{UpstreamRequest, UpstreamTarget};

/// The version that the connection speaks; HTTP/2 names the server in the request target instead of in `Host`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Http1,
    Http2,
}

pub(super) fn head(request: &UpstreamRequest, target: &UpstreamTarget, version: Version) -> Result<Box<RequestHeader>> {
    let path = full_path(target, &request.path_and_query);
    let fields = request.headers.len().saturating_add(3);
    let mut head = RequestHeader::build(request.method.clone(), path.as_bytes(), Some(fields))?;
    for (name, value) in headers::end_to_end(&request.headers) {
        if name != HOST && name != CONTENT_LENGTH && name != ACCEPT_ENCODING && name != EXPECT {
            head.append_header(name.clone(), value.clone())?;
        }
    }
    match version {
        Version::Http1 => head.insert_header(HOST, target.authority())?,
        Version::Http2 => {
            let uri = Uri::builder()
                .scheme(if target.tls { "https" } else { "http" })
                .authority(target.authority())
                .path_and_query(path)
                .build();
            let uri = uri.map_err(|_| pingora::Error::new(pingora::ErrorType::InvalidHTTPHeader))?;
            head.set_uri(uri);
        }
    }
    head.insert_header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))?;
    let body_bytes = request.body.bytes().len();
    if body_bytes > 0 || expects_a_body(&request.method) {
        head.insert_header(CONTENT_LENGTH, HeaderValue::from(body_bytes))?;
    }
    Ok(Box::new(head))
}

/// The head of a request of our own, without a body, over HTTP/1.1.
pub(super) fn own_head(
    target: &UpstreamTarget,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Result<Box<RequestHeader>> {
    let mut head = RequestHeader::build(method.clone(), full_path(target, path).as_bytes(), Some(headers.len() + 2))?;
    head.insert_header(HOST, target.authority())?;
    head.insert_header(USER_AGENT, HeaderValue::from_static(concat!("clyra/", env!("CARGO_PKG_VERSION"))))?;
    for (name, value) in headers {
        head.append_header(name.clone(), value.clone())?;
    }
    Ok(Box::new(head))
}

/// The path that the server sees: the target's prefix, then what the client asked for.
pub(crate) fn full_path(target: &UpstreamTarget, path_and_query: &str) -> String {
    format!("{}{path_and_query}", target.path_prefix)
}

/// Methods whose requests say `content-length: 0` when they have no body (RFC 9110 section 8.6).
fn expects_a_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::guard::Inspected;
    use crate::upstream::Provider;

    const URL1: &str = "http://host:8000/v1";
    const URL2: &str = "https://host/v1";

    fn target(url: &str) -> UpstreamTarget {
        UpstreamTarget::parse("main", url).unwrap()
    }

    fn request(url: &str) -> UpstreamRequest {
        let mut fields = HeaderMap::new();
        for (name, value) in [
            ("host", "wrong.example"),
            ("content-length", "999"),
            ("accept-encoding", "br"),
            ("expect", "100-continue"),
            ("connection", "upgrade, x-hop"),
            ("upgrade", "websocket"),
            ("x-hop", "1"),
            ("x-clyra-run-id", "run"),
            ("authorization", "Bearer k"),
        ] {
            fields.append(name, HeaderValue::from_static(value));
        }
        UpstreamRequest {
            provider: Provider::of(target(url)),
            method: Method::POST,
            path_and_query: "/chat?x=1".into(),
            headers: fields,
            body: Inspected::for_test(Bytes::from_static(b"{}")),
            made: Arc::default(),
        }
    }

    #[test]
    fn over_http1_the_head_is_ours_and_only_end_to_end_fields_pass() {
        let head = head(&request(URL1), &target(URL1), Version::Http1).unwrap();
        assert_eq!(head.raw_path(), b"/v1/chat?x=1");
        let mut names: Vec<_> = head.headers.keys().map(|name| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept-encoding", "authorization", "content-length", "host"]);
        assert_eq!(head.headers["host"], "host:8000");
        assert_eq!(head.headers["content-length"], "2");
        assert_eq!(head.headers["accept-encoding"], "identity");
    }

    #[test]
    fn over_http2_the_authority_stands_in_the_target() {
        let head = head(&request(URL2), &target(URL2), Version::Http2).unwrap();
        assert_eq!(head.uri, "https://host/v1/chat?x=1");
        assert!(!head.headers.contains_key(HOST));
    }
}
