//! Errors in the provider's own shape, with its own words for each status.

use http::StatusCode;
use serde_json::{Value, json};

/// Whose shape an answer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Surface {
    /// Chat, and whatever has no surface of its own.
    OpenAi,
    Responses,
    Completions,
    Anthropic,
    Gemini,
    OllamaChat,
    OllamaGenerate,
    /// Bedrock, in the format that all models share.
    Converse,
    /// Bedrock, in the model's own format.
    Invoke,
    Cohere,
}

/// What says beside the body which error it is.
pub(crate) fn header(surface: Surface, status: StatusCode) -> Option<(&'static str, String)> {
    let kind = match (surface, status.as_u16()) {
        (Surface::Converse | Surface::Invoke, status) => match status {
            401 | 403 => "AccessDeniedException",
            404 => "ResourceNotFoundException",
            429 => "ThrottlingException",
            503 => "ServiceUnavailableException",
            400..=499 => "ValidationException",
            _ => "InternalServerException",
        },
        _ => return None,
    };
    Some(("x-amzn-errortype", kind.into()))
}

/// The body of an error with this status. Without a message it says what it would mean at a real provider.
pub(crate) fn body(surface: Surface, status: StatusCode, message: Option<&str>, request_id: &str) -> Value {
    let (openai_type, openai_code, anthropic_type, default_message) = match status.as_u16() {
        401 => ("invalid_request_error", Some("invalid_api_key"), "authentication_error", "Incorrect API key"),
        403 => ("invalid_request_error", Some("permission_denied"), "permission_error", "Not allowed"),
        404 => ("invalid_request_error", Some("not_found"), "not_found_error", "Not found"),
        413 => ("invalid_request_error", Some("request_too_large"), "request_too_large", "Request too large"),
        429 => ("requests", Some("rate_limit_exceeded"), "rate_limit_error", "Rate limit reached"),
        503 => ("server_error", Some("service_unavailable"), "overloaded_error", "Overloaded"),
        529 => ("server_error", Some("overloaded"), "overloaded_error", "Overloaded"),
        400..=499 => ("invalid_request_error", None, "invalid_request_error", "Request refused"),
        _ => ("server_error", None, "api_error", "Internal server error"),
    };
    let message = message.map_or_else(|| format!("{default_message} (simulated provider)."), str::to_owned);
    match surface {
        Surface::OpenAi | Surface::Responses | Surface::Completions => json!({
            "error": {"message": message, "type": openai_type, "param": null, "code": openai_code}
        }),
        Surface::Anthropic => json!({
            "type": "error",
            "error": {"type": anthropic_type, "message": message},
            "request_id": request_id,
        }),
        Surface::OllamaChat | Surface::OllamaGenerate => json!({"error": message}),
        Surface::Converse | Surface::Invoke => json!({"message": message}),
        Surface::Cohere => json!({"id": request_id, "message": message}),
        Surface::Gemini => {
            let name = match status.as_u16() {
                401 => "UNAUTHENTICATED",
                403 => "PERMISSION_DENIED",
                404 => "NOT_FOUND",
                429 => "RESOURCE_EXHAUSTED",
                503 | 529 => "UNAVAILABLE",
                400..=499 => "INVALID_ARGUMENT",
                _ => "INTERNAL",
            };
            json!({"error": {"code": status.as_u16(), "message": message, "status": name}})
        }
    }
}
