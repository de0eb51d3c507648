//! `clyra lineage`: how the exchanges of an agent run hang together.

use clyra_receipts::receipt::BuildInfo;
use clyra_receipts::{Attempt, Log, LogOptions, Outcome};
use serde_json::{Value, json};

use crate::{clyra, temp};

/// Records an exchange of a run; gives the numbers of its receipts.
fn exchange(log: &Log, run: &str) -> [String; 2] {
    let shared = json!({
        "id": uuid::Uuid::now_v7(), "run": {"id": run, "parent": null, "parents": []}, "caller": {"app": "agent"},
        "policy": {"decision": "allow", "exceptions": [], "hash": "h", "rules": [], "shadow": []}, "checks": [],
        "findings": [], "coverage": {"level": "full", "reasons": []},
    });
    let with = |members: Value| {
        let mut all = shared.clone();
        all.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        all
    };
    let attempt = with(json!({"request": {"bytes": 1, "stream": false, "surface": "openai.chat"}}));
    let attempt: Attempt = serde_json::from_value(attempt).unwrap();
    let attempt = log.append_blocking(attempt).unwrap().seq;
    let outcome: Outcome =
        serde_json::from_value(with(json!({"attempt_seq": attempt, "verdict": "executed"}))).unwrap();
    [attempt, log.append_blocking(outcome).unwrap().seq].map(|seq| seq.to_string())
}

#[test]
fn openlineage_events_are_those_of_the_run_in_the_order_of_the_log() {
    let dir = temp();
    let build = BuildInfo { digest: None, version: "0".into() };
    let (log, _) = Log::open(LogOptions::new(dir.path().join("d"), "clyra.local/log", build)).unwrap();
    let mut wanted = Vec::new();
    for run in ["other", "nightly", "other", "nightly", "other"] {
        let seqs = exchange(&log, run);
        if run == "nightly" {
            wanted.extend(seqs);
        }
    }
    log.shutdown().unwrap();
    let lineage = |args: &[&str]| clyra(dir.path(), &[&["lineage", "--data-dir", "d"], args].concat(), b"");
    let events = lineage(&["nightly", "--format", "openlineage"]).is(0).json_lines();
    let seqs: Vec<_> = events.iter().map(|event| event["run"]["facets"]["clyra_receipt"]["seq"].as_str()).collect();
    assert_eq!(seqs, wanted.iter().map(|seq| Some(seq.as_str())).collect::<Vec<_>>());
    let types: Vec<_> = events.iter().map(|event| event["eventType"].as_str().unwrap()).collect();
    assert_eq!(types, ["START", "COMPLETE", "START", "COMPLETE"]);
    // A range that ends within the run has what lies within it.
    let part = lineage(&["nightly", "--format", "openlineage", "--to", &wanted[1]]).is(0).json_lines();
    assert_eq!(part, events[..1]);
    let unknown = lineage(&["weekly", "--format", "openlineage"]).is(2);
    assert!(unknown.stdout.is_empty() && unknown.stderr.contains("weekly"), "{unknown:?}");
}
