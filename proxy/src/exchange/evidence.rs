//! Receipts of an exchange: what was asked before the answer, what came of it after.

use clyra_detectors::Engine;
use clyra_receipts::canonical::Value;
use clyra_receipts::receipt::{
    Attempt, Automation, BodyRecord, Bypass, Caller, Check, CheckOutcome, Coverage, CoverageRecord, Ext, FindingRecord,
    Identity, MessageCount, Outcome, Place, PolicyRecord, RepairRecord, Request, Response, RuleRecord, RunRef,
    SchemaRecord, StreamRecord, ToolRecord, Upstream, Usage, Verdict, ViolationRecord,
};

use super::lineage::{MADE, on_record};
use super::record::{Part, Passed, Record, Side};
use crate::guard::Gap;

/// Members of `ext`, beside [`MADE`].
const CHOICES_ENDED: &str = "choices_ended";
const SESSION: &str = "session";
const WOULD_REPAIR: &str = "would_repair";

/// Ids of one answer that stand in its receipt. Few answers have more than some ten items.
const MADE_MAX: usize = 64;

/// The receipt that is durable before the first byte of the answer.
pub(super) fn attempt(record: &Record, engine: &Engine) -> Attempt {
    Attempt {
        id: record.id,
        run: run(record),
        caller: caller(record),
        request: request(record),
        policy: policy(record),
        checks: checks(&record.request, engine),
        findings: findings(&record.request),
        coverage: coverage(record),
        ext: of_session(record),
    }
}

/// The receipt that is durable before the last byte of the answer.
pub(super) fn outcome(record: &Record, attempt_seq: u64, engine: &Engine) -> Outcome {
    // Nothing of a session's client was there yet when its attempt was written.
    let asked = Some(&record.request).filter(|_| record.part == Part::Session);
    let question = Some(&record.question).filter(|question| question.decided.is_some());
    let sides = || asked.into_iter().chain([&record.response]).chain(question);
    let mut checks: Vec<Check> = sides().flat_map(|side| checks(side, engine)).collect();
    checks.extend(schema_checks(record));
    Outcome {
        id: record.id,
        attempt_seq,
        run: run(record),
        caller: caller(record),
        request: asked.map(|_| request(record)),
        upstream: upstream(record),
        response: response(record),
        stream: record.events.as_ref().map(|(events, root)| StreamRecord {
            events: *events,
            held_max_bytes: record.response.report.held_bytes_max,
            root: root.clone(),
        }),
        checks,
        findings: sides().flat_map(findings).collect(),
        schema: schema(record),
        policy: policy(record),
        coverage: coverage(record),
        verdict: record.verdict,
        ext: ext(record),
    }
}

/// The receipt of an exchange that passes uninspected: once before it (`verdict` absent), once with its end.
pub(super) fn bypass(record: &Record, ended: bool) -> Bypass {
    Bypass {
        id: record.id,
        run: run(record),
        caller: caller(record),
        request: request(record),
        upstream: upstream(record),
        response: response(record),
        policy: policy(record),
        coverage: CoverageRecord { level: Coverage::None, reasons: vec![Gap::UnknownSurface.as_str().into()] },
        verdict: ended.then_some(record.verdict),
        ext: Default::default(),
    }
}

fn run(record: &Record) -> Option<RunRef> {
    let id = record.labels.run_id.as_deref()?;
    Some(RunRef { parent: record.labels.parent_run_id.clone(), parents: record.parents.clone(), ..RunRef::new(id) })
}

fn caller(record: &Record) -> Caller {
    let labels = &record.labels;
    let automation = Automation {
        job_id: labels.job_id.clone(),
        pipeline_id: labels.pipeline_id.clone(),
        service_id: labels.service_id.clone(),
    };
    let known = record.known_caller;
    Caller {
        app: labels.app.clone(),
        automation: (automation != Automation::default()).then_some(automation),
        identity: Some(Identity {
            commit: None,
            id: Some(record.caller.id.to_string()),
            kind: if known { "api_key" } else { "anonymous" }.into(),
        }),
        sdk: labels.sdk.clone(),
        tenant: Some(record.caller.tenant.to_string()).filter(|t| !t.is_empty()),
    }
}

fn request(record: &Record) -> Request {
    let messages = MessageCount { count: record.messages, kind: "message".into(), role: "any".into() };
    Request {
        bytes: record.request_body.bytes,
        commit: record.request_body.commit.clone(),
        messages: if record.messages > 0 { vec![messages] } else { Vec::new() },
        method: Some(record.method.clone()),
        model: Some(record.model.clone()).filter(|m| !m.is_empty()),
        route: Some(record.route.clone()),
        stream: record.stream,
        surface: record.surface.into(),
        tools: record.tools.iter().map(|name| ToolRecord { digest: None, name: name.clone() }).collect(),
    }
}

fn upstream(record: &Record) -> Option<Upstream> {
    let name = record.upstream.as_ref()?;
    let called = &record.called;
    (called.attempts > 0).then(|| Upstream {
        attempts: called.attempts,
        first_byte_us: called.first_byte_us,
        model: record.facts.model.clone(),
        name: name.to_string(),
        request_id: called.request_id.clone(),
        status: called.status,
        total_us: called.total_us,
    })
}

fn response(record: &Record) -> Option<Response> {
    record.called.status?;
    let (usage, estimated) = record.usage();
    let known = usage.input.is_some() || usage.output.is_some();
    Some(Response {
        cost_microusd: None,
        finish_reason: record.facts.finish_reason.clone(),
        received: Some(body(&record.received)),
        released: Some(body(&record.released)),
        usage: known.then(|| Usage {
            cached: usage.cached.unwrap_or(0),
            estimated,
            input: usage.input.unwrap_or(0),
            output: usage.output.unwrap_or(0),
            reasoning: usage.reasoning.unwrap_or(0),
        }),
    })
}

fn body(passed: &Passed) -> BodyRecord {
    BodyRecord { bytes: passed.bytes, commit: passed.commit.clone() }
}

fn policy(record: &Record) -> PolicyRecord {
    PolicyRecord {
        decision: record.decided().as_str().into(),
        exceptions: record.exceptions().into_iter().collect(),
        hash: record.policy_hash.clone(),
        rules: record.rules().into_iter().map(|r| RuleRecord { action: r.action.into(), id: r.id }).collect(),
        shadow: Vec::new(),
    }
}

/// One row per check and channel that had text; one `skipped` row per check where nothing was inspected.
fn checks(side: &Side, engine: &Engine) -> Vec<Check> {
    let findings: Vec<_> = findings(side);
    let failed = side.report.gaps.contains(&Gap::DetectorError);
    let timed_out = side.report.gaps.contains(&Gap::DetectorTimeout);
    let row = |id: &str, version: &str, channel: &str, outcome, reason: Option<&str>, bytes, us| Check {
        bytes,
        channel: channel.into(),
        id: id.into(),
        outcome,
        reason: reason.map(Into::into),
        us,
        version: version.into(),
    };
    let mut rows = Vec::new();
    for check in engine.checks() {
        if side.report.bytes.is_empty() || timed_out {
            let (outcome, reason) = match (timed_out, failed, side.inspected) {
                (true, ..) => (CheckOutcome::Timeout, Gap::DetectorTimeout.as_str()),
                (_, true, _) => (CheckOutcome::Error, Gap::DetectorError.as_str()),
                (.., true) => (CheckOutcome::Skipped, "no_text"),
                _ => (CheckOutcome::Skipped, side.report.gaps.first().map_or("not_reached", |g| g.as_str())),
            };
            rows.push(row(&check.id, &check.version, "any", outcome, Some(reason), 0, 0));
            continue;
        }
        for (channel, bytes) in &side.report.bytes {
            let hit = findings.iter().any(|f| f.channel == channel.as_str() && covers(&check.id, &f.detector));
            let outcome = match (hit, failed) {
                (true, _) => CheckOutcome::Finding,
                (_, true) => CheckOutcome::Error,
                _ => CheckOutcome::Pass,
            };
            let reason = failed.then_some(Gap::DetectorError.as_str());
            rows.push(row(&check.id, &check.version, channel.as_str(), outcome, reason, *bytes, side.report.scan_us));
        }
    }
    rows
}

/// A check's id is its detector's, or the family that the detector's id begins with.
fn covers(check: &str, detector: &str) -> bool {
    detector.strip_prefix(check).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn schema_checks(record: &Record) -> impl Iterator<Item = Check> + '_ {
    let (breach, schema) = (record.breach(), &record.response.report.schema);
    let broken = move |id: &str| breach.is_some_and(|b| b.id == id);
    // An answer that was stopped for another reason was not held to its schemas to the end.
    let mut ids: Vec<&str> = schema.checked.iter().map(|(id, _)| id.as_str()).collect();
    ids.retain(|id| schema.finished || broken(id));
    ids.dedup();
    ids.into_iter().map(move |id| Check {
        bytes: record.received.bytes,
        channel: "content".into(),
        id: format!("schema.{id}"),
        outcome: if broken(id) { CheckOutcome::Finding } else { CheckOutcome::Pass },
        reason: None,
        us: schema.enforce_us,
        version: env!("CARGO_PKG_VERSION").into(),
    })
}

fn schema(record: &Record) -> Option<SchemaRecord> {
    let (verdict, lock, digest) = record.schema_verdict()?;
    let repairs = &record.response.report.schema.repairs;
    Some(SchemaRecord {
        digest: digest.to_owned(),
        lock: lock.to_owned(),
        repair: repairs.digest.as_ref().map(|digest| RepairRecord { digest: digest.clone(), kind: repairs.kinds() }),
        verdict: verdict.to_owned(),
        violation: record.breach().map(|b| ViolationRecord {
            keyword: b.keyword.clone(),
            offset: b.at,
            pointer: b.pointer.clone(),
        }),
    })
}

/// What the format of receipts has no member for: the session that this is a part of, choices that were ended alone, what the
/// answer made, and the kinds of damage that would have been mended where nothing is touched.
fn ext(record: &Record) -> Ext {
    let mut ext = of_session(record);
    let ended = &record.response.report.schema.ended;
    if !ended.is_empty() {
        let list = ended.iter().map(|choice| Value::from(choice.to_string())).collect::<Vec<_>>();
        // Digits in ASCII: there is nothing to refuse.
        let _ = ext.insert(CHOICES_ENDED, Value::from(list));
    }
    let made: Vec<_> = record.made().take(MADE_MAX).map(|id| Value::from(on_record(&record.caller.id, id))).collect();
    if !made.is_empty() {
        let _ = ext.insert(MADE, Value::from(made));
    }
    let would = &record.response.report.schema.would_repair;
    if !would.is_empty() {
        let kinds = would.keys().copied().collect::<Vec<_>>().join(",");
        let _ = ext.insert(WOULD_REPAIR, Value::from(kinds));
    }
    ext
}

fn of_session(record: &Record) -> Ext {
    let mut ext = Ext::default();
    if let Some(session) = record.session() {
        // Hexadecimal digits: there is nothing to refuse.
        let _ = ext.insert(SESSION, Value::from(session.to_string()));
    }
    ext
}

fn findings(side: &Side) -> Vec<FindingRecord> {
    Record::findings(side)
        .map(|judged| FindingRecord {
            atlas: judged.threat.atlas.clone(),
            channel: judged.found.channel.as_str().into(),
            class: judged.found.class.to_string(),
            detector: judged.found.detector.to_string(),
            owasp: judged.threat.owasp.clone(),
            place: Place {
                length: judged.found.end - judged.found.start.min(judged.found.end),
                offset: judged.found.start,
                pointer: judged.found.pointer.clone(),
            },
            score_ppm: judged.found.score_ppm,
            threat_class: Some(judged.found.class.to_string()),
        })
        .collect()
}

fn coverage(record: &Record) -> CoverageRecord {
    let mut reasons: Vec<String> = record.gaps().into_iter().map(|g| g.as_str().to_owned()).collect();
    let answered = record.called.status.is_some();
    let nothing =
        !record.request.inspected || (answered && !record.response.inspected && record.verdict != Verdict::Blocked);
    if nothing && reasons.is_empty() {
        reasons.push("not_reached".into());
    }
    let level =
        match (reasons.is_empty(), record.request.report.bytes.is_empty() && record.response.report.bytes.is_empty()) {
            (true, _) => Coverage::Full,
            (false, true) => Coverage::None,
            (false, false) => Coverage::Partial,
        };
    CoverageRecord { level, reasons }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_below_ext_is_in_the_specification() {
        let spec = include_str!("../../../receipts/SPEC.md");
        for name in [CHOICES_ENDED, MADE, SESSION, WOULD_REPAIR] {
            assert!(spec.contains(&format!("| `{name}` |")), "{name}");
        }
    }
}
