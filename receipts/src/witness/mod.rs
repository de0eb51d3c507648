//! Witnesses: somebody else who has seen that the log only grows, and says so under each checkpoint.
//!
//! - [`WitnessKey`], [`Cosignature`]: C2SP tlog-cosignature, as far as it is Ed25519.
//! - [`WitnessPolicy`]: which witnesses are enough, C2SP tlog-policy.
//! - [`AddCheckpoint`]: the one request of C2SP tlog-witness, from both sides.
//! - [`Witness`]: a witness of our own, its state on disk.
//! - [`Cosigner`]: how a sealer asks; who does the asking is not of this crate.

mod cosignature;
mod policy;
mod request;
mod state;

use crate::checkpoint::Checkpoint;
use crate::tlog::TlogError;
use crate::tree::Hash;

pub use cosignature::{Cosignature, WitnessKey};
pub use policy::{POLICY_MAX_BYTES, PolicyError, WitnessPolicy};
pub use request::{AddCheckpoint, RequestError};
pub use state::{Answer, Witness, WitnessError};

/// Asks witnesses for their cosignatures under a checkpoint that is about to be published.
pub trait Cosigner: Send {
    /// The cosignatures that could be had within the asker's own time. `consistency` gives the proof from any older size.
    /// What is returned is checked again; what fails is the asker's to tell.
    fn cosign(
        &mut self,
        checkpoint: &Checkpoint,
        note: &[u8],
        consistency: &dyn Fn(u64) -> Result<Vec<Hash>, TlogError>,
    ) -> Vec<Cosignature>;
}

#[cfg(test)]
mod tests;
