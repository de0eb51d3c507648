//! Which segments may be removed, and what keeps the others.

use std::fmt;
use std::path::Path;

use super::{Cover, Hold, Retention, RetentionError, holds};
use crate::bundle::{newest_checkpoint, read_root};
use crate::canonical::Value;
use crate::checkpoint::{Checkpoint, NOTE_MAX_BYTES, SignedNote};
use crate::clock::{now_us, rfc3339};
use crate::journal::{
    Disk, JOURNAL_DIRECTORY, Next, SegmentReader, Storage, event_of, segment_first_seq, segment_name,
};
use crate::receipt::{Kind, parse_decimal};
use crate::tlog::{TLOG_CHECKPOINT, TLOG_DIRECTORY};
use crate::{durable, hex};

/// What is to become of each segment, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub segments: Vec<PlannedSegment>,
}

/// A segment of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedSegment {
    pub name: String,
    /// First sequence number in it.
    pub from: u64,
    /// Number after the last.
    pub to: u64,
    pub bytes: u64,
    /// Timestamp: when the next segment was begun, so that all receipts in this one are older. Empty for the last.
    pub ended: String,
    /// Why it stays; `None`: it may be removed.
    pub keep: Option<Keep>,
}

/// Why a segment stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keep {
    /// It is the last one.
    Open,
    /// It is not old enough.
    Young,
    /// No confirmed anchor, or no checkpoint, covers it.
    Uncovered,
    /// The leaf hashes of its receipts are not in `tlog/`.
    NoLeaves,
    /// A legal hold of this name includes it.
    Held(String),
    /// An older one stays.
    Follows,
}

impl fmt::Display for Keep {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => formatter.write_str("the log is written to it"),
            Self::Young => formatter.write_str("not old enough"),
            Self::Uncovered => formatter.write_str("not covered yet"),
            Self::NoLeaves => formatter.write_str("its leaf hashes are not in tlog/"),
            Self::Held(id) => write!(formatter, "held by {id}"),
            Self::Follows => formatter.write_str("an older one stays"),
        }
    }
}

impl Plan {
    /// The segments that may be removed.
    pub fn removable(&self) -> &[PlannedSegment] {
        let count = self.segments.iter().take_while(|segment| segment.keep.is_none()).count();
        self.segments.get(..count).unwrap_or_default()
    }

    /// Segments that nothing but a legal hold keeps.
    pub fn held(&self) -> usize {
        self.segments.iter().filter(|segment| matches!(segment.keep, Some(Keep::Held(_)))).count()
    }
}

/// Where a log lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    pub(crate) storage: &'a dyn Storage,
    pub(crate) data_dir: &'a Path,
}

/// What may be removed now. Changes nothing, and needs no running log.
pub fn plan(data_dir: &Path, retention: &Retention) -> Result<Plan, RetentionError> {
    plan_on(Surroundings { storage: &Disk, data_dir }, retention, now_us())
}

pub(crate) fn plan_on(log: Surroundings<'_>, retention: &Retention, now_us: u64) -> Result<Plan, RetentionError> {
    let journal = log.data_dir.join(JOURNAL_DIRECTORY);
    let names = log.storage.list(&journal).map_err(RetentionError::io(&journal))?;
    let mut firsts: Vec<u64> = names.iter().filter_map(|name| segment_first_seq(name)).collect();
    firsts.sort_unstable();
    let holds = holds(log.data_dir)?;
    let keep_us = u64::try_from(retention.keep.as_micros()).unwrap_or(u64::MAX);
    let leaves = leaves_kept(log.data_dir)?.map_or(0, |checkpoint| checkpoint.size);
    // Looked for only when a segment is old enough: it may take a walk through the journal.
    let mut covered: Option<u64> = None;
    let mut segments = Vec::with_capacity(firsts.len());
    // A clock that once stood too early makes nothing older than what came before it.
    let mut ended_us = 0;
    let mut kept = false;
    for (index, from) in firsts.iter().copied().enumerate() {
        let name = segment_name(from);
        let path = journal.join(&name);
        let bytes = log.storage.length(&path).map_err(RetentionError::io(&path))?;
        let Some(to) = firsts.get(index + 1).copied() else {
            segments.push(PlannedSegment { name, from, to: from, bytes, ended: String::new(), keep: Some(Keep::Open) });
            break;
        };
        ended_us = created_us(log, &journal, to)?.max(ended_us);
        let keep = if now_us.saturating_sub(ended_us) < keep_us {
            Some(Keep::Young)
        } else {
            let covered = match covered {
                Some(covered) => covered,
                None => *covered.insert(covered_size(log, &journal, &firsts, retention.requires)?),
            };
            why_keep(from, to, covered, leaves, &holds).or(kept.then_some(Keep::Follows))
        };
        kept |= keep.is_some();
        segments.push(PlannedSegment { name, from, to, bytes, ended: rfc3339(ended_us), keep });
    }
    Ok(Plan { segments })
}

fn why_keep(from: u64, to: u64, covered: u64, leaves: u64, holds: &[Hold]) -> Option<Keep> {
    if to > covered {
        return Some(Keep::Uncovered);
    }
    if to > leaves {
        return Some(Keep::NoLeaves);
    }
    holds.iter().find(|hold| hold.includes(from, to)).map(|hold| Keep::Held(hold.id.clone()))
}

/// When a segment was begun.
fn created_us(log: Surroundings<'_>, journal: &Path, first_seq: u64) -> Result<u64, RetentionError> {
    let path = journal.join(segment_name(first_seq));
    let file = log.storage.open(&path).map_err(RetentionError::io(&path))?;
    let (_, header) = SegmentReader::open(file).map_err(RetentionError::io(&path))?;
    let header = header.ok_or(RetentionError::Journal { path, what: "its header is damaged" })?;
    Ok(header.created_ns / 1000)
}

/// Size of the largest tree that stands for removed receipts.
fn covered_size(log: Surroundings<'_>, journal: &Path, firsts: &[u64], requires: Cover) -> Result<u64, RetentionError> {
    // The next bundle begins at the newest checkpoint, so what comes after it is needed whatever the policy says.
    let sealed = newest_checkpoint(log.data_dir)?.map_or(0, |stored| stored.checkpoint.size);
    match requires {
        Cover::Checkpoint => Ok(sealed),
        Cover::Anchor => Ok(anchored_size(log, journal, firsts)?.min(sealed)),
    }
}

/// Size of the largest tree with a confirmed anchor, as the newest segment says that has one.
fn anchored_size(log: Surroundings<'_>, journal: &Path, firsts: &[u64]) -> Result<u64, RetentionError> {
    for first_seq in firsts.iter().rev() {
        let path = journal.join(segment_name(*first_seq));
        let file = log.storage.open(&path).map_err(RetentionError::io(&path))?;
        let (mut reader, _) = SegmentReader::open(file).map_err(RetentionError::io(&path))?;
        let mut largest = 0;
        while let Next::Frame(frame) = reader.next().map_err(RetentionError::io(&path))? {
            if let Some(size) = event_of(&frame.body, Kind::Anchor).and_then(|event| confirmed(log.data_dir, &event)) {
                largest = size.max(largest);
            }
        }
        if largest > 0 {
            return Ok(largest);
        }
    }
    Ok(0)
}

/// The size that an `anchor` receipt confirms, if the checkpoint of that size has the anchored root.
fn confirmed(data_dir: &Path, event: &Value) -> Option<u64> {
    let text = |name: &str| event.get(name)?.as_str();
    let size = parse_decimal(text("size")?)?;
    let root = text("root").and_then(hex::decode_32)?;
    (text("state") == Some("confirmed") && read_root(data_dir, size) == Some(root)).then_some(size)
}

/// The tree whose leaf hashes are kept apart from the journal, as far as its checkpoint tells.
pub(super) fn leaves_kept(data_dir: &Path) -> Result<Option<Checkpoint>, RetentionError> {
    let path = data_dir.join(TLOG_DIRECTORY).join(TLOG_CHECKPOINT);
    let bytes = match durable::read_bounded(&path, NOTE_MAX_BYTES as u64) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(RetentionError::io(&path)(error)),
    };
    Ok(SignedNote::parse(&bytes).and_then(|note| Checkpoint::from_text(note.text())).ok())
}
