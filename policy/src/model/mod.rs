//! The vocabulary of a policy: what each section says once it has been read. Plain values, no behaviour beyond names.

mod schemas;

use std::sync::Arc;

use serde::Serialize;

pub use schemas::{
    CSV_REPAIR_CLASSES, Choices, Coercion, HoldRule, REPAIR_CLASSES, RepairRule, SchemaFormat, SchemaRule,
    SchemaSource, StreamMode,
};

/// Whether decisions are applied or only recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    Enforce,
    Observe,
}

impl Mode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Observe => "observe",
        }
    }
}

/// What a rule or a decision does. Ordered: the strictest is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Allow,
    Redact,
    Block,
}

impl Action {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Redact => "redact",
            Self::Block => "block",
        }
    }
}

/// The station of an exchange at which a rule is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The whole request of the client, before anything is sent upstream.
    Request,
    /// One tool call in the model's answer.
    ToolCall,
    /// One tool result in the client's request.
    ToolResult,
    /// The model's answer.
    Response,
}

impl Phase {
    /// All phases, in the order in which their rules are listed.
    pub const ALL: [Self; 4] = [Self::Request, Self::ToolCall, Self::ToolResult, Self::Response];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::ToolCall => "tool_call",
            Self::ToolResult => "tool_result",
            Self::Response => "response",
        }
    }
}

/// Who the policy belongs to; recorded in evidence, without effect on decisions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    pub name: Option<String>,
    pub owner: Option<String>,
    pub revision: Option<u64>,
}

/// What happens when a check cannot do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    Block,
    Allow,
}

impl OnFailure {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Allow => "allow",
        }
    }
}

/// What happens to an endpoint whose text cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownSurface {
    Block,
    Bypass,
}

impl UnknownSurface {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Bypass => "bypass",
        }
    }
}

/// How a client learns of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BlockStyle {
    /// As an error in the provider's own shape.
    Error,
    /// As an answer that the provider's own filter has stopped: no error to any SDK.
    Refusal,
}

impl BlockStyle {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Refusal => "refusal",
        }
    }
}

/// What happens to a request that names something which the provider keeps: an earlier answer, a conversation, a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StoredState {
    /// It passes; what is named was not inspected, unless it was made here.
    Allow,
    /// It passes if what is named was made for the same caller, here and on record.
    Bind,
    Forbid,
}

impl StoredState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Bind => "bind",
            Self::Forbid => "forbid",
        }
    }
}

/// What of a body is kept in evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BodyStorage {
    None,
    /// A keyed hash.
    Hmac,
}

impl BodyStorage {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Hmac => "hmac",
        }
    }
}

/// The section `defaults`, with what was left out filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defaults {
    pub unknown_surface: UnknownSurface,
    pub on_error: OnFailure,
    pub on_timeout: OnFailure,
    /// Time for all checks of one request, in milliseconds.
    pub request_budget_ms: u32,
    /// Time for all checks of one event of a streamed answer, in milliseconds.
    pub response_event_budget_ms: u32,
    /// Of schemas that name none themselves. Never [`StreamMode::Observe`].
    pub stream: StreamMode,
    pub block_style: BlockStyle,
    pub body_storage: BodyStorage,
    pub stored_state: StoredState,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            unknown_surface: UnknownSurface::Block,
            on_error: OnFailure::Block,
            on_timeout: OnFailure::Block,
            request_budget_ms: 250,
            response_event_budget_ms: 50,
            stream: StreamMode::Buffer,
            block_style: BlockStyle::Error,
            body_storage: BodyStorage::Hmac,
            stored_state: StoredState::Allow,
        }
    }
}

/// Who makes a request, as policy, receipts and events name them. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub id: Arc<str>,
    /// Empty when the policy names none.
    pub tenant: Arc<str>,
}

/// How one detector is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DetectorSettings {
    pub enabled: bool,
    /// Findings below this score (in millionths) are not reported.
    pub threshold_ppm: u32,
}

impl Default for DetectorSettings {
    fn default() -> Self {
        Self { enabled: true, threshold_ppm: 500_000 }
    }
}

/// What a policy's own pattern looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matcher {
    /// The text itself, case and all.
    Literal(String),
    /// A regular expression in the syntax of the `regex` crate; never matches the empty text.
    Regex(String),
}

/// A policy's own word or expression to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    pub id: String,
    pub matcher: Matcher,
    /// Class of the findings it makes.
    pub class: String,
    /// Score of the findings it makes, in millionths.
    pub score_ppm: u32,
}

/// Identifiers of the threat that a finding or rule stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Threat {
    /// OWASP id with its year, like `LLM01:2026`.
    pub owasp: Option<String>,
    /// MITRE ATLAS technique, like `AML.T0051`.
    pub atlas: Option<String>,
}
