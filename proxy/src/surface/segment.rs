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
                    self.value(member, step(at, table.and_then(|t| t.members.get(name.as_ref()))));
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
        self.push(value, channel, form, rule.join, rule.lane, repeats);
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
