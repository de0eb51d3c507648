//! `clyra bundle custody` and `clyra bundle redact`: who had a bundle, and what was taken out of a copy.

use std::path::PathBuf;

use clyra_receipts::Keys;
use clyra_receipts::bundle::{self, Action, Copied, CustodyEntry, CustodyNote, CustodySigner};
use serde_json::{Value, json};

use super::{copied, find};
use crate::cli::exit::Exit;
use crate::cli::key_files::KeyFileArgs;
use crate::cli::print::{self, DataDir, plain};
use crate::keys::Access;

/// Show or continue the custody log of a bundle: who had it, and what they did with it.
///
/// Example: clyra bundle custody show evidence/0-1842.pef
#[derive(Debug, clap::Args)]
pub(super) struct CustodyArgs {
    #[command(subcommand)]
    command: CustodyCommand,
}

#[derive(Debug, clap::Subcommand)]
enum CustodyCommand {
    Add(AddArgs),
    Show(ShowArgs),
}

/// Add an entry to the custody log of a bundle, in its place.
///
/// What is sealed stays as it is; the file's own SHA-256 becomes another. Without --key the log key of the data directory
/// signs; whoever was handed a bundle signs with a key of their own (`openssl genpkey -algorithm ed25519`).
///
/// Example: clyra bundle custody add 0-1842.pef --action transferred --actor "Audit Ltd." --key audit.pem --key-name audit.example
#[derive(Debug, clap::Args)]
struct AddArgs {
    /// Name of a bundle in the data directory, or a path
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// What happened
    #[arg(long, value_name = "ACTION", value_parser = ["created", "exported", "transferred", "opened", "verified"])]
    action: String,
    #[command(flatten)]
    told: ToldArgs,
    #[command(flatten)]
    signer: SignerArgs,
    /// Print a JSON document
    #[arg(long)]
    json: bool,
}

/// Show the custody log of a bundle, each entry checked.
///
/// Example: clyra bundle custody show evidence/0-1842.pef --json
#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// Name of a bundle in the data directory, or a path
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    #[command(flatten)]
    data_dir: DataDir,
    /// Print JSON Lines
    #[arg(long)]
    json: bool,
}

/// Copy a bundle without one of its attached files; the copy's custody log says so.
///
/// The copy verifies: that the file is missing is a warning (E804), and everything else is as it was.
///
/// Example: clyra bundle redact 0-1842.pef --artifact 9f86d08…f00a08 --actor "DPO" --note "erasure request 17" --out redacted.pef
#[derive(Debug, clap::Args)]
pub(super) struct RedactArgs {
    /// Name of a bundle in the data directory, or a path
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// SHA-256 of the attached file, 64 hexadecimal digits (`clyra bundle inspect` shows them)
    #[arg(long, value_name = "DIGEST")]
    artifact: String,
    /// File or directory to copy to
    #[arg(long, value_name = "PATH", value_parser = print::target())]
    out: PathBuf,
    #[command(flatten)]
    told: ToldArgs,
    #[command(flatten)]
    signer: SignerArgs,
    /// Print a JSON document
    #[arg(long)]
    json: bool,
}

/// What a custody entry says.
#[derive(Debug, clap::Args)]
struct ToldArgs {
    /// Who did it
    #[arg(long, value_name = "NAME")]
    actor: String,
    /// Anything else worth knowing
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

/// Whose key signs a custody entry.
#[derive(Debug, clap::Args)]
pub(super) struct SignerArgs {
    /// Your own key: an Ed25519 private key as PKCS#8 PEM [default: the log key of the data directory]
    #[arg(long, value_name = "FILE", requires = "key_name")]
    key: Option<PathBuf>,
    /// What your key is called
    #[arg(long, value_name = "NAME", requires = "key")]
    key_name: Option<String>,
    #[command(flatten)]
    pub(super) data_dir: DataDir,
    #[command(flatten)]
    key_files: KeyFileArgs,
}

impl SignerArgs {
    pub(super) fn open(&self) -> Result<CustodySigner, Exit> {
        match (&self.key, &self.key_name) {
            (Some(key), Some(name)) => bundle::read_signer(key, name).map_err(Exit::usage),
            _ => {
                let keys = Keys::open_with(&self.data_dir.path, &Access::new(self.key_files.files()));
                keys.map(|keys| CustodySigner::Log(Box::new(keys))).map_err(Exit::usage)
            }
        }
    }
}

pub(super) fn run(args: &CustodyArgs) -> Result<(), Exit> {
    match &args.command {
        CustodyCommand::Add(args) => add(args),
        CustodyCommand::Show(args) => show(args),
    }
}

fn note(action: Action, told: &ToldArgs) -> CustodyNote {
    CustodyNote { action, actor: told.actor.clone(), note: told.note.clone() }
}

fn add(args: &AddArgs) -> Result<(), Exit> {
    let path = find(&args.bundle, &args.signer.data_dir.path);
    let action = Action::from_name(&args.action).ok_or_else(|| Exit::internal("an action without a name"))?;
    let sha256 = bundle::add_custody(&path, &note(action, &args.told), &args.signer.open()?).map_err(Exit::usage)?;
    copied(&Copied { path, sha256, externals: 0 }, args.json)
}

fn show(args: &ShowArgs) -> Result<(), Exit> {
    let entries = bundle::custody_of(&find(&args.bundle, &args.data_dir.path)).map_err(Exit::usage)?;
    print::result(|out| {
        for entry in &entries {
            if args.json {
                writeln!(out, "{}", entry_json(entry))?;
                continue;
            }
            let taken = entry.digest().map_or(String::new(), |digest| format!("  without {digest}"));
            let note = entry.note.as_deref().map_or(String::new(), |note| format!("  ({})", plain(note)));
            let (action, actor) = (entry.action.name(), plain(&entry.actor));
            writeln!(out, "{}  {action:<11}  {actor}{taken}{note}", plain(&entry.at))?;
            writeln!(out, "{:29}signed by {}", "", plain(&entry.signer))?;
        }
        Ok(())
    })?;
    if entries.is_empty() {
        print::hint("nobody has written into its custody log");
    }
    Ok(())
}

fn entry_json(entry: &CustodyEntry) -> Value {
    json!({
        "action": entry.action.name(), "actor": entry.actor, "at": entry.at, "note": entry.note,
        "sha256": entry.digest(), "signer": entry.signer,
    })
}

pub(super) fn redact(args: &RedactArgs) -> Result<(), Exit> {
    let path = find(&args.bundle, &args.signer.data_dir.path);
    let note = note(Action::Redacted, &args.told);
    let copy = bundle::redact(&path, &args.out, &args.artifact, &note, &args.signer.open()?).map_err(Exit::usage)?;
    copied(&copy, args.json)
}
