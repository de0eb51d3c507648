//! Evidence in the background: bundles are sealed while traffic goes on, and each policy that was in force is kept so that
//! a bundle can carry it.

mod policies;
mod sealing;

pub use policies::{remember_policy, remembered_policies};
pub use sealing::{SealTaskError, Sealing};
