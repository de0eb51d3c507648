//! Everything that is wrong with a policy file, each with a stable code and the place where it stands.

use std::fmt;

use serde::Serialize;

use crate::yaml::Mark;

/// Problems reported for one file: enough to fix a bad edit in one go, few enough to read.
pub const DIAGNOSTICS_MAX: usize = 50;

/// Characters of a source line that are shown with a problem; longer lines are cut around the column.
const SNIPPET_CHARS_MAX: usize = 120;

/// Characters of a text from the file that a message repeats.
const ECHO_CHARS_MAX: usize = 60;

/// What kind of mistake a [`Diagnostic`] is about. The names are part of the command line's JSON output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Code {
    /// A file cannot be read.
    Unreadable,
    /// A file, list or text is over its limit.
    TooLarge,
    /// Not YAML, or YAML that is refused (duplicate key, merge key, second document).
    Yaml,
    /// A key that policy.yaml does not have.
    UnknownKey,
    /// A key that is required is absent.
    MissingKey,
    /// A section, key or value of the policy language that this version does not enforce.
    Unsupported,
    /// The value has the wrong type.
    WrongType,
    /// The value has the right type and is not acceptable.
    InvalidValue,
    /// The same id, or the same key digest, twice.
    Duplicate,
    /// A regular expression that is malformed, too big, or matches the empty text.
    Regex,
    /// An expression that does not parse.
    ExpressionSyntax,
    /// An expression that names something that is not declared, or not declared in this phase.
    ExpressionName,
    /// An expression whose operands do not fit, or that is not a condition.
    ExpressionType,
    /// An expression that is too long, too deeply nested or too slow to compile.
    ExpressionLimit,
    /// A schema file that is missing, outside the policy's directory or not JSON.
    SchemaFile,
}

impl Code {
    /// The stable name, as in JSON output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::TooLarge => "too_large",
            Self::Yaml => "yaml",
            Self::UnknownKey => "unknown_key",
            Self::MissingKey => "missing_key",
            Self::Unsupported => "unsupported",
            Self::WrongType => "wrong_type",
            Self::InvalidValue => "invalid_value",
            Self::Duplicate => "duplicate",
            Self::Regex => "regex",
            Self::ExpressionSyntax => "expression_syntax",
            Self::ExpressionName => "expression_name",
            Self::ExpressionType => "expression_type",
            Self::ExpressionLimit => "expression_limit",
            Self::SchemaFile => "schema_file",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One problem and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    pub code: Code,
    /// What is wrong and what to do, one sentence.
    pub message: String,
    /// Path of the value inside the document, like `rules[2].when`; empty for the document itself.
    pub path: String,
    pub file: String,
    /// Counted from 1; 0 when the problem is not at a place in the file.
    pub line: u32,
    /// In characters, counted from 1; 0 when the problem is not at a place in the file.
    pub column: u32,
    /// The line of the file, cut to a readable length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snippet: Option<String>,
    /// Column of the mistake in `snippet`, counted from 1.
    #[serde(skip)]
    snippet_column: usize,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {} [{}]", self.message, self.code)?;
        if let Some(snippet) = &self.snippet {
            let number = self.line.to_string();
            let margin = " ".repeat(number.len());
            let caret = " ".repeat(self.snippet_column.saturating_sub(1));
            write!(f, "\n {margin} |\n {number} | {snippet}\n {margin} | {caret}^")?;
        }
        Ok(())
    }
}

/// Why a policy was not loaded: every problem that was found, in file order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct PolicyError {
    diagnostics: Vec<Diagnostic>,
}

impl PolicyError {
    /// The problems, at least one, in the order of the file.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// The code of the first problem.
    pub fn code(&self) -> Code {
        self.diagnostics.first().map_or(Code::InvalidValue, |first| first.code)
    }

    /// A problem with a file as a whole.
    pub(crate) fn file(code: Code, file: &str, message: String) -> Self {
        Self {
            diagnostics: vec![Diagnostic {
                code,
                message,
                path: String::new(),
                file: file.to_owned(),
                line: 0,
                column: 0,
                snippet: None,
                snippet_column: 0,
            }],
        }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.diagnostics.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

/// Collects problems while a document is read.
#[derive(Debug)]
pub(crate) struct Report<'s> {
    file: &'s str,
    source: &'s str,
    diagnostics: Vec<Diagnostic>,
}

impl<'s> Report<'s> {
    pub(crate) fn new(file: &'s str, source: &'s str) -> Self {
        Self { file, source, diagnostics: Vec::new() }
    }

    pub(crate) fn source(&self) -> &'s str {
        self.source
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.diagnostics.is_empty()
    }

    pub(crate) fn add(&mut self, code: Code, at: Mark, path: &str, message: impl Into<String>) {
        if self.diagnostics.len() >= DIAGNOSTICS_MAX {
            return;
        }
        let (snippet, snippet_column) = self.snippet(at);
        self.diagnostics.push(Diagnostic {
            code,
            message: printable(&message.into()),
            path: printable(path),
            file: self.file.to_owned(),
            line: at.line,
            column: at.column,
            snippet,
            snippet_column,
        });
    }

    fn snippet(&self, at: Mark) -> (Option<String>, usize) {
        let Some(index) = (at.line as usize).checked_sub(1) else {
            return (None, 0);
        };
        let Some(line) = self.source.lines().nth(index) else {
            return (None, 0);
        };
        let column = (at.column as usize).max(1);
        // Tabs would put the caret elsewhere on every terminal, and other control characters do worse.
        let chars = line.chars().map(|c| if c.is_control() { ' ' } else { c });
        let skipped = if column > SNIPPET_CHARS_MAX { column.saturating_sub(SNIPPET_CHARS_MAX / 2) } else { 0 };
        let shown: String = chars.skip(skipped).take(SNIPPET_CHARS_MAX).collect();
        (Some(shown.trim_end().to_owned()), column.saturating_sub(skipped))
    }

    /// The report as an error, in file order.
    pub(crate) fn into_error(mut self) -> PolicyError {
        self.diagnostics.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
        PolicyError { diagnostics: self.diagnostics }
    }
}

/// Without control characters, which would let a file write to the terminal that shows its mistakes.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// A text from the file, cut to what is worth repeating.
pub(crate) fn echo(text: &str) -> String {
    let mut shown: String = text.chars().take(ECHO_CHARS_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// The candidate that is closest to what was written, if any is close enough to be meant.
pub(crate) fn nearest<'c>(written: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    // Comparing takes time and memory by the product of the lengths.
    if written.chars().count() > ECHO_CHARS_MAX {
        return None;
    }
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(written, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
