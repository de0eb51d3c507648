//! What ties a checkpoint to the world: time stamps, OpenTimestamps proofs, Bitcoin transactions with their headers. The work
//! of a header here is that of a test chain: anybody finds one in a moment.

use serde_json::{Value, json};

use super::json::canonical;
use super::{hex, sha256};

/// `sha256` of `sha256`, as Bitcoin hashes.
pub(crate) fn twice(bytes: &[u8]) -> [u8; 32] {
    sha256(&sha256(bytes))
}

/// A DER element.
pub(crate) fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut bytes = vec![tag];
    match length {
        0..128 => bytes.push(u8::try_from(length).unwrap()),
        128..256 => bytes.extend([0x81, u8::try_from(length).unwrap()]),
        _ => {
            bytes.push(0x82);
            bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
    }
    bytes.extend(content);
    bytes
}

/// What can be varied in a time stamp.
#[derive(Clone)]
pub(crate) struct TimeStamp {
    pub(crate) status: u8,
    pub(crate) version: u8,
    pub(crate) hash: [u8; 32],
    /// OID of the hash.
    pub(crate) algorithm: Vec<u8>,
    pub(crate) time: String,
    pub(crate) after: Vec<u8>,
}

impl TimeStamp {
    pub(crate) fn of(note: &[u8]) -> Self {
        Self {
            status: 0,
            version: 1,
            hash: sha256(note),
            algorithm: vec![0x60, 0x86, 0x48, 1, 101, 3, 4, 2, 1],
            time: "20261121030200Z".to_owned(),
            after: Vec::new(),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let sequence = |parts: &[Vec<u8>]| der(0x30, &parts.concat());
        let algorithm = sequence(&[der(6, &self.algorithm), der(5, &[])]);
        let info = sequence(&[
            der(2, &[self.version]),
            der(6, &[0x2a, 3, 4]),
            sequence(&[algorithm.clone(), der(4, &self.hash)]),
            der(2, &[7]),
            der(0x18, self.time.as_bytes()),
        ]);
        let content =
            sequence(&[der(6, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 9, 16, 1, 4]), der(0xa0, &der(4, &info))]);
        // A signer as CMS wants one; nobody looks into it here.
        let signer =
            sequence(&[der(2, &[3]), der(0x80, &[1; 20]), algorithm.clone(), algorithm.clone(), der(4, &[2; 64])]);
        let signed = sequence(&[der(2, &[3]), der(0x31, &algorithm), content, der(0x31, &signer)]);
        let token = sequence(&[der(6, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 7, 2]), der(0xa0, &signed)]);
        [sequence(&[sequence(&[der(2, &[self.status])]), token]), self.after.clone()].concat()
    }
}

pub(crate) const BITCOIN: [u8; 8] = [0x05, 0x88, 0x96, 0x0d, 0x73, 0xd7, 0x19, 0x01];
pub(crate) const PENDING: [u8; 8] = [0x83, 0xdf, 0xe3, 0x0d, 0x2e, 0xf9, 0x0c, 0x8e];

/// The head of a detached proof of this digest.
pub(crate) fn ots_head(digest: &[u8; 32]) -> Vec<u8> {
    let magic = b"\0OpenTimestamps\0\0Proof\0\xbf\x89\xe2\xe8\x84\xe8\x92\x94";
    [&magic[..], &[1, 8], digest].concat()
}

/// An attestation with its payload.
pub(crate) fn attestation(kind: [u8; 8], payload: &[u8]) -> Vec<u8> {
    [&[0][..], &kind, &[u8::try_from(payload.len()).unwrap()], payload].concat()
}

/// A proof that leads over an append, a prepend and a hash to a Merkle root; with that root.
pub(crate) fn ots(digest: &[u8; 32], last: &[u8]) -> (Vec<u8>, [u8; 32]) {
    let (nonce, sibling) = ([0x11; 16], [0x22; 32]);
    let calendar = attestation(PENDING, &[&[20][..], b"https://calendar.tst"].concat());
    let mut proof = ots_head(digest);
    proof.extend([0xf0, 16]);
    proof.extend(nonce);
    proof.push(8);
    proof.push(0xff);
    proof.extend(calendar);
    proof.extend([0xf1, 32]);
    proof.extend(sibling);
    proof.push(8);
    proof.extend(last);
    let first = sha256(&[&digest[..], &nonce].concat());
    (proof, sha256(&[&sibling[..], &first].concat()))
}

/// The easiest target that is written.
const BITS: u32 = 0x207f_ffff;

/// A header over this root which meets its target, or misses it.
pub(crate) fn header(previous: &[u8; 32], root: &[u8; 32], good: bool) -> Vec<u8> {
    let mut header = 4u32.to_le_bytes().to_vec();
    header.extend(previous);
    header.extend(root);
    header.extend(1_795_230_000u32.to_le_bytes());
    header.extend(BITS.to_le_bytes());
    header.extend([0; 4]);
    for nonce in 0u32.. {
        header[76..].copy_from_slice(&nonce.to_le_bytes());
        // Read in little-endian, the last byte is the highest: the target is 7fffff and zeros.
        let hash = twice(&header);
        let meets = hash[31] < 0x7f || (hash[31] == 0x7f && hash[30] < 0xff);
        if meets == good {
            break;
        }
    }
    header
}

#[derive(Clone)]
pub(crate) struct OpReturn {
    pub(crate) script: Vec<u8>,
    pub(crate) branch: Vec<[u8; 32]>,
    pub(crate) index: u64,
    /// Whether each header meets its target.
    pub(crate) work: Vec<bool>,
    /// Whether each names the one before.
    pub(crate) linked: bool,
}

impl OpReturn {
    pub(crate) fn of(digest: &[u8; 32]) -> Self {
        Self {
            script: [&[0x6a, 36][..], b"PEF0", digest].concat(),
            branch: vec![[0x33; 32], [0x44; 32]],
            index: 2,
            work: vec![true, true],
            linked: true,
        }
    }

    pub(crate) fn transaction(&self) -> Vec<u8> {
        let mut tx = 2u32.to_le_bytes().to_vec();
        tx.push(1);
        tx.extend([0x55; 36]);
        tx.push(0);
        tx.extend([0xff; 4]);
        tx.push(2);
        tx.extend(5000u64.to_le_bytes());
        tx.extend([22, 0, 20]);
        tx.extend([0x66; 20]);
        tx.extend(0u64.to_le_bytes());
        tx.push(u8::try_from(self.script.len()).unwrap());
        tx.extend(&self.script);
        tx.extend([0; 4]);
        tx
    }

    pub(crate) fn value(&self) -> Value {
        let mut hash = twice(&self.transaction());
        for (level, sibling) in self.branch.iter().enumerate() {
            let right = self.index >> level & 1 == 1;
            let pair = if right { [*sibling, hash] } else { [hash, *sibling] };
            hash = twice(&pair.concat());
        }
        let (mut headers, mut previous, mut root) = (Vec::new(), [0x77; 32], hash);
        for good in &self.work {
            let header = header(&previous, &root, *good);
            (previous, root) = (if self.linked { twice(&header) } else { [0; 32] }, [0x88; 32]);
            headers.push(hex(&header));
        }
        json!({
            "branch": self.branch.iter().map(|hash| hex(hash)).collect::<Vec<_>>(), "headers": headers,
            "index": self.index.to_string(), "tx": hex(&self.transaction()),
        })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        canonical(&self.value())
    }
}
