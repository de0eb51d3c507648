//! Evidence: what the firewall leaves behind, in a form that anybody can check offline.
//!
//! - [`receipt`]: what is recorded, as canonical JSON ([`canonical`]) without content ([`commit`]).
//! - [`journal`]: the durable, hash-chained, signed log of receipts. Start at [`Log`].
//! - [`tree`], [`checkpoint`]: one RFC 6962 tree over the whole log, and signed statements of its root.
//! - [`keys`]: who signs what, and on whose word.
//!
//! The formats are fixed in `receipts/SPEC.md`. No networking, no async runtime, nothing that depends on the other domain
//! crates.

pub mod canonical;
mod clock;
pub mod commit;
pub mod dsse;
mod durable;
mod hex;
pub mod journal;
pub mod keys;
pub mod receipt;
pub mod tree;

pub use commit::{Commitment, Committer, EventTree, Salt};
pub use journal::{AppendError, BootReport, Durability, Log, LogError, LogOptions, LogStatus, Token};
pub use keys::{KeyError, Keys, PublicKey};
pub use receipt::{Attempt, Bypass, Entry, Outcome};
