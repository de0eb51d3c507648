//! Each answer of a session is an exchange of its own: what was asked of it, what it said, what it counts, how it ended.

use clyra_receipts::EventTree;

use super::*;

fn created(answer: &str) -> Value {
    json!({"type": "response.created", "response": {"id": answer, "status": "in_progress", "output": []}})
}

fn delta(answer: &str, text: &str) -> Value {
    json!({"type": "response.output_text.delta", "response_id": answer, "item_id": "i", "output_index": 0,
        "content_index": 0, "delta": text})
}

fn done(answer: &str, output: Value, tokens: u64) -> Value {
    json!({"type": "response.done", "response": {"id": answer, "status": "completed", "output": output,
        "usage": {"input_tokens": tokens, "output_tokens": tokens}}})
}

fn said(text: &str) -> Value {
    json!({"type": "conversation.item.create", "item": {"type": "message", "role": "user",
        "content": [{"type": "input_text", "text": text}]}})
}

fn root(events: &[&Value]) -> String {
    let mut tree = EventTree::new();
    events.iter().for_each(|event| tree.push(event.to_string().as_bytes()));
    tree.root_hex()
}

/// Tells events that leave at once.
async fn tell(session: &mut Session, events: &[&Value]) {
    for event in events {
        session.provider.say(event).await;
        assert_eq!(session.client.text().await, event.to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_answer_has_its_own_receipts() {
    let world = World::new(&policy("enforce", "redact", "redact")).await;
    let mut session = world.open().await;
    let id = session.id().to_owned();
    let ask = json!({"type": "response.create"});
    for event in [&said(TEXT), &ask] {
        session.client.say(event).await;
        session.provider.text().await;
    }
    let call = json!([{"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}]);
    let first = [created("a"), delta("a", "One."), done("a", call, 3)];
    session.provider.say(&first[0]).await;
    session.client.text().await;
    // The attempt is there, and no outcome: the answer has begun.
    let [(attempt, None)] = &world.parts(&id)[..] else { panic!("not one answer under way") };
    assert_eq!(attempt["request"]["messages"], json!([{"count": 1, "kind": "message", "role": "any"}]));
    assert_eq!(attempt["findings"][0]["place"]["pointer"], "/item/content/0/text");
    assert_eq!(attempt["policy"]["decision"], "redact");
    // What is said meanwhile is asked of the next one.
    let audio = json!({"type": "input_audio_buffer.append", "audio": "AAAA"});
    session.client.say(&audio).await;
    session.provider.text().await;
    tell(&mut session, &[&first[1], &first[2]]).await;
    let result = json!({"type": "conversation.item.create", "item": {"type": "function_call_output", "call_id": "call_1", "output": "1"}});
    session.client.say(&result).await;
    session.provider.text().await;
    let bad = delta("b", TEXT);
    let second = [created("b"), bad.clone(), done("b", json!([]), 5)];
    for event in &second {
        session.provider.say(event).await;
    }
    let mut shown = Vec::new();
    for _ in &second {
        shown.push(session.client.event().await);
    }
    assert_eq!(shown[1]["delta"], TEXT.replace(LITERAL, MASK));

    let parts = world.ended_parts(&id);
    let [(_, a), (attempt_b, b)] = &parts[..] else { panic!("{parts:?}") };
    assert_eq!((&a["verdict"], &b["verdict"]), (&json!("redacted"), &json!("redacted")));
    assert_eq!((&a["findings"], b["findings"].as_array().unwrap().len()), (&json!([]), 1));
    assert_eq!(
        (&a["coverage"]["level"], &b["coverage"]),
        (&json!("full"), &json!({"level": "partial", "reasons": ["media_not_inspected"]}))
    );
    assert_eq!(
        (&a["response"]["finish_reason"], &b["response"]["finish_reason"]),
        (&json!("tool_calls"), &json!("stop"))
    );
    assert_eq!((&a["response"]["usage"]["input"], &b["response"]["usage"]["input"]), (&json!(3), &json!(5)));
    // Each answer's own events, as they were released.
    assert_eq!(a["stream"]["root"], root(&first.iter().collect::<Vec<_>>()));
    assert_eq!(b["stream"]["root"], root(&shown.iter().collect::<Vec<_>>()));
    let bytes = |events: &[&Value]| events.iter().map(|event| event.to_string().len()).sum::<usize>();
    assert_eq!(attempt_b["request"]["bytes"], bytes(&[&audio, &result]));
    assert_eq!(b["response"]["received"]["bytes"], bytes(&second.iter().collect::<Vec<_>>()));
    assert_eq!(b["response"]["released"]["bytes"], bytes(&shown.iter().collect::<Vec<_>>()));
    assert!(
        attempt_b["request"]["commit"]["value"].is_string() && b["response"]["released"]["commit"]["value"].is_string()
    );
    // It answers the call of the first one.
    assert_eq!((&b["run"]["parents"], &b["run"]["id"]), (&json!([a["seq"]]), &json!(id)));

    session.client.say(&said("Bye.")).await;
    session.provider.text().await;
    session.client.close(1000, "").await;
    session.client.closed().await;
    // The session has what holds of any of it, and counts what is in none of its answers.
    let (_, outcome) = world.sidecar.pair(&id);
    assert_eq!((&outcome["verdict"], &outcome["stream"]["events"]), (&json!("redacted"), &json!(6)));
    assert_eq!(outcome["coverage"], json!({"level": "partial", "reasons": ["media_not_inspected"]}));
    assert_eq!((&outcome["policy"]["decision"], &outcome["findings"]), (&json!("redact"), &json!([])));
    assert_eq!(outcome["request"]["messages"][0]["count"], 1);
    let lines = [&id, a["id"].as_str().unwrap(), b["id"].as_str().unwrap()];
    let mut findings = 0;
    for line in lines {
        let event = world.sidecar.event(line).await;
        let is_part = line != lines[0];
        assert_eq!(event["session"], if is_part { json!(id) } else { Value::Null });
        assert_eq!((&event["run_id"], &event["decision"]), (&json!(id), &json!("redact")));
        findings += event["findings"].as_u64().unwrap();
    }
    assert_eq!(findings, 2);
    let metrics = get(world.sidecar.admin, "/metrics").await.text();
    assert!(metrics.contains("clyra_redactions_total 2\n"), "{metrics}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_cut_off_say_by_whom() {
    let world = World::new(&policy("enforce", "allow", "block")).await;
    // By the client.
    let mut session = world.open().await;
    let id = session.id().to_owned();
    tell(&mut session, &[&created("a"), &delta("a", "One")]).await;
    session.client.close(1000, "").await;
    session.client.closed().await;
    let [(_, a)] = &world.ended_parts(&id)[..] else { panic!("not one answer") };
    assert_eq!((&a["verdict"], &a["stream"]["events"]), (&json!("aborted_by_client"), &json!(2)));
    assert_eq!(a["coverage"]["reasons"], json!(["truncated"]));
    // By a provider that goes without a word; one that closes has said all that it had to.
    for (closes, verdict) in [(false, "errored"), (true, "executed")] {
        let mut session = world.open().await;
        let id = session.id().to_owned();
        tell(&mut session, &[&created("a")]).await;
        session.provider.say(&delta("a", "Project")).await;
        if closes {
            session.provider.close(1000, "").await;
        } else {
            drop(session.provider);
        }
        let (texts, _) = session.client.rest().await;
        assert_eq!(texts.len(), 1, "{texts:?}");
        let [(_, a)] = &world.ended_parts(&id)[..] else { panic!("not one answer") };
        let left = if closes { 2 } else { 1 };
        assert_eq!((&a["verdict"], &a["stream"]["events"]), (&json!(verdict), &json!(left)));
    }
    // By another answer, which is blocked.
    let mut session = world.open().await;
    let id = session.id().to_owned();
    tell(&mut session, &[&created("a"), &created("b")]).await;
    session.provider.say(&delta("b", TEXT)).await;
    let (texts, code) = session.client.rest().await;
    assert_eq!((texts.len(), code), (1, Some(1008)));
    let parts = world.ended_parts(&id);
    let verdicts: Vec<_> = parts.iter().map(|(_, outcome)| outcome["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["errored", "blocked"]);
    let metrics = get(world.sidecar.admin, "/metrics").await.text();
    assert!(metrics.contains("clyra_own_answers_total{code=\"content_policy_violation\"} 1\n"), "{metrics}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_with_something_found_in_them_are_withheld_in_every_part() {
    let world = World::new(&policy("enforce", "redact", "redact")).await;
    let mut session = world.open().await;
    let id = session.id().to_owned();
    let tools =
        json!({"type": "session.update", "session": {"tools": [{"type": "function", "name": TEXT, "parameters": {}}]}});
    session.client.say(&tools).await;
    session.provider.text().await;
    session.provider.say(&json!({"type": "session.created", "session": {"id": "s", "model": TEXT}})).await;
    session.client.text().await;
    for answer in ["a", "b"] {
        tell(&mut session, &[&created(answer), &done(answer, json!([]), 1)]).await;
    }
    session.client.close(1000, "").await;
    session.client.closed().await;
    let parts = world.ended_parts(&id);
    assert_eq!(parts.len(), 2);
    for (attempt, outcome) in &parts {
        assert_eq!(
            (&attempt["request"]["tools"], &outcome["upstream"]["model"]),
            (&json!([{"name": "*"}]), &json!("*"))
        );
    }
    assert!(world.sidecar.receipts().iter().all(|receipt| !receipt.to_string().contains("Nightjar")));
    world.end().await;
}
