//! What holds for any text.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// Any JSON value; names and strings have what repairs look at in them.
fn value() -> impl Strategy<Value = Value> {
    let text = prop_oneof!["[a-z]{0,6}", "[\"'`“”‘’\\\\,:{}\\[\\]/#*\n\t \u{a0}a-eTFN0-9.-]{0,8}", any::<String>()];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((text.clone(), inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// A value written compactly, indented, or with everything escaped that may be.
fn document() -> impl Strategy<Value = (Value, String)> {
    (value(), 0..3_u8).prop_map(|(value, style)| {
        let text = match style {
            0 => value.to_string(),
            1 => serde_json::to_string_pretty(&value).unwrap(),
            _ => value.to_string().chars().map(|c| if c.is_ascii() { c.to_string() } else { escaped(c) }).collect(),
        };
        (value, text)
    })
}

fn escaped(c: char) -> String {
    c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
}

/// Pieces of which damaged documents are made.
fn soup() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            "\"",
            "'",
            "`",
            "“",
            "”",
            "‘",
            "’",
            "\\",
            "\\d",
            "\\n",
            "\\'",
            "\\\"",
            "\\u0041",
            "//",
            "/*",
            "*/",
            "#",
            "\n",
            " ",
            "\r\n",
            "\u{a0}",
            "\u{feff}",
            "\u{2028}",
            "\t",
            "\u{0}",
            "```",
            "```json\n",
            "true",
            "null",
            "True",
            "None",
            "False",
            "1",
            "-2.5e3",
            "0",
            "a",
            "b",
            "name",
            "two words",
            "Here is the result:\n",
            "That is all.",
            "\"a\"",
            "\"b\":",
            "'c'",
            "\"x\": 1",
            "{\"a\":1}",
            "[1,2]",
            "“d”",
            "$",
            "é",
            "結果",
        ])
        .prop_map(str::to_owned),
        "[ -~]{1,3}",
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn policy() -> impl Strategy<Value = RepairPolicy> {
    prop_oneof![
        2 => Just(RepairPolicy::all()),
        1 => prop::sample::subsequence(RepairClass::ALL.to_vec(), 0..=15).prop_map(RepairPolicy::of),
    ]
}

fn end() -> impl Strategy<Value = End> {
    prop::sample::select(vec![End::Stop, End::Stop, End::Length])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_valid_document_is_not_touched(((_, text), end, policy) in (document(), end(), policy())) {
        let mended = mend(policy, &text, end);
        prop_assert_eq!((&mended.text, mended.edits.as_slice()), (&text, [].as_slice()));
    }

    /// `mend` compares cuttings and applies the edits.
    #[test]
    fn any_cutting_gives_the_same_text_and_edits((text, end, policy) in (soup(), end(), policy())) {
        mend(policy, &text, end);
    }

    #[test]
    fn random_pieces_give_the_same(text in soup(), cuts in prop::collection::vec(0..9_usize, 0..40)) {
        let whole = mend_in_pieces(RepairPolicy::all(), &text, usize::MAX, End::Stop);
        let mut mender = Mender::new(RepairPolicy::all(), &Limits::default());
        let mut out = Mended::default();
        let mut rest = text.chars();
        for cut in cuts {
            let piece: String = rest.by_ref().take(cut).collect();
            mender.feed(&piece, &mut out);
        }
        mender.feed(rest.as_str(), &mut out);
        mender.finish(End::Stop, &mut out);
        prop_assert_eq!(whole, Result { text: out.text, edits: out.edits });
    }

    /// What the strict reader takes is mended once and for all.
    #[test]
    fn what_was_mended_is_not_mended_again((text, policy) in (soup(), policy())) {
        let mended = mend(policy, &text, End::Stop);
        if is_strict(&mended.text) {
            let again = mend(policy, &mended.text, End::Stop);
            prop_assert_eq!((again.text, again.edits), (mended.text, vec![]));
        }
    }

    #[test]
    fn edits_are_only_of_classes_that_are_allowed((text, policy) in (soup(), policy())) {
        for class in classes(&mend(policy, &text, End::Stop).edits) {
            prop_assert!(policy.allows(class), "{}", class.name());
        }
    }

    /// Mending stops only where the document is damaged.
    #[test]
    fn where_mending_stops_the_strict_reader_refuses(text in soup()) {
        let mut mender = Mender::new(RepairPolicy::all(), &Limits::default());
        let mut out = Mended::default();
        mender.feed(&text, &mut out);
        if mender.has_stopped() {
            mender.finish(End::Stop, &mut out);
            prop_assert!(!is_strict(&out.text), "{:?} is taken as {:?}", text, out.text);
        }
    }

    #[test]
    fn offsets_lead_back((text, policy) in (soup(), policy())) {
        let mut mender = Mender::new(policy, &Limits::default());
        let mut out = Mended::default();
        for c in text.chars() {
            mender.feed(c.encode_utf8(&mut [0; 4]), &mut out);
        }
        mender.finish(End::Stop, &mut out);
        let (mut mended, mut source) = (0, 0);
        for edit in &out.edits {
            while source < edit.range.start {
                prop_assert_eq!(mender.source_offset(mended), source);
                (mended, source) = (mended + 1, source + 1);
            }
            for _ in 0..edit.with.len() {
                prop_assert_eq!(mender.source_offset(mended), edit.range.start);
                mended += 1;
            }
            source = edit.range.end;
        }
        while mended <= out.text.len() as u64 {
            prop_assert_eq!(mender.source_offset(mended), source);
            (mended, source) = (mended + 1, source + 1);
        }
        prop_assert_eq!(source, text.len() as u64 + 1);
    }

    /// An undamaged document is held back by no more than the module says, wherever it is cut.
    #[test]
    fn an_undamaged_document_flows((_, text) in document()) {
        let mut mender = Mender::new(RepairPolicy::all(), &Limits::default());
        let mut out = Mended::default();
        let mut taken = String::new();
        for c in text.chars() {
            taken.push(c);
            mender.feed(c.encode_utf8(&mut [0; 4]), &mut out);
            let held = &taken[taken.len() - mender.held_bytes()..];
            let is_fine = match held.chars().next() {
                None => true,
                Some(',') => held[1..].chars().all(|c| c.is_ascii_whitespace()),
                _ if matches!(&*taken, "true" | "false" | "null" | "t" | "tr" | "tru" | "f" | "fa" | "fal" | "fals" | "n" | "nu" | "nul") => true,
                // A backslash, or the last character of what could be closed.
                Some(_) => held.len() == 1,
            };
            prop_assert!(is_fine, "{:?} is held of {:?}", held, taken);
        }
    }

    /// One character that gives a document its form is missing, is another, or is one too many: the value is the one that was meant,
    /// or there is none. Brackets are left, because where a missing one stood is a matter of the class; so are escapes, which are content.
    #[test]
    fn one_slip_is_mended_or_refused(
        (value, text) in document(),
        at in any::<prop::sample::Index>(),
        slip in prop::sample::select(vec!["", "\"", "'", "`", "“", "”", ",", ":"]),
        is_extra in any::<bool>(),
    ) {
        let before = |at: usize| text[..at].chars().next_back();
        let places: Vec<usize> = text
            .char_indices()
            .filter(|&(at, c)| (is_extra || matches!(c, '"' | ',' | ':')) && before(at) != Some('\\'))
            .map(|(at, _)| at)
            .collect();
        if places.is_empty() {
            return Ok(());
        }
        let at = places[at.index(places.len())];
        let damaged = format!("{}{slip}{}", &text[..at], &text[at + usize::from(!is_extra)..]);
        if is_strict(&damaged) {
            return Ok(());
        }
        let policy = RepairPolicy::all().without(RepairClass::CloseBrackets).without(RepairClass::ExtraBrackets);
        let mended = mend(policy, &damaged, End::Stop);
        if is_strict(&mended.text) {
            prop_assert_eq!(serde_json::from_str::<Value>(&mended.text).unwrap(), value, "{:?} became {:?}", damaged, mended.text);
        }
    }
}

#[test]
fn nothing_allowed_changes_nothing() {
    let mut mender = Mender::new(RepairPolicy::NONE, &Limits::default());
    let mut out = Mended::default();
    for piece in ["{'a', ", "```", "\u{feff}"] {
        mender.feed(piece, &mut out);
        assert_eq!(mender.held_bytes(), 0);
    }
    mender.finish(End::Stop, &mut out);
    assert_eq!((out.text.as_str(), out.edits.len()), ("{'a', ```\u{feff}", 0));
}

#[test]
fn what_is_held_has_a_bound() {
    let long = "word ".repeat(15_000);
    for (text, bound) in [
        (long.clone(), 4 << 10),
        (format!("{{}}\n{long}"), 4 << 10),
        (format!("/*{long}*/1"), 4 << 10),
        (format!("'{long}'"), 64 << 10),
        (format!("\"\\d{long}\""), 64 << 10),
        (format!("[1,{}2]", " ".repeat(70_000)), 64 << 10),
        (format!("[1,{}2]", "/* c */".repeat(10_000)), 64 << 10),
        (format!("{{{}:1}}", "a".repeat(1_000)), 256),
    ] {
        let mut mender = Mender::new(RepairPolicy::all(), &Limits::default());
        let mut out = Mended::default();
        let mut most = 0;
        for c in text.chars() {
            mender.feed(c.encode_utf8(&mut [0; 4]), &mut out);
            most = most.max(mender.held_bytes());
        }
        mender.finish(End::Stop, &mut out);
        assert!(most <= bound, "{most} bytes of {:?} were held", &text[..10]);
        assert_eq!((out.text, out.edits.len()), (text, 0));
    }
}

#[test]
fn edits_have_a_bound() {
    let text = format!("\"{}\"", "\n".repeat(20_000));
    let mended = mend(RepairPolicy::all(), &text, End::Stop);
    assert!(!is_strict(&mended.text));
    assert_eq!(mended.edits.len(), 16 << 10);
}
