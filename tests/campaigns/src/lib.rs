//! Campaigns that show what the journal promises: a writer that says what was acknowledged to it, ways to take the ground
//! from under it (a system call that fails, a power cut), and the check of what is left.
//!
//! What each of them shows and cannot show is in `docs/durability.md`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

pub mod bugs;
pub mod check;
pub mod dice;
pub mod faults;
pub mod journal;
pub mod order;
pub mod powercut;
pub mod strace;
pub mod told;
pub mod writer;
