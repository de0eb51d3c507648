//! What answers on record made, read back from the log when a process starts on it, so that an id which an earlier process
//! bound to its caller is bound still.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clyra_receipts::{ReadError, Receipts};
use tokio::sync::oneshot;

use crate::exchange::lineage::{CALLS_MAX, MADE, Made, Remembered};

/// Newest receipts that are read: an attempt and an outcome for each answer that there is room for, some 200 MB.
const RECEIPTS_MAX: u64 = 2 * CALLS_MAX as u64;

/// How long a start waits for it where requests depend on it. What takes longer goes on beside the traffic.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Reads on a thread of its own, which a process that ends does not wait for. The receipts of this process, behind `last_seq`,
/// are left to it.
pub fn recall(kept: &Arc<Remembered>, data_dir: PathBuf, last_seq: u64) -> Recalling {
    kept.recall();
    let (done, finished) = oneshot::channel();
    let reader = Arc::clone(kept);
    let read = move || {
        let mut made = VecDeque::new();
        if let Err(error) = read(&data_dir, last_seq, &mut made) {
            tracing::warn!("not all that earlier answers made is known: {error}");
        }
        reader.recalled(made.into_iter());
        let _ = done.send(());
    };
    if let Err(error) = std::thread::Builder::new().name("clyra-recall".into()).spawn(read) {
        tracing::warn!("what earlier answers made is not known: {error}");
        kept.recalled(std::iter::empty());
    }
    Recalling { finished }
}

/// What earlier answers made is being read.
#[derive(Debug)]
pub struct Recalling {
    finished: oneshot::Receiver<()>,
}

impl Recalling {
    /// Waits until it is read, for a time.
    pub async fn wait(self) {
        if tokio::time::timeout(WAIT_MAX, self.finished).await.is_err() {
            tracing::info!("what earlier answers made is still being read");
        }
    }
}

fn read(data_dir: &Path, last_seq: u64, made: &mut VecDeque<Made>) -> Result<(), ReadError> {
    let mut receipts = Receipts::open_last(data_dir, RECEIPTS_MAX)?;
    while let Some(receipt) = receipts.read_next()?.filter(|receipt| receipt.seq() <= last_seq) {
        let value = receipt.value();
        let outcome = value.get("kind").and_then(|kind| kind.as_str()) == Some("outcome");
        let listed = value.get("ext").and_then(|ext| ext.get(MADE)).and_then(|made| made.as_array());
        let ids = listed.into_iter().flatten().filter_map(|id| Made::recorded(id.as_str()?, receipt.seq()));
        for one in ids.filter(|_| outcome) {
            if made.len() >= CALLS_MAX {
                made.pop_front();
            }
            made.push_back(one);
        }
    }
    Ok(())
}
