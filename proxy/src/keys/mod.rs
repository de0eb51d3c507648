//! Opening the keys that sign evidence where they are not plain files: age files and PKCS#11 tokens.
//!
//! What was opened once stays open while the process lives: a passphrase costs a second of computing, a token a login.

#[cfg(feature = "age")]
mod encrypted;
#[cfg(feature = "pkcs11")]
mod token;
#[cfg(feature = "pkcs11")]
mod uri;

use std::path::{Path, PathBuf};

use clyra_receipts::keys::{AccessError, KeyAccess, Signer};
use zeroize::Zeroizing;

/// Where passphrase and identity are, and whom to encrypt new keys to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyFiles {
    /// A file with the passphrase of the encrypted key files, one line.
    pub passphrase: Option<PathBuf>,
    /// An age identity file (`age-keygen`).
    pub identity: Option<PathBuf>,
    /// age recipients that new key files are encrypted to; without any it is the passphrase.
    pub recipients: Vec<String>,
}

/// Opens keys as the settings say.
#[derive(Debug, Default)]
pub struct Access {
    #[cfg(feature = "age")]
    encrypted: encrypted::Encrypted,
    #[cfg(feature = "pkcs11")]
    tokens: token::Tokens,
}

impl Access {
    #[cfg_attr(not(feature = "age"), allow(unused_variables))]
    pub fn new(files: KeyFiles) -> Access {
        Access {
            #[cfg(feature = "age")]
            encrypted: encrypted::Encrypted::new(files),
            #[cfg(feature = "pkcs11")]
            tokens: token::Tokens::default(),
        }
    }
}

impl KeyAccess for Access {
    #[cfg(feature = "age")]
    fn decrypt(&self, _path: &Path, encrypted: &[u8]) -> Result<Zeroizing<Vec<u8>>, AccessError> {
        self.encrypted.decrypt(encrypted)
    }

    #[cfg(not(feature = "age"))]
    fn decrypt(&self, _path: &Path, _encrypted: &[u8]) -> Result<Zeroizing<Vec<u8>>, AccessError> {
        Err(AccessError("this build has no support for age files".to_owned()))
    }

    #[cfg(feature = "age")]
    fn encrypt(&self, pem: &[u8]) -> Result<Vec<u8>, AccessError> {
        self.encrypted.encrypt(pem)
    }

    #[cfg(not(feature = "age"))]
    fn encrypt(&self, _pem: &[u8]) -> Result<Vec<u8>, AccessError> {
        Err(AccessError("this build has no support for age files".to_owned()))
    }

    #[cfg(feature = "pkcs11")]
    fn token(&self, uri: &str) -> Result<Box<dyn Signer>, AccessError> {
        self.tokens.open(uri)
    }

    #[cfg(not(feature = "pkcs11"))]
    fn token(&self, _uri: &str) -> Result<Box<dyn Signer>, AccessError> {
        Err(AccessError("this build has no support for PKCS#11 tokens".to_owned()))
    }
}

/// A short secret out of a file: its first line.
#[cfg(any(feature = "age", feature = "pkcs11"))]
fn secret_line(path: &Path) -> Result<Zeroizing<String>, AccessError> {
    use std::io::Read as _;

    /// Longest secret; a passphrase has a few words, a PIN a few digits.
    const BYTES_MAX: u64 = 4096;

    let failed = |error: std::io::Error| AccessError(format!("{}: {error}", path.display()));
    let mut text = Zeroizing::new(String::new());
    std::fs::File::open(path).map_err(failed)?.take(BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(AccessError(format!("{} is empty", path.display())));
    }
    Ok(Zeroizing::new(line.to_owned()))
}
