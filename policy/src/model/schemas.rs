//! The vocabulary of the section `schemas`: what an answer is held to, and how.

use serde::Serialize;

use super::Action;

/// When text of an answer that is held to a schema leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamMode {
    /// Nothing before the whole document has been found valid.
    Buffer,
    /// Each value once it has been checked; the document's last bracket once the whole has been found valid.
    Verified,
    /// Each byte while some continuation could still be valid; the document's last bracket as above.
    Cutoff,
    /// At once; the verdict is only recorded.
    Observe,
}

impl StreamMode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Buffer => "buffer",
            Self::Verified => "verified",
            Self::Cutoff => "cutoff",
            Self::Observe => "observe",
        }
    }
}

/// What kind of text a [`SchemaRule`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SchemaFormat {
    Json,
    Csv,
}

impl SchemaFormat {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
        }
    }
}

/// Where the schema of a [`SchemaRule`] comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaSource {
    /// The policy: a file beside it, or a CSV contract in it.
    Policy {
        /// The JSON text: a JSON Schema, or with [`SchemaFormat::Csv`] a CSV contract.
        text: String,
        /// BLAKE3 (64 hex digits) over the schema's RFC 8785 form: equal for equal schemas.
        digest: String,
    },
    /// The schema that the client sent with its request.
    FromRequest,
    /// The parameters of each tool that the request offers: they bind the arguments of calls to it.
    ToolParameters,
}

/// A whole scalar of the wrong type that may be read as one of the right type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Coercion {
    /// `"42"` as `42`.
    Numbers,
    /// `"true"` as `true`.
    Booleans,
    /// `1` as `[1]`.
    SingleToList,
}

impl Coercion {
    /// All coercions, in the order in which a policy lists them.
    pub const ALL: [Self; 3] = [Self::Numbers, Self::Booleans, Self::SingleToList];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Numbers => "numbers",
            Self::Booleans => "booleans",
            Self::SingleToList => "single_to_list",
        }
    }
}

/// The kinds of damage that `repair.local` may name, in the order in which a policy lists them. Whoever mends has the same.
pub const REPAIR_CLASSES: [&str; 15] = [
    "byte_order_mark",
    "fences",
    "prose",
    "trailing_commas",
    "leading_commas",
    "extra_brackets",
    "close_brackets",
    "missing_commas",
    "quotes",
    "unquoted_names",
    "comments",
    "whitespace",
    "control_characters",
    "escapes",
    "python_literals",
];

/// Those of [`REPAIR_CLASSES`] that CSV can have: what stands around a text of any kind.
pub const CSV_REPAIR_CLASSES: [&str; 2] = ["byte_order_mark", "fences"];

/// What may be done about a document that is not valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepairRule {
    /// Kinds of damage that are mended: names out of [`REPAIR_CLASSES`], in its order, each once.
    pub local: Vec<String>,
    /// In the order of [`Coercion::ALL`], each once.
    pub coerce: Vec<Coercion>,
    /// How often the model is asked again: 0 or 1.
    pub ask_again: u8,
    /// How long its second answer may take, in milliseconds.
    pub ask_again_timeout_ms: u64,
}

impl RepairRule {
    /// Whether nothing is done.
    pub fn is_none(&self) -> bool {
        self.local.is_empty() && self.coerce.is_empty() && self.ask_again == 0
    }
}

impl Default for RepairRule {
    fn default() -> Self {
        Self { local: Vec::new(), coerce: Vec::new(), ask_again: 0, ask_again_timeout_ms: 30_000 }
    }
}

/// How much of one text may be held back, and for how long, before the answer is blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldRule {
    /// Bytes of text that have come and not left.
    pub bytes: usize,
    /// Age of the oldest of them, in milliseconds.
    pub ms: u64,
}

impl Default for HoldRule {
    /// 1 MiB, the longest document that is judged at all, and the ten minutes that the providers' SDKs wait for an answer:
    /// mode `buffer` holds a whole one.
    fn default() -> Self {
        Self { bytes: 1 << 20, ms: 600_000 }
    }
}

/// What one bad choice of an answer with several does to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Choices {
    /// The whole answer ends.
    All,
    /// Only that choice ends.
    Each,
}

impl Choices {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Each => "each",
        }
    }
}

/// A schema that answers are held to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaRule {
    pub id: String,
    pub format: SchemaFormat,
    pub source: SchemaSource,
    /// The answer is held to the request's own schema as well.
    pub with_request: bool,
    pub stream: StreamMode,
    pub repair: RepairRule,
    /// `format` of the schema is asserted.
    pub formats: bool,
    pub hold: HoldRule,
    pub choices: Choices,
    /// [`Action::Block`] or [`Action::Allow`].
    pub on_violation: Action,
}
