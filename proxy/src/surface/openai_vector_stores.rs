//! Vector stores of OpenAI: files put together to be searched, and what a search finds in them.

use std::sync::LazyLock;

use super::path::ends;
use super::table::{stored, text};
use super::{Asks, Channel, Dialect, Surface, Table};

pub(super) static SURFACE: Surface = Surface {
    methods: &["POST", "GET", "DELETE"],
    serves: |path| {
        ends(
            path,
            &[
                &["vector_stores"],
                &["vector_stores", "*"],
                &["vector_stores", "*", "search"],
                &["vector_stores", "*", "files"],
                &["vector_stores", "*", "files", "*"],
                &["vector_stores", "*", "files", "*", "content"],
                &["vector_stores", "*", "file_batches"],
                &["vector_stores", "*", "file_batches", "*"],
                &["vector_stores", "*", "file_batches", "*", "cancel"],
                &["vector_stores", "*", "file_batches", "*", "files"],
            ],
        )
    },
    asks: Asks::Maybe,
    kept: true,
    request: || &REQUEST,
    response: || &RESPONSE,
    ..Surface::plain(
        "openai.vector_stores",
        Dialect::OpenAi,
        &[
            "POST /v1/vector_stores",
            "GET /v1/vector_stores",
            "GET /v1/vector_stores/{id}",
            "POST /v1/vector_stores/{id}",
            "DELETE /v1/vector_stores/{id}",
            "POST /v1/vector_stores/{id}/search",
            "POST /v1/vector_stores/{id}/files",
            "GET /v1/vector_stores/{id}/files",
            "GET /v1/vector_stores/{id}/files/{id}",
            "POST /v1/vector_stores/{id}/files/{id}",
            "DELETE /v1/vector_stores/{id}/files/{id}",
            "GET /v1/vector_stores/{id}/files/{id}/content",
            "POST /v1/vector_stores/{id}/file_batches",
            "GET /v1/vector_stores/{id}/file_batches/{id}",
            "POST /v1/vector_stores/{id}/file_batches/{id}/cancel",
            "GET /v1/vector_stores/{id}/file_batches/{id}/files",
        ],
    )
};

static REQUEST: LazyLock<Table> = LazyLock::new(|| {
    Table::build(
        &[
            ("query", text(Channel::User)),
            ("query.*", text(Channel::User)),
            ("file_id", stored()),
            ("file_ids.*", stored()),
            ("files.*.file_id", stored()),
        ],
        &[],
    )
});

/// What is found goes into a prompt as what a tool said does.
static RESPONSE: LazyLock<Table> = LazyLock::new(|| {
    Table::build(
        &[("data.*.content.*.text", text(Channel::ToolResult)), ("data.*.text", text(Channel::ToolResult))],
        &[],
    )
});
