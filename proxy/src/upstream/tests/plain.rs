//! HTTP/1.1 without TLS.

use std::time::Duration;

use http::{HeaderValue, Method, StatusCode};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::origin::{Connection, Origin, call, patiently, plain_options, request, service, text};
use crate::exchange::ports::{UpstreamError, UpstreamReply};
use crate::upstream::{UpstreamOptions, UpstreamService, upstream_service};

/// A first exchange, after which the connection is in the pool.
async fn warmed_up(service: &UpstreamService, origin: &mut Origin) -> Connection {
    let request = origin.request(&b"warm"[..]);
    let (reply, connection) = tokio::join!(call(service, request), async {
        let mut connection = origin.connection().await;
        connection.request().await;
        connection.answer("warm").await;
        connection
    });
    drain(reply.unwrap()).await;
    connection
}

/// Reads the answer to its end and gives its connection back.
async fn drain(mut reply: UpstreamReply) -> String {
    let text = text(&mut reply).await.unwrap();
    reply.body.release().await;
    text
}

/// A call on its way over a pooled connection.
async fn under_way(service: &UpstreamService, origin: &mut Origin) -> (Connection, Calling) {
    let mut pooled = warmed_up(service, origin).await;
    for _ in 0..ROUNDS {
        let (service, request) = (service.clone(), origin.request(&b"{}"[..]));
        let calling = tokio::spawn(async move { call(&service, request).await });
        let (mut connection, was_pooled) = origin.carrier(pooled).await;
        if was_pooled {
            return (connection, calling);
        }
        connection.request().await;
        connection.answer("again").await;
        drain(calling.await.unwrap().unwrap()).await;
        pooled = connection;
    }
    panic!("no connection was ever used again")
}

type Calling = tokio::task::JoinHandle<Result<UpstreamReply, UpstreamError>>;
/// More than pingora needs by far to find a connection in its pool once.
const ROUNDS: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_released_connection_is_used_again() {
    let mut origin = Origin::new().await;
    let (mut connection, calling) = under_way(&service(), &mut origin).await;
    let (head, body) = connection.request().await;
    assert!(head.starts_with("post /v1/chat http/1.1\r\n"), "{head}");
    assert!(head.contains("accept-encoding: identity\r\n"), "{head}");
    assert_eq!(body, b"{}");
    connection.send("HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\nX-Clyra-Decision: forged\r\n").await;
    connection.send("Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nContent-Length: 2\r\n\r\nno").await;
    let reply = calling.await.unwrap().unwrap();
    assert_eq!((reply.status, reply.attempts), (StatusCode::TOO_MANY_REQUESTS, 1));
    let mut names: Vec<_> = reply.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "retry-after"]);
    assert_eq!(drain(reply).await, "no");
    assert!(origin.has_no_further_connection());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_connection_is_replaced_once_counted_and_its_successor_pooled() {
    let mut origin = Origin::new().await;
    let service = service();
    // The connection looked alive when it was taken from the pool, and dies with the request on it.
    let (stale, calling) = under_way(&service, &mut origin).await;
    drop(stale);
    let mut fresh = origin.connection().await;
    fresh.request().await;
    fresh.answer("second").await;
    let reply = calling.await.unwrap().unwrap();
    assert_eq!(reply.attempts, 2);
    assert_eq!(drain(reply).await, "second");

    let mut was_pooled = false;
    for _ in 0..ROUNDS {
        let request = origin.request(&b"{}"[..]);
        let (reply, carrier) = tokio::join!(call(&service, request), async {
            let (mut connection, is_pooled) = origin.carrier(fresh).await;
            connection.request().await;
            connection.answer("next").await;
            (connection, is_pooled)
        });
        drain(reply.unwrap()).await;
        was_pooled |= carrier.1;
        fresh = carrier.0;
    }
    assert!(was_pooled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_that_dies_as_well_is_the_end() {
    let mut origin = Origin::new().await;
    let (stale, calling) = under_way(&service(), &mut origin).await;
    drop(stale);
    drop(origin.connection().await);
    let error = calling.await.unwrap().unwrap_err();
    assert!(matches!(error, UpstreamError::NoAnswer { reused: false, .. }), "{error}");
    assert!(origin.has_no_further_connection());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_repeated_once_a_byte_of_an_answer_came() {
    let mut origin = Origin::new().await;
    let (mut connection, calling) = under_way(&service(), &mut origin).await;
    connection.request().await;
    connection.send("HTTP/1.1 200 O").await;
    drop(connection);
    let error = calling.await.unwrap().unwrap_err();
    assert!(matches!(error, UpstreamError::Protocol { .. }), "{error}");
    assert!(origin.has_no_further_connection());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_connection_that_breaks_is_not_replaced() {
    let mut origin = Origin::new().await;
    let request = origin.request(&b"{}"[..]);
    let service = service();
    let (reply, ()) = tokio::join!(call(&service, request), async {
        let mut connection = origin.connection().await;
        connection.request().await;
    });
    let error = reply.unwrap_err();
    assert!(matches!(error, UpstreamError::NoAnswer { reused: false, .. }), "{error}");
    assert!(origin.has_no_further_connection());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_wire_carried_is_not_repeated_in_errors() {
    let mut origin = Origin::new().await;
    let service = service();
    let request = origin.request(&b"{}"[..]);
    let (reply, ()) = tokio::join!(call(&service, request), async {
        let mut connection = origin.connection().await;
        connection.request().await;
        connection.send("HTTP/1.1 200 OK\r\nthe secret \x01 is 42\r\n\r\n").await;
        connection.closed().await;
    });
    let error = reply.unwrap_err();
    assert!(matches!(error, UpstreamError::Protocol { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_many_megabytes_is_sent_and_streamed_back() {
    const BYTES: usize = 16 * 1024 * 1024;
    let mut origin = Origin::new().await;
    let service = service();
    let request = origin.request(vec![b'u'; BYTES]);
    let (reply, ()) = tokio::join!(
        async {
            let mut reply = call(&service, request).await.unwrap();
            text(&mut reply).await.unwrap()
        },
        async {
            let mut connection = origin.connection().await;
            let (_, body) = connection.request().await;
            connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            for piece in body.chunks(300_000) {
                connection.send(format!("{:x}\r\n", piece.len())).await;
                connection.send(piece).await;
                connection.send("\r\n").await;
            }
            connection.send("0\r\n\r\n").await;
        }
    );
    assert_eq!(reply.len(), BYTES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_before_the_end_of_the_request_is_taken() {
    let mut origin = Origin::new().await;
    let service = service();
    // More than all socket buffers together, so that the sending cannot run to its end.
    let request = origin.request(vec![b'u'; 64 * 1024 * 1024]);
    let (reply, ()) = tokio::join!(call(&service, request), async {
        let mut connection = origin.connection().await;
        connection.0.read_u8().await.unwrap();
        connection.send("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno").await;
        // Goes on reading, as a polite server does.
        tokio::spawn(async move { connection.closed().await });
    });
    let mut reply = reply.unwrap();
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(text(&mut reply).await.unwrap(), "no");
    // The rest of the request was never sent, so the connection is of no use.
    reply.body.release().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interim_answers_are_skipped_and_switching_protocols_is_refused() {
    let mut origin = Origin::new().await;
    let service = service();
    let request = origin.request(&b"{}"[..]);
    let (reply, connection) = tokio::join!(call(&service, request), async {
        let mut connection = origin.connection().await;
        connection.request().await;
        connection.send("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n").await;
        connection.answer("final").await;
        connection
    });
    assert_eq!(drain(reply.unwrap()).await, "final");
    let request = origin.request(&b"{}"[..]);
    let (reply, ()) = tokio::join!(call(&service, request), async {
        let (mut connection, _) = origin.carrier(connection).await;
        connection.request().await;
        connection.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n").await;
        connection.closed().await;
    });
    assert!(matches!(reply.unwrap_err(), UpstreamError::Protocol { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_breaks_off_is_an_error_and_not_an_end() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
    ] {
        let mut origin = Origin::new().await;
        let service = service();
        let request = origin.request(&b"{}"[..]);
        let (reply, ()) = tokio::join!(call(&service, request), async {
            let mut connection = origin.connection().await;
            connection.request().await;
            connection.send(answer).await;
        });
        let mut reply = reply.unwrap();
        let error = text(&mut reply).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Body { .. }), "{answer:?}: {error}");
        assert!(reply.body.chunk().await.is_err(), "a failure stays one");
        reply.body.release().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abandoned_answer_closes_the_connection() {
    for how in ["abort", "drop", "early release"] {
        let mut origin = Origin::new().await;
        let service = service();
        let request = origin.request(&b"{}"[..]);
        let (reply, mut connection) = tokio::join!(call(&service, request), async {
            let mut connection = origin.connection().await;
            connection.request().await;
            connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n").await;
            connection
        });
        let mut reply = reply.unwrap();
        assert_eq!(patiently("a chunk", reply.body.chunk()).await.unwrap().as_deref(), Some(&b"half"[..]));
        match how {
            "abort" => reply.body.abort().await,
            "drop" => drop(reply),
            _ => reply.body.release().await,
        }
        connection.closed().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_call_closes_the_connection() {
    let mut origin = Origin::new().await;
    let service = service();
    let request = origin.request(&b"{}"[..]);
    let mut connection = {
        let calling = call(&service, request);
        tokio::pin!(calling);
        tokio::select! {
            _ = &mut calling => panic!("there is no answer"),
            connection = async {
                let mut connection = origin.connection().await;
                connection.request().await;
                connection
            } => connection,
        }
    };
    connection.closed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_that_is_not_waited_for_is_not_lost() {
    let mut origin = Origin::new().await;
    let service = service();
    let request = origin.request(&b"{}"[..]);
    let (reply, mut connection) = tokio::join!(call(&service, request), async {
        let mut connection = origin.connection().await;
        connection.request().await;
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        connection
    });
    let mut reply = reply.unwrap();
    let wire = b"5\r\nhello\r\n3\r\n, w\r\n4\r\norld\r\n0\r\n\r\n";
    let mut seen = Vec::new();
    for byte in wire {
        connection.send([*byte]).await;
        // Looked for and given up again and again, at every stage of a chunk.
        for _ in 0..20 {
            tokio::select! {
                biased;
                chunk = reply.body.chunk() => seen.extend(chunk.unwrap().unwrap_or_default()),
                () = tokio::task::yield_now() => {}
            }
        }
    }
    seen.extend(text(&mut reply).await.unwrap().into_bytes());
    assert_eq!(String::from_utf8(seen).unwrap(), "hello, world");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_before_the_head_and_within_the_body_ends() {
    let mut origin = Origin::new().await;
    let short = Duration::from_millis(50);
    let service = upstream_service(UpstreamOptions { head_timeout: short, ..plain_options() }).unwrap();
    let request = origin.request(&b"{}"[..]);
    let error = call(&service, request).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Timeout { after, .. } if after == short), "{error}");
    origin.connection().await.closed().await;

    let service = upstream_service(UpstreamOptions { idle_timeout: short, ..plain_options() }).unwrap();
    let request = origin.request(&b"{}"[..]);
    let (reply, _connection) = tokio::join!(call(&service, request), async {
        let mut connection = origin.connection().await;
        connection.request().await;
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await;
        connection
    });
    let error = text(&mut reply.unwrap()).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Timeout { after, .. } if after == short), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_beyond_the_limit_are_refused_until_a_body_is_done() {
    let mut origin = Origin::new().await;
    let service = upstream_service(UpstreamOptions { calls_max: 1, ..plain_options() }).unwrap();
    let request = origin.request(&b"{}"[..]);
    let (reply, connection) = tokio::join!(call(&service, request), async {
        let mut connection = origin.connection().await;
        connection.request().await;
        connection.answer("first").await;
        connection
    });
    let reply = reply.unwrap();
    let refused = call(&service, origin.request(&b"{}"[..])).await.unwrap_err();
    assert!(matches!(refused, UpstreamError::Overloaded { .. }), "{refused}");
    drain(reply).await;
    let request = origin.request(&b"{}"[..]);
    let (reply, ()) = tokio::join!(call(&service, request), async {
        let (mut connection, _) = origin.carrier(connection).await;
        connection.request().await;
        connection.answer("second").await;
    });
    assert_eq!(drain(reply.unwrap()).await, "second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_before_anything_is_sent_say_which_they_are() {
    let service = service();
    let error = call(&service, request("http://nowhere.invalid", "{}")).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Resolve { ref host, .. } if host == "nowhere.invalid"), "{error}");
    let free = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
    let error = call(&service, request(&format!("http://{free}"), "{}")).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Connect { .. }), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_address_is_tried_when_the_first_refuses() {
    // `localhost` is 127.0.0.1 and ::1 on most machines; the origin listens on the first only.
    let addresses: Vec<_> = tokio::net::lookup_host(("localhost", 1)).await.unwrap().collect();
    let mut origin = Origin::new().await;
    let service = service();
    let request = request(&format!("http://localhost:{}", origin.address.port()), "{}");
    let (reply, ()) = tokio::join!(call(&service, request), async {
        let mut connection = origin.connection().await;
        connection.request().await;
        connection.answer("found").await;
    });
    let mut reply = reply.unwrap();
    assert_eq!(text(&mut reply).await.unwrap(), "found");
    let first_refuses = addresses.first().is_some_and(|address| address.is_ipv6());
    assert_eq!(reply.attempts, if first_refuses { 2 } else { 1 }, "{addresses:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_get_has_no_length_and_headers_pass() {
    let mut origin = Origin::new().await;
    let service = service();
    let mut request = origin.request("");
    request.method = Method::GET;
    request.headers.insert("x-api-key", HeaderValue::from_static("k"));
    let (reply, head) = tokio::join!(call(&service, request), async {
        let mut connection = origin.connection().await;
        let (head, _) = connection.request().await;
        connection.answer("ok").await;
        head
    });
    reply.unwrap();
    assert!(head.contains("x-api-key: k\r\n") && !head.contains("content-length"), "{head}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_keeps_connections_for_a_second_is_not_surprised_later() {
    let mut origin = Origin::new().await;
    let service = service();
    let request = origin.request(&b"{}"[..]);
    let (reply, mut connection) = tokio::join!(call(&service, request), async {
        let mut connection = origin.connection().await;
        connection.request().await;
        connection.send("HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1, max=9\r\nContent-Length: 2\r\n\r\nok").await;
        connection
    });
    let mut reply = reply.unwrap();
    text(&mut reply).await.unwrap();
    reply.body.release().await;
    connection.closed().await;
}
