//! Conversations that OpenAI keeps: items as in responses, put in beforehand and read back.

use std::sync::LazyLock;

use super::path::ends;
use super::{Asks, Dialect, ResponseFacts, Surface, Table, common, openai_responses};
use crate::json::Value;

pub(super) static SURFACE: Surface = Surface {
    methods: &["POST", "GET", "DELETE"],
    serves: |path| {
        ends(
            path,
            &[
                &["conversations"],
                &["conversations", "*"],
                &["conversations", "*", "items"],
                &["conversations", "*", "items", "*"],
            ],
        )
    },
    asks: Asks::Maybe,
    kept: true,
    request: || &REQUEST,
    response: || &RESPONSE,
    note_response,
    ..Surface::plain(
        "openai.conversations",
        Dialect::OpenAi,
        &[
            "POST /v1/conversations",
            "GET /v1/conversations/{id}",
            "POST /v1/conversations/{id}",
            "DELETE /v1/conversations/{id}",
            "POST /v1/conversations/{id}/items",
            "GET /v1/conversations/{id}/items",
            "GET /v1/conversations/{id}/items/{id}",
            "DELETE /v1/conversations/{id}/items/{id}",
        ],
    )
};

static REQUEST: LazyLock<Table> = LazyLock::new(|| openai_responses::asked("items"));

/// A conversation, which says nothing; one item; or a list of them.
static RESPONSE: LazyLock<Table> =
    LazyLock::new(|| openai_responses::kept_item().with("data.*", openai_responses::kept_item()));

fn note_response(root: Value<'_>, facts: &mut ResponseFacts) {
    common::note_response(root, facts);
    for item in root.get("data").into_iter().flat_map(|list| list.children()) {
        facts.note_item(item.get("id"));
    }
}
