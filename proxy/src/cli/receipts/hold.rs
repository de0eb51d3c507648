//! `clyra receipts hold`: legal holds.

use std::process::ExitCode;

use clyra_receipts::retention::{Hold, RetentionError, holds, lift_hold, place_hold};
use serde_json::{Value, json};

use super::super::exit::{Exit, Outcome};
use super::super::print::{self, DataDir, plain};

/// Keep receipts from being removed, however old they become.
///
/// A hold counts from the next removal on, also for a running sidecar.
///
/// Example: clyra receipts hold list --data-dir /var/lib/clyra
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Add(AddArgs),
    List(ListArgs),
    Remove(RemoveArgs),
}

/// Place a hold on receipts.
///
/// Example: clyra receipts hold add case-7 --from 0 --reason "order of the court, 2026-11-21" --data-dir /var/lib/clyra
#[derive(Debug, clap::Args)]
struct AddArgs {
    /// Name of the hold: letters, digits, `-`, `_` and `.`
    #[arg(value_name = "ID")]
    id: String,
    /// First sequence number
    #[arg(long, value_name = "SEQ")]
    from: u64,
    /// Number after the last; without it, all that come are held too
    #[arg(long, value_name = "SEQ")]
    to: Option<u64>,
    /// Why, in a sentence
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    data_dir: DataDir,
    /// Print a JSON document
    #[arg(long)]
    json: bool,
}

/// List the holds.
///
/// Example: clyra receipts hold list --data-dir /var/lib/clyra --json
#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    data_dir: DataDir,
    /// Print JSON Lines
    #[arg(long)]
    json: bool,
}

/// Take a hold away.
///
/// Example: clyra receipts hold remove case-7 --data-dir /var/lib/clyra
#[derive(Debug, clap::Args)]
struct RemoveArgs {
    /// Name of the hold
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    data_dir: DataDir,
}

pub(super) fn run(args: &Args) -> Outcome {
    match &args.command {
        Command::Add(args) => add(args),
        Command::List(args) => list(args),
        Command::Remove(args) => remove(args),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn add(args: &AddArgs) -> Result<(), Exit> {
    is_log(&args.data_dir)?;
    let hold = place_hold(&args.data_dir.path, &args.id, args.from, args.to, &args.reason).map_err(refused)?;
    show(&[hold], args.json)
}

fn list(args: &ListArgs) -> Result<(), Exit> {
    is_log(&args.data_dir)?;
    show(&holds(&args.data_dir.path).map_err(refused)?, args.json)
}

fn remove(args: &RemoveArgs) -> Result<(), Exit> {
    is_log(&args.data_dir)?;
    lift_hold(&args.data_dir.path, &args.id).map_err(refused)?;
    eprintln!("the hold {} is lifted", args.id);
    Ok(())
}

fn show(holds: &[Hold], json: bool) -> Result<(), Exit> {
    print::result(|out| {
        for hold in holds {
            if json {
                writeln!(out, "{}", document(hold))?;
            } else {
                let to = hold.to.map_or("…".to_owned(), |to| to.to_string());
                let (id, reason) = (plain(&hold.id), plain(&hold.reason));
                writeln!(out, "{id}  receipts [{}, {to})  placed {}  {reason}", hold.from, hold.placed)?;
            }
        }
        Ok(())
    })
}

fn document(hold: &Hold) -> Value {
    json!({"id": hold.id, "from": hold.from, "to": hold.to, "placed": hold.placed, "reason": hold.reason})
}

/// A hold in a directory that holds no log would be a mistake that nobody notices.
pub(super) fn is_log(data_dir: &DataDir) -> Result<(), Exit> {
    if data_dir.path.join("journal").is_dir() {
        return Ok(());
    }
    let path = data_dir.path.display();
    Err(Exit::usage(format!("there is no journal in {path}; name the sidecar's data directory with --data-dir")))
}

pub(super) fn refused(error: RetentionError) -> Exit {
    Exit::usage(error)
}
