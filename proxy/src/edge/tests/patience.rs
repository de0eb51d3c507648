//! Clients that take their time, with the clock put forward.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use pingora::protocols::http::ServerSession;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::support::roomy;
use crate::edge::downstream::{Client, Outcome};
use crate::edge::limits;
use crate::edge::socket::ClientSocket;
use crate::exchange::ports::{BodyError, Downstream, ResponseHead};
use crate::guard::Released;

/// A session whose client sent this, over a pipe that holds a kilobyte.
async fn session(request: &str) -> (DuplexStream, ServerSession) {
    let (mut client, server) = tokio::io::duplex(1024);
    client.write_all(request.as_bytes()).await.unwrap();
    let mut session = ServerSession::new_http1(Box::new(server));
    // pingora's limits run on the clock of the wall.
    session.set_read_timeout(None);
    assert!(session.read_request().await.unwrap());
    (client, session)
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_cut() {
    let (_client, mut session) = session("GET / HTTP/1.1\r\nHost: edge\r\n\r\n").await;
    let cut = CancellationToken::new();
    let mut down = Client::new(&mut session, &cut);
    let head = ResponseHead { status: StatusCode::OK, headers: HeaderMap::new() };
    down.start(head, None).await.unwrap();
    let begun = Instant::now();
    assert!(down.write(Released::for_test(vec![b'x'; 4096].into())).await.is_err());
    assert_eq!(begun.elapsed(), limits::WRITE_MAX);
    assert_eq!(down.outcome(), Outcome::Torn);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stops_coming_is_given_up() {
    let (_client, mut session) = session("POST / HTTP/1.1\r\nHost: edge\r\nContent-Length: 10\r\n\r\nhalf").await;
    let cut = CancellationToken::new();
    let mut down = Client::new(&mut session, &cut);
    let begun = Instant::now();
    assert!(matches!(down.read_body(100, &mut roomy()).await, Err(BodyError::Timeout)));
    assert_eq!(begun.elapsed(), limits::BODY_SILENCE_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_drips_is_given_up() {
    let (mut client, mut session) = session("POST / HTTP/1.1\r\nHost: edge\r\nContent-Length: 1000\r\n\r\n").await;
    let drip = async move {
        loop {
            tokio::time::sleep(limits::BODY_SILENCE_MAX / 2).await;
            if client.write_all(b"x").await.is_err() {
                return;
            }
        }
    };
    let cut = CancellationToken::new();
    let mut down = Client::new(&mut session, &cut);
    let (begun, mut room) = (Instant::now(), roomy());
    tokio::select! {
        () = drip => panic!("the session outlives the drip"),
        body = down.read_body(10_000, &mut room) => assert!(matches!(body, Err(BodyError::Timeout))),
    }
    assert_eq!(begun.elapsed(), limits::BODY_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_cut_ends_every_wait() {
    let (_client, mut session) = session("POST / HTTP/1.1\r\nHost: edge\r\nContent-Length: 10\r\n\r\nhalf").await;
    let cut = CancellationToken::new();
    let mut down = Client::new(&mut session, &cut);
    cut.cancel();
    let begun = Instant::now();
    assert!(matches!(down.read_body(100, &mut roomy()).await, Err(BodyError::Gone)));
    down.gone().await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_head_has_its_time_from_its_first_byte_and_each_head_anew() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (tcp, peer) = listener.accept().await.unwrap();
    let mut socket = ClientSocket::new(tcp, peer, Bytes::from_static(b"GET"));
    let mut buffer = [0; 16];
    assert_eq!(socket.read(&mut buffer).await.unwrap(), 3);
    let begun = Instant::now();
    let error = socket.read(&mut buffer).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    assert_eq!(begun.elapsed(), limits::HEAD_MAX);

    socket.head_complete();
    tokio::time::advance(limits::HEAD_MAX * 2).await;
    client.write_all(b"body").await.unwrap();
    assert_eq!(socket.read(&mut buffer).await.unwrap(), 4, "what follows the head has limits of its own");

    socket.expect_head();
    tokio::time::advance(limits::HEAD_MAX * 2).await;
    client.write_all(b"G").await.unwrap();
    assert_eq!(socket.read(&mut buffer).await.unwrap(), 1, "an idle connection is not a slow head");
    let begun = Instant::now();
    assert!(socket.read(&mut buffer).await.is_err());
    assert_eq!(begun.elapsed(), limits::HEAD_MAX);
}
