//! Prometheus metrics (OpenMetrics text). Label values come from closed sets or from the loaded policy, never from a
//! client's bytes, so that the number of series is bounded.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::exchange::record::Record;
use crate::upstream::{CircuitState, Provider};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ExchangeLabels {
    surface: String,
    decision: String,
    verdict: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FindingLabels {
    class: String,
    channel: String,
    direction: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SchemaLabels {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RepairLabels {
    class: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GapLabels {
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WitnessLabels {
    witness: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriterLabels {
    file: WriterKind,
}

/// Which background file a count is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum WriterKind {
    Events,
    Commitments,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnchorLabels {
    anchor: String,
    outcome: AnchorOutcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnchorName {
    anchor: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndpointLabels {
    upstream: String,
    endpoint: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RetryLabels {
    upstream: String,
    reason: &'static str,
}

/// What came of a try to anchor a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum AnchorOutcome {
    Confirmed,
    Pending,
    Failed,
}

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    exchanges: Family<ExchangeLabels, Counter>,
    findings: Family<FindingLabels, Counter>,
    redactions: Counter,
    own_answers: Family<CodeLabels, Counter>,
    gaps: Family<GapLabels, Counter>,
    schema_verdicts: Family<SchemaLabels, Counter>,
    schema_repairs: Family<RepairLabels, Counter>,
    schema_held: Histogram,
    schema_hold: Histogram,
    schema_enforce: Histogram,
    pub in_flight: Gauge,
    pub bodies_held: Gauge,
    duration: Histogram,
    first_release: Histogram,
    scan: Histogram,
    held: Histogram,
    pub receipt_wait: Histogram,
    pub receipt_blocked: Histogram,
    pub journal_poisoned: Gauge,
    pub journal_durable_seq: Gauge<u64, AtomicU64>,
    pub journal_full: Gauge,
    pub journal_pruned_bytes: Gauge<u64, AtomicU64>,
    pub journal_held_segments: Gauge<u64, AtomicU64>,
    pub key_rotations: Gauge<u64, AtomicU64>,
    pub key_rotations_failed: Gauge<u64, AtomicU64>,
    lines_dropped: Family<WriterLabels, Gauge<u64, AtomicU64>>,
    pub streams_dropped: Counter,
    witness_failures: Family<WitnessLabels, Counter>,
    pub seal_failures: Counter,
    anchors: Family<AnchorLabels, Counter>,
    anchors_open: Family<AnchorName, Gauge<u64, AtomicU64>>,
    upstream_healthy: Family<EndpointLabels, Gauge>,
    upstream_circuit: Family<EndpointLabels, Gauge>,
    upstream_retries: Family<RetryLabels, Counter>,
}

impl Metrics {
    pub fn new(policy_hash: &str, policy_mode: &str) -> Metrics {
        let mut registry = Registry::with_prefix("clyra");
        let seconds = || exponential_buckets(0.0005, 2.0, 20);
        let metrics = Metrics {
            exchanges: Family::default(),
            findings: Family::default(),
            redactions: Counter::default(),
            own_answers: Family::default(),
            gaps: Family::default(),
            schema_verdicts: Family::default(),
            schema_repairs: Family::default(),
            schema_held: Histogram::new(exponential_buckets(1.0, 4.0, 12)),
            schema_hold: Histogram::new(exponential_buckets(0.001, 2.0, 18)),
            schema_enforce: Histogram::new(exponential_buckets(0.000_001, 4.0, 12)),
            in_flight: Gauge::default(),
            bodies_held: Gauge::default(),
            duration: Histogram::new(seconds()),
            first_release: Histogram::new(seconds()),
            scan: Histogram::new(exponential_buckets(0.000_01, 4.0, 10)),
            held: Histogram::new(exponential_buckets(64.0, 4.0, 10)),
            receipt_wait: Histogram::new(seconds()),
            receipt_blocked: Histogram::new(exponential_buckets(0.000_01, 2.0, 20)),
            journal_poisoned: Gauge::default(),
            journal_durable_seq: Gauge::default(),
            journal_full: Gauge::default(),
            journal_pruned_bytes: Gauge::default(),
            journal_held_segments: Gauge::default(),
            key_rotations: Gauge::default(),
            key_rotations_failed: Gauge::default(),
            lines_dropped: Family::default(),
            streams_dropped: Counter::default(),
            witness_failures: Family::default(),
            seal_failures: Counter::default(),
            anchors: Family::default(),
            anchors_open: Family::default(),
            upstream_healthy: Family::default(),
            upstream_circuit: Family::default(),
            upstream_retries: Family::default(),
            registry: Registry::default(),
        };
        registry.register("exchanges", "Exchanges that ended", metrics.exchanges.clone());
        registry.register("findings", "Findings of detectors", metrics.findings.clone());
        registry.register("redactions", "Spans taken out of requests and answers", metrics.redactions.clone());
        registry.register("own_answers", "Answers that Clyra made itself, by code", metrics.own_answers.clone());
        registry.register("coverage_gaps", "Exchanges in which something was not inspected", metrics.gaps.clone());
        let verdicts = "Answers that were held to a schema, by what came of it";
        registry.register("schema_verdicts", verdicts, metrics.schema_verdicts.clone());
        let repairs = "Edits by which answers were made to keep their schema, by kind of damage";
        registry.register("schema_repairs", repairs, metrics.schema_repairs.clone());
        registry.register("in_flight", "Exchanges in flight", metrics.in_flight.clone());
        let help = "Bytes of requests and answers that are held at this moment";
        registry.register_with_unit("bodies_held", help, Unit::Bytes, metrics.bodies_held.clone());
        let with = |registry: &mut Registry, name, help, unit, metric: &Histogram| {
            registry.register_with_unit(name, help, unit, metric.clone());
        };
        with(&mut registry, "exchange", "From the request head to the end", Unit::Seconds, &metrics.duration);
        with(
            &mut registry,
            "first_release",
            "From the request head to the first released byte",
            Unit::Seconds,
            &metrics.first_release,
        );
        with(&mut registry, "scan", "Time in detectors per exchange", Unit::Seconds, &metrics.scan);
        with(&mut registry, "held", "Most bytes of an answer held back at once", Unit::Bytes, &metrics.held);
        let held = "Most bytes of one text held back at once by its schema";
        with(&mut registry, "schema_held", held, Unit::Bytes, &metrics.schema_held);
        let hold = "Longest time that a byte waited for its schema, which is mostly the provider's time";
        with(&mut registry, "schema_hold", hold, Unit::Seconds, &metrics.schema_hold);
        let enforce = "Time in schema checks per exchange";
        with(&mut registry, "schema_enforce", enforce, Unit::Seconds, &metrics.schema_enforce);
        with(
            &mut registry,
            "receipt_wait",
            "From handing in a receipt until it is durable",
            Unit::Seconds,
            &metrics.receipt_wait,
        );
        with(
            &mut registry,
            "receipt_blocked",
            "Time that an exchange stood still for a receipt: less than the wait by what the provider took meanwhile",
            Unit::Seconds,
            &metrics.receipt_blocked,
        );
        registry.register("journal_poisoned", "1 after a failed write or sync", metrics.journal_poisoned.clone());
        registry.register("journal_durable_seq", "Highest sequence known on disk", metrics.journal_durable_seq.clone());
        registry.register(
            "journal_full",
            "1 while receipts are refused for want of space",
            metrics.journal_full.clone(),
        );
        let mut count = |name, help, gauge: &Gauge<u64, AtomicU64>| registry.register(name, help, gauge.clone());
        count("journal_pruned_bytes", "Bytes of old segments removed since the start", &metrics.journal_pruned_bytes);
        count(
            "journal_held_segments",
            "Segments that only a legal hold keeps from removal",
            &metrics.journal_held_segments,
        );
        count("receipt_key_rotations", "Receipt keys replaced since the start", &metrics.key_rotations);
        count(
            "receipt_key_rotations_failed",
            "Receipt keys that should have been replaced and could not be",
            &metrics.key_rotations_failed,
        );
        registry.register("lines_dropped", "Lines lost to a full queue or disk", metrics.lines_dropped.clone());
        let streams = "Streams of which no event can be proven later";
        registry.register("streams_dropped", streams, metrics.streams_dropped.clone());
        registry.register(
            "witness_failures",
            "Cosignatures that a witness did not give",
            metrics.witness_failures.clone(),
        );
        registry.register("seal_failures", "Seals that were not made", metrics.seal_failures.clone());
        registry.register("anchors", "Tries to anchor a checkpoint", metrics.anchors.clone());
        registry.register("anchors_open", "Anchors that were begun and not finished", metrics.anchors_open.clone());
        let healthy = "1 while the endpoint answers what it is asked in the background, or is not asked";
        registry.register("upstream_healthy", healthy, metrics.upstream_healthy.clone());
        let circuit = "0 closed, 1 half-open, 2 open: the endpoint is not called";
        registry.register("upstream_circuit_state", circuit, metrics.upstream_circuit.clone());
        let retries = "Calls of a provider that were made again, by reason";
        registry.register("upstream_retries", retries, metrics.upstream_retries.clone());
        let info = [("hash", policy_hash.to_owned()), ("mode", policy_mode.to_owned())];
        registry.register("policy", "The policy in force", Info::new(info.to_vec()));
        registry.register("build", "This binary", Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
        Metrics { registry, ..metrics }
    }

    /// Counts an exchange that has ended.
    pub fn ended(&self, record: &Record) {
        let verdict = serde_json::to_value(record.verdict).ok().and_then(|v| v.as_str().map(str::to_owned));
        let labels = ExchangeLabels {
            surface: record.surface.into(),
            decision: record.decision().into(),
            verdict: verdict.unwrap_or_default(),
        };
        self.exchanges.get_or_create(&labels).inc();
        if let Some(code) = record.code {
            self.own_answer(code);
        }
        for gap in record.gaps() {
            self.gaps.get_or_create(&GapLabels { reason: gap.as_str().into() }).inc();
        }
        for (direction, side) in record.sides() {
            for judged in Record::findings(side) {
                let labels = FindingLabels {
                    class: judged.found.class.to_string(),
                    channel: judged.found.channel.as_str().into(),
                    direction: direction.into(),
                };
                self.findings.get_or_create(&labels).inc();
            }
            self.redactions.inc_by(u64::from(side.report.redactions));
        }
        self.duration.observe(seconds(record.elapsed_us()));
        if let Some(us) = record.first_release_us {
            self.first_release.observe(seconds(us));
        }
        self.scan.observe(seconds(record.sides().iter().map(|(_, side)| side.report.scan_us).sum()));
        self.held.observe(record.response.report.held_bytes_max as f64);
        self.schema_ended(record);
    }

    fn schema_ended(&self, record: &Record) {
        let schema = &record.response.report.schema;
        if let Some((result, ..)) = record.schema_verdict() {
            self.schema_verdicts.get_or_create(&SchemaLabels { result }).inc();
        }
        for (class, count) in &schema.repairs.by_class {
            self.schema_repairs.get_or_create(&RepairLabels { class }).inc_by(*count);
        }
        if !schema.checked.is_empty() {
            self.schema_held.observe(schema.held_bytes_max as f64);
            self.schema_hold.observe(schema.held_max.as_secs_f64());
            self.schema_enforce.observe(seconds(schema.enforce_us));
        }
    }

    /// Counts an answer that Clyra made itself.
    pub fn own_answer(&self, code: &'static str) {
        self.own_answers.get_or_create(&CodeLabels { code: code.into() }).inc();
    }

    /// Counts a witness, by its configured name, that gave no cosignature.
    pub fn witness_failed(&self, witness: &str) {
        self.witness_failures.get_or_create(&WitnessLabels { witness: witness.into() }).inc();
    }

    /// Counts a try of this anchor of the settings.
    pub fn anchored(&self, anchor: &str, outcome: AnchorOutcome) {
        self.anchors.get_or_create(&AnchorLabels { anchor: anchor.to_owned(), outcome }).inc();
    }

    /// Anchors that were begun at this place and are not finished.
    pub fn anchors_open(&self, anchor: &str, count: u64) {
        self.anchors_open.get_or_create(&AnchorName { anchor: anchor.to_owned() }).set(count);
    }

    /// Brings the numbers of a provider up to date.
    pub fn upstream(&self, provider: &Provider) {
        for state in provider.states() {
            let labels = EndpointLabels { upstream: provider.name.to_string(), endpoint: state.name.to_string() };
            self.upstream_healthy.get_or_create(&labels).set(i64::from(state.is_healthy));
            let circuit = match state.circuit {
                CircuitState::Closed => 0,
                CircuitState::HalfOpen => 1,
                CircuitState::Open => 2,
            };
            self.upstream_circuit.get_or_create(&labels).set(circuit);
        }
        for (reason, count) in provider.retried() {
            let labels = RetryLabels { upstream: provider.name.to_string(), reason: reason.as_str() };
            let counter = self.upstream_retries.get_or_create(&labels);
            counter.inner().store(count, Ordering::Relaxed);
        }
    }

    pub fn lines_dropped(&self, file: WriterKind, count: u64) {
        self.lines_dropped.get_or_create(&WriterLabels { file }).set(count);
    }

    /// The page behind `/metrics`.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}
