//! What a decision costs: ten rules over three findings, and one rule that fires over a tool call's arguments.

#![allow(clippy::expect_used, reason = "a benchmark that cannot start should stop")]

use std::hint::black_box;

use clyra_policy::{Facts, FindingFacts, Phase, Policy, RequestFacts, ToolFacts};
use criterion::{Criterion, criterion_group, criterion_main};

fn policy() -> Policy {
    let mut text = String::from("version: 1\nrules:\n");
    for (index, class) in ["secret", "pii", "restricted", "jailbreak", "exfiltration"].iter().enumerate() {
        text.push_str(&format!(
            "  - {{ id: high-{index}, phase: request, action: redact, when: 'findings.exists(f, f.class == \"{class}\" && f.score >= 0.8)' }}\n"
        ));
        text.push_str(&format!(
            "  - {{ id: route-{index}, phase: request, action: block, when: 'request.route == \"/v{index}\" && caller.id != \"batch\"' }}\n"
        ));
    }
    text.push_str(
        "  - { id: refund, phase: tool_call, action: block, when: 'tool.name == \"refund\" && tool.args.amount > 500' }\n",
    );
    Policy::parse(&text, "bench.yaml", &|_| Err(String::new())).expect("the policy of the benchmark is valid")
}

fn finding(class: &'static str) -> FindingFacts<'static> {
    FindingFacts {
        detector: "d".into(),
        class: class.into(),
        score_ppm: 900_000,
        channel: "content".into(),
        place: "/messages/0/content".into(),
        owasp: None,
        atlas: None,
    }
}

fn benches(criterion: &mut Criterion) {
    let policy = policy();
    let caller = policy.caller(None);
    let request = RequestFacts { route: "/v1/chat/completions".into(), ..RequestFacts::default() };
    let findings = [finding("pii"), finding("secret"), finding("pii")];
    let mut facts = Facts::new(&caller, &request, 1_800_000_000);
    criterion.bench_function("decide/10 rules, no findings", |bencher| {
        bencher.iter(|| policy.decide(Phase::Request, black_box(&facts)));
    });
    facts.findings = &findings;
    criterion.bench_function("decide/10 rules, 3 findings, 2 fire", |bencher| {
        bencher.iter(|| policy.decide(Phase::Request, black_box(&facts)));
    });
    let args = serde_json::json!({ "amount": 501, "note": "x".repeat(1000) });
    facts.findings = &[];
    facts.tool = Some(ToolFacts { name: "refund", args: &args });
    criterion.bench_function("decide/tool call", |bencher| {
        bencher.iter(|| policy.decide(Phase::ToolCall, black_box(&facts)));
    });
}

/// The most work that one condition can be made to do before it is given up.
fn worst(criterion: &mut Criterion) {
    let text = "version: 1\nrules: [{ id: a, phase: request, action: block, when: 'findings.all(a, findings.all(b, a.class == b.class && a.place == b.place))' }]\n";
    let policy =
        Policy::parse(text, "bench.yaml", &|_| Err(String::new())).expect("the policy of the benchmark is valid");
    let caller = policy.caller(None);
    let request = RequestFacts::default();
    let findings: Vec<FindingFacts<'_>> = (0..2000).map(|_| finding("pii")).collect();
    let mut facts = Facts::new(&caller, &request, 1_800_000_000);
    facts.findings = &findings;
    criterion.bench_function("decide/given up for cost", |bencher| {
        bencher.iter(|| policy.decide(Phase::Request, black_box(&facts)));
    });
}

criterion_group!(decide, benches, worst);
criterion_main!(decide);
