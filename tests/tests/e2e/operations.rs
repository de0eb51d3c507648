//! Running it: the admin port, draining, overload, and evidence that somebody has tampered with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bytes::Bytes;
use clyra_receipts::verify::Severity;
use clyra_simulator::{Options, Scripted, Simulator};
use clyra_tests::ask::{Surface, refused};
use clyra_tests::client::{get, open, post, raw, send};
use clyra_tests::puppet::Puppet;
use clyra_tests::sidecar::{Sidecar, verify};
use http::Method;
use serde_json::{Value, json};

const POLICY: &str = "version: 1
mode: enforce
defaults: { unknown_surface: bypass, budget_ms: { request: 60000 } }
rules:
  - { id: no-keys, phase: request, when: 'findings.exists(f, f.class == \"secret\")', action: redact }
";

/// Metrics that dashboards and alerts are built on: name, type.
const METRICS: [(&str, &str); 31] = [
    ("clyra_bodies_held_bytes", "gauge"),
    ("clyra_build", "info"),
    ("clyra_coverage_gaps", "counter"),
    ("clyra_exchange_seconds", "histogram"),
    ("clyra_exchanges", "counter"),
    ("clyra_findings", "counter"),
    ("clyra_first_release_seconds", "histogram"),
    ("clyra_held_bytes", "histogram"),
    ("clyra_in_flight", "gauge"),
    ("clyra_journal_durable_seq", "gauge"),
    ("clyra_journal_full", "gauge"),
    ("clyra_journal_held_segments", "gauge"),
    ("clyra_journal_poisoned", "gauge"),
    ("clyra_journal_pruned_bytes", "gauge"),
    ("clyra_lines_dropped", "gauge"),
    ("clyra_own_answers", "counter"),
    ("clyra_policy", "info"),
    ("clyra_receipt_blocked_seconds", "histogram"),
    ("clyra_receipt_key_rotations", "gauge"),
    ("clyra_receipt_key_rotations_failed", "gauge"),
    ("clyra_receipt_wait_seconds", "histogram"),
    ("clyra_redactions", "counter"),
    ("clyra_scan_seconds", "histogram"),
    ("clyra_schema_enforce_seconds", "histogram"),
    ("clyra_schema_held_bytes", "histogram"),
    ("clyra_schema_hold_seconds", "histogram"),
    ("clyra_seal_failures", "counter"),
    ("clyra_streams_dropped", "counter"),
    ("clyra_upstream_circuit_state", "gauge"),
    ("clyra_upstream_healthy", "gauge"),
    ("clyra_upstream_retries", "counter"),
];

/// A page of OpenMetrics text: families with their types, and samples by name and labels.
struct Page {
    families: BTreeMap<String, String>,
    samples: BTreeMap<String, f64>,
}

fn parse(text: &str) -> Page {
    assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1, "{text}");
    let (mut families, mut helped, mut samples) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
    let mut family = String::new();
    for line in text.strip_suffix("# EOF\n").unwrap().lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(families.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
            family = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            assert!(
                rest.trim_end().ends_with('.') && helped.insert(rest.split(' ').next().unwrap().to_owned()),
                "{line}"
            );
        } else if let Some(rest) = line.strip_prefix("# UNIT ") {
            let (name, unit) = rest.split_once(' ').unwrap();
            assert!(name.ends_with(unit), "{line}");
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let bare = name.split('{').next().unwrap();
            let suffix = bare.strip_prefix(family.as_str()).unwrap_or_else(|| panic!("{line} outside of {family}"));
            let allowed: &[&str] = match families[&family].as_str() {
                "counter" => &["_total"],
                "histogram" => &["_bucket", "_sum", "_count"],
                "info" => &["_info"],
                _ => &[""],
            };
            assert!(allowed.contains(&suffix), "{line}");
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(samples.insert(name.to_owned(), value).is_none(), "{line} twice");
        }
    }
    assert_eq!(helped, families.keys().cloned().collect());
    Page { families, samples }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_port_tells_how_it_goes() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(POLICY, &simulator.url()).await;
    let key = ["AKIA", "4N7QZ2X6", "WPLM3T9B"].concat();
    for stream in [false, true] {
        let body = Surface::Chat.request(stream, &format!("My key is {key}.")).to_string().into_bytes();
        assert_eq!(post(sidecar.address, Surface::Chat.path(), &[], body).await.status, 200);
    }
    post(sidecar.address, Surface::Chat.path(), &[], b"{".to_vec()).await;
    simulator.script(Scripted { status: 200, chunks: vec![Bytes::from_static(b"{}")], ..Scripted::default() });
    let last = post(sidecar.address, "/v1/fine_tuning/jobs", &[], b"{\"model\":\"m\",\"input\":\"x\"}".to_vec()).await;
    sidecar.event(last.request_id()).await;

    let live = get(sidecar.admin, "/livez").await;
    assert_eq!((live.status.as_u16(), live.text().as_str()), (200, "ok\n"));
    let ready = get(sidecar.admin, "/readyz").await;
    assert_eq!((ready.status.as_u16(), ready.text().as_str()), (200, "ready\n"));

    let metrics = get(sidecar.admin, "/metrics").await;
    assert_eq!(metrics.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let page = parse(&metrics.text());
    let golden: BTreeMap<String, String> = METRICS.map(|(name, kind)| (name.into(), kind.into())).into();
    assert_eq!(page.families, golden);
    let value = |name: &str| *page.samples.get(name).unwrap_or_else(|| panic!("no {name} in {:#?}", page.samples));
    let exchanges = |labels: &str| value(&format!("clyra_exchanges_total{{{labels}}}"));
    assert_eq!(exchanges(r#"surface="openai.chat",decision="redact",verdict="redacted""#), 2.0);
    assert_eq!(exchanges(r#"surface="openai.chat",decision="allow",verdict="errored""#), 1.0);
    assert_eq!(exchanges(r#"surface="unknown",decision="bypass",verdict="executed""#), 1.0);
    assert_eq!(value(r#"clyra_findings_total{class="secret",channel="user",direction="request"}"#), 2.0);
    assert_eq!(value(r#"clyra_own_answers_total{code="invalid_request"}"#), 1.0);
    assert_eq!(value("clyra_redactions_total"), 2.0);
    assert_eq!((value("clyra_in_flight"), value("clyra_journal_poisoned")), (0.0, 0.0));
    assert_eq!(value("clyra_exchange_seconds_count"), 4.0);

    let status: Value = serde_json::from_str(&get(sidecar.admin, "/api/v1/status").await.text()).unwrap();
    assert_eq!((&status["policy"]["mode"], &status["upstreams"]), (&json!("enforce"), &json!(["simulator"])));
    assert_eq!(status["journal"]["poisoned"], Value::Null);
    assert_eq!(status["journal"]["durable_seq"].as_f64().unwrap(), value("clyra_journal_durable_seq"));

    let document: Value = serde_json::from_str(&get(sidecar.admin, "/api/v1/openapi.json").await.text()).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    for (path, item) in document["paths"].as_object().unwrap() {
        let answer = get(sidecar.admin, path).await;
        let response = &item["get"]["responses"]["200"];
        let kind = response["content"].as_object().unwrap().keys().next().unwrap();
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(kind == "application/json", answer.header("content-type") == "application/json", "{path}");
        if path.starts_with("/api/") && path != "/api/v1/openapi.json" {
            let value: Value = serde_json::from_str(&answer.text()).unwrap();
            let described = &response["content"]["application/json"]["schema"]["properties"];
            let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
            assert_eq!(names(&value), names(described), "{path}");
        }
    }
    for (method, path, status) in
        [(Method::POST, "/metrics", 405), (Method::GET, "/nothing", 404), (Method::GET, "/", 404)]
    {
        assert_eq!(send(sidecar.admin, method, path, &[], Vec::new()).await.status, status);
    }
    // The admin port is no proxy.
    let answer =
        raw(sidecar.admin, b"GET http://example.org/ HTTP/1.1\r\nhost: example.org\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with(b"HTTP/1.1 404"), "{}", String::from_utf8_lossy(&answer));
    sidecar.stop().await;
    simulator.stop().await;
}

/// Told to stop, it lets go of nobody: what runs ends in good order, then the log is closed and sealed.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_stream_outlives_the_order_to_stop() {
    let upstream = Puppet::start().await;
    let sidecar = Sidecar::start(POLICY, &upstream.url()).await;
    let address = sidecar.address;
    let events = Surface::Chat.events(&["one ", "two ", "three"]);
    let body = Surface::Chat.request(true, "x").to_string().into_bytes();
    let client = tokio::spawn(async move { open(address, Surface::Chat.path(), &[], body).await });
    let mut call = upstream.call().await;
    call.begin("text/event-stream").await;
    call.chunk(events[0].as_bytes()).await;
    let mut client = client.await.unwrap();
    assert_eq!(client.piece().await.unwrap(), events[0].as_bytes());
    let admin = sidecar.admin;
    let stopping = tokio::spawn(sidecar.stop());
    // Whoever is in stays in; whoever still comes, because the news has not reached it, is served and sent away.
    loop {
        let late = Surface::Chat.request(false, "late").to_string().into_bytes();
        let late = tokio::spawn(async move { post(address, Surface::Chat.path(), &[], late).await });
        let mut call = upstream.call().await;
        call.begin("application/json").await;
        call.chunk(b"{}").await;
        call.end().await;
        let late = late.await.unwrap();
        assert_eq!((late.status.as_u16(), late.text().as_str()), (200, "{}"));
        if late.header("connection") == "close" {
            break;
        }
    }
    assert_eq!(get(admin, "/livez").await.status, 200);
    for event in &events[1..events.len() - 1] {
        call.chunk(event.as_bytes()).await;
        assert_eq!(client.piece().await.unwrap(), event.as_bytes());
        assert!(!stopping.is_finished());
    }
    call.chunk(events[events.len() - 1].as_bytes()).await;
    call.end().await;
    let rest = client.rest().await;
    assert!(rest.complete && rest.text() == events[events.len() - 1], "{}", rest.text());
    let stopped = stopping.await.unwrap();
    let receipts = stopped.receipts();
    let kinds: Vec<&str> = receipts.iter().map(|receipt| receipt["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds[..3], ["genesis", "boot", "policy.change"]);
    assert_eq!(kinds[kinds.len() - 3..], ["outcome", "seal", "shutdown"]);
    assert_eq!(receipts[kinds.len() - 3]["verdict"], "executed");
    let verdict = stopped.verify();
    assert!(verdict.ok && verdict.findings.is_empty(), "{:?}", verdict.findings);
    assert_eq!((verdict.stats.bundles, verdict.stats.checkpoints), (1, 2), "{:?}", verdict.stats);
    assert_eq!(stopped.events().last().unwrap()["stream"], true);
}

/// Whatever is changed in the evidence afterwards is found, and named.
#[tokio::test(flavor = "multi_thread")]
async fn tampering_is_found_and_named() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(POLICY, &simulator.url()).await;
    for surface in Surface::BOTH {
        for stream in [false, true] {
            post(sidecar.address, surface.path(), &[], surface.ask(stream, &json!({}))).await;
        }
    }
    let stopped = sidecar.stop().await;
    simulator.stop().await;
    let clean = stopped.verify();
    assert!(clean.ok, "{:?}", clean.findings);
    let data = stopped.data_dir();
    let only = |dir: &str, suffix: &str| -> PathBuf {
        let entries = std::fs::read_dir(data.join(dir)).unwrap().map(|entry| entry.unwrap().path());
        let mut found: Vec<_> = entries.filter(|path| path.to_str().unwrap().ends_with(suffix)).collect();
        found.sort();
        found.swap_remove(0)
    };
    let errors = || -> Vec<String> {
        let verdict = verify(&data, &stopped.root_vkey);
        assert_eq!(verdict.ok, !verdict.findings.iter().any(|f| f.severity == Severity::Error));
        let findings = verdict.findings.iter().filter(|f| f.severity == Severity::Error);
        findings.map(|f| format!("{} {} {}", f.code.code(), f.name(), f.path)).collect()
    };
    // One verdict in the journal: `executed` becomes `executeD`.
    let journal = only("journal", ".pefwal");
    let before = std::fs::read(&journal).unwrap();
    let at = before.windows(8).position(|window| window == b"executed").unwrap() + 7;
    let mut after = before.clone();
    after[at] ^= 0x20;
    std::fs::write(&journal, &after).unwrap();
    let found = errors();
    assert!(found.iter().any(|f| f.contains("journal/seg-")), "{found:?}");
    std::fs::write(&journal, &before).unwrap();
    // Any byte of the bundle, and its end. A few bits of a compressed frame mean nothing to a decoder: then nothing was changed.
    let bundle = only("bundles", ".pef");
    let before = std::fs::read(&bundle).unwrap();
    let content = zstd::decode_all(before.as_slice()).unwrap();
    for at in (0..before.len()).step_by(before.len() / 40) {
        let mut after = before.clone();
        after[at] ^= 1;
        std::fs::write(&bundle, &after).unwrap();
        let found = errors();
        let is_same = zstd::decode_all(after.as_slice()).is_ok_and(|decoded| decoded == content);
        assert!(is_same || found.iter().any(|f| f.contains("bundles/")), "byte {at} of {}: {found:?}", before.len());
    }
    std::fs::write(&bundle, &before[..before.len() - 1]).unwrap();
    assert!(!errors().is_empty(), "a bundle without its last byte");
    std::fs::write(&bundle, &before).unwrap();
    // A checkpoint, and another root.
    let checkpoint = only("checkpoints", ".frontier").with_extension("");
    let before = std::fs::read_to_string(&checkpoint).unwrap();
    std::fs::write(&checkpoint, before.replacen("clyra.local", "clyra.locaL", 1)).unwrap();
    assert!(errors().iter().any(|f| f.contains("checkpoints/")), "{:?}", errors());
    std::fs::write(&checkpoint, &before).unwrap();
    assert_eq!(errors(), Vec::<String>::new());
    let other = tempfile::tempdir().unwrap();
    let stranger = clyra_receipts::Keys::init(other.path(), "clyra.local/log").unwrap();
    let verdict = verify(&data, &stranger.root().to_vkey());
    assert!(verdict.findings.iter().any(|f| f.code.code() == "E301"), "{:?}", verdict.findings);
}

/// More exchanges than there is room for are turned away at once, told to come again, and counted.
#[tokio::test(flavor = "multi_thread")]
async fn more_than_it_can_hold_is_turned_away() {
    let upstream = Puppet::start().await;
    let two = |settings: &mut clyra::config::Settings| settings.limits.in_flight_max = 2;
    let sidecar = Sidecar::start_with(POLICY, &upstream.url(), &[], two).await;
    let address = sidecar.address;
    let body = || Surface::Chat.request(true, "x").to_string().into_bytes();
    let mut running = Vec::new();
    for _ in 0..2 {
        let client = tokio::spawn(async move { open(address, Surface::Chat.path(), &[], body()).await });
        let mut call = upstream.call().await;
        call.begin("text/event-stream").await;
        call.chunk(Surface::Chat.events(&[])[0].as_bytes()).await;
        running.push((client.await.unwrap(), call));
    }
    for surface in Surface::BOTH {
        let answer = post(address, surface.path(), &[], surface.request(false, "x").to_string().into_bytes()).await;
        let refusal = refused(surface, 503, "clyra_unavailable", &answer);
        assert!(["api_error", "overloaded_error"].contains(&refusal.kind.as_str()));
        assert_eq!(answer.header("retry-after"), "1");
    }
    let page = parse(&get(sidecar.admin, "/metrics").await.text());
    let shed = page.samples[r#"clyra_own_answers_total{code="clyra_unavailable"}"#];
    assert_eq!((page.samples["clyra_in_flight"], shed), (2.0, 2.0));
    sidecar.flush().await;
    let text = std::fs::read_to_string(sidecar.data_dir().join("events/events.ndjson")).unwrap();
    assert_eq!(text.matches("\"code\":\"overloaded\"").count(), 2, "{text}");
    // Whoever leaves makes room.
    for (client, mut call) in running {
        drop(client);
        call.left().await;
    }
    while parse(&get(sidecar.admin, "/metrics").await.text()).samples["clyra_in_flight"] > 0.0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let client = tokio::spawn(async move { post(address, Surface::Chat.path(), &[], body()).await });
    let mut call = upstream.call().await;
    call.begin("text/event-stream").await;
    call.chunk(Surface::Chat.events(&["ok"]).concat().as_bytes()).await;
    call.end().await;
    assert_eq!(client.await.unwrap().status, 200);
    assert!(sidecar.stop().await.verify().ok);
}
