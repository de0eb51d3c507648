//! The public test suites, fed through the lock in pieces: JSONTestSuite for the syntax, JSON-Schema-Test-Suite for
//! the meaning of schemas. They are read from `$CLYRA_SHARED_DATA/suites` or `../shared/data/suites` beside the workspace; without
//! them these tests say that they skipped, and fail in CI.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

use std::path::PathBuf;
use std::{env, fs};

use clyra_schemas::{Contract, ContractSource, Draft, Judgement, Limits, Verdict};
use serde_json::Value;

fn suite(name: &str) -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let path = env::var_os("CLYRA_SHARED_DATA").map_or(beside, PathBuf::from).join("suites").join(name);
    if path.is_dir() {
        return Some(path);
    }
    assert!(env::var("CI").as_deref() != Ok("true"), "CI does not skip: {} is missing", path.display());
    println!("skipped: {} is missing", path.display());
    None
}

fn files(folder: PathBuf) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    files
}

/// `text` in pieces of about `size` bytes.
fn pieces(text: &str, size: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut from = 0;
    while from < text.len() {
        let to = (from + size..=text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len());
        pieces.push(&text[from..to]);
        from = to;
    }
    pieces
}

#[test]
fn json_test_suite() {
    let Some(path) = suite("jsontestsuite") else { return };
    let contract = Contract::compile(&Value::Bool(true), None, ContractSource::Policy, &Limits::default()).unwrap();
    let (mut accepted, mut rejected, mut duplicates) = (0, 0, Vec::new());
    for file in files(path.join("test_parsing")) {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let bytes = fs::read(&file).unwrap();
        let verdicts: Vec<Verdict> = match std::str::from_utf8(&bytes) {
            Ok(text) => (1..=text.len().min(64))
                .chain([usize::MAX])
                .map(|size| Verdict::of(Ok(contract.clone()), pieces(text, size.min(text.len().max(1)))))
                .collect(),
            // No text, so it never gets as far as a lock.
            Err(_) if name.starts_with("n_") => {
                rejected += 1;
                continue;
            }
            Err(_) => continue,
        };
        for verdict in &verdicts {
            assert_eq!(
                (verdict.verdict, verdict.offset, verdict.keyword),
                (verdicts[0].verdict, verdicts[0].offset, verdicts[0].keyword),
                "{name}: the verdict depends on how the text was cut"
            );
        }
        match (name.as_bytes()[0], verdicts[0].verdict) {
            (b'y', Judgement::Pass) => accepted += 1,
            (b'n', Judgement::Violation) => rejected += 1,
            // The one thing in which the lock is stricter than the RFC.
            (b'y', Judgement::Violation) if verdicts[0].keyword == Some("duplicate_name") => duplicates.push(name),
            (b'i', _) => {}
            (_, verdict) => panic!("{name}: {verdict:?} {:?}", verdicts[0]),
        }
    }
    assert_eq!(duplicates, ["y_object_duplicated_key.json", "y_object_duplicated_key_and_value.json"]);
    assert_eq!((accepted + duplicates.len(), rejected), (95, 188));
}

/// The same document, the members of its objects in reversed order.
fn reversed(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            Value::Object(members.iter().rev().map(|(name, value)| (name.clone(), reversed(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(reversed).collect()),
        other => other.clone(),
    }
}

#[test]
fn json_schema_test_suite() {
    let Some(path) = suite("json-schema-test-suite") else { return };
    let drafts = [
        ("draft4", Draft::Draft4),
        ("draft6", Draft::Draft6),
        ("draft7", Draft::Draft7),
        ("draft2019-09", Draft::Draft201909),
        ("draft2020-12", Draft::Draft202012),
    ];
    for (folder, draft) in drafts {
        let (mut judged, mut refused, mut early, mut unreadable) = (0, 0, 0, Vec::new());
        for file in files(path.join("tests").join(folder)) {
            let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
            // The suite's default is that formats are comments. Here they are checked, as its optional tests have it.
            if name == "format" {
                continue;
            }
            let groups: Vec<Value> = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
            for group in groups {
                let contract =
                    Contract::compile(&group["schema"], Some(draft), ContractSource::Policy, &Limits::default());
                let Ok(contract) = contract else {
                    unreadable.push(format!("{name}: {}: {}", group["description"], contract.unwrap_err()));
                    // Only what needs the network, or a meta-schema from it, may be refused.
                    let schema = group["schema"].to_string();
                    let remote = schema.contains("localhost:1234");
                    assert!(remote, "{folder}/{}", unreadable.last().unwrap());
                    continue;
                };
                for test in group["tests"].as_array().unwrap() {
                    let expected = if test["valid"] == true { Judgement::Pass } else { Judgement::Violation };
                    for text in [test["data"].to_string(), reversed(&test["data"]).to_string()] {
                        assert_eq!(
                            contract.accepts(&text),
                            expected == Judgement::Pass,
                            "{folder}/{name}: the authority"
                        );
                        let verdicts: Vec<Verdict> = [1, 7, text.len()]
                            .into_iter()
                            .map(|size| Verdict::of(Ok(contract.clone()), pieces(&text, size)))
                            .collect();
                        for verdict in &verdicts {
                            assert_eq!(
                                verdict.verdict, expected,
                                "{folder}/{name}: {}: {}: {text}",
                                group["description"], test["description"]
                            );
                            assert_eq!(
                                verdict, &verdicts[0],
                                "{folder}/{name}: the verdict depends on how {text} was cut"
                            );
                            judged += 1;
                        }
                        if verdicts[0].verdict == Judgement::Violation {
                            let verdict = &verdicts[0];
                            assert!(verdict.offset.is_some_and(|at| at < text.len() as u64), "{verdict:?} in {text}");
                            refused += 1;
                            early += u64::from(verdict.early);
                        }
                    }
                }
            }
        }
        println!(
            "{folder}: {judged} verdicts agree, {early} of {refused} violations are found while the document comes, {} schemas \
             need the network",
            unreadable.len()
        );
        assert!(judged > 1_000, "{folder}: only {judged} verdicts");
    }
}
