//! A Bitcoin transaction of the owner's own. Clyra has no wallet: it says what the output must be, and takes the proof when the
//! transaction is in a block.
//!
//! In the spool directory, `<digest of the note>.script` holds the output's script in hexadecimal; whoever pays for the
//! transaction puts the proof of `SPEC.md` §7 beside it as `<digest>.json`.

use std::path::PathBuf;

use async_trait::async_trait;
use clyra_receipts::anchor::{
    AnchorKind, AnchorState, OpReturnFault, OpReturnProof, PROOF_MAX_BYTES, op_return_script,
};

use super::{Anchor, AnchorError, Anchored, Note, hex, timestamp};

#[derive(Debug)]
pub(super) struct Spool {
    pub(super) path: PathBuf,
}

impl Spool {
    fn file(&self, note: &Note, ending: &str) -> PathBuf {
        self.path.join(format!("{}.{ending}", note.sha256()))
    }
}

#[async_trait]
impl Anchor for Spool {
    fn kind(&self) -> AnchorKind {
        AnchorKind::OpReturn
    }

    async fn anchor(&self, note: &Note) -> Result<Option<Anchored>, AnchorError> {
        let path = self.file(note, "script");
        let script = format!("{}\n", hex(&op_return_script(&note.digest)));
        tokio::fs::create_dir_all(&self.path).await.map_err(AnchorError::io(&self.path))?;
        tokio::fs::write(&path, script).await.map_err(AnchorError::io(&path))?;
        Ok(None)
    }

    async fn finish(&self, note: &Note, _: Option<&[u8]>) -> Result<Option<Anchored>, AnchorError> {
        let path = self.file(note, "json");
        let length = match tokio::fs::metadata(&path).await {
            Ok(data) => data.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(AnchorError::Io { path, source: error }),
        };
        let no_proof = |what: &str| AnchorError::Proof { path: path.clone(), what: what.to_owned() };
        if length > PROOF_MAX_BYTES as u64 {
            return Err(no_proof("it is too long"));
        }
        let bytes = tokio::fs::read(&path).await.map_err(AnchorError::io(&path))?;
        // Written by hand or by a tool, it may end in a line break; the proof that is kept does not.
        let bytes = bytes.trim_ascii_end();
        let proof = OpReturnProof::from_bytes(bytes).ok_or_else(|| no_proof("not canonical JSON of its form"))?;
        if let Some(fault) = proof.faults(&note.digest).first() {
            return Err(no_proof(&OpReturnFault::to_string(fault)));
        }
        let header = proof.headers.first();
        let mut hash = proof.transaction().map(|transaction| transaction.hash).unwrap_or_default();
        hash.reverse();
        Ok(Some(Anchored {
            proof: bytes.to_vec(),
            state: AnchorState::Confirmed,
            at: header.map(|header| timestamp(u64::from(header.time()))),
            header: header.map(|header| hex(&header.0)),
            reference: Some(format!("bitcoin transaction {}", hex(&hash))),
        }))
    }
}
