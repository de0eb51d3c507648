//! What inspection costs, on one core and without any I/O: `cargo bench -p clyra --bench exchange`.
//!
//! - `decode`: strict parsing and the segments that the detectors read.
//! - `guard/request`, `guard/answer`: a whole message through parsing, detectors and the policy's rules.
//! - `guard/event`: **time of one event** of a clean stream of 100 events. The guard is made, fed event by event and
//!   finished within the measured time, so each event carries its share of that.
//!
//! Policy and detectors are those of the baseline pack. What evidence costs is in `receipts/benches/receipt.rs`.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot start should stop")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use clyra::exchange::gateway;
use clyra::exchange::judge::{Context, PolicyJudge};
use clyra::guard::{self, Report, StreamGuard};
use clyra::json::{Doc, Limits};
use clyra::surface::{self, Found, ResponseFacts, Surface};
use clyra_detectors::Engine;
use clyra_policy::{Policy, RequestFacts, packs};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::Method;
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";

/// Size of the request, of the order that a short conversation with a few tools has.
const REQUEST_BYTES: usize = 8 * 1024;
/// Events of one stream, the provider's opening and closing ones among them.
const EVENTS: usize = 100;
/// Text of one delta: four to five tokens.
const DELTA: &str = "settled on Friday, a";

const PROSE: &str = "The settlement report for the second quarter is attached. Please send a summary of the risks to the \
    whole group by Friday; the internal numbers are in the usual folder, and “Δ” marks what changed.\n";

fn surface(path: &str) -> &'static Surface {
    match surface::find(&Method::POST, path) {
        Found::Surface(surface) => surface,
        Found::Unknown => unreachable!("{path} is a surface of this version"),
    }
}

/// A system prompt, a conversation with a tool call in it, and three tools.
fn chat_request() -> Bytes {
    let tool = |name: &str| {
        json!({"type": "function", "function": {
            "name": name,
            "description": "Looks up invoices by customer and month, newest first.",
            "parameters": {"type": "object", "additionalProperties": false, "required": ["customer"], "properties": {
                "customer": {"type": "string", "description": "The customer's number, as it stands on an invoice."},
                "month": {"type": "string", "description": "Month as YYYY-MM; the current one when absent."},
                "limit": {"type": "integer", "minimum": 1, "maximum": 100},
            }},
        }})
    };
    let mut body = json!({
        "model": "gpt-5",
        "stream": true,
        "temperature": 0.2,
        "tools": [tool("find_invoices"), tool("find_payments"), tool("find_reminders")],
        "messages": [
            {"role": "system", "content": "You answer questions of the accounting department, in short sentences."},
            {"role": "user", "content": "Which invoices of customer 4711 are open?"},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "call_1", "type": "function", "function": {
                "name": "find_invoices", "arguments": "{\"customer\":\"4711\",\"limit\":10}"}}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "[{\"invoice\":\"2026-118\",\"amount\":1190.00}]"},
            {"role": "user", "content": ""},
        ],
    });
    let room = REQUEST_BYTES - body.to_string().len();
    let last = body.pointer_mut("/messages/4/content").unwrap();
    // A line break takes two bytes in JSON.
    *last = Value::String(PROSE.repeat(room / (PROSE.len() + 1)));
    body.to_string().into()
}

fn chat_answer() -> Bytes {
    let message = json!({"role": "assistant", "content": PROSE.repeat(2048 / PROSE.len()), "refusal": null});
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_800_000_000, "model": "gpt-5",
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1800, "completion_tokens": 500, "total_tokens": 2300},
    })
    .to_string()
    .into()
}

fn chat_event(delta: &Value, finish_reason: Option<&str>) -> String {
    let event = json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_800_000_000, "model": "gpt-5",
        "service_tier": "default", "system_fingerprint": "fp_1",
        "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason}],
    });
    format!("data: {event}\n\n")
}

fn chat_stream() -> Vec<String> {
    let mut events = vec![chat_event(&json!({"role": "assistant", "content": "", "refusal": null}), None)];
    events.resize(EVENTS - 2, chat_event(&json!({"content": DELTA}), None));
    events.push(chat_event(&json!({}), Some("stop")));
    events.push("data: [DONE]\n\n".into());
    events
}

fn messages_stream() -> Vec<String> {
    let event = |data: Value| {
        let kind = data.get("type").and_then(Value::as_str).unwrap_or_default();
        format!("event: {kind}\ndata: {data}\n\n")
    };
    let mut events = vec![
        event(json!({"type": "message_start", "message": {
            "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-5", "content": [],
            "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 1800, "output_tokens": 1},
        }})),
        event(json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})),
    ];
    let delta = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": DELTA}});
    events.resize(EVENTS - 3, event(delta));
    events.push(event(json!({"type": "content_block_stop", "index": 0})));
    let stop = json!({"stop_reason": "end_turn", "stop_sequence": null});
    events.push(event(json!({"type": "message_delta", "delta": stop, "usage": {"output_tokens": 500}})));
    events.push(event(json!({"type": "message_stop"})));
    events
}

/// The baseline pack with its detectors, and what a judge needs to know of an exchange.
fn baseline() -> (Arc<Engine>, Arc<Context>) {
    let policy = Policy::parse(packs::BASELINE, "baseline.yaml", &|_| Err("no files".into())).unwrap();
    let engine = gateway::engine(&policy).unwrap();
    let caller = policy.caller(None);
    let request = RequestFacts { route: CHAT.into(), model: "gpt-5".into(), ..RequestFacts::default() };
    let context = Context {
        policy: Arc::new(policy),
        caller,
        request,
        now_unix_s: 1_800_000_000,
        calls: false,
        kept: None,
        pins: None,
    };
    (Arc::new(engine), Arc::new(context))
}

fn judge(context: &Arc<Context>) -> PolicyJudge {
    PolicyJudge::response(Arc::clone(context), 200, BTreeMap::new())
}

fn decode(criterion: &mut Criterion) {
    let chat = surface(CHAT);
    let mut group = criterion.benchmark_group("decode");
    let request = chat_request();
    let event = chat_event(&json!({"content": DELTA}), None);
    let event = event.strip_prefix("data: ").unwrap().trim_end();
    let event_table = {
        let doc = Doc::parse(event.as_bytes(), Limits::default()).unwrap();
        (chat.event)(doc.root(event.as_bytes()))
    };
    for (name, bytes, table) in
        [("chat_request", request.as_ref(), (chat.request)()), ("chat_event", event.as_bytes(), event_table)]
    {
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let doc = Doc::parse(black_box(bytes), Limits::default()).unwrap();
                surface::segments(table, doc.root(bytes))
            });
        });
    }
    group.finish();
}

fn whole(criterion: &mut Criterion) {
    let chat = surface(CHAT);
    let (engine, context) = baseline();
    let mut group = criterion.benchmark_group("guard");
    let request = chat_request();
    group.throughput(Throughput::Bytes(request.len() as u64));
    group.bench_function("request", |bencher| {
        bencher.iter(|| {
            let doc = Doc::parse(black_box(&request), Limits::default()).unwrap();
            let mut judge = PolicyJudge::request(Arc::clone(&context));
            guard::request(chat, &engine, (&request, &doc), &mut judge, &mut Report::default()).unwrap()
        });
    });
    let answer = chat_answer();
    group.throughput(Throughput::Bytes(answer.len() as u64));
    group.bench_function("answer", |bencher| {
        bencher.iter(|| {
            let body = black_box(&answer).clone();
            let noted = (&mut Report::default(), &mut ResponseFacts::default());
            guard::answer(chat, &engine, body, Vec::new(), &mut judge(&context), noted).unwrap()
        });
    });
    group.finish();
}

fn event(criterion: &mut Criterion) {
    let (engine, context) = baseline();
    let mut group = criterion.benchmark_group("guard/event");
    for (name, path, events) in [("chat", CHAT, chat_stream()), ("messages", MESSAGES, messages_stream())] {
        let surface = surface(path);
        let pass = || {
            let mut guard = StreamGuard::new(surface, Arc::clone(&engine), judge(&context), Vec::new());
            let mut released = Vec::with_capacity(EVENTS);
            for event in &events {
                guard.feed(black_box(event.as_bytes()), Duration::ZERO, &mut released).unwrap();
            }
            released.extend(guard.finish(Duration::ZERO).unwrap().tail);
            released
        };
        assert_eq!((events.len(), pass().len()), (EVENTS, EVENTS), "a clean stream passes event by event");
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                // At least one whole stream; what it took is brought back to as many events as were asked for.
                let streams = iterations.div_ceil(EVENTS as u64);
                let start = Instant::now();
                for _ in 0..streams {
                    black_box(pass());
                }
                let passed = (streams * EVENTS as u64) as f64;
                start.elapsed().mul_f64(iterations as f64 / passed)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decode, whole, event);
criterion_main!(benches);
