//! Bundles: a run of receipts with everything that is needed to check it, in one file.
//!
//! A bundle holds receipts `[from, to)` of the log; `from` and `to` are tree sizes, and each bundle begins where the one before
//! ended. It is a deterministic tar in zstd: the same receipts, keys and policies give the same bytes.

mod about;
mod attached;
mod container;
mod copies;
pub(crate) mod custody;
mod lineage;
mod manifest;
mod pack;
mod publisher;
mod run;
mod seal;
mod store;
mod tar;

pub use attached::{Attached, attach, attached};
pub(crate) use attached::{externals_directory, read_externals};
pub(crate) use container::{Container, ContainerFault, io_fault, open_bundle};
pub use copies::{Copied, add_custody, custody_of, export, redact};
pub use custody::{Action, CustodyEntry, CustodyNote, CustodySigner, read_signer};
pub use lineage::{LineageHook, LineageLines};
pub use manifest::PolicyDocument;
pub(crate) use manifest::{
    Manifest, ManifestFile, STATEMENT_PAYLOAD_TYPE, frontier_value, read_frontier, read_proof_lines, statement,
};
pub use publisher::Publication;
pub use seal::{SealError, Sealed, Sealer};
pub use store::{BundleInfo, files_from, inspect, list, newest_note};
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
pub(crate) const ANCHORS: &str = "anchors/";
pub(crate) const ARTIFACTS: &str = "artifacts/sha256/";
pub(crate) const CUSTODY: &str = "custody.jsonl";
pub(crate) const EXTERNALS: &str = "externals.json";
pub(crate) const LINEAGE: &str = "lineage/openlineage.jsonl";

/// Most members of a bundle: the fixed ones, policies, anchors and artifacts.
pub(crate) const MEMBERS_MAX: usize = 4096;

/// Largest member that is held in memory while a bundle is checked: all but receipts, lineage and artifacts.
pub(crate) const MEMBER_MAX_BYTES: u64 = 8 * 1024 * 1024;

/// Most bytes of all members that are held in memory.
pub(crate) const MEMBERS_MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Most bytes of receipts, and of lineage: twice what a sealer writes.
pub(crate) const STREAMED_MAX_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// Largest artifact in a bundle; a larger file is an external one.
pub(crate) const ARTIFACT_MAX_BYTES: u64 = 25 * 1024 * 1024;

/// Most bytes of all artifacts together.
pub(crate) const ARTIFACTS_MAX_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// Size of the zstd window: what a decoder must be ready to hold. 2 MiB is what level 3 uses.
pub(crate) const ZSTD_WINDOW_LOG: u32 = 21;

#[cfg(test)]
mod tests;
