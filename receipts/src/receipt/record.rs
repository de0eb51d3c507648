//! The parts of a receipt that say what happened in one exchange.
//!
//! Every record declares its fields in the order of their names: the writer relies on it for canonical bytes. Nothing in
//! here may hold prompt or answer text; places are offsets, bodies are commitments.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::canonical::{OutsideSubset, Value};
use crate::commit::Commitment;

/// Who called: app, tenant and identity as far as the proxy knows them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Caller {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub automation: Option<Automation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// Fingerprint of the client library, e.g. `openai-python/1.99`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sdk: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

/// The job, service and pipeline that an automated call names in its headers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Automation {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_id: Option<String>,
}

/// What the caller proved to be. `commit` stands in the place of `id` where the id is personal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<Commitment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `anonymous`, `api_key`, `mtls`, `jwt`, …
    pub kind: String,
}

/// What was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Request {
    /// Length of the body as received.
    #[serde(serialize_with = "super::member::count")]
    pub bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<Commitment>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<MessageCount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Path without the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    pub stream: bool,
    /// `openai.chat`, `anthropic.messages`, …; `unknown` where Clyra cannot read the endpoint.
    pub surface: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolRecord>,
}

/// How many messages (or parts) of one role and kind a request holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageCount {
    pub count: u32,
    /// `text`, `tool_call`, `tool_result`, `image`, …
    pub kind: String,
    pub role: String,
}

/// A tool that was offered to the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolRecord {
    /// Hexadecimal SHA-256 of the parameters' schema as sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    pub name: String,
}

/// The provider's side of the exchange.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Upstream {
    /// Calls made, retries included.
    pub attempts: u32,
    /// From sending the request to the first byte of the answer, microseconds.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "super::member::count_option")]
    pub first_byte_us: Option<u64>,
    /// The model that says it answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    pub name: String,
    /// The provider's own id of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// From sending the request to the end of the answer, microseconds.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "super::member::count_option")]
    pub total_us: Option<u64>,
}

/// What was answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Response {
    /// Micro-dollars.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "super::member::count_option")]
    pub cost_microusd: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    /// The body as the provider sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received: Option<BodyRecord>,
    /// The body as it was released to the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub released: Option<BodyRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// Length of a body and, where the policy asks for one, a commitment to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BodyRecord {
    #[serde(serialize_with = "super::member::count")]
    pub bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<Commitment>,
}

/// Tokens, as the provider counted them, or as they were estimated where it did not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Usage {
    #[serde(serialize_with = "super::member::count")]
    pub cached: u64,
    /// Nobody counted: input and output are estimates. Absent where the provider did.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
    #[serde(serialize_with = "super::member::count")]
    pub input: u64,
    #[serde(serialize_with = "super::member::count")]
    pub output: u64,
    #[serde(serialize_with = "super::member::count")]
    pub reasoning: u64,
}

/// Notarization of a stream: see [`crate::commit::EventTree`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamRecord {
    /// Events released.
    #[serde(serialize_with = "super::member::count")]
    pub events: u64,
    /// Most bytes that were held back at once.
    #[serde(serialize_with = "super::member::count")]
    pub held_max_bytes: u64,
    /// Hexadecimal RFC 6962 root over the released events in order.
    pub root: String,
}

/// One check that was due on this exchange, whether it ran or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Bytes that it covered.
    #[serde(serialize_with = "super::member::count")]
    pub bytes: u64,
    pub channel: String,
    pub id: String,
    pub outcome: CheckOutcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Microseconds that it took.
    #[serde(serialize_with = "super::member::count")]
    pub us: u64,
    pub version: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckOutcome {
    Pass,
    Finding,
    Error,
    Timeout,
    Skipped,
}

/// What a detector found, and where; never what the text said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FindingRecord {
    /// MITRE ATLAS id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub atlas: Option<String>,
    pub channel: String,
    pub class: String,
    pub detector: String,
    /// OWASP id with its year.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owasp: Option<String>,
    pub place: Place,
    /// Score in parts per million.
    pub score_ppm: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threat_class: Option<String>,
}

/// A span of a document: JSON pointer (empty: the document itself), offset and length in bytes of the text there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Place {
    #[serde(serialize_with = "super::member::count")]
    pub length: u64,
    #[serde(serialize_with = "super::member::count")]
    pub offset: u64,
    pub pointer: String,
}

/// What SchemaLock said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemaRecord {
    /// Hexadecimal digest of the schema.
    pub digest: String,
    /// Id of the lock.
    pub lock: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repair: Option<RepairRecord>,
    /// `valid`, `invalid`, `repaired`, …
    pub verdict: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub violation: Option<ViolationRecord>,
}

/// How a document was repaired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepairRecord {
    /// Hexadecimal digest of the edits.
    pub digest: String,
    pub kind: String,
}

/// The first violation of a schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViolationRecord {
    pub keyword: String,
    /// Byte offset into the document.
    #[serde(serialize_with = "super::member::count")]
    pub offset: u64,
    pub pointer: String,
}

/// What the policy in force decided.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyRecord {
    /// `allow`, `redact`, `block`, …
    pub decision: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exceptions: Vec<String>,
    /// The policy hash.
    pub hash: String,
    pub rules: Vec<RuleRecord>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shadow: Vec<ShadowRecord>,
}

/// A rule that fired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleRecord {
    pub action: String,
    pub id: String,
}

/// What a shadow policy would have done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShadowRecord {
    pub decision: String,
    pub id: String,
}

/// How much of the exchange was inspected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoverageRecord {
    pub level: Coverage,
    /// Why it is not `full`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coverage {
    Full,
    Partial,
    None,
}

/// How the exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Executed,
    Redacted,
    Repaired,
    Blocked,
    Denied,
    Held,
    Timeout,
    Errored,
    AbortedByClient,
    Crashed,
    Deferred,
}

/// The binary that wrote the receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildInfo {
    /// Hexadecimal SHA-256 of the executable, where it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    pub version: String,
}

/// Members beyond the format: the only place where unknown names are allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ext(BTreeMap<String, Value>);

impl Ext {
    /// Name that the log itself writes when it had to shorten a receipt.
    pub const TRUNCATED: &'static str = "truncated";

    /// Adds a member. Refuses what has no canonical spelling.
    pub fn insert(&mut self, name: &str, value: Value) -> Result<(), OutsideSubset> {
        if !name.is_ascii() {
            return Err(OutsideSubset::MemberName);
        }
        value.check()?;
        self.0.insert(name.to_owned(), value);
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }
}
