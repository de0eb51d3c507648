//! OpenAI realtime: `GET /v1/realtime`, a session over a WebSocket.
//!
//! Events go both ways, one JSON document a message, and are known by their `type`. An answer (`response.created` to
//! `response.done`) says its texts as a stream of responses does, several times; a transcript of what the user said is a
//! thread of its own. `events.rs` says what is text in them.

mod events;

use std::borrow::Cow;

use serde_json::json;

use super::common::string;
use super::ending::openai_error;
use super::{
    Address, Dialect, Ending, Item, Live, Offer, Refusal, RequestFacts, ResponseFacts, Shown, Signal, Surface, Thread,
    Usage,
};
use crate::json::Value;
use crate::wire::Framing;

pub(super) static SURFACE: Surface = Surface {
    methods: &["GET"],
    serves: |path| path.ends_with("/realtime"),
    framing: Framing::Messages,
    request: || &events::ASKED,
    event: events::event,
    events: events::events,
    repeats: true,
    request_facts,
    note_response,
    signal,
    ending: Ending { error: |refusal, shown| error_event(refusal, shown).into(), in_ok: None, soft: None },
    live: Some(Live { thread, item: item_of, offer, cancel: r#"{"type":"response.cancel"}"# }),
    ..Surface::plain("openai.realtime", Dialect::OpenAi, &["GET /v1/realtime", "GET /openai/realtime"])
};

fn kind(value: Value<'_>) -> Option<Cow<'_, str>> {
    value.get("type").and_then(|kind| kind.as_str())
}

/// Events of one answer carry its id. Transcripts, and whatever nobody foresaw, go by their item. What says neither is taken
/// for the next piece of what came under the same name.
fn thread(root: Value<'_>) -> Option<Thread> {
    let id = root.get("response_id").or_else(|| root.at(&["response", "id"])).and_then(|id| id.as_str());
    if let Some(id) = id {
        return Some(Thread { name: format!("response {id}"), aside: false, once: true });
    }
    let kind = kind(root).unwrap_or_default();
    if kind.starts_with("response.") {
        return Some(Thread { name: "response".into(), aside: false, once: false });
    }
    let is_transcript = kind.starts_with("conversation.item.input_audio_transcription.");
    if !is_transcript && events::is_known(&kind) {
        return None;
    }
    // One item may have several parts, each with a transcript that ends by itself.
    let part = root.get("content_index").and_then(|index| index.as_u64()).unwrap_or(0);
    match root.get("item_id").and_then(|item| item.as_str()) {
        Some(item) => Some(Thread { name: format!("item {part} {item}"), aside: true, once: true }),
        None if is_transcript => Some(Thread { name: "transcript".into(), aside: true, once: false }),
        None => root.get("delta").map(|_| Thread { name: format!("unforeseen {kind}"), aside: true, once: false }),
    }
}

fn item_of(root: Value<'_>) -> Option<Item> {
    let item = root.get("item")?;
    let says = match kind(item).as_deref() {
        Some("function_call") => {
            let part = |name: &str| string(item, name).unwrap_or_default();
            Some(format!("call {} {}", part("name"), part("arguments"))).filter(|_| !part("arguments").is_empty())
        }
        _ if string(item, "role").as_deref() == Some("assistant") => {
            let parts = item.get("content").into_iter().flat_map(|list| list.children());
            let texts = parts.filter_map(|part| string(part, "text").or_else(|| string(part, "transcript")));
            Some(texts.collect::<Vec<_>>().join(" ")).filter(|text| !text.is_empty())
        }
        _ => None,
    };
    let complete = string(item, "status").as_deref() == Some("completed");
    Some(Item { id: string(item, "id"), says, complete })
}

fn offer(root: Value<'_>) -> Offer {
    match kind(root).as_deref() {
        Some("response.create") => Offer::Answer { own: root.at(&["response", "tools"]).is_some() },
        _ if root.at(&["session", "tools"]).is_some() => Offer::Session,
        _ => Offer::Nothing,
    }
}

fn signal(root: Value<'_>) -> Signal {
    match kind(root).as_deref() {
        Some("response.output_item.done") => {
            let index = root.get("output_index").and_then(|i| i.as_u64());
            index.map_or(Signal::None, |index| Signal::BlockEnd { index: index.to_string() })
        }
        Some(
            "response.done"
            | "conversation.item.input_audio_transcription.completed"
            | "conversation.item.input_audio_transcription.failed",
        ) => Signal::Done,
        _ => Signal::None,
    }
}

/// The model that a session is opened for stands in its address; Azure calls it the deployment.
fn request_facts(root: Value<'_>, address: Address<'_>) -> RequestFacts {
    let named = |wanted: &str| address.parameter(wanted).filter(|value| !value.is_empty());
    let mut facts = RequestFacts {
        model: named("model").or_else(|| named("deployment")).unwrap_or_default(),
        stream: true,
        ..RequestFacts::default()
    };
    if let Some(model) = root.at(&["session", "model"]).and_then(|model| model.as_str()) {
        facts.model = model.into_owned();
    }
    for place in ["session", "response"] {
        for tool in root.at(&[place, "tools"]).into_iter().flat_map(|tools| tools.children()) {
            facts.tools.extend(string(tool, "name").or_else(|| string(tool, "type")));
            facts.note_tool_schema(tool.get("name"), tool.get("parameters"));
        }
    }
    facts.tool_results.extend(
        root.get("item")
            .into_iter()
            .chain(root.at(&["response", "input"]).into_iter().flat_map(|list| list.children()))
            .filter(|item| kind(*item).as_deref() == Some("function_call_output"))
            .filter_map(|item| string(item, "call_id")),
    );
    facts.messages = u32::from(kind(root).as_deref() == Some("conversation.item.create"));
    facts
}

fn note_response(root: Value<'_>, facts: &mut ResponseFacts) {
    if let Some(model) = root.at(&["session", "model"]).and_then(|model| model.as_str()) {
        facts.model = Some(model.into_owned()).filter(|model| !model.is_empty());
    }
    let response = root.get("response");
    let items = response.and_then(|response| response.get("output")).into_iter().flat_map(|list| list.children());
    for item in items.chain(root.get("item")) {
        if kind(item).as_deref() == Some("function_call") {
            facts.note_tool_call(item.get("call_id"));
        }
    }
    let Some(response) = response else { return };
    facts.id = string(response, "id").or(facts.id.take());
    let reason = match string(response, "status").as_deref() {
        Some("completed") if !facts.tool_calls.is_empty() => Some("tool_calls"),
        Some("completed") => Some("stop"),
        Some("incomplete") => match string_at(response, &["status_details", "reason"]).as_deref() {
            Some("content_filter") => Some("content_filter"),
            _ => Some("length"),
        },
        Some("failed") => Some("error"),
        Some("cancelled") => Some("cancelled"),
        _ => None,
    };
    facts.finish_reason = reason.map(str::to_owned).or(facts.finish_reason.take());
    if let Some(usage) = response.get("usage") {
        let total = &mut facts.usage;
        Usage::note(&mut total.input, usage.get("input_tokens"));
        Usage::note(&mut total.output, usage.get("output_tokens"));
        Usage::note(&mut total.cached, usage.at(&["input_token_details", "cached_tokens"]));
    }
}

fn string_at(value: Value<'_>, path: &[&str]) -> Option<String> {
    Some(value.at(path)?.as_str()?.into_owned())
}

/// The event that the specification has; it names the client's event, where it is about one.
fn error_event(refusal: &Refusal<'_>, shown: &Shown) -> String {
    let about = shown.rpc_id.as_deref().and_then(|id| serde_json::from_str::<serde_json::Value>(id).ok());
    let mut error = openai_error(refusal);
    if let Some(members) = error.as_object_mut() {
        members.insert("event_id".into(), about.unwrap_or_default());
    }
    let id = refusal.request_id.replace('-', "");
    json!({"type": "error", "event_id": format!("event_{id}"), "error": error, "clyra": refusal.clyra()}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Doc, Limits};
    use crate::surface::ending::tests::refusal;

    fn read<T>(event: &str, of: impl FnOnce(Value<'_>) -> T) -> T {
        let doc = Doc::parse(event.as_bytes(), Limits::default()).unwrap();
        of(doc.root(event.as_bytes()))
    }

    #[test]
    fn threads_are_answers_and_transcripts() {
        let of = |event: &str| read(event, thread).map(|thread| thread.name);
        assert_eq!(of(r#"{"type":"response.created","response":{"id":"r"}}"#).as_deref(), Some("response r"));
        assert_eq!(
            of(r#"{"type":"response.text.delta","response_id":"r","item_id":"i"}"#).as_deref(),
            Some("response r")
        );
        let delta = r#"{"type":"conversation.item.input_audio_transcription.delta","item_id":"i","content_index":1}"#;
        assert_eq!(of(delta).as_deref(), Some("item 1 i"));
        assert_eq!(of(r#"{"type":"unforeseen.delta","item_id":"i"}"#).as_deref(), Some("item 0 i"));
        assert_eq!(of(r#"{"type":"response.text.delta","item_id":"i","delta":"x"}"#).as_deref(), Some("response"));
        assert_eq!(of(r#"{"type":"unforeseen","delta":"x"}"#).as_deref(), Some("unforeseen unforeseen"));
        for alone in
            [r#"{"type":"input_audio_buffer.committed","item_id":"i"}"#, r#"{"type":"session.created","session":{}}"#]
        {
            assert_eq!(of(alone), None, "{alone}");
        }
    }

    #[test]
    fn an_answer_says_what_it_was() {
        let mut facts = ResponseFacts::default();
        for event in [
            r#"{"type":"session.created","session":{"model":"gpt-realtime"}}"#,
            r#"{"type":"response.created","response":{"id":"r","status":"in_progress","output":[]}}"#,
            r#"{"type":"response.done","response":{"id":"r","status":"completed","output":[{"type":"function_call","call_id":"c"}],
                "usage":{"input_tokens":3,"output_tokens":5,"input_token_details":{"cached_tokens":1}}}}"#,
        ] {
            read(event, |root| note_response(root, &mut facts));
        }
        assert_eq!((facts.model.as_deref(), facts.id.as_deref()), (Some("gpt-realtime"), Some("r")));
        assert_eq!(
            (facts.finish_reason.as_deref(), &facts.tool_calls[..]),
            (Some("tool_calls"), &["c".to_owned()][..])
        );
        assert_eq!((facts.usage.input, facts.usage.output, facts.usage.cached), (Some(3), Some(5), Some(1)));
    }

    #[test]
    fn what_an_item_says_is_told_by_its_words_or_its_call() {
        let item =
            |item: &str| read(&format!(r#"{{"type":"conversation.item.done","item":{item}}}"#), item_of).unwrap();
        let call = item(r#"{"id":"i","type":"function_call","status":"completed","name":"f","arguments":"{}"}"#);
        assert_eq!((call.id.as_deref(), call.says.as_deref(), call.complete), (Some("i"), Some("call f {}"), true));
        let begun = item(r#"{"id":"i","type":"function_call","status":"in_progress","name":"f","arguments":""}"#);
        assert_eq!((begun.says, begun.complete), (None, false));
        let words = item(
            r#"{"type":"message","role":"assistant","content":[{"text":"A"},{"transcript":"B"},{"audio":"AAAA"}]}"#,
        );
        assert_eq!(words.says.as_deref(), Some("A B"));
        let users = item(r#"{"type":"message","role":"user","content":[{"type":"input_text","text":"A"}]}"#);
        assert_eq!(users.says, None);
        assert_eq!(read(r#"{"type":"response.create"}"#, item_of), None);
    }

    #[test]
    fn tools_are_the_session_s_or_those_of_one_question() {
        let tools =
            r#"[{"type":"function","name":"f","parameters":{"type":"object"}},{"type":"mcp","server_label":"s"}]"#;
        for (event, what) in [
            (format!(r#"{{"type":"session.update","session":{{"tools":{tools}}}}}"#), Offer::Session),
            (format!(r#"{{"type":"response.create","response":{{"tools":{tools}}}}}"#), Offer::Answer { own: true }),
        ] {
            assert_eq!(read(&event, offer), what);
            let facts = read(&event, |root| request_facts(root, Address { path: "", query: None }));
            assert_eq!(facts.tools, ["f", "mcp"]);
            assert_eq!(facts.tool_schemas, [("f".to_owned(), r#"{"type":"object"}"#.to_owned())]);
        }
        assert_eq!(read(r#"{"type":"response.create"}"#, offer), Offer::Answer { own: false });
        assert_eq!(read(r#"{"type":"session.update","session":{"instructions":"S"}}"#, offer), Offer::Nothing);
    }

    #[test]
    fn results_name_the_calls_that_they_answer() {
        for event in [
            r#"{"type":"conversation.item.create","item":{"type":"function_call_output","call_id":"c","output":"1"}}"#,
            r#"{"type":"response.create","response":{"input":[{"type":"function_call_output","call_id":"c"}]}}"#,
        ] {
            assert_eq!(read(event, |root| request_facts(root, Address { path: "", query: None })).tool_results, ["c"]);
        }
    }

    #[test]
    fn the_model_stands_in_the_address() {
        let model = |query| request_facts_of(query).model;
        assert_eq!(model("model=gpt%2Drealtime"), "gpt-realtime");
        assert_eq!(model("api-version=1&deployment=mine"), "mine");
        assert_eq!(model("intent=transcription"), "");
    }

    fn request_facts_of(query: &str) -> RequestFacts {
        read("{}", |root| request_facts(root, Address { path: "/v1/realtime", query: Some(query) }))
    }

    #[test]
    fn an_error_names_the_event_that_it_is_about() {
        let mut shown = Shown::default();
        shown.rpc_id.replace("\"event_7\"".into());
        let event: serde_json::Value = serde_json::from_str(&error_event(&refusal(), &shown)).unwrap();
        assert_eq!((event["type"].as_str(), event["error"]["event_id"].as_str()), (Some("error"), Some("event_7")));
        assert_eq!(event["error"]["code"], "content_policy_violation");
        let none: serde_json::Value = serde_json::from_str(&error_event(&refusal(), &Shown::default())).unwrap();
        assert!(
            none["error"]["event_id"].is_null()
                && none["error"]["param"].is_null()
                && none["clyra"]["rule"].is_string()
        );
    }
}
