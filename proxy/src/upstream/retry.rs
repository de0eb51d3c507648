//! When a call may be made again. A model call is neither free nor harmless, so only where the provider cannot have
//! worked on it, and only while nothing of an answer was passed on:
//! - the connection came from the pool and turned out to be dead, at once and before a byte of an answer: once, on a
//!   new connection ([`RetryPolicy`]);
//! - no connection could be had, so nothing was sent: on another address of the host ([`RetryPolicy`]), then on another
//!   endpoint;
//! - the provider said that it did not work on it: 429, 503, and Anthropic's 529;
//! - the method is safe (RFC 9110 section 9.2.1), so that doing it twice does no harm: also after 502, 504 and a
//!   connection that ended before an answer.
//!
//! A time-out after the request was sent is none of these. [`Budget`] keeps repeated calls from making an overload worse.

use std::future::{Ready, ready};
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{Method, StatusCode};
use tower::BoxError;
use tower::retry::Policy;

use super::breaker::{OVERLOADED, Outcome};
use super::call::Attempt;
use crate::exchange::ports::{UpstreamError, UpstreamReply};

/// A second stale connection is impossible, since the second try does not use the pool.
const STALE_RETRIES_MAX: u32 = 1;
/// Each costs a client up to the connect timeout; a provider with three dead addresses is down.
const CONNECT_RETRIES_MAX: u32 = 2;
/// Most calls after the first, whatever is configured: a client has waited some ten seconds by then.
pub(crate) const RETRIES_MAX: u32 = 5;
/// The first pause before an endpoint is called again; doubled each time.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(4);
/// A provider that wants to be left alone for longer has its answer passed on: the client's library waits better than a
/// connection that is kept open.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);
/// Repeated calls that a quiet provider has at hand.
const RESERVE: u32 = 10;

/// Why a call was made again, for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetryReason {
    /// No connection.
    Connect,
    /// 429.
    RateLimited,
    /// 503 or 529.
    Overloaded,
    /// Something else, of a request that does no harm twice.
    Safe,
}

impl RetryReason {
    pub const ALL: [Self; 4] = [Self::Connect, Self::RateLimited, Self::Overloaded, Self::Safe];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::Safe => "safe",
        }
    }
}

/// A call that was not worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotWorkedOn {
    pub(super) reason: RetryReason,
    /// What the provider asks to be left alone for.
    pub(super) retry_after: Option<Duration>,
}

impl NotWorkedOn {
    /// What the call came to, if it may be made again.
    pub(super) fn of(method: &Method, result: &Result<UpstreamReply, UpstreamError>) -> Option<Self> {
        let is_safe = method.is_safe();
        let (reason, retry_after) = match result {
            Ok(reply) => {
                let reason = match reply.status {
                    StatusCode::TOO_MANY_REQUESTS => RetryReason::RateLimited,
                    StatusCode::SERVICE_UNAVAILABLE => RetryReason::Overloaded,
                    status if status.as_u16() == OVERLOADED => RetryReason::Overloaded,
                    StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT if is_safe => RetryReason::Safe,
                    _ => return None,
                };
                (reason, retry_after(reply))
            }
            Err(UpstreamError::Connect { .. } | UpstreamError::Resolve { .. }) => (RetryReason::Connect, None),
            Err(UpstreamError::NoAnswer { .. }) if is_safe => (RetryReason::Safe, None),
            Err(_) => return None,
        };
        Some(Self { reason, retry_after })
    }

    /// How long to wait before the same endpoint is called again after `done` repeated calls: full jitter under an
    /// exponential bound, `roll` in 0..=255, and not before the provider wants it. `None` when that is too long.
    pub(super) fn pause(self, done: u32, roll: u8) -> Option<Duration> {
        let bound = PAUSE_FIRST.saturating_mul(1 << done.min(RETRIES_MAX)).min(PAUSE_MAX);
        let pause = bound.mul_f64(f64::from(roll) / 255.0);
        let wanted = self.retry_after.unwrap_or_default();
        (wanted <= RETRY_AFTER_MAX).then_some(pause.max(wanted))
    }
}

/// `Retry-After` in seconds (RFC 9110 section 10.2.3). The form with a date says nothing without a common clock: it counts
/// as absent.
fn retry_after(reply: &UpstreamReply) -> Option<Duration> {
    let text = reply.headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

/// What a call says about the endpoint.
pub(super) fn outcome(result: &Result<UpstreamReply, UpstreamError>) -> Outcome {
    match result {
        Ok(reply) => Outcome::of_status(reply.status),
        Err(
            UpstreamError::Resolve { .. }
            | UpstreamError::Connect { .. }
            | UpstreamError::NoAnswer { .. }
            | UpstreamError::Timeout { .. }
            | UpstreamError::Protocol { .. }
            | UpstreamError::Body { .. },
        ) => Outcome::Failed,
        Err(_) => Outcome::Unknown,
    }
}

/// Repeated calls that may be made: each call earns a part of one.
#[derive(Debug)]
pub(super) struct Budget {
    percent: u32,
    /// In hundredths of a call.
    left: u32,
}

impl Budget {
    pub(super) fn new(percent: u32) -> Self {
        Self { percent: percent.min(100), left: RESERVE * 100 }
    }

    pub(super) fn earn(&mut self) {
        self.left = (self.left + self.percent).min(RESERVE * 100);
    }

    pub(super) fn spend(&mut self) -> bool {
        match self.left.checked_sub(100) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

/// The retries that one call of one endpoint has left.
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
        Some(ready(()))
    }

    fn clone_request(&mut self, attempt: &Attempt) -> Option<Attempt> {
        Some(attempt.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue};

    use super::*;
    use crate::exchange::ports::{UpstreamBody, UpstreamRequest, UpstreamTarget};
    use crate::guard::Inspected;
    use crate::upstream::Provider;

    fn attempt(addresses: usize) -> Attempt {
        let provider = Provider::of(UpstreamTarget::parse("main", "http://host").unwrap());
        let endpoint = Arc::clone(&provider.endpoints()[0]);
        let request = UpstreamRequest {
            provider,
            method: Method::POST,
            path_and_query: "/".into(),
            headers: HeaderMap::new(),
            body: Inspected::for_test(Bytes::new()),
            made: Arc::default(),
        };
        let attempt = Attempt::first(request, endpoint);
        attempt.addresses.store(addresses, Ordering::Relaxed);
        attempt
    }

    fn tries(error: impl Fn() -> UpstreamError, addresses: usize) -> (u32, bool) {
        let mut policy = RetryPolicy::default();
        let mut attempt = attempt(addresses);
        let mut number = 1;
        while policy.retry(&mut attempt, &mut Err(Box::new(error()))).is_some() {
            number += 1;
        }
        (number, attempt.fresh)
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

    type MakeError = fn(Arc<str>, String) -> UpstreamError;
    const WORKED_ON: [MakeError; 5] = [
        |name, detail| UpstreamError::NoAnswer { name, reused: false, detail },
        |name, detail| UpstreamError::Protocol { name, detail },
        |name, detail| UpstreamError::Body { name, detail },
        |name, _| UpstreamError::Timeout { name, after: Duration::ZERO },
        |name, _| UpstreamError::Overloaded { name },
    ];

    #[test]
    fn nothing_else_is_tried_again() {
        for error in WORKED_ON {
            assert_eq!(tries(|| error("main".into(), String::new()), 5), (1, false));
            assert_eq!(NotWorkedOn::of(&Method::POST, &Err(error("main".into(), String::new()))), None);
        }
    }

    #[derive(Debug)]
    struct NoBody;

    #[async_trait::async_trait]
    impl UpstreamBody for NoBody {
        async fn chunk(&mut self) -> Result<Option<Bytes>, UpstreamError> {
            Ok(None)
        }
        async fn release(self: Box<Self>) {}
        async fn abort(self: Box<Self>) {}
    }

    fn answer(status: u16, retry_after: Option<&'static str>) -> Result<UpstreamReply, UpstreamError> {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
        }
        Ok(UpstreamReply {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            upstream: "main".into(),
            attempts: 1,
            time_to_head: Duration::ZERO,
            body: Box::new(NoBody),
        })
    }

    #[test]
    fn only_answers_that_say_so_were_not_worked_on() {
        let reason = |method, status| NotWorkedOn::of(&method, &answer(status, None)).map(|not| not.reason);
        for status in [200, 400, 401, 404, 408, 409, 500, 502, 504] {
            assert_eq!(reason(Method::POST, status), None, "{status}");
        }
        assert_eq!(reason(Method::POST, 429), Some(RetryReason::RateLimited));
        assert_eq!(reason(Method::POST, 503), Some(RetryReason::Overloaded));
        assert_eq!(reason(Method::POST, 529), Some(RetryReason::Overloaded));
        assert_eq!(reason(Method::GET, 502), Some(RetryReason::Safe));
        assert_eq!(reason(Method::GET, 500), None);
        let refused = Err(UpstreamError::Connect { name: "main".into(), detail: String::new() });
        assert_eq!(NotWorkedOn::of(&Method::POST, &refused).map(|not| not.reason), Some(RetryReason::Connect));
        let ended = Err(UpstreamError::NoAnswer { name: "main".into(), reused: false, detail: String::new() });
        assert_eq!(NotWorkedOn::of(&Method::GET, &ended).map(|not| not.reason), Some(RetryReason::Safe));
    }

    #[test]
    fn pauses_grow_within_bounds_and_heed_the_provider() {
        let pause = |retry_after, done, roll| {
            NotWorkedOn::of(&Method::POST, &answer(503, retry_after)).unwrap().pause(done, roll)
        };
        assert_eq!(pause(None, 0, 0), Some(Duration::ZERO));
        assert_eq!(pause(None, 0, 255), Some(PAUSE_FIRST));
        assert_eq!(pause(None, 2, 255), Some(PAUSE_FIRST * 4));
        assert_eq!(pause(None, u32::MAX, 255), Some(PAUSE_MAX));
        assert_eq!(pause(Some("7"), 0, 0), Some(Duration::from_secs(7)));
        assert_eq!(pause(Some("11"), 0, 0), None);
        assert_eq!(pause(Some("Wed, 21 Oct 2015 07:28:00 GMT"), 0, 0), Some(Duration::ZERO));
    }

    #[test]
    fn a_budget_is_earned_by_calls() {
        let mut budget = Budget::new(20);
        assert_eq!((0..100).filter(|_| budget.spend()).count(), RESERVE as usize);
        (0..4).for_each(|_| budget.earn());
        assert!(!budget.spend());
        budget.earn();
        assert!(budget.spend() && !budget.spend());
        (0..1000).for_each(|_| budget.earn());
        assert_eq!((0..100).filter(|_| budget.spend()).count(), RESERVE as usize);
    }

    #[test]
    fn what_a_call_says_about_its_endpoint() {
        for (status, is) in [
            (200, Outcome::Worked),
            (400, Outcome::Worked),
            (500, Outcome::Worked),
            (429, Outcome::Unknown),
            (502, Outcome::Failed),
            (503, Outcome::Failed),
            (529, Outcome::Failed),
        ] {
            assert_eq!(outcome(&answer(status, None)), is, "{status}");
        }
    }
}
