//! What is configured of a provider, as values: addresses, how failures are met, who it is called as. Nothing is read
//! here, and nothing in here is a secret: only the places where secrets are.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use super::auth::SecretPlace;
use super::breaker::CircuitRules;
use crate::exchange::ports::UpstreamTarget;

/// One provider: a name, one address or several, and what applies to calls of them.
#[derive(Debug, Clone)]
pub struct UpstreamSettings {
    /// Name from the configuration; appears in receipts, events and metrics.
    pub name: Arc<str>,
    /// At least one.
    pub endpoints: Vec<EndpointSettings>,
    pub health: Option<HealthRules>,
    /// `None`: other endpoints are tried, none is tried twice.
    pub retries: Option<RetryRules>,
    /// `None`: a circuit with the default rules where there are several endpoints, none where there is one.
    pub circuit: Option<CircuitRules>,
    pub auth: AuthSettings,
    /// Client's key (its SHA-256) and where the key stands that is sent in its place. Not empty: other keys are refused.
    pub virtual_keys: Vec<([u8; 32], SecretPlace)>,
    pub tls: TlsSettings,
    pub proxy: Option<ProxySettings>,
}

/// One address of a provider.
#[derive(Debug, Clone)]
pub struct EndpointSettings {
    /// Its name in metrics and health; among several, also in receipts (`provider/endpoint`).
    pub name: Arc<str>,
    pub target: UpstreamTarget,
    /// Share of the calls. 0: called only while no endpoint that has a share can be.
    pub weight: u32,
}

/// Asking an endpoint whether it is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthRules {
    /// Path below the endpoint's prefix, with its slash.
    pub path: String,
    pub interval: Duration,
    /// Bad answers in a row until it is not called any more.
    pub unhealthy_after: NonZeroU32,
    /// Good answers in a row until it is called again.
    pub healthy_after: NonZeroU32,
}

/// Calling again what was not worked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryRules {
    /// Calls after the first, over all endpoints.
    pub max: u32,
    /// Repeated calls for each hundred calls, beside a small reserve.
    pub budget_percent: u32,
}

/// Whom the provider sees.
#[derive(Debug, Clone, Default)]
pub enum AuthSettings {
    /// The client's own credentials.
    #[default]
    Passthrough,
    /// A fixed header.
    Header { name: HeaderName, prefix: &'static str, secret: SecretPlace },
    /// AWS Signature Version 4.
    Aws(AwsSettings),
    /// An OAuth token of a Google service account.
    Google(GoogleSettings),
}

#[derive(Debug, Clone)]
pub struct AwsSettings {
    pub region: String,
    /// Signing name of the service, `bedrock`.
    pub service: String,
    pub credentials: AwsCredentialPlace,
}

/// Where AWS credentials are.
#[derive(Debug, Clone)]
pub enum AwsCredentialPlace {
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`.
    Environment,
    /// A profile of a shared credentials file.
    File { path: PathBuf, profile: String },
    /// The agent of ECS or of EKS Pod Identity (`AWS_CONTAINER_CREDENTIALS_FULL_URI` and its kin).
    Container,
    /// The instance's metadata service, version 2.
    Instance,
    /// The token service, for a token of the cluster: `AWS_ROLE_ARN`, `AWS_WEB_IDENTITY_TOKEN_FILE`.
    WebIdentity,
}

/// Where a Google token comes from.
#[derive(Debug, Clone)]
pub enum GoogleSettings {
    /// The metadata server of the machine or the cluster.
    Metadata,
    /// A service account's key file.
    ServiceAccount(PathBuf),
}

/// TLS towards a provider.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Authorities to trust, in place of the process's.
    pub ca_file: Option<PathBuf>,
    /// Certificate and key that the provider is shown.
    pub client: Option<(PathBuf, PathBuf)>,
    /// Name that the certificate must carry, in place of the URL's host.
    pub server_name: Option<String>,
}

/// A proxy that connections are asked of by `CONNECT`.
#[derive(Debug, Clone)]
pub struct ProxySettings {
    pub host: String,
    pub port: u16,
    pub login: Option<(String, SecretPlace)>,
}

impl From<UpstreamTarget> for UpstreamSettings {
    /// A provider with one address, called with the client's credentials.
    fn from(target: UpstreamTarget) -> Self {
        Self {
            name: target.name.clone(),
            endpoints: vec![EndpointSettings { name: target.authority().into(), target, weight: 1 }],
            health: None,
            retries: None,
            circuit: None,
            auth: AuthSettings::Passthrough,
            virtual_keys: Vec::new(),
            tls: TlsSettings::default(),
            proxy: None,
        }
    }
}
