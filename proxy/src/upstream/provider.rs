//! One configured provider at work: its endpoints, who of them is called next, its credentials, and what it has to spend
//! on calling again.
//!
//! A client can name a provider that is configured; it never chooses an address.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::auth::{Auth, AuthError};
use super::balance::Balance;
use super::breaker::{Breaker, CircuitRules, CircuitState, Outcome, Pass};
use super::health::Health;
use super::peer::Way;
use super::proxy::HttpProxy;
use super::retry::{Budget, RETRIES_MAX, RetryReason};
use super::settings::{HealthRules, RetryRules, UpstreamSettings};
use super::tls::{Identity, TlsError};
use crate::exchange::ports::{RequestHead, UpstreamTarget};

/// Retries where none are configured: each other endpoint once, and not more of them.
const FAILOVERS_MAX: u32 = 2;
/// Endpoints of one provider: a region each, with room.
pub(crate) const ENDPOINTS_MAX: u64 = 64;
/// Percent of the calls that may be repeated, where it is not configured.
pub(crate) const BUDGET_PERCENT: u32 = 20;

/// Why a provider cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("upstream {name}: {source}")]
pub struct ProviderError {
    name: Arc<str>,
    source: SetUpError,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum SetUpError {
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the proxy's password: {0}")]
    Proxy(#[from] super::auth::SecretError),
    #[error("it has no endpoint")]
    NoEndpoint,
}

/// A provider.
#[derive(Debug)]
pub struct Provider {
    pub name: Arc<str>,
    endpoints: Vec<Arc<Endpoint>>,
    balance: Mutex<Balance>,
    pub(crate) auth: Auth,
    budget: Mutex<Budget>,
    pub(super) retries: RetryRules,
    pub(super) health: Option<HealthRules>,
    counts: [AtomicU64; RetryReason::ALL.len()],
}

/// One address of a provider.
#[derive(Debug)]
pub struct Endpoint {
    /// Its name in metrics.
    pub name: Arc<str>,
    /// Its name on record: the provider's, and the endpoint's where there are several.
    pub label: Arc<str>,
    pub(crate) target: Arc<UpstreamTarget>,
    pub(crate) way: Way,
    weight: u32,
    breaker: Option<Mutex<Breaker>>,
    pub(super) health: Mutex<Health>,
}

/// An endpoint's state, for metrics and the API.
#[derive(Debug, Clone)]
pub struct EndpointState {
    pub name: Arc<str>,
    pub is_healthy: bool,
    pub circuit: CircuitState,
}

/// Nobody can be called now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AllOpen {
    /// When the first of them lets a call through again.
    pub(crate) for_another: Duration,
}

impl Provider {
    /// Reads secrets and certificates. `ca_file` is trusted by those who have none of their own, and `number` tells this
    /// provider's connections from those of others, which may trust or show something else.
    pub fn new(settings: UpstreamSettings, ca_file: Option<&Path>, number: u64) -> Result<Self, ProviderError> {
        let name = settings.name.clone();
        Self::set_up(settings, ca_file, number).map_err(|source| ProviderError { name, source })
    }

    fn set_up(settings: UpstreamSettings, ca_file: Option<&Path>, number: u64) -> Result<Self, SetUpError> {
        let UpstreamSettings { name, endpoints, health, retries, circuit, auth, virtual_keys, tls, proxy } = settings;
        let is_one = match endpoints.len() {
            0 => return Err(SetUpError::NoEndpoint),
            count => count == 1,
        };
        let circuit = circuit.or((!is_one).then(CircuitRules::default));
        let retries = retries.unwrap_or_else(|| RetryRules {
            max: u32::try_from(endpoints.len() - 1).unwrap_or(FAILOVERS_MAX).min(FAILOVERS_MAX),
            budget_percent: BUDGET_PERCENT,
        });
        let way = Way {
            group: 0,
            server_name: tls.server_name.clone(),
            identity: Identity::new(&tls)?.map(Arc::new),
            proxy: proxy.map(HttpProxy::new).transpose()?.map(Arc::new),
        };
        let auth = Auth::new(auth, virtual_keys, ca_file)?;
        let endpoints: Vec<_> = endpoints
            .into_iter()
            .zip(number.saturating_mul(ENDPOINTS_MAX)..)
            .map(|(endpoint, group)| {
                let label = if is_one { name.clone() } else { format!("{name}/{}", endpoint.name).into() };
                Arc::new(Endpoint {
                    name: endpoint.name,
                    target: Arc::new(UpstreamTarget { name: Arc::clone(&label), ..endpoint.target }),
                    label,
                    way: Way { group, ..way.clone() },
                    weight: endpoint.weight,
                    breaker: circuit.clone().map(|rules| Mutex::new(Breaker::new(rules))),
                    health: Mutex::new(Health::default()),
                })
            })
            .collect();
        Ok(Self {
            name,
            balance: Mutex::new(Balance::new(endpoints.len())),
            endpoints,
            auth,
            budget: Mutex::new(Budget::new(retries.budget_percent)),
            retries: RetryRules { max: retries.max.min(RETRIES_MAX), ..retries },
            health,
            counts: Default::default(),
        })
    }

    /// A provider with one address, called with the client's credentials: for tests.
    #[cfg(test)]
    pub(crate) fn of(target: UpstreamTarget) -> Arc<Self> {
        Arc::new(Self::new(target.into(), None, 0).unwrap())
    }

    /// The next endpoint, and leave to call it. Those in `tried` are left out; `None` when that leaves nobody.
    pub(crate) fn pick(&self, tried: &[Arc<Endpoint>], now: Instant) -> Result<Option<Leave>, AllOpen> {
        let mut balance = self.balance.lock().unwrap_or_else(PoisonError::into_inner);
        let others = || {
            let others = self.endpoints.iter().enumerate();
            others.filter(|(_, endpoint)| !tried.iter().any(|tried| Arc::ptr_eq(tried, endpoint)))
        };
        let among = |only_healthy: bool| -> Vec<(usize, u32)> {
            others()
                .filter(|(_, endpoint)| endpoint.is_passable(now) && (endpoint.is_healthy() || !only_healthy))
                .map(|(index, endpoint)| (index, endpoint.weight))
                .collect()
        };
        // If the checks say that nobody is well, a call is better than none.
        let candidates = Some(among(true)).filter(|healthy| !healthy.is_empty()).unwrap_or_else(|| among(false));
        let chosen = balance.next(&candidates).and_then(|index| self.endpoints.get(index));
        if let Some(leave) = chosen.and_then(|endpoint| endpoint.leave(now)) {
            return Ok(Some(leave));
        }
        if others().next().is_none() {
            return Ok(None);
        }
        let soonest = others().filter_map(|(_, endpoint)| endpoint.opens_in(now)).min();
        Err(AllOpen { for_another: soonest.unwrap_or_default() })
    }

    /// Whether the client may call at all.
    pub(crate) fn admits(&self, head: &RequestHead) -> bool {
        self.auth.admits(&head.headers, head.query.as_deref())
    }

    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// Whether anybody can be called, as far as is known.
    pub fn is_ready(&self) -> bool {
        self.states().any(|state| state.is_healthy && state.circuit != CircuitState::Open)
    }

    pub fn states(&self) -> impl Iterator<Item = EndpointState> {
        self.endpoints.iter().map(|endpoint| EndpointState {
            name: Arc::clone(&endpoint.name),
            is_healthy: endpoint.is_healthy(),
            circuit: endpoint.circuit(),
        })
    }

    /// A call is made: it earns a part of a repeated one.
    pub(super) fn earn(&self) {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner).earn();
    }

    /// Whether a call may be repeated, at the budget's cost.
    pub(super) fn spend(&self) -> bool {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner).spend()
    }

    pub(super) fn count(&self, reason: RetryReason) {
        if let Some(count) = self.counts.get(reason as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Calls that were made again, by reason.
    pub fn retried(&self) -> impl Iterator<Item = (RetryReason, u64)> {
        RetryReason::ALL.into_iter().zip(&self.counts).map(|(reason, count)| (reason, count.load(Ordering::Relaxed)))
    }
}

impl Endpoint {
    fn breaker<R>(&self, ask: impl FnOnce(&mut Breaker) -> R) -> Option<R> {
        self.breaker.as_ref().map(|breaker| ask(&mut breaker.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    fn is_passable(&self, now: Instant) -> bool {
        self.breaker(|breaker| breaker.is_passable(now)).unwrap_or(true)
    }

    fn is_healthy(&self) -> bool {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).is_healthy()
    }

    fn opens_in(&self, now: Instant) -> Option<Duration> {
        self.breaker(|breaker| breaker.opens_in(now)).flatten()
    }

    fn circuit(&self) -> CircuitState {
        self.breaker(|breaker| breaker.state()).unwrap_or(CircuitState::Closed)
    }

    fn leave(self: &Arc<Self>, now: Instant) -> Option<Leave> {
        let pass = match self.breaker(|breaker| breaker.pass(now)) {
            Some(pass) => Some(pass?),
            None => None,
        };
        Some(Leave { endpoint: Arc::clone(self), pass })
    }

    /// Where it is, for people.
    pub fn url(&self) -> String {
        let scheme = if self.target.tls { "https" } else { "http" };
        format!("{scheme}://{}{}", self.target.authority(), self.target.path_prefix)
    }

    /// An answer from here broke off.
    pub(super) fn broke(&self) {
        self.breaker(|breaker| breaker.broke(Instant::now()));
    }
}

/// Leave to make one call of an endpoint. Dropped without an outcome, it says nothing about it.
#[derive(Debug)]
pub(crate) struct Leave {
    pub(crate) endpoint: Arc<Endpoint>,
    pass: Option<Pass>,
}

impl Leave {
    pub(crate) fn settle(mut self, outcome: Outcome) {
        self.tell(outcome);
    }

    fn tell(&mut self, outcome: Outcome) {
        if let Some(pass) = self.pass.take() {
            self.endpoint.breaker(|breaker| breaker.settle(pass, outcome, Instant::now()));
        }
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.tell(Outcome::Unknown);
    }
}
