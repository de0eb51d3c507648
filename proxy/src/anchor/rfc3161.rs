//! A time-stamp authority (RFC 3161 over HTTP): it signs that it saw the digest, and when.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use clyra_receipts::anchor::rfc3161::{Oid, QUERY_TYPE, Request as Query, Token};
use clyra_receipts::anchor::{AnchorKind, AnchorState};
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode, Uri};
use http_body_util::Full;

use super::{Anchor, AnchorError, Anchored, Note};
use crate::fetch::{Bounds, Fetch};

/// A token with a chain of certificates has some 10 KiB.
const CALL: Bounds = Bounds { time: Duration::from_secs(30), answer: 64 * 1024 };

#[derive(Debug)]
pub(super) struct TimeStamps {
    pub(super) url: Uri,
    pub(super) policy: Option<Oid>,
    pub(super) fetch: Fetch,
}

#[async_trait]
impl Anchor for TimeStamps {
    fn kind(&self) -> AnchorKind {
        AnchorKind::Rfc3161
    }

    async fn anchor(&self, note: &Note) -> Result<Option<Anchored>, AnchorError> {
        let mut nonce = [0; 8];
        getrandom::fill(&mut nonce).map_err(|error| AnchorError::Signature(error.to_string()))?;
        // The top bit stays zero: some authorities take the number for a signed one.
        let nonce = u64::from_be_bytes(nonce) >> 1;
        let query = Query { digest: note.digest, nonce, policy: self.policy.clone() };
        let request = Request::post(self.url.clone())
            .header(CONTENT_TYPE, QUERY_TYPE)
            .body(Full::from(Bytes::from(query.to_der())))
            .map_err(|error| AnchorError::Store(error.to_string()))?;
        let answer = self.fetch.call(request, CALL).await?;
        let host = || self.url.host().unwrap_or_default().to_owned();
        if answer.status() != StatusCode::OK {
            return Err(AnchorError::Status { host: host(), status: answer.status().as_u16() });
        }
        let proof = answer.into_body().to_vec();
        let token = Token::from_response(&proof).map_err(|fault| AnchorError::TimeStamp { host: host(), fault })?;
        if !query.is_answered_by(&token) {
            return Err(AnchorError::NotTheAnswer { host: host() });
        }
        Ok(Some(Anchored {
            proof,
            state: AnchorState::Confirmed,
            at: Some(token.at()),
            header: None,
            reference: Some(self.url.to_string()),
        }))
    }
}
