//! The keys on disk: `keys/` in the data directory, private files readable by their owner alone.

use std::io;
use std::path::{Path, PathBuf};

use super::certificate::Certificate;
use super::private::{self, Pair};
use super::public::is_key_name;
use super::signer::{KeyAccess, KeyPlace, PlainFiles};
use super::trust::Certificates;
use super::{KeyFault, PublicKey, Purpose, Revocation, TrustFault, TrustFile};
use crate::canonical::{Limits, Value, is_canonical, parse};
use crate::{dsse, durable, hex};

/// Directory of the keys in the data directory.
pub(crate) const KEYS_DIRECTORY: &str = "keys";
/// Stem of the files of the root key's private half.
pub(super) const ROOT: &str = "root";
const ROOT_PUBLIC: &str = "root.vkey";
/// Stem of the files of the log key's private half.
pub(super) const LOG: &str = "log";
/// The next log key while it is put in the place of the old one.
pub(super) const LOG_NEXT: &str = "log.next";
pub(super) const LOG_CERTIFICATES: &str = "logs";
pub(super) const RECEIPT_CERTIFICATES: &str = "receipts";
pub(super) const REVOCATIONS: &str = "revoked";

/// Longest key file: a certificate has about 900 bytes.
pub(super) const FILE_MAX_BYTES: u64 = 16 * 1024;

/// What can be wrong with the keys. Each has a stable code.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("K001: there are no keys in {}; make them with `clyra keys init`, or restore them from your backup", .0.display())]
    Missing(PathBuf),
    #[error("K002: {} can be read by others (mode {mode:03o}); run `chmod 600` on it, and replace the key if others had access", .path.display())]
    Permissions { path: PathBuf, mode: u32 },
    #[error("K003: {} is not what it should be: {what}; restore it from your backup", .path.display())]
    Malformed { path: PathBuf, what: String },
    #[error("K004: there are keys in {} already; they are never overwritten. To start a new log use another data directory", .0.display())]
    Exists(PathBuf),
    #[error("K005: {}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("K006: the operating system gave no random bytes: {0}")]
    Random(getrandom::Error),
    #[error("K008: {} is not here; bring the root key back for this one command, then take it away again", .0.display())]
    RootAway(PathBuf),
    #[error("K009: {key_id} is no key of this log; `clyra keys list` shows them")]
    Unknown { key_id: String },
    #[error("K010: {} cannot be used: {what}", .path.display())]
    Access { path: PathBuf, what: String },
    #[error("K011: key {key} did not sign: {what}")]
    Signing { key: String, what: String },
    #[error("K012: the log key {key_id} is revoked; put another in its place with `clyra keys rotate`")]
    Revoked { key_id: String },
    #[error("K007: {origin:?} cannot name a log: 1 to 240 visible ASCII characters without '+'")]
    Origin { origin: String },
}

impl KeyError {
    /// Stable code, `K001` …
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing(_) => "K001",
            Self::Permissions { .. } => "K002",
            Self::Malformed { .. } => "K003",
            Self::Exists(_) => "K004",
            Self::Io { .. } => "K005",
            Self::Random(_) => "K006",
            Self::Origin { .. } => "K007",
            Self::Access { .. } => "K010",
            Self::Signing { .. } => "K011",
            Self::Revoked { .. } => "K012",
            Self::RootAway(_) => "K008",
            Self::Unknown { .. } => "K009",
        }
    }

    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    pub(super) fn malformed(path: &Path, what: impl ToString) -> Self {
        Self::Malformed { path: path.to_owned(), what: what.to_string() }
    }
}

/// A public fact about one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInfo {
    pub key_id: String,
    pub name: String,
    pub purpose: Purpose,
    /// First sequence number that it may sign for; `None` for the root key.
    pub valid_from_seq: Option<u64>,
    /// C2SP verifier key text.
    pub vkey: String,
    /// True when the private half is in the data directory, or in a token that is named there.
    pub private_here: bool,
    /// The last sequence number that a revoked key signed for in good order, or `none`.
    pub revoked_after: Option<String>,
}

/// The keys of one log.
pub struct Keys {
    pub(super) directory: PathBuf,
    pub(super) trust: TrustFile,
    /// The newest log key's public half.
    pub(super) log: PublicKey,
    /// The same with its private half; absent when only the public side was opened.
    pub(super) signing: Option<Pair>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Keys").field("root", &self.trust.root).field("log", &self.log).finish_non_exhaustive()
    }
}

/// Longest origin: key names add up to 8 characters, and a name has at most 255.
const ORIGIN_MAX_BYTES: usize = 240;

/// True for a text that can name a log: it is a line of every checkpoint and the name of the log key.
pub(crate) fn is_origin(origin: &str) -> bool {
    is_key_name(origin) && origin.len() <= ORIGIN_MAX_BYTES
}

impl Keys {
    /// Makes root and log key for a new log, in plain files. The directory appears whole or not at all.
    ///
    /// Afterwards `keys/root.pem` may be moved to a safe place; it is needed again only to certify another log key.
    pub fn init(data_dir: &Path, origin: &str) -> Result<Self, KeyError> {
        Self::init_with(data_dir, origin, &KeyPlace::File, &KeyPlace::File, &PlainFiles)
    }

    /// The same with the private halves of root and log key in these places.
    pub fn init_with(
        data_dir: &Path,
        origin: &str,
        root: &KeyPlace,
        log: &KeyPlace,
        access: &dyn KeyAccess,
    ) -> Result<Self, KeyError> {
        if !is_origin(origin) {
            return Err(KeyError::Origin { origin: origin.to_owned() });
        }
        let directory = data_dir.join(KEYS_DIRECTORY);
        if directory.exists() {
            return Err(KeyError::Exists(directory));
        }
        durable::create_directory(data_dir, 0o700).map_err(KeyError::io(data_dir))?;
        let unfinished = durable::temporary(&directory);
        if unfinished.exists() {
            std::fs::remove_dir_all(&unfinished).map_err(KeyError::io(&unfinished))?;
        }
        for part in [None, Some(RECEIPT_CERTIFICATES), Some(LOG_CERTIFICATES)] {
            let path = part.map_or_else(|| unfinished.clone(), |part| unfinished.join(part));
            durable::create_directory(&path, 0o700).map_err(KeyError::io(&path))?;
        }
        let root = private::create(&unfinished, ROOT, &Purpose::Root.key_name(origin), root, access)?;
        let log = private::create(&unfinished, LOG, &Purpose::Log.key_name(origin), log, access)?;
        let certificate = Certificate::issue(&root, log.public.clone(), Purpose::Log, origin, 0)?;
        let write = |name: &str, bytes: &[u8]| {
            let path = unfinished.join(name);
            durable::write(&path, bytes, 0o644).map_err(KeyError::io(&path))
        };
        write(ROOT_PUBLIC, format!("{}\n", root.public.to_vkey()).as_bytes())?;
        write(&certificate_name(LOG_CERTIFICATES, 0), &certificate.envelope.to_bytes())?;
        std::fs::rename(&unfinished, &directory).map_err(KeyError::io(&directory))?;
        durable::sync_directory(data_dir).map_err(KeyError::io(data_dir))?;
        Self::open_with(data_dir, access)
    }

    /// Opens the keys of a log whose private keys are plain files.
    pub fn open(data_dir: &Path) -> Result<Self, KeyError> {
        Self::open_with(data_dir, &PlainFiles)
    }

    /// Opens the keys of a log.
    pub fn open_with(data_dir: &Path, access: &dyn KeyAccess) -> Result<Self, KeyError> {
        let mut keys = Self::open_public(data_dir)?;
        let name = Purpose::Log.key_name(&keys.trust.log);
        if !private::files(&keys.directory, LOG_NEXT).is_empty() {
            // A rotation was interrupted: the certificate decides whether it took place.
            let next = private::open(&keys.directory, LOG_NEXT, &name, None, access)?;
            if next.public == keys.log {
                private::replace(&keys.directory, LOG, LOG_NEXT)?;
            } else {
                for path in private::files(&keys.directory, LOG_NEXT) {
                    std::fs::remove_file(&path).map_err(KeyError::io(&path))?;
                }
            }
        }
        keys.signing = Some(private::open(&keys.directory, LOG, &name, Some(&keys.log), access)?);
        Ok(keys)
    }

    /// Opens the public side only: what lists and exports needs neither passphrase nor token.
    pub fn open_public(data_dir: &Path) -> Result<Self, KeyError> {
        let directory = data_dir.join(KEYS_DIRECTORY);
        if !directory.is_dir() {
            return Err(KeyError::Missing(directory));
        }
        for path in private::files(&directory, ROOT) {
            private::check_private(&path)?;
        }
        let trust = read_trust(&directory)?;
        // Found at start and not at the audit: a certificate that does not go with the others.
        if !trust.newest_is_authorised() {
            return Err(KeyError::malformed(&directory, TrustFault::Unauthorised));
        }
        let newest = trust.log_keys().last().cloned();
        let log = newest.ok_or_else(|| KeyError::Missing(directory.join(LOG_CERTIFICATES)))?;
        Ok(Self { directory, trust, log, signing: None })
    }

    /// Name of the log.
    pub fn origin(&self) -> &str {
        &self.trust.log
    }

    pub fn root(&self) -> &PublicKey {
        &self.trust.root
    }

    pub fn log(&self) -> &PublicKey {
        &self.log
    }

    /// All keys that the log has or had: root, log, receipt keys in the order of their sequence numbers.
    pub fn list(&self) -> Vec<KeyInfo> {
        let info = |key: &PublicKey, purpose, valid_from_seq, private_here| KeyInfo {
            key_id: key.id(),
            name: key.name().to_owned(),
            purpose,
            valid_from_seq,
            vkey: key.to_vkey(),
            private_here,
            revoked_after: self.trust.revocation(&key.id()).map(Revocation::last_good_text),
        };
        let root_here = !private::files(&self.directory, ROOT).is_empty();
        let log_here = !private::files(&self.directory, LOG).is_empty();
        let root = info(self.root(), Purpose::Root, None, root_here);
        let certified = self.trust.certificates().map(|certificate| {
            let here = log_here && certificate.purpose == Purpose::Log && certificate.key == self.log;
            info(&certificate.key, certificate.purpose, Some(certificate.valid_from_seq), here)
        });
        std::iter::once(root).chain(certified).collect()
    }

    /// The public trust file: what a verifier needs besides the evidence itself.
    pub fn export(&self) -> Vec<u8> {
        self.trust.export(0, u64::MAX)
    }

    pub(crate) fn trust(&self) -> &TrustFile {
        &self.trust
    }

    /// The highest sequence number that a receipt key was certified from: everything before it was durable then.
    pub(crate) fn highest_certified_seq(&self) -> Option<u64> {
        self.trust
            .certificates()
            .filter(|certificate| certificate.purpose == Purpose::Receipt)
            .map(|certificate| certificate.valid_from_seq)
            .max()
    }

    /// The log key, if it may sign at all.
    pub(super) fn signing(&self) -> Result<&Pair, KeyError> {
        let key_id = self.log.id();
        if self.trust.revocation(&key_id).is_some() {
            return Err(KeyError::Revoked { key_id });
        }
        let closed = || KeyError::Signing {
            key: self.log.name().to_owned(),
            what: "the keys were opened for reading only".to_owned(),
        };
        self.signing.as_ref().ok_or_else(closed)
    }

    /// Signs with the log key: DSSE for documents.
    pub(crate) fn sign_document(&self, payload_type: &str, payload: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature = self.signing()?.sign(&dsse::pae(payload_type, payload))?;
        Ok(dsse::envelope(payload_type, payload, &self.log.id(), &signature))
    }

    /// Signs with the log key: the text of a checkpoint.
    pub(crate) fn sign_note(&self, text: &[u8]) -> Result<[u8; 64], KeyError> {
        self.signing()?.sign(text)
    }
}

/// Where a certificate lies in the key directory.
pub(super) fn certificate_name(list: &str, valid_from_seq: u64) -> String {
    format!("{list}/{valid_from_seq:020}.json")
}

/// Reads the public part of a key directory: root, certificates and revocations. Who signed what is for the caller to ask.
pub(crate) fn read_trust(directory: &Path) -> Result<TrustFile, KeyError> {
    let root_path = directory.join(ROOT_PUBLIC);
    let root_text = durable::read_bounded(&root_path, FILE_MAX_BYTES).map_err(unread(&root_path))?;
    let root = PublicKey::from_vkey(&String::from_utf8_lossy(&root_text))
        .map_err(|fault: KeyFault| KeyError::malformed(&root_path, fault))?;
    let mut certificates = Certificates::default();
    let numbered = |stem: &str| stem.len() == 20 && stem.bytes().all(|byte| byte.is_ascii_digit());
    for list in [LOG_CERTIFICATES, RECEIPT_CERTIFICATES] {
        let files = read_all(&directory.join(list), numbered)?;
        if files.is_empty() && list == LOG_CERTIFICATES {
            return Err(KeyError::Missing(directory.join(list)));
        }
        for (path, _, value) in files {
            certificates.add(Certificate::read(&value)).map_err(|fault| KeyError::malformed(&path, fault))?;
        }
    }
    let mut revoked = Vec::new();
    for (path, stem, value) in read_all(&directory.join(REVOCATIONS), |stem| hex::decode_32(stem).is_some())? {
        let revocation = Revocation::read(&value).map_err(|fault| KeyError::malformed(&path, fault))?;
        if revocation.key_id != stem {
            return Err(KeyError::malformed(&path, "it revokes another key than its name says"));
        }
        revoked.push(revocation);
    }
    // The root key names the log; certificates are held against it.
    let origin = root.name().strip_suffix("/root").unwrap_or_default().to_owned();
    if !is_origin(&origin) {
        return Err(KeyError::malformed(&root_path, "it is not the root key of a log"));
    }
    Ok(TrustFile::new(&origin, root, certificates, revoked))
}

/// A file that is too long is not what it should be; another may be read the next time.
fn unread(path: &Path) -> impl FnOnce(io::Error) -> KeyError {
    move |error| match error.kind() {
        io::ErrorKind::FileTooLarge => KeyError::malformed(path, error),
        _ => KeyError::io(path)(error),
    }
}

/// The canonical documents of a directory, those whose names are of this form before `.json`; none where there is no directory.
fn read_all(directory: &Path, named: fn(&str) -> bool) -> Result<Vec<(PathBuf, String, Value)>, KeyError> {
    let mut documents = Vec::new();
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(documents),
        Err(error) => return Err(KeyError::io(directory)(error)),
    };
    for entry in entries {
        let path = entry.map_err(KeyError::io(directory))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(stem) = name.strip_suffix(".json").filter(|stem| named(stem)).map(str::to_owned) else { continue };
        let bytes = durable::read_bounded(&path, FILE_MAX_BYTES).map_err(unread(&path))?;
        let value = parse(&bytes, Limits::RECEIPT).map_err(|error| KeyError::malformed(&path, error))?;
        if !is_canonical(&bytes, &value) {
            return Err(KeyError::malformed(&path, "it is not canonical JSON"));
        }
        documents.push((path, stem, value));
    }
    Ok(documents)
}
