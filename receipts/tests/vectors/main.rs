//! The golden vectors (`tests/vectors/pef/`): how they are made, and that the crate passes them.
//!
//! `UPDATE_VECTORS=1 cargo test -p clyra-receipts --test vectors` writes them anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

mod cases;
mod forge;
mod mutations;
mod odd;
mod table;
mod verifiers;
