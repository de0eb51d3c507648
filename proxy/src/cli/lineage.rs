//! `clyra lineage`: how the exchanges around an agent run hang together.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clyra_receipts::Receipts;
use clyra_receipts::lineage::{GraphError, GraphLimits, Index, openlineage};

use super::exit::{Exit, Outcome};
use super::print::{self, DataDir};

/// Show the lineage of an agent run: its exchanges, the runs that started it or that it started, and which answer's tool
/// calls each request brings the results of.
///
/// A run is named by the header x-clyra-run-id (or the trace id of traceparent), the one that started it by
/// x-clyra-parent-run-id. Everything is read from receipts, in the order of their numbers: the same log gives the same
/// bytes.
///
/// Example: clyra lineage nightly-42 --format mermaid --data-dir /var/lib/clyra
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Id of the run
    #[arg(value_name = "RUN")]
    run: String,
    /// Runs that are further away than this many steps are left out; 0 shows the run alone
    #[arg(long, value_name = "STEPS", default_value_t = GraphLimits::default().depth)]
    depth: usize,
    /// `json` (canonical), `mermaid`, `dot` (Graphviz), or `openlineage` (run events, one a line)
    #[arg(long, value_name = "FORMAT", default_value = "json")]
    format: Format,
    /// Read from this receipt on
    #[arg(long, value_name = "SEQ")]
    from: Option<u64>,
    /// Read up to, and not including, this receipt
    #[arg(long, value_name = "SEQ")]
    to: Option<u64>,
    #[command(flatten)]
    data_dir: DataDir,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Json,
    Mermaid,
    Dot,
    Openlineage,
}

pub(super) fn run(args: &Args) -> Outcome {
    let data_dir = &args.data_dir.path;
    let mut index = Index::default();
    let mut receipts = open(args)?;
    while let Some(receipt) = receipts.read_next().map_err(Exit::usage)? {
        if args.to.is_some_and(|to| receipt.seq() >= to) {
            break;
        }
        index.receipt(receipt.value()).map_err(Exit::usage)?;
    }
    let limits = GraphLimits { depth: args.depth, ..GraphLimits::default() };
    let graph = index.graph(&args.run, limits).map_err(|error| match error {
        GraphError::Unknown(_) => Exit::usage(format!("{error} (looked in {})", data_dir.display())),
        error => Exit::usage(error),
    })?;
    if graph.truncated {
        print::hint(format_args!(
            "Not everything is shown: {} runs and {} exchanges within {} steps; --depth shows more.",
            graph.runs.len(),
            graph.exchanges.len(),
            args.depth
        ));
    }
    match args.format {
        Format::Json => print::result(|out| {
            out.write_all(&graph.to_json())?;
            writeln!(out)
        }),
        Format::Mermaid => print::result(|out| out.write_all(graph.to_mermaid().as_bytes())),
        Format::Dot => print::result(|out| out.write_all(graph.to_dot().as_bytes())),
        Format::Openlineage => {
            let exchanges = graph.exchanges.iter().flat_map(|exchange| [Some(exchange.attempt), exchange.outcome]);
            events(data_dir, &exchanges.flatten().collect())
        }
    }?;
    Ok(ExitCode::SUCCESS)
}

/// Run events of these receipts, in one pass over the log from the first of them to the last.
fn events(data_dir: &Path, wanted: &BTreeSet<u64>) -> Result<(), Exit> {
    let mut out = print::stdout();
    if let (Some(first), Some(last)) = (wanted.first(), wanted.last()) {
        let mut receipts = Receipts::open(data_dir, *first).map_err(Exit::usage)?;
        loop {
            let receipt = receipts.read_next().map_err(Exit::usage)?;
            let receipt = receipt.ok_or_else(|| Exit::usage(format!("receipt {last} is no longer there")))?;
            let event =
                wanted.contains(&receipt.seq()).then(|| openlineage::run_event(receipt.value(), &receipt.leaf()));
            if let Some(event) = event.flatten() {
                let mut line = clyra_receipts::canonical::to_vec(&event);
                line.push(b'\n');
                print::written(out.write_all(&line))?;
            }
            if receipt.seq() >= *last {
                break;
            }
        }
    }
    print::written(out.flush())
}

fn open(args: &Args) -> Result<Receipts, Exit> {
    let data_dir: &PathBuf = &args.data_dir.path;
    match args.from {
        Some(from) => Receipts::open(data_dir, from),
        None => Receipts::open_first(data_dir),
    }
    .map_err(Exit::usage)
}
