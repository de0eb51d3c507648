//! Checks on regular expressions that are the same wherever a policy has one.

use regex::RegexBuilder;
use regex_syntax::ParserBuilder;

/// Groups inside groups; the parser recurses once per level.
const NEST_MAX: u32 = 32;
/// Memory of one compiled pattern of `detectors.patterns`.
const COMPILED_BYTES_MAX: usize = 1024 * 1024;

/// Refuses what does not parse, in one line that says where.
pub(crate) fn check_syntax(pattern: &str) -> Result<(), String> {
    parse(pattern).map(|_| ())
}

/// Refuses what cannot be looked for in a stream: malformed, matching the empty text, or too big.
pub(crate) fn check_searchable(pattern: &str) -> Result<(), String> {
    let hir = parse(pattern)?;
    match hir.properties().minimum_len() {
        None => return Err("the regular expression can never match".to_owned()),
        Some(0) => {
            return Err("the regular expression matches the empty text, so it would match everywhere".to_owned());
        }
        Some(_) => {}
    }
    RegexBuilder::new(pattern)
        .size_limit(COMPILED_BYTES_MAX)
        .build()
        .map(|_| ())
        .map_err(|_| "the regular expression is too big when compiled; use smaller repetitions".to_owned())
}

fn parse(pattern: &str) -> Result<regex_syntax::hir::Hir, String> {
    let describe =
        |kind: String, offset: usize| format!("the regular expression is malformed at its byte {offset}: {kind}");
    ParserBuilder::new().nest_limit(NEST_MAX).build().parse(pattern).map_err(|error| match &error {
        regex_syntax::Error::Parse(error) => describe(error.kind().to_string(), error.span().start.offset),
        regex_syntax::Error::Translate(error) => describe(error.kind().to_string(), error.span().start.offset),
        other => format!("the regular expression is malformed: {other}"),
    })
}
