//! What happens to a sidecar in a process of its own when it is killed, starved or started where it should not be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod full;
mod growing;
mod killed;
mod published;
mod sessions;
mod startup;

use std::path::{Path, PathBuf};

use clyra_receipts::verify::Severity;
use clyra_tests::process::Process;
use clyra_tests::sidecar::verify;
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_clyra-under-test");

const POLICY: &str = "version: 1\nmode: enforce\ndefaults: { budget_ms: { request: 60000 } }\n";

/// What an environment variable says of the size of a campaign.
fn number(variable: &str) -> Option<usize> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

/// One log, which one sidecar after the other is started on.
struct Log {
    dir: TempDir,
    upstream: String,
}

impl Log {
    fn new(policy: &str, upstream: &str) -> Log {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("policy.yaml"), policy).unwrap();
        std::fs::write(dir.path().join("clyra.yaml"), "seal_every_s: 1\n").unwrap();
        Log { dir, upstream: upstream.to_owned() }
    }

    fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn start(&self) -> Process {
        let (policy, config) = (self.dir.path().join("policy.yaml"), self.dir.path().join("clyra.yaml"));
        let more = ["--config", config.to_str().unwrap()];
        Process::start_with(BINARY, &policy, &self.data_dir(), &self.upstream, &more)
    }

    /// One more process, in good order: it seals what all of them left.
    fn end(&self) {
        let last = self.start();
        last.terminate();
        let (status, said) = last.ended();
        assert!(status.success(), "{status}: {said:?}");
    }
}

fn assert_verifies(data_dir: &Path, when: &str) {
    let root = std::fs::read_to_string(data_dir.join("keys/root.vkey")).unwrap();
    let verdict = verify(data_dir, root.trim());
    let errors: Vec<_> = verdict.findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
    assert!(verdict.ok && errors.is_empty(), "{when}: {errors:?}");
}
