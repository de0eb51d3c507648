//! Properties of the streaming guard: for any texts in any channels, cut anywhere and in any spelling, the same bytes are
//! released and the same is decided; nothing forbidden is released, and nothing else is withheld.
#![allow(clippy::string_slice)]

mod calls;
mod repetition;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use clyra_detectors::Engine;
use clyra_policy::{Action, Policy};
use clyra_schemas::{Contract, ContractSource, Limits, Mode, RepairPolicy};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Binding, Block, Cause, Gap, HELD_BYTES_MAX, HoldLimit, JsonContract, Schema, Scope, StreamGuard, Terms};
use crate::exchange::gateway::engine;
use crate::exchange::judge::{Context, PolicyJudge};
use crate::surface::{SURFACES, Surface};

const FORBIDDEN: &str = "Project Nightjar";
/// Ends in a character that two `\uXXXX` escapes stand for.
const MASKED: &str = "owl \u{1f989}";
const MASK: &str = "[REDACTED:masked]";

const POLICY: &str = r#"version: 1
mode: enforce
detectors:
  patterns:
    - { id: codename, literal: "Project Nightjar", class: forbidden, score: 1.0 }
    - { id: owl, literal: "owl \U0001F989", class: masked, score: 1.0 }
rules:
  - { id: no-codename, phase: response, when: 'findings.exists(f, f.class == "forbidden")', action: block }
  - { id: no-owls, phase: response, when: 'findings.exists(f, f.class == "masked")', action: redact }
"#;

const TOOL_RULE: &str = "  - { id: no-shell, phase: tool_call, when: 'tool.name == \"shell\" && tool.args.note.contains(\"rm\")', action: block }\n";

/// A clock that stands still.
pub(super) const NOW: Duration = Duration::ZERO;

pub(super) const BUFFERED: Terms = Terms {
    mode: Mode::Buffer,
    repair: RepairPolicy::NONE,
    hold: HoldLimit { bytes: 1 << 20, time: Duration::from_secs(600) },
    blocks: true,
    ask_again: None,
    choices: 1,
};

pub(super) struct Setup {
    pub(super) policy: Arc<Policy>,
    pub(super) engine: Arc<Engine>,
}

pub(super) fn setup(text: &str) -> Setup {
    let policy = Policy::parse(text, "policy.yaml", &|_| Err("no files".into())).unwrap();
    let engine = Arc::new(engine(&policy).unwrap());
    Setup { policy: Arc::new(policy), engine }
}

pub(super) static TEXT: LazyLock<Setup> = LazyLock::new(|| setup(POLICY));
static TOOLS: LazyLock<Setup> = LazyLock::new(|| setup(&format!("{POLICY}{TOOL_RULE}")));

pub(super) fn judge(setup: &Setup) -> PolicyJudge {
    judge_with(setup, BTreeMap::new())
}

pub(super) fn judge_with(setup: &Setup, on_violation: BTreeMap<String, Action>) -> PolicyJudge {
    let context = Context {
        policy: Arc::clone(&setup.policy),
        caller: setup.policy.caller(None),
        request: clyra_policy::RequestFacts {
            surface: "s".into(),
            route: "/".into(),
            model: "m".into(),
            stream: true,
            tools: Vec::new(),
            app: String::new(),
            run_id: String::new(),
            bytes: 1,
        },
        now_unix_s: 0,
        calls: false,
        kept: None,
        pins: None,
    };
    PolicyJudge::response(Arc::new(context), 200, on_violation)
}

/// Everything that one run of the guard comes to.
#[derive(PartialEq)]
pub(super) struct Run {
    released: Vec<u8>,
    end: Result<(), Block>,
    decided: String,
    report: String,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { released, end, decided, report } = self;
        write!(f, "{:?}\n{end:?}\n{decided}\n{report}", String::from_utf8_lossy(released))
    }
}

fn run(setup: &Setup, surface: &'static Surface, bindings: &[Binding], stream: &[u8], cuts: &Cuts) -> Run {
    let mut guard = StreamGuard::new(surface, Arc::clone(&setup.engine), judge(setup), bindings.to_vec());
    let mut out = Vec::new();
    let mut end = cuts.pieces(stream).into_iter().try_for_each(|piece| guard.feed(piece, NOW, &mut out));
    if end.is_ok() {
        end = guard.finish(NOW).map(|end| out.extend(end.tail));
    }
    guard.report.scan_us = 0;
    guard.report.schema.enforce_us = 0;
    Run {
        released: out.iter().flat_map(|part| part.bytes().iter().copied()).collect(),
        end,
        decided: format!("{:?} {:?}", guard.judge.decided, guard.facts),
        report: format!("{:?}", guard.report),
    }
}

/// A place in an answer whose pieces continue each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Content(u8),
    Reasoning,
    Refusal,
    Unknown,
    FunctionCall,
    Tool(u8),
    /// A content block of messages, by its index.
    Block(u8),
    Thinking(u8),
    Input(u8),
    /// An item of a response, by its index: text, a summary of reasoning, arguments. Each is said again when it is done.
    Item(u8),
    Summary(u8),
    Arguments(u8),
    /// A candidate of Gemini's, by its index.
    Candidate(u8),
    Thought(u8),
}

impl Lane {
    const CHAT: [Lane; 8] = [
        Lane::Content(0),
        Lane::Content(1),
        Lane::Reasoning,
        Lane::Refusal,
        Lane::Unknown,
        Lane::FunctionCall,
        Lane::Tool(0),
        Lane::Tool(1),
    ];
    const MESSAGES: [Lane; 5] = [Lane::Block(0), Lane::Block(1), Lane::Thinking(2), Lane::Input(3), Lane::Input(4)];

    const RESPONSES: [Lane; 5] =
        [Lane::Item(0), Lane::Item(1), Lane::Summary(2), Lane::Arguments(3), Lane::Arguments(4)];
    const GEMINI: [Lane; 3] = [Lane::Candidate(0), Lane::Candidate(1), Lane::Thought(0)];

    fn of(surface: usize) -> &'static [Lane] {
        match SURFACES[surface].id {
            "openai.chat" => &Lane::CHAT,
            "openai.responses" => &Lane::RESPONSES,
            "anthropic.messages" => &Lane::MESSAGES,
            _ => &Lane::GEMINI,
        }
    }

    /// Text of a tool call is JSON.
    fn is_json(self) -> bool {
        matches!(self, Self::FunctionCall | Self::Tool(_) | Self::Input(_) | Self::Arguments(_))
    }

    /// A call with a name.
    fn is_named(self) -> bool {
        matches!(self, Self::Tool(_) | Self::Input(_) | Self::Arguments(_))
    }

    /// The item of a response that has this text.
    fn item(self, text: &str) -> Option<(u8, Value)> {
        let part = |kind: &str| json!([{"type": kind, "text": text}]);
        match self {
            Self::Item(index) => Some((index, json!({"type": "message", "content": part("output_text")}))),
            Self::Summary(index) => Some((index, json!({"type": "reasoning", "summary": part("summary_text")}))),
            Self::Arguments(index) => {
                Some((index, json!({"type": "function_call", "name": "shell", "arguments": text})))
            }
            _ => None,
        }
    }

    /// The events that say a text of a response again, as soon as it is done.
    fn done(self, text: &str) -> Vec<Value> {
        let Some((index, item)) = self.item(text) else { return Vec::new() };
        let event = |kind: &str, member: &str, value: Value| json!({"type": format!("response.{kind}.done"), "output_index": index, "content_index": 0, member: value});
        let mut events = match self {
            Self::Item(_) => vec![
                event("output_text", "text", text.into()),
                event("content_part", "part", item["content"][0].clone()),
            ],
            Self::Summary(_) => vec![
                json!({"type": "response.reasoning_summary_text.done", "output_index": index, "summary_index": 0, "text": text}),
                json!({"type": "response.reasoning_summary_part.done", "output_index": index, "summary_index": 0,
                    "part": item["summary"][0]}),
            ],
            _ => vec![event("function_call_arguments", "arguments", text.into())],
        };
        events.push(json!({"type": "response.output_item.done", "output_index": index, "item": item}));
        events
    }

    /// The text that an event says again, whole.
    fn again(self, event: &Value) -> Vec<&str> {
        let (index, whole, item) = match self {
            Self::Item(index) => (index, ["/text", "/part/text"], "content/0/text"),
            Self::Summary(index) => (index, ["/text", "/part/text"], "summary/0/text"),
            Self::Arguments(index) => (index, ["/arguments", "/none"], "arguments"),
            _ => return Vec::new(),
        };
        let here = event["output_index"] == json!(index) && event["type"].as_str().unwrap().ends_with(".done");
        let places = whole.map(str::to_owned).into_iter().chain([format!("/item/{item}")]).filter(|_| here);
        let last = format!("/response/output/{index}/{item}");
        places.chain([last]).filter_map(|place| event.pointer(&place)?.as_str()).collect()
    }

    /// An event with `piece` (spelled as JSON string content) in this place.
    fn event(self, piece: &str) -> String {
        let delta = |choice: u8, delta: String| {
            format!(
                r#"{{"id":"c","object":"x","choices":[{{"index":{choice},"delta":{delta},"finish_reason":null}}]}}"#
            )
        };
        let block = |index: u8, kind: &str, member: &str| {
            let delta = format!(r#"{{"type":"{kind}","{member}":"{piece}"}}"#);
            format!(r#"{{"type":"content_block_delta","index":{index},"delta":{delta}}}"#)
        };
        match self {
            Self::Content(choice) => delta(choice, format!(r#"{{"content":"{piece}"}}"#)),
            Self::Reasoning => delta(0, format!(r#"{{"reasoning_content":"{piece}","content":null}}"#)),
            Self::Refusal => delta(0, format!(r#"{{ "refusal" : "{piece}" }}"#)),
            Self::Unknown => delta(0, format!(r#"{{"later":{{"text":"{piece}"}}}}"#)),
            Self::FunctionCall => delta(1, format!(r#"{{"function_call":{{"arguments":"{piece}"}}}}"#)),
            Self::Tool(index) => {
                delta(0, format!(r#"{{"tool_calls":[{{"index":{index},"function":{{"arguments":"{piece}"}}}}]}}"#))
            }
            Self::Block(index) => block(index, "text_delta", "text"),
            Self::Thinking(index) => block(index, "thinking_delta", "thinking"),
            Self::Input(index) => block(index, "input_json_delta", "partial_json"),
            Self::Item(index) => format!(
                r#"{{"type":"response.output_text.delta","output_index":{index},"content_index":0,"delta":"{piece}","obfuscation":"x"}}"#
            ),
            Self::Summary(index) => format!(
                r#"{{"type":"response.reasoning_summary_text.delta","summary_index":0,"output_index":{index},"delta":"{piece}"}}"#
            ),
            Self::Arguments(index) => {
                format!(
                    r#"{{"delta":"{piece}","output_index":{index},"type":"response.function_call_arguments.delta"}}"#
                )
            }
            Self::Candidate(index) => format!(
                r#"{{"candidates":[{{"content":{{"parts":[{{"text":"{piece}","thoughtSignature":"c2ln"}}],"role":"model"}},"index":{index}}}]}}"#
            ),
            Self::Thought(index) => format!(
                r#"{{"candidates":[{{"index":{index},"content":{{"parts":[{{"thought":true,"text":"{piece}"}}]}}}}]}}"#
            ),
        }
    }

    /// The text that an event has in this place, if it is of this place.
    fn read(self, event: &Value) -> Option<&str> {
        let choice = |index: u8, pointer: &str| {
            (event.pointer("/choices/0/index") == Some(&json!(index)))
                .then(|| event.pointer(&format!("/choices/0/delta/{pointer}")))
                .flatten()
        };
        let block = |index: u8, member: &str| {
            (event.get("index") == Some(&json!(index))).then(|| event.pointer(&format!("/delta/{member}"))).flatten()
        };
        let found = match self {
            Self::Content(index) => choice(index, "content"),
            Self::Reasoning => choice(0, "reasoning_content"),
            Self::Refusal => choice(0, "refusal"),
            Self::Unknown => choice(0, "later/text"),
            Self::FunctionCall => choice(1, "function_call/arguments"),
            Self::Tool(index) => choice(0, "tool_calls/0/function/arguments")
                .filter(|_| event.pointer("/choices/0/delta/tool_calls/0/index") == Some(&json!(index))),
            Self::Block(index) => block(index, "text"),
            Self::Thinking(index) => block(index, "thinking"),
            Self::Input(index) => block(index, "partial_json"),
            Self::Item(index) | Self::Summary(index) | Self::Arguments(index) => {
                let kind = match self {
                    Self::Item(_) => "response.output_text.delta",
                    Self::Summary(_) => "response.reasoning_summary_text.delta",
                    _ => "response.function_call_arguments.delta",
                };
                let here = event["type"] == kind && event["output_index"] == json!(index);
                event.get("delta").filter(|_| here)
            }
            Self::Candidate(index) | Self::Thought(index) => {
                let part = event.pointer("/candidates/0/content/parts/0");
                let here = event.pointer("/candidates/0/index") == Some(&json!(index));
                let thinks = part.and_then(|part| part.get("thought")).is_some();
                let wanted = here && thinks == matches!(self, Self::Thought(_));
                part.and_then(|part| part.get("text")).filter(|_| wanted)
            }
        };
        found.and_then(Value::as_str)
    }
}

/// Half surrogate pairs are no JSON to `serde_json`: they are moved to the private use area before, and back after.
fn readable(data: &str) -> String {
    let (mut out, mut rest) = (String::new(), data);
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let length = if escape[1..].starts_with('u') { 6 } else { 2 };
        match u16::from_str_radix(escape.get(2..6).unwrap_or_default(), 16) {
            Ok(unit @ 0xd800..=0xdfff) if length == 6 => out.push_str(&format!("\\u{:04x}", unit + 0x800)),
            _ => out.push_str(&escape[..length]),
        }
        rest = &escape[length..];
    }
    out + rest
}

fn units(text: &str) -> impl Iterator<Item = u16> + '_ {
    text.encode_utf16().map(|unit| if (0xe000..0xe800).contains(&unit) { unit - 0x800 } else { unit })
}

/// The texts of a stream as their reader sees them.
fn read(stream: &[u8], lanes: &[Lane]) -> BTreeMap<Lane, String> {
    let text = std::str::from_utf8(stream).unwrap();
    let mut out: BTreeMap<Lane, Vec<u16>> = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("data:")) {
        let line = readable(line.trim());
        if line == "[DONE]" {
            continue;
        }
        let event: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for lane in lanes {
            if let Some(piece) = lane.read(&event) {
                out.entry(*lane).or_default().extend(units(piece));
            }
        }
    }
    out.into_iter().map(|(lane, units)| (lane, String::from_utf16_lossy(&units))).collect()
}

/// What a response says again of its texts.
fn again(stream: &[u8], lanes: &[Lane]) -> Vec<(Lane, String)> {
    let text = std::str::from_utf8(stream).unwrap();
    let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data:")?).ok());
    events
        .filter(|event| event.get("type").is_some())
        .flat_map(|event| -> Vec<(Lane, String)> {
            let of = |lane: &Lane| -> Vec<(Lane, String)> {
                lane.again(&event).into_iter().map(|text| (*lane, text.to_owned())).collect()
            };
            lanes.iter().flat_map(of).collect()
        })
        .collect()
}

/// Words that make and almost make matches.
fn text() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        3 => Just("Project "), 2 => Just("Nightjar"), 1 => Just(FORBIDDEN), 2 => Just("Pro"), 3 => Just("owl"),
        3 => Just("owl "), 3 => Just("\u{1f989}"), 2 => Just(MASKED), 1 => Just("\u{1f98a}"), 1 => Just("é"),
        1 => Just("x"), 1 => Just(" "), 1 => Just("rm"),
    ];
    proptest::collection::vec(word, 0..7).prop_map(|words| words.concat())
}

/// Texts without anything that blocks, so that redaction is reached more often.
fn unblocked() -> impl Strategy<Value = String> {
    text().prop_map(|text| text.replace("Nightjar", "owl"))
}

#[derive(Debug, Clone)]
struct Answer {
    surface: usize,
    texts: Vec<(Lane, String)>,
    stream: String,
}

impl Answer {
    fn lanes(&self) -> Vec<Lane> {
        self.texts.iter().map(|(lane, _)| *lane).collect()
    }
}

/// A document with this text, some of its characters escaped.
fn as_json(text: &str, noise: &mut impl FnMut() -> u8) -> String {
    let mut out = String::from("{\"note\":\"");
    for char in text.chars() {
        if noise().is_multiple_of(4) {
            let mut units = [0; 2];
            char.encode_utf16(&mut units).iter().for_each(|unit| out += &format!("\\u{unit:04x}"));
        } else {
            out.push(char);
        }
    }
    out + "\"}"
}

/// The text of such a document, or of as much of it as there is.
fn of_json(json: &str) -> String {
    let inner = json.strip_prefix("{\"note\":\"").unwrap_or_default();
    let inner = inner.strip_suffix("\"}").or(inner.strip_suffix('"')).unwrap_or(inner);
    let (mut units, mut rest) = (Vec::new(), inner);
    while let Some(char) = rest.chars().next() {
        let length = if char == '\\' { 6 } else { char.len_utf8() };
        let Some(one) = rest.get(..length) else { break };
        match one.strip_prefix("\\u") {
            Some(hex) => units.push(u16::from_str_radix(hex, 16).unwrap()),
            None => units.extend(one.encode_utf16()),
        }
        rest = &rest[length..];
    }
    String::from_utf16_lossy(&units)
}

/// A stream with these texts: cut between any two UTF-16 units, interleaved, escaped and framed as `noise` says.
/// The surfaces that this file can write streams of.
fn conversations() -> impl Strategy<Value = usize> {
    let known = ["openai.chat", "openai.responses", "anthropic.messages", "gemini.generate"];
    let at = |id: &str| SURFACES.iter().position(|surface| surface.id == id).unwrap();
    proptest::sample::select(known.map(at).to_vec())
}

fn stream(surface: usize, texts: &[(Lane, String)], noise: &[u8]) -> String {
    let mut noise = noise.iter().cycle().copied();
    let mut next = || noise.next().unwrap_or(0);
    let written: Vec<(Lane, String)> = texts
        .iter()
        .map(|(lane, text)| (*lane, if lane.is_json() { as_json(text, &mut next) } else { text.clone() }))
        .collect();
    let mut left: Vec<(Lane, Vec<u16>)> =
        written.iter().map(|(lane, text)| (*lane, text.encode_utf16().collect())).collect();
    let mut out = String::new();
    let frame = |out: &mut String, data: &str, style: u8| match style % 5 {
        0 => out.push_str(&format!(": note\ndata: {data}\r\n\r\n")),
        1 => out.push_str(&format!("event: x\ndata:{data}\n\n")),
        2 => out.push_str(&format!("data: {data}\n\n: ping\n\n")),
        _ => out.push_str(&format!("data: {data}\n\n")),
    };
    for (lane, _) in texts {
        let opening = match lane {
            Lane::Tool(index) => {
                let call = json!({"index": index, "function": {"name": "shell", "arguments": ""}});
                json!({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]})
            }
            Lane::Block(index) => json!({"type": "content_block_start", "index": index, "content_block": {"text": ""}}),
            Lane::Input(index) => json!({"type": "content_block_start", "index": index,
                "content_block": {"type": "tool_use", "name": "shell"}}),
            Lane::Arguments(index) => json!({"type": "response.output_item.added", "output_index": index,
                "item": {"type": "function_call", "name": "shell", "arguments": ""}}),
            Lane::Item(index) => {
                json!({"type": "response.content_part.added", "output_index": index, "content_index": 0,
                "part": {"type": "output_text", "text": ""}})
            }
            _ => continue,
        };
        frame(&mut out, &opening.to_string(), next());
    }
    let mut rounds = 0usize;
    while !left.is_empty() {
        rounds += 1;
        let at = usize::from(next()) % left.len();
        let (lane, units) = &mut left[at];
        // Empty pieces come too, but not for ever: noise may be one byte that says so again and again.
        let least = usize::from(rounds.is_multiple_of(3));
        let take = (usize::from(next()) % 6).max(least).min(units.len());
        let escape = next() % 4;
        let piece: Vec<u16> = units.drain(..take).collect();
        let mut spelled = String::new();
        for (position, unit) in char::decode_utf16(piece).enumerate() {
            match unit {
                Ok(char) if escape == 0 || (escape == 1 && position % 2 == 0) => {
                    let mut units = [0; 2];
                    char.encode_utf16(&mut units).iter().for_each(|unit| spelled += &format!("\\u{unit:04X}"));
                }
                Ok(char @ ('"' | '\\')) => spelled.extend(['\\', char]),
                Ok(char) => spelled.push(char),
                Err(half) => spelled += &format!("\\u{:04x}", half.unpaired_surrogate()),
            }
        }
        frame(&mut out, &lane.event(&spelled), next());
        if units.is_empty() {
            let (lane, _) = left.swap_remove(at);
            if let Lane::Block(index) | Lane::Thinking(index) | Lane::Input(index) = lane {
                frame(&mut out, &json!({"type": "content_block_stop", "index": index}).to_string(), next());
            }
            for event in lane.done(&written.iter().find(|(other, _)| *other == lane).unwrap().1) {
                frame(&mut out, &event.to_string(), next());
            }
        }
    }
    match SURFACES[surface].id {
        "openai.chat" => frame(&mut out, "[DONE]", next()),
        "openai.responses" => {
            let mut output = vec![json!({}); 5];
            for (index, item) in written.iter().filter_map(|(lane, text)| lane.item(text)) {
                output[usize::from(index)] = item;
            }
            let response = json!({"status": "completed", "output": output});
            frame(&mut out, &json!({"type": "response.completed", "response": response}).to_string(), next());
        }
        "gemini.generate" => {
            frame(&mut out, &json!({"candidates": [{"index": 0, "finishReason": "STOP"}]}).to_string(), next());
        }
        _ => frame(&mut out, "{\"type\":\"message_stop\"}", next()),
    }
    out
}

/// An answer in the lanes that a schema binds, each a document or not.
fn bound_answer() -> impl Strategy<Value = Answer> {
    let noise = proptest::collection::vec(any::<u8>(), 1..200);
    let texts = proptest::collection::vec((unblocked(), 0..4u8), 2);
    (conversations(), texts, noise).prop_map(|(surface, texts, noise)| {
        let lanes = match SURFACES[surface].id {
            "openai.chat" => [Lane::Content(0), Lane::Content(1)],
            "openai.responses" => [Lane::Item(0), Lane::Item(1)],
            "anthropic.messages" => [Lane::Block(0), Lane::Block(1)],
            _ => [Lane::Candidate(0), Lane::Candidate(1)],
        };
        let mut noise_at = noise.iter().cycle().copied();
        let texts: Vec<_> = lanes
            .into_iter()
            .zip(texts)
            .map(|(lane, (text, kind))| {
                let document = as_json(&text, &mut || noise_at.next().unwrap_or(0).max(1) | 1);
                (lane, if kind == 0 { text } else { document })
            })
            .collect();
        let stream = stream(surface, &texts, &noise);
        Answer { surface, texts, stream }
    })
}

fn answer(text: impl Strategy<Value = String>) -> impl Strategy<Value = Answer> {
    let noise = proptest::collection::vec(any::<u8>(), 1..200);
    let texts = proptest::collection::vec(text, 8);
    (conversations(), texts, any::<u8>(), noise).prop_map(|(surface, texts, chosen, noise)| {
        let texts: Vec<_> = Lane::of(surface).iter().copied().zip(texts).collect();
        let texts: Vec<_> =
            texts.into_iter().enumerate().filter(|(at, _)| chosen >> at & 1 == 1).map(|(_, t)| t).collect();
        let stream = stream(surface, &texts, &noise);
        Answer { surface, texts, stream }
    })
}

/// How a stream is cut into the pieces that arrive.
#[derive(Debug, Clone)]
pub(super) enum Cuts {
    At(Vec<usize>),
    EachByte,
}

impl Cuts {
    pub(super) fn pieces<'s>(&self, stream: &'s [u8]) -> Vec<&'s [u8]> {
        let mut at: Vec<usize> = match self {
            Self::At(at) => at.iter().map(|at| at % (stream.len() + 1)).chain([0, stream.len()]).collect(),
            Self::EachByte => (0..=stream.len()).collect(),
        };
        at.sort_unstable();
        at.windows(2).map(|ends| &stream[ends[0]..ends[1]]).collect()
    }
}

pub(super) const WHOLE: Cuts = Cuts::At(Vec::new());

pub(super) fn cuts() -> impl Strategy<Value = Cuts> {
    prop_oneof![proptest::collection::vec(any::<usize>(), 0..40).prop_map(Cuts::At), Just(Cuts::EachByte)]
}

/// What must have become of these texts, worked out on whole texts.
fn check(answer: &Answer, run: &Run) -> Result<(), TestCaseError> {
    let seen = read(&run.released, &answer.lanes());
    let forbidden = answer.texts.iter().any(|(_, text)| text.contains(FORBIDDEN));
    let masked = answer.texts.iter().any(|(_, text)| text.contains(MASKED));
    for (lane, text) in again(&run.released, &answer.lanes()) {
        // Whatever was taken out of the pieces is not in the whole either, and the other way round.
        prop_assert_eq!(Some(&text), seen.get(&lane), "{:?} is said again differently", lane);
    }
    for (lane, text) in &answer.texts {
        let seen = seen.get(lane).map(String::as_str).unwrap_or_default();
        let seen = &if lane.is_json() { of_json(seen) } else { seen.to_owned() };
        let clean = text.replace(MASKED, MASK);
        prop_assert!(!seen.contains(MASKED), "{lane:?} shows {seen:?}");
        if forbidden {
            // A prefix of what stands before the first match. Half a character may be the last thing shown.
            let allowed = clean.split(FORBIDDEN).next().unwrap_or_default();
            prop_assert!(allowed.starts_with(seen.trim_end_matches('\u{fffd}')), "{lane:?} shows {seen:?} of {text:?}");
        } else {
            prop_assert_eq!(seen, &clean, "{:?}", lane);
        }
    }
    match &run.end {
        Err(block) => {
            prop_assert!(forbidden, "{block:?}");
            prop_assert_eq!((block.cause, block.rule.as_deref()), (Cause::Policy, Some("no-codename")));
        }
        Ok(()) => prop_assert!(!forbidden, "not stopped"),
    }
    if !forbidden && !masked {
        prop_assert_eq!(String::from_utf8_lossy(&run.released), answer.stream.as_str(), "a clean stream was touched");
    }
    Ok(())
}

proptest! {
    #[test]
    fn nothing_forbidden_leaves_and_everything_else_does(answer in answer(text()), cuts in cuts()) {
        let surface = SURFACES[answer.surface];
        let whole = run(&TEXT, surface, &[], answer.stream.as_bytes(), &WHOLE);
        check(&answer, &whole)?;
        prop_assert_eq!(run(&TEXT, surface, &[], answer.stream.as_bytes(), &cuts), whole);
    }

    #[test]
    fn what_is_masked_goes_and_the_rest_stays(answer in answer(unblocked()), cuts in cuts()) {
        let surface = SURFACES[answer.surface];
        let whole = run(&TEXT, surface, &[], answer.stream.as_bytes(), &WHOLE);
        check(&answer, &whole)?;
        prop_assert_eq!(run(&TEXT, surface, &[], answer.stream.as_bytes(), &cuts), whole);
    }

    /// A call leaves only when it is complete and allowed, for any cutting.
    #[test]
    fn a_judged_call_is_held_whole(answer in answer(unblocked()), cuts in cuts()) {
        let surface = SURFACES[answer.surface];
        let whole = run(&TOOLS, surface, &[], answer.stream.as_bytes(), &WHOLE);
        prop_assert_eq!(&run(&TOOLS, surface, &[], answer.stream.as_bytes(), &cuts), &whole);
        let named = |lane: &Lane| lane.is_named();
        let stopped = answer.texts.iter().any(|(lane, text)| named(lane) && text.contains("rm"));
        prop_assert_eq!(whole.end.is_err(), stopped, "{:?}", whole.end);
        let seen = read(&whole.released, &answer.lanes());
        for (lane, text) in answer.texts.iter().filter(|(lane, text)| named(lane) && text.contains("rm")) {
            let seen = seen.get(lane).map(String::as_str).unwrap_or_default();
            prop_assert!(seen.is_empty(), "{lane:?} shows {seen:?} of {text:?}");
        }
        for (lane, text) in again(&whole.released, &answer.lanes()) {
            prop_assert_eq!(Some(&text), seen.get(&lane), "{:?} is said again differently", lane);
        }
    }

    /// What a schema binds leaves when all of it is valid, redactions included, and not at all otherwise.
    #[test]
    fn a_bound_answer_is_held_whole(answer in bound_answer(), cuts in cuts()) {
        let schema = json!({"type": "object", "properties": {"note": {"type": "string"}}, "required": ["note"]});
        let contract = Contract::compile(&schema, None, ContractSource::Policy, &Limits::default()).unwrap();
        let schema = Schema { digest: "0".repeat(64), contract: Arc::new(JsonContract(contract)) };
        let bindings = [Binding { id: "lock".into(), scope: Scope::Content(schema), terms: BUFFERED }];
        let surface = SURFACES[answer.surface];
        let whole = run(&TEXT, surface, &bindings, answer.stream.as_bytes(), &WHOLE);
        prop_assert_eq!(&run(&TEXT, surface, &bindings, answer.stream.as_bytes(), &cuts), &whole);
        let seen = read(&whole.released, &answer.lanes());
        let valid = answer.texts.iter().all(|(_, text)| text.starts_with('{'));
        prop_assert_eq!(whole.end.is_ok(), valid, "{:?}", whole.end);
        for (lane, text) in &answer.texts {
            let seen = seen.get(lane).map(String::as_str).unwrap_or_default();
            let wanted = if valid { text.replace(MASKED, MASK) } else { String::new() };
            prop_assert_eq!(seen, wanted, "{:?}", lane);
        }
        for (lane, text) in again(&whole.released, &answer.lanes()) {
            prop_assert_eq!(Some(&text), seen.get(&lane), "{:?} is said again differently", lane);
        }
    }

    /// Bytes that are no stream at all: no panic, and the cutting makes no difference.
    #[test]
    fn noise_is_cut_the_same(noise in proptest::collection::vec(any::<u8>(), 0..200), cuts in cuts(), surface in 0..SURFACES.len()) {
        let surface = SURFACES[surface];
        // Messages come cut already.
        prop_assume!(surface.live.is_none());
        let whole = run(&TEXT, surface, &[], &noise, &WHOLE);
        prop_assert_eq!(run(&TEXT, surface, &[], &noise, &cuts), whole);
    }

    /// A stream with bytes put in, taken out and changed.
    #[test]
    fn a_damaged_stream_is_cut_the_same(
        answer in answer(text()),
        damage in proptest::collection::vec((any::<usize>(), proptest::option::of(any::<u8>())), 0..4),
        cuts in cuts(),
    ) {
        let mut stream = answer.stream.clone().into_bytes();
        for (at, byte) in damage {
            let at = at % stream.len();
            match byte {
                Some(byte) => stream[at] = byte,
                None => drop(stream.remove(at)),
            }
        }
        let surface = SURFACES[answer.surface];
        let whole = run(&TEXT, surface, &[], &stream, &WHOLE);
        prop_assert_eq!(run(&TEXT, surface, &[], &stream, &cuts), whole);
    }
}

/// What is held has a limit, and so has what is kept of a call.
#[test]
fn more_than_can_be_held_ends_the_stream() {
    let mut guard = StreamGuard::new(SURFACES[0], Arc::clone(&TEXT.engine), judge(&TEXT), Vec::new());
    let mut out = Vec::new();
    guard.feed(format!("data: {}\n\n", Lane::Content(0).event("Project ")).as_bytes(), NOW, &mut out).unwrap();
    let megabyte = format!(": {}\n\n", "x".repeat(1 << 20));
    let block = (0..HELD_BYTES_MAX >> 20).find_map(|_| guard.feed(megabyte.as_bytes(), NOW, &mut out).err()).unwrap();
    assert_eq!((block.cause, out.len()), (Cause::BadAnswer, 0));
    assert!(guard.report.gaps.contains(&Gap::Oversize));

    let mut guard = StreamGuard::new(SURFACES[0], Arc::clone(&TOOLS.engine), judge(&TOOLS), Vec::new());
    let piece = format!("data: {}\n\n", Lane::Tool(0).event(&"x".repeat(1 << 19)));
    (0..9).for_each(|_| guard.feed(piece.as_bytes(), NOW, &mut out).unwrap());
    assert_eq!(guard.finish(NOW).unwrap_err().cause, Cause::BadAnswer);
    assert!(guard.report.gaps.contains(&Gap::Oversize) && out.is_empty());
}

/// One character in two halves, in two events.
#[test]
fn a_character_in_two_halves_is_one() {
    let stream = |pieces: &[&str]| -> Vec<u8> {
        pieces
            .iter()
            .map(|piece| format!("data: {}\n\n", Lane::Content(0).event(piece)))
            .collect::<String>()
            .into_bytes()
    };
    let whole = stream(&["An owl \\ud83e", "\\udd89 and a fox \\ud83e", "\\udd8a."]);
    let got = run(&TEXT, SURFACES[0], &[], &whole, &WHOLE);
    assert_eq!(got.end, Ok(()));
    assert_eq!(
        String::from_utf8(got.released).unwrap(),
        String::from_utf8(stream(&["An [REDACTED:masked]", " and a fox \\ud83e", "\\udd8a."])).unwrap()
    );
}
