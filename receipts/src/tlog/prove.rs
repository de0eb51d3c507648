//! Proofs for somebody else: that a receipt is in the log, and that an event of its stream was released.

use std::path::Path;

use super::{TLOG_DIRECTORY, Tiles, TlogError, TlogProof};
use crate::bundle::{CHECKPOINTS_DIRECTORY, SealError, checkpoint_sizes, stored_checkpoint};
use crate::canonical::{Limits, Value, parse, to_vec};
use crate::checkpoint::NoteError;
use crate::hex;
use crate::keys::{KEYS_DIRECTORY, KeyError, read_trust};
use crate::reader::{ReadError, Receipts, StoredReceipt};
use crate::receipt::FORMAT;
use crate::streams::{event_path, find_stream};
use crate::tree::{Hash, Span, inclusion, verify_inclusion};

/// Why something cannot be proven. Each has a stable code.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    #[error(
        "T010: receipt {seq} is not under a checkpoint yet: the newest is over {size}. A running sidecar makes one at its interval, `clyra bundle seal` at once"
    )]
    NotSealed { seq: u64, size: u64 },
    #[error("T011: checkpoint {size} is not signed by the log's key: {source}")]
    Checkpoint { size: u64, source: NoteError },
    #[error("T012: receipt {0} is not about a stream; only an outcome with `stream` has events")]
    NoStream(u64),
    #[error("T013: the stream of receipt {seq} has {events} events, counted from 0")]
    NoEvent { seq: u64, events: u64 },
    #[error(
        "T014: the events of receipt {0} are not kept: the store was off or full then, they were too many, or they were forgotten since"
    )]
    Forgotten(u64),
    #[error("T015: the kept events of receipt {0} do not give the root in the receipt")]
    OtherStream(u64),
    #[error(transparent)]
    Tlog(#[from] TlogError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Stored(#[from] SealError),
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error("T001: {0}")]
    Io(#[from] std::io::Error),
}

/// Everything that shows that one receipt is in the log.
#[derive(Debug, Clone)]
pub struct Proven {
    pub seq: u64,
    /// Text of the tlog-proof.
    pub proof: String,
    /// The receipt's envelope, canonical JSON: the leaf.
    pub receipt: Vec<u8>,
    /// The trust file, canonical JSON.
    pub keys: Vec<u8>,
    pub(crate) stream: Option<(u64, Hash)>,
}

/// Proves that a receipt is in the tree of the first checkpoint that covers it, so that a receipt has one proof for good.
pub fn prove(data_dir: &Path, seq: u64) -> Result<Proven, ProveError> {
    let checkpoints = data_dir.join(CHECKPOINTS_DIRECTORY);
    let sizes = checkpoint_sizes(&checkpoints)?;
    let newest = sizes.last().copied().unwrap_or(0);
    let receipt = Receipts::read(data_dir, seq)?;
    let size = sizes.into_iter().find(|size| *size > seq).ok_or(ProveError::NotSealed { seq, size: newest })?;
    let stored = stored_checkpoint(&checkpoints, size)?;
    let trust = read_trust(&data_dir.join(KEYS_DIRECTORY))?;
    stored.note.verify(trust.log_keys()).map_err(|source| ProveError::Checkpoint { size, source })?;
    let path = audit_path(data_dir, &checkpoints, (seq, size), newest)?;
    verify_inclusion(&receipt.leaf(), seq, size, &path, &stored.checkpoint.root).map_err(TlogError::from)?;
    let proof = TlogProof { index: seq, path, checkpoint: stored.bytes };
    Ok(Proven {
        seq,
        proof: proof.to_text(),
        receipt: receipt.envelope(),
        keys: trust.export(seq, size),
        stream: stream_of(&receipt),
    })
}

/// From the tiles; where they cannot be used, from all receipts.
fn audit_path(
    data_dir: &Path,
    checkpoints: &Path,
    (seq, size): (u64, u64),
    newest: u64,
) -> Result<Vec<Hash>, ProveError> {
    let newest = stored_checkpoint(checkpoints, newest)?;
    let tiles = Tiles::open(&data_dir.join(TLOG_DIRECTORY), newest.checkpoint.size, &newest.checkpoint.root);
    match tiles.and_then(|tiles| inclusion(&tiles, seq, size)) {
        Ok(path) => Ok(path),
        Err(TlogError::Damaged(_) | TlogError::Io { .. }) => {
            let mut receipts = Receipts::open(data_dir, 0)?;
            let mut span = Span::default();
            while (span.leaves().len() as u64) < size {
                let receipt = receipts.read_next()?.ok_or(TlogError::Root { size })?;
                span.push(receipt.leaf());
            }
            Ok(span.inclusion(seq, size).map_err(TlogError::from)?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Events and root of the stream that a receipt is about.
fn stream_of(receipt: &StoredReceipt) -> Option<(u64, Hash)> {
    let stream = receipt.value().get("stream")?;
    let events = u64::try_from(stream.get("events")?.as_integer()?).ok()?;
    Some((events, hex::decode_32(stream.get("root")?.as_str()?)?))
}

/// Proves that event `event` of the stream of outcome `seq` was released: the event proof, canonical JSON.
pub fn prove_event(data_dir: &Path, seq: u64, event: u64) -> Result<Vec<u8>, ProveError> {
    let proven = prove(data_dir, seq)?;
    let (events, root) = proven.stream.ok_or(ProveError::NoStream(seq))?;
    if event >= events {
        return Err(ProveError::NoEvent { seq, events });
    }
    let leaves = find_stream(data_dir, seq)?.ok_or(ProveError::Forgotten(seq))?;
    let other = || ProveError::OtherStream(seq);
    let (path, own_root) = event_path(&leaves, event).map_err(|_| other())?;
    let leaf = usize::try_from(event).ok().and_then(|event| leaves.get(event)).ok_or_else(other)?;
    if own_root != root || leaves.len() as u64 != events {
        return Err(other());
    }
    let value = |bytes: &[u8]| parse(bytes, Limits::MANIFEST).unwrap_or(Value::Null);
    Ok(to_vec(&Value::from([
        ("event", Value::from(event.to_string())),
        ("events", Value::from(events.to_string())),
        ("keys", value(&proven.keys)),
        ("leaf", Value::from(hex::encode(leaf))),
        ("path", Value::Array(path.iter().map(|hash| Value::from(hex::encode(hash))).collect())),
        ("proof", Value::from(proven.proof)),
        ("receipt", value(&proven.receipt)),
        ("v", Value::from(FORMAT)),
    ])))
}
