//! What surrounds the publication of a checkpoint: tiles before it, the lock record, cosignatures, and the tiles' own
//! checkpoint after it.
//!
//! The lock record is replaced before anybody else sees the checkpoint, so that a witness never holds one that the log may
//! have to take back. Tiles and witnesses never keep a checkpoint from being published; the lock record does.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::run::Run;
use crate::checkpoint::{Checkpoint, SignedNote};
use crate::journal::ChainValue;
use crate::lock::{Known, LockError, LockRecord, LockStore, check, read_record};
use crate::tlog::{TlogError, TlogStore};
use crate::tree::Frontier;
use crate::witness::{Cosigner, WitnessKey};

/// Where a checkpoint goes besides the data directory. By default nowhere.
#[derive(Default)]
pub struct Publication {
    /// Place of the lock record.
    pub lock: Option<Arc<dyn LockStore>>,
    /// Who asks the witnesses.
    pub cosigner: Option<Box<dyn Cosigner>>,
    /// The witnesses whose cosignatures are taken.
    pub witnesses: Vec<WitnessKey>,
}

impl std::fmt::Debug for Publication {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Publication").field("lock", &self.lock).field("witnesses", &self.witnesses).finish()
    }
}

pub(super) struct Publisher {
    data_dir: PathBuf,
    tlog: TlogStore,
    tlog_fault: Option<TlogError>,
    publication: Publication,
}

impl Publisher {
    /// Brings the tiles to the newest checkpoint.
    pub(super) fn open(data_dir: &Path, newest: Option<(&Frontier, &[u8])>) -> Self {
        let tlog = TlogStore::new(data_dir);
        let tlog_fault = newest.and_then(|(frontier, note)| tlog.settle(frontier, note).err());
        Self { data_dir: data_dir.to_owned(), tlog, tlog_fault, publication: Publication::default() }
    }

    pub(super) fn publish_to(&mut self, publication: Publication) {
        self.publication = publication;
    }

    pub(super) fn tlog_fault(&self) -> Option<&TlogError> {
        self.tlog_fault.as_ref()
    }

    /// Before the checkpoint over these receipts is published: returns its note with the cosignatures that could be had.
    pub(super) fn before(
        &mut self,
        known: &Known,
        checkpoint: &Checkpoint,
        chain: &ChainValue,
        note: Vec<u8>,
        run: &Run,
    ) -> Result<Vec<u8>, LockError> {
        self.tlog_fault = self.tlog.extend(&known.frontier, run.span.leaves()).err();
        self.swap(known, checkpoint, chain, &run.boot)?;
        Ok(self.cosigned(checkpoint, note, run))
    }

    fn swap(&self, known: &Known, checkpoint: &Checkpoint, chain: &ChainValue, boot: &str) -> Result<(), LockError> {
        let Some(store) = &self.publication.lock else { return Ok(()) };
        let place = store.place();
        let standing = read_record(&**store, &checkpoint.origin)?;
        if let Some((record, _)) = &standing {
            check(&self.data_dir, known, record, &place)?;
            // Published up to there by a process that ended before it kept its own word; the record never goes back.
            if record.size > checkpoint.size {
                return Ok(());
            }
        }
        let new = LockRecord {
            boot: boot.to_owned(),
            chain: *chain,
            log: checkpoint.origin.clone(),
            root: checkpoint.root,
            size: checkpoint.size,
        };
        let expected = standing.as_ref().map(|(_, bytes)| bytes.as_slice());
        match store.swap(expected, &new.to_bytes())? {
            true => Ok(()),
            false => Err(LockError::Fork { place, size: checkpoint.size }),
        }
    }

    fn cosigned(&mut self, checkpoint: &Checkpoint, mut note: Vec<u8>, run: &Run) -> Vec<u8> {
        let Some(cosigner) = &mut self.publication.cosigner else { return note };
        let Ok(parsed) = SignedNote::parse(&note) else { return note };
        let tiles = self.tlog.open(checkpoint.size, &checkpoint.root);
        let proof = |old: u64| match &tiles {
            Ok(tiles) => tiles.consistency(old, checkpoint.size),
            // Without tiles, from what is being sealed, if that reaches back far enough.
            Err(_) => Ok(run.span.consistency(old, checkpoint.size)?),
        };
        let mut taken = Vec::new();
        for cosignature in cosigner.cosign(checkpoint, &note, &proof) {
            let made = self.publication.witnesses.iter().any(|witness| witness.made(&cosignature, parsed.text()));
            if made && !taken.contains(&cosignature.name) {
                note.extend_from_slice(cosignature.to_line().as_bytes());
                taken.push(cosignature.name);
            }
        }
        note
    }

    /// After the checkpoint was published.
    pub(super) fn after(&mut self, note: &[u8]) {
        if self.tlog_fault.is_none() {
            self.tlog_fault = self.tlog.publish(note).err();
        }
    }
}
