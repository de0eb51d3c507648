//! What one provider trusts and shows in TLS, in the form that pingora takes: authorities of its own, and a certificate
//! with its key, which are read again when their files have changed.
//!
//! pingora panics on certificates and keys that it cannot parse, so each is parsed here first, with the same parsers.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use pingora::protocols::tls::CaType;
use pingora::tls::RootCertStore;
use pingora::utils::tls::{CertKey, WrappedX509};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::auth::{Secret, SecretError, SecretPlace};
use super::settings::TlsSettings;

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{path}: {detail}", path = path.display())]
    File { path: PathBuf, detail: String },
    #[error(transparent)]
    Key(#[from] SecretError),
    #[error("the certificate {path} and its key do not fit together: {detail}", path = path.display())]
    Pair { path: PathBuf, detail: String },
}

/// What is trusted and shown.
pub(crate) struct Identity {
    ca: Option<Arc<CaType>>,
    client: Option<Client>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let client = self.client.as_ref().map(|client| &client.certificate);
        f.debug_struct("Identity").field("client", &client).field("has_own_ca", &self.ca.is_some()).finish()
    }
}

struct Client {
    certificate: PathBuf,
    chain: Secret,
    key: Secret,
    made: Mutex<Made>,
}

/// A pair, and the texts that it was made of.
struct Made {
    pair: Arc<CertKey>,
    of: Texts,
}

type Text = Arc<zeroize::Zeroizing<String>>;
type Texts = (Text, Text);

impl Identity {
    /// `None` where nothing of the kind is configured.
    pub(super) fn new(settings: &TlsSettings) -> Result<Option<Self>, TlsError> {
        if settings.ca_file.is_none() && settings.client.is_none() {
            return Ok(None);
        }
        let ca = settings.ca_file.as_deref().map(authorities).transpose()?;
        let client = settings.client.as_ref().map(|(certificate, key)| Client::new(certificate, key)).transpose()?;
        Ok(Some(Self { ca, client }))
    }

    pub(super) fn ca(&self) -> Option<Arc<CaType>> {
        self.ca.clone()
    }

    /// The pair as its files now have it. Files that do not fit together, as between two writes, leave the last one in use.
    pub(super) fn client(&self) -> Option<Arc<CertKey>> {
        self.client.as_ref().map(Client::pair)
    }
}

impl Client {
    fn new(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let chain = Secret::new(SecretPlace::File(certificate.into()))?;
        let key = Secret::new(SecretPlace::File(key.into()))?;
        let of = (chain.text(), key.text());
        let pair = Arc::new(pair(certificate, &of)?);
        Ok(Self { certificate: certificate.into(), chain, key, made: Mutex::new(Made { pair, of }) })
    }

    fn pair(&self) -> Arc<CertKey> {
        let now = (self.chain.text(), self.key.text());
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if !(Arc::ptr_eq(&now.0, &made.of.0) && Arc::ptr_eq(&now.1, &made.of.1)) {
            match pair(&self.certificate, &now) {
                Ok(pair) => made.pair = Arc::new(pair),
                Err(error) => tracing::warn!("{error}; the pair read before stays in use"),
            }
            made.of = now;
        }
        Arc::clone(&made.pair)
    }
}

fn authorities(path: &Path) -> Result<Arc<CaType>, TlsError> {
    let fault = |detail: String| TlsError::File { path: path.into(), detail };
    let text = std::fs::read(path).map_err(|error| fault(error.to_string()))?;
    let mut store = RootCertStore::empty();
    let mut list = Vec::new();
    for certificate in certificates(&text).map_err(fault)? {
        store.add(certificate.clone()).map_err(|error| fault(error.to_string()))?;
        list.push(WrappedX509::new(certificate.to_vec(), pingora::utils::tls::parse_x509));
    }
    Ok(list.into())
}

fn pair(path: &Path, (chain, key): &Texts) -> Result<CertKey, TlsError> {
    let fault = |detail: String| TlsError::Pair { path: path.into(), detail };
    let chain = certificates(chain.as_bytes()).map_err(fault)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| fault("the key is no PEM key".into()))?;
    let der = key.secret_der().to_vec();
    pingora::tls::install_default_crypto_provider();
    // Looks whether they belong together.
    pingora::tls::ClientConfig::builder()
        .with_root_certificates(RootCertStore::empty())
        .with_client_auth_cert(chain.clone(), key)
        .map_err(|error| fault(error.to_string()))?;
    Ok(CertKey::new(chain.iter().map(|certificate| certificate.to_vec()).collect(), der))
}

/// The certificates of a PEM text, at least one, each of which pingora's parser takes.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let list: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| "it is no PEM".to_owned())?;
    if list.is_empty() {
        return Err("it contains no certificate".into());
    }
    for certificate in &list {
        x509_parser::parse_x509_certificate(certificate).map_err(|_| "a certificate is malformed".to_owned())?;
    }
    Ok(list)
}
