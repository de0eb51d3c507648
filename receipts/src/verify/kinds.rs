//! What receipts of the log's own life claim, each by its kind: rotations, revocations, losses, pruning.

use sha2::{Digest as _, Sha256};

use super::Code;
use super::alone::Placed;
use super::report::Report;
use crate::dsse::decode_signature;
use crate::hex;
use crate::keys::{Purpose, Rotation, TrustFile};
use crate::receipt::{Kind, parse_decimal};
use crate::tree::Hash;

/// Where the stream began: size and root of the tree before its first receipt.
pub(super) type Beginning = Option<(u64, Hash)>;

/// Checks what the kind of a receipt asks for, beyond its form.
pub(super) fn check(
    receipt: &Placed,
    beginning: Beginning,
    trust: Option<&TrustFile>,
    path: &str,
    report: &mut Report,
) {
    if receipt.kind == Kind::Gap {
        let detail = "exchanges went unreceipted, as the log itself says";
        report.warning(Code::E510, path, Some(receipt.seq), detail);
    }
    if !receipt.formed {
        return;
    }
    match (receipt.kind, trust.filter(|trust| trust.holds)) {
        (Kind::KeyRotate, Some(trust)) => rotation(receipt, trust, path, report),
        (Kind::KeyRevoke, Some(trust)) => revocation(receipt, trust, path, report),
        (Kind::Prune, _) => pruning(receipt, beginning, path, report),
        _ => {}
    }
}

fn rotation(receipt: &Placed, trust: &TrustFile, path: &str, report: &mut Report) {
    let seq = Some(receipt.seq);
    let text = |name: &str| receipt.event(name).unwrap_or_default();
    let purpose = if text("purpose") == Purpose::Log.name() { Purpose::Log } else { Purpose::Receipt };
    let from = parse_decimal(text("valid_from_seq")).unwrap_or_default();
    let (old, new) = (trust.certified(purpose, text("old")), trust.certified(purpose, text("new")));
    // A process that ended before the certificate of its next receipt key was durable leaves such a rotation behind: to a key
    // that is not known for anything.
    let left_behind = purpose == Purpose::Receipt && trust.certified(Purpose::Log, text("new")).is_none();
    if old.is_none() || (new.is_none() && !left_behind) {
        report.error(Code::E301, path, seq, "a rotation between keys of which one is not in the trust file");
    }
    let bytes = Rotation::bytes(&trust.log, text("old"), text("new"), purpose, from);
    let signed = |key: Option<(&crate::keys::PublicKey, u64)>, signature: &str| {
        key.is_none_or(|(key, _)| {
            decode_signature(text(signature)).is_some_and(|signature| key.verify(&bytes, &signature))
        })
    };
    let certified = new.is_none_or(|(_, certified)| certified == from);
    let own =
        purpose == Purpose::Log || (receipt.seq.checked_add(1) == Some(from) && text("old") == receipt.text("key_id"));
    if !signed(old, "old_sig") || !signed(new, "new_sig") || !certified || !own {
        let detail =
            "a rotation that is not signed by both keys, or not from the number that the new key is certified for";
        report.error(Code::E306, path, seq, detail);
    }
}

fn revocation(receipt: &Placed, trust: &TrustFile, path: &str, report: &mut Report) {
    let text = |name: &str| receipt.event(name).unwrap_or_default();
    let known = trust.revocation(text("key_id")).is_some_and(|revocation| {
        let sha256 = Sha256::digest(revocation.envelope.to_bytes());
        revocation.last_good_text() == text("last_good_seq")
            && revocation.reason == text("reason")
            && hex::encode(&sha256) == text("sha256")
    });
    if !known {
        let detail = "the trust file does not have the revocation that it names";
        report.error(Code::E306, path, Some(receipt.seq), detail);
    }
}

fn pruning(receipt: &Placed, beginning: Beginning, path: &str, report: &mut Report) {
    let number = |name: &str| receipt.event(name).and_then(parse_decimal).unwrap_or_default();
    let (from, to) = (number("from"), number("to"));
    if to <= from || to > receipt.seq {
        let detail = "no range of receipts that lie before it";
        report.error(Code::E206, &format!("{path}#/event/to"), Some(receipt.seq), detail);
    }
    let root = receipt.event("root").and_then(hex::decode_32);
    if beginning.is_some_and(|(size, known)| size == to && root != Some(known)) {
        let detail = "the tree had another root where what is left of it begins";
        report.error(Code::E601, path, Some(receipt.seq), detail);
    }
}
