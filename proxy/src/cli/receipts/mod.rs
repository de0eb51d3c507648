//! `clyra receipts`: looks into the log. Reading needs no keys and changes nothing.

mod filter;
mod grep;
mod hold;
mod line;
mod prove;
mod prune;
mod show;
mod tail;
mod tiles;

use super::exit::Outcome;

/// Look into the receipt log, and prove what is in it.
///
/// Example: clyra receipts tail --follow --data-dir /var/lib/clyra
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Tail(tail::Args),
    Grep(grep::Args),
    Show(show::Args),
    Prove(prove::Args),
    Tiles(tiles::Args),
    Hold(hold::Args),
    Prune(prune::Args),
}

pub(super) fn run(args: &Args) -> Outcome {
    match &args.command {
        Command::Tail(args) => tail::run(args),
        Command::Grep(args) => grep::run(args),
        Command::Show(args) => show::run(args),
        Command::Prove(args) => prove::run(args),
        Command::Tiles(args) => tiles::run(args),
        Command::Hold(args) => hold::run(args),
        Command::Prune(args) => prune::run(args),
    }
}
