//! Which headers end at this hop, in both directions.

use http::header::{CONNECTION, HeaderName};
use http::{HeaderMap, HeaderValue};

/// Headers with this prefix are a conversation between the client and Clyra; no upstream sees them, and no upstream
/// can forge them.
pub(crate) const OWN_PREFIX: &str = "x-clyra-";

/// Connection-specific fields (RFC 9110 section 7.6.1), with the two that were in use before it.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether the field belongs to one connection only.
pub(crate) fn is_hop_by_hop(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(&name.as_str())
}

/// Whether the field is part of how a message is framed; whoever writes the message sets it.
pub(crate) fn is_framing(name: &HeaderName) -> bool {
    is_hop_by_hop(name) || name == http::header::CONTENT_LENGTH
}

/// Whether the field is Clyra's own.
pub(crate) fn is_own(name: &HeaderName) -> bool {
    name.as_str().starts_with(OWN_PREFIX)
}

/// The fields that `Connection` names: they end here too, whatever they are.
pub(crate) fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|token| token.trim().parse().ok())
        .collect()
}

/// The fields of a message that go on to the next hop.
pub(crate) fn end_to_end(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    let nominated = nominated(headers);
    headers.iter().filter(move |(name, _)| !is_hop_by_hop(name) && !is_own(name) && !nominated.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_end_to_end_fields_go_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Secret-Hop"),
            ("x-secret-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("x-clyra-app", "a"),
            ("content-type", "text/plain"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let left: Vec<_> = end_to_end(&headers).map(|(name, _)| name.as_str()).collect();
        assert_eq!(left, ["content-type"]);
    }
}
