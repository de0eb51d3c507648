//! The OpenAPI document of the admin port, served by itself.

use serde_json::{Value, json};

/// OpenAPI 3.1.
pub(super) fn document() -> Value {
    let text = |description: &str| json!({"description": description, "content": {"text/plain": {"schema": {"type": "string"}}}});
    let object = |description: &str, properties: Value| {
        let schema = json!({"type": "object", "properties": properties});
        json!({"description": description, "content": {"application/json": {"schema": schema}}})
    };
    let get = |summary: &str, ok: Value| json!({"get": {"summary": summary, "responses": {"200": ok}}});
    let mut ready = get("Ready to take traffic", text("ready"));
    if let Some(responses) = ready.pointer_mut("/get/responses") {
        responses["503"] = text("not ready, with the reason");
    }
    let status = json!({
        "version": {"type": "string"},
        "policy": {"type": "object", "properties": {"hash": {"type": "string"}, "mode": {"enum": ["enforce", "observe"]}}},
        "in_flight": {"type": "integer"},
        "journal": {"type": "object", "properties": {
            "receipts": {"type": "integer"}, "durable_seq": {"type": ["integer", "null"]}, "poisoned": {"type": ["string", "null"]},
            "full": {"type": "boolean"},
        }},
        "upstreams": {"type": "array", "items": {"type": "string"}},
        "endpoints": {"type": "array", "items": {"type": "object", "properties": {
            "upstream": {"type": "string"},
            "endpoint": {"type": "string"},
            "healthy": {"type": "boolean"},
            "circuit": {"enum": ["closed", "half_open", "open"]}
        }}},
    });
    let coverage = json!({
        "surfaces": {"type": "array", "items": {"type": "object", "properties": {
            "surface": {"type": "string"}, "routes": {"type": "array", "items": {"type": "string"}},
            "request": {"type": "boolean"}, "response": {"type": "boolean"}, "stream": {"type": "boolean"},
            "channels": {"type": "object", "additionalProperties": {"type": "object", "properties": {
                "request": {"enum": ["inspected", "declared"]}, "answer": {"enum": ["inspected", "declared"]},
                "stream": {"enum": ["inspected", "declared"]},
            }}},
        }}},
        "unknown_surface": {"enum": ["block", "bypass"]},
    });
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Clyra admin API", "version": env!("CARGO_PKG_VERSION")},
        "paths": {
            "/livez": get("The process lives", text("ok")),
            "/readyz": ready,
            "/metrics": get("OpenMetrics text", text("metrics")),
            "/api/v1/status": get("Policy, journal and load", object("status", status)),
            "/api/v1/coverage": get("What is inspected", object("coverage", coverage)),
            "/api/v1/openapi.json": get("This document", object("OpenAPI", json!({}))),
        },
    })
}
