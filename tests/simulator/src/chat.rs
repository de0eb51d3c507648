//! OpenAI `/v1/chat/completions`: the answer that a directive describes, as one JSON document or as the chunks
//! that a real stream has.

use serde_json::{Map, Value, json};

use crate::directive::{CHOICES_MAX, Directive, FunctionCall, ReasoningField, Reply, ToolCall, without_directive};
use crate::outgoing::{Call, Framing, Outgoing};
use crate::pieces::{Kind, pieces};
use crate::prompt::Prompt;
use crate::sse::Event;
use crate::{CANNED_ANSWER, CHAT_MODEL, json};

/// The directive keys that have no meaning here.
const FOREIGN: &[&str] = &["thinking"];

/// The answer, or what is wrong with the request or its directive.
pub(crate) fn answer(call: &Call<'_>, prompt: &Prompt, directive: &Directive) -> Result<Outgoing, String> {
    if let Some(key) = directive.first_used(FOREIGN) {
        return Err(format!("The directive key {key} has no meaning for chat completions."));
    }
    let answer = Answer { call, directive, logprobs: directive.logprobs || prompt.logprobs };
    let replies = replies(call, prompt, directive)?;
    if prompt.stream {
        let usage = directive.usage.unwrap_or(prompt.include_usage);
        Outgoing::stream(&answer.stream(&replies, usage), directive, Framing::Events)
    } else if directive.error_event {
        Err("The directive key error_event needs a streamed request.".into())
    } else {
        Ok(Outgoing::plain(&answer.plain(&replies), directive))
    }
}

fn replies(call: &Call<'_>, prompt: &Prompt, directive: &Directive) -> Result<Vec<Reply>, String> {
    if !directive.choices.is_empty() {
        return Ok(directive.choices.iter().cloned().map(or_canned).collect());
    }
    if !(1..=CHOICES_MAX).contains(&prompt.choices) {
        return Err(format!("n is {}: it must be 1 to {CHOICES_MAX}.", prompt.choices));
    }
    let reply = or_canned(Reply {
        content: echo(call, prompt, directive).or_else(|| directive.content.clone()),
        reasoning: directive.reasoning.clone(),
        refusal: directive.refusal.clone(),
        tool: directive.tool.clone(),
        function_call: directive.function_call.clone(),
        finish_reason: directive.finish_reason.clone(),
    });
    Ok(vec![reply; prompt.choices])
}

/// The text that an echo directive asks for.
pub(crate) fn echo(call: &Call<'_>, prompt: &Prompt, directive: &Directive) -> Option<String> {
    if directive.echo {
        Some(without_directive(&prompt.user))
    } else if directive.echo_reversed {
        Some(without_directive(&prompt.user).chars().rev().collect())
    } else if directive.echo_system {
        Some(prompt.system.clone())
    } else {
        directive.echo_body.then(|| String::from_utf8_lossy(call.body).into_owned())
    }
}

fn or_canned(mut reply: Reply) -> Reply {
    let says_nothing =
        reply.content.is_none() && reply.refusal.is_none() && reply.tool.is_empty() && reply.function_call.is_none();
    if says_nothing {
        reply.content = Some(CANNED_ANSWER.into());
    }
    reply
}

struct Answer<'a> {
    call: &'a Call<'a>,
    directive: &'a Directive,
    logprobs: bool,
}

/// A delta with the log probabilities of its tokens.
struct Delta {
    delta: Value,
    logprobs: Value,
}

impl From<Value> for Delta {
    fn from(delta: Value) -> Self {
        Self { delta, logprobs: Value::Null }
    }
}

impl Answer<'_> {
    fn plain(&self, replies: &[Reply]) -> Value {
        let choices: Vec<Value> = replies
            .iter()
            .enumerate()
            .map(|(index, reply)| {
                json!({
                    "index": index,
                    "message": self.message(index, reply),
                    "logprobs": self.all_logprobs(reply),
                    "finish_reason": finish_reason(reply),
                })
            })
            .collect();
        let mut answer = json!({
            "id": self.id(),
            "object": "chat.completion",
            "created": self.call.created,
            "model": CHAT_MODEL,
            "choices": choices,
        });
        if let Value::Object(members) = &mut answer {
            if self.directive.usage != Some(false) {
                members.insert("usage".into(), self.usage(replies));
            }
            members.insert("service_tier".into(), "default".into());
            members.insert("system_fingerprint".into(), "fp_simulated".into());
        }
        answer
    }

    fn message(&self, choice: usize, reply: &Reply) -> Value {
        let mut message = Map::new();
        message.insert("role".into(), "assistant".into());
        let content = reply.content.as_deref();
        message.insert("content".into(), content.map_or(Value::Null, |text| self.content(text)));
        message.insert("refusal".into(), json!(reply.refusal));
        if let Some(text) = &reply.reasoning {
            message.append(&mut self.reasoning(text));
        }
        if !reply.tool.is_empty() {
            let calls = reply.tool.iter().enumerate().map(|(index, tool)| {
                json!({
                    "id": self.tool_id(choice, index),
                    "type": "function",
                    "function": {"name": tool.name, "arguments": tool.arguments},
                })
            });
            message.insert("tool_calls".into(), calls.collect());
        }
        if let Some(FunctionCall { name, arguments }) = &reply.function_call {
            message.insert("function_call".into(), json!({"name": name, "arguments": arguments}));
        }
        message.insert("annotations".into(), json!([]));
        Value::Object(message)
    }

    fn stream(&self, replies: &[Reply], usage: bool) -> Vec<Event> {
        let mut queues: Vec<_> =
            replies.iter().enumerate().map(|(index, reply)| self.deltas(index, reply).into_iter()).collect();
        let mut events = vec![];
        // Real streams of several choices interleave them.
        loop {
            let before = events.len();
            for (index, queue) in queues.iter_mut().enumerate() {
                if let Some(delta) = queue.next() {
                    events.push(self.chunk(index, &delta, &Value::Null, usage));
                }
            }
            if events.len() == before {
                break;
            }
        }
        if self.directive.error_event {
            let error = json!({"error": {
                "message": "The simulated provider failed in the middle of the answer.",
                "type": "server_error",
                "param": null,
                "code": null,
            }});
            events.push(Event { name: None, data: json::to_string(&error, self.directive) });
            return events;
        }
        for (index, reply) in replies.iter().enumerate() {
            let reason = finish_reason(reply).into();
            events.push(self.chunk(index, &json!({}).into(), &reason, usage));
        }
        if usage {
            let mut chunk = self.envelope();
            chunk.insert("choices".into(), json!([]));
            chunk.insert("usage".into(), self.usage(replies));
            events.push(self.event(chunk));
        }
        if !self.directive.no_done {
            events.push(Event { name: None, data: "[DONE]".into() });
        }
        events
    }

    fn deltas(&self, choice: usize, reply: &Reply) -> Vec<Delta> {
        let opening = if reply.content.is_some() { "".into() } else { Value::Null };
        let mut deltas: Vec<Delta> = vec![json!({"role": "assistant", "content": opening, "refusal": null}).into()];
        for piece in self.cut(reply.reasoning.as_deref(), Kind::Prose) {
            deltas.push(Value::Object(self.reasoning(&piece)).into());
        }
        for piece in self.cut(reply.content.as_deref(), Kind::Prose) {
            let logprobs = self.piece_logprobs("content", &piece);
            deltas.push(Delta { delta: json!({"content": self.content(&piece)}), logprobs });
        }
        for piece in self.cut(reply.refusal.as_deref(), Kind::Prose) {
            let logprobs = self.piece_logprobs("refusal", &piece);
            deltas.push(Delta { delta: json!({"refusal": piece}), logprobs });
        }
        for (index, ToolCall { name, arguments }) in reply.tool.iter().enumerate() {
            let id = self.tool_id(choice, index);
            let function = json!({"name": name, "arguments": ""});
            let first = json!({"index": index, "id": id, "type": "function", "function": function});
            deltas.push(json!({"tool_calls": [first]}).into());
            for piece in self.cut(Some(arguments), Kind::Arguments) {
                let fragment = json!({"index": index, "function": {"arguments": piece}});
                deltas.push(json!({"tool_calls": [fragment]}).into());
            }
        }
        if let Some(FunctionCall { name, arguments }) = &reply.function_call {
            deltas.push(json!({"function_call": {"name": name, "arguments": ""}}).into());
            for piece in self.cut(Some(arguments), Kind::Arguments) {
                deltas.push(json!({"function_call": {"arguments": piece}}).into());
            }
        }
        deltas
    }

    fn cut(&self, text: Option<&str>, kind: Kind) -> Vec<String> {
        text.map(|text| pieces(text, kind, self.directive)).unwrap_or_default()
    }

    fn chunk(&self, choice: usize, delta: &Delta, finish_reason: &Value, usage: bool) -> Event {
        let mut chunk = self.envelope();
        let choice = json!({
            "index": choice,
            "delta": delta.delta,
            "logprobs": delta.logprobs,
            "finish_reason": finish_reason,
        });
        chunk.insert("choices".into(), json!([choice]));
        if usage {
            chunk.insert("usage".into(), Value::Null);
        }
        self.event(chunk)
    }

    fn envelope(&self) -> Map<String, Value> {
        let envelope = [
            ("id", json!(self.id())),
            ("object", json!("chat.completion.chunk")),
            ("created", json!(self.call.created)),
            ("model", json!(CHAT_MODEL)),
            ("service_tier", json!("default")),
            ("system_fingerprint", json!("fp_simulated")),
        ];
        envelope.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn event(&self, chunk: Map<String, Value>) -> Event {
        Event { name: None, data: json::to_string(&Value::Object(chunk), self.directive) }
    }

    fn content(&self, text: &str) -> Value {
        if self.directive.content_parts { json!([{"type": "text", "text": text}]) } else { text.into() }
    }

    fn reasoning(&self, text: &str) -> Map<String, Value> {
        let mut members = Map::new();
        match self.directive.reasoning_field {
            ReasoningField::ReasoningContent => {
                members.insert("reasoning_content".into(), text.into());
            }
            ReasoningField::Reasoning => {
                members.insert("reasoning".into(), text.into());
            }
            ReasoningField::ReasoningDetails => {
                members.insert("reasoning".into(), text.into());
                let detail = json!({"type": "reasoning.text", "text": text, "format": "unknown", "index": 0});
                members.insert("reasoning_details".into(), json!([detail]));
            }
        }
        members
    }

    fn piece_logprobs(&self, channel: &str, piece: &str) -> Value {
        if !self.logprobs {
            return Value::Null;
        }
        let tokens = json!([token(piece)]);
        match channel {
            "refusal" => json!({"content": null, "refusal": tokens}),
            _ => json!({"content": tokens, "refusal": null}),
        }
    }

    fn all_logprobs(&self, reply: &Reply) -> Value {
        if !self.logprobs {
            return Value::Null;
        }
        let tokens = |text: Option<&str>| -> Option<Vec<Value>> {
            text.map(|_| self.cut(text, Kind::Prose).iter().map(|piece| token(piece)).collect())
        };
        json!({"content": tokens(reply.content.as_deref()), "refusal": tokens(reply.refusal.as_deref())})
    }

    fn usage(&self, replies: &[Reply]) -> Value {
        let prompt = self.call.prompt_tokens();
        let reasoning: usize = replies.iter().map(|reply| tokens(reply.reasoning.as_deref())).sum();
        let completion: usize = replies.iter().map(completion_tokens).sum();
        json!({
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": reasoning,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        })
    }

    fn id(&self) -> String {
        format!("chatcmpl-simulated{:06}", self.call.number)
    }

    fn tool_id(&self, choice: usize, index: usize) -> String {
        format!("call_simulated{:06}c{choice}t{index}", self.call.number)
    }
}

fn finish_reason(reply: &Reply) -> &str {
    match reply {
        Reply { finish_reason: Some(reason), .. } => reason,
        Reply { tool, .. } if !tool.is_empty() => "tool_calls",
        Reply { function_call: Some(_), .. } => "function_call",
        _ => "stop",
    }
}

pub(crate) fn token(piece: &str) -> Value {
    json!({"token": piece, "logprob": -0.25, "bytes": piece.as_bytes(), "top_logprobs": []})
}

/// A rough count, four bytes to a token.
pub(crate) fn tokens(text: Option<&str>) -> usize {
    text.map_or(0, |text| text.len().div_ceil(4))
}

fn completion_tokens(reply: &Reply) -> usize {
    let texts = [&reply.content, &reply.reasoning, &reply.refusal];
    texts.into_iter().map(|text| tokens(text.as_deref())).sum::<usize>()
        + reply.tool.iter().map(|tool| tokens(Some(&tool.arguments))).sum::<usize>()
        + reply.function_call.iter().map(|call| tokens(Some(&call.arguments))).sum::<usize>()
}
