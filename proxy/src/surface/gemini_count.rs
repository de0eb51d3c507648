//! Beside the content generation of Gemini: counting tokens, and embeddings, here and on Vertex AI.

use std::sync::LazyLock;

use super::table::text;
use super::{Address, Channel, Dialect, RequestFacts, Surface, Table, gemini_generate};
use crate::json::Value;

pub(super) static COUNT_TOKENS: Surface = Surface {
    serves: |path| path.ends_with(":counttokens") || path.ends_with(":computetokens"),
    request: || &COUNTED,
    request_facts,
    ..Surface::plain("gemini.count_tokens", Dialect::Gemini, &["POST /v1beta/models/{model}:countTokens"])
};

pub(super) static EMBEDDINGS: Surface = Surface {
    serves: |path| {
        [":embedcontent", ":batchembedcontents", ":asyncbatchembedcontent", ":predict"]
            .iter()
            .any(|method| path.ends_with(method))
    },
    request: || &EMBEDDED,
    response: || &VECTORS,
    request_facts,
    ..Surface::plain(
        "gemini.embeddings",
        Dialect::Gemini,
        &[
            "POST /v1beta/models/{model}:embedContent",
            "POST /v1beta/models/{model}:batchEmbedContents",
            "POST /v1/projects/{id}/locations/{id}/publishers/google/models/{model}:predict",
        ],
    )
};

static COUNTED: LazyLock<Table> =
    LazyLock::new(|| gemini_generate::request().with("generateContentRequest", gemini_generate::request()));

static EMBEDDED: LazyLock<Table> = LazyLock::new(|| {
    use Channel::{Metadata, User};
    Table::build(
        &[
            ("model", text(Metadata)),
            ("content.parts.*.text", text(User)),
            ("requests.*.model", text(Metadata)),
            ("requests.*.content.parts.*.text", text(User)),
            ("requests.*.title", text(User)),
            ("title", text(User)),
            ("instances.*.content", text(User)),
            ("instances.*.title", text(User)),
            ("instances.*.prompt", text(User)),
            ("instances.*.text", text(User)),
        ],
        &[],
    )
});

static VECTORS: LazyLock<Table> = LazyLock::new(|| {
    use Channel::{Content, Metadata};
    Table::build(
        &[
            ("embedding.values.*", text(Metadata)),
            ("embeddings.*.values.*", text(Metadata)),
            ("predictions.*.embeddings.values.*", text(Metadata)),
            ("predictions.*.content", text(Content)),
        ],
        &[],
    )
});

fn request_facts(_: Value<'_>, address: Address<'_>) -> RequestFacts {
    RequestFacts { model: address.model(), messages: 1, ..RequestFacts::default() }
}
