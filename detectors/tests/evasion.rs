//! Hidden characters and JSON escapes do not get a word past its rule, and what is reported can be rewritten.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::string_slice)]

use std::sync::Arc;

use clyra_detectors::{Engine, EngineConfig, Finding, Matcher, Rule, View};

fn engine() -> Arc<Engine> {
    let rule = Rule {
        id: "codename".into(),
        class: "restricted".into(),
        score_ppm: 1_000_000,
        matcher: Matcher::Literal { text: "Project Nightjar".into(), case_insensitive: false },
    };
    Arc::new(Engine::compile(EngineConfig { rules: vec![rule], ..EngineConfig::default() }).unwrap())
}

fn scan(text: &str, view: View) -> Vec<Finding> {
    let engine = engine();
    let whole = engine.scan(text, view).unwrap();
    for size in [1, 2, 3, 7] {
        let mut stream = engine.stream(view);
        let mut found = Vec::new();
        let mut piece = String::new();
        for c in text.chars() {
            piece.push(c);
            if piece.chars().count() == size {
                stream.feed(&std::mem::take(&mut piece), &mut found);
            }
        }
        stream.feed(&piece, &mut found);
        stream.finish(&mut found);
        found.sort_by_key(|finding| (finding.start, finding.end));
        assert_eq!(found, whole, "pieces of {size}");
    }
    whole
}

fn spans<'a>(text: &'a str, found: &[Finding]) -> Vec<(&'a str, bool)> {
    found.iter().map(|finding| (&text[finding.start as usize..finding.end as usize], finding.contained)).collect()
}

#[test]
fn hidden_characters_inside_are_covered_and_those_outside_are_not() {
    for hidden in
        ["\u{200b}", "\u{200d}", "\u{ad}", "\u{feff}", "\u{2060}", "\u{fe0f}", "\u{e0041}", "\u{200b}\u{200c}\u{200d}"]
    {
        let secret: String = "Project Nightjar".chars().map(|c| format!("{c}{hidden}")).collect();
        let text = format!("see {hidden}{secret} now");
        let covered = secret.strip_suffix(hidden).unwrap();
        assert_eq!(spans(&text, &scan(&text, View::Plain)), [(covered, true)], "{hidden:?}");
    }
}

#[test]
fn a_hidden_character_after_the_word_hides_nothing() {
    let text = "Project Nightjar\u{200b}s";
    assert_eq!(spans(text, &scan(text, View::Plain)), [("Project Nightjar", true)]);
}

#[test]
fn a_literal_that_has_hidden_characters_itself_is_found() {
    let literal = |text: &str| Rule {
        id: "x".into(),
        class: "c".into(),
        score_ppm: 1,
        matcher: Matcher::Literal { text: text.into(), case_insensitive: false },
    };
    for (pattern, text) in [("a\u{200b}b", "ab"), ("a\u{200b}b", "a\u{200b}b"), ("\u{200b}", "ab\u{200b}")] {
        let engine = Arc::new(
            Engine::compile(EngineConfig { rules: vec![literal(pattern)], ..EngineConfig::default() }).unwrap(),
        );
        assert_eq!(engine.scan(text, View::Plain).unwrap().len(), 1, "{pattern:?} in {text:?}");
    }
}

#[test]
fn escapes_are_read_and_covered_whole() {
    let text = r#"{"a": "x\u0050roject\u0020Nightja\u0072\n", "b": "Project Nightjar"}"#;
    assert_eq!(
        spans(text, &scan(text, View::Json)),
        [(r"\u0050roject\u0020Nightja\u0072", true), ("Project Nightjar", true)]
    );
    assert_eq!(spans(text, &scan(text, View::Plain)), [("Project Nightjar", true)]);
}

#[test]
fn an_escaped_hidden_character_hides_nothing() {
    let text = r#"{"a": "Pro\u200bject\u00ad Night\udb40\udc41jar"}"#;
    assert_eq!(spans(text, &scan(text, View::Json)), [(r"Pro\u200bject\u00ad Night\udb40\udc41jar", true)]);
}

#[test]
fn what_spans_strings_is_found_and_not_contained() {
    let rule = Rule {
        id: "x".into(),
        class: "c".into(),
        score_ppm: 1,
        matcher: Matcher::Regex(r#"user": "root|a\\n"#.into()),
    };
    let engine = Arc::new(Engine::compile(EngineConfig { rules: vec![rule], ..EngineConfig::default() }).unwrap());
    let text = r#"{"user": "root", "x": "a\nb"}"#;
    let found = engine.scan(text, View::Json).unwrap();
    assert_eq!(spans(text, &found), [(r#"user": "root"#, false), (r"a\n", true)]);
}

#[test]
fn names_of_members_are_text_too() {
    let text = r#"{"Project Nightjar":1}"#;
    assert_eq!(spans(text, &scan(text, View::Json)), [("Project Nightjar", true)]);
}

#[test]
fn text_that_is_no_json_is_still_read() {
    for text in [
        "Project Nightjar",
        r"\Project Nightjar",
        r#""Project Nightjar"#,
        r#"""""Project Nightjar\u12"#,
        r"Project\u0020Nightjar Project Nightjar",
    ] {
        assert_eq!(scan(text, View::Json).len(), 1, "{text}");
    }
}
