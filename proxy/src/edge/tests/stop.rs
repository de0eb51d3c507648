//! Binding and stopping.

use std::sync::Arc;
use std::time::Duration;

use super::support::{Event, Served, loopback, origin, patiently};
use crate::edge::{BypassEnd, Edge, EdgeError, ServeOptions, Stopped};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_in_use_is_an_error_that_says_so() {
    let served = Served::new();
    let error = Edge::bind(ServeOptions::new(served.address), served.script.clone()).unwrap_err();
    assert!(matches!(error, EdgeError::AddressInUse { address } if address == served.address), "{error}");
    let elsewhere = ServeOptions::new("192.0.2.1:80".parse().unwrap());
    assert!(matches!(Edge::bind(elsewhere, served.script.clone()), Err(EdgeError::Bind { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_ca_file_is_an_error_that_says_so() {
    let served = Served::new();
    let options = ServeOptions { ca_file: Some("/nowhere/ca.pem".into()), ..loopback() };
    let error = Edge::bind(options, served.script.clone()).unwrap_err().to_string();
    assert!(error.contains("/nowhere/ca.pem"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_edge_stops_at_once_and_its_connections_close() {
    let served = Served::new();
    let mut idle = served.connect().await;
    idle.send("GET /chunked HTTP/1.1\r\nHost: edge\r\n\r\n").await;
    assert_eq!(idle.answer().await.status(), 200);
    let mut silent = served.connect().await;
    served.stop.drain();
    assert_eq!(idle.rest().await, "");
    assert_eq!(silent.rest().await, "");
    assert_eq!(served.stopped().await, Stopped { cut: 0 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_under_way_is_finished_and_others_are_served_meanwhile() {
    let served = Served::new();
    let mut client = served.connect().await;
    client.send("GET /stream HTTP/1.1\r\nHost: edge\r\n\r\n").await;
    client.head().await;
    assert_eq!(client.chunk().await, Some(b"first,".to_vec()));
    served.stop.drain();

    // A request that comes while draining is served, and told not to come again.
    let late = patiently("a late answer", async {
        loop {
            let answer = served.ask("GET /chunked HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n").await;
            if answer.to_lowercase().contains("connection: close") {
                return answer;
            }
        }
    })
    .await;
    assert!(late.contains("in pieces"), "{late}");
    assert!(served.is_running());

    served.script.go_on.notify_one();
    assert_eq!(client.chunk().await, Some(b"second".to_vec()));
    assert_eq!(client.chunk().await, None);
    assert_eq!(served.stopped().await, Stopped { cut: 0 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_drain_limit_exchanges_learn_that_their_client_is_gone() {
    let served = Served::with(ServeOptions { drain_max: Duration::ZERO, ..loopback() }, None);
    let mut client = served.connect().await;
    client.send("GET /wait HTTP/1.1\r\nHost: edge\r\n\r\n").await;
    assert_eq!(served.event().await, Event::Began("/wait".into()));
    served.stop.drain();
    assert_eq!(served.event().await, Event::Gone);
    assert_eq!(served.stopped().await, Stopped { cut: 1 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_request_to_stop_does_not_wait() {
    let served = Served::new();
    let mut client = served.connect().await;
    client.send("GET /wait HTTP/1.1\r\nHost: edge\r\n\r\n").await;
    assert_eq!(served.event().await, Event::Began("/wait".into()));
    served.stop.drain();
    served.stop.now();
    assert_eq!(served.event().await, Event::Gone);
    assert_eq!(served.stopped().await, Stopped { cut: 1 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bypass_that_is_cut_is_reported_before_the_edge_returns() {
    let target = origin(|tcp| async move {
        let _open = tcp;
        std::future::pending::<()>().await;
    })
    .await;
    let served = Served::bypassing(target);
    let mut client = served.connect().await;
    client.send("GET /bypass HTTP/1.1\r\nHost: edge\r\n\r\n").await;
    assert_eq!(served.event().await, Event::BypassOpened);
    served.stop.now();
    let Event::BypassClosed(BypassEnd { status: None, error: Some(error), .. }) = served.event().await else {
        panic!("the bypass was not reported as cut");
    };
    assert!(error.contains("stopping"), "{error}");
    assert_eq!(served.stopped().await, Stopped { cut: 1 });
}

#[test]
fn serving_from_an_ordinary_thread_blocks_it_until_the_stop() {
    let stop = crate::edge::Stop::new();
    let served = tokio::runtime::Runtime::new().unwrap();
    // Only the script is of interest; its own edge goes with the runtime.
    let script = served.block_on(async { Served::new().script });
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let options = ServeOptions { listen: port, threads: Some(1), ..loopback() };
    let thread = std::thread::spawn({
        let stop = stop.clone();
        move || crate::edge::serve(options, Arc::clone(&script), stop)
    });
    stop.drain();
    assert_eq!(thread.join().unwrap().unwrap(), Stopped { cut: 0 });
}
