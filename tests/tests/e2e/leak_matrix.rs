//! The leak matrix: every channel of every surface, plain and streamed, whole, byte by byte and cut at every offset. A
//! forbidden literal must never reach the client, nor any byte after the start of its match; a redacted one must be gone
//! and everything else be there.
//!
//! `CLYRA_PRINT_MATRIX=1` prints the table.

use std::collections::BTreeMap;
use std::sync::Arc;

use clyra_simulator::{Options, Simulator, directive_line};
use clyra_tests::client::post;
use clyra_tests::sidecar::Sidecar;
use clyra_tests::texts::{is_clyra_error, texts};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const LITERAL: &str = "Project Nightjar";
const PLAIN: &str = "It is Project Nightjar, as planned.";
const ARGUMENTS: &str = r#"{"note":"It is Project Nightjar, as planned."}"#;
/// The same arguments to whoever parses them.
const ESCAPED_ARGUMENTS: &str = r#"{"note":"It is Project\u0020Nig\u0068tjar, as planned."}"#;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Surface {
    Chat,
    Responses,
    Messages,
    Gemini,
    /// The stream as one JSON array.
    GeminiArray,
}

impl Surface {
    fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Responses => "responses",
            Self::Messages => "messages",
            Self::Gemini => "gemini",
            Self::GeminiArray => "gemini array",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Channel {
    Content,
    Choice1,
    ToolArguments,
    EscapedArguments,
    FunctionCall,
    Reasoning,
    Refusal,
    Thinking,
    /// The input of a custom tool of responses.
    CustomInput,
}

impl Channel {
    const ALL: [(Surface, Channel); 24] = [
        (Surface::Responses, Channel::Content),
        (Surface::Responses, Channel::ToolArguments),
        (Surface::Responses, Channel::EscapedArguments),
        (Surface::Responses, Channel::CustomInput),
        (Surface::Responses, Channel::Reasoning),
        (Surface::Responses, Channel::Thinking),
        (Surface::Responses, Channel::Refusal),
        (Surface::Gemini, Channel::Content),
        (Surface::Gemini, Channel::Choice1),
        (Surface::Gemini, Channel::ToolArguments),
        (Surface::Gemini, Channel::Thinking),
        (Surface::GeminiArray, Channel::Content),
        (Surface::GeminiArray, Channel::ToolArguments),
        (Surface::GeminiArray, Channel::Thinking),
        (Surface::Chat, Channel::Content),
        (Surface::Chat, Channel::Choice1),
        (Surface::Chat, Channel::ToolArguments),
        (Surface::Chat, Channel::EscapedArguments),
        (Surface::Chat, Channel::FunctionCall),
        (Surface::Chat, Channel::Reasoning),
        (Surface::Chat, Channel::Refusal),
        (Surface::Messages, Channel::Content),
        (Surface::Messages, Channel::ToolArguments),
        (Surface::Messages, Channel::Thinking),
    ];

    fn text(self) -> &'static str {
        match self {
            Self::ToolArguments | Self::FunctionCall | Self::CustomInput => ARGUMENTS,
            Self::EscapedArguments => ESCAPED_ARGUMENTS,
            _ => PLAIN,
        }
    }

    fn directive(self) -> Value {
        let text = self.text();
        match self {
            Self::Content => json!({"content": text}),
            Self::Choice1 => json!({"choices": [{"content": "All is well here."}, {"content": text}]}),
            Self::ToolArguments | Self::EscapedArguments => json!({"tool": [{"name": "note", "arguments": text}]}),
            Self::FunctionCall | Self::CustomInput => json!({"function_call": {"name": "note", "arguments": text}}),
            Self::Reasoning => json!({"reasoning": text, "content": "Done."}),
            Self::Refusal => json!({"refusal": text}),
            Self::Thinking => json!({"thinking": text, "content": "Done."}),
        }
    }

    /// Where an independent reader finds it.
    fn key(self, surface: Surface) -> &'static str {
        match (self, surface) {
            // Reasoning is an item of its own, before the content.
            (Self::Content, _) => "content/0",
            (Self::Choice1, _) => "content/1",
            (Self::CustomInput, _) => "custom_input/0",
            (Self::ToolArguments | Self::EscapedArguments, Surface::Chat) => "tool_arguments/0/0",
            (Self::ToolArguments | Self::EscapedArguments, _) => "tool_arguments/0",
            (Self::FunctionCall, _) => "function_call/0",
            (Self::Reasoning, _) => "reasoning/0",
            (Self::Refusal, _) => "refusal/0",
            (Self::Thinking, _) => "thinking/0",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Split {
    Whole,
    OneByte,
    At(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Block,
    Redact,
}

fn policy(action: Action) -> String {
    let action = if action == Action::Block { "block" } else { "redact" };
    format!(
        "version: 1
mode: enforce
defaults: {{ budget_ms: {{ request: 60000 }} }}
detectors:
  patterns:
    - {{ id: codename, literal: \"{LITERAL}\", class: restricted, score: 1.0 }}
rules:
  - id: no-codename
    phase: response
    when: findings.exists(f, f.class == \"restricted\")
    action: {action}
    reason: The code name stays inside.
"
    )
}

#[derive(Debug, Clone, Copy)]
struct Case {
    surface: Surface,
    channel: Channel,
    stream: bool,
    split: Split,
    action: Action,
}

impl Case {
    fn request(self) -> (&'static str, Vec<u8>) {
        let mut directive = self.channel.directive();
        match self.split {
            Split::Whole => {
                if self.stream {
                    directive["split_at"] = json!([]);
                }
            }
            Split::OneByte => {
                directive["split"] = json!(1);
                directive["write_bytes"] = json!(1);
            }
            Split::At(offset) => directive["split_at"] = json!([offset]),
        }
        let prompt = format!("Tell me.\n{}", directive_line(&directive));
        let messages = json!([{"role": "user", "content": prompt}]);
        let (path, body) = match (self.surface, self.stream) {
            (Surface::Chat, stream) => {
                ("/v1/chat/completions", json!({"model": "m", "stream": stream, "messages": messages}))
            }
            (Surface::Responses, stream) => {
                ("/v1/responses", json!({"model": "m", "stream": stream, "input": messages}))
            }
            (Surface::Messages, stream) => {
                ("/v1/messages", json!({"model": "m", "stream": stream, "max_tokens": 100, "messages": messages}))
            }
            (surface, stream) => {
                let path = match (surface, stream) {
                    (_, false) => "/v1beta/models/m:generateContent",
                    (Surface::GeminiArray, true) => "/v1beta/models/m:streamGenerateContent",
                    (_, true) => "/v1beta/models/m:streamGenerateContent?alt=sse",
                };
                (path, json!({"contents": [{"role": "user", "parts": [{"text": prompt}]}]}))
            }
        };
        (path, body.to_string().into_bytes())
    }

    /// What is wrong with what the client saw; `None` if nothing is.
    fn judge(self, status: u16, complete: bool, body: &str) -> Option<String> {
        let read = texts(body);
        let seen = read.get(self.channel.key(self.surface)).map(String::as_str).unwrap_or_default();
        let wanted = self.channel.text();
        let start = wanted.find("Project").unwrap();
        if body.contains(LITERAL) || seen.contains("Nightjar") || seen.contains("tjar") {
            return Some(format!("LEAK: {seen:?}"));
        }
        if !complete {
            return Some("the message was cut off".into());
        }
        match self.action {
            Action::Block => {
                let held_whole = !self.stream || self.surface == Surface::GeminiArray;
                if !is_clyra_error(body) || (held_whole && status != 400) {
                    return Some(format!("no block: {status} {body}"));
                }
                let key = format!("{}@", self.channel.key(self.surface));
                if let Some((stage, said)) = read.iter().find(|(stage, _)| stage.starts_with(&key)) {
                    return Some(format!("said again at {stage}: {said:?}"));
                }
                // Nothing behind the start of the match: what was shown is a prefix of what stands before it.
                (!wanted[..start].starts_with(seen)).then(|| format!("shown behind the start: {seen:?}"))
            }
            Action::Redact => {
                let end = wanted.find(", as planned").unwrap();
                let mut clean = format!("{}[REDACTED:restricted]{}", &wanted[..start], &wanted[end..]);
                let is_value = match self.surface {
                    Surface::Messages => !self.stream,
                    Surface::Gemini | Surface::GeminiArray => true,
                    Surface::Chat | Surface::Responses => false,
                };
                if is_value && wanted.starts_with('{') {
                    // Arguments are a value there, and the reader spells it in its own way.
                    clean = serde_json::from_str::<Value>(&clean).unwrap().to_string();
                }
                if self.surface == Surface::Responses && self.stream {
                    let key = format!("{}@", self.channel.key(self.surface));
                    let again: Vec<_> = read.iter().filter(|(stage, _)| stage.starts_with(&key)).collect();
                    // Calls have no parts.
                    if again.len() < 3 || again.iter().any(|(_, said)| **said != clean) {
                        return Some(format!("said again differently: {again:?}"));
                    }
                }
                (seen != clean || status != 200).then(|| format!("{status}, not as it should be: {seen:?}"))
            }
        }
    }
}

fn cases(action: Action) -> Vec<Case> {
    let mut out = Vec::new();
    for (surface, channel) in Channel::ALL {
        if surface != Surface::GeminiArray {
            out.push(Case { surface, channel, stream: false, split: Split::Whole, action });
            out.push(Case { surface, channel, stream: false, split: Split::OneByte, action });
        }
        out.push(Case { surface, channel, stream: true, split: Split::Whole, action });
        out.push(Case { surface, channel, stream: true, split: Split::OneByte, action });
        let offsets = 1..channel.text().chars().count();
        out.extend(offsets.map(|at| Case { surface, channel, stream: true, split: Split::At(at), action }));
    }
    out
}

type Table = BTreeMap<(Surface, &'static str, bool), BTreeMap<&'static str, (usize, usize)>>;

async fn run(action: Action, table: &mut Table, failures: &mut Vec<String>) {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(&policy(action), &simulator.url()).await;
    let address = sidecar.address;
    let permits = Arc::new(Semaphore::new(16));
    let mut running = JoinSet::new();
    for case in cases(action) {
        let permits = Arc::clone(&permits);
        running.spawn(async move {
            let _permit = permits.acquire().await.unwrap();
            let (path, body) = case.request();
            let answer = post(address, path, &[], body).await;
            (case, case.judge(answer.status.as_u16(), answer.complete, &answer.text()))
        });
    }
    while let Some(done) = running.join_next().await {
        let (case, fault) = done.unwrap();
        let column = match (case.action, case.split) {
            (Action::Block, Split::Whole) => "block whole",
            (Action::Block, Split::OneByte) => "block 1 byte",
            (Action::Block, Split::At(_)) => "block any cut",
            (Action::Redact, Split::Whole) => "redact whole",
            (Action::Redact, Split::OneByte) => "redact 1 byte",
            (Action::Redact, Split::At(_)) => "redact any cut",
        };
        let name: &'static str = match case.channel {
            Channel::Content => "content",
            Channel::Choice1 => "choice 1",
            Channel::ToolArguments => "tool arguments",
            Channel::EscapedArguments => "tool arguments, escaped",
            Channel::FunctionCall => "function_call",
            Channel::Reasoning => "reasoning",
            Channel::Refusal => "refusal",
            Channel::Thinking => "thinking",
            Channel::CustomInput => "custom tool input",
        };
        let cell = table.entry((case.surface, name, case.stream)).or_default().entry(column).or_default();
        cell.1 += 1;
        match fault {
            None => cell.0 += 1,
            Some(fault) => failures.push(format!("{case:?}: {fault}")),
        }
    }
    let stopped = sidecar.stop().await;
    let verdict = stopped.verify();
    assert!(verdict.ok, "{:?}", verdict.findings);
    simulator.stop().await;
}

fn print(table: &Table) {
    let columns = ["block whole", "block 1 byte", "block any cut", "redact whole", "redact 1 byte", "redact any cut"];
    println!("{:<14}{:<26}{:<10}{}", "surface", "channel", "", columns.map(|c| format!("{c:>16}")).concat());
    for ((surface, channel, stream), row) in table {
        let cell = |column: &&str| match row.get(*column) {
            Some((good, all)) if good == all => format!("{:>16}", format!("ok {good}/{all}")),
            Some((good, all)) => format!("{:>16}", format!("LEAK {good}/{all}")),
            None => format!("{:>16}", "-"),
        };
        let surface = surface.name();
        let mode = if *stream { "streamed" } else { "plain" };
        println!("{surface:<14}{channel:<26}{mode:<10}{}", columns.iter().map(cell).collect::<String>());
    }
    let (good, all) = table.values().flat_map(|r| r.values()).fold((0, 0), |sum, c| (sum.0 + c.0, sum.1 + c.1));
    println!("{good} of {all} exchanges without a leak");
}

#[tokio::test(flavor = "multi_thread")]
async fn leak_matrix() {
    let (mut table, mut failures) = (Table::new(), Vec::new());
    run(Action::Block, &mut table, &mut failures).await;
    run(Action::Redact, &mut table, &mut failures).await;
    if std::env::var_os("CLYRA_PRINT_MATRIX").is_some() {
        print(&table);
    }
    assert!(failures.is_empty(), "{} cells leak:\n{}", failures.len(), failures[..failures.len().min(20)].join("\n"));
}
