//! What an operator meets on a bad day: one clear message that says what to do, and the right exit status.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use clyra_simulator::{Options, Simulator};
use clyra_tests::client::{get, post};
use clyra_tests::journal;
use clyra_tests::process::{Process, run};
use serde_json::json;

use crate::{BINARY, POLICY};

/// Runs a sidecar that must not start; gives its status and what it said.
fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(BINARY, &[&["run"], arguments].concat());
    assert!(output.stdout.is_empty(), "stdout is for results: {}", String::from_utf8_lossy(&output.stdout));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains("panicked"), "{said}");
    (output.status.code(), said)
}

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    fn data(&self) -> String {
        self.path("data").to_str().unwrap().to_owned()
    }
}

const UPSTREAM: [&str; 2] = ["--upstream", "openai=http://127.0.0.1:9"];
const ANY: [&str; 4] = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];

#[test]
fn a_bad_policy_is_named_with_its_place() {
    let place = Place::new();
    let policy = place.write(
        "policy.yaml",
        "version: 1\nmode: enforce\nrules:\n  - id: r\n    phase: request\n    when: finding.exists(f, true)\n    action: blok\n",
    );
    let data = place.data();
    let (status, said) = refused(&[&UPSTREAM[..], &ANY, &["--policy", &policy, "--data-dir", &data]].concat());
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("policy.yaml:7:") && said.contains("blok"), "{said}");
    let (status, said) =
        refused(&[&UPSTREAM[..], &ANY, &["--policy", "/nowhere/p.yaml", "--data-dir", &data]].concat());
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("/nowhere/p.yaml"), "{said}");
    assert!(!Path::new(&data).exists(), "a start that fails at its policy leaves nothing behind");
}

#[test]
fn a_bad_upstream_is_named() {
    let (place, data) = (Place::new(), Place::new().data());
    for (upstream, word) in [
        ("https://api.openai.com", "NAME=URL"),
        ("openai=ftp://example.org", "openai"),
        ("openai=https://user:secret@example.org", "openai"),
    ] {
        let (status, said) = refused(&[&ANY[..], &["--upstream", upstream, "--data-dir", &data]].concat());
        assert_eq!(status, Some(2), "{said}");
        assert!(said.contains(word) && !said.contains("secret"), "{said}");
    }
    let (status, said) = refused(&[&ANY[..], &["--data-dir", &data]].concat());
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("--upstream"), "{said}");
    drop(place);
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (listen, admin) in [(address.as_str(), "127.0.0.1:0"), ("127.0.0.1:0", address.as_str())] {
        let place = Place::new();
        let data = place.data();
        let (status, said) =
            refused(&[&UPSTREAM[..], &["--listen", listen, "--admin", admin, "--data-dir", &data]].concat());
        assert_eq!(status, Some(2), "{said}");
        assert!(said.contains(&address) && said.contains("choose another"), "{said}");
    }
}

#[test]
fn a_data_directory_that_cannot_be_written_is_named() {
    let place = Place::new();
    let file = place.write("file", "");
    let below = format!("{file}/data");
    let (status, said) = refused(&[&UPSTREAM[..], &ANY, &["--data-dir", &below]].concat());
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains(&below), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_one_data_directory_is_refused() {
    let place = Place::new();
    let policy = place.write("policy.yaml", POLICY);
    let first = Process::start(BINARY, Path::new(&policy), Path::new(&place.data()), "http://127.0.0.1:9");
    let data = place.data();
    let (status, said) = refused(&[&UPSTREAM[..], &ANY, &["--data-dir", &data]].concat());
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains(&data) && said.contains("another process"), "{said}");
    first.terminate();
    assert!(first.ended().0.success());
}

/// A file system of its own, too small to be of use; gone when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`, said in so many words, where this process may not mount; CI does not accept that.
    fn mount(at: PathBuf, size: &str) -> Option<SmallDisk> {
        std::fs::create_dir(&at).unwrap();
        let options = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&at).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(SmallDisk(at));
        }
        assert!(std::env::var_os("CI").is_none(), "CI must not skip: no right to mount a small file system");
        println!("skipped: no right to mount a small file system, so a full disk cannot be shown");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_at_the_start_is_named() {
    let place = Place::new();
    let Some(disk) = SmallDisk::mount(place.path("disk"), "4k") else { return };
    let data = disk.0.join("data").to_str().unwrap().to_owned();
    let (status, said) = refused(&[&UPSTREAM[..], &ANY, &["--data-dir", &data]].concat());
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains(&data) && said.to_lowercase().contains("space"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_stops_answers_and_says_so() {
    let place = Place::new();
    let Some(disk) = SmallDisk::mount(place.path("disk"), "512k") else { return };
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let policy = place.write("policy.yaml", POLICY);
    let data = disk.0.join("data");
    let process = Process::start(BINARY, Path::new(&policy), &data, &simulator.url());
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "Hello"}]}).to_string();
    let mut answered = Vec::new();
    let refusal = loop {
        let answer = post(process.address, "/v1/chat/completions", &[], body.clone().into_bytes()).await;
        if answer.status != 200 {
            break answer;
        }
        answered.push(answer.header("x-clyra-request-id").to_owned());
        assert!(answered.len() < 2_000, "a disk of 512 KiB takes the receipts of {} exchanges", answered.len());
    };
    assert_eq!(refusal.status, 503, "{}", refusal.text());
    assert!(refusal.text().contains("clyra_unavailable") && refusal.header("retry-after") == "1", "{}", refusal.text());
    let ready = get(process.admin, "/readyz").await;
    assert_eq!(ready.status, 503, "{}", ready.text());
    // It does not recover by itself: what a failed write left behind is for a restart to look at.
    let answer = post(process.address, "/v1/chat/completions", &[], body.into_bytes()).await;
    assert_eq!(answer.status, 503);
    // Nothing was shown without its receipt.
    let receipts = journal::receipts(&data);
    for id in &answered {
        assert_eq!(journal::of_exchange(&receipts, id).len(), 2, "{id}");
    }
    process.kill();
    simulator.stop().await;
}
