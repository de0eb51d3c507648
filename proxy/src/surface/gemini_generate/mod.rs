//! Gemini content generation: `POST …/models/{model}:generateContent`, and `:streamGenerateContent` as server-sent events or,
//! without `alt=sse`, as one JSON array.
//!
//! Names may be written in camel case or, as any protocol buffer, in snake case. The array of a stream is judged whole,
//! like a plain answer: nothing of it is shown before.

mod again;
mod ending;
mod schema;
mod tables;

use super::{Address, Dialect, RequestFacts, ResponseFacts, Signal, Surface, Usage, text_of};
use crate::json::{Kind, Value};

pub(super) use tables::{request, response};

/// The methods, in lower case as normalised paths are.
const PLAIN: &str = ":generatecontent";
const STREAMED: &str = ":streamgeneratecontent";

pub(super) static SURFACE: Surface = Surface {
    serves: |path| path.ends_with(PLAIN) || path.ends_with(STREAMED),
    request: || &tables::REQUEST,
    response: || &tables::RESPONSE,
    event: |_| &tables::EVENT,
    events: || vec![("{}".to_owned(), &tables::EVENT)],
    request_facts,
    note_response,
    signal,
    mark: ending::mark,
    ending: ending::ENDING,
    again: Some(again::AGAIN),
    choices: Some(ending::CHOICES),
    ..Surface::plain(
        "gemini.generate",
        Dialect::Gemini,
        &["POST /v1beta/models/{model}:generateContent", "POST /v1beta/models/{model}:streamGenerateContent"],
    )
};

/// The member in either spelling.
fn get<'a>(value: Value<'a>, [camel, snake]: [&str; 2]) -> Option<Value<'a>> {
    value.get(camel).or_else(|| value.get(snake))
}

/// The elements of an array; a single object may stand for an array of it.
fn each<'a>(value: Option<Value<'a>>) -> impl Iterator<Item = Value<'a>> {
    let single = value.filter(|v| v.kind() == Kind::Object);
    single.into_iter().chain(value.filter(|v| v.kind() == Kind::Array).into_iter().flat_map(|v| v.children()))
}

fn request_facts(root: Value<'_>, address: Address<'_>) -> RequestFacts {
    let stream = address.ends_with(STREAMED);
    let parts = || each(root.get("contents")).flat_map(|content| each(content.get("parts")));
    let mut facts = RequestFacts {
        model: address.model(),
        stream,
        array: stream && !address.asks("alt", "sse") && !address.asks("$alt", "sse"),
        messages: each(root.get("contents")).count() as u32,
        choices: candidates(root),
        response_schema: response_schema(root),
        tool_results: parts()
            .filter_map(|part| get(part, ["functionResponse", "function_response"])?.get("id")?.as_str())
            .map(|id| id.into_owned())
            .collect(),
        ..RequestFacts::default()
    };
    for tool in each(root.get("tools")) {
        for member in tool.children() {
            if !matches!(member.name().as_ref(), "functionDeclarations" | "function_declarations") {
                // What the provider runs itself: `googleSearch`, `codeExecution` and the like.
                facts.tools.push(member.name().into_owned());
                continue;
            }
            for function in each(Some(member)) {
                facts.tools.extend(function.get("name").and_then(|n| n.as_str()).map(|n| n.into_owned()));
                match get(function, ["parametersJsonSchema", "parameters_json_schema"]).filter(|s| !s.is_null()) {
                    Some(schema) => facts.note_tool_schema(function.get("name"), Some(schema)),
                    None => {
                        let schema = function.get("parameters").filter(|s| !s.is_null());
                        facts.note_tool_schema_text(function.get("name"), schema.map(schema::to_json_schema));
                    }
                }
            }
        }
    }
    facts
}

/// Candidates that are asked for.
fn candidates(root: Value<'_>) -> u32 {
    let config = get(root, ["generationConfig", "generation_config"]);
    let count = config.and_then(|config| get(config, ["candidateCount", "candidate_count"])?.as_u64());
    count.and_then(|count| u32::try_from(count).ok()).unwrap_or_default()
}

/// The schema that the answer is to keep to, as JSON Schema.
fn response_schema(root: Value<'_>) -> Option<String> {
    let config = get(root, ["generationConfig", "generation_config"])?;
    let kind = get(config, ["responseMimeType", "response_mime_type"]).and_then(|kind| kind.as_str());
    // With another type (`text/x.enum`) the answer is no JSON, whatever its schema says.
    if kind.as_deref().is_some_and(|kind| kind != "application/json") {
        return None;
    }
    let set = |names| get(config, names).filter(|schema| !schema.is_null());
    set(["responseJsonSchema", "response_json_schema"])
        .map(text_of)
        .or_else(|| set(["responseSchema", "response_schema"]).map(schema::to_json_schema))
        // JSON of any kind.
        .or_else(|| kind.map(|_| "{}".to_owned()))
}

fn note_response(root: Value<'_>, facts: &mut ResponseFacts) {
    if root.kind() == Kind::Array {
        root.children().for_each(|piece| note_response(piece, facts));
        return;
    }
    let string = |name: &str| root.get(name)?.as_str().filter(|s| !s.is_empty()).map(|s| s.into_owned());
    facts.model = string("modelVersion").or(facts.model.take());
    facts.id = string("responseId").or(facts.id.take());
    let mut called = false;
    for (position, candidate) in each(root.get("candidates")).enumerate() {
        let index = candidate.get("index").and_then(|i| i.as_u64()).unwrap_or(position as u64);
        for call in calls(candidate) {
            called = true;
            facts.note_tool_call(call.get("id"));
        }
        if let Some(reason) = candidate.get("finishReason").filter(|r| !r.is_null()) {
            let called = called || facts.finish_reason.as_deref() == Some("tool_calls");
            facts.note_reason(index, finish_reason(&reason_text(reason), called).to_owned());
        } else if called {
            // A call may come before the event that ends the answer.
            facts.note_reason(index, "tool_calls".to_owned());
        }
    }
    if root.at(&["promptFeedback", "blockReason"]).is_some_and(|reason| !reason.is_null()) {
        facts.finish_reason = Some("content_filter".to_owned());
    }
    let count = |name: &str| root.at(&["usageMetadata", name]).and_then(|count| count.as_u64());
    let input = count("promptTokenCount");
    // Each event counts the whole exchange anew, and the last may say less than those before; some have no count in it.
    if input.is_some() {
        let reasoning = count("thoughtsTokenCount");
        // Candidates are counted without the thoughts that led to them.
        let output = count("candidatesTokenCount").into_iter().chain(reasoning).reduce(u64::saturating_add);
        facts.usage = Usage { input, output, cached: count("cachedContentTokenCount"), reasoning };
    }
}

fn calls(candidate: Value<'_>) -> impl Iterator<Item = Value<'_>> {
    let parts = each(candidate.at(&["content", "parts"]));
    parts.filter_map(|part| get(part, ["functionCall", "function_call"]))
}

fn reason_text(reason: Value<'_>) -> String {
    reason.as_str().map_or_else(|| text_of(reason), |text| text.into_owned())
}

/// Why a candidate ended, in the words of chat. Numbers are what `enum-encoding=int` gives.
fn finish_reason(reason: &str, called: bool) -> &'static str {
    match reason {
        "STOP" | "1" if called => "tool_calls",
        "STOP" | "1" => "stop",
        "MAX_TOKENS" | "2" => "length",
        "SAFETY" | "RECITATION" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" | "IMAGE_SAFETY" | "3" | "4" => {
            "content_filter"
        }
        "MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL" => "error",
        _ => "other",
    }
}

fn signal(root: Value<'_>) -> Signal {
    let candidates = || each(root.get("candidates"));
    let last = candidates().any(|c| c.get("finishReason").is_some_and(|r| !r.is_null()));
    let goes_on = |call: Value<'_>| call.get("willContinue").and_then(|w| w.as_bool()).unwrap_or(false);
    let mut calls = candidates().flat_map(calls).peekable();
    let whole = calls.peek().is_some() && !calls.any(goes_on);
    if last || whole { Signal::Whole { last } } else { Signal::None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Doc, Limits};

    fn facts(request: &str, path: &str, query: Option<&str>) -> RequestFacts {
        let doc = Doc::parse(request.as_bytes(), Limits::default()).unwrap();
        request_facts(doc.root(request.as_bytes()), Address { path, query })
    }

    fn answered(answer: &str) -> ResponseFacts {
        let doc = Doc::parse(answer.as_bytes(), Limits::default()).unwrap();
        let mut facts = ResponseFacts::default();
        note_response(doc.root(answer.as_bytes()), &mut facts);
        facts
    }

    #[test]
    fn the_path_says_what_is_asked() {
        let of = |path: &str, query: Option<&str>| {
            let facts = facts("{}", path, query);
            (facts.model, facts.stream, facts.array)
        };
        let model = || "gemini-2.5-Pro".to_owned();
        assert_eq!(of("/v1beta/models/gemini-2.5-Pro:generateContent", Some("alt=sse")), (model(), false, false));
        assert_eq!(of("/v1beta/models/gemini-2.5-Pro:streamGenerateContent", Some("alt=sse")), (model(), true, false));
        assert_eq!(
            of("/v1/publishers/google/models/gemini-2.5-Pro%3AstreamGenerateContent/", None),
            (model(), true, true)
        );
    }

    #[test]
    fn schemas_are_read_in_both_spellings() {
        let asked = |config: &str| facts(&format!(r#"{{"generationConfig":{config}}}"#), "/", None).response_schema;
        assert_eq!(asked(r#"{"responseSchema":{"type":"STRING"}}"#).as_deref(), Some(r#"{"type":"string"}"#));
        assert_eq!(asked(r#"{"response_json_schema":{"type":"array"}}"#).as_deref(), Some(r#"{"type":"array"}"#));
        assert_eq!(asked(r#"{"responseMimeType":"application/json"}"#).as_deref(), Some("{}"));
        assert_eq!(asked(r#"{"responseMimeType":"text/x.enum","responseSchema":{"enum":["a"]}}"#), None);
        assert_eq!(asked("{}"), None);
        let request = r#"{"tools":[{"functionDeclarations":[{"name":"a","parameters":{"type":"OBJECT"}},
            {"name":"b","parametersJsonSchema":{"type":"object"},"parameters":null},{"name":"c"}]},{"googleSearch":{}},
            {"function_declarations":{"name":"d","parameters_json_schema":true}}],
            "contents":[{"parts":[{"functionResponse":{"id":"f1","name":"a","response":{}}}]}]}"#;
        let facts = facts(request, "/", None);
        let schema = |name: &str, schema: &str| (name.to_owned(), schema.to_owned());
        let schemas = [schema("a", r#"{"type":"object"}"#), schema("b", r#"{"type":"object"}"#), schema("d", "true")];
        assert_eq!(facts.tool_schemas, schemas);
        assert_eq!(facts.tools, ["a", "b", "c", "googleSearch", "d"]);
        assert_eq!((facts.tool_results, facts.messages), (vec!["f1".to_owned()], 1));
    }

    #[test]
    fn reasons_and_usage_are_in_the_words_of_all_surfaces() {
        let reason = |candidate: &str| answered(&format!(r#"{{"candidates":[{candidate}]}}"#)).finish_reason;
        assert_eq!(reason(r#"{"finishReason":"STOP"}"#).as_deref(), Some("stop"));
        assert_eq!(reason(r#"{"finishReason":2}"#).as_deref(), Some("length"));
        assert_eq!(reason(r#"{"finishReason":"SAFETY"}"#).as_deref(), Some("content_filter"));
        let call = r#"{"content":{"parts":[{"functionCall":{"id":"c","name":"f"}}]},"finishReason":"STOP"}"#;
        assert_eq!(reason(call).as_deref(), Some("tool_calls"));
        assert_eq!(reason("{}"), None);
        let stream = r#"[{"modelVersion":"g","responseId":"r","usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":2}},
            {"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"}}]}}]},
            {"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":5,"thoughtsTokenCount":4,"cachedContentTokenCount":1},
             "candidates":[{"finishReason":"STOP"}]}]"#;
        let facts = answered(stream);
        assert_eq!((facts.model.as_deref(), facts.id.as_deref()), (Some("g"), Some("r")));
        assert_eq!(facts.finish_reason.as_deref(), Some("tool_calls"));
        let usage = Usage { input: Some(3), output: Some(9), cached: Some(1), reasoning: Some(4) };
        assert_eq!(facts.usage, usage);
        // As Gemini counts once code has been run: what was an answer is a prompt by then.
        let recounted = answered(
            r#"[{"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":15,"thoughtsTokenCount":78}},
            {"usageMetadata":{"promptTokenCount":87,"thoughtsTokenCount":78}},{"usageMetadata":{"trafficType":"ON_DEMAND"}}]"#,
        );
        assert_eq!(recounted.usage, Usage { input: Some(87), output: Some(78), cached: None, reasoning: Some(78) });
        let blocked = answered(r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#);
        assert_eq!(blocked.finish_reason.as_deref(), Some("content_filter"));
    }
}
