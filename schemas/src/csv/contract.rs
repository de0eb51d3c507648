//! What a CSV text must be: dialect, header, columns and their sizes.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::contract::{Contract, ContractError, ContractSource};
use crate::limits::Limits;

/// Columns of one contract. Spreadsheets end at 16,384; an answer of a model has a few dozen.
const COLUMNS_MAX: usize = 1_024;

/// Bytes of a column's name, which stands in violations.
const NAME_BYTES_MAX: usize = 256;

/// How lines end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineEnding {
    /// CR LF, as RFC 4180 says.
    Crlf,
    /// LF alone.
    Lf,
    /// Either, but the same throughout.
    #[default]
    Any,
}

/// What becomes of text that a spreadsheet would read as a formula.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Formulas {
    /// It is quoted and an apostrophe put before it; an edit.
    #[default]
    Prefix,
    /// It is a violation.
    Block,
    /// It is left as it is.
    Off,
}

/// Why a document is no CSV contract.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsvContractError {
    /// A member is missing, unknown or of the wrong type.
    #[error("not a CSV contract: {0}")]
    Form(String),
    /// The delimiter is not one byte that can be told from everything else.
    #[error("the delimiter must be one ASCII character that is no quote, letter, digit, CR or LF")]
    Delimiter,
    /// No column, too many, or two of one name.
    #[error(
        "a CSV contract needs 1 to {COLUMNS_MAX} columns, each with a name of its own: one line of at most {NAME_BYTES_MAX} bytes"
    )]
    Columns,
    /// No text can have so many rows, or a record of that size.
    #[error("`rows_min` must not be over `rows_max`, and `record_bytes_max` must be from 1 to {most}")]
    Sizes {
        /// The most bytes that a record may have.
        most: usize,
    },
    /// A column's schema cannot be used.
    #[error("column {column:?}: {source}")]
    Column {
        /// Name of the column.
        column: String,
        /// What is wrong with its schema.
        source: ContractError,
    },
    /// A column has no type, or one that a field cannot have.
    #[error(
        "column {column:?}: it needs either a `type` of string, integer, number, boolean, date or date-time, or a `schema` whose `type` is one of the first four"
    )]
    Type {
        /// Name of the column.
        column: String,
    },
}

impl CsvContractError {
    /// A stable name for machines.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Form(_) => "csv_contract_form",
            Self::Delimiter => "csv_contract_delimiter",
            Self::Columns => "csv_contract_columns",
            Self::Sizes { .. } => "csv_contract_sizes",
            Self::Column { source, .. } => source.code(),
            Self::Type { .. } => "csv_contract_type",
        }
    }
}

/// The document as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default = "comma")]
    delimiter: String,
    #[serde(default)]
    line_ending: LineEnding,
    #[serde(default = "yes")]
    header: bool,
    columns: Vec<ColumnDocument>,
    #[serde(default)]
    rows_min: u64,
    #[serde(default = "rows_max")]
    rows_max: u64,
    #[serde(default = "record_bytes_max")]
    record_bytes_max: usize,
    #[serde(default)]
    formulas: Formulas,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ColumnDocument {
    name: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    schema: Option<Value>,
    #[serde(default = "yes")]
    required: bool,
    #[serde(default)]
    unique: bool,
}

fn comma() -> String {
    ",".to_owned()
}

fn yes() -> bool {
    true
}

fn rows_max() -> u64 {
    100_000
}

/// 64 KiB: a record is held until it has ended.
fn record_bytes_max() -> usize {
    64 << 10
}

/// What a field's text is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    String,
    Integer,
    Number,
    Boolean,
}

#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Type,
    pub(super) contract: Arc<Contract>,
    /// Any text keeps the schema: there is nothing to ask it.
    pub(super) takes_any_text: bool,
    /// An empty field is a violation.
    pub(super) required: bool,
    pub(super) unique: bool,
}

/// A compiled contract. Immutable; one serves any number of locks.
#[derive(Debug)]
pub struct CsvContract {
    pub(super) delimiter: u8,
    pub(super) line_ending: LineEnding,
    pub(super) header: bool,
    pub(super) columns: Vec<Column>,
    pub(super) rows_min: u64,
    pub(super) rows_max: u64,
    pub(super) record_bytes_max: usize,
    pub(super) formulas: Formulas,
    pub(super) limits: Limits,
}

impl CsvContract {
    /// Compiles `{"columns": [{"name", "type" | "schema", "required"?, "unique"?}], "delimiter"?, "line_ending"?, "header"?,
    /// "rows_min"?, "rows_max"?, "record_bytes_max"?, "formulas"?}`. The type of a column says how a field is read.
    ///
    /// # Errors
    /// [`CsvContractError`] if it is not of that form, or a schema cannot be used.
    pub fn compile(document: &Value) -> Result<Arc<Self>, CsvContractError> {
        Self::compile_with(document, true)
    }

    /// The same; without `formats`, the keyword `format` of a column's schema is a comment, and a `date` any text.
    ///
    /// # Errors
    /// As above.
    pub fn compile_with(document: &Value, formats: bool) -> Result<Arc<Self>, CsvContractError> {
        let document = Document::deserialize(document).map_err(|error| CsvContractError::Form(error.to_string()))?;
        let delimiter = match document.delimiter.as_bytes() {
            [byte] if is_delimiter(*byte) => *byte,
            _ => return Err(CsvContractError::Delimiter),
        };
        let mut names = std::collections::BTreeSet::new();
        let distinct = document.columns.iter().all(|column| names.insert(column.name.as_str()));
        let are_names = names.iter().all(|name| name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control));
        if document.columns.is_empty() || document.columns.len() > COLUMNS_MAX || !distinct || !are_names {
            return Err(CsvContractError::Columns);
        }
        let limits = Limits::default();
        let fits = (1..=limits.doc_bytes).contains(&document.record_bytes_max);
        if document.rows_min > document.rows_max || !fits {
            return Err(CsvContractError::Sizes { most: limits.doc_bytes });
        }
        let columns =
            document.columns.iter().map(|column| column_of(column, &limits, formats)).collect::<Result<_, _>>()?;
        Ok(Arc::new(Self {
            delimiter,
            line_ending: document.line_ending,
            header: document.header,
            columns,
            rows_min: document.rows_min,
            rows_max: document.rows_max,
            record_bytes_max: document.record_bytes_max,
            formulas: document.formulas,
            limits,
        }))
    }
}

fn is_delimiter(byte: u8) -> bool {
    byte == b'\t' || (byte.is_ascii_punctuation() && !matches!(byte, b'"' | b'\'' | b'.' | b'-' | b'+' | b'='))
}

fn column_of(document: &ColumnDocument, limits: &Limits, formats: bool) -> Result<Column, CsvContractError> {
    let name = document.name.clone();
    let (schema, kind) = typed(document).ok_or_else(|| CsvContractError::Type { column: name.clone() })?;
    let contract = Contract::compile_with(&schema, None, ContractSource::Policy, formats, limits)
        .map_err(|source| CsvContractError::Column { column: name.clone(), source })?;
    let takes_any_text = kind == Type::String
        && schema.as_object().is_some_and(|schema| schema.keys().all(|keyword| says_nothing(keyword)));
    Ok(Column { name, kind, contract, takes_any_text, required: document.required, unique: document.unique })
}

/// The schema of a column, written out or by the name of its type, and how its fields are read.
fn typed(document: &ColumnDocument) -> Option<(Value, Type)> {
    let schema = match (&document.kind, &document.schema) {
        (Some(kind), None) => match kind.as_str() {
            format @ ("date" | "date-time") => json!({ "type": "string", "format": format }),
            kind => json!({ "type": kind }),
        },
        (None, Some(schema)) => schema.clone(),
        _ => return None,
    };
    let kind = match schema.get("type").and_then(Value::as_str)? {
        "string" => Type::String,
        "integer" => Type::Integer,
        "number" => Type::Number,
        "boolean" => Type::Boolean,
        _ => return None,
    };
    Some((schema, kind))
}

/// Keywords that no text can break, once its type is string.
fn says_nothing(keyword: &str) -> bool {
    matches!(keyword, "type" | "title" | "description" | "$comment" | "default" | "examples")
}
