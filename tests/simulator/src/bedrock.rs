//! Bedrock: `converse` and `converse-stream` in the format that all models share, `invoke` and
//! `invoke-with-response-stream` in Anthropic's, as its models are invoked there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::chat::{echo, tokens};
use crate::directive::{Directive, ToolCall};
use crate::outgoing::{Call, Framing, Outgoing};
use crate::pieces::{Kind, pieces};
use crate::prompt::Prompt;
use crate::sse::Event;
use crate::{CANNED_ANSWER, json, messages};

/// The directive keys that have no meaning here.
const FOREIGN: &[&str] =
    &["content_parts", "reasoning", "refusal", "function_call", "choices", "logprobs", "comments", "crlf"];

/// Real events are padded with the beginning of this, so that their length says less of their text.
const PADDING: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// The error in the middle of a stream.
const FAILED: &str = "modelStreamErrorException";

/// The answer of `converse`, or what is wrong with the request or its directive.
pub(crate) fn converse(call: &Call<'_>, prompt: &Prompt, directive: &Directive) -> Result<Outgoing, String> {
    check(prompt, directive)?;
    let mut content = echo(call, prompt, directive).or_else(|| directive.content.clone());
    if content.is_none() && directive.tool.is_empty() {
        content = Some(CANNED_ANSWER.into());
    }
    let answer = Answer { call, directive, content };
    if prompt.stream {
        Outgoing::stream(&answer.stream(), directive, Framing::EventStream)
    } else {
        Ok(Outgoing::plain(&answer.plain()?, directive))
    }
}

/// The answer of `invoke`, or what is wrong with the request or its directive.
pub(crate) fn invoke(call: &Call<'_>, prompt: &Prompt, directive: &Directive) -> Result<Outgoing, String> {
    check(prompt, directive)?;
    if !prompt.stream {
        return Ok(Outgoing::plain(&messages::document(call, prompt, directive)?, directive));
    }
    let quiet = Directive { error_event: false, ..directive.clone() };
    let inner = messages::events(call, prompt, &quiet);
    let mut events: Vec<Event> = inner.iter().map(|event| chunk(&event.data)).collect();
    if directive.error_event {
        // What ends the message has not come yet.
        events.truncate(events.len().saturating_sub(if directive.no_done { 1 } else { 2 }));
        events.push(failed(directive));
    }
    Outgoing::stream(&events, directive, Framing::EventStream)
}

fn check(prompt: &Prompt, directive: &Directive) -> Result<(), String> {
    if let Some(key) = directive.first_used(FOREIGN) {
        return Err(format!("The directive key {key} has no meaning for Bedrock."));
    }
    if directive.error_event && !prompt.stream {
        return Err("The directive key error_event needs a streamed request.".into());
    }
    Ok(())
}

/// An event of the model's own format, wrapped.
fn chunk(data: &str) -> Event {
    let encoded = STANDARD.encode(data);
    let payload = json!({"bytes": encoded, "p": padding(encoded.len())});
    Event { name: Some("chunk".into()), data: payload.to_string() }
}

fn failed(directive: &Directive) -> Event {
    let payload = json!({"message": "The simulated provider failed in the middle of the answer."});
    Event { name: Some(FAILED.into()), data: json::to_string(&payload, directive) }
}

fn padding(length: usize) -> &'static str {
    // ASCII: any length of it can be cut off.
    PADDING.get(..length % PADDING.len()).unwrap_or_default()
}

struct Answer<'a> {
    call: &'a Call<'a>,
    directive: &'a Directive,
    content: Option<String>,
}

impl Answer<'_> {
    fn plain(&self) -> Result<Value, String> {
        let mut blocks = vec![];
        if let Some(text) = &self.directive.thinking {
            blocks.push(json!({"reasoningContent": {"reasoningText": {"text": text, "signature": self.signature()}}}));
        }
        if let Some(text) = &self.content {
            blocks.push(json!({"text": text}));
        }
        for (index, ToolCall { name, arguments }) in self.directive.tool.iter().enumerate() {
            let input: Value = serde_json::from_str(arguments).map_err(|error| {
                format!("The arguments of tool {index} must be JSON in a plain answer of Bedrock: {error}.")
            })?;
            blocks.push(json!({"toolUse": {"toolUseId": self.tool_id(index), "name": name, "input": input}}));
        }
        let mut answer = json!({
            "metrics": {"latencyMs": 1},
            "output": {"message": {"content": blocks, "role": "assistant"}},
            "stopReason": self.stop_reason(),
        });
        if let Value::Object(members) = &mut answer
            && self.directive.usage != Some(false)
        {
            members.insert("usage".into(), self.usage());
        }
        Ok(answer)
    }

    fn stream(&self) -> Vec<Event> {
        let mut events = vec![self.event("messageStart", json!({"role": "assistant"}))];
        let mut index = 0;
        let mut block = |start: Option<Value>, deltas: Vec<Value>| {
            if let Some(start) = start {
                events.push(self.event("contentBlockStart", json!({"contentBlockIndex": index, "start": start})));
            }
            for delta in deltas {
                events.push(self.event("contentBlockDelta", json!({"contentBlockIndex": index, "delta": delta})));
            }
            events.push(self.event("contentBlockStop", json!({"contentBlockIndex": index})));
            index += 1;
        };
        if let Some(text) = &self.directive.thinking {
            let mut deltas: Vec<Value> =
                self.cut(text, Kind::Prose).map(|piece| json!({"reasoningContent": {"text": piece}})).collect();
            deltas.push(json!({"reasoningContent": {"signature": self.signature()}}));
            block(None, deltas);
        }
        if let Some(text) = &self.content {
            block(None, self.cut(text, Kind::Prose).map(|piece| json!({"text": piece})).collect());
        }
        for (tool_index, ToolCall { name, arguments }) in self.directive.tool.iter().enumerate() {
            let start = json!({"toolUse": {"toolUseId": self.tool_id(tool_index), "name": name}});
            let deltas = self.cut(arguments, Kind::Arguments).map(|piece| json!({"toolUse": {"input": piece}}));
            block(Some(start), deltas.collect());
        }
        if self.directive.error_event {
            events.push(failed(self.directive));
            return events;
        }
        events.push(self.event("messageStop", json!({"stopReason": self.stop_reason()})));
        if self.directive.usage != Some(false) && !self.directive.no_done {
            events.push(self.event("metadata", json!({"metrics": {"latencyMs": 1}, "usage": self.usage()})));
        }
        events
    }

    fn event(&self, name: &'static str, mut payload: Value) -> Event {
        let length = payload.to_string().len();
        if let Value::Object(members) = &mut payload {
            members.insert("p".into(), padding(length).into());
        }
        Event { name: Some(name.into()), data: json::to_string(&payload, self.directive) }
    }

    fn cut(&self, text: &str, kind: Kind) -> impl Iterator<Item = String> + use<> {
        pieces(text, kind, self.directive).into_iter()
    }

    fn stop_reason(&self) -> &str {
        match &self.directive.finish_reason {
            Some(reason) => reason,
            None if self.directive.tool.is_empty() => "end_turn",
            None => "tool_use",
        }
    }

    fn usage(&self) -> Value {
        let prompt = self.call.prompt_tokens();
        let written = tokens(self.content.as_deref())
            + tokens(self.directive.thinking.as_deref())
            + self.directive.tool.iter().map(|tool| tokens(Some(&tool.arguments))).sum::<usize>();
        json!({"inputTokens": prompt, "outputTokens": written, "totalTokens": prompt + written})
    }

    /// Stands where a provider signs the thinking; it signs nothing.
    fn signature(&self) -> String {
        STANDARD.encode(format!("simulated signature {:06}", self.call.number))
    }

    fn tool_id(&self, index: usize) -> String {
        format!("tooluse_simulated{:06}t{index}", self.call.number)
    }
}
