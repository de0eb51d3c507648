use super::*;

/// 2026-12-20 00:00 UTC.
const NOW: i64 = 1_797_724_800;

fn lint(body: &str) -> Vec<String> {
    let policy = Policy::parse(&format!("version: 1\n{body}"), "p", &|_| Err(String::new()))
        .unwrap_or_else(|error| panic!("{body}\n{error}"));
    policy
        .lint(NOW)
        .iter()
        .map(|advice| format!("{}:{} {} {}", advice.line, advice.path, advice.code.as_str(), advice.message))
        .collect()
}

fn rule(id: &str, action: &str, when: &str) -> String {
    format!("  - {{ id: {id}, phase: request, action: {action}, when: '{when}' }}\n")
}

#[test]
fn a_policy_that_enforces_nothing_is_mentioned() {
    assert_eq!(
        lint(""),
        ["0: no_rules the policy enforces, but has no rules and no schemas: everything that can be read passes"]
    );
    assert_eq!(lint("mode: observe"), [""; 0]);
    assert_eq!(lint("schemas: [{id: a, schema: from_request}]"), [""; 0]);
}

#[test]
fn constant_conditions_are_mentioned() {
    let rules = ["1 == 2", "true", "1 / 0 == 1", "request.stream"]
        .iter()
        .enumerate()
        .map(|(n, when)| rule(&format!("r{n}"), "block", when))
        .collect::<String>();
    assert_eq!(
        lint(&format!("rules:\n{rules}")),
        [
            "3:rules[0] never_fires rule `r0` can never fire: its condition is always false",
            "4:rules[1] always_fires rule `r1` fires on everything; leave `when` out if that is meant",
            "5:rules[2] never_fires the condition of rule `r2` always fails: the expression calculates beyond the range of its numbers or divides by zero",
        ]
    );
}

#[test]
fn rules_without_effect_are_mentioned() {
    let rules = [
        rule("one", "redact", "findings.exists(f, f.class == \"pii\")"),
        rule("two", "redact", "findings.exists(f, f.class == \"pii\")"),
        rule("three", "redact", "findings.exists(f, f.class == \"secret\")"),
        rule("four", "block", "findings.exists(f, f.class == \"secret\")"),
        rule("five", "allow", "request.stream"),
    ]
    .concat();
    assert_eq!(
        lint(&format!("rules:\n{rules}")),
        [
            "4:rules[1] duplicate_rule rule `two` says the same as rule `one`",
            "5:rules[2] shadowed_rule rule `three` has no effect: whenever it fires, rule `four` does too and is stricter",
            "7:rules[4] allow_changes_nothing rule `five` allows, which no rule needs: the strictest wins; to spare something from a rule, write an exception",
        ]
    );
    let with_exception = format!(
        "rules:\n{}{}exceptions: [{{ rule: four, match: true, owner: o, reason: r, expires: 2028-01-01 }}]\n",
        rule("three", "redact", "findings.exists(f, f.class == \"secret\")"),
        rule("four", "block", "findings.exists(f, f.class == \"secret\")"),
    );
    assert_eq!(lint(&with_exception), [""; 0]);
    let unconditional = format!(
        "rules:\n{}  - {{ id: all, phase: request, action: block }}\n",
        rule("some", "redact", "findings.exists(f, f.class == \"secret\")")
    );
    assert_eq!(lint(&unconditional).len(), 1);
    let other_phase = format!(
        "rules:\n{}  - {{ id: all, phase: response, action: block }}\n",
        rule("some", "redact", "findings.exists(f, f.class == \"secret\")")
    );
    assert_eq!(lint(&other_phase), [""; 0]);
}

#[test]
fn classes_that_nothing_makes_are_mentioned() {
    let patterns = "detectors: { patterns: [{ id: codename, literal: Nightjar, class: codenames }] }\nthreat_map: { custom: { owasp: LLM02:2026 } }\n";
    let rules = [
        rule("a", "block", "findings.exists(f, f.class == \"secrets\")"),
        rule("b", "block", "findings.exists(f, f.class in [\"codenames\", \"custom\", \"pii\"])"),
    ]
    .concat();
    assert_eq!(
        lint(&format!("{patterns}rules:\n{rules}")),
        [
            "5:rules[0] unknown_class rule `a` asks for class `secrets`, which no built-in detector and no pattern of this policy makes; did you mean `secret`?"
        ]
    );
}

#[test]
fn patterns_that_no_rule_asks_for_are_mentioned() {
    let patterns = "detectors: { patterns: [{ id: codename, literal: Nightjar, class: codenames }] }\n";
    let narrow = rule("a", "block", "findings.exists(f, f.class == \"secret\")");
    assert_eq!(
        lint(&format!("{patterns}rules:\n{narrow}")),
        [
            "2:detectors.patterns[0] unused_pattern no rule asks for class `codenames` of pattern `codename`: it is looked for and recorded, and changes no decision"
        ]
    );
    for wide in ["findings.exists(f, f.score > 0.5)", "findings.exists(f, f.class.startsWith(\"code\"))"] {
        assert_eq!(lint(&format!("{patterns}rules:\n{}", rule("a", "block", wide))), [""; 0]);
    }
}

#[test]
fn exceptions_are_judged_by_the_date() {
    let rules = "rules: [{ id: one, phase: request, action: block }]\nexceptions:\n";
    let exception = |rule: &str, expires: &str| {
        format!("  - {{ rule: {rule}, match: true, owner: jo, reason: r, expires: {expires} }}\n")
    };
    let exceptions = [
        exception("one", "2026-12-20"),
        exception("one", "2026-12-21"),
        exception("one", "2027-01-03"),
        exception("one", "2027-01-04"),
        exception("ones", "2028-01-01"),
    ]
    .concat();
    assert_eq!(
        lint(&format!("{rules}{exceptions}")),
        [
            "4:exceptions[0] expired_exception the exception to `one` ended on 2026-12-20 and has no effect; remove it or ask jo to renew it",
            "5:exceptions[1] expiring_exception the exception to `one` ends on 2026-12-21; ask jo whether it is still needed",
            "6:exceptions[2] expiring_exception the exception to `one` ends on 2027-01-03; ask jo whether it is still needed",
            "8:exceptions[4] unknown_rule there is no rule `ones` to make an exception to; did you mean `one`?",
        ]
    );
}

#[test]
fn advice_can_be_printed() {
    let policy =
        Policy::parse("version: 1\nrules: [{id: a, phase: request, action: allow}]", "p.yaml", &|_| Err(String::new()))
            .unwrap();
    let advice = &policy.lint(NOW)[0];
    assert!(advice.to_string().starts_with("p.yaml:2:9: rule `a` allows"), "{advice}");
    assert!(advice.to_string().ends_with("[allow_changes_nothing]"));
    assert_eq!(serde_json::to_value(advice).unwrap()["code"], "allow_changes_nothing");
}

#[test]
fn a_repair_that_is_hardly_ever_done_is_mentioned() {
    let schema = |rest: &str| lint(&format!("schemas: [{{id: a, {rest}}}]"));
    assert_eq!(schema("schema: from_request, repair: {local: [quotes, close_brackets], ask_again: 1}"), [""; 0]);
    assert_eq!(
        schema("schema: from_request, stream: verified, repair: {ask_again: 1}"),
        [
            "2:schemas[0] unused_repair schema `a` asks again only while nothing has left, and with `stream: verified` the first value soon has; write `stream: buffer`"
        ]
    );
    assert_eq!(
        schema("schema: tool_parameters, repair: {local: [close_brackets]}"),
        [
            "2:schemas[0] unused_repair schema `a` lists `close_brackets`, which is never done to the arguments of a tool: a call that was cut off would be run"
        ]
    );
    assert_eq!(
        schema("schema: from_request, stream: observe, repair: {local: [quotes], ask_again: 1}"),
        ["2:schemas[0] unused_repair schema `a` has a `repair`, and with `stream: observe` nothing is touched"]
    );
}
