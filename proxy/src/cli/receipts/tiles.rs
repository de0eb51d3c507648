//! `clyra receipts tiles`: the log as a static directory.

use std::path::PathBuf;
use std::process::ExitCode;

use clyra_receipts::tlog;
use serde_json::json;

use super::super::exit::{Exit, Outcome};
use super::super::print::{self, DataDir};

/// Write the whole log as a C2SP tlog-tiles directory, with its entries, for whoever serves or mirrors it.
///
/// Up to the newest checkpoint. The hash tiles alone are in `tlog/` of the data directory, always up to date.
///
/// Example: clyra receipts tiles --out /srv/log --data-dir /var/lib/clyra
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directory to write to
    #[arg(long, value_name = "DIR", value_parser = print::target())]
    out: PathBuf,
    #[command(flatten)]
    data_dir: DataDir,
    /// Print a JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let exported = tlog::export(&args.data_dir.path, &args.out).map_err(Exit::usage)?;
    let root: String = exported.root.iter().map(|byte| format!("{byte:02x}")).collect();
    print::result(|out| match args.json {
        true => writeln!(out, "{}", json!({"path": args.out.to_string_lossy(), "size": exported.size, "root": root})),
        false => writeln!(out, "{}  {} receipts, root {root}", args.out.display(), exported.size),
    })?;
    Ok(ExitCode::SUCCESS)
}
