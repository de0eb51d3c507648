//! `upstreams:` in `clyra.yaml`: what may stand there, and what it comes to.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::HeaderName;
use http::uri::PathAndQuery;
use serde::Deserialize;

use crate::exchange::ports::UpstreamTarget;
use crate::upstream::{
    AuthSettings, AwsCredentialPlace, AwsSettings, BUDGET_PERCENT, CircuitRules, ENDPOINTS_MAX, EndpointSettings,
    GoogleSettings, HealthRules, ProxySettings, RETRIES_MAX, RetryRules, SecretPlace, TargetError, TlsSettings,
    UpstreamSettings,
};

/// Largest share of one endpoint.
const WEIGHT_MAX: u32 = 1_000;
/// An endpoint is asked how it is between once a second and once an hour.
const INTERVAL_S: std::ops::RangeInclusive<u64> = 1..=3_600;
const INTERVAL_DEFAULT_S: u64 = 10;
const UNHEALTHY_AFTER: NonZeroU32 = NonZeroU32::MIN.saturating_add(2);
const HEALTHY_AFTER: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);
/// Circuits count and open for at most an hour: a longer fault wants a person.
const CIRCUIT_S: std::ops::RangeInclusive<u64> = 1..=3_600;
const CIRCUIT_FAILURES: std::ops::RangeInclusive<u32> = 1..=1_000;

/// Why an upstream cannot be used as it stands.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamFault {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("give either url or endpoints")]
    UrlOrEndpoints,
    #[error("at most {ENDPOINTS_MAX} endpoints")]
    TooMany,
    #[error("two endpoints are called {0}; give each its own name")]
    EndpointTwice(String),
    #[error("the endpoint name {0:?} is not 1 to 64 letters, digits, '.', ':', '-' or '_'")]
    EndpointName(String),
    #[error("an endpoint has a weight of more than {WEIGHT_MAX}, or none has one")]
    Weight,
    #[error("{key} is out of its range, {range}")]
    Range { key: &'static str, range: String },
    #[error("health.path {0:?} is not a path that begins with '/'")]
    HealthPath(String),
    #[error("{0}: give either file or env")]
    FileOrEnv(&'static str),
    #[error("auth.header.name {0:?} is not the name of a header that a request may carry")]
    HeaderName(String),
    #[error("auth.aws: region and service are letters, digits and '-'")]
    AwsName,
    #[error("auth.google: give either metadata: true or service_account_file")]
    Google,
    #[error("virtual_keys bring the provider's keys; leave out auth")]
    KeysAndAuth,
    #[error("a virtual key is the SHA-256 of the client's key in 64 hexadecimal digits, and one is not")]
    KeyDigest,
    #[error("tls: client_cert_file and client_key_file belong together")]
    ClientPair,
    #[error("tls and proxy apply to connections; tls is of use to https only")]
    TlsWithoutHttps,
    #[error("proxy is not http://host:port")]
    Proxy,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UpstreamEntry {
    pub(super) name: String,
    url: Option<String>,
    #[serde(default)]
    endpoints: Vec<EndpointEntry>,
    health: Option<HealthEntry>,
    retries: Option<RetryEntry>,
    circuit: Option<CircuitEntry>,
    #[serde(default)]
    auth: AuthEntry,
    #[serde(default)]
    virtual_keys: BTreeMap<String, PlaceEntry>,
    #[serde(default)]
    tls: TlsEntry,
    proxy: Option<ProxyEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndpointEntry {
    url: String,
    weight: Option<u32>,
    name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HealthEntry {
    path: String,
    interval_s: Option<u64>,
    unhealthy_after: Option<NonZeroU32>,
    healthy_after: Option<NonZeroU32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RetryEntry {
    max: u32,
    budget_percent: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CircuitEntry {
    failures: Option<u32>,
    within_s: Option<u64>,
    open_s: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AuthEntry {
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
struct PlaceEntry {
    file: Option<PathBuf>,
    env: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderEntry {
    name: String,
    file: Option<PathBuf>,
    env: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AwsEntry {
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
struct GoogleEntry {
    #[serde(default)]
    metadata: bool,
    service_account_file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TlsEntry {
    ca_file: Option<PathBuf>,
    client_cert_file: Option<PathBuf>,
    client_key_file: Option<PathBuf>,
    server_name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum ProxyEntry {
    Url(String),
    Login { url: String, user: String, password: PlaceEntry },
}

impl UpstreamEntry {
    /// Paths are relative to `base`.
    pub(super) fn settings(self, base: &Path) -> Result<UpstreamSettings, UpstreamFault> {
        let endpoints = endpoints(&self.name, self.url, self.endpoints)?;
        let tls = self.tls.settings(base)?;
        if tls != TlsSettings::default() && endpoints.iter().any(|endpoint| !endpoint.target.tls) {
            return Err(UpstreamFault::TlsWithoutHttps);
        }
        let virtual_keys = self.virtual_keys.into_iter().map(|(digest, place)| {
            let digest = digest_of(&digest).ok_or(UpstreamFault::KeyDigest)?;
            Ok((digest, place.place("virtual_keys", base)?))
        });
        let virtual_keys = virtual_keys.collect::<Result<Vec<_>, UpstreamFault>>()?;
        if !virtual_keys.is_empty() && !matches!(self.auth, AuthEntry::Passthrough) {
            return Err(UpstreamFault::KeysAndAuth);
        }
        Ok(UpstreamSettings {
            name: self.name.into(),
            endpoints,
            health: self.health.map(HealthEntry::rules).transpose()?,
            retries: self.retries.map(RetryEntry::rules).transpose()?,
            circuit: self.circuit.map(CircuitEntry::rules).transpose()?,
            auth: self.auth.settings(base)?,
            virtual_keys,
            tls,
            proxy: self.proxy.map(|proxy| proxy.settings(base)).transpose()?,
        })
    }
}

fn endpoints(
    name: &str,
    url: Option<String>,
    entries: Vec<EndpointEntry>,
) -> Result<Vec<EndpointSettings>, UpstreamFault> {
    let entries = match (url, entries.is_empty()) {
        (Some(url), true) => vec![EndpointEntry { url, weight: None, name: None }],
        (None, false) => entries,
        _ => return Err(UpstreamFault::UrlOrEndpoints),
    };
    if entries.len() as u64 > ENDPOINTS_MAX {
        return Err(UpstreamFault::TooMany);
    }
    let mut list: Vec<EndpointSettings> = Vec::with_capacity(entries.len());
    for EndpointEntry { url, weight, name: own } in entries {
        let target = UpstreamTarget::parse(name, &url)?;
        let own = match own {
            Some(own) if is_name(&own) => own,
            Some(own) => return Err(UpstreamFault::EndpointName(own)),
            None => target.authority(),
        };
        if list.iter().any(|other| *other.name == *own) {
            return Err(UpstreamFault::EndpointTwice(own));
        }
        list.push(EndpointSettings { name: own.into(), target, weight: weight.unwrap_or(1) });
    }
    let weights = || list.iter().map(|endpoint| endpoint.weight);
    if weights().all(|weight| weight == 0) || weights().any(|weight| weight > WEIGHT_MAX) {
        return Err(UpstreamFault::Weight);
    }
    Ok(list)
}

fn is_name(text: &str) -> bool {
    let is_fit = |b: u8| b.is_ascii_alphanumeric() || b".:-_".contains(&b);
    (1..=64).contains(&text.len()) && text.bytes().all(is_fit)
}

/// The name of a region or service; it becomes part of a host name.
fn is_label(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn digest_of(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    let mut digest = [0; 32];
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok().filter(|_| !pair.contains(&b'+'))?;
    }
    Some(digest)
}

fn within<T: PartialOrd + std::fmt::Debug>(
    key: &'static str,
    value: T,
    range: std::ops::RangeInclusive<T>,
) -> Result<T, UpstreamFault> {
    if range.contains(&value) { Ok(value) } else { Err(UpstreamFault::Range { key, range: format!("{range:?}") }) }
}

impl HealthEntry {
    fn rules(self) -> Result<HealthRules, UpstreamFault> {
        let is_path = self.path.starts_with('/') && self.path.parse::<PathAndQuery>().is_ok();
        if !is_path {
            return Err(UpstreamFault::HealthPath(self.path));
        }
        let interval = within("health.interval_s", self.interval_s.unwrap_or(INTERVAL_DEFAULT_S), INTERVAL_S)?;
        Ok(HealthRules {
            path: self.path,
            interval: Duration::from_secs(interval),
            unhealthy_after: self.unhealthy_after.unwrap_or(UNHEALTHY_AFTER),
            healthy_after: self.healthy_after.unwrap_or(HEALTHY_AFTER),
        })
    }
}

impl RetryEntry {
    fn rules(self) -> Result<RetryRules, UpstreamFault> {
        let percent = self.budget_percent.unwrap_or(BUDGET_PERCENT);
        Ok(RetryRules {
            max: within("retries.max", self.max, 0..=RETRIES_MAX)?,
            budget_percent: within("retries.budget_percent", percent, 0..=100)?,
        })
    }
}

impl CircuitEntry {
    fn rules(self) -> Result<CircuitRules, UpstreamFault> {
        let default = CircuitRules::default();
        let seconds = |key, given: Option<u64>, default: Duration| {
            within(key, given.unwrap_or(default.as_secs()), CIRCUIT_S).map(Duration::from_secs)
        };
        Ok(CircuitRules {
            failures: within("circuit.failures", self.failures.unwrap_or(default.failures), CIRCUIT_FAILURES)?,
            within: seconds("circuit.within_s", self.within_s, default.within)?,
            open: seconds("circuit.open_s", self.open_s, default.open)?,
        })
    }
}

impl PlaceEntry {
    fn place(self, key: &'static str, base: &Path) -> Result<SecretPlace, UpstreamFault> {
        match (self.file, self.env) {
            (Some(file), None) => Ok(SecretPlace::File(base.join(file))),
            (None, Some(env)) => Ok(SecretPlace::Env(env)),
            _ => Err(UpstreamFault::FileOrEnv(key)),
        }
    }
}

impl AuthEntry {
    fn settings(self, base: &Path) -> Result<AuthSettings, UpstreamFault> {
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

impl TlsEntry {
    fn settings(self, base: &Path) -> Result<TlsSettings, UpstreamFault> {
        let client = match (self.client_cert_file, self.client_key_file) {
            (Some(certificate), Some(key)) => Some((base.join(certificate), base.join(key))),
            (None, None) => None,
            _ => return Err(UpstreamFault::ClientPair),
        };
        let server_name = self.server_name.filter(|name| !name.is_empty());
        Ok(TlsSettings { ca_file: self.ca_file.map(|file| base.join(file)), client, server_name })
    }
}

impl ProxyEntry {
    fn settings(self, base: &Path) -> Result<ProxySettings, UpstreamFault> {
        let (url, login) = match self {
            Self::Url(url) => (url, None),
            Self::Login { url, user, password } => (url, Some((user, password.place("proxy.password", base)?))),
        };
        // The URL is not quoted in the error: people write passwords into it.
        let target = UpstreamTarget::parse("proxy", &url).map_err(|_| UpstreamFault::Proxy)?;
        let is_login_fit = login.as_ref().is_none_or(|(user, _)| !user.contains(':') && !user.is_empty());
        if target.tls || !target.path_prefix.is_empty() || !is_login_fit {
            return Err(UpstreamFault::Proxy);
        }
        Ok(ProxySettings { host: target.host, port: target.port, login })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<UpstreamSettings, String> {
        let entry: UpstreamEntry = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
        entry.settings(Path::new("/etc/clyra")).map_err(|error| error.to_string())
    }

    const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    #[test]
    fn everything_that_may_stand_there_is_read() {
        let settings = read(
            "name: openai
endpoints:
  - { url: 'https://a.example/v1', weight: 3 }
  - { url: 'https://b.example/v1', weight: 0, name: spare }
health: { path: '/models?limit=1', interval_s: 30, unhealthy_after: 2 }
retries: { max: 2, budget_percent: 10 }
circuit: { failures: 4, open_s: 20 }
auth: { bearer: { file: key } }
tls: { ca_file: ca.pem, client_cert_file: c.pem, client_key_file: /k.pem, server_name: inner.example }
proxy: { url: 'http://proxy:3128', user: me, password: { env: PROXY_PASSWORD } }
",
        )
        .unwrap();
        let names: Vec<_> = settings.endpoints.iter().map(|endpoint| (&*endpoint.name, endpoint.weight)).collect();
        assert_eq!(names, [("a.example", 3), ("spare", 0)]);
        let health = settings.health.unwrap();
        assert_eq!((health.unhealthy_after.get(), health.healthy_after.get()), (2, 2));
        assert_eq!(settings.retries.unwrap(), RetryRules { max: 2, budget_percent: 10 });
        let circuit = settings.circuit.unwrap();
        assert_eq!((circuit.failures, circuit.within.as_secs(), circuit.open.as_secs()), (4, 30, 20));
        let AuthSettings::Header { name, prefix: "Bearer ", secret } = settings.auth else { panic!("bearer") };
        assert_eq!((name.as_str(), secret), ("authorization", SecretPlace::File("/etc/clyra/key".into())));
        assert_eq!(settings.tls.client, Some(("/etc/clyra/c.pem".into(), "/k.pem".into())));
        let proxy = settings.proxy.unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("proxy", 3128));
    }

    #[test]
    fn every_kind_of_credentials_is_read() {
        let auth = |auth: &str| read(&format!("name: x\nurl: https://h\nauth: {auth}\n")).map(|read| read.auth);
        assert!(matches!(auth("passthrough"), Ok(AuthSettings::Passthrough)));
        let Ok(AuthSettings::Header { name, prefix: "", .. }) = auth("{ header: { name: Api-Key, env: K } }") else {
            panic!("header")
        };
        assert_eq!(name, "api-key");
        let aws = |entry: &str| match auth(entry) {
            Ok(AuthSettings::Aws(aws)) => (aws.service, aws.credentials),
            other => panic!("{other:?}"),
        };
        let (service, credentials) = aws("{ aws: { region: eu-central-1 } }");
        assert!(service == "bedrock" && matches!(credentials, AwsCredentialPlace::Environment));
        let (_, credentials) = aws("{ aws: { region: r, credentials: container } }");
        assert!(matches!(credentials, AwsCredentialPlace::Container));
        let (_, credentials) = aws("{ aws: { region: r, credentials: web_identity } }");
        assert!(matches!(credentials, AwsCredentialPlace::WebIdentity));
        let (_, credentials) = aws("{ aws: { region: r, credentials: { file: aws.ini, profile: p } } }");
        let AwsCredentialPlace::File { path, profile } = credentials else { panic!("file") };
        assert_eq!((path, profile.as_str()), ("/etc/clyra/aws.ini".into(), "p"));
        assert!(matches!(auth("{ google: { metadata: true } }"), Ok(AuthSettings::Google(GoogleSettings::Metadata))));
        let keys = read(&format!("name: x\nurl: https://h\nvirtual_keys: {{ {DIGEST}: {{ env: K }} }}\n")).unwrap();
        assert_eq!(keys.virtual_keys[0].0[..2], [0x9f, 0x86]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_and_secrets_are_not_quoted() {
        for (yaml, says) in [
            ("name: x", "either url or endpoints"),
            ("name: x\nurl: https://h\nendpoints: [{ url: 'https://i' }]", "either url or endpoints"),
            ("name: x\nendpoints: [{ url: 'https://h' }, { url: 'https://h' }]", "its own name"),
            ("name: x\nendpoints: [{ url: 'https://h', weight: 0 }]", "weight"),
            ("name: x\nendpoints: [{ url: 'https://h', name: 'a b' }]", "letters"),
            ("name: x\nurl: https://h\nretries: { max: 9 }", "retries.max"),
            ("name: x\nurl: https://h\nhealth: { path: models }", "health.path"),
            ("name: x\nurl: https://h\nauth: { bearer: {} }", "either file or env"),
            ("name: x\nurl: https://h\nauth: { bearer: { value: sk-1 } }", "value"),
            ("name: x\nurl: https://h\nauth: { header: { name: host, env: K } }", "auth.header.name"),
            ("name: x\nurl: https://h\nauth: { aws: { region: 'eu.evil.example/' } }", "auth.aws"),
            ("name: x\nurl: https://h\nauth: { google: {} }", "auth.google"),
            ("name: x\nurl: https://h\ntls: { client_cert_file: c }", "belong together"),
            ("name: x\nurl: http://h\ntls: { ca_file: c }", "https only"),
            ("name: x\nurl: https://h\nvirtual_keys: { abc: { env: K } }", "64 hexadecimal"),
            ("name: x\nurl: https://h\nproxy: 'http://u:hunter2@p'", "proxy is not"),
            ("name: x\nurl: https://h\nproxy: 'https://p'", "proxy is not"),
            ("name: x\nurl: https://h\ncircuit: { open_s: 0 }", "circuit.open_s"),
        ] {
            let message = read(yaml).unwrap_err();
            assert!(message.contains(says) && !message.contains("hunter2"), "{yaml}: {message}");
        }
        let both = format!(
            "name: x\nurl: https://h\nauth: {{ bearer: {{ env: K }} }}\nvirtual_keys: {{ {DIGEST}: {{ env: K }} }}\n"
        );
        assert!(read(&both).unwrap_err().contains("leave out auth"));
    }
}
