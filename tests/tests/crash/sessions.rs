//! `kill -9` under realtime sessions: every answer whose last event a client has, and every refusal that it was told of, has
//! its attempt and its outcome in the journal, as the kill left it and after every restart; and the evidence verifies. An
//! answer is known by the root of the tree over its events, so that what is on record is what the client was sent.
//!
//! `CLYRA_CRASH_CYCLES` and `CLYRA_CRASH_SECONDS` are those of the campaign with plain exchanges.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clyra_receipts::EventTree;
use clyra_tests::live::{End, Provider, open};
use clyra_tests::process::Process;
use clyra_tests::recorded::Random;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use crate::growing::Journal;
use crate::{Log, assert_verifies, number};

/// Sessions at one time.
const CLIENTS: usize = 16;
/// A kill comes after at most so many complete answers.
const ANSWERS_MAX: usize = 60;
/// Answers of one session; then it is closed in good order, and another one opened.
const ANSWERS_OF_A_SESSION: usize = 12;
/// The whole evidence is verified as a kill left it after every so many.
const VERIFY_EVERY: usize = 5;
/// Kills of one log; then it is ended in good order, verified, and another one begun.
const LOG_CYCLES: usize = 50;
const SEED: u64 = 18;

const FORBIDDEN: &str = "Project Nightjar";
const POLICY: &str = "version: 1\nmode: enforce\ndefaults: { budget_ms: { request: 60000 } }\ndetectors:\n  patterns:\n    \
     - { id: codename, literal: \"Project Nightjar\", class: restricted, score: 1.0 }\nrules:\n  \
     - { id: no-codename, phase: request, when: 'findings.exists(f, f.class == \"restricted\")', action: block }\n";

/// Answers every question of a session with words that take some time.
async fn answer_all(mut end: End, mut random: Random) {
    while let Some(Message::Text(event)) = end.next().await {
        if !event.contains("response.create") {
            continue;
        }
        let id = format!("r{:x}", random.below(usize::MAX));
        let mut events = vec![json!({"type": "response.created", "response": {"id": id, "output": []}})];
        for word in 0..random.below(6) {
            let text = format!("word {word} of {id} ");
            events
                .push(json!({"type": "response.output_text.delta", "response_id": id, "item_id": "i", "delta": text}));
        }
        events.push(json!({"type": "response.done", "response": {"id": id, "status": "completed", "output": []}}));
        for event in events {
            if end.try_say(&event).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(random.below(4) as u64)).await;
        }
    }
}

/// What a client holds: an answer of which it has everything, or a refusal.
#[derive(Debug, Clone)]
enum Held {
    Answer { session: String, root: String },
    Refusal { id: String },
}

impl Held {
    fn is_in(&self, journal: &Journal) -> Result<(), String> {
        match self {
            Self::Answer { session, root } => {
                let id =
                    journal.answer(session, root).ok_or(format!("no outcome of an answer of session {session}"))?;
                journal.pairs(id)
            }
            Self::Refusal { id } => journal.pairs(id),
        }
    }
}

/// One session: question after question, with an event now and then that must not be sent. `None` where it broke off.
async fn converse(address: SocketAddr, random: &mut Random, hold: &impl Fn(Held)) -> Option<()> {
    let (mut client, answered) = open(address, "/v1/realtime?model=m", &[]).await.ok()?;
    let session = answered["x-clyra-request-id"].to_str().unwrap().to_owned();
    for turn in 0..ANSWERS_OF_A_SESSION {
        let text = if random.below(4) == 0 { FORBIDDEN } else { "Go on." };
        let item = json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]});
        client.try_say(&json!({"type": "conversation.item.create", "item": item})).await.ok()?;
        client.try_say(&json!({"type": "response.create", "event_id": turn.to_string()})).await.ok()?;
        let mut events = EventTree::new();
        loop {
            let Some(Message::Text(text)) = client.next().await else { return None };
            let event: Value = serde_json::from_str(&text).unwrap();
            if event["type"] == "error" {
                // What the sidecar itself says when it can no longer reach anybody is no refusal.
                let id = event["clyra"]["request_id"].as_str().filter(|_| event["clyra"]["rule"] == "no-codename")?;
                hold(Held::Refusal { id: id.to_owned() });
                continue;
            }
            events.push(text.as_bytes());
            if event["type"] == "response.done" {
                hold(Held::Answer { session: session.clone(), root: events.root_hex() });
                break;
            }
        }
    }
    client.close(1000, "").await;
    client.closed().await;
    Some(())
}

#[derive(Debug, Default)]
struct Totals {
    kills: usize,
    answers: usize,
    refusals: usize,
    cut: usize,
    verified: usize,
}

/// Puts a sidecar under sessions, kills it after so many complete answers, and gives what the clients hold and how many
/// sessions were cut.
async fn cycle(process: Process, answers: usize, random: &mut Random) -> (Vec<Held>, usize) {
    let (report, mut held) = mpsc::unbounded_channel();
    let (address, killed) = (process.address, Arc::new(AtomicBool::new(false)));
    for _ in 0..CLIENTS {
        let (report, killed, mut random) =
            (report.clone(), Arc::clone(&killed), Random(random.below(usize::MAX) as u64));
        tokio::spawn(async move {
            let hold = |held| drop(report.send(Some(held)));
            while converse(address, &mut random, &hold).await.is_some() {}
            // A session may break off before the kill only if the sidecar is at fault.
            assert!(killed.load(Ordering::SeqCst), "a session broke off although nothing was killed");
            let _ = report.send(None);
        });
    }
    drop(report);
    let (mut all, mut cut, mut process, mut done) = (Vec::new(), 0, Some(process), 0);
    while let Some(one) = held.recv().await {
        let Some(one) = one else {
            cut += 1;
            continue;
        };
        done += usize::from(matches!(one, Held::Answer { .. }));
        all.push(one);
        if done >= answers
            && let Some(process) = process.take()
        {
            killed.store(true, Ordering::SeqCst);
            process.kill();
        }
    }
    assert_eq!((cut, process.is_none()), (CLIENTS, true), "the clients ended before the kill");
    (all, cut)
}

/// Kills the sidecars of one log, then ends it in good order.
async fn one_log(kills: usize, end: Instant, upstream: &str, random: &mut Random, totals: &mut Totals) {
    let log = Log::new(POLICY, upstream);
    let data_dir = log.data_dir();
    let (mut journal, mut held, mut killed) = (Journal::default(), Vec::new(), 0);
    while killed < kills && Instant::now() < end {
        let number = totals.kills;
        let (more, cut) = cycle(log.start(), 1 + random.below(ANSWERS_MAX), random).await;
        held.extend(more);
        // What was durable is there before anybody has repaired anything.
        assert_holds(&mut journal, &data_dir, &held, &format!("kill {number}"));
        if number % VERIFY_EVERY == VERIFY_EVERY - 1 {
            assert_verifies(&data_dir, &format!("as kill {number} left it"));
            totals.verified += 1;
        }
        (totals.kills, killed, totals.cut) = (totals.kills + 1, killed + 1, totals.cut + cut);
    }
    log.end();
    assert_holds(&mut journal, &data_dir, &held, "at the end");
    assert_verifies(&data_dir, "at the end");
    let answers = held.iter().filter(|held| matches!(held, Held::Answer { .. })).count();
    (totals.answers, totals.refusals) = (totals.answers + answers, totals.refusals + held.len() - answers);
    totals.verified += 1;
}

fn assert_holds(journal: &mut Journal, data_dir: &Path, held: &[Held], when: &str) {
    journal.read(data_dir);
    held.iter().for_each(|held| held.is_in(journal).unwrap_or_else(|what| panic!("{when}: {what}")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_sidecar_loses_no_answer_of_a_session() {
    let kills = number("CLYRA_CRASH_CYCLES").unwrap_or(10);
    // A year is no limit.
    let seconds = number("CLYRA_CRASH_SECONDS").unwrap_or(365 * 24 * 3600);
    let end = Instant::now() + Duration::from_secs(seconds as u64);
    let provider = Arc::new(Provider::start().await);
    let (mut random, mut totals) = (Random(SEED), Totals::default());
    let (of_provider, mut seed) = (Arc::clone(&provider), Random(SEED + 1));
    let answering = tokio::spawn(async move {
        while let Some((_, session)) = of_provider.next_session().await {
            tokio::spawn(answer_all(session, Random(seed.below(usize::MAX) as u64)));
        }
    });
    while totals.kills < kills && Instant::now() < end {
        let of_this_log = LOG_CYCLES.min(kills - totals.kills);
        one_log(of_this_log, end, &provider.url, &mut random, &mut totals).await;
    }
    answering.abort();
    let Totals { kills, answers, refusals, cut, verified } = totals;
    println!(
        "{kills} kills under {CLIENTS} sessions: {answers} completed answers and {refusals} refusals, 0 without their receipts; \
         {cut} sessions cut; verified {verified} times, 0 errors"
    );
    assert!(answers > 0 && refusals > 0, "{answers} answers, {refusals} refusals");
}
