//! The command line. Results go to stdout, everything meant for people to stderr.
//!
//! Exit status: 0 all well; 1 the thing checked is bad; 2 usage, configuration or input that cannot be read; 3 internal
//! error.

mod anchor;
mod bundle;
mod coverage;
mod exit;
mod key_files;
mod keys;
mod lineage;
mod lines;
mod offline;
mod policy;
mod print;
mod quickstart;
mod receipts;
mod run;
mod scan;
pub mod serve;
mod validate;
mod verify;
mod witness;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use exit::Exit;

/// Inline firewall sidecar for LLM traffic: inspects, enforces policy.yaml, and leaves evidence that anybody can verify.
#[derive(Debug, Parser)]
#[command(name = "clyra", version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Quickstart(quickstart::Args),
    Scan(scan::Args),
    Validate(validate::Args),
    Verify(verify::Args),
    Bundle(bundle::Args),
    Anchor(anchor::Args),
    Receipts(receipts::Args),
    Lineage(lineage::Args),
    Keys(keys::Args),
    Witness(witness::Args),
    Policy(policy::Args),
    Coverage(coverage::Args),
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are asked for, everything else is a usage error: clap's own status is 0 and 2.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let result = match cli.command {
        Command::Run(args) => run::run(args),
        Command::Quickstart(args) => quickstart::run(args),
        Command::Scan(args) => scan::run(&args),
        Command::Validate(args) => validate::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Bundle(args) => bundle::run(&args),
        Command::Anchor(args) => anchor::run(&args),
        Command::Receipts(args) => receipts::run(&args),
        Command::Lineage(args) => lineage::run(&args),
        Command::Keys(args) => keys::run(&args),
        Command::Witness(args) => witness::run(&args),
        Command::Policy(args) => policy::run(&args),
        Command::Coverage(args) => coverage::run(&args),
    };
    match result {
        Ok(code) => code,
        Err(exit) => exit.report(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
