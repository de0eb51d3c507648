//! What a document did wrong, and where, without a word of the document.

use std::fmt;

/// The first thing that is wrong with a document.
///
/// It never contains text of the document, since it goes into logs, receipts and error bodies: member names in
/// [`Violation::instance_path`] are those that the schema itself mentions, and `*` in place of any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Byte offset in the document: of the first byte that cannot stand there, or of the value that the schema refuses.
    /// Zero if the place was not worth searching for (see [`Violation::keyword`]).
    pub at: u64,
    /// Byte offset at which it was found, `at` or later: no byte from there on ever leaves.
    pub found_at: u64,
    /// What kind of thing is wrong.
    pub kind: ViolationKind,
    /// JSON Pointer (RFC 6901) to the refused value, with unknown member names masked. Empty for the root.
    pub instance_path: String,
    /// JSON Pointer to the keyword in the schema. Empty unless the schema refused the document.
    pub schema_path: String,
    /// The keyword that refused the document. None for every other kind, and where naming it would have cost more than
    /// the document is worth (alternatives nested in recursion).
    pub keyword: Option<&'static str>,
    /// Whether it was found while the document came, rather than by judging the whole.
    pub early: bool,
}

/// Kinds of violation. [`ViolationKind::code`] is their stable name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ViolationKind {
    /// Not JSON (RFC 8259).
    Syntax,
    /// The document begins with a byte order mark.
    ByteOrderMark,
    /// The text goes on after the document.
    TrailingBytes,
    /// An object has two members of the same name, which different readers read differently.
    DuplicateName,
    /// The document ends in the middle.
    Incomplete,
    /// There is no document.
    Empty,
    /// The answer was cut off (length, filter, error, cancellation) before the document was complete.
    Interrupted,
    /// Over [`Limits::doc_bytes`](crate::Limits::doc_bytes).
    TooLarge,
    /// Over [`Limits::depth`](crate::Limits::depth).
    TooDeep,
    /// Over [`Limits::whitespace_bytes`](crate::Limits::whitespace_bytes).
    TooMuchWhitespace,
    /// Over [`Limits::number_bytes`](crate::Limits::number_bytes), or larger than a double can hold.
    Number,
    /// Checking it could cost more than [`Limits::work`](crate::Limits::work).
    TooCostly,
    /// The schema refuses it.
    Schema,
    /// Not CSV (RFC 4180 and the contract's dialect).
    CsvSyntax,
    /// A record has another number of fields than there are columns.
    ColumnCount,
    /// The header names other columns.
    Header,
    /// More records than the contract allows.
    TooManyRows,
    /// Fewer records than the contract asks for.
    TooFewRows,
}

impl ViolationKind {
    /// A stable name for machines.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::ByteOrderMark => "byte_order_mark",
            Self::TrailingBytes => "trailing_bytes",
            Self::DuplicateName => "duplicate_name",
            Self::Incomplete => "incomplete",
            Self::Empty => "empty",
            Self::Interrupted => "interrupted",
            Self::TooLarge => "too_large",
            Self::TooDeep => "too_deep",
            Self::TooMuchWhitespace => "too_much_whitespace",
            Self::Number => "number",
            Self::TooCostly => "too_costly",
            Self::Schema => "schema",
            Self::CsvSyntax => "csv_syntax",
            Self::ColumnCount => "column_count",
            Self::Header => "header",
            Self::TooManyRows => "too_many_rows",
            Self::TooFewRows => "too_few_rows",
        }
    }

    fn says(self) -> &'static str {
        match self {
            Self::Syntax => "this cannot stand here in JSON",
            Self::ByteOrderMark => "the document begins with a byte order mark",
            Self::TrailingBytes => "the text goes on after the document",
            Self::DuplicateName => "an object has two members of the same name",
            Self::Incomplete => "the document ends in the middle",
            Self::Empty => "there is no document",
            Self::Interrupted => "the answer was cut off before the document was complete",
            Self::TooLarge => "the document is larger than the limit",
            Self::TooDeep => "the document is nested deeper than the limit",
            Self::TooMuchWhitespace => "there is more white space than the limit",
            Self::Number => "a number is longer or larger than the limit",
            Self::TooCostly => "checking the document would cost more than the limit",
            Self::Schema => "the schema refuses this value",
            Self::CsvSyntax => "this cannot stand here in CSV",
            Self::ColumnCount => "a record has another number of fields than there are columns",
            Self::Header => "the header names other columns than the contract",
            Self::TooManyRows => "there are more records than the limit",
            Self::TooFewRows => "there are fewer records than the contract asks for",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}: {}", self.at, self.kind.says())?;
        if let Some(keyword) = self.keyword {
            write!(f, " (`{keyword}` at {:?}, value at {:?})", self.schema_path, self.instance_path)?;
        }
        Ok(())
    }
}

impl Violation {
    /// A violation of anything but the schema.
    pub(crate) fn of_text(at: u64, kind: ViolationKind, early: bool) -> Self {
        Self { at, found_at: at, kind, instance_path: String::new(), schema_path: String::new(), keyword: None, early }
    }
}
