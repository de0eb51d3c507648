//! One budget for all bodies that are held: what exceeds it is told to come again, and nothing of it is lost for the next.

use clyra_tests::ask::{Surface, refused};
use clyra_tests::client::{Answer, get, post, post_chunked};
use clyra_tests::encode::encode;
use clyra_tests::puppet::Puppet;
use clyra_tests::sidecar::Sidecar;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

const POLICY: &str = "version: 1\nmode: enforce\ndefaults: { budget_ms: { request: 60000 } }\n";
/// The budget of these tests.
const HELD: usize = 400_000;

async fn sidecar(upstream: &Puppet) -> Sidecar {
    Sidecar::start_with(POLICY, &upstream.url(), &[], |settings| settings.limits.held_bytes_max = HELD).await
}

fn request(bytes: usize) -> Vec<u8> {
    Surface::Chat.request(false, &"x".repeat(bytes)).to_string().into_bytes()
}

fn ask(sidecar: &Sidecar, body: Vec<u8>) -> JoinHandle<Answer> {
    let address = sidecar.address;
    tokio::spawn(async move { post(address, Surface::Chat.path(), &[], body).await })
}

async fn held(sidecar: &Sidecar) -> usize {
    let metrics = get(sidecar.admin, "/metrics").await.text();
    let line = metrics.lines().find_map(|line| line.strip_prefix("clyra_bodies_held_bytes "));
    line.unwrap_or_else(|| panic!("{metrics}")).parse().unwrap()
}

/// What an exchange held is given back when it is over, a moment after its last byte.
async fn none_held(sidecar: &Sidecar) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while held(sidecar).await > 0 {
        assert!(std::time::Instant::now() < end, "{} bytes are never given back", held(sidecar).await);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

fn document(text: &str) -> String {
    let choice = json!({"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"});
    json!({"id": "c", "object": "chat.completion", "model": "m-1", "choices": [choice]}).to_string()
}

fn told_to_come_again(answer: &Answer) {
    let refusal = refused(Surface::Chat, 503, "clyra_unavailable", answer);
    assert!(refusal.reason.contains("are held at this moment"), "{}", refusal.reason);
}

/// An exchange that goes through, to show that nothing of the budget was lost.
async fn still_serves(sidecar: &Sidecar, upstream: &Puppet) {
    none_held(sidecar).await;
    let client = ask(sidecar, request(HELD * 2 / 3));
    let mut call = upstream.call().await;
    call.begin("application/json").await;
    call.chunk(document(&"y".repeat(HELD * 2 / 3)).as_bytes()).await;
    call.end().await;
    assert_eq!(client.await.unwrap().status, 200);
    none_held(sidecar).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_share_the_budget() {
    let upstream = Puppet::start().await;
    let sidecar = sidecar(&upstream).await;
    let first = ask(&sidecar, request(HELD * 2 / 3));
    let mut call = upstream.call().await;
    assert!(held(&sidecar).await > HELD * 2 / 3);
    let large = request(HELD * 2 / 3);
    told_to_come_again(&ask(&sidecar, large.clone()).await.unwrap());
    let pieces = large.chunks(10_000).map(bytes::Bytes::copy_from_slice).collect();
    told_to_come_again(&post_chunked(sidecar.address, Surface::Chat.path(), pieces).await);
    let encoded = encode("gzip", &large);
    told_to_come_again(&post(sidecar.address, Surface::Chat.path(), &[("content-encoding", "gzip")], encoded).await);
    // Windows count as well.
    let small = encode("br", &request(10));
    told_to_come_again(&post(sidecar.address, Surface::Chat.path(), &[("content-encoding", "br")], small).await);
    call.begin("application/json").await;
    call.chunk(document("well").as_bytes()).await;
    call.end().await;
    assert_eq!(first.await.unwrap().status, 200);
    still_serves(&sidecar, &upstream).await;
    assert!(sidecar.stop().await.verify().ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_room_is_not_asked_for() {
    let upstream = Puppet::start().await;
    let sidecar = sidecar(&upstream).await;
    let mut client = TcpStream::connect(sidecar.address).await.unwrap();
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: edge\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        Surface::Chat.path(),
        HELD + 1
    );
    client.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.to_lowercase().contains("\r\nretry-after: "), "{answer}");
    still_serves(&sidecar, &upstream).await;
    assert!(sidecar.stop().await.verify().ok);
}

/// Who was promised room has it, and who comes later is told at once, not in the middle of a body.
#[tokio::test(flavor = "multi_thread")]
async fn an_announced_body_has_its_room() {
    let upstream = Puppet::start().await;
    let sidecar = sidecar(&upstream).await;
    let body = request(HELD * 2 / 3);
    let head = |length: usize| {
        let path = Surface::Chat.path();
        format!(
            "POST {path} HTTP/1.1\r\nHost: edge\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let mut first = TcpStream::connect(sidecar.address).await.unwrap();
    first.write_all(head(body.len()).as_bytes()).await.unwrap();
    let mut asked = [0; 25];
    first.read_exact(&mut asked).await.unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(held(&sidecar).await, body.len());
    let answer = clyra_tests::client::raw(sidecar.address, head(body.len()).as_bytes()).await;
    assert!(answer.starts_with(b"HTTP/1.1 503 "), "{}", String::from_utf8_lossy(&answer));
    first.write_all(&body).await.unwrap();
    let mut call = upstream.call().await;
    call.begin("application/json").await;
    call.chunk(b"{}").await;
    call.end().await;
    let mut answer = String::new();
    first.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // One that is announced and never sent gives its room back with its client.
    let mut silent = TcpStream::connect(sidecar.address).await.unwrap();
    silent.write_all(head(body.len()).as_bytes()).await.unwrap();
    silent.read_exact(&mut asked).await.unwrap();
    drop(silent);
    still_serves(&sidecar, &upstream).await;
    assert!(sidecar.stop().await.verify().ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_share_the_budget() {
    let upstream = Puppet::start().await;
    let sidecar = sidecar(&upstream).await;
    let long = "y".repeat(HELD * 2);
    let event = json!({"choices": [{"index": 0, "delta": {"content": long}}]});
    for (kind, body) in [("application/json", document(&long)), ("text/event-stream", format!("data: {event}\n\n"))] {
        let client = ask(&sidecar, request(10));
        let mut call = upstream.call().await;
        call.begin(kind).await;
        for piece in body.as_bytes().chunks(50_000) {
            call.chunk(piece).await;
        }
        told_to_come_again(&client.await.unwrap());
        // Nobody reads the rest of it.
        call.left().await;
        still_serves(&sidecar, &upstream).await;
    }
    // The window of an encoded answer.
    let client = ask(&sidecar, request(10));
    let mut call = upstream.call().await;
    call.raw(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: br\r\ncontent-length: 1\r\n\r\n")
        .await;
    told_to_come_again(&client.await.unwrap());
    still_serves(&sidecar, &upstream).await;
    assert!(sidecar.stop().await.verify().ok);
}
