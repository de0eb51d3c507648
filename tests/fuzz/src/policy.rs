//! `policy.yaml`: refused with places inside the file, or read the same each time and able to decide.

use clyra_policy::{DIAGNOSTICS_MAX, Facts, FindingFacts, Phase, Policy, RequestFacts, ResponseFacts, ToolFacts};

pub fn policy(input: &[u8]) {
    let text = crate::text(input);
    let read = || Policy::parse(text, "policy.yaml", &|_| Err("no files".into()));
    let policy = match read() {
        Ok(policy) => policy,
        Err(error) => {
            let found = error.diagnostics();
            assert!(!found.is_empty() && found.len() <= DIAGNOSTICS_MAX);
            let _ = error.to_string();
            return;
        }
    };
    assert_eq!(read().expect("the same text").hash(), policy.hash(), "two readings have two hashes");
    let caller = policy.caller(Some("key"));
    let request = RequestFacts { model: "m".into(), tools: vec!["f".into()], ..RequestFacts::default() };
    let finding = FindingFacts {
        detector: "secrets.aws".into(),
        class: "secret".into(),
        score_ppm: 990_000,
        channel: "content".into(),
        place: "/messages/0/content".into(),
        owasp: None,
        atlas: None,
    };
    let findings = [finding];
    let arguments = serde_json::json!({ "a": [1, "x", null] });
    for phase in [Phase::Request, Phase::Response, Phase::ToolCall] {
        let mut facts = Facts::new(&caller, &request, 1_800_000_000);
        facts.findings = &findings;
        if phase == Phase::ToolCall {
            facts.tool = Some(ToolFacts { name: "f", args: &arguments });
        }
        facts.response = Some(ResponseFacts { model: "m", finish_reason: "stop", status: 200 });
        let decision = policy.decide(phase, &facts);
        assert!(decision.redact.iter().all(|index| *index < findings.len()), "redacts what was not found");
        let _ = policy.schemas_for(&facts);
    }
    let _ = policy.lint(1_800_000_000);
}
