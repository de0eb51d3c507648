//! Settings of the evidence: how long receipts are kept, how long a key signs them, and what opens the log key.

use std::path::PathBuf;
use std::time::Duration;

use clyra_receipts::LogOptions;
use clyra_receipts::retention::{Cover, Retention};
use serde::Deserialize;

use crate::anchor::AnchorEntry;

/// Least days that regulated logs are kept: six months, as the EU AI Act (Articles 19 and 26) asks of high-risk systems.
const REGULATED_DAYS_MIN: u64 = 184;

const DAY_S: u64 = 86_400;

/// The section `evidence` of `clyra.yaml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct EvidenceEntries {
    pub(super) key_passphrase_file: Option<PathBuf>,
    pub(super) key_identity_file: Option<PathBuf>,
    pub(super) anchors: Vec<AnchorEntry>,
    receipt_key_rotate_minutes: Option<u64>,
    receipt_key_rotate_receipts: Option<u64>,
    retention_days: Option<u64>,
    prune_requires: Option<Requires>,
    regulated: bool,
    pub(super) lock: Option<String>,
    pub(super) lock_password_file: Option<PathBuf>,
    pub(super) witnesses: Vec<WitnessFileEntry>,
    pub(super) witness_timeout_s: Option<u64>,
    pub(super) stream_proofs: Option<bool>,
    pub(super) stream_bytes_max: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WitnessFileEntry {
    pub(super) url: String,
    pub(super) vkey: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Requires {
    Anchor,
    Checkpoint,
}

/// How evidence is made and kept.
#[derive(Debug, Clone)]
pub struct EvidenceSettings {
    pub receipt_key_rotate: Duration,
    pub receipt_key_rotate_receipts: u64,
    /// `None`: receipts stay in the journal for ever.
    pub retention: Option<Retention>,
}

/// Why the section cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    #[error(
        "evidence.retention_days is {days}, but regulated evidence is kept for at least {REGULATED_DAYS_MIN} days; raise it, \
         or take `regulated` away"
    )]
    Floor { days: u64 },
    #[error("evidence.{name} is 0; leave it out for the default")]
    Zero { name: &'static str },
    #[error("evidence.prune_requires has no effect without evidence.retention_days; set both or neither")]
    NoRetention,
}

impl EvidenceEntries {
    pub(super) fn settings(&self) -> Result<EvidenceSettings, EvidenceError> {
        let positive = |name, given: Option<u64>, default: u64| match given {
            Some(0) => Err(EvidenceError::Zero { name }),
            given => Ok(given.unwrap_or(default)),
        };
        let retention = match (self.retention_days, self.prune_requires) {
            (None, None) => None,
            (None, Some(_)) => return Err(EvidenceError::NoRetention),
            (Some(days), _) if self.regulated && days < REGULATED_DAYS_MIN => {
                return Err(EvidenceError::Floor { days });
            }
            (Some(days), requires) => Some(Retention {
                keep: Duration::from_secs(days.saturating_mul(DAY_S)),
                requires: match requires.unwrap_or(Requires::Anchor) {
                    Requires::Anchor => Cover::Anchor,
                    Requires::Checkpoint => Cover::Checkpoint,
                },
            }),
        };
        let hour = LogOptions::RECEIPT_KEY_ROTATE.as_secs() / 60;
        let minutes = positive("receipt_key_rotate_minutes", self.receipt_key_rotate_minutes, hour)?;
        Ok(EvidenceSettings {
            receipt_key_rotate: Duration::from_secs(minutes.saturating_mul(60)),
            receipt_key_rotate_receipts: positive(
                "receipt_key_rotate_receipts",
                self.receipt_key_rotate_receipts,
                LogOptions::RECEIPT_KEY_ROTATE_RECEIPTS,
            )?,
            retention,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(yaml: &str) -> Result<EvidenceSettings, String> {
        let entries: EvidenceEntries = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
        entries.settings().map_err(|error| error.to_string())
    }

    #[test]
    fn receipts_are_kept_for_ever_unless_told_otherwise() {
        let defaults = settings("{}").unwrap();
        assert_eq!(defaults.retention, None);
        assert_eq!(defaults.receipt_key_rotate, Duration::from_secs(3600));
        let kept = settings("retention_days: 365\nregulated: true\nreceipt_key_rotate_minutes: 5\n").unwrap();
        let year = Duration::from_secs(365 * 86_400);
        assert_eq!(kept.retention, Some(Retention { keep: year, requires: Cover::Anchor }));
        assert_eq!(kept.receipt_key_rotate, Duration::from_secs(300));
        let checkpoint = settings("{retention_days: 0, prune_requires: checkpoint}").unwrap();
        assert_eq!(checkpoint.retention, Some(Retention { keep: Duration::ZERO, requires: Cover::Checkpoint }));
    }

    #[test]
    fn what_would_not_do_what_it_says_is_refused() {
        assert!(settings("{retention_days: 183, regulated: true}").unwrap_err().contains("184"));
        assert!(settings("{retention_days: 184, regulated: true}").is_ok());
        assert!(settings("{receipt_key_rotate_minutes: 0}").unwrap_err().contains("receipt_key_rotate_minutes"));
        assert!(settings("{prune_requires: anchor}").unwrap_err().contains("retention_days"));
        assert!(settings("{prune_requires: nothing}").is_err() && settings("{retention: 3}").is_err());
    }
}
