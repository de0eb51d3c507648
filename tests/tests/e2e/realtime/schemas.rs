//! Answers of a session are held to the policy's schemas: calls to the tools that the client has declared, words to a schema
//! of the policy's own.

use super::*;

const STRICT: &str =
    r#"{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"],"additionalProperties":false}"#;

async fn world(schemas: &str) -> World {
    let provider = Provider::start().await;
    let policy = format!("{}schemas: [{schemas}]\n", policy("enforce", "block", "block"));
    let sidecar = Sidecar::start_with(&policy, &provider.url, &[("a.json", STRICT)], |_| {}).await;
    World { provider, sidecar }
}

fn tool(name: &str, parameters: &str) -> Value {
    json!({"type": "function", "name": name, "parameters": serde_json::from_str::<Value>(parameters).unwrap()})
}

/// The events of an answer that calls `name` with these arguments, as the provider tells of it: in pieces, and again whole.
fn call(answer: &str, name: &str, arguments: &str) -> Vec<Value> {
    let id = format!("item-{answer}");
    let item = |status: &str, arguments: &str| json!({"id": id, "type": "function_call", "status": status, "call_id": "c", "name": name, "arguments": arguments});
    let mut events = vec![
        json!({"type": "response.created", "response": {"id": answer, "status": "in_progress", "output": []}}),
        json!({"type": "response.output_item.added", "response_id": answer, "output_index": 0, "item": item("in_progress", "")}),
        json!({"type": "conversation.item.added", "item": item("in_progress", "")}),
    ];
    let of_call =
        |kind: &str| json!({"type": kind, "response_id": answer, "item_id": id, "output_index": 0, "call_id": "c"});
    for char in arguments.chars() {
        let mut delta = of_call("response.function_call_arguments.delta");
        delta["delta"] = char.to_string().into();
        events.push(delta);
    }
    let mut done = of_call("response.function_call_arguments.done");
    done["arguments"] = arguments.into();
    events.push(done);
    events.push(json!({"type": "conversation.item.done", "item": item("completed", arguments)}));
    events.push(json!({"type": "response.output_item.done", "response_id": answer, "output_index": 0, "item": item("completed", arguments)}));
    events.push(json!({"type": "response.done", "response": {"id": answer, "status": "completed", "output": [item("completed", arguments)]}}));
    events
}

async fn ask(session: &mut Session, event: Value) {
    session.client.say(&event).await;
    assert_eq!(session.provider.event().await, event);
}

/// What the client is told of an answer: all of its events, or what stands in their place.
async fn told(session: &mut Session, events: &[Value]) -> Result<Vec<Value>, Value> {
    for event in events {
        let _ = session.provider.try_say(event).await;
    }
    let mut shown = Vec::new();
    for _ in events {
        let event = session.client.event().await;
        if event["type"] == "error" {
            // That an answer begins shows nothing of it.
            assert!(shown.iter().all(|event: &Value| event["type"] == "response.created"), "{shown:?}");
            assert_eq!(session.client.closed().await.map(|(code, _)| code), Some(1008));
            return Err(event);
        }
        shown.push(event);
    }
    Ok(shown)
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_held_to_the_tools_that_the_client_declared() {
    let world = world("{ id: tools, schema: tool_parameters }").await;
    for (declares, name, arguments, passes) in [
        ("session.update", "f", r#"{"n":1}"#, true),
        ("session.update", "f", r#"{"n":"1"}"#, false),
        ("session.update", "f", r#"{"n":1"#, false),
        ("session.update", "g", r#"{"n":1}"#, false),
        ("response.create", "f", r#"{"n":1}"#, true),
        ("response.create", "f", r#"{"m":1}"#, false),
        ("response.create", "g", r#"{"n":1}"#, false),
    ] {
        let mut session = world.open().await;
        let id = session.id().to_owned();
        let part = declares.split('.').next().unwrap();
        ask(&mut session, json!({"type": declares, part: {"tools": [tool("f", STRICT)]}})).await;
        let events = call("r", name, arguments);
        let shown = told(&mut session, &events).await;
        let [(_, outcome)] = &world.ended_parts(&id)[..] else { panic!("not one answer") };
        match shown {
            Ok(shown) => {
                assert!(passes, "{declares} {name} {arguments}");
                assert_eq!(shown, events);
                assert_eq!((&outcome["verdict"], &outcome["schema"]["verdict"]), (&json!("executed"), &json!("valid")));
            }
            Err(error) => {
                assert!(!passes, "{declares} {name} {arguments}");
                assert_eq!((&error["clyra"]["rule"], &outcome["verdict"]), (&json!("tools"), &json!("blocked")));
                assert_eq!(
                    (&outcome["schema"]["verdict"], &outcome["schema"]["lock"]),
                    (&json!("invalid"), &json!("tools"))
                );
            }
        }
    }
    world.end().await;
}

/// The tools of one question bind its answer only; the session's go on.
#[tokio::test(flavor = "multi_thread")]
async fn tools_of_a_question_are_those_of_its_answer() {
    let world = world("{ id: tools, schema: tool_parameters }").await;
    let mut session = world.open().await;
    ask(&mut session, json!({"type": "session.update", "session": {"tools": [tool("f", "{}")]}})).await;
    // Two questions at one time.
    for name in ["g", "h"] {
        ask(
            &mut session,
            json!({"type": "response.create", "response": {"conversation": "none", "tools": [tool(name, STRICT)]}}),
        )
        .await;
    }
    for name in ["g", "h"] {
        told(&mut session, &call(name, name, r#"{"n":1}"#)).await.unwrap();
    }
    ask(&mut session, json!({"type": "response.create"})).await;
    told(&mut session, &call("a", "f", r#"{"any":[]}"#)).await.unwrap();
    told(&mut session, &call("b", "g", r#"{"n":1}"#)).await.unwrap_err();
    world.end().await;
}

/// What is mended in a call is mended wherever it is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_mended_wherever_it_is_told() {
    let world = world("{ id: tools, schema: tool_parameters, repair: { local: [trailing_commas] } }").await;
    let mut session = world.open().await;
    let id = session.id().to_owned();
    ask(&mut session, json!({"type": "session.update", "session": {"tools": [tool("f", STRICT)]}})).await;
    let shown = told(&mut session, &call("r", "f", r#"{"n":1,}"#)).await.unwrap();
    let mended = r#"{"n":1}"#;
    let pieces: String = shown.iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!(pieces, mended);
    let whole = |event: &Value| {
        let places = ["/arguments", "/item/arguments", "/response/output/0/arguments"];
        places
            .iter()
            .find_map(|place| event.pointer(place))
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    let wholes: Vec<String> = shown.iter().filter_map(whole).collect();
    assert_eq!(wholes, vec![mended; 4]);
    let [(_, outcome)] = &world.ended_parts(&id)[..] else { panic!("not one answer") };
    assert_eq!(
        (&outcome["verdict"], &outcome["schema"]["repair"]["kind"]),
        (&json!("repaired"), &json!("trailing_commas"))
    );
    session.client.close(1000, "").await;
    session.client.closed().await;
    assert_eq!(world.sidecar.pair(&id).1["verdict"], "repaired");
    world.end().await;
}

/// An item that is told by itself is held like the answer that it is of; what the client has said itself is not.
#[tokio::test(flavor = "multi_thread")]
async fn items_by_themselves_are_no_way_around() {
    let world = world("{ id: tools, schema: tool_parameters }").await;
    let item = json!({"id": "i", "type": "function_call", "status": "completed", "call_id": "c", "name": "f", "arguments": "{\"n\":\"1\"}"});
    for own in [true, false] {
        let mut session = world.open().await;
        ask(&mut session, json!({"type": "session.update", "session": {"tools": [tool("f", STRICT)]}})).await;
        if own {
            ask(&mut session, json!({"type": "conversation.item.create", "item": item})).await;
        }
        let done = json!({"type": "conversation.item.done", "item": item});
        assert_eq!(told(&mut session, &[done]).await.is_ok(), own);
    }
    world.end().await;
}

/// An answer is held to the tools that there were when it began, and so are its items.
#[tokio::test(flavor = "multi_thread")]
async fn tools_that_are_declared_under_an_answer_are_the_next_one_s() {
    let world = world("{ id: tools, schema: tool_parameters }").await;
    let mut session = world.open().await;
    ask(&mut session, json!({"type": "session.update", "session": {"tools": [tool("f", STRICT)]}})).await;
    let events = call("r", "f", r#"{"n":1}"#);
    let (first, rest) = events.split_at(2);
    session.provider.say(&first[0]).await;
    assert_eq!(session.client.event().await, first[0]);
    session.provider.say(&first[1]).await;
    ask(&mut session, json!({"type": "session.update", "session": {"tools": [tool("g", STRICT)]}})).await;
    for event in rest {
        session.provider.say(event).await;
    }
    for event in &events[1..] {
        assert_eq!(session.client.event().await, *event);
    }
    told(&mut session, &call("s", "f", r#"{"n":1}"#)).await.unwrap_err();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_whose_schema_cannot_be_used_is_not_declared() {
    let world = world("{ id: tools, schema: tool_parameters }").await;
    let mut session = world.open().await;
    session.client.say(&json!({"type": "session.update", "session": {"tools": [tool("f", r#"{"type":1}"#)]}})).await;
    let error = session.client.event().await;
    assert_eq!(error["error"]["code"], "invalid_request");
    assert!(error["error"]["message"].as_str().unwrap().contains("tool 0"), "{error}");
    // What was declared before stands.
    ask(&mut session, json!({"type": "session.update", "session": {"tools": [tool("f", STRICT)]}})).await;
    session.client.say(&json!({"type": "response.create", "response": {"tools": [tool("f", r#"{"type":1}"#)]}})).await;
    assert_eq!(session.client.event().await["error"]["code"], "invalid_request");
    told(&mut session, &call("r", "f", r#"{"n":1}"#)).await.unwrap();
    world.end().await;
}

fn words(answer: &str, text: &str) -> Vec<Value> {
    let mut events =
        vec![json!({"type": "response.created", "response": {"id": answer, "status": "in_progress", "output": []}})];
    events.extend(text.chars().map(|char| {
        json!({"type": "response.output_text.delta", "response_id": answer, "item_id": "i", "output_index": 0,
            "content_index": 0, "delta": char.to_string()})
    }));
    let item = json!({"id": "i", "type": "message", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": text}]});
    events.push(json!({"type": "response.done", "response": {"id": answer, "status": "completed", "output": [item]}}));
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn words_are_held_to_a_schema_of_the_policy() {
    for stream in ["buffer", "verified"] {
        let world = world(&format!("{{ id: form, schema: a.json, stream: {stream} }}")).await;
        for (text, passes) in [(r#"{"n":1}"#, true), (r#"{"n":1,"#, false), ("Hello", false)] {
            let mut session = world.open().await;
            let events = words("r", text);
            for event in &events {
                let _ = session.provider.try_say(event).await;
            }
            let mut shown = Vec::new();
            while shown.len() < events.len() {
                let event = session.client.event().await;
                if event["type"] == "error" {
                    assert_eq!(event["clyra"]["rule"], "form");
                    break;
                }
                shown.push(event);
            }
            assert_eq!(shown == events, passes, "{stream} {text}: {shown:?}");
            let said: String = shown.iter().filter_map(|event| event["delta"].as_str()).collect();
            assert!(passes || !said.ends_with('}') && !said.contains('H'), "{said}");
        }
        world.end().await;
    }
}

/// What is held too long breaks its schema, though nothing more comes.
#[tokio::test(flavor = "multi_thread")]
async fn holding_has_an_end() {
    let world = world("{ id: form, schema: a.json, hold: { time: 100ms } }").await;
    let mut session = world.open().await;
    let events = words("r", r#"{"n":1"#);
    for event in &events[..events.len() - 1] {
        session.provider.say(event).await;
    }
    let (texts, code) = session.client.rest().await;
    assert_eq!((texts.last().unwrap().contains("\"form\""), code), (true, Some(1008)), "{texts:?}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_only_observes_is_on_record() {
    let world = world("{ id: form, schema: a.json, stream: observe }").await;
    let mut session = world.open().await;
    let id = session.id().to_owned();
    for event in &words("r", "Hello") {
        session.provider.say(event).await;
        assert_eq!(session.client.event().await, *event);
    }
    let [(_, outcome)] = &world.ended_parts(&id)[..] else { panic!("not one answer") };
    assert_eq!((&outcome["verdict"], &outcome["schema"]["verdict"]), (&json!("executed"), &json!("invalid")));
    world.end().await;
}
