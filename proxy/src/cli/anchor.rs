//! `clyra anchor`: checkpoints tied to what the log's owner does not hold.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clyra_receipts::anchor::{ANCHORS_DIRECTORY, AnchorFiles, AnchorKind, AnchorRecord, AnchorState, OpReturnProof};
use clyra_receipts::{Log, Receipts};
use serde_json::{Value, json};

use super::exit::{Exit, Outcome, bad};
use super::offline;
use super::print::{self, DataDir, plain};
use crate::anchor::task::AnchorTaskError;
use crate::anchor::{Anchoring, Ran};
use crate::config::{Overrides, Settings};
use crate::exchange::ledger::Ledger;
use crate::keys::Access;
use crate::telemetry::Metrics;

/// Tie checkpoints to what the log's owner does not hold: stores, time-stamp authorities, Bitcoin.
///
/// A running sidecar anchors by itself, as `evidence.anchors` in clyra.yaml says (docs/anchors.md).
///
/// Example: clyra anchor list --data-dir /var/lib/clyra
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(ListArgs),
    Run(TaskArgs),
    Upgrade(UpgradeArgs),
    Export(ExportArgs),
}

/// List the anchors on record, in their order.
///
/// Of Bitcoin transactions it says whether each spends the one before: then the log's history cannot be told in two ways
/// without a double spend. Nothing is checked: that is what `clyra verify` is for.
///
/// Example: clyra anchor list --data-dir /var/lib/clyra --json
#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    data_dir: DataDir,
    /// Print JSON Lines
    #[arg(long)]
    json: bool,
}

/// Anchor the newest checkpoint now, with every anchor of the settings, while no sidecar runs on the data directory.
///
/// Status 1 when one of them failed.
///
/// Example: clyra anchor run --config /etc/clyra/clyra.yaml --data-dir /var/lib/clyra
#[derive(Debug, clap::Args)]
struct TaskArgs {
    /// Settings file that names the anchors
    #[arg(long, env = "CLYRA_CONFIG", value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    data_dir: DataDir,
    /// Print JSON Lines
    #[arg(long)]
    json: bool,
}

/// Ask for the end of what was begun: OpenTimestamps promises, and Bitcoin proofs in the spool.
///
/// For when no sidecar runs on the data directory; a running one asks by itself. Status 1 when one of them failed.
///
/// Example: clyra anchor upgrade --config /etc/clyra/clyra.yaml --data-dir /var/lib/clyra
#[derive(Debug, clap::Args)]
struct UpgradeArgs {
    #[command(flatten)]
    task: TaskArgs,
}

/// Copy the proofs and notes under names that other tools understand, and print the commands that check them.
///
/// Example: clyra anchor export --out ./anchors --data-dir /var/lib/clyra
#[derive(Debug, clap::Args)]
struct ExportArgs {
    /// Directory to copy to
    #[arg(long, value_name = "DIR", value_parser = print::target())]
    out: PathBuf,
    /// Only the anchor with this sequence number
    #[arg(value_name = "SEQ")]
    seq: Option<u64>,
    #[command(flatten)]
    data_dir: DataDir,
}

pub(super) fn run(args: &Args) -> Outcome {
    match &args.command {
        Command::List(args) => list(args),
        Command::Run(args) => task(args, false),
        Command::Upgrade(args) => task(&args.task, true),
        Command::Export(args) => export(args),
    }
}

/// An `anchor` receipt.
struct Recorded {
    seq: u64,
    ts: String,
    record: AnchorRecord,
}

/// The anchors on record.
fn recorded(data_dir: &Path) -> Result<Vec<Recorded>, Exit> {
    let mut receipts = Receipts::open_first(data_dir).map_err(Exit::usage)?;
    let mut out = Vec::new();
    while let Some(receipt) = receipts.read_next().map_err(Exit::usage)? {
        let member = |name: &str| receipt.value().get(name);
        let text = |name: &str| member(name).and_then(clyra_receipts::canonical::Value::as_str).unwrap_or_default();
        if text("kind") != "anchor" {
            continue;
        }
        let event = member("event").map(clyra_receipts::canonical::to_vec).unwrap_or_default();
        if let Ok(record) = serde_json::from_slice(&event) {
            out.push(Recorded { seq: receipt.seq(), ts: text("ts").to_owned(), record });
        }
    }
    Ok(out)
}

fn state(state: AnchorState) -> &'static str {
    match state {
        AnchorState::Confirmed => "confirmed",
        AnchorState::Pending => "pending",
    }
}

fn list(args: &ListArgs) -> Outcome {
    let anchors = recorded(&args.data_dir.path)?;
    let chained = spends(&args.data_dir.path, &anchors);
    print::result(|out| {
        if !args.json {
            writeln!(out, "{:>10} {:>10}  {:<15} {:<9}  {:<27}  WHERE", "RECEIPT", "SIZE", "KIND", "STATE", "ATTESTS")?;
        }
        for Recorded { seq, ts, record } in &anchors {
            let spends = chained.get(seq);
            if args.json {
                let value = json!({
                    "seq": seq, "ts": ts, "kind": record.kind.name(), "state": state(record.state), "size": record.size,
                    "root": record.root, "sha256": record.sha256, "proof": record.proof, "at": record.at,
                    "ref": record.reference, "spends_anchor_before": spends,
                });
                writeln!(out, "{value}")?;
                continue;
            }
            let chain = match spends {
                Some(true) => ", spends the anchor before",
                Some(false) => ", DOES NOT SPEND the anchor before",
                None => "",
            };
            writeln!(
                out,
                "{seq:>10} {:>10}  {:<15} {:<9}  {:<27}  {}{chain}",
                record.size,
                record.kind.name(),
                state(record.state),
                plain(record.at.as_deref().unwrap_or("-")),
                plain(record.reference.as_deref().unwrap_or("-"))
            )?;
        }
        Ok(())
    })?;
    if anchors.is_empty() {
        print::hint(
            "No checkpoint was anchored; `evidence.anchors` in clyra.yaml says where they are to be (docs/anchors.md).",
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// For each `op_return` anchor but the first: whether its transaction spends that of the one before.
fn spends(data_dir: &Path, anchors: &[Recorded]) -> BTreeMap<u64, bool> {
    let mut out = BTreeMap::new();
    let Ok(files) = AnchorFiles::open(data_dir) else { return out };
    let mut before = None;
    for anchor in anchors.iter().filter(|anchor| anchor.record.kind == AnchorKind::OpReturn) {
        let proof = files.proof(AnchorKind::OpReturn, &anchor.record.proof).ok();
        let transaction = proof.and_then(|bytes| OpReturnProof::from_bytes(&bytes)?.transaction());
        if let Some(before) = before {
            out.insert(anchor.seq, transaction.as_ref().is_some_and(|this| this.spends.contains(&before)));
        }
        before = transaction.map(|transaction| transaction.hash).or(before);
    }
    out
}

fn task(args: &TaskArgs, finish: bool) -> Outcome {
    let settings = Settings::load(Overrides {
        config: Some(args.config.clone()),
        data_dir: Some(args.data_dir.path.clone()),
        ..Overrides::default()
    })
    .map_err(Exit::usage)?;
    if settings.anchors.is_empty() {
        return Err(Exit::usage(format!(
            "{} names no anchors; list them under evidence.anchors (docs/anchors.md)",
            args.config.display()
        )));
    }
    if !settings.data_dir.join("journal").is_dir() {
        return Err(Exit::usage(format!("there is no journal in {}", settings.data_dir.display())));
    }
    super::serve::log_to_stderr();
    let runtime = super::serve::runtime()?;
    let results = runtime.block_on(try_all(&settings, finish))?;
    let failed = results.iter().any(|(_, result)| result.is_err());
    print::result(|out| {
        for (name, result) in &results {
            match args.json {
                true => writeln!(out, "{}", ran_json(name, result))?,
                false => writeln!(out, "{name}: {}", ran_words(result))?,
            }
        }
        Ok(())
    })?;
    if results.is_empty() {
        print::hint("Nothing that was begun has come to its end.");
    }
    Ok(if failed { bad() } else { ExitCode::SUCCESS })
}

type Results = Vec<(String, Result<Ran, AnchorTaskError>)>;

async fn try_all(settings: &Settings, finish: bool) -> Result<Results, Exit> {
    let access = Arc::new(Access::new(settings.key_files.clone()));
    let options = offline::options(&settings.data_dir, &settings.origin, access);
    let (log, _) = Log::open(options)
        .map_err(|error| Exit::usage(format!("cannot open the journal in {}: {error}", settings.data_dir.display())))?;
    let metrics = Arc::new(Metrics::new("", ""));
    let ledger = Ledger::new(log.clone(), Arc::clone(&metrics));
    let ca_file = settings.ca_file.as_deref();
    let anchoring =
        Anchoring::new(&settings.anchors, ca_file, &settings.data_dir, &ledger, &metrics).map_err(Exit::usage)?;
    let results = if finish { anchoring.finish().await } else { anchoring.once().await };
    let closed = tokio::task::spawn_blocking(move || log.shutdown()).await.map_err(Exit::internal)?;
    closed.map_err(|error| Exit::internal(format!("the journal was not closed in good order: {error}")))?;
    Ok(results)
}

fn ran_words(result: &Result<Ran, AnchorTaskError>) -> String {
    match result {
        Ok(Ran::NothingNew) => "the newest checkpoint is anchored already, or there is none".to_owned(),
        Ok(Ran::Begun { size }) => format!("begun for the checkpoint of size {size}"),
        Ok(Ran::Recorded { size, state: how, reference }) => {
            let place = reference.as_deref().map(|place| format!(", {}", plain(place))).unwrap_or_default();
            format!("the checkpoint of size {size} is anchored ({}){place}", state(*how))
        }
        Err(error) => format!("failed: {error}"),
    }
}

fn ran_json(name: &str, result: &Result<Ran, AnchorTaskError>) -> Value {
    match result {
        Ok(Ran::NothingNew) => json!({"anchor": name, "result": "nothing_new"}),
        Ok(Ran::Begun { size }) => json!({"anchor": name, "result": "begun", "size": size}),
        Ok(Ran::Recorded { size, state: how, reference }) => {
            json!({"anchor": name, "result": state(*how), "size": size, "ref": reference})
        }
        Err(error) => json!({"anchor": name, "result": "failed", "error": error.to_string()}),
    }
}

fn export(args: &ExportArgs) -> Outcome {
    let data_dir = &args.data_dir.path;
    let mut anchors = recorded(data_dir)?;
    anchors.retain(|anchor| args.seq.is_none_or(|seq| seq == anchor.seq));
    if anchors.is_empty() {
        return Err(Exit::usage(match args.seq {
            Some(seq) => format!("receipt {seq} is not there or is no anchor; `clyra anchor list` shows them"),
            None => "no checkpoint was anchored".to_owned(),
        }));
    }
    let unreadable = |error: std::io::Error| {
        Exit::usage(format!("cannot read {}: {error}", data_dir.join(ANCHORS_DIRECTORY).display()))
    };
    let files = AnchorFiles::open(data_dir).map_err(unreadable)?;
    let unwritable = |error: std::io::Error| Exit::usage(format!("cannot write to {}: {error}", args.out.display()));
    std::fs::create_dir_all(&args.out).map_err(unwritable)?;
    let mut commands = Vec::new();
    for Recorded { seq, record, .. } in &anchors {
        let note = files.note(&record.sha256).map_err(unreadable)?;
        let proof = files.proof(record.kind, &record.proof).map_err(unreadable)?;
        // The note first, the proof beside it under its name and one ending more, as `ots` wants it.
        let note_name = format!("{}-{}.note", record.size, short(&record.sha256));
        let proof_name = format!("{note_name}.{seq}.{}", record.kind.ending());
        let proof_name =
            if record.kind == AnchorKind::OpenTimestamps { format!("{note_name}.{seq}.ots") } else { proof_name };
        std::fs::write(args.out.join(&note_name), note).map_err(unwritable)?;
        std::fs::write(args.out.join(&proof_name), proof).map_err(unwritable)?;
        let (note, proof) = (args.out.join(&note_name), args.out.join(&proof_name));
        commands.push(command(record, &note.display().to_string(), &proof.display().to_string()));
    }
    print::result(|out| commands.iter().try_for_each(|command| writeln!(out, "{command}")))?;
    Ok(ExitCode::SUCCESS)
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// What checks a proof, or shows where to look.
fn command(record: &AnchorRecord, note: &str, proof: &str) -> String {
    match record.kind {
        AnchorKind::Rfc3161 => format!("openssl ts -verify -in '{proof}' -data '{note}' -CAfile TSA-ROOT.pem"),
        AnchorKind::OpenTimestamps => format!("ots verify -f '{note}' '{proof}'"),
        AnchorKind::OpReturn | AnchorKind::Directory | AnchorKind::Object | AnchorKind::Witness => {
            let place = record.reference.as_deref().map(plain).unwrap_or_default();
            format!("# {}: {place}; compare with '{note}' (proof: '{proof}')", record.kind.name())
        }
    }
}
