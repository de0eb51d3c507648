//! The one table from a cause to what the client sees.
//!
//! A policy block is HTTP 400 with `x-should-retry: false` and the provider's own error body: measured with real SDKs,
//! every one of them raises its ordinary typed exception once. Clyra's own inability is a 503 with `Retry-After`.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::ports::{BodyError, UpstreamError};
use crate::guard::{self, Block, Cause, Released, Shape};
use crate::surface::{Dialect, Refusal, Shown, Soft, Surface};

/// Clyra's answer in place of the provider's.
#[derive(Debug, Clone)]
pub struct OwnAnswer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Released,
}

/// Why Clyra answers by itself.
#[derive(Debug, Clone, Copy)]
pub enum Reason<'a> {
    Block(&'a Block),
    Body(&'a BodyError),
    Upstream(&'a UpstreamError),
    /// The provider cannot be reached, or does not answer in time, on a route that is not inspected.
    ProviderAway,
    ProviderSlow,
    /// The receipt could not be made durable, so nothing may be shown.
    NoReceipt,
    /// Too many exchanges in flight.
    Overloaded,
    /// Too many bytes of bodies held.
    NoRoom,
    /// An endpoint that Clyra cannot inspect, where the policy wants it blocked.
    UnknownSurface,
    /// The request as such is not acceptable; the text says why.
    Malformed(&'a str),
}

struct Row {
    status: StatusCode,
    code: &'static str,
    openai_kind: &'static str,
    anthropic_kind: &'static str,
    retry: bool,
}

const fn row(
    status: StatusCode,
    code: &'static str,
    openai_kind: &'static str,
    anthropic_kind: &'static str,
    retry: bool,
) -> Row {
    Row { status, code, openai_kind, anthropic_kind, retry }
}

const INVALID: &str = "invalid_request_error";

impl Reason<'_> {
    fn row(&self) -> Row {
        use StatusCode as S;
        match self {
            Self::Block(block) => match block.cause {
                Cause::Policy => row(S::BAD_REQUEST, "content_policy_violation", INVALID, INVALID, false),
                Cause::Schema => row(S::BAD_REQUEST, "schema_violation", INVALID, INVALID, false),
                Cause::BadRequest => row(S::BAD_REQUEST, "invalid_request", INVALID, INVALID, false),
                Cause::HeaderMismatch => row(S::BAD_REQUEST, "header_mismatch", INVALID, INVALID, false),
                Cause::BadAnswer => row(S::BAD_GATEWAY, "upstream_unreadable", "api_error", "api_error", false),
                Cause::Unavailable => row(S::SERVICE_UNAVAILABLE, "clyra_unavailable", "api_error", "api_error", true),
            },
            Self::Body(BodyError::TooLarge { .. }) => {
                row(S::PAYLOAD_TOO_LARGE, "request_too_large", INVALID, "request_too_large", false)
            }
            Self::Body(BodyError::Timeout) => row(S::REQUEST_TIMEOUT, "request_timeout", INVALID, INVALID, true),
            Self::Body(BodyError::NoRoom) | Self::NoRoom => {
                row(S::SERVICE_UNAVAILABLE, "clyra_unavailable", "api_error", "overloaded_error", true)
            }
            Self::Body(BodyError::Gone | BodyError::Malformed) | Self::Malformed(_) => {
                row(S::BAD_REQUEST, "invalid_request", INVALID, INVALID, false)
            }
            Self::Upstream(UpstreamError::Timeout { .. }) | Self::ProviderSlow => {
                row(S::GATEWAY_TIMEOUT, "upstream_timeout", "api_error", "api_error", true)
            }
            Self::Upstream(UpstreamError::Overloaded { .. }) => {
                row(S::SERVICE_UNAVAILABLE, "upstream_overloaded", "api_error", "overloaded_error", true)
            }
            Self::Upstream(UpstreamError::Coding { .. }) => {
                row(S::BAD_GATEWAY, "upstream_unreadable", "api_error", "api_error", false)
            }
            Self::Upstream(UpstreamError::UnknownKey { .. }) => {
                row(S::UNAUTHORIZED, "invalid_api_key", INVALID, "authentication_error", false)
            }
            Self::Upstream(UpstreamError::Unavailable { .. }) => {
                row(S::SERVICE_UNAVAILABLE, "upstream_unavailable", "api_error", "overloaded_error", true)
            }
            Self::Upstream(UpstreamError::Credentials { .. }) => {
                row(S::BAD_GATEWAY, "upstream_credentials", "api_error", "api_error", true)
            }
            Self::Upstream(UpstreamError::Body { .. }) => {
                row(S::BAD_GATEWAY, "upstream_interrupted", "api_error", "api_error", true)
            }
            Self::Upstream(_) | Self::ProviderAway => {
                row(S::BAD_GATEWAY, "upstream_unreachable", "api_error", "api_error", true)
            }
            Self::NoReceipt | Self::Overloaded => {
                row(S::SERVICE_UNAVAILABLE, "clyra_unavailable", "api_error", "overloaded_error", true)
            }
            Self::UnknownSurface => row(S::BAD_REQUEST, "unknown_surface", INVALID, INVALID, false),
        }
    }

    /// Stable code, for the client, events and metrics.
    pub fn code(&self) -> &'static str {
        self.row().code
    }

    fn text(&self) -> String {
        match self {
            Self::Block(block) => block.reason.clone(),
            Self::Body(error) => error.to_string(),
            // The operator's text names hosts and addresses; the client gets the kind.
            Self::Upstream(UpstreamError::Timeout { .. }) | Self::ProviderSlow => {
                "the provider did not answer in time".into()
            }
            Self::Upstream(UpstreamError::Overloaded { .. }) => "too many calls to the provider are in flight".into(),
            Self::Upstream(UpstreamError::Coding { .. }) => "the provider's answer cannot be decoded".into(),
            Self::NoRoom => BodyError::NoRoom.to_string(),
            Self::Upstream(UpstreamError::UnknownKey { .. }) => "the API key is not known here".into(),
            Self::Upstream(UpstreamError::Unavailable { .. }) => {
                "the provider has failed repeatedly and is left alone for a moment".into()
            }
            Self::Upstream(UpstreamError::Credentials { .. }) => "there are no credentials for the provider".into(),
            Self::Upstream(UpstreamError::Body { .. }) => "the provider's answer broke off".into(),
            Self::Upstream(_) | Self::ProviderAway => "the provider cannot be reached".into(),
            Self::NoReceipt => "the exchange cannot be recorded, and an unrecorded answer is not shown".into(),
            Self::Overloaded => "too many exchanges are in flight".into(),
            Self::UnknownSurface => "this endpoint cannot be inspected and the policy does not let it pass".into(),
            Self::Malformed(text) => (*text).to_owned(),
        }
    }

    fn refusal<R>(&self, dialect: Dialect, request_id: &str, with: impl FnOnce(&Refusal<'_>) -> R) -> R {
        let Row { status, code, openai_kind, anthropic_kind, .. } = self.row();
        let kind = if dialect == Dialect::Anthropic { anthropic_kind } else { openai_kind };
        let (rule, detectors) = match self {
            Self::Block(block) => (block.rule.as_deref(), block.detectors.as_slice()),
            _ => (None, &[][..]),
        };
        let reason = self.text();
        // SDKs print only this text, and routers recognise a policy block by the two words at its end.
        let rule_text = rule.map(|r| format!(" by rule '{r}'")).unwrap_or_default();
        let verb = if matches!(self, Self::Block(_)) { "Blocked" } else { "Refused" };
        let message = format!("{verb} by Clyra{rule_text}: {reason} (request {request_id}; {code}, {kind})");
        let kind = if dialect == Dialect::Gemini { rpc_status(status) } else { kind };
        let status = status.as_u16();
        with(&Refusal { code, kind, status, message: &message, request_id, rule, reason: &reason, detectors })
    }

    /// The whole answer, where nothing was sent yet.
    pub fn answer(&self, dialect: Dialect, request_id: &str) -> OwnAnswer {
        let row = self.row();
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(
            HeaderName::from_static("x-should-retry"),
            HeaderValue::from_static(if row.retry { "true" } else { "false" }),
        );
        if dialect == Dialect::Bedrock {
            headers.insert(
                HeaderName::from_static("x-amzn-errortype"),
                HeaderValue::from_static(aws_exception(row.status)),
            );
        }
        if row.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(self.retry_after_s()));
        }
        let body = self.refusal(dialect, request_id, |r| guard::own(r, Shape::Error(dialect)));
        OwnAnswer { status: row.status, headers, body }
    }

    /// A block as clients of JSON-RPC read it: the error is the answer.
    pub fn in_ok(&self, surface: &Surface, shown: &Shown, request_id: &str) -> Option<OwnAnswer> {
        let write = surface.ending.in_ok.filter(|_| self.may_be_refusal())?;
        let body = self.refusal(surface.dialect, request_id, |r| guard::own(r, Shape::InOk(write, shown)));
        if body.bytes().is_empty() {
            return None;
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Some(OwnAnswer { status: StatusCode::OK, headers, body })
    }

    /// Seconds after which it is worth asking again.
    fn retry_after_s(&self) -> u64 {
        match self {
            Self::Upstream(UpstreamError::Unavailable { for_another, .. }) => for_another.as_secs().saturating_add(1),
            _ => 1,
        }
    }

    /// The event that ends a stream which has begun.
    pub fn event(&self, surface: &Surface, shown: &Shown, request_id: &str) -> Released {
        self.refusal(surface.dialect, request_id, |r| guard::own(r, Shape::ErrorEvent(surface, shown)))
    }

    /// What the policy decided may be told as a refusal; what went wrong may not.
    pub fn may_be_refusal(&self) -> bool {
        matches!(self, Self::Block(Block { cause: Cause::Policy | Cause::Schema, .. }))
    }

    /// The whole answer as one that the provider's filter would have given, where nothing was sent yet.
    pub fn refused(&self, surface: &Surface, soft: &Soft, shown: &Shown, asked: Asked, request_id: &str) -> OwnAnswer {
        let (kind, shape) = match asked {
            Asked::Document => ("application/json", Shape::Refusal(soft, shown)),
            Asked::Array => ("application/json", Shape::RefusalArray(soft, shown)),
            Asked::Events => (surface.framing.media_type(), Shape::RefusalEvents(soft, shown)),
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        let body = self.refusal(surface.dialect, request_id, |r| guard::own(r, shape));
        OwnAnswer { status: StatusCode::OK, headers, body }
    }

    /// The events that end a stream which has begun as one that the provider's filter has stopped.
    pub fn refused_events(&self, surface: &Surface, soft: &Soft, shown: &Shown, request_id: &str) -> Released {
        self.refusal(surface.dialect, request_id, |r| guard::own(r, Shape::RefusalEvents(soft, shown)))
    }
}

/// AWS's name for an error of this HTTP status, as the SDKs of Bedrock know it.
pub(crate) fn aws_exception(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => "ValidationException",
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => "ModelTimeoutException",
        StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailableException",
        _ => "InternalServerException",
    }
}

/// In what form the client expects its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Document,
    /// The pieces of a stream as one JSON array.
    Array,
    Events,
}

/// Google's name for an error of this HTTP status (`google.rpc.Code`).
fn rpc_status(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => "INVALID_ARGUMENT",
        StatusCode::UNAUTHORIZED => "UNAUTHENTICATED",
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => "DEADLINE_EXCEEDED",
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => "UNAVAILABLE",
        _ => "INTERNAL",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_block_is_a_typed_error_that_is_not_retried() {
        let block = Block {
            cause: Cause::Policy,
            rule: Some("no-x".into()),
            reason: "X stays inside.".into(),
            detectors: vec!["patterns.x".into()],
        };
        let answer = Reason::Block(&block).answer(Dialect::OpenAi, "id-1");
        assert_eq!(answer.status, 400);
        assert_eq!(answer.headers["x-should-retry"], "false");
        let body: serde_json::Value = serde_json::from_slice(answer.body.bytes()).unwrap();
        let message = body["error"]["message"].as_str().unwrap();
        for part in ["no-x", "X stays inside.", "id-1", "content_policy_violation", "invalid_request_error"] {
            assert!(message.contains(part), "{message}");
        }
        assert_eq!(body["clyra"]["detectors"][0], "patterns.x");
    }

    #[test]
    fn only_decisions_of_the_policy_are_told_as_refusals() {
        let block = |cause| Block { cause, rule: None, reason: "r".into(), detectors: Vec::new() };
        for (cause, may) in [
            (Cause::Policy, true),
            (Cause::Schema, true),
            (Cause::BadRequest, false),
            (Cause::BadAnswer, false),
            (Cause::Unavailable, false),
        ] {
            assert_eq!(Reason::Block(&block(cause)).may_be_refusal(), may, "{cause:?}");
        }
        assert!(!Reason::NoReceipt.may_be_refusal());
    }

    #[test]
    fn gemini_gets_its_own_status_and_routers_the_words_they_know() {
        let block = Block { cause: Cause::Policy, rule: None, reason: "r".into(), detectors: Vec::new() };
        let answer = Reason::Block(&block).answer(Dialect::Gemini, "id");
        let body: serde_json::Value = serde_json::from_slice(answer.body.bytes()).unwrap();
        assert_eq!(
            (body["error"]["code"].as_u64(), body["error"]["status"].as_str()),
            (Some(400), Some("INVALID_ARGUMENT"))
        );
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.contains("content_policy_violation, invalid_request_error"), "{message}");
        let answer = Reason::ProviderSlow.answer(Dialect::Gemini, "id");
        assert!(String::from_utf8_lossy(answer.body.bytes()).contains("DEADLINE_EXCEEDED"));
    }

    #[test]
    fn inability_may_be_retried_and_names_no_host() {
        let error = UpstreamError::Connect { name: "openai".into(), detail: "10.0.0.1:443 refused".into() };
        let answer = Reason::Upstream(&error).answer(Dialect::Anthropic, "id");
        assert_eq!(answer.status, 502);
        assert!(!String::from_utf8_lossy(answer.body.bytes()).contains("10.0.0.1"));
        let answer = Reason::NoReceipt.answer(Dialect::Anthropic, "id");
        assert_eq!((answer.status.as_u16(), answer.headers["retry-after"].to_str().unwrap()), (503, "1"));
    }
}
