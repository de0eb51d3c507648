//! Google's OAuth tokens: from the metadata server, or for a service account's key (RFC 7523 section 2.1, with an RS256
//! signature as RFC 7515 describes it). Kept until shortly before they end.

use std::path::Path;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::Full;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::AuthError;
use super::renewed::{Fresh, Renewed};
use super::secret::{Secret, SecretPlace, sensitive, wiped};
use crate::fetch::{Bounds, Fetch};
use crate::upstream::settings::GoogleSettings;

/// What Vertex AI and the Gemini API ask for.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const METADATA: &str = "metadata.google.internal";
const METADATA_PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/token";
/// The longest life that Google grants an assertion.
const ASSERTION_S: u64 = 3600;
/// A token is replaced that long before its end; Google's metadata server has a new one in the last four minutes.
const AHEAD: Duration = Duration::from_secs(200);
/// A call with a token that ends on its way would fail.
const MARGIN: Duration = Duration::from_secs(30);
const BOUNDS: Bounds = Bounds { time: Duration::from_secs(10), answer: 64 * 1024 };

/// Gets tokens.
pub(super) struct Google {
    fetch: Fetch,
    from: From,
    held: Renewed<HeaderValue>,
}

impl std::fmt::Debug for Google {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Google").finish_non_exhaustive()
    }
}

pub(super) enum From {
    Metadata { url: String },
    Account { file: Secret, place: SecretPlace },
}

/// The members of a service account's key file that are used.
#[derive(Deserialize)]
struct Account {
    client_email: String,
    private_key_id: Option<String>,
    #[serde(deserialize_with = "wiped")]
    private_key: Zeroizing<String>,
    token_uri: String,
}

#[derive(Deserialize)]
struct Token {
    #[serde(deserialize_with = "wiped")]
    access_token: Zeroizing<String>,
    expires_in: u64,
}

impl Google {
    pub(super) fn new(settings: GoogleSettings, ca_file: Option<&Path>) -> Result<Self, AuthError> {
        let from = match settings {
            GoogleSettings::Metadata => {
                let host = std::env::var("GCE_METADATA_HOST").unwrap_or_else(|_| METADATA.into());
                From::Metadata { url: format!("http://{host}{METADATA_PATH}") }
            }
            GoogleSettings::ServiceAccount(path) => {
                let place = SecretPlace::File(path);
                let file = Secret::new(place.clone())?;
                // A file that cannot be used stops the start.
                account(&file, &place)?.0.assertion(&place, SystemTime::now())?;
                From::Account { file, place }
            }
        };
        Ok(Self::with(from, Fetch::new(ca_file)?))
    }

    pub(super) fn with(from: From, fetch: Fetch) -> Self {
        Self { fetch, from, held: Renewed::default() }
    }

    pub(super) async fn put(&self, headers: &mut HeaderMap) -> Result<(), AuthError> {
        let value = self.held.get(self.token()).await?;
        headers.insert(AUTHORIZATION, value.as_ref().clone());
        Ok(())
    }

    async fn token(&self) -> Result<Fresh<HeaderValue>, AuthError> {
        let fault = |detail: String| AuthError::Google { detail };
        let request = match &self.from {
            From::Metadata { url } => {
                Request::get(url).header("metadata-flavor", "Google").body(Full::new(Bytes::new()))
            }
            From::Account { file, place } => {
                let (account, uri) = account(file, place)?;
                let assertion = account.assertion(place, SystemTime::now())?;
                let form =
                    format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}");
                Request::post(uri)
                    .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(Full::new(Bytes::from(form)))
            }
        };
        let request = request.map_err(|error| fault(error.to_string()))?;
        let answer = self.fetch.call(request, BOUNDS).await.map_err(|error| fault(error.to_string()))?;
        if answer.status() != StatusCode::OK {
            return Err(fault(format!("the token's server answered {}", answer.status())));
        }
        let token: Token =
            serde_json::from_slice(answer.body()).map_err(|_| fault("the answer holds no token".into()))?;
        let bearer = Zeroizing::new(format!("Bearer {}", token.access_token.as_str()));
        let value = sensitive(&bearer).ok_or_else(|| fault("the token is not ASCII".into()))?;
        let life = Duration::from_secs(token.expires_in);
        Ok(Fresh { value, renew_after: life.saturating_sub(AHEAD), ends_after: life.saturating_sub(MARGIN) })
    }
}

/// The account as it now stands in its file, and where it gets its tokens.
fn account(file: &Secret, place: &SecretPlace) -> Result<(Account, http::Uri), AuthError> {
    let fault = |detail| AuthError::ServiceAccount { place: place.clone(), detail };
    let account: Account = serde_json::from_str(&file.text())
        .map_err(|_| fault("it is no key file with client_email, private_key and token_uri"))?;
    let uri: http::Uri = account.token_uri.parse().map_err(|_| fault("its token_uri is no URL"))?;
    let is_near = matches!(uri.host(), Some("127.0.0.1" | "localhost"));
    if uri.scheme_str() != Some("https") && !is_near {
        return Err(fault("its token_uri is not https"));
    }
    Ok((account, uri))
}

impl Account {
    /// The signed statement that a token is asked for with.
    fn assertion(&self, place: &SecretPlace, now: SystemTime) -> Result<String, AuthError> {
        let fault = |detail| AuthError::ServiceAccount { place: place.clone(), detail };
        let now = now.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| fault("the clock is before 1970"))?.as_secs();
        let mut header = json!({"alg": "RS256", "typ": "JWT"});
        if let (Some(id), Some(header)) = (&self.private_key_id, header.as_object_mut()) {
            header.insert("kid".into(), id.as_str().into());
        }
        let claims = json!({
            "iss": self.client_email,
            "scope": SCOPE,
            "aud": self.token_uri,
            "iat": now,
            "exp": now.saturating_add(ASSERTION_S),
        });
        let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let der = PrivatePkcs8KeyDer::from_pem_slice(self.private_key.as_bytes())
            .map_err(|_| fault("its private_key is no PKCS#8 PEM"))?;
        let key = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| fault("its private_key is no RSA key"))?;
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| fault("its private_key does not sign"))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}
