//! What holds for any text.

use proptest::prelude::*;
use serde_json::Value;

use super::documents::{document, loose, plain_value, soup};
use super::*;

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
        let slipped = slip_at(&text, "\",:", at, slip, is_extra);
        prop_assert!(slipped.as_ref().is_none_or(|text| is_mended_or_refused(text, &value)), "{slipped:?}");
    }

    /// The same where there is other damage already: quotes of one kind, and names without any.
    #[test]
    fn one_more_slip_is_mended_or_refused(
        value in plain_value(),
        depth in 0..2_usize,
        at in any::<prop::sample::Index>(),
        slip in prop::sample::select(vec!["", "\"", "'", "`", "“", "”", ",", ":"]),
        is_extra in any::<bool>(),
    ) {
        let text = loose(&value, depth);
        prop_assert!(is_mended_or_refused(&text, &value), "{text:?}");
        // Anything else that is one too many may be content.
        let slipped = slip_at(&text, "',:", at, if is_extra { "'" } else { slip }, is_extra);
        prop_assert!(slipped.as_ref().is_none_or(|text| is_mended_or_refused(text, &value)), "{slipped:?}");
    }
}

/// The text with `slip` before one of its characters if it `is_extra`, otherwise instead of one of `form`. None if the text has no place
/// for it, or is still a document.
fn slip_at(text: &str, form: &str, at: prop::sample::Index, slip: &str, is_extra: bool) -> Option<String> {
    let is_escaped = |at: usize| text[..at].ends_with('\\');
    let places: Vec<usize> = text
        .char_indices()
        .filter(|&(at, c)| (is_extra || (form.contains(c) && !slip.contains(c))) && !is_escaped(at))
        .map(|(at, _)| at)
        .collect();
    let at = *places.get(at.index(places.len().max(1)))?;
    let slipped = format!("{}{slip}{}", &text[..at], &text[at + usize::from(!is_extra)..]);
    (!is_strict(&slipped)).then_some(slipped)
}

fn is_mended_or_refused(text: &str, value: &Value) -> bool {
    let policy = RepairPolicy::all().without(RepairClass::CloseBrackets).without(RepairClass::ExtraBrackets);
    let mended = mend(policy, text, End::Stop).text;
    !is_strict(&mended) || serde_json::from_str::<Value>(&mended).unwrap() == *value
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

#[test]
fn what_is_taken_out_has_a_bound() {
    let text = format!("[{}1]", format!("1, /*{}*/\n", "x".repeat(4_000)).repeat(100));
    let mended = mend(RepairPolicy::all(), &text, End::Stop);
    assert!(!is_strict(&mended.text));
    let removed = text.len() - mended.text.len();
    assert!((60 << 10..=64 << 10).contains(&removed), "{removed}");
}
