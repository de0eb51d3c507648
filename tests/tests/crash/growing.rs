//! A journal that grows, as the tests look at it that kill its writer.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use clyra_tests::journal::{Framed, frames_of, segments};
use serde_json::Value;

/// Shows that a file is the one that was read: inode, length, time of its last change.
type Stamp = (u64, u64, i64, i64);

/// Reads a journal that grows: only what has changed since.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    segments: BTreeMap<PathBuf, (Stamp, Segment)>,
}

#[derive(Debug, Default)]
pub(crate) struct Segment {
    chains: BTreeMap<u64, String>,
    /// Kinds of receipts by exchange.
    exchanges: BTreeMap<String, BTreeSet<String>>,
    pub(crate) unclean_starts: usize,
    /// Exchanges of answers that were executed, by their session and the root of their events.
    answers: BTreeMap<(String, String), String>,
}

impl Segment {
    fn of(frames: Vec<Framed>) -> Segment {
        let mut segment = Segment::default();
        for frame in frames {
            let receipt: Value = serde_json::from_slice(&frame.body).unwrap();
            let text = |name: &str| receipt[name].as_str().unwrap_or_default().to_owned();
            segment.unclean_starts += usize::from(receipt["kind"] == "boot" && receipt["event"]["clean"] == false);
            if receipt["kind"] == "outcome" && receipt["verdict"] == "executed" {
                let part = |at: &str| receipt.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
                segment.answers.insert((part("/ext/session"), part("/stream/root")), text("id"));
            }
            segment.exchanges.entry(text("id")).or_default().insert(text("kind"));
            segment.chains.insert(frame.seq, frame.chain);
        }
        segment
    }
}

impl Journal {
    pub(crate) fn read(&mut self, data_dir: &Path) {
        let mut before = std::mem::take(&mut self.segments);
        for path in segments(data_dir).unwrap() {
            let meta = std::fs::metadata(&path).unwrap();
            let stamp = (meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec());
            let known = before.remove(&path).filter(|(known, _)| *known == stamp);
            let segment =
                known.map_or_else(|| Segment::of(frames_of(&std::fs::read(&path).unwrap())), |(_, kept)| kept);
            self.segments.insert(path, (stamp, segment));
        }
    }

    pub(crate) fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.segments.values().map(|(_, segment)| segment)
    }

    /// Both receipts of an exchange are there.
    pub(crate) fn pairs(&self, id: &str) -> Result<(), String> {
        let kinds: BTreeSet<&str> =
            self.segments().filter_map(|segment| segment.exchanges.get(id)).flatten().map(String::as_str).collect();
        if kinds.contains("attempt") && kinds.contains("outcome") {
            return Ok(());
        }
        Err(format!("the completed exchange {id} has only {kinds:?}"))
    }

    /// The chain value of a receipt.
    pub(crate) fn chain(&self, seq: u64) -> Option<&str> {
        self.segments().find_map(|segment| segment.chains.get(&seq)).map(String::as_str)
    }

    /// The exchange that is on record as a whole answer of this session, of which the client was sent these events.
    pub(crate) fn answer(&self, session: &str, root: &str) -> Option<&str> {
        let of = (session.to_owned(), root.to_owned());
        self.segments().find_map(|segment| segment.answers.get(&of)).map(String::as_str)
    }
}
