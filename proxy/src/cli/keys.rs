//! `clyra keys`: the keys that sign evidence. Private halves never leave their place through this command.

mod change;

use std::process::ExitCode;

use clyra_receipts::{KeyPlace, Keys};
use serde_json::json;

use super::exit::{Exit, Outcome};
use super::key_files::KeyFileArgs;
use super::print::{self, DataDir};
use crate::keys::{Access, KeyFiles};

/// Make, list, export, rotate or revoke the keys that sign evidence.
///
/// The first start of a sidecar makes them too; make them beforehand to choose the log's name, or to keep the root key
/// apart.
///
/// Example: clyra keys init --origin checkout.prod.example.com/clyra --data-dir /var/lib/clyra
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Init(InitArgs),
    List(ListArgs),
    Export(ExportArgs),
    Rotate(change::RotateArgs),
    Revoke(change::RevokeArgs),
}

/// Make the root key and the log key of a new log, and print the root's verifier key.
///
/// Keys that are there are never overwritten. Hand the verifier key to whoever is to verify evidence: it is what
/// `clyra verify --root` takes.
///
/// Example: clyra keys init --origin checkout.prod.example.com/clyra --data-dir /var/lib/clyra
#[derive(Debug, clap::Args)]
struct InitArgs {
    #[command(flatten)]
    data_dir: DataDir,
    /// Name of the log: host and path without scheme; `origin` in clyra.yaml must be the same
    #[arg(long, value_name = "NAME", default_value = ORIGIN)]
    origin: String,
    /// Where the root key's private half is kept: `file`, `age` (encrypted), or the PKCS#11 URI of a key in a token
    #[arg(long, value_name = "PLACE", default_value = "file", value_parser = place)]
    root_key: KeyPlace,
    /// The same for the log key
    #[arg(long, value_name = "PLACE", default_value = "file", value_parser = place)]
    log_key: KeyPlace,
    #[command(flatten)]
    encrypt: EncryptArgs,
    #[command(flatten)]
    key_files: KeyFileArgs,
    /// Print a JSON document
    #[arg(long)]
    json: bool,
}

/// Whom new key files are encrypted to.
#[derive(Debug, clap::Args)]
struct EncryptArgs {
    /// age recipient that new key files are encrypted to; may be given several times. Without one it is the passphrase
    #[arg(long = "encrypt-to", value_name = "RECIPIENT")]
    recipients: Vec<String>,
}

/// Where a private key is kept, as it is written on the command line.
fn place(text: &str) -> Result<KeyPlace, String> {
    match text {
        "file" => Ok(KeyPlace::File),
        "age" => Ok(KeyPlace::Encrypted),
        uri if uri.starts_with("pkcs11:") => Ok(KeyPlace::Token(uri.to_owned())),
        _ => Err("write file, age, or a PKCS#11 URI that begins with pkcs11:".to_owned()),
    }
}

fn access(key_files: &KeyFileArgs, encrypt: Option<&EncryptArgs>) -> Access {
    let recipients = encrypt.map(|encrypt| encrypt.recipients.clone()).unwrap_or_default();
    Access::new(KeyFiles { recipients, ..key_files.files() })
}

/// List the public halves of all keys that the log has or had.
///
/// Example: clyra keys list --data-dir /var/lib/clyra --json
#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    data_dir: DataDir,
    /// Print JSON Lines
    #[arg(long)]
    json: bool,
}

/// Print the public trust file: every key with its certificate, as canonical JSON.
///
/// Example: clyra keys export --root --data-dir /var/lib/clyra > root.vkey
#[derive(Debug, clap::Args)]
struct ExportArgs {
    #[command(flatten)]
    data_dir: DataDir,
    /// Print the root's verifier key only: what `clyra verify --root` takes
    #[arg(long)]
    root: bool,
}

/// What the log is called where nothing else is said; the same as in the settings.
const ORIGIN: &str = "clyra.local/log";

pub(super) fn run(args: &Args) -> Outcome {
    match &args.command {
        Command::Init(args) => init(args),
        Command::List(args) => list(args),
        Command::Export(args) => export(args),
        Command::Rotate(args) => change::rotate(args),
        Command::Revoke(args) => change::revoke(args),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn init(args: &InitArgs) -> Result<(), Exit> {
    let access = access(&args.key_files, Some(&args.encrypt));
    let keys = Keys::init_with(&args.data_dir.path, &args.origin, &args.root_key, &args.log_key, &access)
        .map_err(Exit::usage)?;
    let vkey = keys.root().to_vkey();
    print::result(|out| match args.json {
        true => writeln!(out, "{}", json!({"origin": keys.origin(), "root": vkey, "log": keys.log().to_vkey()})),
        false => writeln!(out, "{vkey}"),
    })?;
    let file = if args.root_key == KeyPlace::Encrypted { "root.pem.age" } else { "root.pem" };
    let root = args.data_dir.path.join("keys").join(file);
    print::hint(format_args!(
        "This is the root's verifier key. Keep it where the evidence is checked: clyra verify --root KEY."
    ));
    if !matches!(args.root_key, KeyPlace::Token(_)) {
        print::hint(format_args!("Move {} to a safe place: running does not need it.", root.display()));
    }
    Ok(())
}

fn list(args: &ListArgs) -> Result<(), Exit> {
    let keys = Keys::open_public(&args.data_dir.path).map_err(Exit::usage)?;
    print::result(|out| {
        if !args.json {
            writeln!(out, "{:<8} {:<9} {:<8} KEY", "PURPOSE", "FROM SEQ", "PRIVATE")?;
        }
        for key in keys.list() {
            let purpose = key.purpose.name();
            if args.json {
                let value = json!({
                    "purpose": purpose, "name": key.name, "key_id": key.key_id, "valid_from_seq": key.valid_from_seq,
                    "vkey": key.vkey, "private_here": key.private_here, "revoked_after": key.revoked_after,
                });
                writeln!(out, "{value}")?;
            } else {
                let from = key.valid_from_seq.map_or("-".to_owned(), |seq| seq.to_string());
                let private = match (&key.revoked_after, key.private_here) {
                    (Some(_), _) => "revoked",
                    (None, true) => "here",
                    (None, false) => "-",
                };
                writeln!(out, "{purpose:<8} {from:<9} {private:<8} {}", key.vkey)?;
            }
        }
        Ok(())
    })
}

fn export(args: &ExportArgs) -> Result<(), Exit> {
    let keys = Keys::open_public(&args.data_dir.path).map_err(Exit::usage)?;
    print::result(|out| match args.root {
        true => writeln!(out, "{}", keys.root().to_vkey()),
        // Without a line end: these bytes are canonical as they are.
        false => out.write_all(&keys.export()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, Settings};

    #[test]
    fn the_default_name_is_that_of_the_settings() {
        let settings = Settings::load(Overrides { upstreams: vec!["a=http://h".into()], ..Overrides::default() });
        assert_eq!(settings.unwrap().origin, ORIGIN);
    }
}
