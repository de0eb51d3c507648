//! How messages travel: `100-continue`, trailers, HTTP/2, and connections that outlive what went wrong on them.

use bytes::Bytes;
use clyra_simulator::{Options, Simulator};
use clyra_tests::ask::{Surface, refusal};
use clyra_tests::puppet::{Call, Puppet};
use clyra_tests::sidecar::Sidecar;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const POLICY: &str = "version: 1
mode: enforce
defaults: { budget_ms: { request: 60000 } }
detectors:
  patterns:
    - { id: codename, literal: \"Project Nightjar\", class: restricted, score: 1.0 }
rules:
  - { id: in, phase: request, when: 'findings.exists(f, f.class == \"restricted\")', action: block }
  - { id: out, phase: response, when: 'findings.exists(f, f.class == \"restricted\")', action: block }
";

fn prompt(stream: bool, text: &str) -> String {
    Surface::Chat.request(stream, text).to_string()
}

/// Sends a head that announces a body and waits; gives the connection and the first head that comes back.
async fn announce(sidecar: &Sidecar, path: &str, length: usize) -> (TcpStream, String) {
    let mut client = TcpStream::connect(sidecar.address).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: edge\r\nExpect: 100-Continue\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    client.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(client.read_u8().await.unwrap());
    }
    (client, String::from_utf8(answer).unwrap())
}

/// A body is asked for where it will be read, and only there.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_asked_for_only_if_it_is_wanted() {
    let upstream = Puppet::start().await;
    let few = |settings: &mut clyra::config::Settings| {
        settings.limits.in_flight_max = 1;
        settings.limits.request_bytes_max = 1_000_000;
    };
    let sidecar = Sidecar::start_with(POLICY, &upstream.url(), &[], few).await;
    let path = Surface::Chat.path();
    for (path, length, status) in [(path, 1_000_001, "413"), ("/v1/unknown", 10, "400")] {
        let (mut client, answer) = announce(&sidecar, path, length).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert!(!String::from_utf8_lossy(&rest).contains("HTTP/1.1"), "one answer is all");
    }
    let body = prompt(false, &"x".repeat(500_000));
    let (mut client, answer) = announce(&sidecar, path, body.len()).await;
    assert_eq!(answer, "HTTP/1.1 100 Continue\r\n\r\n");
    // Another one finds no place meanwhile, and is not asked for its body either.
    let (_, answer) = announce(&sidecar, path, 10).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    client.write_all(body.as_bytes()).await.unwrap();
    let mut call = upstream.call().await;
    assert!(call.body == body.as_bytes() && !call.head.to_ascii_lowercase().contains("\r\nexpect:"), "{}", call.head);
    call.begin("application/json").await;
    call.chunk(b"{}").await;
    call.end().await;
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(sidecar.stop().await.verify().ok);
}

/// Trailers of a provider end here: nothing looks at them, so nobody is shown them.
#[tokio::test(flavor = "multi_thread")]
async fn trailers_of_an_answer_are_dropped() {
    let upstream = Puppet::start().await;
    let sidecar = Sidecar::start(POLICY, &upstream.url()).await;
    for (stream, kind) in [(false, "application/json"), (true, "text/event-stream")] {
        let text = if stream { Surface::Chat.events(&["one"]).concat() } else { "{}".to_owned() };
        let (address, body) = (sidecar.address, prompt(stream, "x"));
        let client = tokio::spawn(async move {
            let head = format!(
                "POST {} HTTP/1.1\r\nHost: edge\r\nTE: trailers\r\nConnection: close, TE\r\nContent-Length: {}\r\n\r\n{body}",
                Surface::Chat.path(),
                body.len()
            );
            clyra_tests::client::raw(address, head.as_bytes()).await
        });
        let mut call: Call = upstream.call().await;
        assert!(!call.head.to_ascii_lowercase().contains("\r\nte:"), "{}", call.head);
        call.raw(
            format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntrailer: x-late\r\ntransfer-encoding: chunked\r\n\r\n")
                .as_bytes(),
        )
        .await;
        call.chunk(text.as_bytes()).await;
        call.raw(b"0\r\nX-Late: Project Nightjar\r\n\r\n").await;
        let answer = String::from_utf8(client.await.unwrap()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(!answer.contains("Nightjar") && !answer.to_lowercase().contains("x-late"), "{answer}");
    }
    assert!(sidecar.stop().await.verify().ok);
}

struct Connection(SendRequest<Full<Bytes>>);

impl Connection {
    async fn open(sidecar: &Sidecar) -> Connection {
        let stream = TcpStream::connect(sidecar.address).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Connection(sender)
    }

    async fn post(&mut self, path: &str, coding: Option<&str>, body: impl Into<Bytes>) -> (u16, String) {
        self.0.ready().await.expect("the connection was closed");
        let mut request = Request::post(path).header("host", "edge").header("content-type", "application/json");
        if let Some(coding) = coding {
            request = request.header("content-encoding", coding);
        }
        let answer = self.0.send_request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        (status, String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
    }
}

/// A client's connection outlives what went wrong on it, as long as it is certain where the next request begins.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_kept_after_a_block() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(POLICY, &simulator.url()).await;
    let mut client = Connection::open(&sidecar).await;
    let path = Surface::Chat.path();
    let ask = |content: &str| Surface::Chat.ask(true, &json!({"content": content, "delay_ms": 1}));
    for _ in 0..2 {
        let (status, text) = client.post(path, None, prompt(false, "About Project Nightjar.")).await;
        assert_eq!((status, refusal(Surface::Chat, &text).code.as_str()), (400, "content_policy_violation"));
        let (status, text) = client.post(path, Some("gzip"), "not gzip").await;
        assert_eq!((status, refusal(Surface::Chat, &text).code.as_str()), (400, "invalid_request"));
        let (status, _) = client.post(path, None, "not JSON").await;
        assert_eq!(status, 400);
        let (status, text) = client.post(path, None, ask("well well well Project Nightjar and more")).await;
        assert_eq!(status, 200, "{text}");
        assert!(text.contains("event: error") && !text.contains("[DONE]"), "{text}");
        let (status, text) = client.post(path, None, ask("well")).await;
        assert!(status == 200 && text.ends_with("data: [DONE]\n\n"), "{text}");
    }
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}

/// A call that is aborted costs the provider's connection, and only that: the next one gets a connection that is in order.
#[tokio::test(flavor = "multi_thread")]
async fn a_providers_connection_is_not_used_again_after_an_abort() {
    let upstream = Puppet::start().await;
    let sidecar = Sidecar::start(POLICY, &upstream.url()).await;
    let (address, path) = (sidecar.address, Surface::Chat.path());
    let events = Surface::Chat.events(&["one ", "Project Nightjar ", "two"]);
    for leaves in [false, true] {
        let body = prompt(true, "x").into_bytes();
        let client = tokio::spawn(async move { clyra_tests::client::open(address, path, &[], body).await });
        let mut call = upstream.call().await;
        call.begin("text/event-stream").await;
        call.chunk(events[0].as_bytes()).await;
        let client = client.await.unwrap();
        if leaves {
            drop(client);
        } else {
            call.chunk(events[1..3].concat().as_bytes()).await;
            assert!(client.rest().await.text().contains("event: error"));
        }
        // Closed, although the answer would go on.
        call.left().await;
        let body = prompt(false, "x").into_bytes();
        let client = tokio::spawn(async move { clyra_tests::client::post(address, path, &[], body).await });
        let mut call = upstream.call().await;
        call.begin("application/json").await;
        call.chunk(b"{}").await;
        call.end().await;
        assert_eq!(client.await.unwrap().status, 200);
    }
    assert!(sidecar.stop().await.verify().ok);
}

/// HTTP/2 by prior knowledge: large requests, events one by one, trailers, many at a time.
#[tokio::test(flavor = "multi_thread")]
async fn exchanges_over_http2() {
    let upstream = Puppet::start().await;
    let sidecar = Sidecar::start(POLICY, &upstream.url()).await;
    let tcp = TcpStream::connect(sidecar.address).await.unwrap();
    let (client, connection) = h2::client::handshake(tcp).await.unwrap();
    tokio::spawn(connection);
    let post = || Request::post(format!("http://edge{}", Surface::Chat.path())).body(()).unwrap();
    let mut sender = client.clone().ready().await.unwrap();

    let body = prompt(true, &"x".repeat(2 << 20));
    let (response, mut sending) = sender.send_request(post(), false).unwrap();
    let upload = Bytes::from(body.clone());
    tokio::spawn(async move {
        let mut rest = upload;
        while !rest.is_empty() {
            sending.reserve_capacity(rest.len());
            let capacity = std::future::poll_fn(|cx| sending.poll_capacity(cx)).await.unwrap().unwrap();
            sending.send_data(rest.split_to(capacity.min(rest.len())), false).unwrap();
        }
        let trailers = [(http::HeaderName::from_static("x-late"), http::HeaderValue::from_static("v"))];
        sending.send_trailers(trailers.into_iter().collect()).unwrap();
    });
    let mut call = upstream.call().await;
    assert!(call.body == body.as_bytes(), "{} bytes", call.body.len());
    assert!(!call.head.to_ascii_lowercase().contains("x-late"), "{}", call.head);
    let events = Surface::Chat.events(&["one ", "two "]);
    call.begin("text/event-stream").await;
    call.chunk(events[0].as_bytes()).await;
    let response = response.await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key("transfer-encoding"), "{:?}", response.headers());
    let mut reading = response.into_body();
    for (number, event) in events.iter().enumerate().take(3) {
        if number > 0 {
            call.chunk(event.as_bytes()).await;
        }
        let data = reading.data().await.unwrap().unwrap();
        reading.flow_control().release_capacity(data.len()).unwrap();
        assert_eq!(data, event.as_bytes());
    }

    // While that one is open, another is blocked, and one more is left by its client.
    let (response, mut sending) = sender.send_request(post(), false).unwrap();
    sending.send_data(prompt(false, "Project Nightjar").into(), true).unwrap();
    assert_eq!(response.await.unwrap().status(), 400);
    let (response, mut sending) = sender.send_request(post(), false).unwrap();
    sending.send_data(prompt(false, "x").into(), true).unwrap();
    let mut left = upstream.call().await;
    sending.send_reset(h2::Reason::CANCEL);
    drop(response);
    left.left().await;

    call.chunk(events[3..].concat().as_bytes()).await;
    call.end().await;
    let mut rest = Vec::new();
    while let Some(data) = reading.data().await {
        let data = data.unwrap();
        reading.flow_control().release_capacity(data.len()).unwrap();
        rest.extend_from_slice(&data);
    }
    assert_eq!(String::from_utf8(rest).unwrap(), events[3..].concat());
    assert!(reading.trailers().await.unwrap().is_none());
    drop((reading, sender, client));
    assert!(sidecar.stop().await.verify().ok);
}
