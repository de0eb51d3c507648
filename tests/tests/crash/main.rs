//! What happens to a sidecar in a process of its own when it is killed, starved or started where it should not be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod full;
mod killed;
mod published;
mod startup;

const BINARY: &str = env!("CARGO_BIN_EXE_clyra-under-test");

const POLICY: &str = "version: 1\nmode: enforce\ndefaults: { budget_ms: { request: 60000 } }\n";
