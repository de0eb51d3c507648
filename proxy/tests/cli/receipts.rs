//! `clyra receipts`: the log, looked into.

use serde_json::json;

use crate::clyra;
use crate::evidence::data_dir;

#[test]
fn receipts_are_found_by_place_kind_time_and_text() {
    let dir = data_dir();
    let run = |args: &[&str]| clyra(dir.path(), &[&["receipts"], args, &["--data-dir", "d"]].concat(), b"");
    // genesis, boot, five changes of the policy, shutdown
    let all = run(&["grep", "--json"]).is(0).json_lines();
    let kinds: Vec<_> = all.iter().map(|receipt| receipt["kind"].as_str().unwrap()).collect();
    assert_eq!((kinds.len(), kinds[0], kinds[1], kinds[7]), (8, "genesis", "boot", "shutdown"));

    let tail = run(&["tail", "-n", "2", "--json"]).is(0).json_lines();
    assert_eq!(tail, all[6..]);
    let tail = run(&["tail", "-n", "2", "--kind", "boot", "--json"]).is(0).json_lines();
    assert_eq!(tail, all[1..2]);
    let lines = run(&["tail"]).is(0).stdout;
    assert_eq!(lines.lines().count(), 8);
    assert!(lines.contains("policy.change") && lines.contains("source=start"), "{lines}");

    assert_eq!(run(&["grep", "--kind", "policy.change", "--kind", "boot", "--json"]).is(0).json_lines().len(), 6);
    assert_eq!(run(&["grep", "clyra.local/log", "--since", "2026", "--json"]).is(0).json_lines().len(), 8);
    assert_eq!(run(&["grep", "--until", "2026"]).is(0).stdout, "");
    assert_eq!(run(&["grep", "--id", all[3]["id"].as_str().unwrap(), "--json"]).is(0).json_lines(), all[3..4]);
    for filter in ["--verdict", "--rule", "--run", "--caller"] {
        assert_eq!(run(&["grep", filter, "x"]).is(0).stdout, "", "{filter}");
    }
}

#[test]
fn one_receipt_is_shown_in_full() {
    let dir = data_dir();
    let run = |args: &[&str]| clyra(dir.path(), &[&["receipts", "show", "--data-dir", "d"], args].concat(), b"");
    let shown = run(&["2", "--json"]).is(0).json();
    assert_eq!((&shown["receipt"]["seq"], &shown["receipt"]["kind"]), (&json!("2"), &json!("policy.change")));
    assert!(shown["token"].as_str().unwrap().starts_with("seq=2;chain="), "{shown}");
    let text = run(&["2"]).is(0).stdout;
    assert!(text.contains(shown["leaf"].as_str().unwrap()) && text.contains("\"kind\": \"policy.change\""), "{text}");
    let missing = run(&["900"]).is(2);
    assert!(missing.stderr.contains("Q002") && missing.stderr.contains("0 to 7"), "{missing:?}");
    let nothing = clyra(dir.path(), &["receipts", "tail", "--data-dir", "nowhere"], b"").is(2);
    assert!(nothing.stderr.contains("Q001"), "{nothing:?}");
}

#[test]
fn a_receipt_is_proven_to_somebody_else() {
    let dir = data_dir();
    let run = |args: &[&str]| clyra(dir.path(), args, b"");
    let early = run(&["receipts", "prove", "3", "--data-dir", "d"]).is(2);
    assert!(early.stderr.contains("T010") && early.stderr.contains("bundle seal"), "{early:?}");
    run(&["bundle", "seal", "--data-dir", "d"]).is(0);
    let proven = run(&["receipts", "prove", "3", "--out", "proof", "--data-dir", "d", "--json"]).is(0).json();
    assert_eq!(proven["files"], json!(["./proof/3.receipt.json", "./proof/keys.json", "./proof/3.tlog-proof"]));
    let root = run(&["keys", "export", "--root", "--data-dir", "d"]).is(0).stdout;
    let verdict = run(&["verify", "proof/3.tlog-proof", "--root", root.trim_end(), "--json"]).is(0).json();
    assert_eq!((&verdict["ok"], &verdict["stats"]["receipts"]), (&json!(true), &json!(1)));
    std::fs::copy(dir.path().join("proof/keys.json"), dir.path().join("keys.json")).unwrap();
    std::fs::copy(dir.path().join("proof/3.tlog-proof"), dir.path().join("4.tlog-proof")).unwrap();
    let bad = run(&["verify", "4.tlog-proof", "--json"]).is(1).json();
    assert_eq!(bad["findings"][0]["code"], "E101");
    let event = run(&["receipts", "prove", "3", "--event", "0", "--data-dir", "d"]).is(2);
    assert!(event.stderr.contains("T012"), "{event:?}");

    std::fs::write(dir.path().join("policy"), "quorum none\n").unwrap();
    run(&["verify", "d", "--witness-policy", "policy"]).is(0);
    std::fs::write(dir.path().join("policy"), "quorum w\n").unwrap();
    let refused = run(&["verify", "d", "--witness-policy", "policy"]).is(2);
    assert!(refused.stderr.contains("line 1"), "{refused:?}");

    let tiles = run(&["receipts", "tiles", "--out", "tiles", "--data-dir", "d", "--json"]).is(0).json();
    assert_eq!(tiles["size"], 8);
    for file in ["checkpoint", "tile/0/000.p/8", "tile/entries/000.p/8"] {
        assert!(dir.path().join("tiles").join(file).is_file(), "{file}");
    }
}
