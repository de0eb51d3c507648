//! Choices that end alone, in streams and in whole answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use clyra_schemas::{Contract, ContractSource, Limits};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::lock_tests::{VERIFIED, chat, delta, ended, frame, run, run_on, sentences, shown};
use super::tests::{BUFFERED, Cuts, NOW, TEXT, WHOLE, cuts, judge};
use super::{Binding, Cause, JsonContract, Report, Schema, Scope, StreamGuard, Terms, ToolSchemas, answer};
use crate::surface::{ResponseFacts, SURFACES, Surface};

fn apart(terms: Terms, choices: u32) -> [Binding; 1] {
    [sentences(Terms { choices, ..terms })]
}

fn done() -> String {
    "data: [DONE]\n\n".to_owned()
}

/// Why each choice ended, as a client hears it; every reason once.
fn reasons(released: &str) -> BTreeMap<u64, String> {
    let mut out = BTreeMap::new();
    for data in released.lines().filter_map(|line| line.strip_prefix("data: ")) {
        let Ok(event) = serde_json::from_str::<Value>(data) else { continue };
        for choice in event["choices"].as_array().into_iter().flatten() {
            if let Some(reason) = choice["finish_reason"].as_str() {
                assert_eq!(out.insert(choice["index"].as_u64().unwrap(), reason.to_owned()), None, "{released}");
            }
        }
    }
    out
}

fn of<const N: usize>(pairs: [(u64, &str); N]) -> BTreeMap<u64, String> {
    pairs.into_iter().map(|(index, text)| (index, text.to_owned())).collect()
}

#[test]
fn a_choice_that_breaks_its_schema_ends_and_the_others_go_on() {
    let events = [
        delta(0, "ab."),
        delta(1, "x."),
        delta(0, "c."),
        delta(0, "d!"),
        delta(1, "y."),
        delta(0, "more."),
        ended(0, "stop"),
        delta(1, "z."),
        ended(1, "stop"),
        done(),
    ];
    let over = run(&apart(VERIFIED, 2), &events);
    assert_eq!(over.end, Ok(()));
    let released = over.released();
    assert_eq!(shown(released.as_bytes()), of([(0, "ab."), (1, "x.y.z.")]));
    assert_eq!(reasons(&released), of([(0, "content_filter"), (1, "stop")]));
    assert_eq!((over.report.schema.ended, over.breaches.len()), (BTreeSet::from([0]), 1));
    // It says so as soon as that is known: what stood before it has left.
    assert!(over.steps[4].contains("content_filter"), "{:?}", over.steps);
    // What the others say is not touched.
    assert!(released.contains(&events[4]) && released.contains(&events[8]) && released.ends_with(&events[9]));
    // By default all of it ends.
    assert_eq!(run(&apart(VERIFIED, 1), &events).end.unwrap_err().cause, Cause::Schema);
}

#[test]
fn a_choice_is_judged_before_a_client_hears_that_it_is_over() {
    // Not a sentence to its end.
    let events = [delta(0, "ab."), delta(1, "x."), delta(0, "c"), ended(0, "stop"), delta(1, "y."), ended(1, "stop")];
    for terms in [VERIFIED, BUFFERED] {
        let over = run(&apart(terms, 2), &events);
        assert_eq!(over.end, Ok(()));
        assert_eq!(reasons(&over.released()), of([(0, "content_filter"), (1, "stop")]));
        assert_eq!(shown(over.released().as_bytes())[&1], "x.y.");
        assert!(!over.released().contains('c') || !shown(over.released().as_bytes())[&0].contains('c'));
    }
    // An empty reason is none.
    let empty = |index: u8, text: &str| {
        frame(json!({"choices": [{"index": index, "delta": {"content": text}, "finish_reason": ""}]}))
    };
    let over = run(
        &apart(VERIFIED, 2),
        &[empty(0, "a"), empty(1, "x"), empty(0, "b."), ended(0, "stop"), empty(1, "."), ended(1, "stop")],
    );
    assert_eq!((over.end, over.report.schema.ended.len()), (Ok(()), 0));
    // A good one that says once more that it is over is still good; one that goes on behind its end is not.
    let again = frame(json!({"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": null}]}));
    let good = [delta(0, "ab."), delta(1, "x."), ended(0, "stop"), again, ended(1, "stop")];
    let over = run(&apart(VERIFIED, 2), &good);
    assert_eq!((over.end, over.report.schema.ended.len()), (Ok(()), 0));
    let on = [delta(0, "ab."), ended(0, "stop"), delta(0, "c."), delta(1, "x."), ended(1, "stop")];
    let over = run(&apart(BUFFERED, 2), &on);
    assert_eq!(shown(over.released().as_bytes()).get(&1).map(String::as_str), Some("x."));
    assert!(!over.released().contains("\"c.\""));
}

#[test]
fn where_no_choice_is_left_the_answer_is_blocked() {
    // All that were asked for: at once, and nothing has left.
    let events = [delta(0, "a!"), delta(1, "x"), delta(1, "!")];
    let over = run(&apart(VERIFIED, 2), &events);
    assert_eq!((over.end.unwrap_err().cause, over.steps.concat().as_str()), (Cause::Schema, ""));
    // All that came, at the end.
    let over = run(&apart(VERIFIED, 3), &[delta(0, "a!"), ended(0, "stop"), done()]);
    assert_eq!((over.end.unwrap_err().cause, over.steps.concat().as_str()), (Cause::Schema, ""));
    // One that a client was shown nothing of is begun and ended in one.
    let over = run(&apart(BUFFERED, 2), &[delta(0, "a!"), delta(1, "x."), ended(1, "stop"), done()]);
    let first: Value =
        serde_json::from_str(over.released().lines().next().unwrap().strip_prefix("data: ").unwrap()).unwrap();
    let choice = json!({"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": null, "finish_reason": "content_filter"});
    assert_eq!(first["choices"], json!([choice]));
}

#[test]
fn several_choices_in_one_event_are_told_apart() {
    let both = |zero: &str, one: &str| {
        frame(
            json!({"id": "c", "choices": [{"index": 0, "delta": {"content": zero}}, {"index": 1, "delta": {"content": one}}]}),
        )
    };
    let usage = frame(json!({"id": "c", "choices": [], "usage": {"completion_tokens": 9}}));
    let events = [
        both("ab.", "x."),
        both("c.", "y!"),
        both("d.", "z."),
        ended(0, "stop"),
        ended(1, "stop"),
        usage.clone(),
        done(),
    ];
    let over = run(&apart(VERIFIED, 2), &events);
    assert_eq!(over.end, Ok(()));
    assert_eq!(shown(over.released().as_bytes()), of([(0, "ab.c.d."), (1, "")]));
    assert_eq!(reasons(&over.released()), of([(0, "stop"), (1, "content_filter")]));
    assert!(over.released().contains(&usage) && !over.released().contains("z."));
}

fn integers(terms: Terms) -> Binding {
    let compiled = Contract::compile(
        &json!({"properties": {"n": {"type": "integer"}}}),
        None,
        ContractSource::ToolParameters,
        &Limits::default(),
    );
    let schema = Schema { digest: "1".repeat(64), contract: Arc::new(JsonContract(compiled.unwrap())) };
    let tools = ToolSchemas { digest: "2".repeat(64), by_name: [("f".to_owned(), vec![schema])].into() };
    Binding { id: "tools".into(), scope: Scope::Tools(Arc::new(tools)), terms }
}

#[test]
fn calls_of_one_choice_are_held_together_and_end_together() {
    let call = |index: u8, at: u8, name: &str, arguments: &str| {
        let function = json!({"name": name, "arguments": arguments});
        let calls = json!([{"index": at, "id": format!("t{index}{at}"), "function": function}]);
        frame(json!({"choices": [{"index": index, "delta": {"tool_calls": calls}}]}))
    };
    let events = [
        call(0, 0, "f", "{\"n\":1}"),
        call(0, 1, "f", "{\"n\":\"behind\"}"),
        call(1, 0, "f", "{\"n\":2}"),
        call(2, 0, "other", "{}"),
        ended(0, "tool_calls"),
        ended(1, "tool_calls"),
        ended(2, "tool_calls"),
        done(),
    ];
    let over = run(&[integers(Terms { choices: 3, ..BUFFERED })], &events);
    assert_eq!(over.end, Ok(()));
    let released = over.released();
    assert_eq!(reasons(&released), of([(0, "content_filter"), (1, "tool_calls"), (2, "content_filter")]));
    assert!(released.contains("t10") && !released.contains("t0") && !released.contains("t20"), "{released}");
    assert_eq!(over.report.schema.ended, BTreeSet::from([0, 2]));
}

fn whole(surface: &Surface, document: &Value, bindings: &[Binding]) -> (Result<Value, Cause>, Report) {
    let (mut report, mut facts) = (Report::default(), ResponseFacts::default());
    let body = Bytes::from(document.to_string());
    let result = answer(surface, &TEXT.engine, body, bindings.to_vec(), &mut judge(&TEXT), (&mut report, &mut facts));
    let result = result.map(|answer| serde_json::from_slice(answer.body.bytes()).unwrap());
    (result.map_err(|block| block.cause), report)
}

#[test]
fn a_whole_answer_has_a_refusal_in_the_place_of_a_choice() {
    let choice = |index: u64, text: &str| json!({"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"});
    let document =
        json!({"id": "c", "choices": [choice(0, "a."), choice(1, "behind!"), choice(2, "b.")], "usage": {"x": 1}});
    let (released, report) = whole(chat(), &document, &apart(BUFFERED, 3));
    let released = released.unwrap();
    assert_eq!((&released["choices"][0], &released["choices"][2]), (&choice(0, "a."), &choice(2, "b.")));
    let refused = &released["choices"][1];
    assert_eq!((&refused["finish_reason"], &refused["message"]["content"]), (&json!("content_filter"), &json!("")));
    let words = refused["message"]["refusal"].as_str().unwrap();
    assert!(words.contains("'lock'") && !words.contains("behind"), "{words}");
    assert_eq!((report.schema.ended, &released["usage"]), (BTreeSet::from([1]), &json!({"x": 1})));
    let bad = json!({"choices": [choice(0, "a!"), choice(1, "b!")]});
    assert_eq!(whole(chat(), &bad, &apart(BUFFERED, 2)).0, Err(Cause::Schema));
    assert_eq!(whole(chat(), &bad, &apart(BUFFERED, 5)).0, Err(Cause::Schema));
    assert_eq!(whole(chat(), &document, &apart(BUFFERED, 1)).0, Err(Cause::Schema));
}

#[test]
fn a_candidate_ends_alone_but_not_in_an_array() {
    let gemini = SURFACES.into_iter().find(|surface| surface.id == "gemini.generate").unwrap();
    let candidate = |index: u64, text: &str, reason: Value| json!({"content": {"parts": [{"text": text}], "role": "model"}, "finishReason": reason, "index": index});
    let stop = || json!("STOP");
    let document = json!({"candidates": [candidate(0, "a!", stop()), candidate(1, "b.", stop())]});
    let released = whole(gemini, &document, &apart(BUFFERED, 2)).0.unwrap();
    assert_eq!(released["candidates"][0]["finishReason"], "PROHIBITED_CONTENT");
    assert_eq!(released["candidates"][1], candidate(1, "b.", stop()));
    let array = json!([{"candidates": [candidate(0, "a!", Value::Null)]}, document]);
    assert_eq!(whole(gemini, &array, &apart(BUFFERED, 2)).0, Err(Cause::Schema));

    let events: String = [
        json!({"candidates": [candidate(0, "a.", Value::Null)]}),
        json!({"candidates": [candidate(1, "x.", Value::Null)]}),
        json!({"candidates": [candidate(1, "y!", Value::Null)]}),
        json!({"candidates": [candidate(0, "b.", stop())], "usageMetadata": {"promptTokenCount": 1}}),
        json!({"candidates": [candidate(1, "z.", stop())]}),
    ]
    .iter()
    .map(|event| format!("data: {event}\r\n\r\n"))
    .collect();
    let over = run_on(&TEXT, gemini, &apart(VERIFIED, 2), false, &[events.as_bytes()]);
    assert_eq!(over.end, Ok(()));
    let released = over.released();
    assert!(released.contains("\"b.\"") && !released.contains("\"x.\"") && !released.contains("z."), "{released}");
    assert_eq!(released.matches("PROHIBITED_CONTENT").count(), 1);
}

/// A text is found to be held too long while nothing comes: the newest event that waits says that its choice is over.
#[test]
fn a_choice_that_is_held_too_long_ends_alone() {
    let hold = super::HoldLimit { bytes: 1 << 20, time: std::time::Duration::from_secs(5) };
    let later = NOW + std::time::Duration::from_secs(6);
    let terms = Terms { hold, ..VERIFIED };
    let mut guard = StreamGuard::new(chat(), Arc::clone(&TEXT.engine), judge(&TEXT), apart(terms, 2).to_vec());
    let mut out = Vec::new();
    guard.feed(delta(1, "x.y.").as_bytes(), NOW, &mut out).unwrap();
    guard.feed(delta(0, "never").as_bytes(), NOW, &mut out).unwrap();
    guard.feed(delta(1, ".").as_bytes(), later - std::time::Duration::from_secs(2), &mut out).unwrap();
    guard.tick(later, &mut out).unwrap();
    guard.feed(format!("{}{}", ended(1, "stop"), done()).as_bytes(), later, &mut out).unwrap();
    out.extend(guard.finish(later).unwrap().tail);
    let released: String = out.iter().map(|part| String::from_utf8_lossy(part.bytes()).into_owned()).collect();
    assert_eq!(reasons(&released), of([(0, "content_filter"), (1, "stop")]));
    assert!(!released.contains("never"));
}

proptest! {
    /// For any cutting the same leaves; good choices are there to their end, bad ones end with what was verified, and where
    /// none is good the answer is blocked.
    #[test]
    fn any_cutting_ends_the_same_choices(
        texts in proptest::collection::vec(("[a-c.~\u{1f989}]{0,12}", "[.!a]{1}"), 2..5),
        sizes in proptest::collection::vec(1..4usize, 1..8),
        cuts in cuts(),
        buffered in any::<bool>(),
    ) {
        let texts: Vec<String> = texts.iter().map(|(text, end)| format!("{text}{end}")).collect();
        let mut left: Vec<Vec<char>> = texts.iter().map(|text| text.chars().collect()).collect();
        let mut sizes = sizes.into_iter().cycle();
        let mut events = String::new();
        for turn in 0.. {
            if left.iter().all(Vec::is_empty) { break; }
            let index = turn % left.len();
            if left[index].is_empty() { continue; }
            let size = sizes.next().unwrap().min(left[index].len());
            let piece: String = left[index].drain(..size).collect();
            events += &delta(index as u8, &piece);
            if left[index].is_empty() { events += &ended(index as u8, "stop"); }
        }
        events += &done();
        let bindings = apart(if buffered { BUFFERED } else { VERIFIED }, texts.len() as u32);
        let on = |cuts: &Cuts| run_on(&TEXT, chat(), &bindings, false, &cuts.pieces(events.as_bytes()));
        let (whole, other) = (on(&WHOLE), on(&cuts));
        prop_assert_eq!(whole.released(), other.released());
        prop_assert_eq!(&whole.end, &other.end);
        prop_assert_eq!(&whole.report.schema.ended, &other.report.schema.ended);
        prop_assert_eq!(&whole.report.schema.repairs, &other.report.schema.repairs);
        let good = |text: &String| text.ends_with('.');
        prop_assert_eq!(whole.end.is_ok(), texts.iter().any(good));
        let (shown, reasons) = (shown(whole.released().as_bytes()), reasons(&whole.released()));
        for (index, text) in (0..).zip(&texts) {
            let mended = text.replace('~', " ");
            let shown = shown.get(&index).cloned().unwrap_or_default();
            if good(text) && whole.end.is_ok() {
                prop_assert_eq!(&shown, &mended);
                prop_assert_eq!(reasons[&index].as_str(), "stop");
            } else {
                prop_assert!(mended.starts_with(&shown) && !shown.contains('!') && shown.len() < mended.len() || good(text));
                prop_assert!(!buffered || shown.is_empty());
                if whole.end.is_ok() {
                    prop_assert_eq!(reasons[&index].as_str(), "content_filter");
                    prop_assert!(whole.report.schema.ended.contains(&index));
                }
            }
        }
    }
}
