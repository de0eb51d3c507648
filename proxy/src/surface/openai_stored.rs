//! What OpenAI and its like keep: files, batches, answers of responses, lists of models. Batches are files of requests, and
//! their results files of answers: both are read row by row.

use std::sync::LazyLock;

use super::path::ends;
use super::table::{Line, json, stored, text};
use super::{Answers, Asks, Channel, Dialect, Surface, Table, openai_chat, openai_responses};
use crate::json::Value;
use crate::wire::Framing;

/// Uploads, lists and the particulars of a file.
pub(super) static FILES: Surface = Surface {
    methods: &["POST", "GET", "DELETE"],
    serves: |path| ends(path, &[&["files"], &["files", "*"]]) && !path.contains("/upload/"),
    asks: Asks::Form,
    kept: true,
    request: || &UPLOAD,
    ..Surface::plain(
        "openai.files",
        Dialect::OpenAi,
        &["POST /v1/files", "GET /v1/files", "GET /v1/files/{id}", "DELETE /v1/files/{id}"],
    )
};

/// What stands in a file: the results of a batch, or what was uploaded.
pub(super) static CONTENT: Surface = Surface {
    methods: &["GET"],
    serves: |path| ends(path, &[&["files", "*", "content"]]),
    answers: Answers::Events,
    kept: true,
    framing: Framing::Lines,
    event: |_| &RESULT,
    events: || vec![("{}".to_owned(), &RESULT)],
    ..Surface::plain("openai.file_content", Dialect::OpenAi, &["GET /v1/files/{id}/content"])
};

pub(super) static BATCHES: Surface = Surface {
    methods: &["POST", "GET"],
    serves: |path| {
        ends(path, &[&["batches"], &["batches", "*"], &["batches", "*", "cancel"]])
            && !path.contains("/messages/batches")
    },
    asks: Asks::Maybe,
    kept: true,
    request: || &BATCH,
    ..Surface::plain(
        "openai.batches",
        Dialect::OpenAi,
        &["POST /v1/batches", "GET /v1/batches", "GET /v1/batches/{id}", "POST /v1/batches/{id}/cancel"],
    )
};

/// Answers that the provider has kept, what was asked, and the tools around it.
pub(super) static RESPONSES: Surface = Surface {
    methods: &["GET", "DELETE", "POST"],
    serves: |path| {
        let kept: [&[&str]; 5] = [
            &["responses", "input_tokens"],
            &["responses", "compact"],
            &["responses", "*"],
            &["responses", "*", "input_items"],
            &["responses", "*", "cancel"],
        ];
        ends(path, &kept)
    },
    asks: Asks::Maybe,
    kept: true,
    request: openai_responses::SURFACE.request,
    response: || &KEPT,
    event: openai_responses::SURFACE.event,
    events: openai_responses::SURFACE.events,
    repeats: true,
    note_response: openai_responses::SURFACE.note_response,
    signal: openai_responses::SURFACE.signal,
    ..Surface::plain(
        "openai.responses.stored",
        Dialect::OpenAi,
        &[
            "POST /v1/responses/compact",
            "POST /v1/responses/input_tokens",
            "GET /v1/responses/{id}",
            "DELETE /v1/responses/{id}",
            "GET /v1/responses/{id}/input_items",
            "POST /v1/responses/{id}/cancel",
        ],
    )
};

/// Names of models, which no client can do without.
pub(super) static MODELS: Surface = Surface {
    methods: &["GET"],
    serves: |path| ends(path, &[&["models"], &["models", "*"], &["models", "*", "*"]]),
    note_response: |_: Value<'_>, _| (),
    ..Surface::plain("models", Dialect::OpenAi, &["GET /v1/models", "GET /v1/models/{id}"])
};

static BATCH: LazyLock<Table> = LazyLock::new(|| Table::build(&[("input_file_id", stored())], &[]));

/// An upload as the form is read: `file` is text, or the rows of a batch.
static UPLOAD: LazyLock<Table> = LazyLock::new(|| {
    use Channel::{Metadata, User};
    let own: [Line; 3] = [("purpose", text(Metadata)), ("file", text(User)), ("file.*.url", text(Metadata))];
    Table::build(&own, &[]).with("file.*.body", requests())
});

/// The body of a row: a request to chat, to embeddings or to responses. What the two call the same, they mean the same.
fn requests() -> Table {
    let input: [Line; 4] = [
        ("input", text(Channel::User).or_ids()),
        ("instructions", text(Channel::System)),
        ("input.*.text", text(Channel::User)),
        ("prompt", text(Channel::User).or_ids()),
    ];
    Table::build(&[openai_chat::REQUEST_LINES, &input].concat(), &[])
}

static RESULT: LazyLock<Table> = LazyLock::new(|| {
    use Channel::{Content, Metadata, Refusal};
    let own: [Line; 5] = [
        ("custom_id", text(Metadata)),
        ("error", json(Metadata)),
        ("output.*.content.*.text", text(Content)),
        ("output.*.content.*.refusal", text(Refusal)),
        ("output.*.arguments", json(Channel::ToolArguments)),
    ];
    let body = Table::build(&[openai_chat::SAID, openai_chat::RESPONSE_LINES, &own].concat(), &[]);
    let row = Table::build(&own, &[]).with("response.body", body);
    // What was uploaded can be read back.
    row.with("body", requests())
});

/// An answer, or a list of what stood in one.
static KEPT: LazyLock<Table> = LazyLock::new(openai_responses::kept);
