//! Putting a sidecar together: everything that can fail fails before the first request, with one message.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use clyra_policy::{Policy, StoredState};
use clyra_receipts::receipt::{BuildInfo, PolicyChange};
use clyra_receipts::{BootReport, KeyAccess, Log, LogOptions};

use super::exit::Exit;
use super::policy::load_policy;
use crate::admin::Admin;
use crate::anchor::Anchoring;
use crate::config::Settings;
use crate::edge::{Edge, ServeOptions, Stop};
use crate::evidence::{PublicationPlan, Retaining, Sealing, StreamLeaves, recall, remember_policy};
use crate::exchange::front::Front;
use crate::exchange::gateway::{Gateway, Parts, Upstreams, engine};
use crate::exchange::ledger::Ledger;
use crate::exchange::pins::Pins;
use crate::keys::Access;
use crate::siem::{LineWriter, WriterOptions};
use crate::telemetry::Metrics;
use crate::upstream::{Provider, UpstreamOptions, UpstreamService, UpstreamSettings, upstream_service};

/// Size at which the file of salts is put aside; none is ever deleted.
const COMMITMENTS_ROTATE_BYTES: u64 = 64 << 20;

/// Codes of the journal and of the key store for what the file system refused.
const UNWRITABLE_JOURNAL: &str = "W012";
const UNWRITABLE_KEYS: &str = "K005";

/// A sidecar that is bound and ready to serve.
#[derive(Debug)]
pub struct Serving {
    pub gateway: Arc<Gateway>,
    pub boot: BootReport,
    edge: Edge<Front>,
    admin: Admin,
    sealing: Sealing,
    retaining: Option<Retaining>,
    anchoring: Anchoring,
    call: UpstreamService,
    admin_address: SocketAddr,
}

/// The policy that settings name, with the detectors that it asks for mixed into its hash.
pub fn policy_and_engine(path: Option<&Path>) -> Result<(Policy, clyra_detectors::Engine), Exit> {
    let policy = match path {
        Some(path) => load_policy(path)?,
        None => Policy::observe(),
    };
    let engine =
        engine(&policy).map_err(|error| Exit::usage(format!("the policy's detectors cannot be compiled: {error}")))?;
    let policy = policy.with_detectors(&engine.versions());
    Ok((policy, engine))
}

impl Serving {
    /// Loads, opens and binds. Must run on the runtime that is to serve.
    pub async fn start(settings: Settings) -> Result<Serving, Exit> {
        let (policy, engine) = policy_and_engine(settings.policy.as_deref())?;
        // Before the journal is opened: a start that a missing key stops is not on record as a crash.
        let ca_file = settings.ca_file.clone();
        let provider = |(settings, number): (UpstreamSettings, u64)| {
            Provider::new(settings, ca_file.as_deref(), number).map(Arc::new).map_err(Exit::usage)
        };
        let providers = settings.upstreams.iter().cloned().zip(0..).map(provider).collect::<Result<Vec<_>, _>>()?;
        let build = BuildInfo { digest: None, version: env!("CARGO_PKG_VERSION").into() };
        let key_access: Arc<dyn KeyAccess> = Arc::new(Access::new(settings.key_files.clone()));
        let mut options = LogOptions::new(&settings.data_dir, &settings.origin, build);
        options.key_access = Arc::clone(&key_access);
        options.receipt_key_rotate = settings.evidence.receipt_key_rotate;
        options.receipt_key_rotate_receipts = settings.evidence.receipt_key_rotate_receipts;
        let lock =
            settings.lock.as_ref().map(|place| place.store(&settings.data_dir)).transpose().map_err(Exit::usage)?;
        options.lock.clone_from(&lock);
        // The lock record may be far away: what waits for it must not hold up the runtime.
        let opened = tokio::task::spawn_blocking(move || Log::open(options)).await.map_err(Exit::internal)?;
        let (log, boot) = opened.map_err(|error| {
            let hint = match error.code() {
                UNWRITABLE_JOURNAL | UNWRITABLE_KEYS => {
                    "; check that the directory can be written and has space, or choose another with --data-dir"
                }
                _ => "",
            };
            Exit::usage(format!("cannot open the journal in {}: {error}{hint}", settings.data_dir.display()))
        })?;
        let data = |error: std::io::Error| {
            Exit::usage(format!("cannot write under the data directory {}: {error}", settings.data_dir.display()))
        };
        remember_policy(&settings.data_dir, &policy).map_err(data)?;
        let change = PolicyChange { from: None, source: "start".into(), to: policy.hash().to_owned() };
        log.append_blocking(change).map_err(|error| Exit::usage(format!("cannot write the first receipt: {error}")))?;
        let lines = |dir: &str, stem, rotate_bytes, keep_files| {
            LineWriter::start(WriterOptions { dir: settings.data_dir.join(dir), stem, rotate_bytes, keep_files })
        };
        let events =
            lines("events", "events", settings.events_rotate_bytes, Some(settings.events_keep_files)).map_err(data)?;
        let commitments = lines("commitments", "commitments", COMMITMENTS_ROTATE_BYTES, None).map_err(data)?;
        let call = upstream_service(UpstreamOptions {
            ca_file: settings.ca_file.clone(),
            connect_timeout: settings.upstream_connect_timeout,
            head_timeout: settings.upstream_head_timeout,
            idle_timeout: settings.upstream_idle_timeout,
            ..UpstreamOptions::default()
        })
        .map_err(Exit::usage)?;
        let metrics = Arc::new(Metrics::new(policy.hash(), policy.mode().as_str()));
        let streams = settings
            .stream_bytes_max
            .map(|bytes_max| StreamLeaves::start(&settings.data_dir, bytes_max, Arc::clone(&metrics)).map_err(data));
        let streams = streams.transpose()?;
        let gateway = Gateway::new(Parts {
            policy: Arc::new(policy),
            engine: Arc::new(engine),
            ledger: Ledger::new(log, Arc::clone(&metrics)),
            events,
            commitments,
            streams,
            metrics,
            upstreams: Upstreams::new(providers.clone()).ok_or_else(|| Exit::usage("no upstream is configured"))?,
            call: call.clone(),
            limits: settings.limits,
            pins: Arc::new(Pins::open(&settings.data_dir.join("mcp-pins.json")).map_err(Exit::usage)?),
            ask_for_usage: settings.ask_for_usage,
        })
        .map_err(Exit::usage)?;
        let gateway = Arc::new(gateway);
        let stored_state = gateway.policy.defaults().stored_state;
        if let Some(last_seq) = boot.last_seq.filter(|_| stored_state != StoredState::Forbid) {
            let recalling = recall(&gateway.kept, settings.data_dir.clone(), last_seq);
            // Elsewhere an id that is not known yet is declared as a gap, and nothing else.
            if stored_state == StoredState::Bind {
                recalling.wait().await;
            }
        }
        let mut options = ServeOptions::new(settings.listen);
        options.drain_max = settings.drain_max;
        options.ca_file = settings.ca_file.clone();
        let edge = Edge::bind(options, Arc::new(Front::new(Arc::clone(&gateway)))).map_err(Exit::usage)?;
        let admin = Admin::bind(settings.admin, Arc::clone(&gateway)).await.map_err(|error| {
            Exit::usage(format!(
                "cannot listen on the admin address {}: {error}; choose another with --admin",
                settings.admin
            ))
        })?;
        let admin_address = admin.address().map_err(Exit::internal)?;
        let retaining = settings.evidence.retention.map(|retention| Retaining::new(gateway.ledger.clone(), retention));
        let plan = PublicationPlan {
            lock,
            witnesses: settings.witnesses.clone(),
            witness_timeout: settings.witness_timeout,
            metrics: Arc::clone(&gateway.metrics),
            events: gateway.events.clone(),
        };
        let sealing = Sealing::new(&settings.data_dir, gateway.ledger.clone(), settings.seal_every, key_access, plan);
        let anchoring = Anchoring::new(
            &settings.anchors,
            settings.ca_file.as_deref(),
            &settings.data_dir,
            &gateway.ledger,
            &gateway.metrics,
        )
        .map_err(Exit::usage)?;
        Ok(Serving { gateway, boot, edge, admin, sealing, anchoring, retaining, call, admin_address })
    }

    pub fn address(&self) -> SocketAddr {
        self.edge.local_addr()
    }

    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// A handle to seal by hand.
    pub fn sealing(&self) -> Sealing {
        self.sealing.clone()
    }

    /// Serves until told to stop; then drains, seals what is left, and closes the journal.
    pub async fn run(self, stop: Stop) -> Result<(), Exit> {
        let admin = tokio::spawn(self.admin.serve());
        let fatal = Arc::new(OnceLock::new());
        let (said, task, stopping) = (Arc::clone(&fatal), self.sealing.clone(), stop.clone());
        let sealing = tokio::spawn(async move {
            // It ends only when the log must not go on; then nothing more may be shown to anybody.
            let error = task.run().await;
            let _ = said.set(error.to_string());
            stopping.drain();
        });
        let retaining = self.retaining.map(|retaining| tokio::spawn(retaining.run()));
        let anchoring = tokio::spawn(self.anchoring.run(self.sealing.sealed()));
        let watching = tokio::spawn(self.call.watch(self.gateway.upstreams.iter().cloned().collect()));
        let stopped = self.edge.run(stop).await;
        watching.abort();
        sealing.abort();
        anchoring.abort();
        admin.abort();
        // The tasks hold the gateway; their end is awaited so that nothing is appended behind the shutdown receipt.
        let _ = tokio::join!(sealing, anchoring, admin, watching);
        if let Some(retaining) = retaining {
            retaining.abort();
            let _ = retaining.await;
        }
        if fatal.get().is_none()
            && let Err(error) = self.sealing.once().await
        {
            tracing::error!("the last bundle was not sealed: {error}");
        }
        self.gateway.events.flush();
        self.gateway.commitments.flush();
        let log = self.gateway.ledger.log().clone();
        let closed = tokio::task::spawn_blocking(move || log.shutdown()).await.map_err(Exit::internal)?;
        let stopped = stopped.map_err(Exit::internal)?;
        closed.map_err(|error| Exit::internal(format!("the journal was not closed in good order: {error}")))?;
        if let Some(error) = fatal.get() {
            return Err(Exit::internal(format!("stopped, because the log must not go on: {error}")));
        }
        if stopped.cut > 0 {
            tracing::warn!("{} exchanges were cut because they did not end within the drain limit", stopped.cut);
        }
        Ok(())
    }
}

/// The runtime that serves: one worker per core.
pub fn runtime() -> Result<tokio::runtime::Runtime, Exit> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("clyra")
        .build()
        .map_err(|error| Exit::internal(format!("cannot start the runtime: {error}")))
}

/// Warnings and errors to stderr, one line each; never content.
pub fn log_to_stderr() {
    let subscriber =
        tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::INFO).with_target(false);
    // A second start in one process (tests) keeps the first subscriber.
    let _ = subscriber.with_ansi(false).try_init();
}

/// What a person wants to know when it has started.
pub fn print_start(serving: &Serving) {
    let policy = &serving.gateway.policy;
    eprintln!("clyra {} listens on http://{}", env!("CARGO_PKG_VERSION"), serving.address());
    eprintln!("  admin     http://{} (/readyz, /metrics, /api/v1/openapi.json)", serving.admin_address());
    for upstream in serving.gateway.upstreams.iter() {
        for endpoint in upstream.endpoints() {
            eprintln!("  upstream  {} = {}", endpoint.label, endpoint.url());
        }
    }
    let short = policy.hash().get(..12).unwrap_or_default();
    eprintln!("  policy    {short} in mode {}", policy.mode().as_str());
    if policy.mode() == clyra_policy::Mode::Observe {
        eprintln!(
            "            observe: everything is decided and recorded, nothing is touched; pass --policy to enforce"
        );
    }
    if !serving.boot.clean {
        eprintln!("  journal   the process before ended without closing it; recovered, and on record");
    }
}
