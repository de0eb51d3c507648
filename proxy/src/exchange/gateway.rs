//! Everything that exchanges share: policy, detectors, ledger, upstreams, limits.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clyra_detectors::{Engine, EngineConfig, EngineError, Rule};
use clyra_policy::Policy;
use tokio::sync::Semaphore;

use super::held::Budget;
use super::inspect::Inspect;
use super::ledger::Ledger;
use super::lineage::Remembered;
use super::lock::{Contracts, SchemaError};
use super::ports::RequestHead;
use super::run::AskForUsage;
use crate::evidence::StreamLeaves;
use crate::exchange::pins::Pins;
use crate::siem::LineWriter;
use crate::surface::Dialect;
use crate::telemetry::{Metrics, WriterKind};
use crate::upstream::{Provider, UpstreamService};

/// Bounds of the data plane. Each has a default that suits one application beside one sidecar.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Request body. Providers take up to 32 MB.
    pub request_bytes_max: usize,
    /// Answer that does not stream.
    pub response_bytes_max: usize,
    /// Exchanges in flight; more get 503 with `Retry-After`.
    pub in_flight_max: usize,
    /// Bytes of bodies held at one time, over all exchanges: 16 of the largest. What goes beyond gets 503 with `Retry-After`.
    pub held_bytes_max: usize,
    /// Longest silence in a stream while its rest is held: then a comment is sent. None is where this is zero.
    pub keep_alive: Duration,
    /// From the call to the last byte of an answer.
    pub answer_time_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_bytes_max: 32 << 20,
            response_bytes_max: 32 << 20,
            in_flight_max: 1_024,
            held_bytes_max: 512 << 20,
            keep_alive: Duration::from_secs(15),
            // Models have been seen to think for half of it.
            answer_time_max: Duration::from_secs(3_600),
        }
    }
}

/// The configured providers.
#[derive(Debug, Clone)]
pub struct Upstreams {
    providers: Vec<Arc<Provider>>,
}

impl Upstreams {
    /// `None` without a single one: there is nothing to be a proxy for.
    pub fn new(providers: Vec<Arc<Provider>>) -> Option<Upstreams> {
        (!providers.is_empty()).then_some(Upstreams { providers })
    }

    /// The provider for a path, and the path below it. The first segment may name one (`/anthropic/v1/messages`);
    /// otherwise the one that is named like the dialect serves it, otherwise the first. A client can only name what is
    /// configured: it never chooses an address.
    pub fn select(&self, path: &str, dialect: Option<Dialect>) -> Option<(Arc<Provider>, String)> {
        let mut parts = path.splitn(3, '/');
        let (_, first, rest) = (parts.next(), parts.next().unwrap_or_default(), parts.next());
        // `/mcp` alone is the endpoint, also where a provider has that name.
        let whole = rest.is_none() && dialect.is_some();
        if let Some(provider) = self.providers.iter().find(|p| *p.name == *first).filter(|_| !whole) {
            return Some((Arc::clone(provider), format!("/{}", rest.unwrap_or_default())));
        }
        let named = dialect.map_or("", Dialect::upstream);
        let provider = self.providers.iter().find(|p| *p.name == *named).or_else(|| self.providers.first())?;
        Some((Arc::clone(provider), path.to_owned()))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.providers.iter()
    }
}

/// What every exchange needs.
#[derive(Debug)]
pub struct Gateway {
    pub policy: Arc<Policy>,
    pub engine: Arc<Engine>,
    pub ledger: Ledger,
    pub events: LineWriter,
    /// Salts of commitments, apart from the receipts: destroying them is erasure.
    pub commitments: LineWriter,
    /// Leaf hashes of released events, where they are kept.
    pub streams: Option<StreamLeaves>,
    pub metrics: Arc<Metrics>,
    pub upstreams: Upstreams,
    pub call: UpstreamService,
    pub inspect: Inspect,
    pub contracts: Arc<Contracts>,
    pub limits: Limits,
    pub in_flight: Arc<Semaphore>,
    pub held: Budget,
    pub ask_for_usage: AskForUsage,
    pub tool_calls: Remembered,
    /// What providers keep: answers, files, batches.
    pub kept: Arc<Remembered>,
    pub pins: Arc<Pins>,
}

/// The parts that a gateway is made of.
#[derive(Debug)]
pub struct Parts {
    pub policy: Arc<Policy>,
    pub engine: Arc<Engine>,
    pub ledger: Ledger,
    pub events: LineWriter,
    pub commitments: LineWriter,
    pub streams: Option<StreamLeaves>,
    pub metrics: Arc<Metrics>,
    pub upstreams: Upstreams,
    pub call: UpstreamService,
    pub limits: Limits,
    pub pins: Arc<Pins>,
    pub ask_for_usage: AskForUsage,
}

impl Gateway {
    /// Puts the parts together and compiles the policy's schemas: one that cannot be asserted stops the start.
    pub fn new(parts: Parts) -> Result<Gateway, SchemaError> {
        let budget = Duration::from_millis(u64::from(parts.policy.defaults().request_budget_ms));
        let contracts = Arc::new(Contracts::new(&parts.policy)?);
        Ok(Gateway {
            inspect: Inspect::new(budget),
            contracts,
            tool_calls: Remembered::keyed(),
            kept: Arc::new(Remembered::by_record()),
            held: Budget::new(parts.limits.held_bytes_max),
            in_flight: Arc::new(Semaphore::new(parts.limits.in_flight_max)),
            policy: parts.policy,
            engine: parts.engine,
            ledger: parts.ledger,
            events: parts.events,
            commitments: parts.commitments,
            streams: parts.streams,
            metrics: parts.metrics,
            upstreams: parts.upstreams,
            call: parts.call,
            limits: parts.limits,
            pins: parts.pins,
            ask_for_usage: parts.ask_for_usage,
        })
    }

    /// The caller by the key that its SDK sends.
    pub fn api_key<'h>(&self, head: &'h RequestHead) -> Option<&'h str> {
        let text = |name: &str| head.headers.get(name).and_then(|v| v.to_str().ok());
        let bearer =
            || text("authorization").and_then(|v| v.strip_prefix("Bearer ").or_else(|| v.strip_prefix("bearer ")));
        // A browser cannot set headers on a WebSocket.
        let subprotocol = || {
            let offers = head.headers.get_all(http::header::SEC_WEBSOCKET_PROTOCOL).iter();
            let mut offers = offers.filter_map(|offer| offer.to_str().ok()).flat_map(|offer| offer.split(','));
            offers.find_map(|offer| offer.trim().strip_prefix("openai-insecure-api-key."))
        };
        text("x-api-key")
            .or_else(bearer)
            .or_else(|| text("api-key"))
            .or_else(|| text("x-goog-api-key"))
            .or_else(subprotocol)
    }

    /// Brings the gauges up to date, for the metrics page.
    pub fn refresh_metrics(&self) {
        let status = self.ledger.log().status();
        self.metrics.journal_poisoned.set(i64::from(status.poisoned.is_some()));
        self.metrics.journal_durable_seq.set(status.durable_seq.unwrap_or(0));
        self.metrics.journal_full.set(i64::from(status.full));
        self.metrics.journal_pruned_bytes.set(status.pruned_bytes);
        self.metrics.journal_held_segments.set(status.held_segments);
        self.metrics.key_rotations.set(status.rotations);
        self.metrics.key_rotations_failed.set(status.rotations_failed);
        for (kind, writer) in [(WriterKind::Events, &self.events), (WriterKind::Commitments, &self.commitments)] {
            self.metrics.lines_dropped(kind, writer.stats().dropped.load(Ordering::Relaxed));
        }
        self.metrics.bodies_held.set(i64::try_from(self.held.used()).unwrap_or(i64::MAX));
        self.upstreams.iter().for_each(|provider| self.metrics.upstream(provider));
        let free = self.in_flight.available_permits();
        self.metrics.in_flight.set(self.limits.in_flight_max.saturating_sub(free) as i64);
    }
}

/// The detectors that a policy asks for. A setting for a detector that does not exist is an error: it would be a security
/// setting without effect.
pub fn engine(policy: &Policy) -> Result<Engine, EngineError> {
    let built_in: Vec<String> =
        Engine::compile(EngineConfig::default())?.checks().iter().map(|check| check.id.clone()).collect();
    let family = |id: &str| id.split('.').next().unwrap_or_default().to_owned();
    let rules = policy.patterns().iter().map(|pattern| Rule {
        id: pattern.id.clone(),
        class: pattern.class.clone(),
        score_ppm: pattern.score_ppm,
        matcher: match &pattern.matcher {
            clyra_policy::Matcher::Literal(text) => {
                clyra_detectors::Matcher::Literal { text: text.clone(), case_insensitive: false }
            }
            clyra_policy::Matcher::Regex(regex) => clyra_detectors::Matcher::Regex(regex.clone()),
        },
    });
    let mut config = EngineConfig { rules: rules.collect(), ..EngineConfig::default() };
    let unknown = |id: &str| !built_in.iter().any(|known| known == id || family(known) == id);
    // The engine refuses what it does not know, by name.
    config.off.extend(policy.configured_detectors().map(|(id, _)| id).filter(|id| unknown(id)).map(str::to_owned));
    for id in built_in {
        // The policy knows which of its entries counts for an id: the more particular one.
        let settings = policy.detector(&id);
        config.thresholds_ppm.insert(id.clone(), settings.threshold_ppm);
        if !settings.enabled {
            config.off.insert(id);
        }
    }
    Engine::compile(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::ports::UpstreamTarget;

    fn provider(name: &str) -> Arc<Provider> {
        Provider::of(UpstreamTarget::parse(name, "http://h:1").unwrap())
    }

    #[test]
    fn a_client_names_a_provider_and_never_an_address() {
        let upstreams = Upstreams::new(vec![provider("local"), provider("anthropic"), provider("mcp")]).unwrap();
        let select = |path: &str, dialect| {
            let (provider, path) = upstreams.select(path, dialect).unwrap();
            (provider.name.to_string(), path)
        };
        let is = |name: &str, path: &str| (name.to_owned(), path.to_owned());
        assert_eq!(select("/v1/chat/completions", Some(Dialect::OpenAi)), is("local", "/v1/chat/completions"));
        assert_eq!(select("/v1/messages", Some(Dialect::Anthropic)), is("anthropic", "/v1/messages"));
        assert_eq!(select("/local/v1/messages", Some(Dialect::Anthropic)), is("local", "/v1/messages"));
        assert_eq!(select("/anthropic", None), is("anthropic", "/"));
        assert_eq!(select("/mcp", Some(Dialect::Mcp)), is("mcp", "/mcp"));
        assert_eq!(select("/mcp/mcp", Some(Dialect::Mcp)), is("mcp", "/mcp"));
        assert_eq!(select("/local/mcp", Some(Dialect::Mcp)), is("local", "/mcp"));
        assert_eq!(select("/evil.example/v1", None), is("local", "/evil.example/v1"));
        assert!(Upstreams::new(Vec::new()).is_none());
    }

    fn policy(detectors: &str) -> Policy {
        let text = format!("version: 1\nmode: enforce\ndetectors:\n{detectors}");
        Policy::parse(&text, "policy.yaml", &|_| Err("no files".into())).unwrap()
    }

    #[test]
    fn a_setting_for_a_detector_that_does_not_exist_is_refused() {
        let error = engine(&policy("  secret: { enabled: false }\n")).unwrap_err().to_string();
        assert!(error.contains("secret"), "{error}");
    }

    #[test]
    fn the_more_particular_setting_counts() {
        let settings = "  secrets: { enabled: false }\n  secrets.github_token: { enabled: true }\n";
        let running = engine(&policy(settings)).unwrap().versions();
        assert!(running.contains_key("secrets.github_token"), "{running:?}");
        assert!(!running.contains_key("secrets.private_key"), "{running:?}");
    }
}
