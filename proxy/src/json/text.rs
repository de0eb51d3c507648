//! The text inside JSON strings: decoding across fragments, and rewriting parts of it in place.
//!
//! A streamed text arrives as many JSON strings, and an escaped character outside the Basic Multilingual Plane may be cut
//! between its two `\uXXXX` halves. The decoder carries the first half over, so that the text is the same for any cut.

use std::iter::Peekable;
use std::ops::Range;
use std::slice::Iter;

/// Decodes the bytes between the quotes of JSON strings that continue each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextDecoder {
    /// A high surrogate whose low half has not come yet.
    high: Option<u16>,
}

/// One character, or half of one, as it is written in a JSON string.
struct Piece {
    raw: Range<usize>,
    /// A first half that waited stays alone: U+FFFD stands before this.
    widow: bool,
    unit: Unit,
}

enum Unit {
    /// The first half of a character, which completes nothing yet.
    First,
    /// The second half of this character.
    Second(char),
    /// A second half without a first: U+FFFD.
    Alone,
    Whole(char),
}

impl TextDecoder {
    /// Appends the text of `raw`, which is valid JSON string content in UTF-8, to `text`.
    pub fn feed(&mut self, raw: &[u8], text: &mut String) {
        let mut at = 0;
        while let Some(piece) = self.piece(raw, &mut at) {
            if piece.widow {
                text.push(char::REPLACEMENT_CHARACTER);
            }
            match piece.unit {
                Unit::First => {}
                Unit::Second(char) | Unit::Whole(char) => text.push(char),
                Unit::Alone => text.push(char::REPLACEMENT_CHARACTER),
            }
        }
    }

    /// The text has ended: a half character still waiting becomes U+FFFD.
    pub fn finish(&mut self, text: &mut String) {
        if self.high.take().is_some() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }

    /// True while half a character waits for its other half.
    pub fn pending(&self) -> bool {
        self.high.is_some()
    }

    fn piece(&mut self, raw: &[u8], at: &mut usize) -> Option<Piece> {
        let start = *at;
        let first = *raw.get(start)?;
        let unit = if first == b'\\' {
            match raw.get(start + 1).copied().unwrap_or(b'\\') {
                b'u' => {
                    *at = (start + 6).min(raw.len());
                    let hex = raw.get(start + 2..start + 6).and_then(|h| std::str::from_utf8(h).ok());
                    hex.and_then(|h| u16::from_str_radix(h, 16).ok()).unwrap_or(0xfffd)
                }
                other => {
                    *at = (start + 2).min(raw.len());
                    match other {
                        b'b' => 8,
                        b'f' => 12,
                        b'n' => 10,
                        b'r' => 13,
                        b't' => 9,
                        other => u16::from(other),
                    }
                }
            }
        } else {
            let bytes = match first {
                0..=0x7f => 1,
                0xc0..=0xdf => 2,
                0xe0..=0xef => 3,
                _ => 4,
            };
            *at = (start + bytes).min(raw.len());
            let char = raw.get(start..*at).and_then(|b| std::str::from_utf8(b).ok()).and_then(|s| s.chars().next());
            let widow = self.high.take().is_some();
            return Some(Piece {
                raw: start..*at,
                widow,
                unit: Unit::Whole(char.unwrap_or(char::REPLACEMENT_CHARACTER)),
            });
        };
        let (widow, unit) = self.unit(unit);
        Some(Piece { raw: start..*at, widow, unit })
    }

    /// Takes one UTF-16 code unit from an escape, and says whether the half that waited stays alone.
    fn unit(&mut self, unit: u16) -> (bool, Unit) {
        let high = self.high.take();
        match (unit, high) {
            (0xd800..=0xdbff, _) => {
                self.high = Some(unit);
                (high.is_some(), Unit::First)
            }
            (0xdc00..=0xdfff, Some(high)) => {
                let code = 0x1_0000 + ((u32::from(high) - 0xd800) << 10) + (u32::from(unit) - 0xdc00);
                (false, Unit::Second(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)))
            }
            (0xdc00..=0xdfff, None) => (false, Unit::Alone),
            _ => {
                let char = char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER);
                (high.is_some(), Unit::Whole(char))
            }
        }
    }
}

/// One replacement, in offsets of the decoded text of the string it is applied to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    pub range: Range<usize>,
    /// Stands where the range began; empty for the parts of a range that continues from an earlier string.
    pub with: String,
}

/// Rewrites the content of one JSON string: what the edits cover goes, their replacements come, everything else stays
/// byte for byte. A character of which an edit covers a part goes whole, and none beside it. `decoder` is the state before
/// this string; `edits` are sorted and do not overlap.
///
/// One thing is written anew: the second half of a character that stood alone, where the edits leave the first half of
/// another directly before it. The two would be a character that was never there, and that nobody has inspected. (Only
/// where the halves stand in two strings, and all that stood between them in a third, can they still meet, in a reader
/// that puts strings together before it replaces halves.)
pub fn rewrite(mut decoder: TextDecoder, raw: &[u8], edits: &[Edit]) -> Vec<u8> {
    let out = Vec::with_capacity(raw.len());
    let mut rewriting =
        Rewriting { raw, out, edits: edits.iter().peekable(), inserted: false, decoded: 0, open: false };
    // Where the first half of a character stands; nowhere, if that is in the string before this one.
    let (mut first, mut at) = (0..0, 0);
    while let Some(piece) = decoder.piece(raw, &mut at) {
        if piece.widow {
            rewriting.character(std::mem::take(&mut first), char::REPLACEMENT_CHARACTER.len_utf8(), Alone::First);
        }
        match piece.unit {
            Unit::First => first = piece.raw,
            Unit::Second(char) => {
                let first = std::mem::take(&mut first);
                let start = if first.is_empty() { piece.raw.start } else { first.start };
                rewriting.character(start..piece.raw.end, char.len_utf8(), Alone::No);
            }
            Unit::Alone => {
                rewriting.character(piece.raw, char::REPLACEMENT_CHARACTER.len_utf8(), Alone::Second);
            }
            Unit::Whole(char) => rewriting.character(piece.raw, char.len_utf8(), Alone::No),
        }
    }
    if decoder.pending() {
        // It completes nothing here: the character that will stand at this offset counts as one byte.
        rewriting.character(first, 1, Alone::First);
    }
    rewriting.skip_to(usize::MAX);
    rewriting.out
}

/// Whether a character is half of one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Alone {
    No,
    First,
    Second,
}

struct Rewriting<'a> {
    raw: &'a [u8],
    out: Vec<u8>,
    edits: Peekable<Iter<'a, Edit>>,
    /// The replacement of the next edit has been written.
    inserted: bool,
    /// Offset of the next character.
    decoded: usize,
    /// What was written last is a first half that stands alone.
    open: bool,
}

impl Rewriting<'_> {
    /// Takes the next character, of so many bytes of text; it is written in `raw`.
    fn character(&mut self, raw: Range<usize>, bytes: usize, alone: Alone) {
        self.skip_to(self.decoded);
        self.decoded += bytes;
        if let Some(edit) = self.edits.peek().copied().filter(|edit| edit.range.start < self.decoded) {
            self.insert(edit);
            return;
        }
        let joins = self.open && alone == Alone::Second;
        self.out.extend_from_slice(if joins { br"\ufffd" } else { self.raw.get(raw).unwrap_or_default() });
        self.open = alone == Alone::First;
    }

    /// Leaves the edits behind that end at `offset` or before.
    fn skip_to(&mut self, offset: usize) {
        while let Some(edit) = self.edits.next_if(|edit| edit.range.end <= offset) {
            self.insert(edit);
            self.inserted = false;
        }
    }

    fn insert(&mut self, edit: &Edit) {
        if !std::mem::replace(&mut self.inserted, true) && !edit.with.is_empty() {
            escape_into(&edit.with, &mut self.out);
            self.open = false;
        }
    }
}

/// Appends `text` as JSON string content (RFC 8259 §7), without quotes.
pub fn escape_into(text: &str, out: &mut Vec<u8>) {
    for char in text.chars() {
        match char {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            c if c < ' ' => out.extend_from_slice(format!("\\u{:04x}", c as u32).as_bytes()),
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::string_slice)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(parts: &[&str]) -> String {
        let mut decoder = TextDecoder::default();
        let mut text = String::new();
        for part in parts {
            decoder.feed(part.as_bytes(), &mut text);
        }
        decoder.finish(&mut text);
        text
    }

    #[test]
    fn a_pair_cut_between_two_strings_is_one_character() {
        assert_eq!(decode(&[r"a\ud83e\udd89b"]), "a🦉b");
        assert_eq!(decode(&[r"a\ud83e", r"\udd89b"]), "a🦉b");
        assert_eq!(decode(&[r"a\ud83e", "", r"\udd89b"]), "a🦉b");
        assert_eq!(decode(&[r"a\ud83e", "b"]), "a\u{fffd}b");
        assert_eq!(decode(&[r"\udd89\ud83e"]), "\u{fffd}\u{fffd}");
        assert_eq!(decode(&[r#"\"\\\/\b\f\n\r\té"#]), "\"\\/\u{8}\u{c}\n\r\té");
    }

    fn edit(range: Range<usize>, with: &str) -> Edit {
        Edit { range, with: with.into() }
    }

    #[test]
    fn only_the_edited_span_changes() {
        let raw = br"A\u00e9 secret \/ rest";
        let out = rewrite(TextDecoder::default(), raw, &[edit(4..10, "[\"x\"]")]);
        assert_eq!(String::from_utf8(out).unwrap(), r#"A\u00e9 [\"x\"] \/ rest"#);
    }

    #[test]
    fn both_halves_of_a_cut_character_go() {
        // "ab🦉cd" with the owl cut: the edit covers the owl and c.
        let out = rewrite(TextDecoder::default(), br"ab\ud83e", &[edit(2..7, "#")]);
        assert_eq!(out, b"ab#");
        let mut carried = TextDecoder::default();
        carried.feed(br"ab\ud83e", &mut String::new());
        let out = rewrite(carried, br"\udd89cd", &[edit(0..5, "")]);
        assert_eq!(out, b"d");
    }

    #[test]
    fn edits_at_the_ends_and_side_by_side() {
        let out = rewrite(TextDecoder::default(), b"abcdef", &[edit(0..2, "1"), edit(2..4, "2"), edit(5..6, "3")]);
        assert_eq!(out, b"12e3");
    }

    #[test]
    fn halves_that_stand_alone_are_characters_of_their_own() {
        let whole = |raw: &str, edits: &[Edit]| {
            String::from_utf8(rewrite(TextDecoder::default(), raw.as_bytes(), edits)).unwrap()
        };
        // Text: U+FFFD, b. Either goes without the other.
        assert_eq!(whole(r"\ud83eb", &[edit(0..3, "#")]), "#b");
        assert_eq!(whole(r"\ud83eb", &[edit(3..4, "#")]), r"\ud83e#");
        // Text: U+FFFD, owl.
        assert_eq!(whole(r"\ud83e\ud83e\udd89", &[edit(0..3, "#")]), r"#\ud83e\udd89");
        assert_eq!(whole(r"\ud83e\ud83e\udd89", &[edit(3..7, "#")]), r"\ud83e#");
        // A span that covers part of a character takes all of it, however it is written.
        assert_eq!(whole(r"a\ud83e\udd89b", &[edit(2..4, "#")]), "a#b");
        assert_eq!(whole(r"a\ud83e\udd89b", &[edit(0..2, "#")]), "#b");
        // What stood between two halves is gone: they become no character that nobody has looked at.
        assert_eq!(whole(r"\ud83e-\udd89", &[edit(3..4, "")]), r"\ud83e\ufffd");
        assert_eq!(whole(r"\ud83e-\udd89", &[edit(3..4, "#")]), r"\ud83e#\udd89");
    }

    #[test]
    fn a_half_that_stays_alone_over_two_strings_takes_nothing_with_it() {
        // "b", U+FFFD, "cd", where the half is the end of the first string: it goes, "cd" stays.
        let out = rewrite(TextDecoder::default(), br"b\ud83e", &[edit(1..2, "#")]);
        assert_eq!(out, b"b#");
        let mut carried = TextDecoder::default();
        carried.feed(br"b\ud83e", &mut String::new());
        assert_eq!(rewrite(carried.clone(), b"cd", &[edit(0..3, "")]), b"cd");
        assert_eq!(rewrite(carried, br"\ud83e", &[edit(0..3, "")]), br"\ud83e");
    }

    /// UTF-16 code units, halves that stand alone among them.
    fn units() -> impl Strategy<Value = Vec<u16>> {
        let unit = prop_oneof![
            3 => 0x61u16..0x64,
            1 => Just(0xe9),
            2 => Just(0xd83e),
            2 => Just(0xdd89),
        ];
        proptest::collection::vec(unit, 0..16)
    }

    /// Escaped, or as they are where that is possible.
    fn written(units: &[u16], escaped: bool) -> String {
        let one = |unit: &u16| match char::from_u32(u32::from(*unit)) {
            Some(char) if !escaped => char.to_string(),
            _ => format!("\\u{unit:04x}"),
        };
        units.iter().map(one).collect()
    }

    /// Disjoint spans of whole characters, each in one of `with`'s forms.
    fn spans(text: &str, picked: &[bool], with: &str) -> Vec<Edit> {
        let mut spans: Vec<Edit> = Vec::new();
        for ((at, char), _) in text.char_indices().zip(picked).filter(|(_, picked)| **picked) {
            let end = at + char.len_utf8();
            match spans.last_mut().filter(|last| last.range.end == at) {
                Some(last) => last.range.end = end,
                None => spans.push(edit(at..end, with)),
            }
        }
        spans
    }

    fn edited(text: &str, spans: &[Edit]) -> String {
        let mut out = text.to_owned();
        for span in spans.iter().rev() {
            out.replace_range(span.range.clone(), &span.with);
        }
        out
    }

    proptest! {
        #[test]
        fn rewriting_equals_editing_the_text(text in "[a-cé🦉\"\\\\\n]{0,20}", a in 0usize..20, b in 0usize..20) {
            let chars: Vec<(usize, char)> = text.char_indices().collect();
            let at = |i: usize| chars.get(i).map_or(text.len(), |(o, _)| *o);
            let (a, b) = (at(a.min(b)), at(a.max(b)));
            prop_assume!(a < b);
            // Escape everything, so that every character has a long form.
            let raw: String = text.encode_utf16().map(|u| format!("\\u{u:04x}")).collect();
            let out = rewrite(TextDecoder::default(), raw.as_bytes(), &[edit(a..b, "<é>")]);
            let want = format!("{}<é>{}", &text[..a], &text[b..]);
            prop_assert_eq!(decode(&[std::str::from_utf8(&out).unwrap()]), want);
        }

        #[test]
        fn any_cut_gives_the_same_text(text in "[a-cé🦉\"\\\\]{0,12}", cut in 0usize..80) {
            let units: Vec<String> = text.encode_utf16().map(|u| format!("\\u{u:04x}")).collect();
            let cut = cut.min(units.len());
            let (left, right) = (units[..cut].concat(), units[cut..].concat());
            prop_assert_eq!(decode(&[&left, &right]), text);
        }

        #[test]
        fn rewriting_takes_and_replaces_nothing_beside_its_spans(
            units in units(),
            picked in proptest::collection::vec(any::<bool>(), 16),
            deletes in any::<bool>(),
            escaped in any::<bool>(),
        ) {
            let raw = written(&units, escaped);
            let text = decode(&[&raw]);
            let spans = spans(&text, &picked, if deletes { "" } else { "<é>" });
            let out = String::from_utf8(rewrite(TextDecoder::default(), raw.as_bytes(), &spans)).unwrap();
            prop_assert_eq!(decode(&[&out]), edited(&text, &spans), "{} -> {}", raw, out);
        }

        #[test]
        fn the_same_over_strings_that_continue_each_other(
            units in units(),
            picked in proptest::collection::vec(any::<bool>(), 16),
            size in 1usize..5,
            escaped in any::<bool>(),
        ) {
            let text = decode(&[&written(&units, escaped)]);
            let spans = spans(&text, &picked, "<é>");
            let (mut decoder, mut fed, mut out) = (TextDecoder::default(), 0, Vec::new());
            let mut begun = vec![false; spans.len()];
            for units in units.chunks(size) {
                let (raw, before, start) = (written(units, escaped), decoder.clone(), fed);
                let mut piece = String::new();
                decoder.feed(raw.as_bytes(), &mut piece);
                fed += piece.len();
                // As the guard cuts its spans: half a character that waits counts as one byte.
                let reach = fed + usize::from(decoder.pending());
                let here = spans.iter().zip(&mut begun);
                let edits: Vec<Edit> = here
                    .filter(|(span, _)| span.range.start < reach && span.range.end > start)
                    .map(|(span, begun)| Edit {
                        range: span.range.start.max(start) - start..span.range.end.min(reach) - start,
                        with: if std::mem::replace(begun, true) { String::new() } else { span.with.clone() },
                    })
                    .collect();
                out.push(String::from_utf8(rewrite(before, raw.as_bytes(), &edits)).unwrap());
            }
            let out: Vec<&str> = out.iter().map(String::as_str).collect();
            prop_assert_eq!(decode(&out), edited(&text, &spans), "{:?}", out);
        }
    }
}
