//! OpenAI `/v1/responses`: the answer that a directive describes, as one JSON document or as the typed events that a real
//! stream has, each text said again at every stage.

use serde_json::{Map, Value, json};

use crate::chat::{echo, token, tokens};
use crate::directive::{Directive, FunctionCall, ToolCall};
use crate::outgoing::{Call, Framing, Outgoing};
use crate::pieces::{Kind, pieces};
use crate::prompt::Prompt;
use crate::sse::Event;
use crate::{CANNED_ANSWER, CHAT_MODEL, json};

/// The directive keys that have no meaning here.
const FOREIGN: &[&str] = &["content_parts", "choices"];

/// The answer, or what is wrong with the request or its directive.
pub(crate) fn answer(call: &Call<'_>, prompt: &Prompt, directive: &Directive) -> Result<Outgoing, String> {
    if let Some(key) = directive.first_used(FOREIGN) {
        return Err(format!("The directive key {key} has no meaning for responses."));
    }
    let answer = Answer { call, directive, logprobs: directive.logprobs || prompt.logprobs };
    let items = answer.items(echo(call, prompt, directive).or_else(|| directive.content.clone()));
    if prompt.stream {
        Outgoing::stream(&answer.stream(&items), directive, Framing::Events)
    } else if directive.error_event {
        Err("The directive key error_event needs a streamed request.".into())
    } else {
        let output = items.iter().map(|item| item.whole(&answer)).collect();
        Ok(Outgoing::plain(&answer.response(answer.ended(), output), directive))
    }
}

struct Answer<'a> {
    call: &'a Call<'a>,
    directive: &'a Directive,
    logprobs: bool,
}

/// An output item with one text.
struct Item {
    id: String,
    kind: ItemKind,
    text: String,
}

enum ItemKind {
    Summary,
    Reasoning,
    Text,
    Refusal,
    Function(String),
    Custom(String),
}

impl Item {
    /// The names of its events and of the member that has the text.
    fn names(&self) -> (&'static str, &'static str) {
        match self.kind {
            ItemKind::Summary => ("reasoning_summary_text", "text"),
            ItemKind::Reasoning => ("reasoning_text", "text"),
            ItemKind::Text => ("output_text", "text"),
            ItemKind::Refusal => ("refusal", "refusal"),
            ItemKind::Function(_) => ("function_call_arguments", "arguments"),
            ItemKind::Custom(_) => ("custom_tool_call_input", "input"),
        }
    }

    /// The name of the events of its part, and of the index that counts its parts.
    fn part_names(&self) -> Option<(&'static str, &'static str)> {
        match self.kind {
            ItemKind::Summary => Some(("reasoning_summary_part", "summary_index")),
            ItemKind::Reasoning => Some(("reasoning_part", "content_index")),
            ItemKind::Text | ItemKind::Refusal => Some(("content_part", "content_index")),
            ItemKind::Function(_) | ItemKind::Custom(_) => None,
        }
    }

    fn part(&self, text: &str, answer: &Answer<'_>) -> Value {
        match self.kind {
            ItemKind::Summary => json!({"type": "summary_text", "text": text}),
            ItemKind::Reasoning => json!({"type": "reasoning_text", "text": text}),
            ItemKind::Refusal => json!({"type": "refusal", "refusal": text}),
            _ => {
                let logprobs = if answer.logprobs { answer.cut(text, Kind::Prose) } else { vec![] };
                let logprobs: Vec<Value> = logprobs.iter().map(|piece| token(piece)).collect();
                json!({"type": "output_text", "annotations": [], "logprobs": logprobs, "text": text})
            }
        }
    }

    /// The item with this of its text; in progress where there is none of it yet.
    fn with(&self, text: Option<&str>, answer: &Answer<'_>) -> Value {
        let status = if text.is_some() { "completed" } else { "in_progress" };
        let parts: Vec<Value> = text.map(|text| self.part(text, answer)).into_iter().collect();
        let text = text.unwrap_or_default();
        match &self.kind {
            ItemKind::Summary => json!({"id": self.id, "type": "reasoning", "summary": parts}),
            ItemKind::Reasoning => {
                json!({"id": self.id, "type": "reasoning", "summary": [], "content": parts, "status": status})
            }
            ItemKind::Text | ItemKind::Refusal => {
                json!({"id": self.id, "type": "message", "status": status, "content": parts, "role": "assistant"})
            }
            ItemKind::Function(name) => json!({
                "id": self.id, "type": "function_call", "status": status, "arguments": text,
                "call_id": format!("call_{}", self.id), "name": name,
            }),
            ItemKind::Custom(name) => json!({
                "id": self.id, "type": "custom_tool_call", "status": status, "input": text,
                "call_id": format!("call_{}", self.id), "name": name,
            }),
        }
    }

    fn whole(&self, answer: &Answer<'_>) -> Value {
        self.with(Some(&self.text), answer)
    }
}

impl Answer<'_> {
    fn items(&self, content: Option<String>) -> Vec<Item> {
        let directive = self.directive;
        let mut items: Vec<(ItemKind, String)> = vec![];
        items.extend(directive.reasoning.clone().map(|text| (ItemKind::Summary, text)));
        items.extend(directive.thinking.clone().map(|text| (ItemKind::Reasoning, text)));
        let silent = directive.refusal.is_none() && directive.tool.is_empty() && directive.function_call.is_none();
        let content = content.or_else(|| silent.then(|| CANNED_ANSWER.to_owned()));
        items.extend(content.map(|text| (ItemKind::Text, text)));
        items.extend(directive.refusal.clone().map(|text| (ItemKind::Refusal, text)));
        for ToolCall { name, arguments } in &directive.tool {
            items.push((ItemKind::Function(name.clone()), arguments.clone()));
        }
        if let Some(FunctionCall { name, arguments }) = &directive.function_call {
            items.push((ItemKind::Custom(name.clone()), arguments.clone()));
        }
        let number = self.call.number;
        let item = |(index, (kind, text))| Item { id: format!("item_simulated{number:06}i{index}"), kind, text };
        items.into_iter().enumerate().map(item).collect()
    }

    fn ended(&self) -> &'static str {
        if self.directive.finish_reason.is_some() { "incomplete" } else { "completed" }
    }

    fn response(&self, status: &str, output: Vec<Value>) -> Value {
        let reason = self.directive.finish_reason.as_ref().filter(|_| status == "incomplete");
        let ended = status != "in_progress" && self.directive.usage != Some(false);
        let usage = ended.then(|| self.usage(&output));
        json!({
            "id": format!("resp_simulated{:06}", self.call.number),
            "object": "response",
            "created_at": self.call.created,
            "status": status,
            "error": null,
            "incomplete_details": reason.map(|reason| json!({"reason": reason})),
            "instructions": null,
            "metadata": {},
            "model": CHAT_MODEL,
            "output": output,
            "parallel_tool_calls": true,
            "temperature": 1.0,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "usage": usage,
        })
    }

    fn usage(&self, output: &[Value]) -> Value {
        let input = self.call.prompt_tokens();
        let written: usize = output.iter().map(|item| tokens(Some(&item.to_string()))).sum();
        let reasoning = tokens(self.directive.reasoning.as_deref()) + tokens(self.directive.thinking.as_deref());
        json!({
            "input_tokens": input,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": reasoning},
            "total_tokens": input + written,
        })
    }

    fn stream(&self, items: &[Item]) -> Vec<Event> {
        let mut events = Events { answer: self, events: vec![] };
        for kind in ["response.created", "response.in_progress"] {
            events.push(kind, [("response", self.response("in_progress", vec![]))]);
        }
        for (index, item) in items.iter().enumerate() {
            self.item(&mut events, index, item);
        }
        if self.directive.error_event {
            let message = "The simulated provider failed in the middle of the answer.";
            events
                .push("error", [("code", json!("server_error")), ("message", json!(message)), ("param", Value::Null)]);
            return events.events;
        }
        if !self.directive.no_done {
            let output = items.iter().map(|item| item.whole(self)).collect();
            let kind = if self.ended() == "completed" { "response.completed" } else { "response.incomplete" };
            events.push(kind, [("response", self.response(self.ended(), output))]);
        }
        events.events
    }

    fn item(&self, events: &mut Events<'_>, index: usize, item: &Item) {
        let (name, member) = item.names();
        let parts = item.part_names();
        let mut place = vec![("item_id", json!(item.id)), ("output_index", json!(index))];
        place.extend(parts.map(|(_, counted)| (counted, json!(0))));
        let at = |more: &[(&'static str, Value)]| place.iter().chain(more).cloned().collect::<Vec<_>>();
        let added = [("output_index", json!(index)), ("item", item.with(None, self))];
        events.push("response.output_item.added", added);
        if let Some((part, _)) = parts {
            events.push(format!("response.{part}.added"), at(&[("part", item.part("", self))]));
        }
        let is_call = matches!(item.kind, ItemKind::Function(_) | ItemKind::Custom(_));
        let kind = if is_call { Kind::Arguments } else { Kind::Prose };
        let logprobs = |text: &[String]| -> Option<(&'static str, Value)> {
            let shown = matches!(item.kind, ItemKind::Text);
            shown.then(|| ("logprobs", text.iter().filter(|_| self.logprobs).map(|piece| token(piece)).collect()))
        };
        let pieces = self.cut(&item.text, kind);
        for piece in &pieces {
            let mut more = vec![("delta", json!(piece))];
            more.extend(logprobs(std::slice::from_ref(piece)));
            events.push(format!("response.{name}.delta"), at(&more));
        }
        let mut more = vec![(member, json!(item.text))];
        more.extend(logprobs(&pieces));
        events.push(format!("response.{name}.done"), at(&more));
        if let Some((part, _)) = parts {
            events.push(format!("response.{part}.done"), at(&[("part", item.part(&item.text, self))]));
        }
        events.push("response.output_item.done", [("output_index", json!(index)), ("item", item.whole(self))]);
    }

    fn cut(&self, text: &str, kind: Kind) -> Vec<String> {
        pieces(text, kind, self.directive)
    }
}

struct Events<'a> {
    answer: &'a Answer<'a>,
    events: Vec<Event>,
}

impl Events<'_> {
    fn push(&mut self, kind: impl Into<String>, members: impl IntoIterator<Item = (&'static str, Value)>) {
        let kind = kind.into();
        let mut data = Map::new();
        data.insert("type".into(), kind.as_str().into());
        data.insert("sequence_number".into(), self.events.len().into());
        data.extend(members.into_iter().map(|(name, value)| (name.to_owned(), value)));
        let data = json::to_string(&Value::Object(data), self.answer.directive);
        self.events.push(Event { name: Some(kind.into()), data });
    }
}
