//! The slot for lineage: whoever knows how to tell it sees each receipt of a bundle in order and gives lines for it.

use crate::canonical::Value;
use crate::tree::Hash;

/// Writes the lineage of one bundle's receipts. It must give the same lines for the same receipts.
pub trait LineageLines: Send {
    /// Appends the lines for a receipt, each with its newline. `leaf` is the receipt's leaf hash.
    fn receipt(&mut self, body: &Value, leaf: &Hash, lines: &mut Vec<u8>);
}

/// Makes one for each bundle, so that no bundle depends on those before.
pub type LineageHook = fn() -> Box<dyn LineageLines>;
