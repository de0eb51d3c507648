//! Decoding: a JSON document and its surface's table become segments, each a text that remembers where it stands.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;

use super::Channel;
use super::table::{Holds, Join, Place, Rule, Table, Tokens, When};
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
        if let (true, Some(last)) = (rule.stored, self.out.last_mut()) {
            last.stored = true;
        }
        let number = |path| self.above.first()?.at(path)?.as_u64().map(|number| number.to_string());
        let only = rule.only_index.map(|depth| self.indices.get(depth).cloned());
        let only = only.or_else(|| rule.numbered_by.map(number));
        if let (Some(index), Some(last)) = (only, self.out.last_mut()) {
            let index = index.unwrap_or_default();
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
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::{Doc, Limits};
    use crate::surface::SURFACES;

    fn of(table: impl Fn(Value<'_>) -> &'static Table, text: &str) -> Vec<Segment> {
        let doc = Doc::parse(text.as_bytes(), Limits::default()).unwrap();
        let root = doc.root(text.as_bytes());
        segments(table(root), root)
    }

    /// `channel pointer text` of each segment.
    fn rows(table: impl Fn(Value<'_>) -> &'static Table, text: &str) -> Vec<String> {
        let rows = of(table, text).into_iter();
        rows.map(|s| format!("{} {} {}", s.channel, s.pointer, &text[s.range])).collect()
    }

    fn table(surface: &str, part: &'static str) -> impl Fn(Value<'_>) -> &'static Table + Copy + use<> {
        let surface = SURFACES.iter().find(|s| s.id == surface).unwrap();
        move |root| match part {
            "request" => (surface.request)(),
            "response" => (surface.response)(),
            _ => (surface.event)(root),
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
        let holder = tokens[0].repeats.clone().unwrap();
        assert_eq!(holder.with, "null");
        assert_eq!(&text[holder.range], r#"{"content":[{"token":"a"},{"token":"b"}]}"#);
    }

    #[test]
    fn every_surface_says_what_of_its_tokens_is_replaced() {
        for (surface, direction, text, replaced, with) in [
            (
                "openai.completions",
                "response",
                r#"{"choices":[{"text":"ab","logprobs":{"tokens":["a","b"]}}]}"#,
                r#"{"tokens":["a","b"]}"#,
                "null",
            ),
            (
                "cohere.chat",
                "response",
                r#"{"message":{"content":[]},"logprobs":[{"text":"a","logprobs":[-1]},{"text":"b"}]}"#,
                r#"[{"text":"a","logprobs":[-1]},{"text":"b"}]"#,
                "[]",
            ),
            (
                "cohere.chat",
                "event",
                r#"{"type":"content-delta","index":0,"logprobs":{"token_ids":[1],"text":"a"}}"#,
                r#"{"token_ids":[1],"text":"a"}"#,
                "null",
            ),
        ] {
            let tokens: Vec<Segment> =
                of(table(surface, direction), text).into_iter().filter(|s| s.channel == Channel::Logprobs).collect();
            assert!(!tokens.is_empty(), "{surface}");
            for token in tokens {
                assert!(
                    token.join == Join::Stream && token.key.starts_with("logprobs:tokens:"),
                    "{surface}: {token:?}"
                );
                let repeats = token.repeats.unwrap();
                assert_eq!((&text[repeats.range], repeats.with), (replaced, with), "{surface}");
            }
        }
    }

    #[test]
    fn a_responses_request() {
        let text = r#"{"model":"m","instructions":"S","previous_response_id":"p","input":[{"role":"user","content":[{"type":"input_text","text":"U"},{"type":"input_image","image_url":"data:image/png;base64,AA"}]},{"type":"message","role":"assistant","content":[{"type":"output_text","text":"A"},{"type":"refusal","refusal":"N"}]},{"type":"reasoning","encrypted_content":"E","summary":[{"type":"summary_text","text":"R"}]},{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":"T"},{"type":"function_call_output","call_id":"c","output":[{"type":"input_text","text":"T2"}]},{"type":"custom_tool_call","name":"g","input":"I"},{"type":"image_generation_call","result":"QUJD"},{"type":"new","result":"text"}],"tools":[{"type":"function","name":"f","description":"D","parameters":{"type":"object"}}]}"#;
        let got = rows(table("openai.responses", "request"), text);
        for row in [
            "system /instructions S",
            "user /input/0/content/0/text U",
            "assistant /input/1/content/0/text A",
            "refusal /input/1/content/1/refusal N",
            "reasoning /input/2/summary/0/text R",
            "metadata /input/2/encrypted_content E",
            "tool_name /input/3/name f",
            "tool_arguments /input/3/arguments {}",
            "tool_result /input/4/output T",
            "tool_result /input/5/output/0/text T2",
            "tool_arguments /input/6/input I",
            "tool_result /input/8/result text",
            "tool_definition /tools/0/description D",
            r#"tool_definition /tools/0/parameters {"type":"object"}"#,
        ] {
            assert!(got.iter().any(|g| g == row), "{row}\nnot in {got:#?}");
        }
        let media = of(table("openai.responses", "request"), text).into_iter().filter(|s| s.form == Form::Media);
        let media: Vec<String> = media.map(|s| s.pointer).collect();
        assert_eq!(media, ["/input/0/content/1/image_url", "/input/7/result"]);
    }

    #[test]
    fn a_gemini_request_in_either_spelling() {
        let text = r#"{"systemInstruction":{"parts":[{"text":"S"}]},"system_instruction":"S2","contents":[{"role":"user","parts":[{"text":"U"},{"inlineData":{"mimeType":"image/png","data":"QUJD"}}]},{"role":"model","parts":[{"text":"H","thought":true,"thoughtSignature":"sig"},{"text":"A"},{"functionCall":{"name":"f","args":{"a":1}}}]},{"parts":{"function_response":{"name":"f","response":{"r":"T"}}}}],"tools":[{"functionDeclarations":[{"name":"f","description":"D","parameters":{"type":"OBJECT"}}]},{"function_declarations":{"description":"D2"}}]}"#;
        let got = rows(table("gemini.generate", "request"), text);
        for row in [
            "system /systemInstruction/parts/0/text S",
            "system /system_instruction S2",
            "user /contents/0/parts/0/text U",
            "reasoning /contents/1/parts/0/text H",
            "metadata /contents/1/parts/0/thoughtSignature sig",
            "assistant /contents/1/parts/1/text A",
            "tool_name /contents/1/parts/2/functionCall/name f",
            r#"tool_arguments /contents/1/parts/2/functionCall/args {"a":1}"#,
            r#"tool_result /contents/2/parts/function_response/response {"r":"T"}"#,
            "tool_definition /tools/0/functionDeclarations/0/description D",
            "tool_definition /tools/1/function_declarations/description D2",
        ] {
            assert!(got.iter().any(|g| g == row), "{row}\nnot in {got:#?}");
        }
        let media = of(table("gemini.generate", "request"), text).into_iter().filter(|s| s.form == Form::Media);
        assert_eq!(media.map(|s| s.pointer).collect::<Vec<_>>(), ["/contents/0/parts/1/inlineData/data"]);
    }

    /// Every stage of a streamed text has the key of its pieces, and the parts that begin one continue into them.
    #[test]
    fn what_a_response_says_again_has_the_key_of_its_pieces() {
        let responses = table("openai.responses", "event");
        let one = |text: &str, channel: Channel| -> (Join, String, String) {
            let found = of(responses, text).into_iter().find(|s| s.channel == channel);
            let found = found.unwrap_or_else(|| panic!("no {channel} in {text}"));
            (found.join, found.key, found.path_index)
        };
        let stages = |channel: Channel, pieces: &[&str], again: &[&str]| {
            let key = one(pieces[0], channel).1;
            for text in pieces {
                assert_eq!(one(text, channel), (Join::Stream, key.clone(), one(pieces[0], channel).2), "{text}");
            }
            for text in again {
                assert_eq!(one(text, channel), (Join::Again, key.clone(), one(pieces[0], channel).2), "{text}");
            }
        };
        stages(
            Channel::Content,
            &[
                r#"{"type":"response.output_text.delta","output_index":1,"content_index":2,"delta":"a"}"#,
                r#"{"type":"response.content_part.added","output_index":1,"content_index":2,"part":{"type":"output_text","text":"a"}}"#,
                r#"{"type":"response.output_item.added","output_index":1,"item":{"content":[{},{},{"type":"output_text","text":"a"}]}}"#,
            ],
            &[
                r#"{"text":"a","output_index":1,"content_index":2,"type":"response.output_text.done"}"#,
                r#"{"type":"response.content_part.done","output_index":1,"content_index":2,"part":{"type":"output_text","text":"a"}}"#,
                r#"{"type":"response.output_item.done","output_index":1,"item":{"content":[{},{},{"type":"output_text","text":"a"}]}}"#,
                r#"{"type":"response.completed","response":{"output":[{},{"content":[{},{},{"type":"output_text","text":"a"}]}]}}"#,
                r#"{"type":"response.incomplete","response":{"output":[{},{"content":[{},{},{"type":"output_text","text":"a"}]}]}}"#,
            ],
        );
        stages(
            Channel::Reasoning,
            &[
                r#"{"type":"response.reasoning_summary_text.delta","output_index":0,"summary_index":1,"delta":"a"}"#,
                r#"{"type":"response.reasoning_summary_part.added","output_index":0,"summary_index":1,"part":{"type":"summary_text","text":""}}"#,
            ],
            &[
                r#"{"type":"response.reasoning_summary_text.done","output_index":0,"summary_index":1,"text":"a"}"#,
                r#"{"type":"response.reasoning_summary_part.done","output_index":0,"summary_index":1,"part":{"type":"summary_text","text":"a"}}"#,
                r#"{"type":"response.output_item.done","output_index":0,"item":{"summary":[{},{"type":"summary_text","text":"a"}]}}"#,
            ],
        );
        stages(
            Channel::Reasoning,
            &[r#"{"type":"response.reasoning_text.delta","output_index":0,"content_index":0,"delta":"a"}"#],
            &[
                r#"{"type":"response.reasoning_text.done","output_index":0,"content_index":0,"text":"a"}"#,
                r#"{"type":"response.failed","response":{"output":[{"content":[{"type":"reasoning_text","text":"a"}]}]}}"#,
            ],
        );
        stages(
            Channel::Refusal,
            &[r#"{"type":"response.refusal.delta","output_index":0,"content_index":0,"delta":"a"}"#],
            &[
                r#"{"type":"response.refusal.done","output_index":0,"content_index":0,"refusal":"a"}"#,
                r#"{"type":"response.content_part.done","output_index":0,"content_index":0,"part":{"type":"refusal","refusal":"a"}}"#,
            ],
        );
        for (delta, done, member) in [
            ("function_call_arguments", "function_call_arguments", "arguments"),
            ("mcp_call_arguments", "mcp_call_arguments", "arguments"),
            ("custom_tool_call_input", "custom_tool_call_input", "input"),
            ("code_interpreter_call_code", "code_interpreter_call_code", "code"),
        ] {
            stages(
                Channel::ToolArguments,
                &[
                    &format!(r#"{{"type":"response.{delta}.delta","output_index":3,"delta":"a"}}"#),
                    &format!(r#"{{"type":"response.output_item.added","output_index":3,"item":{{"{member}":""}}}}"#),
                ],
                &[
                    &format!(r#"{{"type":"response.{done}.done","output_index":3,"{member}":"a"}}"#),
                    &format!(r#"{{"type":"response.output_item.done","output_index":3,"item":{{"{member}":"a"}}}}"#),
                    &format!(
                        r#"{{"type":"response.completed","response":{{"output":[{{}},{{}},{{}},{{"{member}":"a"}}]}}}}"#
                    ),
                ],
            );
        }
        let name = r#"{"type":"response.output_item.added","output_index":3,"item":{"name":"f"}}"#;
        assert_eq!(one(name, Channel::ToolName).2, "3", "a call's name stands where its arguments do");
    }

    #[test]
    fn deltas_that_nobody_foresaw_stream_each_in_its_kind() {
        let responses = table("openai.responses", "event");
        let delta = |kind: &str, delta: &str| {
            let text = format!(r#"{{"type":"response.{kind}.delta","output_index":0,"delta":{delta}}}"#);
            of(responses, &text).into_iter().find(|s| s.join == Join::Stream).unwrap().key
        };
        assert_eq!(delta("a", r#""x""#), delta("a", r#""y""#));
        assert_ne!(delta("a", r#""x""#), delta("b", r#""x""#));
        assert_eq!(delta("a", r#"{"new":"x"}"#), delta("a", r#"{"new":"y"}"#));
    }

    #[test]
    fn the_texts_of_a_candidate_are_one_text() {
        let keys = |part: &'static str, text: &str, channel: Channel| -> Vec<String> {
            let found = of(table("gemini.generate", part), text).into_iter();
            found.filter(|s| s.channel == channel && s.join == Join::Stream).map(|s| s.key).collect()
        };
        let event = r#"{"candidates":[{"index":1,"content":{"parts":[{"text":"t","thought":true},{"text":"a"},{"text":"b"}]}}]}"#;
        let one = keys("event", event, Channel::Content);
        assert_eq!(one.len(), 2);
        assert_eq!(one[0], one[1]);
        assert_eq!(keys("event", event, Channel::Reasoning).len(), 1);
        assert_eq!(keys("response", event, Channel::Content), one);
        // The same in the pieces of an array, whichever element they stand in.
        let array = keys("response", &format!("[{event},{{}},{event}]"), Channel::Content);
        assert_eq!(array, [one[0].clone(), one[0].clone(), one[0].clone(), one[0].clone()]);
        let places = |text: &str| -> Vec<String> {
            let found = of(table("gemini.generate", "response"), text).into_iter();
            found.filter(|s| s.channel == Channel::ToolName).map(|s| s.path_index).collect()
        };
        let call = r#"{"candidates":[{"content":{"parts":[{"text":"t"},{"functionCall":{"name":"f"}},{"functionCall":{"name":"g"}}]}}]}"#;
        assert_eq!(places(call), ["0/1", "0/2"]);
        assert_eq!(places(&format!("[{call},{call}]")), ["0/0/1", "0/0/2", "1/0/1", "1/0/2"]);
    }

    #[test]
    fn repeated_tokens_of_a_response_become_an_empty_array() {
        let text = r#"{"type":"response.output_text.delta","delta":"ab","logprobs":[{"token":"a"},{"token":"b"}]}"#;
        let tokens = of(table("openai.responses", "event"), text);
        let token = tokens.into_iter().find(|s| s.channel == Channel::Logprobs).unwrap();
        let array = token.repeats.unwrap();
        assert_eq!((&text[array.range], array.with), (r#"[{"token":"a"},{"token":"b"}]"#, "[]"));
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
            "item",
            "part",
            "response",
            "output",
            "output_index",
            "summary",
            "candidates",
            "parts",
            "thought",
            "functionCall",
            "function_response",
            "args",
            "contents",
            "result",
            "new",
            "é/~",
        ]);
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<u8>().prop_map(Into::into),
            prop::sample::select(vec![
                "user",
                "base64",
                "tool_result",
                "response.output_text.delta",
                "response.output_item.done",
                "response.completed",
                "response.new.delta",
                "x\n\"y",
                "data:x",
                ""
            ])
            .prop_map(Into::into),
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
        fn every_string_is_in_a_segment(value in json(), surface in 0..SURFACES.len(), part in 0usize..3) {
            let text = value.to_string();
            let surface = SURFACES[surface];
            let doc = Doc::parse(text.as_bytes(), Limits::default()).unwrap();
            let event = (surface.event)(doc.root(text.as_bytes()));
            let table = [(surface.request)(), (surface.response)(), event][part];
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
