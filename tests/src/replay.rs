//! Plays the recorded exchanges to whoever asks for them, through a sidecar that allows everything; then says what the
//! sidecar told of each, and what it saw.
//!
//! Whoever asks names the recording twice: [`SCRIPT_HEADER`] makes the simulated provider answer with it, and the header
//! `x-clyra-run-id` leads from the receipts back to it.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use clyra::surface::{Found, find};
use clyra_simulator::{Options, SCRIPT_HEADER, Simulator};
use http::Method;
use serde_json::{Value, json};

use crate::recorded::{Random, Recorded};
use crate::seen::Seen;
use crate::sidecar::Sidecar;

/// Lets everything pass; no budget of time that a busy machine could overrun.
const ALLOW: &str = "version: 1\nmode: enforce\ndefaults: { budget_ms: { request: 60000 } }\n";

/// How large the pieces of an answer may be. Byte for byte, answers come to the end-to-end tests, which have no SDK to wait for.
const PIECES: [usize; 4] = [16, 64, 700, 5000];

/// Writes JSON lines: where the sidecar listens, and the exchanges; at the end of `input`, for each exchange that was asked
/// for, what Clyra saw.
pub async fn replay(
    exchanges: &[Recorded],
    seed: u64,
    input: impl Read + Send + 'static,
    output: &mut impl Write,
) -> std::io::Result<()> {
    let simulator = Simulator::start(Options::default()).await?;
    let sidecar = Sidecar::start(ALLOW, &simulator.url()).await;
    let listening = json!({"url": format!("http://{}", sidecar.address), "script_header": SCRIPT_HEADER});
    writeln!(output, "{listening}")?;
    let mut random = Random(seed);
    for exchange in exchanges {
        simulator.script_for(exchange.id.clone(), exchange.scripted(&mut random, &PIECES));
        writeln!(output, "{}", line(exchange))?;
    }
    writeln!(output)?;
    output.flush()?;
    // Whoever asks closes our input when there is nothing more to ask.
    tokio::task::spawn_blocking(move || std::io::copy(&mut { input }, &mut std::io::sink())).await.unwrap()?;

    let gateway = std::sync::Arc::clone(&sidecar.gateway);
    let stopped = sidecar.stop().await;
    simulator.stop().await;
    let verdict = stopped.verify();
    assert!(verdict.ok, "{:?}", verdict.findings);
    let mut outcomes: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for receipt in stopped.receipts().into_iter().filter(|receipt| receipt["kind"] == "outcome") {
        outcomes.entry(receipt["run"]["id"].as_str().unwrap_or_default().to_owned()).or_default().push(receipt);
    }
    let mut events: BTreeMap<String, Value> = BTreeMap::new();
    for event in stopped.events().into_iter().filter(|event| event["type"] == "exchange") {
        events.insert(event["request_id"].as_str().unwrap_or_default().to_owned(), event);
    }
    for exchange in exchanges {
        let Some(outcomes) = outcomes.get(&exchange.id) else { continue };
        let mut faults = Vec::new();
        if outcomes.len() > 1 {
            faults.push(format!("{} outcomes of one exchange", outcomes.len()));
        }
        let outcome = &outcomes[0];
        let event = &events[outcome["id"].as_str().unwrap()];
        let mut told = json!({
            "id": exchange.id,
            "status": event["status"],
            "usage": event["usage"],
            "finish_reason": outcome["response"]["finish_reason"],
        });
        if exchange.status == 200 {
            let Found::Surface(surface) = find(&Method::POST, &exchange.usual_path()) else {
                panic!("{}: no surface of {}", exchange.id, exchange.path)
            };
            let seen = Seen::of(surface, outcome["stream"].is_object(), &exchange.response, &gateway);
            let (texts, guard, receipt) = (named(seen.bytes()), named(seen.inspected.clone()), inspected(outcome));
            if texts != receipt || guard != receipt {
                faults.push(format!("bytes: of the texts {texts:?}, of the guard {guard:?}, on record {receipt:?}"));
            }
            told["saw"] = seen.to_json();
        }
        told["faults"] = json!(faults);
        writeln!(output, "{told}")?;
    }
    output.flush()
}

fn line(exchange: &Recorded) -> Value {
    json!({
        "id": exchange.id,
        "api": exchange.api,
        "path": exchange.usual_path(),
        "query": exchange.query,
        "status": exchange.status,
        "stream": exchange.stream,
        "request": String::from_utf8(exchange.request_body()).unwrap(),
        "error": (exchange.status != 200).then(|| String::from_utf8_lossy(&exchange.response)),
    })
}

/// Bytes of each channel of the answer, as the receipt has them.
fn inspected(outcome: &Value) -> BTreeMap<String, u64> {
    let checks = outcome["checks"].as_array().unwrap().iter().filter(|check| check["channel"] != "any");
    checks.map(|check| (check["channel"].as_str().unwrap().to_owned(), check["bytes"].as_u64().unwrap())).collect()
}

fn named(bytes: BTreeMap<clyra::surface::Channel, u64>) -> BTreeMap<String, u64> {
    bytes.into_iter().map(|(channel, bytes)| (channel.as_str().to_owned(), bytes)).collect()
}
