//! The shape of an event line, version 1. Described for machines in `schemas/public/event.schema.json`.

use std::time::SystemTime;

use serde_json::{Value, json};

use crate::exchange::judge::Judged;
use crate::exchange::record::{Record, Side};

/// Version of the line format.
const VERSION: u32 = 1;

/// The line of an exchange that has ended.
pub fn exchange_line(record: &Record, seqs: (Option<u64>, Option<u64>)) -> String {
    common("exchange", record, seqs).to_string()
}

/// The line of an exchange that passed uninspected.
pub fn bypass_line(record: &Record, seqs: (Option<u64>, Option<u64>)) -> String {
    common("bypass", record, seqs).to_string()
}

fn common(kind: &str, record: &Record, (attempt, outcome): (Option<u64>, Option<u64>)) -> Value {
    let gaps: Vec<&str> = record.gaps().into_iter().map(|g| g.as_str()).collect();
    let rules: Vec<Value> = record.rules().into_iter().map(|r| json!({"id": r.id, "action": r.action})).collect();
    let (usage, estimated) = record.usage();
    json!({
        "v": VERSION, "type": kind, "ts": now(), "request_id": record.id.to_string(),
        "session": record.session().map(|session| session.to_string()),
        "run_id": record.labels.run_id, "app": record.labels.app,
        "job_id": record.labels.job_id, "service_id": record.labels.service_id, "pipeline_id": record.labels.pipeline_id,
        "caller": &*record.caller.id, "tenant": &*record.caller.tenant,
        "surface": record.surface, "route": record.route, "model": record.model, "stream": record.stream,
        "upstream": record.upstream.as_deref(), "upstream_status": record.called.status, "attempts": record.called.attempts,
        "status": record.status, "mode": record.mode.as_str(), "decision": record.decision(),
        "decided": record.decided().as_str(), "verdict": record.verdict, "code": record.code, "rule": record.rule,
        "rules": rules, "exceptions": record.exceptions(), "findings": record.findings_total(),
        "redactions": record.redactions(),
        "schema": schema(record), "coverage_gaps": gaps, "policy": record.policy_hash,
        "usage": {"input": usage.input, "output": usage.output, "cached": usage.cached, "reasoning": usage.reasoning,
                  "estimated": estimated},
        "request_bytes": record.request_body.bytes, "response_bytes": record.released.bytes,
        "latency_us": {"total": record.elapsed_us(), "upstream_first_byte": record.called.first_byte_us,
                       "first_release": record.first_release_us},
        "receipts": {"attempt": attempt, "outcome": outcome},
    })
}

/// What SchemaLock said of the answer; null where no schema bound it.
fn schema(record: &Record) -> Option<Value> {
    let (verdict, lock, digest) = record.schema_verdict()?;
    let (breach, schema) = (record.breach(), &record.response.report.schema);
    Some(json!({
        "lock": lock, "digest": digest, "verdict": verdict,
        "violation": breach.map(|b| json!({"kind": b.kind, "keyword": b.keyword, "pointer": b.pointer, "offset": b.at})),
        "repairs": schema.repairs.by_class, "would_repair": schema.would_repair, "choices_ended": schema.ended,
        "held_bytes": schema.held_bytes_max, "hold_ms": schema.held_max.as_millis() as u64, "enforce_us": schema.enforce_us,
    }))
}

/// One line for each finding of both directions.
pub fn finding_lines(record: &Record) -> Vec<String> {
    let of = |direction: &str, side: &Side| -> Vec<String> {
        Record::findings(side).map(|judged| finding(record, direction, judged).to_string()).collect()
    };
    record.sides().into_iter().flat_map(|(direction, side)| of(direction, side)).collect()
}

fn finding(record: &Record, direction: &str, judged: &Judged) -> Value {
    let found = &judged.found;
    json!({
        "v": VERSION, "type": "finding", "ts": now(), "request_id": record.id.to_string(), "run_id": record.labels.run_id,
        "caller": &*record.caller.id, "surface": record.surface, "direction": direction, "decision": record.decision(),
        "detector": &*found.detector, "class": &*found.class, "score": f64::from(found.score_ppm) / 1e6,
        "channel": found.channel.as_str(),
        "place": {"pointer": found.pointer, "offset": found.start, "length": found.end.saturating_sub(found.start)},
        "owasp": judged.threat.owasp, "atlas": judged.threat.atlas,
    })
}

/// A line about the sidecar itself.
pub fn notice_line(code: &str, detail: &str) -> String {
    json!({"v": VERSION, "type": "notice", "ts": now(), "code": code, "detail": detail}).to_string()
}

/// RFC 3339 in UTC with microseconds.
fn now() -> String {
    rfc3339(SystemTime::now())
}

/// Civil date from days since the epoch, by the usual era arithmetic over 400-year cycles.
fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:06}Z", since.subsec_micros())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        let at = |s: u64, us: u32| rfc3339(SystemTime::UNIX_EPOCH + Duration::new(s, us * 1000));
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(at(951_782_400, 1), "2000-02-29T00:00:00.000001Z");
        assert_eq!(at(1_795_219_199, 999_999), "2026-11-20T23:59:59.999999Z");
    }

    #[test]
    fn a_notice_is_one_line() {
        let line = notice_line("lines_dropped", "3\n4");
        assert!(!line.contains('\n') && line.contains("\"code\":\"lines_dropped\""));
    }
}
