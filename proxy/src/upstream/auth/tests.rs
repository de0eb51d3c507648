//! Credentials put into requests, and tokens fetched from servers that follow a script.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, Method};
use ring::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::aws::{Aws, pair, sign_with};
use super::aws_agent::Agent;
use super::google::{From, Google};
use super::{Auth, AuthError, Outgoing, Secret, SecretPlace};
use crate::exchange::ports::UpstreamTarget;
use crate::fetch::Fetch;
use crate::upstream::settings::{AuthSettings, AwsCredentialPlace, AwsSettings, GoogleSettings};
use crate::upstream::tests::identity::small_trust_store;
use crate::upstream::tests::origin::Origin;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// 2026-11-29T12:00:00Z
const NOW_S: u64 = 1_795_953_600;

struct Request {
    target: UpstreamTarget,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Request {
    fn new(method: &str, base: &str, path: &str, body: &str) -> Self {
        let mut headers = HeaderMap::new();
        if !body.is_empty() {
            headers.insert("content-type", HeaderValue::from_static("application/json"));
        }
        Self {
            target: UpstreamTarget::parse("main", base).unwrap(),
            method: method.parse().unwrap(),
            path: path.into(),
            headers,
            body: body.into(),
        }
    }

    /// A request with whatever a client may use to say who it is.
    fn of_client(key: &'static str) -> Self {
        let mut request = Self::new("POST", "https://host", "/v1/x?alt=sse&key=client-key", "{}");
        let bearer = HeaderValue::from_str(&format!("Bearer {key}")).unwrap();
        request.headers.insert("authorization", bearer);
        request.headers.insert("x-goog-api-key", HeaderValue::from_static("client-key-2"));
        request.headers.insert("user-agent", HeaderValue::from_static("sdk"));
        request
    }

    fn outgoing(&mut self) -> Outgoing<'_> {
        let Self { target, method, path, headers, body } = self;
        Outgoing { target, method, path_and_query: path, headers, body: Some(body) }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn shown(&self) -> String {
        format!("{} {:?}", self.path, self.headers.iter().map(|(n, v)| (n, v.to_str().unwrap())).collect::<Vec<_>>())
    }
}

fn file(text: &str) -> (tempfile::TempDir, SecretPlace) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, text).unwrap();
    (dir, SecretPlace::File(path))
}

fn header_auth(name: &'static str, prefix: &'static str, secret: &str) -> Auth {
    let (_dir, secret) = file(secret);
    let settings = AuthSettings::Header { name: http::HeaderName::from_static(name), prefix, secret };
    Auth::new(settings, Vec::new(), None).unwrap()
}

#[tokio::test]
async fn by_default_the_clients_credentials_pass_untouched() {
    let auth = Auth::new(AuthSettings::Passthrough, Vec::new(), None).unwrap();
    let mut request = Request::of_client("client-key");
    let before = request.shown();
    auth.put(&mut request.outgoing()).await.unwrap();
    assert_eq!(request.shown(), before);
}

#[tokio::test]
async fn a_header_of_ours_leaves_nothing_of_the_clients() {
    for (name, prefix, wanted) in [("authorization", "Bearer ", "Bearer real-key"), ("api-key", "", "real-key")] {
        let auth = header_auth(name, prefix, "real-key\n");
        let mut request = Request::of_client("client-key");
        auth.put(&mut request.outgoing()).await.unwrap();
        assert_eq!(request.header(name), wanted);
        assert!(!request.shown().contains("client-key"), "{}", request.shown());
        assert_eq!((request.path.as_str(), request.header("user-agent")), ("/v1/x?alt=sse", "sdk"));
        assert!(!format!("{auth:?} {:?}", request.headers).contains("real-key"), "{auth:?}");
    }
}

#[tokio::test]
async fn a_virtual_key_becomes_the_real_one_where_it_stood_and_others_are_refused() {
    let (_dir, place) = file("real-key");
    let digest = Sha256::digest(b"virtual-1").into();
    let auth = Auth::new(AuthSettings::Passthrough, vec![([7; 32], place.clone()), (digest, place)], None).unwrap();

    let mut request = Request::of_client("virtual-1");
    assert!(auth.admits(&request.headers, None));
    auth.put(&mut request.outgoing()).await.unwrap();
    assert_eq!(request.header("authorization"), "Bearer real-key");
    assert!(!request.shown().contains("virtual-1") && !request.shown().contains("client-key"), "{}", request.shown());

    let mut request = Request::new("POST", "https://host", "/v1/x", "{}");
    request.headers.insert("x-api-key", HeaderValue::from_static("virtual-1"));
    auth.put(&mut request.outgoing()).await.unwrap();
    assert_eq!((request.header("x-api-key"), request.header("authorization")), ("real-key", ""));

    let mut request = Request::new("POST", "https://host", "/v1/x?key=virtual-1", "{}");
    assert!(auth.admits(&request.headers, Some("key=virtual-1")));
    auth.put(&mut request.outgoing()).await.unwrap();
    assert_eq!((request.header("x-goog-api-key"), request.path.as_str()), ("real-key", "/v1/x"));

    for mut request in [Request::of_client("real-key"), Request::new("POST", "https://host", "/v1/x", "{}")] {
        assert!(!auth.admits(&request.headers, None));
        let error = auth.put(&mut request.outgoing()).await.unwrap_err();
        assert!(matches!(error, AuthError::UnknownKey), "{error}");
        assert!(!format!("{error} {auth:?}").contains("real-key"));
    }
}

#[test]
fn signatures_are_those_of_botocore() {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("testdata/sigv4.json")).unwrap();
    assert_eq!(vectors.len(), 6);
    for vector in vectors {
        let text = |name: &str| vector[name].as_str().unwrap();
        let pair = pair("AKIDEXAMPLE", SECRET, vector["token"].as_str());
        let mut request = Request::new(text("method"), text("base"), text("path"), text("body"));
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW_S);
        sign_with(&pair, ("eu-central-1", "bedrock"), now, &mut request.outgoing()).unwrap();
        assert_eq!(request.header("authorization"), text("authorization"), "{}", text("path"));
        assert_eq!(request.header("x-amz-security-token"), vector["token"].as_str().unwrap_or_default());
        assert!(!format!("{:?}", request.headers).contains("Signature"));
    }
}

/// "get-vanilla" of AWS's own test suite for Signature Version 4.
#[test]
fn signatures_are_those_that_aws_has_published() {
    let mut request = Request::new("GET", "https://example.amazonaws.com", "/", "");
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160);
    let pair = pair("AKIDEXAMPLE", SECRET, None);
    sign_with(&pair, ("us-east-1", "service"), now, &mut request.outgoing()).unwrap();
    assert_eq!(
        request.header("authorization"),
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
         SignedHeaders=host;x-amz-date, \
         Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
    );
}

#[tokio::test]
async fn a_signature_covers_the_body_and_replaces_what_the_client_signed() {
    let (_dir, SecretPlace::File(path)) = file(&format!("[p]\naws_access_key_id=A\naws_secret_access_key={SECRET}\n"))
    else {
        panic!("a file")
    };
    let settings = |profile: &str| {
        let credentials = AwsCredentialPlace::File { path: path.clone(), profile: profile.into() };
        AuthSettings::Aws(AwsSettings { region: "r".into(), service: "bedrock".into(), credentials })
    };
    let error = Auth::new(settings("other"), Vec::new(), None).unwrap_err().to_string();
    assert!(error.contains("no key pair") && !error.contains(SECRET), "{error}");

    let auth = Auth::new(settings("p"), Vec::new(), None).unwrap();
    let signature = async |body: &str| {
        let mut request = Request::of_client("client-key");
        request.body = body.into();
        request.headers.insert("x-amz-security-token", HeaderValue::from_static("client-token"));
        request.headers.insert("x-amz-date", HeaderValue::from_static("client-date"));
        auth.put(&mut request.outgoing()).await.unwrap();
        assert!(!request.shown().contains("client-"), "{}", request.shown());
        request.header("authorization").to_owned()
    };
    let (one, other) = (signature("{}").await, signature("{ }").await);
    assert!(one.starts_with("AWS4-HMAC-SHA256 Credential=A/"), "{one}");
    assert_ne!(one, other);
    assert!(!format!("{auth:?}").contains(SECRET));

    // What passes uninspected is not known beforehand, and cannot be signed.
    let mut request = Request::of_client("client-key");
    let unknown = Outgoing { body: None, ..request.outgoing() };
    let mut unknown = unknown;
    assert!(matches!(auth.put(&mut unknown).await, Err(AuthError::Sign { .. })));
}

/// A server of tokens, which answers each request with the next text and tells what it was asked.
async fn answering(texts: Vec<String>) -> (String, tokio::task::JoinHandle<Vec<(String, Vec<u8>)>>) {
    let mut origin = Origin::new().await;
    let base = format!("http://{}", origin.address);
    let asked = tokio::spawn(async move {
        let mut asked = Vec::new();
        for text in texts {
            let mut connection = origin.connection().await;
            asked.push(connection.request().await);
            connection.answer(&text).await;
        }
        asked
    });
    (base, asked)
}

fn fetch() -> Fetch {
    Fetch::new(Some(&small_trust_store())).unwrap()
}

fn given(id: &str) -> String {
    json!({"AccessKeyId": id, "SecretAccessKey": SECRET, "Token": "session==", "Expiration": "2026-11-29T18:00:00Z"})
        .to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_the_instance_are_fetched_once_and_kept() {
    let (base, asked) = answering(vec!["metadata-session".into(), "the-role\n".into(), given("AFETCHED")]).await;
    let aws = Aws::fetched(Agent::Instance { base }, fetch());
    for _ in 0..2 {
        let mut request = Request::of_client("client-key");
        aws.sign(&mut request.outgoing()).await.unwrap();
        assert!(request.header("authorization").contains("Credential=AFETCHED/"));
        assert_eq!(request.header("x-amz-security-token"), "session==");
    }
    let asked: Vec<_> = asked.await.unwrap().into_iter().map(|(head, _)| head).collect();
    assert!(asked[0].starts_with("put /latest/api/token ") && asked[0].contains("ttl-seconds: 60"), "{}", asked[0]);
    assert!(asked[1].starts_with("get /latest/meta-data/iam/security-credentials/ "), "{}", asked[1]);
    assert!(asked[2].starts_with("get /latest/meta-data/iam/security-credentials/the-role "), "{}", asked[2]);
    assert!(asked[2].contains("x-aws-ec2-metadata-token: metadata-session"), "{}", asked[2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_the_container_are_asked_for_with_its_token() {
    let (_dir, place) = file("agent-token");
    let (base, asked) = answering(vec![given("ACONTAINER")]).await;
    let token = Some(Secret::new(place).unwrap());
    let aws = Aws::fetched(Agent::Container { url: format!("{base}/v1/credentials"), token }, fetch());
    let mut request = Request::of_client("client-key");
    aws.sign(&mut request.outgoing()).await.unwrap();
    assert!(request.header("authorization").contains("Credential=ACONTAINER/"));
    let (head, _) = &asked.await.unwrap()[0];
    assert!(head.starts_with("get /v1/credentials ") && head.contains("authorization: agent-token"), "{head}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_a_role_are_had_for_a_token_of_the_cluster() {
    let (_dir, place) = file("eyJ.cluster.token");
    let xml = format!(
        "<R><Credentials><AccessKeyId>AROLE</AccessKeyId><SecretAccessKey>{SECRET}</SecretAccessKey>\
         <SessionToken>session==</SessionToken></Credentials></R>"
    );
    let (url, asked) = answering(vec![xml]).await;
    let (role, session) = ("arn:aws:iam::1:role/r".into(), "clyra".into());
    let agent = Agent::WebIdentity { url, role, session, token: Secret::new(place).unwrap() };
    let aws = Aws::fetched(agent, fetch());
    let mut request = Request::of_client("client-key");
    aws.sign(&mut request.outgoing()).await.unwrap();
    assert!(request.header("authorization").contains("Credential=AROLE/"));
    assert_eq!(request.header("x-amz-security-token"), "session==");
    let (_, form) = &asked.await.unwrap()[0];
    assert_eq!(
        std::str::from_utf8(form).unwrap(),
        "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr\
         &RoleSessionName=clyra&WebIdentityToken=eyJ%2Ecluster%2Etoken"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_gives_no_keys_is_an_error_without_its_answer() {
    let (base, _asked) = answering(vec![r#"{"Code": "the-secret-answer"}"#.into()]).await;
    let aws = Aws::fetched(Agent::Container { url: base, token: None }, fetch());
    let error = aws.sign(&mut Request::of_client("k").outgoing()).await.unwrap_err();
    assert!(matches!(error, AuthError::Aws { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("the-secret-answer"));
}

fn token(text: &str, expires_in: u64) -> String {
    json!({"access_token": text, "expires_in": expires_in, "token_type": "Bearer"}).to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_google_token_comes_from_the_metadata_server_and_is_kept() {
    let (base, asked) = answering(vec![token("ya29.one", 3600)]).await;
    let google = Google::with(From::Metadata { url: format!("{base}/token") }, fetch());
    for _ in 0..2 {
        let mut headers = HeaderMap::new();
        google.put(&mut headers).await.unwrap();
        assert_eq!(headers["authorization"], "Bearer ya29.one");
        assert!(!format!("{headers:?} {google:?}").contains("ya29"));
    }
    let (head, _) = &asked.await.unwrap()[0];
    assert!(head.contains("metadata-flavor: google"), "{head}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_google_token_is_asked_for_with_a_signed_statement_and_renewed_before_its_end() {
    let pem = include_str!("testdata/rsa.pem");
    // The first one is about to end.
    let (base, asked) = answering(vec![token("ya29.one", 60), token("ya29.two", 3600)]).await;
    let account = json!({
        "type": "service_account",
        "client_email": "clyra@project.iam.gserviceaccount.com",
        "private_key_id": "key-1",
        "private_key": pem,
        "token_uri": format!("{base}/token"),
    });
    let (_dir, place) = file(&account.to_string());
    let google = Google::with(From::Account { file: Secret::new(place.clone()).unwrap(), place }, fetch());
    for wanted in ["Bearer ya29.one", "Bearer ya29.two", "Bearer ya29.two"] {
        let mut headers = HeaderMap::new();
        google.put(&mut headers).await.unwrap();
        assert_eq!(headers["authorization"], wanted);
    }
    let asked = asked.await.unwrap();
    let form = String::from_utf8(asked[0].1.clone()).unwrap();
    let assertion =
        form.strip_prefix("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=").unwrap();
    let (signed, signature) = assertion.rsplit_once('.').unwrap();
    let decoded = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    let key = ring::signature::RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap();
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key())
        .verify(signed.as_bytes(), &decoded(signature))
        .unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let header: Value = serde_json::from_slice(&decoded(header)).unwrap();
    assert_eq!(header, json!({"alg": "RS256", "typ": "JWT", "kid": "key-1"}));
    let claims: Value = serde_json::from_slice(&decoded(claims)).unwrap();
    assert_eq!(claims["iss"], "clyra@project.iam.gserviceaccount.com");
    assert_eq!(claims["aud"], format!("{base}/token"));
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 3600);
}

#[test]
fn a_service_account_that_cannot_be_used_stops_the_start() {
    for (account, says) in [
        (json!({"type": "authorized_user"}), "no key file"),
        (json!({"client_email": "e", "private_key": "x", "token_uri": "https://h/t"}), "PKCS#8"),
        (json!({"client_email": "e", "private_key": "hunter2", "token_uri": "http://h/t"}), "not https"),
    ] {
        let (_dir, SecretPlace::File(path)) = file(&account.to_string()) else { panic!("a file") };
        let settings = AuthSettings::Google(GoogleSettings::ServiceAccount(path));
        let error = Auth::new(settings, Vec::new(), Some(&small_trust_store())).unwrap_err().to_string();
        assert!(error.contains(says) && !error.contains("hunter2"), "{error}");
    }
}
