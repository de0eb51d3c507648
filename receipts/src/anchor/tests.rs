//! Proofs of others, proofs of our own, and bytes that are neither.

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::bitcoin::{HEADER_BYTES, Header, Transaction, hash, merkle_root};
use super::opentimestamps::{Attestation, OtsFault, Proof, Timestamp};
use super::rfc3161::{Oid, Request, ResponseFault, Token};
use super::*;
use crate::hex;
use crate::sample::{mine, token, vectors};

/// Blocks 0 to 3 and 170 of Bitcoin, as everybody has them; each verifies by its own hash.
const BLOCKS: [&str; 4] = [
    "0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4a29ab5f49ffff001d1dac2b7c",
    "010000006fe28c0ab6f1b372c1a6a246ae63f74f931e8365e15a089c68d6190000000000982051fd1e4ba744bbbe680e1fee14677ba1a3c3540bf7b1cdb606e857233e0e61bc6649ffff001d01e36299",
    "010000004860eb18bf1b1620e37e9490fc8a427514416fd75159ab86688e9a8300000000d5fdcc541e25de1c7a5addedf24858b8bb665c9f36ef744ee42c316022c90f9bb0bc6649ffff001d08d2bd61",
    "01000000bddd99ccfda39da1b108ce1a5d70038d0a967bacb68b6b63065f626a0000000044f672226090d85db9a9f2fbfe5f0f9609b387af7be5b7fbb7a1767c831c9e995dbe6649ffff001d05e0ed6d",
];
const BLOCK_170: &str = "0100000055bd840a78798ad0da853f68974f3d183e2bd1db6a842c1feecf222a00000000ff104ccb05421ab93e63f8c3ce5c2c2e9dbb37de2764b3a3175c8166562cac7d51b96a49ffff001d283e9e70";
/// Its second and last transaction, the first payment of all, and the hash of its first.
const PAYMENT: &str = "0100000001c997a5e56e104102fa209c6a852dd90660a20b2d9c352423edce25857fcd3704000000004847304402204e45e16932b8af514961a1d3a1a25fdf3f4f7732e9d624c6c61548ab5fb8cd410220181522ec8eca07de4860a4acdd12909d831cc56cbbac4622082221a8768d1d0901ffffffff0200ca9a3b00000000434104ae1a62fe09c5f51b13905f07f06b99a2f7159b2225f374cd378d71302fa28414e7aab37397f554a7df5f142c21c1b7303b8a0626f1baded5c72a704f7e6cd84cac00286bee0000000043410411db93e1dcdb8a016b49840f8c53bc1eb68a382e97b1482ecad7b148a6909a5cb2e0eaddfb84ccf9744464f82e160bfa9b8b64f9d4c03f999b8643f656b412a3ac00000000";
const COINBASE_170: &str = "b1fea52486ce0c62bb442b530a3f0132b826c74e473d1f2c220bfa78111c5082";

fn header(text: &str) -> Header {
    Header::from_bytes(&hex::decode(text).unwrap()).unwrap()
}

/// A hash as explorers print it.
fn printed(mut hash: [u8; 32]) -> String {
    hash.reverse();
    hex::encode(&hash)
}

#[test]
fn real_headers_follow_each_other_and_meet_their_target() {
    let headers: Vec<Header> = BLOCKS.iter().map(|text| header(text)).collect();
    assert_eq!(printed(headers[0].hash()), "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f");
    for header in &headers {
        assert!(header.meets_target());
        for byte in 0..HEADER_BYTES {
            let mut other = *header;
            other.0[byte] ^= 1;
            assert!(!other.meets_target(), "byte {byte}");
        }
    }
    for pair in headers.windows(2) {
        assert_eq!(pair[1].prev(), pair[0].hash());
    }
    assert_eq!(headers[0].time(), 1_231_006_505);
}

#[test]
fn a_real_transaction_leads_to_its_block() {
    let bytes = hex::decode(PAYMENT).unwrap();
    let payment = Transaction::parse(&bytes).unwrap();
    assert_eq!(printed(payment.hash), "f4184fc596403b9d638783cf57adfe4c75c605f6356fbc91338530e9831e9e16");
    assert_eq!((payment.spends.len(), payment.scripts.len()), (1, 2));
    let mut coinbase = hex::decode_32(COINBASE_170).unwrap();
    coinbase.reverse();
    let block = header(BLOCK_170);
    assert!(block.meets_target());
    assert_eq!(merkle_root(payment.hash, 1, &[coinbase]), Some(block.merkle_root()));
    assert_eq!(merkle_root(coinbase, 0, &[payment.hash]), Some(block.merkle_root()));
    assert_ne!(merkle_root(payment.hash, 0, &[coinbase]), Some(block.merkle_root()));
    assert_eq!(merkle_root(payment.hash, 2, &[coinbase]), None);
    // Real in every way, but it anchors nothing.
    let proof = OpReturnProof { branch: vec![coinbase], headers: vec![block], index: 1, tx: bytes };
    assert_eq!(proof.faults(&[7; 32]), [OpReturnFault::Digest]);
    assert_eq!(OpReturnProof::from_bytes(&proof.to_bytes()).as_ref(), Some(&proof));
}

#[test]
fn a_transaction_has_one_form() {
    let bytes = hex::decode(PAYMENT).unwrap();
    for end in 0..bytes.len() {
        assert_eq!(Transaction::parse(&bytes[..end]), None, "cut at {end}");
    }
    assert_eq!(Transaction::parse(&[&bytes[..], &[0]].concat()), None);
    // The same count in a longer form, no inputs (as with witness data), and a script of more bytes than there are.
    let long = [&bytes[..4], &[0xFD, 1, 0], &bytes[5..]].concat();
    let none = [&bytes[..4], &[0, 1], &bytes[4..]].concat();
    let beyond = [&bytes[..41], &[0xFF; 9], &bytes[42..]].concat();
    for bad in [long, none, beyond] {
        assert_eq!(Transaction::parse(&bad), None);
    }
}

#[test]
fn a_target_is_read_in_the_forms_that_occur() {
    let with = |compact: u32| {
        let mut header = Header([0; HEADER_BYTES]);
        header.0[72..76].copy_from_slice(&compact.to_le_bytes());
        header
    };
    // The largest target of all: half of all headers meet it.
    let easy = (0..64u8).filter(|nonce| {
        let mut header = with(0x207F_FFFF);
        header.0[79] = *nonce;
        header.meets_target()
    });
    assert!((16..48).contains(&easy.count()));
    for never in [0, 0x2000_0000, 0x2080_0000, 0x20FF_FFFF, 0x217F_FFFF, 0x027F_FFFF, 0xFF7F_FFFF, 0x0300_0001] {
        assert!(!with(never).meets_target(), "{never:#x}");
    }
}

/// A transaction with an output that anchors the digest, spending the transaction of this hash.
fn anchoring(digest: &[u8; 32], spends: [u8; 32]) -> Vec<u8> {
    let script = op_return_script(digest);
    let length = u8::try_from(script.len()).unwrap();
    [&[2, 0, 0, 0, 1][..], &spends, &[0; 5], &[0xFF; 4], &[1], &[0; 8], &[length], &script, &[0; 4]].concat()
}

/// A proof over headers of the least difficulty.
fn op_return(digest: &[u8; 32], spends: [u8; 32]) -> OpReturnProof {
    let tx = anchoring(digest, spends);
    let branch = vec![[3; 32], [4; 32], [5; 32]];
    let mut headers = vec![mine([0; 32], merkle_root(hash(&tx), 6, &branch).unwrap())];
    for _ in 0..5 {
        headers.push(mine(headers.last().unwrap().hash(), [9; 32]));
    }
    OpReturnProof { branch, headers, index: 6, tx }
}

#[test]
fn an_op_return_proof_proves_its_digest_and_no_other() {
    let digest = [7; 32];
    let first = op_return(&digest, [1; 32]);
    assert_eq!(first.faults(&digest), []);
    assert_eq!(first.faults(&[8; 32]), [OpReturnFault::Digest]);
    // Anchors that spend one another are a chain.
    let second = op_return(&[8; 32], hash(&first.tx));
    let spends = second.transaction().unwrap().spends;
    assert_eq!(spends[0], first.transaction().unwrap().hash);

    let broken = |change: fn(&mut OpReturnProof)| {
        let mut proof = first.clone();
        change(&mut proof);
        proof.faults(&digest)
    };
    assert_eq!(broken(|proof| proof.index = 7), [OpReturnFault::Branch]);
    assert_eq!(broken(|proof| proof.index = 14), [OpReturnFault::Branch]);
    assert_eq!(broken(|proof| proof.branch.truncate(2)), [OpReturnFault::Branch]);
    assert_eq!(broken(|proof| proof.headers.clear()), [OpReturnFault::Branch, OpReturnFault::Headers]);
    assert_eq!(
        broken(|proof| proof.headers = [&proof.headers[..2], &proof.headers[3..]].concat()),
        [OpReturnFault::Headers]
    );
    assert_eq!(broken(|proof| proof.headers.swap(1, 2)), [OpReturnFault::Headers]);
    assert_eq!(broken(|proof| proof.tx.truncate(64)), [OpReturnFault::Transaction]);
    assert_eq!(broken(|proof| proof.tx.push(0)), [OpReturnFault::Transaction]);
    let mut long = first;
    while long.headers.len() < 2016 {
        long.headers.push(mine(long.headers.last().unwrap().hash(), [9; 32]));
    }
    assert_eq!(long.faults(&digest), []);
    assert!(long.to_bytes().len() < PROOF_MAX_BYTES);
    long.headers.push(mine(long.headers.last().unwrap().hash(), [9; 32]));
    assert_eq!(long.faults(&digest), [OpReturnFault::Headers]);
}

#[test]
fn a_push_has_one_form() {
    let digest = [7; 32];
    let direct = op_return_script(&digest);
    assert_eq!((direct.len(), direct[1]), (38, 36));
    let mut proof = op_return(&digest, [1; 32]);
    let script = [&[0x6A, 0x4C, 36][..], b"PEF0", &digest].concat();
    let length = u8::try_from(script.len()).unwrap();
    proof.tx = [&[2, 0, 0, 0, 1][..], &[0; 41], &[1], &[0; 8], &[length], &script, &[0; 4]].concat();
    assert!(proof.faults(&digest).contains(&OpReturnFault::Digest));
}

/// The block that a proof leads to, and how many attestations it has.
type Read = Result<(Option<u32>, usize), OtsFault>;

#[test]
fn published_opentimestamps_proofs_are_read_and_written_the_same() {
    let Some(vectors) = vectors("published_opentimestamps_proofs_are_read_and_written_the_same") else { return };
    let examples = vectors.join("opentimestamps/examples");
    // The block that each leads to and how many attestations it has, as `ots info` says it. Those of early clients use
    // operations (RIPEMD-160, Keccak) and digests (SHA-1) that are not of the subset.
    let expected: [(&str, Read); 17] = [
        ("bad-stamp.txt.ots", Err(OtsFault::Operation(3))),
        ("bitcoin.pdf.ots", Err(OtsFault::Form)),
        ("different-blockchains.txt.ots", Err(OtsFault::Operation(0x67))),
        ("empty.ots", Err(OtsFault::Operation(3))),
        ("gdp2q25-2nd.pdf.ots", Ok((Some(912_095), 1))),
        ("hello-world.txt.ots", Err(OtsFault::Operation(3))),
        ("incomplete.txt.ots", Ok((None, 1))),
        ("invalid/bad-major-version.ots", Err(OtsFault::Form)),
        ("invalid/exceeds-max-msg-length.ots", Err(OtsFault::Operation(0xF3))),
        ("invalid/invalid-file-digest-type.ots", Err(OtsFault::Form)),
        ("known-and-unknown-notary.txt.ots", Ok((None, 2))),
        ("merkle1.txt.ots", Ok((None, 2))),
        ("merkle2.txt.ots", Ok((None, 2))),
        ("merkle3.txt.ots", Ok((None, 2))),
        ("sha1/a-or-b.ots", Err(OtsFault::Form)),
        ("two-calendars.txt.ots", Ok((None, 2))),
        ("unknown-notary.txt.ots", Ok((None, 1))),
    ];
    for (name, expected) in expected {
        let bytes = std::fs::read(examples.join(name)).unwrap();
        let read = Proof::from_bytes(&bytes);
        let found = read.as_ref().map_err(|fault| *fault).map(|proof| {
            assert_eq!(proof.to_bytes(), bytes, "{name}");
            (proof.bitcoin().map(|(height, _)| height), proof.attestations().len())
        });
        assert_eq!(found, expected, "{name}");
        let stamped = examples.join(name.trim_end_matches(".ots"));
        if let (Ok(proof), Ok(stamped)) = (&read, std::fs::read(stamped)) {
            assert_eq!(proof.digest, *Sha256::digest(&stamped), "{name}");
        }
    }
    let proof = Proof::from_bytes(&std::fs::read(examples.join("gdp2q25-2nd.pdf.ots")).unwrap()).unwrap();
    let (_, root) = proof.bitcoin().unwrap();
    assert_eq!(printed(root), "936131994129988e1932d8c1c6a9780fd42ae4c87204cfb0ac852be1250039ae");
}

/// What a calendar answers first: it has appended something, and promises the rest.
fn promise(calendar: &str) -> Vec<u8> {
    let uri = [&[u8::try_from(calendar.len()).unwrap()], calendar.as_bytes()].concat();
    let kind = [0x83, 0xDF, 0xE3, 0x0D, 0x2E, 0xF9, 0x0C, 0x8E];
    [&[0xF0, 3, 1, 2, 3, 0x08, 0x00][..], &kind, &[u8::try_from(uri.len()).unwrap()], &uri].concat()
}

/// What it answers in the end: prepended, hashed, and the block.
fn block(height: u8) -> Vec<u8> {
    [&[0xF1, 2, 8, 9, 0x08, 0x00][..], &[0x05, 0x88, 0x96, 0x0D, 0x73, 0xD7, 0x19, 0x01], &[1, height]].concat()
}

#[test]
fn a_proof_is_made_completed_and_held_against_a_header() {
    let digest: [u8; 32] = Sha256::digest(b"a note").into();
    let given = Timestamp::blind(&digest, &[5; 16]);
    let answers = ["https://a.example", "https://b.example"];
    let stamps = answers.map(|calendar| Timestamp::from_bytes(&promise(calendar), &given).unwrap());
    let mut proof = Proof::new(digest, Timestamp::blinded(&[5; 16], stamps.into()));
    assert_eq!(Proof::from_bytes(&proof.to_bytes()).as_ref(), Ok(&proof));
    assert_eq!(proof.bitcoin(), None);

    let (attestation, message) = proof.attestations().swap_remove(1);
    assert_eq!(*attestation, Attestation::Pending { calendar: answers[1].into() });
    let known = Timestamp::from_bytes(&block(77), &message).unwrap();
    assert!(known.has_bitcoin());
    assert!(!proof.complete("https://c.example", &message, &known));
    assert!(!proof.complete(answers[1], &digest, &known));
    assert!(proof.complete(answers[1], &message, &known));
    assert!(!proof.complete(answers[1], &message, &known));
    assert_eq!(Proof::from_bytes(&proof.to_bytes()).as_ref(), Ok(&proof));

    let (height, root) = proof.bitcoin().unwrap();
    assert_eq!(height, 77);
    assert_eq!(proof.check_header(&mine([1; 32], root)), Ok(()));
    assert_eq!(proof.check_header(&mine([1; 32], [2; 32])), Err(OtsFault::Header));
    let mut light = mine([1; 32], root);
    light.0[72..76].copy_from_slice(&0x1D00_FFFFu32.to_le_bytes());
    assert_eq!(proof.check_header(&light), Err(OtsFault::Header));
}

#[test]
fn a_proof_is_bounded() {
    let on = |items: &[u8]| Timestamp::from_bytes(items, &[0; 32]);
    let end = block(1)[5..].to_vec();
    let deep = |count: usize| [vec![0x08; count], end.clone()].concat();
    assert!(on(&deep(256)).is_ok());
    assert_eq!(on(&deep(257)), Err(OtsFault::Limit));
    let wide = |count: usize| [[&[0xFF][..], &end].concat().repeat(count - 1), end.clone()].concat();
    assert!(on(&wide(1024)).is_ok());
    assert_eq!(on(&wide(1025)), Err(OtsFault::Limit));
    let grown = |argument: usize| {
        let length = [u8::try_from(argument & 0x7F | 0x80).unwrap(), u8::try_from(argument >> 7).unwrap()];
        [&[0xF0][..], &length, &vec![1; argument], &[0x08], &end].concat()
    };
    assert!(on(&grown(4096 - 32)).is_ok());
    assert_eq!(on(&grown(4096 - 31)), Err(OtsFault::Limit));
    assert_eq!(on(&[&[0xF0, 0, 0x08][..], &end].concat()), Err(OtsFault::Limit));
    assert_eq!(on(&[&[0xF0, 0x81, 0, 7, 0x08][..], &end].concat()), Err(OtsFault::Bytes));
    assert_eq!(on(&[&end[..], &[0]].concat()), Err(OtsFault::Bytes));
    assert_eq!(on(&[]), Err(OtsFault::Bytes));
    for operation in [0x02, 0x03, 0x67, 0xF2, 0xF3, 0x42] {
        assert_eq!(on(&[&[operation][..], &end].concat()), Err(OtsFault::Operation(operation)));
    }
    // A Bitcoin attestation is on a digest, and has a height and nothing else.
    assert_eq!(on(&[&[0xF0, 1, 7][..], &end].concat()), Err(OtsFault::Attestation));
    let mut payload = end;
    *payload.last_mut().unwrap() = 0x81;
    assert_eq!(on(&payload), Err(OtsFault::Bytes));
}

#[test]
fn a_request_is_answered_by_its_own_response_only() {
    let request = Request { digest: [7; 32], nonce: 0x80_0102, policy: Oid::parse("1.2.3.4") };
    assert_eq!(
        hex::encode(&request.to_der()),
        "30440201013031300d060960864801650304020105000420\
         0707070707070707070707070707070707070707070707070707070707070707\
         06032a0304020400800102\
         0101ff"
            .replace(' ', "")
    );
    let answer = Token::from_response(&token(&[7; 32], "20261121034104.5Z", 0x80_0102)).unwrap();
    assert_eq!((answer.seconds.as_str(), answer.at().as_str()), ("20261121034104", "2026-11-21T03:41:04.000000Z"));
    assert!(request.is_answered_by(&answer));
    assert!(!Request { nonce: 1, ..request.clone() }.is_answered_by(&answer));
    assert!(!Request { digest: [8; 32], ..request.clone() }.is_answered_by(&answer));
    assert!(!Request { policy: Oid::parse("1.2.3.5"), ..request.clone() }.is_answered_by(&answer));
    assert!(Request { policy: None, ..request }.is_answered_by(&answer));
}

#[test]
fn a_hostile_response_is_read_without_trust() {
    let Some(vectors) = vectors("a_hostile_response_is_read_without_trust") else { return };
    let path = vectors.join("rfc3161/pkg/verification/testdata/response-injected-certs.tsr");
    // Certificates of others beside the signer's; the stamp itself is over a SHA-512 digest, which is not what we anchor.
    let read = Token::from_response(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!((read.digest, read.seconds.as_str()), (None, "20241008154032"));
}

#[test]
fn every_cut_and_every_flip_of_a_response_is_refused_or_read() {
    let whole = token(&[7; 32], "20261121034104Z", 5);
    for end in 0..whole.len() {
        assert!(Token::from_response(&whole[..end]).is_err(), "cut at {end}");
    }
    assert!(Token::from_response(&[&whole[..], &[0]].concat()).is_err());
    for byte in 0..whole.len() {
        for bit in 0..8 {
            let mut other = whole.clone();
            other[byte] ^= 1 << bit;
            // What it says may then be something else, which the caller sees; it must not panic.
            let _ = Token::from_response(&other);
        }
    }
    let mut refused = whole;
    let status = refused.windows(3).position(|bytes| bytes == [2, 1, 0]).unwrap();
    refused[status + 2] = 2;
    assert_eq!(Token::from_response(&refused), Err(ResponseFault::Refused(2)));
}

#[test]
fn files_are_kept_under_the_digest_of_their_content() {
    let directory = tempfile::tempdir().unwrap();
    let files = AnchorFiles::open(directory.path()).unwrap();
    let note = files.keep_note(b"note").unwrap();
    assert_eq!(files.keep_note(b"note").unwrap(), note);
    assert_eq!(files.note(&note).unwrap(), b"note");
    let proof = files.keep_proof(AnchorKind::Rfc3161, b"proof").unwrap();
    assert_eq!(files.proof(AnchorKind::Rfc3161, &proof).unwrap(), b"proof");
    std::fs::write(files.proof_path(AnchorKind::Rfc3161, &proof), b"other").unwrap();
    assert_eq!(files.proof(AnchorKind::Rfc3161, &proof).unwrap_err().kind(), std::io::ErrorKind::InvalidData);
    assert!(files.note("../../etc/passwd").is_err());
    assert!(files.keep_proof(AnchorKind::Rfc3161, &vec![0; PROOF_MAX_BYTES + 1]).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = Token::from_response(&bytes);
        let _ = Proof::from_bytes(&bytes);
        let _ = Timestamp::from_bytes(&bytes, &[1; 32]);
        let _ = Transaction::parse(&bytes);
        let _ = OpReturnProof::from_bytes(&bytes);
    }

    /// Pieces that the readers know, in any order: deeper than random bytes ever come.
    #[test]
    fn no_stamp_makes_the_reader_panic_and_what_is_read_is_written_back(
        pieces in proptest::collection::vec(prop_oneof![
            Just(vec![0x08]),
            Just(vec![0xFF]),
            Just(vec![0xF0, 2, 1, 2]),
            Just(vec![0xF1, 1, 7]),
            Just(block(3)),
            Just(promise("https://a.example")),
        ], 1..40)
    ) {
        let bytes = pieces.concat();
        if let Ok(stamp) = Timestamp::from_bytes(&bytes, &[1; 32]) {
            let proof = Proof::new([1; 32], stamp);
            prop_assert!(proof.to_bytes().ends_with(&bytes));
            prop_assert_eq!(Proof::from_bytes(&proof.to_bytes()), Ok(proof));
        }
    }

    #[test]
    fn no_damaged_response_makes_the_reader_panic(at in 0usize..400, with in any::<u8>(), cut in 0usize..40) {
        let mut bytes = token(&[7; 32], "20261121034104Z", 5);
        if let Some(byte) = bytes.get_mut(at) {
            *byte = with;
        }
        bytes.truncate(bytes.len() - cut);
        let _ = Token::from_response(&bytes);
    }
}
