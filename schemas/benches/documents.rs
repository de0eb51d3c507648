// The documents that SchemaLock and its peers are measured on: shared by `lock.rs` and by the crate in `peers/`.

use serde_json::{Value, json};

/// A schema of invoices with identifiers, amounts, enums, patterns and notes, and a document of `items` lines that keeps it.
pub fn invoice(items: usize) -> (Value, String) {
    let schema = json!({
        "type": "object",
        "properties": {
            "id": { "type": "string", "pattern": "^INV-[0-9]{6}$" },
            "customer": {
                "type": "object",
                "properties": { "name": { "type": "string", "maxLength": 200 }, "country": { "enum": ["DE", "FR", "NL", "US"] } },
                "required": ["name", "country"],
                "additionalProperties": false
            },
            "items": {
                "type": "array",
                "maxItems": 10_000,
                "items": {
                    "type": "object",
                    "properties": {
                        "sku": { "type": "string", "minLength": 3, "maxLength": 20 },
                        "quantity": { "type": "integer", "minimum": 1 },
                        "price": { "type": "number", "minimum": 0 },
                        "taxed": { "type": "boolean" },
                        "note": { "type": "string" }
                    },
                    "required": ["sku", "quantity", "price"],
                    "additionalProperties": false
                }
            },
            "remark": { "anyOf": [{ "type": "string" }, { "type": "null" }] }
        },
        "required": ["id", "customer", "items"],
        "additionalProperties": false
    });
    let lines: Vec<Value> = (0..items)
        .map(|line| {
            json!({
                "sku": format!("SKU-{:05}", line * 7),
                "quantity": line % 9 + 1,
                "price": (line % 90) as f64 + 0.25,
                "taxed": line % 2 == 0,
                "note": "Delivered to the back door, as the customer asked us to do by telephone."
            })
        })
        .collect();
    let document = json!({
        "id": "INV-000042",
        "customer": { "name": "Example Ltd", "country": "DE" },
        "items": lines,
        "remark": null
    });
    (schema, document.to_string())
}

/// Line items of the short and of the long document: some 1.7 kB, as an ordinary answer has, and some 87 kB.
pub const SIZES: [usize; 2] = [11, 610];
