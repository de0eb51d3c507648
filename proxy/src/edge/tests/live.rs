//! Sessions over WebSocket: the handshake, messages, and the end.

use tokio::io::AsyncReadExt as _;

use super::support::*;

const HANDSHAKE: &str = "GET /live HTTP/1.1\r\nHost: edge\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// A frame as a client sends it, with a mask of zeros.
fn frame(head: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![head, 0x80 | u8::try_from(payload.len()).unwrap(), 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_pings_and_a_close_are_answered() {
    let served = Served::new();
    let mut client = served.connect().await;
    client.send(HANDSHAKE).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 101 ") && head.to_lowercase().contains("upgrade: websocket"), "{head}");
    for bytes in [frame(0x01, b"h"), frame(0x89, b"p"), frame(0x80, b"i"), frame(0x88, &[0x0f, 0xa1])] {
        client.send(&bytes).await;
    }
    let mut rest = Vec::new();
    patiently("the end", client.0.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"\x8a\x01p\x81\x02hi\x88\x02\x0f\xa1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_handshake_is_refused() {
    let served = Served::new();
    for request in [
        "GET /live HTTP/1.1\r\nHost: edge\r\n\r\n",
        "GET /live HTTP/1.1\r\nHost: edge\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        "GET /live HTTP/1.0\r\nHost: edge\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ] {
        let mut client = served.connect().await;
        client.send(request).await;
        assert_eq!(client.answer().await.status(), 400, "{request}");
    }
    let mut client = served.connect().await;
    client.send(&HANDSHAKE.replace("/live", "/live/refused")).await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.text().as_str()), (401, "no"));
}
