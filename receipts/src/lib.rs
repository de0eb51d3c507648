//! Evidence: what the firewall leaves behind, in a form that anybody can check offline.
//!
//! - [`receipt`]: what is recorded, as canonical JSON ([`canonical`]) without content ([`commit`]).
//! - [`journal`]: the durable, hash-chained, signed log of receipts. Start at [`Log`].
//! - [`retention`]: when old receipts leave the log, and legal holds that keep them.
//! - [`tree`], [`checkpoint`]: one RFC 6962 tree over the whole log, and signed statements of its root.
//! - [`anchor`]: proofs of a checkpoint that others hold.
//! - [`tlog`], [`streams`]: the tree in tiles, and proofs out of it, of receipts and of the events of a stream.
//! - [`lock`], [`mod@witness`]: what keeps the log from having two histories, and who says that it has one.
//! - [`bundle`]: receipts sealed into one file with everything that is needed to check them.
//! - [`mod@verify`]: the check, offline and without trust in whoever handed the evidence over.
//! - [`reader`]: receipts read back, for people and tools.
//! - [`lineage`]: how the exchanges of agent runs hang together.
//! - [`keys`]: who signs what, and on whose word.
//!
//! The formats are fixed in `receipts/SPEC.md`. No networking, no async runtime, nothing that depends on the other domain
//! crates.

pub mod anchor;
pub mod bundle;
pub mod canonical;
pub mod checkpoint;
mod clock;
pub mod commit;
pub mod dsse;
mod durable;
mod hex;
pub mod journal;
pub mod keys;
pub mod lineage;
pub mod lock;
pub mod reader;
pub mod receipt;
pub mod retention;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod spec;
pub mod streams;
pub mod tlog;
pub mod tree;
pub mod verify;
pub mod witness;

pub use bundle::{PolicyDocument, Publication, SealError, Sealed, Sealer};
pub use commit::{Commitment, Committer, EventTree, Salt};
pub use journal::{AppendError, BootReport, Durability, Log, LogError, LogOptions, LogStatus, Token};
pub use keys::{KeyAccess, KeyError, KeyPlace, Keys, PublicKey};
pub use reader::{ReadError, Receipts, StoredReceipt};
pub use receipt::{Attempt, Bypass, Entry, Outcome};
pub use verify::{Verdict, VerifyOptions, verify};
