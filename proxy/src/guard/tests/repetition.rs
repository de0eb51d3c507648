//! What a stream of responses says again is what it said: inspected once, redacted alike; and where it is something else,
//! that is inspected for itself.

use super::*;

fn surface() -> &'static Surface {
    SURFACES.iter().find(|surface| surface.id == "openai.responses").unwrap()
}

fn frames(events: &[Value]) -> Vec<u8> {
    events
        .iter()
        .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()))
        .collect::<String>()
        .into_bytes()
}

fn delta(number: u64, text: &str) -> Value {
    json!({"type": "response.output_text.delta", "sequence_number": number, "output_index": 0, "content_index": 0,
        "delta": text, "logprobs": [{"token": text}]})
}

fn done(number: u64, text: &str) -> Value {
    json!({"type": "response.output_text.done", "sequence_number": number, "output_index": 0, "content_index": 0, "text": text,
        "logprobs": [{"token": text}]})
}

fn part(number: u64, text: &str) -> Value {
    json!({"type": "response.content_part.done", "sequence_number": number, "output_index": 0, "content_index": 0,
        "part": {"type": "output_text", "text": text, "annotations": []}})
}

fn item(number: u64, text: &str) -> Value {
    json!({"type": "response.output_item.done", "sequence_number": number, "output_index": 0,
        "item": {"type": "message", "content": [{"type": "output_text", "text": text}]}})
}

fn completed(number: u64, text: &str) -> Value {
    json!({"type": "response.completed", "sequence_number": number, "response": {"status": "completed", "model": "m",
        "output": [{"type": "message", "content": [{"type": "output_text", "text": text}]}]}})
}

fn said(text: &str, pieces: &[&str]) -> Vec<u8> {
    let mut events: Vec<Value> = pieces.iter().enumerate().map(|(at, piece)| delta(at as u64, piece)).collect();
    let next = events.len() as u64;
    events.extend([done(next, text), part(next + 1, text), item(next + 2, text), completed(next + 3, text)]);
    frames(&events)
}

#[test]
fn a_redaction_is_the_same_in_every_repetition() {
    let stream =
        said(&format!("An {MASKED} and an {MASKED}."), &["An ow", "l \u{1f989} and an owl", " \u{1f989}", "."]);
    let got = run(&TEXT, surface(), &[], &stream, &WHOLE);
    assert_eq!(got.end, Ok(()));
    let text = String::from_utf8(got.released).unwrap();
    let events: Vec<Value> =
        text.lines().filter_map(|l| l.strip_prefix("data: ")).map(|l| serde_json::from_str(l).unwrap()).collect();
    let whole = format!("An {MASK} and an {MASK}.");
    let pieces: String = events.iter().filter_map(|e| e["delta"].as_str()).collect();
    assert_eq!(pieces, whole);
    let again: Vec<_> = ["/text", "/part/text", "/item/content/0/text", "/response/output/0/content/0/text"]
        .iter()
        .flat_map(|place| events.iter().filter_map(|event| event.pointer(place)?.as_str()))
        .collect();
    assert_eq!(again, [&whole; 4]);
    let numbers: Vec<_> = events.iter().map(|e| e["sequence_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..8).collect::<Vec<_>>());
    // The tokens that repeat it are gone, and what clients iterate over is still an array.
    assert_eq!((&events[1]["logprobs"], &events[4]["logprobs"]), (&json!([]), &json!([])));
    assert!(!text.contains(MASKED) && !text.contains("owl"), "{text}");
    // Two owls were found, in the text and in its tokens twice, and not once more for each time the text was said.
    assert!(got.decided.contains("findings_total: 6"), "{}", got.decided);
}

#[test]
fn what_is_said_again_differently_is_inspected_for_itself() {
    let cases: [fn(u64, &str) -> Value; 4] = [done, part, item, completed];
    for (at, last) in cases.iter().enumerate() {
        let mut events = vec![delta(0, "All is well.")];
        events.extend(cases[..at].iter().map(|event| event(1, "All is well.")));
        events.push(last(2, &format!("All is well, said {FORBIDDEN}.")));
        let got = run(&TEXT, surface(), &[], &frames(&events), &WHOLE);
        assert!(got.end.is_err(), "{at}");
        assert!(!String::from_utf8_lossy(&got.released).contains(FORBIDDEN));

        events.pop();
        events.push(last(2, &format!("Another {MASKED}.")));
        let got = run(&TEXT, surface(), &[], &frames(&events), &WHOLE);
        let text = String::from_utf8_lossy(&got.released).into_owned();
        assert!(got.end.is_ok() && text.contains("Another [REDACTED:masked]."), "{text}");
    }
}

#[test]
fn a_text_without_pieces_is_a_text_as_well() {
    let text = format!("An {MASKED}.");
    let got = run(&TEXT, surface(), &[], &frames(&[done(0, &text), item(1, &text), completed(2, &text)]), &WHOLE);
    let shown = String::from_utf8_lossy(&got.released).into_owned();
    assert_eq!(shown.matches("An [REDACTED:masked].").count(), 3, "{shown}");
    assert!(!shown.contains(MASKED));
}

/// A call whose end contradicts what came in pieces: both are judged, for nobody knows which one a client carries out.
#[test]
fn every_version_of_a_call_is_judged() {
    let call = |arguments: &str| json!({"type": "function_call", "name": "shell", "arguments": arguments});
    let (good, bad) = (r#"{"note":"ls"}"#, r#"{"note":"rm"}"#);
    let stream = |streamed: &str, done: &str, item: &str, last: &str| {
        frames(&[
            json!({"type": "response.output_item.added", "output_index": 0, "item": call("")}),
            json!({"type": "response.function_call_arguments.delta", "output_index": 0, "delta": streamed}),
            json!({"type": "response.function_call_arguments.done", "output_index": 0, "arguments": done}),
            json!({"type": "response.output_item.done", "output_index": 0, "item": call(item)}),
            json!({"type": "response.completed", "response": {"status": "completed", "output": [call(last)]}}),
        ])
    };
    let fine = stream(good, good, good, good);
    let got = run(&TOOLS, surface(), &[], &fine, &WHOLE);
    assert_eq!((got.end, got.released), (Ok(()), fine));
    for versions in [[bad, good, good, good], [good, bad, good, good], [good, good, bad, good], [good, good, good, bad]]
    {
        let got = run(&TOOLS, surface(), &[], &stream(versions[0], versions[1], versions[2], versions[3]), &WHOLE);
        assert_eq!(got.end.unwrap_err().rule.as_deref(), Some("no-shell"), "{versions:?}");
        assert!(!String::from_utf8_lossy(&got.released).contains("rm"));
    }
}

/// The last version that a client reads is held to the schema as well as the pieces.
#[test]
fn every_version_of_an_answer_is_held_to_its_schema() {
    let contract =
        Contract::compile(&json!({"type": "object"}), None, ContractSource::Policy, &Limits::default()).unwrap();
    let schema = Schema { digest: "0".repeat(64), contract: Arc::new(JsonContract(contract)) };
    let bindings = [Binding { id: "lock".into(), scope: Scope::Content(schema), terms: BUFFERED }];
    let fine = said("{}", &["{", "}"]);
    let got = run(&TEXT, surface(), &bindings, &fine, &WHOLE);
    assert_eq!((got.end, got.released), (Ok(()), fine));
    for events in [
        vec![delta(0, "{}"), done(1, "{}"), completed(2, "no object")],
        vec![delta(0, "{}"), done(1, "[]"), completed(2, "{}")],
        vec![delta(0, "[]"), done(1, "{}"), completed(2, "{}")],
        vec![completed(0, "[]")],
    ] {
        let got = run(&TEXT, surface(), &bindings, &frames(&events), &WHOLE);
        assert_eq!((got.end.unwrap_err().cause, got.released), (Cause::Schema, Vec::new()), "{events:?}");
    }
}
