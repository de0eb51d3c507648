//! Batches of Gemini's content generation: requests that stand in one document, and the answers to them in another. Batches
//! that are files are read where the files are.

use std::sync::LazyLock;

use super::common::string;
use super::path::ends;
use super::table::{json, stored, text};
use super::{Address, Asks, Channel, Dialect, RequestFacts, ResponseFacts, Surface, Table, gemini_generate};
use crate::json::Value;

const CREATE: &str = ":batchgeneratecontent";

pub(super) static SURFACE: Surface = Surface {
    methods: &["POST", "GET", "DELETE"],
    // The lists of other providers have the same name, but not this version before it.
    serves: |path| {
        path.ends_with(CREATE)
            || ends(path, &[&["v1beta", "batches"], &["v1beta", "batches", "*"]])
            || ends(path, &[&["v1alpha", "batches"], &["v1alpha", "batches", "*"]])
    },
    asks: Asks::Maybe,
    kept: true,
    request: || &REQUEST,
    response: || &RESPONSE,
    request_facts: |root, address: Address<'_>| RequestFacts {
        model: if address.ends_with(CREATE) { address.model() } else { String::new() },
        messages: each(root).count() as u32,
        ..RequestFacts::default()
    },
    note_response,
    ..Surface::plain(
        "gemini.batches",
        Dialect::Gemini,
        &[
            "POST /v1beta/models/{model}:batchGenerateContent",
            "GET /v1beta/batches",
            "GET /v1beta/batches/{id}",
            "DELETE /v1beta/batches/{id}",
            "POST /v1beta/batches/{id}:cancel",
        ],
    )
};

/// Where the requests stand, in either spelling.
const CONFIGS: [&str; 2] = ["inputConfig", "input_config"];

fn each<'a>(root: Value<'a>) -> impl Iterator<Item = Value<'a>> {
    let batch = root.get("batch");
    let config = CONFIGS.into_iter().find_map(|name| batch?.get(name));
    config.and_then(|config| config.at(&["requests", "requests"])).into_iter().flat_map(|list| list.children())
}

static REQUEST: LazyLock<Table> = LazyLock::new(|| {
    let own = [("batch.inputConfig.fileName", stored()), ("batch.input_config.file_name", stored())];
    Table::build(&own, &[])
        .with("batch.inputConfig.requests.requests.*.request", gemini_generate::request())
        .with("batch.input_config.requests.requests.*.request", gemini_generate::request())
});

/// An operation, or a list of them.
static RESPONSE: LazyLock<Table> = LazyLock::new(|| operation(0).with("operations.*", operation(1)));

/// What an operation in this many arrays came to stands in its `response`, and again in what it says of the batch.
fn operation(depth: usize) -> Table {
    let output = || {
        let own = [("inlinedResponses.inlinedResponses.*.error", json(Channel::Metadata))];
        let answer = gemini_generate::response(depth + 1);
        Table::build(&own, &[]).with("inlinedResponses.inlinedResponses.*.response", answer)
    };
    let own = Table::build(&[("name", text(Channel::Metadata))], &[]);
    own.with("response", output()).with("metadata.output", output())
}

/// Its name is `batches/{id}`; the path of later requests has the id.
fn note_response(root: Value<'_>, facts: &mut ResponseFacts) {
    let id = string(root, "name").and_then(|name| Some(name.rsplit('/').next()?.to_owned()));
    facts.id = id.or(facts.id.take());
}

#[cfg(test)]
#[allow(clippy::string_slice)]
mod tests {
    use super::*;
    use crate::json::{Doc, Limits};
    use crate::surface::segments;

    fn read(table: &Table, document: &str) -> Vec<(Channel, String, String)> {
        let doc = Doc::parse(document.as_bytes(), Limits::default()).unwrap();
        let segments = segments(table, doc.root(document.as_bytes())).into_iter();
        let texts = segments.filter(|segment| segment.channel != Channel::Metadata);
        texts.map(|segment| (segment.channel, segment.key, document[segment.range].to_owned())).collect()
    }

    #[test]
    fn requests_are_read_in_either_spelling() {
        for config in CONFIGS {
            let request =
                r#"{"contents":[{"role":"user","parts":[{"text":"U"}]}],"systemInstruction":{"parts":[{"text":"S"}]}}"#;
            let document =
                format!(r#"{{"batch":{{"{config}":{{"requests":{{"requests":[{{"request":{request}}}]}}}}}}}}"#);
            let read: Vec<_> =
                read(&REQUEST, &document).into_iter().map(|(channel, _, text)| (channel, text)).collect();
            assert_eq!(read, [(Channel::User, "U".to_owned()), (Channel::System, "S".to_owned())]);
            let doc = Doc::parse(document.as_bytes(), Limits::default()).unwrap();
            let address = Address { path: "/v1beta/models/m:batchGenerateContent", query: None };
            let facts = (SURFACE.request_facts)(doc.root(document.as_bytes()), address);
            assert_eq!((facts.model.as_str(), facts.messages), ("m", 1));
        }
    }

    /// Parts of a candidate continue each other, answers do not.
    #[test]
    fn answers_are_apart() {
        let answer = |text: &str| {
            format!(
                r#"{{"response":{{"candidates":[{{"content":{{"parts":[{{"text":"{text}"}},{{"text":"b"}}]}}}}]}}}}"#
            )
        };
        let responses = format!(r#"{{"inlinedResponses":{{"inlinedResponses":[{},{}]}}}}"#, answer("a"), answer("c"));
        let document = format!(r#"{{"name":"batches/1","done":true,"response":{responses}}}"#);
        let keys: Vec<_> =
            read(&RESPONSE, &document).into_iter().map(|(_, key, text)| format!("{key}={text}")).collect();
        assert_eq!(keys, ["content:text:0/0=a", "content:text:0/0=b", "content:text:1/0=c", "content:text:1/0=b"]);
        let listed = format!(r#"{{"operations":[{document}]}}"#);
        let keys: Vec<_> = read(&RESPONSE, &listed).into_iter().map(|(_, key, _)| key).collect();
        assert_eq!(keys[1..3], ["content:text:0/0/0", "content:text:0/1/0"]);
        let doc = Doc::parse(document.as_bytes(), Limits::default()).unwrap();
        let mut facts = ResponseFacts::default();
        note_response(doc.root(document.as_bytes()), &mut facts);
        assert_eq!(facts.id.as_deref(), Some("1"));
    }
}
