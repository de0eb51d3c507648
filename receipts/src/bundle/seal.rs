//! Seals: grows the one tree over the log, signs its root, and packs what is new into a bundle.
//!
//! Order of becoming durable: the finished bundle under a temporary name, then the checkpoint, then the bundle's own name. A
//! crash in between is completed or undone by the next [`Sealer::open`], so checkpoints and bundles always agree. What was
//! signed once is never signed differently: a sealer starts from its own last checkpoint and checks that before it goes on.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::attached::{self, Attached, externals_document};
use super::lineage::LineageHook;
use super::manifest::{
    Manifest, ManifestFile, PolicyDocument, STATEMENT_PAYLOAD_TYPE, frontier_value, proof_lines, statement,
};
use super::pack::{Content, pack};
use super::publisher::{Publication, Publisher};
use super::run::{AddFault, Run};
use super::store::{bundle_name, bundle_range, checkpoint_sizes, frontier_name, newest_checkpoint};
use super::{
    ANCHORS, BUNDLES_DIRECTORY, CHECKPOINT, CHECKPOINT_PREV, CHECKPOINTS_DIRECTORY, CONSISTENCY, EXTERNALS, FRONTIER,
    KEYS, LINEAGE, MANIFEST, MANIFEST_DSSE, MEMBER_MAX_BYTES, MEMBERS_MAX, MEMBERS_MAX_BYTES, POLICIES, RECEIPTS,
};
use crate::canonical::{Value, to_vec};
use crate::checkpoint::Checkpoint;
use crate::journal::{ChainValue, Disk, JOURNAL_DIRECTORY, JournalScan, Lock, ScanError, Storage as _, segments};
use crate::keys::{KeyAccess, KeyError, Keys, PlainFiles};
use crate::lock::{Known, LockError};
use crate::receipt::SealRecord;
use crate::tlog::TlogError;
use crate::tree::{Frontier, Hash, ProofError};
use crate::{durable, hex};

/// Most receipts in one bundle: a file of some hundred megabytes, and as much memory while it is made: 32 bytes of leaf hash
/// and up to 16 of durations for each.
const BUNDLE_MAX_RECEIPTS: u64 = 1_000_000;

/// Most bytes of policies and anchors in one bundle: they are held in memory, as a verifier does. The rest of what a
/// verifier holds is for keys, manifest and statement.
const CARRIED_MAX_BYTES: u64 = MEMBERS_MAX_BYTES / 2;

/// Why nothing was sealed. Each has a stable code.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("S001: {} is in use by another process: a running sidecar, or another sealer", .0.display())]
    Locked(PathBuf),
    #[error("S002: the journal cannot be sealed: {0}; run `clyra verify` on the data directory")]
    Journal(String),
    #[error(
        "S003: checkpoint {} cannot be built upon: {what}. Nothing was signed; restore `checkpoints/` from a copy", .path.display()
    )]
    Checkpoint { path: PathBuf, what: String },
    #[error("S004: policy document {hash} is not the one that its hash names")]
    Policy { hash: String },
    #[error("S005: {}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("S006: {} cannot be read as a bundle: {what}", .path.display())]
    Bundle { path: PathBuf, what: String },
    #[error("S007: {} is there already and is not overwritten", .0.display())]
    Exists(PathBuf),
    #[error("S008: {} cannot be attached: {what}", .path.display())]
    Attach { path: PathBuf, what: String },
    #[error("S009: the custody log of {} cannot be added to: {what}", .path.display())]
    Custody { path: PathBuf, what: String },
    #[error("S010: {digest} is not attached to {}; `clyra bundle inspect` shows what is", .path.display())]
    NotAttached { path: PathBuf, digest: String },
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error(transparent)]
    Lock(#[from] LockError),
}

impl SealError {
    /// Stable code: `S0xx`, or `K0xx` where a key, `W005`, `W006` or `L0xx` where the lock record is the cause.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Locked(_) => "S001",
            Self::Journal(_) => "S002",
            Self::Checkpoint { .. } => "S003",
            Self::Policy { .. } => "S004",
            Self::Io { .. } => "S005",
            Self::Bundle { .. } => "S006",
            Self::Exists(_) => "S007",
            Self::Attach { .. } => "S008",
            Self::Custody { .. } => "S009",
            Self::NotAttached { .. } => "S010",
            Self::Keys(error) => error.code(),
            Self::Lock(error) => error.code(),
        }
    }

    /// True when the log must not go on: sealing again would publish a second history.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Lock(error) if error.is_fatal())
    }

    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

impl From<ScanError> for SealError {
    fn from(error: ScanError) -> Self {
        Self::Journal(error.to_string())
    }
}

impl From<ProofError> for SealError {
    fn from(error: ProofError) -> Self {
        Self::Journal(error.to_string())
    }
}

/// A bundle that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    pub path: PathBuf,
    /// First sequence number.
    pub from: u64,
    /// Number after the last.
    pub to: u64,
    /// Size of the tree; the same as `to`.
    pub size: u64,
    /// Root of the tree.
    pub root: Hash,
    /// Hexadecimal SHA-256 of the bundle file.
    pub sha256: String,
}

impl Sealed {
    /// What the caller appends to the log about it.
    pub fn record(&self) -> SealRecord {
        SealRecord { from: self.from, sha256: self.sha256.clone(), root: hex::encode(&self.root), to: self.to }
    }
}

/// Seals one log. At most one sealer works in a data directory at a time.
pub struct Sealer {
    data_dir: PathBuf,
    frontier: Frontier,
    chain: Option<ChainValue>,
    /// The newest checkpoint's note.
    note: Option<Vec<u8>>,
    receipts_max: u64,
    publisher: Publisher,
    lineage: Option<LineageHook>,
    worm: Vec<String>,
    access: Arc<dyn KeyAccess>,
    _lock: Box<dyn Lock>,
    _journal_lock: Option<Box<dyn Lock>>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Sealer").field("size", &self.frontier.size()).finish_non_exhaustive()
    }
}

impl Sealer {
    /// Opens the sealer beside a running log (in the same process). Completes or undoes what a crash left half done.
    pub fn open(data_dir: &Path) -> Result<Self, SealError> {
        let checkpoints = data_dir.join(CHECKPOINTS_DIRECTORY);
        let bundles = data_dir.join(BUNDLES_DIRECTORY);
        for directory in [&checkpoints, &bundles] {
            durable::create_directory(directory, 0o700).map_err(SealError::io(directory))?;
        }
        let lock_path = checkpoints.join("LOCK");
        let lock = Disk.lock(&lock_path).map_err(SealError::io(&lock_path))?;
        let lock = lock.ok_or_else(|| SealError::Locked(data_dir.to_owned()))?;
        settle(&checkpoints, &bundles)?;
        settle_attached(data_dir)?;
        let keys = Keys::open_public(data_dir)?;
        let newest = newest_checkpoint(data_dir)?;
        if let Some(stored) = &newest {
            let bad = |what: String| SealError::Checkpoint {
                path: checkpoints.join(stored.checkpoint.size.to_string()),
                what,
            };
            if stored.checkpoint.origin != keys.origin() {
                return Err(bad("it is of another log".to_owned()));
            }
            stored.note.verify(keys.trust().log_keys()).map_err(|error| bad(error.to_string()))?;
        }
        let at = newest.as_ref().map(|stored| (&stored.frontier, stored.bytes.as_slice()));
        let publisher = Publisher::open(data_dir, at);
        let (frontier, chain, note) = match newest {
            Some(stored) => (stored.frontier, Some(stored.chain), Some(stored.bytes)),
            None => (Frontier::default(), None, None),
        };
        Ok(Self {
            data_dir: data_dir.to_owned(),
            frontier,
            chain,
            note,
            receipts_max: BUNDLE_MAX_RECEIPTS,
            publisher,
            lineage: None,
            worm: Vec::new(),
            access: Arc::new(PlainFiles),
            _lock: lock,
            _journal_lock: None,
        })
    }

    /// Opens the sealer while no process serves the log, and counts the receipts that are there. Takes the journal's lock, and
    /// makes durable what it is going to sign.
    pub fn open_offline(data_dir: &Path) -> Result<(Self, u64), SealError> {
        let journal = data_dir.join(JOURNAL_DIRECTORY);
        let lock_path = journal.join("LOCK");
        let lock = Disk.lock(&lock_path).map_err(SealError::io(&lock_path))?;
        let lock = lock.ok_or_else(|| SealError::Locked(data_dir.to_owned()))?;
        let mut sealer = Self::open(data_dir)?;
        sealer._journal_lock = Some(lock);
        if let Some(last) = segments(&journal).map_err(SealError::io(&journal))?.pop() {
            let path = journal.join(crate::journal::segment_name(last));
            File::open(&path).and_then(|file| file.sync_all()).map_err(SealError::io(&path))?;
        }
        let mut scan = JournalScan::new(&journal, sealer.size())?;
        while scan.next()?.is_some() {}
        let count = scan.position();
        Ok((sealer, count))
    }

    /// How the log key is opened; without this it must be a plain file.
    pub fn with_key_access(mut self, access: Arc<dyn KeyAccess>) -> Self {
        self.access = access;
        self
    }

    /// Fewer receipts in a bundle than could be, at least one.
    pub fn with_receipts_max(mut self, receipts_max: u64) -> Self {
        self.receipts_max = receipts_max.clamp(1, BUNDLE_MAX_RECEIPTS);
        self
    }

    /// Has lineage written into each bundle.
    pub fn with_lineage(mut self, lineage: LineageHook) -> Self {
        self.lineage = Some(lineage);
        self
    }

    /// Places where the bundles are to be kept, named in each.
    pub fn with_worm(mut self, places: Vec<String>) -> Self {
        self.worm = places;
        self
    }

    /// Names the places besides the data directory that a checkpoint goes to.
    #[must_use]
    pub fn publish_to(mut self, publication: Publication) -> Self {
        self.publisher.publish_to(publication);
        self
    }

    /// What is wrong with the tiles in `tlog/`, which never keeps the log from being sealed.
    pub fn tlog_fault(&self) -> Option<&TlogError> {
        self.publisher.tlog_fault()
    }

    /// Receipts sealed so far.
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Seals receipts up to `durable_count` (exclusive; what [`crate::LogStatus::durable_count`] says), or as many as one bundle
    /// takes. `None` when there is nothing new. Of `policies`, those go into the bundle that its receipts name.
    pub fn seal(&mut self, durable_count: u64, policies: &[PolicyDocument]) -> Result<Option<Sealed>, SealError> {
        let from = self.frontier.size();
        if durable_count <= from {
            return Ok(None);
        }
        for policy in policies {
            if blake3::hash(&policy.canonical).to_hex().as_str() != policy.hash {
                return Err(SealError::Policy { hash: policy.hash.clone() });
            }
        }
        // Read anew each time: a start of the log adds a receipt key.
        let keys = Keys::open_with(&self.data_dir, &*self.access)?;
        let bundles = self.data_dir.join(BUNDLES_DIRECTORY);
        let spools = Spools {
            receipts: durable::temporary(&bundles.join(RECEIPTS)),
            lineage: durable::temporary(&bundles.join("openlineage.jsonl")),
        };
        let run = self.collect(durable_count, &spools)?;
        let sealed = self.publish(&keys, &run, &spools, policies)?;
        for spool in [&spools.receipts, &spools.lineage] {
            std::fs::remove_file(spool).map_err(SealError::io(spool))?;
        }
        Ok(Some(sealed))
    }

    /// Writes the receipts' envelopes and lineage to spool files and gathers what the manifest says about them.
    fn collect(&self, durable_count: u64, spools: &Spools) -> Result<Run, SealError> {
        let from = self.frontier.size();
        let mut scan = JournalScan::new(&self.data_dir.join(JOURNAL_DIRECTORY), from)?;
        let open = |path: &Path| -> Result<_, SealError> {
            let file = durable::create(path, 0o600).map_err(SealError::io(path))?;
            Ok(BufWriter::with_capacity(256 * 1024, file))
        };
        let (mut out, mut lineage) = (open(&spools.receipts)?, open(&spools.lineage)?);
        let mut run = Run::new(from, self.frontier.clone(), self.lineage);
        while scan.position() < durable_count && run.has_room(self.receipts_max) {
            let (frame, chain) =
                scan.next()?.ok_or_else(|| SealError::Journal(format!("receipt {} is missing", scan.position())))?;
            let before = run.chain.or(self.chain);
            let added = run.add(&frame.body, &frame.signature, chain, before, &mut out, &mut lineage);
            added.map_err(|fault| match fault {
                AddFault::Io(error) => SealError::Io { path: spools.receipts.clone(), source: error },
                AddFault::Receipt(what) => {
                    SealError::Journal(format!("receipt {}: {what}", scan.position().saturating_sub(1)))
                }
            })?;
        }
        out.flush().map_err(SealError::io(&spools.receipts))?;
        lineage.flush().map_err(SealError::io(&spools.lineage))?;
        Ok(run)
    }

    /// The members that are made here, and the policies and anchors that the receipts name, as far as they are at hand.
    fn carried(
        &self,
        keys: &Keys,
        run: &Run,
        note: &[u8],
        policies: &[PolicyDocument],
    ) -> Result<BTreeMap<String, Vec<u8>>, SealError> {
        let mut members: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        members.insert(CHECKPOINT.to_owned(), note.to_owned());
        if let Some(prev_note) = &self.note {
            members.insert(CHECKPOINT_PREV.to_owned(), prev_note.clone());
            members.insert(CONSISTENCY.to_owned(), proof_lines(&run.span.consistency(run.from, run.to())?));
        }
        members.insert(FRONTIER.to_owned(), to_vec(&frontier_value(&self.frontier)));
        members.insert(KEYS.to_owned(), keys.trust().export_with(run.from, run.to(), &run.log_keys));
        let mut room = CARRIED_MAX_BYTES;
        for path in &run.anchors {
            // Written before the receipt that names it. What is gone since is missed by whoever checks the bundle.
            let file = self.data_dir.join(ANCHORS).join(path.strip_prefix(ANCHORS).unwrap_or_default());
            match durable::read_bounded(&file, MEMBER_MAX_BYTES.min(room)) {
                Ok(bytes) => {
                    room -= bytes.len() as u64;
                    members.insert(path.clone(), bytes);
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::FileTooLarge) => {}
                Err(error) => return Err(SealError::io(&file)(error)),
            }
        }
        let named = policies.iter().filter(|policy| run.policies.contains(&policy.hash));
        for policy in named.take(MEMBERS_MAX / 8) {
            let bytes = policy.canonical.len() as u64;
            if bytes <= MEMBER_MAX_BYTES.min(room) {
                room -= bytes;
                members.insert(format!("{POLICIES}{}.json", policy.hash), policy.canonical.clone());
            }
        }
        Ok(members)
    }

    fn publish(
        &mut self,
        keys: &Keys,
        run: &Run,
        spools: &Spools,
        policies: &[PolicyDocument],
    ) -> Result<Sealed, SealError> {
        let (from, to) = (run.from, run.to());
        let (Some(prev), Some(chain)) = (run.prev, run.chain) else {
            return Err(SealError::Journal("no receipts".to_owned()));
        };
        let checkpoint = Checkpoint { origin: keys.origin().to_owned(), size: to, root: run.frontier.root() };
        let known = Known { frontier: self.frontier.clone(), chain: self.chain };
        let note = self.publisher.before(&known, &checkpoint, &chain, checkpoint.sign(keys)?, run)?;

        let mut members = self.carried(keys, run, &note, policies)?;
        let attached = attached::attached(&self.data_dir)?;
        let (externals, artifacts): (Vec<&Attached>, Vec<&Attached>) =
            attached.iter().partition(|file| file.is_external());
        if !externals.is_empty() {
            members.insert(EXTERNALS.to_owned(), externals_document(&externals));
        }
        let (receipts, lineage) = run.spooled();
        let mut files: Vec<ManifestFile> = members.iter().map(|(path, bytes)| ManifestFile::of(path, bytes)).collect();
        files.extend(artifacts.iter().map(|file| file.member()));
        files.extend(lineage.clone());
        files.push(receipts.clone());
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let manifest = Manifest {
            log: keys.origin().to_owned(),
            from,
            to,
            created: run.created.clone(),
            prev,
            chain,
            root: checkpoint.root,
            kinds: run.kinds.clone(),
            verdicts: run.verdicts.clone(),
            files,
            about: run.about.to_value(&self.worm),
        };
        let manifest_bytes = manifest.to_bytes();
        let signed = keys.sign_document(STATEMENT_PAYLOAD_TYPE, &statement(&manifest, &manifest_bytes))?;
        members.insert(MANIFEST.to_owned(), manifest_bytes);
        members.insert(MANIFEST_DSSE.to_owned(), signed);
        let mut contents: BTreeMap<String, Content<'_>> =
            members.into_iter().map(|(path, bytes)| (path, Content::Bytes(bytes))).collect();
        contents.insert(RECEIPTS.to_owned(), Content::File(&spools.receipts, receipts.size));
        if let Some(lineage) = lineage {
            contents.insert(LINEAGE.to_owned(), Content::File(&spools.lineage, lineage.size));
        }
        let places: Vec<PathBuf> = artifacts.iter().map(|file| attached::place(&self.data_dir, file)).collect();
        for (file, place) in artifacts.iter().zip(&places) {
            contents.insert(file.member().path, Content::File(place, file.size));
        }

        let path = self.data_dir.join(BUNDLES_DIRECTORY).join(bundle_name(from, to));
        let unfinished = durable::temporary(&path);
        let sha256 = pack(&unfinished, &contents)?;
        // Its name too, or a checkpoint could outlive its bundle.
        durable::sync_parent(&unfinished).map_err(SealError::io(&unfinished))?;

        let kept = to_vec(&Value::from([
            ("chain", Value::from(hex::encode(&chain))),
            ("frontier", frontier_value(&run.frontier)),
        ]));
        let checkpoints = self.data_dir.join(CHECKPOINTS_DIRECTORY);
        let frontier_path = checkpoints.join(frontier_name(to));
        durable::write(&frontier_path, &kept, 0o600).map_err(SealError::io(&frontier_path))?;
        let checkpoint_path = checkpoints.join(to.to_string());
        durable::write(&checkpoint_path, &note, 0o600).map_err(SealError::io(&checkpoint_path))?;
        std::fs::rename(&unfinished, &path).map_err(SealError::io(&path))?;
        durable::sync_parent(&path).map_err(SealError::io(&path))?;
        self.publisher.after(&note);
        attached::settle(&self.data_dir, &path, &attached)?;

        self.frontier = run.frontier.clone();
        self.chain = Some(chain);
        self.note = Some(note);
        Ok(Sealed { path, from, to, size: to, root: checkpoint.root, sha256 })
    }
}

/// Where a bundle's large members are gathered.
struct Spools {
    receipts: PathBuf,
    lineage: PathBuf,
}

/// Completes the leave of attached files that the newest bundle holds: a crash may have come between.
fn settle_attached(data_dir: &Path) -> Result<(), SealError> {
    attached::remove_unfinished(data_dir)?;
    let waiting = attached::attached(data_dir)?;
    let files = super::store::list_bundle_files(data_dir).map_err(SealError::io(data_dir))?;
    let Some((newest, _)) = files.last().filter(|_| !waiting.is_empty()) else { return Ok(()) };
    let held = super::store::attached_to(newest)?;
    let sealed: Vec<Attached> = waiting.into_iter().filter(|file| held.contains(&file.digest())).collect();
    attached::settle(data_dir, newest, &sealed)
}

/// Completes bundles whose checkpoint was published, and removes what else is unfinished.
fn settle(checkpoints: &Path, bundles: &Path) -> Result<(), SealError> {
    let ending = format!(".{}", durable::TEMPORARY);
    let sizes = checkpoint_sizes(checkpoints).map_err(SealError::io(checkpoints))?;
    for directory in [checkpoints, bundles] {
        for entry in std::fs::read_dir(directory).map_err(SealError::io(directory))? {
            let path = entry.map_err(SealError::io(directory))?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let Some(finished) = name.strip_suffix(&ending) else { continue };
            let published = directory == bundles && bundle_range(finished).is_some_and(|(_, to)| sizes.contains(&to));
            if published {
                std::fs::rename(&path, directory.join(finished)).map_err(SealError::io(&path))?;
            } else {
                std::fs::remove_file(&path).map_err(SealError::io(&path))?;
            }
        }
        durable::sync_directory(directory).map_err(SealError::io(directory))?;
    }
    Ok(())
}
