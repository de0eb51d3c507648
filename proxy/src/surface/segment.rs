//! Decoding: a JSON document and its surface's table become segments, each a text that remembers where it stands.

use std::fmt::Write as _;
use std::ops::Range;

use super::Channel;
use super::table::{Holds, Join, Place, Rule, Table, When};
use crate::json::{Kind, Value};

/// How the text of a segment stands in the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Inside a JSON string: `range` lies between the quotes.
    Text,
    /// Inside a JSON string, and the text is itself JSON (or a fragment of it).
    JsonText,
    /// As a JSON value of any kind: `range` is the whole value.
    JsonValue,
    /// Encoded media that is not inspected.
    Media,
}

/// One piece of text in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    pub channel: Channel,
    pub form: Form,
    pub join: Join,
    /// Same key: the pieces continue each other. Made of channel, lane and the indices on the way.
    pub key: String,
    /// The choice or content block, as the provider counts them (`index`), empty where there is none.
    pub index: String,
    /// All indices on the way: what a tool call's name and its arguments have in common.
    pub path_index: String,
    /// Bytes of the document that hold the text.
    pub range: Range<usize>,
    /// JSON pointer (RFC 6901) of the member.
    pub pointer: String,
    /// A value to be replaced by `null` when anything in this document is redacted, because it repeats the text.
    pub repeats: Option<Range<usize>>,
    /// The text is the name of the member, not its value.
    pub name: bool,
}

impl Segment {
    /// Text that stands in no document: comments of a stream, a body that is not JSON.
    pub fn loose(form: Form) -> Segment {
        Segment {
            channel: Channel::Metadata,
            form,
            join: Join::Whole,
            key: String::new(),
            index: String::new(),
            path_index: String::new(),
            range: 0..0,
            pointer: String::new(),
            repeats: None,
            name: false,
        }
    }
}

/// All segments of a document, in document order.
pub fn segments(table: &Table, root: Value<'_>) -> Vec<Segment> {
    let mut walk = Walk { out: Vec::new(), pointer: String::new(), indices: Vec::new(), above: Vec::new() };
    walk.value(root, At { table: Some(table), stream: false });
    walk.out
}

#[derive(Clone, Copy)]
struct At<'t> {
    /// Where in the table we are; `None` below what the table names.
    table: Option<&'t Table>,
    /// Unnamed members stream here.
    stream: bool,
}

struct Walk<'a> {
    out: Vec<Segment>,
    pointer: String,
    /// Indices of the array elements on the way, joined ones left out.
    indices: Vec<String>,
    /// The objects and arrays on the way.
    above: Vec<Value<'a>>,
}

impl<'a> Walk<'a> {
    fn value(&mut self, value: Value<'a>, at: At<'_>) {
        let table = at.table;
        if let Some(rule) = table.and_then(|t| t.rule)
            && (value.kind() == Kind::String || (rule.holds == Holds::Json && !scalar(value)))
        {
            return self.named(value, rule);
        }
        match value.kind() {
            Kind::Object if descends(table) || at.stream => {
                let own_index = value.get("index").and_then(|v| v.as_u64());
                let root_index = self.above.is_empty().then_some(own_index).flatten();
                if let Some(index) = root_index {
                    self.indices.push(index.to_string());
                }
                self.above.push(value);
                for member in value.children() {
                    let name = member.name();
                    let length = self.pointer.len();
                    push_pointer(&mut self.pointer, &name);
                    let below = table.and_then(|t| t.members.get(name.as_ref()));
                    if below.is_none() {
                        self.name(member);
                    }
                    self.value(member, step(at, below));
                    self.pointer.truncate(length);
                }
                self.above.pop();
                if root_index.is_some() {
                    self.indices.pop();
                }
            }
            Kind::Array if table.is_some_and(|t| t.elements.is_some()) || at.stream => {
                let joined = table.is_some_and(|t| t.joined);
                self.above.push(value);
                for (position, element) in value.children().enumerate() {
                    let length = self.pointer.len();
                    let _ = write!(self.pointer, "/{position}");
                    if !joined {
                        let index = element.get("index").and_then(|v| v.as_u64()).unwrap_or(position as u64);
                        self.indices.push(index.to_string());
                    }
                    self.value(element, step(at, table.and_then(|t| t.elements.as_deref())));
                    if !joined {
                        self.indices.pop();
                    }
                    self.pointer.truncate(length);
                }
                self.above.pop();
            }
            _ => self.unnamed(value, at.stream),
        }
    }

    fn named(&mut self, value: Value<'a>, rule: Rule) {
        let channel = match rule.place {
            Place::Fixed(channel) => channel,
            Place::Role => self.channel_by_role(),
        };
        let form = match rule.holds {
            Holds::Media(when) if self.is_media(value, when) => Form::Media,
            Holds::Json if value.kind() == Kind::String => Form::JsonText,
            Holds::Json => Form::JsonValue,
            _ => Form::Text,
        };
        // The array of repeated tokens stands two levels up: element, array, and the member that holds it.
        let repeats = (rule.holds == Holds::Repeats)
            .then(|| self.above.iter().rev().nth(2).or(self.above.first()).map(|v| v.range()))
            .flatten();
        // Only strings are fragments; a value is all there.
        let join = if form == Form::JsonValue { Join::Whole } else { rule.join };
        self.push(value, channel, form, join, rule.lane, repeats);
    }

    /// A member that the table does not name: inspected as metadata, with its names and all below it.
    fn unnamed(&mut self, value: Value<'a>, stream: bool) {
        match value.kind() {
            Kind::String => {
                let join = if stream { Join::Stream } else { Join::Whole };
                let lane = if stream { self.pointer.clone() } else { String::new() };
                self.push(value, Channel::Metadata, Form::Text, join, &lane, None);
            }
            Kind::Object | Kind::Array => self.push(value, Channel::Metadata, Form::JsonValue, Join::Whole, "", None),
            Kind::Null | Kind::Bool | Kind::Number => {}
        }
    }

    /// A name that nobody foresaw may be text as well as any value.
    fn name(&mut self, member: Value<'a>) {
        let Some(range) = member.name_range() else { return };
        self.push(member, Channel::Metadata, Form::Text, Join::Whole, "", None);
        if let Some(name) = self.out.last_mut() {
            name.range = range;
            name.name = true;
        }
    }

    fn push(
        &mut self,
        value: Value<'a>,
        channel: Channel,
        form: Form,
        join: Join,
        lane: &str,
        repeats: Option<Range<usize>>,
    ) {
        let path_index = self.indices.join("/");
        let key = format!("{channel}:{lane}:{path_index}");
        let range = if form == Form::JsonValue { value.range() } else { value.inner() };
        let index = self.indices.first().cloned().unwrap_or_default();
        self.out.push(Segment {
            channel,
            form,
            join,
            key,
            index,
            path_index,
            range,
            pointer: self.pointer.clone(),
            repeats,
            name: false,
        });
    }

    /// The channel of a text inside a message of a request, by the innermost object that tells.
    fn channel_by_role(&self) -> Channel {
        for object in self.above.iter().rev() {
            match object.get("type").and_then(|v| v.as_str()).as_deref() {
                Some(kind) if kind.ends_with("tool_result") => return Channel::ToolResult,
                Some("thinking") => return Channel::Reasoning,
                _ => {}
            }
            match object.get("role").and_then(|v| v.as_str()).as_deref() {
                Some("system" | "developer") => return Channel::System,
                Some("assistant" | "model") => return Channel::Assistant,
                Some("tool" | "function") => return Channel::ToolResult,
                Some(_) => return Channel::User,
                None => {}
            }
        }
        Channel::User
    }

    fn is_media(&self, value: Value<'a>, when: When) -> bool {
        match when {
            When::Always => true,
            When::DataUrl => {
                value.as_str().is_some_and(|s| s.get(..5).is_some_and(|p| p.eq_ignore_ascii_case("data:")))
            }
            When::Base64 => {
                let kind = self.above.last().and_then(|o| o.get("type")).and_then(|v| v.as_str());
                kind.as_deref() == Some("base64")
            }
        }
    }
}

fn descends(table: Option<&Table>) -> bool {
    table.is_some_and(|t| !t.members.is_empty() || t.stream_unknown)
}

fn step<'t>(at: At<'_>, table: Option<&'t Table>) -> At<'t> {
    let stream = at.stream || at.table.is_some_and(|t| t.stream_unknown);
    At { table, stream: (stream && table.is_none()) || table.is_some_and(|t| t.stream_unknown) }
}

fn scalar(value: Value<'_>) -> bool {
    matches!(value.kind(), Kind::Null | Kind::Bool | Kind::Number)
}

fn push_pointer(pointer: &mut String, name: &str) {
    pointer.push('/');
    for char in name.chars() {
        match char {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            char => pointer.push(char),
        }
    }
}

#[cfg(test)]
#[allow(clippy::string_slice)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::{Doc, Limits};
    use crate::surface::SURFACES;

    fn of(table: &Table, text: &str) -> Vec<Segment> {
        let doc = Doc::parse(text.as_bytes(), Limits::default()).unwrap();
        segments(table, doc.root(text.as_bytes()))
    }

    /// `channel pointer text` of each segment.
    fn rows(table: &Table, text: &str) -> Vec<String> {
        let rows = of(table, text).into_iter();
        rows.map(|s| format!("{} {} {}", s.channel, s.pointer, &text[s.range])).collect()
    }

    fn table(surface: &str, part: &str) -> &'static Table {
        let surface = SURFACES.iter().find(|s| s.id == surface).unwrap();
        match part {
            "request" => (surface.request)(),
            "response" => (surface.response)(),
            _ => (surface.event)(),
        }
    }

    #[test]
    fn a_chat_request() {
        let text = r#"{"model":"m","messages":[{"role":"system","content":"S"},{"role":"user","content":[{"type":"text","text":"U"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AA"}},{"type":"image_url","image_url":{"url":"https://x"}}]},{"role":"assistant","tool_calls":[{"id":"c","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","content":"T"}],"tools":[{"type":"function","function":{"name":"f","description":"D","parameters":{"type":"object"}}}],"new":{"k":"v"}}"#;
        let got = rows(table("openai.chat", "request"), text);
        for row in [
            "metadata /model m",
            "system /messages/0/content S",
            "user /messages/1/content/0/text U",
            "user /messages/1/content/1/image_url/url data:image/png;base64,AA",
            "user /messages/1/content/2/image_url/url https://x",
            "tool_name /messages/2/tool_calls/0/function/name f",
            "tool_arguments /messages/2/tool_calls/0/function/arguments {}",
            "tool_result /messages/3/content T",
            "tool_definition /tools/0/function/description D",
            r#"tool_definition /tools/0/function/parameters {"type":"object"}"#,
            r#"metadata /new {"k":"v"}"#,
        ] {
            assert!(got.iter().any(|g| g == row), "{row}\nnot in {got:#?}");
        }
        let forms: Vec<Form> = of(table("openai.chat", "request"), text)
            .into_iter()
            .filter(|s| s.pointer.ends_with("/url"))
            .map(|s| s.form)
            .collect();
        assert_eq!(forms, [Form::Media, Form::Text]);
    }

    #[test]
    fn a_messages_request() {
        let text = r#"{"system":[{"type":"text","text":"S"}],"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"R"}]},{"type":"document","source":{"type":"text","data":"D"}},{"type":"image","source":{"type":"base64","data":"QUJD"}}]},{"role":"assistant","content":[{"type":"thinking","thinking":"H","signature":"s"},{"type":"tool_use","id":"t","name":"f","input":{"a":"b"}}]}]}"#;
        let got = rows(table("anthropic.messages", "request"), text);
        for row in [
            "system /system/0/text S",
            "tool_result /messages/0/content/0/content/0/text R",
            "user /messages/0/content/1/source/data D",
            "reasoning /messages/1/content/0/thinking H",
            "tool_name /messages/1/content/1/name f",
            r#"tool_arguments /messages/1/content/1/input {"a":"b"}"#,
        ] {
            assert!(got.iter().any(|g| g == row), "{row}\nnot in {got:#?}");
        }
        let media: Vec<String> = of(table("anthropic.messages", "request"), text)
            .into_iter()
            .filter(|s| s.form == Form::Media)
            .map(|s| s.pointer)
            .collect();
        assert_eq!(media, ["/messages/0/content/2/source/data"]);
    }

    #[test]
    fn pieces_of_one_text_have_one_key() {
        let event = table("openai.chat", "event");
        let key = |text: &str, channel: Channel| -> String {
            of(event, text).into_iter().find(|s| s.channel == channel && s.join == Join::Stream).unwrap().key
        };
        // By the provider's own index, wherever the choice or the call stands in its array.
        let one = key(r#"{"choices":[{"index":1,"delta":{"content":"a"}}]}"#, Channel::Content);
        let two = key(
            r#"{"choices":[{"index":0,"delta":{"content":"b"}},{"index":1,"delta":{"content":"c"}}]}"#,
            Channel::Content,
        );
        assert_ne!(one, two);
        let parts =
            key(r#"{"choices":[{"index":1,"delta":{"content":[{"type":"text","text":"d"}]}}]}"#, Channel::Content);
        assert_eq!(one, parts);
        let call = |position: &str| {
            key(
                &format!(
                    r#"{{"choices":[{{"index":0,"delta":{{"tool_calls":[{position}{{"index":2,"function":{{"arguments":"x"}}}}]}}}}]}}"#
                ),
                Channel::ToolArguments,
            )
        };
        assert_eq!(call(""), call("{\"index\":0},"));
        let event = table("anthropic.messages", "event");
        let start = r#"{"type":"content_block_start","index":3,"content_block":{"type":"text","text":"a"}}"#;
        let delta = r#"{"type":"content_block_delta","index":3,"delta":{"type":"text_delta","text":"b"}}"#;
        let key = |text: &str| of(event, text).into_iter().find(|s| s.channel == Channel::Content).unwrap().key;
        assert_eq!(key(start), key(delta));
    }

    #[test]
    fn unforeseen_members_of_a_delta_stream_by_their_path() {
        let event = table("openai.chat", "event");
        let text = r#"{"choices":[{"index":0,"delta":{"new":{"list":[{"thought":"a"}]}}}]}"#;
        let found = of(event, text);
        let texts: Vec<(Join, &str)> = found.iter().map(|s| (s.join, &text[s.range.clone()])).collect();
        // The names as well: they may be text as much as any value.
        assert_eq!(texts, [(Join::Whole, "new"), (Join::Whole, "list"), (Join::Whole, "thought"), (Join::Stream, "a")]);
    }

    #[test]
    fn repeated_tokens_know_what_holds_them() {
        let text = r#"{"choices":[{"index":0,"message":{"content":"ab"},"logprobs":{"content":[{"token":"a"},{"token":"b"}]}}]}"#;
        let tokens: Vec<Segment> =
            of(table("openai.chat", "response"), text).into_iter().filter(|s| s.channel == Channel::Logprobs).collect();
        assert_eq!(tokens.len(), 2);
        assert_eq!(tokens[0].key, tokens[1].key);
        assert_eq!(&text[tokens[0].repeats.clone().unwrap()], r#"{"content":[{"token":"a"},{"token":"b"}]}"#);
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let name = prop::sample::select(vec![
            "messages",
            "content",
            "text",
            "role",
            "tools",
            "function",
            "arguments",
            "choices",
            "delta",
            "message",
            "type",
            "index",
            "input",
            "system",
            "image_url",
            "url",
            "source",
            "data",
            "logprobs",
            "token",
            "content_block",
            "new",
            "é/~",
        ]);
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<u8>().prop_map(Into::into),
            prop::sample::select(vec!["user", "base64", "tool_result", "x\n\"y", "data:x", ""]).prop_map(Into::into),
        ];
        leaf.prop_recursive(6, 40, 5, move |inner| {
            let name = name.clone();
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::vec((name, inner), 0..5).prop_map(|members| {
                    serde_json::Value::Object(members.into_iter().map(|(n, v)| (n.to_owned(), v)).collect())
                }),
            ]
        })
    }

    fn strings(value: Value<'_>, known: Option<&Table>, out: &mut Vec<Range<usize>>) {
        if value.kind() == Kind::String {
            out.push(value.inner());
        }
        for child in value.children() {
            let below = known.and_then(|t| t.members.get(child.name().as_ref()).or(t.elements.as_deref()));
            out.extend(child.name_range().filter(|_| below.is_none()));
            strings(child, below, out);
        }
    }

    proptest! {
        /// No silent gap: whatever the document looks like, every string and every unforeseen name belongs to a segment.
        #[test]
        fn every_string_is_in_a_segment(value in json(), surface in 0usize..2, part in 0usize..3) {
            let text = value.to_string();
            let surface = SURFACES[surface];
            let table = [(surface.request)(), (surface.response)(), (surface.event)()][part];
            let doc = Doc::parse(text.as_bytes(), Limits::default()).unwrap();
            let found = segments(table, doc.root(text.as_bytes()));
            let mut all = Vec::new();
            strings(doc.root(text.as_bytes()), Some(table), &mut all);
            for string in all {
                let covered = found.iter().any(|s| s.range.start <= string.start && string.end <= s.range.end);
                prop_assert!(covered, "{} is in no segment of {text}", &text[string.clone()]);
            }
        }
    }
}
