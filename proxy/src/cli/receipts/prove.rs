//! `clyra receipts prove`: proofs for somebody else.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clyra_receipts::tlog;
use serde_json::json;

use super::super::exit::{Exit, Outcome};
use super::super::print::{self, DataDir};

/// Write the proof that a receipt is in the log, or that one event of a streamed answer was released.
///
/// A proof of a receipt is three files: SEQ.tlog-proof, the receipt SEQ.receipt.json, and the log's public keys keys.json.
/// A proof of an event is one: SEQ-EVENT.event-proof. Both are checked offline with `clyra verify`, and are good for ever.
///
/// Example: clyra receipts prove 1842 --event 3 --out proof --data-dir /var/lib/clyra
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Sequence number of the receipt; with --event that of the outcome
    #[arg(value_name = "SEQ")]
    seq: u64,
    /// Prove that this event of the stream was released; the first is 0
    #[arg(long, value_name = "N")]
    event: Option<u64>,
    /// Directory to write to
    #[arg(long, value_name = "DIR", default_value = ".", value_parser = print::target())]
    out: PathBuf,
    #[command(flatten)]
    data_dir: DataDir,
    /// Print a JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let data_dir = &args.data_dir.path;
    let files = match args.event {
        None => {
            let proven = tlog::prove(data_dir, args.seq).map_err(Exit::usage)?;
            vec![
                (format!("{}.receipt.json", args.seq), proven.receipt),
                ("keys.json".to_owned(), proven.keys),
                (format!("{}.tlog-proof", args.seq), proven.proof.into_bytes()),
            ]
        }
        Some(event) => {
            let proof = tlog::prove_event(data_dir, args.seq, event).map_err(Exit::usage)?;
            vec![(format!("{}-{event}.event-proof", args.seq), proof)]
        }
    };
    let written = files.iter().map(|(name, bytes)| write(&args.out, name, bytes)).collect::<Result<Vec<_>, _>>()?;
    let paths: Vec<String> = written.iter().map(|path| path.display().to_string()).collect();
    print::result(|out| match args.json {
        true => writeln!(out, "{}", json!({"seq": args.seq, "event": args.event, "files": paths})),
        false => paths.iter().try_for_each(|path| writeln!(out, "{path}")),
    })?;
    let proof = paths.last().map_or("", String::as_str);
    print::hint(format_args!("Checked by whoever gets it: clyra verify {proof} --root KEY"));
    Ok(ExitCode::SUCCESS)
}

fn write(directory: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf, Exit> {
    let path = directory.join(name);
    let fault = |error: std::io::Error| Exit::usage(format!("cannot write {}: {error}", path.display()));
    std::fs::create_dir_all(directory).map_err(fault)?;
    std::fs::write(&path, bytes).map_err(fault)?;
    Ok(path)
}
