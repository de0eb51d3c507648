//! Keeps the leaf hashes of released events in the background; the traffic never waits for it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use clyra_receipts::streams::StreamStore;
use clyra_receipts::tree::Hash;

use crate::telemetry::Metrics;

/// Streams that may wait for the disk: 32 MiB of hashes at most.
const QUEUE_MAX: usize = 64;

/// A handle on the store. The thread ends when the last is dropped.
#[derive(Debug, Clone)]
pub struct StreamLeaves {
    queue: SyncSender<(u64, Vec<Hash>)>,
    metrics: Arc<Metrics>,
}

impl StreamLeaves {
    pub fn start(data_dir: &Path, bytes_max: u64, metrics: Arc<Metrics>) -> io::Result<StreamLeaves> {
        let mut store = StreamStore::open(data_dir, bytes_max)?;
        let (queue, streams) = sync_channel::<(u64, Vec<Hash>)>(QUEUE_MAX);
        let counted = Arc::clone(&metrics);
        std::thread::Builder::new().name("clyra-streams".into()).spawn(move || {
            while let Ok((seq, leaves)) = streams.recv() {
                if let Err(error) = store.append(seq, &leaves) {
                    counted.streams_dropped.inc();
                    tracing::warn!("the events of receipt {seq} cannot be proven later: {error}");
                }
            }
        })?;
        Ok(StreamLeaves { queue, metrics })
    }

    /// Keeps the stream of an outcome; never waits. What there is no room for is counted.
    pub fn keep(&self, seq: u64, leaves: Option<Vec<Hash>>) {
        let kept = leaves.is_some_and(|leaves| self.queue.try_send((seq, leaves)).is_ok());
        if !kept {
            self.metrics.streams_dropped.inc();
        }
    }
}
