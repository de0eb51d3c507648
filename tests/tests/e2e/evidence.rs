//! The log beside the traffic: on a full disk, while a provider thinks, in idle time, and when receipts grow old.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clyra_receipts::retention::{Cover, Retention};
use clyra_simulator::{Options, Simulator};
use clyra_tests::ask::Surface;
use clyra_tests::client::{Answer, get, open, post};
use clyra_tests::puppet::Puppet;
use clyra_tests::sidecar::{Sidecar, verify};
use serde_json::{Value, json};

const POLICY: &str = "version: 1\nmode: enforce\ndefaults: { budget_ms: { request: 60000 } }\n";

/// Longest wait for something that comes by itself.
const PATIENCE: Duration = Duration::from_secs(60);

async fn until<F: Future<Output = bool>>(what: &str, mut met: impl FnMut() -> F) {
    let end = Instant::now() + PATIENCE;
    while !met().await {
        assert!(Instant::now() < end, "{what}: never");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn ask(sidecar: &Sidecar) -> Answer {
    post(sidecar.address, Surface::Chat.path(), &[], Surface::Chat.ask(false, &json!({}))).await
}

fn kinds(receipts: &[Value]) -> Vec<&str> {
    receipts.iter().map(|receipt| receipt["kind"].as_str().unwrap()).collect()
}

/// A small file system in memory; `None`, with a note, where nobody may mount.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(megabytes: usize) -> Option<SmallDisk> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={megabytes}m");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "clyra-test"])
            .arg(dir.path())
            .stderr(Stdio::null())
            .status();
        if mount.is_ok_and(|status| status.success()) {
            return Some(SmallDisk(dir));
        }
        println!("SKIPPED: a sidecar on a full disk was not tested, because mounting a tmpfs needs root");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all the space that is left.
    fn fill(&self) {
        use std::io::Write as _;
        let mut ballast = std::fs::File::options().create(true).append(true).open(self.path().join("ballast")).unwrap();
        while ballast.write_all(&[0; 4096]).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.path().join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_nothing_goes_unrecorded_and_service_returns_by_itself() {
    let Some(disk) = SmallDisk::mount(7) else { return };
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let data = disk.path().join("data");
    let sidecar = Sidecar::start_with(POLICY, &simulator.url(), &[], |settings| {
        settings.data_dir.clone_from(&data);
    })
    .await;
    assert_eq!(ask(&sidecar).await.status, 200);
    disk.fill();
    // What is recorded now uses up the reserve; it is refused long before that is gone.
    until("the disk shows as full", || async { ask(&sidecar).await.status == 503 }).await;
    let seen = simulator.requests().len();
    let refused = ask(&sidecar).await;
    assert_eq!((refused.status, simulator.requests().len()), (503u16.try_into().unwrap(), seen));
    let ready = get(sidecar.admin, "/readyz").await;
    assert!(ready.status == 503 && ready.text().contains("disk is full"), "{}", ready.text());
    let metric = |text: &str, name: &str| text.lines().any(|line| line == name);
    assert!(metric(&get(sidecar.admin, "/metrics").await.text(), "clyra_journal_full 1"));
    assert!(metric(&get(sidecar.admin, "/metrics").await.text(), "clyra_journal_poisoned 0"));
    disk.free();
    until("the disk has space again", || async { get(sidecar.admin, "/readyz").await.status == 200 }).await;
    assert_eq!(ask(&sidecar).await.status, 200);
    let root = sidecar.root_vkey.clone();
    sidecar.stop().await;
    simulator.stop().await;
    let verdict = verify(&data, &root);
    assert!(verdict.ok, "{:?}", verdict.findings);
    // The little that other writers give back may bring service back for a moment; each turn is on record, in order.
    let mut states = Vec::new();
    let mut receipts = clyra_receipts::Receipts::open_first(&data).unwrap();
    while let Some(receipt) = receipts.read_next().unwrap() {
        let body: serde_json::Value = serde_json::from_slice(receipt.body()).unwrap();
        if body["kind"] == "degraded" {
            assert_eq!(body["event"]["reason"], "disk_full");
            states.push(body["event"]["state"].as_str().unwrap().to_owned());
        }
    }
    assert!(!states.is_empty() && states.len() % 2 == 0, "{states:?}");
    assert!(states.chunks(2).all(|pair| pair == ["entered", "left"]), "{states:?}");
}

/// Of a session as well: an answer that cannot be put on record is not begun, or does not end.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_a_session_shows_no_answer_that_is_not_on_record() {
    let Some(disk) = SmallDisk::mount(7) else { return };
    let provider = clyra_tests::live::Provider::start().await;
    let data = disk.path().join("data");
    let sidecar = Sidecar::start_with(POLICY, &provider.url, &[], |settings| {
        settings.data_dir.clone_from(&data);
    })
    .await;
    let (mut client, answered) = clyra_tests::live::open(sidecar.address, "/v1/realtime?model=m", &[]).await.unwrap();
    let session = answered["x-clyra-request-id"].to_str().unwrap().to_owned();
    let (_, mut upstream) = provider.session().await;
    disk.fill();
    // The reserve serves on for a while.
    let (mut whole, mut answer) = (0, 0);
    let said = loop {
        answer += 1;
        for kind in ["response.created", "response.done"] {
            let event =
                json!({"type": kind, "response": {"id": format!("r{answer}"), "status": "completed", "output": []}});
            let _ = upstream.try_say(&event).await;
        }
        let first = client.event().await;
        if first["type"] == "error" {
            break first;
        }
        let second = client.event().await;
        if second["type"] == "error" {
            break second;
        }
        whole += 1;
    };
    assert_eq!(
        (&said["error"]["code"], client.closed().await.map(|(code, _)| code)),
        (&json!("clyra_unavailable"), Some(1011))
    );
    disk.free();
    until("the disk has space again", || async { get(sidecar.admin, "/readyz").await.status == 200 }).await;
    let mut receipts = clyra_tests::journal::receipts(&data);
    receipts.retain(|receipt| receipt["ext"]["session"] == session.as_str() && receipt["kind"] == "outcome");
    assert!(receipts.len() >= whole, "{} outcomes of {whole} answers", receipts.len());
    let root = sidecar.root_vkey.clone();
    sidecar.stop().await;
    assert!(verify(&data, &root).ok);
}

/// In `durable` mode the provider does not wait for the disk, and the disk not for the provider.
#[tokio::test(flavor = "multi_thread")]
async fn the_attempt_is_on_disk_while_the_provider_thinks() {
    let upstream = Puppet::start().await;
    let sidecar = Sidecar::start(POLICY, &upstream.url()).await;
    let address = sidecar.address;
    let body = Surface::Chat.request(true, "x").to_string().into_bytes();
    let client = tokio::spawn(async move { open(address, Surface::Chat.path(), &[], body).await });
    // The provider has the request and has not answered a byte.
    let mut call = upstream.call().await;
    until("the attempt is on disk", || async { kinds(&sidecar.receipts()).contains(&"attempt") }).await;
    assert!(!kinds(&sidecar.receipts()).contains(&"outcome"));
    call.begin("text/event-stream").await;
    let events = Surface::Chat.events(&["one"]);
    for event in &events {
        call.chunk(event.as_bytes()).await;
    }
    call.end().await;
    let answer = client.await.unwrap().rest().await;
    assert!(answer.complete);
    let page = get(sidecar.admin, "/metrics").await.text();
    let sum =
        |name: &str| page.lines().find_map(|line| line.strip_prefix(&format!("clyra_{name}_seconds_sum "))).unwrap();
    println!(
        "receipts took {} s to be durable, the exchange stood still for {} s",
        sum("receipt_wait"),
        sum("receipt_blocked")
    );
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_time_is_on_record_and_sealed() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let each_second = |settings: &mut clyra::config::Settings| settings.seal_every = Duration::from_secs(1);
    let sidecar = Sidecar::start_with(POLICY, &simulator.url(), &[], each_second).await;
    ask(&sidecar).await;
    let beats = || async { kinds(&sidecar.receipts()).iter().filter(|kind| **kind == "heartbeat").count() >= 2 };
    until("two heartbeats", beats).await;
    let stopped = sidecar.stop().await;
    simulator.stop().await;
    let receipts = stopped.receipts();
    let kinds = kinds(&receipts);
    let first = kinds.iter().position(|kind| *kind == "heartbeat").unwrap();
    assert!(kinds[..first].contains(&"seal"), "the first interval was not idle: {kinds:?}");
    assert_eq!(kinds[first - 1..=first + 1], ["seal", "heartbeat", "seal"], "{kinds:?}");
    assert!(stopped.verify().ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_receipts_leave_the_journal_and_the_log_goes_on() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let start = async |retention: Option<Retention>| {
        Sidecar::start_with(POLICY, &simulator.url(), &[], |settings| {
            settings.data_dir.clone_from(&data);
            settings.evidence.retention = retention;
        })
        .await
    };
    let sidecar = start(None).await;
    for _ in 0..3 {
        ask(&sidecar).await;
    }
    sidecar.stop().await;
    let segments = || {
        let names = std::fs::read_dir(data.join("journal")).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().ends_with(".pefwal")).count()
    };
    assert_eq!(segments(), 1);
    // The receipts of the process before are covered by its last checkpoint, but for those about its end.
    let at_once = Retention { keep: Duration::ZERO, requires: Cover::Checkpoint };
    let sidecar = start(None).await;
    ask(&sidecar).await;
    sidecar.stop().await;
    assert_eq!(segments(), 2);
    let sidecar = start(Some(at_once)).await;
    until("the first segment is gone", || async { data.join("journal/pruned.json").exists() && segments() == 2 }).await;
    assert_eq!(ask(&sidecar).await.status, 200);
    let page = get(sidecar.admin, "/metrics").await.text();
    let bytes = page.lines().find_map(|line| line.strip_prefix("clyra_journal_pruned_bytes ")).unwrap();
    assert!(bytes.parse::<u64>().unwrap() > 4096, "{bytes}");
    sidecar.stop().await;
    let sidecar = start(None).await;
    assert_eq!(ask(&sidecar).await.status, 200);
    sidecar.stop().await;
    simulator.stop().await;
}
