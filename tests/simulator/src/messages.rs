//! Anthropic `/v1/messages`: the answer that a directive describes, as one JSON document or as the events that
//! a real stream has.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::chat::{echo, tokens};
use crate::directive::{Directive, ToolCall};
use crate::outgoing::{Call, Framing, Outgoing};
use crate::pieces::{Kind, pieces};
use crate::prompt::Prompt;
use crate::sse::Event;
use crate::{CANNED_ANSWER, MESSAGES_MODEL, json};

/// The directive keys that have no meaning here.
const FOREIGN: &[&str] = &["content_parts", "reasoning", "refusal", "function_call", "choices", "logprobs"];

/// The answer, or what is wrong with the request or its directive.
pub(crate) fn answer(call: &Call<'_>, prompt: &Prompt, directive: &Directive) -> Result<Outgoing, String> {
    if let Some(key) = directive.first_used(FOREIGN) {
        return Err(format!("The directive key {key} has no meaning for messages."));
    }
    if prompt.stream {
        Outgoing::stream(&events(call, prompt, directive), directive, Framing::Events)
    } else if directive.error_event {
        Err("The directive key error_event needs a streamed request.".into())
    } else {
        Ok(Outgoing::plain(&document(call, prompt, directive)?, directive))
    }
}

/// The answer as one document.
pub(crate) fn document(call: &Call<'_>, prompt: &Prompt, directive: &Directive) -> Result<Value, String> {
    Answer::new(call, prompt, directive).plain()
}

/// The answer as events.
pub(crate) fn events(call: &Call<'_>, prompt: &Prompt, directive: &Directive) -> Vec<Event> {
    Answer::new(call, prompt, directive).stream()
}

struct Answer<'a> {
    call: &'a Call<'a>,
    directive: &'a Directive,
    content: Option<String>,
}

impl<'a> Answer<'a> {
    fn new(call: &'a Call<'a>, prompt: &Prompt, directive: &'a Directive) -> Self {
        let mut content = echo(call, prompt, directive).or_else(|| directive.content.clone());
        if content.is_none() && directive.tool.is_empty() {
            content = Some(CANNED_ANSWER.into());
        }
        Self { call, directive, content }
    }

    fn plain(&self) -> Result<Value, String> {
        let mut blocks = vec![];
        if let Some(thinking) = &self.directive.thinking {
            let signature = self.signature();
            blocks.push(json!({"type": "thinking", "thinking": thinking, "signature": signature}));
        }
        if let Some(text) = &self.content {
            blocks.push(json!({"type": "text", "text": text}));
        }
        for (index, ToolCall { name, arguments }) in self.directive.tool.iter().enumerate() {
            let input: Value = serde_json::from_str(arguments).map_err(|error| {
                format!("The arguments of tool {index} must be JSON in a plain messages answer: {error}.")
            })?;
            blocks.push(json!({"type": "tool_use", "id": self.tool_id(index), "name": name, "input": input}));
        }
        let mut message = self.envelope(&blocks.into());
        if let Value::Object(members) = &mut message {
            members.insert("stop_reason".into(), self.stop_reason().into());
            if self.directive.usage != Some(false) {
                members.insert("usage".into(), self.usage(self.output_tokens()));
            }
        }
        Ok(message)
    }

    fn stream(&self) -> Vec<Event> {
        let mut start = self.envelope(&json!([]));
        if let Value::Object(members) = &mut start
            && self.directive.usage != Some(false)
        {
            members.insert("usage".into(), self.usage(1));
        }
        let mut events = vec![self.event("message_start", &json!({"type": "message_start", "message": start}))];
        let mut index = 0;
        if let Some(thinking) = &self.directive.thinking {
            let opening = json!({"type": "thinking", "thinking": "", "signature": ""});
            let deltas = self
                .cut(thinking, Kind::Prose)
                .map(|piece| json!({"type": "thinking_delta", "thinking": piece}))
                .chain([json!({"type": "signature_delta", "signature": self.signature()})]);
            self.block(&mut events, &mut index, &opening, deltas);
        }
        if let Some(text) = &self.content {
            let deltas = self.cut(text, Kind::Prose).map(|piece| json!({"type": "text_delta", "text": piece}));
            self.block(&mut events, &mut index, &json!({"type": "text", "text": ""}), deltas);
        }
        for (tool_index, ToolCall { name, arguments }) in self.directive.tool.iter().enumerate() {
            let opening = json!({"type": "tool_use", "id": self.tool_id(tool_index), "name": name, "input": {}});
            // Real streams open with an empty fragment.
            let deltas = std::iter::once(String::new())
                .chain(self.cut(arguments, Kind::Arguments))
                .map(|piece| json!({"type": "input_json_delta", "partial_json": piece}));
            self.block(&mut events, &mut index, &opening, deltas);
        }
        if self.directive.error_event {
            let error = json!({
                "type": "error",
                "error": {"type": "overloaded_error", "message": "Overloaded (simulated provider)."},
                "request_id": self.call.request_id(),
            });
            events.push(self.event("error", &error));
            return events;
        }
        let mut last = json!({
            "type": "message_delta",
            "delta": {"stop_reason": self.stop_reason(), "stop_sequence": null},
        });
        if let Value::Object(members) = &mut last
            && self.directive.usage != Some(false)
        {
            members.insert("usage".into(), json!({"output_tokens": self.output_tokens()}));
        }
        events.push(self.event("message_delta", &last));
        if !self.directive.no_done {
            events.push(self.event("message_stop", &json!({"type": "message_stop"})));
        }
        events
    }

    fn block(&self, events: &mut Vec<Event>, index: &mut usize, opening: &Value, deltas: impl Iterator<Item = Value>) {
        let start = json!({"type": "content_block_start", "index": *index, "content_block": opening});
        events.push(self.event("content_block_start", &start));
        if *index == 0 {
            events.push(self.event("ping", &json!({"type": "ping"})));
        }
        for delta in deltas {
            let delta = json!({"type": "content_block_delta", "index": *index, "delta": delta});
            events.push(self.event("content_block_delta", &delta));
        }
        let stop = json!({"type": "content_block_stop", "index": *index});
        events.push(self.event("content_block_stop", &stop));
        *index += 1;
    }

    fn envelope(&self, content: &Value) -> Value {
        json!({
            "model": MESSAGES_MODEL,
            "id": format!("msg_simulated{:06}", self.call.number),
            "type": "message",
            "role": "assistant",
            "content": content,
            "stop_reason": null,
            "stop_sequence": null,
        })
    }

    fn cut(&self, text: &str, kind: Kind) -> impl Iterator<Item = String> + use<> {
        pieces(text, kind, self.directive).into_iter()
    }

    fn event(&self, name: &'static str, data: &Value) -> Event {
        Event { name: Some(name.into()), data: json::to_string(data, self.directive) }
    }

    fn stop_reason(&self) -> &str {
        match &self.directive.finish_reason {
            Some(reason) => reason,
            None if self.directive.tool.is_empty() => "end_turn",
            None => "tool_use",
        }
    }

    fn usage(&self, output_tokens: usize) -> Value {
        json!({
            "input_tokens": self.call.prompt_tokens(),
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": output_tokens,
            "service_tier": "standard",
        })
    }

    fn output_tokens(&self) -> usize {
        tokens(self.content.as_deref())
            + tokens(self.directive.thinking.as_deref())
            + self.directive.tool.iter().map(|tool| tokens(Some(&tool.arguments))).sum::<usize>()
    }

    /// Stands where a provider signs the thinking; it signs nothing.
    fn signature(&self) -> String {
        STANDARD.encode(format!("simulated signature {:06}", self.call.number))
    }

    fn tool_id(&self, index: usize) -> String {
        format!("toolu_simulated{:06}t{index}", self.call.number)
    }
}
