//! Endpoints of OpenAI that take text and give back numbers: embeddings and moderations.

use std::sync::LazyLock;

use super::table::{When, media, text};
use super::{Channel, Dialect, Surface, Table};

pub(super) static EMBEDDINGS: Surface = Surface {
    serves: |path| path.ends_with("/embeddings") && !path.ends_with("/api/embeddings"),
    request: || &INPUT,
    response: || &VECTORS,
    ..Surface::plain(
        "openai.embeddings",
        Dialect::OpenAi,
        &["POST /v1/embeddings", "POST /openai/deployments/{id}/embeddings"],
    )
};

pub(super) static MODERATIONS: Surface = Surface {
    serves: |path| path.ends_with("/moderations"),
    request: || &INPUT,
    response: || &RATINGS,
    ..Surface::plain("openai.moderations", Dialect::OpenAi, &["POST /v1/moderations"])
};

static INPUT: LazyLock<Table> = LazyLock::new(|| {
    use Channel::{Metadata, User};
    Table::build(
        &[
            ("model", text(Metadata)),
            ("input", text(User).or_ids()),
            ("input.*", text(User)),
            ("input.*.text", text(User)),
            ("input.*.type", text(Metadata)),
            ("input.*.image_url", media(When::DataUrl).of(User)),
            ("input.*.image_url.url", media(When::DataUrl).of(User)),
        ],
        &[],
    )
});

static VECTORS: LazyLock<Table> = LazyLock::new(|| {
    use Channel::{Content, Metadata};
    Table::build(
        &[
            ("object", text(Metadata)),
            ("model", text(Metadata)),
            ("data.*.object", text(Metadata)),
            ("data.*.index", text(Metadata)),
            // Numbers, or the same in base64.
            ("data.*.embedding", media(When::Always).of(Content)),
            ("data.*.embedding.*", text(Metadata)),
        ],
        &[],
    )
});

static RATINGS: LazyLock<Table> =
    LazyLock::new(|| Table::build(&[("results.*.flagged", text(Channel::Metadata))], &[]));
