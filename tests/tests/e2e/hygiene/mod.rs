//! Malformed and ambiguous HTTP, byte by byte, through a whole sidecar to an upstream that records: each request ends in a
//! refusal or a close, and the upstream never sees one that was not meant to be one. The results are `docs/hygiene.md`.

mod cases;

use std::fmt::Write;

use clyra_tests::client::raw;
use clyra_tests::recorder::Recorder;
use clyra_tests::sidecar::Sidecar;

use cases::{Case, FIRST, Must, PATH, cases};

const INSPECTING: &str = "version: 1\nmode: enforce\n";
const PASSING: &str = "version: 1\nmode: enforce\ndefaults: { unknown_surface: bypass }\n";
/// Where nothing is inspected.
const UNKNOWN: &str = "/v1/else";

/// The request that follows each on the same connection.
fn second(path: &str) -> Vec<u8> {
    let body = FIRST.replace("FIRST", "SECOND");
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: edge\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// The statuses of all answers on a connection.
fn statuses(answer: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(answer);
    // No answer of the tests has this in its body.
    text.split("HTTP/1.").skip(1).filter_map(|part| part.get(2..5)?.parse().ok()).collect()
}

/// Sends one case and the request behind it; says what came of it, or why that is unsafe.
async fn run(sidecar: &Sidecar, upstream: &Recorder, case: &Case, path: &str) -> Result<String, String> {
    let bytes = match path {
        PATH => case.bytes.clone(),
        other => replaced(&case.bytes, PATH.as_bytes(), other.as_bytes()),
    };
    let answer = raw(sidecar.address, &[bytes, second(path)].concat()).await;
    let statuses = statuses(&answer);
    let (requests, seen) = upstream.take();
    let seen = String::from_utf8_lossy(&seen);
    let of = |marker: &str| requests.iter().filter(|r| r.body == FIRST.replace("FIRST", marker).as_bytes()).count();
    let (first, then) = (of("FIRST"), of("SECOND"));
    let refusals = statuses.iter().filter(|status| **status >= 400).count();
    let outcome = (statuses.as_slice(), first, then);
    let wanted = match case.must {
        Must::Serve => outcome == (&[200, 200][..], 1, 1),
        Must::Refuse => first == 0 && refusals == 1 && statuses.len() - refusals == then,
        Must::EndIt => first == 0 && then == 0 && refusals == statuses.len() && refusals <= 1,
    };
    let line = format!("post {path} http/1.1\r\n");
    let known =
        first + then == requests.len() && requests.iter().all(|r| r.head.to_ascii_lowercase().starts_with(&line));
    if !wanted || !known || seen.contains("EMBEDDED") {
        return Err(format!("{} on {path}, must {:?}: {outcome:?}, known {known}\n{seen}", case.name, case.must));
    }
    let own = match (case.must, statuses.first()) {
        (Must::Serve, _) => "served".to_owned(),
        (_, Some(status)) => status.to_string(),
        (_, None) => "closed".to_owned(),
    };
    Ok(if then == 1 { format!("{own}, next served") } else { own })
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    out.extend_from_slice(rest);
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_malformed_ends_in_a_refusal_and_never_in_two_requests() {
    let upstream = Recorder::start().await;
    let inspecting = Sidecar::start(INSPECTING, &upstream.url()).await;
    let passing = Sidecar::start(PASSING, &upstream.url()).await;
    let (mut table, mut unsafe_ones) = (String::new(), Vec::new());
    for case in &cases() {
        let inspected = run(&inspecting, &upstream, case, PATH).await;
        let passed = run(&passing, &upstream, case, UNKNOWN).await;
        let mut cell = |result: Result<String, String>| {
            result.unwrap_or_else(|problem| {
                unsafe_ones.push(problem);
                "**unsafe**".to_owned()
            })
        };
        let _ = writeln!(table, "| {} | {} | {} |", case.name, cell(inspected), cell(passed));
    }
    println!("{table}");
    inspecting.stop().await;
    passing.stop().await;
    assert!(unsafe_ones.is_empty(), "{} unsafe:\n{}", unsafe_ones.len(), unsafe_ones.join("\n---\n"));
}
