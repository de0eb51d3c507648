//! `clyra receipts prune`: what the retention would remove.

use std::process::ExitCode;
use std::time::Duration;

use clyra_receipts::retention::{Cover, Plan, PlannedSegment, Retention, plan};
use serde_json::{Value, json};

use super::super::exit::{Exit, Outcome};
use super::super::print::{self, DataDir};
use super::hold::{is_log, refused};

/// Show which segments of the journal a retention would remove, and what keeps the others.
///
/// The removal itself is done by the sidecar, with `evidence.retention_days` in clyra.yaml: it is put on record by the log.
///
/// Example: clyra receipts prune --dry-run --retention-days 365 --data-dir /var/lib/clyra
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only show; required, because nothing but the sidecar removes receipts
    #[arg(long, required = true)]
    dry_run: bool,
    /// Days that receipts are kept
    #[arg(long, value_name = "DAYS")]
    retention_days: u64,
    /// What must cover receipts before they may go
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = Requires::Anchor)]
    requires: Requires,
    #[command(flatten)]
    data_dir: DataDir,
    /// Print JSON Lines, a segment each
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Requires {
    /// A confirmed anchor
    Anchor,
    /// A published checkpoint
    Checkpoint,
}

pub(super) fn run(args: &Args) -> Outcome {
    is_log(&args.data_dir)?;
    let retention = Retention {
        keep: Duration::from_secs(args.retention_days.saturating_mul(86_400)),
        requires: match args.requires {
            Requires::Anchor => Cover::Anchor,
            Requires::Checkpoint => Cover::Checkpoint,
        },
    };
    let plan = plan(&args.data_dir.path, &retention).map_err(refused)?;
    show(&plan, args.json)?;
    Ok(ExitCode::SUCCESS)
}

fn show(plan: &Plan, json: bool) -> Result<(), Exit> {
    print::result(|out| {
        for segment in &plan.segments {
            let keep = segment.keep.as_ref().map(ToString::to_string);
            if json {
                writeln!(out, "{}", document(segment, keep.as_deref()))?;
                continue;
            }
            let what = keep.map_or("would be removed".to_owned(), |why| format!("stays: {why}"));
            let PlannedSegment { name, from, to, bytes, .. } = segment;
            writeln!(out, "{name}  receipts [{from}, {to})  {bytes} bytes  {what}")?;
        }
        Ok(())
    })?;
    let removable = plan.removable();
    let bytes: u64 = removable.iter().map(|segment| segment.bytes).sum();
    eprintln!("{} of {} segments would be removed: {bytes} bytes", removable.len(), plan.segments.len());
    Ok(())
}

fn document(segment: &PlannedSegment, keep: Option<&str>) -> Value {
    json!({
        "segment": segment.name,
        "from": segment.from,
        "to": segment.to,
        "bytes": segment.bytes,
        "ended": segment.ended,
        "remove": segment.keep.is_none(),
        "keep": keep,
    })
}
