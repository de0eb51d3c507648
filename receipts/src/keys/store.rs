//! The keys on disk: `keys/` in the data directory, private files readable by their owner alone.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, KeypairBytes};
use zeroize::Zeroizing;

use super::certificate::Certificate;
use super::change::take_next;
use super::public::is_key_name;
use super::{KeyFault, PublicKey, Purpose, Revocation, TrustFault, TrustFile};
use crate::canonical::{Limits, Value, parse};
use crate::durable;

/// Directory of the keys in the data directory.
pub(crate) const KEYS_DIRECTORY: &str = "keys";
pub(super) const ROOT_PRIVATE: &str = "root.pem";
const ROOT_PUBLIC: &str = "root.vkey";
pub(super) const LOG_PRIVATE: &str = "log.pem";
/// The next log key while it is put in the place of the old one.
pub(super) const LOG_NEXT: &str = "log.next.pem";
pub(super) const LOG_CERTIFICATES: &str = "logs";
const RECEIPT_CERTIFICATES: &str = "receipts";
pub(super) const REVOCATIONS: &str = "revoked";

/// Longest key file: a certificate has about 900 bytes.
const FILE_MAX_BYTES: u64 = 16 * 1024;

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
    /// True when the private half is in the data directory.
    pub private_here: bool,
}

/// The keys of one log.
pub struct Keys {
    pub(super) directory: PathBuf,
    pub(super) trust: TrustFile,
    pub(super) log: Pair,
    root_private_here: bool,
}

/// A key pair; the private half is wiped when dropped.
pub(super) struct Pair {
    pub(super) public: PublicKey,
    pub(super) private: SigningKey,
}

/// The key that signs receipts, from one start to the next.
pub(crate) struct ReceiptKey {
    pub(crate) public: PublicKey,
    pub(crate) private: SigningKey,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Keys").field("root", &self.trust.root).field("log", &self.log.public).finish()
    }
}

impl std::fmt::Debug for ReceiptKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("ReceiptKey").field(&self.public).finish()
    }
}

/// Longest origin: key names add up to 8 characters, and a name has at most 255.
const ORIGIN_MAX_BYTES: usize = 240;

/// True for a text that can name a log: it is a line of every checkpoint and the name of the log key.
pub(crate) fn is_origin(origin: &str) -> bool {
    is_key_name(origin) && origin.len() <= ORIGIN_MAX_BYTES
}

impl Keys {
    /// Makes root and log key for a new log. The directory appears whole or not at all.
    ///
    /// Afterwards `keys/root.pem` may be moved to a safe place; it is needed again only to certify another log key.
    pub fn init(data_dir: &Path, origin: &str) -> Result<Self, KeyError> {
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
        let certificates = unfinished.join(RECEIPT_CERTIFICATES);
        durable::create_directory(&unfinished, 0o700).map_err(KeyError::io(&unfinished))?;
        durable::create_directory(&certificates, 0o700).map_err(KeyError::io(&certificates))?;
        let logs = unfinished.join(LOG_CERTIFICATES);
        durable::create_directory(&logs, 0o700).map_err(KeyError::io(&logs))?;

        let root = Pair::generate(&Purpose::Root.key_name(origin))?;
        let log = Pair::generate(&Purpose::Log.key_name(origin))?;
        let certificate = Certificate::issue(&root.public, &root.private, log.public.clone(), Purpose::Log, origin, 0);
        let write = |name: &str, bytes: &[u8], mode| {
            let path = unfinished.join(name);
            durable::write(&path, bytes, mode).map_err(KeyError::io(&path))
        };
        write(ROOT_PRIVATE, root.to_pem(&directory)?.as_bytes(), 0o600)?;
        write(LOG_PRIVATE, log.to_pem(&directory)?.as_bytes(), 0o600)?;
        write(ROOT_PUBLIC, format!("{}\n", root.public.to_vkey()).as_bytes(), 0o644)?;
        write(&certificate_name(LOG_CERTIFICATES, 0), &certificate.envelope.to_bytes(), 0o644)?;
        std::fs::rename(&unfinished, &directory).map_err(KeyError::io(&directory))?;
        durable::sync_directory(data_dir).map_err(KeyError::io(data_dir))?;
        Self::open(data_dir)
    }

    /// Opens the keys of a log.
    pub fn open(data_dir: &Path) -> Result<Self, KeyError> {
        let directory = data_dir.join(KEYS_DIRECTORY);
        if !directory.is_dir() {
            return Err(KeyError::Missing(directory));
        }
        let root_private = directory.join(ROOT_PRIVATE);
        let root_private_here = root_private.exists();
        if root_private_here {
            check_private(&root_private)?;
        }
        let trust = read_trust(&directory)?;
        // Found at start and not at the audit: a certificate that does not go with the others.
        if !trust.newest_is_authorised() {
            return Err(KeyError::malformed(&directory, TrustFault::Unauthorised));
        }
        let name = Purpose::Log.key_name(&trust.log);
        let read_log = |file: &str| -> Result<Pair, KeyError> {
            let path = directory.join(file);
            let private = read_pem(&path)?;
            let public = PublicKey::new(&name, private.verifying_key().as_bytes())
                .map_err(|fault| KeyError::malformed(&path, fault))?;
            Ok(Pair { public, private })
        };
        let newest = trust.log_keys().last();
        let next = directory.join(LOG_NEXT);
        if next.exists() {
            // A rotation was interrupted: the certificate decides whether it took place.
            if newest == Some(&read_log(LOG_NEXT)?.public) {
                take_next(&directory)?;
            } else {
                std::fs::remove_file(&next).map_err(KeyError::io(&next))?;
            }
        }
        let log = read_log(LOG_PRIVATE)?;
        if newest != Some(&log.public) {
            return Err(KeyError::malformed(
                &directory.join(LOG_PRIVATE),
                "its public half is not that of the newest certificate in logs/",
            ));
        }
        Ok(Self { directory, trust, log, root_private_here })
    }

    /// Name of the log.
    pub fn origin(&self) -> &str {
        &self.trust.log
    }

    pub fn root(&self) -> &PublicKey {
        &self.trust.root
    }

    pub fn log(&self) -> &PublicKey {
        &self.log.public
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
        };
        let root = info(self.root(), Purpose::Root, None, self.root_private_here);
        let certified = self.trust.certificates().map(|certificate| {
            let here = certificate.purpose == Purpose::Log && certificate.key == self.log.public;
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

    /// Makes the receipt key for receipts from `first_seq` on, certified and its certificate durable. A certificate that a
    /// start left behind without having written a receipt is replaced.
    pub(crate) fn issue_receipt_key(&mut self, first_seq: u64) -> Result<ReceiptKey, KeyError> {
        let pair = Pair::generate(&Purpose::Receipt.key_name(&self.trust.log))?;
        let certificate = Certificate::issue(
            &self.log.public,
            &self.log.private,
            pair.public.clone(),
            Purpose::Receipt,
            &self.trust.log,
            first_seq,
        );
        let path = self.directory.join(certificate_name(RECEIPT_CERTIFICATES, first_seq));
        durable::write(&path, &certificate.envelope.to_bytes(), 0o644).map_err(KeyError::io(&path))?;
        self.trust = read_trust(&self.directory)?;
        Ok(ReceiptKey { public: pair.public, private: pair.private })
    }

    /// The highest sequence number that a receipt key was certified from: everything before it was durable then.
    pub(crate) fn highest_certified_seq(&self) -> Option<u64> {
        self.trust
            .certificates()
            .filter(|certificate| certificate.purpose == Purpose::Receipt)
            .map(|certificate| certificate.valid_from_seq)
            .max()
    }

    /// Signs with the log key: DSSE for documents.
    pub(crate) fn sign_document(&self, payload_type: &str, payload: &[u8]) -> Vec<u8> {
        let signature = crate::dsse::sign(&self.log.private, payload_type, payload);
        crate::dsse::envelope(payload_type, payload, &self.log.public.id(), &signature)
    }

    /// Signs with the log key: the text of a checkpoint.
    pub(crate) fn sign_note(&self, text: &[u8]) -> [u8; 64] {
        use ed25519_dalek::Signer as _;
        self.log.private.sign(text).to_bytes()
    }
}

/// Where a certificate lies in the key directory.
pub(super) fn certificate_name(list: &str, valid_from_seq: u64) -> String {
    format!("{list}/{valid_from_seq:020}.json")
}

/// Reads the public part of a key directory: root, certificates and revocations. Who signed what is for the caller to ask.
pub(crate) fn read_trust(directory: &Path) -> Result<TrustFile, KeyError> {
    let root_path = directory.join(ROOT_PUBLIC);
    let root_text = durable::read_bounded(&root_path, FILE_MAX_BYTES).map_err(KeyError::io(&root_path))?;
    let root = PublicKey::from_vkey(&String::from_utf8_lossy(&root_text))
        .map_err(|fault: KeyFault| KeyError::malformed(&root_path, fault))?;
    let read = |list: &str| -> Result<Vec<Certificate>, KeyError> {
        read_all(&directory.join(list))?
            .into_iter()
            .map(|(path, value)| Certificate::read(&value).map_err(|fault| KeyError::malformed(&path, fault)))
            .collect()
    };
    let (logs, receipts) = (read(LOG_CERTIFICATES)?, read(RECEIPT_CERTIFICATES)?);
    let revocations = directory.join(REVOCATIONS);
    let revoked = if revocations.is_dir() { read_all(&revocations)? } else { Vec::new() };
    let revoked = revoked
        .into_iter()
        .map(|(path, value)| Revocation::read(&value).map_err(|fault| KeyError::malformed(&path, fault)))
        .collect::<Result<Vec<_>, _>>()?;
    let first = logs.iter().min_by_key(|certificate| certificate.valid_from_seq);
    let origin = match first {
        Some(certificate) => certificate.log.clone(),
        None => return Err(KeyError::Missing(directory.join(LOG_CERTIFICATES))),
    };
    Ok(TrustFile::new(&origin, root, logs, receipts, revoked))
}

/// The JSON documents of a directory.
fn read_all(directory: &Path) -> Result<Vec<(PathBuf, Value)>, KeyError> {
    let mut documents = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(KeyError::io(directory))? {
        let path = entry.map_err(KeyError::io(directory))?.path();
        if path.extension().is_some_and(|ending| ending == "json") {
            let bytes = durable::read_bounded(&path, FILE_MAX_BYTES).map_err(KeyError::io(&path))?;
            let value = parse(&bytes, Limits::RECEIPT).map_err(|error| KeyError::malformed(&path, error))?;
            documents.push((path, value));
        }
    }
    Ok(documents)
}

fn check_private(path: &Path) -> Result<(), KeyError> {
    let metadata = std::fs::metadata(path).map_err(KeyError::io(path))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Permissions { path: path.to_owned(), mode });
    }
    Ok(())
}

pub(super) fn read_pem(path: &Path) -> Result<SigningKey, KeyError> {
    if !path.exists() {
        return Err(KeyError::Missing(path.to_owned()));
    }
    check_private(path)?;
    let bytes = Zeroizing::new(durable::read_bounded(path, FILE_MAX_BYTES).map_err(KeyError::io(path))?);
    let text = std::str::from_utf8(&bytes).map_err(|error| KeyError::malformed(path, error))?;
    SigningKey::from_pkcs8_pem(text).map_err(|_| KeyError::malformed(path, "not a PKCS#8 Ed25519 private key in PEM"))
}

impl Pair {
    pub(super) fn generate(name: &str) -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut()).map_err(KeyError::Random)?;
        let private = SigningKey::from_bytes(&seed);
        let public = PublicKey::new(name, private.verifying_key().as_bytes())
            .map_err(|_| KeyError::Origin { origin: name.to_owned() })?;
        Ok(Self { public, private })
    }

    /// PKCS#8 without the optional public half: the form that every tool reads.
    pub(super) fn to_pem(&self, path: &Path) -> Result<Zeroizing<String>, KeyError> {
        let pair = KeypairBytes { secret_key: self.private.to_bytes(), public_key: None };
        pair.to_pkcs8_pem(LineEnding::LF).map_err(|error| KeyError::malformed(path, error))
    }
}
