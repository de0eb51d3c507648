//! Sample receipts and logs for the tests of this crate, and the way to the published vectors.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::canonical::Value;
use crate::commit::Commitment;
use crate::receipt::*;
use crate::{Log, LogOptions};

pub(crate) const ORIGIN: &str = "test.example/log";

pub(crate) fn options(directory: &Path) -> LogOptions {
    LogOptions::new(directory, ORIGIN, BuildInfo { digest: Some("ab".repeat(32)), version: "0.0.0".into() })
}

fn commitment() -> Commitment {
    Commitment { alg: "hmac-sha256".into(), salt: None, value: "cd".repeat(32) }
}

pub(crate) fn caller() -> Caller {
    Caller {
        app: Some("checkout".into()),
        automation: Some(Automation {
            job_id: Some("j".into()),
            pipeline_id: Some("p".into()),
            service_id: Some("s".into()),
        }),
        identity: Some(Identity { commit: Some(commitment()), id: Some("key-1".into()), kind: "api_key".into() }),
        sdk: Some("openai-python/1.99".into()),
        tenant: Some("shop".into()),
    }
}

pub(crate) fn request() -> Request {
    Request {
        bytes: 812,
        commit: Some(commitment()),
        messages: vec![
            MessageCount { count: 1, kind: "text".into(), role: "system".into() },
            MessageCount { count: 2, kind: "text".into(), role: "user".into() },
        ],
        method: Some("POST".into()),
        model: Some("gpt-5".into()),
        route: Some("/v1/chat/completions".into()),
        stream: true,
        surface: "openai.chat".into(),
        tools: vec![ToolRecord { digest: Some("ef".repeat(32)), name: "refund".into() }],
    }
}

pub(crate) fn check() -> Check {
    Check {
        bytes: 812,
        channel: "request.user".into(),
        id: "secrets".into(),
        outcome: CheckOutcome::Pass,
        reason: Some("none".into()),
        us: 81,
        version: "1.0.0".into(),
    }
}

pub(crate) fn finding() -> FindingRecord {
    FindingRecord {
        atlas: Some("AML.T0051".into()),
        channel: "request.user".into(),
        class: "secret".into(),
        detector: "secrets.aws".into(),
        owasp: Some("LLM02:2026".into()),
        place: Place { length: 20, offset: 14, pointer: "/messages/1/content".into() },
        score_ppm: 990_000,
        threat_class: Some("disclosure".into()),
    }
}

pub(crate) fn policy() -> PolicyRecord {
    PolicyRecord {
        decision: "redact".into(),
        exceptions: vec!["e".into()],
        hash: policy_document().hash,
        rules: vec![RuleRecord { action: "redact".into(), id: "no-secrets-out".into() }],
        shadow: vec![ShadowRecord { decision: "block".into(), id: "next".into() }],
    }
}

pub(crate) fn policy_document() -> crate::PolicyDocument {
    let canonical = br#"{"version":1}"#.to_vec();
    crate::PolicyDocument { hash: blake3::hash(&canonical).to_hex().to_string(), canonical }
}

fn ext() -> Ext {
    let mut ext = Ext::default();
    ext.insert("note", Value::from("a")).unwrap();
    ext
}

pub(crate) fn attempt() -> Attempt {
    Attempt {
        id: Uuid::now_v7(),
        run: Some(RunRef { parent: Some("run-0".to_owned()), parents: vec![3, 9], ..RunRef::new("run-1") }),
        caller: caller(),
        request: request(),
        policy: policy(),
        checks: vec![check(), check()],
        findings: vec![finding()],
        coverage: CoverageRecord { level: Coverage::Partial, reasons: vec!["image".into()] },
        ext: ext(),
    }
}

pub(crate) fn outcome(attempt: &Attempt, attempt_seq: u64) -> Outcome {
    Outcome {
        id: attempt.id,
        attempt_seq,
        run: attempt.run.clone(),
        caller: caller(),
        request: Some(request()),
        upstream: Some(Upstream {
            attempts: 1,
            first_byte_us: Some(210_000),
            model: Some("gpt-5-2026".into()),
            name: "openai".into(),
            request_id: Some("req_1".into()),
            status: Some(200),
            total_us: Some(900_000),
        }),
        response: Some(Response {
            cost_microusd: Some(420),
            finish_reason: Some("stop".into()),
            received: Some(BodyRecord { bytes: 3000, commit: Some(commitment()) }),
            released: Some(BodyRecord { bytes: 2990, commit: Some(commitment()) }),
            usage: Some(Usage { cached: 1, estimated: false, input: 2, output: 3, reasoning: 4 }),
        }),
        stream: Some(StreamRecord { events: 20, held_max_bytes: 64, root: "01".repeat(32) }),
        checks: vec![check()],
        findings: vec![finding()],
        schema: Some(SchemaRecord {
            digest: "02".repeat(32),
            lock: "invoice".into(),
            repair: Some(RepairRecord { digest: "03".repeat(32), kind: "local".into() }),
            verdict: "repaired".into(),
            violation: Some(ViolationRecord { keyword: "type".into(), offset: 17, pointer: "/a".into() }),
        }),
        policy: policy(),
        coverage: CoverageRecord { level: Coverage::Full, reasons: Vec::new() },
        verdict: Verdict::Redacted,
        ext: ext(),
    }
}

pub(crate) fn bypass() -> Bypass {
    let outcome = outcome(&attempt(), 0);
    Bypass {
        id: Uuid::now_v7(),
        run: None,
        caller: Caller::default(),
        request: Request { surface: "unknown".into(), ..Request::default() },
        upstream: outcome.upstream,
        response: outcome.response,
        policy: PolicyRecord::default(),
        coverage: CoverageRecord { level: Coverage::None, reasons: vec!["unknown endpoint".into()] },
        verdict: Some(Verdict::Executed),
        ext: Ext::default(),
    }
}

/// An exchange: attempt and outcome.
pub(crate) fn exchange(log: &Log) {
    let attempt = attempt();
    let token = log.append_blocking(attempt.clone()).unwrap();
    log.append_blocking(outcome(&attempt, token.seq)).unwrap();
}

/// The published vectors, or `None` where they are not at hand (with a note; in CI that is a failure).
pub(crate) fn vectors(test: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("CLYRA_SHARED_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let vectors = shared.join("vectors");
    if vectors.is_dir() {
        return Some(vectors);
    }
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{test}: no vectors in {}", vectors.display());
    println!("{test}: skipped, no vectors in {}", vectors.display());
    None
}

/// A JSON file of the vectors.
pub(crate) fn vector_json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A directory in memory where there is one: tests of logic need not wait for a disk.
pub(crate) fn fast_directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// The text with another digit at this place.
pub(crate) fn other_digit(text: &[u8], at: usize) -> Vec<u8> {
    let mut text = text.to_vec();
    text[at] = if text[at] == b'0' { b'1' } else { b'0' };
    text
}

/// All files below a directory with this ending.
pub(crate) fn files_below(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// A block header of the least difficulty on top of another, with its work done.
pub(crate) fn mine(prev: [u8; 32], merkle_root: [u8; 32]) -> crate::anchor::bitcoin::Header {
    use crate::anchor::bitcoin::{HEADER_BYTES, Header};
    let mut header = Header([0; HEADER_BYTES]);
    header.0[0] = 4;
    header.0[4..36].copy_from_slice(&prev);
    header.0[36..68].copy_from_slice(&merkle_root);
    header.0[68..72].copy_from_slice(&1_700_000_000u32.to_le_bytes());
    header.0[72..76].copy_from_slice(&0x207F_FFFFu32.to_le_bytes());
    while !header.meets_target() {
        header.0[76] = header.0[76].checked_add(1).unwrap();
    }
    header
}

/// A time-stamp response in all that is read of it; nobody signed it.
pub(crate) fn token(digest: &[u8; 32], time: &str, nonce: u32) -> Vec<u8> {
    fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        match length {
            [0, short @ 0..=0x7F] => [&[tag, short][..], &content].concat(),
            [0, long] => [&[tag, 0x81, long][..], &content].concat(),
            [high, low] => [&[tag, 0x82, high, low][..], &content].concat(),
        }
    }
    let sha256 = element(6, &[&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1]]);
    let algorithm = element(0x30, &[&sha256, &[5, 0]]);
    let imprint = element(0x30, &[&algorithm, &element(4, &[digest])]);
    let nonce = element(2, &[&[0], &nonce.to_be_bytes()[1..]]);
    let nonce = if nonce[3] < 0x80 { element(2, &[&nonce[3..]]) } else { nonce };
    let info = [
        vec![2, 1, 1],
        element(6, &[&[0x2A, 3, 4]]),
        imprint,
        vec![2, 1, 9],
        element(0x18, &[time.as_bytes()]),
        element(0x30, &[&[2, 1, 1]]),
        nonce,
    ];
    let info = element(0x30, &[&info.concat()]);
    let content_type = element(6, &[&[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 9, 0x10, 1, 4]]);
    let content = element(0x30, &[&content_type, &element(0xA0, &[&element(4, &[&info])])]);
    let signed = element(0x30, &[&[2, 1, 3], &element(0x31, &[&algorithm]), &content, &element(0x31, &[&[0x30, 0]])]);
    let kind = element(6, &[&[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 7, 2]]);
    element(0x30, &[&element(0x30, &[&[2, 1, 0]]), &element(0x30, &[&kind, &element(0xA0, &[&signed])])])
}
