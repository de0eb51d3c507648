//! `clyra witness`: a C2SP tlog-witness for one's own premises.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clyra_receipts::PublicKey;
use clyra_receipts::keys::PlainFiles;
use clyra_receipts::witness::Witness;

use super::exit::{Exit, Outcome};
use super::print;
use crate::witness::WitnessServer;

/// Serve a witness: it cosigns checkpoints of the logs that it knows, as long as they only grow.
///
/// Run it on another machine than the sidecars, under another owner. It speaks C2SP tlog-witness over HTTP; put TLS in front
/// of it where the network is not one's own. Its state directory must never be restored from a copy: a witness that forgets
/// cosigns a second history. At the first start it makes its key; the verifier key that it prints is what
/// `evidence.witnesses` in clyra.yaml and a witness policy take.
///
/// Example: clyra witness --listen 10.0.0.7:7380 --state /var/lib/clyra-witness --name witness.example.com --log "$LOG_VKEY"
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Address to serve on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7380")]
    listen: SocketAddr,
    /// Directory of the key and of the newest checkpoint of each log
    #[arg(long, value_name = "DIR", value_parser = print::target())]
    state: PathBuf,
    /// Name of the witness: host and path, without scheme
    #[arg(long, value_name = "NAME", default_value = "clyra.local/witness")]
    name: String,
    /// Verifier key of a log whose checkpoints are cosigned, as in `clyra keys list`; may be given several times
    #[arg(long = "log", value_name = "VKEY", required = true)]
    logs: Vec<String>,
}

pub(super) fn run(args: &Args) -> Outcome {
    let key = |vkey: &String| PublicKey::from_vkey(vkey).map_err(|fault| Exit::usage(format!("--log {vkey}: {fault}")));
    let logs = args.logs.iter().map(key).collect::<Result<Vec<_>, _>>()?;
    let witness = Witness::open(&args.state, &args.name, logs, &PlainFiles).map_err(Exit::usage)?;
    let vkey = witness.key().to_vkey();
    super::serve::log_to_stderr();
    super::serve::runtime()?.block_on(async {
        let server = WitnessServer::bind(args.listen, Arc::new(witness)).await;
        let server = server.map_err(|error| Exit::usage(format!("cannot listen on {}: {error}", args.listen)))?;
        let address = server.address().map_err(Exit::internal)?;
        print::result(|out| writeln!(out, "{vkey}"))?;
        print::hint(format_args!("witness {} listens on http://{address}", args.name));
        server.serve_until_stopped().await.map_err(Exit::internal)
    })?;
    Ok(ExitCode::SUCCESS)
}
