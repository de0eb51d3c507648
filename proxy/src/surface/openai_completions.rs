//! OpenAI completions, the older endpoint that many local servers still have: `POST /v1/completions`.

use std::sync::LazyLock;

use serde_json::{Value as Json, json};

use super::ending::own_id;
use super::table::{Tokens, text};
use super::{
    Address, Channel, Dialect, Ending, Refusal, RequestFacts, Shown, Soft, Surface, Table, common, openai_chat,
};
use crate::json::Value;

pub(super) static SURFACE: Surface = Surface {
    serves: |path| path.ends_with("/completions") && !path.ends_with("/chat/completions"),
    request: || &REQUEST,
    response: || &RESPONSE,
    event: |_| &EVENT,
    events: || vec![("{}".to_owned(), &EVENT)],
    request_facts,
    note_response: openai_chat::note_response,
    mark: openai_chat::mark,
    ending: Ending {
        soft: Some(Soft { events: |refusal, shown| refusal_events(refusal, shown).into(), document: refusal_document }),
        ..Ending::PLAIN
    },
    ..Surface::plain("openai.completions", Dialect::OpenAi, &["POST /v1/completions"])
};

static REQUEST: LazyLock<Table> = LazyLock::new(|| {
    use Channel::{Metadata, User};
    Table::build(
        &[
            ("model", text(Metadata)),
            ("stream", text(Metadata)),
            ("prompt", text(User).or_ids()),
            ("prompt.*", text(User)),
            ("suffix", text(User)),
        ],
        &[],
    )
});

static RESPONSE: LazyLock<Table> = LazyLock::new(|| {
    use Channel::{Content, Logprobs, Metadata};
    Table::build(
        &[
            ("id", text(Metadata)),
            ("object", text(Metadata)),
            ("model", text(Metadata)),
            ("system_fingerprint", text(Metadata)),
            ("choices.*.index", text(Metadata)),
            ("choices.*.finish_reason", text(Metadata)),
            ("choices.*.text", text(Content)),
            ("choices.*.logprobs.tokens.+", text(Logprobs).streamed("tokens").repeats(Tokens::Holder)),
        ],
        &[],
    )
});

/// Some servers answer with the deltas of chat.
static EVENT: LazyLock<Table> = LazyLock::new(|| {
    let tokens = text(Channel::Logprobs).streamed("tokens").repeats(Tokens::Holder);
    let own = [("choices.*.logprobs.tokens.+", tokens)];
    Table::build(&[openai_chat::SAID, openai_chat::EVENT_LINES, &own].concat(), &["choices.*.delta"])
});

fn request_facts(root: Value<'_>, _: Address<'_>) -> RequestFacts {
    RequestFacts {
        model: common::string(root, "model").unwrap_or_default(),
        stream: root.get("stream").and_then(|s| s.as_bool()).unwrap_or(false),
        messages: 1,
        ..RequestFacts::default()
    }
}

fn refusal_events(refusal: &Refusal<'_>, shown: &Shown) -> String {
    let head = shown.head();
    let known = |name: &str, otherwise: Json| head.get(name).cloned().unwrap_or(otherwise);
    let mut open = shown.open();
    if open.is_empty() {
        open.push(0);
    }
    let choices: Vec<Json> = open
        .iter()
        .map(|index| json!({"index": index, "text": "", "logprobs": null, "finish_reason": "content_filter"}))
        .collect();
    let event = json!({
        "id": known("id", own_id("cmpl-", refusal).into()),
        "object": "text_completion",
        "created": known("created", shown.now_unix_s.into()),
        "model": known("model", shown.asked_model.as_str().into()),
        "choices": choices,
        "clyra": refusal.clyra(),
    });
    format!("data: {event}\n\ndata: [DONE]\n\n")
}

fn refusal_document(refusal: &Refusal<'_>, shown: &Shown) -> Json {
    json!({
        "id": own_id("cmpl-", refusal),
        "object": "text_completion",
        "created": shown.now_unix_s,
        "model": shown.asked_model,
        "choices": [{"index": 0, "text": "", "logprobs": null, "finish_reason": "content_filter"}],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        "clyra": refusal.clyra(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::surface::ending::tests::{asked, data, refusal};

    #[test]
    fn a_refusal_ends_what_is_open() {
        let events = refusal_events(&refusal(), &asked("m"));
        let read = data(&events, "\n");
        assert_eq!(
            (&read[0]["choices"][0]["finish_reason"], &read[0]["model"]),
            (&json!("content_filter"), &json!("m"))
        );
        assert_eq!(refusal_document(&refusal(), &asked("m"))["choices"][0]["text"], "");
    }
}
