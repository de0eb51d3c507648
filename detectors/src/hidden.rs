//! Which characters a reader does not see. Interspersing them is the cheapest way around a word list, so every rule
//! is also matched on the text without them.

/// Whether `c` shows nothing: zero-width and joining characters, soft hyphen, bidirectional controls, fillers,
/// variation selectors and tag characters (Unicode's default-ignorable code points, from `DerivedCoreProperties`).
#[must_use]
pub fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{AD}' | '\u{34F}' | '\u{61C}'
        | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}' | '\u{180B}'..='\u{180F}'
        | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
        | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFF8}'
        | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
}

/// Whether the UTF-8 form of some hidden character begins with `byte`.
pub(crate) fn leads_hidden(byte: u8) -> bool {
    matches!(byte, 0xC2 | 0xCD | 0xD8 | 0xE1 | 0xE2 | 0xE3 | 0xEF | 0xF0 | 0xF3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hidden_character_has_a_known_first_byte_and_no_ascii_is_hidden() {
        for c in '\0'..=char::MAX {
            let first = c.encode_utf8(&mut [0; 4]).as_bytes()[0];
            assert!(!is_hidden(c) || leads_hidden(first), "U+{:04X}", u32::from(c));
            assert!(!is_hidden(c) || !c.is_ascii(), "U+{:04X}", u32::from(c));
        }
    }

    #[test]
    fn letters_and_emoji_are_visible() {
        assert!("aßжא字😀".chars().all(|c| !is_hidden(c)));
        assert!("\u{200b}\u{200d}\u{feff}\u{ad}\u{fe0f}\u{e0041}".chars().all(is_hidden));
    }
}
