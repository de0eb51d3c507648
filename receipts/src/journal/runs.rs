//! Positions of the agent runs, least recently used first out.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::chain::{ChainValue, run_start_value};

/// Agent runs whose position the log remembers. A run that is forgotten (least recently used first) or that outlives the
/// process begins again at 0: its receipts stay covered by the log's own chain. 16,384 runs are some 6 MiB.
pub(crate) const RUNS_MAX: usize = 16_384;

/// Where each run stands.
#[derive(Debug, Default)]
pub(super) struct Runs {
    by_id: HashMap<Arc<str>, RunState>,
    by_use: BTreeMap<u64, Arc<str>>,
    clock: u64,
}

#[derive(Debug)]
struct RunState {
    next: u64,
    chain: ChainValue,
    used: u64,
}

impl Runs {
    /// Number of the run's next receipt, and the chain value of the one before.
    pub(super) fn position(&self, id: &str) -> (u64, ChainValue) {
        self.by_id.get(id).map_or_else(|| (0, run_start_value(id)), |state| (state.next, state.chain))
    }

    pub(super) fn advance(&mut self, id: &str, position: u64, chain: ChainValue) {
        self.clock += 1;
        let id: Arc<str> = Arc::from(id);
        let state = RunState { next: position + 1, chain, used: self.clock };
        if let Some(before) = self.by_id.insert(Arc::clone(&id), state) {
            self.by_use.remove(&before.used);
        }
        self.by_use.insert(self.clock, id);
        if self.by_id.len() > RUNS_MAX
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.by_id.remove(&oldest);
        }
    }
}
