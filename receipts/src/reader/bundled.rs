//! The receipts of one bundle, line by line.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::{ReadError, StoredReceipt};
use crate::bundle::{Container, RECEIPTS, open_bundle};
use crate::canonical::{Limits, parse};
use crate::dsse::Envelope;
use crate::receipt::{LEAF_MAX_BYTES, RECEIPT_PAYLOAD_TYPE};

pub(super) struct BundleLines {
    path: PathBuf,
    lines: BufReader<Container>,
}

impl BundleLines {
    /// Stands before receipt `seq` of a bundle whose first is `from`.
    pub(super) fn open(path: &Path, from: u64, seq: u64) -> Result<Self, ReadError> {
        let unreadable = |what| ReadError::Unreadable { path: path.to_owned(), seq, what };
        let mut container = open_bundle(path).map_err(ReadError::io(path))?;
        loop {
            match container.next().map_err(|_| unreadable("the bundle cannot be read"))? {
                Some(member) if member.path == RECEIPTS => break,
                Some(_) => {}
                None => return Err(unreadable("the bundle has no receipts")),
            }
        }
        let mut lines = Self { path: path.to_owned(), lines: BufReader::with_capacity(128 * 1024, container) };
        for skipped in from..seq {
            lines.line(skipped)?.ok_or_else(|| unreadable("the bundle ends before it"))?;
        }
        Ok(lines)
    }

    fn line(&mut self, seq: u64) -> Result<Option<Vec<u8>>, ReadError> {
        let unreadable = |what| ReadError::Unreadable { path: self.path.clone(), seq, what };
        let mut line = Vec::new();
        let limit = LEAF_MAX_BYTES as u64 + 1;
        self.lines.by_ref().take(limit).read_until(b'\n', &mut line).map_err(ReadError::io(&self.path))?;
        if line.is_empty() {
            return Ok(None);
        }
        line.pop_if(|last| *last == b'\n').ok_or_else(|| unreadable("its line does not end"))?;
        Ok(Some(line))
    }

    /// The next receipt, which is number `seq`.
    pub(super) fn next(&mut self, seq: u64) -> Result<Option<StoredReceipt>, ReadError> {
        let Some(line) = self.line(seq)? else { return Ok(None) };
        let unreadable = |what| ReadError::Unreadable { path: self.path.clone(), seq, what };
        let value = parse(&line, Limits::RECEIPT).map_err(|_| unreadable("its line is not JSON"))?;
        let envelope = Envelope::from_value(&value).filter(|envelope| envelope.payload_type == RECEIPT_PAYLOAD_TYPE);
        let envelope = envelope.ok_or_else(|| unreadable("its line is no receipt's envelope"))?;
        StoredReceipt::new(seq, envelope.payload, &envelope.signature, &self.path).map(Some)
    }
}
