//! Reads out of a request only what an answer depends on; whatever else is in it is left alone.

use serde_json::Value;

use crate::provider_error::Surface;

/// A request, whatever surface it is for.
#[derive(Debug)]
pub(crate) struct Prompt {
    /// The text of the last user message, parts joined by line ends.
    pub(crate) user: String,
    /// The text of every system prompt, joined by line ends.
    pub(crate) system: String,
    pub(crate) stream: bool,
    /// Chat: how many choices are asked for.
    pub(crate) choices: usize,
    /// Chat: whether a stream ends with a usage event.
    pub(crate) include_usage: bool,
    /// Chat: whether tokens are repeated with their log probabilities.
    pub(crate) logprobs: bool,
}

impl Prompt {
    pub(crate) fn read(surface: Surface, body: &[u8]) -> Result<Self, String> {
        let request: Value = serde_json::from_slice(body)
            .map_err(|error| format!("The request body cannot be read as JSON: {error}."))?;
        match surface {
            // Where Bedrock and Gemini stream is in the path, not here.
            Surface::OpenAi | Surface::Anthropic | Surface::Cohere | Surface::Converse | Surface::Invoke => {
                Self::of_messages(&request)
            }
            Surface::OllamaChat => Ok(Self { stream: asks_lines(&request), ..Self::of_messages(&request)? }),
            Surface::OllamaGenerate => Self::of_prompt(&request, asks_lines(&request)),
            Surface::Completions => Self::of_prompt(&request, is_true(request.get("stream"))),
            Surface::Responses => Self::of_response(&request),
            Surface::Gemini => Self::of_contents(&request),
        }
    }

    fn of_response(request: &Value) -> Result<Self, String> {
        let (user, system) = match request.get("input") {
            Some(Value::String(text)) => (text.clone(), vec![]),
            Some(Value::Array(items)) => {
                let with_role = |roles: &'static [&'static str]| {
                    let role = |item: &Value| item.get("role").and_then(Value::as_str).map(str::to_owned);
                    let of = move |item: &&Value| role(item).is_some_and(|role| roles.contains(&role.as_str()));
                    items.iter().filter(of).filter_map(|item| item.get("content")).map(text_of)
                };
                (with_role(&["user"]).next_back().unwrap_or_default(), with_role(&["system", "developer"]).collect())
            }
            _ => return Err("The request has no 'input'.".into()),
        };
        let instructions = request.get("instructions").and_then(Value::as_str).map(str::to_owned);
        let asks = |what: &str| {
            let include = request.get("include").and_then(Value::as_array);
            include.is_some_and(|include| include.iter().any(|one| one == what))
        };
        Ok(Self {
            user,
            system: instructions.into_iter().chain(system).collect::<Vec<_>>().join("\n"),
            stream: request.get("stream").and_then(Value::as_bool).unwrap_or(false),
            choices: 1,
            include_usage: true,
            logprobs: asks("message.output_text.logprobs"),
        })
    }

    /// One text, not a conversation.
    fn of_prompt(request: &Value, stream: bool) -> Result<Self, String> {
        let user = match request.get("prompt") {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(texts)) => texts.last().and_then(Value::as_str).unwrap_or_default().to_owned(),
            _ => return Err("The request has no 'prompt'.".into()),
        };
        let choices = request.get("n").and_then(Value::as_u64).unwrap_or(1);
        Ok(Self {
            user,
            system: request.get("system").map(text_of).unwrap_or_default(),
            stream,
            choices: usize::try_from(choices).unwrap_or(usize::MAX),
            include_usage: is_true(request.pointer("/stream_options/include_usage")),
            // Completions: a number, of the tokens that might have stood there.
            logprobs: request.get("logprobs").is_some_and(|asked| asked.is_u64() || *asked == true),
        })
    }

    fn of_contents(request: &Value) -> Result<Self, String> {
        let Some(contents) = request.get("contents").and_then(Value::as_array) else {
            return Err("The request has no array 'contents'.".into());
        };
        let text = |content: &Value| content.get("parts").map(text_of).unwrap_or_default();
        let role = |content: &Value| content.get("role").and_then(Value::as_str).unwrap_or("user").to_owned();
        let system = request.get("systemInstruction").or_else(|| request.get("system_instruction"));
        Ok(Self {
            user: contents.iter().rfind(|content| role(content) == "user").map(text).unwrap_or_default(),
            system: system.map(text).unwrap_or_default(),
            stream: false,
            choices: 1,
            include_usage: true,
            logprobs: false,
        })
    }

    fn of_messages(request: &Value) -> Result<Self, String> {
        let Some(messages) = request.get("messages").and_then(Value::as_array) else {
            return Err("The request has no array 'messages'.".into());
        };
        let with_role = |role: &'static str| {
            messages.iter().filter(move |message| message.get("role").and_then(Value::as_str) == Some(role))
        };
        let user = with_role("user").next_back().and_then(|message| message.get("content"));
        let system: Vec<String> = request
            .get("system")
            .into_iter()
            .chain(with_role("system").chain(with_role("developer")).filter_map(|message| message.get("content")))
            .map(text_of)
            .collect();
        let choices = request.get("n").and_then(Value::as_u64).unwrap_or(1);
        Ok(Self {
            user: user.map(text_of).unwrap_or_default(),
            system: system.join("\n"),
            stream: is_true(request.get("stream")),
            choices: usize::try_from(choices).unwrap_or(usize::MAX),
            include_usage: is_true(request.pointer("/stream_options/include_usage")),
            logprobs: is_true(request.get("logprobs")),
        })
    }
}

fn is_true(value: Option<&Value>) -> bool {
    value.and_then(Value::as_bool).unwrap_or(false)
}

/// Ollama streams unless it is asked not to.
fn asks_lines(request: &Value) -> bool {
    request.get("stream").and_then(Value::as_bool).unwrap_or(true)
}

/// A string, or the text parts of an array.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts: Vec<&str> = parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect();
            texts.join("\n")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_user_message_counts() {
        let prompt = Prompt::read(
            Surface::OpenAi,
            br#"{"messages":[{"role":"user","content":"a"},{"role":"user","content":[{"type":"text","text":"b"},
            {"type":"image_url"},{"type":"text","text":"c"}]},{"role":"assistant","content":"d"}],
            "system":[{"type":"text","text":"s"}],"stream":true,"n":2,"stream_options":{"include_usage":true}}"#,
        )
        .unwrap();
        assert_eq!(prompt.user, "b\nc");
        assert_eq!(prompt.system, "s");
        assert!(prompt.stream && prompt.include_usage && !prompt.logprobs);
        assert_eq!(prompt.choices, 2);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for body in ["", "{", "[]", r#"{"messages":"a"}"#] {
            for surface in [
                Surface::OpenAi,
                Surface::Responses,
                Surface::Completions,
                Surface::Anthropic,
                Surface::Gemini,
                Surface::OllamaChat,
                Surface::OllamaGenerate,
                Surface::Converse,
                Surface::Invoke,
                Surface::Cohere,
            ] {
                assert!(Prompt::read(surface, body.as_bytes()).is_err(), "{body}");
            }
        }
    }

    #[test]
    fn each_surface_has_its_own_prompts() {
        let of = |surface, body: &str| {
            let prompt = Prompt::read(surface, body.as_bytes()).unwrap();
            (prompt.user, prompt.system, prompt.stream)
        };
        let text = |user: &str, system: &str, stream| (user.to_owned(), system.to_owned(), stream);
        assert_eq!(of(Surface::Responses, r#"{"input":"a","instructions":"s","stream":true}"#), text("a", "s", true));
        let items = r#"{"input":[{"role":"user","content":"a"},{"role":"system","content":"s"},{"type":"reasoning"},
            {"role":"user","content":[{"type":"input_text","text":"b"}]}]}"#;
        assert_eq!(of(Surface::Responses, items), text("b", "s", false));
        let contents = r#"{"contents":[{"parts":[{"text":"a"}]},{"role":"model","parts":[{"text":"m"}]}],
            "system_instruction":{"parts":[{"text":"s"}]}}"#;
        assert_eq!(of(Surface::Gemini, contents), text("a", "s", false));
        let messages = r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"a"}]}"#;
        assert_eq!(of(Surface::OllamaChat, messages), text("a", "s", true));
        assert_eq!(of(Surface::Cohere, messages), text("a", "s", false));
        let converse = r#"{"system":[{"text":"s"}],"messages":[{"role":"user","content":[{"text":"a"}]}]}"#;
        assert_eq!(of(Surface::Converse, converse), text("a", "s", false));
        let generate = r#"{"prompt":"a","system":"s","stream":false}"#;
        assert_eq!(of(Surface::OllamaGenerate, generate), text("a", "s", false));
        assert_eq!(of(Surface::OllamaGenerate, r#"{"prompt":"a"}"#), text("a", "", true));
        assert_eq!(of(Surface::Completions, r#"{"prompt":["b","a"],"stream":true}"#), text("a", "", true));
    }
}
