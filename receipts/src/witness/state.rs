//! A witness: for each log that it knows, the newest checkpoint that it cosigned, on disk before anybody hears of it.
//!
//! The check of a request and the keeping of its checkpoint are one step for a log: whoever comes second is held against what
//! the first left. A witness whose state was lost must get another key, because it would cosign a second history.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::cosignature::message;
use super::{AddCheckpoint, WitnessKey};
use crate::checkpoint::{Checkpoint, NOTE_MAX_BYTES, NoteError, SignedNote};
use crate::journal::{Disk, Lock, Storage as _};
use crate::keys::{KeyAccess, KeyError, KeyPlace, Pair, PublicKey, create_private, open_private};
use crate::tree::{empty_root, verify_consistency};
use crate::{durable, hex};

/// Name of the key's file in the state directory, without its ending.
const KEY_STEM: &str = "witness";
const LOGS_DIRECTORY: &str = "logs";

/// Why a witness cannot work.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is in use by another process", .0.display())]
    Locked(PathBuf),
    #[error("{} is not what it should be: {what}. A witness without its state must not go on with the same key", .path.display())]
    Damaged { path: PathBuf, what: String },
    #[error("two keys of log {0} are the same")]
    Twice(String),
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl WitnessError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

/// What a request is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    pub content_type: &'static str,
    pub body: String,
}

impl Answer {
    fn text(status: u16, body: &str) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: format!("{body}\n") }
    }
}

/// The newest checkpoint of one log.
#[derive(Debug)]
struct Kept {
    /// Keys that may sign the log's checkpoints.
    keys: Vec<PublicKey>,
    path: PathBuf,
    newest: Mutex<Option<Newest>>,
}

#[derive(Debug, Clone)]
struct Newest {
    checkpoint: Checkpoint,
    note: Vec<u8>,
}

/// A witness with its key and its state.
pub struct Witness {
    key: WitnessKey,
    private: Pair,
    /// By origin.
    logs: BTreeMap<String, Kept>,
    _lock: Box<dyn Lock>,
}

impl std::fmt::Debug for Witness {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Witness").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Witness {
    /// Opens the state in a directory, or begins it: then the key is made too. `logs` are the verifier keys whose checkpoints
    /// are cosigned; the key's name is the log's origin.
    pub fn open(
        directory: &Path,
        name: &str,
        logs: Vec<PublicKey>,
        access: &dyn KeyAccess,
    ) -> Result<Self, WitnessError> {
        let logs_directory = directory.join(LOGS_DIRECTORY);
        durable::create_directory(&logs_directory, 0o700).map_err(WitnessError::io(&logs_directory))?;
        let lock_path = directory.join("LOCK");
        let lock = Disk.lock(&lock_path).map_err(WitnessError::io(&lock_path))?;
        let lock = lock.ok_or_else(|| WitnessError::Locked(directory.to_owned()))?;
        let private = match open_private(directory, KEY_STEM, name, None, access) {
            Err(KeyError::Missing(path)) => {
                // A state without its key is no new witness.
                let mut entries = std::fs::read_dir(&logs_directory).map_err(WitnessError::io(&logs_directory))?;
                if entries.next().is_some() {
                    return Err(KeyError::Missing(path).into());
                }
                create_private(directory, KEY_STEM, name, &KeyPlace::File, access)?
            }
            other => other?,
        };
        let key = WitnessKey::new(name, private.public.as_bytes())
            .map_err(|fault| KeyError::Malformed { path: directory.join(KEY_STEM), what: fault.to_string() })?;
        let mut kept: BTreeMap<String, Kept> = BTreeMap::new();
        for log in logs {
            let origin = log.name().to_owned();
            let path = logs_directory.join(origin_hash(&origin));
            let newest = read_newest(&path, &origin)?;
            let entry = kept.entry(origin.clone()).or_insert_with(|| Kept {
                keys: Vec::new(),
                path,
                newest: Mutex::new(newest),
            });
            if entry.keys.contains(&log) {
                return Err(WitnessError::Twice(origin));
            }
            entry.keys.push(log);
        }
        Ok(Self { key, private, logs: kept, _lock: lock })
    }

    pub fn key(&self) -> &WitnessKey {
        &self.key
    }

    /// `POST add-checkpoint`, at this time in seconds since 1970.
    pub fn add_checkpoint(&self, body: &[u8], now: u64) -> Answer {
        let request = match AddCheckpoint::parse(body) {
            Ok(request) => request,
            Err(error) => return Answer::text(400, &error.to_string()),
        };
        let note = SignedNote::parse(&request.note);
        let (Ok(note), Ok(checkpoint)) = (&note, note.clone().and_then(|note| Checkpoint::from_text(note.text())))
        else {
            return Answer::text(400, "the checkpoint is not one");
        };
        let Some(log) = self.logs.get(&checkpoint.origin) else {
            return Answer::text(404, "a log that this witness does not know");
        };
        let signed = match note.verify(&log.keys) {
            Ok(signed) => signed,
            Err(NoteError::Unsigned) => return Answer::text(403, "no signature of a known key of the log"),
            Err(_) => return Answer::text(403, "a signature in the name of a key of the log is wrong"),
        };
        if request.old > checkpoint.size {
            return Answer::text(400, "the old size is beyond the checkpoint's");
        }
        // One at a time for each log, from the look at what is known to the answer.
        let mut newest = log.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let known = newest.as_ref().map_or(0, |newest| newest.checkpoint.size);
        if request.old != known {
            return Answer { status: 409, content_type: "text/x.tlog.size", body: format!("{known}\n") };
        }
        if let Err(what) = follows(newest.as_ref().map(|newest| &newest.checkpoint), &checkpoint, &request) {
            return Answer::text(422, what);
        }
        let signature = match self.private.sign(&message(now.max(1), note.text())) {
            Ok(signature) => signature,
            Err(_) => return Answer::text(500, "the witness cannot sign"),
        };
        let line = self.key.cosignature(now.max(1), signature).to_line();
        let names: Vec<&str> = signed.iter().map(|key| key.name()).collect();
        let mut kept = note.with_signatures_of(&names).into_bytes();
        kept.extend_from_slice(line.as_bytes());
        if durable::write(&log.path, &kept, 0o600).is_err() {
            // What is on disk is not known now; only a restart looks there.
            return Answer::text(500, "the witness cannot keep the checkpoint");
        }
        *newest = Some(Newest { checkpoint, note: kept });
        Answer { status: 200, content_type: "text/plain; charset=utf-8", body: line }
    }

    /// `GET <origin hash>/checkpoint`: the newest checkpoint of a log with its cosignature.
    pub fn checkpoint(&self, origin_digest: &str) -> Option<Vec<u8>> {
        let (_, log) = self.logs.iter().find(|(origin, _)| origin_hash(origin) == origin_digest)?;
        let newest = log.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.as_ref().map(|newest| newest.note.clone())
    }
}

/// Whether a checkpoint continues what is known of the log.
fn follows(known: Option<&Checkpoint>, new: &Checkpoint, request: &AddCheckpoint) -> Result<(), &'static str> {
    if new.size == 0 && new.root != empty_root() {
        return Err("an empty tree with another root than that of nothing");
    }
    let Some(known) = known.filter(|known| known.size > 0) else {
        return if request.consistency.is_empty() { Ok(()) } else { Err("a consistency proof from the empty tree") };
    };
    if known.size == new.size && known.root != new.root {
        return Err("another root at the same size");
    }
    verify_consistency(known.size, new.size, &request.consistency, &known.root, &new.root)
        .map_err(|_| "the consistency proof does not hold")
}

fn origin_hash(origin: &str) -> String {
    use sha2::{Digest as _, Sha256};
    hex::encode(&Sha256::digest(origin))
}

fn read_newest(path: &Path, origin: &str) -> Result<Option<Newest>, WitnessError> {
    let note = match durable::read_bounded(path, NOTE_MAX_BYTES as u64) {
        Ok(note) => note,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(WitnessError::Io { path: path.to_owned(), source: error }),
    };
    let damaged = |what: String| WitnessError::Damaged { path: path.to_owned(), what };
    let checkpoint = SignedNote::parse(&note).and_then(|note| Checkpoint::from_text(note.text()));
    let checkpoint = checkpoint.map_err(|error| damaged(error.to_string()))?;
    if checkpoint.origin != origin {
        return Err(damaged("it is of another log".to_owned()));
    }
    Ok(Some(Newest { checkpoint, note }))
}
