//! Between the guard and the policy: what was found goes one way, what to do about it comes back.
//!
//! The guard knows bytes and channels; the judge knows rules. Both are pure, so each is tested without the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::schema::SchemaReport;
use crate::surface::{Channel, Definition, ResponseFacts};

/// A finding with its place in the exchange; never the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub detector: Arc<str>,
    pub class: Arc<str>,
    /// Parts per million; 500,000 is each detector's default threshold.
    pub score_ppm: u32,
    pub channel: Channel,
    /// JSON pointer of the member it begins in.
    pub pointer: String,
    /// Byte range in the channel's decoded text.
    pub start: u64,
    pub end: u64,
    /// It can be rewritten in place without touching the structure around it.
    pub contained: bool,
    /// The tool that is called, where the text belongs to a call and its name is known.
    pub tool: Option<String>,
}

/// Why something must not leave. The text is for the client: rule, reason, never content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    pub cause: Cause,
    pub rule: Option<String>,
    pub reason: String,
    pub detectors: Vec<String>,
}

/// What kind of block it is: decides status and code of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The policy forbids it.
    Policy,
    /// The answer breaks its schema.
    Schema,
    /// The request cannot be read and so cannot be inspected.
    BadRequest,
    /// The provider's answer cannot be read and so cannot be inspected.
    BadAnswer,
    /// Headers of the request say something else than its body.
    HeaderMismatch,
    /// Clyra itself could not do what the policy demands.
    Unavailable,
}

/// What the policy says to a batch of findings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruling {
    pub block: Option<Block>,
    /// Indices into the batch.
    pub redact: Vec<usize>,
}

/// A call that the model asks for, complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    pub name: String,
    /// The arguments as they came; JSON if the model kept to it.
    pub arguments: String,
}

/// Something that could not be inspected, and why. The names appear in the receipt's coverage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gap {
    /// Encoded media.
    Media,
    /// A body in a content coding that is not decoded.
    Encoded,
    /// A body, or a stream event, that is not strict JSON.
    Unreadable,
    /// A text or document over the limit.
    Oversize,
    /// A detector that failed.
    DetectorError,
    /// A detector that ran out of its time.
    DetectorTimeout,
    /// An endpoint that is not inspected.
    UnknownSurface,
    /// The stream broke off, so that what was held was never judged as a whole.
    Truncated,
    /// Something that the provider keeps and an id stands for, which is not in the request.
    Stored,
}

impl Gap {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Media => "media_not_inspected",
            Self::Encoded => "content_encoding",
            Self::Unreadable => "unreadable",
            Self::Oversize => "oversize",
            Self::DetectorError => "detector_error",
            Self::DetectorTimeout => "detector_timeout",
            Self::UnknownSurface => "unknown_surface",
            Self::Truncated => "truncated",
            Self::Stored => "stored_state",
        }
    }
}

/// A schema that was broken. No text of the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaBreach {
    /// Id of the policy's schema entry.
    pub id: String,
    /// Digest of the schema, 64 hex digits.
    pub digest: String,
    pub pointer: String,
    pub keyword: String,
    /// Byte offset in the document.
    pub at: u64,
    pub kind: String,
}

/// Decides, and remembers what it decided for the receipt.
pub trait Judge: Send {
    /// Rules on a whole request, also when nothing was found in it: rules may look at other things.
    fn request(&mut self, found: &[Found], tool_results: bool) -> Ruling;
    /// Rules on new findings in an answer, in the light of all earlier ones.
    fn findings(&mut self, found: &[Found], facts: &ResponseFacts) -> Ruling;
    /// Rules that look at the answer as such: when its first event is there, and when it is `complete`.
    fn answer(&mut self, facts: &ResponseFacts, complete: bool) -> Option<Block>;
    /// False where everything is decided and recorded, and nothing is touched: then nothing is held back either.
    fn enforces(&self) -> bool;
    /// True if tool calls must be held until they are complete and judged.
    fn wants_tool_calls(&self) -> bool;
    fn tool_call(&mut self, call: &ToolCall, facts: &ResponseFacts) -> Option<Block>;
    /// Something due could not be inspected: the policy's `on_error` and `on_timeout` decide. `side` is the kind of
    /// block that results.
    fn gap(&mut self, gap: Gap, side: Cause) -> Option<Block>;
    fn schema(&mut self, breach: &SchemaBreach) -> Option<Block>;

    /// What another judge was told of broken schemas was told of this one's answer.
    fn share(&mut self, of: &Self)
    where
        Self: Sized;

    /// The request names these things that the provider keeps. False where it is not known what they are, and the policy lets
    /// that pass.
    fn stored(&mut self, ids: &[String]) -> Result<bool, Block>;
    /// Compares the tools that a server offers with what it offered before; what differs is a finding.
    fn definitions(&mut self, tools: &[Definition]) -> Vec<Found>;
}

/// What an inspection saw, for the receipt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Bytes of text inspected, by channel.
    pub bytes: BTreeMap<Channel, u64>,
    pub gaps: BTreeSet<Gap>,
    pub redactions: u32,
    /// Most bytes of the answer that were held back at one time.
    pub held_bytes_max: u64,
    /// Time spent scanning.
    pub scan_us: u64,
    /// What the schemas' locks did.
    pub schema: SchemaReport,
}

impl Report {
    pub(super) fn saw(&mut self, channel: Channel, bytes: usize) {
        *self.bytes.entry(channel).or_default() += bytes as u64;
    }
}
