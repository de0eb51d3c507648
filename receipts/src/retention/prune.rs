//! The removal itself, in an order that a crash at any point leaves in order: the state of the tree at the cut, the receipt
//! that says so, and only then the segments.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::plan::leaves_kept;
use super::{PlannedSegment, Retention, RetentionError, Surroundings, plan_on};
use crate::bundle::{checkpoint_sizes, read_root};
use crate::canonical::{Limits, Value, parse};
use crate::journal::{
    Chain, ChainValue, FrameType, JOURNAL_DIRECTORY, Next, Pruned, SegmentReader, Storage, segment_name,
};
use crate::receipt::{Prune, RECEIPT_PAYLOAD_TYPE};
use crate::tlog::{TLOG_DIRECTORY, Tiles};
use crate::tree::{Frontier, Hash, leaf_hash};
use crate::{AppendError, dsse, hex};

/// What left the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// First sequence number that left.
    pub from: u64,
    /// First that stays.
    pub to: u64,
    pub segments: u64,
    pub bytes: u64,
}

/// What a running log knows of its retention; one removal at a time.
#[derive(Debug, Default)]
pub(crate) struct Retained {
    one_at_a_time: Mutex<()>,
    pub(crate) pruned_bytes: AtomicU64,
    pub(crate) held_segments: AtomicU64,
}

/// How the caller records and times a removal.
pub(crate) struct Ways<'a> {
    pub(crate) append: &'a dyn Fn(Prune) -> Result<(), AppendError>,
    pub(crate) now_us: u64,
}

/// Removes what may be removed now.
pub(crate) fn prune(
    log: Surroundings<'_>,
    retention: &Retention,
    retained: &Retained,
    ways: &Ways<'_>,
) -> Result<Option<Removed>, RetentionError> {
    let _alone = retained.one_at_a_time.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let plan = plan_on(log, retention, ways.now_us)?;
    retained.held_segments.store(plan.held() as u64, Ordering::Relaxed);
    let segments = plan.removable();
    let (Some(first), Some(last)) = (segments.first(), segments.last()) else { return Ok(None) };
    let removed = Removed {
        from: first.from,
        to: last.to,
        segments: segments.len() as u64,
        bytes: segments.iter().map(|segment| segment.bytes).sum(),
    };
    let journal = log.data_dir.join(JOURNAL_DIRECTORY);
    let pruned = cut(log, &journal, removed.from, removed.to)?;
    pruned.save(log.storage, &journal).map_err(RetentionError::io(&journal))?;
    record(&pruned, &removed, ways.append)?;
    remove(log.storage, &journal, segments.iter().map(|PlannedSegment { from, .. }| *from))?;
    retained.pruned_bytes.fetch_add(removed.bytes, Ordering::Relaxed);
    Ok(Some(removed))
}

/// Finishes a removal that a crash cut short: `left` are the segments before the cut that are still there.
pub(crate) fn finish(
    log: Surroundings<'_>,
    pruned: &Pruned,
    recorded: bool,
    left: &[u64],
    append: &dyn Fn(Prune) -> Result<(), AppendError>,
) -> Result<(), RetentionError> {
    let Some(from) = left.first().copied() else { return Ok(()) };
    let journal = log.data_dir.join(JOURNAL_DIRECTORY);
    if !recorded {
        let mut bytes = 0;
        for first_seq in left {
            let path = journal.join(segment_name(*first_seq));
            bytes += log.storage.length(&path).map_err(RetentionError::io(&path))?;
        }
        let removed = Removed { from, to: pruned.size(), segments: left.len() as u64, bytes };
        record(pruned, &removed, append)?;
    }
    remove(log.storage, &journal, left.iter().copied())
}

fn record(
    pruned: &Pruned,
    removed: &Removed,
    append: &dyn Fn(Prune) -> Result<(), AppendError>,
) -> Result<(), RetentionError> {
    append(Prune {
        bytes: removed.bytes,
        from: removed.from,
        root: hex::encode(&pruned.frontier.root()),
        segments: removed.segments,
        to: removed.to,
    })?;
    Ok(())
}

fn remove(storage: &dyn Storage, journal: &Path, first_seqs: impl Iterator<Item = u64>) -> Result<(), RetentionError> {
    for first_seq in first_seqs {
        let path = journal.join(segment_name(first_seq));
        storage.remove(&path).map_err(RetentionError::io(&path))?;
    }
    storage.sync_directory(journal).map_err(RetentionError::io(journal))
}

/// The state of the log at `to`, from the receipts themselves; held against the next checkpoint, so that nothing is removed
/// that is not what was signed.
fn cut(log: Surroundings<'_>, journal: &Path, from: u64, to: u64) -> Result<Pruned, RetentionError> {
    let before = Pruned::load(log.storage, journal).map_err(RetentionError::io(journal))?;
    let mut frontier = match before {
        None => Frontier::default(),
        Some(Some(pruned)) => pruned.frontier,
        Some(None) => {
            return Err(RetentionError::Journal { path: journal.to_owned(), what: "its pruned.json is damaged" });
        }
    };
    if frontier.size() != from {
        return Err(RetentionError::Journal { path: journal.to_owned(), what: "it does not begin where it should" });
    }
    let sizes = checkpoint_sizes(&log.data_dir.join(crate::bundle::CHECKPOINTS_DIRECTORY))
        .map_err(RetentionError::io(log.data_dir))?;
    let size = sizes.into_iter().find(|size| *size >= to).ok_or(RetentionError::Root { size: to })?;
    let tiles = tiles(log.data_dir)?;
    let mut at_cut = None;
    let mut first_seq = from;
    while frontier.size() < size {
        walk(log.storage, journal, first_seq, size, &mut frontier, &mut |frontier, leaf, chain| {
            let seq = frontier.size() - 1;
            if seq < to {
                let kept = tiles.leaf(seq).map_err(|error| RetentionError::Leaf { seq, what: error.to_string() })?;
                if kept != leaf {
                    return Err(RetentionError::Leaf { seq, what: "another one is".to_owned() });
                }
            }
            if frontier.size() == to {
                at_cut = Some(Pruned { chain, frontier: frontier.clone() });
            }
            Ok(())
        })?;
        first_seq = frontier.size();
    }
    if read_root(log.data_dir, size) != Some(frontier.root()) {
        return Err(RetentionError::Root { size });
    }
    at_cut.ok_or(RetentionError::Root { size })
}

/// The leaf hashes that stay, as the tree of their checkpoint has them.
fn tiles(data_dir: &Path) -> Result<Tiles, RetentionError> {
    let none = |what: String| RetentionError::Leaf { seq: 0, what };
    let kept = leaves_kept(data_dir)?.ok_or_else(|| none("there is no checkpoint".to_owned()))?;
    Tiles::open(&data_dir.join(TLOG_DIRECTORY), kept.size, &kept.root).map_err(|error| none(error.to_string()))
}

/// Adds the receipts of one segment to the tree, up to `size`.
fn walk(
    storage: &dyn Storage,
    journal: &Path,
    first_seq: u64,
    size: u64,
    frontier: &mut Frontier,
    each: &mut dyn FnMut(&Frontier, Hash, ChainValue) -> Result<(), RetentionError>,
) -> Result<(), RetentionError> {
    let path = journal.join(segment_name(first_seq));
    let bad = |what| RetentionError::Journal { path: path.clone(), what };
    let (mut reader, _) = SegmentReader::open(storage.open(&path).map_err(RetentionError::io(&path))?)
        .map_err(RetentionError::io(&path))?;
    let chains = Chain::default();
    while frontier.size() < size {
        let frame = match reader.next().map_err(RetentionError::io(&path))? {
            Next::Frame(frame) if frame.header.kind == FrameType::Receipt => frame,
            Next::Frame(_) => continue,
            Next::End if frontier.size() > first_seq => return Ok(()),
            Next::End | Next::Bad => return Err(bad("a receipt is missing")),
        };
        let chain = chains.value(frontier.size(), &frame.body);
        if frame.header.seq != frontier.size() || frame.header.chain != chain {
            return Err(bad("a receipt is not in its place"));
        }
        let value = parse(&frame.body, Limits::RECEIPT).map_err(|_| bad("a receipt is not JSON"))?;
        let key_id = value.get("key_id").and_then(Value::as_str).ok_or_else(|| bad("a receipt names no key"))?;
        let signature =
            frame.signature.as_slice().try_into().map_err(|_| bad("a receipt has no signature of its length"))?;
        let leaf = leaf_hash(&dsse::envelope(RECEIPT_PAYLOAD_TYPE, &frame.body, key_id, signature));
        frontier.push(leaf);
        each(frontier, leaf, chain)?;
    }
    Ok(())
}
