//! Asks the configured witnesses for their cosignatures under each checkpoint, all at the same time and within a time limit.
//! A witness that fails is told and counted, and keeps nothing from being sealed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clyra_receipts::checkpoint::Checkpoint;
use clyra_receipts::tlog::TlogError;
use clyra_receipts::tree::Hash;
use clyra_receipts::witness::{AddCheckpoint, Cosignature, Cosigner, WitnessKey};
use http::{HeaderValue, Method, header};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::exchange::ports::UpstreamTarget;
use crate::outbound::{Call, Outbound};
use crate::siem::{self, LineWriter};
use crate::telemetry::Metrics;
use crate::upstream::TrustError;

/// A witness, as configured.
#[derive(Debug, Clone)]
pub struct WitnessEntry {
    /// The submission prefix.
    pub target: Arc<UpstreamTarget>,
    pub key: WitnessKey,
}

/// Asks witnesses.
#[derive(Debug)]
pub struct Witnesses {
    outbound: Outbound,
    runtime: Handle,
    entries: Vec<(WitnessEntry, u64)>,
    metrics: Arc<Metrics>,
    events: LineWriter,
}

/// What a witness said.
enum Said {
    Cosigned(Cosignature),
    /// The newest size that it knows is another.
    Knows(u64),
    Failed(String),
}

impl Witnesses {
    /// Must be called on a runtime. The asking blocks, and must not be done on one of its workers.
    pub fn new(
        entries: &[WitnessEntry],
        within: Duration,
        metrics: Arc<Metrics>,
        events: LineWriter,
    ) -> Result<Witnesses, TrustError> {
        Ok(Witnesses {
            outbound: Outbound::new(None, within)?,
            runtime: Handle::current(),
            entries: entries.iter().map(|entry| (entry.clone(), 0)).collect(),
            metrics,
            events,
        })
    }

    fn ask(&self, requests: Vec<(usize, AddCheckpoint)>) -> Vec<(usize, Said)> {
        self.runtime.block_on(async {
            let mut asked = JoinSet::new();
            for (at, request) in requests {
                let Some((entry, _)) = self.entries.get(at) else { continue };
                let (outbound, entry) = (self.outbound.clone(), entry.clone());
                asked.spawn(async move { (at, ask(&outbound, &entry, &request).await) });
            }
            asked.join_all().await
        })
    }
}

impl Cosigner for Witnesses {
    fn cosign(
        &mut self,
        checkpoint: &Checkpoint,
        note: &[u8],
        consistency: &dyn Fn(u64) -> Result<Vec<Hash>, TlogError>,
    ) -> Vec<Cosignature> {
        let mut cosignatures = Vec::new();
        let mut failed: Vec<(usize, String)> = Vec::new();
        let mut due: Vec<(usize, u64)> = self.entries.iter().map(|(_, known)| *known).enumerate().collect();
        // Once at the size that it is thought to know, and once more at the one that it then says.
        for last in [false, true] {
            let mut requests = Vec::new();
            for (at, old) in due.drain(..) {
                match consistency(old) {
                    Ok(consistency) => requests.push((at, AddCheckpoint { old, consistency, note: note.to_vec() })),
                    Err(error) => failed.push((at, error.to_string())),
                }
            }
            for (at, said) in self.ask(requests) {
                match said {
                    Said::Cosigned(cosignature) => {
                        if let Some((_, known)) = self.entries.get_mut(at) {
                            *known = checkpoint.size;
                        }
                        cosignatures.push(cosignature);
                    }
                    Said::Knows(size) if size > checkpoint.size => {
                        let what = format!("it has seen {size} receipts of this log, which has {}", checkpoint.size);
                        failed.push((at, what));
                    }
                    Said::Knows(size) if !last => due.push((at, size)),
                    Said::Knows(_) => failed.push((at, "it cannot decide which size it knows".to_owned())),
                    Said::Failed(what) => failed.push((at, what)),
                }
            }
        }
        for (at, what) in failed {
            let name = self.entries.get(at).map_or("", |(entry, _)| entry.key.name());
            tracing::error!("no cosignature of witness {name}: {what}");
            self.metrics.witness_failed(name);
            self.events.send(siem::notice_line("witness_failed", name));
        }
        cosignatures
    }
}

async fn ask(outbound: &Outbound, entry: &WitnessEntry, request: &AddCheckpoint) -> Said {
    let call = Call {
        target: &entry.target,
        method: Method::POST,
        path: "/add-checkpoint",
        headers: vec![(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))],
        body: Bytes::from(request.to_body()),
    };
    let reply = match outbound.call(call).await {
        Ok(reply) => reply,
        Err(error) => return Said::Failed(error.to_string()),
    };
    match reply.status {
        200 => match request.read_answer(&reply.body, &entry.key) {
            Some(cosignature) => Said::Cosigned(cosignature),
            None => Said::Failed("its answer has no good cosignature of its key".to_owned()),
        },
        409 => {
            let size = std::str::from_utf8(&reply.body).ok().and_then(|body| body.strip_suffix('\n')?.parse().ok());
            size.map_or_else(|| Said::Failed("it answered 409 without a size".to_owned()), Said::Knows)
        }
        status => Said::Failed(format!("it answered {status}")),
    }
}
