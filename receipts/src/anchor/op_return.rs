//! A Bitcoin transaction of one's own: an output that carries the digest, and the proof that a block holds it.
//!
//! A transaction that spends an output of the anchor before it makes the anchors a chain: two histories of one log would
//! then need a double spend (Catena, Tomescu and Devadas, 2017).

use super::bitcoin::{Header, Transaction, merkle_root};
use crate::canonical::{Limits, Value, parse, to_vec};
use crate::hex;
use crate::receipt::parse_decimal;
use crate::receipt::shape::{Shape, check, must};
use crate::tree::Hash;

/// Most hashes of a branch: a block has far fewer than 2^32 transactions.
const BRANCH_MAX: usize = 32;

/// Most headers: two weeks of blocks, the span of one difficulty.
const HEADERS_MAX: usize = 2016;

/// A transaction of this length could pass for an inner node of the tree over transactions.
const NODE_BYTES: usize = 64;

/// The script of the output that anchors a digest: `OP_RETURN`, and one push of `PEF0` and the digest.
pub fn op_return_script(digest: &Hash) -> Vec<u8> {
    [&[0x6A, 36][..], b"PEF0", digest].concat()
}

/// A proof file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpReturnProof {
    /// Hashes beside the path from the transaction to the root, from below, in the byte order of the hashing.
    pub branch: Vec<Hash>,
    /// Headers from that of the transaction's block on.
    pub headers: Vec<Header>,
    /// Place of the transaction in its block.
    pub index: u64,
    /// The transaction without witness data.
    pub tx: Vec<u8>,
}

/// What is wrong with a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpReturnFault {
    #[error("not a transaction without witness data")]
    Transaction,
    #[error("no output that anchors this digest")]
    Digest,
    #[error("the transaction does not lead to the Merkle root of the first header")]
    Branch,
    #[error("headers that do not follow each other, do not meet their target, or are none or more than 2,016")]
    Headers,
}

impl OpReturnProof {
    pub(crate) const SHAPE: Shape = Shape::Object(&[
        must("branch", Shape::List(&Shape::Digest)),
        must("headers", Shape::List(&Shape::BlockHeader)),
        must("index", Shape::Decimal),
        must("tx", Shape::Hex),
    ]);

    /// Reads a proof file; `None` when it is not of its form.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let value = parse(bytes, Limits::MANIFEST).ok()?;
        if !check(&value, &Self::SHAPE).is_empty() || to_vec(&value) != bytes {
            return None;
        }
        Self::from_value(&value)
    }

    pub(crate) fn from_value(value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let list = |name: &str| value.get(name).and_then(Value::as_array).map(|items| items.iter().map(Value::as_str));
        Some(Self {
            branch: list("branch")?.map(|item| item.and_then(hex::decode_32)).collect::<Option<_>>()?,
            headers: list("headers")?
                .map(|item| item.and_then(hex::decode).and_then(|bytes| Header::from_bytes(&bytes)))
                .collect::<Option<_>>()?,
            index: text("index").and_then(parse_decimal)?,
            tx: text("tx").and_then(hex::decode)?,
        })
    }

    /// The proof file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let texts = |items: Vec<String>| Value::Array(items.into_iter().map(Value::from).collect());
        to_vec(&Value::from([
            ("branch", texts(self.branch.iter().map(|hash| hex::encode(hash)).collect())),
            ("headers", texts(self.headers.iter().map(|header| hex::encode(&header.0)).collect())),
            ("index", Value::from(self.index.to_string())),
            ("tx", Value::from(hex::encode(&self.tx))),
        ]))
    }

    pub fn transaction(&self) -> Option<Transaction> {
        if self.tx.len() == NODE_BYTES { None } else { Transaction::parse(&self.tx) }
    }

    /// Everything that is wrong with it as a proof of this digest.
    pub fn faults(&self, digest: &Hash) -> Vec<OpReturnFault> {
        let Some(transaction) = self.transaction() else { return vec![OpReturnFault::Transaction] };
        let mut faults = Vec::new();
        if !transaction.scripts.contains(&op_return_script(digest)) {
            faults.push(OpReturnFault::Digest);
        }
        let root = self.headers.first().map(Header::merkle_root);
        let leads = self.branch.len() <= BRANCH_MAX
            && merkle_root(transaction.hash, self.index, &self.branch).is_some_and(|found| Some(found) == root);
        if !leads {
            faults.push(OpReturnFault::Branch);
        }
        let follow = self.headers.windows(2).all(|pair| matches!(pair, [a, b] if b.prev() == a.hash()));
        let good = (1..=HEADERS_MAX).contains(&self.headers.len()) && follow;
        if !good || !self.headers.iter().all(Header::meets_target) {
            faults.push(OpReturnFault::Headers);
        }
        faults
    }
}
