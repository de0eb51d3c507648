//! OpenAI `/v1/moderations`: nothing is ever flagged. It is there as a surface that carries text and answers with none.

use serde_json::{Map, Value, json};

use crate::MODERATION_MODEL;
use crate::directive::Directive;
use crate::outgoing::{Call, Outgoing};

/// As many inputs as embeddings take.
const INPUTS_MAX: usize = 2048;

const CATEGORIES: [&str; 13] = [
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
];

/// The answer, or what is wrong with the request.
pub(crate) fn answer(call: &Call<'_>) -> Result<Outgoing, String> {
    let request: Value = serde_json::from_slice(call.body)
        .map_err(|error| format!("The request body cannot be read as JSON: {error}."))?;
    let inputs = match request.get("input") {
        Some(Value::Array(items)) if items.len() > INPUTS_MAX => {
            return Err(format!("input has more than {INPUTS_MAX} entries."));
        }
        // Parts of one input have a type; several inputs are strings.
        Some(Value::Array(items)) if items.iter().all(Value::is_string) => items.len(),
        Some(Value::String(_) | Value::Array(_)) => 1,
        _ => return Err("The request has no 'input'.".into()),
    };
    let of_each = |value: Value| -> Map<String, Value> {
        CATEGORIES.iter().map(|category| ((*category).to_owned(), value.clone())).collect()
    };
    let result = json!({
        "flagged": false,
        "categories": of_each(false.into()),
        "category_scores": of_each(0.001.into()),
        "category_applied_input_types": of_each(json!(["text"])),
    });
    let body = json!({
        "id": format!("modr-simulated{:06}", call.number),
        "model": MODERATION_MODEL,
        "results": vec![result; inputs],
    });
    Ok(Outgoing::plain(&body, &Directive::default()))
}
