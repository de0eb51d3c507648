//! The text inside JSON strings: decoding across fragments, and rewriting parts of it in place.
//!
//! A streamed text arrives as many JSON strings, and an escaped character outside the Basic Multilingual Plane may be cut
//! between its two `\uXXXX` halves. The decoder carries the first half over, so that the text is the same for any cut.

use std::ops::Range;

/// Decodes the bytes between the quotes of JSON strings that continue each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextDecoder {
    /// A high surrogate whose low half has not come yet.
    high: Option<u16>,
}

/// One character (or one half of one) of a JSON string.
struct Piece {
    raw: Range<usize>,
    /// Text that this piece completes; up to two characters (a replacement for a widowed half, and its successor).
    text: [Option<char>; 2],
}

impl TextDecoder {
    /// Appends the text of `raw`, which is valid JSON string content in UTF-8, to `text`.
    pub fn feed(&mut self, raw: &[u8], text: &mut String) {
        let mut at = 0;
        while let Some(piece) = self.piece(raw, &mut at) {
            text.extend(piece.text.into_iter().flatten());
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
            let widow = self.high.take().map(|_| char::REPLACEMENT_CHARACTER);
            let char = char.unwrap_or(char::REPLACEMENT_CHARACTER);
            return Some(Piece { raw: start..*at, text: [widow, Some(char)] });
        };
        Some(Piece { raw: start..*at, text: self.unit(unit) })
    }

    /// Takes one UTF-16 code unit from an escape.
    fn unit(&mut self, unit: u16) -> [Option<char>; 2] {
        let high = self.high.take();
        let widow = high.map(|_| char::REPLACEMENT_CHARACTER);
        match (unit, high) {
            (0xd800..=0xdbff, _) => {
                self.high = Some(unit);
                [widow, None]
            }
            (0xdc00..=0xdfff, Some(high)) => {
                let code = 0x1_0000 + ((u32::from(high) - 0xd800) << 10) + (u32::from(unit) - 0xdc00);
                [char::from_u32(code), None]
            }
            (0xdc00..=0xdfff, None) => [Some(char::REPLACEMENT_CHARACTER), None],
            _ => [widow, char::from_u32(u32::from(unit))],
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
/// byte for byte. `decoder` is the state before this string; `edits` are sorted and do not overlap.
pub fn rewrite(mut decoder: TextDecoder, raw: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut edits = edits.iter().peekable();
    let mut inserted = false;
    let (mut at, mut decoded) = (0, 0usize);
    while let Some(piece) = decoder.piece(raw, &mut at) {
        let bytes: usize = piece.text.iter().flatten().map(|c| c.len_utf8()).sum();
        // A first half completes nothing: it belongs to the character that will stand at this offset.
        let end = decoded + bytes.max(1);
        while edits.peek().is_some_and(|e| e.range.end <= decoded) {
            if let Some(done) = edits.next()
                && !inserted
            {
                escape_into(&done.with, &mut out);
            }
            inserted = false;
        }
        match edits.peek() {
            Some(edit) if edit.range.start < end && edit.range.end > decoded => {
                if !inserted {
                    escape_into(&edit.with, &mut out);
                    inserted = true;
                }
            }
            _ => out.extend_from_slice(raw.get(piece.raw).unwrap_or_default()),
        }
        decoded += bytes;
    }
    for edit in edits {
        if !inserted {
            escape_into(&edit.with, &mut out);
        }
        inserted = false;
    }
    out
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
    }
}
