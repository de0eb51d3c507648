//! Bodies in content codings, in both directions: read, passed on decoded, and stopped where they cannot be.

use clyra_simulator::{Options, Simulator};
use clyra_tests::ask::{Surface, cut_short, refused};
use clyra_tests::client::{Answer, open, post};
use clyra_tests::encode::{CODINGS, encode, flushed, header};
use clyra_tests::puppet::{Call, Puppet};
use clyra_tests::sidecar::Sidecar;
use serde_json::json;
use tokio::task::JoinHandle;

const LITERAL: &str = "Project Nightjar";

fn policy(phase: &str, action: &str) -> String {
    format!(
        "version: 1\nmode: enforce\ndefaults: {{ budget_ms: {{ request: 60000 }} }}\ndetectors:\n  patterns:\n    - {{ id: codename, literal: \
         \"{LITERAL}\", class: restricted, score: 1.0 }}\nrules:\n  - {{ id: no-codename, phase: {phase}, when: \
         'findings.exists(f, f.class == \"restricted\")', action: {action} }}\n"
    )
}

fn prompt(text: &str) -> Vec<u8> {
    Surface::Chat.request(false, text).to_string().into_bytes()
}

async fn ask_in(sidecar: &Sidecar, codings: &str, body: Vec<u8>) -> Answer {
    post(sidecar.address, Surface::Chat.path(), &[("content-encoding", codings)], body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_any_coding_is_inspected_and_goes_on_decoded() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let blocking = Sidecar::start(&policy("request", "block"), &simulator.url()).await;
    let redacting = Sidecar::start(&policy("request", "redact"), &simulator.url()).await;
    let (clean, bad) = (prompt("Tell me."), prompt(&format!("About {LITERAL}.")));
    for coding in CODINGS {
        let answer = ask_in(&blocking, header(coding), encode(coding, &clean)).await;
        assert_eq!(answer.status, 200, "{coding}: {}", answer.text());
        let request = simulator.requests().pop().unwrap();
        assert_eq!(&request.body[..], &clean[..], "{coding}");
        assert!(!request.headers.contains_key("content-encoding"), "{coding}");
        assert_eq!(request.headers["content-length"], clean.len().to_string(), "{coding}");
        let (attempt, outcome) = blocking.pair(answer.request_id());
        assert_eq!(outcome["coverage"]["level"], "full", "{coding}");
        // On record are the bytes that the client sent.
        assert_eq!(attempt["request"]["bytes"], encode(coding, &clean).len() as u64);

        let answer = ask_in(&blocking, header(coding), encode(coding, &bad)).await;
        refused(Surface::Chat, 400, "content_policy_violation", &answer);
        let answer = ask_in(&redacting, header(coding), encode(coding, &bad)).await;
        assert_eq!(answer.status, 200, "{coding}: {}", answer.text());
        assert_eq!(&simulator.requests().pop().unwrap().body[..], &prompt("About [REDACTED:restricted].")[..]);
    }
    let twice = encode("br", &encode("gzip", &bad));
    let thrice = encode("zstd", &encode("br", &encode("gzip", &bad)));
    for (codings, body) in [("identity", bad.clone()), ("gzip, BR", twice), ("gzip, br, identity, zstd", thrice)] {
        refused(Surface::Chat, 400, "content_policy_violation", &ask_in(&blocking, codings, body).await);
    }
    let identity = ask_in(&blocking, "identity", clean.clone()).await;
    assert_eq!(identity.status, 200);
    assert!(!simulator.requests().pop().unwrap().headers.contains_key("content-encoding"));
    blocking.stop().await;
    redacting.stop().await;
    simulator.stop().await;
}

/// What cannot be decoded is refused whatever the policy: two readers could take it for two documents.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_be_decoded_is_refused() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let observing = policy("request", "block").replace("enforce", "observe");
    let observing = Sidecar::start(&observing, &simulator.url()).await;
    let clean = prompt("Tell me.");
    for coding in CODINGS {
        let encoded = encode(coding, &clean);
        let spoilt = [
            ("truncated", encoded[..encoded.len() - 1].to_vec()),
            ("followed", [&encoded[..], b"x"].concat()),
            ("followed by another reading", [&encoded[..], &clean].concat()),
            ("not encoded", clean.clone()),
        ];
        for (what, body) in spoilt {
            let refusal =
                refused(Surface::Chat, 400, "invalid_request", &ask_in(&observing, header(coding), body).await);
            // Bare deflate has no mark of its own, so that what follows may look like its end.
            assert!(refusal.reason.contains("cannot be decoded"), "{coding} {what}: {}", refusal.reason);
            let (_, outcome) = observing.pair(&refusal.request_id);
            assert_eq!(outcome["coverage"], json!({"level": "none", "reasons": ["unreadable"]}), "{coding} {what}");
        }
    }
    assert!(simulator.requests().is_empty());
    assert!(observing.stop().await.verify().ok);
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_expand_beyond_the_limits_are_refused() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(&policy("request", "block"), &simulator.url()).await;
    let bomb = prompt(&"a".repeat(64 << 20));
    for coding in CODINGS {
        let answer = ask_in(&sidecar, header(coding), encode(coding, &bomb)).await;
        let refusal = refused(Surface::Chat, 400, "invalid_request", &answer);
        assert!(refusal.reason.contains("200 times"), "{coding}: {}", refusal.reason);
    }
    let within = encode("gzip", &encode("br", &bomb));
    refused(Surface::Chat, 400, "invalid_request", &ask_in(&sidecar, "br, gzip", within).await);
    sidecar.stop().await;

    let small = |settings: &mut clyra::config::Settings| settings.limits.request_bytes_max = 10_000;
    let sidecar = Sidecar::start_with(&policy("request", "block"), &simulator.url(), &[], small).await;
    for coding in CODINGS {
        let answer = ask_in(&sidecar, header(coding), encode(coding, &prompt(&"ab".repeat(10_000)))).await;
        let refusal = refused(Surface::Chat, 413, "request_too_large", &answer);
        assert!(refusal.reason.contains("10000"), "{coding}: {}", refusal.reason);
    }
    assert!(simulator.requests().is_empty());
    sidecar.stop().await;
    simulator.stop().await;
}

/// Asks, and takes the call where it arrives.
async fn call(sidecar: &Sidecar, upstream: &Puppet, surface: Surface, stream: bool) -> (JoinHandle<Answer>, Call) {
    let (address, body) = (sidecar.address, surface.request(stream, "x").to_string().into_bytes());
    let client = tokio::spawn(async move { open(address, surface.at(stream), &[], body).await.rest().await });
    (client, upstream.call().await)
}

async fn head(call: &mut Call, kind: &str, codings: &str) {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-encoding: {codings}\r\ncontent-md5: x\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    call.raw(head.as_bytes()).await;
}

const EVENTS: &str = "text/event-stream";
const JSON: &str = "application/json";

fn document(text: &str) -> Vec<u8> {
    let choice = json!({"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"});
    json!({"id": "c", "object": "chat.completion", "model": "m-1", "choices": [choice]}).to_string().into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_any_coding_is_inspected_and_leaves_decoded() {
    let upstream = Puppet::start().await;
    let sidecar = Sidecar::start(&policy("response", "redact"), &upstream.url()).await;
    let bad = format!("About {LITERAL}.");
    let events = |text: &str| Surface::Chat.events(&[text]).concat().into_bytes();
    let shown = "About [REDACTED:restricted].";
    for coding in CODINGS {
        let cases = [
            (false, JSON, document("well"), document("well")),
            (false, JSON, document(&bad), document(shown)),
            (true, EVENTS, events("well"), events("well")),
            (true, EVENTS, events(&bad), events(shown)),
        ];
        for (stream, kind, body, expected) in cases {
            let (client, mut call) = call(&sidecar, &upstream, Surface::Chat, stream).await;
            assert!(call.head.to_ascii_lowercase().contains("accept-encoding: identity"), "{}", call.head);
            head(&mut call, kind, header(coding)).await;
            for piece in encode(coding, &body).chunks(7) {
                call.chunk(piece).await;
            }
            call.end().await;
            let answer = client.await.unwrap();
            assert_eq!(
                (answer.status.as_u16(), answer.text()),
                (200, String::from_utf8(expected).unwrap()),
                "{coding}"
            );
            assert!(answer.complete && !answer.headers.contains_key("content-encoding"), "{:?}", answer.headers);
            assert!(!answer.headers.contains_key("content-md5"), "it was of the encoded bytes");
            let (_, outcome) = sidecar.pair(answer.request_id());
            assert_eq!(outcome["coverage"]["level"], "full", "{coding}");
            assert_eq!(outcome["response"]["received"]["bytes"], body.len() as u64, "{coding}");
        }
    }
    let (client, mut call) = call(&sidecar, &upstream, Surface::Chat, false).await;
    head(&mut call, JSON, "gzip, zstd").await;
    call.chunk(&encode("zstd", &encode("gzip", &document(&bad)))).await;
    call.end().await;
    assert_eq!(client.await.unwrap().body(), document(shown));
    assert!(sidecar.stop().await.verify().ok);
}

/// Each event leaves when it has come, although the next ones are of the same encoded body.
#[tokio::test(flavor = "multi_thread")]
async fn an_encoded_stream_flows() {
    let upstream = Puppet::start().await;
    let sidecar = Sidecar::start(&policy("response", "block"), &upstream.url()).await;
    for surface in Surface::ALL {
        for coding in CODINGS {
            let events = surface.events(&["one ", "two ", "three "]);
            let parts: Vec<&[u8]> = events.iter().map(String::as_bytes).collect();
            let encoded = flushed(coding, &parts);
            let (address, body) = (sidecar.address, surface.request(true, "x").to_string().into_bytes());
            let client = tokio::spawn(async move { open(address, surface.path(), &[], body).await });
            let mut call = upstream.call().await;
            head(&mut call, EVENTS, header(coding)).await;
            call.chunk(&encoded[0]).await;
            let mut client = client.await.unwrap();
            let closing = events.len() - surface.closing();
            for (number, event) in events[..closing].iter().enumerate() {
                if number > 0 {
                    call.chunk(&encoded[number]).await;
                }
                let mut seen = Vec::new();
                while seen.len() < event.len() {
                    seen.extend_from_slice(&client.piece().await.unwrap());
                }
                assert_eq!(String::from_utf8(seen).unwrap(), *event, "{surface:?} {coding}");
            }
            call.chunk(&encoded[closing..].concat()).await;
            call.end().await;
            assert_eq!(client.rest().await.text(), events[closing..].concat(), "{surface:?} {coding}");
        }
    }
    assert!(sidecar.stop().await.verify().ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_cannot_be_decoded_is_not_shown() {
    let upstream = Puppet::start().await;
    let observing = policy("response", "block").replace("enforce", "observe");
    let sidecar = Sidecar::start(&observing, &upstream.url()).await;
    let zeros = vec![b' '; 64 << 20];
    for coding in CODINGS {
        let encoded = encode(coding, &document("well"));
        let bomb = encode(coding, &zeros);
        let cases = [
            ("truncated", encoded[..encoded.len() - 1].to_vec()),
            ("followed", [&encoded[..], b"x"].concat()),
            ("not encoded", document("well")),
            ("bomb", bomb.clone()),
        ];
        for (what, body) in cases {
            let (client, mut call) = call(&sidecar, &upstream, Surface::Chat, false).await;
            head(&mut call, JSON, header(coding)).await;
            call.chunk(&body).await;
            call.end().await;
            let refusal = refused(Surface::Chat, 502, "upstream_unreadable", &client.await.unwrap());
            assert!(refusal.reason.contains("cannot be decoded"), "{coding} {what}: {}", refusal.reason);
            let (_, outcome) = sidecar.pair(&refusal.request_id);
            assert_eq!(outcome["coverage"], json!({"level": "partial", "reasons": ["unreadable"]}), "{coding} {what}");
        }
        // In the middle of a stream there is only its end left to say it.
        let events = Surface::Chat.events(&["one", "two"]);
        let encoded = flushed(coding, &[events[..2].concat().as_bytes(), &zeros]);
        let (client, mut call) = call(&sidecar, &upstream, Surface::Chat, true).await;
        head(&mut call, EVENTS, header(coding)).await;
        for piece in &encoded {
            call.chunk(piece).await;
        }
        let (before, refusal) = cut_short(Surface::Chat, &client.await.unwrap());
        assert_eq!((before, refusal.code.as_str()), (events[..2].concat(), "upstream_unreadable"), "{coding}");
        call.left().await;
    }
    assert!(sidecar.stop().await.verify().ok);
}
