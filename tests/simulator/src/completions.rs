//! OpenAI `/v1/completions`: the answer that a directive describes, as one JSON document or as the chunks that a real stream
//! has. The prompt is one string here, or several of which the last counts.

use serde_json::{Map, Value, json};

use crate::chat::{echo, tokens};
use crate::directive::{CHOICES_MAX, Directive, Reply};
use crate::outgoing::{Call, Framing, Outgoing};
use crate::pieces::{Kind, pieces};
use crate::prompt::Prompt;
use crate::sse::Event;
use crate::{CANNED_ANSWER, CHAT_MODEL, json};

/// The directive keys that have no meaning here.
const FOREIGN: &[&str] = &["content_parts", "reasoning", "refusal", "tool", "function_call", "thinking"];

/// The answer, or what is wrong with the request or its directive.
pub(crate) fn answer(call: &Call<'_>, prompt: &Prompt, directive: &Directive) -> Result<Outgoing, String> {
    if let Some(key) = directive.first_used(FOREIGN) {
        return Err(format!("The directive key {key} has no meaning for completions."));
    }
    let replies: Vec<Reply> = if directive.choices.is_empty() {
        if !(1..=CHOICES_MAX).contains(&prompt.choices) {
            return Err(format!("n is {}: it must be 1 to {CHOICES_MAX}.", prompt.choices));
        }
        let content = echo(call, prompt, directive).or_else(|| directive.content.clone());
        vec![Reply { content, finish_reason: directive.finish_reason.clone(), ..Reply::default() }; prompt.choices]
    } else {
        directive.choices.clone()
    };
    let answer = Answer { call, directive, logprobs: directive.logprobs || prompt.logprobs };
    if prompt.stream {
        let usage = directive.usage.unwrap_or(prompt.include_usage);
        Outgoing::stream(&answer.stream(&replies, usage), directive, Framing::Events)
    } else if directive.error_event {
        Err("The directive key error_event needs a streamed request.".into())
    } else {
        Ok(Outgoing::plain(&answer.plain(&replies), directive))
    }
}

struct Answer<'a> {
    call: &'a Call<'a>,
    directive: &'a Directive,
    logprobs: bool,
}

impl Answer<'_> {
    fn plain(&self, replies: &[Reply]) -> Value {
        let choices = replies.iter().enumerate().map(|(index, reply)| {
            let text = text(reply);
            self.choice(index, text, &pieces(text, Kind::Prose, self.directive), finish_reason(reply))
        });
        let mut answer = self.envelope(choices.collect());
        if self.directive.usage != Some(false) {
            answer.insert("usage".into(), self.usage(replies));
        }
        Value::Object(answer)
    }

    fn stream(&self, replies: &[Reply], usage: bool) -> Vec<Event> {
        let mut queues: Vec<_> =
            replies.iter().map(|reply| pieces(text(reply), Kind::Prose, self.directive).into_iter()).collect();
        let mut events = vec![];
        // Real streams of several choices interleave them.
        loop {
            let before = events.len();
            for (index, queue) in queues.iter_mut().enumerate() {
                if let Some(piece) = queue.next() {
                    let choice = self.choice(index, &piece, std::slice::from_ref(&piece), Value::Null);
                    events.push(self.event(self.envelope(vec![choice])));
                }
            }
            if events.len() == before {
                break;
            }
        }
        if self.directive.error_event {
            let message = "The simulated provider failed in the middle of the answer.";
            let error = json!({"error": {"message": message, "type": "server_error", "param": null, "code": null}});
            events.push(Event { name: None, data: json::to_string(&error, self.directive) });
            return events;
        }
        for (index, reply) in replies.iter().enumerate() {
            events.push(self.event(self.envelope(vec![self.choice(index, "", &[], finish_reason(reply))])));
        }
        if usage {
            let mut chunk = self.envelope(vec![]);
            chunk.insert("usage".into(), self.usage(replies));
            events.push(self.event(chunk));
        }
        if !self.directive.no_done {
            events.push(Event { name: None, data: "[DONE]".into() });
        }
        events
    }

    fn choice(&self, index: usize, text: &str, pieces: &[String], finish_reason: Value) -> Value {
        let logprobs = if self.logprobs && !pieces.is_empty() {
            json!({
                "tokens": pieces,
                "token_logprobs": vec![-0.25; pieces.len()],
                "top_logprobs": null,
                "text_offset": vec![0; pieces.len()],
            })
        } else {
            Value::Null
        };
        json!({"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish_reason})
    }

    fn envelope(&self, choices: Vec<Value>) -> Map<String, Value> {
        let envelope = [
            ("id", json!(format!("cmpl-simulated{:06}", self.call.number))),
            ("object", json!("text_completion")),
            ("created", json!(self.call.created)),
            ("model", json!(CHAT_MODEL)),
            ("choices", json!(choices)),
        ];
        envelope.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn event(&self, chunk: Map<String, Value>) -> Event {
        Event { name: None, data: json::to_string(&Value::Object(chunk), self.directive) }
    }

    fn usage(&self, replies: &[Reply]) -> Value {
        let prompt = self.call.prompt_tokens();
        let completion: usize = replies.iter().map(|reply| tokens(Some(text(reply)))).sum();
        json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion})
    }
}

fn text(reply: &Reply) -> &str {
    reply.content.as_deref().unwrap_or(CANNED_ANSWER)
}

fn finish_reason(reply: &Reply) -> Value {
    reply.finish_reason.as_deref().unwrap_or("stop").into()
}
