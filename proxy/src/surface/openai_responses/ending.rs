//! How a response ends where Clyra ends it.

use serde_json::{Value as Json, json};

use super::kind;
use crate::json::Value;
use crate::surface::ending::{openai_error, own_id};
use crate::surface::{Ending, Mark, Refusal, Shown, Soft, Stage};

pub(super) const ENDING: Ending = Ending {
    error: |refusal, shown| error_event(refusal, shown).into(),
    in_ok: None,
    soft: Some(Soft { events: |refusal, shown| refusal_events(refusal, shown).into(), document: refusal_document }),
};

pub(super) fn mark(root: Value<'_>) -> Mark {
    let kind = kind(root);
    let stage = match kind.as_deref() {
        Some("response.output_item.done") => Some(Stage::Whole),
        // Of what is not finished only text is listed: half a call is none.
        Some("response.output_item.added") => root.get("item").filter(|item| is_message(*item)).map(|_| Stage::Piece),
        Some("response.content_part.added" | "response.output_text.delta" | "response.refusal.delta") => {
            Some(Stage::Piece)
        }
        _ => None,
    };
    Mark {
        names: matches!(kind.as_deref(), Some("response.created" | "response.queued" | "response.in_progress")),
        item: root.get("output_index").and_then(|i| i.as_u64()).zip(stage),
        sequence: root.get("sequence_number").and_then(|n| n.as_u64()),
        ..Mark::default()
    }
}

fn is_message(item: Value<'_>) -> bool {
    kind(item).as_deref() == Some("message")
}

/// An item as far as these events tell of it.
fn item(events: Vec<Json>) -> Option<Json> {
    let mut item = Json::Null;
    for mut event in events {
        let index = event.get("content_index").and_then(Json::as_u64).and_then(|index| usize::try_from(index).ok());
        let index = index.unwrap_or(0);
        let taken = |event: &mut Json, name: &str| event.get_mut(name).map(Json::take).unwrap_or_default();
        match event.get("type").and_then(Json::as_str).unwrap_or_default() {
            "response.content_part.added" => {
                if let Some(parts) = item.get_mut("content").and_then(Json::as_array_mut)
                    && parts.len() == index
                {
                    parts.push(taken(&mut event, "part"));
                }
            }
            kind @ ("response.output_text.delta" | "response.refusal.delta") => {
                let member = if kind == "response.refusal.delta" { "refusal" } else { "text" };
                let part = item.get_mut("content").and_then(|content| content.get_mut(index));
                if let (Some(Json::String(text)), Some(delta)) =
                    (part.and_then(|part| part.get_mut(member)), event.get("delta").and_then(Json::as_str))
                {
                    text.push_str(delta);
                }
            }
            _ => item = taken(&mut event, "item"),
        }
    }
    if let Some(status) = item.get_mut("status").filter(|status| **status == "in_progress") {
        *status = "incomplete".into();
    }
    item.is_object().then_some(item)
}

fn stream_event(kind: &str, data: &Json) -> String {
    format!("event: {kind}\ndata: {data}\n\n")
}

/// The event that the specification has, with the member `error` besides: by it SDKs raise an exception, while those that
/// check types find all that belongs there.
fn error_event(refusal: &Refusal<'_>, shown: &Shown) -> String {
    let data = json!({
        "type": "error",
        "sequence_number": shown.next_sequence(),
        "code": refusal.code,
        "message": refusal.message,
        "param": null,
        "error": openai_error(refusal),
        "clyra": refusal.clyra(),
    });
    stream_event("error", &data)
}

/// The response ends incomplete, as one that the provider's filter has stopped.
fn refusal_events(refusal: &Refusal<'_>, shown: &Shown) -> String {
    let mut out = String::new();
    let mut next = shown.next_sequence();
    let mut response = shown.head().get_mut("response").map(Json::take).unwrap_or_default();
    if !response.is_object() {
        response = skeleton(refusal, shown, "in_progress");
        let created = json!({"type": "response.created", "sequence_number": next, "response": response});
        out += &stream_event("response.created", &created);
        next = next.saturating_add(1);
    }
    let output: Vec<Json> = shown.items().filter_map(item).collect();
    if let Some(members) = response.as_object_mut() {
        members.insert("status".into(), "incomplete".into());
        members.insert("incomplete_details".into(), json!({"reason": "content_filter"}));
        members.insert("output".into(), output.into());
    }
    let incomplete = json!({
        "type": "response.incomplete",
        "sequence_number": next,
        "response": response,
        "clyra": refusal.clyra(),
    });
    out + &stream_event("response.incomplete", &incomplete)
}

fn skeleton(refusal: &Refusal<'_>, shown: &Shown, status: &str) -> Json {
    json!({
        "id": own_id("resp_", refusal),
        "object": "response",
        "created_at": shown.now_unix_s,
        "status": status,
        "error": null,
        "incomplete_details": null,
        "instructions": null,
        "metadata": {},
        "model": shown.asked_model,
        "output": [],
        "parallel_tool_calls": true,
        "temperature": null,
        "tool_choice": "auto",
        "tools": [],
        "top_p": null,
        "usage": null,
    })
}

fn refusal_document(refusal: &Refusal<'_>, shown: &Shown) -> Json {
    let mut document = skeleton(refusal, shown, "incomplete");
    if let Some(members) = document.as_object_mut() {
        members.insert("incomplete_details".into(), json!({"reason": "content_filter"}));
        members.insert("clyra".into(), refusal.clyra());
    }
    document
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::json::{Doc, Limits};
    use crate::surface::ending::tests::{asked, data, refusal};

    #[test]
    fn an_error_goes_on_counting_and_is_one_to_every_sdk() {
        let mut shown = Shown::default();
        shown.note(&Mark { sequence: Some(41), ..Mark::default() }, None);
        let event = error_event(&refusal(), &shown);
        assert!(event.starts_with("event: error\ndata: {\"type\":\"error\""), "{event}");
        let data = &data(&event, "\n")[0];
        assert_eq!(
            (data["sequence_number"].as_u64(), data["code"].as_str()),
            (Some(42), Some("content_policy_violation"))
        );
        assert_eq!(data["error"]["code"], data["code"]);
    }

    #[test]
    fn a_refusal_is_the_same_response_incomplete() {
        let mut shown = asked("m");
        let read = data(&refusal_events(&refusal(), &shown), "\n");
        let kinds: Vec<_> = read.iter().map(|e| (e["type"].as_str().unwrap(), e["sequence_number"].as_u64())).collect();
        assert_eq!(kinds, [("response.created", Some(0)), ("response.incomplete", Some(1))]);
        assert_eq!(read[0]["response"]["id"], read[1]["response"]["id"]);

        let created = Bytes::from_static(br#"{"response":{"id":"resp_1","status":"in_progress","output":[],"x":1}}"#);
        shown.note(&Mark { names: true, sequence: Some(0), ..Mark::default() }, Some(&created));
        shown.keeps_items = true;
        let item = Bytes::from_static(br#"{"item":{"id":"i"}}"#);
        shown.note(&Mark { item: Some((0, Stage::Whole)), sequence: Some(5), ..Mark::default() }, Some(&item));
        let read = data(&refusal_events(&refusal(), &shown), "\n");
        let response = json!({"id": "resp_1", "status": "incomplete", "output": [{"id": "i"}], "x": 1,
            "incomplete_details": {"reason": "content_filter"}});
        assert_eq!((read.len(), &read[0]["response"], read[0]["sequence_number"].as_u64()), (1, &response, Some(6)));
    }

    /// What a client was shown of a message that was not finished stands in the list; of a call nothing does.
    #[test]
    fn an_unfinished_message_is_listed_as_far_as_it_was_shown() {
        let mut shown = asked("m");
        shown.keeps_items = true;
        for event in [
            json!({"type": "response.created", "response": {"id": "r", "status": "in_progress", "output": []}}),
            json!({"type": "response.output_item.added", "output_index": 0,
                "item": {"type": "message", "status": "in_progress", "content": []}}),
            json!({"type": "response.content_part.added", "output_index": 0, "content_index": 0,
                "part": {"type": "output_text", "text": ""}}),
            json!({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "It "}),
            json!({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "is"}),
            json!({"type": "response.output_item.added", "output_index": 1,
                "item": {"type": "function_call", "status": "in_progress", "arguments": ""}}),
            json!({"type": "response.function_call_arguments.delta", "output_index": 1, "delta": "{"}),
        ] {
            let data = Bytes::from(event.to_string());
            let doc = Doc::parse(&data, Limits::default()).unwrap();
            shown.note(&mark(doc.root(&data)), Some(&data));
        }
        let read = data(&refusal_events(&refusal(), &shown), "\n");
        let output =
            json!([{"type": "message", "status": "incomplete", "content": [{"type": "output_text", "text": "It is"}]}]);
        assert_eq!(read[0]["response"]["output"], output);
    }
}
