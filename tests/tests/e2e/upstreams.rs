//! Several endpoints behind one name, and keys that only Clyra knows: what the client sees, what the provider sees, and
//! what is on record.

use std::path::Path;

use clyra::config::{Overrides, Settings};
use clyra_simulator::{Options, Simulator};
use clyra_tests::ask::{Surface, refused};
use clyra_tests::client::{get, post, raw, send};
use clyra_tests::sidecar::Sidecar;
use http::Method;
use serde_json::{Value, json};

const ENFORCING: &str = "version: 1\nmode: enforce\n";
const PASSING: &str = "version: 1\nmode: enforce\ndefaults: { unknown_surface: bypass }\n";

/// The real key, which no client, log or receipt ever has.
const REAL: &str = "sk-real-d41d8cd98f";
const VIRTUAL: &str = "vk-team-a-0cc175b9";
const VIRTUAL_SHA256: &str = "1d945af7ba1dd5a3569e99cd6eee872689aef9ddcf1ab69595ed33cc173aa758";

/// A sidecar with these `upstreams:` in its `clyra.yaml`, beside a file `key` with the real key.
async fn sidecar(policy: &str, upstreams: &str) -> Sidecar {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("key"), REAL).unwrap();
    let aws = format!("[default]\naws_access_key_id = AKID\naws_secret_access_key = {REAL}\n");
    std::fs::write(dir.path().join("aws.ini"), aws).unwrap();
    let config = dir.path().join("clyra.yaml");
    std::fs::write(&config, format!("upstreams:\n{upstreams}\n")).unwrap();
    let read = Settings::load(Overrides { config: Some(config), ..Overrides::default() }).unwrap();
    Sidecar::start_with(policy, "http://unused.invalid", &[], |settings| settings.upstreams = read.upstreams).await
}

/// An address at which nobody listens.
fn nowhere() -> String {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn hello() -> Vec<u8> {
    Surface::Chat.ask(false, &json!({"content": "Hello."}))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_away_is_passed_over_on_record() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let upstreams = format!(
        "  - name: pool\n    endpoints:\n      - {{ url: '{}', weight: 100, name: away }}\n      - {{ url: '{}', name: here }}\n",
        nowhere(),
        simulator.url()
    );
    let sidecar = sidecar(ENFORCING, &upstreams).await;
    for call in 1..=6 {
        let answer = post(sidecar.address, Surface::Chat.path(), &[], hello()).await;
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
        let (_, outcome) = sidecar.pair(answer.request_id());
        // After five failures its circuit opens, and nobody waits for it any more.
        let attempts = if call <= 5 { 2 } else { 1 };
        let upstream = &outcome["upstream"];
        assert_eq!((&upstream["name"], upstream["attempts"].as_u64()), (&json!("pool/here"), Some(attempts)), "{call}");
        let event = sidecar.event(answer.request_id()).await;
        assert_eq!((&event["upstream"], &event["attempts"]), (&json!("pool/here"), &json!(attempts)));
    }
    let metrics = get(sidecar.admin, "/metrics").await.text();
    for line in [
        r#"clyra_upstream_circuit_state{upstream="pool",endpoint="away"} 2"#,
        r#"clyra_upstream_circuit_state{upstream="pool",endpoint="here"} 0"#,
        r#"clyra_upstream_healthy{upstream="pool",endpoint="here"} 1"#,
        r#"clyra_upstream_retries_total{upstream="pool",reason="connect"} 5"#,
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    let status: Value = serde_json::from_str(&get(sidecar.admin, "/api/v1/status").await.text()).unwrap();
    assert_eq!(status["endpoints"][0]["circuit"], "open", "{status}");
    assert_eq!(get(sidecar.admin, "/readyz").await.text(), "ready\n");
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_all_fail_are_counted_on_record_and_an_open_circuit_answers_for_them() {
    let upstreams = format!(
        "  - name: pool\n    circuit: {{ failures: 1, open_s: 3600 }}\n    endpoints: [{{ url: '{}' }}, {{ url: '{}' }}]\n",
        nowhere(),
        nowhere()
    );
    let sidecar = sidecar(ENFORCING, &upstreams).await;
    let answer = post(sidecar.address, Surface::Chat.path(), &[], hello()).await;
    refused(Surface::Chat, 502, "upstream_unreachable", &answer);
    let (_, outcome) = sidecar.pair(answer.request_id());
    assert_eq!((&outcome["upstream"]["attempts"], &outcome["upstream"]["status"]), (&json!(2), &Value::Null));
    assert_eq!(outcome["verdict"], "errored");

    let answer = post(sidecar.address, Surface::Chat.path(), &[], hello()).await;
    refused(Surface::Chat, 503, "upstream_unavailable", &answer);
    let wait: u64 = answer.header("retry-after").parse().unwrap();
    assert!((3_000..=3_601).contains(&wait), "{wait}");
    let (_, outcome) = sidecar.pair(answer.request_id());
    assert!(outcome.get("upstream").is_none(), "nobody was called: {outcome:#}");
    let ready = get(sidecar.admin, "/readyz").await;
    assert_eq!(
        (ready.status.as_u16(), ready.text().as_str()),
        (200, "ready\nupstream pool: no endpoint can be called\n")
    );
    assert!(sidecar.stop().await.verify().ok);
}

/// Every file below the directory, whole.
fn everything_below(dir: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => all.extend(everything_below(&entry.path())),
            false => all.extend(std::fs::read(entry.path()).unwrap()),
        }
    }
    all
}

fn holds(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn virtual_keys_are_exchanged_and_others_are_refused_in_the_providers_shape() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let upstreams = format!(
        "  - name: all\n    url: '{}'\n    virtual_keys: {{ {VIRTUAL_SHA256}: {{ file: key }} }}\n",
        simulator.url()
    );
    let sidecar = sidecar(PASSING, &upstreams).await;
    let bearer = format!("Bearer {VIRTUAL}");
    let ways = [
        (Surface::Chat, "authorization", bearer.as_str(), format!("Bearer {REAL}"), "authorization"),
        (Surface::Messages, "x-api-key", VIRTUAL, REAL.to_owned(), "x-api-key"),
        (Surface::Gemini, "x-goog-api-key", VIRTUAL, REAL.to_owned(), "x-goog-api-key"),
    ];
    for (surface, header, key, sent, sent_in) in ways {
        let ask = surface.ask(false, &json!({"content": "Hello."}));
        let answer = post(sidecar.address, surface.path(), &[(header, key)], ask.clone()).await;
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
        let seen = simulator.requests().last().unwrap().clone();
        assert_eq!(seen.headers[sent_in], sent.as_str());
        assert!(!format!("{:?}", seen.headers).contains(VIRTUAL));

        let count = simulator.requests().len();
        for wrong in [vec![(header, "wrong")], vec![(header, REAL)], vec![]] {
            let answer = post(sidecar.address, surface.path(), &wrong, ask.clone()).await;
            let refusal = refused(surface, 401, "invalid_api_key", &answer);
            if surface == Surface::Messages {
                assert_eq!(refusal.kind, "authentication_error");
            }
            assert_eq!(answer.header("x-clyra-decision"), "block");
            assert_eq!(answer.header("x-should-retry"), "false");
            let (_, outcome) = sidecar.pair(answer.request_id());
            assert_eq!(outcome["verdict"], "denied");
            let event = sidecar.event(answer.request_id()).await;
            assert_eq!((&event["decision"], &event["code"]), (&json!("block"), &json!("invalid_api_key")), "{event}");
        }
        assert_eq!(simulator.requests().len(), count, "nothing was sent");
    }
    // What is not inspected needs the key as well.
    let answer = get(sidecar.address, "/v1/assistants").await;
    refused(Surface::Chat, 401, "invalid_api_key", &answer);
    let event = sidecar.event(answer.request_id()).await;
    assert_eq!((&event["type"], &event["verdict"]), (&json!("bypass"), &json!("denied")), "{event}");
    let (path, key) = ("/v1/assistants?key=x&a=1", [("authorization", bearer.as_str())]);
    let answer = send(sidecar.address, Method::GET, path, &key, Vec::new()).await;
    assert_eq!(answer.header("x-clyra-decision"), "bypass");
    let seen = simulator.requests().last().unwrap().clone();
    assert_eq!(seen.path, "/v1/assistants?a=1");
    assert_eq!(seen.headers["authorization"], format!("Bearer {REAL}"));

    let metrics = get(sidecar.admin, "/metrics").await.text();
    let stopped = sidecar.stop().await;
    assert!(stopped.verify().ok);
    let left = everything_below(&stopped.data_dir());
    for key in [REAL, VIRTUAL] {
        assert!(!holds(&left, key) && !metrics.contains(key));
    }
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_ours_replaces_whatever_the_client_sends() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let upstreams = format!(
        "  - {{ name: openai, url: '{url}', auth: {{ bearer: {{ file: key }} }} }}\n  \
         - {{ name: azure, url: '{url}', auth: {{ header: {{ name: api-key, file: key }} }} }}\n",
        url = simulator.url()
    );
    let sidecar = sidecar(PASSING, &upstreams).await;
    let client = [
        ("authorization", "Bearer client-key"),
        ("api-key", "client-key"),
        ("x-api-key", "client-key"),
        ("x-goog-api-key", "client-key"),
    ];
    let bearer = format!("Bearer {REAL}");
    for (method, path, header, sent, decision) in [
        (Method::POST, "/v1/chat/completions?key=client-key&x=1", "authorization", bearer.as_str(), "allow"),
        (Method::POST, "/azure/v1/chat/completions", "api-key", REAL, "allow"),
        (Method::GET, "/v1/assistants?%6Bey=client-key", "authorization", bearer.as_str(), "bypass"),
        (Method::GET, "/azure/v1/assistants", "api-key", REAL, "bypass"),
    ] {
        let body = if method == Method::POST { hello() } else { Vec::new() };
        let answer = send(sidecar.address, method, path, &client, body).await;
        assert_eq!(answer.header("x-clyra-decision"), decision, "{path}: {}", answer.text());
        let seen = simulator.requests().last().unwrap().clone();
        assert_eq!(seen.headers[header], sent, "{path}");
        let all = format!("{} {:?}", seen.path, seen.headers);
        assert!(!all.contains("client-key"), "{all}");
    }
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_uninspected_cannot_be_signed_and_is_not_sent() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let upstreams = format!(
        "  - {{ name: aws, url: '{}', auth: {{ aws: {{ region: eu-central-1, credentials: {{ file: aws.ini }} }} }} }}\n",
        simulator.url()
    );
    let sidecar = sidecar(PASSING, &upstreams).await;
    let answer = post(sidecar.address, Surface::Chat.path(), &[], hello()).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
    let seen = simulator.requests().last().unwrap().clone();
    let signature = seen.headers["authorization"].to_str().unwrap();
    assert!(signature.starts_with("AWS4-HMAC-SHA256 Credential=AKID/") && signature.contains("/eu-central-1/bedrock/"));

    let answer = get(sidecar.address, "/foundation-models").await;
    refused(Surface::Chat, 502, "upstream_credentials", &answer);
    assert_eq!(simulator.requests().len(), 1);
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_client_sends_chooses_an_address() {
    let (ours, evil) =
        (Simulator::start(Options::default()).await.unwrap(), Simulator::start(Options::default()).await.unwrap());
    let sidecar = Sidecar::start(PASSING, &ours.url()).await;
    let evil_url = evil.url();
    let evil_host = evil_url.trim_start_matches("http://");
    let us = sidecar.address;
    let body = String::from_utf8(hello()).unwrap();
    let with = |target: &str, host: &str, more: &str| {
        let length = body.len();
        format!(
            "POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n{more}Content-Length: {length}\r\n\
             Connection: close\r\n\r\n{body}"
        )
    };
    let chat = Surface::Chat.path();
    let own_host = us.to_string();
    let mut sent = 0;
    for request in [
        with(chat, evil_host, ""),
        with(&format!("{evil_url}{chat}"), evil_host, ""),
        with(chat, &own_host, &format!("X-Forwarded-Host: {evil_host}\r\nForwarded: host={evil_host}\r\n")),
        with(chat, &own_host, &format!("X-Upstream: {evil_url}\r\nX-Clyra-Upstream: {evil_url}\r\n")),
        with(&format!("{chat}?base_url={evil_url}"), &own_host, ""),
        with(&format!("/{evil_host}{chat}"), &own_host, ""),
        with(&format!("//{evil_host}{chat}"), &own_host, ""),
        with(&format!("/@{evil_host}{chat}"), &own_host, ""),
        with("/v1/nothing", evil_host, ""),
    ] {
        let answer = String::from_utf8_lossy(&raw(us, request.as_bytes()).await).into_owned();
        assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
        sent += usize::from(answer.starts_with("HTTP/1.1 200"));
    }
    assert!(sent >= 5, "{sent}");
    assert!(evil.requests().is_empty());
    let host = ours.url().trim_start_matches("http://").to_owned();
    assert!(ours.requests().iter().all(|request| request.headers["host"] == host.as_str()));
    assert!(sidecar.stop().await.verify().ok);
    ours.stop().await;
    evil.stop().await;
}
