//! Gemini content generation: `POST …/models/{model}:generateContent`, and `:streamGenerateContent` as server-sent events or,
//! without `alt=sse`, as one JSON array.
//!
//! Names may be written in camel case or, as any protocol buffer, in snake case. The array of a stream is judged whole,
//! like a plain answer: nothing of it is shown before.

use std::sync::LazyLock;

use super::table::{Join, Rule, Tokens, When, by_role, json, media, part, text};
use serde_json::{Value as Json, json};

use super::ending::own_id;
use super::{
    Address, Channel, Dialect, Ending, Mark, Refusal, RequestFacts, ResponseFacts, Shown, Signal, Surface, Table,
    Usage, gemini_schema, text_of,
};
use crate::json::{Kind, Value};

/// The methods, in lower case as normalised paths are.
const PLAIN: &str = ":generatecontent";
const STREAMED: &str = ":streamgeneratecontent";

pub(super) static SURFACE: Surface = Surface {
    id: "gemini.generate",
    dialect: Dialect::Gemini,
    serves: |path| path.ends_with(PLAIN) || path.ends_with(STREAMED),
    request: || &REQUEST,
    response: || &RESPONSE,
    event: |_| &EVENT,
    repeats: false,
    request_facts,
    note_response,
    signal,
    mark,
    ending: Ending { error: error_event, refusal: refusal_events, document: refusal_document },
};

static REQUEST: LazyLock<Table> = LazyLock::new(|| {
    use Channel::{Metadata, System, ToolDefinition, User};
    let content = |text_rule| {
        let role = Table::build(&[("role", text(Metadata))], &[]);
        role.with("parts", asked_part(text_rule).or_array(asked_part(text_rule)))
    };
    let declaration = || {
        Table::build(
            &[
                ("name", text(ToolDefinition)),
                ("description", text(ToolDefinition)),
                ("parameters", json(ToolDefinition)),
                ("parametersJsonSchema", json(ToolDefinition)),
                ("parameters_json_schema", json(ToolDefinition)),
                ("response", json(ToolDefinition)),
                ("responseJsonSchema", json(ToolDefinition)),
                ("response_json_schema", json(ToolDefinition)),
            ],
            &[],
        )
    };
    let tool = || {
        let declarations = || declaration().or_array(declaration());
        Table::default().with("functionDeclarations", declarations()).with("function_declarations", declarations())
    };
    Table::build(
        &[
            ("model", text(Metadata)),
            ("contents", text(User)),
            ("systemInstruction", text(System)),
            ("system_instruction", text(System)),
        ],
        &[],
    )
    .with("contents", content(by_role()).or_array(content(by_role())))
    .with("systemInstruction", content(text(System)))
    .with("system_instruction", content(text(System)))
    .with("tools", tool().or_array(tool()))
});

static RESPONSE: LazyLock<Table> = LazyLock::new(|| answer(0).or_array(answer(1)));

static EVENT: LazyLock<Table> = LazyLock::new(|| answer(0));

/// An answer or a piece of one; the candidates' is the index at `depth`.
fn answer(depth: usize) -> Table {
    use Channel::{Logprobs, Metadata};
    Table::build(
        &[
            ("modelVersion", text(Metadata)),
            ("responseId", text(Metadata)),
            ("createTime", text(Metadata)),
            ("usageMetadata", json(Metadata)),
            ("promptFeedback", json(Metadata)),
            ("candidates.*.index", text(Metadata)),
            ("candidates.*.finishReason", text(Metadata)),
            ("candidates.*.finishMessage", text(Metadata)),
            ("candidates.*.avgLogprobs", text(Metadata)),
            ("candidates.*.tokenCount", text(Metadata)),
            ("candidates.*.safetyRatings", json(Metadata)),
            ("candidates.*.citationMetadata", json(Metadata)),
            ("candidates.*.groundingMetadata", json(Metadata)),
            ("candidates.*.urlContextMetadata", json(Metadata)),
            (
                "candidates.*.logprobsResult.chosenCandidates.+.token",
                text(Logprobs).streamed("chosen").only_index(depth).repeats(Tokens::Holder),
            ),
            ("candidates.*.content.role", text(Metadata)),
        ],
        &[],
    )
    .with("candidates.*.content.parts.*", shown_part(depth))
}

fn asked_part(text_rule: Rule) -> Table {
    parts(text_rule, Channel::User, false)
}

/// A part of an answer. Clients put the texts of a candidate together, whatever event and part they came in.
fn shown_part(depth: usize) -> Table {
    parts(part().streamed("text").only_index(depth), Channel::Content, true).streaming_unknown()
}

fn parts(text_rule: Rule, media_channel: Channel, streams: bool) -> Table {
    use Channel::{Metadata, ToolArguments, ToolName, ToolResult};
    let mut table = Table::build(
        &[
            ("text", text_rule),
            ("thought", text(Metadata)),
            // Opaque, and given back by the client as it came.
            ("thoughtSignature", text(Metadata)),
            ("thought_signature", text(Metadata)),
        ],
        &[],
    );
    let data = || {
        Table::build(
            &[
                ("data", media(When::Always).of(media_channel)),
                ("mimeType", text(Metadata)),
                ("mime_type", text(Metadata)),
            ],
            &[],
        )
    };
    let call = || {
        let pieces = text(ToolArguments).joined(if streams { Join::Stream } else { Join::Whole }, "partial");
        Table::build(
            &[
                ("id", text(Metadata)),
                ("name", text(ToolName)),
                ("args", json(ToolArguments)),
                ("willContinue", text(Metadata)),
                ("partialArgs.+.stringValue", pieces),
                ("partialArgs.+.jsonPath", text(Metadata)),
            ],
            &[],
        )
    };
    let result = || {
        Table::build(
            &[
                ("id", text(Metadata)),
                ("name", text(Metadata)),
                ("response", json(ToolResult)),
                ("parts.*.inlineData.data", media(When::Always).of(ToolResult)),
                ("parts.*.inline_data.data", media(When::Always).of(ToolResult)),
            ],
            &[],
        )
    };
    let code =
        || Table::build(&[("id", text(Metadata)), ("code", text(ToolArguments)), ("language", text(Metadata))], &[]);
    let ran =
        || Table::build(&[("id", text(Metadata)), ("output", text(ToolResult)), ("outcome", text(Metadata))], &[]);
    let made: [(&[&'static str], &dyn Fn() -> Table); 7] = [
        (&["inlineData", "inline_data"], &data),
        (&["functionCall", "function_call"], &call),
        (&["toolCall", "tool_call"], &call),
        (&["functionResponse", "function_response"], &result),
        (&["toolResponse", "tool_response"], &result),
        (&["executableCode", "executable_code"], &code),
        (&["codeExecutionResult", "code_execution_result"], &ran),
    ];
    for (names, member) in made {
        for name in names {
            table = table.with(name, member());
        }
    }
    table
}

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
    let path = address.decoded();
    let (model, method) = path.trim_end_matches('/').rsplit_once(':').unwrap_or_default();
    let stream = STREAMED.strip_prefix(':') == Some(&*method.to_ascii_lowercase());
    let parts = || each(root.get("contents")).flat_map(|content| each(content.get("parts")));
    let mut facts = RequestFacts {
        model: model.rsplit('/').next().unwrap_or_default().to_owned(),
        stream,
        array: stream && !address.asks("alt", "sse") && !address.asks("$alt", "sse"),
        messages: each(root.get("contents")).count() as u32,
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
                        facts.note_tool_schema_text(function.get("name"), schema.map(gemini_schema::to_json_schema));
                    }
                }
            }
        }
    }
    facts
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
        .or_else(|| set(["responseSchema", "response_schema"]).map(gemini_schema::to_json_schema))
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
    if let Some(usage) = root.get("usageMetadata") {
        let total = &mut facts.usage;
        let count = |name: &str| usage.get(name).and_then(|v| v.as_u64());
        let thoughts = count("thoughtsTokenCount");
        Usage::note(&mut total.input, usage.get("promptTokenCount"));
        Usage::note(&mut total.cached, usage.get("cachedContentTokenCount"));
        Usage::note(&mut total.reasoning, usage.get("thoughtsTokenCount"));
        // Candidates are counted without the thoughts that led to them.
        let output = count("candidatesTokenCount").into_iter().chain(thoughts).reduce(u64::saturating_add);
        total.output = total.output.max(output);
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

fn mark(root: Value<'_>) -> Mark {
    let mut mark = Mark { names: root.get("candidates").is_some(), ..Mark::default() };
    for (position, candidate) in each(root.get("candidates")).enumerate() {
        let index = candidate.get("index").and_then(|i| i.as_u64()).unwrap_or(position as u64);
        let over = candidate.get("finishReason").is_some_and(|reason| !reason.is_null());
        if over { mark.closes.push(index) } else { mark.opens.push(index) }
    }
    mark
}

/// The provider's streams end their lines in CR LF.
fn error_event(refusal: &Refusal<'_>, _: &Shown) -> String {
    format!("data: {}\r\n\r\n", Dialect::Gemini.error_body(refusal))
}

fn refusal_events(refusal: &Refusal<'_>, shown: &Shown) -> String {
    format!("data: {}\r\n\r\n", refusal_document(refusal, shown))
}

/// Each candidate that is open ends as one that the provider would not show.
fn refusal_document(refusal: &Refusal<'_>, shown: &Shown) -> Json {
    let mut open = shown.open();
    if open.is_empty() {
        open.push(0);
    }
    let candidates = open
        .iter()
        .map(|index| json!({"finishReason": "PROHIBITED_CONTENT", "finishMessage": refusal.message, "index": index}));
    let head = shown.head();
    let known = |name: &str, otherwise: Json| head.get(name).cloned().unwrap_or(otherwise);
    json!({
        "candidates": candidates.collect::<Vec<_>>(),
        "modelVersion": known("modelVersion", shown.asked_model.as_str().into()),
        "responseId": known("responseId", own_id("", refusal).into()),
        "clyra": refusal.clyra(),
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::json::{Doc, Limits};
    use crate::surface::ending::tests::{asked, data, refusal};

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
        let blocked = answered(r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#);
        assert_eq!(blocked.finish_reason.as_deref(), Some("content_filter"));
    }

    #[test]
    fn endings_are_events_of_the_providers_kind() {
        let refusal = Refusal { kind: "INVALID_ARGUMENT", ..refusal() };
        let mut shown = asked("g");
        let error = error_event(&refusal, &shown);
        assert!(error.starts_with(r#"data: {"error":{"code":400,"#), "{error}");
        assert_eq!(data(&error, "\r\n").len(), 1);
        let early = data(&refusal_events(&refusal, &shown), "\r\n");
        assert_eq!((&early[0]["candidates"][0]["index"], &early[0]["modelVersion"]), (&json!(0), &json!("g")));
        let head = Bytes::from_static(br#"{"candidates":[],"responseId":"r","modelVersion":"own"}"#);
        shown.note(&Mark { names: true, opens: vec![0, 1], closes: vec![0], ..Mark::default() }, Some(&head));
        let late = data(&refusal_events(&refusal, &shown), "\r\n");
        assert_eq!(late[0]["candidates"].as_array().unwrap().len(), 1);
        assert_eq!((&late[0]["candidates"][0]["index"], &late[0]["responseId"]), (&json!(1), &json!("r")));
        assert_eq!(late[0]["candidates"][0]["finishReason"], "PROHIBITED_CONTENT");
    }
}
