//! TLS: who is trusted, and HTTP/2 by ALPN.

use bytes::Bytes;
use http::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::identity::Identity;
use super::origin::{Origin, call, patiently, request, text};
use crate::exchange::ports::UpstreamError;
use crate::upstream::{TrustError, UpstreamOptions, UpstreamService, upstream_service};

fn service(identity: &Identity) -> UpstreamService {
    let ca_file = Some(identity.ca_file());
    upstream_service(UpstreamOptions { ca_file, ..UpstreamOptions::default() }).unwrap()
}

fn url(host: &str, origin: &Origin) -> String {
    format!("https://{host}:{}", origin.address.port())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trusted_server_is_called_over_http11() {
    let identity = Identity::new();
    let mut origin = Origin::new().await;
    let acceptor = identity.acceptor(&[b"http/1.1"]);
    let service = service(&identity);
    let request = request(&url("localhost", &origin), "{}");
    let (reply, ()) = tokio::join!(call(&service, request), async {
        let mut tls = acceptor.accept(origin.connection().await.0).await.unwrap();
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
async fn http2_is_spoken_where_the_server_offers_it_and_its_connection_is_shared() {
    const BYTES: usize = 1024 * 1024;
    let identity = Identity::new();
    let mut origin = Origin::new().await;
    let acceptor = identity.acceptor(&[b"h2", b"http/1.1"]);
    let service = service(&identity);
    let target = url("localhost", &origin);
    let (seen, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let server = tokio::spawn(async move {
        let tls = acceptor.accept(origin.connection().await.0).await.unwrap();
        let mut connection = h2::server::handshake(tls).await.unwrap();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let seen = seen.clone();
            tokio::spawn(async move {
                let (head, mut body) = request.into_parts();
                let mut count = 0;
                while let Some(Ok(chunk)) = body.data().await {
                    count += chunk.len();
                    let _ = body.flow_control().release_capacity(chunk.len());
                }
                let _ = seen.send((head.uri.to_string(), head.headers.contains_key("host"), count));
                let mut stream = respond.send_response(Response::new(()), false).unwrap();
                stream.send_data(Bytes::from_static(b"over h2"), true).unwrap();
            });
        }
        assert!(origin.has_no_further_connection(), "one connection serves all");
    });
    for _ in 0..2 {
        let mut reply = call(&service, request(&target, vec![b'u'; BYTES])).await.unwrap();
        assert_eq!(text(&mut reply).await.unwrap(), "over h2");
        reply.body.release().await;
        let (uri, has_host, count) = patiently("the request", requests.recv()).await.unwrap();
        assert_eq!((uri, has_host, count), (format!("{target}/v1/chat"), false, BYTES));
    }
    assert!(!server.is_finished());
    server.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aborted_http2_answer_is_a_reset_stream() {
    let identity = Identity::new();
    let mut origin = Origin::new().await;
    let acceptor = identity.acceptor(&[b"h2"]);
    let service = service(&identity);
    let target = url("localhost", &origin);
    let server = tokio::spawn(async move {
        let tls = acceptor.accept(origin.connection().await.0).await.unwrap();
        let mut connection = h2::server::handshake(tls).await.unwrap();
        let (_request, mut respond) = connection.accept().await.unwrap().unwrap();
        let mut stream = respond.send_response(Response::new(()), false).unwrap();
        stream.send_data(Bytes::from_static(b"half"), false).unwrap();
        tokio::select! {
            reset = std::future::poll_fn(|cx| stream.poll_reset(cx)) => reset.is_ok(),
            _ = connection.accept() => false,
        }
    });
    let mut reply = call(&service, request(&target, "{}")).await.unwrap();
    assert_eq!(patiently("a chunk", reply.body.chunk()).await.unwrap().as_deref(), Some(&b"half"[..]));
    reply.body.abort().await;
    assert!(patiently("the reset", server).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_trusted_or_has_another_name_gets_no_request() {
    let identity = Identity::new();
    let stranger = Identity::new();
    for (service, host) in [(service(&stranger), "localhost"), (service(&identity), "127.0.0.1")] {
        let mut origin = Origin::new().await;
        let acceptor = identity.acceptor(&[b"http/1.1"]);
        let request = request(&url(host, &origin), "{}");
        let (reply, accepted) =
            tokio::join!(call(&service, request), async { acceptor.accept(origin.connection().await.0).await.is_ok() });
        let error = reply.unwrap_err();
        assert!(matches!(error, UpstreamError::Connect { .. }), "{host}: {error}");
        assert!(error.to_string().contains("certificate"), "{host}: {error}");
        assert!(!accepted, "{host}");
    }
}

#[test]
fn a_ca_file_that_cannot_be_used_is_an_error_that_names_it() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    for path in [empty.path().to_owned(), "/nowhere/ca.pem".into()] {
        let options = UpstreamOptions { ca_file: Some(path.clone()), ..UpstreamOptions::default() };
        let error = upstream_service(options).unwrap_err();
        assert!(matches!(error, TrustError::CaFile { .. }), "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
}
