//! AWS Signature Version 4, and where its keys come from.
//!
//! The signature covers the method, the path as it stands on the wire (encoded once more, as every service but S3 wants
//! it), the query, the headers `host`, `content-type` and `x-amz-*`, and the body that is sent, after all redaction.

use std::path::Path;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use http::HeaderName;
use http::header::{CONTENT_TYPE, HOST};
use zeroize::Zeroizing;

use super::aws_agent::Agent;
use super::renewed::Renewed;
use super::secret::{Secret, SecretPlace, sensitive};
use super::{AuthError, Outgoing};
use crate::fetch::Fetch;
use crate::upstream::request::full_path;
use crate::upstream::settings::{AwsCredentialPlace, AwsSettings};

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

/// A key pair, with the token of temporary ones.
#[derive(Clone)]
pub(super) struct Pair {
    pub(super) id: String,
    pub(super) secret: Zeroizing<String>,
    pub(super) token: Option<Zeroizing<String>>,
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
            AwsCredentialPlace::Instance => fetched(Agent::instance())?,
            AwsCredentialPlace::Container => fetched(Agent::container()?)?,
            AwsCredentialPlace::WebIdentity => fetched(Agent::web_identity(&settings.region)?)?,
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
            Keys::Fetched { fetch, from, held } => held.get(from.pair(fetch)).await?.as_ref().clone(),
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
}
