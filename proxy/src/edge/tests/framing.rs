//! Requests that two implementations could read differently, and requests without measure.

use super::support::{Event, Served, loopback};
use crate::edge::ServeOptions;

/// What is refused, and by whom: pingora answers without a body, the edge in the handler's shape.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ambiguous_requests_are_refused_and_nothing_after_them_is_read() {
    let served = Served::new();
    let cases = [
        ("two lengths", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
        ("length list", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 4\r\n\r\nabcd"),
        ("signed length", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc"),
        (
            "length and coding",
            "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "coding and length",
            "POST /echo HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\nCONTENT-length: 3\r\n\r\n0\r\n\r\n",
        ),
        ("unknown coding", "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        ("stacked codings", "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        (
            "two codings",
            "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("coding in 1.0", "POST /echo HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("two hosts", "GET /echo HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        ("other host in the target", "GET http://b/echo HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("user in the host", "GET /echo HTTP/1.1\r\nHost: user@a\r\n\r\n"),
        ("space before the colon", "GET /echo HTTP/1.1\r\nHost : a\r\n\r\n"),
        ("folded field", "GET /echo HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n"),
        ("not HTTP", "hello there, this is not HTTP at all\r\n\r\n"),
    ];
    for (name, request) in cases {
        let smuggled = format!("{request}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = served.ask(&smuggled).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{name}: {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{name}: {answer:?}");
    }
    served.no_event_is_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connect_is_refused() {
    let answer = Served::new().ask("CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_without_a_host_is_refused_in_our_own_words_and_the_connection_is_kept() {
    let served = Served::new();
    let mut client = served.connect().await;
    client.send("GET /chunked HTTP/1.1\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.field("x-own")), (400, Some("yes")));
    assert_eq!(answer.text(), "the Host header field is missing");
    client.send("GET /chunked HTTP/1.1\r\nHost: edge\r\n\r\n").await;
    assert_eq!(client.answer().await.text(), "in pieces");
    client.send("GET /refused HTTP/1.1\r\nHost: edge\r\n\r\n").await;
    assert_eq!(client.answer().await.status(), 404);
    client.send("GET /chunked HTTP/1.1\r\nHost: edge\r\n\r\n").await;
    assert_eq!(client.answer().await.text(), "in pieces");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unread_body_closes_the_connection_after_the_refusal() {
    let served = Served::new();
    let answer = served.ask("POST /refused HTTP/1.1\r\nHost: edge\r\nContent-Length: 3\r\n\r\nabc").await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn absolute_targets_are_read_as_paths() {
    let served = Served::new();
    let mut client = served.connect().await;
    client.send("GET http://edge/head?a=b HTTP/1.1\r\nHost: edge\r\n\r\n").await;
    let text = client.answer().await.text();
    assert!(text.starts_with("Some(\"a=b\") Some(\"edge\") "), "{text}");
    assert_eq!(text.rsplit('-').nth(2).and_then(|part| part.chars().next()), Some('7'), "a UUIDv7: {text}");
    client.send("OPTIONS * HTTP/1.1\r\nHost: edge\r\n\r\n").await;
    assert_eq!(client.answer().await.status(), 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn header_sections_are_bounded() {
    let served = Served::new();
    let many: String = (0..100).map(|n| format!("X-{n}: v\r\n")).collect();
    let answer = served.ask(&format!("GET /chunked HTTP/1.1\r\nHost: edge\r\n{many}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("more than 100"), "{answer}");
    let large = "v".repeat(33 * 1024);
    let answer = served.ask(&format!("GET /chunked HTTP/1.1\r\nHost: edge\r\nX: {large}\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("32 KiB"), "{answer}");
    let fits = "v".repeat(30 * 1024);
    let mut client = served.connect().await;
    client.send(format!("GET /chunked HTTP/1.1\r\nHost: edge\r\nX: {fits}\r\n\r\n")).await;
    assert_eq!(client.answer().await.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_is_refused_where_it_could_not_be_inspected() {
    let served = Served::new();
    let mut client = served.connect().await;
    client.send("GET /chunked HTTP/1.1\r\nHost: edge\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!(answer.status(), 400);
    assert!(answer.text().contains("upgrade"), "{}", answer.text());
    served.no_event_is_left().await;
    // Nobody follows the bytes behind it.
    assert_eq!(client.rest().await, "");
    let mut client = served.connect().await;
    client.send("GET /chunked HTTP/1.1\r\nHost: edge\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n").await;
    assert_eq!(client.answer().await.status(), 200, "an offer of HTTP/2 may be ignored");
    assert_eq!(served.event().await, Event::Began("/chunked".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_chunk_is_told_apart_from_a_client_that_left() {
    let served = Served::new();
    let answer = served
        .ask("POST /echo HTTP/1.1\r\nHost: edge\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(served.event().await, Event::Began("/echo".into()));
    assert_eq!(served.event().await, Event::Body(Err("the request body is not well framed".into())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_beyond_the_limit_are_told_so() {
    let served = Served::with(ServeOptions { connections_max: 1, ..loopback() }, None);
    let mut first = served.connect().await;
    first.send("GET /chunked HTTP/1.1\r\nHost: edge\r\n\r\n").await;
    assert_eq!(first.answer().await.status(), 200);
    let answer = served.connect().await.rest().await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("Retry-After: 1"), "{answer}");
}
