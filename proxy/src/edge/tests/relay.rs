//! Both sides together: a client, the edge, an upstream call, an origin.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::support::{Event, Served, origin, patiently};

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// An origin that reads a request, sends this, and tells of both that and that its caller has left.
async fn silent_after(sent: &'static [u8]) -> (std::net::SocketAddr, UnboundedReceiver<()>) {
    let (left, gone) = unbounded_channel();
    let address = origin(move |mut tcp: TcpStream| {
        let left = left.clone();
        async move {
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n\r\n{}") {
                seen.push(tcp.read_u8().await.unwrap());
            }
            tcp.write_all(sent).await.unwrap();
            let _ = left.send(());
            let _ = tcp.read_u8().await;
            let _ = left.send(());
        }
    })
    .await;
    (address, gone)
}

const REQUEST: &str = "POST /relay HTTP/1.1\r\nHost: edge\r\nContent-Length: 2\r\n\r\n{}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_ends_the_call_before_its_head() {
    let (address, mut told) = silent_after(b"").await;
    let served = Served::bypassing(address);
    let mut client = served.connect().await;
    client.send(REQUEST).await;
    patiently("the request to arrive", told.recv()).await.unwrap();
    drop(client);
    assert_eq!(served.event().await, Event::Began("/relay".into()));
    assert_eq!(served.event().await, Event::Gone);
    patiently("the origin to notice", told.recv()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_ends_the_stream_while_it_is_silent() {
    let sent: &'static [u8] = [HEAD, b"4\r\nhalf\r\n"].concat().leak();
    let (address, mut told) = silent_after(sent).await;
    let served = Served::bypassing(address);
    let mut client = served.connect().await;
    client.send(REQUEST).await;
    client.head().await;
    assert_eq!(client.chunk().await, Some(b"half".to_vec()));
    drop(client);
    assert_eq!(served.event().await, Event::Began("/relay".into()));
    assert_eq!(served.event().await, Event::Gone);
    patiently("the request to arrive", told.recv()).await.unwrap();
    patiently("the origin to notice", told.recv()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_answer_passes_and_the_client_may_ask_again() {
    let address = origin(|mut tcp| async move {
        // The second request comes on the same connection, or on another one.
        loop {
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n\r\n{}") {
                let Ok(byte) = tcp.read_u8().await else { return };
                seen.push(byte);
            }
            tcp.write_all(&[HEAD, b"4\r\nwhol\r\n1\r\ne\r\n0\r\n\r\n"].concat()).await.unwrap();
        }
    })
    .await;
    let served = Served::bypassing(address);
    let mut client = served.connect().await;
    for _ in 0..2 {
        client.send(REQUEST).await;
        assert_eq!(client.answer().await.text(), "whole");
    }
}
