//! Takes up a journal as the last process left it.
//!
//! Either every receipt that was ever acknowledged is there, or the log refuses to start and changes nothing. The one repair
//! that is made is cutting off a torn end: bytes that nothing valid follows and that no evidence shows to have been on disk.
//! The cut-off bytes are kept aside. The last segment is then written anew and synced before anything is built on it, because
//! the old one may show bytes that are in the page cache only.

use std::path::{Path, PathBuf};

use super::LogError;
use super::chain::ChainValue;
use super::frame::NOTHING_DURABLE;
use super::pruned::{PRUNED, Pruned};
use super::segment::{segment_first_seq, segment_name};
use super::storage::Storage;
use super::walk::{Walk, Walked};
use crate::canonical::{Limits, parse};
use crate::durable::{TEMPORARY, temporary};
use crate::hex;
use crate::receipt::{Kind, TornRecord};

/// Most bytes of a torn end that are kept aside: one group of the writer and its largest frame are some 1.1 MiB.
const TORN_KEPT_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// What is known about the log from outside the journal's files.
#[derive(Debug, Clone, Default)]
pub(crate) struct Evidence {
    /// Number of receipts that must be there, and what shows it.
    pub(crate) durable: Vec<(u64, &'static str)>,
    /// Size of the newest checkpoint and the chain value at its end.
    pub(crate) checkpoint: Option<(u64, ChainValue)>,
}

/// Where a journal stands.
#[derive(Debug, Clone)]
pub(crate) struct Recovered {
    /// Sequence number of the next receipt.
    pub(crate) next_seq: u64,
    /// Chain value of the last receipt; of nothing, when there is none.
    pub(crate) chain: ChainValue,
    pub(crate) last: Option<LastReceipt>,
    /// Number of the next segment.
    pub(crate) next_segment: u64,
    pub(crate) torn: Option<TornRecord>,
    pub(crate) pruned: Option<Removal>,
}

/// A removal of old segments, finished or not.
#[derive(Debug, Clone)]
pub(crate) struct Removal {
    pub(crate) pruned: Pruned,
    /// Its `prune` receipt is there.
    pub(crate) recorded: bool,
    /// First sequence numbers of the segments that are still to be removed.
    pub(crate) left: Vec<u64>,
}

/// The last receipt of the process before.
#[derive(Debug, Clone)]
pub(crate) struct LastReceipt {
    pub(crate) kind: Option<Kind>,
    pub(crate) epoch: u64,
}

pub(crate) fn recover(
    storage: &dyn Storage,
    directory: &Path,
    origin: &str,
    evidence: &Evidence,
) -> Result<Recovered, LogError> {
    let mut first_seqs = Vec::new();
    for name in storage.list(directory).map_err(LogError::io(directory))? {
        if name.ends_with(&format!(".{TEMPORARY}")) {
            // A segment or copy that was never finished, so nothing in it was acknowledged.
            let path = directory.join(&name);
            storage.remove(&path).map_err(LogError::io(&path))?;
        }
        first_seqs.extend(segment_first_seq(&name));
    }
    first_seqs.sort_unstable();

    let mut state = Recovered { next_seq: 0, chain: [0; 32], last: None, next_segment: 0, torn: None, pruned: None };
    let damaged = |what| LogError::CorruptMiddle { segment: directory.join(PRUNED), offset: 0, what };
    match Pruned::load(storage, directory).map_err(LogError::io(directory))? {
        None => {}
        Some(None) => return Err(damaged("it is not of its form")),
        Some(Some(pruned)) => {
            let left = first_seqs.iter().copied().filter(|first_seq| *first_seq < pruned.size()).collect();
            first_seqs.retain(|first_seq| *first_seq >= pruned.size());
            (state.next_seq, state.chain) = (pruned.size(), pruned.chain);
            state.pruned = Some(Removal { pruned, recorded: false, left });
        }
    }
    let mut known: Vec<(u64, &'static str)> = evidence.durable.clone();
    if let Some(removal) = &state.pruned {
        let size = removal.pruned.size();
        if let Some((_, expected)) = evidence.checkpoint.filter(|(covered, _)| *covered == size)
            && expected != removal.pruned.chain
        {
            return Err(LogError::Fork { directory: directory.to_owned(), seq: size.saturating_sub(1), size });
        }
        // The segment that is written to is never removed, so there is one after the cut.
        known.push((size + 1, "pruned.json"));
    }
    let mut last_body = None;
    let mut last_segment = None;
    let cut = state.pruned.as_ref().map(|removal| removal.pruned.size());
    let walk = Walk { storage, directory, origin, checkpoint: evidence.checkpoint, cut };
    for (first_seq, walked) in first_seqs.iter().copied().zip(walk.segments(&first_seqs)) {
        let path = directory.join(segment_name(first_seq));
        let walked = walked?;
        let header = &walked.header;
        let begins_log = state.next_seq == 0;
        let continues = header.first_seq == first_seq
            && first_seq == state.next_seq
            && (header.number == state.next_segment || cut == Some(first_seq))
            && (begins_log || header.prev_chain == state.chain);
        if !continues {
            let what = "it does not continue the segment before it";
            return Err(LogError::CorruptMiddle { segment: path, offset: 0, what });
        }
        let walked = walked.into_whole()?;
        if let Some(frame) = &walked.last {
            if frame.header.durable_hwm != NOTHING_DURABLE {
                known.push((frame.header.durable_hwm.saturating_add(1), "a later frame"));
            }
            last_body = Some(frame.body.clone());
        }
        if let Some(removal) = &mut state.pruned {
            removal.recorded |= walked.prune_recorded;
        }
        state.next_seq = walked.next_seq;
        state.chain = walked.chain;
        // A segment without receipts is replaced by the next one, which begins with the same number.
        state.next_segment = walked.header.number + u64::from(walked.frames > 0);
        last_segment = Some((path, walked));
    }
    if let Some((known_count, what)) = known.into_iter().max()
        && known_count > state.next_seq
    {
        return Err(LogError::LostDurable {
            directory: directory.to_owned(),
            found: state.next_seq,
            known: known_count.saturating_sub(1),
            evidence: what,
        });
    }
    if state.pruned.as_ref().is_some_and(|removal| !removal.recorded && removal.left.is_empty()) {
        return Err(damaged("the segments before it are gone, and no receipt says so"));
    }
    state.last = last_body.as_deref().map(describe);
    if let Some((path, walked)) = last_segment {
        state.torn = settle(storage, &path, &walked)?;
    }
    Ok(state)
}

/// Makes the last segment durable as it was read, without its torn end.
fn settle(storage: &dyn Storage, path: &Path, walked: &Walked) -> Result<Option<TornRecord>, LogError> {
    let io = |source| LogError::Io { path: path.to_owned(), source };
    let directory = path.parent().unwrap_or(path);
    let torn = if walked.bad { Some(set_aside(storage, path, walked)?) } else { None };
    if walked.sealed || (walked.frames == 0 && torn.is_none()) {
        storage.sync_file(path).map_err(io)?;
        storage.sync_directory(directory).map_err(io)?;
        return Ok(torn);
    }
    let unfinished = temporary(path);
    let mut input = storage.open(path).map_err(io)?;
    let mut copy = storage.create(&unfinished).map_err(LogError::io(&unfinished))?;
    let mut left = walked.good_bytes;
    let mut chunk = vec![0; 1024 * 1024];
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
        let Some(part) = chunk.get_mut(..want) else { break };
        input.read_exact(part).map_err(io)?;
        copy.write_all(part).map_err(LogError::io(&unfinished))?;
        left -= want as u64;
    }
    copy.sync().map_err(LogError::io(&unfinished))?;
    storage.rename(&unfinished, path).map_err(io)?;
    storage.sync_directory(directory).map_err(io)?;
    Ok(torn)
}

/// Copies the torn end to a file of its own before it is cut off.
fn set_aside(storage: &dyn Storage, path: &Path, walked: &Walked) -> Result<TornRecord, LogError> {
    let io = |source| LogError::Io { path: path.to_owned(), source };
    let mut input = storage.open(path).map_err(io)?;
    std::io::copy(&mut std::io::Read::take(&mut input, walked.good_bytes), &mut std::io::sink()).map_err(io)?;
    let mut bytes = Vec::new();
    let mut input = std::io::Read::take(input, TORN_KEPT_MAX_BYTES);
    std::io::Read::read_to_end(&mut input, &mut bytes).map_err(io)?;
    let directory = path.parent().unwrap_or(path);
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let taken = storage.list(directory).map_err(io)?;
    let aside: PathBuf = (0u32..)
        .map(|number| format!("{name}.torn-{number}"))
        .find(|candidate| !taken.contains(candidate))
        .map(|free| directory.join(free))
        .unwrap_or_else(|| directory.join(format!("{name}.torn")));
    let mut file = storage.create(&aside).map_err(LogError::io(&aside))?;
    file.write_all(&bytes).map_err(LogError::io(&aside))?;
    file.sync().map_err(LogError::io(&aside))?;
    storage.sync_directory(directory).map_err(io)?;
    Ok(TornRecord {
        blake3: hex::encode(blake3::hash(&bytes).as_bytes()),
        bytes: bytes.len() as u64,
        offset: walked.good_bytes,
        segment: name,
    })
}

/// What matters of the last receipt.
fn describe(body: &[u8]) -> LastReceipt {
    let body = parse(body, Limits::RECEIPT).ok();
    let kind = body.as_ref().and_then(|body| Kind::from_name(body.get("kind")?.as_str()?));
    let epoch = body.as_ref().and_then(|body| body.get("boot")?.get("epoch")?.as_integer());
    LastReceipt { kind, epoch: epoch.and_then(|epoch| u64::try_from(epoch).ok()).unwrap_or(0) }
}
