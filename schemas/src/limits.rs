//! How large, deep and slow a schema or a document may be before it is refused.

/// The limits of one contract. The defaults are several times what the providers' own structured outputs allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Text of the schema, in bytes: its keys and strings, and eight for every other value. 256 KiB.
    pub schema_bytes: usize,
    /// Values in the schema, of any type. 20,000; OpenAI allows 5,000 properties.
    pub nodes: usize,
    /// Nesting of the document. 127, which is as deep as `serde_json` reads and also the most that this can be.
    pub depth: usize,
    /// The document, in bytes: the longest that is ever held. 1 MiB, ten times a long answer.
    pub doc_bytes: usize,
    /// White space between two tokens, in bytes. 1,024: deep indentation fits, and a model that
    /// is caught in a loop of line ends is stopped long before it has used up its tokens.
    pub whitespace_bytes: usize,
    /// One number, in bytes. 256: longer ones are attacks on parsers, not quantities.
    pub number_bytes: usize,
    /// One compiled pattern of the schema, in bytes. 1 MiB.
    pub pattern_bytes: usize,
    /// Schemas that one value is followed against at a time, all alternatives together. 1,024: past it the rest waits for the
    /// document's end, which refuses nothing that would pass.
    pub monitors_per_value: usize,
    /// The most that one document may cost: values in it, times places in the schema. 100 million, which is seconds
    /// in the worst case and never reached by an answer that somebody waits for.
    pub work: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            schema_bytes: 256 << 10,
            nodes: 20_000,
            depth: DOCUMENT_DEPTH_MAX,
            doc_bytes: 1 << 20,
            whitespace_bytes: 1_024,
            number_bytes: 256,
            pattern_bytes: 1 << 20,
            monitors_per_value: 1_024,
            work: 100_000_000,
        }
    }
}

/// Deepest nesting of a document, whatever [`Limits::depth`] says: the reader's own recursion limit.
pub(crate) const DOCUMENT_DEPTH_MAX: usize = 127;

/// Deepest nesting of a schema's own text. Below the depth at which a recursive walk could exhaust a stack.
pub const SCHEMA_DEPTH_MAX: usize = 64;

/// Longest way through a schema, over every `$ref` that does not lead back to itself. Longer chains are made to
/// exhaust a stack, not to describe a document.
pub const SCHEMA_NESTING_MAX: usize = 128;

/// Most places in a schema once every `$ref` is replaced by what it names. Twenty definitions that name each other twice
/// are a million places; this stops them.
pub const SCHEMA_EXPANSION_MAX: u64 = 200_000;
