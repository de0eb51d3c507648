//! Clyra's own words in a provider's place: errors, and the ends of answers that a policy wants to look like refusals.
//!
//! An ending fits what the client was shown before: it closes what is open, goes on counting, and keeps the answer's name.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value as Json, json};

use super::Usage;

/// Whose wire format a surface speaks: decides the shape of errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    OpenAi,
    Anthropic,
    Gemini,
    Ollama,
    Bedrock,
    Cohere,
    Mcp,
}

/// What Clyra tells the client when it answers instead of the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// Stable code, such as `content_policy_violation`.
    pub code: &'a str,
    /// The provider's error type that SDKs map to an exception.
    pub kind: &'a str,
    /// HTTP status of the cause, also where the head of another has left.
    pub status: u16,
    pub message: &'a str,
    pub request_id: &'a str,
    pub rule: Option<&'a str>,
    pub reason: &'a str,
    pub detectors: &'a [String],
}

impl Refusal<'_> {
    /// The member `clyra` of whatever Clyra says.
    pub(super) fn clyra(&self) -> Json {
        json!({
            "request_id": self.request_id, "rule": self.rule, "reason": self.reason,
            "detectors": self.detectors, "code": self.code,
        })
    }
}

impl Dialect {
    /// The upstream that serves this dialect where several are configured and the path names none.
    pub fn upstream(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Ollama => "ollama",
            Self::Bedrock => "bedrock",
            Self::Cohere => "cohere",
            Self::Mcp => "mcp",
        }
    }

    /// The error body in the provider's own shape, plus the member `clyra`.
    pub fn error_body(self, refusal: &Refusal<'_>) -> String {
        let mut body = match self {
            Self::OpenAi => json!({"error": openai_error(refusal)}),
            Self::Anthropic => json!({
                "type": "error",
                "error": {"type": refusal.kind, "message": refusal.message},
                "request_id": refusal.request_id,
            }),
            Self::Gemini => json!({"error": {
                "code": refusal.status, "message": refusal.message, "status": refusal.kind, "details": [],
            }}),
            Self::Ollama => json!({"error": refusal.message}),
            Self::Bedrock => json!({"message": refusal.message}),
            Self::Mcp => return self.error_with_id(refusal, None),
            Self::Cohere => json!({"id": refusal.request_id, "message": refusal.message}),
        };
        // Last: SDKs know an error by what it begins with.
        if let Some(members) = body.as_object_mut() {
            members.insert("clyra".into(), refusal.clyra());
        }
        body.to_string()
    }
}

impl Dialect {
    /// The error as an answer of JSON-RPC to the request of this id.
    pub(super) fn error_with_id(self, refusal: &Refusal<'_>, id: Option<&str>) -> String {
        // -32020 is the protocol's own code for headers that differ from the body.
        let code = match refusal.code {
            "header_mismatch" => -32020,
            "invalid_request" | "request_too_large" => -32600,
            _ => -32000,
        };
        let error = json!({"code": code, "message": refusal.message, "data": {"clyra": refusal.clyra()}});
        format!(r#"{{"jsonrpc":"2.0","id":{},"error":{error},"clyra":{}}}"#, id.unwrap_or("null"), refusal.clyra())
    }
}

pub(super) fn openai_error(refusal: &Refusal<'_>) -> Json {
    json!({"message": refusal.message, "type": refusal.kind, "param": null, "code": refusal.code})
}

/// How a surface's answers end where Clyra ends them.
#[derive(Debug)]
pub struct Ending {
    /// The error as the last event of a stream: SDKs raise their ordinary exception on it.
    pub error: fn(&Refusal<'_>, &Shown) -> Bytes,
    /// A policy's block as the body of an answer with status 200, where clients read errors there.
    pub in_ok: Option<fn(&Refusal<'_>, &Shown) -> Option<Bytes>>,
    /// How an answer looks that the provider's own filter has stopped; `None` where there is no such thing.
    pub soft: Option<Soft>,
}

/// Answers that look as if the provider's filter had stopped them.
#[derive(Debug)]
pub struct Soft {
    /// The rest of a stream, or all of it where nothing was shown.
    pub events: fn(&Refusal<'_>, &Shown) -> Bytes,
    /// A whole answer.
    pub document: fn(&Refusal<'_>, &Shown) -> Json,
}

impl Ending {
    /// The error of OpenAI as an event, and nothing soft.
    pub(super) const PLAIN: Ending = Ending {
        error: |refusal, _| format!("event: error\ndata: {}\n\n", Dialect::OpenAi.error_body(refusal)).into(),
        in_ok: None,
        soft: None,
    };
}

/// Choices or blocks that an ending closes; models open a handful.
const OPEN_MAX: usize = 256;

/// What of items is kept to be listed once more when the answer ends. Beyond it the list is short of some of their text, which
/// clients have been shown all the same.
const ITEMS_BYTES_MAX: usize = 4 << 20;

/// What an event has of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Its beginning, or more of it.
    Piece,
    /// All of it, once more.
    Whole,
}

/// What of an event its stream's ending has to fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mark {
    /// It names the answer: what it is called, when it was made.
    pub names: bool,
    /// Choices or blocks that go on behind it.
    pub opens: Vec<u64>,
    /// Those that are over with it.
    pub closes: Vec<u64>,
    /// It holds this of an item that is listed once more at the end.
    pub item: Option<(u64, Stage)>,
    pub sequence: Option<u64>,
}

/// What a client has been shown of a stream, as far as its ending has to fit it.
#[derive(Debug, Clone, Default)]
pub struct Shown {
    /// The model that was asked, until the answer names its own.
    pub asked_model: String,
    /// When the answer is made, in seconds since 1970.
    pub now_unix_s: i64,
    pub usage: Usage,
    /// The id that an answer of JSON-RPC must have, as JSON.
    pub rpc_id: Option<String>,
    /// Items are kept, so that an ending can list them.
    pub keeps_items: bool,
    head: Option<Bytes>,
    parts: BTreeMap<u64, bool>,
    /// The events that tell of each item.
    items: BTreeMap<u64, Vec<Bytes>>,
    items_bytes: usize,
    sequence: Option<u64>,
}

impl Shown {
    /// An event has left; `data` is what it said.
    pub fn note(&mut self, mark: &Mark, data: Option<&Bytes>) {
        if mark.names && self.head.is_none() {
            self.head = data.map(|data| Bytes::copy_from_slice(data));
        }
        for (indices, open) in [(&mark.opens, true), (&mark.closes, false)] {
            for index in indices {
                if self.parts.len() < OPEN_MAX || self.parts.contains_key(index) {
                    // What is over stays over: usage and the like may still name it.
                    self.parts.entry(*index).and_modify(|was| *was &= open).or_insert(open);
                }
            }
        }
        self.sequence = mark.sequence.or(self.sequence);
        if let (Some((index, stage)), Some(data), true) = (mark.item, data, self.keeps_items) {
            self.keep(index, stage, data);
        }
    }

    fn keep(&mut self, index: u64, stage: Stage, data: &[u8]) {
        let events = self.items.entry(index).or_default();
        if stage == Stage::Whole {
            self.items_bytes -= events.drain(..).map(|event| event.len()).sum::<usize>();
        }
        if self.items_bytes + data.len() <= ITEMS_BYTES_MAX {
            self.items_bytes += data.len();
            // A copy: what came in one read would stay in memory with it.
            events.push(Bytes::copy_from_slice(data));
        }
        if events.is_empty() {
            self.items.remove(&index);
        }
    }

    /// Something was shown of this choice or block.
    pub fn begun(&self, index: u64) -> bool {
        self.parts.contains_key(&index)
    }

    /// Nothing was shown that names the answer.
    pub(super) fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// What the event that named the answer said.
    pub(super) fn head(&self) -> Json {
        self.head.as_ref().and_then(|head| serde_json::from_slice(head).ok()).unwrap_or_default()
    }

    /// What is open; where nothing is, all that ever was.
    pub(super) fn open(&self) -> Vec<u64> {
        let open: Vec<u64> = self.parts.iter().filter(|(_, open)| **open).map(|(index, _)| *index).collect();
        if open.is_empty() { self.parts.keys().copied().collect() } else { open }
    }

    /// What is open, and only that.
    pub(super) fn still_open(&self) -> impl Iterator<Item = u64> {
        self.parts.iter().filter(|(_, open)| **open).map(|(index, _)| *index)
    }

    /// The events that tell of each item, in their order.
    pub(super) fn items(&self) -> impl Iterator<Item = Vec<Json>> {
        let read = |events: &Vec<Bytes>| events.iter().filter_map(|data| serde_json::from_slice(data).ok()).collect();
        self.items.values().map(read)
    }

    /// The number of the next event.
    pub(super) fn next_sequence(&self) -> u64 {
        self.sequence.map_or(0, |last| last.saturating_add(1))
    }
}

/// A name for an answer that no provider made.
pub(super) fn own_id(prefix: &str, refusal: &Refusal<'_>) -> String {
    format!("{prefix}{}", refusal.request_id.replace('-', ""))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::surface) fn refusal() -> Refusal<'static> {
        Refusal {
            code: "content_policy_violation",
            kind: "invalid_request_error",
            status: 400,
            message: "m",
            request_id: "01-2",
            rule: Some("r"),
            reason: "why",
            detectors: &[],
        }
    }

    /// Nothing was shown yet of an answer by this model.
    pub(in crate::surface) fn asked(model: &str) -> Shown {
        Shown { asked_model: model.to_owned(), ..Shown::default() }
    }

    /// The data of each event, in the line endings given.
    pub(in crate::surface) fn data(events: &str, end: &str) -> Vec<Json> {
        assert!(events.ends_with(&format!("{end}{end}")), "{events:?}");
        let lines = events.split(end).filter_map(|line| line.strip_prefix("data: "));
        lines.filter(|line| *line != "[DONE]").map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn errors_have_the_providers_shape() {
        let body = |dialect: Dialect| dialect.error_body(&refusal());
        let openai: Json = serde_json::from_str(&body(Dialect::OpenAi)).unwrap();
        assert_eq!(openai["error"]["code"], "content_policy_violation");
        assert_eq!(openai["clyra"]["rule"], "r");
        let anthropic: Json = serde_json::from_str(&body(Dialect::Anthropic)).unwrap();
        assert_eq!(anthropic["type"], "error");
        assert_eq!(anthropic["error"]["type"], "invalid_request_error");
        let gemini = Dialect::Gemini.error_body(&Refusal { kind: "INVALID_ARGUMENT", ..refusal() });
        assert!(gemini.starts_with(r#"{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT","details":[]}"#));
    }

    #[test]
    fn an_ending_fits_what_was_shown() {
        let mut shown = Shown::default();
        assert_eq!((shown.next_sequence(), shown.open(), shown.is_empty()), (0, vec![], true));
        let mark = |names, opens: &[u64], closes: &[u64], sequence| Mark {
            names,
            opens: opens.to_vec(),
            closes: closes.to_vec(),
            item: None,
            sequence,
        };
        shown.note(&mark(true, &[0, 1], &[], Some(4)), Some(&Bytes::from_static(b"{\"id\":1}")));
        shown.note(&mark(true, &[], &[0], None), Some(&Bytes::from_static(b"{\"id\":2}")));
        shown.note(&mark(false, &[0], &[], None), None);
        assert_eq!((shown.head()["id"].as_u64(), shown.open(), shown.next_sequence()), (Some(1), vec![1], 5));
        shown.note(&mark(false, &[], &[1], None), None);
        assert_eq!((shown.open(), shown.still_open().count()), (vec![0, 1], 0));
    }

    #[test]
    fn what_is_kept_for_an_ending_is_bounded() {
        let mut shown = Shown { keeps_items: true, ..Shown::default() };
        let big = Bytes::from(vec![b' '; ITEMS_BYTES_MAX / 2 + 1]);
        for index in 0..OPEN_MAX as u64 + 5 {
            let mark = Mark { opens: vec![index], item: Some((index, Stage::Piece)), ..Mark::default() };
            shown.note(&mark, Some(&big));
        }
        assert_eq!((shown.open().len(), shown.items.len()), (OPEN_MAX, 1));
        // An item that is there whole takes the place of its pieces.
        for stage in [Stage::Piece, Stage::Whole, Stage::Piece, Stage::Whole] {
            shown.note(&Mark { item: Some((0, stage)), ..Mark::default() }, Some(&Bytes::from_static(b"{}")));
        }
        assert_eq!((shown.items_bytes, shown.items.len()), (2, 1));
    }
}
