//! Gathers the receipts of one bundle: their envelopes and their lineage into spool files, and all that the manifest says
//! about them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use sha2::{Digest as _, Sha256};

use super::about::About;
use super::lineage::{LineageHook, LineageLines};
use super::manifest::ManifestFile;
use super::{ANCHORS, LINEAGE, MEMBERS_MAX, RECEIPTS};
use crate::canonical::{Limits, Value, parse};
use crate::journal::ChainValue;
use crate::keys::Purpose;
use crate::receipt::{AnchorKind, Kind, RECEIPT_PAYLOAD_TYPE};
use crate::tree::{Frontier, Span, leaf_hash};
use crate::{dsse, hex};

/// Most bytes of `receipts.jsonl`, and of lineage: half of what a verifier reads, and more than a million of usual receipts.
const BUNDLE_MAX_BYTES: u64 = super::STREAMED_MAX_BYTES / 4 * 3;

/// Most files that the `anchor` receipts of one bundle name. An hour has some dozens.
const ANCHORS_MAX: usize = 512;

/// Most starts and rotations in one bundle: each has a certificate in `keys.json`, which is read whole.
const BUNDLE_MAX_BOOTS: u64 = 4096;

/// What is gathered over the receipts of one bundle.
pub(super) struct Run {
    pub(super) from: u64,
    pub(super) frontier: Frontier,
    /// What is new since `from`, for the consistency proof and the tiles: 32 bytes a receipt.
    pub(super) span: Span,
    pub(super) prev: Option<ChainValue>,
    pub(super) chain: Option<ChainValue>,
    pub(super) created: String,
    pub(super) kinds: BTreeMap<String, u64>,
    pub(super) verdicts: BTreeMap<String, u64>,
    pub(super) policies: BTreeSet<String>,
    /// Process that wrote the last receipt.
    pub(super) boot: String,
    /// Members that the anchor receipts name.
    pub(super) anchors: BTreeSet<String>,
    /// Ids of the log keys that rotations name, at most two for each that `boots` counts.
    pub(super) log_keys: BTreeSet<String>,
    pub(super) about: About,
    boots: u64,
    receipts: Spooled,
    lineage: Option<(Box<dyn LineageLines>, Spooled)>,
}

/// Size and digests of what went into a spool file.
#[derive(Default)]
struct Spooled {
    bytes: u64,
    sha256: Sha256,
    blake3: blake3::Hasher,
}

impl Spooled {
    fn write(&mut self, bytes: &[u8], out: &mut impl Write) -> Result<(), AddFault> {
        out.write_all(bytes).map_err(AddFault::Io)?;
        self.bytes += bytes.len() as u64;
        self.sha256.update(bytes);
        self.blake3.update(bytes);
        Ok(())
    }

    fn file(&self, path: &str) -> ManifestFile {
        ManifestFile {
            path: path.to_owned(),
            size: self.bytes,
            sha256: self.sha256.clone().finalize().into(),
            blake3: *self.blake3.finalize().as_bytes(),
        }
    }
}

pub(super) enum AddFault {
    Io(io::Error),
    Receipt(&'static str),
}

impl Run {
    pub(super) fn new(from: u64, frontier: Frontier, lineage: Option<LineageHook>) -> Self {
        Self {
            from,
            span: Span::after(frontier.clone()),
            frontier,
            prev: None,
            chain: None,
            created: String::new(),
            kinds: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            policies: BTreeSet::new(),
            boot: String::new(),
            anchors: BTreeSet::new(),
            log_keys: BTreeSet::new(),
            about: About::default(),
            boots: 0,
            receipts: Spooled::default(),
            lineage: lineage.map(|make| (make(), Spooled::default())),
        }
    }

    pub(super) fn to(&self) -> u64 {
        self.frontier.size()
    }

    pub(super) fn has_room(&self, receipts_max: u64) -> bool {
        let lineage = self.lineage.as_ref().map_or(0, |(_, spooled)| spooled.bytes);
        self.to() - self.from < receipts_max
            && self.receipts.bytes.max(lineage) < BUNDLE_MAX_BYTES
            && self.boots < BUNDLE_MAX_BOOTS
            && self.anchors.len() < ANCHORS_MAX
    }

    pub(super) fn add(
        &mut self,
        body: &[u8],
        signature: &[u8],
        chain: ChainValue,
        before: Option<ChainValue>,
        out: &mut impl Write,
        lineage_out: &mut impl Write,
    ) -> Result<(), AddFault> {
        let value = parse(body, Limits::RECEIPT).map_err(|_| AddFault::Receipt("its body is not JSON"))?;
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let prev = text("prev").and_then(hex::decode_32).ok_or(AddFault::Receipt("it has no chain value"))?;
        if before.is_some_and(|before| before != prev) {
            return Err(AddFault::Receipt("it does not continue the chain"));
        }
        let key_id = text("key_id").ok_or(AddFault::Receipt("it names no key"))?;
        let signature = signature.try_into().map_err(|_| AddFault::Receipt("it has no signature"))?;
        let mut line = dsse::envelope(RECEIPT_PAYLOAD_TYPE, body, key_id, signature);
        let leaf = leaf_hash(&line);
        line.push(b'\n');
        self.receipts.write(&line, out)?;
        if let Some((lineage, spooled)) = &mut self.lineage {
            line.clear();
            lineage.receipt(&value, &leaf, &mut line);
            spooled.write(&line, lineage_out)?;
        }
        self.frontier.push(leaf);
        self.span.push(leaf);
        self.about.add(&value);
        self.prev.get_or_insert(prev);
        self.chain = Some(chain);
        self.created = text("ts").unwrap_or_default().to_owned();
        let boot = value.get("boot").and_then(|boot| boot.get("id")?.as_str());
        self.boot = boot.unwrap_or_default().to_owned();
        let kind = text("kind").unwrap_or_default();
        self.boots += u64::from([Kind::Boot, Kind::KeyRotate].map(Kind::name).contains(&kind));
        *self.kinds.entry(kind.to_owned()).or_default() += 1;
        if let Some(verdict) = text("verdict") {
            *self.verdicts.entry(verdict.to_owned()).or_default() += 1;
        }
        let event = |name: &str| value.get("event")?.get(name)?.as_str();
        let policy = value.get("policy").and_then(|policy| policy.get("hash")?.as_str());
        for hash in [policy, event("to"), event("from"), event("policy")].into_iter().flatten() {
            if self.policies.len() < MEMBERS_MAX && !self.policies.contains(hash) {
                self.policies.insert(hash.to_owned());
            }
        }
        if kind == Kind::KeyRotate.name() && event("purpose") == Some(Purpose::Log.name()) {
            self.log_keys.extend([event("old"), event("new")].into_iter().flatten().map(str::to_owned));
        }
        if kind == Kind::Anchor.name() {
            let ending = event("kind").and_then(AnchorKind::from_name).map(AnchorKind::ending);
            let named = [(event("proof"), ending), (event("sha256"), Some("note"))];
            self.anchors.extend(named.into_iter().filter_map(|(digest, ending)| {
                let digest = digest.filter(|digest| hex::decode_32(digest).is_some())?;
                Some(format!("{ANCHORS}{digest}.{}", ending?))
            }));
        }
        Ok(())
    }

    /// The members that were spooled, in the order of their spool files; without lineage when there is none.
    pub(super) fn spooled(&self) -> (ManifestFile, Option<ManifestFile>) {
        let lineage = self.lineage.as_ref().map(|(_, spooled)| spooled.file(LINEAGE));
        (self.receipts.file(RECEIPTS), lineage.filter(|file| file.size > 0))
    }
}
