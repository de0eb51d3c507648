//! The two ways to fail: a configuration that cannot be compiled, and a text that cannot be scanned within limits.

use std::fmt;

/// Why an engine could not be compiled. Every variant that concerns one rule names it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The rule's id is empty, too long, or has characters that ids do not have.
    #[error(
        "pattern `{rule}`: an id is 1 to {} characters of a-z, A-Z, 0-9, `_`, `-` and `.`",
        crate::config::NAME_BYTES_MAX
    )]
    Id {
        /// The id as given.
        rule: String,
    },
    /// Two rules have the same id.
    #[error("pattern `{rule}`: the id is used twice; give each pattern its own")]
    DuplicateId {
        /// The id.
        rule: String,
    },
    /// The class is empty, too long, or has characters that class names do not have.
    #[error(
        "pattern `{rule}`: a class is 1 to {} characters of a-z, A-Z, 0-9, `_`, `-` and `.`",
        crate::config::NAME_BYTES_MAX
    )]
    Class {
        /// The rule's id.
        rule: String,
    },
    /// The score is above 1.
    #[error("pattern `{rule}`: a score lies between 0 and 1, this one is {score_ppm} millionths")]
    Score {
        /// The rule's id.
        rule: String,
        /// The score as given.
        score_ppm: u32,
    },
    /// The pattern's text is over [`PATTERN_BYTES_MAX`](crate::PATTERN_BYTES_MAX).
    #[error("pattern `{rule}`: {bytes} bytes, and a pattern may have {max}; split it into several", max = crate::PATTERN_BYTES_MAX)]
    TooLong {
        /// The rule's id.
        rule: String,
        /// Its length.
        bytes: usize,
    },
    /// The pattern is not a regular expression of the dialect of the `regex` crate.
    #[error("pattern `{rule}`: {reason} (at character {column})")]
    Syntax {
        /// The rule's id.
        rule: String,
        /// What the parser objects to.
        reason: String,
        /// Where, counted in characters from 1.
        column: usize,
    },
    /// The pattern matches the empty text, so it would match everywhere.
    #[error("pattern `{rule}`: it matches the empty text, which is everywhere; make at least one character necessary")]
    MatchesEmpty {
        /// The rule's id.
        rule: String,
    },
    /// The pattern can match nothing at all, so it would give a false feeling of safety.
    #[error("pattern `{rule}`: no text can match it")]
    NeverMatches {
        /// The rule's id.
        rule: String,
    },
    /// The pattern compiles to an automaton over the size limit.
    #[error(
        "pattern `{rule}`: too large once compiled (over {limit_bytes} bytes); use smaller counts in `{{m,n}}`, or `(?-u:…)` where plain ASCII is meant"
    )]
    TooComplex {
        /// The rule's id.
        rule: String,
        /// The limit.
        limit_bytes: usize,
    },
    /// More than [`RULES_MAX`](crate::RULES_MAX) rules.
    #[error("{rules} patterns, and at most {max} are allowed; join several into one with `|`", max = crate::RULES_MAX)]
    TooManyRules {
        /// How many.
        rules: usize,
    },
    /// A setting names a detector that does not exist.
    #[error("there is no detector `{id}`; the known ones are {known}")]
    UnknownDetector {
        /// The name as given.
        id: String,
        /// The names that would have done, separated by commas.
        known: String,
    },
    /// All rules together are too large for one automaton.
    #[error("all patterns together are too large: {reason}; remove some, or make counts in `{{m,n}}` smaller")]
    Build {
        /// What the automaton's builder said.
        reason: String,
    },
}

impl EngineError {
    /// A stable name for machines.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Id { .. } => "pattern_id",
            Self::DuplicateId { .. } => "pattern_duplicate_id",
            Self::Class { .. } => "pattern_class",
            Self::Score { .. } => "pattern_score",
            Self::TooLong { .. } => "pattern_too_long",
            Self::Syntax { .. } => "pattern_syntax",
            Self::MatchesEmpty { .. } => "pattern_matches_empty",
            Self::NeverMatches { .. } => "pattern_never_matches",
            Self::TooComplex { .. } => "pattern_too_complex",
            Self::TooManyRules { .. } => "patterns_too_many",
            Self::UnknownDetector { .. } => "detector_unknown",
            Self::Build { .. } => "patterns_too_large",
        }
    }
}

/// Why a stream stopped scanning. The text from [`Stream::settled`](crate::Stream::settled) on is unchecked; what
/// happens to it is the policy's `on_error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DetectorError {
    /// More than [`CANDIDATES_MAX`](crate::CANDIDATES_MAX) matches were under way at once.
    Candidates,
    /// More matches than the limit were waiting for an older candidate to be decided.
    Pending,
    /// The automaton grew past its memory limit within the reach of one match.
    StateCache,
}

impl DetectorError {
    /// A stable name for machines.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Candidates => "detector_candidates",
            Self::Pending => "detector_pending",
            Self::StateCache => "detector_state_cache",
        }
    }
}

impl fmt::Display for DetectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Candidates => "too many matches are under way at once; a pattern overlaps itself too often",
            Self::Pending => {
                "too many matches wait for a longer one to be decided; a pattern matches nearly everywhere"
            }
            Self::StateCache => "the patterns need more automaton states than the memory limit allows on this text",
        })
    }
}

impl std::error::Error for DetectorError {}
