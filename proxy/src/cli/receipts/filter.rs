//! Which receipts are shown.

use clyra_receipts::StoredReceipt;
use clyra_receipts::canonical::Value;

/// All that are given must hold; of one that is given several times, any.
#[derive(Debug, clap::Args)]
pub(super) struct Filter {
    /// Only receipts of this kind: attempt, outcome, bypass, boot, seal, …
    #[arg(long, value_name = "KIND")]
    kind: Vec<String>,
    /// Only receipts with this verdict: executed, redacted, blocked, …
    #[arg(long, value_name = "VERDICT")]
    verdict: Vec<String>,
    /// Only receipts on which this rule of the policy fired
    #[arg(long, value_name = "ID")]
    rule: Vec<String>,
    /// Only receipts of this run
    #[arg(long, value_name = "ID")]
    run: Vec<String>,
    /// Only receipts with this id: that of the exchange, as in `x-clyra-request-id`
    #[arg(long, value_name = "UUID")]
    id: Vec<String>,
    /// Only receipts of this caller: its identity, app, tenant, service, job or pipeline
    #[arg(long, value_name = "NAME")]
    caller: Vec<String>,
    /// Only receipts from this time on, RFC 3339 in UTC or a beginning of it: 2026-11-21T09
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<String>,
    /// Only receipts before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<String>,
}

/// Times compare as text, so a beginning of one is good enough, but nothing else is.
fn time(given: &str) -> Result<String, String> {
    const FORM: &[u8] = b"dddd-dd-ddTdd:dd:dd.ddddddZ";
    let bare = given.strip_suffix('Z').unwrap_or(given);
    let fits = bare.len() < FORM.len()
        && bare.len() >= 4
        && bare.bytes().zip(FORM).all(|(byte, form)| if *form == b'd' { byte.is_ascii_digit() } else { byte == *form });
    if fits { Ok(bare.to_owned()) } else { Err("write it as 2026-11-21T09:30:00Z, or a beginning of it".to_owned()) }
}

impl Filter {
    pub(super) fn passes(&self, receipt: &StoredReceipt) -> bool {
        let value = receipt.value();
        let text = |path: &[&str]| at(value, path).and_then(Value::as_str);
        let any = |wanted: &[String], have: &dyn Fn(&str) -> bool| {
            wanted.is_empty() || wanted.iter().any(|wanted| have(wanted))
        };
        let ts = text(&["ts"]).unwrap_or_default();
        any(&self.kind, &|kind| text(&["kind"]) == Some(kind))
            && any(&self.verdict, &|verdict| text(&["verdict"]) == Some(verdict))
            && any(&self.run, &|run| text(&["run", "id"]) == Some(run))
            && any(&self.id, &|id| text(&["id"]).is_some_and(|own| own.eq_ignore_ascii_case(id)))
            && any(&self.rule, &|rule| rules(value).any(|own| own == rule))
            && any(&self.caller, &|caller| CALLER.iter().any(|path| text(path) == Some(caller)))
            && self.since.as_deref().is_none_or(|since| ts >= since)
            && self.until.as_deref().is_none_or(|until| ts < until)
    }
}

/// Where a caller is named.
const CALLER: [&[&str]; 6] = [
    &["caller", "identity", "id"],
    &["caller", "app"],
    &["caller", "tenant"],
    &["caller", "automation", "service_id"],
    &["caller", "automation", "job_id"],
    &["caller", "automation", "pipeline_id"],
];

/// A member below an object.
pub(super) fn at<'v>(value: &'v Value, path: &[&str]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, name| value.get(name))
}

/// Ids of the rules that fired.
pub(super) fn rules(value: &Value) -> impl Iterator<Item = &str> {
    let rules = at(value, &["policy", "rules"]).and_then(Value::as_array).unwrap_or_default();
    rules.iter().filter_map(|rule| rule.get("id")?.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_one_or_the_beginning_of_one() {
        for good in ["2026", "2026-11", "2026-11-21T09:30", "2026-11-21T09:30:00Z", "2026-11-21T09:30:00.123456Z"] {
            assert!(time(good).is_ok(), "{good}");
        }
        for bad in
            ["", "202", "2026-11-21 09", "21.11.2026", "2026-11-21T09:30:00+01:00", "2026-11-21T09:30:00.1234567Z"]
        {
            assert!(time(bad).is_err(), "{bad}");
        }
    }
}
