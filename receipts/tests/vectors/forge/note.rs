//! Signed notes: checkpoints, cosignatures, tlog-proofs.

use super::base64;
use super::key::Key;
use super::tree::Hash;

pub(crate) fn text(origin: &str, size: u64, root: &Hash) -> String {
    format!("{origin}\n{size}\n{}\n", base64(root))
}

/// A signature line over a note's text.
pub(crate) fn signature(key: &Key, text: &str) -> String {
    line(&key.name, &[&key.digest(1)[..4], &key.sign(text.as_bytes())].concat())
}

pub(crate) fn line(name: &str, bytes: &[u8]) -> String {
    format!("\u{2014} {name} {}\n", base64(bytes))
}

/// The line of a witness.
pub(crate) fn cosignature(witness: &Key, time: u64, text: &str) -> String {
    let signed = format!("cosignature/v1\ntime {time}\n{text}");
    let bytes = [&witness.digest(4)[..4], &time.to_be_bytes(), &witness.sign(signed.as_bytes())].concat();
    line(&witness.name, &bytes)
}

pub(crate) fn checkpoint(key: &Key, origin: &str, size: u64, root: &Hash) -> Vec<u8> {
    let text = text(origin, size, root);
    let signature = signature(key, &text);
    format!("{text}\n{signature}").into_bytes()
}

pub(crate) fn tlog_proof(index: u64, path: &[Hash], checkpoint: &[u8]) -> Vec<u8> {
    let hashes: String = path.iter().map(|hash| base64(hash) + "\n").collect();
    let head = format!("c2sp.org/tlog-proof@v1\nindex {index}\n{hashes}\n");
    [head.as_bytes(), checkpoint].concat()
}
