//! MCP, streamable HTTP: JSON-RPC posted to an endpoint whose path ends in `/mcp`, answered as JSON or as server-sent
//! events; of the versions of 2025 (sessions, `GET` for the server's own messages, `DELETE`) and of 2026-07-28 (stateless,
//! headers that repeat the body).
//!
//! A tool that a client calls is judged as one that a model calls, before it is sent; what the tool gives back, resources and
//! prompts are tool results; tools that a server offers are pinned ([`Definition`]). Source: Model Context Protocol,
//! specification 2026-07-28, "Transports" and "Tools"; 2025-11-25 and 2025-03-26 for what was before.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;

use super::table::{When, by_role, json, media, text};
use super::{
    Address, Asks, Channel, Definition, Dialect, Ending, Refusal, RequestFacts, ResponseFacts, Shown, Signal, Surface,
    Table, common,
};
use crate::json::{Kind, Value};

/// The first version whose headers repeat the body. Versions are dates, which compare as text.
const STATELESS: &str = "2026-07-28";

/// Where a request of that version names it.
const VERSION: &str = "io.modelcontextprotocol/protocolVersion";

pub(super) static SURFACE: Surface = Surface {
    methods: &["POST", "GET", "DELETE"],
    serves: |path| path.ends_with("/mcp"),
    asks: Asks::Json,
    request: || &REQUEST,
    response: || &MESSAGE,
    event: |_| &MESSAGE,
    events: || vec![("{}".to_owned(), &MESSAGE)],
    request_facts,
    note_response,
    signal,
    headers: Some(headers_fit),
    calls: true,
    definitions,
    ending: Ending { error: error_event, in_ok: Some(in_ok), soft: None },
    ..Surface::plain("mcp", Dialect::Mcp, &["POST /mcp", "GET /mcp", "DELETE /mcp"])
};

static REQUEST: LazyLock<Table> = LazyLock::new(|| posted().or_array(posted()));

fn posted() -> Table {
    use Channel::{Metadata, ToolArguments, ToolName, User};
    Table::build(
        &[
            ("jsonrpc", text(Metadata)),
            ("id", text(Metadata)),
            ("method", text(Metadata)),
            ("params.name", text(ToolName)),
            ("params.arguments", json(ToolArguments)),
            ("params.uri", text(User)),
            ("params.argument.value", text(User)),
            // Answers to what the server asked.
            ("result.content.text", text(Channel::Assistant)),
            ("result.content.data", media(When::Always).of(Channel::Assistant)),
            ("result.content", json(User)),
        ],
        &[],
    )
}

static MESSAGE: LazyLock<Table> = LazyLock::new(|| sent().or_array(sent()));

/// A message of a server: an answer, or a question or note of its own.
fn sent() -> Table {
    use Channel::{Metadata, System, ToolDefinition, ToolResult};
    let tool = Table::build(
        &[
            ("name", text(ToolDefinition)),
            ("title", text(ToolDefinition)),
            ("description", text(ToolDefinition)),
            ("inputSchema", json(ToolDefinition)),
            ("outputSchema", json(ToolDefinition)),
            ("annotations", json(ToolDefinition)),
        ],
        &[],
    );
    Table::build(
        &[
            ("jsonrpc", text(Metadata)),
            ("id", text(Metadata)),
            ("method", text(Metadata)),
            ("result.protocolVersion", text(Metadata)),
            // Clients put it into the model's context.
            ("result.instructions", text(ToolDefinition)),
            ("result.serverInfo", json(Metadata)),
            ("result.content.*.type", text(Metadata)),
            ("result.content.*.text", text(ToolResult)),
            ("result.content.*.data", media(When::Always).of(ToolResult)),
            ("result.content.*.resource.text", text(ToolResult)),
            ("result.content.*.resource.blob", media(When::Always).of(ToolResult)),
            ("result.content.*.description", text(ToolResult)),
            ("result.structuredContent", json(ToolResult)),
            ("result.contents.*.text", text(ToolResult)),
            ("result.contents.*.blob", media(When::Always).of(ToolResult)),
            ("result.messages.*.content.text", text(ToolResult)),
            ("result.messages.*.content.data", media(When::Always).of(ToolResult)),
            ("result.messages.*.content.resource.text", text(ToolResult)),
            ("result.prompts.*", json(ToolDefinition)),
            ("result.resources.*", json(ToolDefinition)),
            ("result.resourceTemplates.*", json(ToolDefinition)),
            ("result.completion.values.*", text(ToolResult)),
            ("error.message", text(ToolResult)),
            ("error.data", json(ToolResult)),
            // What a server asks of the client's model or its user, and what it logs.
            ("params.systemPrompt", text(System)),
            ("params.messages.*.content.text", by_role()),
            ("params.message", text(ToolResult)),
            ("params.data", json(ToolResult)),
        ],
        &[],
    )
    .with("result.tools.*", tool)
}

fn messages(root: Value<'_>) -> impl Iterator<Item = Value<'_>> {
    let single = Some(root).filter(|root| root.kind() == Kind::Object);
    single
        .into_iter()
        .chain(Some(root).filter(|root| root.kind() == Kind::Array).into_iter().flat_map(|all| all.children()))
}

fn request_facts(root: Value<'_>, _: Address<'_>) -> RequestFacts {
    let calls = || messages(root).filter(|one| common::string(*one, "method").as_deref() == Some("tools/call"));
    let id = messages(root).next().and_then(|one| one.get("id")).filter(|id| !id.is_null());
    RequestFacts {
        messages: messages(root).count() as u32,
        tools: calls().filter_map(|call| common::string(call.get("params")?, "name")).collect(),
        rpc_id: id.map(|id| String::from_utf8_lossy(id.raw()).into_owned()),
        ..RequestFacts::default()
    }
}

fn note_response(root: Value<'_>, facts: &mut ResponseFacts) {
    for message in messages(root) {
        if message.get("error").is_some() {
            facts.finish_reason = Some("error".into());
        } else if message.get("result").is_some() {
            facts.finish_reason.get_or_insert_with(|| "result".into());
        }
    }
}

/// An answer ends the stream of what was posted; a server's own questions and notes do not.
fn signal(root: Value<'_>) -> Signal {
    let answers =
        |one: Value<'_>| one.get("method").is_none() && (one.get("result").is_some() || one.get("error").is_some());
    if messages(root).any(answers) { Signal::Done } else { Signal::None }
}

fn definitions(root: Value<'_>) -> Vec<Definition> {
    messages(root)
        .filter_map(|one| one.at(&["result", "tools"]))
        .flat_map(|tools| tools.children().enumerate().collect::<Vec<_>>())
        .map(|(position, tool)| Definition {
            name: common::string(tool, "name").unwrap_or_default(),
            pointer: format!("/result/tools/{position}"),
            text: String::from_utf8_lossy(tool.raw()).into_owned(),
        })
        .collect()
}

/// Whether the headers say what the body says. Whoever routes or filters by them must not see another request than the
/// server does.
fn headers_fit(headers: &HeaderMap, root: Value<'_>) -> Result<(), String> {
    let single = |name: &str| {
        let mut values = headers.get_all(name).iter();
        let value = values.next().and_then(|value| value.to_str().ok());
        if values.next().is_some() { Err(format!("the header {name} stands twice")) } else { Ok(value) }
    };
    let told_version = single("mcp-protocol-version")?;
    let told_method = single("mcp-method")?;
    let told_name = single("mcp-name")?;
    if root.kind() != Kind::Object {
        // A list has no method of its own.
        return if told_method.is_some() || told_name.is_some() { Err(differs("mcp-method")) } else { Ok(()) };
    }
    let in_body = root.at(&["params", "_meta", VERSION]);
    let stateless = in_body.is_some() || told_version.is_some_and(|version| version >= STATELESS);
    let method = common::string(root, "method");
    if stateless
        && method.is_some()
        && (told_version.is_none() || told_version != in_body.and_then(|v| v.as_str()).as_deref())
    {
        return Err(differs("mcp-protocol-version"));
    }
    if (told_method.is_some() || stateless && method.is_some()) && told_method != method.as_deref() {
        return Err(differs("mcp-method"));
    }
    let named = match method.as_deref() {
        Some("tools/call" | "prompts/get") => root.at(&["params", "name"]),
        Some("resources/read") => root.at(&["params", "uri"]),
        _ => None,
    };
    let named = named.and_then(|name| name.as_str());
    let header = told_name.map(|name| decoded(name).ok_or_else(|| differs("mcp-name"))).transpose()?;
    if (header.is_some() || stateless && named.is_some()) && header.as_deref() != named.as_deref() {
        return Err(differs("mcp-name"));
    }
    let arguments = root.at(&["params", "arguments"]);
    for (name, value) in headers.iter().filter(|(name, _)| name.as_str().starts_with(PARAM)) {
        let value = value.to_str().ok().and_then(decoded).ok_or_else(|| differs(name.as_str()))?;
        if !arguments.is_some_and(|arguments| has_scalar(arguments, &value)) {
            return Err(differs(name.as_str()));
        }
    }
    Ok(())
}

/// Headers that repeat single arguments of a call.
pub(super) const PARAM: &str = "mcp-param-";

fn differs(name: &str) -> String {
    format!("the header {name} does not say what the body says")
}

/// Header values that are not plain are written as `=?base64?…?=`.
fn decoded(value: &str) -> Option<String> {
    let Some(inner) = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Some(value.to_owned());
    };
    let bytes = STANDARD.decode(inner).ok().filter(|bytes| STANDARD.encode(bytes) == inner)?;
    String::from_utf8(bytes).ok()
}

/// Some scalar in the arguments is written like this.
fn has_scalar(value: Value<'_>, wanted: &str) -> bool {
    match value.kind() {
        Kind::String => value.as_str().is_some_and(|text| text == wanted),
        Kind::Number | Kind::Bool => value.raw() == wanted.as_bytes(),
        Kind::Object | Kind::Array => value.children().any(|child| has_scalar(child, wanted)),
        Kind::Null => false,
    }
}

fn error_event(refusal: &Refusal<'_>, shown: &Shown) -> Bytes {
    format!("event: message\ndata: {}\n\n", Dialect::Mcp.error_with_id(refusal, shown.rpc_id.as_deref())).into()
}

/// Clients read errors of JSON-RPC where the HTTP request went well.
fn in_ok(refusal: &Refusal<'_>, shown: &Shown) -> Option<Bytes> {
    let id = shown.rpc_id.as_deref()?;
    Some(Dialect::Mcp.error_with_id(refusal, Some(id)).into())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::json::{Doc, Limits};

    fn fits(headers: &[(&'static str, &str)], body: &str) -> Result<(), String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let doc = Doc::parse(body.as_bytes(), Limits::default()).unwrap();
        headers_fit(&map, doc.root(body.as_bytes()))
    }

    #[test]
    fn headers_repeat_the_body_or_are_refused() {
        let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"réf","arguments":{"region":"eu","n":{"m":42}},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
        let good =
            [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "=?base64?csOpZg==?=")];
        assert_eq!(fits(&good, call), Ok(()));
        let params = [&good[..], &[("mcp-param-region", "eu"), ("mcp-param-m", "42")]].concat();
        assert_eq!(fits(&params, call), Ok(()));
        for (at, value) in
            [(0, "2025-11-25"), (1, "tools/list"), (2, "other"), (2, "=?base64?csOpZh==?="), (2, "=?base64?*?=")]
        {
            let mut bad = good;
            bad[at].1 = value;
            assert!(fits(&bad, call).is_err(), "{} {value}", bad[at].0);
        }
        for missing in 0..good.len() {
            let some: Vec<_> = good.iter().enumerate().filter(|(at, _)| *at != missing).map(|(_, h)| *h).collect();
            assert!(fits(&some, call).is_err(), "without {}", good[missing].0);
        }
        let twice = [&good[..], &[("mcp-method", "tools/call")]].concat();
        assert!(fits(&twice, call).unwrap_err().contains("twice"));
        assert!(fits(&[&good[..], &[("mcp-param-region", "us")]].concat(), call).is_err());
        // Before that version headers may be silent, but not lie.
        let old = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"f"}}"#;
        assert_eq!(fits(&[("mcp-protocol-version", "2025-11-25")], old), Ok(()));
        assert!(fits(&[("mcp-method", "tools/list")], old).is_err());
        assert!(fits(&[("mcp-protocol-version", "2026-07-28")], old).is_err());
        // An answer to the server has no method; a list of messages no headers.
        assert_eq!(fits(&[("mcp-protocol-version", "2025-11-25")], r#"{"jsonrpc":"2.0","id":7,"result":{}}"#), Ok(()));
        assert_eq!(fits(&[], &format!("[{old}]")), Ok(()));
        assert!(fits(&[("mcp-method", "tools/call")], &format!("[{old}]")).is_err());
    }

    #[test]
    fn tools_of_a_list_are_known_by_name_and_text() {
        let body = r#"{"id":1,"result":{"tools":[{"name":"a","description":"d"},{"name":"b"}]}}"#;
        let doc = Doc::parse(body.as_bytes(), Limits::default()).unwrap();
        let found = definitions(doc.root(body.as_bytes()));
        assert_eq!((found.len(), found[0].name.as_str(), found[1].pointer.as_str()), (2, "a", "/result/tools/1"));
        assert_eq!(found[0].text, r#"{"name":"a","description":"d"}"#);
        assert_eq!(signal(doc.root(body.as_bytes())), Signal::Done);
    }
}
