//! `clyra receipts tail`: the newest receipts, and those to come.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clyra_receipts::{Receipts, StoredReceipt};

use super::super::exit::{Exit, Outcome};
use super::super::print::{self, DataDir};
use super::filter::Filter;
use super::line;

/// Show the newest receipts; with --follow also those to come.
///
/// Example: clyra receipts tail --follow --verdict blocked --data-dir /var/lib/clyra
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u16))]
    lines: u16,
    /// Go on as receipts are written, until interrupted
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    data_dir: DataDir,
    /// Print the receipts themselves, canonical JSON, one a line
    #[arg(long)]
    json: bool,
}

/// How often a followed log is looked at: what a person takes for at once.
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub(super) fn run(args: &Args) -> Outcome {
    let mut receipts = Receipts::open_last(&args.data_dir.path, u64::from(args.lines)).map_err(Exit::usage)?;
    let mut newest: VecDeque<StoredReceipt> = VecDeque::new();
    while let Some(receipt) = receipts.read_next().map_err(Exit::usage)? {
        if args.filter.passes(&receipt) {
            newest.push_back(receipt);
        }
        if newest.len() > usize::from(args.lines) {
            newest.pop_front();
        }
    }
    let mut out = print::stdout();
    let shown = newest.iter().try_for_each(|receipt| line::write(receipt, args.json, &mut out));
    if is_over(shown.and_then(|()| out.flush()))? || !args.follow {
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        receipts.refresh().map_err(Exit::usage)?;
        let mut any = false;
        while let Some(receipt) = receipts.read_next().map_err(Exit::usage)? {
            any = true;
            if args.filter.passes(&receipt) && is_over(line::write(&receipt, args.json, &mut out))? {
                return Ok(ExitCode::SUCCESS);
            }
        }
        if is_over(out.flush())? {
            return Ok(ExitCode::SUCCESS);
        }
        if !any {
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// True when the reader has seen enough.
pub(super) fn is_over(result: io::Result<()>) -> Result<bool, Exit> {
    let over = result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
    print::written(result).map(|()| over)
}
