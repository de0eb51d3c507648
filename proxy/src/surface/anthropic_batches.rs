//! Beside the messages of Anthropic: counting their tokens, and batches of them. A batch's results come row by row.

use std::sync::LazyLock;

use super::path::ends;
use super::table::{json, text};
use super::{Answers, Asks, Channel, Dialect, Surface, Table, anthropic_messages};
use crate::wire::Framing;

pub(super) static COUNT_TOKENS: Surface = Surface {
    serves: |path| path.ends_with("/messages/count_tokens"),
    request: anthropic_messages::SURFACE.request,
    request_facts: |root, address| {
        let facts = (anthropic_messages::SURFACE.request_facts)(root, address);
        super::RequestFacts { stream: false, response_schema: None, tool_schemas: Vec::new(), ..facts }
    },
    ..Surface::plain("anthropic.count_tokens", Dialect::Anthropic, &["POST /v1/messages/count_tokens"])
};

pub(super) static BATCHES: Surface = Surface {
    methods: &["POST", "GET", "DELETE"],
    serves: |path| {
        ends(path, &[&["messages", "batches"], &["messages", "batches", "*"], &["messages", "batches", "*", "cancel"]])
    },
    asks: Asks::Maybe,
    kept: true,
    request: || &REQUESTS,
    ..Surface::plain(
        "anthropic.batches",
        Dialect::Anthropic,
        &[
            "POST /v1/messages/batches",
            "GET /v1/messages/batches",
            "GET /v1/messages/batches/{id}",
            "DELETE /v1/messages/batches/{id}",
            "POST /v1/messages/batches/{id}/cancel",
        ],
    )
};

pub(super) static RESULTS: Surface = Surface {
    methods: &["GET"],
    serves: |path| ends(path, &[&["messages", "batches", "*", "results"]]),
    answers: Answers::Events,
    kept: true,
    framing: Framing::Lines,
    event: |_| &RESULT,
    events: || vec![("{}".to_owned(), &RESULT)],
    ..Surface::plain("anthropic.batch_results", Dialect::Anthropic, &["GET /v1/messages/batches/{id}/results"])
};

static REQUESTS: LazyLock<Table> = LazyLock::new(|| {
    let params = Table::build(anthropic_messages::REQUEST_LINES, &[]);
    Table::build(&[("requests.*.custom_id", text(Channel::Metadata))], &[]).with("requests.*.params", params)
});

static RESULT: LazyLock<Table> = LazyLock::new(|| {
    let message = Table::build(anthropic_messages::RESPONSE_LINES, &[]);
    let own = [
        ("custom_id", text(Channel::Metadata)),
        ("result.type", text(Channel::Metadata)),
        ("result.error", json(Channel::Metadata)),
    ];
    Table::build(&own, &[]).with("result.message", message)
});
