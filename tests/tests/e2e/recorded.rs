//! Real providers' traffic, replayed through a sidecar in pieces of random size: byte for byte under a policy that allows
//! it, stopped under one that forbids a phrase of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use clyra_simulator::{Options, SCRIPT_HEADER, Simulator};
use clyra_tests::client::{Answer, post};
use clyra_tests::recorded::{Random, Recorded, recorded};
use clyra_tests::sidecar::Sidecar;
use clyra_tests::texts::{events, is_clyra_error, members, texts};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// What [`texts`] reads member by member.
const KNOWN: [&str; 5] =
    ["openai.chat", "openai.responses", "anthropic.messages", "gemini.generateContent", "gemini.streamGenerateContent"];
const SEED: u64 = 20_261_121;

const ALLOW: &str = "version: 1\nmode: enforce\ndefaults: { budget_ms: { request: 60000 } }\n";

fn policy_forbidding(phrases: &BTreeSet<String>) -> String {
    let mut policy = String::from(
        "version: 1\nmode: enforce\ndefaults: { budget_ms: { request: 60000 } }\ndetectors:\n  patterns:\n",
    );
    for (number, phrase) in phrases.iter().enumerate() {
        policy += &format!("    - {{ id: p{number}, literal: {}, class: restricted, score: 1.0 }}\n", json!(phrase));
    }
    policy
        + "rules:\n  - id: no-phrase\n    phase: response\n    when: findings.exists(f, f.class == \"restricted\")\n    action: block\n    reason: Forbidden.\n"
}

/// Replays every exchange and hands each with its answer to `look`, which says what is wrong.
async fn replay(policy: &str, exchanges: &[Recorded], look: fn(&Recorded, &Answer) -> Option<String>) -> Vec<String> {
    replay_to(policy, exchanges, look, |_, _, _| None).await
}

/// The same, and hands each exchange with its event and its outcome receipt to `told`.
async fn replay_to(
    policy: &str,
    exchanges: &[Recorded],
    look: fn(&Recorded, &Answer) -> Option<String>,
    told: fn(&Recorded, &Value, &Value) -> Option<String>,
) -> Vec<String> {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(policy, &simulator.url()).await;
    let address = sidecar.address;
    let permits = Arc::new(Semaphore::new(8));
    let mut running = JoinSet::new();
    let mut random = Random(SEED);
    for exchange in exchanges {
        simulator.script_for(exchange.id.clone(), exchange.scripted(&mut random, &[1, 7, 64, 700, 5000]));
        let (permits, exchange) = (Arc::clone(&permits), exchange.clone());
        running.spawn(async move {
            let _permit = permits.acquire().await.unwrap();
            let headers = [(SCRIPT_HEADER, exchange.id.as_str())];
            let answer = post(address, &exchange.address(), &headers, exchange.request_body()).await;
            let fault = look(&exchange, &answer);
            let fault = fault.map(|fault| format!("{} {} {}: {fault}", exchange.id, exchange.api, exchange.path));
            (answer.request_id().to_owned(), exchange, fault)
        });
    }
    let (mut faults, mut asked) = (Vec::new(), Vec::new());
    while let Some(done) = running.join_next().await {
        let (request_id, exchange, fault) = done.unwrap();
        faults.extend(fault);
        asked.push((request_id, exchange));
    }
    let seen: BTreeSet<Vec<u8>> = simulator.requests().iter().map(|r| r.body.to_vec()).collect();
    for exchange in exchanges {
        if !seen.contains(&exchange.request_body()) {
            faults.push(format!("{}: the request was not forwarded byte for byte", exchange.id));
        }
    }
    let stopped = sidecar.stop().await;
    let verdict = stopped.verify();
    assert!(verdict.ok, "{:?}", verdict.findings);
    simulator.stop().await;
    let by_id = |all: Vec<Value>, (of, kind): (&str, &str), id: &str| -> BTreeMap<String, Value> {
        let all = all.into_iter().filter(|one| one[of] == kind);
        all.filter_map(|one| Some((one[id].as_str()?.to_owned(), one))).collect()
    };
    let (events, outcomes) = (
        by_id(stopped.events(), ("type", "exchange"), "request_id"),
        by_id(stopped.receipts(), ("kind", "outcome"), "id"),
    );
    for (request_id, exchange) in &asked {
        let (Some(event), Some(outcome)) = (events.get(request_id), outcomes.get(request_id)) else {
            faults.push(format!("{}: neither event nor outcome", exchange.id));
            continue;
        };
        let fault = told(exchange, event, outcome);
        faults.extend(fault.map(|fault| format!("{} {} {}: {fault}", exchange.id, exchange.api, exchange.path)));
    }
    faults
}

fn assert_none(faults: &[String], of: usize) {
    assert!(faults.is_empty(), "{} of {of}:\n{}", faults.len(), faults[..faults.len().min(60)].join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn allowed_traffic_comes_out_byte_for_byte() {
    let Some(exchanges) = recorded(&[]) else { return };
    assert!(exchanges.len() > 1_200, "{} exchanges", exchanges.len());
    let faults = replay(ALLOW, &exchanges, |exchange, answer| {
        if answer.status.as_u16() != exchange.status || !answer.complete {
            return Some(format!("status {} instead of {}: {}", answer.status, exchange.status, answer.text()));
        }
        (answer.body() != exchange.response).then(|| "the bytes differ".into())
    })
    .await;
    println!("{} recorded exchanges replayed byte for byte", exchanges.len() - faults.len());
    assert_none(&faults, exchanges.len());
}

/// Tokens in and out, and why the answer ended, as the provider says; read off the recording by member names alone.
fn told(exchange: &Recorded) -> (Option<u64>, Option<u64>, Option<String>) {
    let (mut input, mut output, mut reason) = (None, None, None);
    for event in events(&exchange.response) {
        let pieces = event.as_array().cloned().unwrap_or_else(|| vec![event.clone()]);
        for event in &pieces {
            let at = |paths: &[&str]| paths.iter().find_map(|path| event.pointer(path)).cloned();
            let count = |paths: &[&str]| at(paths).and_then(|count| count.as_u64());
            let word = |paths: &[&str]| at(paths).and_then(|word| word.as_str().map(str::to_owned));
            match exchange.api.as_str() {
                "anthropic.messages" => {
                    input = count(&["/usage/input_tokens", "/message/usage/input_tokens"]).max(input);
                    output = count(&["/usage/output_tokens", "/message/usage/output_tokens"]).max(output);
                    reason = word(&["/stop_reason", "/delta/stop_reason"]).or(reason);
                }
                api if api.starts_with("gemini.") && api != "gemini.interactions" => {
                    // Each count is of all that was until then.
                    if let Some(prompt) = count(&["/usageMetadata/promptTokenCount"]) {
                        let thought = count(&["/usageMetadata/thoughtsTokenCount"]);
                        let said = count(&["/usageMetadata/candidatesTokenCount"]);
                        (input, output) =
                            (Some(prompt), said.map_or(thought, |said| Some(said + thought.unwrap_or(0))));
                    }
                }
                "bedrock.converse" | "bedrock.converse-stream" => {
                    input = count(&["/usage/inputTokens"]).max(input);
                    output = count(&["/usage/outputTokens"]).max(output);
                    reason = word(&["/stopReason"]).or(reason);
                }
                "ollama.chat" | "ollama.generate" => {
                    input = count(&["/prompt_eval_count"]).max(input);
                    output = count(&["/eval_count"]).max(output);
                    reason = word(&["/done_reason"]).or(reason);
                }
                "cohere.chat" | "cohere.embed" => {
                    let tokens = ["/usage/tokens", "/delta/usage/tokens", "/meta/tokens", "/meta/billed_units"];
                    let named = |name: &str| tokens.iter().find_map(|path| event.pointer(path)?.get(name)?.as_u64());
                    input = named("input_tokens").max(input);
                    output = named("output_tokens").max(output);
                    reason = word(&["/finish_reason", "/delta/finish_reason"]).or(reason);
                }
                "openai.chat" | "openai.completions" => {
                    input = count(&["/usage/prompt_tokens"]).max(input);
                    output = count(&["/usage/completion_tokens"]).max(output);
                    let choices = event["choices"].as_array().into_iter().flatten();
                    reason = choices
                        .filter_map(|choice| choice["finish_reason"].as_str())
                        .next_back()
                        .map(str::to_owned)
                        .or(reason);
                }
                "openai.responses" => {
                    input = count(&["/usage/input_tokens", "/response/usage/input_tokens"]).max(input);
                    output = count(&["/usage/output_tokens", "/response/usage/output_tokens"]).max(output);
                }
                _ => {}
            }
        }
    }
    (input, output, reason)
}

/// What events and receipts say of an answer is what the provider said.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_of_an_answer_is_what_it_says() {
    let Some(mut exchanges) = recorded(&[]) else { return };
    exchanges.retain(|exchange| exchange.status == 200 && told(exchange) != (None, None, None));
    assert!(exchanges.len() > 800, "{} exchanges say something", exchanges.len());
    let faults = replay_to(
        ALLOW,
        &exchanges,
        |_, _| None,
        |exchange, event, outcome| {
            let (input, output, reason) = told(exchange);
            let counted = event["usage"]["estimated"] != true;
            let seen = (event["usage"]["input"].as_u64(), event["usage"]["output"].as_u64());
            let said = outcome["response"]["finish_reason"].as_str().map(str::to_owned);
            let usage_fits = seen == (input, output) || (input, output) == (None, None) && !counted;
            let fits = usage_fits && (reason.is_none() || said == reason);
            (!fits).then(|| format!("{seen:?} {said:?} instead of {:?}", (input, output, reason)))
        },
    )
    .await;
    println!("{} recorded answers told as they are", exchanges.len() - faults.len());
    assert_none(&faults, exchanges.len());
}

/// A phrase of the answer as its reader sees it.
fn phrase(exchange: &Recorded) -> Option<String> {
    if !KNOWN.contains(&exchange.api.as_str()) {
        let all = members(&exchange.response);
        let texts = all.into_values().filter(|text| text.split_whitespace().count() > 3);
        let longest = texts.max_by_key(String::len)?;
        let words: Vec<&str> = longest.lines().max_by_key(|line| line.len())?.split(' ').collect();
        let plain = |word: &&&str| word.bytes().all(|b| b.is_ascii_alphanumeric() || b",.'-".contains(&b));
        let run: Vec<&str> = words.iter().skip_while(|word| !plain(word)).take_while(plain).take(4).copied().collect();
        let phrase = run.join(" ");
        return (run.len() > 1 && phrase.len() >= 10).then_some(phrase);
    }
    let body = String::from_utf8_lossy(&exchange.response).into_owned();
    // Arguments that are a value, the reader spells in its own way: no phrase of the wire.
    let values = exchange.api.starts_with("gemini.") || (exchange.api == "anthropic.messages" && !exchange.stream);
    let spelled = |key: &str| values && key.starts_with("tool_arguments");
    let longest = texts(&body).into_iter().filter(|(key, _)| !spelled(key)).map(|(_, t)| t).max_by_key(String::len)?;
    let middle: String = longest.chars().skip(longest.chars().count() / 3).take(24).collect();
    (middle.trim().chars().count() >= 8 && !middle.contains('\u{fffd}')).then(|| middle.trim().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forbidden_phrase_is_stopped() {
    let Some(exchanges) = recorded(&[]) else { return };
    let exchanges: Vec<Recorded> = exchanges.into_iter().filter(|e| e.status == 200 && phrase(e).is_some()).collect();
    assert!(exchanges.len() > 800, "{} exchanges with a phrase", exchanges.len());
    let phrases: BTreeSet<String> = exchanges.iter().filter_map(phrase).collect();
    let faults = replay(&policy_forbidding(&phrases), &exchanges, |exchange, answer| {
        let (body, phrase) = (answer.text(), phrase(exchange).unwrap());
        let read = if KNOWN.contains(&exchange.api.as_str()) { texts(&body) } else { members(&answer.body()) };
        if read.values().any(|text| text.contains(&phrase)) {
            return Some(format!("LEAK: {phrase:?} reached the client"));
        }
        let told = is_clyra_error(&body) || events(&answer.body()).iter().any(|event| event.get("clyra").is_some());
        (!told || !answer.complete).then(|| format!("not stopped: {} {phrase:?}", answer.status))
    })
    .await;
    println!("{} recorded exchanges stopped by a phrase of theirs", exchanges.len() - faults.len());
    assert_none(&faults, exchanges.len());
}
