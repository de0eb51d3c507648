//! When a call may be made again. A model call is neither free nor harmless, so only where the provider cannot have
//! acted on it:
//! - the connection came from the pool and turned out to be dead, at once and before a byte of an answer: once, on a
//!   new connection;
//! - no connection could be had, so nothing was sent: on another address, while there is one.

use std::future::{Ready, ready};
use std::sync::atomic::Ordering;

use tower::BoxError;
use tower::retry::Policy;

use super::call::Attempt;
use crate::exchange::ports::{UpstreamError, UpstreamReply};

/// A second stale connection is impossible, since the second try does not use the pool.
const STALE_RETRIES_MAX: u32 = 1;
/// Each costs a client up to the connect timeout; a provider with three dead addresses is down.
const CONNECT_RETRIES_MAX: u32 = 2;

/// The retries that one call has left.
#[derive(Debug, Clone)]
pub(super) struct RetryPolicy {
    stale: u32,
    connect: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { stale: STALE_RETRIES_MAX, connect: CONNECT_RETRIES_MAX }
    }
}

impl Policy<Attempt, UpstreamReply, BoxError> for RetryPolicy {
    type Future = Ready<()>;

    fn retry(&mut self, attempt: &mut Attempt, result: &mut Result<UpstreamReply, BoxError>) -> Option<Self::Future> {
        let error = result.as_ref().err()?.downcast_ref::<UpstreamError>()?;
        match error {
            UpstreamError::NoAnswer { reused: true, .. } => {
                self.stale = self.stale.checked_sub(1)?;
                attempt.fresh = true;
            }
            UpstreamError::Connect { .. } if attempt.addresses.load(Ordering::Relaxed) > 1 => {
                self.connect = self.connect.checked_sub(1)?;
            }
            _ => return None,
        }
        attempt.number = attempt.number.saturating_add(1);
        Some(ready(()))
    }

    fn clone_request(&mut self, attempt: &Attempt) -> Option<Attempt> {
        Some(attempt.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use http::{HeaderMap, Method};

    use super::*;
    use crate::exchange::ports::{UpstreamRequest, UpstreamTarget};
    use crate::guard::Inspected;

    fn attempt(addresses: usize) -> Attempt {
        let attempt = Attempt::first(UpstreamRequest {
            target: Arc::new(UpstreamTarget::parse("main", "http://host").unwrap()),
            method: Method::POST,
            path_and_query: "/".into(),
            headers: HeaderMap::new(),
            body: Inspected::for_test(Bytes::new()),
        });
        attempt.addresses.store(addresses, Ordering::Relaxed);
        attempt
    }

    fn tries(error: impl Fn() -> UpstreamError, addresses: usize) -> (u32, bool) {
        let mut policy = RetryPolicy::default();
        let mut attempt = attempt(addresses);
        while policy.retry(&mut attempt, &mut Err(Box::new(error()))).is_some() {}
        (attempt.number, attempt.fresh)
    }

    #[test]
    fn a_stale_connection_is_replaced_once() {
        let stale = || UpstreamError::NoAnswer { name: "main".into(), reused: true, detail: String::new() };
        assert_eq!(tries(stale, 1), (2, true));
    }

    #[test]
    fn another_address_is_tried_twice_at_most_and_only_if_there_is_one() {
        let refused = || UpstreamError::Connect { name: "main".into(), detail: String::new() };
        assert_eq!(tries(refused, 1), (1, false));
        assert_eq!(tries(refused, 5), (3, false));
    }

    #[test]
    fn nothing_else_is_tried_again() {
        let name: Arc<str> = "main".into();
        let detail = String::new();
        let errors: [fn(Arc<str>, String) -> UpstreamError; 5] = [
            |name, detail| UpstreamError::NoAnswer { name, reused: false, detail },
            |name, detail| UpstreamError::Protocol { name, detail },
            |name, detail| UpstreamError::Body { name, detail },
            |name, _| UpstreamError::Timeout { name, after: Duration::ZERO },
            |name, _| UpstreamError::Overloaded { name },
        ];
        for error in errors {
            assert_eq!(tries(|| error(name.clone(), detail.clone()), 5), (1, false));
        }
    }
}
