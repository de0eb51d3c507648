//! What leaves the data directory of a running sidecar, and what keeps it from going on: cosignatures of a witness that is asked
//! over HTTP, proofs of events that were streamed, and a lock record that knows better.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use clyra_receipts::lock::{FileLock, LockStore as _};
use clyra_simulator::{Options, Simulator};
use clyra_tests::ask::Surface;
use clyra_tests::client::{Answer, get, post};
use clyra_tests::journal::receipts;
use clyra_tests::process::{Process, command, run};
use serde_json::{Value, json};

use crate::startup::Place;
use crate::{BINARY, POLICY};

/// Longest wait for something that comes by itself.
const PATIENCE: Duration = Duration::from_secs(60);

async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what}: never");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Runs the command line; gives status, stdout and stderr.
fn clyra(arguments: &[&str]) -> (i32, String, String) {
    let output = run(BINARY, arguments);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn good(arguments: &[&str]) -> String {
    let (status, out, said) = clyra(arguments);
    assert_eq!(status, 0, "{arguments:?}: {out}{said}");
    out
}

/// Verifier key of the log's first key of a purpose.
fn key(data: &str, purpose: &str) -> String {
    let list = good(&["keys", "list", "--json", "--data-dir", data]);
    let mut keys = list.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    keys.find(|key| key["purpose"] == purpose).unwrap()["vkey"].as_str().unwrap().to_owned()
}

/// A sidecar that seals each second, with these settings of its evidence.
fn start(place: &Place, data: &Path, upstream: &str, evidence: &str) -> Process {
    let policy = PathBuf::from(place.write("policy.yaml", POLICY));
    let settings = place.write("clyra.yaml", &format!("seal_every_s: 1\nevidence:\n{evidence}"));
    Process::start_with(BINARY, &policy, data, upstream, &["--config", &settings])
}

async fn ask(sidecar: &Process, stream: bool) -> Answer {
    let body = Surface::Chat.ask(stream, &json!({"content": "Three short words."}));
    let answer = post(sidecar.address, Surface::Chat.path(), &[], body).await;
    assert!(answer.status == 200 && answer.complete, "{}: {}", answer.status, answer.text());
    answer
}

fn stop(sidecar: Process) {
    sidecar.terminate();
    let (status, said) = sidecar.ended();
    assert_eq!(status.code(), Some(0), "{}", said.join("\n"));
}

/// The notes of checkpoints by their sizes.
fn notes(data: &Path) -> Vec<(u64, String)> {
    let entries = std::fs::read_dir(data.join("checkpoints")).into_iter().flatten();
    let mut notes: Vec<(u64, String)> = entries
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let size = path.file_name()?.to_str()?.parse().ok()?;
            Some((size, std::fs::read_to_string(path).ok()?))
        })
        .collect();
    notes.sort_unstable();
    notes
}

/// A witness in a process of its own.
struct WitnessProcess {
    address: String,
    vkey: String,
    child: Child,
}

impl WitnessProcess {
    fn start(listen: &str, state: &str, log: &str) -> WitnessProcess {
        let arguments = ["witness", "--listen", listen, "--state", state, "--name", "witness.example/w", "--log", log];
        let mut child = command(BINARY, &arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (mut vkey, mut said) = (String::new(), String::new());
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut vkey).unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        while !said.contains("listens on") {
            said.clear();
            assert!(lines.read_line(&mut said).unwrap() > 0, "the witness ended");
        }
        let address = said.trim().rsplit('/').next().unwrap().to_owned();
        WitnessProcess { address, vkey: vkey.trim().to_owned(), child }
    }
}

impl Drop for WitnessProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_cosigns_over_http_and_its_absence_keeps_nothing_from_being_sealed() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let place = Place::new();
    let (data, state) = (place.path("data"), place.path("witness").to_str().unwrap().to_owned());
    let data_text = place.data();
    good(&["keys", "init", "--data-dir", &data_text]);
    let log = key(&data_text, "log");
    let witness = WitnessProcess::start("127.0.0.1:0", &state, &log);
    let (address, vkey) = (witness.address.clone(), witness.vkey.clone());
    let evidence = format!("  witnesses: [{{ url: 'http://{address}', vkey: '{vkey}' }}]\n  witness_timeout_s: 5\n");
    // A line of the witness under a checkpoint of more receipts than these.
    let line = "\n\u{2014} witness.example/w ";
    let next = async |than: u64, cosigned: bool| {
        let found = || notes(&data).into_iter().find(|(size, note)| *size > than && note.contains(line) == cosigned);
        until("the next checkpoint", found).await.0
    };

    let sidecar = start(&place, &data, &simulator.url(), &evidence);
    ask(&sidecar, false).await;
    let first = next(0, true).await;
    drop(witness);
    ask(&sidecar, false).await;
    let without = next(first, false).await;
    let page = get(sidecar.admin, "/metrics").await.text();
    let failed = page.lines().find(|line| line.starts_with("clyra_witness_failures_total{")).unwrap();
    assert!(!failed.ends_with(" 0"), "{failed}");
    let witness = WitnessProcess::start(&address, &state, &log);
    assert_eq!(witness.vkey, vkey, "the same key as before");
    ask(&sidecar, false).await;
    let again = next(without, true).await;
    stop(sidecar);
    // A new process does not know which size the witness has seen, and is told.
    let before = notes(&data).last().unwrap().0;
    assert!(before >= again);
    let sidecar = start(&place, &data, &simulator.url(), &evidence);
    ask(&sidecar, false).await;
    next(before, true).await;
    stop(sidecar);

    let root = key(&data_text, "root");
    let policy = place.write("witnesses.policy", &format!("witness w {vkey}\nquorum w\n"));
    let bundle = |to: u64| {
        let names = std::fs::read_dir(data.join("bundles")).unwrap().map(|entry| entry.unwrap().path());
        let ending = format!("-{to}.pef");
        names.into_iter().find(|path| path.to_str().unwrap().ends_with(&ending)).unwrap().to_str().unwrap().to_owned()
    };
    good(&["verify", &data_text, "--root", &root]);
    good(&["verify", &bundle(first), "--root", &root, "--witness-policy", &policy]);
    let (status, out, _) = clyra(&["verify", &bundle(without), "--root", &root, "--witness-policy", &policy, "--json"]);
    assert!(status == 1 && out.contains("E404"), "{status} {out}");
    drop(witness);
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_of_a_streamed_answer_can_be_proven() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let place = Place::new();
    let data = place.path("data");
    let data_text = place.data();
    let sidecar = start(&place, &data, &simulator.url(), "  stream_proofs: true\n");
    ask(&sidecar, false).await;
    let answer = ask(&sidecar, true).await;
    let text = answer.text();
    let events: Vec<&str> = text.split_inclusive("\n\n").collect();
    assert!(events.len() > 2, "{text}");
    let outcome = receipts(&data).into_iter().find(|receipt| receipt["stream"].is_object()).unwrap();
    assert_eq!(outcome["stream"]["events"], events.len());
    let seq = outcome["seq"].as_str().unwrap().to_owned();
    let out = place.path("proofs").to_str().unwrap().to_owned();
    let prove =
        |event: &str| clyra(&["receipts", "prove", &seq, "--event", event, "--out", &out, "--data-dir", &data_text]);
    // The proof leads to a checkpoint, and the next one is a second away.
    until("a proof", || Some(()).filter(|()| prove("0").0 == 0)).await;
    stop(sidecar);

    let root = key(&data_text, "root");
    for (number, event) in events.iter().enumerate() {
        let number = number.to_string();
        assert_eq!(prove(&number).0, 0, "event {number}");
        let proof = format!("{out}/{seq}-{number}.event-proof");
        let (given, other) = (place.write("event", event), place.write("other", &format!("{event} ")));
        good(&["verify", &proof, "--root", &root, "--event", &given]);
        let (status, said, _) = clyra(&["verify", &proof, "--root", &root, "--event", &other, "--json"]);
        assert!(status == 1 && said.contains("E602"), "{status} {said}");
    }
    let (status, _, said) = prove(&events.len().to_string());
    assert!(status == 2 && said.contains("T013"), "{status} {said}");
    // The answer that was not streamed has no events.
    let plain = receipts(&data).into_iter().find(|receipt| receipt["kind"] == "outcome").unwrap();
    let plain = plain["seq"].as_str().unwrap();
    let (status, _, said) =
        clyra(&["receipts", "prove", plain, "--event", "0", "--out", &out, "--data-dir", &data_text]);
    assert!(status == 2 && said.contains("T012"), "{status} {said}");
    simulator.stop().await;
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            // With its mode: a key that others could read is refused.
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_the_lock_record_does_not_know_is_not_started() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let place = Place::new();
    let data = place.path("data");
    std::fs::create_dir(place.path("elsewhere")).unwrap();
    let lock = format!("  lock: 'file:{}'\n", place.path("elsewhere/record").display());
    let grow = async |data: &Path, evidence: &str| {
        let sidecar = start(&place, data, &simulator.url(), evidence);
        ask(&sidecar, false).await;
        stop(sidecar);
    };
    grow(&data, &lock).await;
    let (snapshot, fork) = (place.path("snapshot"), place.path("fork"));
    copy(&data, &snapshot);
    copy(&data, &fork);
    grow(&data, &lock).await;
    // Another history from the same point on, longer than what the record knows.
    for _ in 0..3 {
        grow(&fork, "  stream_proofs: true\n").await;
    }
    for (data, code) in [(&snapshot, "W005"), (&fork, "W006")] {
        let policy = place.write("policy.yaml", POLICY);
        let settings = place.write("clyra.yaml", &format!("evidence:\n{lock}"));
        let upstream = format!("simulator={}", simulator.url());
        let data = data.to_str().unwrap();
        let (status, _, said) = clyra(&[
            "run",
            "--listen",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            "--upstream",
            &upstream,
            "--policy",
            &policy,
            "--config",
            &settings,
            "--data-dir",
            data,
        ]);
        assert!(status == 2 && said.contains(code) && !said.contains("panicked"), "{status} {said}");
    }
    // The newest copy goes on.
    grow(&data, &lock).await;
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_log_ends_when_the_lock_record_knows_of_another() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let place = Place::new();
    let data = place.path("data");
    std::fs::create_dir(place.path("elsewhere")).unwrap();
    let record = place.path("elsewhere/record");
    let store = FileLock::new(&record);
    let lock = format!("  lock: 'file:{}'\n", record.display());
    for code in ["W005", "W006"] {
        let sidecar = start(&place, &data, &simulator.url(), &lock);
        ask(&sidecar, false).await;
        until("a lock record", || store.read().unwrap()).await;
        // As another process would: by compare-and-swap, so that the sidecar's own next record does not come between.
        let (good, other) = until("the record is replaced", || {
            let good = store.read().unwrap().unwrap();
            let mut value: Value = serde_json::from_slice(&good).unwrap();
            if code == "W005" {
                let size: u64 = value["size"].as_str().unwrap().parse().unwrap();
                value["size"] = (size + 1_000_000).to_string().into();
            } else {
                value["root"] = "0".repeat(64).into();
            }
            let other = value.to_string();
            store.swap(Some(&good), other.as_bytes()).unwrap().then_some((good, other))
        })
        .await;
        let (status, said) = sidecar.ended();
        let said = said.join("\n");
        assert!(status.code() == Some(3) && said.contains(code), "{status} {said}");
        assert!(said.contains("the log must not go on") && !said.contains("panicked"), "{said}");
        assert_eq!(std::fs::read_to_string(&record).unwrap(), other, "the record is left to whoever wrote it");
        // What it had acknowledged is there all the same.
        std::fs::write(&record, &good).unwrap();
        let data = data.to_str().unwrap();
        let root = key(data, "root");
        self::good(&["verify", data, "--root", &root]);
    }
    simulator.stop().await;
}
