//! What may be mended in a text before it is judged, and what was.
//!
//! Every kind of damage has a name and is allowed by itself. An [`Edit`] says which bytes of the text, as it came, become
//! what; edits never touch bytes that have left.

mod between;
mod comment;
mod held;
mod mender;
mod name;
#[cfg(test)]
mod tests;
mod text;
mod wrapper;

use std::ops::Range;

use crate::coerce::Coercion;

pub(crate) use held::Mended;
pub(crate) use mender::Mender;

/// A kind of damage that can be mended without guessing. [`RepairClass::name`] is its name in policies and receipts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RepairClass {
    /// A byte order mark before the document.
    ByteOrderMark,
    /// A Markdown code fence around the document.
    Fences,
    /// Prose before or after the document.
    Prose,
    /// A comma before a closing bracket, or behind the document.
    TrailingCommas,
    /// A comma after an opening bracket.
    LeadingCommas,
    /// Closing brackets after the document's end.
    ExtraBrackets,
    /// Closing brackets that are missing at the end of an answer that ended by itself.
    CloseBrackets,
    /// No comma between two members of an object.
    MissingCommas,
    /// Strings in single or typographic quotes.
    Quotes,
    /// Member names without quotes.
    UnquotedNames,
    /// `//`, `#` and `/* */` comments.
    Comments,
    /// White space that JSON does not know, such as U+00A0.
    Whitespace,
    /// Control characters inside strings.
    ControlCharacters,
    /// Escape sequences that JSON does not know, inside strings.
    Escapes,
    /// `True`, `False` and `None`.
    PythonLiterals,
}

impl RepairClass {
    /// Every class, in the order of their names' table in the documentation.
    pub const ALL: [Self; 15] = [
        Self::ByteOrderMark,
        Self::Fences,
        Self::Prose,
        Self::TrailingCommas,
        Self::LeadingCommas,
        Self::ExtraBrackets,
        Self::CloseBrackets,
        Self::MissingCommas,
        Self::Quotes,
        Self::UnquotedNames,
        Self::Comments,
        Self::Whitespace,
        Self::ControlCharacters,
        Self::Escapes,
        Self::PythonLiterals,
    ];

    /// The stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ByteOrderMark => "byte_order_mark",
            Self::Fences => "fences",
            Self::Prose => "prose",
            Self::TrailingCommas => "trailing_commas",
            Self::LeadingCommas => "leading_commas",
            Self::ExtraBrackets => "extra_brackets",
            Self::CloseBrackets => "close_brackets",
            Self::MissingCommas => "missing_commas",
            Self::Quotes => "quotes",
            Self::UnquotedNames => "unquoted_names",
            Self::Comments => "comments",
            Self::Whitespace => "whitespace",
            Self::ControlCharacters => "control_characters",
            Self::Escapes => "escapes",
            Self::PythonLiterals => "python_literals",
        }
    }

    /// The class of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }

    fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// Which kinds of damage may be mended, and which values may change their kind. The default is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepairPolicy {
    classes: u32,
    coercions: u8,
}

impl RepairPolicy {
    /// Nothing is mended.
    pub const NONE: Self = Self { classes: 0, coercions: 0 };

    /// These classes are mended.
    #[must_use]
    pub fn of(classes: impl IntoIterator<Item = RepairClass>) -> Self {
        Self { classes: classes.into_iter().fold(0, |all, class| all | class.bit()), coercions: 0 }
    }

    /// These coercions are made as well.
    #[must_use]
    pub fn coercing(self, coercions: impl IntoIterator<Item = Coercion>) -> Self {
        let coercions = coercions.into_iter().fold(self.coercions, |all, coercion| all | 1 << coercion as u8);
        Self { coercions, ..self }
    }

    /// Whether this coercion may be made.
    #[must_use]
    pub fn coerces(self, coercion: Coercion) -> bool {
        self.coercions & 1 << coercion as u8 != 0
    }

    /// Whether any coercion may be made.
    #[must_use]
    pub fn coerces_any(self) -> bool {
        self.coercions != 0
    }

    /// Every class is mended; nothing is coerced.
    #[must_use]
    pub fn all() -> Self {
        Self::of(RepairClass::ALL)
    }

    /// Whether this class may be mended.
    #[must_use]
    pub fn allows(self, class: RepairClass) -> bool {
        self.classes & class.bit() != 0
    }

    /// Whether no damage may be mended, whatever may be coerced.
    #[must_use]
    pub fn is_none(self) -> bool {
        self.classes == 0
    }

    /// The same without `class`.
    #[must_use]
    pub fn without(self, class: RepairClass) -> Self {
        Self { classes: self.classes & !class.bit(), ..self }
    }
}

/// Bytes of a text, as it came, and what stands in their place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Bytes of the text as it came, counted from its beginning. Never empty unless the text is.
    pub range: Range<u64>,
    /// What replaces them.
    pub with: String,
    /// The name of the kind of damage, [`RepairClass::name`], or of the [`Coercion`].
    pub class: &'static str,
}
