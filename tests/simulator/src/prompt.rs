//! Reads out of a request only what an answer depends on; whatever else is in it is left alone.

use serde_json::Value;

/// A chat or messages request.
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
    pub(crate) fn read(body: &[u8]) -> Result<Self, String> {
        let request: Value = serde_json::from_slice(body)
            .map_err(|error| format!("The request body cannot be read as JSON: {error}."))?;
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
        let flag = |value: Option<&Value>| value.and_then(Value::as_bool).unwrap_or(false);
        let choices = request.get("n").and_then(Value::as_u64).unwrap_or(1);
        Ok(Self {
            user: user.map(text_of).unwrap_or_default(),
            system: system.join("\n"),
            stream: flag(request.get("stream")),
            choices: usize::try_from(choices).unwrap_or(usize::MAX),
            include_usage: flag(request.pointer("/stream_options/include_usage")),
            logprobs: flag(request.get("logprobs")),
        })
    }
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
            assert!(Prompt::read(body.as_bytes()).is_err(), "{body}");
        }
    }
}
