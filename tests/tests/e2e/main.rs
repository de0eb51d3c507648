//! End-to-end tests, through real sockets, in one binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

mod contracts;
mod leak_matrix;
mod recorded;
mod streaming;
