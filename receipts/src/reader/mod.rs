//! Reads receipts back in their order: from the journal, and from bundles where the journal no longer has them.
//!
//! For people and tools that look something up. Nothing is believed and nothing is checked here but that it can be read;
//! needs no keys. The check is [`mod@crate::verify`].

mod bundled;

use std::io;
use std::path::{Path, PathBuf};

use crate::bundle::{bundle_range, list_bundle_files};
use crate::canonical::{Limits, Value, parse};
use crate::journal::{Chain, ChainValue, JOURNAL_DIRECTORY, JournalScan, ScanError, Token, segments};
use crate::receipt::RECEIPT_PAYLOAD_TYPE;
use crate::tree::{Hash, leaf_hash};
use crate::{dsse, hex};

use bundled::BundleLines;

/// Why the next receipt cannot be read. Each has a stable code.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("Q001: there is no log in {}: neither a journal nor bundles", .0.display())]
    Nothing(PathBuf),
    #[error("Q002: receipt {seq} is not there; the log has receipts {first} to {last}")]
    Outside { seq: u64, first: u64, last: u64 },
    #[error("Q003: receipt {seq} is missing: {what}; run `clyra verify` on the data directory")]
    Missing { seq: u64, what: String },
    #[error("Q004: {}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("Q005: {}, receipt {seq}: {what}; run `clyra verify` on it", .path.display())]
    Unreadable { path: PathBuf, seq: u64, what: &'static str },
}

impl ReadError {
    /// Stable code, `Q001` …
    pub fn code(&self) -> &'static str {
        match self {
            Self::Nothing(_) => "Q001",
            Self::Outside { .. } => "Q002",
            Self::Missing { .. } => "Q003",
            Self::Io { .. } => "Q004",
            Self::Unreadable { .. } => "Q005",
        }
    }

    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

/// A receipt as it was stored.
#[derive(Debug, Clone)]
pub struct StoredReceipt {
    seq: u64,
    body: Vec<u8>,
    value: Value,
    key_id: String,
    signature: [u8; 64],
}

impl StoredReceipt {
    pub(crate) fn new(seq: u64, body: Vec<u8>, signature: &[u8], path: &Path) -> Result<Self, ReadError> {
        let unreadable = |what| ReadError::Unreadable { path: path.to_owned(), seq, what };
        let value = parse(&body, Limits::RECEIPT).map_err(|_| unreadable("its body is not JSON"))?;
        let key_id = value.get("key_id").and_then(Value::as_str).filter(|id| hex::decode_32(id).is_some());
        let key_id = key_id.ok_or_else(|| unreadable("it names no key"))?.to_owned();
        let signature = signature.try_into().map_err(|_| unreadable("it has no signature"))?;
        Ok(Self { seq, body, value, key_id, signature })
    }

    /// Its place in the log.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The signed bytes: canonical JSON.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The DSSE envelope: the leaf of the tree.
    pub fn envelope(&self) -> Vec<u8> {
        dsse::envelope(RECEIPT_PAYLOAD_TYPE, &self.body, &self.key_id, &self.signature)
    }

    /// Hash of the leaf.
    pub fn leaf(&self) -> Hash {
        leaf_hash(&self.envelope())
    }

    /// What the caller got for it.
    pub fn token(&self) -> Token {
        Token { seq: self.seq, chain: self.chain(), key_id: self.key_id.clone(), signature: self.signature }
    }

    fn chain(&self) -> ChainValue {
        Chain::default().value(self.seq, &self.body)
    }
}

/// Where the next receipt comes from.
enum Source {
    Bundle(Box<BundleLines>),
    Journal(Box<JournalScan>),
}

/// A position in a log.
pub struct Receipts {
    journal: PathBuf,
    /// Bundles that are still to be read before the journal, last first: first and end number, and file.
    bundles: Vec<(u64, u64, PathBuf)>,
    /// First number that the journal has; `None` where there is no journal.
    journal_from: Option<u64>,
    source: Option<Source>,
    next: u64,
}

impl std::fmt::Debug for Receipts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Receipts").field("next", &self.next).finish_non_exhaustive()
    }
}

impl Receipts {
    /// Stands before receipt `from` of the log in a data directory.
    pub fn open(data_dir: &Path, from: u64) -> Result<Self, ReadError> {
        let mut receipts = Self::at(data_dir)?;
        receipts.next = from;
        let begins = receipts.first();
        if from < begins {
            return Err(ReadError::Outside { seq: from, first: begins, last: receipts.last_seq()? });
        }
        Ok(receipts)
    }

    /// Stands before the first receipt that is there.
    pub fn open_first(data_dir: &Path) -> Result<Self, ReadError> {
        let mut receipts = Self::at(data_dir)?;
        receipts.next = receipts.first();
        Ok(receipts)
    }

    /// Stands at least `count` receipts before the end, as far as there are so many, and not much further.
    pub fn open_last(data_dir: &Path, count: u64) -> Result<Self, ReadError> {
        let mut receipts = Self::at(data_dir)?;
        let firsts = receipts.segments()?;
        let Some(last) = firsts.last().copied() else {
            let end = receipts.bundles.first().map_or(0, |(_, to, _)| *to);
            receipts.next = end.saturating_sub(count).max(receipts.first());
            return Ok(receipts);
        };
        receipts.next = last;
        let in_last = receipts.count_rest()?;
        receipts.source = None;
        let wanted = last.saturating_sub(count.saturating_sub(in_last));
        // From the start of the segment that it lies in: that is where a scan begins in any case.
        receipts.next = if in_last >= count { last } else { wanted.max(receipts.first()) };
        Ok(receipts)
    }

    fn at(data_dir: &Path) -> Result<Self, ReadError> {
        let mut bundles = Vec::new();
        for (path, name) in list_bundle_files(data_dir).map_err(ReadError::io(data_dir))? {
            bundles.extend(bundle_range(&name).map(|(from, to)| (from, to, path)));
        }
        bundles.reverse();
        let journal = data_dir.join(JOURNAL_DIRECTORY);
        let mut receipts = Self { journal, bundles, journal_from: None, source: None, next: 0 };
        receipts.journal_from = receipts.segments()?.first().copied();
        if receipts.journal_from.is_none() && receipts.bundles.is_empty() {
            return Err(ReadError::Nothing(data_dir.to_owned()));
        }
        Ok(receipts)
    }

    fn segments(&self) -> Result<Vec<u64>, ReadError> {
        match segments(&self.journal) {
            Ok(firsts) => Ok(firsts),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(ReadError::Io { path: self.journal.clone(), source: error }),
        }
    }

    fn first(&self) -> u64 {
        let bundled = self.bundles.last().map(|(from, ..)| *from);
        bundled.into_iter().chain(self.journal_from).min().unwrap_or(0)
    }

    fn count_rest(&mut self) -> Result<u64, ReadError> {
        let before = self.next;
        while self.read_next()?.is_some() {}
        Ok(self.next - before)
    }

    /// Number of the last receipt that is there; the reader stands at the end then.
    fn last_seq(&mut self) -> Result<u64, ReadError> {
        let bundled = self.bundles.first().map_or(0, |(_, to, _)| *to);
        self.next = self.segments()?.last().copied().unwrap_or(bundled);
        self.source = None;
        self.count_rest()?;
        Ok(self.next.saturating_sub(1))
    }

    /// The next receipt; `None` where the log ends, or ends for now.
    pub fn read_next(&mut self) -> Result<Option<StoredReceipt>, ReadError> {
        loop {
            let source = match &mut self.source {
                Some(source) => source,
                none => match Self::source_at(self.next, &mut self.bundles, self.journal_from, &self.journal)? {
                    Some(source) => none.insert(source),
                    None => return Ok(None),
                },
            };
            match source {
                Source::Journal(scan) => {
                    let Some((frame, _)) = scan.next().map_err(|error| scan_error(error, self.next))? else {
                        return Ok(None);
                    };
                    let receipt = StoredReceipt::new(self.next, frame.body, &frame.signature, &self.journal)?;
                    self.next += 1;
                    return Ok(Some(receipt));
                }
                Source::Bundle(lines) => match lines.next(self.next)? {
                    Some(receipt) => {
                        self.next += 1;
                        return Ok(Some(receipt));
                    }
                    None => self.source = None,
                },
            }
        }
    }

    fn source_at(
        next: u64,
        bundles: &mut Vec<(u64, u64, PathBuf)>,
        journal_from: Option<u64>,
        journal: &Path,
    ) -> Result<Option<Source>, ReadError> {
        if journal_from.is_some_and(|first| first <= next) {
            let scan = JournalScan::new(journal, next).map_err(|error| scan_error(error, next))?;
            return Ok(Some(Source::Journal(Box::new(scan))));
        }
        while let Some((from, to, path)) = bundles.pop() {
            if next < to && from <= next {
                return Ok(Some(Source::Bundle(Box::new(BundleLines::open(&path, from, next)?))));
            }
            if from > next {
                return Err(ReadError::Missing { seq: next, what: "neither journal nor bundle has it".to_owned() });
            }
        }
        Ok(None)
    }

    /// Looks for what was written since the end was met.
    pub fn refresh(&mut self) -> Result<(), ReadError> {
        match &mut self.source {
            Some(Source::Journal(scan)) => scan.refresh().map_err(|error| scan_error(error, self.next)),
            _ => {
                self.journal_from = self.segments()?.first().copied();
                Ok(())
            }
        }
    }

    /// One receipt.
    pub fn read(data_dir: &Path, seq: u64) -> Result<StoredReceipt, ReadError> {
        let mut receipts = Self::open(data_dir, seq)?;
        match receipts.read_next() {
            Ok(Some(receipt)) => Ok(receipt),
            Ok(None) | Err(ReadError::Missing { .. }) => {
                let first = Self::at(data_dir)?.first();
                let last = Self::at(data_dir)?.last_seq()?;
                if seq > last { Err(ReadError::Outside { seq, first, last }) } else { Err(missing(seq)) }
            }
            Err(error) => Err(error),
        }
    }
}

fn missing(seq: u64) -> ReadError {
    ReadError::Missing { seq, what: "neither journal nor bundle has it".to_owned() }
}

fn scan_error(error: ScanError, seq: u64) -> ReadError {
    match error {
        ScanError::Io { path, source } => ReadError::Io { path, source },
        other => ReadError::Missing { seq, what: other.to_string() },
    }
}

#[cfg(test)]
mod tests;
