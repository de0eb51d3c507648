//! Requests that pass uninspected: they arrive as they were sent, and are accounted for.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::support::{Event, Served, loopback, origin, patiently};
use crate::edge::{BypassEnd, ServeOptions};
use crate::exchange::ports::UpstreamTarget;
use crate::upstream::tests::identity::Identity;
use crate::upstream::{EndpointSettings, Provider, UpstreamSettings};

async fn request_head(tcp: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tcp.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

async fn closed(served: &Served) -> BypassEnd {
    assert_eq!(served.event().await, Event::BypassOpened);
    let Event::BypassClosed(end) = served.event().await else { panic!("the bypass was not closed") };
    served.no_event_is_left().await;
    end
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_upload_passes_and_is_counted() {
    const BYTES: usize = 1024 * 1024;
    let target = origin(|mut tcp| async move {
        let head = request_head(&mut tcp).await;
        let mut body = vec![0; BYTES];
        tcp.read_exact(&mut body).await.unwrap();
        let answer =
            format!("HTTP/1.1 201 Created\r\nX-Clyra-Decision: forged\r\nContent-Length: {}\r\n\r\n{head}", head.len());
        tcp.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let served = Served::bypassing(target);
    let mut client = served.connect().await;
    client
        .send(format!(
            "POST /bypass/files?x=1 HTTP/1.1\r\nHost: edge\r\nX-Clyra-Run-Id: r\r\nConnection: keep-alive, x-hop\r\n\
             X-Hop: 1\r\nAuthorization: Bearer k\r\nContent-Length: {BYTES}\r\n\r\n"
        ))
        .await;
    client.send(vec![b'u'; BYTES]).await;
    let answer = client.answer().await;
    assert_eq!(answer.status(), 201);
    assert_eq!(answer.field("x-clyra-decision"), Some("bypass"));
    assert_eq!(answer.head.to_lowercase().matches("x-clyra-decision").count(), 1, "{}", answer.head);
    let seen = answer.text().to_lowercase();
    assert!(seen.starts_with("post /base/bypass/files?x=1 http/1.1\r\n"), "{seen}");
    assert!(seen.contains(&format!("host: {target}\r\n")), "{seen}");
    assert!(seen.contains("authorization: bearer k"), "{seen}");
    assert!(!seen.contains("x-clyra") && !seen.contains("x-hop"), "{seen}");
    let end = closed(&served).await;
    assert_eq!(end.status, Some(201));
    assert_eq!((end.request_bytes, end.response_bytes), (BYTES as u64, answer.body.len() as u64));
    assert_eq!((end.error, end.upgraded), (None, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bypass_joins_http2_and_http1() {
    let target = origin(|mut tcp| async move {
        let head = request_head(&mut tcp).await;
        tcp.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}", head.len()).as_bytes())
            .await
            .unwrap();
    })
    .await;
    let served = Served::bypassing(target);
    let (client, connection) = h2::client::handshake(served.connect().await.0).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("http://edge/bypass?q=1").header("x-clyra-app", "a").body(()).unwrap();
    let (response, _) = client.ready().await.unwrap().send_request(request, true).unwrap();
    let response = patiently("an answer", response).await.unwrap();
    assert_eq!(response.headers()["x-clyra-decision"], "bypass");
    let mut body = response.into_body();
    let mut seen = Vec::new();
    while let Some(chunk) = patiently("a data frame", body.data()).await {
        seen.extend_from_slice(&chunk.unwrap());
    }
    let seen = String::from_utf8(seen).unwrap().to_lowercase();
    assert!(seen.starts_with("get /base/bypass?q=1 http/1.1\r\n"), "{seen}");
    assert!(seen.contains(&format!("host: {target}\r\n")) && !seen.contains("x-clyra"), "{seen}");
    let end = closed(&served).await;
    assert_eq!((end.status, end.response_bytes, end.error), (Some(200), seen.len() as u64, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_behind_tls_is_verified_and_spoken_to_over_http2() {
    let identity = Identity::new();
    let acceptor = identity.acceptor(&[b"h2", b"http/1.1"]);
    let address = origin(move |tcp| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(tls) = acceptor.accept(tcp).await else { return };
            let mut connection = h2::server::handshake(tls).await.unwrap();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let seen = request.uri().to_string();
                let mut stream = respond.send_response(http::Response::new(()), false).unwrap();
                stream.send_data(seen.into(), true).unwrap();
            }
        }
    })
    .await;
    let url = format!("https://localhost:{}/base", address.port());
    let target = || Some(UpstreamTarget::parse("origin", &url).unwrap());
    let served = Served::with(ServeOptions { ca_file: Some(identity.ca_file()), ..loopback() }, target());
    let mut client = served.connect().await;
    client.send("GET /bypass?q=1 HTTP/1.1\r\nHost: edge\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!(answer.text(), format!("{url}/bypass?q=1"));
    assert_eq!(closed(&served).await.error, None);

    let stranger = Identity::new();
    let served = Served::with(ServeOptions { ca_file: Some(stranger.ca_file()), ..loopback() }, target());
    let mut client = served.connect().await;
    client.send("GET /bypass HTTP/1.1\r\nHost: edge\r\n\r\n").await;
    assert_eq!(client.answer().await.status(), 502);
    let error = closed(&served).await.error.unwrap();
    assert!(error.contains("certificate"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_passes_through_a_bypass_and_is_reported_as_upgraded() {
    let target = origin(|mut tcp| async move {
        let head = request_head(&mut tcp).await.to_lowercase();
        assert!(head.contains("upgrade: websocket"), "{head}");
        tcp.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            .await
            .unwrap();
        let mut frame = [0; 4];
        tcp.read_exact(&mut frame).await.unwrap();
        tcp.write_all(b"pong!").await.unwrap();
    })
    .await;
    let served = Served::bypassing(target);
    let mut client = served.connect().await;
    client
        .send(
            "GET /bypass/realtime HTTP/1.1\r\nHost: edge\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 101 ") && head.to_lowercase().contains("x-clyra-decision: bypass"), "{head}");
    client.send("ping").await;
    assert_eq!(client.rest().await, "pong!");
    let end = closed(&served).await;
    assert_eq!((end.status, end.upgraded), (Some(101), true));
    assert_eq!((end.request_bytes, end.response_bytes), (4, 5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_that_is_refused_is_answered_as_any_request() {
    for framing in ["Content-Length: 2\r\n\r\nno", "Transfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"] {
        let target = origin(move |mut tcp| async move {
            request_head(&mut tcp).await;
            tcp.write_all(format!("HTTP/1.1 401 Unauthorized\r\n{framing}").as_bytes()).await.unwrap();
        })
        .await;
        let served = Served::bypassing(target);
        let mut client = served.connect().await;
        client.send("GET /bypass HTTP/1.1\r\nHost: edge\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
        let answer = client.answer().await;
        assert_eq!((answer.status(), answer.text().as_str()), (401, "no"), "{framing:?}");
        assert_eq!(answer.field("x-clyra-decision"), Some("bypass"));
        assert_eq!(client.rest().await, "");
        let end = closed(&served).await;
        assert_eq!((end.status, end.upgraded, end.response_bytes), (Some(401), false, 2));
        assert_eq!(end.error, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_to_nowhere_is_answered_in_our_own_words() {
    let free = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
    let served = Served::bypassing(free);
    let mut client = served.connect().await;
    client.send("GET /bypass HTTP/1.1\r\nHost: edge\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.text().as_str()), (502, "Connect"));
    assert_eq!(closed(&served).await.status, Some(502));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_protocol_than_websocket_is_not_switched_to() {
    let target = origin(|mut tcp| async move {
        let head = request_head(&mut tcp).await.to_lowercase();
        tcp.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}", head.len()).as_bytes())
            .await
            .unwrap();
    })
    .await;
    let served = Served::bypassing(target);
    let mut client = served.connect().await;
    client.send("GET /bypass HTTP/1.1\r\nHost: edge\r\nConnection: Upgrade\r\nUpgrade: spdy\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!(answer.status(), 200);
    assert!(!answer.text().contains("upgrade"), "{}", answer.text());
    assert_eq!(closed(&served).await.error, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bypass_that_cannot_be_recorded_does_not_happen() {
    let target = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let served = Served::bypassing(target.local_addr().unwrap());
    let mut client = served.connect().await;
    client.send("GET /bypass/not-durable HTTP/1.1\r\nHost: edge\r\n\r\n").await;
    assert_eq!(client.answer().await.status(), 503);
    served.no_event_is_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_cannot_be_reached_is_answered_in_our_own_words() {
    let free = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
    let served = Served::bypassing(free);
    let mut client = served.connect().await;
    client.send("POST /bypass HTTP/1.1\r\nHost: edge\r\nContent-Length: 2\r\n\r\nhi").await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.text().as_str()), (502, "Connect"));
    let end = closed(&served).await;
    assert_eq!(end.status, Some(502));
    assert!(end.error.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_without_an_address_is_answered_in_our_own_words() {
    let target = UpstreamTarget::parse("origin", "http://nowhere.invalid").unwrap();
    let served = Served::with(loopback(), Some(target));
    let answer = served.ask("GET /bypass HTTP/1.1\r\nHost: edge\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.ends_with("Resolve"), "{answer}");
    assert_eq!(closed(&served).await.status, Some(502));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_breaks_off_breaks_the_answer_off() {
    let target = origin(|mut tcp| async move {
        request_head(&mut tcp).await;
        tcp.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n").await.unwrap();
    })
    .await;
    let served = Served::bypassing(target);
    let answer = served.ask("GET /bypass HTTP/1.1\r\nHost: edge\r\n\r\n").await;
    assert!(!answer.ends_with("0\r\n\r\n"), "{answer:?}");
    let end = closed(&served).await;
    assert_eq!((end.status, end.response_bytes), (Some(200), 4));
    assert!(end.error.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_a_bypass_ends_it() {
    let (left, mut gone) = tokio::sync::mpsc::unbounded_channel();
    let target = origin(move |mut tcp| {
        let left = left.clone();
        async move {
            request_head(&mut tcp).await;
            tcp.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n").await.unwrap();
            let _ = tcp.read_u8().await;
            let _ = left.send(());
        }
    })
    .await;
    let served = Served::bypassing(target);
    let mut client = served.connect().await;
    client.send("GET /bypass HTTP/1.1\r\nHost: edge\r\n\r\n").await;
    client.head().await;
    drop(client);
    patiently("the origin to notice", gone.recv()).await.unwrap();
    let end = closed(&served).await;
    assert_eq!(end.status, Some(200));
    assert!(end.error.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_cannot_be_reached_is_passed_over_and_counted() {
    let target = origin(|mut tcp| async move {
        request_head(&mut tcp).await;
        tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
    })
    .await;
    let nowhere = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
    let endpoint = |name: &str, address: std::net::SocketAddr, weight| EndpointSettings {
        name: name.into(),
        target: UpstreamTarget::parse("origin", &format!("http://{address}")).unwrap(),
        weight,
    };
    let settings = UpstreamSettings {
        endpoints: vec![endpoint("a", nowhere, 9), endpoint("b", target, 1)],
        ..UpstreamTarget::parse("origin", "http://unused").unwrap().into()
    };
    let served = Served::with_provider(loopback(), Some(Arc::new(Provider::new(settings, None, 0).unwrap())));
    let answer = served.ask("GET /bypass HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let end = closed(&served).await;
    assert_eq!((end.attempts, end.upstream.as_deref()), (2, Some("origin/b")));
}
