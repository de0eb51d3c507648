//! Bounds the calls in flight, from the first byte sent to the last byte read: the permit travels with the body.
//!
//! `tower`'s own limit gives the permit back once the head has arrived; for a streamed answer that is where the work
//! begins.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;
use tower::{BoxError, Layer, Service};

use crate::exchange::ports::{UpstreamBody, UpstreamError, UpstreamReply, UpstreamRequest};

/// Allows a number of calls in flight, across all clones of the service.
#[derive(Debug, Clone)]
pub(super) struct InFlightLayer(Arc<Semaphore>);

impl InFlightLayer {
    pub(super) fn new(calls_max: usize) -> Self {
        Self(Arc::new(Semaphore::new(calls_max.min(Semaphore::MAX_PERMITS))))
    }
}

impl<S> Layer<S> for InFlightLayer {
    type Service = InFlight<S>;

    fn layer(&self, inner: S) -> InFlight<S> {
        InFlight { inner, semaphore: PollSemaphore::new(self.0.clone()), permit: None }
    }
}

#[derive(Debug)]
pub(super) struct InFlight<S> {
    inner: S,
    semaphore: PollSemaphore,
    permit: Option<OwnedSemaphorePermit>,
}

impl<S: Clone> Clone for InFlight<S> {
    fn clone(&self) -> Self {
        // A permit belongs to the clone that waited for it.
        Self { inner: self.inner.clone(), semaphore: self.semaphore.clone(), permit: None }
    }
}

impl<S> Service<UpstreamRequest> for InFlight<S>
where
    S: Service<UpstreamRequest, Response = UpstreamReply, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = UpstreamReply;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<UpstreamReply, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.permit.is_none() {
            self.permit = ready!(self.semaphore.poll_acquire(cx));
        }
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: UpstreamRequest) -> Self::Future {
        let permit = self.permit.take();
        let call = self.inner.call(request);
        Box::pin(async move {
            let mut reply = call.await?;
            reply.body = Box::new(Held { body: reply.body, permit });
            Ok(reply)
        })
    }
}

/// A body that keeps its place among the calls in flight until it is dropped.
#[derive(Debug)]
struct Held {
    body: Box<dyn UpstreamBody>,
    permit: Option<OwnedSemaphorePermit>,
}

#[async_trait]
impl UpstreamBody for Held {
    async fn chunk(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        self.body.chunk().await
    }

    async fn release(self: Box<Self>) {
        self.body.release().await;
        drop(self.permit);
    }

    async fn abort(self: Box<Self>) {
        self.body.abort().await;
        drop(self.permit);
    }
}
