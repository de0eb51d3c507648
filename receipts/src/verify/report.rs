//! The verdict: all that was found, in one order, as a struct and as canonical JSON.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::Code;
use crate::canonical::{INTEGER_MAX, JsonFault, Value, to_vec};
use crate::keys::TrustFault;
use crate::receipt::FORMAT;
use crate::receipt::shape::VERDICTS;

/// Most findings that are kept, the first in their order; the rest is counted. A file that was damaged throughout says
/// nothing new after these.
const FINDINGS_MAX: usize = 10_000;

/// Whether a finding makes the evidence bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    /// To be seen, but explicable without tampering: a crash, an exchange in flight, a stepped clock.
    Warning,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyFinding {
    pub code: Code,
    pub severity: Severity,
    /// Input and member, and after a `#` the JSON pointer in it.
    pub path: String,
    /// Sequence number of the receipt, where there is one.
    pub seq: Option<u64>,
    /// For people; not part of the canonical verdict.
    pub detail: String,
}

impl VerifyFinding {
    pub fn name(&self) -> &'static str {
        self.code.name()
    }

    pub fn phase(&self) -> u8 {
        self.code.phase()
    }
}

/// What the check could establish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assurance {
    /// The evidence leads to the root key that the reader named: it is from that log.
    Origin,
    /// No root key was named: the evidence is whole and agrees with itself, whoever made it.
    Integrity,
}

impl Assurance {
    pub fn name(self) -> &'static str {
        match self {
            Self::Origin => "origin",
            Self::Integrity => "integrity",
        }
    }
}

/// What was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyStats {
    pub bundles: u64,
    pub segments: u64,
    pub checkpoints: u64,
    /// Receipts read, counted once per input that holds them.
    pub receipts: u64,
    /// Receipts by kind.
    pub kinds: BTreeMap<String, u64>,
    /// Outcomes and bypasses by verdict.
    pub verdicts: BTreeMap<String, u64>,
    pub first_seq: Option<u64>,
    pub last_seq: Option<u64>,
    /// Names of the logs.
    pub logs: Vec<String>,
}

/// The result of a verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// No error was found.
    pub ok: bool,
    pub assurance: Assurance,
    /// Ordered by phase, sequence number, code and path.
    pub findings: Vec<VerifyFinding>,
    /// Findings beyond those that are kept.
    pub findings_dropped: u64,
    pub stats: VerifyStats,
}

impl Verdict {
    /// The canonical verdict: the same bytes from every verifier for the same input.
    pub fn to_json(&self) -> Vec<u8> {
        let count = |number: u64| Value::Integer(i64::try_from(number).unwrap_or(INTEGER_MAX).min(INTEGER_MAX));
        let counts = |map: &BTreeMap<String, u64>| {
            Value::Object(map.iter().map(|(name, number)| (name.clone(), count(*number))).collect())
        };
        let seq = |seq: Option<u64>| seq.map_or(Value::Null, |seq| Value::from(seq.to_string()));
        let findings = self.findings.iter().map(|finding| {
            Value::from([
                ("code", Value::from(finding.code.code())),
                ("name", Value::from(finding.name())),
                ("path", Value::from(finding.path.as_str())),
                ("seq", seq(finding.seq)),
                ("severity", Value::from(if finding.severity == Severity::Error { "error" } else { "warning" })),
            ])
        });
        let stats = &self.stats;
        to_vec(&Value::from([
            ("assurance", Value::from(self.assurance.name())),
            ("findings", Value::Array(findings.collect())),
            ("findings_dropped", count(self.findings_dropped)),
            ("ok", Value::from(self.ok)),
            (
                "stats",
                Value::from([
                    ("bundles", count(stats.bundles)),
                    ("checkpoints", count(stats.checkpoints)),
                    ("first_seq", seq(stats.first_seq)),
                    ("kinds", counts(&stats.kinds)),
                    ("last_seq", seq(stats.last_seq)),
                    ("logs", Value::Array(stats.logs.iter().map(|log| Value::from(log.as_str())).collect())),
                    ("receipts", count(stats.receipts)),
                    ("segments", count(stats.segments)),
                    ("verdicts", counts(&stats.verdicts)),
                ]),
            ),
            ("v", Value::from(FORMAT)),
        ]))
    }
}

/// What makes a finding, in the order in which they are told.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    phase: u8,
    seq: Option<u64>,
    code: Code,
    path: String,
    severity: Severity,
}

/// Findings being gathered.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// In their order, each with its detail.
    findings: BTreeMap<Key, String>,
    dropped: u64,
    dropped_errors: bool,
    pub(super) stats: VerifyStats,
}

/// Code and words for what is wrong with a JSON document.
pub(super) fn json_fault(fault: JsonFault) -> (Code, &'static str) {
    match fault {
        JsonFault::Syntax => (Code::E201, "not JSON"),
        JsonFault::RepeatedName => (Code::E202, "a member name is repeated"),
        JsonFault::Number => (Code::E204, "a number that is not an integer within ±(2^53 − 1)"),
        JsonFault::Text => (Code::E205, "bad UTF-8, an unpaired surrogate or a member name that is not ASCII"),
        JsonFault::Limit => (Code::E106, "longer, deeper or with more values than allowed"),
    }
}

impl Report {
    pub(super) fn error(&mut self, code: Code, path: &str, seq: Option<u64>, detail: impl Into<String>) {
        self.add(code, Severity::Error, path, seq, detail.into());
    }

    pub(super) fn warning(&mut self, code: Code, path: &str, seq: Option<u64>, detail: impl Into<String>) {
        self.add(code, Severity::Warning, path, seq, detail.into());
    }

    /// Of equal findings the first is told; of too many, those that come first in the order.
    fn add(&mut self, code: Code, severity: Severity, path: &str, seq: Option<u64>, detail: String) {
        let key = Key { phase: code.phase(), seq, code, path: path.to_owned(), severity };
        let full = self.findings.len() >= FINDINGS_MAX;
        if full && self.findings.last_key_value().is_some_and(|(last, _)| *last < key) {
            return self.drop_one(severity);
        }
        let Entry::Vacant(place) = self.findings.entry(key) else { return };
        place.insert(detail);
        if full && let Some((last, _)) = self.findings.pop_last() {
            self.drop_one(last.severity);
        }
    }

    fn drop_one(&mut self, severity: Severity) {
        self.dropped += 1;
        self.dropped_errors |= severity == Severity::Error;
    }

    pub(super) fn json(&mut self, fault: JsonFault, path: &str, seq: Option<u64>) {
        let (code, detail) = json_fault(fault);
        self.error(code, path, seq, detail);
    }

    pub(super) fn trust(&mut self, fault: TrustFault, path: &str) {
        let code = match fault {
            TrustFault::Json(json) => return self.json(json, path, None),
            TrustFault::NotCanonical => Code::E203,
            TrustFault::Shape => Code::E206,
            TrustFault::KeyId => Code::E302,
            TrustFault::Alg => Code::E303,
            TrustFault::Weak => Code::E307,
            TrustFault::Unauthorised => Code::E306,
            TrustFault::Limit => Code::E106,
        };
        self.error(code, path, None, fault.to_string());
    }

    pub(super) fn count(&mut self, kind: &str, verdict: Option<&str>, seq: u64) {
        let stats = &mut self.stats;
        stats.receipts += 1;
        *stats.kinds.entry(kind.to_owned()).or_default() += 1;
        if let Some(verdict) = verdict.filter(|verdict| VERDICTS.contains(verdict)) {
            *stats.verdicts.entry(verdict.to_owned()).or_default() += 1;
        }
        stats.first_seq = Some(stats.first_seq.map_or(seq, |first| first.min(seq)));
        stats.last_seq = Some(stats.last_seq.map_or(seq, |last| last.max(seq)));
    }

    pub(super) fn finish(mut self, assurance: Assurance) -> Verdict {
        self.stats.logs.sort();
        self.stats.logs.dedup();
        let bad = self.dropped_errors || self.findings.keys().any(|key| key.severity == Severity::Error);
        let finding = |(key, detail): (Key, String)| VerifyFinding {
            code: key.code,
            severity: key.severity,
            path: key.path,
            seq: key.seq,
            detail,
        };
        let findings = self.findings.into_iter().map(finding).collect();
        Verdict { ok: !bad, assurance, findings, findings_dropped: self.dropped, stats: self.stats }
    }
}
