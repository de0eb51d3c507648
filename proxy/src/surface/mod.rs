//! Surfaces: the endpoints whose text Clyra can read.
//!
//! One file per surface says which JSON members are text, which channel they belong to and how they stream; decoding,
//! redaction, block signals, usage and coverage all read that table. What a table does not name is inspected all the
//! same, as metadata: a member that nobody foresaw is never a gap.

mod anthropic_messages;
mod openai_chat;
mod segment;
mod table;

pub use segment::{Form, Segment, segments};
pub use table::{Join, Table};

use std::fmt;

use http::Method;
use serde_json::json;

use crate::json::Value;

/// Where a text stands in a conversation. The names appear in findings, receipts and policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Channel {
    System,
    User,
    Assistant,
    ToolResult,
    ToolDefinition,
    Content,
    Reasoning,
    Refusal,
    ToolName,
    ToolArguments,
    FunctionCall,
    Logprobs,
    Metadata,
}

impl Channel {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::ToolResult => "tool_result",
            Self::ToolDefinition => "tool_definition",
            Self::Content => "content",
            Self::Reasoning => "reasoning",
            Self::Refusal => "refusal",
            Self::ToolName => "tool_name",
            Self::ToolArguments => "tool_arguments",
            Self::FunctionCall => "function_call",
            Self::Logprobs => "logprobs",
            Self::Metadata => "metadata",
        }
    }

    /// Text of a call that the model asks for.
    pub fn is_tool_call(self) -> bool {
        matches!(self, Self::ToolName | Self::ToolArguments | Self::FunctionCall)
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whose wire format a surface speaks: decides the shape of Clyra's own errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    OpenAi,
    Anthropic,
}

/// What the policy may know of a request besides its text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestFacts {
    pub model: String,
    pub stream: bool,
    pub messages: u32,
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
}

/// Tool schemas of one request that are kept. Providers take some 128 tools; agents with many MCP servers bring hundreds.
pub const TOOL_SCHEMAS_MAX: usize = 1024;

impl RequestFacts {
    /// Keeps the schema of a tool's arguments, if it has both a name and a schema.
    fn note_tool_schema(&mut self, name: Option<Value<'_>>, schema: Option<Value<'_>>) {
        let (Some(name), Some(schema)) = (name.and_then(|n| n.as_str()), schema.filter(|s| !s.is_null())) else {
            return;
        };
        if self.tool_schemas.len() < TOOL_SCHEMAS_MAX {
            self.tool_schemas.push((name.into_owned(), text_of(schema)));
        } else {
            self.tool_schemas_over = self.tool_schemas_over.saturating_add(1);
        }
    }
}

/// The JSON text of a value, as it stands in the request.
fn text_of(value: Value<'_>) -> String {
    String::from_utf8_lossy(value.raw()).into_owned()
}

/// What an answer says of itself, collected over the document or the stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResponseFacts {
    pub model: Option<String>,
    pub id: Option<String>,
    /// The last reason given.
    pub finish_reason: Option<String>,
    pub usage: Usage,
    /// Ids of the tool calls that the answer makes, each once.
    pub tool_calls: Vec<String>,
}

/// Tool calls of one answer whose ids are remembered; more than a model makes at once.
const TOOL_CALLS_MAX: usize = 128;

impl ResponseFacts {
    /// Remembers the id of a tool call. Streams repeat it or leave it out after the first piece.
    fn note_tool_call(&mut self, id: Option<Value<'_>>) {
        if let Some(id) = id.and_then(|id| id.as_str()).filter(|id| !id.is_empty())
            && self.tool_calls.len() < TOOL_CALLS_MAX
            && !self.tool_calls.iter().any(|known| *known == id)
        {
            self.tool_calls.push(id.into_owned());
        }
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
    fn note(field: &mut Option<u64>, value: Option<Value<'_>>) {
        if let Some(count) = value.and_then(|v| v.as_u64()) {
            *field = Some(field.map_or(count, |old| old.max(count)));
        }
    }
}

/// What one stream event means beside its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// An ordinary event.
    None,
    /// Nothing more will come in the channels of this block.
    BlockEnd { index: String },
    /// The answer is complete for the client: its last event.
    Done,
}

/// One endpoint that Clyra inspects in both directions.
#[derive(Debug)]
pub struct Surface {
    /// Name in receipts, events and policies.
    pub id: &'static str,
    pub dialect: Dialect,
    /// What the normalised path ends in, whatever base path stands before it.
    path: &'static str,
    pub request: fn() -> &'static Table,
    pub response: fn() -> &'static Table,
    pub event: fn() -> &'static Table,
    pub request_facts: fn(Value<'_>) -> RequestFacts,
    /// Adds what a whole answer or one stream event tells.
    pub note_response: fn(Value<'_>, &mut ResponseFacts),
    pub signal: fn(Value<'_>) -> Signal,
}

/// The surfaces of this version.
pub const SURFACES: [&Surface; 2] = [&openai_chat::SURFACE, &anthropic_messages::SURFACE];

/// How a request path is understood.
#[derive(Debug, Clone, Copy)]
pub enum Found {
    Surface(&'static Surface),
    /// An endpoint whose text cannot be read: the policy says whether it may pass.
    Unknown,
}

/// Finds the surface of a request. Matching is by normalised path (case, doubled and trailing slashes, percent escapes,
/// a base path such as `/openai/v1`), because an upstream may treat all of those alike: a spelling must not be a way round.
pub fn find(method: &Method, path: &str) -> Found {
    let path = normalise(path);
    match SURFACES.iter().find(|s| path.ends_with(s.path)) {
        Some(surface) if *method == Method::POST => Found::Surface(surface),
        _ => Found::Unknown,
    }
}

fn normalise(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let byte = if byte == b'%' {
            let mut ahead = bytes.clone();
            match (ahead.next().and_then(hex), ahead.next().and_then(hex)) {
                (Some(high), Some(low)) => {
                    bytes = ahead;
                    high << 4 | low
                }
                _ => byte,
            }
        } else {
            byte
        };
        let char = if byte == b'\\' { '/' } else { char::from(byte).to_ascii_lowercase() };
        if !(char == '/' && out.ends_with('/')) {
            out.push(char);
        }
    }
    // Dot segments (RFC 3986 §5.2.4).
    let mut parts: Vec<&str> = Vec::new();
    for part in out.split('/').filter(|p| !p.is_empty() && *p != ".") {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    format!("/{}", parts.join("/"))
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

/// What Clyra tells the client when it answers instead of the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// Stable code, such as `content_policy_violation`.
    pub code: &'a str,
    /// The provider's error type that SDKs map to an exception.
    pub kind: &'a str,
    pub message: &'a str,
    pub request_id: &'a str,
    pub rule: Option<&'a str>,
    pub reason: &'a str,
    pub detectors: &'a [String],
}

impl Dialect {
    /// The error body in the provider's own shape, plus the member `clyra`.
    pub fn error_body(self, refusal: &Refusal<'_>) -> String {
        let clyra = json!({
            "request_id": refusal.request_id, "rule": refusal.rule, "reason": refusal.reason,
            "detectors": refusal.detectors, "code": refusal.code,
        });
        match self {
            Self::OpenAi => json!({
                "error": {"message": refusal.message, "type": refusal.kind, "param": null, "code": refusal.code},
                "clyra": clyra,
            }),
            Self::Anthropic => json!({
                "type": "error",
                "error": {"type": refusal.kind, "message": refusal.message},
                "request_id": refusal.request_id,
                "clyra": clyra,
            }),
        }
        .to_string()
    }

    /// The error as a stream event: SDKs raise their ordinary exception on it.
    pub fn error_event(self, refusal: &Refusal<'_>) -> String {
        let body = self.error_body(refusal);
        format!("event: error\ndata: {body}\n\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(path: &str) -> Option<&'static str> {
        match find(&Method::POST, path) {
            Found::Surface(s) => Some(s.id),
            Found::Unknown => None,
        }
    }

    #[test]
    fn no_spelling_of_a_path_is_a_way_round() {
        for path in [
            "/v1/chat/completions",
            "/V1/Chat/Completions",
            "//v1//chat/completions/",
            "/v1/chat%2fcompletions",
            "/v1/%63hat/completions",
            "/v1/./chat/x/../completions",
            "/openai/v1/chat/completions",
            "/openai/deployments/gpt/chat/completions",
            "\\v1\\chat\\completions",
            "/chat/completions",
        ] {
            assert_eq!(id(path), Some("openai.chat"), "{path}");
        }
        assert_eq!(id("/v1/messages"), Some("anthropic.messages"));
        for path in ["/v1/embeddings", "/v1/messages/count_tokens", "/v1/chat/completions/x", "/", "/v1/%"] {
            assert_eq!(id(path), None, "{path}");
        }
        assert!(matches!(find(&Method::GET, "/v1/chat/completions"), Found::Unknown));
    }

    fn facts(surface: &Surface, request: &str) -> RequestFacts {
        let doc = crate::json::Doc::parse(request.as_bytes(), crate::json::Limits::default()).unwrap();
        (surface.request_facts)(doc.root(request.as_bytes()))
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

    #[test]
    fn errors_have_the_providers_shape() {
        let detectors = ["patterns.x".to_owned()];
        let refusal = Refusal {
            code: "content_policy_violation",
            kind: "invalid_request_error",
            message: "m",
            request_id: "id",
            rule: Some("r"),
            reason: "why",
            detectors: &detectors,
        };
        let body: serde_json::Value = serde_json::from_str(&Dialect::OpenAi.error_body(&refusal)).unwrap();
        assert_eq!(body["error"]["code"], "content_policy_violation");
        assert_eq!(body["clyra"]["rule"], "r");
        let body: serde_json::Value = serde_json::from_str(&Dialect::Anthropic.error_body(&refusal)).unwrap();
        assert_eq!(
            (body["type"].as_str(), body["error"]["type"].as_str()),
            (Some("error"), Some("invalid_request_error"))
        );
        let event = Dialect::Anthropic.error_event(&refusal);
        assert!(event.starts_with("event: error\ndata: {") && event.ends_with("}\n\n"));
    }
}
