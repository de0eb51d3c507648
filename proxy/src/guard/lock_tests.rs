//! Locks at work on streams and documents. Most locks here are scripted, so that what is tested is the guard and not a schema.
#![allow(clippy::string_slice)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clyra_policy::Action;
use clyra_schemas::{Contract, ContractSource, Edit, End, Limits, Mode, Outcome, RepairPolicy, Step, Violation};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::tests::{BUFFERED, Cuts, NOW, Setup, TEXT, WHOLE, cuts, judge_with, setup};
use super::{
    Binding, Block, Cause, Contracted, HoldLimit, JsonContract, Report, Schema, Scope, StreamGuard, Terms, TextLock,
    ToolSchemas, answer,
};
use crate::surface::{ResponseFacts, SURFACES, Surface};

/// Texts of sentences: each leaves when the next one has ended, `!` is a violation, `~` is mended to a space, and the whole
/// must end in a full stop. `^` is mended by some of these contracts only.
#[derive(Debug, Clone, Copy)]
struct Sentences {
    mends_more: bool,
}

#[derive(Debug)]
struct Sentence {
    of: Sentences,
    mode: Mode,
    text: String,
    edits: Vec<Edit>,
    done: bool,
}

impl Contracted for Sentences {
    fn lock(&self, mode: Mode, _: RepairPolicy) -> Box<dyn TextLock> {
        Box::new(Sentence { of: *self, mode, text: String::new(), edits: Vec::new(), done: false })
    }

    fn is_json(&self) -> bool {
        false
    }
}

/// A violation as a lock makes it; there is no other way to come by one.
fn violation(at: u64) -> Violation {
    let mut lock =
        JsonContract(Contract::compile(&json!(true), None, ContractSource::Policy, &Limits::default()).unwrap())
            .lock(Mode::Buffer, RepairPolicy::NONE);
    let Step::Violation(violation) = lock.feed("x") else { panic!("a letter is no JSON") };
    Violation { at, ..violation }
}

impl TextLock for Sentence {
    fn feed(&mut self, text: &str) -> Step {
        for character in text.chars() {
            let at = self.text.len() as u64;
            self.text.push(character);
            if character == '~' || character == '^' && self.of.mends_more {
                self.edits.push(Edit { range: at..at + 1, with: " ".into(), class: "tilde" });
            }
        }
        match self.text.find('!') {
            Some(at) => Step::Violation(violation(at as u64)),
            None => Step::Hold { bytes: 0 },
        }
    }

    fn settled(&self) -> u64 {
        match self.mode {
            Mode::Buffer if !self.done => 0,
            Mode::Observe => u64::MAX,
            _ => self.text.rfind('.').unwrap_or(0) as u64,
        }
    }

    fn take_edits(&mut self) -> Vec<Edit> {
        std::mem::take(&mut self.edits)
    }

    fn finish(&mut self, _: End) -> Outcome {
        if self.text.ends_with('.') {
            self.done = true;
            Outcome::Pass
        } else {
            Outcome::Block(violation(self.text.len() as u64))
        }
    }
}

pub(super) const VERIFIED: Terms = Terms { mode: Mode::Verified, ..BUFFERED };

fn schema(contract: impl Contracted + 'static) -> Schema {
    Schema { digest: "0".repeat(64), contract: Arc::new(contract) }
}

pub(super) fn sentences(terms: Terms) -> Binding {
    Binding { id: "lock".into(), scope: Scope::Content(schema(Sentences { mends_more: false })), terms }
}

fn contract(schema: &Value, source: ContractSource) -> JsonContract {
    JsonContract(Contract::compile(schema, None, source, &Limits::default()).unwrap())
}

pub(super) fn chat() -> &'static Surface {
    SURFACES.into_iter().find(|s| s.id == "openai.chat").unwrap()
}

fn messages() -> &'static Surface {
    SURFACES.into_iter().find(|s| s.id == "anthropic.messages").unwrap()
}

pub(super) fn delta(index: u8, text: &str) -> String {
    frame(json!({"choices": [{"index": index, "delta": {"content": text}}]}))
}

pub(super) fn ended(index: u8, reason: &str) -> String {
    frame(json!({"choices": [{"index": index, "delta": {}, "finish_reason": reason}]}))
}

pub(super) fn frame(event: Value) -> String {
    format!("data: {event}\n\n")
}

/// What a client makes of a stream of chat: the text of each choice.
pub(super) fn shown(released: &[u8]) -> BTreeMap<u64, String> {
    let mut out = BTreeMap::<u64, String>::new();
    for data in std::str::from_utf8(released).unwrap().lines().filter_map(|line| line.strip_prefix("data: ")) {
        let Ok(event) = serde_json::from_str::<Value>(data) else { continue };
        for choice in event["choices"].as_array().into_iter().flatten() {
            let text = choice["delta"]["content"].as_str().unwrap_or_default();
            out.entry(choice["index"].as_u64().unwrap()).or_default().push_str(text);
        }
    }
    out
}

pub(super) struct Run {
    /// What was released after each piece, and at the end.
    pub(super) steps: Vec<String>,
    pub(super) end: Result<(), Block>,
    pub(super) report: Report,
    pub(super) breaches: Vec<(String, String)>,
}

impl Run {
    pub(super) fn released(&self) -> String {
        self.steps.concat()
    }
}

pub(super) fn run_on(
    setup: &Setup,
    surface: &'static Surface,
    bindings: &[Binding],
    allow: bool,
    pieces: &[&[u8]],
) -> Run {
    let on_violation = bindings.iter().filter(|_| allow).map(|b| (b.id.clone(), Action::Allow)).collect();
    let judge = judge_with(setup, on_violation);
    let mut guard = StreamGuard::new(surface, Arc::clone(&setup.engine), judge, bindings.to_vec());
    let mut steps = Vec::new();
    let mut end = Ok(());
    for piece in pieces {
        let mut out = Vec::new();
        end = guard.feed(piece, NOW, &mut out);
        steps.push(out.iter().map(|part| String::from_utf8_lossy(part.bytes()).into_owned()).collect());
        if end.is_err() {
            break;
        }
    }
    if end.is_ok() {
        end = guard.finish(NOW).map(|end| {
            steps.push(end.tail.iter().map(|part| String::from_utf8_lossy(part.bytes()).into_owned()).collect());
        });
    }
    let breaches = guard.judge.decided.breaches.iter().map(|b| (b.kind.clone(), b.keyword.clone())).collect();
    Run { steps, end, report: guard.report, breaches }
}

pub(super) fn run(bindings: &[Binding], events: &[String]) -> Run {
    let pieces: Vec<&[u8]> = events.iter().map(String::as_bytes).collect();
    run_on(&TEXT, chat(), bindings, false, &pieces)
}

#[test]
fn an_event_leaves_when_its_text_is_settled_and_the_last_of_it_with_the_verdict() {
    let events = [delta(0, ""), delta(0, "ab."), delta(0, "cd."), delta(0, "e"), delta(0, "f."), ended(0, "stop")];
    let done = run(&[sentences(VERIFIED)], &events);
    assert_eq!(done.end, Ok(()));
    let released: Vec<&str> = done.steps.iter().map(String::as_str).collect();
    // The empty opening leaves with the first text that may.
    let first = format!("{}{}", events[0], events[1]);
    let last = format!("{}{}", events[4], events[5]);
    assert_eq!(
        released,
        ["", "", first.as_str(), "", format!("{}{}", events[2], events[3]).as_str(), "", last.as_str()]
    );
    assert_eq!(done.report.schema.held_bytes_max, 2);
    assert_eq!(run(&[sentences(BUFFERED)], &events).steps, ["", "", "", "", "", "", events.concat().as_str()]);
}

#[test]
fn nothing_behind_a_violation_leaves() {
    let events = [delta(0, "ab."), delta(0, "cd."), delta(0, "e!"), delta(0, "f."), ended(0, "stop")];
    let stopped = run(&[sentences(VERIFIED)], &events);
    assert_eq!(stopped.end.as_ref().unwrap_err().cause, Cause::Schema);
    assert_eq!(stopped.released(), events[0]);
    // One that is found at the end only: what was not verified before stays here.
    let open = run(&[sentences(VERIFIED)], &[delta(0, "ab."), delta(0, "cd."), delta(0, "e"), ended(0, "stop")]);
    assert_eq!(
        (open.end.unwrap_err().cause, shown(open.steps.concat().as_bytes())),
        (Cause::Schema, [(0, "ab.".into())].into())
    );
    // Where the policy only records, all of it leaves, as it came from there on.
    let events = [delta(0, "a~b."), delta(0, "c."), delta(0, "d!"), delta(0, "~e"), ended(0, "stop")];
    let pieces: Vec<&[u8]> = events.iter().map(|e| e.as_bytes()).collect();
    let recorded = run_on(&TEXT, chat(), &[sentences(VERIFIED)], true, &pieces);
    assert_eq!(recorded.end, Ok(()));
    assert_eq!(shown(recorded.released().as_bytes())[&0], "a b.c.d!~e");
    assert_eq!(recorded.breaches.len(), 1, "{:?}", recorded.breaches);
}

#[test]
fn what_is_mended_is_written_into_the_events_that_carry_it() {
    let events = [delta(0, "a~b."), delta(0, "~~"), delta(0, "c."), ended(0, "stop")];
    let done = run(&[sentences(VERIFIED)], &events);
    assert_eq!(done.end, Ok(()));
    assert_eq!(shown(done.released().as_bytes())[&0], "a b.  c.");
    let repairs = &done.report.schema.repairs;
    assert_eq!((repairs.by_class["tilde"], repairs.by.as_ref().unwrap().0.as_str()), (3, "lock"));
    assert_eq!(repairs.digest, run(&[sentences(BUFFERED)], &[events.concat()]).report.schema.repairs.digest);
    // A character beside it in two halves stays what it is.
    let halves = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"~\\ud83e\"}}]}\n\n".to_owned();
    let rest = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\\udd8a~.\"}}]}\n\n".to_owned();
    let done = run(&[sentences(BUFFERED)], &[halves, rest, ended(0, "stop")]);
    assert!(done.released().contains(r#""content":" \ud83e""#) && done.released().contains(r#""content":"\udd8a .""#));
}

#[test]
fn locks_that_want_different_things_let_nothing_leave() {
    let more = Binding { scope: Scope::Content(schema(Sentences { mends_more: true })), ..sentences(VERIFIED) };
    let both = [sentences(VERIFIED), more];
    let agreed = run(&both, &[delta(0, "a~b."), delta(0, "c."), ended(0, "stop")]);
    assert_eq!((agreed.end.clone(), shown(agreed.released().as_bytes())[&0].as_str()), (Ok(()), "a b.c."));
    let apart = run(&both, &[delta(0, "a."), delta(0, "b^."), delta(0, "c."), ended(0, "stop")]);
    assert_eq!(apart.end.as_ref().unwrap_err().cause, Cause::Schema);
    assert_eq!(shown(apart.released().as_bytes()), [(0, "a.".into())].into());
}

#[test]
fn a_redaction_and_a_repair_of_the_same_bytes_are_a_block() {
    let policy = "version: 1\nmode: enforce\ndetectors:\n  patterns:\n    - { id: t, literal: \"x~y\", class: masked, score: 1.0 }\nrules:\n  - { id: r, phase: response, when: 'findings.exists(f, f.class == \"masked\")', action: redact }\n";
    let setup = setup(policy);
    for terms in [VERIFIED, BUFFERED] {
        let events = [delta(0, "a.x~y"), delta(0, ".b."), ended(0, "stop")];
        let pieces: Vec<&[u8]> = events.iter().map(|e| e.as_bytes()).collect();
        let stopped = run_on(&setup, chat(), &[sentences(terms)], false, &pieces);
        assert_eq!(stopped.end.unwrap_err().cause, Cause::Policy);
        assert!(!stopped.steps.concat().contains('y'));
    }
    let body = json!({"choices": [{"index": 0, "message": {"content": "a.x~y."}, "finish_reason": "stop"}]});
    let mut judge = judge_with(&setup, BTreeMap::new());
    let both = (&mut Report::default(), &mut ResponseFacts::default());
    let block = answer(chat(), &setup.engine, body.to_string().into(), vec![sentences(BUFFERED)], &mut judge, both);
    assert_eq!(block.unwrap_err().cause, Cause::Policy);
}

/// A phrase that the model wrote with an escape sequence of its own, or that only mending makes.
#[test]
fn nothing_forbidden_hides_in_what_a_clients_parser_undoes() {
    let lock = |terms| Binding {
        id: "lock".into(),
        scope: Scope::Content(schema(contract(&json!({"type": "object"}), ContractSource::Policy))),
        terms,
    };
    let whole = |text: &str| json!({"choices": [{"index": 0, "message": {"content": text}, "finish_reason": "stop"}]});
    for (bindings, text) in [
        ([lock(BUFFERED)], "{\"note\":\"Pro\\u006aect Nightjar\"}"),
        ([lock(VERIFIED)], "{\"note\":\"Project\\u0020Nightjar\"}"),
        ([sentences(BUFFERED)], "See Project~Nightjar."),
        ([sentences(VERIFIED)], "No. See Project~Nightjar. Yes."),
    ] {
        for size in [1, 5, 100] {
            let characters: Vec<char> = text.chars().collect();
            let mut events: Vec<String> =
                characters.chunks(size).map(|c| delta(0, &c.iter().collect::<String>())).collect();
            events.push(ended(0, "stop"));
            let stopped = run(&bindings, &events);
            assert_eq!(stopped.end.as_ref().unwrap_err().rule.as_deref(), Some("no-codename"), "{text}");
            assert!(!stopped.released().contains("jar"), "{}", stopped.released());
        }
        let mut judge = judge_with(&TEXT, BTreeMap::new());
        let both = (&mut Report::default(), &mut ResponseFacts::default());
        let block = answer(chat(), &TEXT.engine, whole(text).to_string().into(), bindings.to_vec(), &mut judge, both);
        assert_eq!(block.unwrap_err().rule.as_deref(), Some("no-codename"), "{text}");
    }
    // What mending leaves alone is not counted again, and what is masked in it is masked once.
    let events = [delta(0, "a~b. An owl \u{1f989}. Yes."), ended(0, "stop")];
    let masked = run(&[sentences(BUFFERED)], &events);
    assert_eq!(masked.end, Ok(()));
    assert_eq!(shown(masked.released().as_bytes())[&0], "a b. An [REDACTED:masked]. Yes.");
    assert_eq!(masked.report.redactions, 1);
}

#[test]
fn what_is_held_is_bounded_in_bytes_and_time() {
    let few = Terms { hold: HoldLimit { bytes: 5, time: Duration::from_secs(9) }, ..VERIFIED };
    let stopped = run(&[sentences(few)], &[delta(0, "ab."), delta(0, "cd."), delta(0, "efghi"), ended(0, "stop")]);
    assert_eq!(stopped.end.as_ref().unwrap_err().cause, Cause::Schema);
    assert_eq!(
        (stopped.breaches, shown(stopped.steps.concat().as_bytes())),
        (vec![("hold_bytes".into(), String::new())], [(0, "ab.".into())].into())
    );

    for allow in [false, true] {
        let on_violation = [("lock".to_owned(), Action::Allow)].into_iter().filter(|_| allow).collect();
        let judge = judge_with(&TEXT, on_violation);
        let mut guard = StreamGuard::new(chat(), Arc::clone(&TEXT.engine), judge, vec![sentences(few)]);
        let second = Duration::from_secs(1);
        let mut out = Vec::new();
        assert_eq!(guard.deadline(), None);
        guard.feed(delta(0, "ab.").as_bytes(), second, &mut out).unwrap();
        guard.feed(delta(0, "cd").as_bytes(), 2 * second, &mut out).unwrap();
        assert_eq!(guard.deadline(), Some(10 * second));
        guard.feed(delta(0, ".").as_bytes(), 3 * second, &mut out).unwrap();
        // The first sentence has left; the second has waited since it began to come.
        assert_eq!((guard.deadline(), out.len()), (Some(12 * second), 2));
        guard.tick(11 * second, &mut out).unwrap();
        let late = guard.tick(12 * second, &mut out);
        assert_eq!((late.is_err(), out.len()), (!allow, if allow { 3 } else { 2 }), "{late:?}");
        assert_eq!(guard.judge.decided.breaches[0].kind, "hold_time");
        assert_eq!(guard.report.schema.held_max, 9 * second);
    }
}

#[test]
fn a_choice_that_was_cut_off_is_not_taken_for_whole_because_another_ended() {
    #[derive(Debug)]
    struct Ends;
    #[derive(Debug)]
    struct End1;
    impl Contracted for Ends {
        fn lock(&self, _: Mode, _: RepairPolicy) -> Box<dyn TextLock> {
            Box::new(End1)
        }
        fn is_json(&self) -> bool {
            false
        }
    }
    impl TextLock for End1 {
        fn feed(&mut self, _: &str) -> Step {
            Step::Hold { bytes: 0 }
        }
        fn settled(&self) -> u64 {
            0
        }
        fn take_edits(&mut self) -> Vec<Edit> {
            Vec::new()
        }
        fn finish(&mut self, end: End) -> Outcome {
            if end == End::Stop { Outcome::Pass } else { Outcome::Block(violation(0)) }
        }
    }
    let binding = [Binding { scope: Scope::Content(schema(Ends)), ..sentences(BUFFERED) }];
    let both = |first: &str, second: &str| {
        run(&binding, &[delta(0, "a"), delta(1, "b"), ended(0, first), ended(1, second)]).end.is_ok()
    };
    assert!(both("stop", "stop"));
    assert!(!both("length", "stop") && !both("stop", "length"));
    assert!(run(&binding, &[delta(0, "a")]).end.is_err(), "nobody said why it ended");
    let body = |first: &str| {
        let choice =
            |index: u8, reason: &str| json!({"index": index, "message": {"content": "a"}, "finish_reason": reason});
        Bytes::from(json!({"choices": [choice(0, first), choice(1, "stop")]}).to_string())
    };
    let mut judge = judge_with(&TEXT, BTreeMap::new());
    for (first, good) in [("stop", true), ("length", false)] {
        let both = (&mut Report::default(), &mut ResponseFacts::default());
        let done = answer(chat(), &TEXT.engine, body(first), binding.to_vec(), &mut judge, both);
        assert_eq!(done.is_ok(), good, "{first}");
    }
}

/// Tools `pay` (an integer `sum`), `free` without a schema.
fn tools(terms: Terms) -> [Binding; 1] {
    let pay = json!({"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]});
    let any = json!({"type": "object", "additionalProperties": false});
    let of = |value: &Value| vec![schema(contract(value, ContractSource::ToolParameters))];
    let by_name = [("pay".to_owned(), of(&pay)), ("ping".to_owned(), of(&any)), ("free".to_owned(), Vec::new())].into();
    [Binding {
        id: "tools".into(),
        scope: Scope::Tools(Arc::new(ToolSchemas { digest: "1".repeat(64), by_name })),
        terms,
    }]
}

fn call(index: u8, name: Option<&str>, arguments: Option<&str>) -> String {
    let mut function = json!({});
    if let Some(name) = name {
        function["name"] = json!(name);
    }
    if let Some(arguments) = arguments {
        function["arguments"] = json!(arguments);
    }
    frame(json!({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": index, "function": function}]}}]}))
}

fn block(index: u8, kind: &str, name: &str) -> String {
    frame(
        json!({"type": "content_block_start", "index": index, "content_block": {"type": kind, "id": "t", "name": name, "input": {}}}),
    )
}

fn input(index: u8, json: &str) -> String {
    frame(
        json!({"type": "content_block_delta", "index": index, "delta": {"type": "input_json_delta", "partial_json": json}}),
    )
}

fn stop(index: u8) -> String {
    frame(json!({"type": "content_block_stop", "index": index}))
}

#[test]
fn arguments_are_held_to_the_parameters_of_their_tool() {
    let done = || ended(0, "tool_calls");
    let good = [
        vec![call(0, Some("pay"), Some("")), call(0, None, Some("{\"sum\"")), call(0, None, Some(":1}")), done()],
        // The arguments come first; the name in two parts, or twice.
        vec![call(0, None, Some("{\"sum\":1}")), call(0, Some("pay"), None), done()],
        vec![call(0, Some("pa"), None), call(0, Some("y"), None), call(0, None, Some("{\"sum\":1}")), done()],
        vec![call(0, Some("pay"), None), call(0, Some("pay"), Some("{\"sum\":1}")), done()],
        vec![call(0, Some("ping"), Some("")), done()],
        vec![call(0, Some("ping"), None), done()],
        vec![call(0, Some("free"), Some("no JSON")), done()],
        vec![call(0, Some("pay"), Some("{\"sum\":1}")), call(1, Some("ping"), Some("{}")), done()],
    ];
    for events in &good {
        let run = run(&tools(BUFFERED), events);
        assert_eq!(run.end, Ok(()), "{events:#?}");
        assert_eq!(run.released(), events.concat());
    }
    let bad = [
        (vec![call(0, Some("pay"), Some("{\"sum\":\"1\"}")), done()], "type"),
        (vec![call(0, Some("pay"), Some("{}")), done()], "required"),
        (vec![call(0, Some("pay"), None), done()], "required"),
        (vec![call(0, Some("pay"), Some("")), done()], "required"),
        (vec![call(0, Some("other"), Some("{}")), done()], "tool"),
        (vec![call(0, None, Some("{}")), done()], "tool"),
        (vec![call(0, Some("pay"), Some("{\"sum\":1}")), call(0, Some("ping"), None), done()], "tool"),
        (vec![call(0, Some("ping"), Some("{}")), call(1, Some("pay"), Some("{}")), done()], "required"),
        (vec![call(0, Some("pay"), Some("{\"sum\":1")), ended(0, "length")], ""),
    ];
    for terms in [BUFFERED, VERIFIED] {
        for (events, keyword) in &bad {
            let run = run(&tools(terms), events);
            assert_eq!(run.end.as_ref().unwrap_err().cause, Cause::Schema, "{events:#?}");
            assert_eq!(run.breaches.iter().map(|b| b.1.as_str()).collect::<Vec<_>>(), [*keyword], "{events:#?}");
            assert_eq!(run.released(), "", "no call leaves, nor any beside it");
        }
    }
}

/// Events without text cost more than their bytes.
#[test]
fn held_events_are_bounded_as_well_as_their_bytes() {
    let mut guard = StreamGuard::new(
        chat(),
        Arc::clone(&TEXT.engine),
        judge_with(&TEXT, BTreeMap::new()),
        vec![sentences(BUFFERED)],
    );
    let mut out = Vec::new();
    let comments = ":\n\n".repeat(1 << 14);
    let block = (0..20).find_map(|_| guard.feed(comments.as_bytes(), NOW, &mut out).err()).unwrap();
    assert_eq!((block.cause, out.len()), (Cause::BadAnswer, 0));
}

/// More calls than are followed are not let through because nobody follows them.
#[test]
fn calls_that_are_not_followed_do_not_leave() {
    let mut events: Vec<String> = (0..=255).map(|index| call(index, Some("ping"), Some("{}"))).collect();
    let good = run(&tools(BUFFERED), &[events.clone(), vec![ended(0, "tool_calls")]].concat());
    assert_eq!(good.end, Ok(()));
    let one_more = json!({"index": 256, "function": {"name": "pay"}});
    events.push(frame(json!({"choices": [{"index": 0, "delta": {"tool_calls": [one_more]}}]})));
    let stopped = run(&tools(BUFFERED), &[events, vec![ended(0, "tool_calls")]].concat());
    assert_eq!((stopped.end.as_ref().unwrap_err().cause, stopped.released().as_str()), (Cause::Schema, ""));
    let calls: Vec<Value> = (0..300)
        .map(|n| json!({"id": n.to_string(), "type": "function", "function": {"name": "ping", "arguments": ""}}))
        .collect();
    let body = json!({"choices": [{"index": 0, "message": {"tool_calls": calls}, "finish_reason": "tool_calls"}]});
    let mut judge = judge_with(&TEXT, BTreeMap::new());
    let both = (&mut Report::default(), &mut ResponseFacts::default());
    let done = answer(chat(), &TEXT.engine, body.to_string().into(), tools(BUFFERED).to_vec(), &mut judge, both);
    assert_eq!(done.unwrap_err().cause, Cause::Schema);
}

#[test]
fn calls_of_the_provider_and_free_text_are_nobodys_arguments() {
    let custom = frame(json!({"choices": [{"index": 0, "delta": {"tool_calls": [
        {"index": 0, "type": "custom", "custom": {"name": "sql", "input": "select 1"}}]}}]}));
    let done = run(&tools(BUFFERED), &[custom.clone(), ended(0, "tool_calls")]);
    assert_eq!((done.end.clone(), done.released().len()), (Ok(()), custom.len() + ended(0, "tool_calls").len()));
    // A call that begins as free text cannot go on as another.
    let turned = run(&tools(BUFFERED), &[custom, call(0, Some("pay"), Some("{\"sum\":1}")), ended(0, "tool_calls")]);
    assert_eq!(turned.end.unwrap_err().cause, Cause::Schema);

    let on = |events: &[String]| {
        let pieces: Vec<&[u8]> = events.iter().map(|e| e.as_bytes()).collect();
        run_on(&TEXT, messages(), &tools(BUFFERED), false, &pieces)
    };
    let end = frame(json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}}));
    let last = frame(json!({"type": "message_stop"}));
    for kind in ["server_tool_use", "mcp_tool_use"] {
        let events = [block(0, kind, "web"), input(0, "{\"q\":1}"), stop(0), end.clone(), last.clone()];
        let done = on(&events);
        assert_eq!((done.end.clone(), done.released()), (Ok(()), events.concat()));
        // Its index, taken over by a call of the client's.
        let turned = on(&[
            block(0, kind, "web"),
            block(0, "tool_use", "pay"),
            input(0, "{}"),
            stop(0),
            end.clone(),
            last.clone(),
        ]);
        assert_eq!(turned.end.unwrap_err().cause, Cause::Schema);
    }
    let good = [
        block(0, "tool_use", "ping"),
        stop(0),
        block(1, "tool_use", "pay"),
        input(1, "{\"sum\":"),
        input(1, "1}"),
        stop(1),
        end.clone(),
        last.clone(),
    ];
    let done = on(&good);
    assert_eq!((done.end.clone(), done.released()), (Ok(()), good.concat()));
    for bad in [
        [block(0, "tool_use", "pay"), stop(0), end.clone(), last.clone()],
        [block(0, "tool_use", "web"), stop(0), end.clone(), last.clone()],
        [block(0, "tool_use", "pay"), input(0, "{\"sum\":true}"), stop(0), end.clone()],
    ] {
        let stopped = on(&bad);
        assert_eq!((stopped.end.as_ref().unwrap_err().cause, stopped.released().as_str()), (Cause::Schema, ""));
    }
    // A block that goes on after its end.
    let again = on(&[block(0, "tool_use", "ping"), input(0, "{}"), stop(0), input(0, " "), end, last]);
    assert_eq!(again.breaches, [("trailing_bytes".to_owned(), String::new())]);
}

#[test]
fn arguments_of_an_answer_that_does_not_stream_are_held_as_well() {
    let chat_call = |name: &str, arguments: &str| {
        let call = json!({"id": "c", "type": "function", "function": {"arguments": arguments, "name": name}});
        json!({"choices": [{"index": 0, "message": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]})
    };
    let block = |kind: &str, name: &str, input: Value| json!({"content": [{"type": kind, "id": "t", "input": input, "name": name}], "stop_reason": "tool_use"});
    for (surface, body, good) in [
        (chat(), chat_call("pay", "{\"sum\":1}"), true),
        (chat(), chat_call("ping", ""), true),
        (chat(), chat_call("free", "text"), true),
        (chat(), chat_call("pay", "{\"sum\":1.5}"), false),
        (chat(), chat_call("pay", ""), false),
        (chat(), chat_call("other", "{}"), false),
        (messages(), block("tool_use", "pay", json!({"sum": 1})), true),
        (messages(), block("server_tool_use", "web", json!({"sum": []})), true),
        (messages(), block("tool_use", "pay", json!({})), false),
        (messages(), block("tool_use", "web", json!({})), false),
    ] {
        let mut judge = judge_with(&TEXT, BTreeMap::new());
        let both = (&mut Report::default(), &mut ResponseFacts::default());
        let text = body.to_string();
        let done = answer(surface, &TEXT.engine, text.clone().into(), tools(BUFFERED).to_vec(), &mut judge, both);
        match done {
            Ok(done) => assert!(good && done.body.bytes() == text.as_bytes(), "{text}"),
            Err(block) => assert!(!good && block.cause == Cause::Schema, "{text} {block:?}"),
        }
    }
}

#[test]
fn a_document_is_mended_like_a_stream() {
    let body = json!({"choices": [{"index": 0, "message": {"content": "a~\u{e9}~b."}, "finish_reason": "stop"}]});
    let mut judge = judge_with(&TEXT, BTreeMap::new());
    let mut report = Report::default();
    let both = (&mut report, &mut ResponseFacts::default());
    let done =
        answer(chat(), &TEXT.engine, body.to_string().into(), vec![sentences(BUFFERED)], &mut judge, both).unwrap();
    let mended: Value = serde_json::from_slice(done.body.bytes()).unwrap();
    assert_eq!(mended["choices"][0]["message"]["content"], "a \u{e9} b.");
    let streamed = run(&[sentences(VERIFIED)], &[delta(0, "a~\u{e9}"), delta(0, "~b."), ended(0, "stop")]);
    assert_eq!(streamed.report.schema.repairs.digest, report.schema.repairs.digest);
}

/// What a stream of responses says again is mended as its pieces were, and waits for the same verdict.
#[test]
fn a_text_that_is_said_again_is_mended_again() {
    let responses = SURFACES.into_iter().find(|s| s.id == "openai.responses").unwrap();
    let place = |mut event: Value| {
        event["output_index"] = json!(0);
        event["content_index"] = json!(0);
        frame(event)
    };
    let part = json!({"type": "output_text", "text": "a~b.~c.", "annotations": []});
    let item = json!({"type": "message", "role": "assistant", "content": [part]});
    let whole = json!({"status": "completed", "output": [item]});
    let events = [
        place(json!({"type": "response.output_text.delta", "delta": "a~b."})),
        place(json!({"type": "response.output_text.delta", "delta": "~c."})),
        place(json!({"type": "response.output_text.done", "text": "a~b.~c."})),
        place(json!({"type": "response.content_part.done", "part": part})),
        place(json!({"type": "response.output_item.done", "item": item})),
        frame(json!({"type": "response.completed", "response": whole})),
    ];
    for terms in [VERIFIED, BUFFERED] {
        let pieces: Vec<&[u8]> = events.iter().map(|e| e.as_bytes()).collect();
        let done = run_on(&TEXT, responses, &[sentences(terms)], false, &pieces);
        assert_eq!(done.end, Ok(()));
        let released = done.released();
        assert_eq!((released.matches("a b. c.").count(), released.matches('~').count()), (4, 0), "{released}");
        assert_eq!(done.report.schema.repairs.by_class["tilde"], 2, "each edit counts once");
        // One that differs has a lock of its own.
        let other = frame(json!({"type": "response.completed", "response": {"status": "completed", "output": [
            {"type": "message", "content": [{"type": "output_text", "text": "No end"}]}]}}));
        let pieces: Vec<&[u8]> = pieces.into_iter().take(5).chain([other.as_bytes()]).collect();
        let stopped = run_on(&TEXT, responses, &[sentences(terms)], false, &pieces);
        assert_eq!(stopped.end.as_ref().unwrap_err().cause, Cause::Schema);
        assert!(!stopped.released().contains("No end"));
    }
}

#[test]
fn calls_of_responses_and_of_gemini_are_held_to_their_tools() {
    let on = |surface: &str, events: &[Value]| {
        let surface = SURFACES.into_iter().find(|s| s.id == surface).unwrap();
        let events: Vec<String> = events.iter().map(|event| frame(event.clone())).collect();
        let pieces: Vec<&[u8]> = events.iter().map(|e| e.as_bytes()).collect();
        let run = run_on(&TEXT, surface, &tools(BUFFERED), false, &pieces);
        (run.end.is_ok(), run.released() == events.concat(), run.breaches.first().map(|b| b.1.clone()))
    };
    let call = |kind: &str, name: &str, arguments: &str| json!({"type": kind, "name": name, "arguments": arguments});
    let responses = |kind: &str, name: &str, arguments: &str| {
        let of = if kind == "mcp_call" { "mcp_call" } else { "function_call" };
        on(
            "openai.responses",
            &[
                json!({"type": "response.output_item.added", "output_index": 0, "item": call(kind, name, "")}),
                json!({"type": format!("response.{of}_arguments.delta"), "output_index": 0, "delta": arguments}),
                json!({"type": format!("response.{of}_arguments.done"), "output_index": 0, "arguments": arguments}),
                json!({"type": "response.output_item.done", "output_index": 0, "item": call(kind, name, arguments)}),
                json!({"type": "response.completed", "response": {"status": "completed", "output": [call(kind, name, arguments)]}}),
            ],
        )
    };
    let good = (true, true, None);
    let bad = |keyword: &str| (false, false, Some(keyword.to_owned()));
    assert_eq!(responses("function_call", "pay", "{\"sum\":1}"), good);
    assert_eq!(responses("function_call", "pay", "{\"sum\":\"1\"}"), bad("type"));
    assert_eq!(responses("function_call", "web", "{}"), bad("tool"));
    assert_eq!(responses("mcp_call", "web", "{}"), good);
    let gemini = |name: &str, args: Value| {
        let part = json!({"functionCall": {"name": name, "args": args}});
        let candidate = json!({"index": 0, "content": {"role": "model", "parts": [part]}, "finishReason": "STOP"});
        on("gemini.generate", &[json!({"candidates": [candidate]})])
    };
    assert_eq!(gemini("pay", json!({"sum": 1})), good);
    assert_eq!(gemini("ping", json!({})), good);
    assert_eq!(gemini("pay", json!({"sum": "1"})), bad("type"));
    assert_eq!(gemini("pay", json!({})), bad("required"));
    assert_eq!(gemini("web", json!({})), bad("tool"));
}

proptest! {
    /// For any text: the same leaves for any cutting; it is the mended text up to what was verified; nothing behind a
    /// violation leaves, and a text that breaks off is never shown to its end.
    #[test]
    fn any_cutting_releases_the_same(
        texts in proptest::collection::vec(("[a-c.~\u{1f989}]{0,12}", "[.!]{0,1}"), 1..4),
        sizes in proptest::collection::vec(1..4usize, 1..8),
        cuts in cuts(),
        buffered in any::<bool>(),
    ) {
        let mut left: Vec<Vec<char>> = texts.iter().map(|(text, end)| format!("{text}{end}").chars().collect()).collect();
        let mut sizes = sizes.into_iter().cycle();
        let mut events = String::new();
        for turn in 0.. {
            if left.iter().all(Vec::is_empty) { break; }
            let index = turn % left.len();
            if left[index].is_empty() { continue; }
            let size = sizes.next().unwrap().min(left[index].len());
            let piece: String = left[index].drain(..size).collect();
            events += &delta(index as u8, &piece);
        }
        for index in 0..texts.len() { events += &ended(index as u8, "stop"); }
        events += "data: [DONE]\n\n";
        let bindings = [sentences(if buffered { BUFFERED } else { VERIFIED })];
        let on = |cuts: &Cuts| run_on(&TEXT, chat(), &bindings, false, &cuts.pieces(events.as_bytes()));
        let whole = on(&WHOLE);
        let other = on(&cuts);
        prop_assert_eq!(whole.released(), other.released());
        prop_assert_eq!(&whole.end, &other.end);
        prop_assert_eq!(&whole.report.schema.repairs, &other.report.schema.repairs);
        let texts: Vec<String> = texts.iter().map(|(text, end)| format!("{text}{end}")).collect();
        // Of an empty text no event comes, so that nothing is bound.
        let good = texts.iter().all(|text| text.is_empty() || text.ends_with('.'));
        prop_assert_eq!(whole.end.is_ok(), good);
        for (index, shown) in shown(whole.released().as_bytes()) {
            let mended = texts[index as usize].replace('~', " ");
            if good {
                prop_assert_eq!(shown, mended);
            } else {
                prop_assert!(mended.starts_with(&shown), "{shown:?} of {mended:?}");
                prop_assert!(!shown.contains('!') && (shown.len() < mended.len() || mended.is_empty()), "{shown:?} of {mended:?}");
                prop_assert!(!buffered || shown.is_empty());
            }
        }
    }
}
