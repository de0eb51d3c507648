//! The client's own credentials: where they stand, and how they are taken out of a request.

use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderName, HeaderValue};
use zeroize::Zeroizing;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const API_KEY: HeaderName = HeaderName::from_static("api-key");
const X_GOOG_API_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");

/// Every header that a provider takes for credentials, those of a signature (SigV4) included.
const CREDENTIAL_HEADERS: [&str; 8] = [
    "authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "ocp-apim-subscription-key",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-content-sha256",
];

/// Query parameters that Google, Azure and AWS take for credentials, without regard to case.
const CREDENTIAL_PARAMETERS: [&str; 6] =
    ["key", "access_token", "oauth_token", "api-key", "api_key", "subscription-key"];
/// A browser cannot set headers on a WebSocket: OpenAI takes the key as one of the subprotocols that are offered.
const KEY_SUBPROTOCOL: &str = "openai-insecure-api-key.";
/// A presigned request (SigV4) has its signature in parameters of this name.
const SIGNATURE_PARAMETERS: &str = "x-amz-";

/// Where a client's key stands, and where a real one goes in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeySlot {
    Bearer,
    Header(HeaderName),
    /// `?key=`
    Query,
}

/// The key that the client's library sends; where it sends several, in the order in which the policy looks for callers.
pub(super) fn client_key(headers: &HeaderMap, query: Option<&str>) -> Option<(KeySlot, Zeroizing<String>)> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let header = |name: HeaderName| Some((text(&name)?, KeySlot::Header(name)));
    let bearer = || {
        let (scheme, key) = text(&AUTHORIZATION)?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some((key.trim(), KeySlot::Bearer))
    };
    if let Some((key, slot)) =
        header(X_API_KEY).or_else(bearer).or_else(|| header(API_KEY)).or_else(|| header(X_GOOG_API_KEY))
    {
        return Some((slot, Zeroizing::new(key.to_owned())));
    }
    if let Some(key) = subprotocols(headers).find_map(|offer| offer.strip_prefix(KEY_SUBPROTOCOL)) {
        return Some((KeySlot::Bearer, Zeroizing::new(key.to_owned())));
    }
    let (_, key) = query?.split('&').map(parameter).find(|(name, _)| name == "key")?;
    Some((KeySlot::Query, Zeroizing::new(key)))
}

/// Takes the client's credentials out of the headers.
pub(super) fn strip_headers(headers: &mut HeaderMap) {
    for name in CREDENTIAL_HEADERS {
        headers.remove(name);
    }
    if subprotocols(headers).any(|offer| offer.starts_with(KEY_SUBPROTOCOL)) {
        let others: Vec<&str> = subprotocols(headers).filter(|offer| !offer.starts_with(KEY_SUBPROTOCOL)).collect();
        let others = HeaderValue::from_str(&others.join(", ")).ok().filter(|others| !others.is_empty());
        match others {
            Some(others) => headers.insert(SEC_WEBSOCKET_PROTOCOL, others),
            None => headers.remove(SEC_WEBSOCKET_PROTOCOL),
        };
    }
}

/// What a WebSocket's client offers to speak (RFC 6455 section 11.3.4).
fn subprotocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let offers = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    offers.filter_map(|offer| offer.to_str().ok()).flat_map(|offer| offer.split(',')).map(str::trim)
}

/// The path and query without the client's credentials; everything else stays byte for byte.
pub(crate) fn strip_query(path_and_query: &str) -> String {
    let Some((path, query)) = path_and_query.split_once('?') else { return path_and_query.to_owned() };
    let kept: Vec<&str> = query.split('&').filter(|part| !is_credential(&parameter(part).0)).collect();
    if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) }
}

fn is_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    CREDENTIAL_PARAMETERS.contains(&name.as_str()) || name.starts_with(SIGNATURE_PARAMETERS)
}

/// A parameter's name and value as a server reads them: `%6bey=` is `key=`.
fn parameter(part: &str) -> (String, String) {
    let (name, value) = part.split_once('=').unwrap_or((part, ""));
    let decoded = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    (decoded(name), decoded(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn every_spelling_of_credentials_is_stripped_and_nothing_else() {
        for (given, left) in [
            ("/v1/x", "/v1/x"),
            ("/v1/x?key=k", "/v1/x"),
            ("/v1/x?alt=sse&key=k&b=%20", "/v1/x?alt=sse&b=%20"),
            ("/v1/x?%6bey=k&KEY=k&key", "/v1/x"),
            ("/v1/x?access_token=t&monkey=1", "/v1/x?monkey=1"),
            ("/v1/x?X-Amz-Signature=s&api-version=1", "/v1/x?api-version=1"),
            ("/v1/x?a=key=b&&c", "/v1/x?a=key=b&&c"),
        ] {
            assert_eq!(strip_query(given), left, "{given}");
        }
        let mut all = headers(&[
            ("authorization", "Bearer k"),
            ("x-api-key", "k"),
            ("api-key", "k"),
            ("x-goog-api-key", "k"),
            ("x-amz-date", "d"),
            ("x-amz-security-token", "t"),
            ("anthropic-version", "v"),
        ]);
        all.append("x-api-key", HeaderValue::from_static("second"));
        strip_headers(&mut all);
        assert_eq!(all.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["anthropic-version"]);
    }

    #[test]
    fn the_clients_key_is_found_where_its_library_puts_it() {
        let key = |pairs: &[(&'static str, &'static str)], query| {
            client_key(&headers(pairs), query).map(|(slot, key)| (slot, key.to_string()))
        };
        let is = |slot, key: &str| Some((slot, key.to_owned()));
        assert_eq!(key(&[("authorization", "bearer  k1")], None), is(KeySlot::Bearer, "k1"));
        assert_eq!(
            key(&[("authorization", "Bearer k1"), ("x-api-key", "k2")], None),
            is(KeySlot::Header(X_API_KEY), "k2")
        );
        assert_eq!(key(&[("api-key", "k3")], None), is(KeySlot::Header(API_KEY), "k3"));
        assert_eq!(key(&[("x-goog-api-key", "k4")], Some("key=k5")), is(KeySlot::Header(X_GOOG_API_KEY), "k4"));
        assert_eq!(key(&[], Some("alt=sse&key=k%355")), is(KeySlot::Query, "k55"));
        assert_eq!(key(&[("authorization", "Basic abc")], None), None);
        let offers = [("sec-websocket-protocol", "realtime, openai-insecure-api-key.k6, openai-beta.realtime-v1")];
        assert_eq!(key(&offers, None), is(KeySlot::Bearer, "k6"));
        let mut offers = headers(&offers);
        strip_headers(&mut offers);
        assert_eq!(offers["sec-websocket-protocol"], "realtime, openai-beta.realtime-v1");
        let mut only = headers(&[("sec-websocket-protocol", "openai-insecure-api-key.k6")]);
        strip_headers(&mut only);
        assert!(only.is_empty());
    }

    proptest::proptest! {
        /// Of any query, what is left is what was there, in its order, and no part of it is a credential to whoever decodes it.
        #[test]
        fn what_is_left_of_a_query_is_as_it_was(query in "([a-zA-Z0-9%=&_+\\-]|key=|%6B|%4bey|access_token|X-Amz-){0,20}") {
            let left = strip_query(&format!("/p?{query}"));
            let left: Vec<&str> = left.strip_prefix("/p").unwrap().trim_start_matches('?').split('&').collect();
            let mut given = query.split('&');
            for part in left.iter().filter(|part| !part.is_empty()) {
                proptest::prop_assert!(given.any(|other| other == *part), "{part} of {query}");
                let name = percent_encoding::percent_decode_str(part.split('=').next().unwrap());
                let name = name.decode_utf8_lossy().to_lowercase();
                proptest::prop_assert!(!["key", "access_token"].contains(&name.as_str()), "{part} of {query}");
                proptest::prop_assert!(!name.starts_with("x-amz-"), "{part} of {query}");
            }
        }
    }
}
