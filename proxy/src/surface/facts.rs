//! What a request and its answer say of themselves, beside their text.

use std::collections::BTreeMap;

use crate::json::Value;

/// What the policy may know of a request besides its text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestFacts {
    pub model: String,
    pub stream: bool,
    /// The stream is one JSON array instead of events.
    pub array: bool,
    pub messages: u32,
    /// Choices that are asked for; 0 where the request does not say, which is one.
    pub choices: u32,
    pub tools: Vec<String>,
    /// The JSON Schema that the request asks the answer to keep to, where it names one.
    pub response_schema: Option<String>,
    /// Tools that come with a JSON Schema of their arguments: name and schema text, in the order of the request. Two tools
    /// may have one name.
    pub tool_schemas: Vec<(String, String)>,
    /// Tool schemas beyond [`TOOL_SCHEMAS_MAX`], which are not in `tool_schemas`: whoever holds calls to their schemas
    /// must not take such a request for one that was read to its end.
    pub tool_schemas_over: u32,
    /// Ids of the tool calls whose results the request brings, the newest last.
    pub tool_results: Vec<String>,
    /// The id that an answer of JSON-RPC must have, as JSON.
    pub rpc_id: Option<String>,
}

/// Tool schemas of one request that are kept. Providers take some 128 tools; agents with many MCP servers bring hundreds.
pub const TOOL_SCHEMAS_MAX: usize = 1024;

impl RequestFacts {
    /// Keeps the schema of a tool's arguments, if it has both a name and a schema.
    pub(super) fn note_tool_schema(&mut self, name: Option<Value<'_>>, schema: Option<Value<'_>>) {
        self.note_tool_schema_text(name, schema.filter(|s| !s.is_null()).map(text_of));
    }

    pub(super) fn note_tool_schema_text(&mut self, name: Option<Value<'_>>, schema: Option<String>) {
        let (Some(name), Some(schema)) = (name.and_then(|n| n.as_str()), schema) else { return };
        if self.tool_schemas.len() < TOOL_SCHEMAS_MAX {
            self.tool_schemas.push((name.into_owned(), schema));
        } else {
            self.tool_schemas_over = self.tool_schemas_over.saturating_add(1);
        }
    }
}

/// The JSON text of a value, as it stands in the request.
pub(super) fn text_of(value: Value<'_>) -> String {
    String::from_utf8_lossy(value.raw()).into_owned()
}

/// What an answer says of itself, collected over the document or the stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResponseFacts {
    pub model: Option<String>,
    pub id: Option<String>,
    /// The last reason given.
    pub finish_reason: Option<String>,
    /// The last reason given for each choice, by its index, where the answer has choices.
    pub finish_reasons: BTreeMap<String, String>,
    pub usage: Usage,
    /// Ids of the tool calls that the answer makes, each once.
    pub tool_calls: Vec<String>,
    /// Ids of the items of an answer that a provider keeps, each once: a later request may name them.
    pub items: Vec<String>,
}

/// Tool calls of one answer whose ids are remembered; more than a model makes at once.
const TOOL_CALLS_MAX: usize = 128;

/// Items of one answer whose ids are remembered; more than a model makes, its calls and what it thinks between them included.
const ITEMS_MAX: usize = 512;

/// Choices of one answer whose reasons are remembered; more than a provider makes.
const CHOICES_MAX: usize = 1_024;

impl ResponseFacts {
    /// Remembers why a choice ended.
    pub(super) fn note_reason(&mut self, index: u64, reason: String) {
        let index = index.to_string();
        if self.finish_reasons.len() < CHOICES_MAX || self.finish_reasons.contains_key(&index) {
            self.finish_reasons.insert(index, reason.clone());
        }
        self.finish_reason = Some(reason);
    }

    /// Why the choice of this index ended; where there are no choices, why the answer did.
    pub fn reason_of(&self, index: &str) -> Option<&str> {
        if self.finish_reasons.is_empty() {
            return self.finish_reason.as_deref();
        }
        self.finish_reasons.get(index).map(String::as_str)
    }

    /// Remembers the id of a tool call. Streams repeat it or leave it out after the first piece.
    pub(super) fn note_tool_call(&mut self, id: Option<Value<'_>>) {
        note_id(&mut self.tool_calls, TOOL_CALLS_MAX, id);
    }

    /// Remembers the id of an item that the provider keeps. Streams repeat it.
    pub(super) fn note_item(&mut self, id: Option<Value<'_>>) {
        note_id(&mut self.items, ITEMS_MAX, id);
    }
}

/// Adds an id, once, while there is room.
fn note_id(ids: &mut Vec<String>, most: usize, id: Option<Value<'_>>) {
    if let Some(id) = id.and_then(|id| id.as_str()).filter(|id| !id.is_empty())
        && ids.len() < most
        && !ids.iter().any(|known| *known == id)
    {
        ids.push(id.into_owned());
    }
}

/// Token counts as the provider reports them; `None` where it does not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub input: Option<u64>,
    pub output: Option<u64>,
    pub cached: Option<u64>,
    pub reasoning: Option<u64>,
}

impl Usage {
    /// Providers repeat cumulative counts: the largest is the total.
    pub(super) fn note(field: &mut Option<u64>, value: Option<Value<'_>>) {
        *field = value.and_then(count).max(*field);
    }
}

/// A number of tokens. Some providers write whole numbers as `28.0`.
pub(super) fn count(value: Value<'_>) -> Option<u64> {
    let whole = || std::str::from_utf8(value.raw()).ok()?.strip_suffix(".0")?.parse().ok();
    value.as_u64().or_else(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::surface::{Address, Surface, anthropic_messages, openai_chat};

    fn facts(surface: &Surface, request: &str) -> RequestFacts {
        let doc = crate::json::Doc::parse(request.as_bytes(), crate::json::Limits::default()).unwrap();
        (surface.request_facts)(doc.root(request.as_bytes()), Address { path: "/", query: None })
    }

    fn schemas(facts: &RequestFacts) -> Vec<(&str, &str)> {
        facts.tool_schemas.iter().map(|(name, schema)| (name.as_str(), schema.as_str())).collect()
    }

    #[test]
    fn schemas_of_tools_and_answers_are_read_from_a_request() {
        let chat = r#"{"tools":[{"type":"function","function":{"name":"a","parameters":{"type": "object"}}},
            {"type":"function","function":{"name":"none"}},{"type":"function","function":{"name":"null","parameters":null}},
            {"type":"custom","custom":{"name":"c"}}],"functions":[{"name":"f","parameters":true}],
            "response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"array"}}}}"#;
        let chat = facts(&openai_chat::SURFACE, chat);
        assert_eq!(schemas(&chat), [("a", r#"{"type": "object"}"#), ("f", "true")]);
        assert_eq!((chat.tool_schemas_over, chat.response_schema.as_deref()), (0, Some(r#"{"type":"array"}"#)));

        let messages = r#"{"tools":[{"name":"a","input_schema":{"type":"object"}},{"type":"web_search_20250305","name":"w"},
            {"name":"a","input_schema":{}}],"output_config":{"format":{"type":"json_schema","schema":{"type":"object"}}}}"#;
        let messages = facts(&anthropic_messages::SURFACE, messages);
        assert_eq!(schemas(&messages), [("a", r#"{"type":"object"}"#), ("a", "{}")]);
        assert_eq!(messages.response_schema.as_deref(), Some(r#"{"type":"object"}"#));
    }

    #[test]
    fn tool_schemas_are_bounded_and_those_left_out_are_counted() {
        let tools = vec![r#"{"name":"t","input_schema":{}}"#; TOOL_SCHEMAS_MAX + 2].join(",");
        let facts = facts(&anthropic_messages::SURFACE, &format!(r#"{{"tools":[{tools}]}}"#));
        assert_eq!((facts.tool_schemas.len(), facts.tool_schemas_over), (TOOL_SCHEMAS_MAX, 2));
        assert_eq!(facts.tools.len(), TOOL_SCHEMAS_MAX + 2);
    }
}
