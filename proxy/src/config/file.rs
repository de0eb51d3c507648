//! `clyra.yaml`: the process settings as a file. Unknown keys and duplicate keys are errors with their place.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::evidence::EvidenceEntries;
use super::upstreams::UpstreamEntry;
use crate::exchange::run::AskForUsage;

/// Largest settings file; a real one has a page.
const FILE_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot read {path}: {source}", path = path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is over {FILE_BYTES_MAX} bytes; that is no settings file", path = path.display())]
    TooLarge { path: PathBuf },
    #[error("{path}: {text}", path = path.display())]
    Parse { path: PathBuf, text: String },
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileSettings {
    pub(super) listen: Option<SocketAddr>,
    pub(super) admin: Option<SocketAddr>,
    pub(super) upstreams: Vec<UpstreamEntry>,
    pub(super) policy: Option<PathBuf>,
    pub(super) data_dir: Option<PathBuf>,
    pub(super) origin: Option<String>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) limits: LimitEntries,
    pub(super) timeouts: TimeoutEntries,
    pub(super) events: EventEntries,
    pub(super) usage: UsageEntries,
    pub(super) evidence: EvidenceEntries,
    pub(super) seal_every_s: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitEntries {
    pub(super) request_bytes_max: Option<usize>,
    pub(super) response_bytes_max: Option<usize>,
    pub(super) in_flight_max: Option<usize>,
    pub(super) held_bytes_max: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TimeoutEntries {
    pub(super) connect_s: Option<u64>,
    pub(super) head_s: Option<u64>,
    pub(super) idle_s: Option<u64>,
    pub(super) keep_alive_s: Option<u64>,
    pub(super) answer_s: Option<u64>,
    pub(super) drain_s: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct UsageEntries {
    pub(super) inject: AskForUsage,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct EventEntries {
    pub(super) rotate_bytes: Option<u64>,
    pub(super) keep_files: Option<usize>,
}

impl FileSettings {
    pub(super) fn read(path: &Path) -> Result<FileSettings, FileError> {
        let read = |source| FileError::Read { path: path.into(), source };
        if std::fs::metadata(path).map_err(read)?.len() > FILE_BYTES_MAX {
            return Err(FileError::TooLarge { path: path.into() });
        }
        let text = std::fs::read_to_string(path).map_err(read)?;
        serde_saphyr::from_str(&text).map_err(|error| FileError::Parse { path: path.into(), text: error.to_string() })
    }
}
