use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::facts::{RequestFacts, ToolFacts};
use crate::model::{Caller, Mode};

/// 2026-12-31 00:00 UTC, a day before the exceptions below end.
const NOW: i64 = 1_798_675_200;

fn policy(body: &str) -> Policy {
    Policy::parse(&format!("version: 1\n{body}"), "p", &|_| Err(String::new()))
        .unwrap_or_else(|error| panic!("{body}\n{error}"))
}

fn finding(class: &'static str, score_ppm: u32) -> FindingFacts<'static> {
    FindingFacts {
        detector: "d".into(),
        class: class.into(),
        score_ppm,
        channel: "content".into(),
        place: "/".into(),
        owasp: None,
        atlas: None,
    }
}

fn caller(id: &str) -> Caller {
    Caller { id: id.into(), tenant: "".into() }
}

fn decide(policy: &Policy, phase: Phase, findings: &[FindingFacts<'_>]) -> Decision {
    let request = RequestFacts::default();
    let caller = caller("anonymous");
    let mut facts = Facts::new(&caller, &request, NOW);
    facts.findings = findings;
    policy.decide(phase, &facts)
}

fn ids(decision: &Decision) -> Vec<&str> {
    decision.rules.iter().map(|rule| rule.id.as_str()).collect()
}

#[test]
fn nothing_fires_and_all_passes() {
    let decision = decide(&policy(""), Phase::Request, &[finding("secret", 1_000_000)]);
    assert_eq!(decision, Decision::default());
    assert_eq!(decision.action, Action::Allow);
}

#[test]
fn the_strictest_wins_and_allow_weakens_nothing() {
    let rule = |action: &str| format!("  - {{ id: {action}-it, phase: request, action: {action} }}\n");
    let findings = [finding("pii", 1)];
    for (actions, expected) in [
        (vec!["allow"], Action::Allow),
        (vec!["redact", "allow"], Action::Redact),
        (vec!["allow", "redact"], Action::Redact),
        (vec!["block", "redact", "allow"], Action::Block),
        (vec!["allow", "redact", "block"], Action::Block),
    ] {
        let rules: String = actions.iter().map(|action| rule(action)).collect();
        let policy = policy(&format!("rules:\n{rules}"));
        let decision = decide(&policy, Phase::Request, &findings);
        assert_eq!(decision.action, expected, "{actions:?}");
        assert_eq!(decision.rules.len(), actions.len());
        assert_eq!(decide(&policy, Phase::Response, &findings), Decision::default());
    }
}

#[test]
fn rules_are_asked_in_file_order_in_their_phase_only() {
    let policy = policy(
        "rules:\n  - { id: c, phase: response, action: block }\n  - { id: b, phase: request, action: block }\n  \
         - { id: t, phase: tool_call, action: block, when: tool.name == \"rm\" }\n  - { id: a, phase: request, action: allow }\n",
    );
    assert_eq!(ids(&decide(&policy, Phase::Request, &[])), ["b", "a"]);
    assert_eq!(ids(&decide(&policy, Phase::Response, &[])), ["c"]);
    assert_eq!(ids(&decide(&policy, Phase::ToolCall, &[])), [""; 0]);
    assert!(policy.has_rules(Phase::ToolCall) && !policy.has_rules(Phase::ToolResult));
}

#[test]
fn a_decision_says_why() {
    let policy = policy(
        "rules:\n  - id: with-words\n    phase: request\n    when: findings.exists(f, f.class == \"secret\")\n    action: block\n    \
         reason: No credentials.\n    threat: ASI02:2026\n  - { id: bare, phase: request, action: allow }\n",
    );
    let decision = decide(&policy, Phase::Request, &[finding("secret", 1)]);
    let words = &decision.rules[0];
    assert_eq!(words.reason, "No credentials.");
    assert_eq!(words.threat.owasp.as_deref(), Some("ASI02:2026"));
    assert_eq!(words.code, ReasonCode::Rule);
    assert_eq!(words.findings, [0]);
    let bare = &decision.rules[1];
    assert_eq!(bare.reason, "Policy rule bare.");
    assert_eq!(bare.threat, Threat::default());
    assert_eq!(bare.findings, [0; 0]);
}

#[test]
fn the_threat_is_that_of_the_strongest_responsible_finding() {
    let policy = policy(
        "rules:\n  - { id: a, phase: request, action: block, when: 'findings.exists(f, f.class != \"pii\")' }\n\
         threat_map: { own: { owasp: LLM10:2026 } }\n",
    );
    let threat = |findings: &[FindingFacts<'_>]| {
        let decision = decide(&policy, Phase::Request, findings);
        let threat = decision.rules[0].threat.clone();
        (threat.owasp.unwrap_or_default(), threat.atlas.unwrap_or_default())
    };
    let pair = |owasp: &str, atlas: &str| (owasp.to_owned(), atlas.to_owned());
    let findings = [finding("pii", 999_999), finding("own", 5), finding("jailbreak", 7)];
    assert_eq!(threat(&findings), pair("LLM01:2026", "AML.T0054"));
    assert_eq!(threat(&[finding("own", 5)]), pair("LLM10:2026", ""));
    assert_eq!(threat(&[finding("unheard-of", 5)]), pair("", ""));
    let mut own_ids = finding("own", 5);
    own_ids.atlas = Some("AML.T0001".into());
    assert_eq!(threat(&[own_ids]), pair("LLM10:2026", "AML.T0001"));
}

#[test]
fn only_the_findings_that_a_redact_rule_means_are_redacted() {
    let policy = policy(
        "rules:\n  - { id: secrets, phase: request, action: redact, when: 'findings.exists(f, f.class == \"secret\" && f.score >= 0.8)' }\n  \
         - { id: many, phase: request, action: redact, when: 'findings.filter(f, f.class == \"pii\").size() >= 3' }\n  \
         - { id: all, phase: response, action: redact }\n  \
         - { id: route, phase: tool_result, action: redact, when: request.route == \"\" }\n",
    );
    let secret = || finding("secret", 800_000);
    let weak = || finding("secret", 799_999);
    let pii = || finding("pii", 1);
    let findings = [pii(), secret(), weak(), secret()];
    let decision = decide(&policy, Phase::Request, &findings);
    assert_eq!((decision.action, decision.redact.as_slice()), (Action::Redact, [1, 3].as_slice()));
    assert_eq!(ids(&decision), ["secrets"]);
    // No finding alone makes three: then it is all of them.
    let decision = decide(&policy, Phase::Request, &[pii(), secret(), pii(), pii()]);
    assert_eq!(ids(&decision), ["secrets", "many"]);
    assert_eq!(decision.redact, [0, 1, 2, 3]);
    let decision = decide(&policy, Phase::Request, &[pii(), weak()]);
    assert_eq!((decision.action, decision.redact.len()), (Action::Allow, 0));
    assert_eq!(decide(&policy, Phase::Response, &findings).redact, [0, 1, 2, 3]);
    assert_eq!(decide(&policy, Phase::ToolResult, &findings).redact, [0, 1, 2, 3]);
    // Where nothing was found there is nothing to redact, and no pretence of it.
    assert_eq!(decide(&policy, Phase::Response, &[]), Decision::default());
}

#[test]
fn a_condition_about_absence_redacts_nothing_by_itself() {
    let policy = policy("rules: [{ id: a, phase: request, action: redact, when: findings.size() == 0 }]");
    assert_eq!(decide(&policy, Phase::Request, &[]), Decision::default());
}

fn tool_policy(on_error: &str) -> Policy {
    policy(&format!(
        "defaults: {{ on_error: {on_error} }}\nrules:\n  - {{ id: a, phase: tool_call, action: allow, when: tool.args.amount > 500 }}\n\
         exceptions: [{{ rule: a, match: caller.id == \"batch\", owner: o, reason: r, expires: 2027-01-01 }}]\n"
    ))
}

fn decide_tool(policy: &Policy, args: &serde_json::Value, caller_id: &str) -> Decision {
    let request = RequestFacts::default();
    let caller = caller(caller_id);
    let mut facts = Facts::new(&caller, &request, NOW);
    facts.tool = Some(ToolFacts { name: "pay", args });
    policy.decide(Phase::ToolCall, &facts)
}

#[test]
fn a_condition_without_an_answer_blocks_unless_the_policy_says_allow() {
    let args = json!({ "amount": "hunter2" });
    let decision = decide_tool(&tool_policy("block"), &args, "x");
    assert_eq!(decision.action, Action::Block);
    let rule = &decision.rules[0];
    assert_eq!((rule.action, rule.code), (Action::Block, ReasonCode::EvaluationError));
    assert_eq!(rule.code.as_str(), "evaluation_error");
    assert_eq!(rule.reason, "Policy rule a could not be evaluated.");
    let error = rule.error.as_ref().unwrap();
    assert_eq!(error.failure, EvalFailure::WrongType);
    assert_eq!(error.to_string(), "rule a: the expression uses a value of the wrong type");
    assert!(!format!("{decision:?}").contains("hunter2"));

    let decision = decide_tool(&tool_policy("allow"), &args, "x");
    assert_eq!(decision.action, Action::Allow);
    assert_eq!(decision.rules[0].code, ReasonCode::EvaluationError);
    assert!(decision.rules[0].error.is_some());

    let decision = decide_tool(&tool_policy("block"), &json!({ "amount": 501 }), "x");
    assert_eq!((decision.action, decision.rules[0].code), (Action::Allow, ReasonCode::Rule));
    // The exception covers the rule however it fires.
    let decision = decide_tool(&tool_policy("block"), &args, "batch");
    assert_eq!((decision.action, decision.exceptions_used.as_slice()), (Action::Allow, ["a".to_owned()].as_slice()));
}

#[test]
fn rules_about_arguments_wait_until_the_call_is_complete() {
    let policy = policy(
        "rules:\n  - { id: args, phase: tool_call, action: block, when: tool.args.amount > 500 }\n  \
         - { id: name, phase: tool_call, action: block, when: tool.name == \"rm\" }\n",
    );
    let request = RequestFacts::default();
    let caller = caller("x");
    let args = serde_json::Value::Null;
    let mut facts = Facts::new(&caller, &request, NOW);
    facts.tool = Some(ToolFacts { name: "rm", args: &args });
    facts.tool_args_pending = true;
    assert_eq!(ids(&policy.decide(Phase::ToolCall, &facts)), ["name"]);
    facts.tool_args_pending = false;
    assert_eq!(ids(&policy.decide(Phase::ToolCall, &facts)), ["args", "name"]);
}

#[test]
fn an_exception_removes_one_rule_until_it_ends() {
    let policy = policy(
        "rules:\n  - { id: one, phase: request, action: block }\n  - { id: two, phase: request, action: redact, when: 'findings.exists(f, true)' }\n\
         exceptions:\n  - { rule: one, match: caller.id == \"batch\", owner: jo@example.com, reason: migration, expires: 2027-01-01 }\n",
    );
    let findings = [finding("pii", 1)];
    let request = RequestFacts::default();
    let decide = |caller_id: &str, now_unix_s: i64| {
        let caller = caller(caller_id);
        let mut facts = Facts::new(&caller, &request, now_unix_s);
        facts.findings = &findings;
        policy.decide(Phase::Request, &facts)
    };
    let last_second = 1_798_761_599;
    let decision = decide("batch", last_second);
    assert_eq!(decision.action, Action::Redact);
    assert_eq!(decision.exceptions_used, ["one"]);
    assert_eq!(ids(&decision), ["one", "two"]);
    let used = decision.rules[0].exception.as_ref().unwrap();
    assert_eq!(
        (used.owner.as_str(), used.reason.as_str(), used.expires.as_str()),
        ("jo@example.com", "migration", "2027-01-01")
    );
    assert_eq!(decision.rules[0].action, Action::Block);
    assert!(decision.rules[1].exception.is_none());

    let after = decide("batch", last_second + 1);
    assert_eq!((after.action, after.exceptions_used.len()), (Action::Block, 0));
    let another = decide("checkout", last_second);
    assert_eq!((another.action, another.exceptions_used.len()), (Action::Block, 0));
}

#[test]
fn an_excepted_redact_rule_redacts_nothing() {
    let policy = policy(
        "rules:\n  - { id: one, phase: request, action: redact }\n\
         exceptions: [{ rule: one, match: true, owner: o, reason: r, expires: 2027-01-01 }]\n",
    );
    let decision = decide(&policy, Phase::Request, &[finding("pii", 1)]);
    assert_eq!((decision.action, decision.redact.len()), (Action::Allow, 0));
    assert_eq!(decision.exceptions_used, ["one"]);
}

#[test]
fn an_exception_without_an_answer_covers_nothing() {
    let policy = policy(
        "rules: [{ id: a, phase: tool_call, action: block }]\n\
         exceptions: [{ rule: a, match: tool.args.spared, owner: o, reason: r, expires: 2027-01-01 }]\n",
    );
    for (args, expected) in [
        (json!({ "spared": true }), Action::Allow),
        (json!({ "spared": "true" }), Action::Block),
        (json!({}), Action::Block),
    ] {
        assert_eq!(decide_tool(&policy, &args, "x").action, expected, "{args}");
    }
}

#[test]
fn observing_changes_no_decision() {
    let rules = "rules: [{ id: a, phase: request, action: block }]\n";
    let observing = policy(&format!("mode: observe\n{rules}"));
    assert_eq!(observing.mode(), Mode::Observe);
    let decision = decide(&observing, Phase::Request, &[]);
    assert_eq!(decision, decide(&policy(rules), Phase::Request, &[]));
    assert_eq!(decision.action, Action::Block);
}

#[test]
fn schemas_are_chosen_by_their_match() {
    let policy = policy(
        "schemas:\n  - { id: all, schema: from_request }\n  - { id: shop, match: caller.tenant == \"shop\", schema: from_request }\n  \
         - { id: streams, match: request.stream, schema: from_request }\n",
    );
    let request = RequestFacts { stream: true, ..RequestFacts::default() };
    let caller = caller("x");
    let facts = Facts::new(&caller, &request, NOW);
    let ids: Vec<&str> = policy.schemas_for(&facts).unwrap().iter().map(|schema| schema.id.as_str()).collect();
    assert_eq!(ids, ["all", "streams"]);
}

#[test]
fn a_schema_match_without_an_answer_is_an_error_for_the_caller_to_handle() {
    let policy = policy("schemas: [{ id: a, match: 'request.tools[0] == \"x\"', schema: from_request }]");
    let request = RequestFacts::default();
    let caller = caller("x");
    let error = policy.schemas_for(&Facts::new(&caller, &request, NOW)).unwrap_err();
    assert_eq!((error.subject.as_str(), error.failure), ("schema a", EvalFailure::Missing));
}

#[test]
fn a_policy_can_be_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Policy>();
    shared::<Decision>();
    shared::<crate::PolicyError>();
}

proptest! {
    /// What is redacted is exactly what the rule says of each finding, whatever else was found.
    #[test]
    fn redaction_is_per_finding(scores in proptest::collection::vec((0..3_usize, 0..=1_000_000_u32), 0..20)) {
        let policy = policy("rules: [{ id: a, phase: request, action: redact, when: 'findings.exists(f, f.class == \"secret\" && f.score >= 0.5)' }]");
        let classes = ["secret", "pii", "restricted"];
        let findings: Vec<FindingFacts<'_>> = scores.iter().map(|(class, score)| finding(classes[*class], *score)).collect();
        let expected: Vec<usize> = scores.iter().enumerate()
            .filter(|(_, (class, score))| *class == 0 && *score >= 500_000)
            .map(|(index, _)| index)
            .collect();
        let decision = decide(&policy, Phase::Request, &findings);
        prop_assert_eq!(decision.action, if expected.is_empty() { Action::Allow } else { Action::Redact });
        prop_assert_eq!(decision.redact, expected);
    }
}
