//! Anchors: proofs that a checkpoint note existed, held by somebody who is not the log's owner.
//!
//! Everything here is pure: requests and proofs are made, read and checked, and the files of `anchors/` are kept. What talks
//! to time-stamp authorities, calendars and stores is the binary's. The accepted forms are those of `SPEC.md` §9, "Anchor",
//! to the byte: a proof that this refuses is refused by every verifier.

pub mod bitcoin;
mod copy;
mod der;
mod op_return;
pub mod opentimestamps;
pub mod rfc3161;
mod store;

pub use crate::receipt::{AnchorKind, AnchorRecord, AnchorState};
pub use copy::CopyProof;
pub use op_return::{OpReturnFault, OpReturnProof, op_return_script};
pub use store::{ANCHORS_DIRECTORY, AnchorFiles};

/// Longest proof file: an `op_return` proof with the most headers has a third of it.
pub const PROOF_MAX_BYTES: usize = 1024 * 1024;

/// What the name of a checkpoint note's file ends in, after the dot.
pub const NOTE_ENDING: &str = "note";

/// Seconds since 1970 as evidence writes a time.
pub fn timestamp(seconds: u64) -> String {
    crate::clock::rfc3339(seconds.saturating_mul(1_000_000))
}

#[cfg(test)]
mod tests;
