//! Gathers the receipts of one bundle: their envelopes into a spool file, and all that the manifest says about them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use sha2::{Digest as _, Sha256};

use super::manifest::ManifestFile;
use super::{MEMBERS_MAX, RECEIPTS};
use crate::canonical::{Limits, Value, parse};
use crate::journal::ChainValue;
use crate::receipt::{Kind, RECEIPT_PAYLOAD_TYPE};
use crate::tree::{Frontier, Span, leaf_hash};
use crate::{dsse, hex};

/// Most bytes of `receipts.jsonl`.
const BUNDLE_MAX_BYTES: u64 = 256 * 1024 * 1024;

/// Most starts in one bundle: each has a certificate in `keys.json`, which is read whole.
const BUNDLE_MAX_BOOTS: u64 = 4096;

/// What is gathered over the receipts of one bundle.
pub(super) struct Run {
    pub(super) from: u64,
    pub(super) frontier: Frontier,
    pub(super) span: Span,
    pub(super) prev: Option<ChainValue>,
    pub(super) chain: Option<ChainValue>,
    pub(super) created: String,
    pub(super) kinds: BTreeMap<String, u64>,
    pub(super) verdicts: BTreeMap<String, u64>,
    pub(super) policies: BTreeSet<String>,
    /// Process that wrote the last receipt.
    pub(super) boot: String,
    boots: u64,
    pub(super) bytes: u64,
    sha256: Sha256,
    blake3: blake3::Hasher,
}

pub(super) enum AddFault {
    Io(io::Error),
    Receipt(&'static str),
}

impl Run {
    pub(super) fn new(from: u64, frontier: Frontier) -> Self {
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
            boots: 0,
            bytes: 0,
            sha256: Sha256::new(),
            blake3: blake3::Hasher::new(),
        }
    }

    pub(super) fn to(&self) -> u64 {
        self.frontier.size()
    }

    pub(super) fn has_room(&self, receipts_max: u64) -> bool {
        self.to() - self.from < receipts_max && self.bytes < BUNDLE_MAX_BYTES && self.boots < BUNDLE_MAX_BOOTS
    }

    pub(super) fn add(
        &mut self,
        body: &[u8],
        signature: &[u8],
        chain: ChainValue,
        before: Option<ChainValue>,
        out: &mut impl Write,
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
        out.write_all(&line).map_err(AddFault::Io)?;
        self.frontier.push(leaf);
        self.span.push(leaf);
        self.prev.get_or_insert(prev);
        self.chain = Some(chain);
        self.created = text("ts").unwrap_or_default().to_owned();
        let boot = value.get("boot").and_then(|boot| boot.get("id")?.as_str());
        self.boot = boot.unwrap_or_default().to_owned();
        let kind = text("kind").unwrap_or_default();
        self.boots += u64::from(kind == Kind::Boot.name());
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
        self.bytes += line.len() as u64;
        self.sha256.update(&line);
        self.blake3.update(&line);
        Ok(())
    }

    pub(super) fn receipts_file(&self) -> ManifestFile {
        ManifestFile {
            path: RECEIPTS.to_owned(),
            size: self.bytes,
            sha256: self.sha256.clone().finalize().into(),
            blake3: *self.blake3.finalize().as_bytes(),
        }
    }
}
