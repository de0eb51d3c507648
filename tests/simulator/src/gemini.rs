//! Gemini `:generateContent` and `:streamGenerateContent`: the answer that a directive describes, as one JSON document, as
//! server-sent events with CR LF, or as one JSON array.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::chat::{echo, token, tokens};
use crate::directive::{Directive, Reply, ToolCall};
use crate::outgoing::{Call, Framing, Outgoing};
use crate::pieces::{Kind, pieces};
use crate::prompt::Prompt;
use crate::sse::Event;
use crate::{CANNED_ANSWER, GEMINI_MODEL, json};

/// The directive keys that have no meaning here.
const FOREIGN: &[&str] = &["content_parts", "reasoning", "refusal", "function_call"];

/// The answer, or what is wrong with the request or its directive. `array`: a stream is one JSON array.
pub(crate) fn answer(call: &Call<'_>, prompt: &Prompt, array: bool, directive: &Directive) -> Result<Outgoing, String> {
    if let Some(key) = directive.first_used(FOREIGN) {
        return Err(format!("The directive key {key} has no meaning for Gemini."));
    }
    let answer = Answer { call, directive };
    let replies = if directive.choices.is_empty() {
        vec![Reply {
            content: echo(call, prompt, directive).or_else(|| directive.content.clone()),
            tool: directive.tool.clone(),
            finish_reason: directive.finish_reason.clone(),
            ..Reply::default()
        }]
    } else {
        directive.choices.clone()
    };
    let candidates = replies.iter().map(|reply| answer.candidate(reply)).collect::<Result<Vec<_>, _>>()?;
    if !prompt.stream {
        if directive.error_event {
            return Err("The directive key error_event needs a streamed request.".into());
        }
        return Ok(Outgoing::plain(&answer.plain(&candidates), directive));
    }
    let framing = if array { Framing::Array } else { Framing::CrLfEvents };
    Outgoing::stream(&answer.stream(&candidates), directive, framing)
}

struct Answer<'a> {
    call: &'a Call<'a>,
    directive: &'a Directive,
}

struct Candidate {
    thought: Option<String>,
    content: Option<String>,
    /// Parts with calls, whole.
    calls: Vec<Value>,
    finish_reason: String,
}

impl Answer<'_> {
    fn candidate(&self, reply: &Reply) -> Result<Candidate, String> {
        let mut calls = vec![];
        for (index, ToolCall { name, arguments }) in reply.tool.iter().enumerate() {
            let args: Value = serde_json::from_str(arguments)
                .map_err(|error| format!("The arguments of tool {index} must be JSON for Gemini: {error}."))?;
            let id = format!("simulated{:06}t{index}", self.call.number);
            calls.push(
                json!({"functionCall": {"id": id, "name": name, "args": args}, "thoughtSignature": self.signature()}),
            );
        }
        let content = reply.content.clone();
        Ok(Candidate {
            thought: self.directive.thinking.clone(),
            content: content.or_else(|| reply.tool.is_empty().then(|| CANNED_ANSWER.to_owned())),
            calls,
            finish_reason: reply.finish_reason.clone().unwrap_or_else(|| "STOP".into()),
        })
    }

    fn plain(&self, candidates: &[Candidate]) -> Value {
        let shown = candidates.iter().enumerate().map(|(index, candidate)| {
            let thought = candidate.thought.as_ref().map(|text| json!({"text": text, "thought": true}));
            let text = candidate.content.as_ref().map(|text| json!({"text": text}));
            let parts: Vec<Value> = thought.into_iter().chain(text).chain(candidate.calls.iter().cloned()).collect();
            let pieces = candidate.content.as_deref().map(|text| pieces(text, Kind::Prose, self.directive));
            let mut shown = self.shown(index, &parts, &pieces.unwrap_or_default());
            shown.insert("finishReason".into(), candidate.finish_reason.as_str().into());
            Value::Object(shown)
        });
        self.envelope(shown.collect(), Some(candidates))
    }

    fn stream(&self, candidates: &[Candidate]) -> Vec<Event> {
        let mut events = vec![];
        for (index, candidate) in candidates.iter().enumerate() {
            let cut = |text: &Option<String>| {
                text.as_deref().map(|text| pieces(text, Kind::Prose, self.directive)).unwrap_or_default()
            };
            let mut chunk = |part: Value, pieces: &[String]| {
                let shown = Value::Object(self.shown(index, &[part], pieces));
                events.push(self.event(&self.envelope(vec![shown], None)));
            };
            for piece in cut(&candidate.thought) {
                chunk(json!({"text": piece, "thought": true}), &[]);
            }
            for piece in cut(&candidate.content) {
                chunk(json!({"text": piece}), std::slice::from_ref(&piece));
            }
            for call in &candidate.calls {
                chunk(call.clone(), &[]);
            }
        }
        if self.directive.error_event {
            let message = "The simulated provider failed in the middle of the answer.";
            let error = json!({"error": {"code": 500, "message": message, "status": "INTERNAL"}});
            events.push(self.event(&error));
            return events;
        }
        if !self.directive.no_done {
            let ended = candidates.iter().enumerate().map(|(index, candidate)| {
                let part = json!({"text": "", "thoughtSignature": self.signature()});
                let mut shown = self.shown(index, &[part], &[]);
                shown.insert("finishReason".into(), candidate.finish_reason.as_str().into());
                Value::Object(shown)
            });
            events.push(self.event(&self.envelope(ended.collect(), Some(candidates))));
        }
        events
    }

    fn shown(&self, index: usize, parts: &[Value], pieces: &[String]) -> Map<String, Value> {
        let mut shown = Map::new();
        shown.insert("content".into(), json!({"parts": parts, "role": "model"}));
        shown.insert("index".into(), index.into());
        if self.directive.logprobs && !pieces.is_empty() {
            let chosen: Vec<Value> = pieces.iter().map(|piece| token(piece)).collect();
            shown.insert("logprobsResult".into(), json!({"chosenCandidates": chosen}));
        }
        shown
    }

    /// `ended`: what the usage counts, where the answer is complete.
    fn envelope(&self, candidates: Vec<Value>, ended: Option<&[Candidate]>) -> Value {
        let mut envelope = Map::new();
        envelope.insert("candidates".into(), candidates.into());
        if let Some(ended) = ended.filter(|_| self.directive.usage != Some(false)) {
            let prompt = self.call.prompt_tokens();
            let thoughts: usize = ended.iter().map(|candidate| tokens(candidate.thought.as_deref())).sum();
            let written: usize = ended.iter().map(|candidate| tokens(candidate.content.as_deref())).sum();
            let usage = json!({
                "promptTokenCount": prompt, "candidatesTokenCount": written, "thoughtsTokenCount": thoughts,
                "totalTokenCount": prompt + written + thoughts,
            });
            envelope.insert("usageMetadata".into(), usage);
        }
        envelope.insert("modelVersion".into(), GEMINI_MODEL.into());
        envelope.insert("responseId".into(), format!("simulated{:06}", self.call.number).into());
        Value::Object(envelope)
    }

    fn event(&self, data: &Value) -> Event {
        Event { name: None, data: json::to_string(data, self.directive) }
    }

    /// Stands where a provider signs its thoughts; it signs nothing.
    fn signature(&self) -> String {
        STANDARD.encode(format!("simulated thought {:06}", self.call.number))
    }
}
