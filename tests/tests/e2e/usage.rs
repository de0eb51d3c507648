//! The count of a stream's tokens: asked for in the client's place, and not shown to it.

use clyra::exchange::run::AskForUsage;
use clyra_simulator::{Options, Simulator};
use clyra_tests::ask::Surface;
use clyra_tests::client::post;
use clyra_tests::sidecar::Sidecar;
use serde_json::{Value, json};

const POLICY: &str = "version: 1
mode: enforce
defaults: { budget_ms: { request: 60000 } }
detectors:
  patterns:
    - { id: codename, literal: \"Project Nightjar\", class: restricted, score: 1.0 }
rules:
  - { id: out, phase: response, when: 'findings.exists(f, f.class == \"restricted\")', action: redact }
";

async fn sidecar(policy: &str, simulator: &Simulator, ask: AskForUsage) -> Sidecar {
    Sidecar::start_with(policy, &simulator.url(), &[], |settings| settings.ask_for_usage = ask).await
}

fn request(options: Option<Value>, content: &str) -> Vec<u8> {
    let body = Surface::Chat.ask(true, &json!({"content": content}));
    let mut body: Value = serde_json::from_slice(&body).unwrap();
    if let Some(options) = options {
        body["stream_options"] = options;
    }
    body.to_string().into_bytes()
}

/// Without what differs between any two answers: the number of the answer, and when it was made.
fn unnumbered(stream: &str) -> String {
    let mut out = stream.to_owned();
    for (before, digits) in [("chatcmpl-simulated", 6), ("\"created\":", 10)] {
        let mut parts = out.split(before);
        let first = parts.next().unwrap().to_owned();
        out = parts.fold(first, |out, part| out + before + &part[digits..]);
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_did_not_ask_is_shown_what_it_would_have_been_shown() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = sidecar(POLICY, &simulator, AskForUsage::Always).await;
    let path = Surface::Chat.path();
    for options in
        [None, Some(json!(null)), Some(json!({})), Some(json!({"include_usage": false, "include_obfuscation": false}))]
    {
        let body = request(options.clone(), "one two three");
        let direct = post(simulator.addr(), path, &[], body.clone()).await;
        assert!(!direct.text().contains("usage"), "{}", direct.text());
        let answer = post(sidecar.address, path, &[], body).await;
        assert_eq!(unnumbered(&answer.text()), unnumbered(&direct.text()), "{options:?}");
        let asked: Value = serde_json::from_slice(&simulator.requests().pop().unwrap().body).unwrap();
        assert_eq!(asked["stream_options"]["include_usage"], true, "{asked}");
        let usage = sidecar.event(answer.request_id()).await["usage"].clone();
        assert!(usage["input"].as_u64() > Some(0) && usage["output"].as_u64() > Some(0), "{usage}");
        let receipt = sidecar.pair(answer.request_id()).1["response"]["usage"].clone();
        assert_eq!((&receipt["input"], &receipt["output"]), (&usage["input"], &usage["output"]));
    }
    // A redaction beside it.
    let answer = post(sidecar.address, path, &[], request(None, "about Project Nightjar here")).await;
    let text = answer.text();
    assert!(
        text.contains("[REDACTED:restricted]") && !text.contains("usage") && text.ends_with("data: [DONE]\n\n"),
        "{text}"
    );
    sidecar.stop().await;
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_asked_for_where_it_is_not_wanted_or_not_known() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let observe = POLICY.replace("enforce", "observe");
    let wanted = Some(json!({"include_usage": true}));
    for (policy, ask, options) in [
        (POLICY, AskForUsage::Never, None),
        (POLICY, AskForUsage::Auto, None),
        (&observe, AskForUsage::Always, None),
        (POLICY, AskForUsage::Always, wanted),
    ] {
        let sidecar = sidecar(policy, &simulator, ask).await;
        let body = request(options.clone(), "one two three");
        let direct = post(simulator.addr(), Surface::Chat.path(), &[], body.clone()).await;
        let answer = post(sidecar.address, Surface::Chat.path(), &[], body.clone()).await;
        assert_eq!(unnumbered(&answer.text()), unnumbered(&direct.text()), "{ask:?} {options:?}");
        assert_eq!(&simulator.requests().pop().unwrap().body[..], &body[..], "{ask:?} {options:?}");
        let other = Surface::Messages.request(true, "x").to_string().into_bytes();
        post(sidecar.address, Surface::Messages.path(), &[], other.clone()).await;
        assert_eq!(&simulator.requests().pop().unwrap().body[..], &other[..], "{ask:?}");
        let whole = Surface::Chat.request(false, "x").to_string().into_bytes();
        post(sidecar.address, Surface::Chat.path(), &[], whole.clone()).await;
        assert_eq!(&simulator.requests().pop().unwrap().body[..], &whole[..], "{ask:?}");
        sidecar.stop().await;
    }
    simulator.stop().await;
}

/// Where nobody counts, there is an estimate, and it says that it is one.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_counted_is_estimated_and_says_so() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = sidecar(POLICY, &simulator, AskForUsage::Always).await;
    let content = "word ".repeat(80);
    for stream in [false, true] {
        let of = |usage: bool| {
            let (address, content) = (sidecar.address, content.clone());
            async move {
                let body = Surface::Chat.ask(stream, &json!({"content": content, "usage": usage}));
                post(address, Surface::Chat.path(), &[], body).await
            }
        };
        let answer = of(false).await;
        let usage = sidecar.event(answer.request_id()).await["usage"].clone();
        assert_eq!((&usage["estimated"], &usage["cached"]), (&json!(true), &json!(null)), "{usage}");
        // A token for four bytes of text: 400 of the answer, and names beside them.
        assert!((100..110).contains(&usage["output"].as_u64().unwrap()), "{usage}");
        assert!((120..200).contains(&usage["input"].as_u64().unwrap()), "{usage}");
        let receipt = sidecar.pair(answer.request_id()).1["response"]["usage"].clone();
        let expected =
            json!({"cached": 0, "estimated": true, "input": usage["input"], "output": usage["output"], "reasoning": 0});
        assert_eq!(receipt, expected);

        let answer = of(true).await;
        let usage = sidecar.event(answer.request_id()).await["usage"].clone();
        assert_eq!(usage["estimated"], false, "{usage}");
        assert!(sidecar.pair(answer.request_id()).1["response"]["usage"].get("estimated").is_none());
    }
    // What was refused used nothing.
    let refused = post(sidecar.address, Surface::Chat.path(), &[], b"{".to_vec()).await;
    let usage = sidecar.event(refused.request_id()).await["usage"].clone();
    assert_eq!((&usage["input"], &usage["estimated"]), (&json!(null), &json!(false)));
    let stopped = sidecar.stop().await;
    assert!(stopped.verify().ok);
    simulator.stop().await;
}
