//! OpenTimestamps calendars: the digest goes to several, each promises to bring it into a Bitcoin block, and some hours later
//! says how.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use clyra_receipts::anchor::bitcoin::{HEADER_BYTES, Header};
use clyra_receipts::anchor::opentimestamps::{ANSWER_MAX_BYTES, Attestation, Proof, Timestamp};
use clyra_receipts::anchor::{AnchorKind, AnchorState};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use http_body_util::Full;

use super::{Anchor, AnchorError, Anchored, Note, hex, timestamp};
use crate::fetch::{Bounds, Fetch};

const CALL: Bounds = Bounds { time: Duration::from_secs(20), answer: ANSWER_MAX_BYTES };
const OTS_TYPE: &str = "application/vnd.opentimestamps.v1";
const NONCE_BYTES: usize = 16;

/// The public calendars that promise in the name of the public pools.
pub(super) const CALENDARS: [&str; 4] = [
    "https://alice.btc.calendar.opentimestamps.org",
    "https://bob.btc.calendar.opentimestamps.org",
    "https://finney.calendar.eternitywall.com",
    "https://btc.calendar.catallaxy.com",
];

#[derive(Debug)]
pub(super) struct Calendars {
    /// Where digests are handed in.
    pub(super) submit: Vec<String>,
    /// Who is asked for the end of a promise. Others that a proof names are not: it was written elsewhere.
    pub(super) known: Vec<String>,
    /// An Esplora interface that gives block headers.
    pub(super) headers: Option<String>,
    pub(super) fetch: Fetch,
}

impl Calendars {
    async fn ask(&self, method: Method, url: &str, body: Bytes) -> Result<Option<Bytes>, AnchorError> {
        let request = Request::builder()
            .method(method)
            .uri(url)
            .header(ACCEPT, OTS_TYPE)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::from(body))
            .map_err(|error| calendar(url, error))?;
        let answer = self.fetch.call(request, CALL).await?;
        match answer.status() {
            StatusCode::OK => Ok(Some(answer.into_body())),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(AnchorError::Status { host: url.to_owned(), status: status.as_u16() }),
        }
    }

    async fn submit(&self, calendar_url: &str, digest: &[u8; 32]) -> Result<Timestamp, AnchorError> {
        let url = format!("{calendar_url}/digest");
        let answer = self.ask(Method::POST, &url, Bytes::copy_from_slice(digest)).await?;
        let answer = answer.ok_or_else(|| AnchorError::Status { host: url.clone(), status: 404 })?;
        Timestamp::from_bytes(&answer, digest).map_err(|fault| calendar(&url, fault))
    }

    /// The header of the block of this height, if somebody is named who gives it.
    async fn header(&self, height: u32) -> Result<Option<Header>, AnchorError> {
        let Some(base) = &self.headers else { return Ok(None) };
        let url = format!("{base}/block-height/{height}");
        let hash = self.ask(Method::GET, &url, Bytes::new()).await?.unwrap_or_default();
        let hash = std::str::from_utf8(&hash).unwrap_or_default().trim();
        if hash.len() != 64 || !hash.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(calendar(&url, "not the hash of a block"));
        }
        let url = format!("{base}/block/{hash}/header");
        let header = self.ask(Method::GET, &url, Bytes::new()).await?.unwrap_or_default();
        let header = std::str::from_utf8(&header).ok().and_then(|text| unhex(text.trim()));
        let header = header.and_then(|bytes| Header::from_bytes(&bytes));
        header.map(Some).ok_or_else(|| calendar(&url, format!("not a header of {HEADER_BYTES} bytes")))
    }

    /// A proof that leads to a block, with the block's header where it can be had.
    async fn confirmed(&self, proof: &Proof) -> Result<Option<Anchored>, AnchorError> {
        let Some((height, _)) = proof.bitcoin() else { return Ok(None) };
        let header = self.header(height).await?;
        if let Some(header) = &header {
            proof.check_header(header).map_err(|fault| calendar("block header", fault))?;
        }
        Ok(Some(Anchored {
            proof: proof.to_bytes(),
            state: AnchorState::Confirmed,
            at: header.map(|header| timestamp(u64::from(header.time()))),
            header: header.map(|header| hex(&header.0)),
            reference: Some(format!("bitcoin block {height}")),
        }))
    }
}

fn calendar(host: &str, fault: impl std::fmt::Display) -> AnchorError {
    AnchorError::Calendar { host: host.to_owned(), fault: fault.to_string() }
}

pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| if let [high, low] = pair { Some(digit(high)? << 4 | digit(low)?) } else { None }).collect()
}

#[async_trait]
impl Anchor for Calendars {
    fn kind(&self) -> AnchorKind {
        AnchorKind::OpenTimestamps
    }

    async fn anchor(&self, note: &Note) -> Result<Option<Anchored>, AnchorError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|error| calendar("nonce", error))?;
        let given = Timestamp::blind(&note.digest, &nonce);
        let mut stamps = Vec::new();
        let mut failure = None;
        // One that answers is enough; those that do not are left out of this proof.
        for url in &self.submit {
            match self.submit(url, &given).await {
                Ok(stamp) => stamps.push(stamp),
                Err(error) => {
                    tracing::warn!("an OpenTimestamps calendar did not answer: {error}");
                    failure = Some(error);
                }
            }
        }
        if stamps.is_empty() {
            return Err(failure.unwrap_or_else(|| calendar("settings", "no calendar is named")));
        }
        let proof = Proof::new(note.digest, Timestamp::blinded(&nonce, stamps));
        if let Some(anchored) = self.confirmed(&proof).await? {
            return Ok(Some(anchored));
        }
        Ok(Some(Anchored {
            proof: proof.to_bytes(),
            state: AnchorState::Pending,
            at: None,
            header: None,
            reference: Some(self.submit.join(" ")),
        }))
    }

    async fn finish(&self, note: &Note, proof: Option<&[u8]>) -> Result<Option<Anchored>, AnchorError> {
        let Some(proof) = proof else { return Ok(None) };
        let mut proof = Proof::from_bytes(proof).map_err(|fault| calendar("anchors/", fault))?;
        if proof.digest != note.digest {
            return Err(calendar("anchors/", "the proof is of another note"));
        }
        let promises: Vec<(String, Vec<u8>)> = proof
            .attestations()
            .into_iter()
            .filter_map(|(attestation, message)| match attestation {
                Attestation::Pending { calendar } => Some((calendar.clone(), message)),
                _ => None,
            })
            .filter(|(url, _)| self.known.iter().any(|known| known.trim_end_matches('/') == url.trim_end_matches('/')))
            .collect();
        for (promised, message) in promises {
            let url = format!("{}/timestamp/{}", promised.trim_end_matches('/'), hex(&message));
            match self.ask(Method::GET, &url, Bytes::new()).await {
                Ok(Some(answer)) => match Timestamp::from_bytes(&answer, &message) {
                    Ok(known) if known.has_bitcoin() => {
                        proof.complete(&promised, &message, &known);
                    }
                    Ok(_) => {}
                    Err(fault) => tracing::warn!("{}", calendar(&url, fault)),
                },
                // Not in a block yet.
                Ok(None) => {}
                Err(error) => tracing::warn!("an OpenTimestamps calendar did not answer: {error}"),
            }
        }
        self.confirmed(&proof).await
    }
}
