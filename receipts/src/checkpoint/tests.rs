use super::*;
use crate::sample::{ORIGIN, vector_json, vectors};

#[test]
fn published_notes_are_judged_as_their_authors_say() {
    let Some(vectors) = vectors("signed-note") else { return };
    let cases = vector_json(&vectors.join("signed-note/extracted.json"));
    let cases = cases.as_array().unwrap();
    for case in cases {
        let strings = |name: &str| -> Vec<String> {
            let list = case[name].as_array().into_iter().flatten();
            list.map(|item| item.as_str().unwrap().to_owned()).collect()
        };
        let keys: Vec<PublicKey> = strings("vkeys").iter().map(|vkey| PublicKey::from_vkey(vkey).unwrap()).collect();
        let note = SignedNote::parse(case["note"].as_str().unwrap().as_bytes());
        let result = note.and_then(|note| {
            let signed: Vec<String> = note.verify(&keys)?.iter().map(|key| key.name().to_owned()).collect();
            Ok(signed)
        });
        assert_eq!(result.is_ok(), case["ok"].as_bool().unwrap(), "{}: {result:?}", case["name"]);
        if let Ok(signed) = result {
            assert_eq!(signed, strings("verified"), "{}", case["name"]);
        }
    }
    assert_eq!(cases.len(), 7);
}

fn keys() -> (tempfile::TempDir, Keys) {
    let directory = tempfile::tempdir().unwrap();
    let keys = Keys::init(directory.path(), ORIGIN).unwrap();
    (directory, keys)
}

#[test]
fn a_checkpoint_is_signed_read_back_and_held_to_its_key() {
    let (_directory, keys) = keys();
    let checkpoint = Checkpoint { origin: ORIGIN.into(), size: 20_852_163, root: [7; 32] };
    let bytes = checkpoint.sign(&keys).unwrap();
    let note = SignedNote::parse(&bytes).unwrap();
    assert_eq!(Checkpoint::from_text(note.text()).unwrap(), checkpoint);
    assert_eq!(note.verify([keys.log()]).unwrap(), [keys.log()]);
    assert_eq!(note.verify([keys.root()]), Err(NoteError::Unsigned));
    for index in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[index] ^= 1;
        let judged = SignedNote::parse(&flipped).and_then(|note| {
            Checkpoint::from_text(note.text())?;
            note.verify([keys.log()]).map(drop)
        });
        assert!(judged.is_err(), "byte {index}");
    }
}

#[test]
fn texts_that_are_not_checkpoints_are_refused() {
    let root = BASE64.encode([0; 32]);
    for text in [
        "".to_owned(),
        "o\n".to_owned(),
        format!("o\n01\n{root}\n"),
        format!("o\n-1\n{root}\n"),
        format!("\n1\n{root}\n"),
        format!("o\n1\n{root}"),
        "o\n1\nAAAA\n".to_owned(),
    ] {
        assert_eq!(Checkpoint::from_text(&text), Err(NoteError::NotACheckpoint), "{text:?}");
    }
    assert!(Checkpoint::from_text(&format!("o\n1\n{root}\nextension\n")).is_ok());
}

#[test]
fn notes_out_of_form_are_refused() {
    let sig = BASE64.encode([1; 68]);
    for note in [
        String::new(),
        "text\n".to_owned(),
        format!("text\n— name {sig}\n"),
        format!("text\n\n— name {sig}"),
        format!("text\n\n-- name {sig}\n"),
        format!("text\n\n— na+me {sig}\n"),
        "text\n\n— name AAAA\n".to_owned(),
        "text\n\n— name !\n".to_owned(),
        format!("te\u{1}xt\n\n— name {sig}\n"),
        format!("text\n\n{}", format!("— name {sig}\n").repeat(101)),
    ] {
        assert_eq!(SignedNote::parse(note.as_bytes()).map(drop), Err(NoteError::Malformed), "{note:?}");
    }
    assert!(SignedNote::parse(format!("text\n\n{}", format!("— name {sig}\n").repeat(16)).as_bytes()).is_ok());
    assert!(SignedNote::parse(&vec![b'a'; NOTE_MAX_BYTES + 1]).is_err());
}
