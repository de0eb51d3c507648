//! A sidecar in this process, on ports of its own, over a directory of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clyra::cli::serve::Serving;
use clyra::config::{Overrides, Settings};
use clyra::edge::Stop;
use clyra::exchange::gateway::Gateway;
use tempfile::TempDir;
use tokio::task::JoinHandle;

#[derive(Debug)]
pub struct Sidecar {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub gateway: Arc<Gateway>,
    pub root_vkey: String,
    dir: TempDir,
    stop: Stop,
    server: JoinHandle<Result<(), clyra::cli::Exit>>,
}

impl Sidecar {
    /// Starts with `policy` in front of `upstream`.
    pub async fn start(policy: &str, upstream: &str) -> Sidecar {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("policy.yaml");
        std::fs::write(&file, policy).unwrap();
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let settings = Settings::load(Overrides {
            config: None,
            listen: Some(any),
            admin: Some(any),
            upstreams: vec![format!("simulator={upstream}")],
            policy: Some(file),
            data_dir: Some(dir.path().join("data")),
        })
        .unwrap();
        let serving =
            Serving::start(settings).await.unwrap_or_else(|exit| panic!("the sidecar does not start: {exit:?}"));
        let (address, admin) = (serving.address(), serving.admin_address());
        let (gateway, root_vkey) = (Arc::clone(&serving.gateway), serving.boot.root_vkey.clone());
        let stop = Stop::new();
        let server = tokio::spawn(serving.run(stop.clone()));
        Sidecar { address, admin, gateway, root_vkey, dir, stop, server }
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Stops in good order and gives the directory with what is left.
    pub async fn stop(self) -> Stopped {
        self.stop.drain();
        self.server.await.unwrap().unwrap();
        Stopped { dir: self.dir, root_vkey: self.root_vkey }
    }
}

/// What a sidecar left behind.
#[derive(Debug)]
pub struct Stopped {
    dir: TempDir,
    pub root_vkey: String,
}

impl Stopped {
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The lines of the events file, parsed.
    pub fn events(&self) -> Vec<serde_json::Value> {
        lines(&self.data_dir().join("events/events.ndjson"))
    }

    /// Verifies journal and bundles with the log's own root key.
    pub fn verify(&self) -> clyra_receipts::verify::Verdict {
        verify(&self.data_dir(), &self.root_vkey)
    }
}

pub fn lines(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub fn verify(data_dir: &Path, root_vkey: &str) -> clyra_receipts::verify::Verdict {
    let options = clyra_receipts::verify::VerifyOptions {
        trusted_root: Some(clyra_receipts::PublicKey::from_vkey(root_vkey).unwrap()),
        ..Default::default()
    };
    clyra_receipts::verify::verify(&[data_dir], &options).unwrap()
}
