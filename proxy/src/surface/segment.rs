//! Decoding: a JSON document and its surface's table become segments, each a text that remembers where it stands.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;

use super::Channel;
use super::table::{Apart, Holds, Join, Place, Rule, Stored, Table, Tokens, When};
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

/// A value that gives way, and what stands in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    pub range: Range<usize>,
    pub with: &'static str,
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
    /// A value to be replaced when anything in this document is redacted, because it repeats the text.
    pub repeats: Option<Replaced>,
    /// The text is the name of the member, not its value.
    pub name: bool,
    /// The text is the id of something that the provider keeps.
    pub stored: bool,
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
            stored: false,
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
        if table.and_then(|t| t.rule).is_some_and(|rule| rule.ids) && are_ids(value) {
            self.push(value, Channel::Metadata, Form::Media, Join::Whole, "", None);
            return;
        }
        match value.kind() {
            Kind::Object if descends(table) || at.stream => {
                let indexed_by = table.filter(|_| self.above.is_empty()).map_or(&[][..], |t| t.indexed_by);
                let own = indexed_by.iter().filter_map(|name| value.get(name)?.as_u64());
                let outside = self.indices.len();
                self.indices.extend(own.map(|index| index.to_string()));
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
                self.indices.truncate(outside);
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
            Place::Part => self.channel_by_part(),
        };
        let form = match rule.holds {
            Holds::Media(when) if self.is_media(value, when) => Form::Media,
            Holds::Json if value.kind() == Kind::String => Form::JsonText,
            Holds::Json => Form::JsonValue,
            _ => Form::Text,
        };
        // On the way up from a token: its element, where that is an object, the array, and the member that holds it.
        let mut up = self.above.iter().rev().skip_while(|above| above.kind() != Kind::Array);
        let repeats = match rule.holds {
            Holds::Repeats(Tokens::Holder) => up.nth(1).or(self.above.first()).zip(Some("null")),
            Holds::Repeats(Tokens::Array) => up.next().zip(Some("[]")),
            Holds::Repeats(Tokens::Object) => self.above.last().zip(Some("null")),
            _ => None,
        };
        let repeats = repeats.map(|(value, with)| Replaced { range: value.range(), with });
        // Only strings are fragments; a value is all there.
        let join = match rule.join {
            Join::Stream if form == Form::JsonValue => Join::Whole,
            join => join,
        };
        let typed = rule.typed.then(|| self.above.first()?.get("type")?.as_str()).flatten();
        let lane = typed.map_or(Cow::Borrowed(rule.lane), |kind| Cow::Owned(format!("{}:{kind}", rule.lane)));
        self.push(value, channel, form, join, &lane, repeats);
        let stored = match rule.stored {
            Stored::Never => false,
            Stored::Always => true,
            Stored::Reference => self.above.last().is_some_and(|item| is_reference(*item)),
        };
        if let (true, Some(last)) = (stored, self.out.last_mut()) {
            last.stored = true;
        }
        let index = match rule.apart {
            Apart::Indices => None,
            Apart::SomeIndices(from, to) => {
                Some(self.indices.get(from..to.min(self.indices.len())).unwrap_or_default().join("/"))
            }
            Apart::Number(path) => {
                let number = self.above.first().and_then(|root| root.at(path)?.as_u64());
                Some(number.map(|number| number.to_string()).unwrap_or_default())
            }
        };
        if let (Some(index), Some(last)) = (index, self.out.last_mut()) {
            last.key = format!("{channel}:{lane}:{index}");
            last.path_index = index;
        }
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
        repeats: Option<Replaced>,
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
            stored: false,
        });
    }

    /// The channel of a text inside a message of a request, by the innermost object that tells.
    fn channel_by_role(&self) -> Channel {
        for object in self.above.iter().rev() {
            if is_thought(*object) {
                return Channel::Reasoning;
            }
            match object.get("type").and_then(|v| v.as_str()).as_deref() {
                Some(kind) if kind.ends_with("tool_result") => return Channel::ToolResult,
                Some("thinking" | "reasoning_text" | "summary_text") => return Channel::Reasoning,
                Some(kind) if kind.ends_with("_call_output") => return Channel::ToolResult,
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

    /// The channel of a part of an answer, by the object it stands in.
    fn channel_by_part(&self) -> Channel {
        let Some(object) = self.above.last() else { return Channel::Content };
        let kind = object.get("type").and_then(|v| v.as_str());
        let reasons = matches!(kind.as_deref(), Some("reasoning_text" | "summary_text"));
        if reasons || is_thought(*object) { Channel::Reasoning } else { Channel::Content }
    }

    fn is_media(&self, value: Value<'a>, when: When) -> bool {
        match when {
            When::Always => true,
            When::DataUrl => {
                value.as_str().is_some_and(|s| s.get(..5).is_some_and(|p| p.eq_ignore_ascii_case("data:")))
            }
            When::Type(wanted) => {
                let kind = self.above.last().and_then(|o| o.get("type")).and_then(|v| v.as_str());
                kind.as_deref() == Some(wanted)
            }
        }
    }
}

/// Whether an item of responses only names one that the provider keeps. Its type may be left out; then all that there is is
/// the id.
fn is_reference(item: Value<'_>) -> bool {
    match item.get("type").and_then(|kind| kind.as_str()) {
        Some(kind) => kind == "item_reference",
        None => item.get("content").is_none(),
    }
}

/// Gemini marks the parts of a thought.
fn is_thought(object: Value<'_>) -> bool {
    object.get("thought").and_then(|v| v.as_bool()).unwrap_or(false)
}

fn descends(table: Option<&Table>) -> bool {
    table.is_some_and(|t| !t.members.is_empty() || t.stream_unknown)
}

fn step<'t>(at: At<'_>, table: Option<&'t Table>) -> At<'t> {
    let stream = at.stream || at.table.is_some_and(|t| t.stream_unknown);
    At { table, stream: (stream && table.is_none()) || table.is_some_and(|t| t.stream_unknown) }
}

/// Numbers, or lists of them, and nothing else: ids of tokens.
fn are_ids(value: Value<'_>) -> bool {
    let numbers = |list: Value<'_>| {
        list.kind() == Kind::Array
            && list.children().next().is_some()
            && list.children().all(|id| id.kind() == Kind::Number)
    };
    numbers(value) || value.kind() == Kind::Array && value.children().next().is_some() && value.children().all(numbers)
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
mod tests;
