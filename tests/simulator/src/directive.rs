//! A directive is read whole or refused with the name of what is wrong in it; nothing in it is ignored silently.

use std::num::NonZeroUsize;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// The longest wait that a directive may ask for: longer ones only keep a test suite hanging.
const DELAY_MS_MAX: u64 = 60_000;

/// The most choices of one answer: what OpenAI accepts as `n`.
pub(crate) const CHOICES_MAX: usize = 128;

const CLEAR_PREFIX: &str = "!sim ";
const BASE64_PREFIX: &str = "!sim64 ";

/// What to answer, and how: the JSON object of a `!sim` or `!sim64` line. Every key is optional, and an unknown
/// key is answered with a 400 that names it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Directive {
    /// The text of the answer; with `status`, the message of the error.
    pub content: Option<String>,
    /// Chat only: `content` is an array of text parts, as Mistral sends it, instead of a string.
    pub content_parts: bool,
    /// Chat: reasoning text, in the member that `reasoning_field` names. Responses: the summary of a reasoning item. Cohere:
    /// the plan for its tool calls.
    pub reasoning: Option<String>,
    /// Chat only: which provider's spelling `reasoning` uses.
    pub reasoning_field: ReasoningField,
    /// Chat and responses: the text of a refusal.
    pub refusal: Option<String>,
    /// Tool calls, in this order.
    pub tool: Vec<ToolCall>,
    /// Chat: the legacy `function_call`. Responses: a custom tool call.
    pub function_call: Option<FunctionCall>,
    /// Chat, completions and Gemini: choice (candidate) 0, 1, …; excludes the members above.
    pub choices: Vec<Reply>,
    /// Messages: the text of a thinking block, which comes first and is signed. Responses: the text of a reasoning item.
    /// Gemini: a thought. Ollama, Bedrock and Cohere: what was thought before the answer.
    pub thinking: Option<String>,
    /// All but messages and Bedrock: repeat the text token by token with bytes, as `logprobs: true` in a request does.
    pub logprobs: bool,
    /// Streamed: bytes of text per delta, never less than one character.
    pub split: Option<NonZeroUsize>,
    /// Streamed: character offsets at which every text channel is cut into deltas; `[]` leaves it whole.
    pub split_at: Option<Vec<usize>>,
    /// Wait between one event and the next, in milliseconds.
    pub delay_ms: u64,
    /// Wait before the response head, in milliseconds.
    pub first_delay_ms: u64,
    /// Size of each write of the body, in bytes; otherwise one write per event.
    pub write_bytes: Option<NonZeroUsize>,
    /// An error of the provider, 400 to 599, in its own shape.
    pub status: Option<u16>,
    /// Compress the body, whatever the request accepts; streamed events are each flushed.
    pub gzip: bool,
    /// Cut the JSON of this event (from 0) off in its middle; plain: event 0 is the body.
    pub malformed_event: Option<usize>,
    /// Silence after this many events until the client leaves; plain: 0 stops in the middle of the body.
    pub stall_after: Option<usize>,
    /// Close the connection after this many events; plain: 0 closes it in the middle of the body.
    pub cut_after: Option<usize>,
    /// Streamed: a comment line before every event.
    pub comments: bool,
    /// Streamed: lines end in CR LF.
    pub crlf: bool,
    /// Send usage, or do not; without it, as the provider does for the request.
    pub usage: Option<bool>,
    /// Overrides `finish_reason` (chat, completions, Cohere), `stop_reason` (messages), `finishReason` (Gemini),
    /// `done_reason` (Ollama) or `stopReason` (Bedrock). Responses: the answer is incomplete, and this is why.
    pub finish_reason: Option<String>,
    /// Streamed: end without the last event.
    pub no_done: bool,
    /// Streamed: an error event of the provider after the text, and the end.
    pub error_event: bool,
    /// Answer with the last user message, less its directive line.
    pub echo: bool,
    /// Answer as `echo` does, but with the characters in reverse, so that what is looked for in answers does not
    /// find in this one what the request had.
    pub echo_reversed: bool,
    /// Answer with the system prompt.
    pub echo_system: bool,
    /// Answer with the whole request body.
    pub echo_body: bool,
    /// Escape everything outside ASCII in JSON strings as `\uXXXX`, above U+FFFF as a surrogate pair.
    pub ascii: bool,
    /// Escape every character of JSON string values as `\uXXXX`.
    pub escape_all: bool,
    /// Streamed: split characters above U+FFFF between two deltas, half a surrogate pair in each.
    pub split_surrogates: bool,
}

/// One choice of a chat answer.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Reply {
    /// See [`Directive::content`].
    pub content: Option<String>,
    /// See [`Directive::reasoning`].
    pub reasoning: Option<String>,
    /// See [`Directive::refusal`].
    pub refusal: Option<String>,
    /// See [`Directive::tool`].
    pub tool: Vec<ToolCall>,
    /// See [`Directive::function_call`].
    pub function_call: Option<FunctionCall>,
    /// Overrides the `finish_reason` of this choice.
    pub finish_reason: Option<String>,
}

/// A tool call of the answer.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    /// The tool's name.
    pub name: String,
    /// The arguments as the model would write them, sent verbatim even if they are no JSON. The one exception
    /// is where they are a JSON value rather than text (plain messages and Bedrock, Gemini, Ollama): there they must parse.
    pub arguments: String,
}

/// The legacy function call of a chat answer.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionCall {
    /// The function's name.
    pub name: String,
    /// The arguments, sent verbatim.
    pub arguments: String,
}

/// The member that carries reasoning text in a chat answer: providers do not agree on one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasoningField {
    /// `reasoning_content`, a string (DeepSeek, xAI, vLLM).
    #[default]
    ReasoningContent,
    /// `reasoning`, a string (Groq).
    Reasoning,
    /// `reasoning_details`, an array of text parts beside `reasoning` (OpenRouter).
    ReasoningDetails,
}

impl Directive {
    /// The directive of a message, or the default one when it has none.
    pub(crate) fn find(text: &str) -> Result<Self, String> {
        let mut found = None;
        for line in text.lines() {
            let json = if let Some(clear) = line.strip_prefix(CLEAR_PREFIX) {
                clear.as_bytes().to_vec()
            } else if let Some(encoded) = line.strip_prefix(BASE64_PREFIX) {
                STANDARD
                    .decode(encoded.trim())
                    .map_err(|error| format!("The !sim64 directive is not base64: {error}."))?
            } else {
                continue;
            };
            if found.is_some() {
                return Err("The last user message has more than one !sim directive.".into());
            }
            let directive: Self = serde_json::from_slice(&json)
                .map_err(|error| format!("The !sim directive cannot be used: {error}."))?;
            directive.check()?;
            found = Some(directive);
        }
        Ok(found.unwrap_or_default())
    }

    fn check(&self) -> Result<(), String> {
        for (key, delay) in [("delay_ms", self.delay_ms), ("first_delay_ms", self.first_delay_ms)] {
            if delay > DELAY_MS_MAX {
                return Err(format!("{key} is {delay}: the longest wait is {DELAY_MS_MAX} ms."));
            }
        }
        if let Some(status) = self.status
            && !(400..=599).contains(&status)
        {
            return Err(format!("status is {status}: it must be 400 to 599."));
        }
        if self.split.is_some() && self.split_at.is_some() {
            return Err("split and split_at exclude each other.".into());
        }
        if self.choices.len() > CHOICES_MAX {
            return Err(format!("choices has more than {CHOICES_MAX} entries."));
        }
        if !self.choices.is_empty()
            && let Some(key) = self.first_reply_key()
        {
            return Err(format!("choices and {key} exclude each other: move {key} into an entry of choices."));
        }
        if [self.echo, self.echo_reversed, self.echo_system, self.echo_body].iter().filter(|&&echo| echo).count() > 1 {
            return Err("Only one of echo, echo_reversed, echo_system and echo_body can be used.".into());
        }
        Ok(())
    }

    fn first_reply_key(&self) -> Option<&'static str> {
        [
            ("content", self.content.is_some()),
            ("reasoning", self.reasoning.is_some()),
            ("refusal", self.refusal.is_some()),
            ("tool", !self.tool.is_empty()),
            ("function_call", self.function_call.is_some()),
            ("echo", self.echo),
            ("echo_reversed", self.echo_reversed),
            ("echo_system", self.echo_system),
            ("echo_body", self.echo_body),
            ("finish_reason", self.finish_reason.is_some()),
        ]
        .into_iter()
        .find_map(|(key, set)| set.then_some(key))
    }

    /// The first of these keys that is used, in the answer or in one of its choices: each surface names those that it has
    /// no way to express.
    pub(crate) fn first_used(&self, keys: &[&'static str]) -> Option<&'static str> {
        keys.iter().copied().find(|key| self.uses(key))
    }

    fn uses(&self, key: &str) -> bool {
        let in_choices = |has: fn(&Reply) -> bool| self.choices.iter().any(has);
        match key {
            "content_parts" => self.content_parts,
            "reasoning" => self.reasoning.is_some() || in_choices(|reply| reply.reasoning.is_some()),
            "refusal" => self.refusal.is_some() || in_choices(|reply| reply.refusal.is_some()),
            "tool" => !self.tool.is_empty() || in_choices(|reply| !reply.tool.is_empty()),
            "function_call" => self.function_call.is_some() || in_choices(|reply| reply.function_call.is_some()),
            "choices" => !self.choices.is_empty(),
            "thinking" => self.thinking.is_some(),
            "logprobs" => self.logprobs,
            "comments" => self.comments,
            "crlf" => self.crlf,
            "error_event" => self.error_event,
            _ => false,
        }
    }
}

/// The message less its directive lines.
pub(crate) fn without_directive(text: &str) -> String {
    let kept: Vec<&str> =
        text.split('\n').filter(|line| !line.starts_with(CLEAR_PREFIX) && !line.starts_with(BASE64_PREFIX)).collect();
    kept.join("\n")
}

/// The `!sim64` line for a directive given as JSON, for tests: no phrase of it stands in the request in clear.
#[must_use]
pub fn directive_line(directive: &serde_json::Value) -> String {
    format!("{BASE64_PREFIX}{}", STANDARD.encode(directive.to_string().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_clear_and_an_encoded_line_say_the_same() {
        let clear = Directive::find("hello\n!sim {\"content\":\"x\",\"split\":3}\nworld").unwrap();
        let line = directive_line(&json!({"content": "x", "split": 3}));
        let encoded = Directive::find(&format!("hello\n{line}")).unwrap();
        for directive in [clear, encoded] {
            assert_eq!(directive.content.as_deref(), Some("x"));
            assert_eq!(directive.split.map(NonZeroUsize::get), Some(3));
        }
    }

    #[test]
    fn without_a_line_there_is_the_default() {
        let directive = Directive::find("please do not !sim {\"content\":\"x\"}").unwrap();
        assert!(directive.content.is_none());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, word) in [
            (r#"!sim {"contents": "x"}"#, "`contents`"),
            (r#"!sim {"choices": [{"thought": "x"}]}"#, "`thought`"),
            (r#"!sim {"split": 0}"#, "nonzero"),
            (r#"!sim {"split": 1, "split_at": []}"#, "split_at"),
            (r#"!sim {"delay_ms": 60001}"#, "delay_ms"),
            (r#"!sim {"status": 200}"#, "status"),
            (r#"!sim {"choices": [{}], "content": "x"}"#, "content"),
            (r#"!sim {"echo": true, "echo_body": true}"#, "echo"),
            ("!sim64 %%%", "base64"),
            ("!sim {}\n!sim {}", "more than one"),
            ("!sim {", "EOF"),
        ] {
            let message = Directive::find(line).unwrap_err();
            assert!(message.contains(word), "{line}: {message}");
        }
    }

    #[test]
    fn an_echo_leaves_the_directive_out() {
        assert_eq!(without_directive("a\n!sim {}\nb\n"), "a\nb\n");
    }
}
