//! `clyra receipts grep`: the receipts that fit, from the whole log.

use std::io::Write as _;
use std::process::ExitCode;

use clyra_receipts::Receipts;

use super::super::exit::{Exit, Outcome};
use super::super::print::{self, DataDir};
use super::filter::Filter;
use super::line;
use super::tail::is_over;

/// Show the receipts that fit, from the first to the last that is kept.
///
/// What the journal no longer has is read from the bundles. Status 0 also when none fits.
///
/// Example: clyra receipts grep --rule no-secrets-out --since 2026-11-01 --json --data-dir /var/lib/clyra
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only receipts in whose JSON this text stands, as written
    #[arg(value_name = "TEXT")]
    text: Option<String>,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    data_dir: DataDir,
    /// Print the receipts themselves, canonical JSON, one a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let mut receipts = Receipts::open_first(&args.data_dir.path).map_err(Exit::usage)?;
    let mut out = print::stdout();
    while let Some(receipt) = receipts.read_next().map_err(Exit::usage)? {
        // A body is canonical JSON, so it is UTF-8.
        let stands = |text: &str| std::str::from_utf8(receipt.body()).is_ok_and(|body| body.contains(text));
        if args.text.as_deref().is_none_or(stands)
            && args.filter.passes(&receipt)
            && is_over(line::write(&receipt, args.json, &mut out))?
        {
            return Ok(ExitCode::SUCCESS);
        }
    }
    print::written(out.flush())?;
    Ok(ExitCode::SUCCESS)
}
