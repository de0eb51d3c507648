use proptest::prelude::*;

use super::batch::{Batch, Worst, pieces};
use super::*;

const SCHEMA: &str = r#"{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}"#;

/// Gives what it has in pieces of one size.
struct Dribble<'a>(&'a [u8], usize);

impl Read for Dribble<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.1.min(self.0.len()).min(buffer.len());
        let (piece, rest) = self.0.split_at(size);
        buffer[..size].copy_from_slice(piece);
        self.0 = rest;
        Ok(size)
    }
}

fn judged(document: &[u8], chunk: usize) -> Option<Fault> {
    judge(
        &mut Lock::new(compile(SCHEMA.as_bytes(), true).unwrap(), Mode::Buffer, RepairPolicy::NONE),
        Dribble(document, chunk),
        &mut [],
    )
    .unwrap()
}

#[test]
fn a_document_is_judged_as_it_comes() {
    assert_eq!(judged(br#"{"n": 1}"#, 3), None);
    let verdict = judged(br#"{"n": "x"}"#, 1).unwrap().verdict();
    assert_eq!((verdict.offset, verdict.pointer.as_deref(), verdict.keyword), (Some(6), Some("/n"), Some("type")));
    let verdict = judged(br#"{"n": 1]"#, 8).unwrap().verdict();
    assert_eq!((verdict.offset, verdict.keyword, verdict.early), (Some(7), Some("syntax"), true));
    assert_eq!(judged(b"", 1).unwrap().verdict().keyword, Some("empty"));
}

#[test]
fn what_is_not_utf_8_is_refused_at_its_byte() {
    assert_eq!(judged(b"{\"n\": 1, \"m\": \"\xc3\xa9\xff\"}", 1), Some(Fault::Utf8 { at: 17 }));
    assert_eq!(judged(b"{\"\xe2\x82", 2), Some(Fault::Utf8 { at: 2 }));
    // What is wrong first is said first.
    assert!(matches!(judged(b"{]\xff", 9), Some(Fault::Violation(violation)) if violation.at == 1));
    assert_eq!(judged("{\"n\": 1, \"é€😀\": null}".as_bytes(), 1), None);
}

proptest! {
    #[test]
    fn no_way_of_cutting_changes_the_verdict(document in any::<Vec<u8>>(), valid in any::<bool>(), chunk in 1_usize..9) {
        let document = if valid { [br#"{"n":1,"m":""#, &document[..], br#""}"#].concat() } else { document };
        prop_assert_eq!(judged(&document, chunk), judged(&document, usize::MAX));
    }

    #[test]
    fn pieces_are_the_text_and_never_smaller_than_asked(text in ".{0,40}", bytes in 0_u64..7) {
        let all: Vec<&str> = pieces(&text, Some(bytes)).collect();
        prop_assert_eq!(all.concat(), text.as_str());
        let but_last = all.len().saturating_sub(1);
        prop_assert!(all.iter().take(but_last).all(|piece| piece.len() as u64 >= bytes));
    }
}

/// What leaves, and what is said beside it.
fn followed(document: &[u8], chunk: usize, mode: Mode, repair: RepairPolicy) -> (String, String) {
    let (mut out, mut notes, mut excerpt) = (Vec::new(), Vec::new(), Excerpt::default());
    let mut lock = Lock::new(compile(SCHEMA.as_bytes(), true).unwrap(), mode, repair);
    let mut follow = Follow::new(&mut out, &mut notes, false, true);
    let fault = judge(&mut lock, Dribble(document, chunk), &mut [&mut follow, &mut excerpt]).unwrap();
    let place = fault.as_ref().and_then(Fault::place);
    follow.end(fault.as_ref(), place.and_then(|place| excerpt.show(&place))).unwrap();
    (String::from_utf8(out).unwrap(), String::from_utf8(notes).unwrap())
}

#[test]
fn a_note_begins_its_own_line_on_a_terminal() {
    let (out, notes) = followed(br#"{"m": 1, "n": "x"}"#, usize::MAX, Mode::Verified, RepairPolicy::NONE);
    assert_eq!(out, r#"{"m": 1, "n": "#);
    let expected = concat!(
        "\nheld: 4 bytes from byte 14 on\n",
        "violation: byte 14: the schema refuses this value (`type` at \"/properties/n/type\", value at \"/n\")\n",
        "  1 | {\"m\": 1, \"n\": \"x\"}\n",
        "    |               ^\n",
        "cut at byte 14: 4 bytes behind it did not leave\n",
    );
    assert_eq!(notes, expected);
    let (_, notes) = followed(br#"{"m": "ab"#, 1, Mode::Cutoff, RepairPolicy::NONE);
    assert!(notes.ends_with("\n    |          ^\ncut at byte 9\n"), "{notes}");
    let (out, notes) = followed(b"{\"n\": 1}\n", usize::MAX, Mode::Buffer, RepairPolicy::NONE);
    assert_eq!((out.as_str(), notes.as_str()), ("{\"n\": 1}\n", "held: 9 bytes from byte 0 on\npass, 0 edits\n"));
}

#[test]
fn what_is_written_to_nobody_is_judged_all_the_same() {
    struct Gone;
    impl io::Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut lock = Lock::new(compile(SCHEMA.as_bytes(), true).unwrap(), Mode::Cutoff, RepairPolicy::NONE);
    let mut notes = Vec::new();
    let mut gone = Gone;
    let mut follow = Follow::new(&mut gone, &mut notes, false, false);
    let fault = judge(&mut lock, Dribble(b"{\"m\": 1, \"n\": null}", 1), &mut [&mut follow]).unwrap();
    assert!(matches!(&fault, Some(Fault::Violation(violation)) if violation.at == 14));
    assert_eq!(follow.end(fault.as_ref(), None), Ok(()));
}

proptest! {
    #[test]
    fn no_way_of_cutting_changes_what_leaves(
        name in "n|'n'|m",
        value in "[0-9]{1,3}|'.{0,3}'|null|[[0-9],]",
        tail in "|}|,}|} x",
        chunk in 1_usize..9,
        is_mended in any::<bool>(),
    ) {
        let document = format!("```json\n{{\"n\": 1, {name}: {value}{tail}");
        let repair = if is_mended { RepairPolicy::all() } else { RepairPolicy::NONE };
        for mode in [Mode::Buffer, Mode::Verified, Mode::Cutoff] {
            let (out, notes) = followed(document.as_bytes(), chunk, mode, repair);
            let (whole, whole_notes) = followed(document.as_bytes(), usize::MAX, mode, repair);
            prop_assert_eq!(&out, &whole);
            let passed = notes.contains("pass, ");
            prop_assert_eq!(passed, whole_notes.contains("pass, "));
            // A document is complete only if it has passed.
            let is_complete = serde_json::from_str::<serde_json::Value>(&out).is_ok();
            prop_assert_eq!(is_complete, passed);
        }
    }
}

fn batch(input: &str, schema: Option<&str>) -> (Result<String, String>, Worst) {
    let given = schema.map(|schema| compile(schema.as_bytes(), true).unwrap());
    let mut batch =
        Batch { given, formats: true, repair: RepairPolicy::NONE, coerce: Vec::new(), last: None, worst: Worst::Pass };
    let mut out = Vec::new();
    let result = batch.judge(input.as_bytes(), &mut out).map_err(|error| error.to_string());
    (result.map(|()| String::from_utf8(out).unwrap()), batch.worst)
}

#[test]
fn a_batch_answers_each_line_with_its_id() {
    let input = concat!(
        r#"{"id":1,"schema":{"type":"integer"},"document":"12"}"#,
        "\n",
        r#"{"id":"b","schema":{"type":"integer"},"document":"\"é\"","chunk":1}"#,
        "\n",
        r#"{"id":{"c":1e2},"schema":"{\"type\":\"object\"}","document":{"a": 1},"chunk":null}"#,
        "\n",
    );
    let (out, worst) = batch(input, None);
    let expected = concat!(
        r#"{"id":1,"verdict":"pass","offset":null,"pointer":null,"keyword":null,"early":false}"#,
        "\n",
        r#"{"id":"b","verdict":"violation","offset":0,"pointer":"","keyword":"type","early":true}"#,
        "\n",
        r#"{"id":{"c":1e2},"verdict":"pass","offset":null,"pointer":null,"keyword":null,"early":false}"#,
        "\n",
    );
    assert_eq!((out.unwrap().as_str(), worst), (expected, Worst::Violation));
}

#[test]
fn a_schema_that_cannot_be_used_is_a_verdict_of_its_own() {
    let (out, worst) = batch(r#"{"id":1,"schema":{"type":7},"document":"12"}"#, None);
    assert!(out.unwrap().contains(r#""verdict":"unreadable schema""#));
    assert_eq!(worst, Worst::UnreadableSchema);
}

#[test]
fn a_line_without_a_schema_takes_the_given_one() {
    assert_eq!(batch(r#"{"id":1,"document":"{\"n\":1}"}"#, Some(SCHEMA)).1, Worst::Pass);
    assert_eq!(batch(r#"{"id":1,"document":"{}"}"#, Some(SCHEMA)).1, Worst::Violation);
    assert!(batch(r#"{"id":1,"document":"{}"}"#, None).0.unwrap_err().contains("line 1: no member `schema`"));
}

#[test]
fn a_bad_line_ends_the_batch() {
    let error = |line: &str| batch(line, Some(SCHEMA)).0.unwrap_err();
    assert!(error(r#"{"id":1}"#).contains("no member `document`"));
    assert!(error(r#"{"document":"","chunk":"x"}"#).contains("`chunk` must be"));
    assert!(error(r#"{"document":"","chunk":-1}"#).contains("`chunk` must be"));
    assert!(error(r#"{"document":"","schema":"invoice.json"}"#).contains("not strict JSON"));
    assert!(error("{").contains("line 1"));
}
