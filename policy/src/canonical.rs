//! The one text that stands for a policy's meaning, to be hashed and put into evidence.
//!
//! Everything that can change a decision is in it, and nothing that cannot: no file names, positions or comments.

use serde_json::{Map, Value, json};

use crate::expr::Program;
use crate::model::{DetectorSettings, Matcher, SchemaSource, StoredState, Threat};
use crate::policy::{Document, LoadedSchema};

/// Integers beyond this do not survive the double that RFC 8785 writes numbers as.
const EXACT_INTEGER_MAX: u64 = (1 << 53) - 1;

pub(crate) fn text(document: &Document) -> String {
    jcs(&value(document))
}

/// RFC 8785. Values here hold no number that it cannot write, so the fallback is never taken; it is deterministic as well.
pub(crate) fn jcs(value: &Value) -> String {
    serde_json_canonicalizer::to_string(value).unwrap_or_else(|_| value.to_string())
}

fn value(document: &Document) -> Value {
    let defaults = &document.defaults;
    let mut canonical = json!({
        "version": 1,
        "metadata": {
            "name": document.metadata.name,
            "owner": document.metadata.owner,
            "revision": document.metadata.revision,
        },
        "mode": document.mode.as_str(),
        "defaults": {
            "unknown_surface": defaults.unknown_surface.as_str(),
            "on_error": defaults.on_error.as_str(),
            "on_timeout": defaults.on_timeout.as_str(),
            "budget_ms": {
                "request": defaults.request_budget_ms,
                "response_event": defaults.response_event_budget_ms,
            },
            "stream": defaults.stream.as_str(),
            "block_style": defaults.block_style.as_str(),
            "body_storage": defaults.body_storage.as_str(),
        },
        "callers": document.callers.iter().map(|rule| json!({
            "id": rule.caller.id.as_ref(),
            "tenant": rule.caller.tenant.as_ref(),
            "match": { "api_key_sha256": hex(&rule.api_key_sha256) },
        })).collect::<Vec<_>>(),
        "detectors": {
            "settings": document.detectors.iter()
                // Saying what holds anyway is no other policy.
                .filter(|(id, settings)| document.inherited_settings(id) != **settings)
                .map(|(id, settings)| (id.clone(), detector(settings)))
                .collect::<Map<_, _>>(),
            "patterns": document.patterns.iter().map(|pattern| {
                let (kind, text) = match &pattern.matcher {
                    Matcher::Literal(text) => ("literal", text),
                    Matcher::Regex(text) => ("regex", text),
                };
                json!({
                    "id": pattern.id,
                    kind: text,
                    "class": pattern.class,
                    "score_ppm": pattern.score_ppm,
                })
            }).collect::<Vec<_>>(),
            "versions": document.detector_versions,
        },
        "schemas": document.schemas.iter().map(schema).collect::<Vec<_>>(),
        "rules": document.rules.iter().map(|rule| json!({
            "id": rule.id,
            "phase": rule.phase.as_str(),
            "when": rule.when.as_ref().map(Program::text),
            "action": rule.action.as_str(),
            "reason": rule.reason,
            "threat": rule.threat.as_ref().map(threat),
        })).collect::<Vec<_>>(),
        "exceptions": document.exceptions.iter().map(|exception| json!({
            "rule": exception.rule,
            "match": exception.when_text,
            "owner": exception.owner,
            "reason": exception.reason,
            "expires": exception.expires,
        })).collect::<Vec<_>>(),
        "threat_map": document.threats.iter()
            .map(|(class, ids)| (class.clone(), threat(ids)))
            .collect::<Map<_, _>>(),
    });
    // Came later: left out where it says what always held, so that no older policy has another hash.
    if defaults.stored_state != StoredState::Allow
        && let Some(members) = canonical.get_mut("defaults").and_then(Value::as_object_mut)
    {
        members.insert("stored_state".into(), defaults.stored_state.as_str().into());
    }
    canonical
}

fn detector(settings: &DetectorSettings) -> Value {
    json!({ "enabled": settings.enabled, "threshold_ppm": settings.threshold_ppm })
}

fn threat(threat: &Threat) -> Value {
    json!({ "owasp": threat.owasp, "atlas": threat.atlas })
}

fn schema(schema: &LoadedSchema) -> Value {
    let rule = &schema.rule;
    let source = match (&rule.source, &schema.json) {
        (SchemaSource::FromRequest, _) => json!("from_request"),
        (SchemaSource::ToolParameters, _) => json!("tool_parameters"),
        (SchemaSource::Policy { .. }, json) => {
            let json = json.as_ref().unwrap_or(&Value::Null);
            json!({ "json": json, "exact_integers": exact_integers(json) })
        }
    };
    json!({
        "id": rule.id,
        "match": schema.when.as_ref().map(Program::text),
        "format": rule.format.as_str(),
        "schema": source,
        "with_request": rule.with_request,
        "stream": rule.stream.as_str(),
        "repair": {
            "local": rule.repair.local,
            "coerce": rule.repair.coerce.iter().map(|coercion| coercion.as_str()).collect::<Vec<_>>(),
            "ask_again": rule.repair.ask_again,
            "ask_again_timeout_ms": rule.repair.ask_again_timeout_ms,
        },
        "formats": rule.formats,
        "hold": { "bytes": rule.hold.bytes, "ms": rule.hold.ms },
        "choices": rule.choices.as_str(),
        "on_violation": rule.on_violation.as_str(),
    })
}

/// A schema's digest: equal exactly for schemas that are equal as JSON.
pub(crate) fn schema_digest(schema: &Value) -> String {
    let text = jcs(&json!({ "json": schema, "exact_integers": exact_integers(schema) }));
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

/// The integers of a schema that RFC 8785 would round, by JSON pointer: two schemas that differ only there are not the same.
fn exact_integers(schema: &Value) -> Map<String, Value> {
    let mut found = Map::new();
    collect_exact_integers(schema, "", &mut found);
    found
}

fn collect_exact_integers(value: &Value, pointer: &str, found: &mut Map<String, Value>) {
    match value {
        Value::Number(number) => {
            let is_wide = number
                .as_u64()
                .or_else(|| number.as_i64().map(i64::unsigned_abs))
                .is_some_and(|magnitude| magnitude > EXACT_INTEGER_MAX);
            if is_wide {
                found.insert(pointer.to_owned(), Value::String(number.to_string()));
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect_exact_integers(item, &format!("{pointer}/{index}"), found);
            }
        }
        Value::Object(members) => {
            for (key, item) in members {
                let key = key.replace('~', "~0").replace('/', "~1");
                collect_exact_integers(item, &format!("{pointer}/{key}"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
