//! OpenAI `/v1/embeddings`: a made-up vector per input, the same for the same length. It is there as a surface
//! that carries text and is not chat.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::EMBEDDING_MODEL;
use crate::directive::Directive;
use crate::outgoing::{Call, Outgoing};

/// As many inputs as OpenAI takes in one request.
const INPUTS_MAX: usize = 2048;

const DIMENSIONS: u8 = 8;

/// The answer, or what is wrong with the request.
pub(crate) fn answer(call: &Call<'_>) -> Result<Outgoing, String> {
    let data: Vec<Value> = vectors(call, "input", true)?
        .into_iter()
        .enumerate()
        .map(|(index, vector)| json!({"object": "embedding", "index": index, "embedding": vector}))
        .collect();
    let body = json!({
        "object": "list",
        "data": data,
        "model": EMBEDDING_MODEL,
        "usage": {"prompt_tokens": call.prompt_tokens(), "total_tokens": call.prompt_tokens()},
    });
    Ok(Outgoing::plain(&body, &Directive::default()))
}

/// A vector for each text in this member of the request; as base64 where that may be asked for and is.
pub(crate) fn vectors(call: &Call<'_>, member: &str, may_ask_base64: bool) -> Result<Vec<Value>, String> {
    let request: Value = serde_json::from_slice(call.body)
        .map_err(|error| format!("The request body cannot be read as JSON: {error}."))?;
    let inputs = match request.get(member) {
        Some(Value::String(text)) => vec![text.len()],
        Some(Value::Array(items)) if items.len() > INPUTS_MAX => {
            return Err(format!("{member} has more than {INPUTS_MAX} entries."));
        }
        Some(Value::Array(items)) => items.iter().map(|item| item.as_str().map_or(1, str::len)).collect(),
        _ => return Err(format!("The request has no '{member}'.")),
    };
    let base64 = may_ask_base64 && request.get("encoding_format").and_then(Value::as_str) == Some("base64");
    Ok(inputs.into_iter().map(|length| vector(length, base64)).collect())
}

fn vector(length: usize, base64: bool) -> Value {
    // Eighths are exact in binary, so both encodings mean the same numbers.
    let seed = u8::try_from(length % 8).unwrap_or_default();
    let numbers = (0..DIMENSIONS).map(|index| f32::from((seed + index) % DIMENSIONS) / 8.0);
    if base64 {
        let bytes: Vec<u8> = numbers.flat_map(f32::to_le_bytes).collect();
        STANDARD.encode(bytes).into()
    } else {
        numbers.collect()
    }
}
