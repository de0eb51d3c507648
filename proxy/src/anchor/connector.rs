//! Lets `object_store` make its calls through [`Fetch`]: its own client is not in the tree.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
};

use crate::fetch::{Bounds, Fetch, FetchError};

/// A bundle of 20 MiB over a slow line takes minutes.
const CALL: Bounds = Bounds { time: Duration::from_secs(300), answer: ANSWER_MAX };

/// An answer is an error document, or an object that is held against ours.
const ANSWER_MAX: usize = 64 << 20;

#[derive(Debug, Clone)]
pub(super) struct Connector(pub(super) Fetch);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Connector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (head, body) = request.into_parts();
        let body: Bytes = body.collect().await?.to_bytes();
        let answer = self.0.call(Request::from_parts(head, Full::from(body)), CALL).await.map_err(|error| {
            let kind = match error {
                FetchError::Address(_) | FetchError::TooLong { .. } => HttpErrorKind::Unknown,
                FetchError::Connect { .. } => HttpErrorKind::Connect,
                FetchError::Exchange { .. } => HttpErrorKind::Interrupted,
                FetchError::Timeout { .. } => HttpErrorKind::Timeout,
            };
            HttpError::new(kind, error)
        })?;
        let (head, body) = answer.into_parts();
        Ok(HttpResponse::from_parts(head, HttpResponseBody::from(body)))
    }
}
