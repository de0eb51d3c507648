//! Holds the log against the record: it must reach the record's size, with its root and chain value there.

use std::path::Path;

use super::{LockError, LockRecord};
use crate::bundle::{CHECKPOINTS_DIRECTORY, stored_checkpoint};
use crate::journal::{ChainValue, JOURNAL_DIRECTORY, JournalScan, ScanError};
use crate::reader::StoredReceipt;
use crate::tlog::TlogStore;
use crate::tree::{Frontier, Hash};

/// The newest checkpoint of the log, as far as there is one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    pub(crate) frontier: Frontier,
    pub(crate) chain: Option<ChainValue>,
}

/// What the log says about a size.
struct Here {
    root: Hash,
    /// Not known of a size that only the tiles still remember.
    chain: Option<ChainValue>,
}

/// Checks that the log in this directory continues what the record says.
pub(crate) fn check(data_dir: &Path, known: &Known, record: &LockRecord, place: &str) -> Result<(), LockError> {
    let unreadable = |what: String| LockError::Unreadable { place: place.to_owned(), what };
    let here = match record.size.cmp(&known.frontier.size()) {
        std::cmp::Ordering::Equal => Here { root: known.frontier.root(), chain: known.chain },
        std::cmp::Ordering::Less => older(data_dir, known, record.size).map_err(unreadable)?,
        // The process ended between the swap and the checkpoint: the journal has what the record is over, or has lost it.
        std::cmp::Ordering::Greater => match walk(data_dir, known, record.size).map_err(unreadable)? {
            Reached::Here(here) => here,
            Reached::End(found) => {
                return Err(LockError::Rollback { place: place.to_owned(), found, size: record.size });
            }
        },
    };
    if here.root == record.root && here.chain.is_none_or(|chain| chain == record.chain) {
        Ok(())
    } else {
        Err(LockError::Fork { place: place.to_owned(), size: record.size })
    }
}

/// A size before the newest checkpoint: its own checkpoint says, or the tiles do.
fn older(data_dir: &Path, known: &Known, size: u64) -> Result<Here, String> {
    if let Ok(stored) = stored_checkpoint(&data_dir.join(CHECKPOINTS_DIRECTORY), size) {
        return Ok(Here { root: stored.checkpoint.root, chain: Some(stored.chain) });
    }
    let tiles = TlogStore::new(data_dir).open(known.frontier.size(), &known.frontier.root());
    if let Ok(root) = tiles.and_then(|tiles| tiles.root_at(size)) {
        return Ok(Here { root, chain: None });
    }
    match walk(data_dir, &Known::default(), size)? {
        Reached::Here(here) => Ok(here),
        Reached::End(found) => Err(format!("the journal ends at {found}, before its newest checkpoint")),
    }
}

enum Reached {
    Here(Here),
    End(u64),
}

/// Root and chain value at a size, from the journal on.
fn walk(data_dir: &Path, known: &Known, size: u64) -> Result<Reached, String> {
    let mut frontier = known.frontier.clone();
    let mut chain = known.chain;
    let mut scan = match JournalScan::new(&data_dir.join(JOURNAL_DIRECTORY), frontier.size()) {
        Ok(scan) => scan,
        Err(ScanError::Missing(found)) => return Ok(Reached::End(found)),
        Err(error) => return Err(error.to_string()),
    };
    while frontier.size() < size {
        let Some((frame, value)) = scan.next().map_err(|error| error.to_string())? else {
            return Ok(Reached::End(frontier.size()));
        };
        let receipt = StoredReceipt::new(frontier.size(), frame.body, &frame.signature, data_dir);
        frontier.push(receipt.map_err(|error| error.to_string())?.leaf());
        chain = Some(value);
    }
    Ok(Reached::Here(Here { root: frontier.root(), chain }))
}
