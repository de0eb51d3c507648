//! Endpoints whose text Clyra cannot read: refused, or let pass on record; and several providers behind one sidecar.

use bytes::Bytes;
use clyra_simulator::{Options, Scripted, Simulator};
use clyra_tests::ask::{Surface, refused};
use clyra_tests::client::{get, post, send};
use clyra_tests::journal::of_exchange;
use clyra_tests::sidecar::Sidecar;
use http::Method;
use serde_json::{Value, json};

const BLOCKING: &str = "version: 1\nmode: enforce\n";
const PASSING: &str = "version: 1\nmode: enforce\ndefaults: { unknown_surface: bypass }\n";

/// An endpoint whose text cannot be read.
const JOBS: &str = "/v1/fine_tuning/jobs";

fn job() -> Vec<u8> {
    json!({"model": "m", "training_file": "Project Nightjar"}).to_string().into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_cannot_be_read_is_refused_on_record() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(BLOCKING, &simulator.url()).await;
    let anthropic = [("anthropic-version", "2023-06-01")];
    let cases = [
        (Surface::Chat, post(sidecar.address, JOBS, &[], job()).await),
        (Surface::Chat, get(sidecar.address, "/v1/assistants").await),
        (Surface::Chat, get(sidecar.address, "/v1/chat/completions").await),
        (Surface::Chat, send(sidecar.address, Method::DELETE, "/v1/containers/x", &[], Vec::new()).await),
        (Surface::Messages, post(sidecar.address, "/v1/complete", &anthropic, b"{}".to_vec()).await),
    ];
    for (surface, answer) in &cases {
        let refusal = refused(*surface, 400, "unknown_surface", answer);
        assert_eq!(refusal.kind, "invalid_request_error");
        assert_eq!(answer.header("x-clyra-decision"), "block");
        let event = sidecar.event(answer.request_id()).await;
        assert_eq!((&event["type"], &event["decision"]), (&json!("bypass"), &json!("block")), "{event}");
        assert_eq!((&event["verdict"], &event["surface"]), (&json!("blocked"), &json!("unknown")), "{event}");
    }
    assert!(simulator.requests().is_empty());
    let metrics = get(sidecar.admin, "/metrics").await.text();
    let line = r#"clyra_exchanges_total{surface="unknown",decision="block",verdict="blocked"} 5"#;
    assert!(metrics.contains(line), "{metrics}");
    assert!(metrics.contains(r#"clyra_coverage_gaps_total{reason="unknown_surface"} 5"#), "{metrics}");
    let stopped = sidecar.stop().await;
    for (_, answer) in &cases {
        let receipts = of_exchange(&stopped.receipts(), answer.request_id());
        assert_eq!(receipts.len(), 1, "{receipts:#?}");
        assert_eq!((&receipts[0]["kind"], &receipts[0]["verdict"]), (&json!("bypass"), &json!("blocked")));
        assert_eq!(receipts[0]["coverage"], json!({"level": "none", "reasons": ["unknown_surface"]}));
    }
    assert!(stopped.verify().ok);
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_cannot_be_read_passes_where_the_policy_says_so_and_is_counted() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(PASSING, &simulator.url()).await;
    let headers = [("x-clyra-run-id", "run-1"), ("authorization", "Bearer k"), ("x-case", "job")];
    let made = |repeat| Scripted {
        status: 200,
        headers: vec![("content-type".into(), "application/json".into())],
        chunks: vec![Bytes::from_static(b"{\"object\":"), Bytes::from_static(b"\"fine_tuning.job\"}")],
        repeat,
        ..Scripted::default()
    };
    simulator.script(made(1));
    let direct = post(simulator.addr(), JOBS, &[], job()).await;
    let answer = post(sidecar.address, "/v1/fine_tuning/jobs?x=1", &headers, job()).await;
    assert_eq!((answer.status, answer.body()), (direct.status, direct.body()));
    let (decision, policy) = (answer.header("x-clyra-decision"), answer.header("x-clyra-policy"));
    assert_eq!((decision, policy.len(), answer.request_id().len()), ("bypass", 12, 36));
    let request = simulator.requests().pop().unwrap();
    assert_eq!((request.path.as_str(), &request.body[..]), ("/v1/fine_tuning/jobs?x=1", &job()[..]));
    assert_eq!(request.headers["authorization"], "Bearer k");
    assert!(!request.headers.keys().any(|name| name.as_str().contains("clyra")), "{:?}", request.headers);
    let event = sidecar.event(answer.request_id()).await;
    assert_eq!((&event["type"], &event["decision"]), (&json!("bypass"), &json!("bypass")), "{event}");
    assert_eq!((&event["verdict"], &event["status"]), (&json!("executed"), &json!(200)), "{event}");
    assert_eq!((&event["run_id"], &event["coverage_gaps"]), (&json!("run-1"), &json!(["unknown_surface"])));
    assert_eq!(event["request_bytes"], job().len() as u64);
    assert_eq!(event["response_bytes"], direct.body().len() as u64);

    // An error of the provider is its own here too.
    let missing = get(sidecar.address, "/v1/nothing").await;
    assert_eq!((missing.status.as_u16(), missing.header("x-clyra-decision")), (404, "bypass"));
    assert_eq!(sidecar.event(missing.request_id()).await["verdict"], "errored");

    let metrics = get(sidecar.admin, "/metrics").await.text();
    let line = r#"clyra_exchanges_total{surface="unknown",decision="bypass",verdict="executed"} 1"#;
    assert!(metrics.contains(line), "{metrics}");
    let coverage: Value = serde_json::from_str(&get(sidecar.admin, "/api/v1/coverage").await.text()).unwrap();
    assert_eq!(coverage["unknown_surface"], "bypass");
    let stopped = sidecar.stop().await;
    // Once before a byte passed, once with its end.
    let receipts = of_exchange(&stopped.receipts(), answer.request_id());
    let [before, after] = receipts.as_slice() else { panic!("{receipts:#?}") };
    assert_eq!((&before["kind"], &after["kind"]), (&json!("bypass"), &json!("bypass")));
    assert!(before.get("verdict").is_none(), "{before}");
    assert_eq!((&after["verdict"], &after["upstream"]["status"]), (&json!("executed"), &json!(200)));
    for receipt in &receipts {
        assert_eq!(receipt["coverage"], json!({"level": "none", "reasons": ["unknown_surface"]}));
        assert_eq!(receipt["run"]["id"], "run-1");
    }
    assert!(stopped.verify().ok);
    simulator.stop().await;
}

/// No spelling of an inspected path is a way into the bypass.
#[tokio::test(flavor = "multi_thread")]
async fn a_spelling_is_no_way_round() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let policy = format!(
        "{PASSING}detectors:\n  patterns:\n    - {{ id: p, literal: \"Project Nightjar\", class: restricted }}\nrules:\n  - {{ id: r, \
         phase: request, when: 'findings.exists(f, f.class == \"restricted\")', action: block }}\n"
    );
    let sidecar = Sidecar::start(&policy, &simulator.url()).await;
    let body = Surface::Chat.request(false, "Project Nightjar").to_string().into_bytes();
    for path in [
        "/v1/chat/completions",
        "/V1/Chat/Completions",
        "//v1//chat//completions//",
        "/v1/chat%2Fcompletions",
        "/v1/%63hat/completions?x=1",
        "/v1/x/../chat/completions",
        "/v1/./chat/completions/.",
        "/openai/deployments/x/chat/completions",
        "/simulator/v1/chat/completions",
    ] {
        let answer = post(sidecar.address, path, &[], body.clone()).await;
        refused(Surface::Chat, 400, "content_policy_violation", &answer);
    }
    // A method that no provider takes there is not inspected, and on record as such.
    let answer = send(sidecar.address, Method::PUT, "/v1/chat/completions", &[], body).await;
    assert_eq!(answer.header("x-clyra-decision"), "bypass");
    assert!(simulator.requests().iter().all(|request| request.method == Method::PUT));
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_segment_of_a_path_names_the_provider() {
    let (first, second) =
        (Simulator::start(Options::default()).await.unwrap(), Simulator::start(Options::default()).await.unwrap());
    let more = |settings: &mut clyra::config::Settings| {
        let target = |name: &str, url: &str| clyra::exchange::ports::UpstreamTarget::parse(name, url).unwrap();
        settings.upstreams.push(target("anthropic", &second.url()).into());
        settings.upstreams.push(target("prefixed", &format!("{}/base", second.url())).into());
    };
    let sidecar = Sidecar::start_with(PASSING, &first.url(), &[], more).await;
    let cases = [
        (Surface::Chat, "/simulator/v1/chat/completions", "simulator", &first, "/v1/chat/completions"),
        (Surface::Chat, "/v1/chat/completions", "simulator", &first, "/v1/chat/completions"),
        (Surface::Chat, "/anthropic/v1/chat/completions", "anthropic", &second, "/v1/chat/completions"),
        (Surface::Messages, "/v1/messages", "anthropic", &second, "/v1/messages"),
        (Surface::Messages, "/simulator/v1/messages?x=1", "simulator", &first, "/v1/messages?x=1"),
        (Surface::Chat, "/prefixed/v1/chat/completions", "prefixed", &second, "/base/v1/chat/completions"),
    ];
    for (surface, path, name, simulator, wanted) in cases {
        let answer = post(sidecar.address, path, &[], surface.ask(false, &json!({"content": "Hello."}))).await;
        assert_eq!(simulator.requests().last().unwrap().path, wanted, "{path}: {}", answer.text());
        let (attempt, outcome) = sidecar.pair(answer.request_id());
        assert_eq!(outcome["upstream"]["name"], name, "{path}");
        assert_eq!(attempt["request"]["route"], path.split('?').next().unwrap());
        assert_eq!(attempt["request"]["surface"], surface.id());
    }
    let made = Scripted { status: 200, chunks: vec![Bytes::from_static(b"{}")], ..Scripted::default() };
    second.script(made);
    let answer = post(sidecar.address, "/anthropic/v1/fine_tuning/jobs", &[], job()).await;
    assert_eq!((answer.status.as_u16(), answer.header("x-clyra-decision")), (200, "bypass"));
    assert_eq!(second.requests().last().unwrap().path, JOBS);
    assert!(sidecar.stop().await.verify().ok);
    first.stop().await;
    second.stop().await;
}
