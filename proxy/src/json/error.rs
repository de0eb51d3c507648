//! Why a document was refused, and at which byte.

/// A document that is not strict JSON. `at` is the byte offset where reading stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {at}")]
pub struct JsonError {
    pub at: usize,
    pub kind: JsonErrorKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonErrorKind {
    #[error("a byte order mark is not allowed")]
    ByteOrderMark,
    #[error("the text is not UTF-8")]
    Utf8,
    #[error("unexpected end of the document")]
    UnexpectedEnd,
    #[error("unexpected character")]
    UnexpectedCharacter,
    #[error("not a JSON literal (only true, false and null are)")]
    Literal,
    #[error("not a JSON number")]
    Number,
    #[error("invalid escape sequence")]
    Escape,
    #[error("control character inside a string")]
    ControlCharacter,
    #[error("the same member name twice in one object")]
    DuplicateName,
    #[error("nested too deeply")]
    Depth,
    #[error("too many values")]
    TooManyValues,
    #[error("too large")]
    TooLarge,
    #[error("bytes after the end of the document")]
    TrailingBytes,
}
