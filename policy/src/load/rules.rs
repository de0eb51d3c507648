//! `rules` and the `exceptions` to them.

use std::collections::BTreeSet;

use time::{Date, Month};

use crate::diagnostic::{Code, Report, echo};
use crate::expr::{Compiler, ExprId, Programs, Scope};
use crate::model::{Action, Phase, Threat};
use crate::policy::{Exception, Place, Rule};
use crate::read::{Fields, Keys, Value};
use crate::threat;
use crate::yaml::Kind;

/// Rules of one policy.
const RULES_MAX: usize = 1000;
/// Exceptions of one policy.
const EXCEPTIONS_MAX: usize = 1000;

const RULE: Keys = Keys {
    known: &["id", "phase", "when", "action", "reason", "threat"],
    unsupported: &["hold", "route", "tag", "add_score", "score", "paranoia", "level", "severity"],
};
const EXCEPTION: Keys = Keys { known: &["rule", "match", "owner", "reason", "expires"], unsupported: &[] };

/// A rule that waits for its expression.
#[derive(Debug)]
pub(super) struct PendingRule {
    id: String,
    phase: Phase,
    when: Option<ExprId>,
    action: Action,
    reason: Option<String>,
    threat: Option<Threat>,
    place: Place,
}

/// An exception that waits for its expression.
#[derive(Debug)]
pub(super) struct PendingException {
    rule: String,
    when: Option<ExprId>,
    when_text: String,
    owner: String,
    reason: String,
    expires: String,
    expires_unix_s: i64,
    place: Place,
}

#[cfg(test)]
pub(super) const KEYS: [Keys; 2] = [RULE, EXCEPTION];

pub(super) fn read(top: &Fields<'_>, compiler: &mut Compiler, report: &mut Report<'_>) -> Vec<PendingRule> {
    let Some(value) = top.get("rules") else {
        return Vec::new();
    };
    let mut ids = BTreeSet::new();
    let mut rules: Vec<PendingRule> =
        value.list(RULES_MAX, report).iter().filter_map(|item| rule(item, &mut ids, compiler, report)).collect();
    // Stable: file order inside a phase.
    rules.sort_by_key(|rule| rule.phase);
    rules
}

pub(super) fn finish(rules: Vec<PendingRule>, programs: &mut Programs) -> Vec<Rule> {
    rules
        .into_iter()
        .map(|rule| Rule {
            id: rule.id,
            phase: rule.phase,
            when: rule.when.and_then(|id| programs.take(id)),
            action: rule.action,
            reason: rule.reason,
            threat: rule.threat,
            place: rule.place,
        })
        .collect()
}

pub(super) fn finish_exceptions(exceptions: Vec<PendingException>, programs: &mut Programs) -> Vec<Exception> {
    exceptions
        .into_iter()
        .map(|exception| Exception {
            rule: exception.rule,
            when: exception.when.and_then(|id| programs.take(id)),
            when_text: exception.when_text,
            owner: exception.owner,
            reason: exception.reason,
            expires: exception.expires,
            expires_unix_s: exception.expires_unix_s,
            place: exception.place,
        })
        .collect()
}

/// A `when` or `match`: an expression, or `true` or `false` as YAML reads them.
pub(super) fn condition(
    value: &Value<'_>,
    scope: Scope,
    compiler: &mut Compiler,
    report: &mut Report<'_>,
) -> Option<ExprId> {
    let text = condition_text(value, report)?;
    compiler.add(&text, scope, value.node.at, &value.path, report)
}

fn condition_text(value: &Value<'_>, report: &mut Report<'_>) -> Option<String> {
    match &value.node.kind {
        Kind::Bool(constant) => Some(constant.to_string()),
        Kind::Text(text) => Some(text.trim().to_owned()),
        _ => {
            value.report(
                Code::WrongType,
                format!("an expression is expected, not {}; write it as text", value.node.describe()),
                report,
            );
            None
        }
    }
}

fn rule(
    item: &Value<'_>,
    ids: &mut BTreeSet<String>,
    compiler: &mut Compiler,
    report: &mut Report<'_>,
) -> Option<PendingRule> {
    let fields = Fields::open(item.node, &item.path, RULE, report)?;
    let id = fields.required("id", report).and_then(|value| {
        let id = value.name(report)?;
        if !ids.insert(id.clone()) {
            let message = format!("another rule above has the id `{id}`");
            value.report(Code::Duplicate, message, report);
            return None;
        }
        Some(id)
    });
    let phases = Phase::ALL.map(|phase| (phase.as_str(), phase));
    let phase = fields.required("phase", report).and_then(|value| value.choice(&phases, &[], report));
    let actions = [Action::Allow, Action::Redact, Action::Block].map(|a| (a.as_str(), a));
    let action =
        fields.required("action", report).and_then(|value| value.choice(&actions, &["hold", "route", "tag"], report));
    let reason = fields.get("reason").and_then(|value| value.words(report));
    let threat = fields.get("threat").and_then(|value| {
        let text = value.text(report)?;
        threat::parse(text).map_err(|message| value.report(Code::InvalidValue, message, report)).ok()
    });
    let (id, phase, action) = (id?, phase?, action?);
    let when = match fields.get("when") {
        Some(value) => Some(condition(&value, Scope::Rule(phase), compiler, report)?),
        None => None,
    };
    Some(PendingRule {
        id,
        phase,
        when,
        action,
        reason,
        threat,
        place: Place { at: item.node.at, path: item.path.clone() },
    })
}

pub(super) fn read_exceptions(
    top: &Fields<'_>,
    rules: &[PendingRule],
    compiler: &mut Compiler,
    report: &mut Report<'_>,
) -> Vec<PendingException> {
    let Some(value) = top.get("exceptions") else {
        return Vec::new();
    };
    value.list(EXCEPTIONS_MAX, report).iter().filter_map(|item| exception(item, rules, compiler, report)).collect()
}

fn exception(
    item: &Value<'_>,
    rules: &[PendingRule],
    compiler: &mut Compiler,
    report: &mut Report<'_>,
) -> Option<PendingException> {
    let fields = Fields::open(item.node, &item.path, EXCEPTION, report)?;
    let rule = fields.required("rule", report);
    let rule = rule.and_then(|value| value.name(report));
    let owner = fields.required("owner", report);
    let owner = owner.and_then(|value| value.words(report));
    let reason = fields.required("reason", report);
    let reason = reason.and_then(|value| value.words(report));
    let expires = fields.required("expires", report);
    let expires = expires.and_then(|value| expiry(&value, report));
    let condition_value = fields.required("match", report)?;
    let when_text = condition_text(&condition_value, report)?;
    let rule = rule?;
    // A rule that does not exist has no phase to check against; the exception does nothing then, and lint says so.
    let phase = rules.iter().find(|known| known.id == rule).map(|known| known.phase);
    let when = match phase {
        Some(phase) => Some(condition(&condition_value, Scope::Rule(phase), compiler, report)?),
        None => None,
    };
    let (expires, expires_unix_s) = expires?;
    Some(PendingException {
        rule,
        when,
        when_text,
        owner: owner?,
        reason: reason?,
        expires,
        expires_unix_s,
        place: Place { at: item.node.at, path: item.path.clone() },
    })
}

/// A date, as written and as the moment at which it starts in UTC.
fn expiry(value: &Value<'_>, report: &mut Report<'_>) -> Option<(String, i64)> {
    let text = value.text(report)?;
    let Some(date) = parse_date(text) else {
        let message = format!("`{}` is not a date; write one like 2027-01-31", echo(text));
        value.report(Code::InvalidValue, message, report);
        return None;
    };
    Some((text.to_owned(), date.midnight().assume_utc().unix_timestamp()))
}

fn parse_date(text: &str) -> Option<Date> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let is_plain = parts.next().is_none()
        && (year.len(), month.len(), day.len()) == (4, 2, 2)
        && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    if !is_plain {
        return None;
    }
    let month = Month::try_from(month.parse::<u8>().ok()?).ok()?;
    Date::from_calendar_date(year.parse().ok()?, month, day.parse().ok()?).ok()
}
