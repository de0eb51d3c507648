//! What each upstream may have of its own: authorities, a certificate to show, a server name, a proxy.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use pingora::tls::{PrivateKeyDer, RootCertStore, ServerConfig, TlsAcceptor, WebPkiClientVerifier};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::identity::{Identity, small_trust_store};
use super::origin::{Connection, Origin, call, request, service, text};
use crate::exchange::ports::{UpstreamError, UpstreamRequest, UpstreamTarget};
use crate::upstream::peer::Waits;
use crate::upstream::{Provider, ProxySettings, SecretPlace, TlsSettings, UpstreamSettings};

fn settings(url: &str) -> UpstreamSettings {
    UpstreamTarget::parse("main", url).unwrap().into()
}

fn ask(settings: UpstreamSettings) -> UpstreamRequest {
    let provider = Arc::new(Provider::new(settings, None, 3).unwrap());
    UpstreamRequest { provider, ..request("http://unused", "{}") }
}

/// A client's certificate, in files, and what trusts it.
struct Shown {
    dir: tempfile::TempDir,
    certificate: rcgen::CertifiedKey<rcgen::KeyPair>,
}

impl Shown {
    fn new() -> Self {
        let certificate = rcgen::generate_simple_self_signed(vec!["client".to_owned()]).unwrap();
        let shown = Self { dir: tempfile::tempdir().unwrap(), certificate };
        std::fs::write(shown.files().0, shown.certificate.cert.pem()).unwrap();
        std::fs::write(shown.files().1, shown.certificate.signing_key.serialize_pem()).unwrap();
        shown
    }

    fn files(&self) -> (PathBuf, PathBuf) {
        (self.dir.path().join("client.pem"), self.dir.path().join("client.key"))
    }

    /// Accepts TLS from whoever shows it.
    fn acceptor(&self) -> (TlsAcceptor, tempfile::NamedTempFile) {
        pingora::tls::install_default_crypto_provider();
        let server = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.cert.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
        let key = PrivateKeyDer::try_from(server.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![server.cert.der().clone()], key)
            .unwrap();
        let ca_file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(ca_file.path(), server.cert.pem()).unwrap();
        (TlsAcceptor::from(Arc::new(config)), ca_file)
    }
}

/// Takes a TLS connection and answers a request on it; false where the handshake fails.
async fn answer(acceptor: &TlsAcceptor, origin: &mut Origin) -> bool {
    let Ok(mut tls) = acceptor.accept(origin.connection().await.0).await else { return false };
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n{}") {
        let Ok(byte) = tls.read_u8().await else { return false };
        head.push(byte);
    }
    tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
    tls.flush().await.unwrap();
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_shown_to_the_upstream_that_it_is_for() {
    let shown = Shown::new();
    let (acceptor, ca_file) = shown.acceptor();
    let mut origin = Origin::new().await;
    let url = format!("https://localhost:{}", origin.address.port());
    // The process trusts somebody else: this upstream has its own authorities.
    let service = service();
    let tls = TlsSettings { ca_file: Some(ca_file.path().into()), client: Some(shown.files()), server_name: None };
    let with = ask(UpstreamSettings { tls: tls.clone(), ..settings(&url) });
    let (reply, accepted) = tokio::join!(call(&service, with), answer(&acceptor, &mut origin));
    assert_eq!(text(&mut reply.unwrap()).await.unwrap(), "ok");
    assert!(accepted);

    let without = ask(UpstreamSettings { tls: TlsSettings { client: None, ..tls }, ..settings(&url) });
    let (reply, accepted) = tokio::join!(call(&service, without), answer(&acceptor, &mut origin));
    assert!(reply.is_err() && !accepted, "{reply:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_name_that_a_certificate_must_carry_can_be_given() {
    let identity = Identity::new();
    let acceptor = identity.acceptor(&[b"http/1.1"]);
    let mut origin = Origin::new().await;
    let url = format!("https://127.0.0.1:{}", origin.address.port());
    for (server_name, works) in [(Some("localhost"), true), (Some("other.example"), false), (None, false)] {
        let server_name = server_name.map(str::to_owned);
        let tls = TlsSettings { ca_file: Some(identity.ca_file()), client: None, server_name };
        let request = ask(UpstreamSettings { tls, ..settings(&url) });
        let service = service();
        let (reply, accepted) = tokio::join!(call(&service, request), answer(&acceptor, &mut origin));
        assert_eq!((reply.is_ok(), accepted), (works, works));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_not_used_by_an_upstream_that_trusts_somebody_else() {
    let identity = Identity::new();
    let acceptor = identity.acceptor(&[b"http/1.1"]);
    let mut origin = Origin::new().await;
    let url = format!("https://localhost:{}", origin.address.port());
    let service = service();
    let trusting = TlsSettings { ca_file: Some(identity.ca_file()), ..TlsSettings::default() };
    let trusting = Provider::new(UpstreamSettings { tls: trusting, ..settings(&url) }, None, 3).unwrap();
    let call_of = |provider: Provider| {
        let request = UpstreamRequest { provider: Arc::new(provider), ..request("http://unused", "{}") };
        call(&service, request)
    };
    let (reply, mut tls) = tokio::join!(call_of(trusting), async {
        let mut tls = acceptor.accept(origin.connection().await.0).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n{}") {
            head.push(tls.read_u8().await.unwrap());
        }
        tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        tls.flush().await.unwrap();
        tls
    });
    let mut reply = reply.unwrap();
    assert_eq!(text(&mut reply).await.unwrap(), "ok");
    // It is in the pool now, open and well.
    reply.body.release().await;
    let other = Provider::new(settings(&url), None, 4).unwrap();
    let (reply, accepted) = tokio::join!(call_of(other), answer(&acceptor, &mut origin));
    assert!(matches!(reply, Err(UpstreamError::Connect { .. })) && !accepted, "{reply:?}");
    let seen = tokio::time::timeout(Duration::from_millis(1), tls.read_u8()).await;
    assert!(!matches!(seen, Ok(Ok(_))), "nothing was sent on it");
}

#[test]
fn certificates_that_cannot_be_used_stop_the_start() {
    let (shown, other) = (Shown::new(), Shown::new());
    let broken = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(broken.path(), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let own = || TlsSettings::default();
    for tls in [
        TlsSettings { ca_file: Some("/nowhere/ca.pem".into()), ..own() },
        TlsSettings { ca_file: Some(broken.path().into()), ..own() },
        TlsSettings { client: Some((broken.path().into(), shown.files().1)), ..own() },
        TlsSettings { client: Some((shown.files().0, shown.files().0)), ..own() },
        TlsSettings { client: Some((shown.files().0, other.files().1)), ..own() },
    ] {
        let error = Provider::new(UpstreamSettings { tls, ..settings("https://h") }, None, 0).unwrap_err().to_string();
        assert!(error.contains("upstream main") && !error.contains("PRIVATE"), "{error}");
    }
    let tls = TlsSettings { ca_file: Some(small_trust_store()), client: Some(shown.files()), server_name: None };
    let provider = Provider::new(UpstreamSettings { tls, ..settings("https://h") }, None, 0).unwrap();
    assert!(!format!("{provider:?}").contains("PRIVATE"));
}

#[tokio::test(start_paused = true)]
async fn a_renewed_certificate_is_shown_once_its_key_is_there_as_well() {
    let (shown, next) = (Shown::new(), Shown::new());
    let tls = TlsSettings { client: Some(shown.files()), ..TlsSettings::default() };
    let provider = Provider::new(UpstreamSettings { tls, ..settings("https://h") }, None, 0).unwrap();
    let leaf = || {
        let endpoint = &provider.endpoints()[0];
        let waits = Waits { connect: Duration::from_secs(1), pooled: Duration::from_secs(1) };
        let peer = endpoint.way.peer(&endpoint.target, ([127, 0, 0, 1], 1).into(), waits).unwrap();
        peer.client_cert_key.unwrap().leaf().borrow_raw_cert().clone()
    };
    let look = || tokio::time::advance(Duration::from_secs(60));
    assert_eq!(leaf(), shown.certificate.cert.der().to_vec());
    std::fs::copy(next.files().0, shown.files().0).unwrap();
    look().await;
    assert_eq!(leaf(), shown.certificate.cert.der().to_vec(), "the two do not fit together");
    std::fs::copy(next.files().1, shown.files().1).unwrap();
    look().await;
    assert_eq!(leaf(), next.certificate.cert.der().to_vec());
}

/// What a proxy is asked first.
async fn connect(connection: &mut Connection) -> String {
    connection.request().await.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_is_asked_for_the_target_by_name_and_the_tunnel_is_used_again() {
    let mut proxy = Origin::new().await;
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    std::fs::write(&password, "hunter2\n").unwrap();
    let settings = UpstreamSettings {
        proxy: Some(ProxySettings {
            host: "127.0.0.1".into(),
            port: proxy.address.port(),
            login: Some(("me".into(), SecretPlace::File(password))),
        }),
        // No resolver knows it: that is the proxy's business.
        ..settings("http://model.invalid:8000/base")
    };
    let provider = Arc::new(Provider::new(settings, None, 3).unwrap());
    assert!(!format!("{provider:?}").contains("hunter2"));
    let ask = || UpstreamRequest { provider: Arc::clone(&provider), ..request("http://unused", "{}") };
    let service = service();
    let (reply, mut connection) = tokio::join!(call(&service, ask()), async {
        let mut connection = proxy.connection().await;
        let asked = connect(&mut connection).await;
        assert!(asked.starts_with("connect model.invalid:8000 http/1.1\r\nhost: model.invalid:8000\r\n"), "{asked}");
        // me:hunter2; the head is in lower case here.
        assert!(asked.contains("proxy-authorization: basic bwu6ahvudgvymg==\r\n"), "{asked}");
        connection.send("HTTP/1.1 200 Connection established\r\nVia: p\r\n\r\n").await;
        let (head, _) = connection.request().await;
        assert!(head.starts_with("post /base/v1/chat http/1.1\r\n"), "{head}");
        assert!(head.contains("host: model.invalid:8000\r\n") && !head.contains("proxy-"), "{head}");
        connection.answer("first").await;
        connection
    });
    let mut reply = reply.unwrap();
    assert_eq!(text(&mut reply).await.unwrap(), "first");
    reply.body.release().await;
    // As in `plain`: under load a pooled connection is at times still in use by its own watchdog.
    for _ in 0..20 {
        let (reply, (carrier, is_pooled)) = tokio::join!(call(&service, ask()), async {
            let (mut connection, is_pooled) = proxy.carrier(connection).await;
            if !is_pooled {
                connect(&mut connection).await;
                connection.send("HTTP/1.1 200 OK\r\n\r\n").await;
            }
            connection.request().await;
            connection.answer("next").await;
            (connection, is_pooled)
        });
        let mut reply = reply.unwrap();
        assert_eq!(text(&mut reply).await.unwrap(), "next");
        reply.body.release().await;
        connection = carrier;
        if is_pooled {
            return;
        }
    }
    panic!("no tunnel was ever used again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_goes_through_a_proxy_to_the_target_itself() {
    let identity = Identity::new();
    let acceptor = identity.acceptor(&[b"http/1.1"]);
    let mut proxy = Origin::new().await;
    let request = ask(UpstreamSettings {
        tls: TlsSettings { ca_file: Some(identity.ca_file()), ..TlsSettings::default() },
        proxy: Some(ProxySettings { host: "localhost".into(), port: proxy.address.port(), login: None }),
        ..settings("https://localhost:8443")
    });
    let service = service();
    let (reply, ()) = tokio::join!(call(&service, request), async {
        let mut connection = proxy.connection().await;
        assert!(connect(&mut connection).await.starts_with("connect localhost:8443 "));
        connection.send("HTTP/1.1 200 OK\r\n\r\n").await;
        let mut tls = acceptor.accept(connection.0).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n{}") {
            head.push(tls.read_u8().await.unwrap());
        }
        tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        tls.flush().await.unwrap();
    });
    assert_eq!(text(&mut reply.unwrap()).await.unwrap(), "ok");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_refuses_is_a_connection_that_could_not_be_had() {
    for answer in ["HTTP/1.1 407 Who\r\nX: the-secret\r\n\r\n", "nonsense\r\n\r\n", "HTTP/1.1 200 OK\r\nno end"] {
        let mut proxy = Origin::new().await;
        let port = proxy.address.port();
        let mut request = ask(UpstreamSettings {
            proxy: Some(ProxySettings { host: "127.0.0.1".into(), port, login: None }),
            ..settings("http://model.invalid")
        });
        request.headers.insert("authorization", HeaderValue::from_static("Bearer the-secret"));
        let service = service();
        let (reply, ()) = tokio::join!(call(&service, request), async {
            let mut connection = proxy.connection().await;
            let asked = connect(&mut connection).await;
            assert!(!asked.contains("the-secret"), "{asked}");
            connection.send(answer).await;
        });
        let error = reply.unwrap_err();
        assert!(matches!(error, UpstreamError::Connect { .. }), "{error}");
        assert!(!error.to_string().contains("the-secret"), "{error}");
    }
}
