//! AWS Signature Version 4, and where its keys come from.
//!
//! The signature covers the method, the path as it stands on the wire (encoded once more, as every service but S3 wants
//! it), the query, the headers `host`, `content-type` and `x-amz-*`, and the body that is sent, after all redaction.

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderName, Request, StatusCode};
use http_body_util::Full;
use serde::Deserialize;
use zeroize::{Zeroize, Zeroizing};

use super::renewed::{Fresh, Renewed};
use super::secret::{Secret, SecretPlace, sensitive, wiped};
use super::{AuthError, Outgoing};
use crate::fetch::{Bounds, Fetch};
use crate::upstream::request::full_path;
use crate::upstream::settings::{AwsCredentialPlace, AwsSettings};

/// Both metadata services have the next credentials ready five minutes before the present ones end, so that ones fetched
/// less than that long ago are always good.
const RENEW_AFTER: Duration = Duration::from_secs(240);
const ENDS_AFTER: Duration = Duration::from_secs(300);
/// They are on this machine, or one hop away.
const METADATA: Bounds = Bounds { time: Duration::from_secs(3), answer: 64 * 1024 };
/// How long the session of the instance's metadata service is asked to last: it is used at once.
const SESSION_S: &str = "60";
const INSTANCE: &str = "http://169.254.169.254";
/// The agent of ECS, for addresses that are given relative to it.
const CONTAINER: &str = "http://169.254.170.2";

/// Signs requests.
pub(super) struct Aws {
    region: String,
    service: String,
    keys: Keys,
}

impl std::fmt::Debug for Aws {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aws").field("region", &self.region).field("service", &self.service).finish_non_exhaustive()
    }
}

enum Keys {
    Environment { id: Secret, secret: Secret, token: Option<Secret> },
    File { file: Secret, place: SecretPlace, profile: String },
    Fetched { fetch: Fetch, from: Agent, held: Renewed<Pair> },
}

/// Who gives out keys on this machine.
pub(super) enum Agent {
    Instance { base: String },
    Container { url: String, token: Option<Secret> },
}

/// A key pair, with the token of temporary ones.
#[derive(Clone)]
pub(super) struct Pair {
    id: String,
    secret: Zeroizing<String>,
    token: Option<Zeroizing<String>>,
}

impl Aws {
    pub(super) fn new(settings: AwsSettings, ca_file: Option<&Path>) -> Result<Self, AuthError> {
        let fetched =
            |from| Ok::<_, AuthError>(Keys::Fetched { fetch: Fetch::new(ca_file)?, from, held: Renewed::default() });
        let keys = match settings.credentials {
            AwsCredentialPlace::Environment => {
                let variable = |name: &str| Secret::new(SecretPlace::Env(name.into()));
                Keys::Environment {
                    id: variable("AWS_ACCESS_KEY_ID")?,
                    secret: variable("AWS_SECRET_ACCESS_KEY")?,
                    token: variable("AWS_SESSION_TOKEN").ok(),
                }
            }
            AwsCredentialPlace::File { path, profile } => {
                let place = SecretPlace::File(path);
                Keys::File { file: Secret::new(place.clone())?, place, profile }
            }
            AwsCredentialPlace::Instance => fetched(Agent::Instance { base: INSTANCE.into() })?,
            AwsCredentialPlace::Container => fetched(Agent::of_environment()?)?,
        };
        let aws = Self { region: settings.region, service: settings.service, keys };
        if !matches!(aws.keys, Keys::Fetched { .. }) {
            aws.at_hand()?;
        }
        Ok(aws)
    }

    #[cfg(test)]
    pub(super) fn fetched(from: Agent, fetch: Fetch) -> Self {
        let keys = Keys::Fetched { fetch, from, held: Renewed::default() };
        Self { region: "eu-central-1".into(), service: "bedrock".into(), keys }
    }

    pub(super) async fn sign(&self, out: &mut Outgoing<'_>) -> Result<(), AuthError> {
        let pair = match &self.keys {
            Keys::Fetched { fetch, from, held } => {
                let fresh = async {
                    let value = from.pair(fetch).await?;
                    Ok::<_, AuthError>(Fresh { value, renew_after: RENEW_AFTER, ends_after: ENDS_AFTER })
                };
                held.get(fresh).await?.as_ref().clone()
            }
            _ => self.at_hand()?,
        };
        sign_with(&pair, (&self.region, &self.service), SystemTime::now(), out)
    }

    /// Keys that need not be fetched.
    fn at_hand(&self) -> Result<Pair, AuthError> {
        match &self.keys {
            Keys::Environment { id, secret, token } => Ok(Pair {
                id: id.text().to_string(),
                secret: secret.text().as_ref().clone(),
                token: token.as_ref().map(|token| token.text().as_ref().clone()),
            }),
            Keys::File { file, place, profile } => {
                let fault = |detail| AuthError::AwsFile { place: place.clone(), detail };
                profile_of(&file.text(), profile).ok_or_else(|| fault("the profile has no key pair"))
            }
            Keys::Fetched { .. } => Err(AuthError::Aws { detail: "they are to be fetched".into() }),
        }
    }
}

/// Signs what stands in `out` and adds the signature's headers.
pub(super) fn sign_with(
    pair: &Pair,
    (region, service): (&str, &str),
    now: SystemTime,
    out: &mut Outgoing<'_>,
) -> Result<(), AuthError> {
    let fault = |detail| AuthError::Sign { detail };
    let body = out.body.ok_or(fault("its body is not known beforehand"))?;
    let token = pair.token.as_ref().map(|token| token.to_string());
    let identity = Credentials::new(pair.id.clone(), pair.secret.as_str(), token, None, "clyra").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(now)
        .settings(SigningSettings::default())
        .build()
        .map_err(|_| fault("region or service is missing"))?
        .into();
    let scheme = if out.target.tls { "https" } else { "http" };
    let authority = out.target.authority();
    let uri = format!("{scheme}://{authority}{}", full_path(out.target, out.path_and_query));
    let mut covered = vec![(HOST.as_str(), authority.as_str())];
    for (name, value) in out.headers.iter() {
        if *name == CONTENT_TYPE || name.as_str().starts_with("x-amz-") {
            covered.push((name.as_str(), value.to_str().map_err(|_| fault("a header is not ASCII"))?));
        }
    }
    let request = SignableRequest::new(out.method.as_str(), uri, covered.into_iter(), SignableBody::Bytes(body))
        .map_err(|_| fault("its address is not usable"))?;
    let signed = sign(request, &params).map_err(|_| fault("its address or a header is not usable"))?;
    let (headers, _) = signed.into_parts().0.into_parts();
    for header in headers {
        let name = HeaderName::from_bytes(header.name().as_bytes()).map_err(|_| fault("a header has no name"))?;
        let value = sensitive(header.value()).ok_or(fault("the credentials are not ASCII"))?;
        out.headers.insert(name, value);
    }
    Ok(())
}

/// The key pair of a profile in a shared credentials file.
fn profile_of(text: &str, profile: &str) -> Option<Pair> {
    let mut is_in = false;
    let (mut id, mut secret, mut token) = (None, None, None);
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            is_in = name.trim() == profile;
        } else if let Some((key, value)) = line.split_once('=').filter(|_| is_in && !line.starts_with(['#', ';'])) {
            let value = value.trim();
            match key.trim() {
                "aws_access_key_id" => id = Some(value.to_owned()),
                "aws_secret_access_key" => secret = Some(Zeroizing::new(value.to_owned())),
                "aws_session_token" => token = Some(Zeroizing::new(value.to_owned())),
                _ => {}
            }
        }
    }
    Some(Pair { id: id?, secret: secret?, token })
}

/// What both agents answer with.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Given {
    access_key_id: String,
    #[serde(deserialize_with = "wiped")]
    secret_access_key: Zeroizing<String>,
    #[serde(default)]
    token: Option<String>,
}

impl Agent {
    /// The agent of the container, as the platform's variables name it.
    fn of_environment() -> Result<Self, AuthError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let relative = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI").map(|path| format!("{CONTAINER}{path}"));
        let url = relative.or_else(|| variable("AWS_CONTAINER_CREDENTIALS_FULL_URI"));
        let url = url.ok_or_else(|| AuthError::Aws {
            detail: "neither AWS_CONTAINER_CREDENTIALS_RELATIVE_URI nor AWS_CONTAINER_CREDENTIALS_FULL_URI is set"
                .into(),
        })?;
        if !keeps_to_this_machine(&url) {
            return Err(AuthError::Aws {
                detail: "AWS_CONTAINER_CREDENTIALS_FULL_URI must be https, or an address of this machine".into(),
            });
        }
        let file = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").map(|path| SecretPlace::File(path.into()));
        let place = file.or_else(|| {
            variable("AWS_CONTAINER_AUTHORIZATION_TOKEN")?;
            Some(SecretPlace::Env("AWS_CONTAINER_AUTHORIZATION_TOKEN".into()))
        });
        Ok(Self::Container { url, token: place.map(Secret::new).transpose()? })
    }

    async fn pair(&self, fetch: &Fetch) -> Result<Pair, AuthError> {
        let request = |method: &str, url: &str| Request::builder().method(method).uri(url);
        let mut answer = match self {
            Self::Container { url, token } => {
                let mut ask = request("GET", url);
                if let Some(token) = token {
                    ask = ask.header("authorization", token.header("")?);
                }
                told(fetch, ask).await?
            }
            Self::Instance { base } => {
                let ask = request("PUT", &format!("{base}/latest/api/token"));
                let session = told(fetch, ask.header("x-aws-ec2-metadata-token-ttl-seconds", SESSION_S)).await?;
                let no_token = || AuthError::Aws { detail: "the metadata service gave no session".into() };
                let session = std::str::from_utf8(&session).ok().and_then(|text| sensitive(text.trim()));
                let session = session.ok_or_else(no_token)?;
                let list = format!("{base}/latest/meta-data/iam/security-credentials/");
                let ask = request("GET", &list).header("x-aws-ec2-metadata-token", session.clone());
                let roles = told(fetch, ask).await?;
                let role = String::from_utf8_lossy(&roles).lines().next().unwrap_or_default().trim().to_owned();
                let ask = request("GET", &format!("{list}{role}")).header("x-aws-ec2-metadata-token", session);
                told(fetch, ask).await?
            }
        };
        let given: Result<Given, _> = serde_json::from_slice(&answer);
        answer.zeroize();
        let Given { access_key_id: id, secret_access_key: secret, token } =
            given.map_err(|_| AuthError::Aws { detail: "the answer holds no key pair".into() })?;
        Ok(Pair { id, secret, token: token.map(Zeroizing::new) })
    }
}

async fn told(fetch: &Fetch, ask: http::request::Builder) -> Result<Vec<u8>, AuthError> {
    let fault = |detail: String| AuthError::Aws { detail };
    let ask = ask.body(Full::new(Bytes::new())).map_err(|error| fault(error.to_string()))?;
    let answer = fetch.call(ask, METADATA).await.map_err(|error| fault(error.to_string()))?;
    match answer.status() {
        StatusCode::OK => Ok(answer.into_body().into()),
        status => Err(fault(format!("their agent answered {status}"))),
    }
}

/// Whether credentials asked for at this address cannot be read on the way.
fn keeps_to_this_machine(url: &str) -> bool {
    let Ok(uri) = url.parse::<http::Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let is_near = match host.parse() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_link_local(),
        // The agent of EKS has fd00:ec2::23.
        Ok(IpAddr::V6(address)) => address.is_loopback() || address.segments().first() == Some(&0xfd00),
        Err(_) => host == "localhost",
    };
    uri.scheme_str() == Some("https") || is_near
}

#[cfg(test)]
pub(super) fn pair(id: &str, secret: &str, token: Option<&str>) -> Pair {
    let wiped = |text: &str| Zeroizing::new(text.to_owned());
    Pair { id: id.into(), secret: wiped(secret), token: token.map(wiped) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_read_from_a_shared_credentials_file() {
        let text = "# all\n[default]\naws_access_key_id = A\naws_secret_access_key=B/+=\n\n[ team ]\n\
                    ;aws_access_key_id=no\naws_access_key_id=C\naws_secret_access_key = D\naws_session_token = E=\n";
        let read = |profile| {
            let pair = profile_of(text, profile)?;
            Some((pair.id, pair.secret.to_string(), pair.token.map(|token| token.to_string())))
        };
        assert_eq!(read("default"), Some(("A".into(), "B/+=".into(), None)));
        assert_eq!(read("team"), Some(("C".into(), "D".into(), Some("E=".into()))));
        assert_eq!(read("other"), None);
    }

    #[test]
    fn an_agent_far_away_is_asked_over_tls_only() {
        for (url, near) in [
            ("http://169.254.170.23/v1/credentials", true),
            ("http://[fd00:ec2::23]/v1/credentials", true),
            ("http://localhost:1338/x", true),
            ("https://agent.example/x", true),
            ("http://agent.example/x", false),
            ("http://10.0.0.1/x", false),
            ("nonsense", false),
        ] {
            assert_eq!(keeps_to_this_machine(url), near, "{url}");
        }
    }
}
