//! Endpoints of OpenAI for pictures and sound. Text that goes in or comes out is inspected; the media itself is a declared
//! gap.

use std::sync::LazyLock;

use super::table::{Line, When, media, text};
use super::{Address, Answers, Asks, Channel, Dialect, RequestFacts, Signal, Surface, Table, common};
use crate::json::Value;

pub(super) static IMAGES: Surface = Surface {
    serves: |path| {
        path.ends_with("/images/generations") || path.ends_with("/images/edits") || path.ends_with("/images/variations")
    },
    asks: Asks::Form,
    request: || &REQUEST,
    response: || &PICTURES,
    event: |_| &PICTURE,
    events: || vec![("{}".to_owned(), &PICTURE)],
    request_facts,
    signal: |root| ended(root, ".completed"),
    ..Surface::plain(
        "openai.images",
        Dialect::OpenAi,
        &["POST /v1/images/generations", "POST /v1/images/edits", "POST /v1/images/variations"],
    )
};

pub(super) static SPEECH: Surface = Surface {
    serves: |path| path.ends_with("/audio/speech"),
    answers: Answers::Media,
    request: || &REQUEST,
    event: |_| &SOUND,
    events: || vec![("{}".to_owned(), &SOUND)],
    request_facts,
    signal: |root| ended(root, "audio.done"),
    ..Surface::plain("openai.speech", Dialect::OpenAi, &["POST /v1/audio/speech"])
};

pub(super) static TRANSCRIPTIONS: Surface = Surface {
    serves: |path| path.ends_with("/audio/transcriptions") || path.ends_with("/audio/translations"),
    asks: Asks::Form,
    answers: Answers::Media,
    request: || &REQUEST,
    response: || &HEARD,
    event: |_| &HEARING,
    events: || vec![("{}".to_owned(), &HEARING)],
    repeats: true,
    request_facts,
    signal: |root| ended(root, "text.done"),
    ..Surface::plain(
        "openai.transcriptions",
        Dialect::OpenAi,
        &["POST /v1/audio/transcriptions", "POST /v1/audio/translations"],
    )
};

static REQUEST: LazyLock<Table> = LazyLock::new(|| {
    use Channel::{Metadata, System, User};
    Table::build(
        &[
            ("model", text(Metadata)),
            ("stream", text(Metadata)),
            ("prompt", text(User)),
            ("input", text(User)),
            ("instructions", text(System)),
            ("image", media(When::DataUrl).of(User)),
            ("images.*.image_url", media(When::DataUrl).of(User)),
        ],
        &[],
    )
});

static PICTURES: LazyLock<Table> = LazyLock::new(|| {
    let lines: [Line; 3] = [
        ("data.*.b64_json", media(When::Always).of(Channel::Content)),
        ("data.*.revised_prompt", text(Channel::Content)),
        ("data.*.url", text(Channel::Content)),
    ];
    Table::build(&lines, &[])
});

static PICTURE: LazyLock<Table> = LazyLock::new(|| {
    let lines: [Line; 2] = [("type", text(Channel::Metadata)), ("b64_json", media(When::Always).of(Channel::Content))];
    Table::build(&lines, &[])
});

static SOUND: LazyLock<Table> = LazyLock::new(|| {
    let lines: [Line; 2] = [("type", text(Channel::Metadata)), ("audio", media(When::Always).of(Channel::Content))];
    Table::build(&lines, &[])
});

static HEARD: LazyLock<Table> = LazyLock::new(|| {
    use Channel::{Content, Metadata};
    Table::build(
        &[
            ("task", text(Metadata)),
            ("language", text(Metadata)),
            ("text", text(Content)),
            ("segments.+.text", text(Content).streamed("segments")),
            ("words.+.word", text(Content).streamed("words")),
            ("logprobs.+.token", text(Channel::Logprobs).streamed("tokens")),
        ],
        &[],
    )
});

static HEARING: LazyLock<Table> = LazyLock::new(|| {
    use Channel::{Content, Metadata};
    Table::build(
        &[
            ("type", text(Metadata)),
            ("delta", text(Content).streamed("text")),
            ("text", text(Content).again("text")),
            ("speaker", text(Metadata)),
            ("logprobs.+.token", text(Channel::Logprobs).streamed("tokens")),
        ],
        &[],
    )
});

fn request_facts(root: Value<'_>, _: Address<'_>) -> RequestFacts {
    let yes = |value: Value<'_>| value.as_bool().unwrap_or(false) || value.as_str().is_some_and(|text| text == "true");
    let sse = root.get("stream_format").and_then(|f| f.as_str()).is_some_and(|format| format == "sse");
    RequestFacts {
        model: common::string(root, "model").unwrap_or_default(),
        stream: sse || root.get("stream").is_some_and(yes),
        messages: 1,
        ..RequestFacts::default()
    }
}

fn ended(root: Value<'_>, with: &str) -> Signal {
    let kind = root.get("type").and_then(|kind| kind.as_str()).unwrap_or_default();
    if kind.ends_with(with) { Signal::Done } else { Signal::None }
}
