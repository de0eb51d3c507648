//! An ordinary exchange and its log, for the benches.

// Each bench uses its part.
#![allow(dead_code, unreachable_pub)]

use std::path::Path;
use std::time::Duration;

use clyra_receipts::receipt::{
    Attempt, BodyRecord, BuildInfo, Caller, Check, CheckOutcome, Coverage, CoverageRecord, Ext, FindingRecord, Outcome,
    Place, PolicyRecord, Request, Response, RuleRecord, RunRef, StreamRecord, Upstream, Usage, Verdict,
};
use clyra_receipts::{Commitment, Log, LogOptions};

pub const ORIGIN: &str = "bench.example/log";

pub fn build() -> BuildInfo {
    BuildInfo { digest: None, version: "0.0.0".into() }
}

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
pub fn attempt() -> Attempt {
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

pub fn outcome(attempt: &Attempt, attempt_seq: u64) -> Outcome {
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
            usage: Some(Usage { cached: 0, estimated: false, input: 200, output: 90, reasoning: 0 }),
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

pub fn open(directory: &Path) -> Log {
    Log::open(LogOptions::new(directory, ORIGIN, build())).map(|(log, _)| log).unwrap()
}

/// Processor time of this process, in steps of 10 ms.
pub fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default();
    let ticks: u64 = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}
