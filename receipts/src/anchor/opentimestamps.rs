//! OpenTimestamps: detached proofs that lead from a digest by hashing and appending to something that many saw.
//!
//! The subset of `SPEC.md` §9: SHA-256, append and prepend, which is what calendars that end in Bitcoin give.

use super::bitcoin::Header;
use crate::tree::Hash;
use sha2::{Digest as _, Sha256};

/// How a detached proof begins, up to and with its version.
const MAGIC: &[u8] = b"\x00OpenTimestamps\x00\x00Proof\x00\xbf\x89\xe2\xe8\x84\xe8\x92\x94\x01";

const SHA256: u8 = 0x08;
const APPEND: u8 = 0xF0;
const PREPEND: u8 = 0xF1;
const ATTESTATION: u8 = 0x00;
const FORK: u8 = 0xFF;

const BITCOIN: [u8; 8] = [0x05, 0x88, 0x96, 0x0D, 0x73, 0xD7, 0x19, 0x01];
const PENDING: [u8; 8] = [0x83, 0xDF, 0xE3, 0x0D, 0x2E, 0xF9, 0x0C, 0x8E];

/// Operations that lie on one another; the limit of the original implementation.
const DEPTH_MAX: usize = 256;
/// Attestations of one proof: a few calendars give a few each.
const ATTESTATIONS_MAX: usize = 1024;
/// Bytes of an argument and of a result.
const MESSAGE_MAX: usize = 4096;
/// Bytes of an attestation's payload.
const PAYLOAD_MAX: usize = 8192;
/// Longest answer of a calendar: what is on top of one digest is some hundred bytes.
pub const ANSWER_MAX_BYTES: usize = 64 * 1024;
/// Longest address of a calendar.
const URI_MAX: usize = 1000;

/// A detached proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// SHA-256 of what is stamped.
    pub digest: Hash,
    stamp: Timestamp,
}

/// What is known of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timestamp {
    items: Vec<Item>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Attestation(Attestation),
    Operation(Operation, Timestamp),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Operation {
    Sha256,
    Append(Vec<u8>),
    Prepend(Vec<u8>),
}

/// Why a message is believed to be old.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attestation {
    /// It is the Merkle root of the block of this height.
    Bitcoin { height: u32 },
    /// A calendar has promised to bring it into a block.
    Pending { calendar: String },
    /// Something that is not known here.
    Other { kind: [u8; 8], payload: Vec<u8> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OtsFault {
    #[error("not a detached OpenTimestamps proof, version 1, of a SHA-256 digest")]
    Form,
    #[error("operation {0:#04x} is not of those that a proof may have")]
    Operation(u8),
    #[error("it ends early, goes on after its end, or holds a number that is not in its shortest form")]
    Bytes,
    #[error("longer, deeper or wider than a proof may be")]
    Limit,
    #[error("an attestation that is not of its form, or not on a digest")]
    Attestation,
    #[error("the header does not meet its target, or no Bitcoin attestation is on its Merkle root")]
    Header,
}

impl Proof {
    /// A proof of a digest, with what a calendar has answered for it.
    pub fn new(digest: Hash, stamp: Timestamp) -> Self {
        Self { digest, stamp }
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, OtsFault> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(OtsFault::Form)?;
        let (digest, rest) =
            rest.strip_prefix(&[SHA256]).and_then(|rest| rest.split_first_chunk::<32>()).ok_or(OtsFault::Form)?;
        Ok(Self { digest: *digest, stamp: Timestamp::from_bytes(rest, digest)? })
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.push(SHA256);
        out.extend_from_slice(&self.digest);
        self.stamp.write(&mut out);
        out
    }

    /// Its attestations, each with the message that it is on.
    pub fn attestations(&self) -> Vec<(&Attestation, Vec<u8>)> {
        let mut out = Vec::new();
        self.stamp.collect(&self.digest, &mut out);
        out
    }

    /// The block that one of its Bitcoin attestations names, and the Merkle root that it must have. The earliest, because
    /// that says most.
    pub fn bitcoin(&self) -> Option<(u32, Hash)> {
        let attestations = self.attestations().into_iter();
        let bitcoin = attestations.filter_map(|(attestation, message)| match attestation {
            Attestation::Bitcoin { height } => Some((*height, message.try_into().ok()?)),
            _ => None,
        });
        bitcoin.min()
    }

    /// Holds the proof against a block header.
    pub fn check_header(&self, header: &Header) -> Result<(), OtsFault> {
        let root = header.merkle_root();
        let on_root = self
            .attestations()
            .into_iter()
            .any(|(attestation, message)| matches!(attestation, Attestation::Bitcoin { .. }) && message == root);
        if on_root && header.meets_target() { Ok(()) } else { Err(OtsFault::Header) }
    }

    /// Puts what a calendar knows by now in the place of its promise. False when there was no such promise.
    pub fn complete(&mut self, calendar: &str, message: &[u8], known: &Timestamp) -> bool {
        let digest = self.digest;
        self.stamp.complete(&digest, &Attestation::Pending { calendar: calendar.to_owned() }, message, known)
    }
}

impl Timestamp {
    /// Reads what a calendar answers about a message, to the last byte.
    pub fn from_bytes(bytes: &[u8], message: &[u8]) -> Result<Self, OtsFault> {
        let mut reader = Reader { rest: bytes, attestations: 0 };
        let stamp = reader.timestamp(message, 0)?;
        if reader.rest.is_empty() { Ok(stamp) } else { Err(OtsFault::Bytes) }
    }

    /// The message with these bytes appended, hashed, and what `stamps` know about that. A calendar that sees only this
    /// digest learns nothing of what is stamped.
    pub fn blinded(nonce: &[u8], stamps: Vec<Timestamp>) -> Self {
        let items = stamps.into_iter().flat_map(|stamp| stamp.items).collect();
        let hashed = Item::Operation(Operation::Sha256, Self { items });
        Self { items: vec![Item::Operation(Operation::Append(nonce.to_vec()), Self { items: vec![hashed] })] }
    }

    /// The digest that calendars are given for [`Timestamp::blinded`].
    pub fn blind(digest: &Hash, nonce: &[u8]) -> Hash {
        Sha256::digest([digest, nonce].concat()).into()
    }

    /// Whether it leads to a Bitcoin block.
    pub fn has_bitcoin(&self) -> bool {
        self.items.iter().any(|item| match item {
            Item::Attestation(attestation) => matches!(attestation, Attestation::Bitcoin { .. }),
            Item::Operation(_, stamp) => stamp.has_bitcoin(),
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let last = self.items.len().saturating_sub(1);
        for (index, item) in self.items.iter().enumerate() {
            if index != last {
                out.push(FORK);
            }
            match item {
                Item::Attestation(attestation) => attestation.write(out),
                Item::Operation(operation, stamp) => {
                    operation.write(out);
                    stamp.write(out);
                }
            }
        }
    }

    fn collect<'a>(&'a self, message: &[u8], out: &mut Vec<(&'a Attestation, Vec<u8>)>) {
        for item in &self.items {
            match item {
                Item::Attestation(attestation) => out.push((attestation, message.to_vec())),
                Item::Operation(operation, stamp) => stamp.collect(&operation.apply(message), out),
            }
        }
    }

    fn complete(&mut self, message: &[u8], promise: &Attestation, on: &[u8], known: &Timestamp) -> bool {
        let mut found = false;
        if message == on {
            let before = self.items.len();
            self.items.retain(|item| !matches!(item, Item::Attestation(attestation) if attestation == promise));
            if self.items.len() < before {
                self.items.extend(known.items.iter().cloned());
                return true;
            }
        }
        for item in &mut self.items {
            if let Item::Operation(operation, stamp) = item {
                found |= stamp.complete(&operation.apply(message), promise, on, known);
            }
        }
        found
    }
}

impl Operation {
    fn apply(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(message).to_vec(),
            Self::Append(argument) => [message, argument].concat(),
            Self::Prepend(argument) => [argument, message].concat(),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Sha256 => out.push(SHA256),
            Self::Append(argument) => write_bytes(APPEND, argument, out),
            Self::Prepend(argument) => write_bytes(PREPEND, argument, out),
        }
    }
}

impl Attestation {
    fn write(&self, out: &mut Vec<u8>) {
        let (kind, payload) = match self {
            Self::Bitcoin { height } => (BITCOIN, number(*height)),
            Self::Pending { calendar } => {
                let mut payload = number(u32::try_from(calendar.len()).unwrap_or(u32::MAX));
                payload.extend_from_slice(calendar.as_bytes());
                (PENDING, payload)
            }
            Self::Other { kind, payload } => (*kind, payload.clone()),
        };
        out.push(ATTESTATION);
        out.extend_from_slice(&kind);
        out.extend_from_slice(&number(u32::try_from(payload.len()).unwrap_or(u32::MAX)));
        out.extend_from_slice(&payload);
    }
}

fn write_bytes(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend_from_slice(&number(u32::try_from(bytes.len()).unwrap_or(u32::MAX)));
    out.extend_from_slice(bytes);
}

/// Base 128, lowest seven bits first.
fn number(mut number: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(5);
    loop {
        let low = u8::try_from(number & 0x7F).unwrap_or(0);
        number >>= 7;
        if number == 0 {
            out.push(low);
            return out;
        }
        out.push(low | 0x80);
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    attestations: usize,
}

impl<'a> Reader<'a> {
    fn timestamp(&mut self, message: &[u8], depth: usize) -> Result<Timestamp, OtsFault> {
        let mut items = Vec::with_capacity(1);
        loop {
            let tag = self.byte()?;
            let (tag, more) = if tag == FORK { (self.byte()?, true) } else { (tag, false) };
            items.push(self.item(tag, message, depth)?);
            if !more {
                return Ok(Timestamp { items });
            }
        }
    }

    fn item(&mut self, tag: u8, message: &[u8], depth: usize) -> Result<Item, OtsFault> {
        let operation = match tag {
            ATTESTATION => return self.attestation(message).map(Item::Attestation),
            SHA256 => Operation::Sha256,
            APPEND => Operation::Append(self.argument()?),
            PREPEND => Operation::Prepend(self.argument()?),
            other => return Err(OtsFault::Operation(other)),
        };
        let result = operation.apply(message);
        if depth == DEPTH_MAX || result.len() > MESSAGE_MAX {
            return Err(OtsFault::Limit);
        }
        Ok(Item::Operation(operation, self.timestamp(&result, depth + 1)?))
    }

    fn attestation(&mut self, message: &[u8]) -> Result<Attestation, OtsFault> {
        self.attestations += 1;
        if self.attestations > ATTESTATIONS_MAX {
            return Err(OtsFault::Limit);
        }
        let kind = *self.take(8)?.first_chunk::<8>().ok_or(OtsFault::Bytes)?;
        let payload = self.counted(0, PAYLOAD_MAX)?;
        let mut inner = Reader { rest: payload, attestations: 0 };
        match kind {
            BITCOIN => {
                let height = inner.number()?;
                if !inner.rest.is_empty() || message.len() != 32 {
                    return Err(OtsFault::Attestation);
                }
                Ok(Attestation::Bitcoin { height })
            }
            // What cannot be followed is passed over like any other kind.
            PENDING => Ok(inner.calendar().map_or_else(
                || Attestation::Other { kind, payload: payload.to_vec() },
                |calendar| Attestation::Pending { calendar },
            )),
            _ => Ok(Attestation::Other { kind, payload: payload.to_vec() }),
        }
    }

    /// An address in the characters that calendars may have in theirs.
    fn calendar(&mut self) -> Option<String> {
        let uri = self.counted(1, URI_MAX).ok()?;
        let good = uri.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._/:".contains(byte));
        if self.rest.is_empty() && good { String::from_utf8(uri.to_vec()).ok() } else { None }
    }

    fn argument(&mut self) -> Result<Vec<u8>, OtsFault> {
        self.counted(1, MESSAGE_MAX).map(<[u8]>::to_vec)
    }

    fn counted(&mut self, least: usize, most: usize) -> Result<&'a [u8], OtsFault> {
        let length = self.number()? as usize;
        if (least..=most).contains(&length) { self.take(length) } else { Err(OtsFault::Limit) }
    }

    fn number(&mut self) -> Result<u32, OtsFault> {
        let mut number = 0u64;
        for group in 0..5 {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7F) << (7 * group);
            if byte & 0x80 == 0 {
                let shortest = byte != 0 || group == 0;
                return u32::try_from(number).ok().filter(|_| shortest).ok_or(OtsFault::Bytes);
            }
        }
        Err(OtsFault::Bytes)
    }

    fn byte(&mut self) -> Result<u8, OtsFault> {
        let (byte, rest) = self.rest.split_first().ok_or(OtsFault::Bytes)?;
        self.rest = rest;
        Ok(*byte)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], OtsFault> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(OtsFault::Bytes)?;
        self.rest = rest;
        Ok(taken)
    }
}
