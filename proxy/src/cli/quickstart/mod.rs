//! `clyra quickstart`: a simulated provider, Clyra in front of it, exchanges good and bad, and the evidence of all that.

mod client;
mod picture;
mod scenes;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clyra_receipts::PublicKey;
use clyra_receipts::verify::{Verdict, VerifyOptions, verify};
use clyra_simulator::{Options, Simulator};

use super::exit::{Exit, Outcome, bad};
use super::serve::{Serving, log_to_stderr, runtime};
use crate::config::{Overrides, Settings};
use crate::edge::Stop;
use picture::Picture;
use scenes::Scene;

/// See it work without a key: a simulated provider, good and bad exchanges, the receipts and a verified bundle.
///
/// Example: clyra quickstart --once
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Exit after the demonstration instead of serving until Ctrl-C
    #[arg(long)]
    once: bool,
    /// Address for applications
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Address for health, metrics and the API
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9901")]
    admin: SocketAddr,
    /// Where journal, bundles, events and keys live
    #[arg(long, value_name = "DIR", default_value = "./clyra-data")]
    data_dir: PathBuf,
}

const POLICY: &str = include_str!("policy.yaml");

pub(super) fn run(args: Args) -> Outcome {
    log_to_stderr();
    runtime()?.block_on(demonstrate(args))
}

async fn demonstrate(args: Args) -> Outcome {
    let simulator = Simulator::start(Options::default())
        .await
        .map_err(|error| Exit::usage(format!("the simulated provider cannot start: {error}")))?;
    let policy = write_policy(&args.data_dir)?;
    let settings = Settings::load(Overrides {
        config: None,
        listen: Some(args.listen),
        admin: Some(args.admin),
        upstreams: vec![format!("simulator={}", simulator.url())],
        policy: Some(policy.clone()),
        data_dir: Some(args.data_dir.clone()),
        ..Overrides::default()
    })
    .map_err(Exit::usage)?;
    let serving = Serving::start(settings).await?;
    let address = serving.address();
    let root_vkey = serving.boot.root_vkey.clone();
    let sealing = serving.sealing();
    let stop = Stop::new();
    let server = tokio::spawn(serving.run(stop.clone()));

    let picture = Picture::begin(address, &simulator.url(), &policy);
    let mut as_expected = true;
    for (number, scene) in scenes::scenes().into_iter().enumerate() {
        as_expected &= show(&picture, number + 1, &scene, address, &simulator).await?;
    }
    let sealed = sealing.once().await.map_err(|error| Exit::internal(format!("no bundle was sealed: {error}")))?;
    let sealed = sealed.ok_or_else(|| Exit::internal("there was nothing to seal, although exchanges were recorded"))?;
    let verdict = check(&sealed.path, &root_vkey)?;
    picture.bundle(&sealed, &verdict, &args.data_dir);
    as_expected &= verdict.ok;
    picture.point_an_sdk_at(address, args.once);

    if args.once {
        stop.drain();
    } else {
        let signals = tokio::spawn(stop.clone().on_signals().map_err(Exit::internal)?);
        stop.asked().await;
        signals.abort();
    }
    server.await.map_err(Exit::internal)??;
    simulator.stop().await;
    Ok(if as_expected { ExitCode::SUCCESS } else { bad() })
}

/// Sends one exchange and shows what became of it; `true` if it is what a working firewall does.
async fn show(
    picture: &Picture,
    number: usize,
    scene: &Scene,
    address: SocketAddr,
    simulator: &Simulator,
) -> Result<bool, Exit> {
    let before = simulator.requests().len();
    let answer = client::post(address, scene.path, scene.body.to_string()).await.map_err(Exit::internal)?;
    let requests = simulator.requests();
    let provider_saw = requests.get(before).map(|seen| String::from_utf8_lossy(&seen.body).into_owned());
    Ok(picture.exchange(number, scene, &answer, provider_saw.as_deref()))
}

fn check(bundle: &Path, root_vkey: &str) -> Result<Verdict, Exit> {
    let trusted_root = PublicKey::from_vkey(root_vkey).map_err(Exit::internal)?;
    let options = VerifyOptions { trusted_root: Some(trusted_root), ..VerifyOptions::default() };
    verify(&[bundle.to_path_buf()], &options).map_err(Exit::internal)
}

/// The demonstration's policy, beside its data, so that it can be read and edited.
fn write_policy(data_dir: &Path) -> Result<PathBuf, Exit> {
    let path = data_dir.join("quickstart-policy.yaml");
    std::fs::create_dir_all(data_dir).and_then(|()| std::fs::write(&path, POLICY)).map_err(|error| {
        Exit::usage(format!("cannot write {}: {error}; choose another directory with --data-dir", path.display()))
    })?;
    Ok(path)
}
