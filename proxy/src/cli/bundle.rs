//! `clyra bundle`: evidence sealed into files that can be handed over.

mod attach;
mod custody;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clyra_receipts::bundle::{self, Action, BundleInfo, Copied, CustodyNote, Sealed};
use serde_json::{Value, json};

use super::exit::{Exit, Outcome};
use super::key_files::KeyFileArgs;
use super::offline::Offline;
use super::print::{self, DataDir, plain};
use crate::keys::Access;

/// Seal evidence into bundles, and list, copy, look into or add to them.
///
/// Example: clyra bundle list --data-dir /var/lib/clyra
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Seal(SealArgs),
    List(ListArgs),
    Export(ExportArgs),
    Inspect(InspectArgs),
    Attach(attach::AttachArgs),
    Custody(custody::CustodyArgs),
    Redact(custody::RedactArgs),
}

/// Seal what is not in a bundle yet, while no sidecar runs on the data directory.
///
/// A running sidecar seals by itself, at its interval and when it stops.
///
/// Example: clyra bundle seal --data-dir /var/lib/clyra
#[derive(Debug, clap::Args)]
struct SealArgs {
    #[command(flatten)]
    data_dir: DataDir,
    #[command(flatten)]
    key_files: KeyFileArgs,
    /// Print JSON Lines
    #[arg(long)]
    json: bool,
}

/// List the bundles of a data directory, in the order of their receipts.
///
/// Example: clyra bundle list --data-dir /var/lib/clyra --json
#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    data_dir: DataDir,
    /// Print JSON Lines
    #[arg(long)]
    json: bool,
}

/// Copy a bundle to hand it over, and print the SHA-256 of the copy. Nothing is overwritten.
///
/// Files beside the bundle (BUNDLE.externals) are copied with it. With --actor the copy's custody log says who took it.
///
/// Example: clyra bundle export 0-1842.pef --out /media/audit --data-dir /var/lib/clyra
#[derive(Debug, clap::Args)]
struct ExportArgs {
    /// Name of a bundle in the data directory, or a path
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// File or directory to copy to
    #[arg(long, value_name = "PATH", value_parser = print::target())]
    out: PathBuf,
    /// Who takes the copy: adds an `exported` entry to its custody log
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Anything else worth knowing, for the custody log
    #[arg(long, value_name = "TEXT", requires = "actor")]
    note: Option<String>,
    #[command(flatten)]
    signer: custody::SignerArgs,
    /// Print a JSON document
    #[arg(long)]
    json: bool,
}

/// Show what a bundle says it holds. Nothing is checked: that is what `clyra verify` is for.
///
/// Example: clyra bundle inspect evidence/0-1842.pef --json
#[derive(Debug, clap::Args)]
struct InspectArgs {
    /// Name of a bundle in the data directory, or a path
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    #[command(flatten)]
    data_dir: DataDir,
    /// Print a JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    match &args.command {
        Command::Seal(args) => seal(args),
        Command::List(args) => list(args),
        Command::Export(args) => export(args),
        Command::Inspect(args) => inspect(args),
        Command::Attach(args) => attach::run(args),
        Command::Custody(args) => custody::run(args),
        Command::Redact(args) => custody::redact(args),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn seal(args: &SealArgs) -> Result<(), Exit> {
    let data_dir = &args.data_dir.path;
    if !data_dir.join("journal").is_dir() {
        return Err(Exit::usage(format!(
            "there is no journal in {}; name the sidecar's with --data-dir",
            data_dir.display()
        )));
    }
    let access = Arc::new(Access::new(args.key_files.files()));
    let instead = "a running sidecar seals by itself, `clyra bundle list` shows it";
    let mut log = Offline::open(data_dir, access, instead)?;
    let mut bundles = 0;
    while let Some(sealed) = log.seal().map_err(Exit::usage)? {
        bundles += 1;
        print::result(|out| match args.json {
            true => writeln!(out, "{}", sealed_json(&sealed)),
            false => writeln!(
                out,
                "{}  receipts {} to {}  sha256 {}",
                sealed.path.display(),
                sealed.from,
                sealed.to - 1,
                sealed.sha256
            ),
        })?;
    }
    if bundles == 0 {
        print::hint(format_args!("nothing to seal: all {} are in bundles", print::count(log.receipts, "receipt")));
    }
    Ok(())
}

fn sealed_json(sealed: &Sealed) -> Value {
    let root = sealed.record().root;
    json!({"path": sealed.path.to_string_lossy(), "from": sealed.from, "to": sealed.to, "root": root, "sha256": sealed.sha256})
}

fn list(args: &ListArgs) -> Result<(), Exit> {
    let data_dir = &args.data_dir.path;
    if !data_dir.is_dir() {
        return Err(Exit::usage(format!("there is no data directory {}; name it with --data-dir", data_dir.display())));
    }
    let infos = bundle::list(data_dir).map_err(Exit::usage)?;
    print::result(|out| {
        if !args.json {
            writeln!(out, "{:>10} {:>10} {:>12}  {:<27}  BUNDLE", "FROM", "TO", "BYTES", "LAST RECEIPT")?;
        }
        for info in &infos {
            if args.json {
                writeln!(out, "{}", info_json(info))?;
            } else {
                let path = info.path.display();
                writeln!(
                    out,
                    "{:>10} {:>10} {:>12}  {:<27}  {path}",
                    info.from,
                    info.to,
                    info.bytes,
                    plain(&info.created)
                )?;
            }
        }
        Ok(())
    })
}

fn export(args: &ExportArgs) -> Result<(), Exit> {
    let from = find(&args.bundle, &args.signer.data_dir.path);
    let copy = match &args.actor {
        None => bundle::export(&from, &args.out, None),
        Some(actor) => {
            let note = CustodyNote { action: Action::Exported, actor: actor.clone(), note: args.note.clone() };
            bundle::export(&from, &args.out, Some((&note, &args.signer.open()?)))
        }
    };
    copied(&copy.map_err(Exit::usage)?, args.json)
}

/// Tells of a bundle file that was written.
fn copied(copy: &Copied, json: bool) -> Result<(), Exit> {
    print::result(|out| match json {
        true => writeln!(
            out,
            "{}",
            json!({"path": copy.path.to_string_lossy(), "sha256": copy.sha256, "externals": copy.externals})
        ),
        // As `sha256sum` writes it, so that `sha256sum -c` reads it.
        false => writeln!(out, "{}  {}", copy.sha256, copy.path.display()),
    })
}

fn inspect(args: &InspectArgs) -> Result<(), Exit> {
    let info = bundle::inspect(&find(&args.bundle, &args.data_dir.path)).map_err(Exit::usage)?;
    print::result(|out| {
        if args.json {
            return writeln!(out, "{}", info_json(&info));
        }
        writeln!(out, "bundle    {} ({} bytes)", info.path.display(), info.bytes)?;
        writeln!(out, "log       {}", plain(&info.log))?;
        writeln!(out, "receipts  [{}, {}), the last at {}", info.from, info.to, plain(&info.created))?;
        writeln!(out, "root      {}", info.root)?;
        writeln!(out, "kinds     {}", print::counts(&info.kinds))?;
        writeln!(out, "verdicts  {}", print::counts(&info.verdicts))?;
        for (name, bytes) in &info.files {
            writeln!(out, "{bytes:>12}  {}", plain(name))?;
        }
        Ok(())
    })?;
    print::hint(format_args!("This is what it says; `clyra verify {}` checks it.", info.path.display()));
    Ok(())
}

fn info_json(info: &BundleInfo) -> Value {
    let files: Vec<Value> = info.files.iter().map(|(path, bytes)| json!({"path": path, "bytes": bytes})).collect();
    json!({
        "path": info.path.to_string_lossy(), "log": info.log, "from": info.from, "to": info.to, "bytes": info.bytes,
        "created": info.created, "root": info.root, "kinds": info.kinds, "verdicts": info.verdicts, "files": files,
        "about": info.about,
    })
}

/// A path as given, or a bundle of the data directory by its name.
fn find(bundle: &Path, data_dir: &Path) -> PathBuf {
    let named = data_dir.join("bundles").join(bundle);
    if !bundle.exists() && named.is_file() { named } else { bundle.to_owned() }
}
