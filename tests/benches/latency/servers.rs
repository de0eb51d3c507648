//! What is measured: the simulated provider, a pass-through that does nothing, and sidecars. Each kind has a runtime of
//! its own, as each would be a process of its own.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use clyra::cli::serve::{Serving, runtime};
use clyra::config::{Overrides, Settings};
use clyra::edge::Stop;
use clyra::exchange::gateway::Gateway;
use pingora::protocols::l4::socket::SocketAddr as PeerAddress;
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server, ShutdownSignal, ShutdownSignalWatch};
use pingora::upstreams::peer::{HttpPeer, PeerOptions, Scheme};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use clyra_simulator::{Options, Simulator};

/// The simulated provider.
pub(crate) fn provider() -> (Runtime, Simulator) {
    let runtime = runtime().unwrap();
    // Remembering requests is for tests that look at them.
    let options = Options { requests_recorded_max: 0, ..Options::default() };
    let simulator = runtime.block_on(Simulator::start(options)).unwrap();
    (runtime, simulator)
}

/// pingora's own proxying, without a single filter: what any proxy built on it costs at the least.
struct PassThrough {
    upstream: SocketAddr,
}

#[async_trait]
impl ProxyHttp for PassThrough {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer {
            _address: PeerAddress::Inet(self.upstream),
            scheme: Scheme::HTTP,
            sni: String::new(),
            proxy: None,
            client_cert_key: None,
            group_key: 0,
            options: PeerOptions::new(),
        }))
    }
}

/// Runs until the process ends, and leaves the signals to everybody else.
struct ToTheEnd;

#[async_trait]
impl ShutdownSignalWatch for ToTheEnd {
    async fn recv(&self) -> ShutdownSignal {
        std::future::pending().await
    }
}

/// Starts the pass-through on a thread of its own, with as many workers as a sidecar has.
pub(crate) fn pass_through(upstream: SocketAddr) -> SocketAddr {
    // pingora does not tell which port it got, so it is given one that was free a moment ago.
    let address = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::spawn(move || {
        let conf = ServerConf { threads, ..ServerConf::default() };
        let mut server = Server::new_with_opt_and_conf(None, conf);
        server.bootstrap();
        let mut service = http_proxy_service(&server.configuration, PassThrough { upstream });
        service.add_tcp(&address.to_string());
        server.add_service(service);
        server.run(RunArgs { shutdown_signal: Box::new(ToTheEnd) });
    });
    address
}

/// A sidecar as `clyra run` starts it.
pub(crate) struct Sidecar {
    pub(crate) address: SocketAddr,
    gateway: Arc<Gateway>,
    root_vkey: String,
    dir: TempDir,
    stop: Stop,
    server: JoinHandle<Result<(), clyra::cli::Exit>>,
}

impl Sidecar {
    /// Starts with `policy`, with its journal below `place`.
    pub(crate) fn start(runtime: &Runtime, policy: &str, upstream: &str, place: &Path) -> Sidecar {
        let dir = tempfile::Builder::new().prefix("clyra-latency-").tempdir_in(place).unwrap();
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
            ..Overrides::default()
        })
        .unwrap();
        let serving = runtime.block_on(Serving::start(settings)).unwrap();
        let (address, gateway) = (serving.address(), Arc::clone(&serving.gateway));
        let root_vkey = serving.boot.root_vkey.clone();
        let stop = Stop::new();
        let server = runtime.spawn(serving.run(stop.clone()));
        Sidecar { address, gateway, root_vkey, dir, stop, server }
    }

    /// Stops in good order. What was measured included the evidence: two receipts of each exchange, and they verify.
    pub(crate) fn stop(self, runtime: &Runtime, exchanges: u64) {
        let receipts = self.gateway.ledger.log().status().durable_count;
        assert!(receipts >= 2 * exchanges, "{receipts} receipts of {exchanges} exchanges");
        self.stop.drain();
        runtime.block_on(self.server).unwrap().unwrap();
        let verdict = clyra_tests::sidecar::verify(&self.dir.path().join("data"), &self.root_vkey);
        assert!(verdict.ok, "{:?}", verdict.findings);
    }
}
