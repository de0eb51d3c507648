//! Help is a contract: what it says is kept as files. `UPDATE_GOLDEN=1` writes them anew.

use std::path::PathBuf;

use crate::{clyra, temp};

const COMMANDS: &[&[&str]] = &[
    &[],
    &["run"],
    &["quickstart"],
    &["scan"],
    &["validate"],
    &["verify"],
    &["bundle"],
    &["bundle", "seal"],
    &["bundle", "list"],
    &["bundle", "export"],
    &["bundle", "inspect"],
    &["anchor"],
    &["anchor", "list"],
    &["anchor", "run"],
    &["anchor", "upgrade"],
    &["anchor", "export"],
    &["bundle", "attach"],
    &["bundle", "custody"],
    &["bundle", "custody", "add"],
    &["bundle", "custody", "show"],
    &["bundle", "redact"],
    &["receipts"],
    &["receipts", "tail"],
    &["receipts", "grep"],
    &["receipts", "show"],
    &["receipts", "prove"],
    &["receipts", "tiles"],
    &["lineage"],
    &["receipts", "hold"],
    &["receipts", "hold", "add"],
    &["receipts", "hold", "list"],
    &["receipts", "hold", "remove"],
    &["receipts", "prune"],
    &["keys"],
    &["keys", "init"],
    &["keys", "list"],
    &["keys", "export"],
    &["keys", "rotate"],
    &["keys", "revoke"],
    &["witness"],
    &["policy"],
    &["policy", "lint"],
    &["policy", "hash"],
    &["coverage"],
];

fn help(command: &[&str]) -> String {
    let ran = clyra(temp().path(), &[command, &["--help"]].concat(), b"").is(0);
    assert_eq!(ran.stderr, "");
    ran.stdout
}

#[test]
fn help_is_as_recorded() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    for command in COMMANDS {
        let name = if command.is_empty() { "clyra".to_owned() } else { command.join("-") };
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/cli/{name}.txt"));
        let help = help(command);
        if update {
            std::fs::write(&path, &help).unwrap();
        }
        let recorded = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(help, recorded, "help of `clyra {}`; if it is meant, run with UPDATE_GOLDEN=1", command.join(" "));
    }
}

#[test]
fn every_command_has_an_example() {
    for command in COMMANDS.iter().filter(|command| !command.is_empty()) {
        let help = help(command);
        let example = format!("Example: clyra {}", command.join(" "));
        // Scan's example begins with what feeds it.
        let scan = format!("| clyra {}", command.join(" "));
        assert!(help.contains(&example) || help.contains(&scan), "{help}");
    }
}

#[test]
fn what_this_version_does_not_do_is_absent() {
    let dir = temp();
    for args in [
        &["policy", "test"][..],
        &["policy", "explain"],
        &["policy", "diff"],
        &["replay"],
        &["attest"],
        &["doctor"],
        &["inject"],
    ] {
        let ran = clyra(dir.path(), args, b"").is(2);
        assert!(ran.stdout.is_empty() && ran.stderr.starts_with("error: "), "{ran:?}");
    }
}
