//! Bundles: a run of receipts with everything that is needed to check it, in one file.
//!
//! A bundle holds receipts `[from, to)` of the log; `from` and `to` are tree sizes, and each bundle begins where the one before
//! ended. It is a deterministic tar in zstd: the same receipts, keys and policies give the same bytes.

mod container;
mod manifest;
mod pack;
mod publisher;
mod run;
mod seal;
mod store;
mod tar;

pub(crate) use container::{Container, ContainerFault, io_fault, open_bundle};
pub use manifest::PolicyDocument;
pub(crate) use manifest::{
    Manifest, ManifestFile, STATEMENT_PAYLOAD_TYPE, frontier_value, read_frontier, read_proof_lines, statement,
};
pub use publisher::Publication;
pub use seal::{SealError, Sealed, Sealer};
pub use store::{BundleInfo, export, inspect, list};
pub(crate) use store::{
    bundle_range, checkpoint_sizes, list_bundle_files, newest_checkpoint, read_root, stored_checkpoint,
};

#[cfg(test)]
pub(crate) use tar::header as tar_header;

/// Directory of the bundles in the data directory.
pub(crate) const BUNDLES_DIRECTORY: &str = "bundles";
/// Directory of the checkpoints in the data directory.
pub(crate) const CHECKPOINTS_DIRECTORY: &str = "checkpoints";

pub(crate) const CHECKPOINT: &str = "checkpoint";
pub(crate) const CHECKPOINT_PREV: &str = "checkpoint.prev";
pub(crate) const CONSISTENCY: &str = "consistency";
pub(crate) const FRONTIER: &str = "frontier.json";
pub(crate) const KEYS: &str = "keys.json";
pub(crate) const MANIFEST: &str = "manifest.json";
pub(crate) const MANIFEST_DSSE: &str = "manifest.dsse.json";
pub(crate) const RECEIPTS: &str = "receipts.jsonl";
pub(crate) const POLICIES: &str = "policies/";

/// Most members of a bundle: the nine fixed ones and the policies.
pub(crate) const MEMBERS_MAX: usize = 1024;

/// Largest member but for the receipts. They are held in memory while a bundle is checked.
pub(crate) const MEMBER_MAX_BYTES: u64 = 8 * 1024 * 1024;

/// Most bytes of all members but the receipts.
pub(crate) const MEMBERS_MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Most bytes of receipts that a verifier reads from one bundle: 16 times what a sealer writes.
pub(crate) const RECEIPTS_MAX_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// Size of the zstd window: what a decoder must be ready to hold. 2 MiB is what level 3 uses.
pub(crate) const ZSTD_WINDOW_LOG: u32 = 21;

#[cfg(test)]
mod tests;
