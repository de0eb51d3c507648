//! `clyra bundle attach`: puts a file into the evidence.

use std::path::PathBuf;

use clyra_receipts::bundle;
use serde_json::json;

use crate::cli::exit::Exit;
use crate::cli::print::{self, DataDir, plain};

/// Attach a file to the evidence: the next bundle that is sealed carries it.
///
/// The file is copied into the data directory at once, also while the sidecar runs. Up to 25 MiB it goes into the bundle; a
/// larger one stays beside it, in BUNDLE.externals, and the bundle says what it must be.
///
/// Example: clyra bundle attach model-card.pdf --media application/pdf --data-dir /var/lib/clyra
#[derive(Debug, clap::Args)]
pub(super) struct AttachArgs {
    /// File to attach
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Media type, for those who are handed a larger file
    #[arg(long, value_name = "TYPE", default_value = "application/octet-stream")]
    media: String,
    /// What a larger file is called in the bundle, or where it can be found [default: the file's name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    data_dir: DataDir,
    /// Print a JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &AttachArgs) -> Result<(), Exit> {
    let data_dir = &args.data_dir.path;
    if !data_dir.is_dir() {
        return Err(Exit::usage(format!("there is no data directory {}; name it with --data-dir", data_dir.display())));
    }
    let own = || args.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = args.name.clone().unwrap_or_else(own);
    let attached = bundle::attach(data_dir, &args.file, &args.media, &name).map_err(Exit::usage)?;
    print::result(|out| match args.json {
        true => writeln!(
            out,
            "{}",
            json!({
                "sha256": attached.digest(), "bytes": attached.size, "external": attached.is_external(),
                "media": attached.media, "name": attached.uri,
            })
        ),
        // As `sha256sum` writes it.
        false => writeln!(out, "{}  {}", attached.digest(), plain(&args.file.to_string_lossy())),
    })?;
    print::hint("It is in the next bundle that is sealed.");
    Ok(())
}
