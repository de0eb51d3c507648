//! `auth:` of an upstream, and where its secrets are.

use std::path::{Path, PathBuf};

use http::HeaderName;
use serde::Deserialize;

use super::UpstreamFault;
use crate::upstream::{AuthSettings, AwsCredentialPlace, AwsSettings, GoogleSettings, SecretPlace};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum AuthEntry {
    #[default]
    Passthrough,
    Bearer(PlaceEntry),
    Header(HeaderEntry),
    Aws(AwsEntry),
    Google(GoogleEntry),
}

/// Where a secret is; never the secret.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlaceEntry {
    file: Option<PathBuf>,
    env: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HeaderEntry {
    name: String,
    file: Option<PathBuf>,
    env: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AwsEntry {
    region: String,
    service: Option<String>,
    credentials: Option<AwsCredentialEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum AwsCredentialEntry {
    Named(AwsSource),
    File { file: PathBuf, profile: Option<String> },
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AwsSource {
    Env,
    Container,
    Instance,
    WebIdentity,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GoogleEntry {
    #[serde(default)]
    metadata: bool,
    service_account_file: Option<PathBuf>,
}

impl PlaceEntry {
    pub(super) fn place(self, key: &'static str, base: &Path) -> Result<SecretPlace, UpstreamFault> {
        match (self.file, self.env) {
            (Some(file), None) => Ok(SecretPlace::File(base.join(file))),
            (None, Some(env)) => Ok(SecretPlace::Env(env)),
            _ => Err(UpstreamFault::FileOrEnv(key)),
        }
    }
}

impl AuthEntry {
    pub(super) fn settings(self, base: &Path) -> Result<AuthSettings, UpstreamFault> {
        Ok(match self {
            Self::Passthrough => AuthSettings::Passthrough,
            Self::Bearer(place) => AuthSettings::Header {
                name: http::header::AUTHORIZATION,
                prefix: "Bearer ",
                secret: place.place("auth.bearer", base)?,
            },
            Self::Header(HeaderEntry { name, file, env }) => AuthSettings::Header {
                name: header_name(&name).ok_or(UpstreamFault::HeaderName(name))?,
                prefix: "",
                secret: PlaceEntry { file, env }.place("auth.header", base)?,
            },
            Self::Aws(entry)
                if ![Some(&entry.region), entry.service.as_ref()].into_iter().flatten().all(|n| is_label(n)) =>
            {
                return Err(UpstreamFault::AwsName);
            }
            Self::Aws(entry) => AuthSettings::Aws(AwsSettings {
                region: entry.region,
                service: entry.service.unwrap_or_else(|| "bedrock".into()),
                credentials: match entry.credentials {
                    None | Some(AwsCredentialEntry::Named(AwsSource::Env)) => AwsCredentialPlace::Environment,
                    Some(AwsCredentialEntry::Named(AwsSource::Container)) => AwsCredentialPlace::Container,
                    Some(AwsCredentialEntry::Named(AwsSource::Instance)) => AwsCredentialPlace::Instance,
                    Some(AwsCredentialEntry::Named(AwsSource::WebIdentity)) => AwsCredentialPlace::WebIdentity,
                    Some(AwsCredentialEntry::File { file, profile }) => AwsCredentialPlace::File {
                        path: base.join(file),
                        profile: profile.unwrap_or_else(|| "default".into()),
                    },
                },
            }),
            Self::Google(entry) => AuthSettings::Google(match (entry.metadata, entry.service_account_file) {
                (true, None) => GoogleSettings::Metadata,
                (false, Some(file)) => GoogleSettings::ServiceAccount(base.join(file)),
                _ => return Err(UpstreamFault::Google),
            }),
        })
    }
}

/// A header that is not about framing, the connection, or Clyra itself.
fn header_name(text: &str) -> Option<HeaderName> {
    let name: HeaderName = text.to_ascii_lowercase().parse().ok()?;
    let is_ours = crate::upstream::headers::is_framing(&name)
        || crate::upstream::headers::is_own(&name)
        || ["host", "accept-encoding", "expect", "content-type", "content-encoding"].contains(&name.as_str());
    (!is_ours).then_some(name)
}

/// The name of a region or service; it becomes part of a host name.
fn is_label(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}
