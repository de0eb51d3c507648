//! Describes an upstream connection to pingora, with its traps made unrepresentable.
//!
//! pingora resolves names while blocking (and panics when that fails), and skips certificate verification altogether
//! when the server name is empty. Here an address is always a resolved one, and TLS exists only together with a
//! [`ServerName`], which is never empty.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora::protocols::l4::socket::SocketAddr as PeerAddress;
use pingora::upstreams::peer::{HttpPeer, PeerOptions, Scheme};

use super::proxy::{HttpProxy, Tunnel};
use super::tls::Identity;
use crate::exchange::ports::UpstreamTarget;

/// The name that the server's certificate must carry. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerName(String);

impl ServerName {
    fn new(host: &str) -> Option<Self> {
        (!host.is_empty()).then(|| Self(host.to_owned()))
    }
}

/// How a connection is protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Security {
    Plain,
    Tls(ServerName),
}

impl Security {
    /// What the target asks for; `None` when it asks for TLS and has no host that a certificate could be checked
    /// against.
    pub(crate) fn of(target: &UpstreamTarget) -> Option<Self> {
        if target.tls { ServerName::new(&target.host).map(Self::Tls) } else { Some(Self::Plain) }
    }
}

/// Waits that apply to a connection as a whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waits {
    /// TCP and TLS handshakes together.
    pub(crate) connect: Duration,
    /// How long an unused connection stays in the pool.
    pub(crate) pooled: Duration,
}

/// How connections to one endpoint are made, apart from where it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Way {
    /// Its own number: connections that trust or show something else are never shared.
    pub(crate) group: u64,
    /// Name that the certificate must carry, in place of the host's.
    pub(crate) server_name: Option<String>,
    pub(crate) identity: Option<Arc<Identity>>,
    pub(crate) proxy: Option<Arc<HttpProxy>>,
}

impl Way {
    /// The host and port that a connection is opened to: the proxy's, where there is one.
    pub(crate) fn place<'a>(&'a self, target: &'a UpstreamTarget) -> (&'a str, u16) {
        match &self.proxy {
            Some(proxy) => (&proxy.host, proxy.port),
            None => (&target.host, target.port),
        }
    }

    /// The peer at an address of [`Way::place`]; `None` as in [`Security::of`].
    pub(crate) fn peer(&self, target: &UpstreamTarget, address: SocketAddr, waits: Waits) -> Option<HttpPeer> {
        let security = match &self.server_name {
            Some(name) if target.tls => Security::Tls(ServerName::new(name)?),
            _ => Security::of(target)?,
        };
        let mut peer = peer(address, security, waits, self.group);
        if let Some(identity) = self.identity.as_ref().filter(|_| target.tls) {
            peer.options.ca = identity.ca();
            peer.client_cert_key = identity.client();
        }
        if let Some(proxy) = &self.proxy {
            let host = if target.host.contains(':') { format!("[{}]", target.host) } else { target.host.clone() };
            let target = format!("{host}:{}", target.port);
            peer.options.custom_l4 = Some(Arc::new(Tunnel { proxy: Arc::clone(proxy), target }));
        }
        Some(peer)
    }
}

/// Concurrent requests on one HTTP/2 connection: what servers commonly allow.
const H2_STREAMS_MAX: usize = 100;
/// An HTTP/2 connection that does not answer a ping for that long is given up, so that streams do not hang on a dead one.
const H2_PING: Duration = Duration::from_secs(30);

/// The peer for one connection. Peers with different `group` never share a pooled connection; 0 is the common group.
pub(crate) fn peer(address: SocketAddr, security: Security, waits: Waits, group: u64) -> HttpPeer {
    let mut options = PeerOptions::new();
    options.total_connection_timeout = Some(waits.connect);
    options.connection_timeout = Some(waits.connect);
    options.idle_timeout = Some(waits.pooled);
    let (scheme, sni) = match security {
        Security::Plain => (Scheme::HTTP, String::new()),
        Security::Tls(ServerName(name)) => {
            options.set_http_version(2, 1);
            options.max_h2_streams = H2_STREAMS_MAX;
            options.h2_ping_interval = Some(H2_PING);
            (Scheme::HTTPS, name)
        }
    };
    HttpPeer {
        _address: PeerAddress::Inet(address),
        scheme,
        sni,
        proxy: None,
        client_cert_key: None,
        group_key: group,
        options,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAITS: Waits = Waits { connect: Duration::from_secs(1), pooled: Duration::from_secs(1) };

    #[test]
    fn tls_without_a_server_name_cannot_be_described() {
        let mut target = UpstreamTarget::parse("main", "https://host").unwrap();
        assert_eq!(Security::of(&target), Some(Security::Tls(ServerName("host".into()))));
        target.host = String::new();
        assert_eq!(Security::of(&target), None);
    }

    #[test]
    fn certificates_are_verified_and_http2_is_offered_over_tls_only() {
        let address = "127.0.0.1:443".parse().unwrap();
        let tls = peer(address, Security::Tls(ServerName("host".into())), WAITS, 0);
        assert!(tls.is_tls() && tls.options.verify_cert && tls.options.verify_hostname);
        assert_eq!(tls.options.alpn.get_max_http_version(), 2);
        let plain = peer(address, Security::Plain, WAITS, 0);
        assert!(!plain.is_tls());
        assert_eq!(plain.options.alpn.get_max_http_version(), 1);
    }
}
