//! Process settings: flags override environment, which overrides `clyra.yaml`, which overrides the defaults.
//!
//! Everything is parsed into types before a port is bound or a file written; inside, nothing is checked twice.

mod evidence;
mod file;
mod upstreams;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clyra_receipts::streams::StreamStore;
use clyra_receipts::witness::WitnessKey;

pub use evidence::{EvidenceError, EvidenceSettings};
pub use file::FileError;
use file::FileSettings;
pub use upstreams::UpstreamFault;

use crate::anchor::{AnchorConfigError, AnchorSettings};
use crate::evidence::WitnessEntry;
use crate::evidence::lock::{LockPlace, LockPlaceError};
use crate::exchange::gateway::Limits;
use crate::exchange::ports::UpstreamTarget;
use crate::exchange::run::AskForUsage;
use crate::keys::KeyFiles;
use crate::upstream::{TargetError, UpstreamSettings};

/// Settings as flags or environment give them; `None` where they are silent.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    pub config: Option<PathBuf>,
    pub listen: Option<SocketAddr>,
    pub admin: Option<SocketAddr>,
    /// `NAME=URL`, the first is the default.
    pub upstreams: Vec<String>,
    pub policy: Option<PathBuf>,
    pub data_dir: Option<PathBuf>,
    pub key_files: KeyFiles,
}

/// Settings of one process, complete.
#[derive(Debug, Clone)]
pub struct Settings {
    pub listen: SocketAddr,
    pub admin: SocketAddr,
    pub upstreams: Vec<UpstreamSettings>,
    /// `None`: the built-in `observe` policy.
    pub policy: Option<PathBuf>,
    pub data_dir: PathBuf,
    /// Name of the log in checkpoints (C2SP origin).
    pub origin: String,
    pub limits: Limits,
    /// Which providers are asked to count the tokens of a stream.
    pub ask_for_usage: AskForUsage,
    pub upstream_connect_timeout: Duration,
    pub upstream_head_timeout: Duration,
    pub upstream_idle_timeout: Duration,
    /// How long running exchanges may take to end when the process is told to stop.
    pub drain_max: Duration,
    pub events_rotate_bytes: u64,
    pub events_keep_files: usize,
    pub seal_every: Duration,
    /// What opens the log key where it is encrypted.
    pub key_files: KeyFiles,
    pub evidence: EvidenceSettings,
    /// Where the lock record is; `None`: nowhere.
    pub lock: Option<LockPlace>,
    pub witnesses: Vec<WitnessEntry>,
    /// For all that is asked of a witness at a time.
    pub witness_timeout: Duration,
    /// Most bytes of leaf hashes of released events; `None`: none are kept.
    pub stream_bytes_max: Option<u64>,
    /// Where checkpoints are anchored.
    pub anchors: Vec<AnchorSettings>,
    /// PEM file with the certificate authorities for upstream TLS.
    pub ca_file: Option<PathBuf>,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("--upstream {given}: write it as NAME=URL, for example openai=https://api.openai.com")]
    UpstreamForm { given: String },
    #[error("upstream {name}: {source}")]
    Upstream { name: String, source: UpstreamFault },
    #[error("upstream {name} is configured twice; give each upstream its own name")]
    UpstreamTwice { name: String },
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    #[error(transparent)]
    Lock(#[from] LockPlaceError),
    #[error("evidence.witnesses, {url}: {fault}; a witness's verifier key is name+hash+base64 with type 0x04")]
    WitnessKey { url: String, fault: clyra_receipts::keys::KeyFault },
    #[error("evidence.witnesses: {0}")]
    WitnessUrl(TargetError),
    #[error("evidence.witnesses: {name} stands twice")]
    WitnessTwice { name: String },
    #[error(transparent)]
    Anchor(#[from] AnchorConfigError),
    #[error("no upstream is configured; pass --upstream openai=https://api.openai.com, or list it in clyra.yaml")]
    NoUpstream,
}

const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9901);

/// A longest wait that no clock overflows on.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(7 * 86_400);

impl Settings {
    /// Reads the file that `overrides` names (or none) and puts everything together.
    pub fn load(overrides: Overrides) -> Result<Settings, ConfigError> {
        let file = match &overrides.config {
            Some(path) => FileSettings::read(path)?,
            None => FileSettings::default(),
        };
        let base = overrides.config.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
        Self::merge(overrides.clone(), file, base)
    }

    fn merge(flags: Overrides, file: FileSettings, base: &Path) -> Result<Settings, ConfigError> {
        let given = if flags.upstreams.is_empty() {
            let entries = file.upstreams.into_iter().map(|entry| {
                let name = entry.name.clone();
                entry.settings(base).map_err(|source| ConfigError::Upstream { name, source })
            });
            entries.collect::<Result<Vec<_>, _>>()?
        } else {
            flags.upstreams.iter().map(|given| from_flag(given)).collect::<Result<Vec<_>, _>>()?
        };
        let mut upstreams: Vec<UpstreamSettings> = Vec::with_capacity(given.len());
        for upstream in given {
            if upstreams.iter().any(|other| other.name == upstream.name) {
                return Err(ConfigError::UpstreamTwice { name: upstream.name.to_string() });
            }
            upstreams.push(upstream);
        }
        if upstreams.is_empty() {
            return Err(ConfigError::NoUpstream);
        }
        let password_file = file.evidence.lock_password_file.as_ref().map(|path| base.join(path));
        let lock = file.evidence.lock.as_deref().map(|lock| LockPlace::parse(lock, base, password_file)).transpose()?;
        let mut witnesses: Vec<WitnessEntry> = Vec::with_capacity(file.evidence.witnesses.len());
        for entry in &file.evidence.witnesses {
            let key = WitnessKey::from_vkey(&entry.vkey)
                .map_err(|fault| ConfigError::WitnessKey { url: entry.url.clone(), fault })?;
            let target = UpstreamTarget::parse(key.name(), &entry.url).map_err(ConfigError::WitnessUrl)?;
            if witnesses.iter().any(|other| other.key == key) {
                return Err(ConfigError::WitnessTwice { name: key.name().to_owned() });
            }
            witnesses.push(WitnessEntry { target: target.into(), key });
        }
        let defaults = Limits::default();
        let seconds = |given: Option<u64>, default: u64| Duration::from_secs(given.unwrap_or(default));
        Ok(Settings {
            listen: flags.listen.or(file.listen).unwrap_or(LISTEN),
            admin: flags.admin.or(file.admin).unwrap_or(ADMIN),
            upstreams,
            policy: flags.policy.or(file.policy.map(|p| base.join(p))),
            data_dir: flags.data_dir.or(file.data_dir.map(|p| base.join(p))).unwrap_or_else(|| "clyra-data".into()),
            origin: file.origin.unwrap_or_else(|| "clyra.local/log".into()),
            limits: Limits {
                request_bytes_max: file.limits.request_bytes_max.unwrap_or(defaults.request_bytes_max),
                response_bytes_max: file.limits.response_bytes_max.unwrap_or(defaults.response_bytes_max),
                in_flight_max: file.limits.in_flight_max.unwrap_or(defaults.in_flight_max),
                held_bytes_max: file.limits.held_bytes_max.unwrap_or(defaults.held_bytes_max),
                answer_time_max: seconds(file.timeouts.answer_s, defaults.answer_time_max.as_secs())
                    .min(ANSWER_TIME_MAX),
                keep_alive: seconds(file.timeouts.keep_alive_s, defaults.keep_alive.as_secs()),
            },
            ask_for_usage: file.usage.inject,
            upstream_connect_timeout: seconds(file.timeouts.connect_s, 5),
            upstream_head_timeout: seconds(file.timeouts.head_s, 600),
            upstream_idle_timeout: seconds(file.timeouts.idle_s, 300),
            drain_max: seconds(file.timeouts.drain_s, 25),
            events_rotate_bytes: file.events.rotate_bytes.unwrap_or(64 << 20),
            events_keep_files: file.events.keep_files.unwrap_or(16),
            seal_every: seconds(file.seal_every_s, 60),
            evidence: file.evidence.settings()?,
            lock,
            witnesses,
            witness_timeout: seconds(file.evidence.witness_timeout_s, 10),
            stream_bytes_max: file
                .evidence
                .stream_proofs
                .unwrap_or(true)
                .then(|| file.evidence.stream_bytes_max.unwrap_or(StreamStore::BYTES_MAX)),
            key_files: KeyFiles {
                passphrase: flags.key_files.passphrase.or(file.evidence.key_passphrase_file.map(|p| base.join(p))),
                identity: flags.key_files.identity.or(file.evidence.key_identity_file.map(|p| base.join(p))),
                recipients: Vec::new(),
            },
            anchors: AnchorSettings::check(file.evidence.anchors, base)?,
            ca_file: file.ca_file.map(|p| base.join(p)),
        })
    }
}

/// `NAME=URL`
fn from_flag(given: &str) -> Result<UpstreamSettings, ConfigError> {
    let (name, url) = given.split_once('=').ok_or_else(|| ConfigError::UpstreamForm { given: given.to_owned() })?;
    let (name, url) = (name.trim(), url.trim());
    let target = UpstreamTarget::parse(name, url)
        .map_err(|source| ConfigError::Upstream { name: name.to_owned(), source: source.into() })?;
    Ok(target.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(overrides: Overrides, yaml: &str) -> Result<Settings, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clyra.yaml");
        std::fs::write(&path, yaml).unwrap();
        Settings::load(Overrides { config: Some(path), ..overrides })
    }

    const FILE: &str = "listen: 127.0.0.1:1\nupstreams:\n  - { name: openai, url: 'https://api.openai.com' }\n";

    #[test]
    fn flags_override_the_file_and_the_file_the_defaults() {
        let settings = load(Overrides::default(), FILE).unwrap();
        assert_eq!(settings.listen.port(), 1);
        assert_eq!(settings.admin, ADMIN);
        assert!(settings.upstreams[0].endpoints[0].target.tls);
        let overrides = Overrides {
            listen: Some(([127, 0, 0, 1], 2).into()),
            upstreams: vec!["local=http://127.0.0.1:9".into()],
            ..Overrides::default()
        };
        let settings = load(overrides, FILE).unwrap();
        assert_eq!(settings.listen.port(), 2);
        assert_eq!(settings.upstreams.len(), 1);
        let upstream = &settings.upstreams[0];
        assert_eq!((&*upstream.name, upstream.endpoints[0].target.port), ("local", 9));
    }

    #[test]
    fn the_places_of_evidence_are_read() {
        let with = |evidence: &str| load(Overrides::default(), &format!("{FILE}evidence:\n{evidence}"));
        let settings = with("  lock: file:lock/record\n  stream_proofs: false\n").unwrap();
        assert!(matches!(settings.lock, Some(LockPlace::File(path)) if path.ends_with("lock/record")));
        assert_eq!(settings.stream_bytes_max, None);
        let vkey = "w.example/1+b5da7fef+BIj5XXeMbq5NNkYmWkJ7hFZlbR7OuCdqqgT4WQkTjNrz";
        let witness = |vkey: &str| with(&format!("  witnesses: [{{ url: 'https://w.example/x', vkey: '{vkey}' }}]\n"));
        assert!(witness("w.example").unwrap_err().to_string().contains("0x04"));
        assert!(witness(vkey).is_err(), "a hash that is not of this key");
        assert!(with("  lock: nowhere\n").unwrap_err().to_string().contains("file:/path"));
        assert_eq!(load(Overrides::default(), FILE).unwrap().stream_bytes_max, Some(StreamStore::BYTES_MAX));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let message = |overrides: Overrides, yaml: &str| load(overrides, yaml).unwrap_err().to_string();
        let with = |upstream: &str| Overrides { upstreams: vec![upstream.into()], ..Overrides::default() };
        assert!(message(Overrides::default(), "{}").contains("no upstream is configured"));
        assert!(message(with("https://x"), "{}").contains("NAME=URL"));
        assert!(message(with("x=ftp://h"), "{}").contains("upstream x"));
        let typo = message(Overrides::default(), "listn: 127.0.0.1:1\n");
        assert!(typo.contains("listn") && typo.contains("clyra.yaml"), "{typo}");
        let word = message(Overrides::default(), &format!("{FILE}usage: {{ inject: sometimes }}\n"));
        assert!(word.contains("sometimes") || word.contains("inject"), "{word}");
        let missing = Settings::load(Overrides { config: Some("/nowhere/clyra.yaml".into()), ..Overrides::default() });
        assert!(missing.unwrap_err().to_string().contains("/nowhere/clyra.yaml"));
        let twice = Overrides { upstreams: vec!["a=http://h".into(), "a=http://i".into()], ..Overrides::default() };
        assert!(message(twice, "{}").contains("twice"));
    }
}
