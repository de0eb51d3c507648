//! `clyra keys`, `clyra bundle`, `clyra verify`: evidence from a journal to somebody else's desk.

use std::path::Path;

use clyra_receipts::receipt::{BuildInfo, PolicyChange};
use clyra_receipts::{Log, LogOptions};
use serde_json::json;
use tempfile::TempDir;

use crate::{clyra, temp};

/// A data directory `d` whose log was served and closed, with five receipts of its own.
pub(crate) fn data_dir() -> TempDir {
    let dir = temp();
    record(dir.path());
    dir
}

pub(crate) fn record(dir: &Path) {
    let build = BuildInfo { digest: None, version: "0".into() };
    let (log, _) = Log::open(LogOptions::new(dir.join("d"), "clyra.local/log", build)).unwrap();
    for _ in 0..5 {
        let change = PolicyChange { from: None, source: "start".into(), to: "0".repeat(64) };
        log.append_blocking(change).unwrap();
    }
    log.shutdown().unwrap();
}

#[test]
fn evidence_goes_from_the_journal_to_the_auditor() {
    let dir = data_dir();
    let run = |args: &[&str]| clyra(dir.path(), args, b"");

    let sealed = run(&["bundle", "seal", "--data-dir", "d", "--json"]).is(0).json();
    assert_eq!(sealed["from"], 0);
    let to = sealed["to"].as_u64().unwrap();
    let name = format!("0-{to}.pef");
    assert!(sealed["path"].as_str().unwrap().ends_with(&name), "{sealed}");

    let again = run(&["bundle", "seal", "--data-dir", "d"]).is(0);
    assert!(again.stdout.is_empty() && again.stderr.contains("nothing to seal"), "{again:?}");

    let listed = run(&["bundle", "list", "--data-dir", "d", "--json"]).is(0).json_lines();
    assert_eq!((listed.len(), &listed[0]["to"], &listed[0]["root"]), (1, &json!(to), &sealed["root"]));
    assert!(run(&["bundle", "list", "--data-dir", "d"]).is(0).stdout.contains(&name));

    let exported = run(&["bundle", "export", &name, "--out", "copy.pef", "--data-dir", "d"]).is(0).stdout;
    assert_eq!(exported, format!("{}  ./copy.pef\n", sealed["sha256"].as_str().unwrap()));
    let over = run(&["bundle", "export", &name, "--out", "copy.pef", "--data-dir", "d"]).is(2);
    assert!(over.stderr.contains("not overwritten"), "{over:?}");

    let inspected = run(&["bundle", "inspect", "copy.pef", "--json"]).is(0).json();
    assert_eq!((&inspected["log"], &inspected["kinds"]["policy.change"]), (&json!("clyra.local/log"), &json!(5)));
    let text = run(&["bundle", "inspect", &name, "--data-dir", "d"]).is(0).stdout;
    assert!(text.contains("log       clyra.local/log") && text.contains("receipts.jsonl"), "{text}");

    let root = run(&["keys", "export", "--root", "--data-dir", "d"]).is(0).stdout;
    std::fs::write(dir.path().join("root.vkey"), &root).unwrap();
    for root in [root.trim_end(), "root.vkey"] {
        let verdict = run(&["verify", "copy.pef", "--root", root, "--json"]).is(0).json();
        assert_eq!((&verdict["ok"], &verdict["assurance"]), (&json!(true), &json!("origin")));
    }
    let text = run(&["verify", "copy.pef", "d", "--root", "root.vkey"]).is(0);
    assert!(text.stdout.ends_with("GOOD: 0 errors, 0 warnings\n"), "{text:?}");
    assert!(text.stdout.contains("origin and integrity"), "{text:?}");
}

#[test]
fn without_a_root_key_it_says_integrity_and_not_origin() {
    let dir = data_dir();
    let ran = clyra(dir.path(), &["verify", "d"], b"").is(0);
    assert!(ran.stdout.contains("integrity, not origin"), "{ran:?}");
    assert!(ran.stderr.contains("--root"), "{ran:?}");
    let ran = clyra(dir.path(), &["verify", "d/journal", "--json"], b"").is(0);
    assert_eq!(ran.json()["assurance"], "integrity");
}

#[test]
fn tampering_is_named() {
    let dir = data_dir();
    clyra(dir.path(), &["bundle", "seal", "--data-dir", "d"], b"").is(0);
    let journal = dir.path().join("d/journal");
    let segment =
        std::fs::read_dir(&journal).unwrap().map(|e| e.unwrap().path()).find(|p| p.metadata().unwrap().len() > 500);
    let segment = segment.unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.windows(13).position(|window| window == b"policy.change").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let ran = clyra(dir.path(), &["verify", "d"], b"").is(1);
    assert!(ran.stdout.contains("error W002 CORRUPT_MIDDLE journal/"), "{ran:?}");
    assert!(ran.stdout.contains("BAD: "), "{ran:?}");
    let verdict = clyra(dir.path(), &["verify", "d", "--json"], b"").is(1).json();
    assert_eq!((&verdict["ok"], &verdict["findings"][0]["code"]), (&json!(false), &json!("W002")));
}

#[test]
fn evidence_of_somebody_else_is_not_taken_for_ones_own() {
    let (dir, other) = (data_dir(), data_dir());
    let root = clyra(other.path(), &["keys", "export", "--root", "--data-dir", "d"], b"").is(0).stdout;
    let ran = clyra(dir.path(), &["verify", "d", "--root", root.trim_end()], b"").is(1);
    assert!(ran.stdout.contains("E301 KEY_UNKNOWN"), "{ran:?}");
}

#[test]
fn a_log_that_shrank_is_told_by_a_checkpoint_that_was_kept() {
    let dir = data_dir();
    let sealed = clyra(dir.path(), &["bundle", "seal", "--data-dir", "d", "--json"], b"").is(0).json();
    let first = format!("d/checkpoints/{}", sealed["to"]);
    record(dir.path());
    let sealed = clyra(dir.path(), &["bundle", "seal", "--data-dir", "d", "--json"], b"").is(0).json();
    let kept = format!("d/checkpoints/{}", sealed["to"]);
    clyra(dir.path(), &["verify", "d", "--checkpoint", &first], b"").is(0);
    clyra(dir.path(), &["verify", "d", "--checkpoint", &kept], b"").is(0);
    let old = format!("d/bundles/0-{}.pef", sealed["from"]);
    let ran = clyra(dir.path(), &["verify", &old, "--checkpoint", &kept], b"").is(1);
    assert!(ran.stdout.contains("E605 ROLLBACK"), "{ran:?}");
}

#[test]
fn what_cannot_be_verified_is_status_2() {
    let dir = data_dir();
    let message = |args: &[&str]| {
        let ran = clyra(dir.path(), args, b"").is(2);
        assert!(ran.stdout.is_empty(), "{ran:?}");
        ran.stderr
    };
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    assert!(message(&["verify", "none.pef"]).contains("none.pef"));
    assert!(message(&["verify", "empty"]).contains("neither a bundle"));
    assert!(message(&["verify"]).contains("<PATH>"));
    assert!(message(&["verify", "d", "--root", "nonsense"]).contains("--root: not a signed-note verifier key"));
    assert!(message(&["verify", "d", "--checkpoint", "none"]).contains("none cannot be read"));
    assert!(message(&["bundle", "inspect", "none.pef"]).contains("none.pef"));
    assert!(message(&["bundle", "list", "--data-dir", "nowhere"]).contains("nowhere"));
    assert!(message(&["bundle", "seal", "--data-dir", "nowhere"]).contains("no journal in ./nowhere"));
    std::fs::write(dir.path().join("junk.pef"), b"junk").unwrap();
    assert!(message(&["bundle", "inspect", "junk.pef"]).contains("S006"));
    let ran = clyra(dir.path(), &["verify", "junk.pef", "--json"], b"").is(1);
    assert_eq!(ran.json()["findings"][0]["code"], "E108");
}

#[test]
fn keys_are_made_once_and_only_their_public_halves_are_shown() {
    let dir = temp();
    let run = |args: &[&str]| clyra(dir.path(), args, b"");
    assert!(run(&["keys", "list", "--data-dir", "d"]).is(2).stderr.contains("K001"));
    let vkey = run(&["keys", "init", "--data-dir", "d", "--origin", "a.example/log"]).is(0).stdout;
    assert!(vkey.starts_with("a.example/log/root+"), "{vkey}");
    let again = run(&["keys", "init", "--data-dir", "d"]).is(2);
    assert!(again.stdout.is_empty() && again.stderr.contains("K004"), "{again:?}");
    assert!(run(&["keys", "init", "--data-dir", "e", "--origin", "a b"]).is(2).stderr.contains("K007"));

    let keys = run(&["keys", "list", "--data-dir", "d", "--json"]).is(0).json_lines();
    assert_eq!((keys.len(), &keys[0]["purpose"], &keys[1]["purpose"]), (2, &json!("root"), &json!("log")));
    assert_eq!((&keys[0]["vkey"], &keys[0]["private_here"]), (&json!(vkey.trim_end()), &json!(true)));
    assert!(run(&["keys", "list", "--data-dir", "d"]).is(0).stdout.contains(vkey.trim_end()));
    assert_eq!(run(&["keys", "export", "--root", "--data-dir", "d"]).is(0).stdout, vkey);
    let trust = run(&["keys", "export", "--data-dir", "d"]).is(0);
    assert_eq!((&trust.json()["log"], trust.json()["certs"].as_array().unwrap().len()), (&json!("a.example/log"), 1));
    assert!(!trust.stdout.contains("PRIVATE"), "{trust:?}");
}

#[test]
fn the_data_directory_can_come_from_the_environment() {
    let dir = data_dir();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_clyra"))
        .args(["keys", "export", "--root"])
        .env("CLYRA_DATA_DIR", dir.path().join("d"))
        .output()
        .unwrap();
    assert!(output.status.success() && output.stdout.starts_with(b"clyra.local/log/root+"), "{output:?}");
}

#[test]
fn a_running_log_is_not_sealed_from_outside() {
    let dir = temp();
    let build = BuildInfo { digest: None, version: "0".into() };
    let (log, _) = Log::open(LogOptions::new(dir.path().join("d"), "clyra.local/log", build)).unwrap();
    let ran = clyra(dir.path(), &["bundle", "seal", "--data-dir", "d"], b"").is(2);
    assert!(ran.stderr.contains("S001") && ran.stderr.contains("a running sidecar seals by itself"), "{ran:?}");
    log.shutdown().unwrap();
}

#[test]
fn files_are_attached_handed_on_and_taken_out_again() {
    let dir = data_dir();
    let run = |args: &[&str]| clyra(dir.path(), args, b"");
    std::fs::write(dir.path().join("card.txt"), "a model card").unwrap();
    let attached = run(&["bundle", "attach", "card.txt", "--data-dir", "d", "--json"]).is(0).json();
    let digest = attached["sha256"].as_str().unwrap();
    assert_eq!((&attached["bytes"], &attached["name"]), (&json!(12), &json!("card.txt")));
    let name = run(&["bundle", "seal", "--data-dir", "d", "--json"]).is(0).json()["path"].as_str().unwrap().to_owned();
    let text = run(&["bundle", "inspect", &name]).is(0).stdout;
    assert!(text.contains(digest), "{text}");

    let args = ["bundle", "export", &name, "--out", "copy.pef", "--data-dir", "d", "--actor", "Desk 7", "--note", "n"];
    run(&args).is(0);
    let args = ["bundle", "custody", "add", "copy.pef", "--action", "opened", "--actor", "Audit", "--data-dir", "d"];
    run(&args).is(0);
    let shown = run(&["bundle", "custody", "show", "copy.pef", "--json"]).is(0).json_lines();
    assert_eq!((&shown[0]["action"], &shown[1]["actor"]), (&json!("exported"), &json!("Audit")));
    let text = run(&["bundle", "custody", "show", "copy.pef"]).is(0).stdout;
    assert!(text.contains("exported     Desk 7  (n)") && text.contains("signed by clyra.local/log+"), "{text}");

    let args =
        ["bundle", "redact", "copy.pef", "--artifact", digest, "--actor", "DPO", "--out", "r.pef", "--data-dir", "d"];
    run(&args).is(0);
    let verdict = run(&["verify", "r.pef", "--json"]).is(0).json();
    assert_eq!(verdict["findings"][0]["code"], "E804");
    assert!(
        run(&["bundle", "redact", "r.pef", "--artifact", digest, "--actor", "DPO", "--out", "x", "--data-dir", "d"])
            .is(2)
            .stderr
            .contains("S010")
    );
    assert!(
        run(&["bundle", "custody", "add", "r.pef", "--action", "opened", "--actor", "A", "--key", "k"])
            .is(2)
            .stdout
            .is_empty()
    );
}

#[test]
fn many_verdicts_come_line_by_line() {
    let dir = data_dir();
    let root = clyra(dir.path(), &["keys", "export", "--root", "--data-dir", "d"], b"").is(0).stdout;
    let good = json!({"inputs": ["d"], "root": root.trim_end()});
    let missing = json!({"inputs": ["none.pef"]});
    let unknown = json!({"inputs": ["d"], "x": 1});
    let lines = format!("{good}\n{missing}\n\n{unknown}\n{good}\n");
    let ran = clyra(dir.path(), &["verify", "--batch"], lines.as_bytes()).is(0);
    let verdicts = ran.json_lines();
    assert_eq!(verdicts.len(), 4);
    let alone = clyra(dir.path(), &["verify", "d", "--root", root.trim_end(), "--json"], b"").is(0);
    assert_eq!(ran.stdout.lines().next(), Some(alone.stdout.trim_end()));
    assert_eq!(verdicts[0], verdicts[3]);
    assert!(verdicts[1]["error"].as_str().unwrap().contains("none.pef"), "{verdicts:?}");
    assert!(verdicts[2]["error"].as_str().unwrap().contains('x'), "{verdicts:?}");
    assert!(clyra(dir.path(), &["verify", "d", "--batch"], b"").is(2).stderr.contains("--batch"));
}
