//! Asking a model once more: the request that asks for the corrected answer, and that answer as the stream that the client
//! had asked for. How each surface does that stands with it ([`Again`]).

use serde_json::{Map, Value as Json, json};

use super::Surface;

/// Longest list of errors that a model is told, in bytes: a few lines help, more confuse.
const ERRORS_BYTES_MAX: usize = 1_024;

/// Most errors that a model is told.
const ERRORS_MAX: usize = 5;

/// How a model is asked once more on a surface.
#[derive(Debug)]
pub struct Again {
    /// Makes the members of a request those of the question. `None` where a request of this form has no such thing.
    pub ask: fn(&mut Map<String, Json>, &Question<'_>) -> Option<()>,
    /// Path and query of the question, of those of the request. `None` where they cannot be told.
    pub address: fn(&str) -> Option<String>,
    /// A whole answer as a stream; `None` where it holds anything but one text. Such a stream is events with their framing,
    /// or the pieces of an array without it.
    pub stream: fn(Json, Streamed) -> Option<Vec<String>>,
}

/// How a stream is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streamed {
    Events,
    Array,
}

/// What is added to a conversation.
#[derive(Debug, Clone, Copy)]
pub struct Question<'q> {
    /// The invalid answer, without white space at its end; `None` where nothing else was in it.
    pub invalid: Option<&'q str>,
    /// What the model is told.
    pub words: &'q str,
}

/// What was wrong with an answer, without a word of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw<'f> {
    pub kind: &'f str,
    pub keyword: &'f str,
    pub pointer: &'f str,
}

/// The words in which the model is asked. The list is JSON of at most a kilobyte.
fn words(flaws: &[Flaw<'_>]) -> String {
    let mut list = Vec::new();
    let mut bytes = 0;
    for flaw in flaws.iter().take(ERRORS_MAX) {
        let keyword = if flaw.keyword.is_empty() { flaw.kind } else { flaw.keyword };
        let line = format!("{{\"path\":{},\"keyword\":{}}}", json!(flaw.pointer), json!(keyword));
        bytes += line.len() + 1;
        if bytes > ERRORS_BYTES_MAX {
            break;
        }
        list.push(line);
    }
    format!("The answer is not valid: [{}]\nReturn only the corrected JSON.", list.join(","))
}

/// Path with query, and body, of the request that asks again: the same conversation, the invalid answer, and what is wrong
/// with it. `None` where the surface, or a request of this form, has no such thing.
pub fn request(
    surface: &Surface,
    (address, body): (&str, &[u8]),
    invalid: &str,
    flaws: &[Flaw<'_>],
) -> Option<(String, Vec<u8>)> {
    let again = surface.again.as_ref()?;
    let address = (again.address)(address)?;
    let mut body: Json = serde_json::from_slice(body).ok()?;
    // Anthropic takes no empty text, and no white space at the end of an assistant's.
    let invalid = Some(invalid.trim_end()).filter(|text| !text.is_empty());
    (again.ask)(body.as_object_mut()?, &Question { invalid, words: &words(flaws) })?;
    Some((address, serde_json::to_vec(&body).ok()?))
}

/// A whole answer as a stream. `None` where it holds anything but one text, or the surface has no such thing.
pub fn stream(surface: &Surface, body: &[u8], streamed: Streamed) -> Option<Vec<String>> {
    (surface.again.as_ref()?.stream)(serde_json::from_slice(body).ok()?, streamed)
}

/// The question goes where the request went.
pub(super) fn same_address(address: &str) -> Option<String> {
    Some(address.to_owned())
}

/// Adds the question to `messages`, as chat and messages have them, and asks for a whole answer.
pub(super) fn ask_messages(members: &mut Map<String, Json>, question: &Question<'_>) -> Option<()> {
    let messages = members.get_mut("messages")?.as_array_mut()?;
    if let Some(invalid) = question.invalid {
        messages.push(json!({"role": "assistant", "content": invalid}));
    }
    messages.push(json!({"role": "user", "content": question.words}));
    members.insert("stream".into(), false.into());
    members.remove("stream_options");
    members.remove("n");
    // With thinking, Anthropic takes no temperature but its own.
    if !members.contains_key("thinking") {
        members.insert("temperature".into(), 0.into());
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::surface::SURFACES;

    fn surface(id: &str) -> &'static Surface {
        SURFACES.into_iter().find(|surface| surface.id == id).unwrap()
    }

    fn asked(id: &str, body: &str, invalid: &str, flaws: &[Flaw<'_>]) -> Option<Json> {
        let (address, body) = request(surface(id), ("/p?q", body.as_bytes()), invalid, flaws)?;
        assert_eq!(address, "/p?q");
        Some(serde_json::from_slice(&body).unwrap())
    }

    #[test]
    fn a_model_is_told_what_is_wrong_and_nothing_of_the_answer() {
        let flaws = [
            Flaw { kind: "schema", keyword: "type", pointer: "/n" },
            Flaw { kind: "syntax", keyword: "", pointer: "" },
        ];
        let body = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true},"n":1,"messages":[{"role":"user","content":"?"}]}"#;
        let question = asked("openai.chat", body, "{\"n\": \"x\"} ", &flaws).unwrap();
        assert_eq!(question["messages"][1], json!({"role": "assistant", "content": "{\"n\": \"x\"}"}));
        let words = question["messages"][2]["content"].as_str().unwrap();
        assert_eq!(
            words,
            "The answer is not valid: [{\"path\":\"/n\",\"keyword\":\"type\"},{\"path\":\"\",\"keyword\":\"syntax\"}]\nReturn only the corrected JSON."
        );
        let told = (&question["stream"], &question["temperature"], &question["model"]);
        assert_eq!(told, (&json!(false), &json!(0), &json!("m")));
        assert!(question.get("stream_options").is_none() && question.get("n").is_none());

        let body = r#"{"thinking":{"type":"enabled"},"messages":[{"role":"user","content":"?"}]}"#;
        let question = asked("anthropic.messages", body, " \n", &flaws).unwrap();
        assert_eq!((question["messages"].as_array().unwrap().len(), question.get("temperature")), (2, None));
        assert_eq!(asked("openai.responses", body, "", &flaws), None);
        assert_eq!(asked("openai.chat", "{}", "", &flaws), None);
        assert_eq!(asked("openai.chat", "[]", "", &flaws), None);

        let long = "/x".repeat(300);
        let many = vec![Flaw { kind: "schema", keyword: "type", pointer: &long }; 9];
        assert!(super::words(&many).len() < ERRORS_BYTES_MAX + 100);
    }

    #[test]
    fn only_an_answer_of_one_text_becomes_a_stream() {
        let events = |id: &str, body: &Json| stream(surface(id), body.to_string().as_bytes(), Streamed::Events);
        let chat = json!({"id": "c", "created": 1, "model": "m", "usage": {"total_tokens": 3},
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "{}", "refusal": null}}]});
        let told = events("openai.chat", &chat).unwrap();
        assert_eq!(told.len(), 4);
        assert!(
            told[0].contains(r#""content":"{}""#)
                && told[1].contains(r#""finish_reason":"stop""#)
                && told[2].contains("total_tokens")
        );
        let mut calls = chat.clone();
        calls["choices"][0]["message"]["tool_calls"] = json!([{"id": "t"}]);
        assert_eq!(events("openai.chat", &calls), None);

        let message = json!({"id": "m", "type": "message", "role": "assistant", "content": [{"type": "text", "text": "{}"}],
            "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 2}});
        let told = events("anthropic.messages", &message).unwrap();
        assert!(told[0].contains(r#""content":[]"#) && told[4].contains(r#""stop_reason":"end_turn""#));
        let mut tool = message.clone();
        tool["content"] = json!([{"type": "tool_use", "name": "f", "input": {}}]);
        assert_eq!(events("anthropic.messages", &tool), None);
        assert_eq!(stream(surface("openai.chat"), b"{", Streamed::Events), None);
    }
}
