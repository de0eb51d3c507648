//! An object store: a copy of each note, put only where nothing is, with a retention that the store enforces.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use clyra_receipts::anchor::{AnchorKind, CopyProof};
use http::{HeaderMap, HeaderName, HeaderValue};
use object_store::aws::{AmazonS3Builder, Checksum};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{
    ClientOptions, Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, RetryConfig,
};

use super::connector::Connector;
use super::copy::{bundle_name, note_name};
use super::settings::Lock;
use super::{Anchor, AnchorError, Anchored, Note, timestamp};
use crate::fetch::Fetch;

const LOCK_MODE: HeaderName = HeaderName::from_static("x-amz-object-lock-mode");
const CHECKSUM: HeaderName = HeaderName::from_static("x-amz-sdk-checksum-algorithm");
const LOCK_UNTIL: HeaderName = HeaderName::from_static("x-amz-object-lock-retain-until-date");

/// The task tries again by itself; within one try, a lost connection is made up for once or twice.
const RETRIES: usize = 2;
const RETRY_TIME: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Object {
    pub(super) place: Place,
    pub(super) lock: Option<Lock>,
    pub(super) bundles: bool,
    pub(super) fetch: Fetch,
}

/// Bucket and prefix, and what the store's library is to be told.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) scheme: Scheme,
    /// As in the settings, without a slash at the end.
    pub(super) url: String,
    /// Below the bucket, without slashes at either end.
    pub(super) prefix: String,
    pub(super) options: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    S3,
    Google,
    Azure,
}

impl Place {
    /// From `s3://bucket/prefix` and its like.
    pub(super) fn parse(url: &str, options: Vec<(String, String)>) -> Option<Place> {
        let url = url.trim_end_matches('/');
        let (scheme, rest) = url.split_once("://")?;
        let scheme = match scheme {
            "s3" => Scheme::S3,
            "gs" => Scheme::Google,
            "az" => Scheme::Azure,
            _ => return None,
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let place = Place { scheme, url: url.to_owned(), prefix: prefix.to_owned(), options };
        (!bucket.is_empty()).then_some(place)
    }

    /// A client. Credentials come from the environment, as the store's own tools read them, or from the options.
    pub(super) fn store(&self, fetch: &Fetch, headers: HeaderMap) -> Result<Arc<dyn ObjectStore>, Error> {
        let client = ClientOptions::new().with_default_headers(headers);
        let retry = RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_TIME, ..RetryConfig::default() };
        let connector = Connector(fetch.clone());
        macro_rules! build {
            ($builder:expr) => {{
                let mut builder = $builder
                    .with_client_options(client)
                    .with_http_connector(connector)
                    .with_retry(retry)
                    .with_url(&self.url);
                for (key, value) in &self.options {
                    builder = builder.with_config(key.parse()?, value);
                }
                Ok(Arc::new(builder.build()?))
            }};
        }
        match self.scheme {
            Scheme::S3 => build!(AmazonS3Builder::from_env().with_checksum_algorithm(Checksum::SHA256)),
            Scheme::Google => build!(GoogleCloudStorageBuilder::from_env()),
            Scheme::Azure => build!(MicrosoftAzureBuilder::from_env()),
        }
    }
}

/// Longest text of a store's error that is passed on: it may quote a page of the server's.
const ERROR_MAX: usize = 400;

fn stored(error: &Error) -> AnchorError {
    AnchorError::Store(error.to_string().chars().filter(|char| !char.is_control()).take(ERROR_MAX).collect())
}

/// What a put gave.
struct Put {
    uri: String,
    etag: Option<String>,
    version: Option<String>,
    retain_until: Option<String>,
}

impl Object {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<Put, AnchorError> {
        let uri = format!("{}/{name}", self.place.url);
        let path = if self.place.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", self.place.prefix) };
        let path = Path::from(path);
        let (headers, retain_until) = self.retention();
        // A client for each put, because the end of the retention is in its headers, which are signed.
        let store = self.place.store(&self.fetch, headers).map_err(|error| stored(&error))?;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match store.put_opts(&path, PutPayload::from(bytes.clone()), options).await {
            Ok(put) => Ok(Put { uri, etag: put.e_tag, version: put.version, retain_until }),
            Err(Error::AlreadyExists { .. }) => {
                let store = self.place.store(&self.fetch, HeaderMap::new()).map_err(|error| stored(&error))?;
                let there = store.get(&path).await.map_err(|error| stored(&error))?;
                let (etag, version) = (there.meta.e_tag.clone(), there.meta.version.clone());
                match there.bytes().await.map_err(|error| stored(&error))? == bytes {
                    // Put by a try that did not hear of its success. Until when it is kept was said then.
                    true => Ok(Put { uri, etag, version, retain_until: None }),
                    false => Err(AnchorError::Conflict { uri }),
                }
            }
            Err(error) => Err(stored(&error)),
        }
    }

    fn retention(&self) -> (HeaderMap, Option<String>) {
        let Some(lock) = &self.lock else { return (HeaderMap::new(), None) };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // To the second, which is the form that every store reads.
        let until = timestamp((now + lock.keep).as_secs());
        let until = format!("{}Z", until.split('.').next().unwrap_or_default());
        let mut headers = HeaderMap::new();
        // S3 takes a retention only with a checksum of what is to be kept.
        headers.insert(CHECKSUM, HeaderValue::from_static("SHA256"));
        headers.insert(LOCK_MODE, HeaderValue::from_static(lock.mode.header()));
        if let Ok(value) = HeaderValue::from_str(&until) {
            headers.insert(LOCK_UNTIL, value);
        }
        (headers, Some(until))
    }
}

#[async_trait]
impl Anchor for Object {
    fn kind(&self) -> AnchorKind {
        AnchorKind::Object
    }

    async fn anchor(&self, note: &Note) -> Result<Option<Anchored>, AnchorError> {
        let put = self.put(&note_name(note.checkpoint.size), Bytes::from(note.bytes.clone())).await?;
        let proof =
            CopyProof { uri: put.uri.clone(), etag: put.etag, version: put.version, retain_until: put.retain_until };
        Ok(Some(Anchored::confirmed(proof.to_bytes(), put.uri)))
    }

    fn keeps_bundles(&self) -> bool {
        self.bundles
    }

    async fn keep_bundle(&self, name: &str, bytes: Bytes) -> Result<(), AnchorError> {
        self.put(&bundle_name(name), bytes).await.map(|_| ())
    }
}
