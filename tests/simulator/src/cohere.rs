//! Cohere `/v2/chat`: the answer that a directive describes, as one JSON document or as the events that a real stream has.

use serde_json::{Map, Value, json};

use crate::chat::{echo, tokens};
use crate::directive::{Directive, ToolCall};
use crate::outgoing::{Call, Framing, Outgoing};
use crate::pieces::{Kind, pieces};
use crate::prompt::Prompt;
use crate::sse::Event;
use crate::{CANNED_ANSWER, json};

/// The directive keys that have no meaning here.
const FOREIGN: &[&str] = &["content_parts", "refusal", "function_call", "choices"];

/// The answer, or what is wrong with the request or its directive.
pub(crate) fn answer(call: &Call<'_>, prompt: &Prompt, directive: &Directive) -> Result<Outgoing, String> {
    if let Some(key) = directive.first_used(FOREIGN) {
        return Err(format!("The directive key {key} has no meaning for Cohere."));
    }
    let mut content = echo(call, prompt, directive).or_else(|| directive.content.clone());
    if content.is_none() && directive.tool.is_empty() {
        content = Some(CANNED_ANSWER.into());
    }
    let answer = Answer { call, directive, content, logprobs: directive.logprobs || prompt.logprobs };
    if prompt.stream {
        Outgoing::stream(&answer.stream(), directive, Framing::Events)
    } else if directive.error_event {
        Err("The directive key error_event needs a streamed request.".into())
    } else {
        Ok(Outgoing::plain(&answer.plain(), directive))
    }
}

struct Answer<'a> {
    call: &'a Call<'a>,
    directive: &'a Directive,
    content: Option<String>,
    logprobs: bool,
}

impl Answer<'_> {
    fn plain(&self) -> Value {
        let mut message = Map::new();
        message.insert("role".into(), "assistant".into());
        let thinking = self.directive.thinking.iter().map(|text| json!({"type": "thinking", "thinking": text}));
        let text = self.content.iter().map(|text| json!({"type": "text", "text": text}));
        let blocks: Vec<Value> = thinking.chain(text).collect();
        if !blocks.is_empty() {
            message.insert("content".into(), blocks.into());
        }
        if let Some(plan) = &self.directive.reasoning {
            message.insert("tool_plan".into(), plan.as_str().into());
        }
        if !self.directive.tool.is_empty() {
            let calls = self.directive.tool.iter().enumerate().map(|(index, ToolCall { name, arguments })| {
                let function = json!({"name": name, "arguments": arguments});
                json!({"id": self.tool_id(index), "type": "function", "function": function})
            });
            message.insert("tool_calls".into(), calls.collect());
        }
        let mut answer = Map::new();
        answer.insert("id".into(), self.id().into());
        answer.insert("message".into(), message.into());
        answer.insert("finish_reason".into(), self.finish_reason().into());
        if self.logprobs
            && let Some(text) = self.content.as_deref()
        {
            answer.insert("logprobs".into(), self.cut(text, Kind::Prose).iter().map(|piece| logprobs(piece)).collect());
        }
        if self.directive.usage != Some(false) {
            answer.insert("usage".into(), self.usage());
        }
        Value::Object(answer)
    }

    fn stream(&self) -> Vec<Event> {
        let opening = json!({"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []});
        let start = json!({"id": self.id(), "type": "message-start", "delta": {"message": opening}});
        let mut events = vec![self.event("message-start", &start)];
        for piece in self.cut(self.directive.reasoning.as_deref().unwrap_or_default(), Kind::Prose) {
            let delta = json!({"message": {"tool_plan": piece}});
            events.push(self.event("tool-plan-delta", &json!({"type": "tool-plan-delta", "delta": delta})));
        }
        let texts = [("thinking", self.directive.thinking.as_deref()), ("text", self.content.as_deref())];
        let present = texts.into_iter().filter_map(|(kind, text)| text.map(|text| (kind, text)));
        for (index, (kind, text)) in present.enumerate() {
            let content = |value: Value| json!({"message": {"content": value}});
            let opening = content(json!({"type": kind, kind: ""}));
            let start = json!({"type": "content-start", "index": index, "delta": opening});
            events.push(self.event("content-start", &start));
            for piece in self.cut(text, Kind::Prose) {
                let mut delta =
                    json!({"type": "content-delta", "index": index, "delta": content(json!({kind: piece}))});
                if let (Value::Object(members), true) = (&mut delta, self.logprobs && kind == "text") {
                    members.insert("logprobs".into(), logprobs(&piece));
                }
                events.push(self.event("content-delta", &delta));
            }
            events.push(self.event("content-end", &json!({"type": "content-end", "index": index})));
        }
        for (index, ToolCall { name, arguments }) in self.directive.tool.iter().enumerate() {
            let mut push = |kind: &'static str, call: Option<Value>| {
                let mut event = json!({"type": kind, "index": index});
                if let (Value::Object(members), Some(call)) = (&mut event, call) {
                    members.insert("delta".into(), json!({"message": {"tool_calls": call}}));
                }
                events.push(self.event(kind, &event));
            };
            let function = json!({"name": name, "arguments": ""});
            push("tool-call-start", Some(json!({"id": self.tool_id(index), "type": "function", "function": function})));
            for piece in self.cut(arguments, Kind::Arguments) {
                push("tool-call-delta", Some(json!({"function": {"arguments": piece}})));
            }
            push("tool-call-end", None);
        }
        if self.directive.error_event {
            let error = "The simulated provider failed in the middle of the answer.";
            let delta = json!({"error": error, "finish_reason": "ERROR"});
            events.push(self.event("message-end", &json!({"type": "message-end", "delta": delta})));
            return events;
        }
        let mut delta = json!({"finish_reason": self.finish_reason()});
        if let Value::Object(members) = &mut delta
            && self.directive.usage != Some(false)
        {
            members.insert("usage".into(), self.usage());
        }
        events.push(self.event("message-end", &json!({"type": "message-end", "delta": delta})));
        if !self.directive.no_done {
            events.push(Event { name: None, data: "[DONE]".into() });
        }
        events
    }

    fn event(&self, name: &'static str, data: &Value) -> Event {
        Event { name: Some(name.into()), data: json::to_string(data, self.directive) }
    }

    fn cut(&self, text: &str, kind: Kind) -> Vec<String> {
        pieces(text, kind, self.directive)
    }

    fn finish_reason(&self) -> &str {
        match &self.directive.finish_reason {
            Some(reason) => reason,
            None if self.directive.tool.is_empty() => "COMPLETE",
            None => "TOOL_CALL",
        }
    }

    fn usage(&self) -> Value {
        let texts = [&self.content, &self.directive.thinking, &self.directive.reasoning];
        let written = texts.into_iter().map(|text| tokens(text.as_deref())).sum::<usize>()
            + self.directive.tool.iter().map(|tool| tokens(Some(&tool.arguments))).sum::<usize>();
        let counted = json!({"input_tokens": self.call.prompt_tokens(), "output_tokens": written});
        json!({"billed_units": counted, "tokens": counted, "cached_tokens": 0})
    }

    fn id(&self) -> String {
        format!("simulated-{:06}", self.call.number)
    }

    fn tool_id(&self, index: usize) -> String {
        format!("call_simulated{:06}t{index}", self.call.number)
    }
}

fn logprobs(piece: &str) -> Value {
    json!({"token_ids": [1], "text": piece, "logprobs": [-0.25]})
}
