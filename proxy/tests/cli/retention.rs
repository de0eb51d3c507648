//! `clyra receipts hold` and `clyra receipts prune --dry-run`.

use serde_json::json;

use crate::evidence::data_dir;
use crate::{clyra, temp};

#[test]
fn a_hold_is_placed_listed_and_lifted() {
    let dir = data_dir();
    let hold = |args: &[&str]| clyra(dir.path(), &[&["receipts", "hold"], args, &["--data-dir", "d"]].concat(), b"");
    assert_eq!(hold(&["list"]).is(0).stdout, "");
    let placed = hold(&["add", "case-7", "--from", "2", "--reason", "order of the court", "--json"]).is(0).json();
    assert_eq!((&placed["id"], &placed["from"], &placed["to"]), (&json!("case-7"), &json!(2), &json!(null)));
    assert!(hold(&["add", "case-7", "--from", "2", "--reason", "again"]).is(2).stderr.contains("R004"));
    assert!(hold(&["add", "../x", "--from", "2", "--reason", "r"]).is(2).stderr.contains("R003"));
    assert!(hold(&["add", "b", "--from", "3", "--to", "3", "--reason", "r"]).is(2).stderr.contains("R006"));
    let listed = hold(&["list"]).is(0).stdout;
    assert!(listed.starts_with("case-7  receipts [2, …)") && listed.contains("order of the court"), "{listed}");
    assert!(hold(&["remove", "case-7"]).is(0).stdout.is_empty());
    assert!(hold(&["remove", "case-7"]).is(2).stderr.contains("R005"));
    let elsewhere = clyra(temp().path(), &["receipts", "hold", "list", "--data-dir", "d"], b"").is(2);
    assert!(elsewhere.stderr.contains("no journal"), "{elsewhere:?}");
}

#[test]
fn what_would_be_removed_is_only_shown() {
    let dir = data_dir();
    let prune = |args: &[&str]| clyra(dir.path(), &[&["receipts", "prune"], args, &["--data-dir", "d"]].concat(), b"");
    assert!(prune(&["--retention-days", "0"]).is(2).stderr.contains("--dry-run"));
    let shown = prune(&["--dry-run", "--retention-days", "0"]).is(0);
    assert!(shown.stdout.contains("stays: the log is written to it"), "{shown:?}");
    assert!(shown.stderr.contains("0 of 1 segments would be removed"), "{shown:?}");
    let segment = &prune(&["--dry-run", "--retention-days", "0", "--json"]).is(0).json_lines()[0];
    assert_eq!((&segment["from"], &segment["remove"]), (&json!(0), &json!(false)), "{segment}");
}
