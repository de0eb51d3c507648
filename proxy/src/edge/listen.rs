//! Listens, accepts, and stops in good order.
//!
//! The socket is bound before anything else exists, so that an address in use is an error with a name. A stop goes in
//! steps: (1) answers say `Connection: close`, HTTP/2 clients get a GOAWAY, new connections are still served; (2) when
//! nothing is in flight, or at the drain limit, the listener closes; (3) what is still in flight then learns that its
//! client is gone and writes that down; (4) connections close.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pingora::apps::HttpServerApp;
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::proxy::http_proxy;
use pingora::server::configuration::ServerConf;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::adapter::Adapter;
use super::connection::{self, Shared};
use super::handler::Handler;
use super::in_flight::InFlight;
use super::limits;
use super::stop::Stop;
use crate::upstream::{TrustError, resolve::Resolver, trust};

/// What a client reads that finds every connection taken (RFC 9110 sections 15.6.4 and 10.2.3).
const BUSY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// How an edge listens and stops.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    pub listen: SocketAddr,
    /// How long a stop waits for exchanges in flight. Kubernetes kills after 30 s by default, and receipts have to be
    /// flushed afterwards.
    pub drain_max: Duration,
    /// Client connections at a time; more are answered 503.
    pub connections_max: usize,
    /// Worker threads of the runtime that [`serve`] makes; the available cores when absent.
    pub threads: Option<usize>,
    /// PEM file of the certificate authorities for bypassed targets; the platform's own when absent.
    pub ca_file: Option<PathBuf>,
}

impl ServeOptions {
    pub fn new(listen: SocketAddr) -> Self {
        Self { listen, drain_max: Duration::from_secs(25), connections_max: 4096, threads: None, ca_file: None }
    }
}

/// Why an edge cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    #[error("cannot listen on {address}: the address is in use by another process; stop it or choose another port")]
    AddressInUse { address: SocketAddr },
    #[error("cannot listen on {address}: permission denied; ports below 1024 need a privilege, choose a higher one")]
    PermissionDenied { address: SocketAddr },
    #[error("cannot listen on {address}: {source}")]
    Bind { address: SocketAddr, source: std::io::Error },
    #[error("cannot start the server runtime: {0}")]
    Runtime(std::io::Error),
    #[error("cannot install the signal handlers: {0}")]
    Signals(std::io::Error),
    #[error(transparent)]
    Trust(#[from] TrustError),
}

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Exchanges that were in flight when the drain limit was reached (or an immediate stop asked for), and were cut.
    pub cut: usize,
}

/// A bound listener with a handler behind it, not serving yet. Connections already queue.
#[derive(Debug)]
pub struct Edge<H> {
    listener: StdListener,
    address: SocketAddr,
    options: ServeOptions,
    ca_file: Option<String>,
    handler: Arc<H>,
}

/// Binds and serves on a runtime of its own, until SIGTERM, SIGINT or `stop`; blocks the calling thread. When it
/// returns, no exchange is in flight any more, so receipts can be flushed.
pub fn serve<H: Handler>(options: ServeOptions, handler: Arc<H>, stop: Stop) -> Result<Stopped, EdgeError> {
    let edge = Edge::bind(options, handler)?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = edge.options.threads {
        runtime.worker_threads(threads.max(1));
    }
    let runtime = runtime.thread_name("clyra-edge").enable_all().build().map_err(EdgeError::Runtime)?;
    let stopped = runtime.block_on(async {
        let signals = tokio::spawn(stop.clone().on_signals().map_err(EdgeError::Signals)?);
        let stopped = edge.run(stop).await;
        signals.abort();
        stopped
    });
    // A name look-up cannot be interrupted; nobody waits for its answer any more.
    runtime.shutdown_timeout(limits::GOODBYE_MAX);
    stopped
}

impl<H: Handler> Edge<H> {
    /// Binds the address, and loads what can fail to load.
    pub fn bind(options: ServeOptions, handler: Arc<H>) -> Result<Self, EdgeError> {
        let address = options.listen;
        let bound = StdListener::bind(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        });
        let (listener, address) = bound.map_err(|source| match source.kind() {
            std::io::ErrorKind::AddrInUse => EdgeError::AddressInUse { address },
            std::io::ErrorKind::PermissionDenied => EdgeError::PermissionDenied { address },
            _ => EdgeError::Bind { address, source },
        })?;
        let ca_file = trust(options.ca_file.as_deref())?;
        Ok(Self { listener, address, options, ca_file, handler })
    }

    /// Where it listens; tells the port when port 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves on the calling task's runtime until `stop`. Dropping the future stops everything at once, without grace.
    pub async fn run(self, stop: Stop) -> Result<Stopped, EdgeError> {
        let Self { listener, address, options, ca_file, handler } = self;
        let listener = TcpListener::from_std(listener).map_err(|source| EdgeError::Bind { address, source })?;
        let (closing, closing_seen) = watch::channel(false);
        let in_flight = InFlight::new();
        let cut = CancellationToken::new();
        let closed = CancellationToken::new();
        let conf = ServerConf { max_retries: limits::BYPASS_ATTEMPTS_MAX, ca_file, ..ServerConf::default() };
        let adapter = Adapter {
            handler,
            resolver: Resolver::default(),
            transport: TransportConnector::new(Some(ConnectorOptions::from_server_conf(&conf))),
            in_flight: in_flight.clone(),
            cut: cut.clone(),
            closing: closing_seen.clone(),
        };
        let proxy = Arc::new(http_proxy(&Arc::new(conf), adapter));
        let shared = Shared { proxy: proxy.clone(), closing: closing_seen, closed: closed.clone() };

        let drained = async {
            stop.asked().await;
            closing.send_replace(true);
            tokio::select! {
                biased;
                () = in_flight.none() => {}
                () = stop.asked_now() => {}
                () = sleep(options.drain_max) => {}
            }
        };
        let mut connections = accept_until(drained, listener, options.connections_max, shared).await;

        let left = in_flight.count();
        cut.cancel();
        let _ = timeout(limits::CUT_GRACE, in_flight.none()).await;
        closed.cancel();
        proxy.http_cleanup().await;
        let _ = timeout(limits::GOODBYE_MAX, all_done(&mut connections)).await;
        connections.shutdown().await;
        // Aborted bypasses report from tasks of their own.
        let _ = timeout(limits::CUT_GRACE, in_flight.none()).await;
        Ok(Stopped { cut: left })
    }
}

/// Accepts connections until `end`, then closes the listener. Returns the connections that are open.
async fn accept_until<H: Handler>(
    end: impl Future<Output = ()>,
    listener: TcpListener,
    connections_max: usize,
    shared: Shared<H>,
) -> JoinSet<()> {
    let places = Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS)));
    let mut connections = JoinSet::new();
    tokio::pin!(end);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut end => return connections,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((tcp, peer)) => match places.clone().try_acquire_owned() {
                Ok(place) => {
                    let shared = shared.clone();
                    connections.spawn(async move {
                        connection::serve(tcp, peer, shared).await;
                        drop(place);
                    });
                }
                Err(_) => refuse(tcp).await,
            },
            Err(_) => sleep(limits::ACCEPT_PAUSE).await,
        }
    }
}

/// A fresh socket's buffer takes the few bytes at once, so this does not hold up the others.
async fn refuse(mut tcp: TcpStream) {
    let _ = timeout(limits::ACCEPT_PAUSE, tcp.write_all(BUSY)).await;
}

async fn all_done(connections: &mut JoinSet<()>) {
    while connections.join_next().await.is_some() {}
}
