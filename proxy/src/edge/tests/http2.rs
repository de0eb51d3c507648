//! HTTP/2 by prior knowledge.

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, StatusCode};
use tokio::net::TcpStream;

use super::support::{Event, Served, checksum, patiently};
use crate::edge::Stopped;

async fn connect(served: &Served) -> SendRequest<Bytes> {
    let tcp = TcpStream::connect(served.address).await.unwrap();
    let (send, connection) = h2::client::handshake(tcp).await.unwrap();
    tokio::spawn(connection);
    send
}

fn post(path: &str) -> Request<()> {
    Request::post(format!("http://edge{path}")).body(()).unwrap()
}

async fn text(mut body: h2::RecvStream) -> String {
    let mut all = Vec::new();
    while let Some(chunk) = patiently("a data frame", body.data()).await {
        let chunk = chunk.unwrap();
        body.flow_control().release_capacity(chunk.len()).unwrap();
        all.extend_from_slice(&chunk);
    }
    String::from_utf8(all).unwrap()
}

/// Sends a body within flow control.
async fn upload(mut stream: h2::SendStream<Bytes>, mut body: Bytes) {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let capacity = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await.unwrap().unwrap();
        let piece = body.split_to(capacity.min(body.len()));
        stream.send_data(piece, body.is_empty()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_pass_side_by_side_on_one_connection() {
    let served = Served::new();
    let client = connect(&served).await;
    let mut answers = Vec::new();
    for size in [70_000, 4 * 1024 * 1024] {
        let (response, stream) = client.clone().ready().await.unwrap().send_request(post("/echo"), false).unwrap();
        let body = Bytes::from(vec![b'h'; size]);
        tokio::spawn(upload(stream, body.clone()));
        answers.push((response, body));
    }
    for (response, body) in answers {
        let response = patiently("an answer", response).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert!(!response.headers().contains_key("transfer-encoding"));
        assert_eq!(text(response.into_body()).await, format!("{} {}", body.len(), checksum(&body)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_authority_becomes_the_host_and_no_body_needs_no_wait() {
    let served = Served::new();
    let client = connect(&served).await;
    let (response, _) = client.ready().await.unwrap().send_request(post("/head?q=1"), true).unwrap();
    let answer = text(patiently("an answer", response).await.unwrap().into_body()).await;
    assert!(answer.starts_with("Some(\"q=1\") Some(\"edge\") "), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_stream_is_a_client_that_left_and_its_neighbours_are_not_disturbed() {
    let served = Served::new();
    let client = connect(&served).await;
    let (response, mut stream) = client.clone().ready().await.unwrap().send_request(post("/wait"), false).unwrap();
    stream.send_data(Bytes::new(), true).unwrap();
    assert_eq!(served.event().await, Event::Began("/wait".into()));
    stream.send_reset(h2::Reason::CANCEL);
    drop(response);
    assert_eq!(served.event().await, Event::Gone);
    let (response, _) = client.ready().await.unwrap().send_request(post("/chunked"), true).unwrap();
    assert_eq!(text(patiently("an answer", response).await.unwrap().into_body()).await, "in pieces");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_connection_is_noticed_by_every_exchange_and_they_run_on() {
    let served = Served::new();
    let tcp = TcpStream::connect(served.address).await.unwrap();
    let (client, connection) = h2::client::handshake(tcp).await.unwrap();
    let driver = tokio::spawn(connection);
    let (_response, _) = client.ready().await.unwrap().send_request(post("/wait"), true).unwrap();
    assert_eq!(served.event().await, Event::Began("/wait".into()));
    driver.abort();
    assert_eq!(served.event().await, Event::Gone);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_breaks_off_is_a_reset() {
    let served = Served::new();
    let client = connect(&served).await;
    let (response, _) = client.ready().await.unwrap().send_request(post("/torn"), true).unwrap();
    let mut body = patiently("a head", response).await.unwrap().into_body();
    let mut broken = false;
    while let Some(chunk) = patiently("a data frame", body.data()).await {
        broken |= chunk.is_err();
        if broken {
            break;
        }
    }
    assert!(broken, "the stream must not end in good order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_says_goodbye_and_finishes_the_stream() {
    let served = Served::new();
    let tcp = TcpStream::connect(served.address).await.unwrap();
    let (client, connection) = h2::client::handshake(tcp).await.unwrap();
    let driver = tokio::spawn(connection);
    let (response, _) = client.ready().await.unwrap().send_request(post("/stream"), true).unwrap();
    let response = patiently("a head", response).await.unwrap();
    served.stop.drain();
    served.script.go_on.notify_one();
    assert_eq!(text(response.into_body()).await, "first,second");
    patiently("the connection to end", driver).await.unwrap().unwrap();
    assert_eq!(served.stopped().await, Stopped { cut: 0 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn header_lists_are_bounded() {
    let served = Served::new();
    let client = connect(&served).await;
    let mut request = post("/chunked");
    for n in 0..101 {
        let name = http::HeaderName::try_from(format!("x-{n}")).unwrap();
        request.headers_mut().insert(name, http::HeaderValue::from_static("v"));
    }
    let (response, _) = client.clone().ready().await.unwrap().send_request(request, true).unwrap();
    assert_eq!(patiently("an answer", response).await.unwrap().status(), StatusCode::BAD_REQUEST);
}
