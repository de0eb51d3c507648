//! Prompts that Gemini keeps, for requests that begin with them (`cachedContent`), here and on Vertex AI.

use std::sync::LazyLock;

use super::common::string;
use super::path::ends;
use super::{Asks, Dialect, ResponseFacts, Surface, Table, gemini_generate};
use crate::json::Value;

pub(super) static SURFACE: Surface = Surface {
    methods: &["POST", "GET", "PATCH", "DELETE"],
    serves: |path| ends(path, &[&["cachedcontents"], &["cachedcontents", "*"]]),
    asks: Asks::Maybe,
    kept: true,
    request: || &REQUEST,
    note_response,
    ..Surface::plain(
        "gemini.cached_contents",
        Dialect::Gemini,
        &[
            "POST /v1beta/cachedContents",
            "GET /v1beta/cachedContents",
            "GET /v1beta/cachedContents/{id}",
            "PATCH /v1beta/cachedContents/{id}",
            "DELETE /v1beta/cachedContents/{id}",
        ],
    )
};

static REQUEST: LazyLock<Table> = LazyLock::new(gemini_generate::request);

/// Its name is what requests call it by.
fn note_response(root: Value<'_>, facts: &mut ResponseFacts) {
    facts.model = string(root, "model").or(facts.model.take());
    facts.id = string(root, "name").or(facts.id.take());
}
