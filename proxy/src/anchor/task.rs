//! The tasks that anchor: each takes the newest checkpoint at its interval, tries again with growing pauses, and asks for the
//! end of what it began. Failures are logged and counted; nothing waits for them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clyra_receipts::anchor::{AnchorFiles, AnchorKind, AnchorRecord, AnchorState};
use clyra_receipts::bundle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::state::{Memory, Open, State};
use super::{Anchor, AnchorError, AnchorSettings, Anchored, Note, hex};
use crate::exchange::ledger::{Ledger, LedgerError};
use crate::fetch::Fetch;
use crate::telemetry::{AnchorOutcome, Metrics};
use crate::upstream::TrustError;

/// First pause after a failure; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_secs(10);
/// An authority that is down for a day is asked once an hour.
const PAUSE_MAX: Duration = Duration::from_secs(3600);
/// How often the end of something begun is asked for. A Bitcoin block takes ten minutes.
const FINISH_EVERY: Duration = Duration::from_secs(600);
/// Largest bundle that is kept in another place: it is held in memory while it is sent.
const BUNDLE_BYTES_MAX: u64 = 256 << 20;

/// Why an anchor is not on record.
#[derive(Debug, thiserror::Error)]
pub enum AnchorTaskError {
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    #[error("the newest checkpoint cannot be read: {0}")]
    Checkpoint(String),
    #[error("{}: {source}", .path.display())]
    Files { path: PathBuf, source: std::io::Error },
    #[error("its receipt was not written: {0}")]
    Receipt(#[from] LedgerError),
    #[error("the task ended early")]
    Ended,
}

/// What one try came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ran {
    /// There is no checkpoint yet, or the newest is anchored already.
    NothingNew,
    /// Begun; the proof comes later.
    Begun { size: u64 },
    /// On record.
    Recorded { size: u64, state: AnchorState, reference: Option<String> },
}

/// All anchors of a log.
#[derive(Debug)]
pub struct Anchoring {
    anchors: Vec<One>,
}

/// One anchor with what it needs.
#[derive(Debug, Clone)]
struct One {
    name: String,
    every: Duration,
    anchor: Arc<dyn Anchor>,
    data_dir: PathBuf,
    ledger: Ledger,
    metrics: Arc<Metrics>,
    state: Arc<Mutex<State>>,
}

impl Anchoring {
    /// Puts the anchors together. `ca_file` is who is trusted for https.
    pub fn new(
        settings: &[AnchorSettings],
        ca_file: Option<&Path>,
        data_dir: &Path,
        ledger: &Ledger,
        metrics: &Arc<Metrics>,
    ) -> Result<Anchoring, TrustError> {
        // Reading the platform's certificates takes its time, and is for those who call somebody.
        let networked = settings.iter().any(AnchorSettings::is_networked);
        let fetch = networked.then(|| Fetch::new(ca_file)).transpose()?;
        let state = Arc::new(Mutex::new(State::read(data_dir)));
        let one = |settings: &AnchorSettings| {
            Some(One {
                name: settings.name.clone(),
                every: settings.every,
                anchor: settings.build(fetch.as_ref())?,
                data_dir: data_dir.to_owned(),
                ledger: ledger.clone(),
                metrics: Arc::clone(metrics),
                state: Arc::clone(&state),
            })
        };
        Ok(Anchoring { anchors: settings.iter().filter_map(one).collect() })
    }

    /// Anchors for ever. `sealed` changes with each checkpoint.
    pub async fn run(self, sealed: watch::Receiver<u64>) {
        let mut tasks = JoinSet::new();
        for one in self.anchors {
            tasks.spawn(one.run(sealed.clone()));
        }
        // The set ends its tasks when it is dropped, which is when this one is told to end.
        while tasks.join_next().await.is_some() {}
    }

    /// Tries each anchor once, whatever its interval: by hand. Gives its name and what it came to.
    pub async fn once(&self) -> Vec<(String, Result<Ran, AnchorTaskError>)> {
        let mut out = Vec::new();
        for one in &self.anchors {
            out.push((one.name.clone(), one.anchor_newest().await));
            if let Err(error) = one.keep_bundles().await {
                out.push((one.name.clone(), Err(error)));
            }
        }
        out
    }

    /// Asks each anchor for the end of what it began: by hand.
    pub async fn finish(&self) -> Vec<(String, Result<Ran, AnchorTaskError>)> {
        let mut out = Vec::new();
        for one in &self.anchors {
            let results = one.finish_open().await;
            out.extend(results.into_iter().map(|result| (one.name.clone(), result)));
        }
        out
    }
}

impl One {
    async fn run(self, mut sealed: watch::Receiver<u64>) {
        let mut pause = PAUSE_MIN;
        let now = Instant::now();
        let since_last = unix_seconds().saturating_sub(self.memory().at);
        let mut try_at = now + self.every.saturating_sub(Duration::from_secs(since_last));
        let mut finish_at = now + PAUSE_MIN;
        // Until the next seal: there is nothing to anchor before.
        let mut waiting = false;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(finish_at) => {
                    finish_at = Instant::now() + FINISH_EVERY.min(self.every);
                    for result in self.finish_open().await {
                        self.tell(&result);
                    }
                }
                changed = sealed.changed(), if waiting => {
                    if changed.is_err() {
                        return;
                    }
                    waiting = false;
                }
                () = tokio::time::sleep_until(try_at), if !waiting => {
                    let kept = self.keep_bundles().await.map(|()| Ran::NothingNew);
                    let tried = self.anchor_newest().await;
                    self.tell(&tried);
                    self.tell(&kept);
                    try_at = Instant::now() + match (tried, kept) {
                        (Ok(Ran::NothingNew), Ok(_)) => {
                            waiting = true;
                            Duration::ZERO
                        }
                        (Ok(_), Ok(_)) => {
                            pause = PAUSE_MIN;
                            self.every
                        }
                        _ => {
                            let this = pause;
                            pause = (pause * 2).min(PAUSE_MAX);
                            this
                        }
                    };
                }
            }
        }
    }

    /// Counts and logs what came of a try.
    fn tell(&self, result: &Result<Ran, AnchorTaskError>) {
        let outcome = match result {
            Ok(Ran::NothingNew) => return,
            Ok(Ran::Begun { .. }) => AnchorOutcome::Pending,
            Ok(Ran::Recorded { state: AnchorState::Pending, .. }) => AnchorOutcome::Pending,
            Ok(Ran::Recorded { state: AnchorState::Confirmed, .. }) => AnchorOutcome::Confirmed,
            Err(error) => {
                tracing::error!("anchor {}: the checkpoint was not anchored: {error}", self.name);
                AnchorOutcome::Failed
            }
        };
        self.metrics.anchored(&self.name, outcome);
        self.metrics.anchors_open(&self.name, self.memory().open.len() as u64);
    }

    fn memory(&self) -> Memory {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).of(&self.name)
    }

    /// Changes what is remembered, durably.
    async fn remember(&self, change: impl FnOnce(&mut Memory) + Send + 'static) -> Result<(), AnchorTaskError> {
        let (state, name) = (Arc::clone(&self.state), self.name.clone());
        let path = self.data_dir.clone();
        let work = tokio::task::spawn_blocking(move || {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            let mut memory = state.of(&name);
            change(&mut memory);
            state.keep(&name, memory)
        });
        work.await.map_err(|_| AnchorTaskError::Ended)?.map_err(|source| AnchorTaskError::Files { path, source })
    }

    async fn anchor_newest(&self) -> Result<Ran, AnchorTaskError> {
        let data_dir = self.data_dir.clone();
        let newest = tokio::task::spawn_blocking(move || bundle::newest_note(&data_dir));
        let newest = newest.await.map_err(|_| AnchorTaskError::Ended)?;
        let Some(bytes) = newest.map_err(|error| AnchorTaskError::Checkpoint(error.to_string()))? else {
            return Ok(Ran::NothingNew);
        };
        let note = Note::read(bytes).ok_or_else(|| AnchorTaskError::Checkpoint("not a checkpoint note".to_owned()))?;
        if self.memory().last.as_deref() == Some(&note.sha256()) {
            return Ok(Ran::NothingNew);
        }
        let anchored = self.anchor.anchor(&note).await?;
        let proof = self.keep_files(&note, anchored.as_ref()).await?;
        let (sha256, at) = (note.sha256(), unix_seconds());
        let open = anchored.as_ref().is_none_or(|anchored| anchored.state == AnchorState::Pending);
        let begun = open.then(|| Open { sha256: sha256.clone(), proof: proof.clone() });
        // Before the receipt, so that what it says is pending is followed up whatever happens.
        if let Some(begun) = begun {
            self.remember(|memory| memory.begin(begun)).await?;
        }
        let ran = match (anchored, proof) {
            (Some(anchored), Some(proof)) => self.record(&note, anchored, proof).await?,
            _ => Ran::Begun { size: note.checkpoint.size },
        };
        self.remember(move |memory| {
            memory.last = Some(sha256);
            memory.at = at;
        })
        .await?;
        Ok(ran)
    }

    /// Puts note and proof into `anchors/`, durably. Gives the proof's digest.
    async fn keep_files(&self, note: &Note, anchored: Option<&Anchored>) -> Result<Option<String>, AnchorTaskError> {
        let (data_dir, bytes, kind) = (self.data_dir.clone(), note.bytes.clone(), self.anchor.kind());
        let proof = anchored.map(|anchored| anchored.proof.clone());
        let (path, state) = (self.data_dir.clone(), Arc::clone(&self.state));
        let work = tokio::task::spawn_blocking(move || {
            // One at a time: two anchors of one note would write the same file.
            let _alone = state.lock().unwrap_or_else(PoisonError::into_inner);
            let files = AnchorFiles::open(&data_dir)?;
            files.keep_note(&bytes)?;
            proof.map(|proof| files.keep_proof(kind, &proof)).transpose()
        });
        work.await.map_err(|_| AnchorTaskError::Ended)?.map_err(|source| AnchorTaskError::Files { path, source })
    }

    async fn record(&self, note: &Note, anchored: Anchored, proof: String) -> Result<Ran, AnchorTaskError> {
        let (size, state, reference) = (note.checkpoint.size, anchored.state, anchored.reference.clone());
        let record = AnchorRecord {
            at: anchored.at,
            header: anchored.header,
            kind: self.anchor.kind(),
            proof,
            reference: anchored.reference,
            root: hex(&note.checkpoint.root),
            sha256: note.sha256(),
            size,
            state,
        };
        self.ledger.append(record).durable().await?;
        Ok(Ran::Recorded { size, state, reference })
    }

    async fn finish_open(&self) -> Vec<Result<Ran, AnchorTaskError>> {
        let mut out = Vec::new();
        for open in self.memory().open {
            match self.finish_one(&open).await {
                Ok(None) => {}
                Ok(Some(ran)) => out.push(Ok(ran)),
                Err(error) => out.push(Err(error)),
            }
        }
        out
    }

    async fn finish_one(&self, open: &Open) -> Result<Option<Ran>, AnchorTaskError> {
        let (data_dir, wanted, kind): (_, _, AnchorKind) = (self.data_dir.clone(), open.clone(), self.anchor.kind());
        let path = self.data_dir.clone();
        let read = tokio::task::spawn_blocking(move || {
            let files = AnchorFiles::open(&data_dir)?;
            let proof = wanted.proof.map(|proof| files.proof(kind, &proof)).transpose()?;
            std::io::Result::Ok((files.note(&wanted.sha256)?, proof))
        });
        let read = read.await.map_err(|_| AnchorTaskError::Ended)?;
        let (note, proof) = read.map_err(|source| AnchorTaskError::Files { path, source })?;
        let note = Note::read(note).ok_or_else(|| AnchorTaskError::Checkpoint("not a checkpoint note".to_owned()))?;
        let Some(finished) = self.anchor.finish(&note, proof.as_deref()).await? else { return Ok(None) };
        let Some(proof) = self.keep_files(&note, Some(&finished)).await? else { return Ok(None) };
        let ran = self.record(&note, finished, proof).await?;
        let sha256 = open.sha256.clone();
        self.remember(move |memory| memory.open.retain(|open| open.sha256 != sha256)).await?;
        Ok(Some(ran))
    }

    /// Brings the bundles there that are not there yet, oldest first.
    async fn keep_bundles(&self) -> Result<(), AnchorTaskError> {
        if !self.anchor.keeps_bundles() {
            return Ok(());
        }
        let (data_dir, kept) = (self.data_dir.clone(), self.memory().bundles);
        let path = self.data_dir.clone();
        let files = tokio::task::spawn_blocking(move || bundle::files_from(&data_dir, kept));
        let files = files.await.map_err(|_| AnchorTaskError::Ended)?;
        for (file, name, to) in files.map_err(|source| AnchorTaskError::Files { path, source })? {
            let unreadable = |source| AnchorTaskError::Files { path: file.clone(), source };
            let length = tokio::fs::metadata(&file).await.map_err(unreadable)?.len();
            if length > BUNDLE_BYTES_MAX {
                tracing::error!(
                    "anchor {}: {name} has {length} bytes and is not kept there; copy it by hand",
                    self.name
                );
            } else {
                let bytes = tokio::fs::read(&file).await.map_err(unreadable)?;
                self.anchor.keep_bundle(&name, bytes.into()).await?;
            }
            self.remember(move |memory| memory.bundles = to).await?;
        }
        Ok(())
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
