//! Evidence in the background: bundles are sealed while traffic goes on, each policy that was in force is kept so that a
//! bundle can carry it, and what answers on record made is read back at a start.

pub mod lock;
mod policies;
mod recall;
mod retaining;
mod sealing;
mod streams;
mod witnesses;

pub use policies::{remember_policy, remembered_policies};
pub use recall::{Recalling, recall};
pub use retaining::Retaining;
pub use sealing::{PublicationPlan, SealTaskError, Sealing};
pub use streams::StreamLeaves;
pub use witnesses::{WitnessEntry, Witnesses};
