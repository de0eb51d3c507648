//! `evidence.anchors` in `clyra.yaml`: checked before anything is bound or written.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clyra_receipts::anchor::rfc3161::Oid;
use http::Uri;
use serde::Deserialize;

use super::Anchor;
use super::directory::Directory;
use super::object::{Object, Place, Scheme};
use super::op_return::Spool;
use super::opentimestamps::{CALENDARS, Calendars};
use super::rfc3161::TimeStamps;
use crate::fetch::Fetch;

/// Anchors of one log. Each has a task and a label in the metrics.
const ANCHORS_MAX: usize = 16;
/// Longest name of an anchor.
const NAME_MAX: usize = 64;
/// Calendars that one digest is handed to.
const CALENDARS_MAX: usize = 8;
/// Longest retention that an object is locked for: what nobody can shorten again.
const LOCK_DAYS_MAX: u64 = 3653;

const HOUR: u64 = 3600;
const DAY: u64 = 86_400;

/// One entry, as it stands in the file.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum AnchorEntry {
    Directory {
        name: String,
        every_s: Option<u64>,
        path: PathBuf,
        #[serde(default)]
        bundles: bool,
    },
    Object {
        name: String,
        every_s: Option<u64>,
        url: String,
        endpoint: Option<String>,
        region: Option<String>,
        lock: Option<LockEntry>,
        #[serde(default)]
        bundles: bool,
    },
    Rfc3161 {
        name: String,
        every_s: Option<u64>,
        url: String,
        policy: Option<String>,
    },
    #[serde(rename = "opentimestamps")]
    OpenTimestamps {
        name: String,
        every_s: Option<u64>,
        calendars: Vec<String>,
        headers: Option<String>,
    },
    OpReturn {
        name: String,
        every_s: Option<u64>,
        spool: PathBuf,
    },
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LockEntry {
    mode: LockMode,
    days: u64,
}

/// Who may end a retention early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LockMode {
    /// Nobody, not even the owner of the account.
    Compliance,
    /// Whoever has a special permission.
    Governance,
}

impl LockMode {
    pub(super) fn header(self) -> &'static str {
        match self {
            Self::Compliance => "COMPLIANCE",
            Self::Governance => "GOVERNANCE",
        }
    }
}

/// A retention that the store is asked to enforce.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lock {
    pub(super) mode: LockMode,
    pub(super) keep: Duration,
}

/// One anchor, checked.
#[derive(Debug, Clone)]
pub struct AnchorSettings {
    pub name: String,
    /// How often the newest checkpoint is anchored.
    pub every: Duration,
    entry: AnchorEntry,
}

/// Why an anchor cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("evidence.anchors: {name}: {what}")]
pub struct AnchorConfigError {
    name: String,
    what: String,
}

impl AnchorSettings {
    /// Checks the entries. Relative paths are below `base`.
    pub(crate) fn check(entries: Vec<AnchorEntry>, base: &Path) -> Result<Vec<AnchorSettings>, AnchorConfigError> {
        let error = |name: &str, what: String| AnchorConfigError { name: name.to_owned(), what };
        if entries.len() > ANCHORS_MAX {
            return Err(error("the list", format!("at most {ANCHORS_MAX} anchors")));
        }
        let mut out: Vec<AnchorSettings> = Vec::with_capacity(entries.len());
        for entry in entries {
            let settings = Self::of(entry, base).map_err(|(name, what)| error(&name, what))?;
            if out.iter().any(|other| other.name == settings.name) {
                return Err(error(&settings.name, "two anchors have this name".to_owned()));
            }
            out.push(settings);
        }
        Ok(out)
    }

    fn of(mut entry: AnchorEntry, base: &Path) -> Result<AnchorSettings, (String, String)> {
        let (name, every_s, default) = match &mut entry {
            AnchorEntry::Directory { name, every_s, path, .. } => {
                *path = base.join(&path);
                (name, every_s, HOUR)
            }
            AnchorEntry::Object { name, every_s, .. } => (name, every_s, HOUR),
            AnchorEntry::Rfc3161 { name, every_s, .. } => (name, every_s, HOUR),
            AnchorEntry::OpenTimestamps { name, every_s, .. } => (name, every_s, DAY),
            AnchorEntry::OpReturn { name, every_s, spool } => {
                *spool = base.join(&spool);
                (name, every_s, DAY)
            }
        };
        let name = name.clone();
        let every = Duration::from_secs(every_s.unwrap_or(default));
        let plain = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || "-_".contains(char);
        if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(plain) {
            return Err((name, format!("a name is 1 to {NAME_MAX} of a-z, 0-9, - and _")));
        }
        if every.is_zero() {
            return Err((name, "every_s is 0; write how many seconds lie between two anchors".to_owned()));
        }
        let fault = match &entry {
            AnchorEntry::Directory { .. } | AnchorEntry::OpReturn { .. } => None,
            AnchorEntry::Object { url, endpoint, region, lock, .. } => {
                object_fault(url, endpoint, region, lock.as_ref())
            }
            AnchorEntry::Rfc3161 { url, policy, .. } => address_fault(url).or_else(|| {
                let unreadable = policy.as_ref().filter(|policy| Oid::parse(policy).is_none());
                unreadable.map(|policy| format!("policy {policy} is no object identifier such as 1.2.3.4"))
            }),
            AnchorEntry::OpenTimestamps { calendars, headers, .. } => match calendars.len() {
                0 => Some("name at least one calendar, such as https://a.pool.opentimestamps.org".to_owned()),
                1..=CALENDARS_MAX => calendars.iter().chain(headers).find_map(|url| address_fault(url)),
                _ => Some(format!("at most {CALENDARS_MAX} calendars")),
            },
        };
        match fault {
            Some(what) => Err((name, what)),
            None => Ok(AnchorSettings { name, every, entry }),
        }
    }

    /// Whether it calls anybody.
    pub fn is_networked(&self) -> bool {
        !matches!(self.entry, AnchorEntry::Directory { .. } | AnchorEntry::OpReturn { .. })
    }

    /// The anchor. `fetch` is there if any of the anchors is networked.
    pub(super) fn build(&self, fetch: Option<&Fetch>) -> Option<Arc<dyn Anchor>> {
        Some(match self.entry.clone() {
            AnchorEntry::Directory { path, bundles, .. } => Arc::new(Directory { path, bundles }),
            AnchorEntry::OpReturn { spool, .. } => Arc::new(Spool { path: spool }),
            AnchorEntry::Object { url, endpoint, region, lock, bundles, .. } => {
                let lock = lock.map(|lock| Lock { mode: lock.mode, keep: Duration::from_secs(lock.days * DAY) });
                let place = Place::parse(&url, object_options(endpoint, region))?;
                Arc::new(Object { place, lock, bundles, fetch: fetch?.clone() })
            }
            AnchorEntry::Rfc3161 { url, policy, .. } => {
                let policy = policy.as_deref().and_then(Oid::parse);
                Arc::new(TimeStamps { url: url.parse().ok()?, policy, fetch: fetch?.clone() })
            }
            AnchorEntry::OpenTimestamps { calendars, headers, .. } => {
                let trim = |url: String| url.trim_end_matches('/').to_owned();
                let submit: Vec<String> = calendars.into_iter().map(trim).collect();
                let known = submit.iter().cloned().chain(CALENDARS.map(str::to_owned)).collect();
                Arc::new(Calendars { submit, known, headers: headers.map(trim), fetch: fetch?.clone() })
            }
        })
    }
}

fn address_fault(url: &str) -> Option<String> {
    let good = url.parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.authority().is_some_and(|at| !at.as_str().contains('@'))
    });
    (!good).then(|| format!("{url} is no http or https address without a password"))
}

fn object_fault(
    url: &str,
    endpoint: &Option<String>,
    region: &Option<String>,
    lock: Option<&LockEntry>,
) -> Option<String> {
    let Some(place) = Place::parse(url, Vec::new()) else {
        return Some(format!("{url} is no s3://, gs:// or az:// address of a bucket and a prefix"));
    };
    if place.scheme != Scheme::S3 && (endpoint.is_some() || region.is_some() || lock.is_some()) {
        return Some("endpoint, region and lock are of S3; give the bucket a retention policy of its own".to_owned());
    }
    if lock.is_some_and(|lock| !(1..=LOCK_DAYS_MAX).contains(&lock.days)) {
        return Some(format!("lock.days is 1 to {LOCK_DAYS_MAX}"));
    }
    endpoint.as_deref().and_then(address_fault)
}

fn object_options(endpoint: Option<String>, region: Option<String>) -> Vec<(String, String)> {
    let named = [("aws_endpoint", endpoint), ("aws_region", region)];
    named.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(yaml: &str) -> Result<Vec<AnchorSettings>, String> {
        let entries: Vec<AnchorEntry> = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
        AnchorSettings::check(entries, Path::new("/etc/clyra")).map_err(|error| error.to_string())
    }

    #[test]
    fn every_kind_is_read_and_built() {
        let all = "
- { kind: directory, name: nfs, path: worm, bundles: true, every_s: 60 }
- { kind: object, name: s3, url: 's3://bucket/logs', endpoint: 'http://127.0.0.1:1', region: eu-1, lock: { mode: compliance, days: 190 } }
- { kind: object, name: gcs, url: 'gs://bucket' }
- { kind: rfc3161, name: tsa, url: 'http://tsa.example/tsr', policy: 1.2.3.4 }
- { kind: opentimestamps, name: ots, calendars: ['https://a.pool.opentimestamps.org/'], headers: 'https://blocks.example/api' }
- { kind: op_return, name: chain, spool: /var/spool/clyra }
";
        let settings = check(all).unwrap();
        let every: Vec<u64> = settings.iter().map(|anchor| anchor.every.as_secs()).collect();
        assert_eq!(every, [60, HOUR, HOUR, HOUR, DAY, DAY]);
        let networked: Vec<bool> = settings.iter().map(AnchorSettings::is_networked).collect();
        assert_eq!(networked, [false, true, true, true, true, false]);
        let fetch = Fetch::new(Some(&crate::upstream::tests::identity::small_trust_store())).unwrap();
        for anchor in &settings {
            assert!(anchor.build(Some(&fetch)).is_some(), "{}", anchor.name);
            assert_eq!(anchor.build(None).is_none(), anchor.is_networked(), "{}", anchor.name);
        }
        assert!(format!("{:?}", settings[0].build(None)).contains("/etc/clyra/worm"));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (yaml, words) in [
            ("[{ kind: directory, name: A, path: x }]", "a name is"),
            ("[{ kind: directory, name: a, path: x, every_s: 0 }]", "every_s"),
            ("[{ kind: directory, name: a, path: x }, { kind: op_return, name: a, spool: x }]", "two anchors"),
            ("[{ kind: directory, name: a, pth: x }]", "pth"),
            ("[{ kind: fax, name: a }]", "fax"),
            ("[{ kind: object, name: a, url: 'ftp://x' }]", "s3://"),
            ("[{ kind: object, name: a, url: 's3://' }]", "s3://"),
            ("[{ kind: object, name: a, url: 'gs://b', region: x }]", "of S3"),
            ("[{ kind: object, name: a, url: 's3://b', lock: { mode: compliance, days: 0 } }]", "lock.days"),
            ("[{ kind: object, name: a, url: 's3://b', endpoint: 'https://a:b@c' }]", "password"),
            ("[{ kind: rfc3161, name: a, url: 'tsa.example' }]", "no http"),
            ("[{ kind: rfc3161, name: a, url: 'http://t', policy: x }]", "object identifier"),
            ("[{ kind: opentimestamps, name: a, calendars: [] }]", "at least one"),
        ] {
            let message = check(yaml).unwrap_err();
            assert!(message.contains(words), "{yaml}: {message}");
        }
    }
}
