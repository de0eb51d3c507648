//! Where the private halves of root and log key live: in a plain file, in an encrypted one, or in a token that never gives
//! them out. What this crate cannot do itself (decrypt, talk to a token) is done by whoever embeds it.

use std::fmt;
use std::path::Path;

use ed25519_dalek::SigningKey;
use zeroize::Zeroizing;

/// Signs in the name of one Ed25519 key, wherever its private half is.
pub trait Signer: Send + Sync {
    /// The 32 bytes of the public half.
    fn public(&self) -> [u8; 32];

    /// Pure Ed25519 (RFC 8032) over these bytes.
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], AccessError>;
}

/// Why a private key cannot be used; for people, never with a secret in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AccessError(pub String);

/// Opens private keys that are not plain files.
pub trait KeyAccess: Send + Sync + fmt::Debug {
    /// The PKCS#8 PEM in an age file.
    fn decrypt(&self, path: &Path, encrypted: &[u8]) -> Result<Zeroizing<Vec<u8>>, AccessError>;

    /// An age file around a PKCS#8 PEM.
    fn encrypt(&self, pem: &[u8]) -> Result<Vec<u8>, AccessError>;

    /// The key that a PKCS#11 URI (RFC 7512) names.
    fn token(&self, uri: &str) -> Result<Box<dyn Signer>, AccessError>;
}

/// Knows plain files only.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlainFiles;

impl KeyAccess for PlainFiles {
    fn decrypt(&self, _path: &Path, _encrypted: &[u8]) -> Result<Zeroizing<Vec<u8>>, AccessError> {
        Err(AccessError("it is encrypted; name a passphrase or identity file".to_owned()))
    }

    fn encrypt(&self, _pem: &[u8]) -> Result<Vec<u8>, AccessError> {
        Err(AccessError("no passphrase or recipient to encrypt it to was named".to_owned()))
    }

    fn token(&self, _uri: &str) -> Result<Box<dyn Signer>, AccessError> {
        Err(AccessError("it is in a token, which this program cannot talk to".to_owned()))
    }
}

/// A key in memory; wiped when dropped.
impl Signer for SigningKey {
    fn public(&self) -> [u8; 32] {
        self.verifying_key().to_bytes()
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], AccessError> {
        Ok(ed25519_dalek::Signer::sign(self, message).to_bytes())
    }
}

/// Where a private key is to be kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum KeyPlace {
    /// A PKCS#8 PEM file that its owner alone can read.
    #[default]
    File,
    /// The same, encrypted with age.
    Encrypted,
    /// A token that has the key already: its PKCS#11 URI.
    Token(String),
}
