//! Decodes one JSON escape sequence (RFC 8259 §7), wherever the text around it was cut.

/// The longest escape sequence, in bytes: a surrogate pair.
pub(crate) const ESCAPE_BYTES_MAX: usize = 12;

/// What stands at a backslash.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Escape {
    /// `len` bytes of source that mean `decoded`. A lone surrogate means U+FFFD.
    Char { decoded: char, len: usize },
    /// Not an escape sequence of JSON: the backslash stands for itself.
    Invalid,
    /// The text ends before this can be told.
    Incomplete,
}

/// Reads the escape sequence that `bytes` begins with; the first byte is the backslash.
pub(crate) fn read(bytes: &[u8]) -> Escape {
    let Some(&kind) = bytes.get(1) else { return Escape::Incomplete };
    let decoded = match kind {
        b'"' | b'\\' | b'/' => char::from(kind),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode(bytes),
        _ => return Escape::Invalid,
    };
    Escape::Char { decoded, len: 2 }
}

fn unicode(bytes: &[u8]) -> Escape {
    let first = match hex4(bytes.get(2..).unwrap_or_default()) {
        Hex::Value(value) => value,
        Hex::Invalid => return Escape::Invalid,
        Hex::Incomplete => return Escape::Incomplete,
    };
    let lone = Escape::Char { decoded: char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), len: 6 };
    if !(0xD800..0xDC00).contains(&first) {
        return lone;
    }
    // A high surrogate: it is one character with the low surrogate that may follow.
    let rest = bytes.get(6..).unwrap_or_default();
    if !b"\\u".starts_with(rest.get(..2).unwrap_or(rest)) {
        return lone;
    }
    match hex4(rest.get(2..).unwrap_or_default()) {
        Hex::Value(low @ 0xDC00..=0xDFFF) => {
            let joined = 0x1_0000 + ((first - 0xD800) << 10) + (low - 0xDC00);
            Escape::Char {
                decoded: char::from_u32(joined).unwrap_or(char::REPLACEMENT_CHARACTER),
                len: ESCAPE_BYTES_MAX,
            }
        }
        Hex::Value(_) | Hex::Invalid => lone,
        Hex::Incomplete => Escape::Incomplete,
    }
}

enum Hex {
    Value(u32),
    Invalid,
    Incomplete,
}

fn hex4(bytes: &[u8]) -> Hex {
    let mut value = 0;
    for i in 0..4 {
        let Some(&byte) = bytes.get(i) else { return Hex::Incomplete };
        let Some(digit) = char::from(byte).to_digit(16) else { return Hex::Invalid };
        value = value << 4 | digit;
    }
    Hex::Value(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn char_of(text: &str) -> Escape {
        read(text.as_bytes())
    }

    #[test]
    fn every_short_escape_of_rfc_8259() {
        for (text, decoded) in [
            (r#"\""#, '"'),
            (r"\\", '\\'),
            (r"\/", '/'),
            (r"\b", '\u{8}'),
            (r"\f", '\u{c}'),
            (r"\n", '\n'),
            (r"\r", '\r'),
            (r"\t", '\t'),
        ] {
            assert_eq!(char_of(text), Escape::Char { decoded, len: 2 });
        }
    }

    #[test]
    fn surrogates() {
        assert_eq!(char_of(r"\ud83d\ude00!"), Escape::Char { decoded: '😀', len: 12 });
        assert_eq!(char_of(r"\ud83d!"), Escape::Char { decoded: '\u{FFFD}', len: 6 });
        assert_eq!(char_of(r"\ud83d\n"), Escape::Char { decoded: '\u{FFFD}', len: 6 });
        assert_eq!(char_of(r"\ud83d\u0041"), Escape::Char { decoded: '\u{FFFD}', len: 6 });
        assert_eq!(char_of(r"\ude00"), Escape::Char { decoded: '\u{FFFD}', len: 6 });
    }

    #[test]
    fn every_cut_is_incomplete_and_never_wrong() {
        let text = r"\ud83d\ude00";
        for cut in 1..text.len() {
            assert_eq!(read(&text.as_bytes()[..cut]), Escape::Incomplete, "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_escape() {
        for text in [r"\x", r"\u12g4", r"\U0041"] {
            assert_eq!(char_of(text), Escape::Invalid, "{text}");
        }
    }
}
