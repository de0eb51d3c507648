//! What others build on keeps its shape: every event line is what its published JSON Schema says.

use clyra_simulator::{Options, Simulator, directive_line};
use clyra_tests::client::post;
use clyra_tests::sidecar::Sidecar;
use serde_json::{Value, json};

const POLICY: &str = "version: 1
mode: enforce
defaults: { unknown_surface: bypass, budget_ms: { request: 60000 } }
detectors:
  patterns:
    - { id: codename, literal: \"Project Nightjar\", class: restricted, score: 1.0 }
schemas:
  - { id: asked, match: 'true', format: json, schema: from_request, on_violation: block }
rules:
  - { id: out, phase: request, when: 'findings.exists(f, f.class == \"secret\")', action: redact, reason: R. }
  - { id: shown, phase: response, when: 'findings.exists(f, f.class == \"restricted\")', action: block, reason: B. }
";

fn chat(text: &str, directive: &Value, more: Value) -> Vec<u8> {
    let content = format!("{text}\n{}", directive_line(directive));
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": content}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body.to_string().into_bytes()
}

/// One of each kind, held to the schema by whoever reads them (`clyra_tests::event_lines`).
#[tokio::test(flavor = "multi_thread")]
async fn every_event_line_fits_its_schema() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(POLICY, &simulator.url()).await;
    let key = ["AKIA", "IOSFODNN7", "EXAMPL2"].concat();
    let format = json!({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}});
    let chats = [
        chat("Hello", &json!({}), json!({})),
        chat(&key, &json!({}), json!({"stream": true})),
        chat("Name?", &json!({"content": "Project Nightjar"}), json!({"stream": true})),
        chat("JSON?", &json!({"content": "[1]"}), format),
        chat("Fail", &json!({"status": 429}), json!({})),
        b"{\"a\":1,\"a\":2}".to_vec(),
    ];
    for body in chats {
        post(sidecar.address, "/v1/chat/completions", &[("x-clyra-run-id", "r"), ("x-clyra-app", "a")], body).await;
    }
    let message = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]});
    post(sidecar.address, "/v1/messages", &[], message.to_string().into_bytes()).await;
    post(sidecar.address, "/v1/fine_tuning/jobs", &[], json!({"model": "m"}).to_string().into_bytes()).await;
    let events = sidecar.stop().await.events();
    simulator.stop().await;
    let kinds = |kind: &str| events.iter().filter(|e| e["type"] == kind).count();
    assert_eq!((kinds("exchange"), kinds("bypass")), (7, 1), "{events:#?}");
    assert!(kinds("finding") >= 2);
}
