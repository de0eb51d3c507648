//! What docs/schemalock.md shows is what happens: its commands are run, its policies are loaded.

use std::path::Path;
use std::process::Command;

use crate::{clyra, temp};

/// The blocks of a page in one language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let opening = format!("\n```{language}\n");
    page.split(&opening).skip(1).map(|rest| rest.split_once("\n```").unwrap().0).collect()
}

/// What a shell says to `command`, on both outputs.
fn shell(dir: &Path, command: &str) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_clyra")).parent().unwrap();
    let path = std::env::join_paths(
        [program.to_owned()].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let script = format!("exec 2>&1\n{command}");
    let output = Command::new("sh").args(["-c", &script]).current_dir(dir).env("PATH", path.unwrap()).output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

#[test]
fn the_page_on_schemalock_is_right() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schemalock.md");
    let page = std::fs::read_to_string(page).unwrap();
    let dir = temp();
    std::fs::write(dir.path().join("invoice.json"), blocks(&page, "json")[0]).unwrap();
    let policies = blocks(&page, "yaml");
    for policy in &policies {
        std::fs::write(dir.path().join("policy.yaml"), policy).unwrap();
        clyra(dir.path(), &["policy", "lint", "policy.yaml"], b"").is(0);
    }
    let commands: Vec<&str> = blocks(&page, "console")
        .into_iter()
        .flat_map(|block| block.strip_prefix("$ ").unwrap().split("\n$ "))
        .collect();
    for command in &commands {
        let (command, expected) = command.split_once('\n').unwrap();
        assert_eq!(shell(dir.path(), command).trim_end(), expected.trim_end(), "{command}");
    }
    assert!(policies.len() > 1 && commands.len() > 5, "the page has lost its examples");
}
