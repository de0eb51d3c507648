//! Receipts: what the log writes about each exchange and about its own life.
//!
//! The caller fills what it knows ([`Attempt`], [`Outcome`], [`Bypass`], …); the log adds what only it may say: version,
//! time, position, chain value, durability, signing key. The bytes that are signed are the canonical JSON of both.

mod cut;
mod draft;
mod entry;
mod member;
mod record;
pub(crate) mod shape;
mod written;

pub(crate) use draft::{Draft, LOG_MEMBERS_MAX_BYTES};
pub use entry::{
    AnchorKind, AnchorRecord, AnchorState, Attempt, Bypass, Degraded, Entry, Gap, KeyRevoke, KeyRotate, Kind, Outcome,
    PolicyChange, Prune, RunRef, SealRecord, ServiceState,
};
pub(crate) use entry::{Boot, ClockStep, Genesis, Heartbeat, LifeEntry, Shutdown, TornRecord};
pub(crate) use member::{count, parse_decimal};
pub use record::{
    Automation, BodyRecord, BuildInfo, Caller, Check, CheckOutcome, Coverage, CoverageRecord, Ext, FindingRecord,
    Identity, MessageCount, Place, PolicyRecord, RepairRecord, Request, Response, RuleRecord, SchemaRecord,
    ShadowRecord, StreamRecord, ToolRecord, Upstream, Usage, Verdict, ViolationRecord,
};
pub(crate) use written::{Members, join};

/// Format name that every document carries as `v`.
pub const FORMAT: &str = "pef.v0";

/// Payload type of a receipt's DSSE envelope.
pub const RECEIPT_PAYLOAD_TYPE: &str = "application/vnd.pef.receipt.v0+json";

/// Longest receipt body in bytes. A tree leaf is the DSSE envelope, and C2SP tlog-tiles bounds an entry to 65,535 bytes:
/// 48,128 bytes are 64,172 in base64, which leaves 1,363 for the envelope around it.
pub const BODY_MAX_BYTES: usize = 47 * 1024;

/// Longest leaf (envelope) in bytes: C2SP tlog-tiles has a 16-bit length before each entry.
pub const LEAF_MAX_BYTES: usize = 65_535;

#[cfg(test)]
mod tests;
