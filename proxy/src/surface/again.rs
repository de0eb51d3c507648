//! Asking a model once more: the request that asks for the corrected answer, and that answer as the stream that the client
//! had asked for. Chat and messages have it.

use serde_json::{Value as Json, json};

use super::Surface;

/// Longest list of errors that a model is told, in bytes: a few lines help, more confuse.
const ERRORS_BYTES_MAX: usize = 1_024;

/// Most errors that a model is told.
const ERRORS_MAX: usize = 5;

/// What was wrong with an answer, without a word of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw<'f> {
    pub kind: &'f str,
    pub keyword: &'f str,
    pub pointer: &'f str,
}

/// The words in which the model is asked. The list is JSON of at most a kilobyte.
fn words(flaws: &[Flaw<'_>]) -> String {
    let mut list = Vec::new();
    let mut bytes = 0;
    for flaw in flaws.iter().take(ERRORS_MAX) {
        let keyword = if flaw.keyword.is_empty() { flaw.kind } else { flaw.keyword };
        let line = format!("{{\"path\":{},\"keyword\":{}}}", json!(flaw.pointer), json!(keyword));
        bytes += line.len() + 1;
        if bytes > ERRORS_BYTES_MAX {
            break;
        }
        list.push(line);
    }
    format!("The answer is not valid: [{}]\nReturn only the corrected JSON.", list.join(","))
}

/// The body of the request that asks again: the same conversation, the invalid answer, and what is wrong with it. `None`
/// where the surface, or a request of this form, has no such thing.
pub fn request(surface: &Surface, body: &[u8], invalid: &str, flaws: &[Flaw<'_>]) -> Option<Vec<u8>> {
    let mut body: Json = serde_json::from_slice(body).ok()?;
    let members = body.as_object_mut()?;
    let messages = match surface.id {
        "openai.chat" | "anthropic.messages" => members.get_mut("messages")?.as_array_mut()?,
        _ => return None,
    };
    // Anthropic takes no empty text, and no white space at the end of an assistant's.
    let invalid = invalid.trim_end();
    if !invalid.is_empty() {
        messages.push(json!({"role": "assistant", "content": invalid}));
    }
    messages.push(json!({"role": "user", "content": words(flaws)}));
    members.insert("stream".into(), false.into());
    members.remove("stream_options");
    members.remove("n");
    // With thinking, Anthropic takes no temperature but its own.
    if !members.contains_key("thinking") {
        members.insert("temperature".into(), 0.into());
    }
    serde_json::to_vec(&body).ok()
}

/// A whole answer as the events of a stream. `None` where it holds anything but one text.
pub fn events(surface: &Surface, body: &[u8]) -> Option<Vec<String>> {
    let body: Json = serde_json::from_slice(body).ok()?;
    match surface.id {
        "openai.chat" => chat(&body),
        "anthropic.messages" => messages(&body),
        _ => None,
    }
}

fn chat(body: &Json) -> Option<Vec<String>> {
    let [choice] = body.get("choices")?.as_array()?.as_slice() else { return None };
    let message = choice.get("message")?.as_object()?;
    let text = message.get("content")?.as_str()?;
    let plain = |(name, value): (&String, &Json)| {
        matches!(name.as_str(), "role" | "content") || value.is_null() || value.as_array().is_some_and(Vec::is_empty)
    };
    if !message.iter().all(plain) {
        return None;
    }
    let of = |name: &str| body.get(name).cloned().unwrap_or(Json::Null);
    let chunk = |choices: Json, usage: Json| {
        let mut chunk = json!({"id": of("id"), "object": "chat.completion.chunk", "created": of("created"),
            "model": of("model"), "choices": choices});
        if let (false, Some(members)) = (usage.is_null(), chunk.as_object_mut()) {
            members.insert("usage".into(), usage);
        }
        format!("data: {chunk}\n\n")
    };
    let delta = |delta: Json, reason: Json| {
        chunk(json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason}]), Json::Null)
    };
    let mut events = vec![
        delta(json!({"role": "assistant", "content": text}), Json::Null),
        delta(json!({}), choice.get("finish_reason").cloned().unwrap_or(Json::Null)),
    ];
    if !of("usage").is_null() {
        events.push(chunk(json!([]), of("usage")));
    }
    events.push("data: [DONE]\n\n".to_owned());
    Some(events)
}

fn messages(body: &Json) -> Option<Vec<String>> {
    let [block] = body.get("content")?.as_array()?.as_slice() else { return None };
    let text = (block.get("type")? == "text").then(|| block.get("text")?.as_str())??;
    let of = |name: &str| body.get(name).cloned().unwrap_or(Json::Null);
    let event = |name: &str, data: Json| format!("event: {name}\ndata: {data}\n\n");
    let mut message = body.clone();
    let members = message.as_object_mut()?;
    members.insert("content".into(), json!([]));
    members.insert("stop_reason".into(), Json::Null);
    members.insert("stop_sequence".into(), Json::Null);
    let usage = json!({"output_tokens": body.pointer("/usage/output_tokens").cloned().unwrap_or(0.into())});
    let end = json!({"stop_reason": of("stop_reason"), "stop_sequence": of("stop_sequence")});
    let start = json!({"type": "text", "text": ""});
    let delta = json!({"type": "text_delta", "text": text});
    Some(vec![
        event("message_start", json!({"type": "message_start", "message": message})),
        event("content_block_start", json!({"type": "content_block_start", "index": 0, "content_block": start})),
        event("content_block_delta", json!({"type": "content_block_delta", "index": 0, "delta": delta})),
        event("content_block_stop", json!({"type": "content_block_stop", "index": 0})),
        event("message_delta", json!({"type": "message_delta", "delta": end, "usage": usage})),
        event("message_stop", json!({"type": "message_stop"})),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::surface::SURFACES;

    fn surface(id: &str) -> &'static Surface {
        SURFACES.into_iter().find(|surface| surface.id == id).unwrap()
    }

    #[test]
    fn a_model_is_told_what_is_wrong_and_nothing_of_the_answer() {
        let flaws = [
            Flaw { kind: "schema", keyword: "type", pointer: "/n" },
            Flaw { kind: "syntax", keyword: "", pointer: "" },
        ];
        let body = br#"{"model":"m","stream":true,"stream_options":{"include_usage":true},"n":1,"messages":[{"role":"user","content":"?"}]}"#;
        let asked: Json =
            serde_json::from_slice(&request(surface("openai.chat"), body, "{\"n\": \"x\"} ", &flaws).unwrap()).unwrap();
        assert_eq!(asked["messages"][1], json!({"role": "assistant", "content": "{\"n\": \"x\"}"}));
        let words = asked["messages"][2]["content"].as_str().unwrap();
        assert_eq!(
            words,
            "The answer is not valid: [{\"path\":\"/n\",\"keyword\":\"type\"},{\"path\":\"\",\"keyword\":\"syntax\"}]\nReturn only the corrected JSON."
        );
        assert_eq!((&asked["stream"], &asked["temperature"], &asked["model"]), (&json!(false), &json!(0), &json!("m")));
        assert!(asked.get("stream_options").is_none() && asked.get("n").is_none());

        let body = br#"{"thinking":{"type":"enabled"},"messages":[{"role":"user","content":"?"}]}"#;
        let asked: Json =
            serde_json::from_slice(&request(surface("anthropic.messages"), body, " \n", &flaws).unwrap()).unwrap();
        assert_eq!((asked["messages"].as_array().unwrap().len(), asked.get("temperature")), (2, None));
        assert_eq!(request(surface("openai.responses"), body, "", &flaws), None);
        assert_eq!(request(surface("openai.chat"), b"{}", "", &flaws), None);

        let long = "/x".repeat(300);
        let many = vec![Flaw { kind: "schema", keyword: "type", pointer: &long }; 9];
        assert!(super::words(&many).len() < ERRORS_BYTES_MAX + 100);
    }

    #[test]
    fn only_an_answer_of_one_text_becomes_a_stream() {
        let chat = json!({"id": "c", "created": 1, "model": "m", "usage": {"total_tokens": 3},
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "{}", "refusal": null}}]});
        let events = super::events(surface("openai.chat"), chat.to_string().as_bytes()).unwrap();
        assert_eq!(events.len(), 4);
        assert!(
            events[0].contains(r#""content":"{}""#)
                && events[1].contains(r#""finish_reason":"stop""#)
                && events[2].contains("total_tokens")
        );
        let mut calls = chat.clone();
        calls["choices"][0]["message"]["tool_calls"] = json!([{"id": "t"}]);
        assert_eq!(super::events(surface("openai.chat"), calls.to_string().as_bytes()), None);

        let message = json!({"id": "m", "type": "message", "role": "assistant", "content": [{"type": "text", "text": "{}"}],
            "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 2}});
        let events = super::events(surface("anthropic.messages"), message.to_string().as_bytes()).unwrap();
        assert!(events[0].contains(r#""content":[]"#) && events[4].contains(r#""stop_reason":"end_turn""#));
        let mut tool = message.clone();
        tool["content"] = json!([{"type": "tool_use", "name": "f", "input": {}}]);
        assert_eq!(super::events(surface("anthropic.messages"), tool.to_string().as_bytes()), None);
    }
}
