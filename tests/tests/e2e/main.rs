//! End-to-end tests, through real sockets, in one binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

mod answers;
mod bodies;
mod bypass;
mod choices;
mod contracts;
mod endings;
mod evidence;
mod forms;
mod hygiene;
mod leak_matrix;
mod lineage;
mod map_matrix;
mod mcp;
mod memory;
mod operations;
mod realtime;
mod recorded;
mod requests;
mod schemalock;
mod stored;
mod streaming;
mod transport;
mod upstreams;
mod usage;
