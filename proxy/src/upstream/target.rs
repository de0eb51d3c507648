//! Reads a configured upstream URL into an [`UpstreamTarget`]: scheme, host, port and path prefix, and nothing that
//! could smuggle credentials or a query into the requests made to it.

use std::sync::Arc;

use http::Uri;

use crate::exchange::ports::UpstreamTarget;

/// The longest host name that DNS can carry (RFC 1035 section 2.3.4, as text).
const HOST_BYTES_MAX: usize = 253;

/// Why a configured upstream address was refused. The messages are for whoever wrote the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("upstream {name}: {url:?} is not an absolute URL such as https://api.example.com/v1")]
    NotAUrl { name: String, url: String },
    #[error("upstream {name}: the scheme {scheme:?} is not supported, use http or https")]
    Scheme { name: String, scheme: String },
    #[error("upstream {name}: the host {host:?} is not a host name or an IP address")]
    Host { name: String, host: String },
    #[error("upstream {name}: the URL carries a user name or password; give credentials to the client instead")]
    UserInfo { name: String },
    #[error("upstream {name}: the URL carries a {part}; give scheme, host, port and path only")]
    Extra { name: String, part: &'static str },
}

impl UpstreamTarget {
    /// Reads `http(s)://host[:port][/prefix]`. The trailing slash of the prefix is dropped.
    pub fn parse(name: &str, url: &str) -> Result<Self, TargetError> {
        let owned = || name.to_owned();
        // `http::Uri` silently drops a fragment and accepts user information, so look for both first.
        if url.contains('#') {
            return Err(TargetError::Extra { name: owned(), part: "fragment" });
        }
        let not_a_url = || TargetError::NotAUrl { name: owned(), url: without_user_info(url) };
        let uri: Uri = url.parse().map_err(|_| not_a_url())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(not_a_url());
        };
        let tls = match scheme {
            "https" => true,
            "http" => false,
            other => return Err(TargetError::Scheme { name: owned(), scheme: other.to_owned() }),
        };
        if authority.as_str().contains('@') {
            return Err(TargetError::UserInfo { name: owned() });
        }
        if uri.query().is_some() {
            return Err(TargetError::Extra { name: owned(), part: "query" });
        }
        let host = host_of(authority.host())
            .ok_or_else(|| TargetError::Host { name: owned(), host: authority.host().to_owned() })?;
        let port = match authority.port() {
            None => default_port(tls),
            Some(port) if port.as_u16() != 0 => port.as_u16(),
            Some(_) => return Err(not_a_url()),
        };
        // `host:` and `host:99999` leave a colon without a readable port.
        if authority.port().is_none() && authority.as_str().len() != authority.host().len() {
            return Err(not_a_url());
        }
        let path_prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { name: Arc::from(name), host, port, tls, path_prefix })
    }

    /// What a request to this target says in `Host` or `:authority`: the port only where it is not the scheme's own.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == default_port(self.tls) { host } else { format!("{host}:{}", self.port) }
    }
}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

/// A host in the form that is kept: lower case, an IPv6 address without its brackets.
fn host_of(text: &str) -> Option<String> {
    if let Some(inner) = text.strip_prefix('[') {
        let address: std::net::Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
        return Some(address.to_string());
    }
    let labels_are_well_formed = text
        .trim_end_matches('.')
        .split('.')
        .all(|label| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
    (labels_are_well_formed && text.len() <= HOST_BYTES_MAX).then(|| text.to_ascii_lowercase())
}

/// The URL for an error message: whatever stands before an `@` may be a password.
fn without_user_info(url: &str) -> String {
    url.rsplit_once('@').map_or_else(|| url.to_owned(), |(_, rest)| format!("…@{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<UpstreamTarget, TargetError> {
        UpstreamTarget::parse("main", url)
    }

    #[test]
    fn reads_scheme_host_port_and_prefix() {
        let target = parse("https://API.OpenAI.com/v1/").unwrap();
        assert_eq!((target.host.as_str(), target.port, target.tls), ("api.openai.com", 443, true));
        assert_eq!(target.path_prefix, "/v1");
        assert_eq!(target.authority(), "api.openai.com");

        let target = parse("http://127.0.0.1:11434").unwrap();
        assert_eq!((target.host.as_str(), target.port, target.tls), ("127.0.0.1", 11434, false));
        assert_eq!(target.path_prefix, "");
        assert_eq!(target.authority(), "127.0.0.1:11434");
    }

    #[test]
    fn keeps_an_ipv6_address_without_brackets_and_gives_them_back() {
        let target = parse("http://[::1]:8000/").unwrap();
        assert_eq!(target.host, "::1");
        assert_eq!(target.authority(), "[::1]:8000");
    }

    #[test]
    fn refuses_what_does_not_name_a_server() {
        for url in ["", "api.openai.com", "/v1", "https://", "http://host:0", "http://host:99999", "http://ho st"] {
            assert!(matches!(parse(url), Err(TargetError::NotAUrl { .. })), "{url:?}: {:?}", parse(url));
        }
        assert!(matches!(parse("ftp://host/"), Err(TargetError::Scheme { .. })));
        assert!(matches!(parse("http://a..b/"), Err(TargetError::Host { .. })));
        assert!(matches!(parse("http://host/?a=b"), Err(TargetError::Extra { part: "query", .. })));
        assert!(matches!(parse("http://host/#a"), Err(TargetError::Extra { part: "fragment", .. })));
    }

    #[test]
    fn never_repeats_a_password() {
        for url in ["https://user:hunter2@host/", "https://user:hunter2@ho st/"] {
            let message = parse(url).unwrap_err().to_string();
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
}
