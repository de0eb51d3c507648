//! `upstreams:` in `clyra.yaml`: what may stand there, and what it comes to.

mod auth;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::uri::PathAndQuery;
use serde::Deserialize;

use crate::exchange::ports::UpstreamTarget;
use crate::upstream::{
    BUDGET_PERCENT, CircuitRules, ENDPOINTS_MAX, EndpointSettings, HealthRules, ProxySettings, RETRIES_MAX, RetryRules,
    TargetError, TlsSettings, UpstreamSettings,
};
use auth::{AuthEntry, PlaceEntry};

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
mod tests;
