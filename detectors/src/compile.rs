//! From the text of a rule to the expression that the automaton is built from, or to what is wrong with it.

use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Capture, Hir, HirKind, Look, Repetition};

use crate::config::{Matcher, PATTERN_BYTES_MAX};
use crate::error::EngineError;
use crate::hidden::is_hidden;

/// Largest automaton of one rule, in bytes: some tens of thousands of states, which is a count of a thousand over
/// a class of Unicode letters. Beyond that a pattern is a mistake or an attack.
const RULE_BYTES_MAX: usize = 2 << 20;

/// Largest automaton of all rules together, in bytes.
const RULES_BYTES_MAX: usize = 64 << 20;

/// Deepest nesting of groups in a pattern.
const NEST_MAX: u32 = 64;

/// The expression of the rule `id`.
pub(crate) fn rule(id: &str, matcher: &Matcher) -> Result<Hir, EngineError> {
    let id = || id.to_owned();
    let (text, case_insensitive) = match matcher {
        Matcher::Literal { text, case_insensitive } => {
            let visible: String = text.chars().filter(|&c| !is_hidden(c)).collect();
            let text = if visible.is_empty() { text.clone() } else { visible };
            (regex_syntax::escape(&text), *case_insensitive)
        }
        Matcher::Regex(text) => (text.clone(), false),
    };
    let bytes = text.len();
    if bytes > PATTERN_BYTES_MAX {
        return Err(EngineError::TooLong { rule: id(), bytes });
    }
    let hir = ParserBuilder::new()
        .nest_limit(NEST_MAX)
        .case_insensitive(case_insensitive)
        .build()
        .parse(&text)
        .map_err(|error| syntax(id(), &text, &error))?;
    match hir.properties().minimum_len() {
        Some(0) => return Err(EngineError::MatchesEmpty { rule: id() }),
        Some(_) => {}
        None => return Err(EngineError::NeverMatches { rule: id() }),
    }
    let hir = with_ascii_words(hir);
    // Built alone first, so that an error can say whose it is.
    match nfa(std::slice::from_ref(&hir), RULE_BYTES_MAX) {
        Ok(_) => Ok(hir),
        Err(_) => Err(EngineError::TooComplex { rule: id(), limit_bytes: RULE_BYTES_MAX }),
    }
}

/// One automaton of all rules; the n-th pattern is the n-th rule.
pub(crate) fn all(rules: &[Hir]) -> Result<NFA, EngineError> {
    nfa(rules, RULES_BYTES_MAX).map_err(|error| EngineError::Build { reason: error.to_string() })
}

fn nfa(rules: &[Hir], limit: usize) -> Result<NFA, Box<thompson::BuildError>> {
    let config = NFA::config().which_captures(WhichCaptures::None).nfa_size_limit(Some(limit));
    NFA::compiler().configure(config).build_many_from_hir(rules).map_err(Box::new)
}

fn syntax(rule: String, text: &str, error: &regex_syntax::Error) -> EngineError {
    let (reason, offset) = match error {
        regex_syntax::Error::Parse(error) => (error.kind().to_string(), error.span().start.offset),
        regex_syntax::Error::Translate(error) => (error.kind().to_string(), error.span().start.offset),
        _ => ("not a regular expression".to_owned(), 0),
    };
    let column = 1 + text.char_indices().take_while(|(at, _)| *at < offset).count();
    EngineError::Syntax { rule, reason, column }
}

/// Makes every word boundary an ASCII one: a deterministic automaton cannot decide Unicode's from one byte.
fn with_ascii_words(hir: Hir) -> Hir {
    match hir.into_kind() {
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) => Hir::literal(literal.0),
        HirKind::Class(class) => Hir::class(class),
        HirKind::Look(look) => Hir::look(match look {
            Look::WordUnicode => Look::WordAscii,
            Look::WordUnicodeNegate => Look::WordAsciiNegate,
            Look::WordStartUnicode => Look::WordStartAscii,
            Look::WordEndUnicode => Look::WordEndAscii,
            Look::WordStartHalfUnicode => Look::WordStartHalfAscii,
            Look::WordEndHalfUnicode => Look::WordEndHalfAscii,
            other => other,
        }),
        HirKind::Repetition(Repetition { min, max, greedy, sub }) => {
            Hir::repetition(Repetition { min, max, greedy, sub: Box::new(with_ascii_words(*sub)) })
        }
        HirKind::Capture(Capture { sub, .. }) => with_ascii_words(*sub),
        HirKind::Concat(parts) => Hir::concat(parts.into_iter().map(with_ascii_words).collect()),
        HirKind::Alternation(parts) => Hir::alternation(parts.into_iter().map(with_ascii_words).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regex(text: &str) -> Result<Hir, EngineError> {
        rule("r", &Matcher::Regex(text.into()))
    }

    #[test]
    fn an_error_names_the_rule_the_reason_and_the_place() {
        let error = regex("ab(c").unwrap_err();
        assert_eq!(error, EngineError::Syntax { rule: "r".into(), reason: "unclosed group".into(), column: 3 });
        assert_eq!(error.to_string(), "pattern `r`: unclosed group (at character 3)");
        let EngineError::Syntax { column, .. } = regex("é(?<n").unwrap_err() else { panic!("syntax") };
        assert!(column >= 2, "columns count characters, not bytes");
    }

    #[test]
    fn what_would_match_everywhere_or_nowhere_is_refused() {
        for text in ["", "a*", "(?:)", "x?|y", r"\b", "^$"] {
            assert_eq!(regex(text), Err(EngineError::MatchesEmpty { rule: "r".into() }), "{text}");
        }
        assert_eq!(regex("[a&&b]"), Err(EngineError::NeverMatches { rule: "r".into() }));
        let empty = Matcher::Literal { text: String::new(), case_insensitive: false };
        assert_eq!(rule("r", &empty), Err(EngineError::MatchesEmpty { rule: "r".into() }));
    }

    #[test]
    fn bombs_are_refused_quickly() {
        for text in [r"\w{5000}", "((a{1000}){1000}){1000}", r"(\pL{1,300}){100}"] {
            assert_eq!(regex(text).unwrap_err().code(), "pattern_too_complex", "{text}");
        }
        assert_eq!(regex(&"(".repeat(9_000)).unwrap_err().code(), "pattern_too_long");
        assert_eq!(regex(&format!("{}a{}", "(".repeat(80), ")".repeat(80))).unwrap_err().code(), "pattern_syntax");
    }

    #[test]
    fn look_around_and_back_references_are_named_as_unsupported() {
        for text in ["a(?=b)", r"(a)\1"] {
            assert_eq!(regex(text).unwrap_err().code(), "pattern_syntax", "{text}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        assert_eq!(regex(r"(?-u:\xff)").unwrap_err().code(), "pattern_syntax");
    }
}
