//! The command line as its users meet it: what the built program prints, and the status it ends with.

#![allow(clippy::unwrap_used, clippy::panic, clippy::string_slice, reason = "a test fails by panicking")]

mod docs;
mod evidence;
mod help;
mod keys;
mod lineage;
mod policy;
mod receipts;
mod retention;
mod scan;
mod thirdparty;
mod validate;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// What one run of the program gave.
#[derive(Debug)]
struct Ran {
    status: i32,
    stdout: String,
    stderr: String,
}

impl Ran {
    /// The result as one JSON document.
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The result as JSON Lines.
    fn json_lines(&self) -> Vec<serde_json::Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[track_caller]
    fn is(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{self:#?}");
        self
    }
}

/// Runs the program in `dir` with `input` on stdin.
fn clyra(dir: &Path, args: &[&str], input: &[u8]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clyra"));
    command.args(args).current_dir(dir).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        // Settings of whoever runs the tests are not part of them; the width of help is.
        if name.to_string_lossy().starts_with("CLYRA_") || name == "COLUMNS" {
            command.env_remove(name);
        }
    }
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feed = std::thread::spawn(move || {
        // A command that has seen enough does not read to the end.
        let _ = stdin.write_all(&input);
    });
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    feed.join().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { status: status.code().unwrap(), stdout: text(stdout), stderr: text(stderr) }
}

fn temp() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}
