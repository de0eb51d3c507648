//! `kill -9` in the middle of fifty running exchanges, again and again on one data directory: every answer that a client
//! saw complete has its outcome receipt after the restart, and the evidence verifies.
//!
//! `CLYRA_CRASH_CYCLES` sets the number of cycles. A kill loses nothing that the kernel has taken over; what a power cut
//! loses is another campaign's question.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use clyra_receipts::verify::Severity;
use clyra_simulator::{Options, Simulator, directive_line};
use clyra_tests::client::{Answer, try_post};
use clyra_tests::journal;
use clyra_tests::process::Process;
use clyra_tests::recorded::Random;
use clyra_tests::sidecar::verify;
use serde_json::{Value, json};
use tokio::sync::mpsc;

mod startup;

const BINARY: &str = env!("CARGO_BIN_EXE_clyra-under-test");
const RUNNING: usize = 50;
const SEED: u64 = 9;

const POLICY: &str = "version: 1\nmode: enforce\ndefaults: { budget_ms: { request: 60000 } }\n";

fn cycles() -> usize {
    std::env::var("CLYRA_CRASH_CYCLES").map_or(10, |text| text.parse().expect("CLYRA_CRASH_CYCLES is a number"))
}

/// An exchange that takes some time: chat or messages, plain or streamed.
fn request(number: usize, random: &mut Random) -> (&'static str, Value) {
    let stream = number.is_multiple_of(2);
    let text = "All is well, and it goes on for a while. ".repeat(1 + random.below(4));
    let mut directive = json!({"content": text, "first_delay_ms": random.below(150)});
    if stream {
        directive["delay_ms"] = json!(1 + random.below(15));
        directive["split"] = json!(8);
    }
    let prompt = format!("Go on.\n{}", directive_line(&directive));
    let mut body = json!({"model": "m", "stream": stream, "messages": [{"role": "user", "content": prompt}]});
    if number % 4 < 2 {
        return ("/v1/chat/completions", body);
    }
    body["max_tokens"] = json!(100);
    ("/v1/messages", body)
}

/// True if an SDK would take this answer for a complete one.
fn is_complete(answer: &Answer) -> bool {
    let text = answer.text();
    let plain = serde_json::from_str::<Value>(&text).is_ok();
    answer.status == 200 && (plain || text.contains("data: [DONE]") || text.contains("event: message_stop"))
}

/// Runs exchanges against a sidecar, kills it once `kill_after` of them are complete, and gives the ids of all that a
/// client saw complete.
async fn cycle(process: Process, kill_after: usize, random: &mut Random) -> (BTreeSet<String>, usize) {
    let (report, mut ends) = mpsc::unbounded_channel();
    for number in 0..RUNNING {
        let ((path, body), report, address) = (request(number, random), report.clone(), process.address);
        tokio::spawn(async move {
            let answer = try_post(address, path, &[], body.to_string().into_bytes()).await;
            let id = answer.ok().filter(is_complete).map(|a| a.header("x-clyra-request-id").to_owned());
            let _ = report.send(id);
        });
    }
    drop(report);
    let (mut complete, mut process, mut cut) = (BTreeSet::new(), Some(process), 0);
    while let Some(end) = ends.recv().await {
        match end {
            Some(id) => {
                assert!(!id.is_empty() && complete.insert(id));
            }
            None => cut += 1,
        }
        if complete.len() >= kill_after
            && let Some(process) = process.take()
        {
            process.kill();
        }
    }
    assert!(process.is_none(), "only {} of {RUNNING} exchanges were complete, {cut} failed", complete.len());
    (complete, cut)
}

/// The receipts in the journal, by exchange.
fn receipts(data_dir: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut out: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for receipt in journal::receipts(data_dir) {
        let text = |name: &str| receipt[name].as_str().unwrap_or_default().to_owned();
        out.entry(text("id")).or_default().insert(text("kind"));
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_sidecar_loses_no_completed_answer() {
    let dir = tempfile::tempdir().unwrap();
    let (policy, data_dir) = (dir.path().join("policy.yaml"), dir.path().join("data"));
    std::fs::write(&policy, POLICY).unwrap();
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let start = || Process::start(BINARY, &policy, &data_dir, &simulator.url());
    let mut random = Random(SEED);
    let (mut complete, mut cut, mut torn) = (BTreeSet::new(), 0, 0);
    for number in 0..cycles() {
        let process = start();
        let (ids, failed) = cycle(process, 5 + random.below(RUNNING - 15), &mut random).await;
        complete.extend(ids);
        cut += failed;
        torn += usize::from(
            std::fs::read_dir(data_dir.join("journal"))
                .unwrap()
                .any(|e| e.unwrap().file_name().to_string_lossy().contains("torn")),
        );
        // What was durable is there before anybody has repaired anything.
        let found = receipts(&data_dir);
        for id in &complete {
            let kinds =
                found.get(id).unwrap_or_else(|| panic!("cycle {number}: no receipt of completed exchange {id}"));
            assert!(kinds.contains("attempt") && kinds.contains("outcome"), "cycle {number}: {id} has only {kinds:?}");
        }
    }
    // One more process, in good order: it seals what all of them left.
    let last = start();
    last.terminate();
    let (status, said) = last.ended();
    assert!(status.success(), "{status}: {said:?}");
    let root = std::fs::read_to_string(data_dir.join("keys/root.vkey")).unwrap();
    let verdict = verify(&data_dir, root.trim());
    let errors: Vec<_> = verdict.findings.iter().filter(|f| f.severity == Severity::Error).collect();
    assert!(verdict.ok && errors.is_empty(), "{errors:?}");
    let unclean =
        journal::receipts(&data_dir).iter().filter(|r| r["kind"] == "boot" && r["event"]["clean"] == false).count();
    assert_eq!(unclean, cycles(), "each restart says on record that the process before it did not end in good order");
    let bundles = std::fs::read_dir(data_dir.join("bundles")).unwrap().count();
    assert!(bundles > 0, "nothing was sealed");
    println!(
        "{} kills: {} completed answers, 0 without their outcome receipt; {cut} exchanges cut; torn tails in {torn} cycles; \
         {bundles} bundles and the journal verify",
        cycles(),
        complete.len()
    );
    assert!(cut > 0, "no exchange was cut: the kills came too late to show anything");
    simulator.stop().await;
}
