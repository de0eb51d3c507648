//! What an engine is compiled from: the policy's own rules, and which built-in detectors run.

use std::collections::{BTreeMap, BTreeSet};

/// Most rules in one engine, the built-in ones included. One automaton runs them all; this many keep its first
/// states within a few megabytes.
pub const RULES_MAX: usize = 2_048;

/// Longest pattern text, in bytes. A longer one is a list, and a list belongs in several rules.
pub const PATTERN_BYTES_MAX: usize = 8_192;

/// Longest id or class, in bytes: they become metric labels and SIEM fields.
pub(crate) const NAME_BYTES_MAX: usize = 64;

/// A rule of the policy. Its findings carry the detector id `patterns.<id>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Unique among the policy's rules: 1 to 64 characters of `a-z A-Z 0-9 _ - .`.
    pub id: String,
    /// The class of its findings, with the same alphabet.
    pub class: String,
    /// The score of its findings in millionths, at most 1,000,000.
    pub score_ppm: u32,
    /// What it looks for.
    pub matcher: Matcher,
}

/// What a rule looks for. In both forms the longest match counts, so a lazy quantifier (`*?`) means the same as a
/// greedy one, and no rule can match the empty text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matcher {
    /// These characters, one after the other. [Hidden characters](crate::is_hidden) in `text` are ignored unless
    /// it has no others.
    Literal {
        /// The characters.
        text: String,
        /// Whether case is ignored, by Unicode's simple case folding.
        case_insensitive: bool,
    },
    /// A regular expression in the dialect of the `regex` crate (no look-around, no back-references: every match
    /// takes linear time). `\b` and its relatives go by ASCII word characters. `^` and `$` are the ends of the
    /// stream.
    Regex(String),
}

/// From what an [`Engine`](crate::Engine) is compiled. The default runs every built-in detector and no rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineConfig {
    /// The policy's own rules. They always run.
    pub rules: Vec<Rule>,
    /// Built-in detectors that do not run: one (`secrets.github_token`) or a whole family (`secrets`).
    pub off: BTreeSet<String>,
    /// Thresholds in millionths by detector or family: a built-in detector whose score is lower does not run. The
    /// more particular name counts; where neither is given, 500,000.
    pub thresholds_ppm: BTreeMap<String, u32>,
}

/// The threshold of a built-in detector that the configuration does not mention, in millionths.
pub(crate) const THRESHOLD_PPM_DEFAULT: u32 = 500_000;

/// Whether `name` may be an id or a class.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}
