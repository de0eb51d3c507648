//! The files of private keys: `<stem>.pem`, `<stem>.pem.age` or `<stem>.uri` in the key directory.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, KeypairBytes};
use zeroize::Zeroizing;

use super::PublicKey;
use super::signer::{AccessError, KeyAccess, KeyPlace, PlainFiles, Signer};
use super::store::{FILE_MAX_BYTES, KeyError};
use crate::{dsse, durable};

/// A key pair whose private half can be used.
pub(crate) struct Pair {
    pub(crate) public: PublicKey,
    signer: Box<dyn Signer>,
}

/// A private key that is no key of a log: whoever hands a bundle on signs with one in its custody log.
pub struct PrivateKey(Pair);

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("PrivateKey").field(&self.0.public).finish()
    }
}

impl PrivateKey {
    /// Reads a PKCS#8 PEM file that its owner alone can read; `name` is what the key is called in what it signs.
    pub fn read(path: &Path, name: &str) -> Result<Self, KeyError> {
        if !path.exists() {
            return Err(KeyError::Missing(path.to_owned()));
        }
        read(Form::Pem, path, name, &PlainFiles).map(Self)
    }

    pub fn public(&self) -> &PublicKey {
        &self.0.public
    }

    pub(crate) fn sign_document(&self, payload_type: &str, payload: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature = self.0.sign(&dsse::pae(payload_type, payload))?;
        Ok(dsse::envelope(payload_type, payload, &self.0.public.id(), &signature))
    }
}

/// How a private key is kept, by the ending of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Pem,
    Age,
    Uri,
}

impl Form {
    const ALL: [Form; 3] = [Self::Pem, Self::Age, Self::Uri];

    fn path(self, directory: &Path, stem: &str) -> PathBuf {
        let ending = match self {
            Self::Pem => "pem",
            Self::Age => "pem.age",
            Self::Uri => "uri",
        };
        directory.join(format!("{stem}.{ending}"))
    }
}

/// Files that hold a private key of this stem, usually one.
pub(super) fn files(directory: &Path, stem: &str) -> Vec<PathBuf> {
    present(directory, stem).into_iter().map(|(_, path)| path).collect()
}

fn present(directory: &Path, stem: &str) -> Vec<(Form, PathBuf)> {
    let paths = Form::ALL.map(|form| (form, form.path(directory, stem)));
    paths.into_iter().filter(|(_, path)| path.exists()).collect()
}

/// Opens the private key of this stem. Where a rotation left two, `wanted` decides.
pub(crate) fn open(
    directory: &Path,
    stem: &str,
    name: &str,
    wanted: Option<&PublicKey>,
    access: &dyn KeyAccess,
) -> Result<Pair, KeyError> {
    let mut last = None;
    for (form, path) in present(directory, stem) {
        let pair = read(form, &path, name, access)?;
        if wanted.is_none_or(|wanted| pair.public == *wanted) {
            return Ok(pair);
        }
        last = Some(path);
    }
    Err(match last {
        Some(path) => KeyError::malformed(&path, "its public half is not that of the certified key"),
        None => KeyError::Missing(Form::Pem.path(directory, stem)),
    })
}

fn read(form: Form, path: &Path, name: &str, access: &dyn KeyAccess) -> Result<Pair, KeyError> {
    check_private(path)?;
    let denied = |error: AccessError| KeyError::Access { path: path.to_owned(), what: error.to_string() };
    let bytes = Zeroizing::new(durable::read_bounded(path, FILE_MAX_BYTES).map_err(KeyError::io(path))?);
    let signer: Box<dyn Signer> = match form {
        Form::Pem => Box::new(from_pem(&bytes, path)?),
        Form::Age => Box::new(from_pem(&access.decrypt(path, &bytes).map_err(denied)?, path)?),
        Form::Uri => {
            let uri = std::str::from_utf8(&bytes).map_err(|error| KeyError::malformed(path, error))?;
            access.token(uri.trim()).map_err(denied)?
        }
    };
    Pair::new(name, signer).map_err(|fault| KeyError::malformed(path, fault))
}

fn from_pem(bytes: &[u8], path: &Path) -> Result<SigningKey, KeyError> {
    let text = std::str::from_utf8(bytes).map_err(|error| KeyError::malformed(path, error))?;
    SigningKey::from_pkcs8_pem(text).map_err(|_| KeyError::malformed(path, "not a PKCS#8 Ed25519 private key in PEM"))
}

/// Makes a key pair (or takes up the one in a token) and keeps its private half under this stem, durably.
pub(crate) fn create(
    directory: &Path,
    stem: &str,
    name: &str,
    place: &KeyPlace,
    access: &dyn KeyAccess,
) -> Result<Pair, KeyError> {
    let write = |form: Form, bytes: &[u8]| {
        let path = form.path(directory, stem);
        durable::write(&path, bytes, 0o600).map_err(KeyError::io(&path))
    };
    let denied = |form: Form| {
        let path = form.path(directory, stem);
        move |error: AccessError| KeyError::Access { path, what: error.to_string() }
    };
    if let KeyPlace::Token(uri) = place {
        let signer = access.token(uri).map_err(denied(Form::Uri))?;
        let pair = Pair::new(name, signer).map_err(|fault| KeyError::malformed(Path::new(uri), fault))?;
        write(Form::Uri, format!("{uri}\n").as_bytes())?;
        return Ok(pair);
    }
    let key = generate()?;
    let pem = to_pem(&key, directory)?;
    match place {
        KeyPlace::Encrypted => write(Form::Age, &access.encrypt(pem.as_bytes()).map_err(denied(Form::Age))?)?,
        _ => write(Form::Pem, pem.as_bytes())?,
    }
    Pair::new(name, Box::new(key)).map_err(|_| KeyError::Origin { origin: name.to_owned() })
}

/// Puts the key of one stem in the place of another's, in whatever form either is. The old one goes first, so that a crash
/// leaves none of it behind a key that is in its place; and one sync is enough, because the new key is there under one of its
/// two names whichever of these changes is durable.
pub(super) fn replace(directory: &Path, stem: &str, by: &str) -> Result<(), KeyError> {
    for (form, path) in present(directory, by) {
        let to = form.path(directory, stem);
        for (_, old) in present(directory, stem).into_iter().filter(|(_, old)| *old != to) {
            std::fs::remove_file(&old).map_err(KeyError::io(&old))?;
        }
        std::fs::rename(&path, &to).map_err(KeyError::io(&path))?;
    }
    durable::sync_directory(directory).map_err(KeyError::io(directory))
}

pub(super) fn check_private(path: &Path) -> Result<(), KeyError> {
    let metadata = std::fs::metadata(path).map_err(KeyError::io(path))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Permissions { path: path.to_owned(), mode });
    }
    Ok(())
}

/// A new key in memory.
pub(super) fn generate() -> Result<SigningKey, KeyError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut()).map_err(KeyError::Random)?;
    Ok(SigningKey::from_bytes(&seed))
}

/// PKCS#8 without the optional public half: the form that every tool reads.
fn to_pem(key: &SigningKey, path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let pair = KeypairBytes { secret_key: key.to_bytes(), public_key: None };
    pair.to_pkcs8_pem(LineEnding::LF).map_err(|error| KeyError::malformed(path, error))
}

impl Pair {
    fn new(name: &str, signer: Box<dyn Signer>) -> Result<Self, super::KeyFault> {
        Ok(Self { public: PublicKey::new(name, &signer.public())?, signer })
    }

    /// Signs, and makes sure of what came back: a token may be another than it was.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<[u8; 64], KeyError> {
        let failed = |what: String| KeyError::Signing { key: self.public.name().to_owned(), what };
        let signature = self.signer.sign(message).map_err(|error| failed(error.to_string()))?;
        if !self.public.verify(message, &signature) {
            return Err(failed("the signature that came back is not of this key".to_owned()));
        }
        Ok(signature)
    }
}
