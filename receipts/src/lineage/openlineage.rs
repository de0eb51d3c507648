//! OpenLineage run events (spec 2-0-2, <https://openlineage.io/spec/2-0-2/OpenLineage.json>) for the exchanges in receipts.
//!
//! An attempt is the START of a run, its outcome the COMPLETE, FAIL or ABORT of it; the run's id is the exchange's. The
//! agent run that the exchange belongs to is its parent run. A facet of our own carries where the receipt stands, so that a
//! line can be checked against the log.

use crate::canonical::{Value, to_vec};
use crate::tree::Hash;
use crate::{bundle, hex};

const SCHEMA_URL: &str = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent";
const PARENT_SCHEMA_URL: &str = "https://openlineage.io/spec/facets/1-0-1/ParentRunFacet.json#/$defs/ParentRunFacet";
/// The facet's schema is `schemas/public/openlineage-receipt-facet.schema.json`; its address never means anything else.
const FACET_SCHEMA_URL: &str =
    "https://clyra.dev/schemas/openlineage/1-0-0/ReceiptRunFacet.json#/$defs/ReceiptRunFacet";
/// Who emits the events.
const PRODUCER: &str = "https://clyra.dev/receipts";
/// Job of exchanges whose caller named no app.
const NO_APP: &str = "application";

/// Writes the lines of a bundle's `lineage/openlineage.jsonl`.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenLineage;

/// The hook that a sealer takes.
pub fn hook() -> Box<dyn bundle::LineageLines> {
    Box::new(OpenLineage)
}

impl bundle::LineageLines for OpenLineage {
    fn receipt(&mut self, body: &Value, leaf: &Hash, lines: &mut Vec<u8>) {
        if let Some(event) = run_event(body, leaf) {
            lines.extend_from_slice(&to_vec(&event));
            lines.push(b'\n');
        }
    }
}

/// The event for a receipt; `None` where it is not about an exchange.
pub fn run_event(body: &Value, leaf: &Hash) -> Option<Value> {
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let kind = text("kind")?;
    let event_type = match (kind, text("verdict")) {
        ("attempt", _) | ("bypass", None) => "START",
        ("outcome" | "bypass", Some("executed" | "redacted" | "repaired")) => "COMPLETE",
        ("outcome" | "bypass", Some("timeout" | "errored" | "crashed")) => "FAIL",
        // Blocked, denied, held, deferred, or given up by the client: ended on purpose.
        ("outcome" | "bypass", Some(_)) => "ABORT",
        _ => return None,
    };
    let (log, id) = (text("log")?, text("id")?);
    let app = body.get("caller").and_then(|caller| caller.get("app")?.as_str()).unwrap_or(NO_APP);
    let run = body.get("run");
    let mut facets = vec![("clyra_receipt", receipt_facet(body, leaf))];
    if let Some(run_id) = run.and_then(|run| run.get("id")?.as_str()) {
        let parent = Value::from([
            ("_producer", Value::from(PRODUCER)),
            ("_schemaURL", Value::from(PARENT_SCHEMA_URL)),
            ("job", job(log, app)),
            ("run", Value::from([("runId", Value::from(run_uuid(log, run_id)))])),
        ]);
        facets.push(("parent", parent));
    }
    let facets = Value::Object(facets.into_iter().map(|(name, facet)| (name.to_owned(), facet)).collect());
    Some(Value::from([
        ("eventTime", Value::from(text("ts")?)),
        ("eventType", Value::from(event_type)),
        ("inputs", Value::Array(Vec::new())),
        ("job", job(log, app)),
        ("outputs", Value::Array(Vec::new())),
        ("producer", Value::from(PRODUCER)),
        ("run", Value::from([("facets", facets), ("runId", Value::from(id))])),
        ("schemaURL", Value::from(SCHEMA_URL)),
    ]))
}

fn job(log: &str, app: &str) -> Value {
    Value::from([("name", Value::from(app)), ("namespace", Value::from(log))])
}

fn receipt_facet(body: &Value, leaf: &Hash) -> Value {
    let mut facet = vec![
        ("_producer", Value::from(PRODUCER)),
        ("_schemaURL", Value::from(FACET_SCHEMA_URL)),
        ("leaf", Value::from(hex::encode(leaf))),
    ];
    facet
        .extend(["kind", "log", "seq", "verdict"].into_iter().filter_map(|name| Some((name, body.get(name)?.clone()))));
    if let Some(run) = body.get("run") {
        let members = [("agent_run", "id"), ("agent_run_parent", "parent"), ("parents", "parents")];
        facet.extend(members.into_iter().filter_map(|(name, member)| Some((name, run.get(member)?.clone()))));
    }
    let request = body.get("request");
    facet.extend(
        ["model", "surface"]
            .into_iter()
            .filter_map(|name| Some((name, request.and_then(|request| request.get(name))?.clone()))),
    );
    Value::Object(facet.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// OpenLineage wants UUIDs. An agent run's id is any text: where it is a UUID it stays, otherwise a UUID of version 8 (RFC
/// 9562 §5.8) is derived from log and id.
fn run_uuid(log: &str, run: &str) -> String {
    if let Ok(uuid) = uuid::Uuid::try_parse(run) {
        return uuid.hyphenated().to_string();
    }
    let mut hasher = blake3::Hasher::new_derive_key("pef.v0 openlineage run");
    hasher.update(log.as_bytes()).update(&[0]).update(run.as_bytes());
    let mut bytes = [0; 16];
    hasher.finalize_xof().fill(&mut bytes);
    uuid::Builder::from_custom_bytes(bytes).into_uuid().hyphenated().to_string()
}
