//! Sessions: what is forbidden in a stream is forbidden here, whatever thread it is told in; messages keep their order and
//! their bytes; and nothing grows.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clyra_schemas::{Contract, ContractSource, Mode, RepairPolicy};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::tests::{Setup, TEXT, judge};
use super::{Binding, Block, Bond, Cause, Fate, Gap, HoldLimit, JsonContract, Schema, Scope, SessionGuard, Terms};
use crate::exchange::judge::PolicyJudge;
use crate::surface::{SURFACES, Surface};

const FORBIDDEN: &str = "Project Nightjar";
const MASKED: &str = "owl \u{1f989}";
const MASK: &str = "[REDACTED:masked]";

const NOW: Duration = Duration::ZERO;

type Guard = SessionGuard<PolicyJudge, Box<dyn Fn() -> PolicyJudge>>;

fn surface() -> &'static Surface {
    SURFACES.iter().find(|surface| surface.id == "openai.realtime").unwrap()
}

fn guard() -> Guard {
    let setup: &'static Setup = &TEXT;
    let judge: Box<dyn Fn() -> PolicyJudge> = Box::new(|| judge(setup));
    let bond = Bond { judge: Box::new(|| self::judge(setup)), bindings: Vec::new() };
    let bond = Arc::new(bond);
    SessionGuard::new((surface(), surface().live.as_ref().unwrap()), setup.engine.clone(), judge, bond)
}

/// What leaves of these messages, and the block that ends it.
fn run(guard: &mut Guard, messages: &[Value]) -> (Vec<String>, Option<Block>) {
    let mut out = Vec::new();
    let block = messages.iter().find_map(|message| guard.feed(&Bytes::from(message.to_string()), NOW, &mut out).err());
    (out.iter().map(|one| String::from_utf8(one.part.bytes().to_vec()).unwrap()).collect(), block)
}

fn created(response: &str) -> Value {
    json!({"type": "response.created", "response": {"id": response, "status": "in_progress", "output": []}})
}

fn delta(response: &str, text: &str) -> Value {
    json!({"type": "response.output_text.delta", "response_id": response, "item_id": "i", "output_index": 0,
        "content_index": 0, "delta": text})
}

fn done(response: &str, text: &str) -> Value {
    json!({"type": "response.done", "response": {"id": response, "status": "completed", "output": [
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}]}})
}

fn heard(item: &str, text: &str) -> Value {
    json!({"type": "conversation.item.input_audio_transcription.delta", "item_id": item, "content_index": 0, "delta": text})
}

#[test]
fn an_innocent_session_is_what_it_was() {
    let messages = [
        json!({"type": "session.created", "session": {"id": "s", "model": "m", "instructions": "Be kind."}}),
        created("r"),
        delta("r", "It is "),
        heard("u", "Hello"),
        delta("r", "fine."),
        done("r", "It is fine."),
        json!({"type": "rate_limits.updated", "rate_limits": []}),
    ];
    let mut guard = guard();
    let (out, block) = run(&mut guard, &messages);
    // What was heard may become something yet: it waits, and keeps nobody else.
    let but_heard = messages.iter().filter(|message| message["type"] != messages[3]["type"]);
    assert_eq!((out, block), (but_heard.map(Value::to_string).collect::<Vec<_>>(), None));
    assert_eq!((guard.threads(), guard.held_bytes()), (1, messages[3].to_string().len()));
    let mut tail = Vec::new();
    assert_eq!(guard.finish(&mut tail), Ok(()));
    assert_eq!((tail[0].part.bytes(), guard.held_bytes()), (&Bytes::from(messages[3].to_string()), 0));
    let models: Vec<_> = guard.take_settled().into_iter().map(|one| one.facts.model).collect();
    assert_eq!(models, vec![Some("m".to_owned()); 4]);
}

#[test]
fn answers_that_interleave_are_read_apart_and_keep_their_order() {
    let mut messages = vec![created("a"), created("b")];
    for char in format!("The {MASKED} flies.").chars() {
        messages.push(delta("a", &char.to_string()));
        messages.push(delta("b", "o"));
    }
    messages.extend([done("a", &format!("The {MASKED} flies.")), done("b", "")]);
    let (out, block) = run(&mut guard(), &messages);
    assert_eq!(block, None);
    assert_eq!(out.len(), messages.len());
    let read: Vec<Value> = out.iter().map(|one| serde_json::from_str(one).unwrap()).collect();
    for (came, left) in messages.iter().zip(&read) {
        assert_eq!((&came["type"], &came["response_id"]), (&left["type"], &left["response_id"]));
    }
    let of = |id: &str| -> String {
        read.iter().filter(|one| one["response_id"] == id).filter_map(|one| one["delta"].as_str()).collect()
    };
    assert_eq!(of("a"), format!("The {MASK} flies."));
    assert!(of("b").chars().all(|char| char == 'o'));
    let last = &read[messages.len() - 2]["response"]["output"][0]["content"][0]["text"];
    assert_eq!(last, &format!("The {MASK} flies."));
}

#[test]
fn nothing_forbidden_leaves_however_it_is_cut() {
    for forbidden in [
        FORBIDDEN.chars().map(|char| delta("r", &char.to_string())).collect::<Vec<_>>(),
        vec![delta("r", "Project Night"), heard("u", "x"), delta("s", "y"), delta("r", "jar")],
        vec![heard("u", "Project "), heard("v", "x"), heard("u", "Nightjar")],
        vec![done("r", FORBIDDEN)],
        vec![
            json!({"type": "unforeseen.delta", "item_id": "i", "delta": "Project Ni"}),
            json!({"type": "unforeseen.delta", "item_id": "i", "delta": "ghtjar"}),
        ],
        vec![json!({"type": "unforeseen", "any": {"thing": [FORBIDDEN]}})],
        vec![json!({"type": "error", "error": {"message": FORBIDDEN}})],
    ] {
        let messages = [vec![created("r")], forbidden].concat();
        let mut guard = guard();
        let (out, block) = run(&mut guard, &messages);
        let mut tail = Vec::new();
        let block = block.or_else(|| guard.finish(&mut tail).err());
        assert_eq!(block.map(|block| block.cause), Some(Cause::Policy), "{messages:?}");
        assert!(tail.iter().all(|one| !String::from_utf8_lossy(one.part.bytes()).contains("Night")));
        let shown: String = out
            .iter()
            .map(|one| serde_json::from_str::<Value>(one).unwrap()["delta"].as_str().unwrap_or_default().to_owned())
            .collect();
        assert!(!shown.contains('P'), "{out:?}");
        let found: u64 = guard.abandon().iter().map(|one| one.judge.decided.findings_total).sum();
        assert!(found > 0);
    }
}

/// Each answer is told apart, and which of its messages is the last; what was begun and how it ended is known by its number.
#[test]
fn answers_are_numbered_and_their_last_message_is_known() {
    let mut guard = guard();
    let (mut told, mut begun, mut settled) = (Vec::new(), Vec::new(), Vec::new());
    for message in [
        created("a"),
        heard("u", "Project"),
        created("b"),
        delta("b", "Project Night"),
        delta("a", "yes"),
        done("a", "yes"),
        delta("b", "fall"),
        done("b", "Project Nightfall"),
        json!({"type": "rate_limits.updated", "rate_limits": []}),
    ] {
        let mut out = Vec::new();
        guard.feed(&Bytes::from(message.to_string()), NOW, &mut out).unwrap();
        told.extend(out.iter().map(|one| (one.answer, one.last)));
        begun.extend(guard.take_begun());
        settled.extend(guard.take_settled().into_iter().map(|one| (one.answer, one.fate, one.waits)));
    }
    let [a, b] = begun[..] else { panic!("{begun:?}") };
    let of = |answer, last| (Some(answer), last);
    assert_eq!(
        told,
        [of(a, false), of(b, false), of(b, false), of(a, false), of(a, true), of(b, false), of(b, true), (None, false)]
    );
    assert_eq!(settled, [(Some(a), Fate::Ended, true), (Some(b), Fate::Ended, true), (None, Fate::Ended, false)]);
    assert_eq!(
        guard.abandon().into_iter().map(|one| (one.answer, one.fate)).collect::<Vec<_>>(),
        [(None, Fate::Abandoned)]
    );
}

/// An answer that was silent too long has ended: what waits of it is the last of it, or nothing is.
#[test]
fn an_answer_that_was_silent_longest_ends_with_what_waits_of_it() {
    for (first, waits) in [(created("a"), false), (delta("a", "Project"), true)] {
        let mut guard = guard();
        let (_, block) = run(&mut guard, &[first]);
        assert_eq!(block, None);
        let more: Vec<Value> = (0..super::session::THREADS_MAX).map(|n| created(&format!("r{n}"))).collect();
        let (out, block) = run(&mut guard, &more);
        assert_eq!((out.len(), block), (more.len() + usize::from(waits), None));
        let settled = guard.take_settled();
        assert_eq!((settled.len(), settled[0].answer, settled[0].waits), (1, Some(0), waits));
    }
}

/// What answers are held to: `{"n": integer}`, for a second.
fn numbers() -> Arc<Bond<PolicyJudge>> {
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    let contract = Contract::compile(&schema, None, ContractSource::Policy, &clyra_schemas::Limits::default()).unwrap();
    let schema = Schema { digest: "d".into(), contract: Arc::new(JsonContract(contract)) };
    let terms = Terms {
        mode: Mode::Buffer,
        repair: RepairPolicy::NONE,
        hold: HoldLimit { bytes: 1 << 20, time: Duration::from_secs(1) },
        blocks: true,
        ask_again: None,
        choices: 1,
    };
    let binding = Binding { id: "form".into(), scope: Scope::Content(schema), terms };
    let setup: &'static Setup = &TEXT;
    Arc::new(Bond { judge: Box::new(|| judge(setup)), bindings: vec![binding] })
}

#[test]
fn an_answer_is_held_to_what_bound_when_it_began_and_not_for_ever() {
    let mut guard = guard();
    let mut out = Vec::new();
    let mut feed = |guard: &mut Guard, event: Value, at: u64| {
        guard.feed(&Bytes::from(event.to_string()), Duration::from_millis(at), &mut out)
    };
    assert_eq!(feed(&mut guard, created("free"), 0), Ok(()));
    guard.bind(numbers());
    assert_eq!(feed(&mut guard, created("bound"), 0), Ok(()));
    // The one that began before says what it likes; transcripts are no answers.
    assert_eq!(feed(&mut guard, delta("free", "Hi."), 1), Ok(()));
    assert_eq!(feed(&mut guard, heard("u", "Hi."), 1), Ok(()));
    assert_eq!((guard.deadline(), guard.held_bytes()), (None, 0));
    assert_eq!(feed(&mut guard, delta("bound", "{\"n\":"), 500), Ok(()));
    assert_eq!(feed(&mut guard, delta("bound", "1"), 900), Ok(()));
    assert_eq!(guard.deadline(), Some(Duration::from_millis(1_500)));
    let before = guard.held_bytes();
    assert_eq!(guard.tick(Duration::from_millis(1_499), &mut out), Ok(()));
    assert_eq!(guard.held_bytes(), before);
    let block = guard.tick(Duration::from_millis(1_500), &mut out).unwrap_err();
    assert_eq!((block.cause, block.rule.as_deref()), (Cause::Schema, Some("form")));
    let settled = guard.take_settled();
    assert_eq!(
        (settled.len(), settled[0].fate, settled[0].judge.decided.breaches[0].kind.as_str()),
        (1, Fate::Blocked, "hold_time")
    );
    assert_eq!(out.len(), 4);
}

/// An item that is told by itself is held like its answer, and takes it along.
#[test]
fn an_item_by_itself_is_of_its_answer() {
    let item = |status: &str, text: &str| json!({"id": "i", "type": "message", "role": "assistant", "status": status, "content": [{"type": "output_text", "text": text}]});
    let told = |text: &str| json!({"type": "conversation.item.done", "item": item("completed", text)});
    let added = json!({"type": "response.output_item.added", "response_id": "r", "output_index": 0, "item": item("in_progress", "")});
    for (text, passes) in [("{\"n\":1}", true), ("{\"n\":\"1\"}", false)] {
        let mut guard = guard();
        guard.bind(numbers());
        let (_, block) = run(&mut guard, &[created("r"), added.clone(), told(text)]);
        assert_eq!(block.is_none(), passes, "{text}");
        let settled = guard.take_settled();
        let of_answer = settled.iter().find(|one| one.answer.is_some());
        let breaches = of_answer.map(|one| (one.fate, one.judge.decided.breaches.len()));
        assert_eq!(breaches, (!passes).then_some((Fate::Blocked, 1)));
        // The client's own words are no answer.
        let mut own = self::guard();
        own.bind(numbers());
        own.sent(&Bytes::from(
            json!({"type": "conversation.item.create", "item": item("completed", text)}).to_string(),
        ));
        assert_eq!(run(&mut own, &[told(text)]).1, None);
    }
}

#[test]
fn an_answer_does_not_go_on_after_its_end() {
    let (out, block) =
        run(&mut guard(), &[created("r"), delta("r", "Project Ni"), done("r", ""), delta("r", "ghtjar")]);
    assert_eq!(block.unwrap().cause, Cause::BadAnswer);
    assert_eq!(out.len(), 3);
}

#[test]
fn what_is_no_json_is_for_the_policy_to_say() {
    let mut guard = guard();
    let block = guard.feed(&Bytes::from_static(b"{\"a\":1,\"a\":2}"), NOW, &mut Vec::new()).unwrap_err();
    assert_eq!(block.cause, Cause::BadAnswer);
    assert!(guard.take_settled()[0].report.gaps.contains(&Gap::Unreadable));
}

/// Hours of answers: what is kept is what is under way.
#[test]
fn a_long_session_does_not_grow() {
    let mut guard = guard();
    for number in 0..5_000 {
        let id = format!("r{number}");
        let text = format!("Answer {number} of many.");
        let messages = [created(&id), delta(&id, &text), heard(&id, "It never ends. "), done(&id, &text)];
        let (out, block) = run(&mut guard, &messages);
        assert_eq!((out.len(), block), (4, None));
        assert!(guard.threads() <= super::session::THREADS_MAX, "{}", guard.threads());
        assert_eq!(guard.held_bytes(), 0);
        guard.take_settled();
    }
    assert!(guard.remembered() <= super::session::OVER_MAX);
}

#[test]
fn what_is_held_has_a_limit() {
    let mut guard = guard();
    let mut out = Vec::new();
    // Everything behind a text that may become something waits for it.
    assert_eq!(guard.feed(&Bytes::from(delta("r", "Project Night").to_string()), NOW, &mut out), Ok(()));
    let large = Bytes::from(json!({"type": "x", "text": "a".repeat(1 << 20)}).to_string());
    let block = (0..32).find_map(|_| guard.feed(&large, NOW, &mut out).err()).unwrap();
    assert_eq!((block.cause, out.len()), (Cause::BadAnswer, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// No message is a panic, nor more than what it was.
    #[test]
    fn any_bytes_are_taken(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..10)) {
        let (mut guard, mut out) = (guard(), Vec::new());
        let left = messages.iter().take_while(|message| guard.feed(&Bytes::copy_from_slice(message), NOW, &mut out).is_ok()).count();
        prop_assert!(out.len() <= left);
    }

    /// Threads do not touch each other: what leaves of one is what would leave of it alone.
    #[test]
    fn threads_are_apart(turns in prop::collection::vec((0usize..3, "[owl P]{0,3}|owl \u{1f989}"), 0..40)) {
        let ids = ["a", "b", "c"];
        let mut all: Vec<Value> = turns.iter().map(|(of, text)| delta(ids[*of], text)).collect();
        all.extend(ids.map(|id| done(id, "")));
        let texts = |out: &[String], id: &str| -> Vec<String> {
            out.iter().filter(|one| one.contains(&format!("\"response_id\":\"{id}\""))).cloned().collect()
        };
        let (mixed, block) = run(&mut guard(), &all);
        prop_assert_eq!(block, None);
        prop_assert_eq!(mixed.len(), all.len());
        for id in ids {
            let own: Vec<Value> = all.iter().filter(|one| {
                one["response_id"] == id || one["response"]["id"] == id
            }).cloned().collect();
            let (alone, _) = run(&mut guard(), &own);
            prop_assert_eq!(texts(&mixed, id), texts(&alone, id));
        }
    }
}
