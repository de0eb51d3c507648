//! Key files encrypted with age (<https://age-encryption.org/v1>), to a passphrase or to recipients.

use std::collections::HashMap;
use std::io::{BufReader, Read as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use age::secrecy::SecretString;
use clyra_receipts::keys::AccessError;
use zeroize::Zeroizing;

use super::{KeyFiles, secret_line};

/// Most work that a passphrase may ask for, as age counts it (2^n): some 10 seconds. A file from elsewhere could ask for
/// hours.
const WORK_FACTOR_MAX: u8 = 22;

/// Longest PEM in a key file; an Ed25519 key has 119 bytes.
const PEM_BYTES_MAX: u64 = 4096;

/// Opened files that are remembered: root and log key, before and after a rotation.
const OPENED_MAX: usize = 8;

/// Decrypts and encrypts key files.
#[derive(Default)]
pub(super) struct Encrypted {
    files: KeyFiles,
    /// What was opened, by the digest of the encrypted bytes.
    opened: Mutex<HashMap<[u8; 32], Zeroizing<Vec<u8>>>>,
}

impl std::fmt::Debug for Encrypted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Encrypted").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Encrypted {
    pub(super) fn new(files: KeyFiles) -> Encrypted {
        Encrypted { files, opened: Mutex::default() }
    }

    pub(super) fn decrypt(&self, encrypted: &[u8]) -> Result<Zeroizing<Vec<u8>>, AccessError> {
        let digest = *blake3::hash(encrypted).as_bytes();
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pem) = opened.get(&digest) {
            return Ok(pem.clone());
        }
        let pem = Zeroizing::new(self.decrypt_anew(encrypted)?);
        if opened.len() < OPENED_MAX {
            opened.insert(digest, pem.clone());
        }
        Ok(pem)
    }

    fn decrypt_anew(&self, encrypted: &[u8]) -> Result<Vec<u8>, AccessError> {
        let identities: Vec<Box<dyn age::Identity>> = match (&self.files.identity, &self.files.passphrase) {
            (Some(path), _) => identities(path)?,
            (None, Some(path)) => {
                let mut identity = age::scrypt::Identity::new(passphrase(path)?);
                identity.set_max_work_factor(WORK_FACTOR_MAX);
                vec![Box::new(identity)]
            }
            (None, None) => {
                return Err(AccessError(
                    "it is encrypted; name the file with its passphrase or identity (--passphrase-file, \
                     --identity-file; evidence.key_passphrase_file, evidence.key_identity_file)"
                        .to_owned(),
                ));
            }
        };
        let failed = |error: age::DecryptError| AccessError(error.to_string());
        let decryptor = age::Decryptor::new(age::armor::ArmoredReader::new(encrypted)).map_err(failed)?;
        let reader = decryptor.decrypt(identities.iter().map(|identity| &**identity)).map_err(failed)?;
        let mut pem = Vec::with_capacity(PEM_BYTES_MAX as usize);
        let io = |error: std::io::Error| AccessError(error.to_string());
        reader.take(PEM_BYTES_MAX).read_to_end(&mut pem).map_err(io)?;
        Ok(pem)
    }

    pub(super) fn encrypt(&self, pem: &[u8]) -> Result<Vec<u8>, AccessError> {
        let failed = |error: age::EncryptError| AccessError(error.to_string());
        if !self.files.recipients.is_empty() {
            let parse = |text: &String| {
                text.parse::<age::x25519::Recipient>()
                    .map_err(|error| AccessError(format!("{text} is no age recipient: {error}")))
            };
            let recipients = self.files.recipients.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
            let encryptor = age::Encryptor::with_recipients(recipients.iter().map(|one| one as &dyn age::Recipient))
                .map_err(failed)?;
            let mut out = Vec::new();
            let io = |error: std::io::Error| AccessError(error.to_string());
            let mut writer = encryptor.wrap_output(&mut out).map_err(io)?;
            std::io::Write::write_all(&mut writer, pem).map_err(io)?;
            writer.finish().map_err(io)?;
            return Ok(out);
        }
        let Some(path) = &self.files.passphrase else {
            return Err(AccessError(
                "name whom to encrypt it to (--encrypt-to) or a file with a passphrase (--passphrase-file)".to_owned(),
            ));
        };
        age::encrypt(&age::scrypt::Recipient::new(passphrase(path)?), pem).map_err(failed)
    }
}

fn identities(path: &Path) -> Result<Vec<Box<dyn age::Identity>>, AccessError> {
    let failed = |error: &dyn std::fmt::Display| AccessError(format!("{}: {error}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| failed(&error))?;
    let file = age::IdentityFile::from_buffer(BufReader::new(file)).map_err(|error| failed(&error))?;
    let identities = file.into_identities().map_err(|error| failed(&error))?;
    Ok(identities.into_iter().map(|identity| identity as Box<dyn age::Identity>).collect())
}

fn passphrase(path: &Path) -> Result<SecretString, AccessError> {
    Ok(SecretString::from(secret_line(path)?.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(directory: &Path, name: &str, text: &str) -> std::path::PathBuf {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn what_is_encrypted_to_a_recipient_is_opened_with_its_identity_only() {
        use age::secrecy::ExposeSecret as _;
        let dir = tempfile::tempdir().unwrap();
        let (mine, other) = (age::x25519::Identity::generate(), age::x25519::Identity::generate());
        let file = |name: &str, key: &age::x25519::Identity| write(dir.path(), name, key.to_string().expose_secret());
        let files = KeyFiles {
            identity: Some(file("mine", &mine)),
            recipients: vec![mine.to_public().to_string()],
            ..KeyFiles::default()
        };
        let access = Encrypted::new(files.clone());
        let encrypted = access.encrypt(b"a key").unwrap();
        assert_eq!(&**access.decrypt(&encrypted).unwrap(), b"a key");
        let stranger = Encrypted::new(KeyFiles { identity: Some(file("other", &other)), ..files.clone() });
        assert!(stranger.decrypt(&encrypted).is_err());
        let nobody = Encrypted::new(KeyFiles::default());
        assert!(nobody.decrypt(&encrypted).unwrap_err().to_string().contains("--identity-file"));
        assert!(nobody.encrypt(b"a key").unwrap_err().to_string().contains("--encrypt-to"));
        let typo = Encrypted::new(KeyFiles { recipients: vec!["age1".into()], ..files });
        assert!(typo.encrypt(b"a key").unwrap_err().to_string().contains("no age recipient"));
    }

    #[test]
    fn a_passphrase_opens_what_it_closed() {
        let dir = tempfile::tempdir().unwrap();
        let files = |name: &str, text: &str| KeyFiles {
            passphrase: Some(write(dir.path(), name, text)),
            ..KeyFiles::default()
        };
        let right = files("right", "correct horse\n");
        let mut recipient = age::scrypt::Recipient::new(passphrase(right.passphrase.as_ref().unwrap()).unwrap());
        // Less work than in earnest: this is a test of what is done, not of how hard it is to guess.
        recipient.set_work_factor(4);
        let encrypted = age::encrypt(&recipient, b"a key").unwrap();
        assert_eq!(&**Encrypted::new(right).decrypt(&encrypted).unwrap(), b"a key");
        assert!(Encrypted::new(files("wrong", "battery staple")).decrypt(&encrypted).is_err());
        assert!(Encrypted::new(files("empty", "\n")).decrypt(&encrypted).unwrap_err().to_string().contains("is empty"));
    }
}
