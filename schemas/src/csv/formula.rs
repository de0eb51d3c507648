//! What a spreadsheet may take for a formula (CWE-1236, OWASP ASVS 1.2.10), and how it is defused.

/// True when a field's text begins with what starts a formula in some spreadsheet: `=`, `+`, `-` or `@`, in any width, behind
/// white space, quotes and characters that nobody sees; or a tab or line break.
pub(super) fn is_formula(text: &str) -> bool {
    // Most fields begin with a letter or a digit.
    if text.as_bytes().first().is_none_or(u8::is_ascii_alphanumeric) {
        return false;
    }
    text.starts_with(['\t', '\r', '\n'])
        || text.chars().find(|character| !is_skipped(*character)).is_some_and(starts_formula)
}

/// What a program may drop or look through before it looks for a formula.
pub(super) fn is_skipped(character: char) -> bool {
    character.is_whitespace()
        || matches!(
            character,
            '"' | '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{feff}'
        )
}

/// The four characters, and the full-width and small forms that NFKC folds to them.
pub(super) fn starts_formula(character: char) -> bool {
    matches!(character, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠' | '﹦' | '﹢' | '﹣' | '﹫')
}

/// The text that stands for a formula: an apostrophe before it, which spreadsheets show as text.
pub(super) fn defused(text: &str) -> String {
    format!("'{text}")
}

/// A text as a quoted field.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_told_from_text() {
        for text in [
            "=1",
            "+1",
            "-1",
            "@x",
            "\tx",
            "\rx",
            "\nx",
            " =1",
            "\u{a0}=1",
            "＝1",
            "＋1",
            "－1",
            "＠x",
            "﹦1",
            "﹫x",
            "\"=1",
            " \" -1",
            "\u{feff}=1",
            "\u{200b}@x",
            "\u{202e}=1",
        ] {
            assert!(is_formula(text), "{text:?}");
            assert!(!is_formula(&defused(text)), "{text:?}");
        }
        for text in ["", "a=1", "'=1", "1-1", " a", "x@y", "é=1", "\"a\"", "\u{feff}", " ", "(1)"] {
            assert!(!is_formula(text), "{text:?}");
        }
        assert_eq!(quoted(&defused("=\"a\"")), "\"'=\"\"a\"\"\"");
    }
}
