//! OpenAI realtime: a client and a provider that speak WebSocket through the sidecar, event by event.

mod answers;
mod schemas;

use bytes::Bytes;
use clyra::surface::coverage::{Part, Spot};
use clyra::surface::{Channel, SURFACES, Surface};
use clyra_tests::client::{get, raw};
use clyra_tests::live::{End, Handshake, Provider, WAIT_MAX, open};
use clyra_tests::sidecar::Sidecar;
use futures_util::{SinkExt as _, StreamExt as _};
use http::HeaderMap;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};

const LITERAL: &str = "Project Nightjar";
const TEXT: &str = "It is Project Nightjar, as planned.";
const MASK: &str = "[REDACTED:restricted]";

fn policy(mode: &str, request: &str, response: &str) -> String {
    let rule = |phase: &str, action: &str| {
        format!(
            "  - {{ id: no-codename-{phase}, phase: {phase}, when: 'findings.exists(f, f.class == \"restricted\")', \
             action: {action}, reason: The code name stays inside. }}\n"
        )
    };
    format!(
        "version: 1\nmode: {mode}\ndefaults: {{ budget_ms: {{ request: 60000 }} }}\ndetectors:\n  patterns:\n    \
         - {{ id: codename, literal: \"{LITERAL}\", class: restricted, score: 1.0 }}\nrules:\n{}{}",
        rule("request", request),
        rule("response", response)
    )
}

struct World {
    provider: Provider,
    sidecar: Sidecar,
}

/// A session with both of its ends.
struct Session {
    client: End,
    provider: End,
    handshake: Handshake,
    /// Headers of the answer to the client's handshake.
    answered: HeaderMap,
}

impl Session {
    fn id(&self) -> &str {
        self.answered["x-clyra-request-id"].to_str().unwrap()
    }
}

const PATH: &str = "/v1/realtime?model=gpt-realtime";

impl World {
    async fn new(policy: &str) -> World {
        let provider = Provider::start().await;
        let sidecar = Sidecar::start(policy, &provider.url).await;
        World { provider, sidecar }
    }

    async fn open(&self) -> Session {
        self.open_with(PATH, &[]).await
    }

    async fn open_with(&self, path: &str, headers: &[(&str, &str)]) -> Session {
        let (client, answered) = self.try_open(path, headers).await.unwrap();
        let (handshake, provider) = self.provider.session().await;
        Session { client, provider, handshake, answered }
    }

    async fn try_open(&self, path: &str, headers: &[(&str, &str)]) -> Result<(End, HeaderMap), Error> {
        open(self.sidecar.address, path, headers).await
    }

    /// Attempt and outcome, where there is one, of each part of a session, in the order in which they began.
    fn parts(&self, session: &str) -> Vec<(Value, Option<Value>)> {
        let mut receipts = self.sidecar.receipts();
        receipts.retain(|receipt| receipt["ext"]["session"] == session);
        let (attempts, mut outcomes): (Vec<_>, Vec<_>) = receipts.into_iter().partition(|r| r["kind"] == "attempt");
        let mut outcome =
            |of: &Value| outcomes.iter().position(|outcome| outcome["id"] == of["id"]).map(|at| outcomes.remove(at));
        let parts = attempts.into_iter().map(|attempt| (outcome(&attempt), attempt));
        parts.map(|(outcome, attempt)| (attempt, outcome)).collect()
    }

    /// The same, where each must have ended.
    fn ended_parts(&self, session: &str) -> Vec<(Value, Value)> {
        self.parts(session).into_iter().map(|(attempt, outcome)| (attempt, outcome.expect("no outcome"))).collect()
    }

    async fn end(self) {
        let verdict = self.sidecar.stop().await.verify();
        assert!(verdict.ok, "{:?}", verdict.findings);
    }
}

/// A session in which nothing is forbidden.
const ASKED: [&str; 4] = [
    r#"{ "type": "session.update", "session": {"instructions": "Be kind.", "tools": [{"type":"function","name":"f","parameters":{}}]}}"#,
    r#"{"type":"conversation.item.create","item":{"type":"message","role":"user","content":[{"type":"input_text","text":"Hé \u00e9 🦉"}]}}"#,
    r#"{"type":"response.create"}"#,
    r#"{"type":"unforeseen","any":[1,2.50,{"x":null}]}"#,
];
const TOLD: [&str; 8] = [
    r#"{"type":"session.created","event_id":"e0","session":{"id":"s","model":"gpt-realtime-2026"}}"#,
    r#"{"type":"response.created","event_id":"e1","response":{"id":"r","status":"in_progress","output":[]}}"#,
    r#"{"type":"response.output_item.added","response_id":"r","output_index":0,"item":{"id":"i","type":"message","role":"assistant","content":[]}}"#,
    "{\n \"type\":\"response.output_text.delta\", \"response_id\":\"r\", \"item_id\":\"i\", \"output_index\":0,\"content_index\":0, \"delta\":\"Good \\ud83e\\udd89\"}",
    r#"{"type":"response.output_text.done","response_id":"r","item_id":"i","output_index":0,"content_index":0,"text":"Good 🦉"}"#,
    r#"{"type":"unforeseen.delta","item_id":"i","delta":"x"}"#,
    r#"{"type":"response.done","response":{"id":"r","status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"Good 🦉"}]}],"usage":{"input_tokens":11,"output_tokens":7,"input_token_details":{"cached_tokens":2}}}}"#,
    r#"{"type":"rate_limits.updated","rate_limits":[]}"#,
];

#[tokio::test(flavor = "multi_thread")]
async fn an_innocent_session_passes_unchanged_and_is_on_record() {
    let world = World::new(&policy("enforce", "block", "block")).await;
    let offered = "realtime, openai-insecure-api-key.k-1, openai-beta.realtime-v1";
    let headers = [
        ("authorization", "Bearer k-2"),
        ("sec-websocket-protocol", offered),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("x-clyra-app", "booth"),
    ];
    let mut session = world.open_with(PATH, &headers).await;
    let seen = &session.handshake;
    assert_eq!(seen.uri, PATH);
    assert_eq!(
        (&seen.headers["authorization"], &seen.headers["sec-websocket-protocol"]),
        (&"Bearer k-2".parse().unwrap(), &offered.parse().unwrap())
    );
    assert!(!seen.headers.contains_key("sec-websocket-extensions") && !seen.headers.contains_key("x-clyra-app"));
    assert_ne!(seen.headers["sec-websocket-key"], "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(session.answered["sec-websocket-protocol"], "realtime");
    assert_eq!(session.answered["openai-processing-ms"], "7");
    assert_eq!(session.answered["x-clyra-decision"], "allow");

    // The attempt is there before anything is said, and no outcome before the end.
    let of = |id: &str| world.sidecar.receipts().into_iter().filter(|r| r["id"] == id).collect::<Vec<_>>();
    let id = session.id().to_owned();
    assert_eq!(of(&id).iter().map(|r| r["kind"].clone()).collect::<Vec<_>>(), ["attempt"]);
    for asked in ASKED {
        session.client.send(Message::text(asked)).await;
        assert_eq!(session.provider.text().await, asked);
    }
    for told in TOLD {
        session.provider.send(Message::text(told)).await;
        assert_eq!(session.client.text().await, told);
    }
    session.client.send(Message::Ping(Bytes::from_static(b"still there?"))).await;
    assert!(matches!(timeout(WAIT_MAX, session.client.0.next()).await.unwrap(), Some(Ok(Message::Pong(_)))));
    assert_eq!(of(&id).len(), 1);
    // The answer is on record before the client has its last event.
    let [(asked, answer)] = &world.ended_parts(&id)[..] else { panic!("not one answer") };
    session.client.close(4001, "enough").await;
    assert_eq!(session.provider.closed().await, Some((4001, String::new())));
    assert_eq!(session.client.closed().await.map(|(code, _)| code), Some(4001));

    let (attempt, outcome) = world.sidecar.pair(&id);
    assert_eq!(
        (&attempt["request"]["surface"], &attempt["request"]["model"]),
        (&json!("openai.realtime"), &json!("gpt-realtime"))
    );
    assert_eq!((&outcome["verdict"], &outcome["upstream"]["status"]), (&json!("executed"), &json!(101)));
    assert_eq!(outcome["stream"]["events"], TOLD.len());
    assert_eq!(outcome["coverage"], json!({"level": "full"}));
    // What is counted is counted with the answer.
    assert!(outcome["response"]["usage"].is_null());
    let usage = &answer["response"]["usage"];
    assert_eq!((&usage["input"], &usage["output"], &usage["cached"]), (&json!(11), &json!(7), &json!(2)));
    assert_eq!(
        (&answer["verdict"], &answer["response"]["finish_reason"], &answer["upstream"]["model"]),
        (&json!("executed"), &json!("stop"), &json!("gpt-realtime-2026"))
    );
    assert_eq!(
        (&asked["request"]["bytes"], &asked["request"]["tools"]),
        (&json!(ASKED.iter().map(|text| text.len()).sum::<usize>()), &json!([{"name": "f"}]))
    );
    let event = world.sidecar.event(&id).await;
    assert_eq!(
        (&event["surface"], &event["decision"], &event["app"]),
        (&json!("openai.realtime"), &json!("allow"), &json!("booth"))
    );
    let bytes = |texts: &[&str]| texts.iter().map(|text| text.len()).sum::<usize>();
    assert_eq!((&event["request_bytes"], &event["response_bytes"]), (&json!(bytes(&ASKED)), &json!(bytes(&TOLD))));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_among_the_subprotocols_says_who_calls() {
    let callers = format!(
        "{}callers:\n  - {{ id: browser, match: {{ api_key_sha256: \"KEY\" }} }}\n",
        policy("enforce", "block", "block")
    );
    let world =
        World::new(&callers.replace("KEY", "db7ce1d1010b693d4be6330469e0d9cd81a78cbef6e3aff8996e6d3e83ee9066")).await;
    let offered = [("sec-websocket-protocol", "realtime, openai-insecure-api-key.k-browser")];
    let mut session = world.open_with(PATH, &offered).await;
    let id = session.id().to_owned();
    session.client.close(1000, "").await;
    session.client.closed().await;
    let (attempt, _) = world.sidecar.pair(&id);
    assert_eq!(attempt["caller"]["identity"]["id"], "browser");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_forbidden_is_not_sent_and_the_session_goes_on() {
    let world = World::new(&policy("enforce", "block", "allow")).await;
    let mut session = world.open().await;
    let bad = json!({"type": "conversation.item.create", "event_id": "event_7", "item": {"type": "message", "role": "user",
        "content": [{"type": "input_text", "text": TEXT}]}});
    session.client.say(&bad).await;
    let error = session.client.event().await;
    assert_eq!((&error["type"], &error["error"]["type"]), (&json!("error"), &json!("invalid_request_error")));
    assert_eq!(
        (&error["error"]["code"], &error["error"]["event_id"]),
        (&json!("content_policy_violation"), &json!("event_7"))
    );
    assert!(error["error"]["param"].is_null() && error["clyra"]["rule"] == "no-codename-request");
    assert!(!error.to_string().contains("Nightjar"));
    // Nor is one that cannot be read, whether it is no JSON or no text.
    session.client.send(Message::text(r#"{"type":"a","type":"b"}"#)).await;
    assert_eq!(session.client.event().await["error"]["code"], "invalid_request");
    session.client.send(Message::binary(&b"\x00\x01"[..])).await;
    assert_eq!(session.client.event().await["error"]["code"], "invalid_request");
    // What is in its id is not said again.
    session.client.say(&json!({"type": "response.create", "event_id": LITERAL})).await;
    assert!(session.client.event().await["error"]["event_id"].is_null());

    session.client.say(&json!({"type": "response.create"})).await;
    assert_eq!(session.provider.event().await, json!({"type": "response.create"}));
    let id = session.id().to_owned();
    session.client.close(1000, "").await;
    session.client.closed().await;
    let (_, outcome) = world.sidecar.pair(&id);
    assert_eq!(outcome["verdict"], "blocked");
    let event = world.sidecar.event(&id).await;
    assert_eq!((&event["decision"], &event["coverage_gaps"]), (&json!("block"), &json!(["unreadable"])));
    // What was found is found once, in the event that it stands in.
    assert_eq!(world.sidecar.findings(&id).await.len(), 0);
    let refused = world.ended_parts(&id);
    let verdicts: Vec<_> = refused.iter().map(|(_, outcome)| outcome["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["blocked", "errored", "errored", "blocked"]);
    let findings: Vec<_> = refused.iter().map(|(attempt, _)| attempt["findings"].as_array().unwrap().len()).collect();
    assert_eq!(findings, [1, 0, 0, 1]);
    assert_eq!(refused[0].0["request"]["bytes"], bad.to_string().len());
    let refusal = world.sidecar.event(refused[0].0["id"].as_str().unwrap()).await;
    assert_eq!(
        (&refusal["code"], &refusal["rule"], &refusal["session"]),
        (&json!("content_policy_violation"), &json!("no-codename-request"), &json!(id))
    );
    assert_eq!(refusal["request_id"], error["clyra"]["request_id"]);
    let stopped = world.sidecar.stop().await;
    let notices = stopped
        .events()
        .into_iter()
        .filter(|event| event["code"] == "event_not_sent" && event["detail"] == id.as_str());
    assert_eq!(notices.count(), 4);
    assert!(stopped.verify().ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_say_is_redacted_wherever_it_stands() {
    let world = World::new(&policy("enforce", "redact", "allow")).await;
    let mut session = world.open().await;
    for event in [
        json!({"type": "session.update", "session": {"instructions": TEXT}}),
        json!({"type": "session.update", "session": {"tools": [{"type": "function", "name": "f", "description": TEXT}]}}),
        json!({"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": [{"type": "input_text", "text": TEXT}]}}),
        json!({"type": "conversation.item.create", "item": {"type": "function_call_output", "call_id": "c", "output": TEXT}}),
        json!({"type": "response.create", "response": {"instructions": TEXT, "input": [{"type": "message", "role": "system", "content": [{"type": "input_text", "text": TEXT}]}]}}),
        json!({"type": "unforeseen", "audio": TEXT, "new": {"thing": [TEXT]}}),
    ] {
        session.client.say(&event).await;
        assert_eq!(session.provider.text().await, event.to_string().replace(LITERAL, MASK));
    }
    // Fragments are one message.
    for (at, piece) in
        [r#"{"type":"response.create","response":{"instructions":"Project Ni"#, "ghtjar", r#""}}"#].iter().enumerate()
    {
        let opcode = if at == 0 { OpCode::Data(Data::Text) } else { OpCode::Data(Data::Continue) };
        session.client.send(Message::Frame(Frame::message(piece.as_bytes().to_vec(), opcode, at == 2))).await;
        session.client.send(Message::Ping(Bytes::new())).await;
    }
    assert_eq!(session.provider.event().await["response"]["instructions"], MASK);
    let id = session.id().to_owned();
    session.client.close(1000, "").await;
    session.client.closed().await;
    let (_, outcome) = world.sidecar.pair(&id);
    assert_eq!(outcome["verdict"], "redacted");
    world.end().await;
}

fn surface() -> &'static Surface {
    SURFACES.into_iter().find(|surface| surface.id == "openai.realtime").unwrap()
}

/// A document with `leaf` at `path`, on top of `base`.
fn document(base: &Value, path: &str, leaf: &Value) -> Value {
    let mut out = base.clone();
    let mut at = &mut out;
    for step in path.split('.') {
        at = if step == "*" {
            if !at.is_array() {
                *at = json!([null]);
            }
            &mut at[0]
        } else {
            if !at.is_object() {
                *at = json!({});
            }
            &mut at[step]
        };
    }
    *at = leaf.clone();
    out
}

/// The events that say the text at this place, whole or a character each; with or without what they belong to.
fn told(spot: &Spot, every: bool, named: bool) -> Vec<Value> {
    let whole = if spot.json { json!({"note": TEXT}).to_string() } else { TEXT.to_owned() };
    let pieces: Vec<Value> = match (spot.pieces, every) {
        (true, true) => whole.chars().map(|char| char.to_string().into()).collect(),
        (true, false) => vec![whole.into()],
        (false, _) if spot.json => vec![json!({"note": TEXT})],
        (false, _) => vec![TEXT.into()],
    };
    let mut base: Value = serde_json::from_str(&spot.event).unwrap();
    if named {
        base["item_id"] = "i".into();
        if base["type"].as_str().unwrap().starts_with("response.") {
            base["response_id"] = "r".into();
        }
    }
    // The type is what the event is known by.
    pieces.iter().filter(|_| spot.path != "type").map(|piece| document(&base, &spot.path, piece)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_forbidden_is_told_in_any_event() {
    let block = World::new(&policy("enforce", "allow", "block")).await;
    let redact = World::new(&policy("enforce", "allow", "redact")).await;
    let spots = surface().spots();
    let mut tried = 0;
    for spot in spots.iter().filter(|spot| spot.part == Part::Stream && !spot.media) {
        for (every, named) in [(false, true), (true, true), (true, false)] {
            let events = told(spot, every && spot.pieces, named);
            // An item of the conversation is told whole, each time anew; and nothing ends twice.
            let kind = serde_json::from_str::<Value>(&spot.event).unwrap()["type"].as_str().unwrap().to_owned();
            let is_item = kind.starts_with("conversation.item.") && !kind.contains("transcription");
            let is_end = kind.ends_with(".completed") || kind.ends_with(".failed") || kind == "response.done";
            if events.is_empty() || every && (!spot.pieces || is_item || is_end) {
                continue;
            }
            tried += 1;
            let mut session = block.open().await;
            for event in &events {
                // The sidecar closes as soon as it knows.
                let _ = session.provider.0.send(Message::text(event.to_string())).await;
            }
            let _ = session.provider.0.close(None).await;
            let (texts, code) = session.client.rest().await;
            assert_eq!(code, Some(1008), "{spot:?} {texts:?}");
            let (error, before) = texts.split_last().unwrap();
            let error: Value = serde_json::from_str(error).unwrap();
            assert_eq!((&error["type"], &error["clyra"]["rule"]), (&json!("error"), &json!("no-codename-response")));
            assert!(before.iter().all(|text| !text.contains(LITERAL)), "{spot:?}: {before:?}");
            let shown: usize = if spot.pieces { before.len() } else { 0 };
            assert!(shown <= TEXT.find('P').unwrap() + r#"{"note":""#.len(), "{spot:?}: {before:?}");

            let mut session = redact.open().await;
            for event in &events {
                session.provider.say(event).await;
            }
            session.provider.close(1000, "").await;
            let (texts, code) = session.client.rest().await;
            assert_eq!((texts.len(), code), (events.len(), Some(1000)), "{spot:?}");
            let joined: String = texts.iter().filter_map(|text| spoken(spot, text)).collect();
            // Tokens are taken out all together.
            let masked = joined.contains(MASK) || spot.channels == [Channel::Logprobs];
            assert!(masked && !texts.concat().contains("Nightjar"), "{spot:?}: {joined}");
        }
    }
    assert!(tried > 60, "{tried}");
    block.end().await;
    redact.end().await;
}

/// What an event says at this place.
fn spoken(spot: &Spot, event: &str) -> Option<String> {
    let mut at: &Value = &serde_json::from_str(event).unwrap();
    for step in spot.path.split('.') {
        at = if step == "*" { at.get(0)? } else { at.get(step)? };
    }
    Some(at.as_str().map_or_else(|| at.to_string(), str::to_owned))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_says_what_is_forbidden_is_stopped() {
    let world = World::new(&policy("enforce", "allow", "block")).await;
    let mut session = world.open().await;
    let id = session.id().to_owned();
    for text in ["It is Project Ni", "ghtjar, as planned."] {
        session.provider.say(&json!({"type": "response.output_text.delta", "response_id": "r", "delta": text})).await;
    }
    let (texts, code) = session.client.rest().await;
    assert_eq!((texts.len(), code), (1, Some(1008)), "{texts:?}");
    assert!(texts[0].contains("content_policy_violation") && !texts[0].contains("Night"));
    assert_eq!(session.provider.event().await, json!({"type": "response.cancel"}));
    assert_eq!(session.provider.closed().await.map(|(code, _)| code), Some(1001));
    let (_, outcome) = world.sidecar.pair(&id);
    assert_eq!((&outcome["verdict"], &outcome["policy"]["decision"]), (&json!("blocked"), &json!("block")));
    // Why it was stopped is told once: of the answer.
    let event = world.sidecar.event(&id).await;
    assert_eq!((&event["decision"], &event["code"], &event["rule"]), (&json!("block"), &Value::Null, &Value::Null));
    let [(attempt, outcome)] = &world.ended_parts(&id)[..] else { panic!("not one answer") };
    assert_eq!((&outcome["verdict"], &outcome["stream"]["events"]), (&json!("blocked"), &json!(0)));
    assert_eq!(outcome["policy"]["rules"], json!([{"id": "no-codename-response", "action": "block"}]));
    let answer = attempt["id"].as_str().unwrap();
    let event = world.sidecar.event(answer).await;
    assert_eq!((&event["code"], &event["rule"]), (&json!("content_policy_violation"), &json!("no-codename-response")));
    assert_eq!(world.sidecar.findings(answer).await.len(), 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn audio_passes_and_is_declared() {
    let world = World::new(&policy("enforce", "block", "block")).await;
    let mut session = world.open().await;
    let audio = "AAAA".repeat(64 * 1024);
    let asked = json!({"type": "input_audio_buffer.append", "audio": audio});
    session.client.say(&asked).await;
    assert_eq!(session.provider.text().await, asked.to_string());
    let told = json!({"type": "response.output_audio.delta", "response_id": "r", "output_index": 0, "delta": audio});
    session.provider.say(&told).await;
    assert_eq!(session.client.text().await, told.to_string());
    let id = session.id().to_owned();
    session.provider.close(1000, "done").await;
    assert_eq!(session.client.closed().await, Some((1000, "done".to_owned())));
    let (_, outcome) = world.sidecar.pair(&id);
    // The answer was under way when the provider left.
    assert_eq!(outcome["coverage"], json!({"level": "partial", "reasons": ["media_not_inspected"]}));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_observes_touches_nothing() {
    let world = World::new(&policy("observe", "block", "block")).await;
    let mut session = world.open().await;
    let asked = json!({"type": "session.update", "session": {"instructions": TEXT}});
    session.client.say(&asked).await;
    assert_eq!(session.provider.text().await, asked.to_string());
    for message in [Message::binary(&b"\x00\xff"[..]), Message::text("no JSON")] {
        session.client.send(message.clone()).await;
        assert_eq!(session.provider.next().await, Some(message.clone()));
        session.provider.send(message.clone()).await;
        assert_eq!(session.client.next().await, Some(message));
    }
    let told = json!({"type": "response.output_text.delta", "response_id": "r", "delta": TEXT});
    session.provider.say(&told).await;
    assert_eq!(session.client.text().await, told.to_string());
    let id = session.id().to_owned();
    session.client.close(1000, "").await;
    session.client.closed().await;
    let event = world.sidecar.event(&id).await;
    assert_eq!(
        (&event["decision"], &event["decided"], &event["findings"]),
        (&json!("allow"), &json!("block"), &json!(0))
    );
    assert_eq!(event["coverage_gaps"], json!(["unreadable", "truncated"]));
    let [(attempt, outcome)] = &world.ended_parts(&id)[..] else { panic!("not one answer") };
    let found = [attempt, outcome].map(|receipt| receipt["findings"].as_array().unwrap().len());
    assert_eq!((found, &outcome["verdict"]), ([1, 1], &json!("aborted_by_client")));
    assert_eq!(outcome["coverage"]["reasons"], json!(["unreadable", "truncated"]));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closes_and_faults_are_told_to_the_other_side() {
    let world = World::new(&policy("enforce", "block", "block")).await;
    // The provider closes; a reason that must not be shown is not.
    let mut session = world.open().await;
    session.provider.close(4002, TEXT).await;
    assert_eq!(session.client.closed().await, Some((4002, String::new())));
    // It goes without a word.
    let mut session = world.open().await;
    drop(session.provider);
    let (texts, code) = session.client.rest().await;
    assert!(texts.len() == 1 && texts[0].contains("upstream_interrupted"), "{texts:?}");
    assert_eq!(code, Some(1011));
    // It says what cannot be read.
    let mut session = world.open().await;
    session.provider.send(Message::binary(&b"x"[..])).await;
    let (texts, code) = session.client.rest().await;
    assert!(texts.len() == 1 && texts[0].contains("upstream_unreadable"), "{texts:?}");
    assert_eq!(code, Some(1011));
    // The client goes without a word.
    let mut session = world.open().await;
    let id = session.id().to_owned();
    drop(session.client);
    assert_eq!(session.provider.closed().await.map(|(code, _)| code), Some(1001));
    assert_eq!(world.sidecar.event(&id).await["verdict"], "aborted_by_client");
    // The client sends more than one message may have, or what is no frame.
    for (frame, code) in
        [(&[0x81, 0xff, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0][..], 1009), (&[0x83, 0x80, 0, 0, 0, 0], 1002)]
    {
        use tokio::io::AsyncWriteExt as _;
        let mut session = world.open().await;
        session.client.0.get_mut().write_all(frame).await.unwrap();
        assert_eq!(session.client.closed().await.map(|(code, _)| code), Some(code));
        assert_eq!(session.provider.closed().await.map(|(code, _)| code), Some(1001));
    }
    world.end().await;
}

/// What the sidecar answers to a handshake with these lines.
async fn shake(world: &World, path: &str, lines: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{lines}\r\n");
    String::from_utf8_lossy(&raw(world.sidecar.address, request.as_bytes()).await).into_owned()
}

const KEY: &str = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_fails_is_answered_over_http() {
    let world = World::new(&policy("enforce", "block", "block")).await;
    assert_eq!(get(world.sidecar.address, PATH).await.status, 400);
    for lines in [
        "Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        "Sec-WebSocket-Version: 13\r\n",
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n",
    ] {
        let answer = shake(&world, PATH, &format!("{lines}Connection: close\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    let answer = shake(&world, "/v1/realtime?model=Project%20Nightjar&x=Project Nightjar", KEY).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    world.end().await;
}

/// A provider that answers each connection with these bytes.
async fn answering(answer: &'static str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(tcp.read_u8().await.unwrap());
            }
            tcp.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_does_not_switch_is_heard() {
    let refused = "HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nx-request-id: req_1\r\nContent-Length: 30\r\n\r\n{\"error\":{\"message\":\"no key\"}} ";
    let refused = refused.strip_suffix(' ').unwrap();
    let wrong = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n";
    for (answer, status, says) in [(refused, 401, "no key"), (wrong, 502, "upstream_unreachable")] {
        let url = answering(answer).await;
        let sidecar = Sidecar::start(&policy("enforce", "block", "block"), &url).await;
        let request =
            format!("GET {PATH} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{KEY}\r\n");
        let answer = String::from_utf8_lossy(&raw(sidecar.address, request.as_bytes()).await).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(says), "{answer}");
        let stopped = sidecar.stop().await;
        let kinds: Vec<_> =
            stopped.receipts().iter().map(|r| r["kind"].as_str().unwrap_or_default().to_owned()).collect();
        assert_eq!(kinds.iter().filter(|kind| *kind == "outcome").count(), 1, "{kinds:?}");
        assert_eq!(stopped.events()[0]["attempts"], 1);
        assert!(stopped.verify().ok);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_stops_says_goodbye_when_nothing_is_under_way() {
    let world = World::new(&policy("enforce", "block", "block")).await;
    let (mut idle, mut busy) = (world.open().await, world.open().await);
    let text = |event: &Value| event.to_string();
    let created = json!({"type": "response.created", "response": {"id": "r", "status": "in_progress", "output": []}});
    busy.provider.say(&created).await;
    assert_eq!(busy.client.text().await, text(&created));
    world.sidecar.drain();
    assert_eq!(idle.client.closed().await.map(|(code, _)| code), Some(1001));
    assert_eq!(idle.provider.closed().await.map(|(code, _)| code), Some(1001));
    let done = json!({"type": "response.done", "response": {"id": "r", "status": "completed", "output": []}});
    busy.provider.say(&done).await;
    assert_eq!(busy.client.text().await, text(&done));
    assert_eq!(busy.client.closed().await.map(|(code, _)| code), Some(1001));
    world.end().await;
}
