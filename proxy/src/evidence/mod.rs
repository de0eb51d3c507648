//! Evidence in the background: bundles are sealed while traffic goes on, and each policy that was in force is kept so that
//! a bundle can carry it.

mod policies;
mod retaining;
mod sealing;

pub use policies::{remember_policy, remembered_policies};
pub use retaining::Retaining;
pub use sealing::{SealTaskError, Sealing};
