//! A disk that fills up under a running sidecar, and has space again: on a real ext4 of its own, and on a tmpfs.

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use clyra_receipts::verify::Severity;
use clyra_simulator::{Options, Simulator};
use clyra_tests::client::{Answer, post};
use clyra_tests::journal;
use clyra_tests::process::Process;
use clyra_tests::sidecar::verify;
use serde_json::json;

use crate::startup::Place;
use crate::{BINARY, POLICY};

/// A file system of its own, gone when dropped.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`, said in so many words, where this process may not mount; CI does not accept that.
    pub(crate) fn tmpfs(at: &Path, size: &str) -> Option<SmallDisk> {
        Self::mount(at, &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
    }

    /// An ext4 in a file.
    fn ext4(at: &Path, bytes: u64) -> Option<SmallDisk> {
        // In memory where that can be: what fills up is the file system, whatever it lies on.
        let memory = Path::new("/dev/shm");
        let below = if memory.is_dir() { memory } else { Path::new("/tmp") };
        let holder = tempfile::tempdir_in(below).unwrap();
        let image = holder.path().join("image");
        File::create(&image).unwrap().set_len(bytes).unwrap();
        let image = image.to_str().unwrap();
        let made = Command::new("mkfs.ext4").args(["-q", "-m", "0", image]).status();
        assert!(made.is_ok_and(|status| status.success()), "mkfs.ext4 is missing or fails");
        // The mount keeps the file for as long as it needs it.
        Self::mount(at, &["-t", "ext4", "-o", "loop", image])
    }

    fn mount(at: &Path, arguments: &[&str]) -> Option<SmallDisk> {
        std::fs::create_dir(at).unwrap();
        let mounted = Command::new("mount").args(arguments).arg(at).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(SmallDisk(at.to_owned()));
        }
        assert!(std::env::var_os("CI").is_none(), "CI must not skip: no right to mount a small file system");
        println!("skipped: no right to mount a small file system, so a full disk cannot be shown");
        None
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Fills what is free, to the last byte.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("ballast");
        let mut file = File::create(&path).unwrap();
        for size in [1 << 20, 1 << 12, 1] {
            while file.write_all(&vec![7; size]).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Longest wait for a sidecar to find that there is space again: it looks four times a second.
const RECOVERY_MAX: Duration = Duration::from_secs(30);
/// More exchanges than the reserve of a log holds.
const EXCHANGES_MAX: usize = 6_000;
/// Requests at the same time.
const AT_ONCE: usize = 32;

async fn ask(address: SocketAddr) -> Answer {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "Hello"}]}).to_string();
    post(address, "/v1/chat/completions", &[], body.into_bytes()).await
}

async fn fills_up_and_recovers(place: &Place, disk: &SmallDisk) {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let policy = place.write("policy.yaml", POLICY);
    let data = disk.path().join("data");
    let process = Process::start(BINARY, Path::new(&policy), &data, &simulator.url());
    let mut answered = Vec::new();
    let first = ask(process.address).await;
    assert_eq!(first.status, 200, "{}", first.text());
    answered.push(first.request_id().to_owned());
    let ballast = disk.fill();
    // The reserve serves on for a while, or not; then everything is refused, and nothing was shown without its receipts.
    let mut refused = None;
    while refused.is_none() {
        let answers: Vec<_> = (0..AT_ONCE).map(|_| tokio::spawn(ask(process.address))).collect();
        for answer in answers {
            let answer = answer.await.unwrap();
            if answer.status == 200 {
                answered.push(answer.request_id().to_owned());
            } else {
                refused = Some(answer);
            }
        }
        assert!(answered.len() < EXCHANGES_MAX, "a full disk takes the receipts of {} exchanges", answered.len());
    }
    let refusal = refused.unwrap();
    assert_eq!(refusal.status, 503, "{}", refusal.text());
    assert!(refusal.text().contains("clyra_unavailable") && refusal.header("retry-after") == "1", "{}", refusal.text());
    assert_eq!(ask(process.address).await.status, 503);
    std::fs::remove_file(ballast).unwrap();
    let end = Instant::now() + RECOVERY_MAX;
    loop {
        let answer = ask(process.address).await;
        if answer.status == 200 {
            answered.push(answer.request_id().to_owned());
            break;
        }
        assert!(Instant::now() < end, "space is back, and requests are still refused: {}", answer.text());
    }
    process.terminate();
    let (status, said) = process.ended();
    assert!(status.success(), "{status}: {said:?}");
    let receipts = journal::receipts(&data);
    for id in &answered {
        assert_eq!(journal::of_exchange(&receipts, id).len(), 2, "{id}");
    }
    let degraded: Vec<_> = receipts.iter().filter(|receipt| receipt["kind"] == "degraded").collect();
    let states: Vec<_> = degraded.iter().map(|receipt| receipt["event"]["state"].as_str().unwrap()).collect();
    assert_eq!(states[..2], ["entered", "left"], "{states:?}");
    assert!(degraded.iter().all(|receipt| receipt["event"]["reason"] == "disk_full"));
    let root = std::fs::read_to_string(data.join("keys/root.vkey")).unwrap();
    let verdict = verify(&data, root.trim());
    let errors: Vec<_> = verdict.findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
    assert!(verdict.ok, "{errors:?}");
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_ext4_stops_answers_says_so_and_serves_again_when_there_is_space() {
    let place = Place::new();
    let Some(disk) = SmallDisk::ext4(&place.path("disk"), 48 << 20) else { return };
    fills_up_and_recovers(&place, &disk).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_tmpfs_stops_answers_says_so_and_serves_again_when_there_is_space() {
    let place = Place::new();
    let Some(disk) = SmallDisk::tmpfs(&place.path("disk"), "32m") else { return };
    fills_up_and_recovers(&place, &disk).await;
}
