//! `anchors/state.json`: what each anchor did last and what it has begun. The log's own memory, and no evidence: without it,
//! a note is anchored once more, and promises of calendars are not followed up.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clyra_receipts::anchor::ANCHORS_DIRECTORY;
use serde::{Deserialize, Serialize};

/// Begun anchors that are remembered for one anchor. Calendars keep their promises within a day or two; the oldest
/// beyond this are given up.
const OPEN_MAX: usize = 256;

/// Largest state that is read: sixteen anchors with all of their entries.
const STATE_BYTES_MAX: u64 = 4 << 20;

/// Of one anchor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memory {
    /// Digest of the note that was anchored last.
    #[serde(default)]
    pub(super) last: Option<String>,
    /// When, in seconds since 1970.
    #[serde(default)]
    pub(super) at: u64,
    /// Anchors that were begun and are not finished, oldest first.
    #[serde(default)]
    pub(super) open: Vec<Open>,
    /// Bundles up to this tree size are kept there.
    #[serde(default)]
    pub(super) bundles: u64,
}

/// An anchor that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Open {
    /// Digest of the note.
    pub(super) sha256: String,
    /// Digest of the proof so far.
    pub(super) proof: Option<String>,
}

impl Memory {
    pub(super) fn begin(&mut self, open: Open) {
        self.open.retain(|other| other.sha256 != open.sha256);
        if self.open.len() >= OPEN_MAX {
            self.open.remove(0);
        }
        self.open.push(open);
    }
}

/// The file, and what is in it.
#[derive(Debug)]
pub(super) struct State {
    path: PathBuf,
    anchors: BTreeMap<String, Memory>,
}

impl State {
    /// Reads the file; one that is not there or not readable is an empty one.
    pub(super) fn read(data_dir: &Path) -> State {
        let path = data_dir.join(ANCHORS_DIRECTORY).join("state.json");
        let small = std::fs::metadata(&path).is_ok_and(|data| data.len() <= STATE_BYTES_MAX);
        let anchors = small.then(|| std::fs::read(&path).ok()).flatten();
        let anchors = anchors.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        State { path, anchors }
    }

    pub(super) fn of(&self, name: &str) -> Memory {
        self.anchors.get(name).cloned().unwrap_or_default()
    }

    /// Keeps what one anchor remembers, durably.
    pub(super) fn keep(&mut self, name: &str, memory: Memory) -> io::Result<()> {
        self.anchors.insert(name.to_owned(), memory);
        let unfinished = self.path.with_extension("tmp");
        let mut file = std::fs::File::create(&unfinished)?;
        file.write_all(&serde_json::to_vec(&self.anchors)?)?;
        file.sync_all()?;
        std::fs::rename(&unfinished, &self.path)?;
        match self.path.parent() {
            Some(directory) => std::fs::File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    }
}
