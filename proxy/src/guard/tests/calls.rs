//! Calls of streams that number them in their own way, or not at all.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::*;
use crate::wire::event_stream;

fn judged(surface: &str, stream: &[u8]) -> Run {
    let surface = SURFACES.iter().find(|one| one.id == surface).unwrap();
    run(&TOOLS, surface, &[], stream, &WHOLE)
}

/// One call after the other, in the lines of Ollama.
fn ollama(calls: impl IntoIterator<Item = (&'static str, String)>) -> Run {
    let line = |(name, note): (&str, String)| {
        let call = json!({"function": {"name": name, "arguments": {"note": note}}});
        json!({"model": "m", "message": {"role": "assistant", "content": "", "tool_calls": [call]}, "done": false})
    };
    let end = json!({"model": "m", "message": {"role": "assistant", "content": ""}, "done": true});
    let stream: String = calls.into_iter().map(line).chain([end]).map(|line| format!("{line}\n")).collect();
    judged("ollama.chat", stream.as_bytes())
}

/// Events of a model of Amazon's, in the messages of `invoke`.
fn nova(events: &[Value]) -> Run {
    let headers = [(":message-type", "event"), (":event-type", "chunk"), (":content-type", "application/json")];
    let message = |event: &Value| {
        let payload = json!({"bytes": STANDARD.encode(event.to_string())}).to_string();
        event_stream::message(&headers, Bytes::from(payload)).unwrap()
    };
    judged("bedrock.invoke", &events.iter().flat_map(message).collect::<Vec<u8>>())
}

fn nova_call(index: u64, name: &str, note: &str) -> [Value; 3] {
    let input = json!({"note": note}).to_string();
    [
        json!({"contentBlockStart": {"start": {"toolUse": {"toolUseId": "t", "name": name}}, "contentBlockIndex": index}}),
        json!({"contentBlockDelta": {"delta": {"toolUse": {"input": input}}, "contentBlockIndex": index}}),
        json!({"contentBlockStop": {"contentBlockIndex": index}}),
    ]
}

#[test]
fn each_call_is_judged_with_its_own_arguments() {
    let call = |name, note: &str| (name, note.to_owned());
    assert_eq!(ollama([call("shell", "ls"), call("note", "rm")]).end, Ok(()), "the arguments of another call");
    assert!(ollama([call("note", "ls"), call("shell", "rm")]).end.is_err());
    let both = |first: (&str, &str), second: (&str, &str)| {
        nova(&[nova_call(24, first.0, first.1), nova_call(26, second.0, second.1)].concat()).end
    };
    assert_eq!(both(("shell", "ls"), ("note", "rm")), Ok(()), "the arguments of another call");
    let block = both(("note", "ls"), ("shell", "rm")).unwrap_err();
    assert_eq!((block.cause, block.rule.as_deref()), (Cause::Policy, Some("no-shell")));
}

#[test]
fn many_calls_one_by_one_are_followed() {
    let all = ollama((0..40).map(|number| ("note", number.to_string())));
    assert_eq!(all.end, Ok(()));
    assert!(!all.report.contains("Oversize"), "{}", all.report);
}

/// Nova gives every piece of a text a number of its own; readers join them.
#[test]
fn a_text_goes_on_over_numbers() {
    for member in ["text", "notForeseen"] {
        let piece = |index: u64, text: &str| json!({"contentBlockDelta": {"delta": {member: text}, "contentBlockIndex": index}});
        assert!(nova(&[piece(0, "Project Nig"), piece(1, "htjar")]).end.is_err(), "{member}");
        assert_eq!(nova(&[piece(0, "Project Nig"), piece(1, "htingale")]).end, Ok(()), "{member}");
    }
}
