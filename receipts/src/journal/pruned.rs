//! `pruned.json`: where a journal begins whose oldest segments were removed.

use std::io::{self, Read as _};
use std::path::Path;

use super::chain::ChainValue;
use super::storage::Storage;
use crate::bundle::{frontier_value, read_frontier};
use crate::canonical::{Limits, Value, is_canonical, parse, to_vec};
use crate::durable::temporary;
use crate::hex;
use crate::receipt::{FORMAT, Kind};
use crate::tree::Frontier;

/// Name of the file in the journal's directory.
pub(crate) const PRUNED: &str = "pruned.json";

/// Longest such file: 64 hashes are some 4.5 KiB.
const PRUNED_MAX_BYTES: u64 = 16 * 1024;

/// What is known of the receipts that are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pruned {
    /// Chain value of the last of them.
    pub(crate) chain: ChainValue,
    /// The tree over them; its size is the sequence number of the first receipt that stays.
    pub(crate) frontier: Frontier,
}

impl Pruned {
    /// Number of receipts that are gone.
    pub(crate) fn size(&self) -> u64 {
        self.frontier.size()
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        to_vec(&Value::from([
            ("chain", Value::from(hex::encode(&self.chain))),
            ("frontier", frontier_value(&self.frontier)),
            ("v", Value::from(FORMAT)),
        ]))
    }

    /// Reads the canonical form and nothing else.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let value = parse(bytes, Limits::RECEIPT).ok().filter(|value| is_canonical(bytes, value))?;
        let members = value.as_object()?.len();
        let chain = value.get("chain").and_then(Value::as_str).and_then(hex::decode_32)?;
        let frontier = value.get("frontier").and_then(read_frontier)?;
        let good = members == 3 && value.get("v")?.as_str() == Some(FORMAT) && frontier.size() > 0;
        good.then_some(Self { chain, frontier })
    }

    /// What the journal in this directory says; `None` when nothing was removed. The inner error: not readable as such.
    pub(crate) fn load(storage: &dyn Storage, journal: &Path) -> io::Result<Option<Option<Self>>> {
        let mut bytes = Vec::new();
        match storage.open(&journal.join(PRUNED)) {
            Ok(file) => file.take(PRUNED_MAX_BYTES).read_to_end(&mut bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(Self::from_bytes(&bytes)))
    }

    /// Makes it durable.
    pub(crate) fn save(&self, storage: &dyn Storage, journal: &Path) -> io::Result<()> {
        let path = journal.join(PRUNED);
        let unfinished = temporary(&path);
        let mut file = storage.create(&unfinished)?;
        file.write_all(&self.to_bytes())?;
        file.sync()?;
        storage.rename(&unfinished, &path)?;
        storage.sync_directory(journal)
    }
}

/// True for the body of a `prune` receipt that ends at this size. Cheap for every other receipt.
pub(crate) fn is_prune_to(body: &[u8], size: u64) -> bool {
    event_of(body, Kind::Prune).is_some_and(|event| event.get("to").and_then(Value::as_str) == Some(&size.to_string()))
}

/// The `event` of a receipt, if it is of this kind.
pub(crate) fn event_of(body: &[u8], kind: Kind) -> Option<Value> {
    // Most receipts are of another kind, and need not be parsed to see that: the member stands there just so. Inside a text
    // its quotes would be escaped.
    let needle = format!("\"kind\":\"{}\"", kind.name());
    if !body.windows(needle.len()).any(|window| window == needle.as_bytes()) {
        return None;
    }
    let value = parse(body, Limits::RECEIPT).ok()?;
    (value.get("kind")?.as_str() == Some(kind.name())).then(|| value.get("event").cloned())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pruned() -> Pruned {
        let mut frontier = Frontier::default();
        (0..5u8).for_each(|leaf| frontier.push([leaf; 32]));
        Pruned { chain: [9; 32], frontier }
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let bytes = pruned().to_bytes();
        assert_eq!(Pruned::from_bytes(&bytes), Some(pruned()));
        let text = String::from_utf8(bytes.clone()).unwrap();
        for (from, to) in [("\"5\"", "\"7\""), ("pef.v0", "pef.v1"), ("\"v\"", "\"w\""), ("{\"chain", "{ \"chain")] {
            assert!(text.contains(from));
            assert_eq!(Pruned::from_bytes(text.replacen(from, to, 1).as_bytes()), None, "{from}");
        }
        for length in 0..bytes.len() {
            assert_eq!(Pruned::from_bytes(&bytes[..length]), None);
        }
    }

    #[test]
    fn a_kind_in_a_text_or_deeper_is_none() {
        let kind = Kind::Prune;
        assert!(event_of(br#"{"event":{"to":"7"},"kind":"prune"}"#, kind).is_some());
        assert!(is_prune_to(br#"{"event":{"to":"7"},"kind":"prune"}"#, 7));
        assert!(!is_prune_to(br#"{"event":{"to":"7"},"kind":"prune"}"#, 8));
        assert!(event_of(br#"{"event":{"kind":"prune"},"kind":"seal"}"#, kind).is_none());
        assert!(event_of(br#"{"event":"\"kind\":\"prune\"","kind":"seal"}"#, kind).is_none());
    }
}
