//! The small texts and binary proofs of evidence: read, written and read again, each is the same.

use clyra_receipts::anchor::OpReturnProof;
use clyra_receipts::anchor::bitcoin::{Header, Transaction};
use clyra_receipts::anchor::opentimestamps::{Proof, Timestamp};
use clyra_receipts::anchor::rfc3161::{Oid, Token};
use clyra_receipts::checkpoint::{Checkpoint, SignedNote};
use clyra_receipts::keys::PublicKey;
use clyra_receipts::tlog::TlogProof;
use clyra_receipts::witness::{AddCheckpoint, WitnessKey, WitnessPolicy};

/// Signed notes, checkpoints, verifier keys, proofs out of a log, requests to a witness, witness policies.
pub fn note(input: &[u8]) {
    let text = crate::text(input);
    if let Ok(note) = SignedNote::parse(input) {
        let key = PublicKey::new("log.example", &[7; 32]).ok();
        assert!(note.verify(key.as_ref()).is_err(), "signed by a key that signed nothing");
        let _ = Checkpoint::from_text(note.text());
    }
    if let Ok(checkpoint) = Checkpoint::from_text(text) {
        assert_eq!(Checkpoint::from_text(&checkpoint.to_text()).ok(), Some(checkpoint));
    }
    if let Ok(key) = PublicKey::from_vkey(text) {
        assert_eq!(key.to_vkey(), text.trim());
    }
    if let Ok(key) = WitnessKey::from_vkey(text) {
        assert_eq!(key.to_vkey(), text.trim());
    }
    if let Ok(request) = AddCheckpoint::parse(input) {
        assert_eq!(AddCheckpoint::parse(&request.to_body()), Ok(request));
    }
    if let Some(proof) = TlogProof::parse(input) {
        assert_eq!(TlogProof::parse(proof.to_text().as_bytes()), Some(proof));
    }
    if let Ok(policy) = WitnessPolicy::parse(input)
        && let Ok(note) = SignedNote::parse(b"log.example\n1\nAAAA\n\n\xe2\x80\x94 log.example AAAAAAAA\n")
    {
        let _ = (policy.is_met(&note), policy.witnesses().count());
    }
}

/// Proofs of time: OpenTimestamps, RFC 3161, Bitcoin.
pub fn anchor(input: &[u8]) {
    if let Ok(proof) = Proof::from_bytes(input) {
        let bytes = proof.to_bytes();
        assert_eq!(Proof::from_bytes(&bytes).map(|again| again.to_bytes()), Ok(bytes));
        let _ = (proof.bitcoin(), proof.check_header(&Header([0; 80])));
    }
    if let Some((first, rest)) = input.split_first_chunk::<4>() {
        let _ = Timestamp::from_bytes(rest, first);
    }
    if let Ok(token) = Token::from_response(input) {
        let _ = token.at();
    }
    let _ = Oid::parse(crate::text(input));
    if let Some(proof) = OpReturnProof::from_bytes(input) {
        assert_eq!(OpReturnProof::from_bytes(&proof.to_bytes()), Some(proof.clone()));
        let _ = (proof.transaction(), proof.faults(&[0; 32]));
    }
    let _ = Transaction::parse(input);
    if let Some(header) = Header::from_bytes(input) {
        let _ = (header.hash(), header.meets_target(), header.time());
    }
}
