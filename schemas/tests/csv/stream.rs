//! How far a text may leave in each mode, what stands around it, and that no chunking changes any of it.

use std::sync::Arc;

use clyra_schemas::{CsvContract, CsvLock, End, Mode, Outcome, RepairClass, RepairPolicy, ViolationKind};
use proptest::prelude::*;
use serde_json::json;

use super::{contract, judge, judge_with, texts};

/// Where the lock stands after each character.
fn standing(contract: &Arc<CsvContract>, mode: Mode, text: &str) -> Vec<u64> {
    let mut lock = CsvLock::new(Arc::clone(contract), mode, RepairPolicy::NONE);
    let mut feed = |character: char| {
        lock.feed(&character.to_string());
        lock.settled()
    };
    text.chars().map(&mut feed).collect()
}

#[test]
fn each_mode_settles_as_it_says() {
    let contract = contract(json!({
        "columns": [{"name": "n", "type": "integer"}, {"name": "t", "type": "string"}], "rows_min": 1}));
    let text = "n,t\n12,ab\n3,=x\n";
    assert_eq!(standing(&contract, Mode::Buffer, text), [0; 15]);
    assert_eq!(standing(&contract, Mode::Observe, text), [u64::MAX; 15]);
    // The header waits for the first row, which the contract asks for.
    assert_eq!(standing(&contract, Mode::Verified, text), [0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 10, 10, 10, 10, 15]);
    // Numbers wait until they have ended; text flows, unless it may be a formula.
    assert_eq!(standing(&contract, Mode::Cutoff, text), [0, 2, 2, 4, 4, 4, 7, 8, 9, 10, 10, 12, 12, 12, 15]);
}

#[test]
fn a_wrapping_is_taken_off_where_the_policy_says_so() {
    let two = contract(texts(2));
    let mark = RepairPolicy::of([RepairClass::ByteOrderMark]);
    let fences = RepairPolicy::of([RepairClass::Fences]);
    let both = RepairPolicy::of([RepairClass::ByteOrderMark, RepairClass::Fences]);
    let take = |repair, text: &str| judge_with(&two, Mode::Verified, repair, text, 1, End::Stop);
    for (repair, text, left) in [
        (mark, "\u{feff}a,b\n", "a,b\n"),
        (fences, "```csv\na,b\n```", "a,b\n"),
        (fences, "```\na,b\n```\n", "a,b\n"),
        (fences, "\n ```text  \r\na,b\r\n```\n\n  \n", "a,b\r\n"),
        (fences, "```\n``a,b\n```", "``a,b\n"),
        (both, "\u{feff}```\na,b\n```", "a,b\n"),
        (both, "a,b\n", "a,b\n"),
        // What looks like a fence and is none is content.
        (fences, "```,b\n", "```,b\n"),
        (both, "``", ""),
        (both, " ", ""),
    ] {
        let judged = take(repair, text);
        if left.is_empty() {
            assert!(
                matches!(judged.outcome, Outcome::Block(ref found) if found.kind == ViolationKind::ColumnCount),
                "{text:?}"
            );
        } else {
            assert_eq!((judged.outcome, judged.released.as_str()), (Outcome::Pass, left), "{text:?}");
            assert!(judged.edits.iter().all(|edit| ["byte_order_mark", "fences"].contains(&edit.class)), "{text:?}");
        }
    }
    for (repair, text, kind, at) in [
        (RepairPolicy::NONE, "```\na,b\n```", ViolationKind::ColumnCount, 3),
        (fences, "\u{feff}a,b\n", ViolationKind::ByteOrderMark, 0),
        (mark, "\u{feff}```\na,b\n", ViolationKind::ColumnCount, 6),
        // A fence that does not close, text behind one that does, and one in the middle of a line.
        (fences, "```\na,b\n", ViolationKind::Incomplete, 8),
        (fences, "```\na,b\n``", ViolationKind::Incomplete, 10),
        (fences, "```\na,b\n```\nc,d\n", ViolationKind::CsvSyntax, 12),
        (fences, "```\na,b```", ViolationKind::Incomplete, 10),
        (fences, "```this-is-no-language\na,b\n```", ViolationKind::ColumnCount, 22),
        (fences, "                    ```\na,b\n```", ViolationKind::ColumnCount, 23),
    ] {
        let judged = take(repair, text);
        let Outcome::Block(found) = judged.outcome else { panic!("{text:?} passed") };
        assert_eq!((found.kind, found.at), (kind, at), "{text:?}");
    }
}

proptest! {
    /// Whatever a strict writer writes passes unchanged, at every chunking, and a reader finds the same fields in it.
    #[test]
    fn what_a_writer_writes_passes(
        rows in prop::collection::vec(prop::collection::vec("[ -~éü\t\n\r]{0,6}", 3), 0..6),
        piece in 1usize..9,
    ) {
        let mut writer = csv::WriterBuilder::new().has_headers(false).terminator(csv::Terminator::CRLF).from_writer(Vec::new());
        for row in &rows {
            writer.write_record(row).unwrap();
        }
        let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        prop_assert_eq!(judge(&contract(texts(3)), &text, piece, End::Stop), (text.clone(), Outcome::Pass, 0));
    }

    /// The verdict, the edits, what is released and how far do not depend on the chunking, in no mode.
    #[test]
    fn any_chunking_gives_the_same(
        text in prop_oneof!["[a,\"\r\n=é`\t ]{0,24}", "\u{feff}?(```(csv)?\n)?([a=\"]{0,3},[b\n`]{0,2}(\r\n|\n)){0,4}(```\n?)?"],
        piece in 1usize..9,
        formulas in prop::sample::select(vec!["prefix", "block", "off"]),
        mode in prop::sample::select(vec![Mode::Buffer, Mode::Verified, Mode::Cutoff, Mode::Observe]),
        repairs in any::<bool>(),
        end in prop::sample::select(vec![End::Stop, End::ToolCalls, End::Length]),
        rows_min in 0..3,
    ) {
        let mut document = texts(2);
        document["formulas"] = json!(formulas);
        document["rows_min"] = json!(rows_min);
        let contract = contract(document);
        let repair = if repairs { RepairPolicy::all() } else { RepairPolicy::NONE };
        let whole = judge_with(&contract, mode, repair, &text, usize::MAX, end);
        prop_assert_eq!(&judge_with(&contract, mode, repair, &text, piece, end), &whole);
        prop_assert_eq!(&judge_with(&contract, mode, repair, &text, 1, end), &whole);
    }

    /// What has left in mode `verified` is whole records of the contract's width, and a text that the contract takes once more;
    /// what passes is the same in every mode that holds.
    #[test]
    fn what_leaves_is_right(text in "[a,\"\r\n=é]{0,24}", formulas in prop::sample::select(vec!["prefix", "off"])) {
        let mut document = texts(2);
        document["formulas"] = json!(formulas);
        let contract = contract(document);
        let judged = |mode, text: &str| judge_with(&contract, mode, RepairPolicy::NONE, text, 3, End::Stop);
        let verified = judged(Mode::Verified, &text);
        let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(verified.released.as_bytes());
        for record in reader.records() {
            prop_assert_eq!(record.unwrap().len(), 2);
        }
        let again = judged(Mode::Verified, &verified.released);
        prop_assert_eq!((&again.outcome, &again.released, again.edits.len()), (&Outcome::Pass, &verified.released, 0));
        let cutoff = judged(Mode::Cutoff, &text);
        prop_assert!(cutoff.released.starts_with(&verified.released), "{:?} {:?}", cutoff, verified);
        let buffer = judged(Mode::Buffer, &text);
        prop_assert_eq!(&buffer.outcome, &verified.outcome);
        prop_assert_eq!(&cutoff.outcome, &verified.outcome);
        if buffer.outcome == Outcome::Pass {
            prop_assert_eq!((&buffer.released, &buffer.edits), (&verified.released, &verified.edits));
            prop_assert_eq!(&cutoff.released, &verified.released);
        } else {
            prop_assert_eq!(buffer.released, "");
            if let Outcome::Block(violation) = &verified.outcome {
                prop_assert!(verified.settled <= violation.at);
            }
        }
        let observed = judged(Mode::Observe, &text);
        prop_assert_eq!((&observed.outcome, observed.edits.len()), (&verified.outcome, 0));
        prop_assert!(text.starts_with(&observed.released));
    }

    /// Accepted records have the fields that another reader finds in them.
    #[test]
    fn both_readers_find_the_same_fields(rows in prop::collection::vec(("[ab\"é,\n]{0,4}", "[ab\"é,\n]{0,4}"), 1..5)) {
        let mut writer = csv::Writer::from_writer(Vec::new());
        for (first, second) in &rows {
            writer.write_record([first, second]).unwrap();
        }
        let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        let column = |index: usize| {
            let mut values: Vec<&str> = rows.iter().map(|row| if index == 0 { &*row.0 } else { &*row.1 }).collect();
            values.sort_unstable();
            values.dedup();
            json!({"name": index.to_string(), "schema": {"type": "string", "enum": values}})
        };
        let these = contract(json!({"header": false, "formulas": "off", "columns": [column(0), column(1)]}));
        prop_assert_eq!(judge(&these, &text, 1, End::Stop).1, Outcome::Pass);
    }
}
