use super::*;

fn judge(rules: &str) -> PolicyJudge {
    judge_of(&format!("rules:\n{rules}"), None)
}

fn judge_of(policy: &str, kept: Option<Arc<Remembered>>) -> PolicyJudge {
    let text = format!("version: 1\nmode: enforce\n{policy}");
    let policy = Policy::parse(&text, "policy.yaml", &|_| Err("no files".into())).unwrap();
    let request = RequestFacts { model: "m".into(), ..RequestFacts::default() };
    let caller = policy.caller(None);
    PolicyJudge::request(Arc::new(Context {
        policy: Arc::new(policy),
        caller,
        request,
        now_unix_s: 0,
        calls: false,
        kept,
        pins: None,
    }))
}

fn found(class: &str, channel: Channel) -> Found {
    Found {
        detector: "d".into(),
        class: class.into(),
        score_ppm: 900_000,
        channel,
        pointer: "/messages/0/content".into(),
        start: 0,
        end: 3,
        contained: true,
        tool: None,
    }
}

#[test]
fn a_rule_that_needs_no_finding_is_asked_on_a_clean_request() {
    let rule = "  - { id: not-m, phase: request, when: 'request.model == \"m\"', action: block, reason: No. }\n";
    let block = judge(rule).request(&[], false).block.unwrap();
    assert_eq!((block.rule.as_deref(), block.reason.as_str()), (Some("not-m"), "No."));
    let rule = "  - { id: no-tools, phase: tool_result, action: block, reason: No. }\n";
    assert!(judge(rule).request(&[], true).block.is_some());
    assert!(judge(rule).request(&[], false).block.is_none());
}

#[test]
fn what_is_not_known_yet_may_be_asked_for_later() {
    let kept = Arc::new(Remembered::by_record());
    let mut judge = judge_of("defaults: { stored_state: bind }\n", Some(Arc::clone(&kept)));
    kept.recall();
    let causes = |judge: &mut PolicyJudge| judge.stored(&["resp_1".to_owned()]).map_err(|block| block.cause);
    assert_eq!(causes(&mut judge), Err(Cause::Unavailable));
    kept.recalled(std::iter::empty());
    assert_eq!(causes(&mut judge), Err(Cause::Policy));
    kept.made(&judge.context.caller.id, &["resp_1".to_owned()], 3);
    assert_eq!(causes(&mut judge), Ok(true));
    assert_eq!(judge.decided.made_by, [3]);
}

#[test]
fn redactions_point_at_the_new_findings() {
    let when = "findings.exists(f, f.class == \"secret\")";
    let rules = format!("  - {{ id: r, phase: request, when: '{when}', action: redact, reason: R. }}\n");
    let mut judge = judge(&rules);
    let batch = [found("pii", Channel::User), found("secret", Channel::User)];
    assert_eq!(judge.findings(&batch, &ResponseFacts::default()).redact, [1]);
    assert_eq!(judge.findings(&batch[1..], &ResponseFacts::default()).redact, [0]);
    assert_eq!(judge.decided.findings.len(), 3);
}

#[test]
fn new_findings_are_judged_however_many_there_were() {
    let when = "findings.exists(f, f.class == \"secret\")";
    let rules = format!("  - {{ id: r, phase: request, when: '{when}', action: redact, reason: R. }}\n");
    let mut judge = judge(&rules);
    let many = vec![found("secret", Channel::User); FINDINGS_MAX];
    judge.findings(&many, &ResponseFacts::default());
    assert_eq!(judge.findings(&[found("secret", Channel::User)], &ResponseFacts::default()).redact, [0]);
    assert_eq!((judge.decided.findings.len(), judge.decided.findings_total), (FINDINGS_MAX, FINDINGS_MAX as u64 + 1));
}
