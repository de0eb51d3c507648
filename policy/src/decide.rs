//! From facts to a decision: every rule of the phase is asked, the strictest that fires wins.

use serde::Serialize;

use crate::expr::{EvalFailure, Program, Subject, eval};
use crate::facts::{Facts, FindingFacts};
use crate::model::{Action, OnFailure, Phase, Threat};
use crate::policy::{EvalError, Exception, Policy, Rule};

/// Why a rule is on a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonCode {
    /// Its condition is true.
    Rule,
    /// Its condition has no answer; the policy's `on_error` decided.
    EvaluationError,
}

impl ReasonCode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::EvaluationError => EvalError::CODE,
        }
    }
}

/// The exception that took a rule's effect away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedException {
    pub owner: String,
    pub reason: String,
    /// Date (UTC) on which it ends, `YYYY-MM-DD`.
    pub expires: String,
}

/// A rule that fired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FiredRule {
    pub id: String,
    /// What it asks for. Without effect when `exception` is set.
    pub action: Action,
    pub code: ReasonCode,
    /// The rule's `reason`, or one made from its id. Holds no content.
    pub reason: String,
    /// The rule's own threat, or that of the strongest finding that made it fire.
    pub threat: Threat,
    /// The findings (indices into the facts) that make it fire, each alone; all of them if only together; none if the rule
    /// does not look at findings.
    pub findings: Vec<usize>,
    pub exception: Option<UsedException>,
    pub error: Option<EvalError>,
}

/// What the policy says about an exchange at one station.
///
/// In mode `observe` it says the same; not applying it is the caller's part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The strictest action of the rules that fired without an exception.
    pub action: Action,
    /// By phase and file order.
    pub rules: Vec<FiredRule>,
    /// The findings (indices into the facts, ascending) whose text must not pass. Also filled when `action` is
    /// [`Action::Block`] because of another rule.
    pub redact: Vec<usize>,
    /// Ids of the rules that an exception took away, in the order of `rules`.
    pub exceptions_used: Vec<String>,
}

impl Default for Decision {
    fn default() -> Self {
        Self { action: Action::Allow, rules: Vec::new(), redact: Vec::new(), exceptions_used: Vec::new() }
    }
}

impl Policy {
    /// Decides. Never fails: a condition that has no answer fires its rule as a block, or as an allow where
    /// `defaults.on_error` says so, and says why.
    ///
    /// A `redact` rule fires only if there is a finding to redact. Where [`Facts::tool_args_pending`] is set, rules that look at
    /// `tool.args` are left out.
    pub fn decide(&self, phase: Phase, facts: &Facts<'_>) -> Decision {
        let mut decision = Decision::default();
        let rules = self.document.rules.iter();
        for rule in rules.filter(|rule| rule.phase == phase) {
            let Some(mut fired) = self.ask(rule, facts) else {
                continue;
            };
            fired.exception = self.exception(rule, facts);
            if fired.exception.is_some() {
                decision.exceptions_used.push(fired.id.clone());
            } else {
                decision.action = decision.action.max(fired.action);
                if fired.action == Action::Redact {
                    decision.redact.extend(&fired.findings);
                }
            }
            decision.rules.push(fired);
        }
        decision.redact.sort_unstable();
        decision.redact.dedup();
        decision
    }

    fn ask(&self, rule: &Rule, facts: &Facts<'_>) -> Option<FiredRule> {
        let reads_tool_args = rule.when.as_ref().is_some_and(Program::reads_tool_args);
        if facts.tool_args_pending && reads_tool_args {
            return None;
        }
        let answer = rule.when.as_ref().map_or(Ok(true), |program| eval(program, facts, Subject::All));
        let failure = match answer {
            Ok(false) => return None,
            Ok(true) => None,
            Err(failure) => Some(failure),
        };
        if let Some(failure) = failure {
            return Some(self.failed(rule, failure));
        }
        let findings = responsible(rule, facts);
        if rule.action == Action::Redact && findings.is_empty() {
            return None;
        }
        let threat = rule.threat.clone().unwrap_or_else(|| self.threat_of(&findings, facts.findings));
        Some(FiredRule {
            id: rule.id.clone(),
            action: rule.action,
            code: ReasonCode::Rule,
            reason: rule.reason.clone().unwrap_or_else(|| format!("Policy rule {}.", rule.id)),
            threat,
            findings,
            exception: None,
            error: None,
        })
    }

    fn failed(&self, rule: &Rule, failure: EvalFailure) -> FiredRule {
        let action = match self.document.defaults.on_error {
            OnFailure::Block => Action::Block,
            OnFailure::Allow => Action::Allow,
        };
        FiredRule {
            id: rule.id.clone(),
            action,
            code: ReasonCode::EvaluationError,
            reason: format!("Policy rule {} could not be evaluated.", rule.id),
            threat: rule.threat.clone().unwrap_or_default(),
            findings: Vec::new(),
            exception: None,
            error: Some(EvalError { subject: format!("rule {}", rule.id), failure }),
        }
    }

    /// The exception in force that covers this rule here. One whose condition has no answer covers nothing.
    fn exception(&self, rule: &Rule, facts: &Facts<'_>) -> Option<UsedException> {
        let covers = |exception: &&Exception| {
            exception.rule == rule.id
                && facts.now_unix_s < exception.expires_unix_s
                && exception.when.as_ref().is_some_and(|program| eval(program, facts, Subject::All) == Ok(true))
        };
        self.document.exceptions.iter().find(covers).map(|exception| UsedException {
            owner: exception.owner.clone(),
            reason: exception.reason.clone(),
            expires: exception.expires.clone(),
        })
    }

    fn threat_of(&self, responsible: &[usize], findings: &[FindingFacts<'_>]) -> Threat {
        let strongest =
            responsible.iter().filter_map(|index| findings.get(*index)).max_by_key(|finding| finding.score_ppm);
        let Some(finding) = strongest else {
            return Threat::default();
        };
        let mapped = self.threat(&finding.class);
        let owned = |id: &std::borrow::Cow<'_, str>| id.as_ref().to_owned();
        Threat {
            owasp: finding.owasp.as_ref().map(owned).or(mapped.owasp),
            atlas: finding.atlas.as_ref().map(owned).or(mapped.atlas),
        }
    }
}

/// The findings because of which a rule that fired did so.
fn responsible(rule: &Rule, facts: &Facts<'_>) -> Vec<usize> {
    let all = 0..facts.findings.len();
    let program = match &rule.when {
        Some(program) if program.uses_findings() => program,
        // It fires whatever was found: then redacting means redacting everything.
        _ if rule.action == Action::Redact => return all.collect(),
        _ => return Vec::new(),
    };
    if facts.findings.len() <= 1 {
        return all.collect();
    }
    // No answer about one finding alone is no reason to let it pass.
    let alone: Vec<usize> =
        all.clone().filter(|index| eval(program, facts, Subject::One(*index)) != Ok(false)).collect();
    if alone.is_empty() { all.collect() } else { alone }
}

#[cfg(test)]
mod tests;
