//! How Clyra ends an answer: as an error in the provider's own shape, or as the provider's own filter would
//! (`block_style: refusal`), before anything was shown and in the middle of a stream.

use clyra::exchange::ports::UpstreamTarget;
use clyra_simulator::{Options, Simulator, directive_line};
use clyra_tests::ask::{Surface, cut_short, refused};
use clyra_tests::client::{Answer, post};
use clyra_tests::sidecar::Sidecar;
use clyra_tests::texts::{is_clyra_error, texts};
use serde_json::{Value, json};

/// `response`: also what is asked with the code name in it is blocked, before there is an answer.
fn policy(style: &str) -> String {
    format!(
        "version: 1
mode: enforce
defaults: {{ block_style: {style}, budget_ms: {{ request: 60000 }} }}
detectors:
  patterns:
    - {{ id: codename, literal: \"Project Nightjar\", class: restricted, score: 1.0 }}
schemas:
  - {{ id: lock, schema: from_request }}
rules:
  - id: not-asked
    phase: request
    when: findings.exists(f, f.class == \"restricted\")
    action: block
    reason: Not to be asked.
  - id: not-told
    phase: response
    when: findings.exists(f, f.class == \"restricted\")
    action: block
    reason: Not to be told.
"
    )
}

const TOLD: &str = "It is Project Nightjar, as planned.";

/// The data of the events of a stream, or the document as the only one.
fn events(answer: &Answer) -> Vec<Value> {
    let body = answer.text();
    if let Ok(document) = serde_json::from_str(&body) {
        return vec![document];
    }
    let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}

/// What says in this event that a filter has stopped the answer.
fn reason(surface: Surface, event: &Value) -> Option<&str> {
    let place = match surface {
        Surface::Chat => "/choices/0/finish_reason",
        Surface::Responses if event.get("response").is_some() => "/response/incomplete_details/reason",
        Surface::Responses => "/incomplete_details/reason",
        Surface::Messages if event.get("delta").is_some() => "/delta/stop_reason",
        Surface::Messages => "/stop_reason",
        Surface::Gemini => "/candidates/0/finishReason",
    };
    event.pointer(place).and_then(Value::as_str)
}

fn wanted(surface: Surface) -> &'static str {
    match surface {
        Surface::Chat | Surface::Responses => "content_filter",
        Surface::Messages => "refusal",
        Surface::Gemini => "PROHIBITED_CONTENT",
    }
}

/// Checks an answer that must have ended as a refusal by this rule; gives its events.
fn refusal(surface: Surface, stream: bool, rule: &str, answer: &Answer) -> Vec<Value> {
    let body = answer.text();
    assert_eq!((answer.status.as_u16(), answer.complete), (200, true), "{surface:?}: {body}");
    assert!(!body.contains("Nightjar") && !body.contains("\"error\":{"), "{body}");
    let kind = if stream { "text/event-stream" } else { "application/json" };
    assert!(answer.header("content-type").starts_with(kind), "{}", answer.header("content-type"));
    let events = events(answer);
    let by_clyra: Vec<&Value> = events.iter().filter(|event| event.get("clyra").is_some()).collect();
    assert_eq!(by_clyra.len(), 1, "{body}");
    assert_eq!(by_clyra[0]["clyra"]["rule"], rule, "{body}");
    assert_eq!(by_clyra[0]["clyra"]["request_id"], answer.request_id(), "{body}");
    assert_eq!(reason(surface, by_clyra[0]), Some(wanted(surface)), "{surface:?}: {body}");
    let ends = match surface {
        Surface::Chat if stream => "data: [DONE]\n\n",
        Surface::Messages if stream => "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        Surface::Gemini if stream => "}\r\n\r\n",
        _ => "",
    };
    assert!(body.ends_with(ends), "{body}");
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_is_an_error_in_the_providers_shape() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(&policy("error"), &simulator.url()).await;
    for surface in Surface::ALL {
        for stream in [false, true] {
            let body = surface.request(stream, TOLD).to_string().into_bytes();
            let answer = post(sidecar.address, surface.at(stream), &[], body).await;
            let refusal = refused(surface, 400, "content_policy_violation", &answer);
            assert_eq!(refusal.rule.as_deref(), Some("not-asked"));
        }
        let body = surface.ask(true, &json!({"content": TOLD, "split": 3}));
        let answer = post(sidecar.address, surface.path(), &[], body).await;
        let (before, refusal) = cut_short(surface, &answer);
        assert_eq!(refusal.rule.as_deref(), Some("not-told"));
        assert_eq!(texts(&before)["content/0"], "It is ");
    }
    // The form of Gemini's stream that is held whole has an HTTP error as well.
    let body = Surface::Gemini.ask(true, &json!({"content": TOLD, "split": 3}));
    let answer = post(sidecar.address, "/v1beta/models/m:streamGenerateContent", &[], body).await;
    refused(Surface::Gemini, 400, "content_policy_violation", &answer);
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_may_look_like_the_providers_own_filter() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(&policy("refusal"), &simulator.url()).await;
    for surface in Surface::ALL {
        for stream in [false, true] {
            let body = surface.request(stream, TOLD).to_string().into_bytes();
            let answer = post(sidecar.address, surface.at(stream), &[], body).await;
            let events = refusal(surface, stream, "not-asked", &answer);
            assert!(events.iter().all(|event| event.get("model").is_none_or(|model| model == "m")), "{events:?}");
            assert_eq!(answer.header("x-clyra-decision"), "block");
            let (_, outcome) = sidecar.pair(answer.request_id());
            assert_eq!(outcome["verdict"], "blocked", "{outcome}");
            assert_eq!(sidecar.event(answer.request_id()).await["code"], "content_policy_violation");
        }
        let body = surface.ask(false, &json!({"content": TOLD}));
        let answer = post(sidecar.address, surface.at(false), &[], body).await;
        refusal(surface, false, "not-told", &answer);

        // In the middle of a stream, it is the same answer to its end.
        let directive = json!({"content": TOLD, "split": 3, "comments": surface == Surface::Chat});
        let answer = post(sidecar.address, surface.at(true), &[], surface.ask(true, &directive)).await;
        let events = refusal(surface, true, "not-told", &answer);
        assert_eq!(texts(&answer.text())["content/0"], "It is ");
        let name = |event: &Value| {
            let places = ["/id", "/response/id", "/message/id", "/responseId"];
            places.iter().find_map(|place| event.pointer(place)?.as_str().map(str::to_owned))
        };
        let names: Vec<String> = events.iter().filter_map(name).collect();
        assert!(!names.is_empty() && names.iter().all(|name| name == &names[0]), "{names:?}");
        if surface == Surface::Responses {
            let numbers: Vec<_> = events.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
            assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>());
        }
        if surface == Surface::Messages {
            let kinds: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
            assert!(
                kinds.ends_with(&["content_block_delta", "content_block_stop", "message_delta", "message_stop"]),
                "{kinds:?}"
            );
        }
    }
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}

/// What was shown is listed once more at the end of a response; what was not shown is not.
#[tokio::test(flavor = "multi_thread")]
async fn an_incomplete_response_lists_what_was_shown() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(&policy("refusal"), &simulator.url()).await;
    let directive = json!({"reasoning": "Let me think.", "content": TOLD});
    let body = Surface::Responses.ask(true, &directive);
    let answer = post(sidecar.address, Surface::Responses.path(), &[], body).await;
    let events = refusal(Surface::Responses, true, "not-told", &answer);
    let last = &events.last().unwrap()["response"];
    assert_eq!((&last["status"], last["output"].as_array().unwrap().len()), (&json!("incomplete"), 2), "{last}");
    assert_eq!(last["output"][0]["summary"][0]["text"], "Let me think.");
    assert_eq!(
        (&last["output"][1]["status"], &last["output"][1]["content"][0]["text"]),
        (&json!("incomplete"), &json!("It is"))
    );
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}

/// Every choice that is open is closed; a schema is a decision of the policy as well; what went wrong stays an error.
#[tokio::test(flavor = "multi_thread")]
async fn only_decisions_look_like_refusals() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(&policy("refusal"), &simulator.url()).await;
    for surface in [Surface::Chat, Surface::Gemini] {
        let directive = json!({"choices": [{"content": "All is well here."}, {"content": TOLD}], "split": 3});
        let answer = post(sidecar.address, surface.path(), &[], surface.ask(true, &directive)).await;
        let place = if surface == Surface::Chat { "finish_reason" } else { "finishReason" };
        let list = if surface == Surface::Chat { "choices" } else { "candidates" };
        let ended: Vec<u64> = events(&answer)
            .iter()
            .flat_map(|event| event[list].as_array().unwrap().clone())
            .filter(|one| one[place] == wanted(surface))
            .map(|one| one["index"].as_u64().unwrap())
            .collect();
        assert_eq!(ended, [0, 1], "{}", answer.text());
    }
    for surface in Surface::ALL {
        for stream in [false, true] {
            let prompt = directive_line(&json!({"content": "{\"n\":\"secret\"}", "split": 2}));
            let mut body = surface.request(stream, &prompt);
            let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
            match surface {
                Surface::Chat => {
                    body["response_format"] = json!({"type": "json_schema", "json_schema": {"schema": schema}});
                }
                Surface::Responses => body["text"] = json!({"format": {"type": "json_schema", "schema": schema}}),
                Surface::Messages => {
                    body["output_config"] = json!({"format": {"type": "json_schema", "schema": schema}})
                }
                // OpenAPI, as Gemini has it.
                Surface::Gemini => {
                    let schema = json!({"type": "OBJECT", "properties": {"n": {"type": "INTEGER"}}});
                    body["generationConfig"] = json!({"responseSchema": schema});
                }
            }
            let answer = post(sidecar.address, surface.at(stream), &[], body.to_string().into_bytes()).await;
            refusal(surface, stream, "lock", &answer);
            assert!(!answer.text().contains("secret"), "{}", answer.text());
        }
        let answer = post(sidecar.address, surface.at(false), &[], b"{".to_vec()).await;
        refused(surface, 400, "invalid_request", &answer);
        let directive = json!({"content": "one two three", "cut_after": surface.opening() + 1});
        let answer = post(sidecar.address, surface.path(), &[], surface.ask(true, &directive)).await;
        assert_eq!(cut_short(surface, &answer).1.code, "upstream_interrupted");
    }
    // Asked for as an array, it comes as one.
    let body = Surface::Gemini.request(true, TOLD).to_string().into_bytes();
    let answer = post(sidecar.address, "/v1beta/models/m:streamGenerateContent", &[], body).await;
    let array: Vec<Value> = serde_json::from_str(&answer.text()).unwrap();
    assert_eq!((answer.status.as_u16(), array.len()), (200, 1));
    assert_eq!(reason(Surface::Gemini, &array[0]), Some("PROHIBITED_CONTENT"));
    assert!(!is_clyra_error(&simulator_answer(&simulator).await), "the provider does not speak in Clyra's name");
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}

async fn simulator_answer(simulator: &Simulator) -> String {
    post(simulator.addr(), Surface::Gemini.at(false), &[], Surface::Gemini.ask(false, &json!({}))).await.text()
}

/// Gemini's calls and the dialect's own upstream.
#[tokio::test(flavor = "multi_thread")]
async fn gemini_goes_to_the_upstream_of_its_name() {
    let (openai, gemini) =
        (Simulator::start(Options::default()).await.unwrap(), Simulator::start(Options::default()).await.unwrap());
    let target = UpstreamTarget::parse("gemini", &gemini.url()).unwrap();
    let sidecar =
        Sidecar::start_with(&policy("error"), &openai.url(), &[], |settings| settings.upstreams.push(target.into()))
            .await;
    let headers = [("x-goog-api-key", "simulated")];
    let body = Surface::Gemini.ask(false, &json!({"content": "Hello."}));
    let answer = post(sidecar.address, "/v1beta/models/gemini-x:generateContent?key=k", &headers, body).await;
    assert_eq!(texts(&answer.text())["content/0"], "Hello.");
    assert_eq!(gemini.requests()[0].path, "/v1beta/models/gemini-x:generateContent?key=k");
    let (attempt, outcome) = sidecar.pair(answer.request_id());
    assert_eq!(outcome["upstream"]["name"], "gemini", "{outcome}");
    let told = format!("{attempt}{outcome}");
    assert!(told.contains("gemini-x") && told.contains("gemini.generate") && !told.contains("key=k"), "{told}");
    // An endpoint of Gemini's that is no surface has an error of Gemini's.
    let unknown = post(sidecar.address, "/v1beta/models/gemini-x:generateAnswer", &headers, b"{}".to_vec()).await;
    refused(Surface::Gemini, 400, "unknown_surface", &unknown);
    assert!(sidecar.stop().await.verify().ok);
    openai.stop().await;
    gemini.stop().await;
}
