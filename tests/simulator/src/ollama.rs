//! Ollama `/api/chat` and `/api/generate`: the answer that a directive describes, as one JSON document or as JSON Lines,
//! which is what it does unless asked otherwise; and `/api/embed`, with made-up vectors.

use serde_json::{Map, Value, json};

use crate::chat::{echo, token, tokens};
use crate::directive::{Directive, ToolCall};
use crate::outgoing::{Call, Framing, Outgoing};
use crate::pieces::{Kind, pieces};
use crate::prompt::Prompt;
use crate::sse::Event;
use crate::{CANNED_ANSWER, OLLAMA_MODEL, embeddings, json};

/// The directive keys that have no meaning here.
const FOREIGN: &[&str] = &["content_parts", "reasoning", "refusal", "function_call", "choices", "comments", "crlf"];

/// Which of the two endpoints answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Chat,
    Generate,
}

/// The answer, or what is wrong with the request or its directive.
pub(crate) fn answer(
    call: &Call<'_>,
    prompt: &Prompt,
    endpoint: Endpoint,
    directive: &Directive,
) -> Result<Outgoing, String> {
    if let Some(key) = directive.first_used(FOREIGN) {
        return Err(format!("The directive key {key} has no meaning for Ollama."));
    }
    if endpoint == Endpoint::Generate && directive.first_used(&["tool"]).is_some() {
        return Err("The directive key tool has no meaning for Ollama's generate.".into());
    }
    let mut content = echo(call, prompt, directive).or_else(|| directive.content.clone());
    if content.is_none() && directive.tool.is_empty() {
        content = Some(CANNED_ANSWER.into());
    }
    let logprobs = directive.logprobs || prompt.logprobs;
    let answer = Answer { call, directive, endpoint, content, logprobs };
    if prompt.stream {
        Outgoing::stream(&answer.stream()?, directive, Framing::Lines)
    } else if directive.error_event {
        Err("The directive key error_event needs a streamed request.".into())
    } else {
        Ok(Outgoing::plain(&answer.plain()?, directive))
    }
}

struct Answer<'a> {
    call: &'a Call<'a>,
    directive: &'a Directive,
    endpoint: Endpoint,
    content: Option<String>,
    logprobs: bool,
}

impl Answer<'_> {
    fn plain(&self) -> Result<Value, String> {
        let text = self.content.as_deref().unwrap_or_default();
        let mut line = self.line(text, self.directive.thinking.as_deref(), &self.calls()?);
        self.repeat(&mut line, &self.cut(text));
        self.finish(&mut line);
        Ok(Value::Object(line))
    }

    fn stream(&self) -> Result<Vec<Event>, String> {
        let mut events = vec![];
        let mut push = |line: Map<String, Value>| {
            events.push(Event { name: None, data: json::to_string(&Value::Object(line), self.directive) });
        };
        for piece in self.cut(self.directive.thinking.as_deref().unwrap_or_default()) {
            push(self.line("", Some(&piece), &[]));
        }
        for piece in self.cut(self.content.as_deref().unwrap_or_default()) {
            let mut line = self.line(&piece, None, &[]);
            self.repeat(&mut line, std::slice::from_ref(&piece));
            push(line);
        }
        for call in self.calls()? {
            push(self.line("", None, &[call]));
        }
        if self.directive.error_event {
            let error = json!({"error": "the simulated provider failed in the middle of the answer"});
            events.push(Event { name: None, data: json::to_string(&error, self.directive) });
            return Ok(events);
        }
        if !self.directive.no_done {
            let mut last = self.line("", None, &[]);
            self.finish(&mut last);
            push(last);
        }
        Ok(events)
    }

    /// What each line of a stream has, and the answer in one piece as well.
    fn line(&self, text: &str, thinking: Option<&str>, calls: &[Value]) -> Map<String, Value> {
        let mut line = Map::new();
        line.insert("model".into(), OLLAMA_MODEL.into());
        line.insert("created_at".into(), self.created_at().into());
        match self.endpoint {
            Endpoint::Chat => {
                let mut message = Map::new();
                message.insert("role".into(), "assistant".into());
                message.insert("content".into(), text.into());
                if let Some(thinking) = thinking {
                    message.insert("thinking".into(), thinking.into());
                }
                if !calls.is_empty() {
                    message.insert("tool_calls".into(), calls.into());
                }
                line.insert("message".into(), message.into());
            }
            Endpoint::Generate => {
                line.insert("response".into(), text.into());
                if let Some(thinking) = thinking {
                    line.insert("thinking".into(), thinking.into());
                }
            }
        }
        line.insert("done".into(), false.into());
        line
    }

    fn repeat(&self, line: &mut Map<String, Value>, pieces: &[String]) {
        if self.logprobs && !pieces.is_empty() {
            line.insert("logprobs".into(), pieces.iter().map(|piece| token(piece)).collect());
        }
    }

    fn finish(&self, line: &mut Map<String, Value>) {
        line.insert("done".into(), true.into());
        line.insert("done_reason".into(), self.directive.finish_reason.as_deref().unwrap_or("stop").into());
        if self.endpoint == Endpoint::Generate {
            line.insert("context".into(), json!([1, 2, 3]));
        }
        if self.directive.usage == Some(false) {
            return;
        }
        let written = tokens(self.content.as_deref())
            + tokens(self.directive.thinking.as_deref())
            + self.directive.tool.iter().map(|tool| tokens(Some(&tool.arguments))).sum::<usize>();
        for (name, value) in [
            ("total_duration", 3_000_000),
            ("load_duration", 1_000_000),
            ("prompt_eval_count", self.call.prompt_tokens()),
            ("prompt_eval_duration", 1_000_000),
            ("eval_count", written),
            ("eval_duration", 1_000_000),
        ] {
            line.insert(name.into(), value.into());
        }
    }

    fn calls(&self) -> Result<Vec<Value>, String> {
        let calls = self.directive.tool.iter().enumerate().map(|(index, ToolCall { name, arguments })| {
            let arguments: Value = serde_json::from_str(arguments)
                .map_err(|error| format!("The arguments of tool {index} must be JSON for Ollama: {error}."))?;
            let id = format!("call_simulated{:06}t{index}", self.call.number);
            Ok(json!({"id": id, "function": {"index": index, "name": name, "arguments": arguments}}))
        });
        calls.collect()
    }

    fn cut(&self, text: &str) -> Vec<String> {
        pieces(text, Kind::Prose, self.directive)
    }

    /// RFC 3339, in UTC. Days to a date as in the proleptic Gregorian calendar, with years that begin in March.
    fn created_at(&self) -> String {
        let (days, second) = (self.call.created / 86_400, self.call.created % 86_400);
        let shifted = days + 719_468;
        let (era, of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.000001Z")
    }
}

/// `/api/embed`; `one`: the older `/api/embeddings`, which takes one prompt and answers with one vector.
pub(crate) fn embed(call: &Call<'_>, one: bool) -> Result<Outgoing, String> {
    let vectors = embeddings::vectors(call, if one { "prompt" } else { "input" }, false)?;
    let body = if one {
        json!({"embedding": vectors.first()})
    } else {
        json!({
            "model": OLLAMA_MODEL,
            "embeddings": vectors,
            "total_duration": 2_000_000,
            "load_duration": 1_000_000,
            "prompt_eval_count": call.prompt_tokens(),
        })
    };
    Ok(Outgoing::plain(&body, &Directive::default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_ollama_does() {
        for (created, written) in [
            (0, "1970-01-01T00:00:00.000001Z"),
            (951_782_400, "2000-02-29T00:00:00.000001Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000001Z"),
        ] {
            let call = Call { number: 1, created, body: b"" };
            let directive = Directive::default();
            let answer =
                Answer { call: &call, directive: &directive, endpoint: Endpoint::Chat, content: None, logprobs: false };
            assert_eq!(answer.created_at(), written);
        }
    }
}
