use proptest::prelude::*;

use super::*;
use crate::canonical::{Limits, Value, is_canonical, parse, write_record};
use crate::sample;

/// The members of a draft as one object.
fn members(draft: &Draft) -> Value {
    let members = draft.members.iter().map(|(name, bytes)| {
        let value = parse(bytes, Limits { bytes_max: usize::MAX, ..Limits::RECEIPT }).unwrap();
        assert!(is_canonical(bytes, &value), "{name}: {}", String::from_utf8_lossy(bytes));
        (name.to_owned(), value)
    });
    Value::Object(members.collect())
}

fn every_entry() -> Vec<Entry> {
    let attempt = sample::attempt();
    vec![
        sample::outcome(&attempt, 7).into(),
        attempt.into(),
        sample::bypass().into(),
        PolicyChange { from: Some("a".into()), source: "reload".into(), to: "b".into() }.into(),
        Degraded { reason: "disk".into(), state: ServiceState::Entered }.into(),
        Gap { exchanges: u64::MAX, reason: "journal".into() }.into(),
        SealRecord { from: 1, root: "0".repeat(64), sha256: "1".repeat(64), to: u64::MAX }.into(),
        key_rotate().into(),
        KeyRevoke {
            key_id: "0".repeat(64),
            last_good_seq: "none".into(),
            reason: "lost".into(),
            sha256: "1".repeat(64),
        }
        .into(),
        AnchorRecord {
            at: Some(crate::clock::now()),
            header: Some("0".repeat(160)),
            kind: AnchorKind::OpenTimestamps,
            proof: "0".repeat(64),
            reference: Some("https://calendar.example".into()),
            root: "1".repeat(64),
            sha256: "2".repeat(64),
            size: u64::MAX,
            state: AnchorState::Pending,
        }
        .into(),
        Prune { bytes: u64::MAX, from: 0, root: "0".repeat(64), segments: 3, to: u64::MAX }.into(),
    ]
}

fn key_rotate() -> KeyRotate {
    let signature = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [7; 64]);
    KeyRotate {
        new: "0".repeat(64),
        new_sig: signature.clone(),
        old: "1".repeat(64),
        old_sig: signature,
        purpose: "log".into(),
        valid_from_seq: 7,
    }
}

fn life_entries() -> Vec<LifeEntry> {
    vec![
        LifeEntry::Genesis(Genesis {
            created: crate::clock::now(),
            log: "l".into(),
            policy: Some("p".into()),
            root: "0".repeat(64),
        }),
        LifeEntry::Boot(Boot {
            clean: false,
            last_seq: Some("3".into()),
            torn: Some(TornRecord { blake3: "0".repeat(64), bytes: 1, offset: 4096, segment: "s".into() }),
        }),
        LifeEntry::Shutdown(Shutdown { receipts: 4 }),
        LifeEntry::Heartbeat(Heartbeat { receipts: u64::MAX }),
        LifeEntry::ClockStep(ClockStep { from: crate::clock::now(), step_us: -5 }),
        LifeEntry::KeyRotate(key_rotate()),
    ]
}

#[test]
fn every_entry_with_all_its_members_is_canonical_and_of_the_published_form() {
    let drafts = every_entry().iter().map(Draft::new).chain(life_entries().iter().map(Draft::life)).collect::<Vec<_>>();
    let values: Vec<Value> = drafts.iter().map(members).collect();
    let kinds: std::collections::BTreeSet<_> = values.iter().filter_map(|value| value.get("kind")?.as_str()).collect();
    assert_eq!(kinds.len(), Kind::ALL.len());
    for value in &values {
        // What is left to complain about is what the log adds.
        let missing: Vec<String> = shape::check_receipt(value).into_iter().map(|fault| fault.pointer).collect();
        let log_adds = ["alg", "boot", "build", "dur", "key_id", "log", "mono_ns", "prev", "seq", "ts", "v"];
        assert_eq!(missing, log_adds.map(|name| format!("/{name}")), "{value:?}");
    }
}

#[test]
fn the_smallest_entries_are_of_the_published_form_too() {
    let attempt = Attempt {
        run: None,
        caller: Caller::default(),
        request: Request::default(),
        policy: PolicyRecord::default(),
        checks: Vec::new(),
        findings: Vec::new(),
        coverage: CoverageRecord { level: Coverage::None, reasons: Vec::new() },
        ext: Ext::default(),
        ..sample::attempt()
    };
    let outcome = Outcome {
        request: None,
        upstream: Some(Upstream::default()),
        response: Some(Response { usage: Some(Usage::default()), ..Response::default() }),
        stream: None,
        schema: None,
        ..sample::outcome(&attempt, 0)
    };
    for entry in [Entry::from(attempt), Entry::from(outcome)] {
        assert_eq!(shape::check_receipt(&members(&Draft::new(&entry))).len(), 11);
    }
}

#[test]
fn names_are_the_same_in_types_and_tables() {
    let verdicts = [
        Verdict::Executed,
        Verdict::Redacted,
        Verdict::Repaired,
        Verdict::Blocked,
        Verdict::Denied,
        Verdict::Held,
        Verdict::Timeout,
        Verdict::Errored,
        Verdict::AbortedByClient,
        Verdict::Crashed,
        Verdict::Deferred,
    ];
    for (verdict, name) in verdicts.iter().zip(shape::VERDICTS) {
        assert_eq!(serde_json::to_value(verdict).unwrap(), name);
    }
    for kind in Kind::ALL {
        assert_eq!(Kind::from_name(kind.name()), Some(kind));
    }
}

#[test]
fn the_form_names_what_is_wrong_and_where() {
    let mut value = members(&Draft::new(&sample::attempt().into()));
    let Value::Object(root) = &mut value else { unreachable!() };
    root.insert("surprise".into(), Value::Null);
    root.insert("ext".into(), Value::from("not an object"));
    let Some(Value::Object(request)) = root.get_mut("request") else { unreachable!() };
    request.insert("bytes".into(), Value::Integer(-1));
    request.insert("a/b~c".into(), Value::Null);
    let faults = shape::check_receipt(&value);
    let has = |pointer: &str, unknown| faults.iter().any(|fault| fault.pointer == pointer && fault.unknown == unknown);
    assert!(has("/surprise", true) && has("/ext", false) && has("/request/bytes", false));
    assert!(has("/request/a~1b~0c", true), "{faults:?}");
}

#[test]
fn a_receipt_that_is_too_long_is_shortened_and_says_so() {
    let mut attempt = sample::attempt();
    attempt.findings = vec![sample::finding(); 5000];
    attempt.checks = vec![sample::check(); 300];
    let draft = Draft::new(&attempt.clone().into());
    assert!(draft.size() <= draft::DRAFT_MAX_BYTES);
    let value = members(&draft);
    let truncated = value.get("ext").and_then(|ext| ext.get("truncated")).unwrap();
    let findings = value.get("findings").unwrap().as_array().unwrap().len();
    assert!(findings > 0);
    assert_eq!(truncated.get("findings").unwrap().as_integer(), Some(5000 - i64::try_from(findings).unwrap()));
    assert_eq!(truncated.get("ext").unwrap().as_integer(), Some(1), "the caller's own ext member was left out");
    assert_eq!(shape::check_receipt(&value).len(), 11);
    let again = Draft::new(&attempt.into());
    assert_eq!(draft.members, again.members);
}

#[test]
fn the_worst_texts_fit_too_and_digests_stay_whole() {
    // Control characters take six bytes each.
    let long = "\u{1}".repeat(100_000);
    let mut attempt = sample::attempt();
    attempt.caller.app = Some(long.clone());
    attempt.request.model = Some(long.clone());
    attempt.request.tools = vec![ToolRecord { digest: Some("ef".repeat(32)), name: long.clone() }; 2000];
    attempt.policy.rules = vec![RuleRecord { action: long.clone(), id: long.clone() }; 10];
    attempt.coverage.reasons = vec![long.clone(); 10];
    attempt.run = Some(RunRef { id: long, ..RunRef::default() });
    let draft = Draft::new(&attempt.into());
    assert!(draft.size() <= draft::DRAFT_MAX_BYTES);
    assert_eq!(shape::check_receipt(&members(&draft)).len(), 11);
    assert!(draft.run.unwrap().id.starts_with("blake3:"));
}

#[test]
fn ext_takes_only_what_has_a_canonical_spelling() {
    let mut ext = Ext::default();
    assert!(ext.insert("é", Value::Null).is_err());
    assert!(ext.insert("a", Value::Integer(i64::MAX)).is_err());
    assert!(ext.insert("a", Value::from("x")).is_ok());
    assert_eq!(ext.get("a"), Some(&Value::from("x")));
}

#[test]
fn entries_survive_a_trip_through_json() {
    let attempt = sample::attempt();
    let outcome = sample::outcome(&attempt, 9);
    let text = serde_json::to_string(&attempt).unwrap();
    assert_eq!(serde_json::to_string(&serde_json::from_str::<Attempt>(&text).unwrap()).unwrap(), text);
    let text = serde_json::to_string(&outcome).unwrap();
    assert_eq!(serde_json::to_string(&serde_json::from_str::<Outcome>(&text).unwrap()).unwrap(), text);
}

proptest! {
    #[test]
    fn any_texts_give_canonical_bytes_that_fit(
        texts in prop::collection::vec(any::<String>(), 8),
        number in any::<u64>(),
        lists in 0usize..200,
    ) {
        let mut attempt = sample::attempt();
        let text = |index: usize| texts[index].clone();
        attempt.caller.app = Some(text(0));
        attempt.request.model = Some(text(1));
        attempt.request.bytes = number;
        attempt.findings = vec![FindingRecord { detector: text(2), channel: text(3), ..sample::finding() }; lists];
        attempt.coverage.reasons = vec![text(4); lists];
        attempt.policy.decision = text(5);
        attempt.checks = vec![Check { us: number, reason: Some(text(6)), id: text(7), ..sample::check() }; lists];
        let draft = Draft::new(&attempt.into());
        prop_assert!(draft.size() <= draft::DRAFT_MAX_BYTES);
        prop_assert_eq!(shape::check_receipt(&members(&draft)).len(), 11);
    }

    #[test]
    fn the_record_writer_agrees_with_rfc_8785(text in any::<String>(), count in any::<u32>()) {
        let record = MessageCount { count, kind: text.clone(), role: text };
        let mut ours = Vec::new();
        write_record(&record, &mut ours);
        prop_assert_eq!(ours, serde_json_canonicalizer::to_vec(&record).unwrap());
    }
}
