//! Amazon Bedrock: the common format of `converse`, and `invoke` in each model's own. Streams are binary messages with
//! checksums; an error in one is a message of the kind `exception`, which every SDK of AWS raises.

mod converse;
mod invoke;

pub(super) use converse::SURFACE as CONVERSE;
pub(super) use invoke::SURFACE as INVOKE;

use bytes::Bytes;

use super::{Dialect, Refusal, Shown};
use crate::wire::event_stream::message;

const JSON: (&str, &str) = (":content-type", "application/json");

/// The error as a message of the stream.
fn exception(refusal: &Refusal<'_>, _: &Shown) -> Bytes {
    // SDKs know the exceptions by these names.
    let kind = match refusal.status {
        400..=499 => "validationException",
        503 => "serviceUnavailableException",
        504 => "modelStreamErrorException",
        _ => "internalServerException",
    };
    let headers = [(":message-type", "exception"), (":exception-type", kind), JSON];
    message(&headers, Dialect::Bedrock.error_body(refusal).into()).unwrap_or_default()
}

fn event(kind: &str, payload: &serde_json::Value) -> Bytes {
    let headers = [(":message-type", "event"), (":event-type", kind), JSON];
    message(&headers, payload.to_string().into()).unwrap_or_default()
}
