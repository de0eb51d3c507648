//! What SchemaLock promises while a document streams, over schemas and documents made by chance: it never refuses what the
//! authority accepts, however the text is cut; what has left by any moment is no complete document that was not accepted; and
//! nothing at or behind the place of a violation leaves.
//!
//! `make test-long` runs a million documents (`CLYRA_FALSIFIER_SCHEMAS`, eight documents to a schema).

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

use std::env;
use std::sync::Arc;

use clyra_schemas::{Contract, ContractSource, Draft, End, Limits, Lock, Mode, Outcome, RepairPolicy, Step, Violation};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Map, Value, json};

/// Documents to a schema.
const DOCUMENTS: usize = 8;

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "ab", "é", ""]).prop_map(str::to_owned)
}

fn text() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "a", "ab", "abc", "b", "é", "2026-11-29", "😀", "a b"]).prop_map(str::to_owned)
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-2..4_i64).prop_map(Value::from),
        prop::sample::select(vec![0.5, 1.0, 2.5, 1e20]).prop_map(Value::from),
    ]
}

fn document() -> impl Strategy<Value = Value> {
    let leaf =
        prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), number(), text().prop_map(Value::from),];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name(), inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn plain_keyword() -> impl Strategy<Value = (String, Value)> {
    let kinds = ["null", "boolean", "number", "integer", "string", "array", "object"];
    let size = 0..4_u64;
    prop_oneof![
        4 => prop::sample::select(kinds.to_vec()).prop_map(|kind| ("type".into(), json!(kind))),
        2 => prop::sample::subsequence(kinds.to_vec(), 1..4).prop_map(|kinds| ("type".into(), json!(kinds))),
        2 => prop::collection::vec(document(), 1..4).prop_map(|values| ("enum".into(), Value::Array(values))),
        1 => document().prop_map(|value| ("const".into(), value)),
        1 => size.clone().prop_map(|n| ("minLength".into(), n.into())),
        1 => size.clone().prop_map(|n| ("maxLength".into(), n.into())),
        2 => prop::sample::select(vec!["^a", "b$", "^[a-c]*$", "\\d", "^\\S+$", "é|b", "\\ba", "^(a|b){2}$"])
            .prop_map(|pattern| ("pattern".into(), json!(pattern))),
        1 => prop::sample::select(vec!["date", "email", "uuid"]).prop_map(|format| ("format".into(), json!(format))),
        1 => number().prop_map(|n| ("minimum".into(), n)),
        1 => number().prop_map(|n| ("maximum".into(), n)),
        1 => number().prop_map(|n| ("exclusiveMinimum".into(), n)),
        1 => number().prop_map(|n| ("exclusiveMaximum".into(), n)),
        1 => prop::sample::select(vec![json!(2), json!(0.5)]).prop_map(|n| ("multipleOf".into(), n)),
        1 => size.clone().prop_map(|n| ("minItems".into(), n.into())),
        1 => size.clone().prop_map(|n| ("maxItems".into(), n.into())),
        1 => any::<bool>().prop_map(|unique| ("uniqueItems".into(), unique.into())),
        1 => size.clone().prop_map(|n| ("minProperties".into(), n.into())),
        1 => size.prop_map(|n| ("maxProperties".into(), n.into())),
        2 => prop::sample::subsequence(vec!["a", "b", "ab"], 0..3).prop_map(|names| ("required".into(), json!(names))),
        1 => Just(("dependentRequired".into(), json!({ "a": ["b"] }))),
        1 => prop::sample::select(vec!["#", "#/$defs/d", "#/$defs/e"]).prop_map(|to| ("$ref".into(), json!(to))),
    ]
}

fn schema() -> impl Strategy<Value = Value> {
    let of = |keywords: Vec<(String, Value)>| Value::Object(keywords.into_iter().collect::<Map<_, _>>());
    let leaf = prop_oneof![
        6 => prop::collection::vec(plain_keyword(), 0..3).prop_map(of),
        1 => any::<bool>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, move |inner| {
        let members = prop::collection::vec((name(), inner.clone()), 1..4);
        let members = members.prop_map(|members| Value::Object(members.into_iter().collect())).boxed();
        let list = prop::collection::vec(inner.clone(), 1..4).prop_map(Value::from);
        let under = prop_oneof![
            4 => members.clone().prop_map(|value| ("properties".to_owned(), value)),
            2 => inner.clone().prop_map(|value| ("additionalProperties".to_owned(), value)),
            1 => inner.clone().prop_map(|value| ("patternProperties".to_owned(), json!({ "^a": value }))),
            1 => inner.clone().prop_map(|value| ("propertyNames".to_owned(), value)),
            2 => inner.clone().prop_map(|value| ("items".to_owned(), value)),
            1 => list.clone().prop_map(|value| ("prefixItems".to_owned(), value)),
            2 => list.clone().prop_map(|value| ("allOf".to_owned(), value)),
            3 => list.clone().prop_map(|value| ("anyOf".to_owned(), value)),
            3 => list.prop_map(|value| ("oneOf".to_owned(), value)),
            1 => inner.clone().prop_map(|value| ("not".to_owned(), value)),
            1 => inner.clone().prop_map(|value| ("if".to_owned(), value)),
            1 => inner.clone().prop_map(|value| ("then".to_owned(), value)),
            1 => inner.clone().prop_map(|value| ("contains".to_owned(), value)),
            1 => inner.clone().prop_map(|value| ("unevaluatedProperties".to_owned(), value)),
            1 => members.prop_map(|value| ("dependentSchemas".to_owned(), value)),
        ];
        let plain = prop::collection::vec(plain_keyword(), 0..3);
        (prop::collection::vec(under, 1..4), plain)
            .prop_map(move |(under, plain)| of(under.into_iter().chain(plain).collect()))
    })
}

/// A schema with definitions that it may refer to.
fn root() -> impl Strategy<Value = Value> {
    (schema(), schema(), schema()).prop_map(|(root, d, e)| match root {
        Value::Object(mut members) => {
            members.insert("$defs".into(), json!({ "d": d, "e": e }));
            Value::Object(members)
        }
        other => other,
    })
}

/// Spells a document with white space and escapes here and there.
fn spelled(value: &Value, pretty: bool) -> String {
    let text = if pretty { serde_json::to_string_pretty(value).unwrap() } else { value.to_string() };
    if pretty { text.replace('b', "\\u0062").replace("\\u0062oolean", "boolean") } else { text }
}

struct Run {
    outcome: Result<(), Violation>,
    /// Of the text, what may leave at the end.
    settled: u64,
}

/// Feeds `text` cut at `cuts`, and checks at each step what may leave.
fn run(contract: &Arc<Contract>, text: &str, cuts: &[usize], mode: Mode) -> Run {
    let mut lock = Lock::new(Arc::clone(contract), mode, RepairPolicy::NONE);
    let mut settled = 0;
    let mut from = 0;
    let mut violation = None;
    for to in cuts.iter().copied().chain([text.len()]) {
        let to = text.ceil_char_boundary(to.min(text.len())).max(from);
        let step = lock.feed(&text[from..to]);
        from = to;
        assert!(lock.settled() >= settled && lock.settled() <= to as u64, "{text}");
        settled = lock.settled();
        // `1` may be the beginning of `12`; an accepted prefix of a document is never let go as one.
        let left = &text[..usize::try_from(settled).unwrap()];
        assert!(serde_json::from_str::<Value>(left).is_err(), "{left} left before the verdict on {text}");
        if let Step::Violation(found) = step {
            violation = Some(found);
            break;
        }
    }
    let outcome = match (lock.finish(End::Stop), violation) {
        (Outcome::Block(found), earlier) => {
            assert!(earlier.is_none_or(|earlier| earlier == found));
            assert!(lock.settled() <= found.found_at, "{found:?} in {text}");
            Err(found)
        }
        (_, earlier) => {
            assert_eq!(earlier, None);
            assert_eq!(lock.settled(), u64::MAX);
            Ok(())
        }
    };
    Run { outcome, settled }
}

#[test]
fn no_document_that_the_authority_accepts_is_refused() {
    let asked = env::var("CLYRA_FALSIFIER_SCHEMAS").ok().and_then(|count| count.parse().ok());
    let config = Config { cases: asked.unwrap_or(600), failure_persistence: None, ..Config::default() };
    let schemas = config.cases;
    // The long run looks where nobody has looked; the short one looks for what a change broke, and says the same each time.
    let mut runner = match asked {
        Some(_) => TestRunner::new(config),
        None => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
    };
    let strategy = (
        root(),
        prop::collection::vec((document(), any::<bool>(), prop::collection::vec(0..80_usize, 0..6)), DOCUMENTS),
    );
    let (mut accepted, mut refused, mut early) = (0_u64, 0_u64, 0_u64);
    let counts = std::cell::RefCell::new((&mut accepted, &mut refused, &mut early));
    runner
        .run(&strategy, |(schema, documents)| {
            // References that only lead to themselves, or a schema over a limit, cannot be used.
            let Ok(contract) =
                Contract::compile(&schema, Some(Draft::Draft202012), ContractSource::Policy, &Limits::default())
            else {
                return Ok(());
            };
            for (document, pretty, mut cuts) in documents {
                cuts.sort_unstable();
                let text = spelled(&document, pretty);
                let is_accepted = contract.accepts(&text);
                let whole = run(&contract, &text, &[], Mode::Verified);
                for (cuts, mode) in [
                    (cuts.clone(), Mode::Verified),
                    ((1..text.len()).collect(), Mode::Verified),
                    (cuts.clone(), Mode::Cutoff),
                    ((1..text.len()).collect(), Mode::Cutoff),
                    (cuts, Mode::Buffer),
                ] {
                    let cut = run(&contract, &text, &cuts, mode);
                    prop_assert_eq!(&cut.outcome, &whole.outcome, "{} {}", schema, text);
                    if mode == Mode::Verified {
                        prop_assert_eq!(cut.settled, whole.settled, "{} {}", schema, text);
                    }
                }
                prop_assert_eq!(whole.outcome.is_ok(), is_accepted, "{} {}: {:?}", schema, text, whole.outcome);
                let mut counts = counts.borrow_mut();
                *counts.0 += u64::from(is_accepted);
                *counts.1 += u64::from(!is_accepted);
                *counts.2 += u64::from(whole.outcome.is_err_and(|violation| violation.early));
            }
            Ok(())
        })
        .unwrap();
    println!("{accepted} documents accepted, {refused} refused, {early} of them while they came");
    assert!(accepted > u64::from(schemas) && refused > u64::from(schemas), "{accepted} {refused}");
    assert!(early * 2 > refused, "{early} of {refused}");
}

/// Found by the test above: what `oneOf` says of a value where it leads back to itself depends on where one comes from.
#[test]
fn a_schema_that_asks_itself_is_left_to_the_authority() {
    let looping = json!({ "oneOf": [{ "anyOf": [{ "$ref": "#/$defs/e" }] }, {}] });
    let schema = json!({ "properties": { "a": { "$ref": "#/$defs/e" } }, "$defs": { "e": looping } });
    let contract = Contract::compile(&schema, None, ContractSource::Policy, &Limits::default()).unwrap();
    let text = "{\"a\":null}";
    assert_eq!(run(&contract, text, &[], Mode::Verified).outcome.is_ok(), contract.accepts(text));
}
