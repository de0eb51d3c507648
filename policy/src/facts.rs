//! What an exchange is known to be at the moment of a decision: the values behind the variables of expressions.
//!
//! Everything is borrowed; a decision copies no content.

use std::borrow::Cow;

use crate::model::Caller;

/// The request's own properties, the same for all decisions of one exchange.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestFacts {
    /// Wire format, like `openai.chat`.
    pub surface: String,
    /// Path without the query.
    pub route: String,
    /// Model that the client asked for; empty when the request names none.
    pub model: String,
    /// Whether the client asked for a stream.
    pub stream: bool,
    /// Names of the tools that the request offers to the model.
    pub tools: Vec<String>,
    /// `x-clyra-app`; empty when absent.
    pub app: String,
    /// `x-clyra-run-id` or what stands for it; empty when absent.
    pub run_id: String,
    /// Length of the request body.
    pub bytes: u64,
}

/// The message that is being decided on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageFacts<'a> {
    /// `system`, `user`, `assistant`, `tool`, as the provider names it.
    pub role: &'a str,
}

/// The tool call or tool result that is being decided on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ToolFacts<'a> {
    pub name: &'a str,
    /// The call's arguments, parsed; null where they are not known.
    pub args: &'a serde_json::Value,
}

/// What is known of the model's answer by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseFacts<'a> {
    /// Model that answered; empty while unknown.
    pub model: &'a str,
    /// Why the answer ended; empty while it has not.
    pub finish_reason: &'a str,
    /// HTTP status.
    pub status: u16,
}

/// One finding of a detector, without the content that it was found in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindingFacts<'a> {
    pub detector: Cow<'a, str>,
    pub class: Cow<'a, str>,
    /// Score in millionths, at most 1,000,000.
    pub score_ppm: u32,
    pub channel: Cow<'a, str>,
    pub place: Cow<'a, str>,
    pub owasp: Option<Cow<'a, str>>,
    pub atlas: Option<Cow<'a, str>>,
}

/// How the answer compares with the schema that it is held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchemaFacts<'a> {
    pub id: &'a str,
    /// As the schema check names it, like `valid` or `violation`.
    pub verdict: &'a str,
}

/// Everything that an expression may look at.
///
/// What is `None` shows in expressions as empty texts and zeros. A phase does not see every variable; `REFERENCE.md` says which.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    pub caller: &'a Caller,
    pub request: &'a RequestFacts,
    pub message: Option<MessageFacts<'a>>,
    pub tool: Option<ToolFacts<'a>>,
    /// Set while a tool call is still coming in. Rules that look at `tool.args` are then left out: they can be asked only when
    /// the call is complete, and must be asked again then.
    pub tool_args_pending: bool,
    pub response: Option<ResponseFacts<'a>>,
    pub findings: &'a [FindingFacts<'a>],
    pub schema: Option<SchemaFacts<'a>>,
    /// Seconds since 1970-01-01 00:00 UTC.
    pub now_unix_s: i64,
}

impl<'a> Facts<'a> {
    /// Facts with nothing but a caller, a request and the time.
    pub fn new(caller: &'a Caller, request: &'a RequestFacts, now_unix_s: i64) -> Self {
        Self {
            caller,
            request,
            message: None,
            tool: None,
            tool_args_pending: false,
            response: None,
            findings: &[],
            schema: None,
            now_unix_s,
        }
    }
}
