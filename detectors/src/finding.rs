//! What a scan yields: which rule matched, and exactly which bytes of the source it covers.

use std::sync::Arc;

/// One match of one rule.
///
/// A finding carries no text: whoever holds the text can cut the span out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule, for example `secrets.aws_access_key_id` or `patterns.codename`.
    pub detector: Arc<str>,
    /// The finding's class, for example `secret`.
    pub class: Arc<str>,
    /// The rule's score in millionths (1,000,000 is certainty).
    pub score_ppm: u32,
    /// First byte of the match, counted from the start of the stream's source text (UTF-8).
    pub start: u64,
    /// One past the last byte of the match.
    pub end: u64,
    /// Whether the span can be rewritten in place: in [`View::Json`], whether it lies inside one JSON string and
    /// cuts no escape sequence; always true in [`View::Plain`].
    pub contained: bool,
}

/// How the source text is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum View {
    /// The source is the text.
    Plain,
    /// The source is a JSON document (tool-call arguments, say). It is scanned as it stands and, beside that, with
    /// the escape sequences inside its strings decoded, so that `Project\u0020Nightjar` is found.
    Json,
}
