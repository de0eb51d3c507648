//! What receipts cost: `cargo bench -p clyra-receipts`.
//!
//! - `cpu`: processor time of a whole exchange (attempt and outcome: written out, placed, chained, signed, framed, written and
//!   acknowledged, with all thread hand-overs) with the journal in memory, so that no disk is waited for. Read from the
//!   kernel's account of this process, whatever else the machine does.
//! - `durable`: time from append to acknowledgement with sixteen callers at once, on the disk of the temporary directory.
//! - `verify`: one receipt of a bundle, all checks.

// A bench that cannot run has nobody to report to.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::{Duration, Instant};

use clyra_receipts::receipt::{
    Attempt, BuildInfo, Caller, Check, CheckOutcome, Coverage, CoverageRecord, Ext, Outcome, Place, PolicyRecord,
    Request, Response, RuleRecord, RunRef, Upstream, Usage, Verdict,
};
use clyra_receipts::receipt::{BodyRecord, FindingRecord, StreamRecord};
use clyra_receipts::{Commitment, Log, LogOptions, Sealer, VerifyOptions};
use criterion::{Criterion, criterion_group, criterion_main};

fn commitment() -> Commitment {
    Commitment { alg: "hmac-sha256".into(), salt: None, value: "cd".repeat(32) }
}

fn check(id: &str) -> Check {
    Check {
        bytes: 812,
        channel: "request.user".into(),
        id: id.into(),
        outcome: CheckOutcome::Pass,
        reason: None,
        us: 81,
        version: "1.0.0".into(),
    }
}

fn policy() -> PolicyRecord {
    PolicyRecord {
        decision: "redact".into(),
        hash: "ab".repeat(32),
        rules: vec![RuleRecord { action: "redact".into(), id: "no-secrets-out".into() }],
        ..PolicyRecord::default()
    }
}

/// An ordinary exchange: four checks, one finding.
fn attempt() -> Attempt {
    Attempt {
        id: uuid::Uuid::now_v7(),
        run: Some(RunRef::new("run-1")),
        caller: Caller { app: Some("checkout".into()), tenant: Some("shop".into()), ..Caller::default() },
        request: Request {
            bytes: 812,
            commit: Some(commitment()),
            model: Some("gpt-5".into()),
            stream: true,
            surface: "openai.chat".into(),
            ..Request::default()
        },
        policy: policy(),
        checks: ["secrets", "patterns", "injection", "pii"].map(check).to_vec(),
        findings: vec![FindingRecord {
            atlas: None,
            channel: "request.user".into(),
            class: "secret".into(),
            detector: "secrets.aws".into(),
            owasp: Some("LLM02:2026".into()),
            place: Place { length: 20, offset: 14, pointer: "/messages/1/content".into() },
            score_ppm: 990_000,
            threat_class: None,
        }],
        coverage: CoverageRecord { level: Coverage::Full, reasons: Vec::new() },
        ext: Ext::default(),
    }
}

fn outcome(attempt: &Attempt, attempt_seq: u64) -> Outcome {
    let body = BodyRecord { bytes: 3000, commit: Some(commitment()) };
    Outcome {
        id: attempt.id,
        attempt_seq,
        run: attempt.run.clone(),
        caller: attempt.caller.clone(),
        request: None,
        upstream: Some(Upstream { attempts: 1, name: "openai".into(), status: Some(200), ..Upstream::default() }),
        response: Some(Response {
            finish_reason: Some("stop".into()),
            received: Some(body.clone()),
            released: Some(body),
            usage: Some(Usage { cached: 0, input: 200, output: 90, reasoning: 0 }),
            ..Response::default()
        }),
        stream: Some(StreamRecord { events: 90, held_max_bytes: 64, root: "01".repeat(32) }),
        checks: attempt.checks.clone(),
        findings: Vec::new(),
        schema: None,
        policy: policy(),
        coverage: attempt.coverage.clone(),
        verdict: Verdict::Redacted,
        ext: Ext::default(),
    }
}

fn open(directory: &Path) -> Log {
    let build = BuildInfo { digest: None, version: "0.0.0".into() };
    let options = LogOptions::new(directory, "bench.example/log", build);
    Log::open(options).map(|(log, _)| log).unwrap()
}

fn exchange(log: &Log) {
    let attempt = attempt();
    let token = log.append_blocking(attempt.clone()).unwrap();
    log.append_blocking(outcome(&attempt, token.seq)).unwrap();
}

fn concurrently(log: &Log, callers: u64, exchanges: u64) {
    std::thread::scope(|scope| {
        for caller in 0..callers {
            let share = exchanges / callers + u64::from(caller < exchanges % callers);
            scope.spawn(move || (0..share).for_each(|_| exchange(log)));
        }
    });
}

/// Processor time of this process, in steps of 10 ms.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default();
    let ticks: u64 = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

fn cpu(criterion: &mut Criterion) {
    let memory = if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" };
    let directory = tempfile::tempdir_in(memory).unwrap();
    let log = open(directory.path());
    criterion.bench_function("cpu per exchange (two receipts)", |bencher| {
        bencher.iter_custom(|iterations| {
            // At least 500 exchanges, because the kernel counts in steps of 10 ms.
            let factor = 500 / iterations.min(500) + 1;
            let before = processor_time();
            concurrently(&log, 16, iterations * factor);
            (processor_time() - before) / u32::try_from(factor).unwrap_or(1)
        });
    });
}

fn durable(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    criterion.bench_function("durable exchange, 16 callers (time of one caller)", |bencher| {
        bencher.iter_custom(|iterations| {
            let start = Instant::now();
            concurrently(&log, 16, iterations * 16);
            start.elapsed()
        });
    });
}

fn verify(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    concurrently(&log, 16, 500);
    let mut sealer = Sealer::open(directory.path()).unwrap();
    let sealed = sealer.seal(log.status().durable_count, &[]).unwrap();
    let Some(sealed) = sealed else { return };
    criterion.bench_function("verify a bundle of 1,002 receipts", |bencher| {
        bencher.iter(|| clyra_receipts::verify(&[&sealed.path], &VerifyOptions::default()).map(|verdict| verdict.ok));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_millis(500));
    targets = cpu, durable, verify
}
criterion_main!(benches);
