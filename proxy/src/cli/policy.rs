//! `clyra policy`: checks and identifies a policy before it is put in force.

mod lint;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clyra_policy::Policy;

use super::exit::{Exit, Outcome};
use super::print;

/// Check a policy, or print its hash.
///
/// Example: clyra policy lint policy.yaml
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Lint(lint::Args),
    Hash(HashArgs),
}

/// Print the policy's hash: the one that a sidecar under this policy shows, and that every receipt names.
///
/// Two files of the same meaning have the same hash, whatever their spacing, comments and order of keys. The versions of
/// the detectors are part of it, so that it changes when an upgrade could change a decision.
///
/// Example: clyra policy hash policy.yaml
#[derive(Debug, clap::Args)]
struct HashArgs {
    /// The policy
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print a JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    match &args.command {
        Command::Lint(args) => lint::run(args),
        Command::Hash(args) => hash(args),
    }
}

fn hash(args: &HashArgs) -> Outcome {
    let (policy, _) = super::serve::policy_and_engine(Some(&args.file))?;
    print::result(|out| match args.json {
        true => writeln!(out, "{}", serde_json::json!({"file": args.file.to_string_lossy(), "hash": policy.hash()})),
        false => writeln!(out, "{}", policy.hash()),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Loads a policy for use. The error lists everything that is wrong with it, each at its place.
pub(super) fn load_policy(path: &Path) -> Result<Policy, Exit> {
    Policy::load(path).map_err(|error| {
        let count = print::count(error.diagnostics().len() as u64, "problem");
        Exit::usage(format!("the policy cannot be used ({count}):\n{error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_cannot_be_used_says_everything_at_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.yaml");
        std::fs::write(&path, "version: 1\nmode: enfoce\nrulez: []\n").unwrap();
        let error = load_policy(&path).unwrap_err();
        assert_eq!(error.status, 2);
        let message = error.message;
        assert!(message.contains("2 problems"), "{message}");
        assert!(message.contains(&format!("{}:2:7: ", path.display())), "{message}");
        assert!(message.contains(":3:1: "), "{message}");
        assert_eq!(load_policy(&dir.path().join("none.yaml")).unwrap_err().status, 2);
    }
}
