//! Which headers travel: end-to-end ones do, in both directions; hop-by-hop ones (RFC 9110 §7.6.1) and Clyra's own never
//! pass through.

use std::collections::BTreeSet;

use http::{HeaderMap, HeaderName};

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-clyra-request-id");
pub(super) const DECISION: HeaderName = HeaderName::from_static("x-clyra-decision");
pub(super) const POLICY: HeaderName = HeaderName::from_static("x-clyra-policy");
pub(super) const RECEIPT: HeaderName = HeaderName::from_static("x-clyra-receipt");

/// Headers that belong to one hop, and those whose value the upstream client sets itself.
const OWN_HOP: [&str; 13] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "host",
    "content-length",
    "accept-encoding",
    "expect",
];

/// The headers that go on. A client cannot steer the upstream connection, a provider cannot speak in Clyra's name.
pub(super) fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let named: BTreeSet<String> = headers
        .get_all(http::header::CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let mut out = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let text = name.as_str();
        if OWN_HOP.contains(&text) || named.contains(text) || text.starts_with("x-clyra-") {
            continue;
        }
        out.append(name.clone(), value.clone());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_end_to_end_headers_travel() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer k"),
            ("anthropic-beta", "a"),
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("x-clyra-run-id", "r"),
            ("content-length", "3"),
            ("accept-encoding", "br"),
        ] {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        headers.append("anthropic-beta", "b".parse().unwrap());
        let out = end_to_end(&headers);
        let names: Vec<&str> = out.keys().map(HeaderName::as_str).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        assert_eq!(out.get_all("anthropic-beta").iter().count(), 2);
    }
}
