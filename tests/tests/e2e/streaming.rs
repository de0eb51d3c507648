//! Streams: their cadence, their bytes, and every way in which one can end early.

use std::time::Duration;

use bytes::Bytes;
use clyra_simulator::{Options, SCRIPT_HEADER, ScriptEnd, Scripted, Simulator};
use clyra_tests::ask::{Surface, cut_short, refused, replay};
use clyra_tests::client::{open, post};
use clyra_tests::journal::{of_exchange, receipts};
use clyra_tests::puppet::Puppet;
use clyra_tests::recorded::Random;
use clyra_tests::sidecar::Sidecar;
use clyra_tests::texts::{is_clyra_error, texts};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Something is looked for in every answer, so that what passes has passed a check.
const POLICY: &str = "version: 1
mode: enforce
defaults: { budget_ms: { request: 60000 } }
detectors:
  patterns:
    - { id: codename, literal: \"Project Nightjar\", class: restricted, score: 1.0 }
rules:
  - id: no-codename
    phase: response
    when: findings.exists(f, f.class == \"restricted\")
    action: block
    reason: The code name stays inside.
";

/// Clients that leave are noticed by then.
const CANCEL_MAX: Duration = Duration::from_secs(1);

fn words(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("word{number} ")).collect()
}

/// Each event reaches the client before the provider has written the next one: nothing is held that need not be.
#[tokio::test(flavor = "multi_thread")]
async fn no_event_waits_for_its_successor() {
    let upstream = Puppet::start().await;
    let sidecar = Sidecar::start(POLICY, &upstream.url()).await;
    for surface in Surface::ALL {
        let words = words(100);
        let events = surface.events(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let body = surface.request(true, "count").to_string().into_bytes();
        let client = tokio::spawn(open_owned(sidecar.address, surface.path(), body));
        let mut call = upstream.call().await;
        call.begin("text/event-stream").await;
        let (terminal, before) = events.split_last().unwrap();
        call.chunk(before[0].as_bytes()).await;
        let mut client = client.await.unwrap();
        for (number, event) in before.iter().enumerate() {
            if number > 0 {
                call.chunk(event.as_bytes()).await;
            }
            let piece = client.piece().await.unwrap_or_else(|| panic!("{surface:?}: the stream ended at {number}"));
            assert_eq!(piece, event.as_bytes(), "{surface:?}: event {number}");
        }
        call.chunk(terminal.as_bytes()).await;
        call.end().await;
        let rest = client.rest().await;
        assert_eq!((rest.text().as_str(), rest.complete), (terminal.as_str(), true), "{surface:?}");
    }
    assert!(sidecar.stop().await.verify().ok);
}

/// While the rest of a stream is held, comments come; they are part of the next event's leaf, and every other byte is as ever.
#[tokio::test(flavor = "multi_thread")]
async fn signs_of_life_come_while_events_are_held() {
    let upstream = Puppet::start().await;
    let often = |settings: &mut clyra::config::Settings| settings.limits.keep_alive = Duration::from_millis(50);
    let sidecar = Sidecar::start_with(POLICY, &upstream.url(), &[], often).await;
    // Not for Gemini, whose SDK for JavaScript reads no comments.
    for surface in Surface::ALL.into_iter().filter(|surface| *surface != Surface::Gemini) {
        let events = surface.events(&["Well. ", "It is Project Ni", "ghtfall"]);
        let held = events.len() - 2 - surface.closing();
        let body = surface.request(true, "count").to_string().into_bytes();
        let client = tokio::spawn(open_owned(sidecar.address, surface.path(), body));
        let mut call = upstream.call().await;
        call.begin("text/event-stream").await;
        call.chunk(events[..=held].concat().as_bytes()).await;
        let mut client = client.await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b": clyra\n: clyra\n") {
            seen.extend_from_slice(&client.piece().await.unwrap());
        }
        assert!(!String::from_utf8_lossy(&seen).contains("Project"), "{surface:?}");
        call.chunk(events[held + 1..].concat().as_bytes()).await;
        call.end().await;
        let rest = client.rest().await;
        let whole = String::from_utf8_lossy(&seen).into_owned() + &rest.text();
        assert!(rest.complete, "{surface:?}");
        assert_eq!(whole.replace(": clyra\n", ""), events.concat(), "{surface:?}");
        let (_, outcome) = sidecar.pair(rest.request_id());
        assert_eq!(outcome["stream"]["events"], events.len() as u64, "{outcome}");
    }
    assert!(sidecar.stop().await.verify().ok);
}

async fn open_owned(address: std::net::SocketAddr, path: &'static str, body: Vec<u8>) -> clyra_tests::client::Open {
    open(address, path, &[], body).await
}

/// What could be the start of something forbidden is held, together with all that comes behind it, and goes on in order as
/// soon as it cannot be any more.
#[tokio::test(flavor = "multi_thread")]
async fn only_what_may_be_a_match_is_held() {
    let upstream = Puppet::start().await;
    let sidecar = Sidecar::start(POLICY, &upstream.url()).await;
    for surface in Surface::ALL {
        let events = surface.events(&["Well. ", "It is ", "Project Ni", "ghtfall", " and Project ", "X.", " Bye"]);
        let opening = events.len() - 6 - surface.closing();
        let body = surface.request(true, "count").to_string().into_bytes();
        let client = tokio::spawn(open_owned(sidecar.address, surface.path(), body));
        let mut call = upstream.call().await;
        call.begin("text/event-stream").await;
        call.chunk(events[..opening].concat().as_bytes()).await;
        let mut client = client.await.unwrap();
        assert_eq!(client.piece().await.unwrap(), events[..opening].concat().as_bytes());
        // (write these, and these are there): a held event comes with the one that frees it.
        let mut at = opening;
        for count in [1, 2, 2, 1] {
            let group = &events[at..at + count];
            for event in group {
                call.chunk(event.as_bytes()).await;
            }
            let wanted = group.concat();
            let mut seen = Vec::new();
            while seen.len() < wanted.len() {
                seen.extend_from_slice(&client.piece().await.unwrap());
            }
            assert_eq!(String::from_utf8(seen).unwrap(), wanted, "{surface:?}");
            at += count;
        }
        call.chunk(events[at..].concat().as_bytes()).await;
        call.end().await;
        assert_eq!(client.rest().await.text(), events[at..].concat());
    }
    assert!(sidecar.stop().await.verify().ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stream_of_100_chunks_keeps_its_pace() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(POLICY, &simulator.url()).await;
    let mut running = JoinSet::new();
    for surface in Surface::BOTH {
        let address = sidecar.address;
        let body = surface.ask(true, &json!({"content": words(100).concat(), "delay_ms": 10}));
        running.spawn(async move { (surface, post(address, surface.path(), &[], body).await) });
    }
    while let Some(done) = running.join_next().await {
        let (surface, answer) = done.unwrap();
        assert!(answer.complete && answer.text().ends_with(surface.terminal()), "{}", answer.text());
        assert_eq!(texts(&answer.text())["content/0"], words(100).concat());
        let first = answer.pieces.iter().find(|(_, piece)| String::from_utf8_lossy(piece).contains("word0")).unwrap().0;
        let last = answer.pieces.last().unwrap().0;
        println!("{surface:?}: {} pieces, the first word after {first:?}, the end after {last:?}", answer.pieces.len());
        assert!(answer.pieces.len() >= 90, "{surface:?}: {} pieces for 100 chunks", answer.pieces.len());
        assert!(first < last / 2, "{surface:?}: the first word came after {first:?} of {last:?}");
    }
    sidecar.stop().await;
    simulator.stop().await;
}

/// The quirks of real streams, each byte kept: comments, carriage returns, fields that nobody reads, data over several
/// lines, members that no specification knows, spelling and white space of the JSON.
#[tokio::test(flavor = "multi_thread")]
async fn every_byte_of_a_clean_stream_is_kept() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(POLICY, &simulator.url()).await;
    let chat = [
        ": OPENROUTER PROCESSING\n\n",
        "\u{feff}: not at the start, so a comment no more\n\n",
        "retry: 10\nid: 7\nevent: message\ndata:{\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}\n\n",
        "data: {\"choices\": [ {\"delta\" : {\"content\":\"caf\\u00e9 \\/ \\ud83e\\udd89 é\"},\"index\":0 , \"x\":[1e0,-0.0,{}]}],\"obfuscation\":\"aaaa\"}\r\n\r\n",
        ": ping\r\n\r\n",
        "data: {\"choices\":[{\"index\":0,\ndata: \"delta\":{\"content\":\"two\"}}]}\n\n",
        "data\n\n",
        "unknown: field\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n",
        "\n\n\r\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\r\r",
        "data: [DONE]\n\n",
        ": after the end\n\n",
    ]
    .concat();
    let messages = Surface::Messages
        .events(&["a", "b"])
        .concat()
        .replace('\n', "\r\n")
        .replace("\"type\":\"text_delta\"", "\"x\":{\"y\":null},  \"type\":\"text_\\u0064elta\"");
    let mut random = Random(7);
    for (surface, stream) in [(Surface::Chat, chat), (Surface::Messages, messages)] {
        for most in [1, 3, 50, 5000] {
            let key = format!("{surface:?} {most}");
            simulator.script_for(key.as_str(), Scripted::sse(random.cut(stream.as_bytes(), most)));
            let body = surface.request(true, "x").to_string().into_bytes();
            let answer = post(sidecar.address, surface.path(), &[(SCRIPT_HEADER, &key)], body).await;
            assert_eq!(answer.text(), stream, "{key}");
            assert!(answer.complete && answer.status == 200);
            assert_eq!(answer.header("x-clyra-decision"), "allow");
            let event = sidecar.event(answer.request_id()).await;
            assert_eq!((&event["verdict"], &event["coverage_gaps"]), (&json!("executed"), &json!([])), "{event}");
        }
    }
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_no_json_ends_the_stream_unless_the_policy_lets_it_pass() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let blocking = Sidecar::start(POLICY, &simulator.url()).await;
    let allowing = POLICY.replace("defaults: {", "defaults: { on_error: allow,");
    let allowing = Sidecar::start(&allowing, &simulator.url()).await;
    for surface in Surface::ALL {
        let directive = json!({"content": "one two three four", "malformed_event": surface.opening() + 1});
        let answer = post(blocking.address, surface.path(), &[], surface.ask(true, &directive)).await;
        let (before, refusal) = cut_short(surface, &answer);
        assert_eq!((refusal.code.as_str(), refusal.rule), ("upstream_unreadable", None));
        assert!(texts(&before)["content/0"].starts_with("one"), "{before}");
        assert!(!before.contains("four"), "{before}");
        let event = blocking.event(answer.request_id()).await;
        assert_eq!(event["verdict"], "errored", "{event}");
        assert_eq!(event["coverage_gaps"], json!(["unreadable"]), "{event}");

        let direct = replay(&simulator, surface, true, &directive).await;
        let body = surface.request(true, "x").to_string().into_bytes();
        let answer = post(allowing.address, surface.path(), &[], body).await;
        assert_eq!(answer.body(), direct, "{}", answer.text());
        let (_, outcome) = allowing.pair(answer.request_id());
        assert_eq!(outcome["coverage"], json!({"level": "partial", "reasons": ["unreadable"]}), "{outcome}");
        assert_eq!(outcome["verdict"], "executed");

        // What passes because nobody can read it is looked at as it is.
        let leak = surface.events(&["fine", "x", "y"])[..3].concat() + "data: {broken Project Nightjar\n\n";
        simulator.script(Scripted::sse(vec![Bytes::from(leak)]));
        let answer = post(allowing.address, surface.path(), &[], surface.request(true, "x").to_string().into()).await;
        assert!(!answer.text().contains("Nightjar"), "{}", answer.text());
        assert!(is_clyra_error(&answer.text()));
    }
    assert!(blocking.stop().await.verify().ok);
    assert!(allowing.stop().await.verify().ok);
    simulator.stop().await;
}

/// A client that leaves stops the provider within a second, whatever Clyra is doing, and is on record as such.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_stops_the_provider() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(POLICY, &simulator.url()).await;
    let mut cancelled = 0;
    for surface in Surface::BOTH {
        // Opening events, and as many of the text.
        let opening = if surface == Surface::Chat { 1 } else { 3 };
        let phases = [
            ("before the head", true, json!({"first_delay_ms": 60_000})),
            ("before the head of a plain answer", false, json!({"first_delay_ms": 60_000})),
            ("in the middle of a plain answer", false, json!({"stall_after": 0})),
            ("in the middle of a stream", true, json!({"content": "one two three", "stall_after": opening + 2})),
            (
                "while text is held",
                true,
                json!({"content": "Project Nightingale", "split": 4, "stall_after": opening + 2}),
            ),
        ];
        for (phase, stream, directive) in phases {
            let seen = simulator.requests().len();
            let body = surface.ask(stream, &directive);
            let mut client = tokio::spawn(open_owned(sidecar.address, surface.path(), body));
            if phase.contains("stream") || phase.contains("held") {
                let mut opened = (&mut client).await.unwrap();
                let mut text = String::new();
                let wanted = if phase.contains("held") { "role\":\"assistant" } else { "two" };
                while !text.contains(wanted) {
                    text += std::str::from_utf8(&opened.piece().await.unwrap()).unwrap();
                }
                assert!(!text.contains("Proj"), "{text}");
                drop(opened);
            } else {
                while simulator.requests().len() == seen {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                client.abort();
            }
            cancelled += 1;
            assert!(simulator.wait_cancelled(cancelled, CANCEL_MAX).await, "{surface:?} {phase}: the provider goes on");
        }
    }
    let stopped = sidecar.stop().await;
    let events = stopped.events();
    assert_eq!(events.len(), cancelled, "{events:#?}");
    let all = stopped.receipts();
    for event in &events {
        assert_eq!(event["verdict"], "aborted_by_client", "{event}");
        let outcome = &of_exchange(&all, event["request_id"].as_str().unwrap())[1];
        assert_eq!(outcome["verdict"], "aborted_by_client", "{outcome}");
    }
    assert!(stopped.verify().ok);
    simulator.stop().await;
}

/// A provider that goes away never looks like an answer that is complete.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_ends_in_an_error() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(POLICY, &simulator.url()).await;
    for surface in Surface::ALL {
        let directive = json!({"content": "one two three four", "cut_after": surface.opening() + 2});
        let answer = post(sidecar.address, surface.path(), &[], surface.ask(true, &directive)).await;
        let (before, refusal) = cut_short(surface, &answer);
        assert_eq!(refusal.code, "upstream_interrupted");
        assert!(texts(&before)["content/0"].starts_with("one"), "{before}");
        let event = sidecar.event(answer.request_id()).await;
        assert_eq!((&event["verdict"], &event["code"]), (&json!("errored"), &json!("upstream_interrupted")), "{event}");
        let (_, outcome) = sidecar.pair(answer.request_id());
        assert_eq!(outcome["verdict"], "errored");
        assert_eq!(outcome["coverage"]["reasons"], json!(["truncated"]), "{outcome}");

        // Nothing had left yet: a real HTTP error.
        let cut = |text: &str| {
            let whole = Scripted::sse(vec![Bytes::copy_from_slice(text.as_bytes())]);
            Scripted { end: ScriptEnd::Cut, ..whole }
        };
        simulator.script(cut("data: {"));
        let body = surface.request(true, "x").to_string().into_bytes();
        let streamed = post(sidecar.address, surface.path(), &[], body).await;
        let plain = surface.ask(false, &json!({"cut_after": 0}));
        let plain = post(sidecar.address, surface.at(false), &[], plain).await;
        for answer in [streamed, plain] {
            refused(surface, 502, "upstream_interrupted", &answer);
            assert_eq!(sidecar.event(answer.request_id()).await["verdict"], "errored");
        }

        // In the middle of an event: the half of it does not leave.
        let half = surface.events(&["one", "two"]).concat();
        let half = &half[..half.find("two").unwrap()];
        simulator.script(cut(half));
        let answer = post(sidecar.address, surface.path(), &[], surface.request(true, "x").to_string().into()).await;
        let (before, _) = cut_short(surface, &answer);
        assert_eq!(texts(&before)["content/0"], "one", "{before}");
        assert!(half.starts_with(&before), "{before}");
    }
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_provider_and_an_end_without_a_mark_pass_through() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(POLICY, &simulator.url()).await;
    for surface in Surface::ALL {
        let events = surface.events(&["one", "two"]);
        let text = events.len() - surface.closing();
        let error = match surface {
            Surface::Chat => {
                "data: {\"error\":{\"message\":\"The server had an error\",\"type\":\"server_error\",\"param\":null,\"code\":null}}\n\n"
            }
            Surface::Responses => {
                "event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"Oh\",\"param\":null,\"sequence_number\":9}\n\n"
            }
            Surface::Gemini => {
                "data: {\"error\":{\"code\":503,\"message\":\"Overloaded\",\"status\":\"UNAVAILABLE\"}}\r\n\r\n"
            }
            Surface::Messages => {
                "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n"
            }
        };
        let without_mark = events[..events.len() - 1].concat();
        let unfinished_line = without_mark.trim_end().to_owned();
        for stream in [events[..text].concat() + error, without_mark, unfinished_line, String::new()] {
            simulator.script(Scripted::sse(vec![Bytes::from(stream.clone())]));
            let body = surface.request(true, "x").to_string().into_bytes();
            let answer = post(sidecar.address, surface.path(), &[], body).await;
            assert_eq!((answer.text(), answer.complete, answer.status.as_u16()), (stream, true, 200));
            let (_, outcome) = sidecar.pair(answer.request_id());
            assert_eq!(outcome["verdict"], "executed");
        }
    }
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}

/// Once a client sees the end of an answer, its outcome is in the journal: looked up while the sidecar runs.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_an_answer_is_never_ahead_of_its_receipt() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(POLICY, &simulator.url()).await;
    let mut running = JoinSet::new();
    for number in 0..40 {
        let surface = Surface::BOTH[number % 2];
        let stream = number % 4 < 3;
        let (address, data_dir) = (sidecar.address, sidecar.data_dir());
        running.spawn(async move {
            let body = surface.ask(stream, &json!({"content": "one two three", "delay_ms": number}));
            let mut client = open(address, surface.path(), &[], body).await;
            let request_id = client.headers["x-clyra-request-id"].to_str().unwrap().to_owned();
            // The first byte is not ahead of the attempt, nor is the last one of the outcome.
            let kinds = |receipts: Vec<Value>| -> Vec<Value> {
                of_exchange(&receipts, &request_id).iter().map(|receipt| receipt["kind"].clone()).collect()
            };
            assert!(kinds(receipts(&data_dir)).contains(&json!("attempt")), "an answer begins without an attempt");
            let (mut text, mark) = (String::new(), if stream { surface.terminal() } else { "}" });
            while !text.ends_with(mark) {
                text += std::str::from_utf8(&client.piece().await.unwrap()).unwrap();
            }
            assert_eq!(kinds(receipts(&data_dir)), ["attempt", "outcome"], "an answer ends without an outcome");
            client.rest().await.complete
        });
    }
    while let Some(done) = running.join_next().await {
        assert!(done.unwrap());
    }
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}

/// What was not a stream when it came, though one was asked for, and the other way round.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_read_as_one_whatever_it_calls_itself() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(POLICY, &simulator.url()).await;
    for surface in Surface::BOTH {
        let clean = surface.events(&["one"]).concat();
        let forbidden = surface.events(&["one", "Project ", "Nightjar", "two"]).concat();
        for kind in ["application/octet-stream", "text/plain", "", "TEXT/EVENT-STREAM ; charset=x"] {
            for (stream, leaks) in [(&clean, false), (&forbidden, true)] {
                simulator.script(Scripted {
                    headers: vec![("content-type".into(), kind.into())],
                    chunks: Random(3).cut(stream.as_bytes(), 20),
                    ..Scripted::default()
                });
                let body = surface.request(true, "x").to_string().into_bytes();
                let answer = post(sidecar.address, surface.path(), &[], body).await;
                if leaks {
                    let (before, refusal) = cut_short(surface, &answer);
                    assert_eq!(refusal.rule.as_deref(), Some("no-codename"));
                    assert_eq!(texts(&before)["content/0"], "one", "{kind}");
                } else {
                    assert_eq!(answer.text(), *stream, "{kind}");
                    assert_eq!(answer.header("content-type"), kind);
                }
            }
        }
        // A whole JSON answer to a request for a stream, and a stream that nobody asked for.
        let asked = surface.request(true, "x").to_string().into_bytes();
        let plain = json!({"choices": [{"message": {"content": "Project Nightjar"}}],
            "content": [{"type": "text", "text": "Project Nightjar"}]});
        simulator.script(Scripted::json(200, plain.to_string()));
        refused(surface, 400, "content_policy_violation", &post(sidecar.address, surface.path(), &[], asked).await);
        simulator.script(Scripted::sse(vec![Bytes::from(forbidden)]));
        let unasked = surface.request(false, "x").to_string().into_bytes();
        let answer = post(sidecar.address, surface.path(), &[], unasked).await;
        assert!(is_clyra_error(&answer.text()) && !answer.text().contains("Nightjar"), "{}", answer.text());
    }
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}

/// Behind its last event, inside its comments and field names: no part of a stream is a hiding place.
#[tokio::test(flavor = "multi_thread")]
async fn no_part_of_a_stream_is_a_hiding_place() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(POLICY, &simulator.url()).await;
    for surface in Surface::BOTH {
        let events = surface.events(&["one"]);
        let (terminal, before) = events.split_last().unwrap();
        let before = before.concat();
        let forbidden = surface.events(&["Project Nightjar"]).concat().replace("\"index\":0", "\"index\":1");
        for hidden in [
            format!("{before}{terminal}{forbidden}"),
            format!("{before}{terminal}: Project Nightjar\n\n"),
            format!("{before}: Project Nightjar\n\n{terminal}"),
            format!("{before}id: Project Nightjar\ndata: {{}}\n\n{terminal}"),
            format!("{before}event: Project Nightjar\ndata: {{}}\n\n{terminal}"),
            format!("{before}Project Nightjar: x\n\n{terminal}"),
            format!("{before}data: {{\"x\":{{\"Project Nightjar\":1}}}}\n\n{terminal}"),
            format!("{before}data: {{\"x\":[\"Project\\u0020Nightjar\"]}}\n\n{terminal}"),
            format!("{before}data: {{\ndata:   \"x\": \"Project Nightjar\"\ndata: }}\n\n{terminal}"),
            format!("{before}data: \"Project Nightjar\"\n\n{terminal}"),
            format!(
                "{before}data: {{\"choices\":[{{\"message\":{{\"content\":\"Project Nightjar\"}}}}]}}\n\n{terminal}"
            ),
            format!("{before}{terminal}data: {{\"x\":\"Project Nightjar\"}}"),
        ] {
            simulator.script(Scripted::sse(Random(5).cut(hidden.as_bytes(), 30)));
            let body = surface.request(true, "x").to_string().into_bytes();
            let answer = post(sidecar.address, surface.path(), &[], body).await;
            let (shown, refusal) = cut_short(surface, &answer);
            assert_eq!(refusal.rule.as_deref(), Some("no-codename"), "{hidden}");
            assert!(!shown.contains("Nightjar") && !shown.contains(terminal.as_str()), "{shown}");
        }
    }
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}

/// The end of the answer is the provider's last event; a connection that it keeps open after it does not hold it up.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_stays_open_does_not_hold_up_the_end() {
    let upstream = Puppet::start().await;
    let sidecar = Sidecar::start(POLICY, &upstream.url()).await;
    for surface in Surface::BOTH {
        let body = surface.request(true, "x").to_string().into_bytes();
        let client = tokio::spawn(open_owned(sidecar.address, surface.path(), body));
        let mut call = upstream.call().await;
        call.begin("text/event-stream").await;
        let events = surface.events(&["one"]).concat();
        call.chunk(events.as_bytes()).await;
        let answer = client.await.unwrap().rest().await;
        assert_eq!((answer.text(), answer.complete), (events, true));
        call.left().await;
    }
    assert!(sidecar.stop().await.verify().ok);
}

/// What looks like nothing yet is waited for: a document behind white space is read as a document.
#[tokio::test(flavor = "multi_thread")]
async fn white_space_ahead_does_not_change_what_an_answer_is() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(POLICY, &simulator.url()).await;
    for surface in Surface::BOTH {
        let content =
            r#"{"choices":[{"message":{"content":"Project\u0020Nightjar"}}],"content":[{"type":"text","text":"x"}]}"#;
        simulator.script(Scripted {
            headers: vec![("content-type".into(), "application/json".into())],
            chunks: ["\n", " \r\n", content].map(|chunk| Bytes::from(chunk.to_owned())).to_vec(),
            ..Scripted::default()
        });
        let body = surface.request(true, "x").to_string().into_bytes();
        let answer = post(sidecar.address, surface.path(), &[], body).await;
        refused(surface, 400, "content_policy_violation", &answer);
    }
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}
