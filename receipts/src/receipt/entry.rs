//! The receipts that there are, as their writers fill them.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::record::{
    Caller, Check, CoverageRecord, Ext, FindingRecord, PolicyRecord, Request, Response, SchemaRecord, StreamRecord,
    Upstream, Verdict,
};

/// The kinds that this version writes. More names are reserved in `SPEC.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Genesis,
    Boot,
    Shutdown,
    Attempt,
    Outcome,
    Bypass,
    PolicyChange,
    Degraded,
    Gap,
    Seal,
    Heartbeat,
    ClockStep,
    KeyRotate,
    KeyRevoke,
    Anchor,
    Prune,
}

impl Kind {
    pub const ALL: [Kind; 16] = [
        Self::Genesis,
        Self::Boot,
        Self::Shutdown,
        Self::Attempt,
        Self::Outcome,
        Self::Bypass,
        Self::PolicyChange,
        Self::Degraded,
        Self::Gap,
        Self::Seal,
        Self::Heartbeat,
        Self::ClockStep,
        Self::KeyRotate,
        Self::KeyRevoke,
        Self::Anchor,
        Self::Prune,
    ];

    /// The name in the `kind` member.
    pub fn name(self) -> &'static str {
        match self {
            Self::Genesis => "genesis",
            Self::Boot => "boot",
            Self::Shutdown => "shutdown",
            Self::Attempt => "attempt",
            Self::Outcome => "outcome",
            Self::Bypass => "bypass",
            Self::PolicyChange => "policy.change",
            Self::Degraded => "degraded",
            Self::Gap => "gap",
            Self::Seal => "seal",
            Self::Heartbeat => "heartbeat",
            Self::ClockStep => "clock.step",
            Self::KeyRotate => "key.rotate",
            Self::KeyRevoke => "key.revoke",
            Self::Anchor => "anchor",
            Self::Prune => "prune",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Names the agent run that an exchange belongs to. The log adds its position in the run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RunRef {
    pub id: String,
    /// Id of the run that started this one.
    #[serde(default)]
    pub parent: Option<String>,
    /// Sequence numbers of the outcomes that this request goes on from.
    #[serde(default)]
    pub parents: Vec<u64>,
}

impl RunRef {
    /// Longest id that is written as it is; a longer one is replaced by its BLAKE3 digest. The id comes from a header of
    /// the client, and W3C trace ids and UUIDs need 36.
    pub const ID_MAX_BYTES: usize = 128;

    /// Most parents that are written: a request answers the calls of one outcome as a rule, of a handful at most.
    pub const PARENTS_MAX: usize = 32;

    pub fn new(id: &str) -> Self {
        Self { id: Self::bounded(id), parent: None, parents: Vec::new() }
    }

    /// The same reference within the bounds of the format: ids that are too long are replaced by their digest, parents are
    /// ascending and each once.
    pub(crate) fn within_bounds(&self) -> Self {
        let mut parents = self.parents.clone();
        parents.sort_unstable();
        parents.dedup();
        parents.truncate(Self::PARENTS_MAX);
        Self { id: Self::bounded(&self.id), parent: self.parent.as_deref().map(Self::bounded), parents }
    }

    fn bounded(id: &str) -> String {
        if id.len() <= Self::ID_MAX_BYTES {
            id.to_owned()
        } else {
            format!("blake3:{}", blake3::hash(id.as_bytes()).to_hex())
        }
    }
}

/// Before an answer: what was asked, by whom, and what the policy said so far.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Attempt {
    /// Id of the exchange (UUIDv7); its outcome carries the same.
    pub id: Uuid,
    pub run: Option<RunRef>,
    pub caller: Caller,
    pub request: Request,
    pub policy: PolicyRecord,
    pub checks: Vec<Check>,
    pub findings: Vec<FindingRecord>,
    pub coverage: CoverageRecord,
    #[serde(default)]
    pub ext: Ext,
}

/// After the answer: what came back, what was released, and how it ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// Id of the exchange: that of its attempt.
    pub id: Uuid,
    /// Sequence number of the attempt, from its token.
    pub attempt_seq: u64,
    pub run: Option<RunRef>,
    pub caller: Caller,
    pub request: Option<Request>,
    pub upstream: Option<Upstream>,
    pub response: Option<Response>,
    pub stream: Option<StreamRecord>,
    pub checks: Vec<Check>,
    pub findings: Vec<FindingRecord>,
    pub schema: Option<SchemaRecord>,
    pub policy: PolicyRecord,
    pub coverage: CoverageRecord,
    pub verdict: Verdict,
    #[serde(default)]
    pub ext: Ext,
}

/// An exchange that went through without inspection, and why. One receipt stands for the whole exchange.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bypass {
    /// Id of the exchange (UUIDv7).
    pub id: Uuid,
    pub run: Option<RunRef>,
    pub caller: Caller,
    pub request: Request,
    pub upstream: Option<Upstream>,
    pub response: Option<Response>,
    pub policy: PolicyRecord,
    pub coverage: CoverageRecord,
    /// Absent when the receipt is written before the exchange has ended.
    pub verdict: Option<Verdict>,
    #[serde(default)]
    pub ext: Ext,
}

/// Another policy came into force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyChange {
    /// Hash of the policy that was in force, absent at the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What brought it: `start`, `reload`, `api`, …
    pub source: String,
    /// Hash of the policy now in force.
    pub to: String,
}

/// The sidecar left, or returned to, full service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Degraded {
    pub reason: String,
    pub state: ServiceState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceState {
    Entered,
    Left,
}

/// Exchanges that went unreceipted, counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gap {
    #[serde(serialize_with = "super::member::count")]
    pub exchanges: u64,
    pub reason: String,
}

/// A bundle was sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealRecord {
    /// First sequence number in the bundle.
    #[serde(with = "super::member::decimal")]
    pub from: u64,
    /// Hexadecimal RFC 6962 root at `to`.
    pub root: String,
    /// Hexadecimal SHA-256 of the bundle file.
    pub sha256: String,
    /// Number after the last in the bundle: the size of the tree.
    #[serde(with = "super::member::decimal")]
    pub to: u64,
}

/// A new key in the place of an old one. Both sign the statement of `SPEC.md` §3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRotate {
    /// `key_id` of the new key.
    pub new: String,
    /// Base64 signature of the new key.
    pub new_sig: String,
    /// `key_id` of the old key.
    pub old: String,
    /// Base64 signature of the old key.
    pub old_sig: String,
    /// `log` or `receipt`.
    pub purpose: String,
    /// First sequence number of the new key.
    #[serde(with = "super::member::decimal")]
    pub valid_from_seq: u64,
}

/// A key was revoked by the root key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRevoke {
    pub key_id: String,
    /// Decimal, or `none`: nothing that the key signed is good.
    pub last_good_seq: String,
    pub reason: String,
    /// Hexadecimal SHA-256 of the canonical revocation.
    pub sha256: String,
}

/// A checkpoint was anchored outside the log's own reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnchorRecord {
    /// Timestamp that the anchor attests, where it attests one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Hexadecimal Bitcoin block header that the proof leads to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    pub kind: AnchorKind,
    /// Hexadecimal SHA-256 of the proof file.
    pub proof: String,
    /// Where the anchor lives: an address, a transaction, a serial number.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Hexadecimal root of the anchored checkpoint.
    pub root: String,
    /// Hexadecimal SHA-256 of the anchored checkpoint note.
    pub sha256: String,
    /// Size of the anchored tree.
    #[serde(with = "super::member::decimal")]
    pub size: u64,
    pub state: AnchorState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnchorKind {
    Directory,
    Object,
    OpReturn,
    #[serde(rename = "opentimestamps")]
    OpenTimestamps,
    Rfc3161,
    Witness,
}

impl AnchorKind {
    /// The name in the receipt.
    pub fn name(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Object => "object",
            Self::OpReturn => "op_return",
            Self::OpenTimestamps => "opentimestamps",
            Self::Rfc3161 => "rfc3161",
            Self::Witness => "witness",
        }
    }

    /// Ending of its proof files in `anchors/`.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Directory | Self::Object | Self::OpReturn => "json",
            Self::OpenTimestamps => "ots",
            Self::Rfc3161 => "tsr",
            Self::Witness => "note",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Directory, Self::Object, Self::OpReturn, Self::OpenTimestamps, Self::Rfc3161, Self::Witness]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnchorState {
    Confirmed,
    Pending,
}

/// Old receipts left the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prune {
    #[serde(serialize_with = "super::member::count")]
    pub bytes: u64,
    /// First sequence number that left.
    #[serde(with = "super::member::decimal")]
    pub from: u64,
    /// Hexadecimal tree root at `to`.
    pub root: String,
    #[serde(serialize_with = "super::member::count")]
    pub segments: u64,
    /// First sequence number that stays.
    #[serde(with = "super::member::decimal")]
    pub to: u64,
}

/// What a caller appends.
// Boxing the large variants would cost an allocation per receipt to save bytes that live for microseconds.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone)]
pub enum Entry {
    Attempt(Attempt),
    Outcome(Outcome),
    Bypass(Bypass),
    PolicyChange(PolicyChange),
    Degraded(Degraded),
    Gap(Gap),
    Seal(SealRecord),
    KeyRotate(KeyRotate),
    KeyRevoke(KeyRevoke),
    Anchor(AnchorRecord),
    Prune(Prune),
}

impl Entry {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Attempt(_) => Kind::Attempt,
            Self::Outcome(_) => Kind::Outcome,
            Self::Bypass(_) => Kind::Bypass,
            Self::PolicyChange(_) => Kind::PolicyChange,
            Self::Degraded(_) => Kind::Degraded,
            Self::Gap(_) => Kind::Gap,
            Self::Seal(_) => Kind::Seal,
            Self::KeyRotate(_) => Kind::KeyRotate,
            Self::KeyRevoke(_) => Kind::KeyRevoke,
            Self::Anchor(_) => Kind::Anchor,
            Self::Prune(_) => Kind::Prune,
        }
    }
}

macro_rules! entry_from {
    ($($kind:ident),*) => {$(
        impl From<$kind> for Entry {
            fn from(entry: $kind) -> Self {
                Self::$kind(entry)
            }
        }
    )*};
}
entry_from!(Attempt, Outcome, Bypass, PolicyChange, Degraded, Gap, KeyRotate, KeyRevoke, Prune);

impl From<SealRecord> for Entry {
    fn from(entry: SealRecord) -> Self {
        Self::Seal(entry)
    }
}

impl From<AnchorRecord> for Entry {
    fn from(entry: AnchorRecord) -> Self {
        Self::Anchor(entry)
    }
}

/// The log's own receipts: only the log writes them.
#[derive(Debug, Clone)]
pub(crate) enum LifeEntry {
    Genesis(Genesis),
    Boot(Boot),
    Shutdown(Shutdown),
    Heartbeat(Heartbeat),
    ClockStep(ClockStep),
    KeyRotate(KeyRotate),
}

/// The birth of a log. The chain starts from the digest of exactly this object.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Genesis {
    pub(crate) created: String,
    pub(crate) log: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) policy: Option<String>,
    /// `key_id` of the root key.
    pub(crate) root: String,
}

/// A process took up the log.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Boot {
    /// True when the process before wrote its `shutdown` receipt, and at the first start.
    pub(crate) clean: bool,
    /// Sequence number of the last receipt of the process before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_seq: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) torn: Option<TornRecord>,
}

/// Bytes at the end of the journal that were never acknowledged, set aside.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct TornRecord {
    pub(crate) blake3: String,
    #[serde(serialize_with = "super::member::count")]
    pub(crate) bytes: u64,
    #[serde(serialize_with = "super::member::count")]
    pub(crate) offset: u64,
    pub(crate) segment: String,
}

/// The log was served and idle.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Heartbeat {
    /// Receipts that this process wrote, this one included.
    #[serde(serialize_with = "super::member::count")]
    pub(crate) receipts: u64,
}

/// The wall clock moved otherwise than the monotonic clock.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ClockStep {
    /// What the wall clock should have said.
    pub(crate) from: String,
    /// What it said, minus that, in microseconds; within ±(2^53 − 1).
    pub(crate) step_us: i64,
}

/// A process put the log down in good order.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Shutdown {
    /// Receipts that this process wrote, this one included.
    #[serde(serialize_with = "super::member::count")]
    pub(crate) receipts: u64,
}
