//! Answers that are held to a schema, in every mode, on every surface: what leaves, what does not, and what is mended.

use bytes::Bytes;
use clyra_schemas::{Contract, ContractSource, Limits};
use clyra_simulator::{Options, Scripted, SeenRequest, Simulator};
use clyra_tests::ask::{Surface, cut_short, refused, stopped};
use clyra_tests::client::{Open, get, open, post};
use clyra_tests::puppet::Puppet;
use clyra_tests::sidecar::Sidecar;
use clyra_tests::texts::texts;
use serde_json::{Value, json};

const HEAD: &str = "version: 1
mode: enforce
defaults: { budget_ms: { request: 60000 } }
detectors:
  patterns:
    - { id: codename, literal: \"Project Nightjar\", class: restricted, score: 0.9 }
rules:
  - { id: no-codename, phase: response, when: 'findings.exists(f, f.class == \"restricted\")', action: block, reason: R. }
";

const INVOICE: &str = r#"{"type":"object","additionalProperties":false,"required":["id","lines","total"],"properties":{
    "id":{"type":"string","pattern":"^INV-[0-9]{4}$"},"note":{"type":"string"},"total":{"type":"number","minimum":0},
    "lines":{"type":"array","maxItems":9,"items":{"type":"object","required":["text","sum"],"additionalProperties":false,
    "properties":{"text":{"type":"string"},"sum":{"type":"number"}}}}}}"#;

const VALID: &str = r#"{"note":"Thank you for the order of last week.","id":"INV-2026","lines":[{"text":"Owls","sum":12.5},{"text":"Foxes","sum":7}],"total":19.5}"#;

fn policy(entry: &str) -> String {
    format!("{HEAD}schemas:\n  - {{ id: lock, {entry} }}\n")
}

async fn sidecar(entry: &str, upstream: &str) -> Sidecar {
    Sidecar::start_with(&policy(entry), upstream, &[("invoice.schema.json", INVOICE)], |_| {}).await
}

fn content(body: &str) -> String {
    texts(body).get("content/0").cloned().unwrap_or_default()
}

/// No beginning of what the client has is a document that the schema refuses.
fn never_complete_and_invalid(shown: &str) {
    let schema = serde_json::from_str(INVOICE).unwrap();
    let contract = Contract::compile(&schema, None, ContractSource::Policy, &Limits::default()).unwrap();
    for (at, _) in shown.char_indices().chain([(shown.len(), ' ')]) {
        let begun = &shown[..at];
        if serde_json::from_str::<Value>(begun).is_ok() {
            assert!(contract.accepts(begun), "complete and invalid: {begun}");
        }
    }
}

/// A document, what may be shown of it at most, and the word behind the violation that nobody may see.
const BROKEN: [(&str, &str); 6] = [
    (r#"{"note":"A first word.","id":"INV-2026","total":"behind","lines":[]}"#, "type"),
    (r#"{"note":"A first word.","id":"INV-behind","total":1,"lines":[]}"#, "pattern"),
    (
        r#"{"note":"A first word.","id":"INV-2026","total":1,"lines":[{"text":"a","sum":1,"behind":2}]}"#,
        "additionalProperties",
    ),
    (r#"{"note":"A first word.","id":"INV-2026","lines":[],"total":1} behind"#, ""),
    (r#"{"note":"A first word.","id":"INV-2026","lines":[],"total":1,"note":"behind"}"#, ""),
    (r#"{"note":"A first word.","id":"INV-2026","lines":[]}"#, "required"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_violation_in_the_middle_of_a_stream_ends_it_on_every_surface() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    for mode in ["buffer", "verified", "cutoff"] {
        let sidecar = sidecar(&format!("schema: invoice.schema.json, stream: {mode}"), &simulator.url()).await;
        for surface in Surface::ALL {
            for (document, keyword) in BROKEN {
                for split in [1, 3, 200] {
                    let directive = json!({"content": document, "split": split});
                    let answer = post(sidecar.address, surface.at(true), &[], surface.ask(true, &directive)).await;
                    let (before, refusal) = stopped(surface, "schema_violation", &answer);
                    let place = format!("{mode} {surface:?} {split} {document}: {before}");
                    assert_eq!(refusal.rule.as_deref(), Some("lock"), "{place}");
                    let shown = content(&before);
                    assert!(document.starts_with(&shown) && !shown.contains("behind"), "{place}");
                    never_complete_and_invalid(&shown);
                    assert!(!answer.text().contains("behind"), "{place}");
                    match (mode, split) {
                        // A real error: nothing had left.
                        ("buffer", _) | (_, 200) => assert_eq!(answer.status, 400, "{place}"),
                        // Where it streams, it does stream.
                        _ => assert!(shown.contains("A first"), "{place}"),
                    }
                    let (_, outcome) = sidecar.pair(answer.request_id());
                    let violation = &outcome["schema"]["violation"];
                    assert_eq!(
                        (&outcome["verdict"], &outcome["schema"]["verdict"]),
                        (&json!("blocked"), &json!("invalid"))
                    );
                    assert_eq!(violation["keyword"], keyword, "{place} {violation}");
                }
            }
        }
        assert!(sidecar.stop().await.verify().ok);
    }
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_valid_document_leaves_as_it_came() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    for mode in ["buffer", "verified", "cutoff", "observe"] {
        let sidecar = sidecar(&format!("schema: invoice.schema.json, stream: {mode}"), &simulator.url()).await;
        for surface in Surface::ALL {
            for stream in [false, true] {
                let directive = json!({"content": VALID, "split": 2});
                let answer = post(sidecar.address, surface.at(stream), &[], surface.ask(stream, &directive)).await;
                assert_eq!(
                    (answer.status.as_u16(), content(&answer.text()).as_str()),
                    (200, VALID),
                    "{}",
                    answer.text()
                );
                assert_eq!(answer.header("x-clyra-decision"), "allow");
                let (_, outcome) = sidecar.pair(answer.request_id());
                assert_eq!((&outcome["verdict"], &outcome["schema"]["verdict"]), (&json!("executed"), &json!("valid")));
            }
        }
        // Where it is only observed, what is wrong is on record and leaves.
        if mode == "observe" {
            let directive = json!({"content": BROKEN[0].0, "split": 2});
            let answer = post(sidecar.address, Surface::Chat.at(true), &[], Surface::Chat.ask(true, &directive)).await;
            assert_eq!(content(&answer.text()), BROKEN[0].0);
            let (_, outcome) = sidecar.pair(answer.request_id());
            assert_eq!((&outcome["verdict"], &outcome["schema"]["verdict"]), (&json!("executed"), &json!("invalid")));
        }
        assert!(sidecar.stop().await.verify().ok);
    }
    simulator.stop().await;
}

async fn begin(
    sidecar: &Sidecar,
    surface: Surface,
    upstream: &Puppet,
) -> (tokio::task::JoinHandle<Open>, clyra_tests::puppet::Call) {
    let (address, path) = (sidecar.address, surface.at(true));
    let body = surface.request(true, "invoice").to_string().into_bytes();
    let client = tokio::spawn(async move { open(address, path, &[], body).await });
    let mut call = upstream.call().await;
    call.begin("text/event-stream").await;
    (client, call)
}

/// What has been checked leaves while the provider is still writing: the client has most of the document before the rest is
/// written. The last bracket waits.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_checked_does_not_wait_for_the_end() {
    let upstream = Puppet::start().await;
    let sidecar = sidecar("schema: invoice.schema.json, stream: verified", &upstream.url()).await;
    let pieces: Vec<String> = VALID.chars().collect::<Vec<_>>().chunks(3).map(|piece| piece.iter().collect()).collect();
    for surface in Surface::ALL {
        let events = surface.events(&pieces.iter().map(String::as_str).collect::<Vec<_>>());
        let (before, closing) = events.split_at(events.len() - surface.closing());
        let (client, mut call) = begin(&sidecar, surface, &upstream).await;
        for event in before {
            call.chunk(event.as_bytes()).await;
        }
        let mut client = client.await.unwrap();
        let (mut seen, mut releases) = (String::new(), 0);
        while !content(&seen).contains("19") {
            seen += std::str::from_utf8(&client.piece().await.unwrap()).unwrap();
            releases += 1;
            assert!(
                !content(&seen).ends_with("}]}") && serde_json::from_str::<Value>(&content(&seen)).is_err(),
                "{seen}"
            );
            if content(&seen).len() > VALID.len() - 12 {
                break;
            }
        }
        assert!(releases > 3, "{surface:?}: {releases} releases");
        for event in closing {
            call.chunk(event.as_bytes()).await;
        }
        call.end().await;
        let rest = client.rest().await;
        assert!(rest.complete);
        assert_eq!(content(&format!("{seen}{}", rest.text())), VALID);
    }
    assert!(sidecar.stop().await.verify().ok);
}

/// A block takes the provider's connection down at once, and nothing that comes later is shown.
#[tokio::test(flavor = "multi_thread")]
async fn a_block_ends_the_call_to_the_provider() {
    let upstream = Puppet::start().await;
    let sidecar = sidecar("schema: invoice.schema.json, stream: cutoff", &upstream.url()).await;
    for surface in Surface::ALL {
        let events = surface.events(&["{\"note\":\"A first word.\",", "\"total\":\"behind", "\"}"]);
        let (client, mut call) = begin(&sidecar, surface, &upstream).await;
        let at = events.iter().position(|event| event.contains("behind")).unwrap();
        for event in &events[..=at] {
            call.chunk(event.as_bytes()).await;
        }
        let answer = client.await.unwrap().rest().await;
        let mut shown = String::new();
        if answer.status == 200 {
            shown = cut_short(surface, &answer).0;
        }
        assert!(!shown.contains("total"), "{shown}");
        call.left().await;
    }
    assert!(sidecar.stop().await.verify().ok);
}

/// Text that is held has a limit of time as well as one of bytes.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_too_long_or_too_much_is_blocked() {
    let upstream = Puppet::start().await;
    let late = sidecar("schema: invoice.schema.json, hold: { time: 200ms }", &upstream.url()).await;
    for surface in Surface::ALL {
        let (client, mut call) = begin(&late, surface, &upstream).await;
        let events = surface.events(&["{\"note\":", "\"x\""]);
        for event in &events[..events.len() - surface.closing()] {
            call.chunk(event.as_bytes()).await;
        }
        // Nothing more comes: the clock decides.
        let answer = client.await.unwrap().rest().await;
        let refusal = refused(surface, 400, "schema_violation", &answer);
        assert!(refusal.reason.contains("hold_time"), "{}", refusal.reason);
        call.left().await;
    }
    assert!(late.stop().await.verify().ok);

    let simulator = Simulator::start(Options::default()).await.unwrap();
    let small = sidecar("schema: invoice.schema.json, hold: { bytes: 1024 }", &simulator.url()).await;
    let long = VALID.replace("Thank you", &"Thank you ".repeat(200));
    for surface in Surface::ALL {
        let directive = json!({"content": long, "split": 50});
        let answer = post(small.address, surface.at(true), &[], surface.ask(true, &directive)).await;
        let refusal = refused(surface, 400, "schema_violation", &answer);
        assert!(refusal.reason.contains("hold_bytes"), "{}", refusal.reason);
        // What is told of an exchange is told after its answer.
        small.event(answer.request_id()).await;
    }
    let metrics = get(small.admin, "/metrics").await.text();
    for line in [
        "clyra_schema_verdicts_total{result=\"invalid\"} 4",
        "clyra_schema_held_bytes_count 4",
        "clyra_schema_hold_seconds_count 4",
        "clyra_schema_enforce_seconds_count 4",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    assert!(small.stop().await.verify().ok);
    simulator.stop().await;
}

/// A request that offers `pay`.
fn offering(surface: Surface, stream: bool, directive: &Value) -> Vec<u8> {
    let mut body: Value = serde_json::from_slice(&surface.ask(stream, directive)).unwrap();
    let schema = json!({"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]});
    body["tools"] = match surface {
        Surface::Chat => json!([{"type": "function", "function": {"name": "pay", "parameters": schema}}]),
        Surface::Responses => json!([{"type": "function", "name": "pay", "parameters": schema}]),
        Surface::Messages => json!([{"name": "pay", "input_schema": schema}]),
        Surface::Gemini => json!([{"functionDeclarations": [{"name": "pay", "parametersJsonSchema": schema}]}]),
    };
    body.to_string().into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_held_to_the_parameters_that_the_request_gave() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = sidecar("schema: tool_parameters", &simulator.url()).await;
    let call = |name: &str, arguments: &str| json!({"name": name, "arguments": arguments});
    let good = [json!([call("pay", "{\"sum\":7}")]), json!([call("pay", "{\"sum\":7}"), call("pay", "{\"sum\": 8}")])];
    let bad = [
        (json!([call("pay", "{\"sum\":\"behind\"}")]), "type"),
        (json!([call("pay", "{}")]), "required"),
        (json!([call("refund", "{\"to\":\"behind\"}")]), "tool"),
        (json!([call("pay", "{\"sum\":7}"), call("pay", "{\"sum\":\"behind\"}")]), "type"),
    ];
    for surface in Surface::ALL {
        for stream in [false, true] {
            for calls in &good {
                let directive = json!({"tool": calls, "split": 2});
                let direct =
                    post(simulator.addr(), surface.at(stream), &[], offering(surface, stream, &directive)).await;
                let answer =
                    post(sidecar.address, surface.at(stream), &[], offering(surface, stream, &directive)).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                assert_eq!(answer.text().matches("sum").count(), direct.text().matches("sum").count());
            }
            for (calls, keyword) in &bad {
                let directive = json!({"tool": calls, "split": 2});
                let answer =
                    post(sidecar.address, surface.at(stream), &[], offering(surface, stream, &directive)).await;
                // No call leaves, nor any beside it: it is a real error, unless something else had been shown.
                let (before, _) = stopped(surface, "schema_violation", &answer);
                assert!(
                    !before.contains("sum") && !before.contains("behind") && !before.contains("refund"),
                    "{before}"
                );
                let (_, outcome) = sidecar.pair(answer.request_id());
                assert_eq!(outcome["schema"]["violation"]["keyword"], *keyword, "{surface:?} {stream} {calls}");
            }
        }
    }
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_that_the_policy_lets_be_mended_is_mended() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    for mode in ["buffer", "verified", "cutoff"] {
        let entry = format!(
            "schema: invoice.schema.json, stream: {mode}, repair: {{ local: [fences, trailing_commas, quotes, close_brackets, escapes] }}"
        );
        let sidecar = sidecar(&entry, &simulator.url()).await;
        let fenced = format!("```json\n{}\n```", VALID.replace("}]", "},]"));
        let quoted = VALID.replace("\"id\":\"INV-2026\"", "'id':'INV-2026'");
        let cut = VALID.trim_end_matches('}');
        for surface in Surface::ALL {
            for stream in [false, true] {
                for (damaged, kinds) in
                    [(&fenced[..], "fences,trailing_commas"), (&quoted, "quotes"), (cut, "close_brackets")]
                {
                    let directive = json!({"content": damaged, "split": 3});
                    let answer = post(sidecar.address, surface.at(stream), &[], surface.ask(stream, &directive)).await;
                    let place = format!("{mode} {surface:?} {stream} {damaged}: {}", answer.text());
                    assert_eq!(answer.status, 200, "{place}");
                    let mended: Value =
                        serde_json::from_str(&content(&answer.text())).unwrap_or_else(|e| panic!("{e} {place}"));
                    assert_eq!(mended, serde_json::from_str::<Value>(VALID).unwrap(), "{place}");
                    if !stream || mode == "buffer" {
                        assert_eq!(answer.header("x-clyra-decision"), "repair", "{place}");
                    }
                    let (_, outcome) = sidecar.pair(answer.request_id());
                    let schema = &outcome["schema"];
                    assert_eq!(
                        (&outcome["verdict"], &schema["verdict"]),
                        (&json!("repaired"), &json!("repaired")),
                        "{place}"
                    );
                    assert_eq!(
                        (&schema["repair"]["kind"], schema["repair"]["digest"].as_str().unwrap().len()),
                        (&json!(kinds), 64)
                    );
                    let event = sidecar.event(answer.request_id()).await;
                    assert_eq!(
                        (&event["decision"], &event["schema"]["verdict"]),
                        (&json!("repair"), &json!("repaired"))
                    );
                }
                // What the model did not finish is not made to look finished.
                let reason = if surface == Surface::Gemini {
                    "MAX_TOKENS"
                } else if surface == Surface::Chat {
                    "length"
                } else {
                    "max_tokens"
                };
                let directive = json!({"content": cut, "finish_reason": reason});
                if surface != Surface::Responses {
                    let answer = post(sidecar.address, surface.at(stream), &[], surface.ask(stream, &directive)).await;
                    stopped(surface, "schema_violation", &answer);
                }
                // A phrase that comes about by mending only.
                let hidden =
                    VALID.replace("Thank you", "Project\\' Nightjar").replace("\\'", "\\ ").replace("\\  ", "\\ ");
                let directive = json!({"content": hidden, "split": 3});
                let answer = post(sidecar.address, surface.at(stream), &[], surface.ask(stream, &directive)).await;
                assert!(!content(&answer.text()).contains("Project Nightjar"), "{}", answer.text());
            }
        }
        assert!(sidecar.stop().await.verify().ok);
    }
    simulator.stop().await;
}

/// Escape sequences of the model's own hide nothing: detectors read what a parser of the answer reads.
#[tokio::test(flavor = "multi_thread")]
async fn escapes_inside_a_document_hide_nothing() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    for mode in ["buffer", "verified", "cutoff"] {
        let sidecar = sidecar(&format!("schema: invoice.schema.json, stream: {mode}"), &simulator.url()).await;
        for surface in Surface::ALL {
            for stream in [false, true] {
                let directive = json!({"content": VALID.replace("Thank you", "Pro\\u006aect Nightjar"), "split": 2});
                let answer = post(sidecar.address, surface.at(stream), &[], surface.ask(stream, &directive)).await;
                let (before, refusal) = stopped(surface, "content_policy_violation", &answer);
                assert_eq!(refusal.rule.as_deref(), Some("no-codename"));
                assert!(!before.contains("Pro"), "{before}");
            }
        }
        assert!(sidecar.stop().await.verify().ok);
    }
    simulator.stop().await;
}

/// The whole answer of the simulator to this directive.
async fn direct(simulator: &Simulator, surface: Surface, stream: bool, content: &str) -> Bytes {
    let directive = json!({"content": content, "usage": true});
    Bytes::from(post(simulator.addr(), surface.at(stream), &[], surface.ask(stream, &directive)).await.body())
}

/// An answer that Clyra put into the form that was asked for, as its provider would have.
fn told_whole(surface: Surface, stream: bool, body: &str) {
    if !stream {
        assert!(serde_json::from_str::<Value>(body).is_ok(), "{body}");
        return;
    }
    let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
    let events: Vec<Value> = data.filter_map(|data| serde_json::from_str(data).ok()).collect();
    match surface {
        Surface::Chat | Surface::Messages => assert!(body.ends_with(surface.terminal()), "{body}"),
        Surface::Responses => {
            let numbers: Vec<_> = events.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
            assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());
            assert_eq!(events.last().unwrap()["type"], "response.completed");
            assert_eq!(texts(body)["content/0"], texts(body)["content/0@item"], "said again as it was said");
        }
        Surface::Gemini => {
            assert!(body.ends_with("\r\n\r\n") && events.len() == 1, "{body}");
            assert_eq!(events[0]["candidates"][0]["finishReason"], "STOP");
        }
    }
}

/// The words of a question that must be for a whole answer, with the first one in it.
fn asked_once_more(surface: Surface, question: &SeenRequest) -> String {
    assert_eq!(question.path, surface.at(false));
    let body: Value = serde_json::from_slice(&question.body).unwrap();
    let (turns, role, words) = match surface {
        Surface::Chat | Surface::Messages => {
            assert_eq!((&body["stream"], &body["temperature"]), (&json!(false), &json!(0)));
            ("messages", "assistant", "/content")
        }
        Surface::Responses => {
            assert_eq!(body["stream"], false);
            ("input", "assistant", "/content/0/text")
        }
        Surface::Gemini => {
            assert_eq!(body["generationConfig"]["temperature"], 0);
            ("contents", "model", "/parts/0/text")
        }
    };
    let turns = body[turns].as_array().unwrap();
    assert_eq!((turns.len(), turns[1]["role"].as_str()), (3, Some(role)), "{body}");
    turns[2].pointer(words).and_then(Value::as_str).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_asked_once_more_and_held_to_the_same() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = sidecar("schema: invoice.schema.json, repair: { ask_again: 1 }", &simulator.url()).await;
    let damaged = BROKEN[0].0;
    for surface in Surface::ALL {
        for stream in [false, true] {
            let script = |first: Bytes, second: Bytes| {
                simulator.script(if stream { Scripted::sse(vec![first]) } else { Scripted::json(200, first) });
                simulator.script(Scripted::json(200, second));
            };
            let first = direct(&simulator, surface, stream, damaged).await;
            let good = direct(&simulator, surface, false, VALID).await;
            let before = simulator.requests().len();
            script(first.clone(), good);
            let answer = post(
                sidecar.address,
                surface.at(stream),
                &[],
                surface.request(stream, "An invoice, please.").to_string().into_bytes(),
            )
            .await;
            let place = format!("{surface:?} {stream} {}", answer.text());
            assert_eq!((answer.status.as_u16(), content(&answer.text()).as_str()), (200, VALID), "{place}");
            assert_eq!(answer.header("x-clyra-decision"), "repair", "{place}");
            let kind = if stream { "text/event-stream" } else { "application/json" };
            assert!(answer.header("content-type").starts_with(kind), "{place}");
            told_whole(surface, stream, &answer.text());
            assert!(!answer.text().contains("behind"), "{place}");
            let requests = simulator.requests();
            assert_eq!(requests.len(), before + 2);
            let words = asked_once_more(surface, requests.last().unwrap());
            assert!(
                words.contains("{\"path\":\"/total\",\"keyword\":\"type\"}") && !words.contains("behind"),
                "{words}"
            );
            let (_, outcome) = sidecar.pair(answer.request_id());
            assert_eq!((&outcome["verdict"], &outcome["schema"]["verdict"]), (&json!("repaired"), &json!("repaired")));
            assert_eq!(outcome["schema"]["repair"]["kind"], "ask_again");
            assert_eq!(outcome["upstream"]["attempts"], 2);
            let usage = &outcome["response"]["usage"];
            assert!(usage["output"].as_u64() > Some(0), "{outcome}");

            // A second answer that is no better, one with a forbidden word, and one that is an error: the first block stands.
            for (second, found) in [
                (direct(&simulator, surface, false, damaged).await, false),
                (direct(&simulator, surface, false, &VALID.replace("Thank you", "Project Nightjar")).await, true),
                (Bytes::from_static(b"{broken"), false),
            ] {
                script(first.clone(), second);
                let body = surface.request(stream, "An invoice, please.").to_string().into_bytes();
                let answer = post(sidecar.address, surface.at(stream), &[], body).await;
                let refusal = refused(surface, 400, "schema_violation", &answer);
                assert_eq!(refusal.rule.as_deref(), Some("lock"));
                let (_, outcome) = sidecar.pair(answer.request_id());
                assert_eq!((&outcome["verdict"], &outcome["upstream"]["attempts"]), (&json!("blocked"), &json!(2)));
                // What stopped the second answer is on record, although the client is told of the first.
                let findings = outcome["findings"].as_array();
                let classes: Vec<&Value> = findings.into_iter().flatten().map(|finding| &finding["class"]).collect();
                assert_eq!(classes, if found { vec!["restricted"] } else { vec![] }, "{outcome}");
                let rules = outcome["policy"]["rules"].as_array();
                let fired = rules.into_iter().flatten().any(|rule| rule["id"] == "no-codename");
                assert_eq!(fired, found, "{outcome}");
            }
        }
    }
    // A stream as one array is answered with one.
    let array = "/v1beta/models/m:streamGenerateContent?key=k";
    let body = Surface::Gemini.ask(true, &json!({"content": damaged, "split": 3}));
    let first = Bytes::from(post(simulator.addr(), array, &[], body).await.body());
    let good = direct(&simulator, Surface::Gemini, false, VALID).await;
    simulator.script(Scripted::json(200, first));
    simulator.script(Scripted::json(200, good));
    let body = Surface::Gemini.request(true, "An invoice, please.").to_string().into_bytes();
    let answer = post(sidecar.address, array, &[], body).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json"));
    let pieces: Value = serde_json::from_str(&answer.text()).unwrap();
    assert_eq!((pieces.as_array().unwrap().len(), content(&answer.text()).as_str()), (1, VALID));
    assert_eq!(simulator.requests().last().unwrap().path, "/v1beta/models/m:generateContent?key=k");
    // A model that called a tool is not asked to say that again.
    let requests = simulator.requests().len();
    let directive = json!({"content": damaged, "tool": [{"name": "pay", "arguments": "{}"}]});
    let answer = post(sidecar.address, Surface::Chat.at(false), &[], Surface::Chat.ask(false, &directive)).await;
    refused(Surface::Chat, 400, "schema_violation", &answer);
    assert_eq!(simulator.requests().len(), requests + 1);
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}

/// The question that quotes a broken answer is a request like any other: rules of requests hold for it, and it is on record.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_question_is_judged_and_on_record_as_a_request_is() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let damaged = BROKEN[0].0;
    for action in ["block", "redact", "allow"] {
        let rules = "detectors:
  patterns:
    - { id: praise, literal: \"A first word\", class: praise, score: 0.9 }
rules:
  - { id: no-praise, phase: request, when: 'findings.exists(f, f.class == \"praise\")', action: ACTION, reason: R. }
"
        .replace("ACTION", action);
        let head = HEAD.split("detectors:").next().unwrap();
        let entry = "schema: invoice.schema.json, repair: { ask_again: 1 }";
        let policy = format!("{head}{rules}schemas:\n  - {{ id: lock, {entry} }}\n");
        let files = [("invoice.schema.json", INVOICE)];
        let sidecar = Sidecar::start_with(&policy, &simulator.url(), &files, |_| {}).await;
        for surface in Surface::ALL {
            for stream in [false, true] {
                let first = direct(&simulator, surface, stream, damaged).await;
                let good = direct(&simulator, surface, false, VALID).await;
                let before = simulator.requests().len();
                simulator.script(if stream { Scripted::sse(vec![first]) } else { Scripted::json(200, first) });
                if action != "block" {
                    simulator.script(Scripted::json(200, good));
                }
                let body = surface.request(stream, "An invoice, please.").to_string().into_bytes();
                let answer = post(sidecar.address, surface.at(stream), &[], body).await;
                let place = format!("{action} {surface:?} {stream} {}", answer.text());
                let requests = simulator.requests();
                let (attempt, outcome) = sidecar.pair(answer.request_id());
                assert_eq!(attempt["findings"], json!([]), "{place}");
                let findings = outcome["findings"].as_array().unwrap();
                let found: Vec<_> = findings.iter().map(|found| (&found["class"], &found["channel"])).collect();
                assert_eq!(found, [(&json!("praise"), &json!("assistant"))], "{place}");
                let fired = outcome["policy"]["rules"].as_array().unwrap();
                assert!(fired.contains(&json!({"id": "no-praise", "action": action})), "{place} {outcome}");
                let decision = &outcome["policy"]["decision"];
                assert_eq!(
                    (&sidecar.findings(answer.request_id()).await[0]["direction"]),
                    &json!("request"),
                    "{place}"
                );
                if action == "block" {
                    // It is not asked, and the first answer's block stands.
                    assert_eq!((requests.len(), decision), (before + 1, &json!("block")), "{place}");
                    let refusal = refused(surface, 400, "schema_violation", &answer);
                    assert_eq!(refusal.rule.as_deref(), Some("lock"));
                    continue;
                }
                assert_eq!((answer.status.as_u16(), requests.len()), (200, before + 2), "{place}");
                let asked = String::from_utf8(requests.last().unwrap().body.to_vec()).unwrap();
                assert_eq!(asked.contains("A first word"), action == "allow", "{asked}");
                let verdict = if action == "allow" { "repaired" } else { "redacted" };
                assert_eq!((&outcome["verdict"], decision), (&json!(verdict), &json!(action)), "{place}");
            }
        }
        assert!(sidecar.stop().await.verify().ok);
    }
    simulator.stop().await;
}

/// Where the policy only observes, an answer leaves as it came, and what would have become of it is on record.
#[tokio::test(flavor = "multi_thread")]
async fn what_would_have_been_mended_is_on_record() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let entry = "schema: invoice.schema.json, repair: { local: [fences, trailing_commas], coerce: [numbers] }";
    let policy = policy(entry).replace("mode: enforce", "mode: observe");
    let sidecar = Sidecar::start_with(&policy, &simulator.url(), &[("invoice.schema.json", INVOICE)], |_| {}).await;
    let damaged = format!("```json\n{}\n```", VALID.replace("19.5}", "\"19.5\"}").replace("7}]", "7},]"));
    let broken = damaged.replace("INV-2026", "behind");
    for surface in Surface::ALL {
        for stream in [false, true] {
            for (document, would, verdict) in [
                (damaged.as_str(), Some("fences,numbers,trailing_commas"), "invalid"),
                (broken.as_str(), None, "invalid"),
                (VALID, None, "valid"),
            ] {
                let body = surface.ask(stream, &json!({"content": document, "split": 3}));
                let answer = post(sidecar.address, surface.at(stream), &[], body).await;
                assert_eq!((answer.status.as_u16(), content(&answer.text()).as_str()), (200, document));
                let (_, outcome) = sidecar.pair(answer.request_id());
                assert_eq!((&outcome["verdict"], &outcome["schema"]["verdict"]), (&json!("executed"), &json!(verdict)));
                assert_eq!(outcome["ext"]["would_repair"].as_str(), would, "{surface:?} {stream} {outcome}");
                let event = sidecar.event(answer.request_id()).await;
                let kinds = event["schema"]["would_repair"].as_object().unwrap();
                assert_eq!(kinds.len(), would.map_or(0, |would| would.split(',').count()), "{event}");
            }
        }
    }
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}

/// The policy's schema and the request's own: both bind.
#[tokio::test(flavor = "multi_thread")]
async fn two_schemas_bind_one_answer() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = sidecar("schema: invoice.schema.json, and: from_request, stream: verified", &simulator.url()).await;
    let ask = |limit: u32| {
        let mut body: Value =
            serde_json::from_slice(&Surface::Chat.ask(true, &json!({"content": VALID, "split": 3}))).unwrap();
        let schema = json!({"properties": {"total": {"maximum": limit}}});
        body["response_format"] = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
        body.to_string().into_bytes()
    };
    let answer = post(sidecar.address, Surface::Chat.at(true), &[], ask(20)).await;
    assert_eq!(content(&answer.text()), VALID);
    let answer = post(sidecar.address, Surface::Chat.at(true), &[], ask(10)).await;
    let (before, _) = stopped(Surface::Chat, "schema_violation", &answer);
    let shown = content(&before);
    assert!(shown.starts_with("{\"note\":") && !shown.contains("19.5}"), "{shown}");
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}

/// A table leaves record by record, and a formula leaves as a text.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_held_to_its_columns() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let entry =
        "format: csv, stream: verified, csv: { columns: [{ name: id, type: integer }, { name: note, type: string }] }";
    let sidecar = sidecar(entry, &simulator.url()).await;
    for surface in Surface::ALL {
        for stream in [false, true] {
            let ask = |text: &str| surface.ask(stream, &json!({"content": text, "split": 3}));
            let answer = post(sidecar.address, surface.at(stream), &[], ask("id,note\r\n1,Owls\r\n2,=cmd()\r\n")).await;
            assert_eq!(content(&answer.text()), "id,note\r\n1,Owls\r\n2,\"'=cmd()\"\r\n", "{}", answer.text());
            let (_, outcome) = sidecar.pair(answer.request_id());
            assert_eq!(
                (&outcome["verdict"], &outcome["schema"]["repair"]["kind"]),
                (&json!("repaired"), &json!("formulas"))
            );
            let answer = post(sidecar.address, surface.at(stream), &[], ask("id,note\r\n1,Owls\r\nbehind,x\r\n")).await;
            let (before, _) = stopped(surface, "schema_violation", &answer);
            assert!(!answer.text().contains("behind"));
            assert_eq!(content(&before), if stream { "id,note\r\n1,Owls" } else { "" }, "the last event had more");
        }
    }
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}
