//! A compiled schema: what a document is held to.

use std::sync::Arc;

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use crate::analysis::{self, Analysis};
use crate::falsify::{self, Falsifier, Nodes};
use crate::limits::{Limits, SCHEMA_NESTING_MAX};

/// Where a schema comes from, which says how far it is trusted and what an empty document means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContractSource {
    /// From the policy, written by its author. It may use every way of referring to its own parts.
    Policy,
    /// From the request's `response_format`. References are `#` and `#/…` only.
    ResponseFormat,
    /// From the request's tool definition. References as above; empty arguments mean `{}`.
    ToolParameters,
}

/// A version of JSON Schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Draft {
    /// Draft 4.
    Draft4,
    /// Draft 6.
    Draft6,
    /// Draft 7.
    Draft7,
    /// 2019-09.
    Draft201909,
    /// 2020-12.
    Draft202012,
}

impl Draft {
    /// What `$schema` names; 2020-12 where there is none.
    pub(crate) fn of(schema: &Value) -> Result<Self, ContractError> {
        let Some(dialect) = schema.get("$schema") else { return Ok(Self::Draft202012) };
        let uri = dialect.as_str().unwrap_or_default();
        match uri.trim_end_matches('#').trim_start_matches("https://").trim_start_matches("http://") {
            "json-schema.org/draft-04/schema" => Ok(Self::Draft4),
            "json-schema.org/draft-06/schema" => Ok(Self::Draft6),
            "json-schema.org/draft-07/schema" => Ok(Self::Draft7),
            "json-schema.org/draft/2019-09/schema" => Ok(Self::Draft201909),
            "json-schema.org/draft/2020-12/schema" => Ok(Self::Draft202012),
            _ => Err(ContractError::Dialect),
        }
    }

    fn authority(self) -> jsonschema::Draft {
        match self {
            Self::Draft4 => jsonschema::Draft::Draft4,
            Self::Draft6 => jsonschema::Draft::Draft6,
            Self::Draft7 => jsonschema::Draft::Draft7,
            Self::Draft201909 => jsonschema::Draft::Draft201909,
            Self::Draft202012 => jsonschema::Draft::Draft202012,
        }
    }
}

/// Why a schema cannot be used. The messages carry pointers and keywords, no values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContractError {
    /// Over [`Limits::schema_bytes`].
    #[error("the schema has more than {limit} bytes of text")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// Over [`Limits::nodes`].
    #[error("the schema has more than {limit} values")]
    TooManyNodes {
        /// The limit.
        limit: usize,
    },
    /// Over [`SCHEMA_DEPTH_MAX`](crate::SCHEMA_DEPTH_MAX) or [`SCHEMA_NESTING_MAX`](crate::SCHEMA_NESTING_MAX).
    #[error("the schema is nested, or its references are chained, more than {limit} deep")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// Over [`SCHEMA_EXPANSION_MAX`](crate::SCHEMA_EXPANSION_MAX).
    #[error(
        "with its references followed, the schema has more than {limit} places; refer to fewer things from fewer places"
    )]
    TooComplex {
        /// The limit.
        limit: u64,
    },
    /// A schema from a request refers in a way that cannot be checked beforehand.
    #[error("`{keyword}` in a schema of a request may only be `$ref` with `#` or `#/…` that exists")]
    Reference {
        /// The offending keyword.
        keyword: &'static str,
    },
    /// `$schema` names no draft that is known here.
    #[error("`$schema` is none of draft-04, draft-06, draft-07, 2019-09 and 2020-12")]
    Dialect,
    /// The schema breaks the rules of its draft, refers to something that does not exist, or has a pattern with look-around, a
    /// back-reference or too large a size.
    #[error("the schema is not valid at {pointer:?} ({keyword})")]
    Invalid {
        /// JSON Pointer to the place in the schema.
        pointer: String,
        /// The rule that is broken, as a keyword of the draft's own schema.
        keyword: String,
    },
}

impl ContractError {
    /// A stable name for machines.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "schema_too_large",
            Self::TooManyNodes { .. } => "schema_too_many_values",
            Self::TooDeep { .. } => "schema_too_deep",
            Self::TooComplex { .. } => "schema_too_complex",
            Self::Reference { .. } => "schema_reference",
            Self::Dialect => "schema_dialect",
            Self::Invalid { .. } => "schema_invalid",
        }
    }
}

/// How a schema is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dialect {
    pub(crate) draft: Draft,
    /// Whether `format` is checked.
    pub(crate) formats: bool,
}

impl Dialect {
    /// The authority's settings: nothing is fetched, patterns run in linear time.
    pub(crate) fn options(&self, limits: &Limits) -> jsonschema::ValidationOptions<'static> {
        let patterns = PatternOptions::regex().size_limit(limits.pattern_bytes).dfa_size_limit(limits.pattern_bytes);
        jsonschema::options()
            .with_draft(self.draft.authority())
            .with_pattern_options(patterns)
            .should_validate_formats(self.formats)
            .offline()
    }
}

/// A compiled schema. Immutable; one serves any number of locks on any number of threads.
#[derive(Debug)]
pub struct Contract {
    pub(crate) authority: Validator,
    pub(crate) analysis: Analysis,
    pub(crate) nodes: Arc<Nodes>,
    pub(crate) limits: Limits,
    source: ContractSource,
    draft: Draft,
}

impl Contract {
    /// Compiles `schema`. Without `draft`, `$schema` says which draft it is, and without that 2020-12; a `$schema` that is
    /// no draft known here is refused in any case. Formats are
    /// checked, patterns run in linear time, and nothing is ever fetched.
    ///
    /// # Errors
    /// [`ContractError`] if the schema is over a limit, not a valid schema, or refers to anything outside itself.
    pub fn compile(
        schema: &Value,
        draft: Option<Draft>,
        source: ContractSource,
        limits: &Limits,
    ) -> Result<Arc<Self>, ContractError> {
        Self::compile_with(schema, draft, source, true, limits)
    }

    /// The same; without `formats`, the keyword `format` is a comment.
    ///
    /// # Errors
    /// As above.
    pub fn compile_with(
        schema: &Value,
        draft: Option<Draft>,
        source: ContractSource,
        formats: bool,
        limits: &Limits,
    ) -> Result<Arc<Self>, ContractError> {
        let analysis = analysis::analyse(schema, source, limits)?;
        let draft = draft.unwrap_or(Draft::of(schema)?);
        let dialect = Dialect { draft, formats };
        let authority = dialect.options(limits).build(schema).map_err(|error| ContractError::Invalid {
            pointer: error.instance_path().as_str().to_owned(),
            keyword: error.kind().keyword().to_owned(),
        })?;
        let nodes = Arc::new(falsify::lower(schema, &dialect, limits));
        Ok(Arc::new(Self { authority, analysis, nodes, limits: limits.clone(), source, draft }))
    }

    /// The authority's verdict alone: whether `text` is JSON that the schema accepts. What a lock passes is accepted; a lock
    /// refuses more (limits, members of one name).
    #[must_use]
    pub fn accepts(&self, text: &str) -> bool {
        serde_json::from_str(text).is_ok_and(|value: Value| self.authority.is_valid(&value))
    }

    /// Where the schema came from.
    #[must_use]
    pub fn source(&self) -> ContractSource {
        self.source
    }

    /// The draft by which it is read.
    #[must_use]
    pub fn draft(&self) -> Draft {
        self.draft
    }

    /// Follows a new document.
    pub(crate) fn falsifier(&self) -> Falsifier {
        Falsifier::new(Arc::clone(&self.nodes), self.limits.monitors_per_value)
    }

    /// Whether a document with so many values, so deep, can be checked within the limits of time and stack.
    pub(crate) fn affords(&self, values: u64, deepest: usize) -> bool {
        let cost = &self.analysis.cost;
        let levels = if cost.recursions == 0 { 1 } else { deepest + 1 };
        values.saturating_mul(cost.places) <= self.limits.work && levels * cost.nesting <= NESTING_WITH_DOCUMENT_MAX
    }

    /// Whether the place of a violation can be looked for. Errors of alternatives are made for every alternative
    /// at every level of recursion.
    pub(crate) fn can_explain(&self, values: u64, deepest: usize) -> bool {
        let cost = &self.analysis.cost;
        let recursion = cost.recursions.max(1).saturating_pow(u32::try_from(deepest).unwrap_or(u32::MAX));
        cost.alternatives.saturating_mul(values).saturating_mul(recursion) <= EXPLAIN_MAX
    }
}

/// Most subschemas under way at once while a document is checked: each takes a few hundred bytes of a thread's stack,
/// which has two megabytes.
const NESTING_WITH_DOCUMENT_MAX: usize = 8 * SCHEMA_NESTING_MAX;

/// Most errors of alternatives that may be made to find the place of a violation: about a second's worth.
const EXPLAIN_MAX: u64 = 300_000;
