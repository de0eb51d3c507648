//! Answers with several choices, of which those that break their schema end alone.

use clyra_simulator::{Options, Simulator};
use clyra_tests::ask::{Surface, refused, stopped};
use clyra_tests::client::post;
use clyra_tests::sidecar::Sidecar;
use clyra_tests::texts::texts;
use serde_json::{Value, json};

const SCHEMA: &str = r#"{"type":"object","required":["n"],"additionalProperties":false,
    "properties":{"n":{"type":"integer"},"note":{"type":"string"}}}"#;

const GOOD: &str = r#"{"note":"A first word.","n":1}"#;

/// Breaks the schema at a byte, and at its end.
const BROKEN: [&str; 2] = [r#"{"note":"A first word.","n":"behind"}"#, r#"{"note":"A first word."}"#];

async fn sidecar(entry: &str, upstream: &str) -> Sidecar {
    let policy = format!("version: 1\nmode: enforce\nschemas:\n  - {{ id: lock, schema: n.json, {entry} }}\n");
    Sidecar::start_with(&policy, upstream, &[("n.json", SCHEMA)], |_| {}).await
}

/// A request for as many choices as are given.
fn ask(stream: bool, contents: &[&str]) -> Vec<u8> {
    let choices: Vec<Value> = contents.iter().map(|content| json!({"content": content})).collect();
    let directive = json!({"choices": choices, "split": 2, "usage": true});
    let mut body: Value = serde_json::from_slice(&Surface::Chat.ask(stream, &directive)).unwrap();
    body["n"] = json!(contents.len());
    body.to_string().into_bytes()
}

/// The reason that each choice gives for its end.
fn reasons(body: &str) -> Vec<(u64, String)> {
    let whole = serde_json::from_str::<Value>(body).ok();
    let data = body.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok());
    let mut out = Vec::new();
    for event in whole.into_iter().chain(data) {
        for choice in event["choices"].as_array().into_iter().flatten() {
            let reason = choice["finish_reason"].as_str().map(str::to_owned);
            out.extend(reason.map(|reason| (choice["index"].as_u64().unwrap(), reason)));
        }
    }
    out.sort();
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn a_choice_that_breaks_its_schema_ends_alone() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    for mode in ["buffer", "verified", "cutoff"] {
        let sidecar = sidecar(&format!("stream: {mode}, choices: each"), &simulator.url()).await;
        let at = |stream| Surface::Chat.at(stream);
        for stream in [false, true] {
            for broken in BROKEN {
                let answer = post(sidecar.address, at(stream), &[], ask(stream, &[GOOD, broken, GOOD])).await;
                let body = answer.text();
                let place = format!("{mode} {stream} {body}");
                assert!(answer.status == 200 && answer.complete, "{place}");
                let shown = texts(&body);
                assert_eq!((shown["content/0"].as_str(), shown["content/2"].as_str()), (GOOD, GOOD), "{place}");
                let ended = shown.get("content/1").map_or("", String::as_str);
                assert!(broken.starts_with(ended) && ended.len() < broken.len(), "{place}");
                assert!(!body.contains("behind"), "{place}");
                let reason = |index: u64, reason: &str| (index, reason.to_owned());
                let ends = [reason(0, "stop"), reason(1, "content_filter"), reason(2, "stop")];
                assert_eq!(reasons(&body), ends, "{place}");
                if stream {
                    assert!(body.ends_with("data: [DONE]\n\n"), "{place}");
                } else {
                    let refusal = &shown["refusal/1"];
                    assert!(refusal.contains("'lock'"), "{refusal}");
                    assert_eq!(answer.header("x-clyra-decision"), "redact");
                }
                let (_, outcome) = sidecar.pair(answer.request_id());
                let schema = &outcome["schema"];
                assert_eq!((&outcome["verdict"], &schema["verdict"]), (&json!("redacted"), &json!("invalid")));
                assert_eq!(outcome["ext"]["choices_ended"], json!(["1"]), "{outcome}");
                let event = sidecar.event(answer.request_id()).await;
                assert_eq!((&event["decision"], &event["schema"]["choices_ended"]), (&json!("redact"), &json!([1])));
            }
            // Where none is left, it is a block like any other.
            let answer = post(sidecar.address, at(stream), &[], ask(stream, &BROKEN)).await;
            let (before, refusal) = stopped(Surface::Chat, "schema_violation", &answer);
            assert_eq!(refusal.rule.as_deref(), Some("lock"));
            assert!(!before.contains("behind"));
            let (_, outcome) = sidecar.pair(answer.request_id());
            assert_eq!(outcome["verdict"], "blocked");
            // All good: nothing is touched.
            let direct = post(simulator.addr(), at(stream), &[], ask(stream, &[GOOD, GOOD])).await;
            let answer = post(sidecar.address, at(stream), &[], ask(stream, &[GOOD, GOOD])).await;
            assert_eq!(texts(&answer.text()), texts(&direct.text()));
            let (_, outcome) = sidecar.pair(answer.request_id());
            assert_eq!((&outcome["verdict"], outcome["ext"].get("choices_ended")), (&json!("executed"), None));
        }
        assert!(sidecar.stop().await.verify().ok);
    }
    simulator.stop().await;
}

/// One choice is the answer, on any surface, and by default one bad choice ends them all.
#[tokio::test(flavor = "multi_thread")]
async fn elsewhere_the_answer_ends() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let each = sidecar("choices: each", &simulator.url()).await;
    for surface in Surface::ALL {
        for stream in [false, true] {
            let body = surface.ask(stream, &json!({"content": BROKEN[0], "split": 2}));
            refused(surface, 400, "schema_violation", &post(each.address, surface.at(stream), &[], body).await);
        }
    }
    let all = sidecar("choices: all", &simulator.url()).await;
    for stream in [false, true] {
        let answer = post(all.address, Surface::Chat.at(stream), &[], ask(stream, &[GOOD, BROKEN[0]])).await;
        refused(Surface::Chat, 400, "schema_violation", &answer);
    }
    for sidecar in [each, all] {
        assert!(sidecar.stop().await.verify().ok);
    }
    simulator.stop().await;
}
