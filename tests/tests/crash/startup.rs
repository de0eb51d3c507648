//! What an operator meets on a bad day: one clear message that says what to do, and the right exit status.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use clyra_tests::process::{Process, run};

use crate::full::SmallDisk;
use crate::{BINARY, POLICY};

/// Runs a sidecar that must not start; gives its status and what it said.
fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(BINARY, &[&["run"], arguments].concat());
    assert!(output.stdout.is_empty(), "stdout is for results: {}", String::from_utf8_lossy(&output.stdout));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains("panicked"), "{said}");
    (output.status.code(), said)
}

pub(crate) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn data(&self) -> String {
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

#[test]
fn a_full_disk_at_the_start_is_named() {
    let place = Place::new();
    let Some(disk) = SmallDisk::tmpfs(&place.path("disk"), "4k") else { return };
    let data = disk.path().join("data").to_str().unwrap().to_owned();
    let (status, said) = refused(&[&UPSTREAM[..], &ANY, &["--data-dir", &data]].concat());
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains(&data) && said.to_lowercase().contains("space"), "{said}");
}
