//! A sidecar in this process, on ports of its own, over a directory of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clyra::cli::serve::Serving;
use clyra::config::{Overrides, Settings};
use clyra::edge::Stop;
use clyra::exchange::gateway::Gateway;
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::event_lines::fitting;
use crate::journal::{pair, receipts};

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

/// Longest wait for a line that is written in the background.
const WAIT_MAX: Duration = Duration::from_secs(20);

impl Sidecar {
    /// Starts with `policy` in front of `upstream`.
    pub async fn start(policy: &str, upstream: &str) -> Sidecar {
        Self::start_with(policy, upstream, &[], |_| {}).await
    }

    /// Starts with `policy`, and `files` beside it, and settings as `adjust` leaves them.
    pub async fn start_with(
        policy: &str,
        upstream: &str,
        files: &[(&str, &str)],
        adjust: impl FnOnce(&mut Settings),
    ) -> Sidecar {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files.iter().chain([&("policy.yaml", policy)]) {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        Self::start_in(dir, upstream, adjust).await
    }

    async fn start_in(dir: TempDir, upstream: &str, adjust: impl FnOnce(&mut Settings)) -> Sidecar {
        let file = dir.path().join("policy.yaml");
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let mut settings = Settings::load(Overrides {
            config: None,
            listen: Some(any),
            admin: Some(any),
            upstreams: vec![format!("simulator={upstream}")],
            policy: Some(file),
            data_dir: Some(dir.path().join("data")),
            ..Overrides::default()
        })
        .unwrap();
        adjust(&mut settings);
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

    /// Every whole receipt of the journal as it is now.
    pub fn receipts(&self) -> Vec<Value> {
        receipts(&self.data_dir())
    }

    /// Attempt and outcome of an exchange, which must be there.
    pub fn pair(&self, request_id: &str) -> (Value, Value) {
        pair(&self.receipts(), request_id)
    }

    /// The event of an exchange that has ended, once it is written.
    pub async fn event(&self, request_id: &str) -> Value {
        let of = self.events_of(request_id, 1).await;
        assert_ne!(of[0]["type"], "finding", "findings come after their exchange: {of:#?}");
        of[0].clone()
    }

    /// The findings of an exchange that has ended, as events.
    pub async fn findings(&self, request_id: &str) -> Vec<Value> {
        let count = self.event(request_id).await["findings"].as_u64().unwrap() as usize;
        self.events_of(request_id, 1 + count).await.split_off(1)
    }

    /// The first `count` events of an exchange, in order.
    async fn events_of(&self, request_id: &str, count: usize) -> Vec<Value> {
        let end = Instant::now() + WAIT_MAX;
        loop {
            let mut of = lines(&self.data_dir().join("events/events.ndjson"));
            of.retain(|event| event["request_id"] == request_id);
            if of.len() >= count {
                return fitting(of);
            }
            assert!(Instant::now() < end, "{} of {count} events of exchange {request_id}: {of:#?}", of.len());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Everything that is still written in the background is in its file.
    pub async fn flush(&self) {
        let gateway = Arc::clone(&self.gateway);
        let flush = move || {
            gateway.events.flush();
            gateway.commitments.flush();
        };
        tokio::task::spawn_blocking(flush).await.unwrap();
    }

    /// Tells it to stop; exchanges under way go on.
    pub fn drain(&self) {
        self.stop.drain();
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
    /// Starts once more, with the same policy and over the same data.
    pub async fn start_again(self, upstream: &str) -> Sidecar {
        Sidecar::start_in(self.dir, upstream, |_| {}).await
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The lines of the events file, parsed.
    pub fn events(&self) -> Vec<Value> {
        fitting(lines(&self.data_dir().join("events/events.ndjson")))
    }

    pub fn receipts(&self) -> Vec<Value> {
        receipts(&self.data_dir())
    }

    /// Verifies journal and bundles with the log's own root key.
    pub fn verify(&self) -> clyra_receipts::verify::Verdict {
        verify(&self.data_dir(), &self.root_vkey)
    }
}

/// The whole lines of a file of JSON lines.
pub fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let whole = text.rfind('\n').map_or("", |at| &text[..at]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub fn verify(data_dir: &Path, root_vkey: &str) -> clyra_receipts::verify::Verdict {
    let options = clyra_receipts::verify::VerifyOptions {
        trusted_root: Some(clyra_receipts::PublicKey::from_vkey(root_vkey).unwrap()),
        ..Default::default()
    };
    clyra_receipts::verify::verify(&[data_dir], &options).unwrap()
}
