//! What a client can read out of an answer, by channel. Written against the providers' formats with `serde_json`, sharing
//! nothing with Clyra's decoder, so that the two cannot be wrong in the same way.

use std::collections::BTreeMap;

use serde_json::Value;

/// The texts of an answer by channel name, such as `content/0` or `tool_arguments/0/1`. What a stream of responses says again
/// stands beside it, as `content/0@item` and the like.
pub type Texts = BTreeMap<String, String>;

/// Reads a whole answer or a stream, whichever it is.
pub fn texts(body: &str) -> Texts {
    let mut out = Texts::new();
    if let Ok(value) = serde_json::from_str::<Value>(body) {
        match &value {
            // A stream of Gemini's as one array.
            Value::Array(pieces) => pieces.iter().for_each(|piece| candidates(piece, &mut out)),
            _ => whole(&value, &mut out),
        }
        return out;
    }
    for data in body.lines().filter_map(|line| line.strip_prefix("data:")) {
        if let Ok(event) = serde_json::from_str::<Value>(data.trim()) {
            stream(&event, &mut out);
        }
    }
    out
}

/// The events of a stream in whatever framing it came, as JSON; a whole document is one event.
pub fn events(body: &[u8]) -> Vec<Value> {
    let text = String::from_utf8_lossy(body);
    if let Ok(value) = serde_json::from_str::<Value>(&text) {
        return vec![value];
    }
    let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data:")).collect();
    let lines = if data.is_empty() { text.lines().collect() } else { data };
    let read: Vec<Value> = lines.iter().filter_map(|line| serde_json::from_str(line.trim()).ok()).collect();
    if read.is_empty() { messages(body) } else { read }
}

/// Every member of an answer that holds text, by its path; over the events of a stream, whose arrays hold one element at a
/// time, the pieces are put together. For formats that [`texts`] does not know.
pub fn members(body: &[u8]) -> Texts {
    const TEXT: [&str; 16] = [
        "text",
        "content",
        "thinking",
        "response",
        "completion",
        "outputText",
        "generation",
        "tool_plan",
        "partial_json",
        "arguments",
        "input",
        "reasoning",
        "reasoning_content",
        "query",
        "summary",
        "location",
    ];
    fn walk(value: &Value, path: &str, (named, alone): (bool, bool), out: &mut Texts) {
        match value {
            Value::String(text) if named => out.entry(path.to_owned()).or_default().push_str(text),
            Value::Array(all) => {
                for (position, one) in all.iter().enumerate() {
                    let position = if alone { position } else { 0 };
                    walk(one, &format!("{path}/{position}"), (named, alone), out);
                }
            }
            Value::Object(all) => {
                for (name, one) in all {
                    // What is being counted apart is a text apart.
                    let index = ["index", "contentBlockIndex"].iter().find_map(|i| all.get(*i)?.as_u64()).unwrap_or(0);
                    walk(one, &format!("{path}/{index}/{name}"), (TEXT.contains(&name.as_str()), alone), out);
                }
            }
            _ => {}
        }
    }
    let mut out = Texts::new();
    let events = events(body);
    events.iter().for_each(|event| walk(event, "", (false, events.len() == 1), &mut out));
    out
}

/// The payloads of AWS's event stream: total length, length of the headers, a checksum; headers; payload; a checksum. What a
/// payload has under `bytes` is base64 of the event.
fn messages(mut body: &[u8]) -> Vec<Value> {
    let mut out = Vec::new();
    while let (Some(total), Some(headers)) = (number(body, 0), number(body, 4)) {
        let (Some(payload), Some(rest)) = (body.get(12 + headers..total.saturating_sub(4)), body.get(total..)) else {
            break;
        };
        if let Ok(value) = serde_json::from_slice::<Value>(payload) {
            let inner = value.get("bytes").and_then(Value::as_str).map(base64);
            out.push(inner.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or(value));
        }
        body = rest;
    }
    out
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_be_bytes(bytes) as usize)
}

fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits: Vec<u32> = text.bytes().filter_map(|b| DIGITS.iter().position(|d| *d == b)).map(|d| d as u32).collect();
    let mut out = Vec::new();
    for group in digits.chunks(4) {
        let bits = group.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - group.len()));
        out.extend(bits.to_be_bytes().into_iter().skip(1).take(group.len() - 1));
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

/// The texts of an output item of responses. Its parts stand apart, as clients show them.
fn item(index: u64, item: &Value, stage: &str, out: &mut Texts) {
    for list in ["content", "summary"] {
        for (position, one) in items(item, list) {
            part(index, position as u64, one, stage, out);
        }
    }
    add(out, format!("tool_arguments/{index}{stage}"), item.get("arguments"));
    add(out, format!("custom_input/{index}{stage}"), item.get("input"));
}

fn part(index: u64, position: u64, part: &Value, stage: &str, out: &mut Texts) {
    let channel = match part["type"].as_str().unwrap_or_default() {
        "reasoning_text" => "thinking",
        "summary_text" => "reasoning",
        _ => "content",
    };
    let place = place(index, position);
    add(out, format!("{channel}/{place}{stage}"), part.get("text"));
    add(out, format!("refusal/{place}{stage}"), part.get("refusal"));
}

fn place(index: u64, position: u64) -> String {
    if position == 0 { index.to_string() } else { format!("{index}.{position}") }
}

/// The texts of an event of responses.
fn response_event(event: &Value, out: &mut Texts) {
    let kind = event["type"].as_str().unwrap_or_default();
    let index = event["output_index"].as_u64().unwrap_or(0);
    let position = event["content_index"].as_u64().or(event["summary_index"].as_u64()).unwrap_or(0);
    for (name, channel, member) in [
        ("output_text", "content", "text"),
        ("refusal", "refusal", "refusal"),
        ("reasoning_text", "thinking", "text"),
        ("reasoning_summary_text", "reasoning", "text"),
        ("function_call_arguments", "tool_arguments", "arguments"),
        ("custom_tool_call_input", "custom_input", "input"),
    ] {
        let key = format!("{channel}/{}", place(index, position));
        if kind == format!("response.{name}.delta") {
            add(out, key, event.get("delta"));
        } else if kind == format!("response.{name}.done") {
            add(out, format!("{key}@done"), event.get(member));
        }
    }
    match kind {
        "response.content_part.done" | "response.reasoning_part.done" | "response.reasoning_summary_part.done" => {
            part(index, position, &event["part"], "@part", out);
        }
        "response.output_item.done" => item(index, &event["item"], "@item", out),
        _ => {}
    }
    for (position, one) in event.get("response").into_iter().flat_map(|response| items(response, "output")) {
        item(position as u64, one, "@response", out);
    }
}

/// The texts of an answer of Gemini's, or of a piece of it.
fn candidates(value: &Value, out: &mut Texts) {
    for (position, candidate) in items(value, "candidates") {
        let index = index(candidate, position);
        for (_, part) in candidate.get("content").into_iter().flat_map(|content| items(content, "parts")) {
            let thinks = part["thought"] == true;
            add(out, format!("{}/{index}", if thinks { "thinking" } else { "content" }), part.get("text"));
            if let Some(args) = part.pointer("/functionCall/args") {
                add(out, format!("tool_arguments/{index}"), Some(&Value::String(args.to_string())));
            }
        }
    }
}

fn whole(value: &Value, out: &mut Texts) {
    candidates(value, out);
    for (position, one) in items(value, "output") {
        item(position as u64, one, "", out);
    }
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
    if event["type"].as_str().is_some_and(|kind| kind.starts_with("response.")) {
        return response_event(event, out);
    }
    candidates(event, out);
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
