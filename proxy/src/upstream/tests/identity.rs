//! Certificates made up for a test.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pingora::tls::{PrivateKeyDer, ServerConfig, TlsAcceptor};

/// A certificate for `localhost`, and the file that trusts it.
pub(crate) struct Identity {
    ca_file: tempfile::NamedTempFile,
    certificate: rcgen::CertifiedKey<rcgen::KeyPair>,
}

/// A trust store for tests that never speak TLS: one certificate whose key was thrown away. The platform's takes a debug
/// build long to read.
pub(crate) fn small_trust_store() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/upstream/tests/stranger.pem")
}

impl Identity {
    pub(crate) fn new() -> Self {
        pingora::tls::install_default_crypto_provider();
        let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let ca_file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(ca_file.path(), certificate.cert.pem()).unwrap();
        Self { ca_file, certificate }
    }

    /// Accepts TLS and offers the protocols.
    pub(crate) fn acceptor(&self, protocols: &[&[u8]]) -> TlsAcceptor {
        let key = PrivateKeyDer::try_from(self.certificate.signing_key.serialize_der()).unwrap();
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }

    /// The file to trust.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.ca_file.path().to_owned()
    }
}
