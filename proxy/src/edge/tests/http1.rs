//! Ordinary HTTP/1 traffic: bodies, framing, reuse, clients that leave.

use tokio::io::AsyncWriteExt;

use super::support::{Event, Served, checksum, patiently};

fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: edge\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_beyond_pingoras_replay_limit_arrive_whole() {
    let served = Served::new();
    let mut client = served.connect().await;
    for size in [0, 1, 64 * 1024, 64 * 1024 + 1, 70_000, 4 * 1024 * 1024] {
        let body: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
        let (mut read, mut write) = client.0.split();
        let request = post("/echo", &body);
        let mut head = Vec::new();
        let answered = async {
            use tokio::io::AsyncReadExt;
            while !head.ends_with(b"\r\n\r\n") {
                head.push(read.read_u8().await.unwrap());
            }
        };
        patiently("the echo", async { tokio::join!(write.write_all(&request), answered) }).await.0.unwrap();
        let expected = format!("{size} {}", checksum(&body));
        let mut text = vec![0; expected.len()];
        tokio::io::AsyncReadExt::read_exact(&mut client.0, &mut text).await.unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), expected, "all on one connection");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_body_is_asked_for_at_once_and_the_connection_is_kept() {
    let served = Served::new();
    let mut client = served.connect().await;
    let body = vec![b'a'; 4 * 1024 * 1024];
    for _ in 0..2 {
        let head = format!(
            "POST /echo HTTP/1.1\r\nHost: edge\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            body.len()
        );
        client.send(head).await;
        assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
        client.send(&body).await;
        let answer = client.answer().await;
        assert_eq!(answer.text(), format!("{} {}", body.len(), checksum(&body)));
        assert_eq!(answer.field("connection"), Some("keep-alive"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_too_large_is_not_asked_for() {
    let served = Served::new();
    let answer =
        served.ask("POST /small HTTP/1.1\r\nHost: edge\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunked_body_that_is_too_large_is_answered_and_the_answer_arrives() {
    let served = Served::new();
    let mut client = served.connect().await;
    client.send("POST /small HTTP/1.1\r\nHost: edge\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    // The client does not look for an answer before it has sent everything.
    let piece = [b"10000\r\n".as_slice(), &vec![b'x'; 0x10000], b"\r\n"].concat();
    for _ in 0..16 {
        client.send(&piece).await;
    }
    client.send("0\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!(answer.status(), 413);
    assert_eq!(answer.field("connection"), Some("close"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunked_bodies_are_read_whatever_their_pieces() {
    let served = Served::new();
    let mut client = served.connect().await;
    for piece in [1, 3, 7, 64] {
        let wire = "POST /echo HTTP/1.1\r\nHost: edge\r\nTransfer-Encoding: chunked\r\n\r\n\
                    5\r\nhello\r\n1;extension=x\r\n \r\n5\r\nworld\r\n0\r\nTrailer: x\r\n\r\n";
        for bytes in wire.as_bytes().chunks(piece) {
            client.send(bytes).await;
        }
        assert_eq!(client.answer().await.text(), format!("11 {}", checksum(b"hello world")), "pieces of {piece}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_framed_by_the_edge() {
    let served = Served::new();
    let mut client = served.connect().await;
    client.send("GET /chunked HTTP/1.1\r\nHost: edge\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!(answer.field("transfer-encoding"), Some("chunked"));
    assert_eq!(answer.field("content-length"), None);
    assert_eq!(answer.field("x-path"), Some("handler"));
    assert_eq!(answer.text(), "in pieces");

    client.send(post("/echo", b"ok")).await;
    let answer = client.answer().await;
    assert_eq!(answer.field("content-length"), Some(answer.body.len().to_string().as_str()));

    client.send("GET /empty HTTP/1.1\r\nHost: edge\r\n\r\n").await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 204 "), "{head}");
    assert!(!head.to_lowercase().contains("content-length"), "{head}");

    client.send("HEAD /chunked HTTP/1.1\r\nHost: edge\r\n\r\n").await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");

    client.send("GET /chunked HTTP/1.1\r\nHost: edge\r\n\r\n").await;
    assert_eq!(client.answer().await.text(), "in pieces", "answers without a body leave the connection in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http10_client_gets_an_answer_that_ends_with_the_connection() {
    let served = Served::new();
    let answer = served.ask("GET /chunked HTTP/1.0\r\n\r\n").await;
    assert!(answer.ends_with("\r\n\r\nin pieces"), "{answer}");
    assert!(!answer.to_lowercase().contains("transfer-encoding"), "{answer}");
    let short = served.ask("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(short, "", "a request shorter than the HTTP/2 preface is handled, not waited on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_requests_are_answered_in_order_and_do_not_look_like_a_client_that_left() {
    let served = Served::new();
    let mut client = served.connect().await;
    let wait = "POST /wait HTTP/1.1\r\nHost: edge\r\nContent-Length: 2\r\n\r\nhi";
    client
        .send([wait.as_bytes(), &post("/echo", b"one"), b"GET /chunked HTTP/1.1\r\nHost: edge\r\n\r\n"].concat())
        .await;
    assert_eq!(served.event().await, Event::Began("/wait".into()));
    // More arrives while the first is under way.
    client.send(post("/echo", b"three")).await;
    served.script.go_on.notify_one();
    assert_eq!(client.answer().await.text(), "waited");
    assert_eq!(client.answer().await.text(), format!("3 {}", checksum(b"one")));
    assert_eq!(client.answer().await.text(), "in pieces");
    assert_eq!(client.answer().await.text(), format!("5 {}", checksum(b"three")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_is_noticed_while_nothing_is_sent() {
    let served = Served::new();
    let mut client = served.connect().await;
    client.send(post("/wait", b"{}")).await;
    assert_eq!(served.event().await, Event::Began("/wait".into()));
    drop(client);
    assert_eq!(served.event().await, Event::Gone);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_closed_client_counts_as_gone() {
    let served = Served::new();
    let mut client = served.connect().await;
    client.send(post("/wait", b"{}")).await;
    client.0.shutdown().await.unwrap();
    assert_eq!(served.event().await, Event::Began("/wait".into()));
    assert_eq!(served.event().await, Event::Gone);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_in_its_body_is_noticed() {
    let served = Served::new();
    let mut client = served.connect().await;
    client.send("POST /echo HTTP/1.1\r\nHost: edge\r\nContent-Length: 10\r\n\r\nhalf").await;
    assert_eq!(served.event().await, Event::Began("/echo".into()));
    drop(client);
    assert_eq!(served.event().await, Event::Body(Err("the client left before its request body was complete".into())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_left_in_its_body_stays_gone() {
    let served = Served::new();
    let mut client = served.connect().await;
    client.send("POST /wait HTTP/1.1\r\nHost: edge\r\nContent-Length: 10\r\n\r\nhalf").await;
    assert_eq!(served.event().await, Event::Began("/wait".into()));
    drop(client);
    assert_eq!(served.event().await, Event::Gone);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writing_to_a_client_that_left_fails() {
    let served = Served::new();
    let mut client = served.connect().await;
    client.send("GET /flood HTTP/1.1\r\nHost: edge\r\n\r\n").await;
    client.head().await;
    drop(client);
    assert_eq!(served.event().await, Event::Began("/flood".into()));
    assert_eq!(served.event().await, Event::WriteFailed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn released_bytes_leave_at_once() {
    let served = Served::new();
    let mut client = served.connect().await;
    client.send("GET /stream HTTP/1.1\r\nHost: edge\r\n\r\n").await;
    client.head().await;
    assert_eq!(client.chunk().await, Some(b"first,".to_vec()));
    served.script.go_on.notify_one();
    assert_eq!(client.chunk().await, Some(b"second".to_vec()));
    assert_eq!(client.chunk().await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_breaks_off_never_looks_complete() {
    let served = Served::new();
    let answer = served.ask("GET /torn HTTP/1.1\r\nHost: edge\r\n\r\n").await;
    assert!(answer.ends_with("4\r\nhalf\r\n"), "no last chunk: {answer:?}");
    let answer = served.ask("GET /short HTTP/1.1\r\nHost: edge\r\n\r\n").await;
    assert!(!answer.contains("half") || answer.to_lowercase().contains("content-length: 10"), "{answer:?}");
    let answer = served.ask("GET /long HTTP/1.1\r\nHost: edge\r\n\r\n").await;
    assert!(!answer.contains("too much"), "nothing beyond the announced length: {answer:?}");
    let answer = served.ask("GET /panic HTTP/1.1\r\nHost: edge\r\n\r\n").await;
    assert_eq!(answer, "");
    let answer = served.ask("GET /nothing HTTP/1.1\r\nHost: edge\r\n\r\n").await;
    assert_eq!(answer, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_write_ends_the_answer() {
    use crate::edge::downstream::{Client, Outcome};
    use crate::exchange::ports::{Downstream, ResponseHead};
    use crate::guard::Released;
    use pingora::protocols::http::ServerSession;
    use tokio::io::AsyncReadExt;

    // The pipe holds 256 bytes, so that a write of more waits for the reader.
    let (mut client, server) = tokio::io::duplex(256);
    client.write_all(b"GET / HTTP/1.1\r\nHost: edge\r\n\r\n").await.unwrap();
    let mut session = ServerSession::new_http1(Box::new(server));
    session.read_request().await.unwrap();
    let cut = tokio_util::sync::CancellationToken::new();
    let mut down = Client::new(&mut session, &cut);
    let head = ResponseHead { status: http::StatusCode::OK, headers: http::HeaderMap::new() };
    down.start(head, None).await.unwrap();
    let large = Released::for_test(vec![b'x'; 4096].into());
    tokio::select! {
        biased;
        _ = down.write(large) => panic!("nobody reads"),
        () = std::future::ready(()) => {}
    }
    assert!(down.write(Released::for_test("more".into())).await.is_err());
    assert!(down.finish().await.is_err());
    assert_eq!(down.outcome(), Outcome::Torn);
    drop(session);
    let mut wire = Vec::new();
    client.read_to_end(&mut wire).await.unwrap();
    assert!(!wire.ends_with(b"0\r\n\r\n"));
}
