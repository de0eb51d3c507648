//! `clyra receipts show`: one receipt in full.

use std::process::ExitCode;

use clyra_receipts::Receipts;
use serde_json::json;

use super::super::exit::{Exit, Outcome};
use super::super::print::{self, DataDir, plain};

/// Show one receipt in full, with its leaf hash and the token that the client got.
///
/// Nothing is checked: that is what `clyra verify` is for, and `clyra receipts prove` for somebody else.
///
/// Example: clyra receipts show 1842 --data-dir /var/lib/clyra
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Sequence number
    #[arg(value_name = "SEQ")]
    seq: u64,
    #[command(flatten)]
    data_dir: DataDir,
    /// Print a JSON document: the receipt, its envelope, leaf hash and token
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let receipt = Receipts::read(&args.data_dir.path, args.seq).map_err(Exit::usage)?;
    let leaf: String = receipt.leaf().iter().map(|byte| format!("{byte:02x}")).collect();
    let token = receipt.token().to_string();
    print::result(|out| {
        if args.json {
            let envelope: serde_json::Value = serde_json::from_slice(&receipt.envelope())?;
            let document = json!({"receipt": receipt.value(), "envelope": envelope, "leaf": leaf, "token": token});
            return writeln!(out, "{document}");
        }
        for line in serde_json::to_string_pretty(receipt.value())?.lines() {
            writeln!(out, "{}", plain(line))?;
        }
        writeln!(out, "leaf   {leaf}")?;
        writeln!(out, "token  {}", plain(&token))
    })?;
    Ok(ExitCode::SUCCESS)
}
