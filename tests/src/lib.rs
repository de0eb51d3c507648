//! The harness of the end-to-end tests: a real sidecar on real sockets, a simulated provider behind it, a client that
//! shares no code with Clyra, and the recorded traffic of real providers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

pub mod ask;
pub mod client;
pub mod encode;
pub mod event_lines;
pub use clyra_campaigns::journal;
pub mod live;
pub mod process;
pub mod puppet;
pub mod recorded;
pub mod recorder;
pub mod replay;
pub mod seen;
pub mod sidecar;
pub mod texts;
