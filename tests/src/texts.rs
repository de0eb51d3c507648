//! What a client can read out of an answer, by channel. Written against the providers' formats with `serde_json`, sharing
//! nothing with Clyra's decoder, so that the two cannot be wrong in the same way.

use std::collections::BTreeMap;

use serde_json::Value;

/// The texts of an answer by channel name, such as `content/0` or `tool_arguments/0/1`.
pub type Texts = BTreeMap<String, String>;

/// Reads a whole answer or a stream, whichever it is.
pub fn texts(body: &str) -> Texts {
    let mut out = Texts::new();
    if let Ok(value) = serde_json::from_str::<Value>(body) {
        whole(&value, &mut out);
        return out;
    }
    for data in body.lines().filter_map(|line| line.strip_prefix("data:")) {
        if let Ok(event) = serde_json::from_str::<Value>(data.trim()) {
            stream(&event, &mut out);
        }
    }
    out
}

/// True if the answer ends in an error that Clyra made.
pub fn is_clyra_error(body: &str) -> bool {
    let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
    data.chain([body]).filter_map(|d| serde_json::from_str::<Value>(d).ok()).any(|v| v.get("clyra").is_some())
}

fn add(out: &mut Texts, key: String, text: Option<&Value>) {
    if let Some(text) = text.and_then(Value::as_str) {
        out.entry(key).or_default().push_str(text);
    }
}

fn index(value: &Value, position: usize) -> u64 {
    value.get("index").and_then(Value::as_u64).unwrap_or(position as u64)
}

fn items<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = (usize, &'v Value)> {
    value.get(name).and_then(Value::as_array).into_iter().flatten().enumerate()
}

fn message(choice: u64, message: &Value, out: &mut Texts) {
    for (name, channel) in
        [("content", "content"), ("refusal", "refusal"), ("reasoning", "reasoning"), ("reasoning_content", "reasoning")]
    {
        add(out, format!("{channel}/{choice}"), message.get(name));
    }
    for (position, call) in items(message, "tool_calls") {
        let key = format!("tool_arguments/{choice}/{}", index(call, position));
        add(out, key, call.pointer("/function/arguments"));
    }
    add(out, format!("function_call/{choice}"), message.pointer("/function_call/arguments"));
    for (_, detail) in items(message, "reasoning_details") {
        add(out, format!("reasoning_details/{choice}"), detail.get("text"));
    }
    for (_, part) in items(message, "content") {
        add(out, format!("content/{choice}"), part.get("text"));
    }
}

fn whole(value: &Value, out: &mut Texts) {
    for (position, choice) in items(value, "choices") {
        if let Some(one) = choice.get("message") {
            message(index(choice, position), one, out);
        }
    }
    for (position, block) in items(value, "content") {
        add(out, format!("content/{position}"), block.get("text"));
        add(out, format!("thinking/{position}"), block.get("thinking"));
        if let Some(input) = block.get("input") {
            out.insert(format!("tool_arguments/{position}"), input.to_string());
        }
    }
}

fn stream(event: &Value, out: &mut Texts) {
    for (position, choice) in items(event, "choices") {
        if let Some(delta) = choice.get("delta") {
            message(index(choice, position), delta, out);
        }
    }
    let block = event.get("index").and_then(Value::as_u64).unwrap_or(0);
    for part in ["delta", "content_block"] {
        let at = |name: &str| event.get(part).and_then(|p| p.get(name)).cloned();
        add(out, format!("content/{block}"), at("text").as_ref());
        add(out, format!("thinking/{block}"), at("thinking").as_ref());
        add(out, format!("tool_arguments/{block}"), at("partial_json").as_ref());
    }
}
