//! The leak matrix over everything that the coverage map names: a forbidden text is put into each place of each surface's
//! tables, in requests, answers and streams, whole and in pieces, and looked for on the other side. The places come from
//! `clyra coverage`, what is looked for and how does not.
//!
//! `CLYRA_PRINT_MATRIX=1` prints the table.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use clyra::surface::coverage::{Part, Spot};
use clyra::surface::{Answers, Channel, SURFACES, Surface};
use clyra::wire::{Framing, event_stream};
use clyra_simulator::{Options, SCRIPT_HEADER, Scripted, Simulator};
use clyra_tests::client::{Answer, send};
use clyra_tests::recorded::Random;
use clyra_tests::sidecar::Sidecar;
use clyra_tests::texts::{events, is_clyra_error};
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const LITERAL: &str = "Project Nightjar";
const TEXT: &str = "It is Project Nightjar, as planned.";
const MASK: &str = "[REDACTED:restricted]";

fn policy(action: &str) -> String {
    let rule = |phase: &str| {
        format!(
            "  - id: no-codename-{phase}\n    phase: {phase}\n    when: findings.exists(f, f.class == \"restricted\")\n    \
             action: {action}\n    reason: The code name stays inside.\n"
        )
    };
    format!(
        "version: 1\nmode: enforce\ndefaults: {{ budget_ms: {{ request: 60000 }} }}\ndetectors:\n  patterns:\n    \
         - {{ id: codename, literal: \"{LITERAL}\", class: restricted, score: 1.0 }}\nrules:\n{}{}",
        rule("request"),
        rule("response")
    )
}

/// How a streamed text is cut: after these characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    Whole,
    At(usize),
    Every,
}

#[derive(Debug, Clone)]
struct Case {
    surface: &'static Surface,
    spot: Spot,
    redact: bool,
    cut: Cut,
}

/// A document with `leaf` at `path`, on top of `base`.
fn document(base: &Value, path: &str, leaf: &Value) -> Value {
    let mut out = base.clone();
    let mut at = &mut out;
    for step in path.split('.') {
        at = if step == "*" {
            if !at.is_array() {
                *at = json!([null]);
            }
            &mut at[0]
        } else {
            if !at.is_object() {
                *at = Value::Object(Map::new());
            }
            &mut at[step]
        };
    }
    *at = leaf.clone();
    out
}

/// Every string at `path`, joined.
fn read(document: &Value, path: &[&str]) -> String {
    match (path, document) {
        ([], Value::String(text)) => text.clone(),
        ([], other) => other.to_string(),
        (["*", rest @ ..], Value::Array(elements)) => elements.iter().map(|element| read(element, rest)).collect(),
        ([name, rest @ ..], Value::Object(members)) => members.get(*name).map(|m| read(m, rest)).unwrap_or_default(),
        _ => String::new(),
    }
}

impl Case {
    fn leaf(&self, text: &str) -> Value {
        if self.spot.json && !(self.spot.pieces && self.spot.part == Part::Stream) {
            json!({"note": text})
        } else {
            text.into()
        }
    }

    /// The text in the pieces that the events carry.
    fn pieces(&self) -> Vec<String> {
        let whole = if self.spot.json { json!({"note": TEXT}).to_string() } else { TEXT.to_owned() };
        match self.cut {
            Cut::Every if self.spot.pieces => whole.chars().map(String::from).collect(),
            Cut::At(at) if self.spot.pieces => vec![whole[..at].to_owned(), whole[at..].to_owned()],
            _ => vec![whole],
        }
    }

    fn answer(&self) -> (&'static str, Vec<u8>) {
        let base = serde_json::from_str(&self.spot.event).unwrap();
        if self.spot.part != Part::Stream {
            return ("application/json", document(&base, &self.spot.path, &self.leaf(TEXT)).to_string().into_bytes());
        }
        let pieces = if self.spot.pieces {
            self.pieces().iter().map(|piece| Value::from(piece.as_str())).collect()
        } else {
            vec![self.leaf(TEXT)]
        };
        let mut out = Vec::new();
        for piece in pieces {
            let event = document(&base, &self.spot.path, &piece).to_string();
            match self.surface.framing {
                Framing::Sse => out.extend_from_slice(format!("data: {event}\n\n").as_bytes()),
                Framing::Lines => out.extend_from_slice(format!("{event}\n").as_bytes()),
                Framing::Messages => unreachable!("sessions have a matrix of their own"),
                Framing::EventStream => {
                    let headers = [(":message-type", "event"), (":event-type", "any")];
                    out.extend_from_slice(&event_stream::message(&headers, Bytes::from(event)).unwrap());
                }
            }
        }
        (self.surface.framing.media_type(), out)
    }

    fn request(&self) -> (String, String, Vec<u8>) {
        let stream = self.spot.part == Part::Stream;
        // Where streams have an endpoint of their own, it is the last.
        let routes = self.surface.routes;
        let by_route = routes.iter().any(|route| route.to_ascii_lowercase().contains("stream"));
        let route = if stream && by_route { routes.last() } else { routes.first() }.unwrap();
        let (method, path) = route.split_once(' ').unwrap();
        let base = json!({"model": "m", "stream": stream});
        let body = match self.spot.part {
            Part::Request => document(&base, &self.spot.path, &self.leaf(TEXT)),
            _ => base,
        };
        let body = if method == "GET" { Vec::new() } else { body.to_string().into_bytes() };
        let mut path = path.replace(['{', '}'], "");
        if stream && self.surface.id == "gemini.generate" {
            path += "?alt=sse";
        }
        (method.to_owned(), path, body)
    }

    /// What is wrong with what came out at the other side; `None` if nothing is.
    fn judge(&self, answer: &Answer, sent: Option<&[u8]>) -> Option<String> {
        let (body, text) = (answer.body(), answer.text());
        let path: Vec<&str> = self.spot.path.split('.').collect();
        if self.spot.part == Part::Request {
            return match (self.redact, sent) {
                (false, Some(_)) => Some("LEAK: the request was sent".into()),
                (false, None) => {
                    // Errors of JSON-RPC come where HTTP went well.
                    let status = if self.surface.id == "mcp" { answer.status.as_u16() } else { 400 };
                    (answer.status.as_u16() != status || !is_clyra_error(&text)).then(|| format!("no block: {text}"))
                }
                (true, None) => Some(format!("not sent: {} {text}", answer.status)),
                (true, Some(sent)) => {
                    let seen = read(&serde_json::from_slice(sent).unwrap(), &path);
                    (!seen.contains(MASK) || seen.contains("Nightjar")).then(|| format!("LEAK or lost: {seen:?}"))
                }
            };
        }
        let said = if self.spot.part == Part::Stream {
            events(&body)
        } else {
            serde_json::from_slice(&body).into_iter().collect()
        };
        let seen: String = said.iter().map(|event| read(event, &path)).collect();
        if text.contains(LITERAL) || seen.contains("Project N") || seen.contains("tjar") {
            return Some(format!("LEAK: {seen:?}"));
        }
        if !answer.complete {
            return Some("the message was cut off".into());
        }
        if !self.redact {
            let told = is_clyra_error(&text) || events(&body).iter().any(|event| event.get("clyra").is_some());
            let before = self.pieces().concat();
            let before = &before[..before.find("Project").unwrap()];
            // An HTTP error is Clyra's own word, whatever its members are called.
            let shown = if answer.status == 200 { seen.as_str() } else { "" };
            return (!told || !before.starts_with(shown))
                .then(|| format!("no block: {} {seen:?} {text}", answer.status));
        }
        // Tokens that repeat a text go altogether.
        let tokens = self.spot.channels == [Channel::Logprobs];
        (answer.status != 200 || !tokens && !seen.contains(MASK)).then(|| format!("{} {seen:?} {text}", answer.status))
    }
}

fn cases(redact: bool) -> Vec<Case> {
    let mut out = Vec::new();
    for surface in SURFACES.into_iter().filter(|surface| surface.live.is_none()) {
        // What all events of a surface have is tried in one of them.
        let mut common = BTreeSet::new();
        let mut fresh = |spot: &Spot| {
            spot.part != Part::Stream || spot.channels != [Channel::Metadata] || common.insert(spot.path.clone())
        };
        for spot in surface.spots().into_iter().filter(|spot| !spot.media && fresh(spot)) {
            // The same tables once more.
            if spot.part == Part::Stream && surface.id == "openai.responses.stored" {
                continue;
            }
            // Of endpoints that are only read, the answers.
            if spot.part == Part::Request && surface.routes[0].starts_with("GET ") {
                continue;
            }
            if spot.part == Part::Answer && surface.answers == Answers::Events {
                continue;
            }
            let cuts: &[Cut] = if spot.part == Part::Stream && spot.pieces {
                &[Cut::Whole, Cut::Every, Cut::At(15), Cut::At(19), Cut::At(24)]
            } else {
                &[Cut::Whole]
            };
            out.extend(cuts.iter().map(|cut| Case { surface, spot: spot.clone(), redact, cut: *cut }));
        }
    }
    out
}

type Table = BTreeMap<(&'static str, &'static str), BTreeMap<Part, (usize, usize)>>;

async fn ask(address: SocketAddr, case: Case, id: String) -> (Case, String, Answer) {
    let (method, path, body) = case.request();
    let method = method.parse().unwrap();
    let answer = send(address, method, &path, &[(SCRIPT_HEADER, &id)], body).await;
    (case, id, answer)
}

async fn run(redact: bool, table: &mut Table, failures: &mut Vec<String>) {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(&policy(if redact { "redact" } else { "block" }), &simulator.url()).await;
    let permits = Arc::new(Semaphore::new(16));
    let (mut running, mut random) = (JoinSet::new(), Random(7));
    for (number, case) in cases(redact).into_iter().enumerate() {
        let id = format!("case-{number}");
        let (kind, answer) = case.answer();
        let answer = if case.spot.part == Part::Request { b"{}".to_vec() } else { answer };
        let most = [1, 5, 64, 4096][random.below(4)];
        simulator.script_for(
            id.clone(),
            Scripted {
                status: 200,
                headers: vec![("content-type".into(), kind.into())],
                chunks: random.cut(&answer, most),
                ..Scripted::default()
            },
        );
        let (permits, address) = (Arc::clone(&permits), sidecar.address);
        running.spawn(async move {
            let _permit = permits.acquire().await.unwrap();
            ask(address, case, id).await
        });
    }
    let mut answers = Vec::new();
    while let Some(done) = running.join_next().await {
        answers.push(done.unwrap());
    }
    let sent: BTreeMap<String, Bytes> = simulator
        .requests()
        .into_iter()
        .map(|request| (request.headers[SCRIPT_HEADER].to_str().unwrap().to_owned(), request.body))
        .collect();
    for (case, id, answer) in answers {
        let fault = case.judge(&answer, sent.get(&id).map(Bytes::as_ref));
        for channel in case.spot.channels {
            let cell = table.entry((case.surface.id, channel.as_str())).or_default().entry(case.spot.part).or_default();
            cell.1 += 1;
            cell.0 += usize::from(fault.is_none());
        }
        if let Some(fault) = fault {
            let Case { surface, spot, redact, cut } = &case;
            failures.push(format!(
                "{} {:?} {} {} redact={redact} {cut:?}: {fault}",
                surface.id, spot.part, spot.path, spot.event
            ));
        }
    }
    let verdict = sidecar.stop().await.verify();
    assert!(verdict.ok, "{:?}", verdict.findings);
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_leaks_anywhere_that_the_map_names() {
    let (mut table, mut failures) = (Table::new(), Vec::new());
    run(false, &mut table, &mut failures).await;
    run(true, &mut table, &mut failures).await;
    if std::env::var_os("CLYRA_PRINT_MATRIX").is_some() {
        println!("{:<26}{:<18}{:>12}{:>12}{:>12}", "surface", "channel", "request", "answer", "stream");
        for ((surface, channel), row) in &table {
            let cell = |part| row.get(&part).map_or("-".to_owned(), |(good, all)| format!("{good}/{all}"));
            println!(
                "{surface:<26}{channel:<18}{:>12}{:>12}{:>12}",
                cell(Part::Request),
                cell(Part::Answer),
                cell(Part::Stream)
            );
        }
    }
    let all = cases(false).len() * 2;
    println!("{} of {all} places and cuts without a leak", all - failures.len());
    assert!(all > 3_000, "{all} cases");
    assert!(failures.is_empty(), "{} of {all}:\n{}", failures.len(), failures[..failures.len().min(40)].join("\n"));
}
