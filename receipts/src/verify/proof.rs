//! The check of proofs that stand by themselves: of one receipt (`.tlog-proof`), and of one event of a stream
//! (`.event-proof`).

use std::io;
use std::path::Path;

use super::alone::{Raw, look};
use super::head::read_checkpoint;
use super::stream::tell;
use super::{Code, Session};
use crate::canonical::{Limits, Value, is_canonical, parse, to_vec};
use crate::checkpoint::Checkpoint;
use crate::journal::Chain;
use crate::keys::TrustFile;
use crate::receipt::{LEAF_MAX_BYTES, parse_decimal, shape};
use crate::tlog::{PROOF_MAX_BYTES, TlogProof};
use crate::tree::{Hash, leaf_hash, verify_inclusion};
use crate::{durable, hex};

/// Ending of a proof that a receipt is in the tree.
pub(super) const TLOG_PROOF: &str = ".tlog-proof";
/// Ending of a proof that an event was released.
pub(super) const EVENT_PROOF: &str = ".event-proof";

/// Longest trust file and event proof: what any document of that class may have.
const DOCUMENT_MAX_BYTES: u64 = 8 * 1024 * 1024;

/// Where findings of the three parts of a proof are.
struct Paths<'a> {
    proof: &'a str,
    receipt: &'a str,
    keys: &'a str,
}

/// Checks a tlog-proof with the receipt and the trust file beside it.
pub(super) fn verify_tlog_proof(path: &Path, label: &str, session: &mut Session<'_>) -> io::Result<()> {
    let stem = label.strip_suffix(TLOG_PROOF).unwrap_or(label);
    let receipt_name = format!("{stem}.receipt.json");
    let paths = Paths { proof: label, receipt: &receipt_name, keys: crate::bundle::KEYS };
    let beside = path.parent().unwrap_or(Path::new(""));
    let proof = bounded(path, PROOF_MAX_BYTES as u64, label, session)?;
    // A byte more of one that is too long: it is told with the number that the proof gives.
    let receipt = durable::read_start(&beside.join(&receipt_name), LEAF_MAX_BYTES as u64 + 1).map(Some);
    let receipt = companion(receipt, &receipt_name, session)?;
    let keys = bounded(&beside.join(paths.keys), DOCUMENT_MAX_BYTES, paths.keys, session);
    let keys = companion(keys, paths.keys, session)?;
    let trust = keys.and_then(|keys| read_trust(&keys, &paths, session));
    check(proof.as_deref(), receipt.as_deref(), trust.as_ref(), &paths, session);
    Ok(())
}

/// Checks an event proof, which has everything in itself.
pub(super) fn verify_event_proof(path: &Path, label: &str, session: &mut Session<'_>) -> io::Result<()> {
    let paths = Paths { proof: label, receipt: label, keys: label };
    let Some(bytes) = bounded(path, DOCUMENT_MAX_BYTES, label, session)? else { return Ok(()) };
    let value = match parse(&bytes, Limits::MANIFEST) {
        Ok(value) => value,
        Err(error) => {
            session.report.json(error.fault, label, None);
            return Ok(());
        }
    };
    if !is_canonical(&bytes, &value) {
        session.report.error(Code::E203, label, None, "not canonical JSON");
    }
    let faults = shape::check(&value, &shape::EVENT_PROOF);
    for fault in &faults {
        let code = if fault.unknown { Code::E207 } else { Code::E206 };
        session.report.error(code, &format!("{label}#{}", fault.pointer), None, "not of the form of an event proof");
    }
    if !faults.is_empty() {
        return Ok(());
    }
    let part = |name: &str| to_vec(value.get(name).unwrap_or(&Value::Null));
    let proof = value.get("proof").and_then(Value::as_str).unwrap_or_default();
    let trust = read_trust(&part("keys"), &paths, session);
    let checked = check(Some(proof.as_bytes()), Some(&part("receipt")), trust.as_ref(), &paths, session);
    if let Some((seq, body)) = checked {
        check_event(&value, &body, seq, label, session);
    }
    Ok(())
}

/// Leaf, place and path against the stream of the receipt, and the event that the reader has against the leaf.
fn check_event(proof: &Value, body: &Value, seq: u64, label: &str, session: &mut Session<'_>) {
    let decimal = |name: &str| proof.get(name).and_then(Value::as_str).and_then(parse_decimal);
    let digest = |value: &Value| value.as_str().and_then(hex::decode_32);
    let path: Option<Vec<Hash>> =
        proof.get("path").and_then(Value::as_array).unwrap_or_default().iter().map(digest).collect();
    let (Some(event), Some(events), Some(leaf), Some(path)) =
        (decimal("event"), decimal("events"), proof.get("leaf").and_then(digest), path)
    else {
        return;
    };
    let stream = body.get("stream");
    let root = stream.and_then(|stream| digest(stream.get("root")?));
    let released = stream.and_then(|stream| u64::try_from(stream.get("events")?.as_integer()?).ok());
    let (Some(root), Some(released)) = (root, released) else {
        return session.report.error(Code::E602, label, Some(seq), "the receipt is not about a stream");
    };
    if released != events || verify_inclusion(&leaf, event, events, &path, &root).is_err() {
        session.report.error(Code::E602, label, Some(seq), "the event is not shown to be one of the receipt's stream");
    }
    if session.options.event.as_ref().is_some_and(|event| leaf_hash(event) != leaf) {
        session.report.error(Code::E602, label, Some(seq), "the event that was given is another one");
    }
}

fn bounded(path: &Path, bytes_max: u64, label: &str, session: &mut Session<'_>) -> io::Result<Option<Vec<u8>>> {
    match durable::read_bounded(path, bytes_max) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            session.report.error(Code::E106, label, None, "it is longer than it may be");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// What was read of a file beside a proof.
fn companion(read: io::Result<Option<Vec<u8>>>, label: &str, session: &mut Session<'_>) -> io::Result<Option<Vec<u8>>> {
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            session.report.error(Code::E101, label, None, "it is not beside the proof");
            Ok(None)
        }
        read => read,
    }
}

fn read_trust(bytes: &[u8], paths: &Paths<'_>, session: &mut Session<'_>) -> Option<TrustFile> {
    match TrustFile::read(bytes) {
        Ok(trust) => {
            session.check_root(&trust, paths.keys);
            Some(trust)
        }
        Err(fault) => {
            session.report.trust(fault, paths.keys);
            None
        }
    }
}

/// Checks checkpoint, receipt and the path between them. Gives the receipt's number and body where they could be read.
fn check(
    proof: Option<&[u8]>,
    receipt: Option<&[u8]>,
    trust: Option<&TrustFile>,
    paths: &Paths<'_>,
    session: &mut Session<'_>,
) -> Option<(u64, Value)> {
    let parsed = proof.and_then(|proof| {
        if proof.len() > PROOF_MAX_BYTES {
            session.report.error(Code::E106, paths.proof, None, "the proof is longer than it may be");
            return None;
        }
        let parsed = TlogProof::parse(proof);
        if parsed.is_none() {
            session.report.error(Code::E405, paths.proof, None, "not a tlog-proof in the form of C2SP");
        }
        parsed
    });
    let checkpoint = parsed.as_ref().and_then(|proof| read_note(&proof.checkpoint, trust, paths, session));
    let receipt = receipt?;
    let (seq, body, leaf) = check_receipt(receipt, parsed.as_ref().map(|proof| proof.index), trust, paths, session)?;
    if let Some(proof) = &parsed {
        let leads = checkpoint.is_none_or(|checkpoint| {
            verify_inclusion(&leaf, proof.index, checkpoint.size, &proof.path, &checkpoint.root).is_ok()
        });
        if proof.index != seq || !leads {
            let detail = "the receipt is not shown to be in the tree of the checkpoint";
            session.report.error(Code::E602, paths.proof, Some(seq), detail);
        }
    }
    Some((seq, body))
}

fn read_note(
    note: &[u8],
    trust: Option<&TrustFile>,
    paths: &Paths<'_>,
    session: &mut Session<'_>,
) -> Option<Checkpoint> {
    let checkpoint = read_checkpoint(note, paths.proof, trust, &mut session.report)?;
    session.meet(&checkpoint, paths.proof);
    session.check_quorum(note, paths.proof);
    Some(checkpoint)
}

/// The receipt by itself. What is wrong before its number is read stands at the number that the proof names. Gives number,
/// body and leaf: the envelope in its canonical spelling.
fn check_receipt(
    envelope: &[u8],
    index: Option<u64>,
    trust: Option<&TrustFile>,
    paths: &Paths<'_>,
    session: &mut Session<'_>,
) -> Option<(u64, Value, Hash)> {
    let report = &mut session.report;
    if envelope.len() > LEAF_MAX_BYTES {
        report.error(Code::E106, paths.receipt, Some(index.unwrap_or(0)), "the envelope is longer than it may be");
        return None;
    }
    let mut alone = look(&Raw::Line(envelope.to_vec()), trust, &Chain::default());
    tell(&mut alone, index.unwrap_or(0), paths.receipt, trust, report);
    let placed = alone.placed?;
    if trust.is_some_and(|trust| trust.log != placed.text("log")) {
        report.error(Code::E604, paths.receipt, Some(placed.seq), "it is of another log than the trust file");
    }
    report.count(placed.kind.name(), placed.body.get("verdict").and_then(Value::as_str), placed.seq);
    let leaf = leaf_hash(&to_vec(&parse(envelope, Limits::RECEIPT).ok()?));
    Some((placed.seq, placed.body, leaf))
}

#[cfg(test)]
mod tests;
