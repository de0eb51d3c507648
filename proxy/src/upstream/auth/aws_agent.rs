//! Who gives out AWS keys: the instance's metadata service, the agent of a container, the token service in exchange for a
//! token of the cluster (IRSA).

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Request, StatusCode};
use http_body_util::Full;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use zeroize::{Zeroize as _, Zeroizing};

use super::AuthError;
use super::aws::Pair;
use super::renewed::Fresh;
use super::secret::{Secret, SecretPlace, sensitive, wiped};
use crate::fetch::{Bounds, Fetch};

/// Both metadata services have the next credentials ready five minutes before the present ones end, so that ones fetched
/// less than that long ago are always good.
const LOCAL_LIFE: (Duration, Duration) = (Duration::from_secs(240), Duration::from_secs(300));
/// A session of the token service: an hour by default, renewed in its last ten minutes.
const SESSION_LIFE: (Duration, Duration) = (Duration::from_secs(3_000), Duration::from_secs(3_570));
/// The metadata services are on this machine, or one hop away.
const LOCAL: Bounds = Bounds { time: Duration::from_secs(3), answer: 64 * 1024 };
const TOKEN_SERVICE: Bounds = Bounds { time: Duration::from_secs(10), answer: 64 * 1024 };
/// How long the session of the instance's metadata service is asked to last: it is used at once.
const SESSION_S: &str = "60";
const INSTANCE: &str = "http://169.254.169.254";
/// The agent of ECS, for addresses that are given relative to it.
const CONTAINER: &str = "http://169.254.170.2";

pub(super) enum Agent {
    Instance { base: String },
    Container { url: String, token: Option<Secret> },
    WebIdentity { url: String, role: String, session: String, token: Secret },
}

/// What both metadata services answer with.
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
    pub(super) fn instance() -> Self {
        Self::Instance { base: INSTANCE.into() }
    }

    /// The agent of the container, as the platform's variables name it.
    pub(super) fn container() -> Result<Self, AuthError> {
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

    /// The token service of the region, and what the cluster has put into the pod's variables.
    pub(super) fn web_identity(region: &str) -> Result<Self, AuthError> {
        let needed = |name: &str| variable(name).ok_or_else(|| AuthError::Aws { detail: format!("{name} is not set") });
        let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let token = SecretPlace::File(needed("AWS_WEB_IDENTITY_TOKEN_FILE")?.into());
        Ok(Self::WebIdentity {
            url: format!("https://sts.{region}.{domain}/"),
            role: needed("AWS_ROLE_ARN")?,
            session: variable("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| "clyra".into()),
            token: Secret::new(token)?,
        })
    }

    /// Keys that hold from now.
    pub(super) async fn pair(&self, fetch: &Fetch) -> Result<Fresh<Pair>, AuthError> {
        let request = |method: &str, url: &str| Request::builder().method(method).uri(url);
        let empty = Bytes::new;
        let (value, (renew_after, ends_after)) = match self {
            Self::Container { url, token } => {
                let mut ask = request("GET", url);
                if let Some(token) = token {
                    ask = ask.header(AUTHORIZATION, token.header("")?);
                }
                (given(told(fetch, ask, empty(), LOCAL).await?)?, LOCAL_LIFE)
            }
            Self::Instance { base } => {
                let ask = request("PUT", &format!("{base}/latest/api/token"));
                let ask = ask.header("x-aws-ec2-metadata-token-ttl-seconds", SESSION_S);
                let session = told(fetch, ask, empty(), LOCAL).await?;
                let no_token = || AuthError::Aws { detail: "the metadata service gave no session".into() };
                let session = std::str::from_utf8(&session).ok().and_then(|text| sensitive(text.trim()));
                let session = session.ok_or_else(no_token)?;
                let list = format!("{base}/latest/meta-data/iam/security-credentials/");
                let ask = request("GET", &list).header("x-aws-ec2-metadata-token", session.clone());
                let roles = told(fetch, ask, empty(), LOCAL).await?;
                let role = String::from_utf8_lossy(&roles).lines().next().unwrap_or_default().trim().to_owned();
                let ask = request("GET", &format!("{list}{role}")).header("x-aws-ec2-metadata-token", session);
                (given(told(fetch, ask, empty(), LOCAL).await?)?, LOCAL_LIFE)
            }
            Self::WebIdentity { url, role, session, token } => {
                let escaped = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
                let form = format!(
                    "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn={}&RoleSessionName={}&WebIdentityToken={}",
                    escaped(role),
                    escaped(session),
                    escaped(&token.text())
                );
                let ask = request("POST", url).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
                (session_of(told(fetch, ask, form.into(), TOKEN_SERVICE).await?)?, SESSION_LIFE)
            }
        };
        Ok(Fresh { value, renew_after, ends_after })
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn no_pair() -> AuthError {
    AuthError::Aws { detail: "the answer holds no key pair".into() }
}

fn given(mut answer: Vec<u8>) -> Result<Pair, AuthError> {
    let given: Result<Given, _> = serde_json::from_slice(&answer);
    answer.zeroize();
    let Given { access_key_id: id, secret_access_key: secret, token } = given.map_err(|_| no_pair())?;
    Ok(Pair { id, secret, token: token.map(Zeroizing::new) })
}

/// The keys in the token service's XML. Their characters need no escapes there, so that each stands as it is between its
/// tags.
fn session_of(answer: Vec<u8>) -> Result<Pair, AuthError> {
    let answer = Zeroizing::new(answer);
    let text = std::str::from_utf8(&answer).map_err(|_| no_pair())?;
    let member = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        let (value, _) = rest.split_once(&format!("</{name}>"))?;
        (!value.is_empty() && !value.contains(['<', '&'])).then(|| Zeroizing::new(value.to_owned()))
    };
    let id = member("AccessKeyId").ok_or_else(no_pair)?.to_string();
    let secret = member("SecretAccessKey").ok_or_else(no_pair)?;
    Ok(Pair { id, secret, token: Some(member("SessionToken").ok_or_else(no_pair)?) })
}

async fn told(fetch: &Fetch, ask: http::request::Builder, body: Bytes, bounds: Bounds) -> Result<Vec<u8>, AuthError> {
    let fault = |detail: String| AuthError::Aws { detail };
    let ask = ask.body(Full::new(body)).map_err(|error| fault(error.to_string()))?;
    let answer = fetch.call(ask, bounds).await.map_err(|error| fault(error.to_string()))?;
    match answer.status() {
        StatusCode::OK => Ok(answer.into_body().into()),
        status => Err(fault(format!("who gives them out answered {status}"))),
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
mod tests {
    use super::*;

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

    #[test]
    fn a_session_is_read_from_its_xml() {
        let xml = |secret: &str| {
            format!(
                "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n\
                 <AssumeRoleWithWebIdentityResult><Audience>a</Audience><Credentials>\n\
                 <SessionToken>tok+/=</SessionToken><SecretAccessKey>{secret}</SecretAccessKey>\n\
                 <Expiration>2026-11-29T13:00:00Z</Expiration><AccessKeyId>ASIA1</AccessKeyId>\n\
                 </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
            )
        };
        let pair = session_of(xml("sec/+=").into()).unwrap();
        let token = pair.token.unwrap();
        assert_eq!((pair.id.as_str(), pair.secret.as_str(), token.as_str()), ("ASIA1", "sec/+=", "tok+/="));
        for broken in [xml(""), xml("<b/>"), xml("&amp;"), String::new(), "<AccessKeyId>A".into()] {
            assert!(session_of(broken.into()).is_err());
        }
    }
}
