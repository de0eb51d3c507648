//! Several endpoints for one name: shares, failover, circuits, retries, health, over real sockets.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method};
use tokio::net::TcpListener;

use super::origin::{Origin, call, patiently, plain_options, request, service, text};
use crate::exchange::ports::{UpstreamError, UpstreamRequest, UpstreamTarget};
use crate::upstream::{
    CircuitRules, CircuitState, EndpointSettings, HealthRules, Provider, RetryReason, RetryRules, UpstreamOptions,
    UpstreamSettings, upstream_service,
};

/// A provider with these endpoints, called a, b, … in turn.
fn settings(addresses: &[(SocketAddr, u32)]) -> UpstreamSettings {
    let endpoint = |(name, (address, weight)): (char, &(SocketAddr, u32))| EndpointSettings {
        name: name.to_string().into(),
        target: UpstreamTarget::parse("main", &format!("http://{address}")).unwrap(),
        weight: *weight,
    };
    let any = UpstreamSettings::from(UpstreamTarget::parse("main", "http://127.0.0.1:1").unwrap());
    UpstreamSettings { endpoints: ('a'..).zip(addresses).map(endpoint).collect(), ..any }
}

fn provider(settings: UpstreamSettings) -> Arc<Provider> {
    Arc::new(Provider::new(settings, None, 1).unwrap())
}

fn ask(provider: &Arc<Provider>) -> UpstreamRequest {
    UpstreamRequest { provider: Arc::clone(provider), ..request("http://unused", "{}") }
}

/// An address at which nobody listens.
async fn nowhere() -> SocketAddr {
    TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap()
}

/// Answers one request on a new connection.
async fn serve(origin: &mut Origin, answer: &str) {
    let mut connection = origin.connection().await;
    connection.request().await;
    connection.send(answer).await;
}

const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
const AWAY: &str = "HTTP/1.1 503 Away\r\nContent-Length: 4\r\nConnection: close\r\n\r\naway";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_refuses_the_connection_is_passed_over() {
    let mut origin = Origin::new().await;
    let provider = provider(settings(&[(nowhere().await, 9), (origin.address, 1)]));
    let service = service();
    let (reply, ()) = tokio::join!(call(&service, ask(&provider)), serve(&mut origin, GOOD));
    let mut reply = reply.unwrap();
    assert_eq!((reply.attempts, &*reply.upstream), (2, "main/b"));
    assert_eq!(text(&mut reply).await.unwrap(), "ok");
    let retried: Vec<_> = provider.retried().filter(|(_, count)| *count > 0).collect();
    assert_eq!(retried, [(RetryReason::Connect, 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_say_it_was_not_worked_on_are_passed_over() {
    for (status, reason) in
        [(503, RetryReason::Overloaded), (429, RetryReason::RateLimited), (529, RetryReason::Overloaded)]
    {
        let (mut first, mut second) = (Origin::new().await, Origin::new().await);
        let provider = provider(settings(&[(first.address, 9), (second.address, 1)]));
        let refusal = format!("HTTP/1.1 {status} No\r\nRetry-After: 3600\r\nContent-Length: 2\r\n\r\nno");
        let (service, serving) = (service(), async {
            serve(&mut first, &refusal).await;
            serve(&mut second, GOOD).await;
        });
        let (reply, ()) = tokio::join!(call(&service, ask(&provider)), serving);
        let mut reply = reply.unwrap();
        assert_eq!((reply.status.as_u16(), reply.attempts, &*reply.upstream), (200, 2, "main/b"));
        assert_eq!(text(&mut reply).await.unwrap(), "ok");
        assert_eq!(provider.retried().find(|(_, count)| *count > 0), Some((reason, 1)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_have_been_worked_on_goes_nowhere_else() {
    for status in [500, 502, 504, 408, 400] {
        let (mut first, mut second) = (Origin::new().await, Origin::new().await);
        let provider = provider(settings(&[(first.address, 9), (second.address, 1)]));
        let answer = format!("HTTP/1.1 {status} No\r\nContent-Length: 2\r\n\r\nno");
        let service = service();
        let (reply, ()) = tokio::join!(call(&service, ask(&provider)), serve(&mut first, &answer));
        let reply = reply.unwrap();
        assert_eq!((reply.status.as_u16(), reply.attempts), (status, 1));
        assert!(second.has_no_further_connection());
    }
    // A connection that ends before an answer: for a POST the end, for a GET the next endpoint.
    let (mut first, mut second) = (Origin::new().await, Origin::new().await);
    let provider = provider(settings(&[(first.address, 1), (second.address, 1)]));
    let service = service();
    let (reply, ()) = tokio::join!(call(&service, ask(&provider)), async {
        first.connection().await.request().await;
    });
    assert!(matches!(reply, Err(UpstreamError::NoAnswer { .. })), "{reply:?}");
    assert!(second.has_no_further_connection());
    let get = UpstreamRequest { method: Method::GET, ..ask(&provider) };
    // The second endpoint's turn, then the first's.
    let (reply, ()) = tokio::join!(call(&service, get), async {
        second.connection().await;
        serve(&mut first, GOOD).await;
    });
    assert_eq!(reply.unwrap().attempts, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_out_after_the_request_was_sent_goes_nowhere_else() {
    let (mut first, mut second) = (Origin::new().await, Origin::new().await);
    let provider = provider(settings(&[(first.address, 9), (second.address, 1)]));
    let options = UpstreamOptions { head_timeout: Duration::from_millis(200), ..plain_options() };
    let service = upstream_service(options).unwrap();
    let request = ask(&provider);
    let made = Arc::clone(&request.made);
    let (reply, _kept) = tokio::join!(call(&service, request), async {
        let mut connection = first.connection().await;
        connection.request().await;
        connection
    });
    assert!(matches!(reply, Err(UpstreamError::Timeout { .. })), "{reply:?}");
    assert_eq!(made.load(std::sync::atomic::Ordering::Relaxed), 1);
    assert!(second.has_no_further_connection());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_breaks_off_goes_nowhere_else_and_counts_against_its_endpoint() {
    let (mut first, mut second) = (Origin::new().await, Origin::new().await);
    let circuit = CircuitRules { failures: 1, ..CircuitRules::default() };
    let endpoints = [(first.address, 9), (second.address, 1)];
    let provider = provider(UpstreamSettings { circuit: Some(circuit), ..settings(&endpoints) });
    let (service, half) = (service(), "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
    let (reply, ()) = tokio::join!(call(&service, ask(&provider)), serve(&mut first, half));
    let mut reply = reply.unwrap();
    assert!(matches!(text(&mut reply).await, Err(UpstreamError::Body { .. })));
    assert!(second.has_no_further_connection());
    let circuits: Vec<_> = provider.states().map(|state| state.circuit).collect();
    assert_eq!(circuits, [CircuitState::Open, CircuitState::Closed]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_shared_out_by_weight() {
    let (mut first, mut second) = (Origin::new().await, Origin::new().await);
    let provider = provider(settings(&[(first.address, 3), (second.address, 1)]));
    let (service, mut names) = (service(), Vec::new());
    for _ in 0..8 {
        let serving = async {
            tokio::select! {
                () = serve(&mut first, GOOD) => {}
                () = serve(&mut second, GOOD) => {}
            }
        };
        let (reply, ()) = tokio::join!(call(&service, ask(&provider)), serving);
        names.push(reply.unwrap().upstream.to_string());
    }
    let count = |name: &str| names.iter().filter(|one| *one == name).count();
    assert_eq!((count("main/a"), count("main/b")), (6, 2), "{names:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_circuit_spares_the_endpoint_and_half_open_lets_one_call_try() {
    const OPEN: Duration = Duration::from_millis(300);
    let mut origin = Origin::new().await;
    let circuit = CircuitRules { failures: 2, within: Duration::from_secs(60), open: OPEN };
    let provider = provider(UpstreamSettings { circuit: Some(circuit), ..settings(&[(origin.address, 1)]) });
    let service = service();
    for _ in 0..2 {
        let (reply, ()) = tokio::join!(call(&service, ask(&provider)), serve(&mut origin, AWAY));
        assert_eq!(reply.unwrap().status.as_u16(), 503);
    }
    let request = ask(&provider);
    let made = Arc::clone(&request.made);
    let refused = call(&service, request).await;
    assert!(
        matches!(refused, Err(UpstreamError::Unavailable { for_another, .. }) if for_another <= OPEN),
        "{refused:?}"
    );
    assert_eq!(made.load(std::sync::atomic::Ordering::Relaxed), 0);
    assert!(origin.has_no_further_connection() && !provider.is_ready());

    // The first call after that time is the trial; while it is out, others are refused.
    let mut trial = loop {
        let (service, request) = (service.clone(), ask(&provider));
        let mut calling = tokio::spawn(async move { call(&service, request).await });
        tokio::select! {
            ended = &mut calling => assert!(matches!(ended.unwrap(), Err(UpstreamError::Unavailable { .. }))),
            connection = origin.connection() => break (connection, calling),
        }
    };
    assert!(matches!(call(&service, ask(&provider)).await, Err(UpstreamError::Unavailable { .. })));
    trial.0.request().await;
    trial.0.send(GOOD).await;
    assert_eq!(trial.1.await.unwrap().unwrap().status.as_u16(), 200);
    let (reply, ()) = tokio::join!(call(&service, ask(&provider)), serve(&mut origin, GOOD));
    assert_eq!(reply.unwrap().status.as_u16(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_whose_client_leaves_makes_room_for_another() {
    let mut origin = Origin::new().await;
    let circuit = CircuitRules { failures: 1, within: Duration::from_secs(60), open: Duration::ZERO };
    let provider = provider(UpstreamSettings { circuit: Some(circuit), ..settings(&[(origin.address, 1)]) });
    let service = service();
    let (reply, ()) = tokio::join!(call(&service, ask(&provider)), serve(&mut origin, AWAY));
    assert_eq!(reply.unwrap().status.as_u16(), 503);
    tokio::select! {
        _ = call(&service, ask(&provider)) => panic!("nobody answers it"),
        _ = origin.connection() => {}
    }
    let (reply, ()) = tokio::join!(call(&service, ask(&provider)), serve(&mut origin, GOOD));
    assert_eq!(reply.unwrap().status.as_u16(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_endpoint_is_called_again_only_where_that_is_configured_and_within_the_budget() {
    let mut origin = Origin::new().await;
    let service = service();
    let plain = provider(settings(&[(origin.address, 1)]));
    let (reply, ()) = tokio::join!(call(&service, ask(&plain)), serve(&mut origin, AWAY));
    let mut reply = reply.unwrap();
    assert_eq!((reply.status.as_u16(), reply.attempts), (503, 1));
    assert_eq!(text(&mut reply).await.unwrap(), "away", "the answer is passed on whole");

    let retries = RetryRules { max: 2, budget_percent: 0 };
    let again = provider(UpstreamSettings { retries: Some(retries), ..settings(&[(origin.address, 1)]) });
    // A reserve of ten: five calls that are each made three times.
    for _ in 0..5 {
        let (reply, ()) = tokio::join!(call(&service, ask(&again)), async {
            serve(&mut origin, AWAY).await;
            serve(&mut origin, "HTTP/1.1 429 No\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n").await;
            serve(&mut origin, GOOD).await;
        });
        let reply = reply.unwrap();
        assert_eq!((reply.status.as_u16(), reply.attempts), (200, 3));
    }
    let (reply, ()) = tokio::join!(call(&service, ask(&again)), serve(&mut origin, AWAY));
    assert_eq!(reply.unwrap().attempts, 1, "nothing is left to spend");
    assert!(origin.has_no_further_connection());

    let patient = RetryRules { max: 2, budget_percent: 20 };
    let patient = provider(UpstreamSettings { retries: Some(patient), ..settings(&[(origin.address, 1)]) });
    let long = "HTTP/1.1 429 No\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n";
    let (reply, ()) = tokio::join!(call(&service, ask(&patient)), serve(&mut origin, long));
    assert_eq!(reply.unwrap().headers["retry-after"], "60", "the client can wait better");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_is_not_well_is_left_out_until_it_is_again() {
    let (sick, mut well) = (Origin::new().await, Origin::new().await);
    let health = HealthRules {
        path: "/healthz?deep=1".into(),
        interval: Duration::from_millis(20),
        unhealthy_after: NonZeroU32::new(2).unwrap(),
        healthy_after: NonZeroU32::new(2).unwrap(),
    };
    let sick_address = sick.address;
    let (is_sick, watched) = tokio::sync::watch::channel(true);
    // Answers questions; a call would be answered 418.
    let mut sick = sick;
    let answering = tokio::spawn(async move {
        loop {
            let mut connection = sick.connection().await;
            let (head, _) = connection.request().await;
            let status = match (head.starts_with("get /healthz?deep=1 http/1.1\r\n"), *watched.borrow()) {
                (true, true) => "500 Sick",
                (true, false) => "401 Who",
                (false, _) => "418 Teapot",
            };
            connection.send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")).await;
        }
    });
    let both =
        provider(UpstreamSettings { health: Some(health), ..settings(&[(sick_address, 1000), (nowhere().await, 0)]) });
    let service = service();
    let watching = tokio::spawn(service.watch(vec![Arc::clone(&both)]));
    let healthy = |index: usize| both.states().nth(index).unwrap().is_healthy;
    patiently("both to be found ill", async {
        while healthy(0) || healthy(1) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // If nobody is well, a call is better than none.
    assert_eq!(call(&service, ask(&both)).await.unwrap().status.as_u16(), 418);
    is_sick.send(false).unwrap();
    patiently("one to be well again", async {
        while !healthy(0) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    watching.abort();
    answering.abort();

    // One that is ill has no calls while another is well.
    let health = HealthRules {
        path: "/".into(),
        interval: Duration::from_millis(20),
        unhealthy_after: NonZeroU32::MIN,
        healthy_after: NonZeroU32::MIN,
    };
    let pair =
        provider(UpstreamSettings { health: Some(health), ..settings(&[(nowhere().await, 1000), (well.address, 1)]) });
    let watching = tokio::spawn(service.watch(vec![Arc::clone(&pair)]));
    patiently("one to be found ill", async {
        while pair.states().next().unwrap().is_healthy {
            tokio::task::yield_now().await;
        }
    })
    .await;
    watching.abort();
    let _ = watching.await;
    while !well.has_no_further_connection() {}
    let (reply, ()) = tokio::join!(call(&service, ask(&pair)), async {
        loop {
            let mut connection = well.connection().await;
            // A question that was under way ends without a request.
            if patiently("a byte", connection.0.peek(&mut [0])).await.is_ok_and(|bytes| bytes > 0) {
                let (head, _) = connection.request().await;
                connection.send(GOOD).await;
                if head.starts_with("post") {
                    break;
                }
            }
        }
    });
    assert_eq!((reply.unwrap().attempts, pair.retried().map(|(_, count)| count).sum::<u64>()), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_cannot_say_where_its_request_goes() {
    let mut origin = Origin::new().await;
    let provider = provider(settings(&[(origin.address, 1)]));
    let mut request = ask(&provider);
    for name in ["host", "x-forwarded-host", "forwarded", "x-original-url", "x-rewrite-url", ":authority"] {
        if let Ok(name) = name.parse::<http::HeaderName>() {
            request.headers.insert(name, HeaderValue::from_static("evil.example"));
        }
    }
    request.path_and_query = "//evil.example/v1?url=http://evil.example/".into();
    let service = service();
    let (reply, head) = tokio::join!(call(&service, request), async {
        let mut connection = origin.connection().await;
        let (head, _) = connection.request().await;
        connection.send(GOOD).await;
        head
    });
    assert_eq!(reply.unwrap().status.as_u16(), 200);
    assert!(head.contains(&format!("host: {}\r\n", origin.address)), "{head}");
    assert!(head.starts_with("post //evil.example/v1?url=http://evil.example/ http/1.1"), "{head}");
}
