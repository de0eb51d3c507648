//! What happens to a sidecar in a process of its own when it is killed, starved or started where it should not be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod full;
mod growing;
mod killed;
mod published;
mod sessions;
mod startup;

use std::path::Path;

use clyra_receipts::verify::Severity;
use clyra_tests::sidecar::verify;

const BINARY: &str = env!("CARGO_BIN_EXE_clyra-under-test");

const POLICY: &str = "version: 1\nmode: enforce\ndefaults: { budget_ms: { request: 60000 } }\n";

/// What an environment variable says of the size of a campaign.
fn number(variable: &str) -> Option<usize> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

fn assert_verifies(data_dir: &Path, when: &str) {
    let root = std::fs::read_to_string(data_dir.join("keys/root.vkey")).unwrap();
    let verdict = verify(data_dir, root.trim());
    let errors: Vec<_> = verdict.findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
    assert!(verdict.ok && errors.is_empty(), "{when}: {errors:?}");
}
