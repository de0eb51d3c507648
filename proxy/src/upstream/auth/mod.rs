//! As whom a provider is called.
//!
//! By default with the client's own credentials, untouched. Where Clyra has credentials of its own, the client's are taken
//! out of the request first, wherever they may stand: a provider never sees both. Credentials are put in for each try,
//! after everything else of the request is known, because a signature covers it.

mod aws;
mod aws_agent;
mod client;
mod google;
mod keys;
mod renewed;
mod secret;
#[cfg(test)]
mod tests;

use std::path::Path;

use http::{HeaderMap, HeaderName, Method};

use super::TrustError;
use super::settings::AuthSettings;
use crate::exchange::ports::UpstreamTarget;
use aws::Aws;
pub(crate) use client::strip_query;
use google::Google;
use keys::VirtualKeys;
pub(crate) use secret::Secret;
pub use secret::{SecretError, SecretPlace};

/// Why a request got no credentials. Never with a part of one.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The client's key is none of the virtual keys.
    #[error("the client's key is not known")]
    UnknownKey,
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error("the AWS credentials in {place}: {detail}")]
    AwsFile { place: SecretPlace, detail: &'static str },
    #[error("no AWS credentials: {detail}")]
    Aws { detail: String },
    #[error("the request cannot be signed: {detail}")]
    Sign { detail: &'static str },
    #[error("the service account in {place}: {detail}")]
    ServiceAccount { place: SecretPlace, detail: &'static str },
    #[error("no Google token: {detail}")]
    Google { detail: String },
    /// Another call has just found out.
    #[error("just now: {detail}")]
    JustNow { detail: String },
}

/// A request as far as credentials are concerned.
pub(crate) struct Outgoing<'a> {
    pub(crate) target: &'a UpstreamTarget,
    pub(crate) method: &'a Method,
    /// Below the target's prefix.
    pub(crate) path_and_query: &'a mut String,
    pub(crate) headers: &'a mut HeaderMap,
    /// `None` where it passes without being known beforehand.
    pub(crate) body: Option<&'a [u8]>,
}

/// The credentials of one provider.
#[derive(Debug)]
pub(crate) struct Auth {
    own: Own,
    keys: Option<VirtualKeys>,
}

#[derive(Debug)]
enum Own {
    Passthrough,
    Header { name: HeaderName, prefix: &'static str, secret: Secret },
    Aws(Box<Aws>),
    Google(Box<Google>),
}

impl Auth {
    /// Reads what can be read at the start. `ca_file` is for where tokens are fetched.
    pub(crate) fn new(
        settings: AuthSettings,
        keys: Vec<([u8; 32], SecretPlace)>,
        ca_file: Option<&Path>,
    ) -> Result<Self, AuthError> {
        let own = match settings {
            AuthSettings::Passthrough => Own::Passthrough,
            AuthSettings::Header { name, prefix, secret } => {
                let secret = Secret::new(secret)?;
                secret.header(prefix)?;
                Own::Header { name, prefix, secret }
            }
            AuthSettings::Aws(settings) => Own::Aws(Box::new(Aws::new(settings, ca_file)?)),
            AuthSettings::Google(settings) => Own::Google(Box::new(Google::new(settings, ca_file)?)),
        };
        let keys = if keys.is_empty() { None } else { Some(VirtualKeys::new(keys)?) };
        Ok(Self { own, keys })
    }

    /// Whether the client may call at all: true where keys are not exchanged.
    pub(crate) fn admits(&self, headers: &HeaderMap, query: Option<&str>) -> bool {
        self.keys.as_ref().is_none_or(|keys| keys.admits(headers, query))
    }

    /// Puts the credentials in, and takes the client's out where they are not the ones.
    pub(crate) async fn put(&self, out: &mut Outgoing<'_>) -> Result<(), AuthError> {
        if let Some(keys) = &self.keys {
            return keys.exchange(out);
        }
        self.put_own(out).await
    }

    /// As `put`, for a call that no client has asked for: without keys to exchange.
    pub(crate) async fn put_own(&self, out: &mut Outgoing<'_>) -> Result<(), AuthError> {
        if matches!(self.own, Own::Passthrough) {
            return Ok(());
        }
        client::strip_headers(out.headers);
        *out.path_and_query = client::strip_query(out.path_and_query);
        match &self.own {
            Own::Passthrough => {}
            Own::Header { name, prefix, secret } => {
                // The name may be one that is not among the known ones: a client's must not stand beside ours.
                out.headers.insert(name.clone(), secret.header(prefix)?);
            }
            Own::Aws(aws) => aws.sign(out).await?,
            Own::Google(google) => google.put(out.headers).await?,
        }
        Ok(())
    }
}
