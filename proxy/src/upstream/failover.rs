//! One call of a provider: picks an endpoint, puts the credentials in, and calls the next one while what came back was not
//! worked on and nothing of it was passed on.
//!
//! Once a reply is returned, its answer belongs to the caller: one that breaks off is an error, and never another call.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};
use tower::ServiceExt as _;
use tower::util::BoxCloneSyncService;

use super::auth::{AuthError, Outgoing};
use super::call::Attempt;
use super::provider::{AllOpen, Endpoint, Leave, Provider};
use super::retry::{NotWorkedOn, RetryReason, outcome};
use crate::exchange::ports::{UpstreamBody, UpstreamError, UpstreamReply, UpstreamRequest};

/// How much of an answer that nobody will see is read, and for how long, so that its connection can be used again: an
/// error message.
const DISCARD_BYTES_MAX: usize = 16 * 1024;
const DISCARD_MAX: Duration = Duration::from_millis(250);

/// Calls of single endpoints.
pub(super) type Single = BoxCloneSyncService<Attempt, UpstreamReply, UpstreamError>;

/// Makes the call; no other is begun once `within` is over.
pub(super) async fn call(
    single: Single,
    request: UpstreamRequest,
    within: Duration,
) -> Result<UpstreamReply, UpstreamError> {
    let provider = Arc::clone(&request.provider);
    let started = Instant::now();
    provider.earn();
    let mut leave = match provider.pick(&[], started) {
        Ok(Some(leave)) => leave,
        Ok(None) => return Err(unavailable(&provider, Duration::ZERO)),
        Err(AllOpen { for_another }) => return Err(unavailable(&provider, for_another)),
    };
    let mut tried: Vec<Arc<Endpoint>> = Vec::new();
    for done in 0.. {
        let endpoint = Arc::clone(&leave.endpoint);
        let result = one(&single, &request, leave).await;
        let Some(refused) = NotWorkedOn::of(&request.method, &result) else { return result };
        if done >= provider.retries.max {
            return result;
        }
        tried.push(endpoint);
        leave = match provider.pick(&tried, Instant::now()) {
            // Where nothing was sent, the other endpoint has no more to do than it would have had.
            Ok(Some(next)) if refused.reason == RetryReason::Connect || provider.spend() => next,
            Ok(Some(_)) | Err(_) => return result,
            Ok(None) => {
                let pause = refused.pause(done, roll()).filter(|pause| started.elapsed() + *pause <= within);
                let Some(pause) = pause.filter(|_| provider.spend()) else { return result };
                sleep(pause).await;
                tried.clear();
                let Ok(Some(next)) = provider.pick(&tried, Instant::now()) else { return result };
                next
            }
        };
        provider.count(refused.reason);
        if let Ok(reply) = result {
            discard(reply).await;
        }
    }
    Err(unavailable(&provider, Duration::ZERO))
}

fn unavailable(provider: &Provider, for_another: Duration) -> UpstreamError {
    UpstreamError::Unavailable { name: Arc::clone(&provider.name), for_another }
}

/// One call of one endpoint.
async fn one(single: &Single, request: &UpstreamRequest, leave: Leave) -> Result<UpstreamReply, UpstreamError> {
    let endpoint = Arc::clone(&leave.endpoint);
    let mut request = request.clone();
    let auth = Arc::clone(&request.provider);
    let mut out = Outgoing {
        target: &endpoint.target,
        method: &request.method,
        path_and_query: &mut request.path_and_query,
        headers: &mut request.headers,
        body: Some(request.body.bytes()),
    };
    auth.auth.put(&mut out).await.map_err(|error| without_credentials(&endpoint.label, error))?;
    let result = single.clone().oneshot(Attempt::first(request, Arc::clone(&endpoint))).await;
    leave.settle(outcome(&result));
    result.map(|reply| UpstreamReply { body: Box::new(Watched { body: reply.body, endpoint }), ..reply })
}

/// What a provider's credentials have come to, as an error of the call.
pub(crate) fn without_credentials(name: &Arc<str>, error: AuthError) -> UpstreamError {
    let name = Arc::clone(name);
    match error {
        AuthError::UnknownKey => UpstreamError::UnknownKey { name },
        other => UpstreamError::Credentials { name, detail: other.to_string() },
    }
}

/// An answer that nobody will see: its connection is kept where that costs little.
async fn discard(mut reply: UpstreamReply) {
    let read = async {
        let mut bytes = 0;
        while let Ok(Some(chunk)) = reply.body.chunk().await {
            bytes += chunk.len();
            if bytes > DISCARD_BYTES_MAX {
                break;
            }
        }
    };
    let _ = timeout(DISCARD_MAX, read).await;
    // Closes the connection if the answer has not ended.
    reply.body.release().await;
}

fn roll() -> u8 {
    let mut byte = [u8::MAX];
    // Without randomness pauses are at their longest.
    let _ = getrandom::fill(&mut byte);
    byte.first().copied().unwrap_or(u8::MAX)
}

/// A body whose breaking off counts against its endpoint.
#[derive(Debug)]
struct Watched {
    body: Box<dyn UpstreamBody>,
    endpoint: Arc<Endpoint>,
}

#[async_trait]
impl UpstreamBody for Watched {
    async fn chunk(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        let chunk = self.body.chunk().await;
        if chunk.is_err() {
            self.endpoint.broke();
        }
        chunk
    }

    async fn release(self: Box<Self>) {
        self.body.release().await;
    }

    async fn abort(self: Box<Self>) {
        self.body.abort().await;
    }
}
