//! Malformed and ambiguous HTTP, byte by byte, through a whole sidecar to an upstream that records: each request ends in a
//! refusal or a close, and the upstream never sees one that was not meant to be one. The results are `docs/hygiene.md`.

mod cases;
mod credentials;
mod http2;

use std::fmt::Write;
use std::path::Path;

use clyra_tests::client::raw_until;
use clyra_tests::recorder::Recorder;
use clyra_tests::sidecar::Sidecar;

use cases::{Case, FIRST, Must, PATH, cases};

const INSPECTING: &str = "version: 1\nmode: enforce\n";
const PASSING: &str = "version: 1\nmode: enforce\ndefaults: { unknown_surface: bypass }\n";
/// Requests that need not have been read to their end when they are answered.
const LARGE_BYTES: usize = 16 * 1024;
/// Where nothing is inspected.
const UNKNOWN: &str = "/v1/else";

const HEAD: &str = "| request | inspected | in the bypass |\n| --- | --- | --- |";

const INTRODUCTION: &str = "# Malformed and ambiguous HTTP

Written by `UPDATE_GOLDEN=1 cargo test -p clyra-tests --test e2e hygiene`, and compared with what is measured by every run of it.

Each request is sent byte by byte to a whole sidecar, on an endpoint that is inspected and on one that the policy lets pass, with another
request right behind it on the same connection. The upstream records every byte, and reads requests by the letter. The test fails where
the upstream sees a request that was not sent as one, or where the second one is served although it is uncertain where the first ends.

- a number: refused with that status, and the connection closed; `next served`: its end is certain, so the one behind it was served;
- `closed`: the connection was closed without an answer, because the body was under way to the upstream, which sees it break off;
- `stream reset`, `connection ended`: RST_STREAM and GOAWAY;
- `served`: only odd, so that it is served, and the one behind it as well;
- `no body`: by its head it has no body (RFC 9112 section 6.3), and what stands in the place of one is not served as a request;
- `not served`: what it announces has not come.

## HTTP/1

| request | inspected | in the bypass |
| --- | --- | --- |
";

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
    let (bytes, must) = match path {
        PATH => (case.bytes.clone(), case.must),
        other => (replaced(&case.bytes, PATH.as_bytes(), other.as_bytes()), case.elsewhere),
    };
    let bytes = [bytes, second(path)].concat();
    let statuses = statuses(&raw_until(sidecar.address, &bytes, must == Must::Wait).await);
    let (requests, seen) = upstream.take();
    let seen = String::from_utf8_lossy(&seen);
    let of = |body: &str| requests.iter().filter(|request| request.body == body.as_bytes()).count();
    let (first, then) = (of(FIRST), of(&FIRST.replace("FIRST", "SECOND")));
    let bodiless = requests.len() - first - then;
    let refused = |statuses: &[u16]| statuses.iter().all(|status| *status >= 400);
    let outcome = (first, then, bodiless);
    let (wanted, word) = match must {
        Must::Serve | Must::Pass => (statuses == [200, 200] && outcome == (1, 1, 0), "served"),
        Must::Refuse => match statuses.split_first() {
            Some((status, rest)) => {
                (refused(&[*status]) && rest == vec![200; then] && outcome == (0, then, 0), "refused")
            }
            None => (false, ""),
        },
        Must::EndIt => (refused(&statuses) && statuses.len() <= 1 && outcome == (0, 0, 0), "refused"),
        Must::NoBody => (outcome == (0, 0, bodiless) && bodiless <= 1 && !seen.contains("SECOND"), "no body"),
        Must::Wait => (refused(&statuses) && outcome == (0, 0, 0), "not served"),
    };
    let line = format!("post {path} http/1.1\r\n");
    let known = must == Must::Pass || requests.iter().all(|r| r.head.to_ascii_lowercase().starts_with(line.trim_end()));
    let bodies = requests.iter().all(|r| r.body.is_empty()) || bodiless == 0;
    if !wanted || !known || !bodies || seen.contains("EMBEDDED") {
        return Err(format!("{} on {path}, must {must:?}: {statuses:?} {outcome:?}, known {known}\n{seen}", case.name));
    }
    let told = match (must, statuses.first()) {
        // An answer to somebody who is still sending may be lost to the reset that closing over unread bytes is.
        (Must::EndIt, Some(400) | None) if case.bytes.len() > LARGE_BYTES => "400 or closed".to_owned(),
        (Must::Refuse | Must::EndIt, Some(status)) => status.to_string(),
        (Must::EndIt, None) => "closed".to_owned(),
        _ => word.to_owned(),
    };
    Ok(if must == Must::Refuse && then == 1 { format!("{told}, next served") } else { told })
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
    let (mut table, mut unsafe_ones) = (INTRODUCTION.to_owned(), Vec::new());
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
    let _ = writeln!(table, "\n## HTTP/2\n\n{HEAD}");
    for case in &http2::cases() {
        let mut cells = Vec::new();
        for (sidecar, path) in [(&inspecting, PATH), (&passing, UNKNOWN)] {
            let told = case.send(sidecar.address, path).await;
            let (requests, seen) = upstream.take();
            let seen = String::from_utf8_lossy(&seen);
            let of = requests.iter().filter(|request| request.body == FIRST.as_bytes()).count();
            let wanted = if case.served { told == "200" && of == 1 } else { told != "200" && requests.is_empty() };
            if !wanted || of != requests.len() || seen.contains("EMBEDDED") {
                unsafe_ones.push(format!("{} on {path} over HTTP/2: {told}\n{seen}", case.name));
            }
            cells.push(if case.served { "served".to_owned() } else { told });
        }
        let _ = writeln!(table, "| {} | {} | {} |", case.name, cells[0], cells[1]);
    }
    inspecting.stop().await;
    passing.stop().await;
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/hygiene.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&page, &table).unwrap();
    }
    assert!(unsafe_ones.is_empty(), "{} unsafe:\n{}", unsafe_ones.len(), unsafe_ones.join("\n---\n"));
    let committed = std::fs::read_to_string(&page).unwrap_or_default();
    assert!(committed == table, "docs/hygiene.md is not what was measured; run with UPDATE_GOLDEN=1:\n{table}");
}

/// An `Upgrade` that comes to nothing does not open the connection to what would be refused without it.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_follows_an_offer_to_change_the_protocol() {
    let upstream = Recorder::start().await;
    for policy in [INSPECTING, PASSING] {
        let sidecar = Sidecar::start(policy, &upstream.url()).await;
        for (path, field) in [PATH, UNKNOWN].into_iter().flat_map(|path| {
            ["Upgrade: other", "Upgrade: h2c, other", "Connection: upgrade\r\nUpgrade: other"]
                .map(|field| (path, field))
        }) {
            let first = format!(
                "POST {path} HTTP/1.1\r\nHost: edge\r\n{field}\r\nContent-Length: {}\r\n\r\n{FIRST}",
                FIRST.len()
            );
            // Alone this one is refused, for its line ends.
            let second = String::from_utf8(second(path)).unwrap().replace("\r\n", "\n");
            let answer = raw_until(sidecar.address, format!("{first}{second}").as_bytes(), false).await;
            assert!(statuses(&answer).len() <= 1, "{path} {field}: {}", String::from_utf8_lossy(&answer));
            let (requests, seen) = upstream.take();
            assert!(requests.len() <= 1 && !String::from_utf8_lossy(&seen).contains("SECOND"), "{path} {field}");
        }
        assert!(sidecar.stop().await.verify().ok);
    }
}
