//! `clyra run`: the sidecar.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use super::exit::{Exit, Outcome};
use super::key_files::KeyFileArgs;
use super::serve::{Serving, print_start};
use crate::config::{Overrides, Settings};
use crate::edge::Stop;

/// Start the sidecar.
///
/// Example: clyra run --upstream openai=https://api.openai.com --policy policy.yaml
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Settings file; flags and environment override it
    #[arg(long, env = "CLYRA_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address for applications [default: 127.0.0.1:8080]
    #[arg(long, env = "CLYRA_LISTEN", value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Address for health, metrics and the API [default: 127.0.0.1:9901]
    #[arg(long, env = "CLYRA_ADMIN", value_name = "ADDR")]
    admin: Option<SocketAddr>,
    /// A provider; may be given several times, the first is the default
    #[arg(long = "upstream", env = "CLYRA_UPSTREAM", value_name = "NAME=URL", value_delimiter = ',')]
    upstreams: Vec<String>,
    /// Policy; without one everything is observed and nothing is touched
    #[arg(long, env = "CLYRA_POLICY", value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Where journal, bundles, events and keys live [default: ./clyra-data]
    #[arg(long, env = "CLYRA_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    key_files: KeyFileArgs,
}

pub(super) fn run(args: Args) -> Outcome {
    let settings = Settings::load(Overrides {
        config: args.config,
        listen: args.listen,
        admin: args.admin,
        upstreams: args.upstreams,
        policy: args.policy,
        data_dir: args.data_dir,
        key_files: args.key_files.files(),
    })
    .map_err(Exit::usage)?;
    super::serve::log_to_stderr();
    let runtime = super::serve::runtime()?;
    runtime.block_on(async {
        let serving = Serving::start(settings).await?;
        let stop = Stop::new();
        let signals = tokio::spawn(stop.clone().on_signals().map_err(Exit::internal)?);
        print_start(&serving);
        let result = serving.run(stop).await;
        signals.abort();
        result
    })?;
    Ok(ExitCode::SUCCESS)
}
