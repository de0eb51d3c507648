//! The two promises of the crate, against an independent engine: any cutting of a text gives the same findings, and
//! what is settled stays settled.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::string_slice)]

use std::sync::Arc;

use clyra_detectors::{Engine, EngineConfig, Finding, Matcher, Rule, Stream, View, is_hidden};
use proptest::prelude::*;
use regex_automata::nfa::thompson::pikevm::PikeVM;
use regex_automata::{Anchored, Input, MatchKind};

fn engine(patterns: &[&str]) -> Arc<Engine> {
    let rules = patterns
        .iter()
        .enumerate()
        .map(|(i, pattern)| Rule {
            id: format!("r{i}"),
            class: "c".into(),
            score_ppm: 500_000,
            matcher: Matcher::Regex((*pattern).into()),
        })
        .collect();
    Arc::new(Engine::compile(EngineConfig { rules, ..EngineConfig::default() }).unwrap())
}

/// What each pattern matches from every start, the longest each: slow, simple and nothing of ours. `places` says where
/// each byte of `text` stands in the source. Where matches overlap, a later one counts with the part that the earlier
/// ones have not.
fn reference(patterns: &[&str], text: &str, places: &[usize]) -> Vec<(usize, usize, usize)> {
    let mut found = Vec::new();
    for (i, pattern) in patterns.iter().enumerate() {
        let vm = PikeVM::builder().configure(PikeVM::config().match_kind(MatchKind::All)).build(pattern).unwrap();
        let mut cache = vm.create_cache();
        let mut taken = 0;
        for at in (0..text.len()).filter(|at| text.is_char_boundary(*at)) {
            let input = Input::new(text).range(at..).anchored(Anchored::Yes);
            let end =
                vm.find(&mut cache, input).and_then(|found| found.end().checked_sub(1)).map(|last| places[last] + 1);
            if let Some(end) = end.filter(|end| *end > taken) {
                found.push((places[at].max(taken), end, i));
                taken = end;
            }
        }
    }
    found.sort_unstable();
    found
}

fn key(finding: &Finding) -> (usize, usize, usize) {
    (
        finding.start as usize,
        finding.end as usize,
        finding.detector.strip_prefix("patterns.r").unwrap().parse().unwrap(),
    )
}

/// Feeds `text` cut at `cuts` and checks the promises on the way.
fn stream(engine: &Arc<Engine>, view: View, text: &str, cuts: &[usize]) -> Vec<Finding> {
    let mut stream: Stream = engine.stream(view);
    let mut found = Vec::new();
    let mut last = 0;
    let mut settled = 0;
    let check = |stream: &Stream, new: &[Finding], settled: &mut u64| {
        for finding in new {
            assert!(finding.start >= *settled, "{finding:?} was reported after {settled} had been settled");
            assert!(finding.end <= stream.fed());
        }
        assert!(stream.settled() >= *settled && stream.settled() <= stream.fed());
        *settled = stream.settled();
    };
    let mut cuts: Vec<usize> =
        cuts.iter().map(|cut| cut % (text.len() + 1)).filter(|&cut| text.is_char_boundary(cut)).collect();
    cuts.push(text.len());
    cuts.sort_unstable();
    for cut in cuts {
        let before = found.len();
        stream.feed(&text[last..cut], &mut found);
        check(&stream, &found[before..], &mut settled);
        last = cut;
    }
    let before = found.len();
    stream.finish(&mut found);
    check(&stream, &found[before..], &mut settled);
    assert_eq!(stream.failed(), None);
    assert_eq!(stream.settled(), text.len() as u64);
    found.sort_by(|a, b| (a.start, a.end, &a.detector).cmp(&(b.start, b.end, &b.detector)));
    found
}

const SETS: &[&[&str]] = &[
    &["abc", "bca", "a+b", "cc"],
    &["a.*b", "[bc]{2,4}a", "c"],
    &[r"\ba+\b", r"(?-u:\bb)", r"a\b{end-half}"],
    &["(ab|abab)+c", "(a|b|c){3}", "ba"],
    &["^a", "b$", "(?m:^c)", "(?m:a$)"],
    &["é+a", "(?i)Éb", "[^a]b", r"\w{2,3}é"],
    &["(aa|b)*c(a|b)*", "b.{0,5}c"],
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn plain_equals_the_reference_for_every_cutting(set in 0..SETS.len(), text in "[abcé \n]{0,60}", cuts in prop::collection::vec(0..80usize, 0..40)) {
        let patterns = SETS[set];
        let engine = engine(patterns);
        // The reference goes by Unicode words, these texts' words differ from ASCII's only at `é`.
        let ascii: Vec<String> = patterns.iter().map(|p| p.replace(r"\b", r"(?-u:\b)").replace(r"(?-u:\b){", r"(?-u)\b{")).collect();
        let ascii: Vec<&str> = ascii.iter().map(String::as_str).collect();
        let places: Vec<usize> = (0..text.len()).collect();
        let expected = reference(&ascii, &text, &places);
        let found: Vec<_> = stream(&engine, View::Plain, &text, &cuts).iter().map(key).collect();
        prop_assert_eq!(&found, &expected);
        let whole: Vec<_> = engine.scan(&text, View::Plain).unwrap().iter().map(key).collect();
        prop_assert_eq!(&whole, &expected);
    }

    #[test]
    fn hidden_characters_change_nothing_but_the_offsets(set in 0..SETS.len() - 3, text in "[abc \u{200b}\u{ad}\u{e0041}]{0,40}", cuts in prop::collection::vec(0..120usize, 0..40)) {
        let patterns: Vec<&str> = SETS[set].iter().copied().filter(|p| !p.contains('^') && !p.contains('$')).collect();
        let engine = engine(&patterns);
        // Each reading of its own, offsets mapped back, joined.
        let (visible, places): (String, Vec<usize>) = {
            let mut places = Vec::new();
            let mut visible = String::new();
            for (at, c) in text.char_indices().filter(|(_, c)| !is_hidden(*c)) {
                visible.push(c);
                places.extend(at..at + c.len_utf8());
            }
            (visible, places)
        };
        let as_it_stands: Vec<usize> = (0..text.len()).collect();
        let mut expected = reference(&ascii_words(&patterns), &text, &as_it_stands);
        expected.extend(reference(&ascii_words(&patterns), &visible, &places));
        expected.sort_unstable();
        expected.dedup();
        let found: Vec<_> = stream(&engine, View::Plain, &text, &cuts).iter().map(key).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn json_reads_escapes_for_every_cutting(
        parts in prop::collection::vec(prop::sample::select(vec!["a", "b", "c", r"\u0061", r"\u0062", r"\n", r"\u200b", "\u{200b}", "\"", "{", r"\ud83d\ude00", r"\ud83d", r"\q", r"\\", r#"\""#, " "]), 0..24),
        cuts in prop::collection::vec(0..140usize, 0..60),
    ) {
        let text: String = parts.concat();
        let engine = engine(&["abc", "b+a", r"a\nb", "\"a", "c\u{1F600}", "[ab]{4}"]);
        let whole = engine.scan(&text, View::Json).unwrap();
        let found = stream(&engine, View::Json, &text, &cuts);
        prop_assert_eq!(&found, &whole);
        let single: Vec<usize> = (0..text.len()).collect();
        prop_assert_eq!(&stream(&engine, View::Json, &text, &single), &whole);
        // Whatever is found as the text stands is found here too. (What needs the text both undecoded and without its
        // hidden characters is nothing that any reader sees.)
        let plain = engine.scan(&text, View::Plain).unwrap().into_iter();
        for finding in plain.filter(|f| !text[f.start as usize..f.end as usize].chars().any(is_hidden)) {
            prop_assert!(whole.iter().any(|f| f.detector == finding.detector && f.start <= finding.start && f.end >= finding.end), "{:?} is lost", finding);
        }
    }

    #[test]
    fn arbitrary_text_never_panics_and_always_settles(text in any::<String>(), cuts in prop::collection::vec(any::<usize>(), 0..20)) {
        let engine = engine(&[r"\w+", "[^ ]{3}", r"\d"]);
        for view in [View::Plain, View::Json] {
            prop_assert_eq!(stream(&engine, view, &text, &cuts), engine.scan(&text, view).unwrap());
        }
    }
}

fn ascii_words<'a>(patterns: &[&'a str]) -> Vec<&'a str> {
    patterns
        .iter()
        .map(|&pattern| match pattern {
            r"\ba+\b" => r"(?-u:\b)a+(?-u:\b)",
            r"a\b{end-half}" => r"a(?-u:\b{end-half})",
            other => other,
        })
        .collect()
}

#[test]
fn a_text_that_begins_no_match_is_settled_at_once() {
    let engine = engine(&["Project Nightjar", r"INC-[0-9]{6}\b"]);
    let mut stream = engine.stream(View::Plain);
    let mut found = Vec::new();
    for word in ["The ", "quick ", "brown ", "fox. ", "INC-12345 ", "I", "N ", "Projector ", "é😀 "] {
        stream.feed(word, &mut found);
        let held = if word == "I" { 1 } else { 0 };
        assert_eq!(stream.settled(), stream.fed() - held, "after {word:?}");
    }
    stream.feed("INC-123456", &mut found);
    assert_eq!(stream.settled(), stream.fed() - 10, "one byte decides whether the number ends here");
    stream.feed(" ", &mut found);
    assert_eq!((stream.settled(), found.len()), (stream.fed(), 1));
}

#[test]
fn a_match_longer_than_the_limit_is_reported_in_pieces_that_leave_no_gap() {
    let engine = engine(&["id=[a-z]{20,}"]);
    let text = format!("key id={} end", "x".repeat(10_000));
    for cuts in [vec![], (0..text.len()).collect::<Vec<_>>()] {
        let found: Vec<_> = stream(&engine, View::Plain, &text, &cuts).iter().map(key).collect();
        assert_eq!(found, [(4, 4_100, 0), (4_100, 8_196, 0), (8_196, 10_007, 0)]);
    }
}

#[test]
fn a_candidate_that_never_matches_is_let_go_at_the_limit() {
    let engine = engine(&["<[^>]*>"]);
    let mut stream = engine.stream(View::Plain);
    let mut found = Vec::new();
    stream.feed("<", &mut found);
    for _ in 0..10_000 {
        stream.feed("x", &mut found);
        assert!(stream.fed() - stream.settled() <= 4_096);
    }
    assert_eq!(stream.settled(), stream.fed());
    stream.feed("<y>", &mut found);
    stream.finish(&mut found);
    assert_eq!(found.len(), 1);
}

#[test]
fn a_younger_candidate_outlives_the_older_one_it_was_joined_with() {
    let engine = engine(&["<[^>]*>"]);
    let text = format!("<{}<{}>", "x".repeat(4_000), "y".repeat(200));
    let found: Vec<_> = stream(&engine, View::Plain, &text, &[10, 4_050, 4_150]).iter().map(key).collect();
    assert_eq!(found, [(4_001, text.len(), 0)]);
}

#[test]
fn hostile_text_costs_no_more_than_candidates_allow() {
    // Every byte begins a candidate and none ends early: work is counted in states, not in seconds.
    let engine = engine(&["a{2000}b"]);
    let mut stream = engine.stream(View::Plain);
    let mut found = Vec::new();
    for _ in 0..40 {
        stream.feed(&"a".repeat(50), &mut found);
    }
    assert_eq!(stream.failed().map(|error| error.code()), Some("detector_candidates"));
    let settled = stream.settled();
    stream.feed("more", &mut found);
    stream.finish(&mut found);
    assert_eq!(stream.settled(), settled, "nothing is settled after a failure");
    assert!(engine.scan(&"a".repeat(4_000), View::Plain).is_err());
}

#[test]
fn an_exploding_pattern_fails_closed_or_finds() {
    // 2^18 states if fully built; a lazy automaton visits one per byte.
    let engine = engine(&["a[ab]*c[ab]{0,17}c", "(a|b)*a(a|b){18}c"]);
    let mut bits = 0x2545_F491_u32;
    let mut text = String::new();
    for _ in 0..3_000 {
        bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.push(if bits >> 31 == 0 { 'a' } else { 'b' });
    }
    text.push_str("abbbbbbbbbbbbbbbbbbc");
    match engine.scan(&text, View::Plain) {
        Ok(found) => assert!(found.iter().any(|finding| finding.end == text.len() as u64)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
