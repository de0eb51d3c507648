//! `clyra policy`.

use std::path::Path;

use crate::{Ran, clyra, temp};

const GOOD: &str = "version: 1
mode: enforce
detectors:
  patterns:
    - { id: codename, literal: Project Nightjar, class: restricted, score: 1.0 }
schemas:
  - { id: invoice, schema: invoice.json }
rules:
  - { id: no-codename, phase: request, when: 'findings.exists(f, f.class == \"restricted\")', action: block }
";

fn lint(dir: &Path, policy: &str, args: &[&str]) -> Ran {
    std::fs::write(dir.join("policy.yaml"), policy).unwrap();
    clyra(dir, &[&["policy", "lint", "policy.yaml"], args].concat(), b"")
}

#[test]
fn a_good_policy_passes_and_has_the_hash_that_is_printed() {
    let dir = temp();
    std::fs::write(dir.path().join("invoice.json"), r#"{"type":"object"}"#).unwrap();
    let report = lint(dir.path(), GOOD, &["--json"]).is(0).json();
    assert_eq!((&report["ok"], &report["mode"]), (&true.into(), &"enforce".into()));
    assert_eq!((&report["errors"], &report["advice"]), (&serde_json::json!([]), &serde_json::json!([])));
    let hash = clyra(dir.path(), &["policy", "hash", "policy.yaml"], b"").is(0).stdout;
    assert_eq!(report["hash"], hash.trim_end());
    assert!(hash.len() == 65 && hash.trim_end().bytes().all(|b| b.is_ascii_hexdigit()), "{hash}");
    let json = clyra(dir.path(), &["policy", "hash", "policy.yaml", "--json"], b"").is(0).json();
    assert_eq!(json, serde_json::json!({"file": "policy.yaml", "hash": hash.trim_end()}));
    let text = lint(dir.path(), GOOD, &[]).is(0).stdout;
    assert_eq!(text, format!("policy.yaml: ok, mode enforce, hash {}, advice: 0\n", &hash[..12]));
}

#[test]
fn the_hash_is_that_of_the_meaning() {
    let dir = temp();
    let hash = |text: &str| {
        std::fs::write(dir.path().join("p.yaml"), text).unwrap();
        clyra(dir.path(), &["policy", "hash", "p.yaml"], b"").is(0).stdout
    };
    let one = hash("version: 1\nmode: observe\n");
    assert_eq!(one, hash("# the same\nmode:   observe\nversion: 1\n"));
    assert_ne!(one, hash("version: 1\nmode: enforce\n"));
    assert_ne!(one, hash("version: 1\nmode: observe\ndetectors: { secrets: { enabled: false } }\n"));
}

#[test]
fn every_mistake_is_reported_at_its_place() {
    let dir = temp();
    let ran = lint(dir.path(), "version: 1\nmode: enfoce\nrulez: []\n", &[]).is(1);
    assert!(ran.stdout.contains("error: policy.yaml:2:7: ") && ran.stdout.contains("policy.yaml:3:1: "), "{ran:?}");
    assert!(ran.stdout.contains("policy.yaml: cannot be used, 2 errors, advice: 0"), "{ran:?}");
    let report = lint(dir.path(), "version: 1\nmode: enfoce\nrulez: []\n", &["--json"]).is(1).json();
    assert_eq!((&report["ok"], &report["hash"]), (&false.into(), &serde_json::Value::Null));
    let places: Vec<_> = report["errors"].as_array().unwrap().iter().map(|e| (&e["line"], &e["column"])).collect();
    assert_eq!(places, [(&2.into(), &7.into()), (&3.into(), &1.into())]);
    clyra(dir.path(), &["policy", "hash", "policy.yaml"], b"").is(2);
}

#[test]
fn what_would_stop_a_start_later_fails_too() {
    let dir = temp();
    std::fs::write(dir.path().join("invoice.json"), r#"{"type":"objekt"}"#).unwrap();
    let policy = GOOD.replace("patterns:", "secretz: { enabled: false }\n  patterns:");
    let report = lint(dir.path(), &policy, &["--json"]).is(1).json();
    let errors = report["errors"].as_array().unwrap();
    let said: Vec<_> = errors.iter().map(|e| (e["path"].as_str().unwrap(), e["code"].as_str().unwrap())).collect();
    assert_eq!(said, [("schemas[0].schema", "schema_invalid"), ("detectors.secretz", "detector_unknown")]);
    let text = lint(dir.path(), &policy, &[]).is(1).stdout;
    assert!(text.contains("error: policy.yaml: detectors.secretz: there is no detector `secretz`"), "{text}");
}

#[test]
fn advice_is_no_failure() {
    let dir = temp();
    let policy = "version: 1\nmode: enforce\n";
    let report = lint(dir.path(), policy, &["--json"]).is(0).json();
    assert_eq!(report["advice"][0]["code"], "no_rules");
    assert!(lint(dir.path(), policy, &[]).is(0).stdout.contains("advice: policy.yaml: "));
}

#[test]
fn a_policy_that_cannot_be_read_is_status_2() {
    let dir = temp();
    let ran = clyra(dir.path(), &["policy", "lint", "none.yaml", "--json"], b"").is(2);
    assert_eq!(ran.json()["errors"][0]["code"], "unreadable");
    assert!(ran.stderr.contains("none.yaml cannot be read"), "{ran:?}");
    let ran = clyra(dir.path(), &["policy", "hash", "none.yaml"], b"").is(2);
    assert!(ran.stdout.is_empty() && ran.stderr.contains("none.yaml"), "{ran:?}");
}
