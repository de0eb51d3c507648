//! Bitcoin, as far as an anchor needs it: block headers with their proof of work, transactions, Merkle branches.
//!
//! Whether a header is of the chain that everybody follows cannot be seen from it. What can be seen is how much work it took.

use sha2::{Digest as _, Sha256};

use crate::tree::Hash;

/// Bytes of a block header.
pub const HEADER_BYTES: usize = 80;

/// Bytes of an outpoint: hash of a transaction and number of its output.
const OUTPOINT_BYTES: usize = 36;

/// SHA-256 of SHA-256, in the byte order of the hashing. Explorers print it backwards.
pub fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(Sha256::digest(bytes)).into()
}

/// A block header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header(pub [u8; HEADER_BYTES]);

impl Header {
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub fn hash(&self) -> Hash {
        hash(&self.0)
    }

    /// Hash of the header before it.
    pub fn prev(&self) -> Hash {
        self.chunk(4)
    }

    /// Root of the tree over its transactions.
    pub fn merkle_root(&self) -> Hash {
        self.chunk(36)
    }

    /// Seconds since 1970, as the miner stated them: good to two hours or so.
    pub fn time(&self) -> u32 {
        u32::from_le_bytes(self.chunk(68))
    }

    fn chunk<const N: usize>(&self, at: usize) -> [u8; N] {
        let chunk = self.0.get(at..).and_then(|rest| rest.first_chunk::<N>());
        chunk.copied().unwrap_or([0; N])
    }

    /// Whether its hash is below the target that it states.
    pub fn meets_target(&self) -> bool {
        let Some(target) = target(u32::from_le_bytes(self.chunk(72))) else { return false };
        let mut number = self.hash();
        number.reverse();
        number <= target
    }
}

/// A target from its compact form, in big-endian; `None` for forms that no chain of today uses.
fn target(compact: u32) -> Option<[u8; 32]> {
    let exponent = usize::try_from(compact >> 24).ok()?;
    let mantissa = compact & 0x00FF_FFFF;
    if !(3..=32).contains(&exponent) || !(1..1 << 23).contains(&mantissa) {
        return None;
    }
    let mut out = [0; 32];
    let [_, digits @ ..] = mantissa.to_be_bytes();
    for (to, digit) in out.iter_mut().skip(32 - exponent).zip(digits) {
        *to = digit;
    }
    Some(out)
}

/// Where the transaction with this hash leads to, at this place of the block.
pub fn merkle_root(leaf: Hash, index: u64, branch: &[Hash]) -> Option<Hash> {
    let mut path = index;
    let mut at = leaf;
    for sibling in branch {
        let pair = if path & 1 == 0 { [at, *sibling] } else { [*sibling, at] };
        at = hash(pair.as_flattened());
        path >>= 1;
    }
    (path == 0).then_some(at)
}

/// A transaction without witness data, as its hash covers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Hashes of the transactions whose outputs it spends.
    pub spends: Vec<Hash>,
    /// Scripts of its outputs.
    pub scripts: Vec<Vec<u8>>,
    pub hash: Hash,
}

impl Transaction {
    /// Reads one that ends where the bytes end. `None` for anything else, also for one with witness data.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        take(&mut rest, 4)?;
        let mut spends = Vec::new();
        for _ in 0..some(compact_size(&mut rest)?)? {
            spends.push(*take(&mut rest, OUTPOINT_BYTES)?.first_chunk()?);
            script(&mut rest)?;
            take(&mut rest, 4)?;
        }
        let mut scripts = Vec::new();
        for _ in 0..some(compact_size(&mut rest)?)? {
            take(&mut rest, 8)?;
            scripts.push(script(&mut rest)?.to_vec());
        }
        take(&mut rest, 4)?;
        rest.is_empty().then(|| Self { spends, scripts, hash: hash(bytes) })
    }
}

fn some(count: u64) -> Option<u64> {
    (count > 0).then_some(count)
}

fn script<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = compact_size(rest)?;
    take(rest, usize::try_from(length).ok()?)
}

/// A count in Bitcoin's CompactSize, in its shortest form.
fn compact_size(rest: &mut &[u8]) -> Option<u64> {
    let &[first] = take(rest, 1)?.first_chunk::<1>()?;
    let (number, least) = match first {
        0..=0xFC => return Some(u64::from(first)),
        0xFD => (u64::from(u16::from_le_bytes(*take(rest, 2)?.first_chunk()?)), 0xFD),
        0xFE => (u64::from(u32::from_le_bytes(*take(rest, 4)?.first_chunk()?)), 1 << 16),
        0xFF => (u64::from_le_bytes(*take(rest, 8)?.first_chunk()?), 1 << 32),
    };
    (number >= least).then_some(number)
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(count)?;
    *rest = after;
    Some(taken)
}
